//! Files to weights to forward passes. Never chooses how much memory to take: callers make the
//! caches. Knows no audio device and no clock.
#![warn(missing_docs)]

/// What distinguishes Llama, Qwen2 and Gemma 3: one pure description each.
pub mod architecture;
/// The decoder-only transformer those descriptions drive.
pub mod causal_lm;
/// A model file's own chat format.
pub mod chat;
/// Why a model cannot be used: each variant is one sentence and one decision.
pub mod error;
/// Bytes a model takes, from the headers of its files.
pub mod footprint;
/// The same networks on a GPU.
mod gpu;
/// Keys and values of fixed capacity.
pub mod kv_cache;
/// Text to token ids and back.
pub mod tokenizer;
/// Model files, mapped and checked: GGUF, CTranslate2, safetensors, whisper.cpp's ggml.
pub mod weights;
/// Whisper: log-mel, encoder, decoder, special tokens.
pub mod whisper;

pub use error::ModelError;
