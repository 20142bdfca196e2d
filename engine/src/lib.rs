//! The resident engine: audio to clean text with both models in one process, loaded once. Opens no
//! device, no window and no socket.
#![warn(missing_docs)]

/// Audio files to mono samples at 16 kHz.
pub mod audio;
/// Many prompts, several at a time.
pub mod batch;
/// What a model thinks and what it says.
pub mod channels;
/// Clean-up without a model, and what a model's clean-up may be.
pub mod clean;
/// Transcript to clean text, window by window.
mod cleanup;
/// What an engine is made of.
pub mod config;
/// Cancellation, time limit, progress.
pub mod control;
/// Tokens looked up in what a model was given, to be verified several at a time.
mod draft;
/// What can go wrong, as a caller sees it.
pub mod error;
/// Greedy generation: kept prefixes, drafts, bounded edits.
pub mod generate;
/// The GPUs of this machine.
pub mod gpu;
/// Plan, load, warm up.
pub mod load;
/// Audio to clean text: the whole flow.
pub mod pipeline;
/// Memory, planned from file headers.
pub mod plan;
/// Modes: instruction, examples and policy of a clean-up, as data.
pub mod prompt;
/// What memory permits a language model to write, and what it writes.
pub mod speed;
/// The flow while speech goes on.
pub mod stream;
/// Where the milliseconds and the memory go.
pub mod telemetry;
/// Speech to text.
pub mod transcribe;
/// Where somebody speaks.
pub mod vad;
/// One thread, a bounded queue.
pub mod worker;

pub use config::{EngineConfig, Uploading};
pub use control::{CancelToken, OnProgress, Progress};
pub use error::EngineError;
pub use pipeline::{CleanedBy, Dictation, Request};
pub use undertone_kernels::{ISA_VARIABLE, Isa};
pub use worker::{Engine, Failure, Ticket};
