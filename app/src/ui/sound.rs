//! Short sounds for start, stop and error, made here and played on the default output.
//!
//! The device is opened with a cue and closed again some seconds after the last, so that a dictation's
//! second cue comes at once and a sound card can sleep between dictations.

use super::worker::{Inbox, Received, Worker};
use super::{Event, Problem, report};
use crate::capture::sound_system;
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{FromSample, SampleFormat, SizedSample, StreamConfig};
use std::f32::consts::TAU;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// How long the device stays open after a cue.
const LINGER: Duration = Duration::from_secs(4);
/// A start cue that would come later than this after its request would be in the recording, and is
/// left out; the device is then open for the next.
const START_LIMIT: Duration = Duration::from_millis(120);
/// Silence before the first cue of a stream: sound servers swallow what comes before they run.
const LEAD: Duration = Duration::from_millis(30);
/// Amplitude at full volume, of 1: -20 dB.
const PEAK: f32 = 0.1;
/// How long a device may take to accept a stream.
const OPEN_LIMIT: Duration = Duration::from_secs(3);

/// A sound with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cue {
    /// The microphone is open: a tick of 40 ms. Play it as the microphone opens; what of the
    /// recording falls into [`Cue::duration`] after it may hold the tick.
    Start,
    /// The microphone is closed: a lower tick of 40 ms.
    Stop,
    /// Something failed: two low tones.
    Error,
}

/// A sine that swells and fades: its frequency and length.
struct Tone {
    hz: f32,
    ms: u16,
}

impl Cue {
    const fn tones(self) -> &'static [Tone] {
        match self {
            Self::Start => &[Tone { hz: 1320.0, ms: 40 }],
            Self::Stop => &[Tone { hz: 880.0, ms: 40 }],
            Self::Error => &[Tone { hz: 392.0, ms: 90 }, Tone { hz: 294.0, ms: 140 }],
        }
    }

    /// How long it sounds.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.tones().iter().map(|tone| u64::from(tone.ms)).sum())
    }

    /// Its samples, -1 to 1, one channel. Starts and ends at zero, so that nothing clicks.
    fn samples(self, rate_hz: u32, volume: f32) -> Vec<f32> {
        let peak = PEAK * volume.clamp(0.0, 1.0);
        let rate = rate_hz as f32;
        let tone = |tone: &Tone| {
            let (hz, count) = (tone.hz, rate_hz * u32::from(tone.ms) / 1000);
            (0..count).map(move |at| {
                let part = at as f32 / count.saturating_sub(1).max(1) as f32;
                // Rises within a tenth and dies away like something struck.
                let swell = (part * 10.0).min(1.0) * (1.0 - part).powi(2);
                let time = at as f32 / rate;
                peak * swell * ((TAU * hz * time).sin() + 0.25 * (2.0 * TAU * hz * time).sin())
            })
        };
        self.tones().iter().flat_map(tone).collect()
    }
}

/// Plays cues.
#[derive(Debug)]
pub(crate) struct Sound(Worker<(Cue, Instant)>);

impl Sound {
    /// Starts the thread; the device is opened with the first cue. `volume` is 0 to 1.
    pub(crate) fn start(volume: f32, events: &SyncSender<Event>) -> Self {
        let reports = events.clone();
        Self(Worker::spawn("sounds", events, move |inbox| {
            run(volume, inbox, &reports);
            Ok(())
        }))
    }

    /// Plays `cue` after what is being played. Never waits.
    pub(crate) fn play(&self, cue: Cue) {
        self.0.post((cue, Instant::now()));
    }
}

fn run(volume: f32, inbox: &Inbox<(Cue, Instant)>, events: &SyncSender<Event>) {
    let mut reported = None;
    while let Some(first) = inbox.take() {
        // A failed device is tried again with the next cue, and each cause told once.
        if let Err(problem) = play_until_idle(first, volume, inbox)
            && reported.as_ref() != Some(&problem)
        {
            report(events, Event::Problem(problem.clone()));
            reported = Some(problem);
        }
    }
}

fn play_until_idle(first: (Cue, Instant), volume: f32, inbox: &Inbox<(Cue, Instant)>) -> Result<(), Problem> {
    let output = Output::open()?;
    tracing::debug!("output open {} ms after its cue was asked for", first.1.elapsed().as_millis());
    let mut next = first;
    loop {
        let (cue, asked) = next;
        if cue != Cue::Start || asked.elapsed() < START_LIMIT {
            output.play(cue, volume)?;
        }
        match inbox.take_until(Instant::now() + LINGER) {
            Received::Value(newer) => next = newer,
            Received::TimedOut => return Ok(()),
            Received::Closed => {
                // The last cue, such as that of quitting, is heard to its end.
                std::thread::sleep(cue.duration() + Duration::from_millis(60));
                return Ok(());
            }
        }
    }
}

/// An open stream.
struct Output {
    cues: SyncSender<Vec<f32>>,
    failed: Receiver<cpal::Error>,
    rate_hz: u32,
    _stream: cpal::Stream,
}

impl Output {
    fn open() -> Result<Self, Problem> {
        let no_sound = |error: cpal::Error| Problem::NoSound(error.to_string());
        let device = sound_system().and_then(|system| system.default_output_device());
        let device = device.ok_or_else(|| Problem::NoSound("there is none".into()))?;
        let supported = device.default_output_config().map_err(no_sound)?;
        let (format, config) = (supported.sample_format(), supported.config());
        let (cues, queue) = sync_channel(5);
        let (failing, failed) = sync_channel(1);
        let rate_hz = config.sample_rate;
        let on_error = move |error: cpal::Error| {
            if matches!(
                error.kind(),
                cpal::ErrorKind::DeviceNotAvailable | cpal::ErrorKind::StreamInvalidated
            ) {
                // Only the first matters.
                failing.try_send(error).ok();
            }
        };
        let stream = match format {
            SampleFormat::F32 => stream::<f32>(&device, config, queue, on_error),
            SampleFormat::I16 => stream::<i16>(&device, config, queue, on_error),
            SampleFormat::I32 => stream::<i32>(&device, config, queue, on_error),
            SampleFormat::U8 => stream::<u8>(&device, config, queue, on_error),
            other => return Err(Problem::NoSound(format!("its samples are {other}"))),
        };
        let stream = stream.map_err(no_sound)?;
        stream.play().map_err(no_sound)?;
        // The queue is empty, so there is room.
        cues.try_send(vec![0.0; (LEAD.as_secs_f32() * rate_hz as f32) as usize]).ok();
        Ok(Self { cues, failed, rate_hz, _stream: stream })
    }

    fn play(&self, cue: Cue, volume: f32) -> Result<(), Problem> {
        if let Ok(error) = self.failed.try_recv() {
            return Err(Problem::NoSound(error.to_string()));
        }
        // A queue that is full holds more sound than anyone wants to hear.
        self.cues.try_send(cue.samples(self.rate_hz, volume)).ok();
        Ok(())
    }
}

fn stream<T: SizedSample + FromSample<f32>>(
    device: &cpal::Device,
    config: StreamConfig,
    queue: Receiver<Vec<f32>>,
    on_error: impl FnMut(cpal::Error) + Send + 'static,
) -> Result<cpal::Stream, cpal::Error> {
    let channels = usize::from(config.channels).max(1);
    let mut source = Source { queue, cue: Vec::new(), at: 0 };
    let fill = move |output: &mut [T], _: &cpal::OutputCallbackInfo| {
        for frame in output.chunks_mut(channels) {
            frame.fill(T::from_sample(source.next()));
        }
    };
    device.build_output_stream(config, fill, on_error, Some(OPEN_LIMIT))
}

/// One sample after the other of the queued cues, then silence.
struct Source {
    queue: Receiver<Vec<f32>>,
    cue: Vec<f32>,
    at: usize,
}

impl Source {
    fn next(&mut self) -> f32 {
        if self.at == self.cue.len() {
            match self.queue.try_recv() {
                Ok(cue) => (self.cue, self.at) = (cue, 0),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return 0.0,
            }
        }
        let sample = self.cue.get(self.at).copied().unwrap_or(0.0);
        self.at = (self.at + 1).min(self.cue.len());
        sample
    }
}

#[cfg(test)]
#[path = "sound_tests.rs"]
mod tests;
