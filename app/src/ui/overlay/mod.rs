//! The overlay: a small pill at the edge of the screen that says what the program is doing.
//!
//! X11 only. The window takes neither focus nor clicks, and exists only while something is shown.

mod meter;
mod paint;
mod text;
mod window;

use super::worker::{Inbox, Received, Worker};
use super::{Event, Problem};
use meter::Meter;
use paint::{Painter, Scene, Style};
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use text::Fonts;
use window::{Display, Panel};

/// The shortest time between two pictures.
const FRAME: Duration = Duration::from_millis(34);
/// How often a still picture looks for what the X server has to say (exposed, covered).
const STILL: Duration = Duration::from_millis(100);
/// How often a hidden overlay empties its connection of what the server tells every client.
const HIDDEN: Duration = Duration::from_secs(60);

/// What the overlay shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    /// Nothing; there is no window.
    Hidden,
    /// The microphone is open.
    Recording {
        /// Root mean square of the newest audio, 0 to 1 of full scale.
        level: f32,
        /// How long the recording is.
        seconds: f32,
        /// The mode's name.
        mode: String,
    },
    /// The text is being made.
    Working,
    /// The text is in its window. Hides itself.
    Done,
    /// A short text, at most three lines. Hides itself when it can have been read.
    Message(String),
    /// What went wrong. Hides itself when it can have been read.
    Error(String),
}

impl State {
    /// How long it stays without being replaced.
    fn linger(&self) -> Option<Duration> {
        let reading = |text: &str| Duration::from_millis(1500 + 60 * text.chars().count().min(200) as u64);
        match self {
            Self::Hidden | Self::Recording { .. } | Self::Working => None,
            Self::Done => Some(Duration::from_millis(900)),
            Self::Message(text) => Some(reading(text)),
            Self::Error(text) => Some(reading(text) + Duration::from_secs(2)),
        }
    }

    fn is_animated(&self) -> bool {
        matches!(self, Self::Recording { .. } | Self::Working)
    }
}

/// Which edge of the monitor the overlay keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Placement {
    /// Centred at the bottom.
    #[default]
    BottomCentre,
    /// Centred at the top.
    TopCentre,
}

/// Where the overlay appears and what it is drawn with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The X display, as in `DISPLAY`; `None` leaves it to the X library.
    pub(crate) display: Option<String>,
    /// The session is Wayland's, on which there is no overlay.
    pub(crate) wayland: bool,
    /// The edge of the monitor.
    pub(crate) placement: Placement,
    /// Folders searched for fonts, such as the user's own, before the system's.
    pub(crate) font_folders: Vec<PathBuf>,
}

/// The overlay. Dropping it takes the window away.
#[derive(Debug)]
pub(crate) struct Overlay(Worker<State>);

impl Overlay {
    /// Starts the overlay's thread, with nothing shown.
    pub(crate) fn start(options: Options, events: &SyncSender<Event>) -> Self {
        Self(Worker::spawn("overlay", events, move |inbox| run(&options, inbox)))
    }

    /// Shows `state` from now on. Never waits.
    pub(crate) fn show(&self, state: State) {
        self.0.post(state);
    }
}

fn run(options: &Options, inbox: &Inbox<State>) -> Result<(), Problem> {
    if options.wayland {
        return Err(Problem::OverlayOnWayland);
    }
    let display = Display::connect(options.display.as_deref())?;
    let mut painter = Painter::new(Fonts::find(&options.font_folders));
    let mut shown = Shown::new(Instant::now());
    let mut panel: Option<Panel> = None;
    loop {
        match inbox.take_until(shown.next_look) {
            Received::Closed => return Ok(()),
            Received::Value(state) => shown.replace(state, Instant::now()),
            Received::TimedOut => {}
        }
        let now = Instant::now();
        shown.hide_when_read(now);
        if shown.state == State::Hidden {
            panel = None;
            display.discard_events()?;
            shown.next_look = now + HIDDEN;
            continue;
        }
        let Some(panel) = panel.as_mut() else {
            panel = Some(Panel::open(&display, options.placement)?);
            shown.stale = true;
            shown.next_look = now;
            continue;
        };
        shown.stale |= panel.look_after(now)?;
        if now >= shown.last_frame + FRAME && (shown.stale || shown.state.is_animated()) {
            let style = Style { scale: panel.scale(), translucent: panel.is_translucent() };
            panel.put(&painter.paint(&shown.scene(now), style))?;
            (shown.last_frame, shown.stale) = (now, false);
        }
        shown.next_look = shown.next_after(now);
    }
}

/// The state on the screen and its times.
struct Shown {
    state: State,
    since: Instant,
    meter: Meter,
    last_frame: Instant,
    next_look: Instant,
    /// The picture on the screen is not the state's.
    stale: bool,
}

impl Shown {
    fn new(now: Instant) -> Self {
        let last_frame = now.checked_sub(FRAME).unwrap_or(now);
        let meter = Meter::new(now);
        Self { state: State::Hidden, since: now, meter, last_frame, next_look: now, stale: false }
    }

    fn replace(&mut self, state: State, now: Instant) {
        if let State::Recording { level, .. } = state {
            if !matches!(self.state, State::Recording { .. }) {
                self.meter = Meter::new(now);
            }
            self.meter.hear(level, now);
        }
        if std::mem::discriminant(&state) != std::mem::discriminant(&self.state) || state.linger().is_some() {
            self.since = now;
        }
        self.state = state;
        self.stale = true;
    }

    fn hide_when_read(&mut self, now: Instant) {
        if self.state.linger().is_some_and(|linger| now >= self.since + linger) {
            self.state = State::Hidden;
        }
    }

    fn next_after(&self, now: Instant) -> Instant {
        let frame = self.last_frame + FRAME;
        let look = if self.stale || self.state.is_animated() { frame } else { now + STILL };
        self.state.linger().map_or(look, |linger| look.min(self.since + linger))
    }

    fn scene(&mut self, now: Instant) -> Scene<'_> {
        match &self.state {
            State::Hidden => Scene::Message(""),
            State::Recording { seconds, mode, .. } => {
                self.meter.advance(now);
                Scene::Recording { meter: &self.meter, seconds: *seconds, mode }
            }
            State::Working => Scene::Working { turns: (now - self.since).as_secs_f32() * 0.9 },
            State::Done => Scene::Done,
            State::Message(text) => Scene::Message(text),
            State::Error(text) => Scene::Error(text),
        }
    }
}

#[cfg(test)]
mod tests;
