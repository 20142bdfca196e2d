//! What the user is told, each as one sentence that says what to do.

use std::sync::Arc;

/// Something the user should know. None holds dictated text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Notice {
    #[error("there is no mode '{name}'{}", suggestion(.known))]
    UnknownMode { name: Arc<str>, known: Vec<Arc<str>> },
    #[error("{waiting} dictations are not delivered yet; wait for one to end, or cancel them")]
    QueueFull { waiting: usize },
    #[error("undertone is ending; start it again to dictate")]
    Quitting,
    #[error("a dictation is under way; try again when it has ended")]
    Busy,
    #[error("there is no last text yet; dictate something first")]
    NothingToRepeat,
    #[error("the last text is in no window, so there is nothing to remove")]
    NothingToUndo,
    #[error("the last text was not removed: {why}; remove it by hand")]
    NotUndone { why: String },
    #[error("the clean-up had changed nothing, so the raw text is the same")]
    SameWording,
    #[error("nothing is selected; select the text to work on, then press the key")]
    NoSelection,
    #[error("the microphone could not be opened: {error}; check that it is connected and allowed")]
    MicrophoneFailed { error: String },
    #[error("the microphone is gone; what it recorded is transcribed")]
    DeviceLost,
    #[error("the recording reached its greatest length of {} s; it is transcribed", .max_ms / 1000)]
    LongestReached { max_ms: u64 },
    #[error("nothing was heard; speak while the recording is on, and check the microphone's level")]
    NothingHeard,
    #[error("{stage} failed: {error}; the audio is kept, `undertone recover` transcribes it")]
    EngineFailed { stage: String, error: String },
    #[error(
        "another window has the focus, so nothing was typed; \
         go where the text belongs and use `undertone ctl again`"
    )]
    FocusChanged,
    #[error("the text could not be typed: {why}; it is on the clipboard, paste it")]
    LeftOnClipboard { why: String },
    #[error("the text could not be delivered: {why}; `undertone ctl again` tries once more")]
    DeliveryFailed { why: String },
    #[error("{kept} unfinished dictations are kept; `undertone recover` finishes them")]
    LeftUnfinished { kept: usize },
}

impl Notice {
    /// Whether it says that a command was not followed: then it is the command's error.
    pub(crate) fn is_refusal(&self) -> bool {
        use Notice::*;
        matches!(
            self,
            UnknownMode { .. }
                | QueueFull { .. }
                | Quitting
                | Busy
                | NothingToRepeat
                | NothingToUndo
                | SameWording
        )
    }
}

fn suggestion(known: &[Arc<str>]) -> String {
    if known.is_empty() { String::new() } else { format!("; use one of: {}", known.join(", ")) }
}
