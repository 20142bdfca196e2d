//! The words the store speaks in: kinds, formats, and a model that is ready to load.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Speech in, text out (Whisper).
    Speech,
    /// Text in, text out (a language model).
    Text,
}

/// How a model lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A CTranslate2 folder: `model.bin`, `config.json`, tokenizer or vocabulary.
    Ct2,
    /// A Hugging Face folder: `*.safetensors`, `config.json`, `tokenizer.json`.
    Hf,
    /// One whisper.cpp file, `ggml-*.bin`.
    Ggml,
    /// One GGUF file.
    Gguf,
}

impl Format {
    /// Whether a model of this format is one file (else a folder).
    pub(crate) fn is_one_file(self) -> bool {
        matches!(self, Self::Ggml | Self::Gguf)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Speech => "speech",
            Self::Text => "text",
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Ct2 => "ct2",
            Self::Hf => "hf",
            Self::Ggml => "ggml",
            Self::Gguf => "gguf",
        })
    }
}

/// A model that is on this machine, ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelPath {
    /// The name it was found under.
    pub(crate) name: String,
    /// The file (`ggml`, `gguf`) or the folder (`ct2`, `hf`).
    pub(crate) path: PathBuf,
    /// Speech or text.
    pub(crate) kind: Kind,
    /// How it lies on disk.
    pub(crate) format: Format,
}
