//! Whisper (Radford et al. 2022), every size, from any of the three formats people have.

mod config;
mod context;
mod decoder;
mod encoder;
mod load;
mod mel;
mod quantize;
mod tokens;

pub use config::WhisperConfig;
pub use context::AudioContext;
pub use decoder::{CrossCache, Decoder};
pub use encoder::{AudioFeatures, Encoder};
pub(crate) use load::SpeechFiles;
pub use load::Whisper;
pub use mel::{FRAMES_PER_SECOND, Mel, MelFrontEnd, SAMPLE_RATE_HZ, WINDOW_FRAMES};
pub use quantize::{Quantized, QuantizedType, WriteError};
pub use tokens::{LANGUAGES, SpecialTokens, Task};
