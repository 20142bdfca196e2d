//! Does what the session asks for: microphone, engine, windows, history, face.

use super::desk::{Delivered, Desk, Order};
use super::face::Face;
use super::record::{Models, Moments};
use super::tasks::{self, Pair, Tasks};
use super::{Input, RunArgs, Timers, forward};
use crate::capture::{self, Capture, Microphone};
use crate::engine_args::{Chosen, EngineArgs};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::history::{self, Sink, Tier};
use crate::inject::Desktop;
use crate::journal::Journal;
use crate::keys::{Binding, Choice, Keys};
use crate::note::Notebook;
use crate::session::*;
use crate::settings::{Backend, Profile, Settings};
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Instant, SystemTime};
use undertone_engine::prompt::Modes;
use undertone_engine::stream::Stream;
use undertone_engine::vad::{Segmenter, Vad, VadSettings};
use undertone_engine::{CancelToken, Dictation, Engine, EngineConfig};

/// Zeros for so long mean a muted microphone.
const SILENT_AFTER_MS: u32 = 1500;
/// What recordings that wait or were thrown away may take of the disk.
const JOURNAL_BYTES: u64 = 1 << 30;
/// The session ends a recording; capture does so this much later if it should not.
const GRACE_MS: u32 = 60_000;

/// What is known of a dictation until it is concluded and its recording is here.
pub(super) struct Take {
    pub(super) mode: Arc<str>,
    pub(super) profile: Option<Profile>,
    pub(super) moments: Moments,
    /// From the order to record to the first sample.
    pub(super) first_sample_after_ms: Option<u32>,
    /// Samples heard before the engine could listen.
    pub(super) early: Vec<f32>,
    /// The engine is to listen as soon as it can.
    pub(super) listen: bool,
    /// The text selected before speaking.
    pub(super) selection: Option<String>,
    pub(super) stream: Option<Stream>,
    pub(super) segmenter: Option<Segmenter>,
    pub(super) recording: Option<capture::Recording>,
    /// The recording is whole and waits for the engine.
    pub(super) is_due: bool,
    /// Text to be reworded, where nothing was said.
    pub(super) reworded: Option<String>,
    pub(super) cancel: Option<CancelToken>,
    pub(super) result: Option<Box<Dictation>>,
    pub(super) error: Option<String>,
    pub(super) delivered: Delivered,
    pub(super) end: Option<End>,
    /// Whether a recording is still to come.
    pub(super) records: bool,
}

pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) environment: Environment,
    pub(super) tasks: Tasks,
    pub(super) modes: Modes,
    pub(super) inbox: SyncSender<Input>,
    pub(super) face_events: SyncSender<crate::ui::Event>,
    pub(super) capture: Capture,
    pub(super) desk: Desk,
    pub(super) face: Face,
    pub(super) sink: Sink,
    pub(super) keys: Option<Keys>,
    /// The pairs of models this program was started with.
    pub(super) pairs: Vec<Pair>,
    /// What each runs, and its engine once it is loaded.
    pub(super) models: Vec<Models>,
    pub(super) engines: Vec<Option<Box<Engine>>>,
    pub(super) vad: Vad,
    /// Added to a dictation's number gives its recording's, unique over restarts.
    pub(super) first_recording: u64,
    pub(super) takes: HashMap<DictationId, Take>,
    pub(super) timers: Timers,
    pub(super) verbose: bool,
    /// The stage at which the engine is to panic, once.
    pub(super) panic_at: Option<String>,
    pub(super) ended: bool,
    /// Whether there is a text to put in again.
    pub(super) has_last: bool,
    /// Ends the delivery that goes on.
    pub(super) delivering: Arc<AtomicBool>,
}

impl Take {
    pub(super) fn new(mode: Arc<str>, profile: Option<Profile>) -> Take {
        let moments = Moments { started: SystemTime::now(), released: None, recorded: None, delivered: None };
        Take {
            mode,
            profile,
            moments,
            first_sample_after_ms: None,
            early: Vec::new(),
            listen: false,
            selection: None,
            stream: None,
            segmenter: None,
            recording: None,
            is_due: false,
            reworded: None,
            cancel: None,
            result: None,
            error: None,
            delivered: Delivered::default(),
            end: None,
            records: false,
        }
    }
}

impl World {
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the models are loaded.
    pub(super) fn is_ready(&self) -> bool {
        self.engines.iter().all(Option::is_some)
    }

    pub(super) fn due_timer(&mut self) -> Option<Timer> {
        self.timers.due()
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What the key of this number starts.
    pub(super) fn activation(&self, key: usize) -> Option<Activation> {
        self.tasks.activations.get(key).cloned()
    }

    /// The mode at this place of the tray's menu.
    pub(super) fn mode_at(&self, at: usize) -> Option<Arc<str>> {
        self.tasks.names.get(at).map(|name| name.as_str().into())
    }

    pub(super) fn notebook(&self) -> Notebook {
        Notebook::new(&self.environment.expand(&self.settings.notes.file), &self.environment.data_dir)
    }

    /// Takes over changed settings; what they mean to the session.
    pub(super) fn reconfigure(&mut self, settings: Settings) -> (crate::session::Settings, Vec<Mode>) {
        self.tasks = Tasks::new(&settings, &self.modes, &self.pairs);
        if let Some(keys) = &self.keys
            && settings.keys != self.settings.keys
            && let Err(error) = keys.rebind(&bindings(&settings))
        {
            self.warn(&error.to_string());
        }
        if settings.show != self.settings.show {
            self.face.reconfigure(&settings.show, &self.environment, &self.face_events);
        }
        self.desk.order(Order::Terminals(settings.inject.terminals.clone()));
        self.settings = settings;
        (session_settings(&self.settings), self.tasks.modes.clone())
    }

    pub(super) fn open_history(&mut self) {
        let dir = self.environment.history_dir();
        if let Err(error) = std::process::Command::new("xdg-open").arg(&dir).spawn() {
            self.warn(&format!("the history is in {}; no program shows it ({error})", dir.display()));
        }
    }

    /// Tells the user, on the screen and on stderr. Never holds dictated text.
    pub(super) fn warn(&mut self, sentence: &str) {
        eprintln!("undertone: {sentence}");
        self.face.fail(sentence);
    }

    /// Something that is as well to know.
    pub(super) fn note(&self, sentence: &str) {
        if self.verbose {
            println!("undertone: {sentence}");
        }
    }

    /// One line for a dictation that is over: numbers only.
    pub(super) fn verbose_line(&self, entry: &history::Entry, opened_ms: Option<u32>, end: &End) {
        if self.verbose {
            println!(
                "{}",
                serde_json::json!({
                    "end": end, "mode": entry.mode, "audio_ms": entry.audio_ms, "injection": entry.injection,
                    "receipt": entry.receipt, "first_sample_after_ms": opened_ms, "release_to_text_ms": entry.release_to_text_ms,
                    "stages": entry.stages,
                })
            );
        }
    }
}

/// The session and the world around it; the engine loads meanwhile.
pub(super) fn begin(
    settings: Settings,
    environment: &Environment,
    sink: Sink,
    args: &RunArgs,
    inbox: &SyncSender<Input>,
) -> Result<(Session, World)> {
    let modes = tasks::engine_modes(&settings).map_err(|e| crate::engine_args::failure(&e))?;
    let pairs = tasks::pairs(&settings);
    let tasks = Tasks::new(&settings, &modes, &pairs);
    let models = load_engines(&settings, &modes, &pairs, inbox.clone())?;
    let (face_events, events) = sync_channel(64);
    forward("face", events, inbox.clone(), Input::Face)?;
    let face = Face::start(&settings.show, environment, tasks.names.clone(), &face_events);
    offer_recovery(environment, inbox);
    let capture = open_capture(&settings, environment, inbox)?;
    let desk = Desk::start(desktop(environment), inbox.clone()).context("cannot start a thread")?;
    desk.order(Order::Terminals(settings.inject.terminals.clone()));
    let keys = open_keys(&settings, environment, inbox)?;
    let session = Session::new(session_settings(&settings), tasks.modes.clone(), &settings.dictation.mode);
    let world = World {
        environment: environment.clone(),
        tasks,
        modes,
        inbox: inbox.clone(),
        face_events,
        capture,
        desk,
        face,
        sink,
        keys,
        pairs,
        engines: models.iter().map(|_| None).collect(),
        models,
        vad: Vad::new(VadSettings::default()),
        first_recording: history::utc_ms(SystemTime::now()).unsigned_abs(),
        takes: HashMap::new(),
        timers: Timers::default(),
        verbose: args.verbose,
        panic_at: args.panic_at.clone(),
        ended: false,
        has_last: false,
        delivering: Arc::default(),
        settings,
    };
    Ok((session, world))
}

/// Where text is typed: with both servers there, the compositor reaches the windows of both.
pub(crate) fn desktop(environment: &Environment) -> Option<Desktop> {
    if cfg!(not(target_os = "linux")) {
        return Some(Desktop::Native);
    }
    let wayland = environment.wayland.as_ref().map(|socket| Desktop::Wayland {
        socket: socket.to_string_lossy().into(),
        permission: environment.data_dir.join("remote-desktop-permission"),
    });
    wayland.or_else(|| environment.display.clone().map(Desktop::X11))
}

fn session_settings(settings: &Settings) -> crate::session::Settings {
    let autostop_ms = settings.audio.autostop_silence_ms;
    crate::session::Settings {
        tap_ms: settings.keyboard.tap_ms.into(),
        max_ms: u64::from(settings.audio.max_s) * 1000,
        tail_ms: settings.audio.tail_ms.into(),
        autostop_silence_ms: (autostop_ms > 0).then_some(autostop_ms.into()),
        ..crate::session::Settings::default()
    }
}

/// Loads on a thread of its own: a key that is pressed meanwhile records, and waits.
fn load_engines(
    settings: &Settings,
    modes: &Modes,
    pairs: &[Pair],
    inbox: SyncSender<Input>,
) -> Result<Vec<Models>> {
    let mut all = Vec::new();
    for pair in pairs {
        let args = EngineArgs::from_settings(&settings.models, &pair.0, &pair.1)?;
        let warm = tasks::warm_modes(settings, pair);
        let warm: Vec<&str> = warm.iter().map(String::as_str).collect();
        all.push(args.choose_among(modes.clone(), &warm)?);
    }
    let models = |chosen: &Chosen| Models {
        speech: chosen.speech_model.clone(),
        text: chosen.text_model.clone(),
        device: chosen.device.clone(),
    };
    let names = all.iter().map(models).collect();
    let load = move || {
        let mut taken_bytes = 0;
        for (at, chosen) in all.into_iter().enumerate() {
            // The budget is that of all together.
            let budget_bytes = chosen.config.budget_bytes.map(|bytes| bytes.saturating_sub(taken_bytes));
            let config = EngineConfig { budget_bytes, ..chosen.config };
            let engine = crate::engine_args::start(config).map(Box::new);
            taken_bytes += engine.as_ref().map_or(0, |engine| engine.plan().total_bytes);
            if inbox.send(Input::EngineStarted { at, engine }).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("load".into()).spawn(load).context("cannot start a thread")?;
    Ok(names)
}

/// The history of `environment`; `tell` hears what goes wrong with it.
pub(crate) fn open_sink(
    settings: &Settings,
    environment: &Environment,
    tell: impl Fn(String) + Send + Sync + 'static,
) -> Result<Sink> {
    let kept = &settings.history;
    let options = history::Settings {
        tier: u8::try_from(kept.tier).ok().and_then(|t| Tier::try_from(t).ok()).unwrap_or_default(),
        keep_audio: kept.audio,
        retention: history::Retention {
            days: (kept.retention_days > 0).then_some(kept.retention_days),
            ..history::Retention::default()
        },
        log_text: settings.log.text,
        ..history::Settings::new(&environment.history_dir())
    };
    Sink::open(options, move |notice: history::Notice| tell(notice.to_string()))
        .context("cannot keep a history")
}

/// Tells of recordings whose text was never delivered.
fn offer_recovery(environment: &Environment, inbox: &SyncSender<Input>) {
    let sentence = match crate::journal::recover(&environment.journal_dir()) {
        Ok(unfinished) if unfinished.is_empty() => return,
        Ok(unfinished) => match unfinished.len() {
            1 => "a recording was not finished last time; `undertone recover` writes it out".into(),
            n => format!("{n} recordings were not finished last time; `undertone recover` writes them out"),
        },
        Err(error) => error.to_string(),
    };
    let _ = inbox.try_send(Input::Tell(sentence));
}

fn open_capture(
    settings: &Settings,
    environment: &Environment,
    inbox: &SyncSender<Input>,
) -> Result<Capture> {
    let audio = &settings.audio;
    let options = capture::Settings {
        preroll_ms: audio.pre_roll_ms,
        max_ms: audio.max_s * 1000 + GRACE_MS,
        silent_after_ms: SILENT_AFTER_MS,
        journal: Some(Journal { dir: environment.journal_dir(), max_bytes: JOURNAL_BYTES, sync_every: None }),
    };
    let wanted = (audio.device != "default").then(|| audio.device.clone());
    let failed = |e: capture::CaptureError| Failure::new(Exit::Device, e.to_string());
    let (capture, events) =
        Capture::spawn(Microphone::new(wanted).map_err(failed)?, options).map_err(failed)?;
    forward("microphone", events, inbox.clone(), Input::Capture)?;
    Ok(capture)
}

/// Without keys the program still runs: `undertone ctl` starts dictations.
fn open_keys(
    settings: &Settings,
    environment: &Environment,
    inbox: &SyncSender<Input>,
) -> Result<Option<Keys>> {
    match Keys::open(&bindings(settings), &keys_choice(settings, environment)) {
        Ok(keys) => {
            forward("keys", keys.events().clone(), inbox.clone(), Input::Key)?;
            Ok(Some(keys))
        }
        Err(error) => {
            let _ = inbox.try_send(Input::Tell(error.to_string()));
            Ok(None)
        }
    }
}

/// Where keys are heard.
pub(crate) fn keys_choice(settings: &Settings, environment: &Environment) -> Choice {
    match settings.keyboard.backend {
        Backend::Auto => Choice::for_desktop(environment.wayland.is_some()),
        Backend::X11 => Choice::X11(None),
        Backend::Portal => Choice::Portal(None),
        Backend::Evdev => Choice::Evdev,
    }
}

/// The keys of the settings.
pub(crate) fn bindings(settings: &Settings) -> Vec<Binding> {
    let named = settings.keys.iter().enumerate().filter_map(|(at, key)| {
        // The settings were checked: every key parses.
        let name = if at == 0 { "dictate".into() } else { format!("dictate-{}", at + 1) };
        Some(Binding { chord: key.key.parse().ok()?, name })
    });
    named.collect()
}
