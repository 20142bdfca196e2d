//! Where samples come from, and the ring through which they leave the real-time callback.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use cpal::FromSample;
use rtrb::{Consumer, Producer, RingBuffer};

use super::CaptureError;

/// What the ring holds: long enough for a disk that stalls the journal.
const RING_S: usize = 5;
/// Rates the ring is made for; also the bound on its size.
const RATES_HZ: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Faults that may wait for the capture thread.
const WAITING_FAULTS: usize = 8;

/// A source of sound as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// The sound system's own name of it.
    pub(crate) id: String,
    /// Its name for people.
    pub(crate) name: String,
    /// It is what the system would choose.
    pub(crate) is_default: bool,
    /// It seems to play back what an output plays, rather than to hear anyone.
    pub(crate) is_monitor: bool,
}

/// Something that can be opened and then feeds samples; a microphone, or a script in tests.
pub(crate) trait Source: Send + 'static {
    /// Looks the device up and starts it. Takes at most a few seconds.
    ///
    /// # Errors
    /// See [`CaptureError`].
    fn open(&mut self) -> Result<Opened, CaptureError>;

    /// Whether the next `open` would choose another device than `open` is: the user plugged one in,
    /// or switched the default.
    fn has_moved(&mut self, open: &Device) -> bool;
}

/// A running device. Dropping it stops the device.
pub(crate) struct Opened {
    pub(crate) device: Device,
    pub(crate) tap: Tap,
    /// Held for its `Drop`.
    pub(crate) _stream: Box<dyn Send>,
}

/// What a device reports besides samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The sound system dropped samples before we saw them.
    Xrun,
    /// The device is gone.
    Lost(String),
}

/// What both ends of the ring see.
#[derive(Debug)]
struct Shared {
    epoch: Instant,
    /// When the first samples arrived, in ns after the epoch; zero: not yet.
    first_at_ns: AtomicU64,
    /// Everything that sounded before this time (ns after the epoch) is in the ring.
    captured_until_ns: AtomicU64,
    /// Frames that found the ring full.
    dropped_frames: AtomicU64,
}

/// Makes a ring for a device of this format.
///
/// # Errors
/// [`CaptureError::Rate`] for a rate no device has.
pub(crate) fn ring(rate_hz: u32, channels: u16) -> Result<(Feed, Tap), CaptureError> {
    if !RATES_HZ.contains(&rate_hz) || channels == 0 {
        return Err(CaptureError::Rate { rate_hz });
    }
    let (producer, consumer) = RingBuffer::new(rate_hz as usize * RING_S);
    let (fault, faults) = mpsc::sync_channel(WAITING_FAULTS);
    let shared = Arc::new(Shared {
        epoch: Instant::now(),
        first_at_ns: AtomicU64::new(0),
        captured_until_ns: AtomicU64::new(0),
        dropped_frames: AtomicU64::new(0),
    });
    let channels = usize::from(channels);
    let feed = Feed { producer, shared: Arc::clone(&shared), fault, rate_hz, channels };
    Ok((feed, Tap { consumer, shared, faults, rate_hz, told_frames: 0 }))
}

/// The callback's end: neither allocates nor waits.
pub(crate) struct Feed {
    producer: Producer<f32>,
    shared: Arc<Shared>,
    fault: SyncSender<Fault>,
    rate_hz: u32,
    channels: usize,
}

impl Feed {
    /// Takes interleaved frames, whose channels are averaged. `age` is how long ago the first of
    /// them sounded. What finds no room is counted and dropped.
    pub(crate) fn write<T>(&mut self, interleaved: &[T], age: Duration)
    where
        T: Copy,
        f32: FromSample<T>,
    {
        let now = self.shared.epoch.elapsed();
        let frames = interleaved.len() / self.channels;
        if frames == 0 {
            return;
        }
        let scale = 1.0 / self.channels as f32;
        let mono = interleaved.chunks_exact(self.channels).map(|frame| {
            let mean = frame.iter().map(|sample| f32::from_sample_(*sample)).sum::<f32>() * scale;
            // One bad value would spread through the resampler.
            if mean.is_finite() { mean } else { 0.0 }
        });
        let taken = frames.min(self.producer.slots());
        if let Ok(chunk) = self.producer.write_chunk_uninit(taken) {
            chunk.fill_from_iter(mono);
        }
        self.shared.dropped_frames.fetch_add((frames - taken) as u64, Ordering::Relaxed);
        if self.shared.first_at_ns.load(Ordering::Relaxed) == 0 {
            self.shared.first_at_ns.store(nanos(now).max(1), Ordering::Relaxed);
        }
        let length = Duration::from_secs_f64(frames as f64 / f64::from(self.rate_hz));
        let until = now.saturating_sub(age.saturating_sub(length));
        self.shared.captured_until_ns.store(nanos(until), Ordering::Release);
    }

    /// A sender of faults, for the sound system's error callback.
    pub(crate) fn fault(&self) -> SyncSender<Fault> {
        self.fault.clone()
    }
}

/// The capture thread's end.
pub(crate) struct Tap {
    consumer: Consumer<f32>,
    shared: Arc<Shared>,
    faults: Receiver<Fault>,
    pub(crate) rate_hz: u32,
    told_frames: u64,
}

impl Tap {
    /// Hands what is in the ring, mono at the device's rate, to `use_samples`; returns up to when
    /// that is everything that sounded.
    pub(crate) fn drain(&mut self, mut use_samples: impl FnMut(&[f32])) -> Instant {
        let until = Duration::from_nanos(self.shared.captured_until_ns.load(Ordering::Acquire));
        if let Ok(chunk) = self.consumer.read_chunk(self.consumer.slots()) {
            let (first, second) = chunk.as_slices();
            use_samples(first);
            use_samples(second);
            chunk.commit_all();
        }
        self.shared.epoch + until
    }

    /// When the first samples arrived.
    pub(crate) fn first_at(&self) -> Option<Instant> {
        let first_at_ns = self.shared.first_at_ns.load(Ordering::Relaxed);
        (first_at_ns > 0).then(|| self.shared.epoch + Duration::from_nanos(first_at_ns))
    }

    /// Frames dropped since the last call.
    pub(crate) fn dropped_frames(&mut self) -> u64 {
        let all = self.shared.dropped_frames.load(Ordering::Relaxed);
        all - std::mem::replace(&mut self.told_frames, all)
    }

    /// The next fault that was reported.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.faults.try_recv().ok()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
