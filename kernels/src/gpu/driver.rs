//! NVIDIA's driver, found when the program starts: a machine without one runs the same program.

use super::reserve::Reserve;
use super::staging::Staging;
use super::{Available, Backend, Gpu, GpuError, Launch, Recording};
use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::{CudaContext, DriverError, sys};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The kernels as machine code of each architecture, and as PTX.
static FATBIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// The oldest driver that loads them: that of CUDA 13.0 (580), as `cuDriverGetVersion` counts.
const OLDEST_DRIVER: i32 = 13_000;

/// Bytes up to which the driver's own staging is as good as ours.
const STAGED_BYTES: usize = 1 << 16;

/// One context, one stream, one reserve of memory.
struct Driver {
    context: Arc<CudaContext>,
    stream: sys::CUstream,
    module: sys::CUmodule,
    functions: HashMap<&'static str, sys::CUfunction>,
    base: u64,
    reserve: Mutex<Reserve>,
    /// None once the driver is on its way out.
    staging: Mutex<Option<Staging>>,
    poisoned: bool,
}

// SAFETY: the driver's handles may be used on any thread that has the context, which each call makes current.
unsafe impl Send for Driver {}
// SAFETY: as above; the driver serialises what is asked of a stream.
unsafe impl Sync for Driver {}

pub(super) fn said(what: &str) -> impl Fn(DriverError) -> GpuError {
    move |e| {
        let name = e.error_name().map_or("unknown error".into(), |n| n.to_string_lossy().into_owned());
        GpuError::Device(format!("{what}: {name}"))
    }
}

/// See [`super::find`].
pub(super) fn find(ordinal: usize) -> Result<Available, GpuError> {
    Ok(open(ordinal)?.0)
}

fn open(ordinal: usize) -> Result<(Available, Arc<CudaContext>), GpuError> {
    // SAFETY: looks whether the library is there.
    if !unsafe { sys::is_culib_present() } {
        return Err(GpuError::Device("no NVIDIA driver is installed".into()));
    }
    result::init().map_err(said("the driver does not start"))?;
    let mut version = 0;
    // SAFETY: writes a number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(said("the driver has no version"))?;
    if version < OLDEST_DRIVER {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        let text = format!("the driver is of CUDA {major}.{minor}; install version 580 or newer");
        return Err(GpuError::Device(text));
    }
    let count = result::device::get_count().map_err(said("GPUs cannot be counted"))?;
    if ordinal >= count as usize {
        return Err(GpuError::Device(format!("there is no GPU number {ordinal}: the driver knows {count}")));
    }
    let context = CudaContext::new(ordinal).map_err(said("the GPU cannot be used"))?;
    let (major, minor) = context.compute_capability().map_err(said("compute capability"))?;
    let capability = (10 * major + minor) as u32;
    let name = context.name().map_err(said("the GPU has no name"))?;
    let oldest = ARCHS.iter().min().copied().unwrap_or(0);
    if capability < oldest {
        let (a, b) = (oldest / 10, oldest % 10);
        let text = format!("{name} has compute capability {major}.{minor}; {a}.{b} or newer is needed");
        return Err(GpuError::Device(text));
    }
    let memory_bytes = context.mem_get_info().map_err(said("memory"))?;
    let opens = |found: &Available, budget_bytes| start(found.ordinal, budget_bytes, false);
    Ok((Available { ordinal, name, capability, memory_bytes, opens }, context))
}

/// Opens GPU number `ordinal` with `budget_bytes` of memory, all of it taken now and never more, and every kernel
/// loaded. With `poisoned`, new arrays are full of NaNs: for tests.
///
/// # Errors
/// As [`super::find`]; if there is not so much memory.
pub fn start(ordinal: usize, budget_bytes: usize, poisoned: bool) -> Result<Gpu, GpuError> {
    let (found, context) = open(ordinal)?;
    context.bind_to_thread().map_err(said("context"))?;
    let stream = result::stream::create(StreamKind::NonBlocking).map_err(said("stream"))?;
    // SAFETY: the image is a whole fatbin.
    let module = unsafe { result::module::load_data(FATBIN.as_ptr().cast()) }
        .map_err(said("the kernels do not load on this GPU"))?;
    let mut functions = HashMap::new();
    for name in KERNELS {
        let text = CString::new(*name).map_err(|e| GpuError::Device(e.to_string()))?;
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(module, text) }.map_err(said(name))?;
        functions.insert(*name, function);
    }
    let staging = Mutex::new(Some(Staging::new()?));
    // SAFETY: plain memory, given back when the driver is dropped.
    let base = unsafe { result::malloc_sync(budget_bytes) }.map_err(|_| {
        let (free, _) = found.memory_bytes;
        let mib = |bytes: usize| bytes >> 20;
        GpuError::Device(format!(
            "{} MiB are not free on {}: {} MiB are",
            mib(budget_bytes),
            found.name,
            mib(free)
        ))
    })?;
    let reserve = Mutex::new(Reserve::new(base, budget_bytes));
    let driver = Driver { context, stream, module, functions, base, reserve, staging, poisoned };
    Ok(Gpu::new(Arc::new(driver)))
}

impl Driver {
    fn current(&self) -> Result<(), GpuError> {
        self.context.bind_to_thread().map_err(said("context"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.current().is_ok() {
            // SAFETY: nothing uses them any more: arrays hold the device that they are on. What fails now is of no
            // consequence.
            unsafe {
                let _ = result::stream::synchronize(self.stream);
                drop(self.staging.get_mut().unwrap_or_else(PoisonError::into_inner).take());
                let _ = result::free_sync(self.base);
                let _ = result::module::unload(self.module);
                let _ = result::stream::destroy(self.stream);
            }
        }
    }
}

// SAFETY: a reserve hands out parts that do not overlap.
unsafe impl Backend for Driver {
    fn allocate(&self, len_bytes: usize) -> Result<u64, GpuError> {
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        let most = reserve.high_water_bytes();
        let address = reserve.take(len_bytes).ok_or_else(|| {
            GpuError::Device(format!("{len_bytes} bytes more than was planned (at most {most} were in use)"))
        })?;
        if self.poisoned {
            self.current()?;
            // SAFETY: nobody else has these bytes.
            unsafe { result::memset_d8_async(address, 0xff, len_bytes, self.stream) }
                .map_err(said("filling"))?;
        }
        Ok(address)
    }

    fn release(&self, address: u64, len_bytes: usize) {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner).give_back(address, len_bytes);
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.current()?;
        if bytes.len() > STAGED_BYTES
            && let Some(staging) = &mut *self.staging.lock().unwrap_or_else(PoisonError::into_inner)
        {
            // SAFETY: the caller's word; the context is current.
            return unsafe { staging.write(address, bytes, self.stream) };
        }
        // SAFETY: the caller's word; pageable memory has been read when the call returns.
        unsafe { result::memcpy_htod_async(address, bytes, self.stream) }.map_err(said("copying to the GPU"))
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.current()?;
        // SAFETY: the caller's word; `bytes` is not used before the stream has ended.
        unsafe {
            result::memcpy_dtoh_async(bytes, address, self.stream).map_err(said("copying from the GPU"))?;
            result::stream::synchronize(self.stream).map_err(said("a kernel failed"))
        }
    }

    unsafe fn copy(&self, from: u64, to: u64, len_bytes: usize) -> Result<(), GpuError> {
        self.current()?;
        // SAFETY: the caller's word.
        unsafe { result::memcpy_dtod_async(to, from, len_bytes, self.stream) }
            .map_err(said("copying on the GPU"))
    }

    fn start_recording(&self) -> Result<(), GpuError> {
        self.current()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is there.
        unsafe { result::stream::begin_capture(self.stream, mode) }.map_err(said("recording"))
    }

    fn end_recording(&self) -> Result<Box<dyn Recording>, GpuError> {
        self.current()?;
        // SAFETY: the stream is there; the graph is not used behind this.
        unsafe {
            let graph = result::stream::end_capture(self.stream).map_err(said("recording"))?;
            let executable = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            let executable = executable.map_err(said("what was recorded cannot be run"))?;
            Ok(Box::new(Graph { context: self.context.clone(), stream: self.stream, executable }))
        }
    }

    fn high_water_bytes(&self) -> usize {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner).high_water_bytes() as usize
    }

    unsafe fn launch(
        &self,
        kernel: &'static str,
        launch: Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<(), GpuError> {
        self.current()?;
        let function = *self
            .functions
            .get(kernel)
            .ok_or_else(|| GpuError::Device(format!("there is no kernel {kernel}")))?;
        let Launch { grid: [x, y, z], block: [a, b, c], shared_bytes } = launch;
        // SAFETY: the caller's word.
        unsafe { result::launch_kernel(function, (x, y, z), (a, b, c), shared_bytes, self.stream, arguments) }
            .map_err(said(kernel))
    }
}

/// Launches as the driver keeps them. The device outlives it ([`super::Recorded`]).
struct Graph {
    context: Arc<CudaContext>,
    stream: sys::CUstream,
    executable: sys::CUgraphExec,
}

// SAFETY: as of `Driver`.
unsafe impl Send for Graph {}
// SAFETY: as of `Driver`.
unsafe impl Sync for Graph {}

impl Recording for Graph {
    unsafe fn replay(&self) -> Result<(), GpuError> {
        self.context.bind_to_thread().map_err(said("context"))?;
        // SAFETY: the caller's word on the memory; graph and stream are there.
        unsafe { result::graph::launch(self.executable, self.stream) }.map_err(said("what was recorded"))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: nothing replays it any more.
            let _ = unsafe { result::graph::exec_destroy(self.executable) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where there is a GPU, it is opened; where there is none, the answer is a sentence and the program goes on.
    #[test]
    fn a_machine_without_a_gpu_is_told_so() {
        match find(0) {
            Ok(found) => {
                let gpu = start(0, 16 << 20, true).expect("it was found");
                assert_eq!(
                    gpu.array_of(&[1, 2, 3]).and_then(|a| a.to_vec()).expect("memory"),
                    [1, 2, 3],
                    "{found:?}"
                );
                let many: Vec<u32> = (0..3 << 20).collect();
                let copied = gpu.array_of(&many).and_then(|a| a.to_vec());
                assert_eq!(copied.expect("memory"), many, "through both parts of the staging");
                assert!(gpu.array::<u8>(32 << 20).is_err(), "more than its budget");
            }
            Err(e) => {
                let text = e.to_string();
                let known = ["no NVIDIA driver", "the driver", "there is no GPU", "compute capability"];
                assert!(known.iter().any(|k| text.contains(k)), "{text}");
            }
        }
    }

    #[test]
    fn every_kernel_that_is_launched_is_in_the_table() {
        for name in ["norm", "gelu", "gated", "rope_append", "attention_split", "linear_q6_k_16", "argmax"] {
            assert!(KERNELS.contains(&name), "{name}");
        }
        assert!(FATBIN.len() > 10_000 && ARCHS.contains(&80));
    }
}
