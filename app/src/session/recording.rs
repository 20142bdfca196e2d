//! From the press to the end of the recording.

use super::event::*;
use super::notice::Notice;
use super::queue::{Dictation, Stage};
use super::{Leaving, Session};
use std::sync::Arc;

/// Presses of a key that is down, this near to one another, are the keyboard's repetition (X11
/// waits 660 ms before the first by default); later ones mean that a release was missed.
const REPEAT_MS: u64 = 1000;

/// A key that is down as far as we were told.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldKey {
    key: Key,
    pressed_ms: u64,
}

/// The dictation that is being spoken.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) dictation: Dictation,
    /// The key that began it; `None` for `ctl`.
    key: Option<Key>,
    style: Style,
    hold: Hold,
    opened: bool,
    longest: Timer,
    silence: Option<Timer>,
}

/// What keeps a recording on.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// The key that began it.
    Key { since_ms: u64 },
    /// Nothing: it goes on until it is ended.
    Latch,
    /// It has been ended; the last syllable is still recorded.
    Tail(Timer),
}

impl Recording {
    pub(super) fn phase(&self) -> Phase {
        match self.style {
            _ if !self.opened => Phase::Opening,
            Style::HandsFree => Phase::HandsFree,
            _ => Phase::Recording,
        }
    }

    pub(super) fn is_hands_free(&self) -> bool {
        self.style == Style::HandsFree
    }

    /// Whether an utterance may be cut off while it goes on.
    fn can_split(&self) -> bool {
        self.is_hands_free() && self.opened && !self.has_ended()
    }

    pub(super) fn awaits(&self, timer: Timer) -> bool {
        match self.hold {
            Hold::Tail(tail) => tail == timer,
            Hold::Key { .. } | Hold::Latch => self.longest == timer || self.silence == Some(timer),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.hold, Hold::Tail(_))
    }
}

impl Session {
    /// A press of the key or of the mode of a latched recording ends it. Any other press ends the
    /// recording too (its release was missed, or the user changed over) and begins its own.
    pub(super) fn press(&mut self, key: Key, activation: &Activation, at_ms: u64, out: &mut Vec<Effect>) {
        if self.repeats(key, at_ms) {
            return;
        }
        let mode = activation.mode.as_ref().unwrap_or(&self.mode);
        let ends = self.recording.as_ref().is_some_and(|recording| {
            let own = recording.key == Some(key) || recording.dictation.mode.name == *mode;
            own && matches!(recording.hold, Hold::Latch)
        });
        if ends {
            return self.stop(out);
        }
        self.close_recording(out);
        let hold = match activation.style {
            Style::Hold | Style::Hybrid => Hold::Key { since_ms: at_ms },
            Style::Toggle | Style::HandsFree => Hold::Latch,
        };
        self.begin(activation, Some(key), hold, out);
    }

    /// Notes that `key` is down; whether it was already.
    fn repeats(&mut self, key: Key, at_ms: u64) -> bool {
        let Some(held) = self.held.iter_mut().find(|held| held.key == key) else {
            self.held.push(HeldKey { key, pressed_ms: at_ms });
            return false;
        };
        let since_ms = at_ms.saturating_sub(held.pressed_ms);
        held.pressed_ms = at_ms;
        since_ms < REPEAT_MS
    }

    pub(super) fn release(&mut self, key: Key, at_ms: u64, out: &mut Vec<Effect>) {
        self.held.retain(|held| held.key != key);
        let tap_ms = self.settings.tap_ms;
        let Some(recording) = self.recording.as_mut().filter(|recording| recording.key == Some(key)) else {
            return;
        };
        if let Hold::Key { since_ms } = recording.hold {
            if recording.style == Style::Hybrid && at_ms.saturating_sub(since_ms) < tap_ms {
                recording.hold = Hold::Latch;
            } else {
                self.stop(out);
            }
        }
    }

    pub(super) fn is_recording(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| !recording.has_ended())
    }

    pub(super) fn start(&mut self, activation: &Activation, out: &mut Vec<Effect>) {
        if !self.is_recording() {
            self.close_recording(out);
            self.begin(activation, None, Hold::Latch, out);
        }
    }

    /// Ends the recording once its tail is recorded.
    pub(super) fn stop(&mut self, out: &mut Vec<Effect>) {
        if !self.is_recording() {
            return;
        }
        if self.settings.tail_ms == 0 {
            return self.close_recording(out);
        }
        let tail = self.start_timer(TimerKind::Tail, self.settings.tail_ms, out);
        if let Some(recording) = &mut self.recording {
            recording.hold = Hold::Tail(tail);
            out.push(Effect::RememberFocus { id: recording.dictation.id });
        }
    }

    /// Ends the recording (if there is one) at once.
    pub(super) fn close_recording(&mut self, out: &mut Vec<Effect>) {
        let Some(Recording { dictation, hold, .. }) = self.recording.take() else { return };
        if !matches!(hold, Hold::Tail(_)) {
            out.push(Effect::RememberFocus { id: dictation.id });
        }
        out.push(Effect::StopRecording { id: dictation.id });
        self.queue.push_back(dictation);
    }

    fn begin(&mut self, activation: &Activation, key: Option<Key>, hold: Hold, out: &mut Vec<Effect>) {
        if self.leaving != Leaving::No {
            return out.push(Effect::Tell(Notice::Quitting));
        }
        let Some(mode) = self.find_mode(activation.mode.as_ref(), out) else { return };
        if !self.has_room() {
            return out.push(Effect::Tell(Notice::QueueFull { waiting: self.pending() }));
        }
        let mut dictation = self.new_dictation(mode);
        let (id, mode) = (dictation.id, dictation.mode.clone());
        if !mode.speech {
            dictation.stage = Stage::Selecting;
            self.queue.push_back(dictation);
            out.push(Effect::RememberFocus { id });
            out.push(Effect::TakeSelection { id });
            return out.push(Effect::WakeEngine { mode: mode.name.clone() });
        }
        out.push(Effect::Record { id, mode: mode.name.clone() });
        if dictation.awaits_selection {
            out.push(Effect::TakeSelection { id });
        } else {
            out.push(Effect::Listen { id, mode: mode.name.clone(), selection: None });
        }
        out.push(Effect::WakeEngine { mode: mode.name.clone() });
        let style = match activation.style {
            Style::HandsFree if dictation.awaits_selection => Style::Toggle,
            style => style,
        };
        let longest = self.start_timer(TimerKind::Longest, self.settings.max_ms, out);
        self.recording =
            Some(Recording { dictation, key, style, hold, opened: false, longest, silence: None });
    }

    fn new_dictation(&mut self, mode: Arc<Mode>) -> Dictation {
        self.last_id += 1;
        let awaits_selection = mode.selection != Selection::Unused || !mode.speech;
        Dictation { id: self.last_id, mode, awaits_selection, is_quiet: false, stage: Stage::Closing }
    }

    pub(super) fn recording_timer(&mut self, kind: TimerKind, out: &mut Vec<Effect>) {
        if kind == TimerKind::Longest {
            if self.has_room() && self.recording.as_ref().is_some_and(Recording::can_split) {
                return self.split(out);
            }
            out.push(Effect::Tell(Notice::LongestReached { max_ms: self.settings.max_ms }));
        }
        self.close_recording(out);
    }

    fn recording_of(&mut self, id: DictationId) -> Option<&mut Recording> {
        self.recording.as_mut().filter(|recording| recording.dictation.id == id)
    }

    pub(super) fn microphone_opened(&mut self, id: DictationId) {
        if let Some(recording) = self.recording_of(id) {
            recording.opened = true;
        }
    }

    pub(super) fn microphone_failed(&mut self, id: DictationId, error: String, out: &mut Vec<Effect>) {
        if self.fail(id, FailedAt::Microphone, out) {
            out.push(Effect::Tell(Notice::MicrophoneFailed { error }));
        }
    }

    pub(super) fn device_lost(&mut self, id: DictationId, out: &mut Vec<Effect>) {
        if self.recording_of(id).is_some() {
            out.push(Effect::Tell(Notice::DeviceLost));
            self.close_recording(out);
        }
    }

    /// Silence after speech ends a recording that nobody holds.
    pub(super) fn speech(&mut self, id: DictationId, speaking: bool, out: &mut Vec<Effect>) {
        let autostop_ms = self.settings.autostop_silence_ms;
        let Some(recording) = self.recording_of(id) else { return };
        if speaking {
            recording.silence = None;
            return;
        }
        let latched = matches!(recording.hold, Hold::Latch) && !recording.is_hands_free();
        let Some(after_ms) = autostop_ms.filter(|_| latched && recording.silence.is_none()) else { return };
        let silence = self.start_timer(TimerKind::Silence, after_ms, out);
        if let Some(recording) = &mut self.recording {
            recording.silence = Some(silence);
        }
    }

    /// Without room in the queue the utterance is no loss: it stays the beginning of the next one.
    pub(super) fn utterance_ended(&mut self, id: DictationId, out: &mut Vec<Effect>) {
        if !self.recording_of(id).is_some_and(|recording| recording.can_split()) {
            return;
        }
        if self.has_room() {
            self.split(out);
        } else {
            out.push(Effect::Tell(Notice::QueueFull { waiting: self.pending() }));
        }
    }

    /// What was recorded becomes a dictation of its own, while the recording goes on.
    fn split(&mut self, out: &mut Vec<Effect>) {
        let Some(mode) = self.recording.as_ref().map(|recording| recording.dictation.mode.clone()) else {
            return;
        };
        let name = mode.name.clone();
        let dictation = Dictation { is_quiet: true, ..self.new_dictation(mode) };
        let next = dictation.id;
        let longest = self.start_timer(TimerKind::Longest, self.settings.max_ms, out);
        let Some(recording) = &mut self.recording else { return };
        recording.longest = longest;
        let spoken = std::mem::replace(&mut recording.dictation, dictation);
        out.push(Effect::RememberFocus { id: spoken.id });
        out.push(Effect::Split { id: spoken.id, next });
        out.push(Effect::Listen { id: next, mode: name, selection: None });
        self.queue.push_back(spoken);
    }
}
