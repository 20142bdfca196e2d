//! What happens to a session, and what it asks for in return.
//!
//! Every effect that waits for an answer gets exactly one, whatever happens:
//!
//! | effect | answer |
//! |---|---|
//! | `Record` | `MicrophoneOpened` or `MicrophoneFailed` |
//! | `StopRecording`, `Split` | `Recorded` (unless `MicrophoneFailed` came) |
//! | `TakeSelection` | `SelectionTaken` |
//! | `Transcribe`, `Clean` | `Transcribed` |
//! | `Deliver` | `Delivered`, also after `StopDelivery` |
//! | `Undo` | `Undone` |
//! | `StartTimer` | `TimerFired` |
//!
//! Answers to what was given up meanwhile are ignored.

use super::notice::Notice;
use serde::Serialize;
use std::sync::Arc;

/// Number of a dictation, counted from 1 in the order in which they were begun.
pub(crate) type DictationId = u64;

/// Which hotkey; the keys module numbers them.
pub(crate) type Key = u32;

/// Dictated or selected text. Its `Debug` form tells the length only, so that no log can hold it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text(Arc<str>);

impl Text {
    /// The text itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.into())
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} chars)", self.0.chars().count())
    }
}

/// How a key governs a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As long as the key is down.
    Hold,
    /// From one press to the next.
    Toggle,
    /// `Toggle` when the key was down shorter than `tap_ms`, `Hold` otherwise.
    Hybrid,
    /// `Toggle`, with every utterance delivered by itself. Modes that take the selection have one
    /// selection only, so for them it is `Toggle`.
    HandsFree,
}

/// What a key (or `ctl`) asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activation {
    /// Name of the mode; `None` is the current one.
    pub(crate) mode: Option<Arc<str>>,
    pub(crate) style: Style,
}

/// What a mode does with the selected text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    Unused,
    /// Taken before the user speaks; the mode also works without one.
    Optional,
    /// Taken before the user speaks; without one the dictation fails.
    Required,
}

/// Where the text of a mode goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Typed or pasted into the window that had the focus at the release.
    Type,
    /// To the clipboard.
    Copy,
    /// To a window or notification of our own.
    Show,
    /// To the end of the mode's file.
    Append,
}

/// What a session has to know of a mode; the rest is the engine's and the injector's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) name: Arc<str>,
    /// Whether something is dictated. A mode without speech works on the selection alone.
    pub(crate) speech: bool,
    pub(crate) selection: Selection,
    pub(crate) delivery: Delivery,
}

/// Both wordings of a dictation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) clean: Text,
    pub(crate) raw: Text,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Typed,
    /// `receipt`: the window was seen to fetch the clipboard.
    Pasted {
        receipt: bool,
    },
    Copied,
    Shown,
    Appended,
    /// Nothing was typed; the text waits on the clipboard.
    LeftOnClipboard {
        why: String,
    },
    /// Nothing was typed, since another window has the focus now.
    FocusChanged,
    /// Ended by `StopDelivery`; a part may have been typed.
    Stopped,
    Failed {
        why: String,
    },
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerKind {
    /// The longest a recording may be.
    Longest,
    /// What is recorded after the release.
    Tail,
    /// Silence that ends a recording.
    Silence,
    /// What a program that is asked to end still waits for.
    Quit,
}

/// One started timer. A session ignores all but those that it still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) kind: TimerKind,
    /// Different for every timer that is started.
    pub(crate) generation: u64,
}

/// What happens to a session. Times are of one monotonic clock.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Press {
        key: Key,
        activation: Activation,
        at_ms: u64,
    },
    Release {
        key: Key,
        at_ms: u64,
    },
    /// Begins a recording; nothing happens if there is one.
    Start(Activation),
    /// Ends the recording; nothing happens if there is none.
    Stop,
    /// `Stop` if there is a recording, otherwise `Start`.
    Toggle(Activation),
    /// Gives up the recording; if there is none, all that is transcribed or delivered.
    Cancel,
    /// Another mode for activations that name none.
    SetMode(Arc<str>),
    /// Delivers the last text once more, to the window that has the focus now.
    Again,
    /// Removes what was typed last.
    Undo,
    /// Puts the raw transcript in the place of the clean text, or the other way round.
    Raw,
    /// Ends the program once what was spoken is delivered; the second time at once.
    Quit,
    MicrophoneOpened {
        id: DictationId,
    },
    MicrophoneFailed {
        id: DictationId,
        error: String,
    },
    /// The microphone vanished; what it gave until then is there.
    DeviceLost {
        id: DictationId,
    },
    /// Speech began or ended.
    Speech {
        id: DictationId,
        speaking: bool,
    },
    /// The engine heard the end of an utterance (hands-free).
    UtteranceEnded {
        id: DictationId,
    },
    /// The microphone is closed and the journal on disk.
    Recorded {
        id: DictationId,
        audio_ms: u64,
    },
    SelectionTaken {
        id: DictationId,
        text: Option<Text>,
    },
    Transcribed {
        id: DictationId,
        result: Result<Texts, EngineFault>,
    },
    Delivered {
        id: DictationId,
        outcome: Outcome,
    },
    Undone {
        id: DictationId,
        result: Result<(), String>,
    },
    TimerFired(Timer),
}

/// Why the engine gave no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineFault {
    /// Name of the engine's stage, such as `encoder`.
    pub(crate) stage: String,
    pub(crate) error: String,
}

/// What a session asks for; to be done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Opens the microphone and a journal.
    Record {
        id: DictationId,
        mode: Arc<str>,
    },
    /// Opens the engine's stream on what is recorded, from its first sample. If that fails,
    /// `Transcribe` takes the recording whole.
    Listen {
        id: DictationId,
        mode: Arc<str>,
        selection: Option<Text>,
    },
    /// Ends one recording and begins the next without losing a sample between them.
    Split {
        id: DictationId,
        next: DictationId,
    },
    /// Closes the microphone.
    StopRecording {
        id: DictationId,
    },
    /// The recording is whole: asks the engine for its text.
    Transcribe {
        id: DictationId,
    },
    /// Asks the engine for another wording of a selected text.
    Clean {
        id: DictationId,
        mode: Arc<str>,
        text: Text,
    },
    /// Gives up what the engine does for this dictation, if anything.
    CancelEngine {
        id: DictationId,
    },
    /// Touches the engine's memory and raises clocks while the user begins to speak.
    WakeEngine {
        mode: Arc<str>,
    },
    TakeSelection {
        id: DictationId,
    },
    /// The window that has the focus now is where this dictation belongs.
    RememberFocus {
        id: DictationId,
    },
    Deliver {
        id: DictationId,
        mode: Arc<str>,
        delivery: Delivery,
        text: Text,
    },
    /// Ends a delivery or removal as soon as possible.
    StopDelivery {
        id: DictationId,
    },
    /// Removes what was typed of this dictation.
    Undo {
        id: DictationId,
    },
    /// The dictation is over: settles its journal. Exactly one for each id.
    Conclude {
        id: DictationId,
        end: End,
    },
    StartTimer {
        timer: Timer,
        after_ms: u64,
    },
    /// What the overlay and the tray show from now on.
    Show(Status),
    /// Tells the user; `ctl` gets it as its answer if the event was its own.
    Tell(Notice),
    /// Ends the program. Nothing follows.
    Exit,
}

/// How a dictation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// The text is where the outcome says; the audio is no longer needed.
    Delivered(Outcome),
    /// Nobody spoke.
    Empty,
    /// Given up on request; the journal is kept as discarded.
    Discarded,
    /// The audio is kept for `undertone recover`, the text (if there is one) in the history.
    Failed(FailedAt),
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailedAt {
    Microphone,
    Selection,
    Engine,
    Delivery,
    /// The program ended first.
    Quit,
}

/// What the user sees all the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    /// Of the recording if there is one, otherwise the current one.
    pub(crate) mode: Arc<str>,
    /// Dictations that are recorded and not yet delivered.
    pub(crate) pending: usize,
}

/// The most important of what goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Idle,
    /// The microphone is being opened.
    Opening,
    Recording,
    /// Recording, utterance by utterance, until stopped.
    HandsFree,
    Delivering,
    Transcribing,
}
