//! The resident engine: one thread owns the models, requests wait in a bounded queue, and whatever
//! happens to a request, its caller gets back the text or the audio and the stage that failed.

use crate::config::EngineConfig;
use crate::control::{CancelToken, Control, OnProgress};
use crate::error::{EngineError, Result};
use crate::load::{LoadTimes, Loaded, resident_fraction};
use crate::pipeline::{Dictation, Request};
use crate::plan::Plan;
use crate::stream::{Stream, StreamBuffer, Utterance};
use crate::telemetry::Stage;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;
use undertone_models::weights::MappedFile;

/// Requests that wait behind the one that runs; one more is refused.
pub const QUEUE_REQUESTS: usize = 8;

/// A request that gave no text, and all that is left of it: nothing is lost.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", .stage.map(|s| format!("{} failed: ", s.name())).unwrap_or_default())]
pub struct Failure {
    /// The stage that did not end; `None` if none had begun.
    pub stage: Option<Stage>,
    /// Why.
    pub error: EngineError,
    /// The transcript, where there was one already.
    pub raw_text: Option<String>,
    /// The recording (16 kHz mono); empty for a request that had none.
    pub audio: Arc<[f32]>,
}

/// What the caller and the engine's thread say to each other.
pub(crate) enum Job {
    Dictate { audio: Arc<[f32]>, request: Request, control: Control, queued: Instant, reply: Reply },
    Clean { text: String, request: Request, control: Control, queued: Instant, reply: Reply },
    Open { stream: Arc<StreamBuffer>, request: Request, control: Control },
    Advance { stream: Arc<StreamBuffer> },
    Finish { stream: Arc<StreamBuffer>, queued: Instant, reply: Reply },
    Close { stream: Arc<StreamBuffer> },
    Wake { mode: String },
    Stop,
}

pub(crate) type Reply = std::sync::mpsc::Sender<std::result::Result<Box<Dictation>, Box<Failure>>>;

/// Both models, loaded, planned and warm, behind a queue. Dropping it ends its thread.
pub struct Engine {
    jobs: Option<SyncSender<Box<Job>>>,
    thread: Option<JoinHandle<()>>,
    plan: Plan,
    load: LoadTimes,
    modes: Vec<String>,
    files: Vec<Arc<MappedFile>>,
}

impl Engine {
    /// Plans, loads and warms up; returns once the first dictation will be as fast as any.
    ///
    /// # Errors
    /// If a model cannot be opened or the plan does not fit the memory there is.
    pub fn start(config: EngineConfig) -> Result<Engine> {
        let (jobs, queue) = sync_channel(QUEUE_REQUESTS);
        let (ready, loaded) = channel();
        let work = move || match Loaded::new(&config) {
            Ok(loaded) => {
                let modes = loaded.pipeline.modes.keys().cloned().collect();
                // The starter may have gone; then the queue is closed too.
                let _ = ready.send(Ok((loaded.plan.clone(), loaded.times, modes, loaded.files.clone())));
                Worker { loaded, utterance: None }.run(&queue);
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        let spawned = std::thread::Builder::new().name("undertone-engine".into()).spawn(work);
        let thread = spawned.map_err(|e| EngineError::Thread(e.to_string()))?;
        let (plan, load, modes, files) =
            loaded.recv().unwrap_or_else(|_| Err(EngineError::Thread("it ended while loading".into())))?;
        Ok(Engine { jobs: Some(jobs), thread: Some(thread), plan, load, modes, files })
    }

    /// The memory plan the engine holds itself to.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What loading and warming up took.
    pub fn load_times(&self) -> LoadTimes {
        self.load
    }

    /// Names of the modes there are.
    pub fn modes(&self) -> &[String] {
        &self.modes
    }

    /// Part of the mapped weights that is in memory, from 0 to 1; `None` where the system does not tell.
    pub fn resident_fraction(&self) -> Option<f64> {
        resident_fraction(&self.files)
    }

    /// A recording (16 kHz mono, [-1, 1]) to text; waits for it.
    ///
    /// # Errors
    /// [`Failure`], with the audio or the transcript in it.
    pub fn dictate(
        &self,
        audio: impl Into<Arc<[f32]>>,
        request: Request,
    ) -> std::result::Result<Dictation, Box<Failure>> {
        self.submit(audio, request, None)?.wait()
    }

    /// Cleans `text` as if it had been dictated; waits for it.
    ///
    /// # Errors
    /// [`Failure`], with the text in it.
    pub fn clean(&self, text: &str, request: Request) -> std::result::Result<Dictation, Box<Failure>> {
        self.submit_text(text, request, None)?.wait()
    }

    /// Queues a recording. `on_progress` is told of its progress on the engine's thread.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when the queue is full.
    pub fn submit(
        &self,
        audio: impl Into<Arc<[f32]>>,
        request: Request,
        on_progress: Option<OnProgress>,
    ) -> std::result::Result<Ticket, Box<Failure>> {
        let audio = audio.into();
        let control = Control::new(CancelToken::default(), request.time_limit).with_listener(on_progress);
        let (ticket, reply) = Ticket::new(control.cancel_token().clone(), audio.clone(), None);
        let job = Job::Dictate { audio, request, control, queued: Instant::now(), reply };
        self.send(job).map_err(|e| ticket.refuse(e))?;
        Ok(ticket)
    }

    /// Queues a text to be cleaned.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when the queue is full.
    pub fn submit_text(
        &self,
        text: &str,
        request: Request,
        on_progress: Option<OnProgress>,
    ) -> std::result::Result<Ticket, Box<Failure>> {
        let control = Control::new(CancelToken::default(), request.time_limit).with_listener(on_progress);
        let (ticket, reply) = Ticket::new(control.cancel_token().clone(), Arc::default(), Some(text.into()));
        let job = Job::Clean { text: text.into(), request, control, queued: Instant::now(), reply };
        self.send(job).map_err(|e| ticket.refuse(e))?;
        Ok(ticket)
    }

    /// Begins a recording that is still being spoken: the engine transcribes and reads what is
    /// finished while speech goes on. One at a time; opening another closes the one before.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when the queue is full.
    pub fn stream(&self, request: Request, on_progress: Option<OnProgress>) -> Result<Stream> {
        let jobs = self.jobs.clone().ok_or_else(stopped)?;
        let control = Control::new(CancelToken::default(), None).with_listener(on_progress);
        let cancel = control.cancel_token().clone();
        let stream = Arc::new(StreamBuffer::default());
        self.send(Job::Open { stream: stream.clone(), request, control })?;
        Ok(Stream::new(jobs, stream, cancel))
    }

    /// Says that the user begins to speak: pages are touched and the cache is set to `mode` while
    /// they do. Never waits.
    pub fn wake(&self, mode: &str) {
        // A full queue is awake.
        let _ = self.send(Job::Wake { mode: mode.into() });
    }

    fn send(&self, job: Job) -> Result<()> {
        send(self.jobs.as_ref(), job)
    }
}

pub(crate) fn stopped() -> EngineError {
    EngineError::Thread("it has ended".into())
}

pub(crate) fn send(jobs: Option<&SyncSender<Box<Job>>>, job: Job) -> Result<()> {
    match jobs.map(|jobs| jobs.try_send(Box::new(job))) {
        Some(Ok(())) => Ok(()),
        Some(Err(TrySendError::Full(_))) => Err(EngineError::Busy),
        Some(Err(TrySendError::Disconnected(_))) | None => Err(stopped()),
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Streams may still hold the queue open; what was queued before is answered first.
        if let Some(jobs) = self.jobs.take() {
            let _ = jobs.send(Box::new(Job::Stop));
        }
        if let Some(thread) = self.thread.take() {
            // Its panics are answered request by request.
            let _ = thread.join();
        }
    }
}

/// A queued request.
pub struct Ticket {
    result: Receiver<std::result::Result<Box<Dictation>, Box<Failure>>>,
    cancel: CancelToken,
    audio: Arc<[f32]>,
    /// Where the audio of a stream waits that nobody has answered.
    stream: Option<Arc<StreamBuffer>>,
    raw_text: Option<String>,
}

impl Ticket {
    pub(crate) fn new(cancel: CancelToken, audio: Arc<[f32]>, raw_text: Option<String>) -> (Ticket, Reply) {
        let (reply, result) = channel();
        (Ticket { result, cancel, audio, stream: None, raw_text }, reply)
    }

    pub(crate) fn of_stream(cancel: CancelToken, stream: Arc<StreamBuffer>) -> (Ticket, Reply) {
        let (ticket, reply) = Ticket::new(cancel, Arc::default(), None);
        (Ticket { stream: Some(stream), ..ticket }, reply)
    }

    /// The request ends within one decoding step.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// What cancels it, to keep elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// [`Failure`]; also when the engine's thread ended before it answered.
    pub fn wait(self) -> std::result::Result<Dictation, Box<Failure>> {
        match self.result.recv() {
            Ok(result) => result.map(|dictation| *dictation),
            Err(_) => Err(self.refuse(stopped())),
        }
    }

    pub(crate) fn refuse(&self, error: EngineError) -> Box<Failure> {
        let waiting = self.stream.as_ref().map(|stream| stream.take().into());
        let (audio, raw_text) = (waiting.unwrap_or_else(|| self.audio.clone()), self.raw_text.clone());
        Box::new(Failure { stage: None, error, raw_text, audio })
    }
}

/// The engine's thread.
struct Worker {
    loaded: Loaded,
    utterance: Option<(Arc<StreamBuffer>, Utterance)>,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Box<Job>>) {
        while let Some(job) = queue.recv().ok().filter(|job| !matches!(**job, Job::Stop)) {
            self.handle(*job);
        }
        self.give_back();
    }

    /// The audio of a stream that will not be finished waits for its caller.
    fn give_back(&mut self) {
        if let Some((stream, utterance)) = self.utterance.take() {
            stream.give_back(utterance.audio());
        }
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Dictate { audio, request, mut control, queued, reply } => {
                let queue_ms = queued.elapsed().as_secs_f64() * 1e3;
                let result = self
                    .guarded(&mut control, |w, control| w.loaded.pipeline.dictate(&audio, &request, control));
                self.answer(reply, result, queue_ms, control, audio);
            }
            Job::Clean { text, request, mut control, queued, reply } => {
                let queue_ms = queued.elapsed().as_secs_f64() * 1e3;
                control.raw_text = Some(text.clone());
                let result = self.guarded(&mut control, |w, control| {
                    w.loaded.pipeline.clean_text(&text, &request, control)
                });
                self.answer(reply, result, queue_ms, control, Arc::default());
            }
            Job::Wake { mode } => {
                let mut control = Control::default();
                // What cannot be woken is told when it is asked to work.
                let _ = self.guarded(&mut control, |w, control| w.loaded.wake(&mode, control));
            }
            Job::Open { stream, request, control } => {
                self.give_back();
                let segmenter = self.loaded.pipeline.vad.begin();
                self.utterance = Some((stream, Utterance::new(request, control, segmenter)));
            }
            Job::Advance { stream } => self.advance(&stream),
            Job::Finish { stream, queued, reply } => self.finish(&stream, queued, reply),
            Job::Close { stream } => drop(self.take_utterance(&stream)),
            // `run` has ended before.
            Job::Stop => {}
        }
    }

    fn take_utterance(&mut self, stream: &Arc<StreamBuffer>) -> Option<Utterance> {
        let ours = self.utterance.as_ref().is_some_and(|(s, _)| Arc::ptr_eq(s, stream));
        self.utterance.take_if(|_| ours).map(|(_, utterance)| utterance)
    }

    /// Works on what has been spoken so far. After a failure the rest waits for [`Worker::finish`].
    fn advance(&mut self, stream: &Arc<StreamBuffer>) {
        let samples = stream.take();
        let Some(mut utterance) = self.take_utterance(stream) else { return };
        utterance.append(&samples);
        if utterance.failed.is_none() {
            let mut control = std::mem::take(&mut utterance.control);
            let work = |w: &mut Worker, c: &mut Control| utterance.advance(&mut w.loaded.pipeline, c);
            let result = self.guarded(&mut control, work);
            utterance.control = control;
            utterance.failed = result.err();
        }
        self.utterance = Some((stream.clone(), utterance));
    }

    fn finish(&mut self, stream: &Arc<StreamBuffer>, queued: Instant, reply: Reply) {
        let queue_ms = queued.elapsed().as_secs_f64() * 1e3;
        let samples = stream.take();
        let Some(mut utterance) = self.take_utterance(stream) else {
            return self.answer(
                reply,
                Err(EngineError::Overtaken),
                queue_ms,
                Control::default(),
                samples.into(),
            );
        };
        utterance.append(&samples);
        let mut control = std::mem::take(&mut utterance.control);
        let audio = utterance.audio();
        let result = match utterance.failed.take() {
            None => self.guarded(&mut control, |w, c| utterance.finish(&mut w.loaded.pipeline, c)),
            Some(EngineError::Cancelled) => Err(EngineError::Cancelled),
            // What failed while speech went on is tried once more, as a recording.
            Some(_) => {
                let request = &utterance.request;
                control.restart_time_limit(request.time_limit);
                self.guarded(&mut control, |w, c| w.loaded.pipeline.dictate(&audio, request, c))
            }
        };
        self.answer(reply, result, queue_ms, control, audio);
    }

    /// Runs `work` on the engine's thread pool; a panic becomes an error and leaves nothing behind.
    fn guarded<T: Send>(
        &mut self,
        control: &mut Control,
        work: impl FnOnce(&mut Worker, &mut Control) -> Result<T> + Send,
    ) -> Result<T> {
        self.loaded.watch.begin();
        let pool = self.loaded.pool.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.install(|| work(self, control))));
        let result = outcome.unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<&str>()
                .map(|m| (*m).to_string())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            Err(EngineError::Panicked(message.unwrap_or_else(|| "no message".into())))
        });
        if result.is_err() {
            self.loaded.pipeline.recover();
        }
        result
    }

    fn answer(
        &mut self,
        reply: Reply,
        result: Result<Dictation>,
        queue_ms: f64,
        mut control: Control,
        audio: Arc<[f32]>,
    ) {
        let (stage, raw_text) = (control.stage, control.raw_text.take());
        // The listener is gone before the caller goes on.
        drop(control);
        let result = match result {
            Ok(mut dictation) => {
                dictation.record.queue_ms = queue_ms;
                self.loaded.complete(&mut dictation.record);
                Ok(Box::new(dictation))
            }
            Err(error) => {
                tracing::warn!(stage = stage.map(Stage::name), %error, "request failed");
                Err(Box::new(Failure { stage, error, raw_text, audio }))
            }
        };
        // A caller that has gone wants no answer.
        let _ = reply.send(result);
    }
}
