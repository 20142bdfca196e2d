//! Microphones through cpal: PulseAudio's protocol (which PipeWire speaks too) or ALSA on Linux,
//! Core Audio and WASAPI elsewhere.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{BufferSize, ErrorKind, FromSample, SampleFormat, SizedSample, StreamConfig};

use super::CaptureError;
use super::source::{Device, Fault, Feed, Opened, Source, Tap, ring};

/// Sound per callback that is asked for. Left to itself, PulseAudio gives two seconds at once. cpal
/// makes this the length of the server's queue too: of 10 ms, a busy machine silently lost a tenth.
const FRAGMENT_MS: u32 = 40;
/// How long a device may take to open.
const OPEN_LIMIT: Duration = Duration::from_millis(3_000);
/// How long any other answer of the sound system may take.
const ANSWER_LIMIT: Duration = Duration::from_millis(1_000);

/// How often an open device is looked for.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// What may wait for the thread: an opening, and the closing before it.
const WAITING_TASKS: usize = 4;

type Task = Box<dyn FnOnce(&mut Host) + Send>;

/// The microphone of a name, or the system's default, looked up at each opening.
///
/// cpal waits for the sound server without limit; so it lives on a thread of its own, which is left
/// behind if it hangs.
pub(crate) struct Microphone {
    tasks: Option<SyncSender<Task>>,
    thread: Option<JoinHandle<()>>,
    gone: Receiver<()>,
    wanted: Option<String>,
}

impl Microphone {
    /// `wanted` is a part of a name or identifier, upper or lower case; `None` is the default. The
    /// connection to the sound server is made now, to be there when a key is pressed.
    ///
    /// # Errors
    /// [`CaptureError::Thread`].
    pub(crate) fn new(wanted: Option<String>) -> Result<Self, CaptureError> {
        let (tasks, orders) = mpsc::sync_channel::<Task>(WAITING_TASKS);
        let (going, gone) = mpsc::sync_channel(1);
        let run = move || {
            let mut host = Host::default();
            let _ = host.get();
            loop {
                match orders.recv_timeout(WATCH_EVERY) {
                    Ok(task) => task(&mut host),
                    Err(RecvTimeoutError::Timeout) => host.watch(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            drop(host);
            let _ = going.send(());
        };
        let thread = std::thread::Builder::new().name("microphone".into()).spawn(run);
        let thread = Some(thread.map_err(|_| CaptureError::Thread)?);
        Ok(Self { tasks: Some(tasks), thread, gone, wanted })
    }

    /// Does `task` on the thread; `None` if that takes longer than `limit`.
    fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        task: impl FnOnce(&mut Host) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        let task: Task = Box::new(move |host| {
            let _ = reply.try_send(task(host));
        });
        self.tasks.as_ref()?.try_send(task).ok()?;
        answer.recv_timeout(limit).ok()
    }
}

impl Source for Microphone {
    fn open(&mut self) -> Result<Opened, CaptureError> {
        let (wanted, tasks) = (self.wanted.clone(), self.tasks.clone().ok_or(CaptureError::Thread)?);
        let task = move |host: &mut Host| {
            let running = host.try_twice(|host| open(host, wanted.as_deref()))?;
            host.watched = Some(running.watched);
            let stream = Box::new(Open { stream: Some(running.stream), tasks });
            Ok(Opened { device: running.device, tap: running.tap, _stream: stream })
        };
        let timed_out = CaptureError::TimedOut { limit_ms: OPEN_LIMIT.as_millis() as u64 };
        self.ask(OPEN_LIMIT, task).unwrap_or(Err(timed_out))
    }

    fn has_moved(&mut self, open: &Device) -> bool {
        let wanted = self.wanted.clone();
        let found = self
            .ask(ANSWER_LIMIT, move |host| find(host.get()?, wanted.as_deref()).map(|(_, device)| device.id));
        // Without an answer the open device is as good as any.
        matches!(found, Some(Ok(id)) if id != open.id)
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        self.tasks = None;
        if self.gone.recv_timeout(ANSWER_LIMIT) != Err(RecvTimeoutError::Timeout)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Closes its stream on the microphone's thread, as that may wait for the sound server.
struct Open {
    stream: Option<(cpal::Stream, Arc<()>)>,
    tasks: SyncSender<Task>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let stream = self.stream.take();
        if let Err(TrySendError::Full(task)) = self.tasks.try_send(Box::new(move |_| close(stream))) {
            // That thread hangs; so would this one.
            std::mem::forget(task);
        }
    }
}

/// Drops a stream, before another is opened. One whose sound server died may wait for it for ever (ALSA's plugin for
/// PulseAudio does): it is left to a thread of its own.
fn close(stream: impl Send + 'static) {
    let (closing, closed) = mpsc::sync_channel(1);
    let close = move || {
        drop(stream);
        let _ = closing.try_send(());
    };
    if std::thread::Builder::new().name("close".into()).spawn(close).is_ok() {
        let _ = closed.recv_timeout(ANSWER_LIMIT);
    }
}

/// The sources there are, the default first.
///
/// # Errors
/// [`CaptureError::NoDevice`] if the sound system cannot be asked, [`CaptureError::TimedOut`].
pub(crate) fn devices() -> Result<Vec<Device>, CaptureError> {
    let all = |host: &cpal::Host| Ok(list(host)?.into_iter().map(|(_, device)| device).collect());
    let found = Microphone::new(None)?.ask(ANSWER_LIMIT, move |host| host.try_twice(all));
    let timed_out = CaptureError::TimedOut { limit_ms: ANSWER_LIMIT.as_millis() as u64 };
    let mut found: Vec<Device> = found.unwrap_or(Err(timed_out))?;
    found.sort_by_key(|device| !device.is_default);
    Ok(found)
}

/// The connection to the sound system, made when first needed and again when it broke.
#[derive(Default)]
struct Host {
    connection: Option<cpal::Host>,
    watched: Option<Watched>,
}

/// An open device that has to stay there. PulseAudio moves the streams of a microphone that is
/// unplugged to another source, be it the monitor of the speakers, and cpal does not tell.
struct Watched {
    id: cpal::DeviceId,
    fault: SyncSender<Fault>,
    /// Lives as long as the stream.
    stream: Weak<()>,
}

impl Host {
    fn get(&mut self) -> Result<&cpal::Host, CaptureError> {
        // ALSA is what there is while no sound server runs; one may have come up since.
        if self.connection.as_ref().is_some_and(|host| !moves_streams(host)) {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = sound_system();
        }
        self.connection.as_ref().ok_or(CaptureError::NoDevice)
    }

    /// Reports an open device that is not listed any more.
    fn watch(&mut self) {
        self.watched.take_if(|watched| watched.stream.strong_count() == 0);
        let Some(host) = self.connection.as_ref().filter(|host| moves_streams(host)) else { return };
        if let Some(watched) = self.watched.take_if(|watched| host.device_by_id(&watched.id).is_none()) {
            let _ = watched.fault.try_send(Fault::Lost("it is not connected any more".to_owned()));
        }
    }

    /// A server that was restarted leaves a dead connection: then the second try has a new one.
    fn try_twice<T>(
        &mut self,
        mut task: impl FnMut(&cpal::Host) -> Result<T, CaptureError>,
    ) -> Result<T, CaptureError> {
        self.get().and_then(&mut task).or_else(|error| {
            if self.get()?.devices().is_ok() {
                return Err(error);
            }
            self.connection = None;
            self.get().and_then(&mut task)
        })
    }
}

/// What this machine plays and records with, the sound server first; `None` where nothing is installed, as on a server
/// (`cpal::default_host` takes that for impossible).
pub(crate) fn sound_system() -> Option<cpal::Host> {
    cpal::available_hosts().into_iter().find_map(|id| cpal::host_from_id(id).ok())
}

/// Whether this is a sound server, which may be restarted and gives a stream another source.
fn moves_streams(host: &cpal::Host) -> bool {
    host.id().name() == "PulseAudio"
}

fn list(host: &cpal::Host) -> Result<Vec<(cpal::Device, Device)>, CaptureError> {
    let default = host.default_input_device().and_then(|device| device.id().ok());
    let devices = host.input_devices().map_err(|_| CaptureError::NoDevice)?;
    let describe = |device: cpal::Device| {
        let id = device.id().ok()?;
        let is_default = default.as_ref() == Some(&id);
        let described = describe(&device, is_default)?;
        Some((device, described))
    };
    Ok(devices.filter_map(describe).collect())
}

fn describe(device: &cpal::Device, is_default: bool) -> Option<Device> {
    let id = device.id().ok()?.id().to_owned();
    let name = device.description().map_or_else(|_| id.clone(), |described| described.name().to_owned());
    // PulseAudio and PipeWire name them so; the name for people is translated.
    let is_monitor = id.ends_with(".monitor") || name.starts_with("Monitor of ");
    Some(Device { id, name, is_default, is_monitor })
}

/// The device that is `wanted`.
fn find(host: &cpal::Host, wanted: Option<&str>) -> Result<(cpal::Device, Device), CaptureError> {
    let Some(wanted) = wanted else {
        let device = host.default_input_device().ok_or(CaptureError::NoDevice)?;
        let described = describe(&device, true).ok_or(CaptureError::NoDevice)?;
        return Ok((device, described));
    };
    let all = list(host)?;
    let available = all.iter().map(|(_, device)| device.name.clone()).collect();
    let best =
        all.into_iter().filter_map(|one| Some((rank(&one.1, wanted)?, one))).min_by_key(|(rank, _)| *rank);
    best.map(|(_, one)| one).ok_or_else(|| CaptureError::NotFound { wanted: wanted.to_owned(), available })
}

/// How well `device` fits the name: 0 is exactly, `None` not at all. Of two that contain it, a
/// microphone comes before a monitor.
fn rank(device: &Device, wanted: &str) -> Option<u8> {
    let wanted = wanted.to_lowercase();
    let names = [device.id.to_lowercase(), device.name.to_lowercase()];
    if names.contains(&wanted) {
        return Some(0);
    }
    names.iter().any(|name| name.contains(&wanted)).then_some(if device.is_monitor { 2 } else { 1 })
}

struct Running {
    device: Device,
    tap: Tap,
    stream: (cpal::Stream, Arc<()>),
    watched: Watched,
}

fn open(host: &cpal::Host, wanted: Option<&str>) -> Result<Running, CaptureError> {
    let (device, described) = find(host, wanted)?;
    let name = described.name.clone();
    let refused =
        |error: cpal::Error| CaptureError::Refused { device: name.clone(), reason: error.to_string() };
    let native = device.default_input_config().map_err(refused)?;
    let mut config = native.config();
    let fragment_frames = config.sample_rate.saturating_mul(FRAGMENT_MS) / 1000;
    config.buffer_size = match native.buffer_size() {
        cpal::SupportedBufferSize::Range { min, max } => BufferSize::Fixed(fragment_frames.clamp(*min, *max)),
        cpal::SupportedBufferSize::Unknown => BufferSize::Default,
    };
    let (feed, tap) = ring(config.sample_rate, config.channels)?;
    let fault = feed.fault();
    let build = match native.sample_format() {
        SampleFormat::I8 => build::<i8>,
        SampleFormat::I16 => build::<i16>,
        SampleFormat::I24 => build::<cpal::I24>,
        SampleFormat::I32 => build::<i32>,
        SampleFormat::U8 => build::<u8>,
        SampleFormat::U16 => build::<u16>,
        SampleFormat::F32 => build::<f32>,
        SampleFormat::F64 => build::<f64>,
        other => {
            return Err(CaptureError::Refused { device: name, reason: format!("it gives {other} samples") });
        }
    };
    let stream = build(&device, config, feed).map_err(refused)?;
    stream.play().map_err(refused)?;
    let alive = Arc::new(());
    let watched = Watched { id: device.id().map_err(refused)?, fault, stream: Arc::downgrade(&alive) };
    Ok(Running { device: described, tap, stream: (stream, alive), watched })
}

fn build<T>(device: &cpal::Device, config: StreamConfig, mut feed: Feed) -> Result<cpal::Stream, cpal::Error>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let fault = feed.fault();
    let on_samples = move |samples: &[T], info: &cpal::InputCallbackInfo| {
        let times = info.timestamp();
        feed.write(samples, times.callback.saturating_duration_since(times.capture));
    };
    let on_error = move |error: cpal::Error| {
        let what = match error.kind() {
            ErrorKind::Xrun => Fault::Xrun,
            // Sound goes on after these.
            ErrorKind::RealtimeDenied | ErrorKind::DeviceChanged => return,
            _ => Fault::Lost(error.to_string()),
        };
        // When the capture thread is that far behind, one fault more is no news.
        let _ = fault.try_send(what);
    };
    device.build_input_stream(config, on_samples, on_error, Some(OPEN_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_the_exact_one_first_and_microphones_before_monitors() {
        let device = |id: &str, name: &str, is_monitor| Device {
            id: id.into(),
            name: name.into(),
            is_default: false,
            is_monitor,
        };
        let microphone = device("alsa_input.usb-blue", "Yeti Nano Mono", false);
        let monitor = device("alsa_output.usb-blue.monitor", "Monitor of Yeti Nano", true);
        assert_eq!((rank(&microphone, "yeti"), rank(&monitor, "yeti")), (Some(1), Some(2)));
        assert_eq!(rank(&monitor, "MONITOR of yeti nano"), Some(0));
        assert_eq!(rank(&microphone, "headset"), None);
    }
}
