//! Dictation while it is spoken: finished segments become text, and the language model reads and
//! cleans them, while the user goes on. When they stop, only the tail is left.

use crate::clean::spoken::Spoken;
use crate::cleanup::Cleanup;
use crate::control::{CancelToken, Control};
use crate::error::{EngineError, Result};
use crate::pipeline::{Dictation, Pipeline, Request, finished};
use crate::telemetry::Stage;
use crate::transcribe::{GUESSED_TEMPERATURE, SpeechOptions, Transcript};
use crate::vad::{Event, Segmenter};
use crate::worker::{Job, Ticket, send};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use undertone_models::whisper::SAMPLE_RATE_HZ;

/// Longest recording a stream takes: at 16 kHz half a gigabyte would be more than two hours.
pub const MAX_STREAM_SAMPLES: usize = 2 * 3600 * SAMPLE_RATE_HZ as usize;

/// A segment shorter than this is heard with the speech before it: three seconds.
const SHORT_SAMPLES: usize = 3 * SAMPLE_RATE_HZ as usize;

/// Samples on their way to the engine's thread.
#[derive(Default)]
pub(crate) struct StreamBuffer {
    samples: Mutex<Vec<f32>>,
    scheduled: AtomicBool,
}

impl StreamBuffer {
    fn append(&self, samples: &[f32]) {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(samples);
    }

    /// Puts samples that were taken before all that came since.
    pub(crate) fn give_back(&self, taken: Arc<[f32]>) {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).splice(..0, taken.iter().copied());
    }

    pub(crate) fn take(&self) -> Vec<f32> {
        self.scheduled.store(false, Ordering::Release);
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A recording that is still being spoken. Dropping it gives it up.
pub struct Stream {
    jobs: SyncSender<Box<Job>>,
    buffer: Arc<StreamBuffer>,
    cancel: CancelToken,
    pushed_samples: usize,
    finished: bool,
}

impl Stream {
    pub(crate) fn new(jobs: SyncSender<Box<Job>>, buffer: Arc<StreamBuffer>, cancel: CancelToken) -> Stream {
        Stream { jobs, buffer, cancel, pushed_samples: 0, finished: false }
    }

    /// Takes the next samples (16 kHz mono, [-1, 1]), in chunks of any size. Never waits for the
    /// models.
    ///
    /// # Errors
    /// Beyond [`MAX_STREAM_SAMPLES`]; when the engine has ended.
    pub fn push(&mut self, samples: &[f32]) -> Result<()> {
        if self.pushed_samples + samples.len() > MAX_STREAM_SAMPLES {
            return Err(EngineError::TooLong {
                most_s: (MAX_STREAM_SAMPLES / SAMPLE_RATE_HZ as usize) as u64,
            });
        }
        self.pushed_samples += samples.len();
        self.buffer.append(samples);
        // One piece of work at a time: it takes all there is when its turn comes.
        if !self.buffer.scheduled.swap(true, Ordering::AcqRel) {
            match send(Some(&self.jobs), Job::Advance { stream: self.buffer.clone() }) {
                Err(EngineError::Busy) => self.buffer.scheduled.store(false, Ordering::Release),
                other => other?,
            }
        }
        Ok(())
    }

    /// Ends the recording: what is left of the work is queued.
    ///
    /// # Errors
    /// [`crate::Failure`] when the engine has ended.
    pub fn finish(mut self) -> std::result::Result<Ticket, Box<crate::Failure>> {
        self.finished = true;
        let (ticket, reply) = Ticket::of_stream(self.cancel.clone(), self.buffer.clone());
        let job = Job::Finish { stream: self.buffer.clone(), queued: Instant::now(), reply };
        // Waits for a place: a recording must not be lost because others are in the queue.
        self.jobs.send(Box::new(job)).map_err(|_| ticket.refuse(crate::worker::stopped()))?;
        Ok(ticket)
    }

    /// What stops it, also while it is worked on.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.finished {
            self.cancel.cancel();
            // A full queue drops the utterance when the next one is opened.
            let _ = send(Some(&self.jobs), Job::Close { stream: self.buffer.clone() });
        }
    }
}

/// The engine's side of a stream.
pub(crate) struct Utterance {
    pub(crate) request: Request,
    pub(crate) control: Control,
    pub(crate) failed: Option<EngineError>,
    /// Gone once the speech has ended.
    segmenter: Option<Segmenter>,
    audio: Vec<f32>,
    /// Samples the segmenter has seen.
    seen_samples: usize,
    transcript: Transcript,
    cleanup: Cleanup,
    /// What the open segment sounded like at its last pause.
    partial: Option<(Range<usize>, Heard)>,
    /// What a short segment is heard with.
    before: Option<Before>,
}

/// What was said in a segment.
struct Heard {
    transcript: Transcript,
    /// What the next short one is heard with.
    before: Option<Before>,
}

/// Speech that is transcribed already.
struct Before {
    /// Where it begins in the recording.
    start: usize,
    /// Its tokens, with times from there.
    tokens: Vec<u32>,
    /// All text before it.
    said: String,
}

impl Utterance {
    pub(crate) fn new(request: Request, control: Control, segmenter: Segmenter) -> Utterance {
        Utterance {
            request,
            control,
            failed: None,
            segmenter: Some(segmenter),
            audio: Vec::new(),
            seen_samples: 0,
            transcript: Transcript::default(),
            cleanup: Cleanup::default(),
            partial: None,
            before: None,
        }
    }

    pub(crate) fn append(&mut self, samples: &[f32]) {
        self.audio.extend_from_slice(samples);
    }

    pub(crate) fn audio(&self) -> Arc<[f32]> {
        self.audio.as_slice().into()
    }

    /// Works on what has been appended since the last call.
    pub(crate) fn advance(&mut self, pipeline: &mut Pipeline, control: &mut Control) -> Result<()> {
        let new = self.seen_samples..self.audio.len();
        self.seen_samples = new.end;
        let events = control.stage(Stage::Vad, |_| {
            Ok(self.segmenter.as_mut().map_or(Vec::new(), |segmenter| segmenter.push(&self.audio[new])))
        })?;
        // Of several lulls only the last is worth hearing, and none that speech has overtaken.
        let lull = events.iter().rev().find_map(|e| match e {
            Event::Lull { samples } => Some(samples.clone()),
            _ => None,
        });
        let mut ended = 0;
        for event in events {
            if let Event::SegmentEnd { samples, .. } = event {
                ended = samples.end;
                self.settle(samples, pipeline, control)?;
            }
        }
        if let Some(range) = lull.filter(|lull| lull.start >= ended) {
            let heard = self.transcribe(&range, &[], pipeline, control)?;
            self.partial = Some((range, heard));
        }
        Ok(())
    }

    /// The end of the speech: the tail, and what has not been cleaned.
    pub(crate) fn finish(&mut self, pipeline: &mut Pipeline, control: &mut Control) -> Result<Dictation> {
        let start = Instant::now();
        control.restart_time_limit(self.request.time_limit);
        self.advance(pipeline, control)?;
        let segmenter = self.segmenter.take();
        let events = control.stage(Stage::Vad, |_| Ok(segmenter.map_or(Vec::new(), Segmenter::finish)))?;
        for event in events {
            if let Event::SegmentEnd { samples, .. } = event {
                self.hear(samples, pipeline, control)?;
            }
        }
        if self.transcript.segments.is_empty() {
            self.transcript = pipeline.transcriber.transcribe(&[], &self.request.speech, control)?;
        }
        let transcript = std::mem::take(&mut self.transcript);
        let dictation = pipeline.clean_transcript(&mut self.cleanup, transcript, &self.request, control)?;
        Ok(finished(dictation, self.audio.len(), start, control))
    }

    /// A segment that has ended while speech goes on.
    fn settle(&mut self, range: Range<usize>, pipeline: &mut Pipeline, control: &mut Control) -> Result<()> {
        self.hear(range, pipeline, control)?;
        let raw_text = self.transcript.text();
        control.raw_text = Some(raw_text.clone());
        if self.request.spoken != Spoken::default() {
            // A command may reach over the pause: it is read when all is said.
            return Ok(());
        }
        pipeline.advance_cleanup(
            &mut self.cleanup,
            &self.transcript,
            &raw_text,
            &self.request,
            false,
            control,
        )
    }

    /// Appends what is said in `range`.
    fn hear(&mut self, range: Range<usize>, pipeline: &mut Pipeline, control: &mut Control) -> Result<()> {
        let Heard { transcript: mut heard, before } = match self.partial.take() {
            // Nothing was said since the pause: the same samples give the same text.
            Some((same, heard)) if same == range => heard,
            Some((part, heard)) if part.start == range.start => {
                let draft: Vec<u32> = heard.transcript.segments.into_iter().flat_map(|s| s.tokens).collect();
                self.transcribe(&range, &draft, pipeline, control)?
            }
            _ => self.transcribe(&range, &[], pipeline, control)?,
        };
        self.before = before;
        heard.shift(range.start as f64 / f64::from(SAMPLE_RATE_HZ));
        let all = &mut self.transcript;
        if all.segments.is_empty() {
            (all.language, all.language_probability) = (heard.language, heard.language_probability);
        }
        all.no_speech_prob = all.no_speech_prob.max(heard.no_speech_prob);
        all.drafted += heard.drafted;
        all.accepted += heard.accepted;
        all.segments.append(&mut heard.segments);
        Ok(())
    }

    /// How a segment is transcribed that `said` comes before.
    fn options(&self, said: &str) -> SpeechOptions {
        let mut options = self.request.speech.clone();
        if !self.transcript.segments.is_empty() {
            // The language is that of the first segment; what was said before is the context.
            options.language.get_or_insert_with(|| self.transcript.language.clone());
            if options.condition_on_previous_text {
                let prompt = options.initial_prompt.take().unwrap_or_default();
                options.initial_prompt = Some(format!("{prompt} {said}"));
            }
        }
        options
    }

    fn transcribe(
        &self,
        range: &Range<usize>,
        draft: &[u32],
        pipeline: &mut Pipeline,
        control: &mut Control,
    ) -> Result<Heard> {
        let transcriber = &mut pipeline.transcriber;
        if let Some(Before { start, tokens, said }) =
            self.before.as_ref().filter(|_| range.len() < SHORT_SAMPLES)
        {
            let (audio, heard_samples) = (&self.audio[*start..range.end], range.start - start);
            let heard = (heard_samples, tokens.as_slice());
            let options = self.options(said);
            if let Some((mut transcript, tokens)) =
                transcriber.transcribe_behind(audio, heard, &options, draft, control)?
            {
                transcript.shift(-(heard_samples as f64) / f64::from(SAMPLE_RATE_HZ));
                let before = Before { start: *start, tokens, said: said.clone() };
                return Ok(Heard { transcript, before: Some(before) });
            }
        }
        let said = self.transcript.text();
        let audio = &self.audio[range.clone()];
        let transcript = transcriber.transcribe_with_draft(audio, &self.options(&said), draft, control)?;
        let sure = transcript.segments.iter().all(|s| s.temperature <= GUESSED_TEMPERATURE);
        let tokens: Vec<u32> = transcript.segments.iter().flat_map(|s| s.tokens.iter().copied()).collect();
        let before = (sure && !tokens.is_empty()).then_some(Before { start: range.start, tokens, said });
        Ok(Heard { transcript, before })
    }
}
