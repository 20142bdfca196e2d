//! The resident program's behaviour as a pure state machine: events in, effects out. No clock, no
//! thread and no device, so that every sequence of presses, releases, timeouts and failures is a
//! test of a few lines.
//!
//! At most one dictation is recorded, any number up to `Settings::queue` waits for its text, and at
//! most one is delivered, in the order in which they were begun:
//!
//! ```text
//!  press ─> Held ─release─> Tail ─timer─┐
//!            │ tap            ^         ├─> Closing ─> Selecting ─> Transcribing ─> Ready ─> in hand ─> concluded
//!            └─> Latched ─press         │
//!                 └─silence, longest, device lost
//! ```

mod event;
mod notice;
mod queue;
mod recording;

#[cfg(test)]
mod property;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

pub(crate) use event::*;
pub(crate) use notice::Notice;

use queue::{Dictation, InHand, Last};
use recording::{HeldKey, Recording};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the user can set of a session's behaviour.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// A `Hybrid` key that was down shorter than this was tapped.
    pub(crate) tap_ms: u64,
    /// Greatest length of a recording (hands-free: of an utterance).
    pub(crate) max_ms: u64,
    /// What is recorded after the release, so that the last syllable is whole.
    pub(crate) tail_ms: u64,
    /// Silence after speech that ends a recording which no key holds; `None` waits for the user.
    pub(crate) autostop_silence_ms: Option<u64>,
    /// Dictations that may be under way at once, the recording included; at least 1.
    pub(crate) queue: usize,
    /// What a program that is asked to end still waits for.
    pub(crate) quit_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tap_ms: 300,
            max_ms: 10 * 60_000,
            tail_ms: 150,
            autostop_silence_ms: None,
            queue: 4,
            quit_ms: 10_000,
        }
    }
}

/// A dictation that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Concluded {
    pub(crate) id: DictationId,
    pub(crate) mode: Arc<str>,
    pub(crate) end: End,
}

/// Whether the program goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// Once nothing is under way, or at this timer.
    Soon(Timer),
    Gone,
}

/// State of the resident program between two events.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    settings: Settings,
    modes: Vec<Arc<Mode>>,
    /// Name of the mode of activations that name none.
    mode: Arc<str>,
    held: Vec<HeldKey>,
    recording: Option<Recording>,
    /// Recorded and not yet delivered, by ascending id.
    queue: VecDeque<Dictation>,
    /// What is being delivered or removed.
    in_hand: Option<InHand>,
    /// What was delivered last.
    last: Option<Last>,
    concluded: Option<Concluded>,
    leaving: Leaving,
    last_id: DictationId,
    last_generation: u64,
}

impl Session {
    /// A session in which nothing has happened. `mode` is the current mode's name.
    pub(crate) fn new(settings: Settings, modes: Vec<Mode>, mode: &str) -> Session {
        Session {
            settings,
            modes: modes.into_iter().map(Arc::new).collect(),
            mode: mode.into(),
            held: Vec::new(),
            recording: None,
            queue: VecDeque::new(),
            in_hand: None,
            last: None,
            concluded: None,
            leaving: Leaving::No,
            last_id: 0,
            last_generation: 0,
        }
    }

    /// Takes over a changed configuration. What is under way goes on as it was begun.
    pub(crate) fn reconfigure(&mut self, settings: Settings, modes: Vec<Mode>) {
        self.settings = settings;
        self.modes = modes.into_iter().map(Arc::new).collect();
    }

    /// Goes on by one event and says what is to be done, in order.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.leaving == Leaving::Gone {
            return out;
        }
        let before = self.status();
        match event {
            Event::Press { key, activation, at_ms } => self.press(key, &activation, at_ms, &mut out),
            Event::Release { key, at_ms } => self.release(key, at_ms, &mut out),
            Event::Start(activation) => self.start(&activation, &mut out),
            Event::Stop => self.stop(&mut out),
            Event::Toggle(_) if self.is_recording() => self.stop(&mut out),
            Event::Toggle(activation) => self.start(&activation, &mut out),
            Event::Cancel => self.cancel(&mut out),
            Event::SetMode(name) => self.set_mode(name, &mut out),
            Event::Again => self.again(&mut out),
            Event::Undo => self.undo(&mut out),
            Event::Raw => self.swap_wording(&mut out),
            Event::Quit => self.quit(&mut out),
            Event::MicrophoneOpened { id } => self.microphone_opened(id),
            Event::MicrophoneFailed { id, error } => self.microphone_failed(id, error, &mut out),
            Event::DeviceLost { id } => self.device_lost(id, &mut out),
            Event::Speech { id, speaking } => self.speech(id, speaking, &mut out),
            Event::UtteranceEnded { id } => self.utterance_ended(id, &mut out),
            Event::Recorded { id, audio_ms } => self.recorded(id, audio_ms, &mut out),
            Event::SelectionTaken { id, text } => self.selection_taken(id, text, &mut out),
            Event::Transcribed { id, result } => self.transcribed(id, result, &mut out),
            Event::Delivered { id, outcome } => self.delivered(id, outcome, &mut out),
            Event::Undone { id, result } => self.undone(id, result, &mut out),
            Event::TimerFired(timer) => self.timer_fired(timer, &mut out),
        }
        self.deliver_next(&mut out);
        let after = self.status();
        if after != before {
            out.push(Effect::Show(after));
        }
        if self.leaving != Leaving::No && self.is_idle() {
            self.leaving = Leaving::Gone;
            out.push(Effect::Exit);
        }
        out
    }

    /// Whether nothing is recorded, transcribed or delivered.
    pub(crate) fn is_idle(&self) -> bool {
        self.recording.is_none() && self.queue.is_empty() && self.in_hand.is_none()
    }

    /// How the dictation that ended last did so.
    pub(crate) fn last_concluded(&self) -> Option<&Concluded> {
        self.concluded.as_ref()
    }

    /// What goes on.
    pub(crate) fn status(&self) -> Status {
        let phase = match &self.recording {
            Some(recording) => recording.phase(),
            None if self.in_hand.is_some() => Phase::Delivering,
            None if self.queue.is_empty() => Phase::Idle,
            None => Phase::Transcribing,
        };
        let recorded = self.recording.as_ref().map(|r| &r.dictation.mode.name);
        Status { phase, mode: recorded.unwrap_or(&self.mode).clone(), pending: self.pending() }
    }

    /// Dictations that are recorded and not concluded.
    fn pending(&self) -> usize {
        self.queue.len() + usize::from(self.in_hand.as_ref().is_some_and(|in_hand| in_hand.is_first))
    }

    fn has_room(&self) -> bool {
        self.pending() + usize::from(self.recording.is_some()) < self.settings.queue.max(1)
    }

    fn find_mode(&self, name: Option<&Arc<str>>, out: &mut Vec<Effect>) -> Option<Arc<Mode>> {
        let name = name.unwrap_or(&self.mode);
        let found = self.modes.iter().find(|mode| mode.name == *name).cloned();
        if found.is_none() {
            let known = self.modes.iter().map(|mode| mode.name.clone()).collect();
            out.push(Effect::Tell(Notice::UnknownMode { name: name.clone(), known }));
        }
        found
    }

    fn set_mode(&mut self, name: Arc<str>, out: &mut Vec<Effect>) {
        if self.find_mode(Some(&name), out).is_some() {
            self.mode = name;
        }
    }

    fn start_timer(&mut self, kind: TimerKind, after_ms: u64, out: &mut Vec<Effect>) -> Timer {
        self.last_generation += 1;
        let timer = Timer { kind, generation: self.last_generation };
        out.push(Effect::StartTimer { timer, after_ms });
        timer
    }

    fn timer_fired(&mut self, timer: Timer, out: &mut Vec<Effect>) {
        if self.leaving == Leaving::Soon(timer) {
            return self.leave_unfinished(out);
        }
        if self.recording.as_ref().is_some_and(|recording| recording.awaits(timer)) {
            self.recording_timer(timer.kind, out);
        }
    }

    /// The recording if there is one, otherwise everything that is under way.
    fn cancel(&mut self, out: &mut Vec<Effect>) {
        if let Some(recording) = self.recording.take() {
            out.push(Effect::StopRecording { id: recording.dictation.id });
            return self.give_up(&recording.dictation, End::Discarded, out);
        }
        for dictation in std::mem::take(&mut self.queue) {
            self.give_up(&dictation, End::Discarded, out);
        }
        self.stop_delivery(out);
    }

    fn quit(&mut self, out: &mut Vec<Effect>) {
        if matches!(self.leaving, Leaving::Soon(_)) {
            return self.leave_unfinished(out);
        }
        self.close_recording(out);
        self.leaving = Leaving::Soon(self.start_timer(TimerKind::Quit, self.settings.quit_ms, out));
    }

    /// Waits no longer; what is unfinished stays in its journal.
    fn leave_unfinished(&mut self, out: &mut Vec<Effect>) {
        let kept = self.pending();
        for dictation in std::mem::take(&mut self.queue) {
            self.give_up(&dictation, End::Failed(FailedAt::Quit), out);
        }
        if let Some(in_hand) = self.in_hand.take() {
            let id = in_hand.last.id;
            out.push(Effect::StopDelivery { id });
            if in_hand.is_first {
                self.conclude(id, &in_hand.last.mode, End::Failed(FailedAt::Quit), out);
            }
        }
        if kept > 0 {
            out.push(Effect::Tell(Notice::LeftUnfinished { kept }));
        }
    }

    fn give_up(&mut self, dictation: &Dictation, end: End, out: &mut Vec<Effect>) {
        out.push(Effect::CancelEngine { id: dictation.id });
        self.conclude(dictation.id, &dictation.mode, end, out);
    }

    fn conclude(&mut self, id: DictationId, mode: &Mode, end: End, out: &mut Vec<Effect>) {
        self.concluded = Some(Concluded { id, mode: mode.name.clone(), end: end.clone() });
        out.push(Effect::Conclude { id, end });
    }
}
