//! One dictation, and all that is measured of it.

use super::cells::{Cell, key};
use super::corpus::{Clip, Source};
use super::record::Record;
use crate::transcribe::load_audio;
use std::time::{Duration, Instant};
use undertone_engine::load::warm_up_samples;
use undertone_engine::telemetry::gpu::Gpu;
use undertone_engine::telemetry::{Stage, StageTimes};
use undertone_engine::transcribe::SpeechOptions;
use undertone_engine::{Dictation, Engine, Request};
use undertone_models::whisper::SAMPLE_RATE_HZ;

/// What is streamed at once, a tenth of a second, as a microphone gives it.
const CHUNK_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 10;

/// A loaded engine that is measured.
pub(super) struct Bench {
    pub(super) engine: Engine,
    /// The card it computes on, where NVIDIA's driver tells what that draws.
    pub(super) gpu: Option<Gpu>,
    last: Option<String>,
}

impl Bench {
    pub(super) fn new(engine: Engine, gpu: Option<Gpu>) -> Bench {
        Bench { engine, gpu, last: None }
    }

    /// Dictates `clip` in `cell`. A failure is a record too.
    pub(super) fn measure(&mut self, cell: &Cell, clip: &Clip, repeat: u32, turn: u32) -> Record {
        let request = request(cell, clip);
        if self.last.replace(clip.id.clone()).as_ref() == Some(&clip.id) {
            // Lest the language model find its prompt computed: as if something else had been dictated.
            let _ = self.engine.dictate(warm_up_samples(), Request::in_mode(&cell.mode));
        }
        let begun_mj = self.energy_mj();
        let mut record = Record {
            key: key(cell, clip, repeat),
            cell: cell.clone(),
            clip: clip.id.clone(),
            repeat,
            turn,
            version: env!("CARGO_PKG_VERSION").into(),
            lang: clip.lang.clone(),
            reference: clip.reference.clone(),
            wanted: clip.wanted.clone(),
            load_ms: self.engine.load_times().total_ms(),
            ..Record::default()
        };
        match self.dictate(cell, clip, request) {
            Ok((done, latency)) => fill(&mut record, done, latency),
            Err(what) => record.error = Some(what),
        }
        record.energy_j =
            begun_mj.zip(self.energy_mj()).map(|(from, to)| to.saturating_sub(from) as f64 / 1e3);
        record.time_ms = jiff::Timestamp::now().as_millisecond();
        record
    }

    fn energy_mj(&self) -> Option<u64> {
        self.gpu.as_ref()?.read().energy_mj
    }

    fn dictate(&self, cell: &Cell, clip: &Clip, request: Request) -> Result<(Dictation, Duration), String> {
        let failed = |failure: Box<undertone_engine::Failure>| failure.to_string();
        let file = match &clip.source {
            Source::Audio(file) => file,
            Source::Text(raw) => {
                let start = Instant::now();
                return Ok((self.engine.clean(raw, request).map_err(failed)?, start.elapsed()));
            }
        };
        let mut times = StageTimes::default();
        let (pcm, _) = load_audio(file, &mut times).map_err(|e| e.to_string())?;
        let (mut done, latency) = match cell.streaming {
            true => self.speak(&pcm.samples, request)?,
            false => {
                let start = Instant::now();
                (self.engine.dictate(pcm.samples, request).map_err(failed)?, start.elapsed())
            }
        };
        done.record.times.extend(&times);
        Ok((done, latency))
    }

    /// Streams as fast as somebody speaks; the latency is from the last word.
    fn speak(&self, samples: &[f32], request: Request) -> Result<(Dictation, Duration), String> {
        self.engine.wake(&request.mode);
        let mut stream = self.engine.stream(request, None).map_err(|e| e.to_string())?;
        let mut due = Instant::now();
        for chunk in samples.chunks(CHUNK_SAMPLES) {
            due += Duration::from_secs_f64(chunk.len() as f64 / f64::from(SAMPLE_RATE_HZ));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            stream.push(chunk).map_err(|e| e.to_string())?;
        }
        let end = Instant::now();
        let done = stream.finish().and_then(undertone_engine::Ticket::wait).map_err(|f| f.to_string())?;
        Ok((done, end.elapsed()))
    }
}

fn request(cell: &Cell, clip: &Clip) -> Request {
    let speech = SpeechOptions {
        language: clip.lang.clone(),
        beam_size: cell.beam as usize,
        ..SpeechOptions::default()
    };
    Request { speech, ..Request::in_mode(&cell.mode) }
}

/// Microseconds: finer than any clock here.
fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

fn fill(record: &mut Record, done: Dictation, latency: Duration) {
    let times = &done.record.times;
    record.raw = done.raw_text;
    record.text = done.text;
    record.language = done.transcript.language;
    record.cleaned_by = match done.cleaned_by {
        undertone_engine::CleanedBy::Llm => "llm",
        undertone_engine::CleanedBy::Rules => "rules",
        undertone_engine::CleanedBy::None => "none",
    }
    .into();
    record.refusals = done.refusals;
    record.audio_s = done.record.audio_s;
    record.latency_ms = rounded(latency.as_secs_f64() * 1e3);
    record.queue_ms = rounded(done.record.queue_ms);
    record.stages_ms = Stage::ALL.iter().map(|s| (s.name().to_string(), rounded(times.ms(*s)))).collect();
    record.speech_tokens = done.record.speech_tokens;
    (record.speech_drafted, record.speech_accepted) = done.record.speech_drafts;
    record.tokens = done.record.text;
    record.memory = done.record.memory;
}
