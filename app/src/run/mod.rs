//! `undertone run`: the resident program. Everything that happens arrives in one bounded inbox; the
//! session says what is to be done about it; the world does it.

mod desk;
mod effects;
mod face;
mod record;
mod tasks;
mod world;

pub(crate) use record::unfinished_entry;
pub(crate) use tasks::{MOST_TYPED_CHARS, engine_modes, request_of};
pub(crate) use world::{bindings, desktop, keys_choice, open_sink};

use crate::capture;
use crate::ctl::{self, Command, Limits, Reply, Request, Server};
use crate::environment::Place;
use crate::exit::{Exit, Failure};
use crate::history::Sink;
use crate::keys::{self, KeyEvent};
use crate::session::{Activation, DictationId, Event, Outcome, Session, Style, Text, Timer};
use crate::settings::{Settings, Update, Watcher};
use crate::ui;
use anyhow::{Context, Result};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use undertone_engine::{Dictation, Engine};
use world::World;

/// What may wait for the main loop; senders wait when it is full.
const INBOX: usize = 256;
/// Longest sleep of the main loop.
const IDLE: Duration = Duration::from_secs(60);

/// Everything that happens to the program.
pub(crate) enum Input {
    /// The engine for the pair of models at this place.
    EngineStarted {
        at: usize,
        engine: Result<Box<Engine>>,
    },
    Heard {
        id: DictationId,
        result: Result<Box<Dictation>, Box<undertone_engine::Failure>>,
    },
    Capture(capture::Event),
    Key(Result<KeyEvent, keys::Error>),
    Ctl(Request),
    SelectionTaken {
        id: DictationId,
        text: Option<Text>,
    },
    Delivered {
        id: DictationId,
        outcome: Outcome,
        details: desk::Delivered,
    },
    Undone {
        id: DictationId,
        result: Result<(), String>,
    },
    Settings(Update),
    Face(ui::Event),
    Tell(String),
    Terminate,
}

/// The resident program.
#[derive(clap::Args, Debug)]
pub(crate) struct RunArgs {
    /// Tell on stdout, a line each, when the program is ready and when a dictation has ended.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Let the engine panic once on entering this stage: shows that no text is lost by it.
    #[arg(long, value_name = "STAGE", hide = true)]
    pub(crate) panic_at: Option<String>,
}

/// Runs until it is told to end.
///
/// # Errors
/// If another one runs, the settings are wrong, or the models cannot be used.
pub(crate) fn run(args: &RunArgs, place: &Place, level: Option<tracing::Level>) -> Result<Exit> {
    let (environment, settings) = (&place.environment, place.settings()?);
    let (inbox, received) = sync_channel(INBOX);
    let (requests, asked) = sync_channel(16);
    let socket = ctl::socket_path(environment.runtime_dir.as_deref(), &std::env::temp_dir());
    let _server = Server::bind(&socket, Limits::default(), requests)
        .map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    let sink = world::open_sink(&settings, environment, {
        let inbox = inbox.clone();
        move |sentence| drop(inbox.try_send(Input::Tell(sentence)))
    })?;
    log(level, &settings, &sink)?;
    forward("ctl", asked, inbox.clone(), Input::Ctl)?;
    terminate_on_signal(inbox.clone())?;
    let watcher = Watcher::start(place.file.clone(), settings.clone(), crate::checks::CHECKS, {
        let inbox = inbox.clone();
        move |update| drop(inbox.send(Input::Settings(update)))
    })
    .context("cannot watch the settings")?;
    let (session, world) = world::begin(settings, environment, sink, args, &inbox)?;
    let exit = Main { session, world, waiting: Vec::new(), started: Instant::now() }.run(&received);
    drop(watcher);
    exit
}

/// Sends what is traced to stderr where a flag asks for it, else to the history's log as the settings say.
fn log(level: Option<tracing::Level>, settings: &Settings, sink: &Sink) -> Result<()> {
    if let Some(level) = level {
        crate::log(level);
        return Ok(());
    }
    let level = match settings.log.level {
        crate::settings::Level::Off => return Ok(()),
        crate::settings::Level::Error => tracing::Level::ERROR,
        crate::settings::Level::Warn => tracing::Level::WARN,
        crate::settings::Level::Info => tracing::Level::INFO,
        crate::settings::Level::Debug => tracing::Level::DEBUG,
    };
    let file = std::sync::Mutex::new(sink.log().map_err(|e| Failure::new(Exit::Disk, e.to_string()))?);
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(file).init();
    Ok(())
}

/// Passes everything from one queue on to the inbox, until either ends.
fn forward<T: 'static>(
    name: &str,
    from: impl IntoIterator<Item = T> + Send + 'static,
    inbox: SyncSender<Input>,
    wrap: fn(T) -> Input,
) -> Result<()> {
    let pass = move || {
        for item in from {
            if inbox.send(wrap(item)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(pass).context("cannot start a thread")?;
    Ok(())
}

fn terminate_on_signal(inbox: SyncSender<Input>) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen to signals")?;
    forward("signals", std::iter::from_fn(move || signals.forever().next()), inbox, |_| Input::Terminate)
}

struct Main {
    session: Session,
    world: World,
    /// Clients of `ctl wait`, and until when.
    waiting: Vec<(Instant, Request)>,
    started: Instant,
}

impl Main {
    fn run(mut self, received: &Receiver<Input>) -> Result<Exit> {
        while !self.world.has_ended() {
            while let Some(timer) = self.world.due_timer() {
                self.step(Event::TimerFired(timer));
            }
            let until = self.waiting.iter().map(|(until, _)| *until).chain(self.world.next_timer()).min();
            let sleep = until.map_or(IDLE, |until| until.saturating_duration_since(Instant::now()));
            match received.recv_timeout(sleep.min(IDLE)) {
                Ok(input) => self.take(input)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.answer_waiting();
        }
        Ok(Exit::Ok)
    }

    /// Does what follows from one input; the refusal of a command, if it is one.
    fn step(&mut self, event: Event) -> Option<String> {
        let mut refusal = None;
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.session.step(event) {
                if let crate::session::Effect::Tell(notice) = &effect
                    && notice.is_refusal()
                {
                    refusal = Some(notice.to_string());
                }
                // What is answered at once is an event of its own, behind these effects.
                events.extend(self.world.perform(effect));
            }
        }
        refusal
    }

    fn take(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Ctl(request) => self.command(request),
            Input::Key(Ok(key)) => {
                if let Some(event) = self.key(key) {
                    self.step(event);
                }
            }
            Input::Key(Err(error)) => self.world.warn(&error.to_string()),
            Input::Terminate => drop(self.step(Event::Quit)),
            Input::Face(event) => self.face(event),
            Input::Tell(sentence) => self.world.warn(&sentence),
            Input::Settings(Update::Broken(error)) => self.world.warn(&error.to_string()),
            Input::Settings(Update::Reload { settings, changed }) => {
                let restart: Vec<&str> =
                    changed.iter().filter(|c| c.restart).map(|c| c.key.as_str()).collect();
                if !restart.is_empty() {
                    self.world.warn(&format!("start undertone again to change {}", restart.join(", ")));
                }
                self.world.note("the settings were read again");
                let (settings, modes) = self.world.reconfigure(*settings);
                self.session.reconfigure(settings, modes);
            }
            Input::EngineStarted { at, engine } => self.world.engine_started(at, engine)?,
            other => {
                for event in self.world.events(other) {
                    self.step(event);
                }
            }
        }
        Ok(())
    }

    fn at_ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    fn key(&self, key: KeyEvent) -> Option<Event> {
        let (number, at_ms) = (u32::try_from(key.binding).ok()?, self.at_ms(key.at));
        Some(match key.pressed {
            true => Event::Press { key: number, activation: self.world.activation(key.binding)?, at_ms },
            false => Event::Release { key: number, at_ms },
        })
    }

    fn face(&mut self, event: ui::Event) {
        let activation = Activation { mode: None, style: Style::Toggle };
        let event = match event {
            ui::Event::Start => Event::Start(activation),
            ui::Event::Stop => Event::Stop,
            ui::Event::Again => Event::Again,
            ui::Event::Undo => Event::Undo,
            ui::Event::Quit => Event::Quit,
            ui::Event::Mode(at) => match self.world.mode_at(at) {
                Some(name) => Event::SetMode(name),
                None => return,
            },
            ui::Event::OpenHistory => return self.world.open_history(),
            ui::Event::Problem(problem) => return self.world.note(&problem.to_string()),
        };
        self.step(event);
    }

    fn command(&mut self, request: Request) {
        match event(&request.command) {
            Some(event) => {
                let refusal = self.step(event);
                let reply = refusal.map_or_else(|| self.state(), Reply::refused);
                request.answer(reply);
            }
            None => match request.command {
                Command::Wait { timeout_s } => {
                    self.waiting.push((Instant::now() + Duration::from_secs(timeout_s), request));
                }
                _ => request.answer(self.state()),
            },
        }
    }

    fn answer_waiting(&mut self) {
        let idle = self.session.is_idle() && self.world.is_ready();
        let over = |(until, _): &mut (Instant, Request)| idle || *until <= Instant::now();
        let over: Vec<_> = self.waiting.extract_if(.., over).collect();
        for (_, request) in over {
            let busy = match self.world.is_ready() {
                true => "a dictation is still under way; wait longer or cancel it",
                false => "the models are still being loaded; wait longer",
            };
            request.answer(if idle { self.state() } else { Reply::refused(busy) });
        }
    }

    fn state(&self) -> Reply {
        Reply::done(serde_json::json!({
            "status": self.session.status(),
            "ready": self.world.is_ready(),
            "last": self.session.last_concluded(),
        }))
    }
}

/// What a command means to the session; `None` for those that only ask.
fn event(command: &Command) -> Option<Event> {
    let activation = |recording: &ctl::Recording| Activation {
        mode: recording.mode.as_deref().map(Into::into),
        style: if recording.hands_free { Style::HandsFree } else { Style::Toggle },
    };
    Some(match command {
        Command::Start(recording) => Event::Start(activation(recording)),
        Command::Stop => Event::Stop,
        Command::Toggle(recording) => Event::Toggle(activation(recording)),
        Command::Cancel => Event::Cancel,
        Command::Mode { name } => Event::SetMode(name.as_str().into()),
        Command::Again => Event::Again,
        Command::Undo => Event::Undo,
        Command::Raw => Event::Raw,
        Command::Quit => Event::Quit,
        Command::Status | Command::Wait { .. } => return None,
    })
}

/// Timers that have been started and not fired.
#[derive(Default)]
struct Timers(Vec<(Instant, Timer)>);

impl Timers {
    fn start(&mut self, timer: Timer, after_ms: u64) {
        self.0.push((Instant::now() + Duration::from_millis(after_ms), timer));
    }

    fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    fn due(&mut self) -> Option<Timer> {
        let now = Instant::now();
        let at = self.0.iter().position(|(at, _)| *at <= now)?;
        Some(self.0.swap_remove(at).1)
    }
}
