use undertone_models::ModelError;
use undertone_models::tokenizer::TokenizerError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The audio cannot be used.
    #[error(transparent)]
    Audio(#[from] crate::audio::AudioError),
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// Text cannot be tokenised.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    /// The model's chat template cannot be rendered.
    #[error("the model's chat template failed: {0}")]
    ChatTemplate(String),
    /// The language is not one Whisper knows.
    #[error("language '{0}' is not known to this model; use 'auto' or a code such as en, de, fr")]
    UnknownLanguage(String),
    /// An English-only model was asked for another language.
    #[error(
        "this speech model knows English only; choose a multilingual one (such as whisper-base) for other languages and translation"
    )]
    EnglishOnly,
    /// The options name no temperature to decode at.
    #[error("no decoding temperature was given")]
    NoTemperature,
    /// A mode's data is unusable.
    #[error("mode '{name}' cannot be used: {what}")]
    Mode {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The GPU cannot be used.
    #[error("{0}; use --device cpu")]
    Gpu(undertone_kernels::gpu::GpuError),
    /// The plan does not fit.
    #[error(transparent)]
    OverBudget(#[from] crate::plan::OverBudget),
    /// More requests wait than the queue holds.
    #[error("the engine is busy: its queue of requests is full; try again when one has ended")]
    Busy,
    /// The engine's thread cannot be started or has ended.
    #[error("the engine's thread is gone: {0}")]
    Thread(String),
    /// Inference panicked. The engine goes on; please report it.
    #[error("internal fault: {0}")]
    Panicked(String),
    /// Another stream was opened before this one was finished.
    #[error("another recording was begun before this one was finished")]
    Overtaken,
    /// A recording goes beyond what a stream takes.
    #[error("the recording is longer than {most_s} s; end it and begin another")]
    TooLong {
        /// Longest, in seconds.
        most_s: u64,
    },
    /// Weights cannot be brought or kept in memory.
    #[error(transparent)]
    Residency(#[from] undertone_models::weights::ResidencyError),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl EngineError {
    pub(crate) fn tokenizer(e: TokenizerError) -> EngineError {
        EngineError::Tokenizer(e.to_string())
    }
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, EngineError>;
