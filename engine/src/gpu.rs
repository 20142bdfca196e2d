//! The GPU to compute on, and what its context takes.

use crate::telemetry::gpu::Gpu;
use std::collections::HashMap;
pub use undertone_kernels::gpu::{Available, GpuError};

/// The GPU number `ordinal`, if this program can use it, with a context and every kernel loaded. What these take of
/// its memory is measured where NVML tells.
///
/// # Errors
/// A sentence that says why not.
pub fn find(ordinal: usize) -> Result<Available, GpuError> {
    let before = Gpu::used_bytes();
    let mut found = undertone_kernels::gpu::find(ordinal)?;
    let used = |bytes: &HashMap<String, u64>| bytes.get(&found.uuid).copied();
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
