//! Memory that a GPU reads by itself: what is uploaded from a file goes through it, one part copied here while the other
//! is on its way.

use super::GpuError;
use super::driver::said;
use cudarc::driver::{result, sys};

/// Bytes of a part: large enough that starting a copy costs nothing beside it.
const PART_BYTES: usize = 4 << 20;

/// Two parts, and what tells that the GPU has read each.
pub(super) struct Staging {
    parts: [(*mut u8, sys::CUevent); 2],
}

// SAFETY: nobody else has the memory; the driver's handles may be used on any thread that has the context.
unsafe impl Send for Staging {}

impl Staging {
    /// # Errors
    /// If there is no memory that stays in its place.
    pub(super) fn new() -> Result<Staging, GpuError> {
        let part = || -> Result<(*mut u8, sys::CUevent), GpuError> {
            let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
            let event = result::event::create(flags).map_err(said("event"))?;
            // SAFETY: given back when this is dropped.
            let bytes = unsafe { result::malloc_host(PART_BYTES, 0) }.map_err(said("memory for uploads"))?;
            Ok((bytes.cast(), event))
        };
        Ok(Staging { parts: [part()?, part()?] })
    }

    /// Copies `bytes` to `address`, in the order of `stream`; they have been read when it returns.
    ///
    /// # Safety
    /// The context is current; `bytes.len()` bytes from `address` on are of one allocation.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) unsafe fn write(
        &mut self,
        address: u64,
        bytes: &[u8],
        stream: sys::CUstream,
    ) -> Result<(), GpuError> {
        for (n, chunk) in bytes.chunks(PART_BYTES).enumerate() {
            let (part, event) = self.parts[n % 2];
            let to = address + (n * PART_BYTES) as u64;
            // SAFETY: the part has as many bytes, and the GPU has read what was in it before.
            unsafe {
                result::event::synchronize(event).map_err(said("an upload"))?;
                part.copy_from_nonoverlapping(chunk.as_ptr(), chunk.len());
                let staged = std::slice::from_raw_parts(part, chunk.len());
                result::memcpy_htod_async(to, staged, stream).map_err(said("copying to the GPU"))?;
                result::event::record(event, stream).map_err(said("an upload"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for (part, event) in self.parts {
            // SAFETY: the stream has ended; what fails now is of no consequence.
            unsafe {
                let _ = result::free_host(part.cast());
                let _ = result::event::destroy(event);
            }
        }
    }
}
