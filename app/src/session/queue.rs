//! From the end of the recording to the text's place, and what is done with the last text.

use super::Session;
use super::event::*;
use super::notice::Notice;
use std::sync::Arc;

/// One dictation that is not yet delivered.
#[derive(Clone, Debug)]
pub(super) struct Dictation {
    pub(super) id: DictationId,
    pub(super) mode: Arc<Mode>,
    pub(super) awaits_selection: bool,
    /// The rest of a hands-free recording: silence in it is no news.
    pub(super) is_quiet: bool,
    /// Where it is once it is in the queue.
    pub(super) stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its microphone is being closed.
    Closing,
    /// It is recorded (if it is spoken at all) and waits for the selection.
    Selecting,
    Transcribing,
    /// It has a text, which waits for the texts before it.
    Ready(Texts),
}

/// A text that was delivered, or is on its way.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) id: DictationId,
    pub(super) mode: Arc<Mode>,
    texts: Texts,
    wording: Wording,
    /// Whether it stands in a window, so that it can be removed.
    in_window: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wording {
    Clean,
    Raw,
}

impl Last {
    fn deliver(&self) -> Effect {
        let text = match self.wording {
            Wording::Clean => &self.texts.clean,
            Wording::Raw => &self.texts.raw,
        };
        let (mode, delivery, text) = (self.mode.name.clone(), self.mode.delivery, text.clone());
        Effect::Deliver { id: self.id, mode, delivery, text }
    }
}

/// What is being delivered or removed: one at a time.
#[derive(Clone, Debug)]
pub(super) struct InHand {
    pub(super) last: Last,
    /// Whether it is a dictation's own delivery, which concludes it.
    pub(super) is_first: bool,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Delivering,
    /// The text is being removed; then, if asked, this wording takes its place.
    Removing(Option<Wording>),
}

impl Session {
    fn queued(&mut self, id: DictationId) -> Option<&mut Dictation> {
        self.queue.iter_mut().find(|dictation| dictation.id == id)
    }

    fn unqueue(&mut self, id: DictationId) -> Option<Dictation> {
        let place = self.queue.iter().position(|dictation| dictation.id == id)?;
        self.queue.remove(place)
    }

    /// Concludes a dictation that is recorded or waits, if it is one.
    pub(super) fn fail(&mut self, id: DictationId, at: FailedAt, out: &mut Vec<Effect>) -> bool {
        let recorded = self.recording.take_if(|recording| recording.dictation.id == id);
        if recorded.is_some() {
            out.push(Effect::StopRecording { id });
        }
        let dictation = recorded.map(|recording| recording.dictation).or_else(|| self.unqueue(id));
        dictation.inspect(|dictation| self.give_up(dictation, End::Failed(at), out)).is_some()
    }

    pub(super) fn recorded(&mut self, id: DictationId, audio_ms: u64, out: &mut Vec<Effect>) {
        if self.recording.as_ref().is_some_and(|recording| recording.dictation.id == id) {
            self.close_recording(out);
        }
        let Some(dictation) = self.queued(id).filter(|dictation| dictation.stage == Stage::Closing) else {
            return;
        };
        if audio_ms == 0 {
            out.push(Effect::CancelEngine { id });
            return self.conclude_empty(id, out);
        }
        if dictation.awaits_selection {
            dictation.stage = Stage::Selecting;
        } else {
            dictation.stage = Stage::Transcribing;
            out.push(Effect::Transcribe { id });
        }
    }

    pub(super) fn selection_taken(&mut self, id: DictationId, text: Option<Text>, out: &mut Vec<Effect>) {
        let recorded = self.recording.as_mut().map(|recording| &mut recording.dictation);
        let mut waiting = recorded.into_iter().chain(&mut self.queue);
        let Some(dictation) = waiting.find(|dictation| dictation.id == id && dictation.awaits_selection)
        else {
            return;
        };
        let selection = text.filter(|text| !text.is_blank());
        let mode = &dictation.mode;
        if selection.is_none() && (mode.selection == Selection::Required || !mode.speech) {
            self.fail(id, FailedAt::Selection, out);
            return out.push(Effect::Tell(Notice::NoSelection));
        }
        dictation.awaits_selection = false;
        let selecting = dictation.stage == Stage::Selecting;
        if selecting {
            dictation.stage = Stage::Transcribing;
        }
        match selection {
            Some(text) if !mode.speech => out.push(Effect::Clean { id, mode: mode.name.clone(), text }),
            selection => {
                out.push(Effect::Listen { id, mode: mode.name.clone(), selection });
                if selecting {
                    out.push(Effect::Transcribe { id });
                }
            }
        }
    }

    pub(super) fn transcribed(
        &mut self,
        id: DictationId,
        result: Result<Texts, EngineFault>,
        out: &mut Vec<Effect>,
    ) {
        let Some(dictation) = self.queued(id).filter(|dictation| dictation.stage == Stage::Transcribing)
        else {
            return;
        };
        match result {
            Ok(texts) if texts.clean.is_blank() => self.conclude_empty(id, out),
            Ok(texts) => dictation.stage = Stage::Ready(texts),
            Err(EngineFault { stage, error }) => {
                self.fail(id, FailedAt::Engine, out);
                out.push(Effect::Tell(Notice::EngineFailed { stage, error }));
            }
        }
    }

    fn conclude_empty(&mut self, id: DictationId, out: &mut Vec<Effect>) {
        if let Some(dictation) = self.unqueue(id) {
            self.conclude(id, &dictation.mode, End::Empty, out);
            if !dictation.is_quiet {
                out.push(Effect::Tell(Notice::NothingHeard));
            }
        }
    }

    /// Takes the first dictation in hand if it is ready and nothing else is.
    pub(super) fn deliver_next(&mut self, out: &mut Vec<Effect>) {
        if self.in_hand.is_some()
            || !matches!(self.queue.front(), Some(d) if matches!(d.stage, Stage::Ready(_)))
        {
            return;
        }
        let Some(Dictation { id, mode, stage: Stage::Ready(texts), .. }) = self.queue.pop_front() else {
            return;
        };
        let last = Last { id, mode, texts, wording: Wording::Clean, in_window: false };
        self.deliver(last, true, out);
    }

    fn deliver(&mut self, last: Last, is_first: bool, out: &mut Vec<Effect>) {
        out.push(last.deliver());
        self.in_hand = Some(InHand { last, is_first, step: Step::Delivering });
    }

    pub(super) fn delivered(&mut self, id: DictationId, outcome: Outcome, out: &mut Vec<Effect>) {
        let awaited = |in_hand: &mut InHand| in_hand.last.id == id && in_hand.step == Step::Delivering;
        let Some(InHand { mut last, is_first, .. }) = self.in_hand.take_if(awaited) else { return };
        last.in_window = matches!(outcome, Outcome::Typed | Outcome::Pasted { .. } | Outcome::Stopped);
        let mode = last.mode.clone();
        self.last = Some(last);
        let notice = match &outcome {
            Outcome::LeftOnClipboard { why } => Some(Notice::LeftOnClipboard { why: why.clone() }),
            Outcome::FocusChanged => Some(Notice::FocusChanged),
            Outcome::Failed { why } => Some(Notice::DeliveryFailed { why: why.clone() }),
            _ => None,
        };
        if is_first {
            let end = match outcome {
                Outcome::Stopped => End::Discarded,
                Outcome::Failed { .. } => End::Failed(FailedAt::Delivery),
                outcome => End::Delivered(outcome),
            };
            self.conclude(id, &mode, end, out);
        }
        out.extend(notice.map(Effect::Tell));
    }

    pub(super) fn stop_delivery(&mut self, out: &mut Vec<Effect>) {
        if let Some(in_hand) = &mut self.in_hand {
            if let Step::Removing(then) = &mut in_hand.step {
                *then = None;
            }
            out.push(Effect::StopDelivery { id: in_hand.last.id });
        }
    }

    /// The last text, if nothing is under way that could come between; hands-free may go on.
    fn take_last(&mut self, out: &mut Vec<Effect>) -> Option<Last> {
        let recording = self.recording.as_ref().is_some_and(|recording| !recording.is_hands_free());
        let refusal = if recording || !self.queue.is_empty() || self.in_hand.is_some() {
            Notice::Busy
        } else if let Some(last) = &self.last {
            return Some(last.clone());
        } else {
            Notice::NothingToRepeat
        };
        out.push(Effect::Tell(refusal));
        None
    }

    pub(super) fn again(&mut self, out: &mut Vec<Effect>) {
        if let Some(last) = self.take_last(out) {
            out.push(Effect::RememberFocus { id: last.id });
            self.deliver(last, false, out);
        }
    }

    pub(super) fn undo(&mut self, out: &mut Vec<Effect>) {
        match self.take_last(out) {
            Some(last) if last.in_window => self.remove(last, None, out),
            Some(_) => out.push(Effect::Tell(Notice::NothingToUndo)),
            None => {}
        }
    }

    pub(super) fn swap_wording(&mut self, out: &mut Vec<Effect>) {
        let Some(mut last) = self.take_last(out) else { return };
        let other = match last.wording {
            Wording::Clean => Wording::Raw,
            Wording::Raw => Wording::Clean,
        };
        if last.texts.raw == last.texts.clean {
            out.push(Effect::Tell(Notice::SameWording));
        } else if last.in_window {
            self.remove(last, Some(other), out);
        } else {
            last.wording = other;
            out.push(Effect::RememberFocus { id: last.id });
            self.deliver(last, false, out);
        }
    }

    fn remove(&mut self, last: Last, then: Option<Wording>, out: &mut Vec<Effect>) {
        out.push(Effect::Undo { id: last.id });
        self.in_hand = Some(InHand { last, is_first: false, step: Step::Removing(then) });
    }

    pub(super) fn undone(&mut self, id: DictationId, result: Result<(), String>, out: &mut Vec<Effect>) {
        let awaited = |in_hand: &mut InHand| in_hand.last.id == id && in_hand.step != Step::Delivering;
        let Some(InHand { mut last, step, .. }) = self.in_hand.take_if(awaited) else { return };
        if let Err(why) = result {
            return out.push(Effect::Tell(Notice::NotUndone { why }));
        }
        last.in_window = false;
        self.last = Some(last.clone());
        if let Step::Removing(Some(wording)) = step {
            self.deliver(Last { wording, ..last }, false, out);
        }
    }
}
