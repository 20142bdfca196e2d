//! What the user sees and hears of the session: overlay, tray, sounds, notifications.

use crate::environment::Environment;
use crate::session::{Phase, Status};
use crate::settings::{Position, Show};
use crate::ui::Event;
use crate::ui::notify::{Notice, Notifier, Urgency};
use crate::ui::overlay::{self, Overlay, Placement, State};
use crate::ui::sound::{Cue, Sound};
use crate::ui::tray::{self, Activity, Tray};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// Loudness of the cues, of full scale.
const VOLUME: f32 = 0.5;

pub(super) struct Face {
    overlay: Option<Overlay>,
    tray: Option<Tray>,
    sound: Option<Sound>,
    notifier: Option<Notifier>,
    modes: Vec<String>,
    status: Option<Status>,
    recording_since: Option<Instant>,
    has_last: bool,
    failed: bool,
}

impl Face {
    pub(super) fn start(
        show: &Show,
        environment: &Environment,
        modes: Vec<String>,
        events: &SyncSender<Event>,
    ) -> Face {
        let mut face = Face {
            overlay: None,
            tray: None,
            sound: None,
            notifier: None,
            modes,
            status: None,
            recording_since: None,
            has_last: false,
            failed: false,
        };
        if show.tray {
            face.tray = Some(Tray::start(face.tray_status(), events));
        }
        face.reconfigure(show, environment, events);
        face
    }

    /// Opens and closes what the settings ask for now; the tray stays as it was at the start.
    pub(super) fn reconfigure(&mut self, show: &Show, environment: &Environment, events: &SyncSender<Event>) {
        self.overlay = show.overlay.then(|| {
            let placement = match show.overlay_position {
                Position::Bottom => Placement::BottomCentre,
                Position::Top => Placement::TopCentre,
            };
            let options = overlay::Options {
                display: environment.display.clone(),
                wayland: environment.wayland.is_some(),
                placement,
                font_folders: vec![environment.data_dir.join("fonts")],
            };
            Overlay::start(options, events)
        });
        self.sound = show.sounds.then(|| Sound::start(VOLUME, events));
        self.notifier = show.notifications.then(|| Notifier::start(true, events));
    }

    pub(super) fn show(&mut self, status: Status, has_last: bool) {
        let was = self.status.replace(status).map(|s| s.phase);
        self.has_last = has_last;
        let Some(status) = &self.status else { return };
        let recording = |phase: Option<Phase>| {
            matches!(phase, Some(Phase::Opening | Phase::Recording | Phase::HandsFree))
        };
        match (recording(was), recording(Some(status.phase))) {
            (false, true) => {
                self.recording_since = Some(Instant::now());
                self.failed = false;
                self.cue(Cue::Start);
                self.level(0.0);
            }
            (true, false) => {
                self.recording_since = None;
                self.cue(Cue::Stop);
            }
            _ => {}
        }
        match status.phase {
            Phase::Transcribing | Phase::Delivering => self.overlay(State::Working),
            // What has ended says so itself, and hides itself.
            _ => {}
        }
        if let Some(tray) = &self.tray {
            tray.set(self.tray_status());
        }
    }

    fn tray_status(&self) -> tray::Status {
        let activity = match self.status.as_ref().map(|s| s.phase) {
            None | Some(Phase::Idle) if self.failed => Activity::Error,
            None | Some(Phase::Idle) => Activity::Idle,
            Some(Phase::Opening | Phase::Recording | Phase::HandsFree) => Activity::Recording,
            Some(Phase::Transcribing | Phase::Delivering) => Activity::Working,
        };
        let current = self.status.as_ref().map(|s| s.mode.as_ref());
        let mode = self.modes.iter().position(|mode| Some(mode.as_str()) == current).unwrap_or(0);
        tray::Status { activity, modes: self.modes.clone(), mode, has_last: self.has_last }
    }

    /// The loudness of what is recorded, RMS of full scale.
    pub(super) fn level(&self, level: f32) {
        let (Some(since), Some(status)) = (self.recording_since, &self.status) else { return };
        let seconds = since.elapsed().as_secs_f32();
        self.overlay(State::Recording { level, seconds, mode: status.mode.to_string() });
    }

    pub(super) fn done(&self) {
        self.rest(State::Done);
    }

    pub(super) fn hide(&self) {
        self.rest(State::Hidden);
    }

    /// A text that is shown instead of typed.
    pub(super) fn present(&self, text: &str) {
        self.rest(State::Message(text.into()));
        self.notify("", Some(text), Urgency::Normal);
    }

    /// A sentence about what went wrong.
    pub(super) fn fail(&mut self, sentence: &str) {
        self.failed = true;
        if let Some(tray) = &self.tray {
            tray.set(self.tray_status());
        }
        self.cue(Cue::Error);
        self.rest(State::Error(sentence.into()));
        self.notify(sentence, None, Urgency::Critical);
    }

    fn notify(&self, body: &str, dictated: Option<&str>, urgency: Urgency) {
        let (summary, body, dictated) = ("Undertone".into(), body.into(), dictated.map(Into::into));
        if let Some(notifier) = &self.notifier {
            notifier.show(Notice { summary, body, dictated, urgency });
        }
    }

    /// Shows `state` unless a recording is shown.
    fn rest(&self, state: State) {
        if self.recording_since.is_none() {
            self.overlay(state);
        }
    }

    fn overlay(&self, state: State) {
        if let Some(overlay) = &self.overlay {
            overlay.show(state);
        }
    }

    fn cue(&self, cue: Cue) {
        if let Some(sound) = &self.sound {
            sound.play(cue);
        }
    }
}
