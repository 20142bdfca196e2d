//! One recording in progress.

use std::time::{Duration, Instant};

use super::resample::ToSpeechRate;
use super::{CaptureError, Chunk, Ended, RATE_HZ, Recording};
use crate::journal::{Entry, JournalError};

/// How much longer than its end a recording waits for what sounded before it: the sound system's
/// delay, where that is known, and never more than this.
const MAX_LATENESS: Duration = Duration::from_millis(400);

pub(super) struct Take {
    pub(super) id: u64,
    pub(super) asked_at: Instant,
    pub(super) journal: Option<Entry>,
    journal_broken: bool,
    resampler: ToSpeechRate,
    samples: Vec<f32>,
    journalled_samples: usize,
    chunked_samples: usize,
    max_samples: usize,
    rate_hz: u32,
    zero_frames: u64,
    silence_told: bool,
    lost_frames: u64,
    stop_at: Option<Instant>,
}

impl Take {
    pub(super) fn new(id: u64, asked_at: Instant, rate_hz: u32, max_ms: u32) -> Result<Self, CaptureError> {
        Ok(Self {
            id,
            asked_at,
            journal: None,
            journal_broken: false,
            resampler: ToSpeechRate::new(rate_hz)?,
            samples: Vec::new(),
            journalled_samples: 0,
            chunked_samples: 0,
            max_samples: (u64::from(max_ms) * u64::from(RATE_HZ) / 1000) as usize,
            rate_hz,
            zero_frames: 0,
            silence_told: false,
            lost_frames: 0,
            stop_at: None,
        })
    }

    /// Takes samples at the device's rate.
    pub(super) fn push(&mut self, input: &[f32]) -> Result<(), CaptureError> {
        match input.iter().rposition(|sample| *sample != 0.0) {
            None => self.zero_frames += input.len() as u64,
            Some(last) => {
                self.zero_frames = (input.len() - 1 - last) as u64;
                self.silence_told = false;
            }
        }
        self.resampler.push(input, &mut self.samples)
    }

    /// Puts on disk what is not there yet. After an error nothing more is tried; what did reach the
    /// disk stays until the owner is done.
    pub(super) fn write_journal(&mut self) -> Result<(), JournalError> {
        let end = self.samples.len().min(self.max_samples);
        let Some(entry) = &mut self.journal else { return Ok(()) };
        if self.journal_broken || end <= self.journalled_samples {
            return Ok(());
        }
        let written = entry.append(&self.samples[self.journalled_samples..end]);
        self.journalled_samples = end;
        self.journal_broken = written.is_err();
        written
    }

    /// Offers what was not handed out yet; it is, once it was `sent`.
    pub(super) fn hand_out(&mut self, sent: impl FnOnce(Chunk) -> bool) {
        let end = self.samples.len().min(self.max_samples);
        if end > self.chunked_samples && sent(Chunk::new(self.samples[self.chunked_samples..end].to_vec())) {
            self.chunked_samples = end;
        }
    }

    /// The length of the zeros at the end, once it exceeds `after_ms`; told once per stretch.
    pub(super) fn silence_ms(&mut self, after_ms: u32) -> Option<u32> {
        let zero_ms = frames_ms(self.zero_frames, self.rate_hz);
        let news = zero_ms >= after_ms && !self.silence_told;
        self.silence_told |= news;
        news.then_some(zero_ms)
    }

    /// Counts frames that were lost, in ms.
    pub(super) fn lose(&mut self, frames: u64) -> u32 {
        self.lost_frames += frames;
        frames_ms(frames, self.rate_hz)
    }

    pub(super) fn stop(&mut self, at: Instant) {
        // Of two stops the earlier holds.
        self.stop_at = Some(self.stop_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Whether it was stopped, and only what sounded before is still to come.
    pub(super) fn is_over(&self) -> bool {
        self.stop_at.is_some_and(|at| at <= Instant::now())
    }

    /// Whether it is over, when all that sounded before `captured_until` is here.
    pub(super) fn ended(&self, captured_until: Instant) -> Option<Ended> {
        if self.samples.len() >= self.max_samples {
            return Some(Ended::MaxLength);
        }
        let stop_at = self.stop_at?;
        (captured_until >= stop_at || stop_at.elapsed() >= MAX_LATENESS).then_some(Ended::Stopped)
    }

    /// Flushes the resampler.
    pub(super) fn flush(&mut self) -> Result<(), CaptureError> {
        self.resampler.finish(&mut self.samples)?;
        self.samples.truncate(self.max_samples);
        Ok(())
    }

    pub(super) fn finish(self, ended: Ended) -> Recording {
        Recording {
            id: self.id,
            samples: self.samples,
            chunked_samples: self.chunked_samples,
            ended,
            lost_ms: frames_ms(self.lost_frames, self.rate_hz),
            journal: self.journal,
        }
    }
}

fn frames_ms(frames: u64, rate_hz: u32) -> u32 {
    u32::try_from(frames * 1000 / u64::from(rate_hz.max(1))).unwrap_or(u32::MAX)
}
