//! Effects done, and what comes of them.

use super::desk::Order;
use super::record::{self, arrived};
use super::world::{Take, World};
use super::{Input, tasks};
use crate::capture;
use crate::journal::About;
use crate::note::Saved;
use crate::session::*;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use undertone_engine::{Dictation, Engine, OnProgress, Progress, Ticket, vad};

/// How long the end waits for the history to be written.
const FLUSH: Duration = Duration::from_secs(5);

impl World {
    pub(super) fn perform(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Record { id, mode } => return self.record(id, mode),
            Effect::Listen { id, selection, .. } => {
                if let Some(take) = self.takes.get_mut(&id) {
                    take.listen = true;
                    take.selection = selection.map(|text| text.as_str().to_string());
                }
                self.open_stream();
            }
            Effect::Split { id, next } => self.split(id, next),
            Effect::StopRecording { .. } => self.check(|world| world.capture.stop(0)),
            Effect::Transcribe { id } => {
                if let Some(take) = self.takes.get_mut(&id) {
                    take.is_due = true;
                }
                self.transcribe_due();
            }
            Effect::Clean { id, mode, text } => {
                let take = self.takes.entry(id).or_insert_with(|| Take::new(mode, None));
                take.reworded = Some(text.as_str().to_string());
                take.is_due = true;
                self.transcribe_due();
            }
            Effect::CancelEngine { id } => {
                if let Some(take) = self.takes.get_mut(&id) {
                    take.listen = false;
                    take.stream = None;
                    take.is_due = false;
                    take.cancel.take().inspect(|cancel| cancel.cancel());
                }
            }
            Effect::WakeEngine { mode } => {
                if let Some(task) = self.tasks.get(&mode)
                    && let Some(engine) = &self.engines[task.engine]
                {
                    engine.wake(&task.engine_mode);
                }
            }
            Effect::TakeSelection { id } => {
                if !self.desk.order(Order::TakeSelection(id)) {
                    return vec![Event::SelectionTaken { id, text: None }];
                }
            }
            Effect::RememberFocus { id } => {
                if let Some(take) = self.takes.get_mut(&id) {
                    take.moments.released.get_or_insert_with(Instant::now);
                }
                self.desk.order(Order::RememberFocus(id));
            }
            Effect::Deliver { id, delivery, text, .. } => return self.deliver(id, delivery, &text),
            // One delivery at a time.
            Effect::StopDelivery { .. } => self.delivering.store(true, Ordering::Relaxed),
            Effect::Undo { id } => {
                if !self.desk.order(Order::Undo(id)) {
                    return vec![Event::Undone { id, result: Err("the desktop does not answer".into()) }];
                }
            }
            Effect::Conclude { id, end } => self.conclude(id, end),
            Effect::StartTimer { timer, after_ms } => self.timers.start(timer, after_ms),
            Effect::Show(status) => self.face.show(status, self.has_last),
            Effect::Tell(notice) => self.tell(&notice),
            Effect::Exit => {
                self.sink.flush(FLUSH);
                self.ended = true;
            }
        }
        Vec::new()
    }

    fn record(&mut self, id: DictationId, mode: Arc<str>) -> Vec<Event> {
        let focus = self.desk.look();
        let profile = focus.as_ref().and_then(|f| self.settings.profile(&f.class, &f.title)).cloned();
        let mut take = Take::new(mode.clone(), profile);
        take.records = true;
        // Silence that ends a recording, and pauses that end an utterance.
        take.segmenter = Some(self.vad.begin());
        let about = About { mode: mode.to_string(), target_app: focus.map(|f| f.class) };
        self.takes.insert(id, take);
        match self.capture.start(self.first_recording + id, about) {
            Ok(()) => Vec::new(),
            Err(error) => {
                if let Some(take) = self.takes.get_mut(&id) {
                    take.records = false;
                }
                vec![Event::MicrophoneFailed { id, error: error.to_string() }]
            }
        }
    }

    fn split(&mut self, id: DictationId, next: DictationId) {
        let Some(before) = self.takes.get_mut(&id) else { return };
        before.moments.released = Some(Instant::now());
        let mut take = Take::new(before.mode.clone(), before.profile.clone());
        take.records = true;
        take.segmenter = Some(self.vad.begin());
        let about = About { mode: take.mode.to_string(), target_app: None };
        self.takes.insert(next, take);
        let number = self.first_recording + next;
        self.check(|world| world.capture.split(number, about));
    }

    fn check(&mut self, order: impl FnOnce(&World) -> Result<(), capture::CaptureError>) {
        if let Err(error) = order(self) {
            self.warn(&error.to_string());
        }
    }

    /// Opens the engine's stream for the recording that waits for one; the engine hears one at a time.
    fn open_stream(&mut self) {
        if !self.settings.dictation.while_speaking || self.takes.values().any(|take| take.stream.is_some()) {
            return;
        }
        let waiting = self.takes.iter_mut().filter(|(_, take)| take.listen && !take.is_due);
        let Some((_, take)) = waiting.min_by_key(|(id, _)| **id) else { return };
        let Some(task) = self.tasks.get(&take.mode) else { return };
        let Some(engine) = &self.engines[task.engine] else { return };
        let request = tasks::request(&self.settings, task, take.profile.as_ref(), take.selection.clone());
        let opened = engine.stream(request, panicking(&mut self.panic_at)).and_then(|mut stream| {
            stream.push(&take.early)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                take.listen = false;
                take.early = Vec::new();
                take.cancel = Some(stream.cancel_token());
                take.stream = Some(stream);
            }
            // Then it is transcribed whole.
            Err(error) => tracing::debug!("no stream: {error}"),
        }
    }

    /// Hands what is whole to the engine.
    fn transcribe_due(&mut self) {
        let mut due: Vec<DictationId> =
            self.takes.iter().filter(|(_, take)| take.is_due).map(|(id, _)| *id).collect();
        due.sort_unstable();
        for id in due {
            let Some(take) = self.takes.get_mut(&id) else { continue };
            let Some(task) = self.tasks.get(&take.mode) else { continue };
            let Some(engine) = &self.engines[task.engine] else { continue };
            take.is_due = false;
            take.listen = false;
            let selection = take.selection.clone().or_else(|| take.reworded.clone());
            let request = tasks::request(&self.settings, task, take.profile.as_ref(), selection);
            let ticket = match (take.stream.take(), &take.reworded) {
                (_, Some(text)) => engine.submit_text(text, request, panicking(&mut self.panic_at)),
                (Some(mut stream), None) => {
                    let rest = take.recording.as_ref().map(|r| &r.samples[r.chunked_samples..]);
                    let pushed = stream.push(rest.unwrap_or_default());
                    pushed.map_or_else(|e| Err(refused(e)), |()| stream.finish())
                }
                (None, None) => {
                    let samples = take.recording.as_ref().map_or_else(Vec::new, |r| r.samples.clone());
                    engine.submit(samples, request, panicking(&mut self.panic_at))
                }
            };
            match ticket {
                Ok(ticket) => {
                    take.cancel = Some(ticket.cancel_token());
                    await_result(id, ticket, &self.inbox);
                }
                Err(failure) => {
                    let _ = self.inbox.try_send(Input::Heard { id, result: Err(failure) });
                }
            }
        }
        self.open_stream();
    }

    pub(super) fn engine_started(&mut self, at: usize, engine: Result<Box<Engine>>) -> Result<()> {
        let engine = engine?;
        self.note(&format!("ready after {:.0} ms", engine.load_times().total_ms()));
        self.engines[at] = Some(engine);
        self.transcribe_due();
        Ok(())
    }

    fn deliver(&mut self, id: DictationId, delivery: Delivery, text: &Text) -> Vec<Event> {
        let text: Text = tasks::expand(&self.settings, text.as_str()).into();
        let profile = self.takes.get(&id).and_then(|take| take.profile.as_ref());
        self.delivering = Arc::default();
        let order = match delivery {
            Delivery::Type => match tasks::options(&self.settings, profile, text.as_str()) {
                Some(options) => {
                    let stop = self.delivering.clone();
                    Order::Type { id, text, options: Box::new(options), stop }
                }
                None => Order::Copy { id, text },
            },
            Delivery::Copy => Order::Copy { id, text },
            Delivery::Show => {
                self.face.present(text.as_str());
                return vec![Event::Delivered { id, outcome: Outcome::Shown }];
            }
            Delivery::Append => return vec![Event::Delivered { id, outcome: self.append(&text) }],
        };
        match self.desk.order(order) {
            true => Vec::new(),
            false => {
                let why = "the desktop does not answer".into();
                vec![Event::Delivered { id, outcome: Outcome::Failed { why } }]
            }
        }
    }

    fn append(&mut self, text: &Text) -> Outcome {
        match self.notebook().append(text.as_str(), &jiff::Zoned::now()) {
            Ok(Saved::InFile) => Outcome::Appended,
            Ok(Saved::InFallback { path, why }) => {
                self.warn(&format!("the note is in {}, as its own file failed: {why}", path.display()));
                Outcome::Appended
            }
            Err(error) => Outcome::Failed { why: error.to_string() },
        }
    }

    /// Says what went wrong.
    fn tell(&mut self, notice: &Notice) {
        match notice {
            Notice::NothingHeard => self.face.hide(),
            _ if notice.is_refusal() => self.face.fail(&notice.to_string()),
            _ => self.warn(&notice.to_string()),
        }
    }

    fn conclude(&mut self, id: DictationId, end: End) {
        let Some(take) = self.takes.get_mut(&id) else { return };
        match &end {
            End::Delivered(outcome) if arrived(outcome) => {
                self.has_last = true;
                self.face.done();
            }
            End::Delivered(_) => self.has_last = true,
            End::Empty | End::Discarded => self.face.hide(),
            End::Failed(_) => {}
        }
        take.moments.delivered = Some(Instant::now());
        take.end = Some(end);
        take.listen = false;
        self.settle(id);
    }

    /// Puts a dictation into the history, once it is concluded and its recording is here.
    fn settle(&mut self, id: DictationId) {
        let settled = |take: &Take| take.end.is_some() && (!take.records || take.recording.is_some());
        if !self.takes.get(&id).is_some_and(settled) {
            return;
        }
        let Some(mut take) = self.takes.remove(&id) else { return };
        let Some(end) = take.end.take() else { return };
        let engine = self.tasks.get(&take.mode).map_or(0, |task| task.engine);
        let mut entry = record::entry(
            &self.models[engine],
            &take.mode,
            &take.moments,
            take.result.as_deref(),
            &take.delivered,
            &end,
            take.error.as_deref(),
        );
        if let Some(recording) = take.recording {
            entry.audio_ms = recording.samples.len() as u64 * 1000 / u64::from(capture::RATE_HZ);
            entry.audio_file = self.keep(recording, &end, entry.started_at_ms);
        }
        self.verbose_line(&entry, take.first_sample_after_ms, &end);
        if end != End::Discarded {
            self.sink.record(entry);
        }
    }

    /// Settles the recording's place on the disk; its name in the history, where it is kept.
    fn keep(&mut self, recording: capture::Recording, end: &End, started_at_ms: i64) -> Option<String> {
        let entry = recording.journal?;
        let (settled, kept) = match end {
            End::Discarded => (entry.discarded(), None),
            End::Failed(_) => (entry.failed(), None),
            End::Delivered(outcome) if !arrived(outcome) => (entry.failed(), None),
            End::Delivered(_) | End::Empty => match self.sink.keep_audio(&entry.path(), started_at_ms) {
                Ok(name) => (entry.done(), name),
                Err(error) => {
                    self.warn(&error.to_string());
                    (entry.failed(), None)
                }
            },
        };
        if let Err(error) = settled {
            self.warn(&error.to_string());
        }
        kept
    }

    /// What an input means to the session.
    pub(super) fn events(&mut self, input: Input) -> Vec<Event> {
        match input {
            Input::Capture(event) => self.captured(event),
            Input::Heard { id, result } => self.heard(id, result),
            Input::SelectionTaken { id, text } => vec![Event::SelectionTaken { id, text }],
            Input::Delivered { id, outcome, details } => {
                if let Some(take) = self.takes.get_mut(&id) {
                    take.delivered = details;
                }
                vec![Event::Delivered { id, outcome }]
            }
            Input::Undone { id, result } => vec![Event::Undone { id, result }],
            // The main loop takes the others.
            _ => Vec::new(),
        }
    }

    fn heard(
        &mut self,
        id: DictationId,
        result: Result<Box<Dictation>, Box<undertone_engine::Failure>>,
    ) -> Vec<Event> {
        let Some(take) = self.takes.get_mut(&id) else { return Vec::new() };
        let result = match result {
            Ok(dictation) => {
                let texts =
                    Texts { clean: dictation.text.as_str().into(), raw: dictation.raw_text.as_str().into() };
                tracing::info!(text = %self.sink.loggable(&dictation.text), "a dictation");
                take.result = Some(dictation);
                Ok(texts)
            }
            Err(failure) => {
                let stage = failure.stage.map_or("the engine", |s| s.name()).to_string();
                take.error = Some(failure.to_string());
                if let Some(raw_text) = failure.raw_text {
                    take.result = Some(Box::new(Dictation { raw_text, ..Dictation::default() }));
                }
                Err(EngineFault { stage, error: failure.error.to_string() })
            }
        };
        vec![Event::Transcribed { id, result }]
    }

    fn captured(&mut self, event: capture::Event) -> Vec<Event> {
        use capture::Event::*;
        let first = self.first_recording;
        let number = |recording: u64| recording - first;
        match event {
            Started { id, device, first_sample_after_ms, preroll_ms } => {
                tracing::debug!(first_sample_after_ms, preroll_ms, "the microphone is open");
                if device.is_monitor {
                    self.warn(&format!(
                        "{} hears what this machine plays, not you; choose a microphone with `undertone setup`",
                        device.name
                    ));
                }
                if let Some(take) = self.takes.get_mut(&number(id)) {
                    take.first_sample_after_ms = Some(first_sample_after_ms);
                }
                vec![Event::MicrophoneOpened { id: number(id) }]
            }
            Chunk { id, chunk } => {
                let id = number(id);
                self.face.level(chunk.rms);
                self.listen(id, &chunk.samples)
            }
            Silent { device, for_ms, .. } => {
                let (name, seconds) = (device.name, f64::from(for_ms) / 1e3);
                self.warn(&format!(
                    "{name} has given no sound at all for {seconds:.1} s; unmute it, or choose another microphone with \
                     `undertone setup`"
                ));
                Vec::new()
            }
            Overrun { lost_ms, .. } => {
                self.warn(&format!("the machine was too busy and {lost_ms} ms of sound were lost"));
                Vec::new()
            }
            JournalStopped { reason, .. } => {
                self.warn(&format!("the recording is not being saved to the disk: {reason}"));
                Vec::new()
            }
            Lost { id: Some(id), .. } => vec![Event::DeviceLost { id: number(id) }],
            Lost { id: None, reason } => {
                self.warn(&reason);
                Vec::new()
            }
            Failed { id, error } => {
                let id = number(id);
                if let Some(take) = self.takes.get_mut(&id) {
                    take.records = false;
                    take.error = Some(error.to_string());
                }
                vec![Event::MicrophoneFailed { id, error: error.to_string() }]
            }
            Finished(recording) => {
                let id = number(recording.id);
                tracing::debug!(ended = ?recording.ended, lost_ms = recording.lost_ms, "the recording is whole");
                let audio_ms = recording.samples.len() as u64 * 1000 / u64::from(capture::RATE_HZ);
                let Some(take) = self.takes.get_mut(&id) else { return Vec::new() };
                take.moments.recorded = Some(Instant::now());
                take.recording = Some(recording);
                self.settle(id);
                vec![Event::Recorded { id, audio_ms }]
            }
        }
    }

    /// Passes samples on to the engine, and looks for pauses.
    fn listen(&mut self, id: DictationId, samples: &[f32]) -> Vec<Event> {
        let Some(take) = self.takes.get_mut(&id) else { return Vec::new() };
        match &mut take.stream {
            Some(stream) => {
                if let Err(error) = stream.push(samples) {
                    // The recording is whole elsewhere.
                    tracing::warn!("{error}");
                    take.stream = None;
                }
            }
            None if take.listen => take.early.extend_from_slice(samples),
            None => {}
        }
        let events = take.segmenter.as_mut().map_or_else(Vec::new, |segmenter| segmenter.push(samples));
        let mut told = Vec::new();
        for event in events {
            match event {
                vad::Event::SpeechStart { .. } => told.push(Event::Speech { id, speaking: true }),
                vad::Event::Lull { .. } => told.push(Event::Speech { id, speaking: false }),
                vad::Event::SegmentEnd { .. } => told.push(Event::UtteranceEnded { id }),
            }
        }
        told
    }
}

fn refused(error: undertone_engine::EngineError) -> Box<undertone_engine::Failure> {
    Box::new(undertone_engine::Failure { stage: None, error, raw_text: None, audio: Arc::default() })
}

/// A listener that panics when the engine enters this stage, if there is one.
fn panicking(stage: &mut Option<String>) -> Option<OnProgress> {
    let stage = stage.take()?;
    Some(Box::new(move |progress| {
        if matches!(progress, Progress::Entered(entered) if entered.name() == stage) {
            panic!("told to panic at {stage}");
        }
    }))
}

/// Waits for the engine's answer on a thread of its own, which ends with the answer.
fn await_result(id: DictationId, ticket: Ticket, inbox: &std::sync::mpsc::SyncSender<Input>) {
    let sender = inbox.clone();
    let wait = move || {
        let result = ticket.wait().map(Box::new);
        let _ = sender.send(Input::Heard { id, result });
    };
    if std::thread::Builder::new().name("result".into()).spawn(wait).is_err() {
        let error = undertone_engine::EngineError::Thread("no thread to wait for it".into());
        let _ = inbox.try_send(Input::Heard { id, result: Err(refused(error)) });
    }
}
