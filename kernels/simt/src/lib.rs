//! A GPU without a GPU: the kernels' own sources, compiled for the host (`kernels/src/gpu/simt.h`), launched as on a
//! device. For tests: a thread of a kernel is a coroutine here, thousands of times slower than there. What it proves is
//! the arithmetic, the indices, the barriers and, under AddressSanitizer, every access; not the speed, nor what only a
//! GPU's memory model brings about.

use std::alloc::Layout;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use undertone_kernels::gpu::{Available, Backend, Gpu, GpuError, Launch, Recording, allocated_bytes};

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
#[derive(Default)]
struct Host {
    recording: Mutex<Option<Vec<Noted>>>,
    used_bytes: AtomicUsize,
    high_water_bytes: AtomicUsize,
}

/// A launch that was noted, with the first eight bytes of each argument.
struct Noted {
    kernel: &'static str,
    launch: Launch,
    arguments: Vec<u64>,
}

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
        let taken = allocated_bytes([len_bytes]);
        let used = self.used_bytes.fetch_add(taken, Ordering::Relaxed) + taken;
        self.high_water_bytes.fetch_max(used, Ordering::Relaxed);
        Ok(at as u64)
    }

    fn release(&self, address: u64, len_bytes: usize) {
        self.used_bytes.fetch_sub(allocated_bytes([len_bytes]), Ordering::Relaxed);
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

    unsafe fn copy(&self, from: u64, to: u64, len_bytes: usize) -> Result<(), GpuError> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, len_bytes) };
        Ok(())
    }

    fn start_recording(&self) -> Result<(), GpuError> {
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        Ok(())
    }

    fn end_recording(&self) -> Result<Box<dyn Recording>, GpuError> {
        let noted = self.recording.lock().unwrap_or_else(PoisonError::into_inner).take();
        let noted = noted.ok_or_else(|| GpuError::Device("nothing is recorded".into()))?;
        Ok(Box::new(Noteds(noted)))
    }

    fn high_water_bytes(&self) -> usize {
        self.high_water_bytes.load(Ordering::Relaxed)
    }

    unsafe fn launch(
        &self,
        kernel: &'static str,
        launch: Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<(), GpuError> {
        if let Some(noted) = &mut *self.recording.lock().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: each points to eight bytes.
            let arguments = arguments.iter().map(|a| unsafe { a.cast::<u64>().read_unaligned() }).collect();
            noted.push(Noted { kernel, launch, arguments });
            return Ok(());
        }
        // SAFETY: the caller's word.
        unsafe { run(kernel, launch, arguments) }
    }
}

/// Launches that were noted together.
struct Noteds(Vec<Noted>);

impl Recording for Noteds {
    unsafe fn replay(&self) -> Result<(), GpuError> {
        for Noted { kernel, launch, arguments } in &self.0 {
            let mut values = arguments.clone();
            let mut pointers: Vec<*mut c_void> =
                values.iter_mut().map(|v| std::ptr::from_mut(v).cast()).collect();
            // SAFETY: the caller's word.
            unsafe { run(kernel, *launch, &mut pointers)? };
        }
        Ok(())
    }
}

/// Runs a kernel now.
///
/// # Safety
/// As [`Backend::launch`].
unsafe fn run(kernel: &str, launch: Launch, arguments: &mut [*mut c_void]) -> Result<(), GpuError> {
    let name = CString::new(kernel).map_err(|e| GpuError::Device(e.to_string()))?;
    let Launch { grid, block, shared_bytes } = launch;
    // SAFETY: the caller's word on the arguments; the kernel has run when this returns.
    let missing = unsafe {
        simt_launch(name.as_ptr(), grid.as_ptr(), block.as_ptr(), shared_bytes, arguments.as_mut_ptr())
    };
    if missing == 0 { Ok(()) } else { Err(GpuError::Device(format!("there is no kernel {kernel}"))) }
}

/// A device on the host. New memory is full of NaNs.
pub fn gpu() -> Gpu {
    Gpu::new(Arc::new(Host::default()))
}

/// The GPU whose number `UNDERTONE_GPU` is, in builds with the feature `cuda`, with `budget_bytes`, new memory full of NaNs;
/// else [`gpu`]. For tests that run on both.
///
/// # Panics
/// If there is no such GPU.
pub fn device(budget_bytes: usize) -> Gpu {
    #[cfg(feature = "cuda")]
    if let Some(ordinal) = named_gpu() {
        let opened = undertone_kernels::gpu::driver::start(ordinal, budget_bytes, true);
        return opened.unwrap_or_else(|e| panic!("UNDERTONE_GPU={ordinal}: {e}"));
    }
    let _ = budget_bytes;
    gpu()
}

/// As [`device`], not yet opened.
///
/// # Panics
/// If there is no such GPU.
pub fn available_device(free_bytes: usize) -> Available {
    #[cfg(feature = "cuda")]
    if let Some(ordinal) = named_gpu() {
        let found = undertone_kernels::gpu::find(ordinal);
        let found = found.unwrap_or_else(|e| panic!("UNDERTONE_GPU={ordinal}: {e}"));
        return Available { memory_bytes: (free_bytes, free_bytes), ..found };
    }
    available(free_bytes)
}

#[cfg(feature = "cuda")]
fn named_gpu() -> Option<usize> {
    std::env::var("UNDERTONE_GPU").ok().and_then(|ordinal| ordinal.parse().ok())
}

/// The same as a machine's GPU with `free_bytes`; that no more is taken is for [`Gpu::high_water_bytes`] to tell.
pub fn available(free_bytes: usize) -> Available {
    Available {
        ordinal: 0,
        name: "kernels on the host".into(),
        capability: 80,
        uuid: String::new(),
        memory_bytes: (free_bytes, free_bytes),
        context_bytes: None,
        opens: Arc::new(|_| Ok(gpu())),
    }
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
    let ran = unsafe { run(kernel, launch, &mut [std::ptr::from_mut(&mut at).cast()]) };
    ran.unwrap_or_else(|e| panic!("{e}"));
    values
}
