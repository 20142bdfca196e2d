use crate::causal_lm::Pass;
use std::path::{Path, PathBuf};
use undertone_kernels::{MAX_FEW_ROWS, gpu::GpuError, weight::WeightError};

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The contents are not what the format promises.
    #[error("{path} is damaged or incomplete: {}; fetch or copy it again", printable(what))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Neither of the formats this program reads.
    #[error("{path} is not a model this program reads: {}", printable(what))]
    NotAModel {
        /// The file or folder.
        path: PathBuf,
        /// What was expected.
        what: String,
    },
    /// A valid file of a model family that is not implemented.
    #[error(
        "{path} holds architecture '{}', which is not supported; supported are {supported}",
        printable(architecture)
    )]
    UnsupportedArchitecture {
        /// The file.
        path: PathBuf,
        /// As the file names it.
        architecture: String,
        /// What is implemented.
        supported: &'static str,
    },
    /// A tensor the architecture needs is not in the file.
    #[error("tensor '{name}' is missing from {path}; the file is incomplete or of another model family")]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name as this program asks for it.
        name: String,
    },
    /// A tensor has another shape than the rest of the file implies.
    #[error("tensor '{name}' in {path} has shape {found:?}, expected {expected:?}; the file is damaged")]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Needed, outermost first.
        expected: Vec<usize>,
        /// In the file.
        found: Vec<usize>,
    },
    /// Rows that blocks of a type do not divide.
    #[error("rows of {cols} numbers in {path} do not fill blocks of {blocks}; use {fits}")]
    Blocks {
        /// The model.
        path: PathBuf,
        /// Numbers a row.
        cols: usize,
        /// The type that was asked for.
        blocks: &'static str,
        /// Those that fit.
        fits: String,
    },
    /// No tokenizer beside the weights or none that can be used.
    #[error("no usable tokenizer for {path}: {}", printable(what))]
    Tokenizer {
        /// The model.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// A cache has no room for the tokens of this call.
    #[error("{needed} tokens do not fit a context of {capacity}; use a larger --context or shorter input")]
    ContextFull {
        /// Positions needed.
        needed: usize,
        /// Positions there are.
        capacity: usize,
    },
    /// No tokens, or more than a pass takes.
    #[error(
        "a {pass:?} pass over {tokens} tokens; decoding takes 1 to {MAX_FEW_ROWS}, the others at least 1"
    )]
    PassLength {
        /// Tokens given.
        tokens: usize,
        /// What they were given to.
        pass: Pass,
    },
    /// A tensor operation refused its operands.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A weight does not fit its bytes.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// The GPU did not do what it was asked to.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A cache of one device was given to a model on another.
    #[error("the model and its cache are on different devices")]
    OtherDevice,
}

impl ModelError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError + '_ {
        move |source| ModelError::Io { path: path.into(), source }
    }

    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> ModelError {
        ModelError::Corrupt { path: path.into(), what: what.into() }
    }
}

/// Words in which a name out of a file may stand, as a terminal may be given them: without control characters, and not
/// longer than a few lines.
fn printable(what: &str) -> String {
    const MAX_CHARS: usize = 400;
    let mut shown: String =
        what.chars().take(MAX_CHARS).map(|c| if c.is_control() { '?' } else { c }).collect();
    if what.chars().nth(MAX_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Shorthand of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_out_of_files_cannot_write_to_a_terminal() {
        let error =
            ModelError::corrupt(Path::new("m"), format!("tensor '\u{1b}]0;x\u{7}{}'", "é".repeat(1000)));
        let text = error.to_string();
        assert!(!text.contains(char::is_control) && text.chars().count() < 500, "{text}");
        assert!(text.contains("tensor '?]0;x?éé") && text.ends_with("...; fetch or copy it again"), "{text}");
    }
}
