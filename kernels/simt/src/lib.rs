//! A GPU without a GPU: the kernels' own sources, compiled for the host (`kernels/src/gpu/simt.h`), launched as on a
//! device. For tests: a thread of a kernel is a coroutine here, thousands of times slower than there. What it proves is
//! the arithmetic, the indices, the barriers and, under AddressSanitizer, every access; not the speed, nor what only a
//! GPU's memory model brings about.

use std::alloc::Layout;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::Arc;
use undertone_kernels::gpu::{Backend, Gpu, GpuError, Launch};

unsafe extern "C" {
    fn simt_launch(
        name: *const c_char,
        grid: *const c_uint,
        size: *const c_uint,
        shared_bytes: c_uint,
        arguments: *mut *mut c_void,
    ) -> c_int;
}

/// What runs kernels on the host.
struct Host;

/// What new memory holds: as f32, f16 and as a scale a NaN, so that what is read before it is written shows.
const POISON: u8 = 0xff;

fn layout(len_bytes: usize) -> Layout {
    // An element more never: AddressSanitizer sees the first byte behind.
    Layout::from_size_align(len_bytes.max(1), 16).expect("a size of memory")
}

// SAFETY: memory is the allocator's.
unsafe impl Backend for Host {
    fn allocate(&self, len_bytes: usize) -> Result<u64, GpuError> {
        // SAFETY: the layout is not empty, and all of it is filled.
        let at = unsafe {
            let at = std::alloc::alloc(layout(len_bytes));
            if at.is_null() {
                return Err(GpuError::Device(format!("no {len_bytes} bytes are left")));
            }
            at.write_bytes(POISON, len_bytes);
            at
        };
        Ok(at as u64)
    }

    fn release(&self, address: u64, len_bytes: usize) {
        // SAFETY: `allocate` gave it with this layout.
        unsafe { std::alloc::dealloc(address as *mut u8, layout(len_bytes)) }
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    unsafe fn launch(
        &self,
        kernel: &'static str,
        launch: Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<(), GpuError> {
        let name = CString::new(kernel).map_err(|e| GpuError::Device(e.to_string()))?;
        let Launch { grid, block, shared_bytes } = launch;
        // SAFETY: the caller's word on the arguments; the kernel has run when this returns.
        let missing = unsafe {
            simt_launch(name.as_ptr(), grid.as_ptr(), block.as_ptr(), shared_bytes, arguments.as_mut_ptr())
        };
        if missing == 0 { Ok(()) } else { Err(GpuError::Device(format!("there is no kernel {kernel}"))) }
    }
}

/// A device on the host. New memory is full of NaNs.
pub fn gpu() -> Gpu {
    Gpu::new(Arc::new(Host))
}

/// The kernels of `faults.cu`.
const FAULTS: [&str; 4] = ["fault_barrier", "fault_shuffle", "fault_overrun", "unwritten_shared"];

/// What is in memory, new before, after a block of `threads` ran one of the kernels with a mistake. For the tests of
/// this crate.
///
/// # Safety
/// `fault_overrun` writes behind the end: for AddressSanitizer.
///
/// # Panics
/// If there is no such kernel.
#[doc(hidden)]
pub unsafe fn run_fault(kernel: &'static str, threads: u32) -> Vec<f32> {
    assert!(FAULTS.contains(&kernel), "{kernel} is none of {FAULTS:?}");
    let mut values = vec![f32::NAN; threads as usize];
    let mut at = values.as_mut_ptr();
    let launch = Launch::new(1, threads).with_shared_f32(threads as usize);
    // SAFETY: each of them writes a float a thread, and the one that does not is the caller's wish.
    let ran = unsafe { Host.launch(kernel, launch, &mut [std::ptr::from_mut(&mut at).cast()]) };
    ran.unwrap_or_else(|e| panic!("{e}"));
    values
}
