//! What the history knows of one dictation.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The stages between the key's release and the text in its window, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Ending the recording and resampling its tail.
    Capture,
    /// Waiting for the engine.
    Queue,
    /// Looking for speech.
    Vad,
    /// To log-mel frames.
    Mel,
    /// Whisper's encoder.
    Encode,
    /// Whisper's decoder.
    Decode,
    /// The language model reading its prompt.
    Prefill,
    /// The language model writing.
    Generate,
    /// Rules and the fidelity check.
    Clean,
    /// Typing or pasting.
    Inject,
}

impl Stage {
    /// All stages in order.
    pub(crate) const ALL: [Stage; 10] = [
        Stage::Capture,
        Stage::Queue,
        Stage::Vad,
        Stage::Mel,
        Stage::Encode,
        Stage::Decode,
        Stage::Prefill,
        Stage::Generate,
        Stage::Clean,
        Stage::Inject,
    ];

    /// The stage's key in JSON.
    pub(crate) fn name(self) -> &'static str {
        const NAMES: [&str; 10] =
            ["capture", "queue", "vad", "mel", "encode", "decode", "prefill", "generate", "clean", "inject"];
        NAMES[self as usize]
    }
}

/// One dictation. Field names are column names (`schema.rs`); what the privacy tier forbids is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    /// When its key was pressed, in milliseconds UTC.
    pub(crate) started_at_ms: i64,
    /// When the sink took it, in nanoseconds UTC. Set by the sink, unique: storing an entry twice is harmless.
    pub(crate) recorded_at_ns: i64,
    /// The mode's name.
    pub(crate) mode: String,
    /// The Whisper model's name.
    pub(crate) speech_model: String,
    /// The language model's name.
    pub(crate) text_model: Option<String>,
    /// Where both ran: `cpu`, `cuda:0`.
    pub(crate) device: String,
    /// Code of the language spoken.
    pub(crate) language: Option<String>,
    /// The transcript.
    pub(crate) raw_text: Option<String>,
    /// What was injected.
    pub(crate) clean_text: Option<String>,
    /// Words of `clean_text`. Set by the sink.
    pub(crate) words: u64,
    /// Class of the window that had the focus.
    pub(crate) app: Option<String>,
    /// Its title.
    pub(crate) window_title: Option<String>,
    /// Milliseconds spent in each stage.
    pub(crate) stages: BTreeMap<Stage, f64>,
    /// Milliseconds from the key's release to the text in its window.
    pub(crate) release_to_text_ms: Option<f64>,
    /// Milliseconds of audio.
    pub(crate) audio_ms: u64,
    /// Tokens of the transcript.
    pub(crate) speech_tokens: u64,
    /// Tokens the language model wrote.
    pub(crate) text_tokens: u64,
    /// Of these in a second.
    pub(crate) tokens_per_s: Option<f64>,
    /// Tokens that drafts proposed to either model.
    pub(crate) drafted_tokens: u64,
    /// Those of them that were taken.
    pub(crate) accepted_tokens: u64,
    /// Memory the plan allows.
    pub(crate) planned_bytes: u64,
    /// Most that was resident.
    pub(crate) peak_bytes: Option<u64>,
    /// The GPU's reading when the request ended.
    pub(crate) gpu: Option<serde_json::Value>,
    /// What made the clean text: `llm`, `rules`, `none`.
    pub(crate) cleaned_by: Option<String>,
    /// Windows whose model output was refused. Set by the sink.
    pub(crate) refused_windows: u64,
    /// Why; the reasons quote the text.
    pub(crate) refusals: Vec<String>,
    /// How the text was injected: `type`, `paste`, `clipboard`.
    pub(crate) injection: Option<String>,
    /// Whether the window was seen to take it; `None` where that cannot be known.
    pub(crate) receipt: Option<bool>,
    /// Whether the text reached its window.
    pub(crate) success: bool,
    /// Where it failed.
    pub(crate) error_stage: Option<String>,
    /// The sentence the user was told.
    pub(crate) error: Option<String>,
    /// Name of the recording in the audio folder.
    pub(crate) audio_file: Option<String>,
}

/// An entry and its number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Stored {
    /// The number `show` and `redo` take; never given twice.
    pub(crate) id: i64,
    /// The dictation.
    #[serde(flatten)]
    pub(crate) entry: Entry,
}
