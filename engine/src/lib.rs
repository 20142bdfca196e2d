//! The resident engine: audio to clean text with both models in one process, loaded once. Opens no
//! device, no window and no socket.
#![warn(missing_docs)]

/// Audio files to mono samples at 16 kHz.
pub mod audio;
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
pub mod gpu {
    use crate::telemetry::gpu::Gpu;
    pub use undertone_kernels::gpu::{Available, GpuError};

    /// The GPU number `ordinal`, if this program can use it, with a context and every kernel loaded. What these take of
    /// its memory is measured where NVML tells.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn find(ordinal: usize) -> Result<Available, GpuError> {
        let before = Gpu::used_bytes();
        let mut found = undertone_kernels::gpu::find(ordinal)?;
        let used = |bytes: &std::collections::HashMap<String, u64>| bytes.get(&found.uuid).copied();
        found.context_bytes = context_bytes(used(&before), used(&Gpu::used_bytes()));
        Ok(found)
    }

    /// What use of a card grew by: nothing is known of a context that was there before, or while another process gave
    /// memory back.
    fn context_bytes(before: Option<u64>, after: Option<u64>) -> Option<usize> {
        const LEAST_BYTES: u64 = 32 << 20;
        let grown = after?.checked_sub(before?)?;
        (grown >= LEAST_BYTES).then_some(grown as usize)
    }

    #[cfg(test)]
    mod tests {
        use super::context_bytes;

        #[test]
        fn a_context_is_what_use_grew_by() {
            let (mib, small) = (1 << 20, 500 << 20);
            assert_eq!(context_bytes(Some(small), Some(small + 312 * mib)), Some(312 << 20));
            assert_eq!(context_bytes(Some(small), Some(small + 2 * mib)), None, "it was there before");
            assert_eq!(context_bytes(Some(small), Some(small - mib)), None, "others gave back");
            assert_eq!((context_bytes(None, Some(small)), context_bytes(Some(small), None)), (None, None));
        }
    }
}
/// Plan, load, warm up.
pub mod load;
/// Audio to clean text: the whole flow.
pub mod pipeline;
/// Memory, planned from file headers.
pub mod plan;
/// Modes: instruction, examples and policy of a clean-up, as data.
pub mod prompt;
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
