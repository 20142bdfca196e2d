//! Whisper (Radford et al. 2022), every size, from any of the three formats people have.

mod config;
mod decoder;
mod encoder;
mod load;
mod mel;
mod tokens;

pub use config::WhisperConfig;
pub use decoder::Decoder;
pub use encoder::Encoder;
pub(crate) use load::SpeechFiles;
pub use load::Whisper;
pub use mel::{FRAMES_PER_SECOND, Mel, MelFrontEnd, SAMPLE_RATE_HZ, WINDOW_FRAMES};
pub use tokens::{LANGUAGES, SpecialTokens, Task};
