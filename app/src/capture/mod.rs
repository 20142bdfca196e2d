//! From a microphone to recordings: 16 kHz mono samples, live and whole.
//!
//! Three threads and two queues. The sound system's own callback mixes down to mono and writes into
//! a lock-free ring, nothing else ([`source::Feed`]). The capture thread empties the ring,
//! resamples, appends to the journal and tells its owner through one bounded channel of [`Event`]s.
//! An owner that does not listen loses no sample: a chunk waits until there is room, and the
//! finished [`Recording`] holds everything anyway.
//!
//! What is where when the process is killed: a sample is on disk 100 ms after it was captured (one
//! fragment of the sound system, 40 ms; one look at the ring, 10 ms; one block of the resampler and
//! its delay, 48 ms at 48 kHz, 60 ms at 44.1 kHz, none at 16 kHz).

mod microphone;
mod resample;
mod source;
mod take;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::journal::{About, Entry, Journal};
pub(crate) use microphone::{Microphone, devices, sound_system};
pub(crate) use source::{Device, Source};

/// Samples per second of everything that leaves this module.
pub(crate) const RATE_HZ: u32 = 16_000;
/// Events that may wait for the owner; chunks that find no room are joined to the next.
const WAITING_EVENTS: usize = 64;
/// Orders that may wait while a device is being opened.
const WAITING_COMMANDS: usize = 16;

/// How to capture. Durations in ms.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Audio from before the start that a recording begins with. Zero: the microphone is opened at
    /// the start and closed at the end; otherwise it is always open.
    pub(crate) preroll_ms: u32,
    /// Length at which a recording ends by itself.
    pub(crate) max_ms: u32,
    /// Length of nothing but zeros after which the user is told.
    pub(crate) silent_after_ms: u32,
    /// Where recordings are kept while they are made; `None`: only in memory.
    pub(crate) journal: Option<Journal>,
}

/// Why there is no recording. Each message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CaptureError {
    /// The sound system knows no source at all.
    #[error("no microphone is connected; plug one in, or check that the sound server runs")]
    NoDevice,
    /// No source has that name.
    #[error("no microphone is called \"{wanted}\"; there are: {}", available.join(", "))]
    NotFound { wanted: String, available: Vec<String> },
    /// It exists, and cannot be used.
    #[error(
        "the microphone {device} cannot be opened ({reason}); close what else uses it, or choose another"
    )]
    Refused { device: String, reason: String },
    /// It was opened, and nothing came.
    #[error("the microphone did not start within {limit_ms} ms; reconnect it, or choose another")]
    TimedOut { limit_ms: u64 },
    /// Its rate cannot be brought to 16 kHz.
    #[error("sound at {rate_hz} Hz cannot be converted; choose another rate or microphone")]
    Rate { rate_hz: u32 },
    /// One recording at a time.
    #[error("a recording is in progress; end it first")]
    Busy,
    /// The system gives no more threads.
    #[error("a thread for the microphone could not be started; close other programs")]
    Thread,
    /// The capture thread has stopped, or has not taken orders for seconds.
    #[error("capture does not answer; start the program again")]
    Stalled,
}

/// What happens while capturing. Each `start` is answered by exactly one of
/// [`Finished`](Event::Finished) or [`Failed`](Event::Failed), last.
#[derive(Debug)]
pub(crate) enum Event {
    /// The first sample is there.
    Started {
        id: u64,
        device: Device,
        /// From the call of `start` to the first sample; zero if it was there before (pre-roll).
        first_sample_after_ms: u32,
        /// Audio from before the start.
        preroll_ms: u32,
    },
    /// New samples of the recording in progress, without gap or overlap.
    Chunk { id: u64, chunk: Chunk },
    /// Nothing but zeros for so long: muted, or the source is the monitor of a silent output.
    Silent { for_ms: u32, device: Device },
    /// Samples were lost, as the machine was too busy. `lost_ms` is zero where the sound system
    /// does not say how many.
    Overrun { lost_ms: u32 },
    /// Journalling stopped, capturing goes on in memory.
    JournalStopped { reason: String },
    /// The microphone vanished. What was captured follows as `Finished`; without `id` none was
    /// being captured, and an always open microphone is tried again each second.
    Lost { id: Option<u64>, reason: String },
    /// A recording is complete.
    Finished(Recording),
    /// A recording could not begin.
    Failed { id: u64, error: CaptureError },
}

/// A stretch of a recording in progress.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// 16 kHz mono, nominally in -1..=1.
    pub(crate) samples: Vec<f32>,
    /// Greatest magnitude.
    pub(crate) peak: f32,
    /// Root of the mean square.
    pub(crate) rms: f32,
}

impl Chunk {
    fn new(samples: Vec<f32>) -> Self {
        let peak = samples.iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
        let power: f32 = samples.iter().map(|sample| sample * sample).sum();
        let rms = (power / samples.len().max(1) as f32).sqrt();
        Self { samples, peak, rms }
    }
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By `stop`.
    Stopped,
    /// It reached its maximum length.
    MaxLength,
    /// The microphone vanished.
    Lost,
}

/// A complete recording.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) id: u64,
    /// All of it, 16 kHz mono, nominally in -1..=1.
    pub(crate) samples: Vec<f32>,
    /// How many of the samples went out as chunks; the rest is only here.
    pub(crate) chunked_samples: usize,
    pub(crate) ended: Ended,
    /// Audio lost to overruns.
    pub(crate) lost_ms: u32,
    /// Its place on disk, to be told when the text is delivered.
    pub(crate) journal: Option<Entry>,
}

enum Command {
    Start { id: u64, about: About, at: Instant },
    Stop { until: Instant },
    Split { next: u64, about: About, at: Instant },
}

/// The capture thread's owner. Dropping it ends the thread; a recording in progress stays in the
/// journal.
#[derive(Debug)]
pub(crate) struct Capture {
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts the capture thread; with pre-roll it opens the microphone at once.
    ///
    /// # Errors
    /// [`CaptureError::Thread`].
    pub(crate) fn spawn(
        source: impl Source,
        settings: Settings,
    ) -> Result<(Self, Receiver<Event>), CaptureError> {
        let (commands, orders) = mpsc::sync_channel(WAITING_COMMANDS);
        let (events, received) = mpsc::sync_channel(WAITING_EVENTS);
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || thread::CaptureThread::new(source, settings, events).run(&orders))
            .map_err(|_| CaptureError::Thread)?;
        Ok((Self { commands: Some(commands), thread: Some(thread) }, received))
    }

    /// Begins recording `id` (unique over restarts, such as the Unix time in ms). Returns at once.
    /// While another is in progress it fails with [`CaptureError::Busy`]; one that was stopped ends first.
    ///
    /// # Errors
    /// [`CaptureError::Stalled`].
    pub(crate) fn start(&self, id: u64, about: About) -> Result<(), CaptureError> {
        self.send(Command::Start { id, about, at: Instant::now() })
    }

    /// Ends the recording in progress, if any, `tail_ms` from now. Returns at once; everything
    /// captured up to then follows as [`Event::Finished`].
    ///
    /// # Errors
    /// [`CaptureError::Stalled`].
    pub(crate) fn stop(&self, tail_ms: u32) -> Result<(), CaptureError> {
        self.send(Command::Stop { until: Instant::now() + Duration::from_millis(tail_ms.into()) })
    }

    /// Ends the recording in progress and begins `next` with the sample after its last. Returns at once.
    ///
    /// # Errors
    /// [`CaptureError::Stalled`].
    pub(crate) fn split(&self, next: u64, about: About) -> Result<(), CaptureError> {
        self.send(Command::Split { next, about, at: Instant::now() })
    }

    fn send(&self, command: Command) -> Result<(), CaptureError> {
        let commands = self.commands.as_ref().ok_or(CaptureError::Stalled)?;
        commands.try_send(command).map_err(|_| CaptureError::Stalled)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there was reported there.
            let _ = thread.join();
        }
    }
}
