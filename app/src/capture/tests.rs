//! Capture driven by a scripted device in real time, with the faults real ones have.

// The event that was not wanted comes back; its size is of no matter here.
#![allow(clippy::result_large_err)]

use std::f32::consts::TAU;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cpal::FromSample;

use super::source::{Fault, Feed, Opened, ring};
use super::*;
use crate::journal::{self, State};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A device of the script.
#[derive(Clone)]
struct Script {
    rate_hz: u32,
    channels: u16,
    format: Format,
    /// Frames per callback, repeated.
    callbacks: Vec<usize>,
    /// How late a callback comes after its last frame sounded.
    delay: Duration,
    /// Sample of a frame (counted from the opening).
    wave: fn(usize, u32) -> f32,
    /// What happens at a frame.
    fault: Option<(usize, Mishap)>,
}

#[derive(Clone, Copy)]
enum Format {
    F32,
    I16,
}

#[derive(Clone)]
enum Mishap {
    Fault(Fault),
    /// No callback any more, and no word of it.
    Hang,
}

/// A multiple of 2^-15, exact in 16 bits, that tells frames apart.
fn ramp(frame: usize, _rate_hz: u32) -> f32 {
    (frame % 32_000 + 1) as f32 / 32_768.0
}

fn tone(frame: usize, rate_hz: u32) -> f32 {
    0.5 * (TAU * ((frame * 440) % rate_hz as usize) as f32 / rate_hz as f32).sin()
}

fn zeros(_frame: usize, _rate_hz: u32) -> f32 {
    0.0
}

impl Script {
    fn mono(wave: fn(usize, u32) -> f32) -> Self {
        Self {
            rate_hz: RATE_HZ,
            channels: 1,
            format: Format::F32,
            callbacks: vec![160],
            delay: Duration::ZERO,
            wave,
            fault: None,
        }
    }

    fn play(&self, mut feed: Feed, opened_at: Instant, closed: &AtomicBool) {
        let (mut frame, mut fault) = (0, self.fault.clone());
        for size in self.callbacks.iter().cycle() {
            let sounded = Duration::from_secs_f64((frame + size) as f64 / f64::from(self.rate_hz));
            while opened_at.elapsed() < sounded + self.delay {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            match fault.take_if(|(at, _)| frame >= *at) {
                Some((_, Mishap::Fault(what))) => feed.fault().send(what).unwrap(),
                Some((_, Mishap::Hang)) => return,
                None => {}
            }
            let first = Duration::from_secs_f64(frame as f64 / f64::from(self.rate_hz));
            let age = opened_at.elapsed() - first;
            match self.format {
                Format::F32 => feed.write(&self.frames::<f32>(frame, *size), age),
                Format::I16 => feed.write(&self.frames::<i16>(frame, *size), age),
            }
            frame += size;
        }
    }

    /// The second channel lacks what the first has too much: their mean is the wave.
    fn frames<T: FromSample<f32>>(&self, first: usize, count: usize) -> Vec<T> {
        let frame = |i| {
            let wave = (self.wave)(i, self.rate_hz);
            let channel = move |c| T::from_sample_(if c % 2 == 0 { wave * 1.5 } else { wave * 0.5 });
            let alone = self.channels == 1;
            (0..self.channels).map(move |c| if alone { T::from_sample_(wave) } else { channel(c) })
        };
        (first..first + count).flat_map(frame).collect()
    }
}

/// Opens the devices of the list in turn; the last stays.
struct Scripted {
    devices: Vec<Result<(&'static str, Script), CaptureError>>,
    /// When the latest was opened.
    opened_at: Arc<Mutex<Option<Instant>>>,
    moved: bool,
}

struct Playing {
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Source for Scripted {
    fn open(&mut self) -> Result<Opened, CaptureError> {
        let next = if self.devices.len() > 1 { self.devices.remove(0) } else { self.devices[0].clone() };
        let (name, script) = next?;
        let (feed, tap) = ring(script.rate_hz, script.channels)?;
        let (opened_at, closed) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        *self.opened_at.lock().unwrap() = Some(opened_at);
        let thread = std::thread::spawn({
            let closed = Arc::clone(&closed);
            move || script.play(feed, opened_at, &closed)
        });
        let device = Device { id: name.into(), name: name.into(), is_default: true, is_monitor: false };
        Ok(Opened { device, tap, _stream: Box::new(Playing { closed, thread: Some(thread) }) })
    }

    fn has_moved(&mut self, _open: &Device) -> bool {
        std::mem::take(&mut self.moved)
    }
}

struct Rig {
    capture: Capture,
    events: Receiver<Event>,
    opened_at: Arc<Mutex<Option<Instant>>>,
    dir: tempfile::TempDir,
}

fn settings(dir: &Path) -> Settings {
    let journal = Journal { dir: dir.join("journal"), max_bytes: 1 << 30, sync_every: None };
    Settings { preroll_ms: 0, max_ms: 600_000, silent_after_ms: 200, journal: Some(journal) }
}

impl Rig {
    fn new(script: Script) -> Self {
        Self::of(vec![Ok(("microphone", script))], false, |_| {})
    }

    fn of(
        devices: Vec<Result<(&'static str, Script), CaptureError>>,
        moved: bool,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        change(&mut settings);
        let opened_at = Arc::new(Mutex::new(None));
        let source = Scripted { devices, opened_at: Arc::clone(&opened_at), moved };
        let (capture, events) = Capture::spawn(source, settings).unwrap();
        Self { capture, events, opened_at, dir }
    }

    fn start(&self, id: u64) {
        self.capture.start(id, About { mode: "dictate".into(), target_app: None }).unwrap();
    }

    /// The next event that `choose` takes, and those before it.
    fn wait<T>(&self, mut choose: impl FnMut(Event) -> Result<T, Event>) -> (T, Vec<Event>) {
        let mut others = Vec::new();
        loop {
            match choose(self.events.recv_timeout(PATIENCE).expect("an event")) {
                Ok(found) => return (found, others),
                Err(other) => others.push(other),
            }
        }
    }

    fn finished(&self) -> (Recording, Vec<Event>) {
        self.wait(|event| match event {
            Event::Finished(recording) => Ok(recording),
            other => Err(other),
        })
    }

    /// Waits until `samples` went out.
    fn heard(&self, samples: usize) -> Vec<f32> {
        let mut heard = Vec::new();
        while heard.len() < samples {
            if let Event::Chunk { chunk, .. } = self.events.recv_timeout(PATIENCE).expect("a chunk") {
                heard.extend(chunk.samples);
            }
        }
        heard
    }

    fn journal_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("journal")
    }
}

fn chunks(events: &[Event]) -> Vec<f32> {
    let samples = events.iter().map(|event| match event {
        Event::Chunk { chunk, .. } => &chunk.samples[..],
        _ => &[],
    });
    samples.flatten().copied().collect()
}

/// The frames of the ramp that `samples` are, without a gap.
fn frames(samples: &[f32]) -> std::ops::Range<usize> {
    let first = (samples[0] * 32_768.0) as usize - 1;
    for (i, sample) in samples.iter().enumerate() {
        assert_eq!(*sample, ramp(first + i, RATE_HZ), "sample {i} of {}", samples.len());
    }
    first..first + samples.len()
}

#[test]
fn every_format_becomes_16_khz_mono() {
    let odd = vec![1, 441, 7, 1_023, 480];
    let mono = Script { callbacks: odd.clone(), ..Script::mono(tone) };
    let scripts = [
        Script { rate_hz: 44_100, channels: 2, format: Format::I16, ..mono.clone() },
        Script { rate_hz: 48_000, ..mono.clone() },
        Script { rate_hz: 96_000, channels: 6, ..mono.clone() },
        Script { rate_hz: 8_000, format: Format::I16, ..mono.clone() },
        mono,
    ];
    for script in scripts {
        let (rate_hz, rig) = (script.rate_hz, Rig::new(script));
        rig.start(1);
        let mut live = rig.heard(6_400);
        rig.capture.stop(50).unwrap();
        let (recording, events) = rig.finished();
        live.extend(chunks(&events));
        assert_eq!(live, recording.samples[..recording.chunked_samples], "{rate_hz}");
        assert_eq!((recording.ended, recording.lost_ms), (Ended::Stopped, 0));
        // The edges are where the wave begins and ends at once, which no filter follows.
        let inner = 200..recording.samples.len() - 200;
        let error = inner.map(|i| (recording.samples[i] - tone(i, RATE_HZ)).abs()).fold(0f32, f32::max);
        assert!(error < 2e-3, "{rate_hz}: {error}");
        let (peak, rms) = events
            .iter()
            .find_map(|event| match event {
                Event::Chunk { chunk, .. } if chunk.samples.len() > 400 => Some((chunk.peak, chunk.rms)),
                _ => None,
            })
            .unwrap_or((0.5, 0.35));
        assert!((peak - 0.5).abs() < 0.05 && (rms - 0.354).abs() < 0.05, "{peak} {rms}");
    }
}

#[test]
fn all_that_sounded_between_start_and_release_and_tail_is_there() {
    // What sounds now arrives 80 ms later: stopping has to wait for it.
    let late = Script { delay: Duration::from_millis(80), ..Script::mono(ramp) };
    let rig = Rig::new(late);
    rig.start(1);
    rig.heard(3_200);
    let opened_at = rig.opened_at.lock().unwrap().unwrap();
    let released = opened_at.elapsed();
    rig.capture.stop(120).unwrap();
    let (recording, _) = rig.finished();
    let needed = ((released + Duration::from_millis(120)).as_secs_f64() * f64::from(RATE_HZ)) as usize;
    let got = frames(&recording.samples);
    assert_eq!(got.start, 0, "the first sample of the device");
    assert!(got.end >= needed, "{} of {needed}", got.end);
}

#[test]
fn preroll_comes_before_the_start_and_is_not_kept_while_idle() {
    let rig = Rig::of(vec![Ok(("microphone", Script::mono(ramp)))], false, |s| s.preroll_ms = 300);
    std::thread::sleep(Duration::from_millis(700));
    assert!(!rig.journal_dir().exists(), "nothing on disk while idle");
    for id in [1, 2] {
        let asked = rig.opened_at.lock().unwrap().unwrap().elapsed();
        rig.start(id);
        rig.heard(1_600);
        rig.capture.stop(0).unwrap();
        let (recording, _) = rig.finished();
        let got = frames(&recording.samples);
        let asked = (asked.as_secs_f64() * f64::from(RATE_HZ)) as usize;
        assert!(got.start < asked - 1_600, "recording {id} starts at {} of {asked}", got.start);
        let on_disk = std::fs::metadata(recording.journal.unwrap().path()).unwrap().len();
        assert_eq!(on_disk, 44 + 2 * recording.samples.len() as u64);
        std::thread::sleep(Duration::from_millis(400));
    }
}

#[test]
fn a_device_that_vanishes_leaves_what_it_gave() {
    let faults =
        [(Mishap::Fault(Fault::Lost("unplugged".into())), "unplugged"), (Mishap::Hang, "gave nothing")];
    for (mishap, why) in faults {
        let rig = Rig::new(Script { fault: Some((8_000, mishap)), ..Script::mono(ramp) });
        rig.start(1);
        let (recording, events) = rig.finished();
        let reason = events.iter().find_map(|event| match event {
            Event::Lost { id: Some(1), reason } => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.as_ref().is_some_and(|reason| reason.contains(why)), "{reason:?}");
        assert_eq!(recording.ended, Ended::Lost);
        let got = frames(&recording.samples);
        assert!(got.start == 0 && got.end >= 8_000, "{got:?}");
        rig.capture.stop(0).unwrap(); // the key is released: nothing is in progress
        rig.start(2); // and the next press works again
        rig.heard(1_600);
    }
}

#[test]
fn a_device_that_begins_late_is_waited_for() {
    let rig = Rig::new(Script { delay: Duration::from_millis(1_700), ..Script::mono(ramp) });
    rig.start(1);
    rig.heard(1_600);
    rig.capture.stop(0).unwrap();
    let (recording, _) = rig.finished();
    assert_eq!(recording.ended, Ended::Stopped);
    assert_eq!(frames(&recording.samples).start, 0);
}

#[test]
fn silence_is_told_once() {
    let rig = Rig::new(Script::mono(zeros));
    rig.start(1);
    let (for_ms, _) = rig.wait(|event| match event {
        Event::Silent { for_ms, .. } => Ok(for_ms),
        other => Err(other),
    });
    assert!(for_ms >= 200);
    let mut samples = 0;
    while samples < RATE_HZ as usize {
        match rig.events.recv_timeout(PATIENCE).unwrap() {
            Event::Chunk { chunk, .. } => samples += chunk.samples.len(),
            Event::Silent { .. } => panic!("told twice"),
            _ => {}
        }
    }
    let tone = Rig::new(Script::mono(tone));
    tone.start(1);
    std::thread::sleep(Duration::from_millis(500));
    tone.capture.stop(0).unwrap();
    assert!(!tone.finished().1.iter().any(|event| matches!(event, Event::Silent { .. })));
}

#[test]
fn lost_samples_are_counted_and_told() {
    let (mut feed, mut tap) = ring(16_000, 2).unwrap();
    feed.write(&vec![0.25f32; 2 * 79_990], Duration::ZERO);
    feed.write(&[0.5f32, f32::NAN, 0.5, 0.25], Duration::ZERO);
    feed.write(&vec![0.25f32; 2 * 100], Duration::ZERO);
    assert_eq!((tap.dropped_frames(), tap.dropped_frames()), (92, 0));
    let mut got = Vec::new();
    tap.drain(|samples| got.extend_from_slice(samples));
    assert_eq!((got.len(), &got[79_989..79_993]), (80_000, &[0.25, 0.0, 0.375, 0.25][..]));
    assert!(ring(0, 1).is_err() && ring(16_000, 0).is_err() && ring(u32::MAX, 1).is_err());

    let rig = Rig::new(Script { fault: Some((800, Mishap::Fault(Fault::Xrun))), ..Script::mono(ramp) });
    rig.start(1);
    rig.wait(|event| matches!(event, Event::Overrun { lost_ms: 0 }).then_some(()).ok_or(event));
}

#[test]
fn a_recording_ends_at_its_maximum_length() {
    let rig = Rig::of(vec![Ok(("microphone", Script::mono(ramp)))], false, |s| s.max_ms = 300);
    rig.start(1);
    let (recording, events) = rig.finished();
    assert_eq!((recording.ended, frames(&recording.samples)), (Ended::MaxLength, 0..4_800));
    assert!(chunks(&events).len() <= 4_800);
    rig.start(2);
    assert_eq!(rig.finished().0.id, 2);
}

#[test]
fn one_recording_at_a_time() {
    let rig = Rig::new(Script::mono(ramp));
    rig.capture.stop(0).unwrap(); // nothing to stop
    rig.start(1);
    rig.heard(1_600);
    rig.start(2);
    let (error, _) = rig.wait(|event| match event {
        Event::Failed { id: 2, error } => Ok(error),
        other => Err(other),
    });
    assert_eq!(error, CaptureError::Busy);
    rig.capture.stop(0).unwrap();
    assert_eq!(rig.finished().0.id, 1);
}

#[test]
fn a_recording_that_follows_at_once_waits_for_the_last_sound_of_the_one_before() {
    // The last frames before the stop come a tenth of a second behind it.
    let delay = Duration::from_millis(100);
    let rig = Rig::new(Script { delay, ..Script::mono(ramp) });
    rig.start(1);
    rig.heard(1_600);
    rig.capture.stop(0).unwrap();
    rig.start(2);
    let (first, _) = rig.finished();
    assert_eq!((first.id, first.ended), (1, Ended::Stopped));
    assert!(frames(&first.samples).end >= 1_600 + 1_500, "{:?}", frames(&first.samples));
    rig.heard(1_600);
    rig.capture.stop(0).unwrap();
    let (second, _) = rig.finished();
    assert_eq!((second.id, second.ended), (2, Ended::Stopped));
    assert!(frames(&second.samples).start >= frames(&first.samples).end, "each sample once");
}

#[test]
fn the_device_is_looked_up_at_each_start() {
    let script = Script::mono(ramp);
    let devices =
        vec![Err(CaptureError::NoDevice), Ok(("built-in", script.clone())), Ok(("headset", script))];
    let rig = Rig::of(devices, false, |_| {});
    rig.start(1);
    let failed = rig.wait(|event| match event {
        Event::Failed { id: 1, error } => Ok(error),
        other => Err(other),
    });
    assert_eq!(failed.0, CaptureError::NoDevice);
    for (id, name) in [(2, "built-in"), (3, "headset")] {
        rig.start(id);
        let (device, _) = started(&rig);
        assert_eq!(device, name);
        rig.capture.stop(0).unwrap();
        rig.finished();
    }
}

fn started(rig: &Rig) -> (String, u32) {
    let choose = |event| match event {
        Event::Started { device, preroll_ms, .. } => Ok((device.id, preroll_ms)),
        other => Err(other),
    };
    rig.wait(choose).0
}

#[test]
fn an_open_microphone_follows_the_default_and_comes_back() {
    let script = Script::mono(ramp);
    let dying =
        Script { fault: Some((1_600, Mishap::Fault(Fault::Lost("unplugged".into())))), ..script.clone() };
    let devices = vec![
        Ok(("dying", dying)),
        Err(CaptureError::NoDevice),
        Ok(("back", script.clone())),
        Ok(("new", script)),
    ];
    let rig = Rig::of(devices, true, |s| s.preroll_ms = 200);
    let (reason, _) = rig.wait(|event| match event {
        Event::Lost { id: None, reason } => Ok(reason),
        other => Err(other),
    });
    assert_eq!(reason, "unplugged");
    // The second opening fails and is not told again; the third is left for the new default.
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(rig.events.try_recv().is_err());
    rig.start(1);
    assert_eq!(started(&rig).0, "new");
}

#[test]
fn an_owner_that_does_not_listen_loses_nothing() {
    let rig = Rig::new(Script { callbacks: vec![16], ..Script::mono(ramp) });
    rig.start(1);
    std::thread::sleep(Duration::from_millis(1_500)); // more chunks than may wait
    rig.capture.stop(0).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let (recording, events) = rig.finished();
    let live = chunks(&events);
    assert_eq!(live.len(), recording.chunked_samples);
    assert!(live.len() < recording.samples.len(), "the channel was full");
    assert_eq!(live, recording.samples[..live.len()]);
    assert!(frames(&recording.samples).len() >= 22_400);
}

#[test]
fn a_recording_in_progress_is_on_disk() {
    let rig = Rig::new(Script::mono(ramp));
    rig.start(9);
    let heard = rig.heard(4_800);
    assert!(journal::recover(&rig.journal_dir()).unwrap().is_empty(), "still held");
    let Rig { capture, dir, .. } = rig;
    drop(capture);
    let found = journal::recover(&dir.path().join("journal")).unwrap().remove(0);
    assert_eq!((found.id, found.state, found.about.mode.as_str()), (9, State::Recording, "dictate"));
    let samples = found.samples().unwrap();
    assert!(samples.len() >= heard.len());
    assert_eq!(frames(&samples).start, 0);
}

#[test]
fn without_a_journal_the_recording_goes_on_in_memory() {
    let rig = Rig::new(Script::mono(ramp));
    std::fs::write(rig.journal_dir(), "in the way").unwrap();
    rig.start(1);
    rig.heard(1_600);
    rig.capture.stop(0).unwrap();
    let (recording, _) = rig.finished();
    assert!(recording.journal.is_none());
    assert!(frames(&recording.samples).len() >= 1_600);
    rig.start(2);
    let (reason, _) = rig.wait(|event| match event {
        Event::JournalStopped { reason } => Ok(reason),
        other => Err(other),
    });
    assert!(reason.contains("cannot be used"), "{reason}");
}
