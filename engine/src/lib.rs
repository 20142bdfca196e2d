//! The whole flow from audio to clean text, and the loops that drive the models. Opens no device,
//! no window and no socket.
#![warn(missing_docs)]

/// Audio files to mono samples at 16 kHz.
pub mod audio;
/// What a model thinks and what it says.
pub mod channels;
/// Clean-up without a model, and the check that a model's clean-up must pass.
pub mod clean;
/// What can go wrong, as a caller sees it.
pub mod error;
/// Greedy generation over a cache that keeps what prompts share.
pub mod generate;
/// Audio to clean text in one short function.
pub mod pipeline;
/// What both models take: granted or refused before a weight is read.
pub mod plan;
/// Modes: instruction, examples and policy of a clean-up, as data.
pub mod prompt;
/// Where the milliseconds and the memory go.
pub mod telemetry;
/// Speech to text.
pub mod transcribe;
/// Where somebody speaks.
pub mod vad;

pub use error::EngineError;
pub use pipeline::{CleanedBy, Dictation, Engine, Request};
