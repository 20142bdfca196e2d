//! NVIDIA's driver, found when the program starts: a machine without one runs the same program.

use super::reserve::Reserve;
use super::staging::Staging;
use super::{Available, Backend, Gpu, GpuError, Launch, Opens, Recording};
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

/// A GPU's context with all kernels loaded.
struct Kernels {
    context: Arc<CudaContext>,
    module: sys::CUmodule,
    functions: HashMap<&'static str, sys::CUfunction>,
}

// SAFETY: the driver's handles may be used on any thread that has the context, which each call makes current.
unsafe impl Send for Kernels {}
// SAFETY: as above; nothing changes them.
unsafe impl Sync for Kernels {}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: nothing launches them any more.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}

/// One context, one stream, one reserve of memory.
struct Driver {
    kernels: Arc<Kernels>,
    stream: sys::CUstream,
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

fn open(ordinal: usize) -> Result<(Available, Arc<Kernels>), GpuError> {
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
    let uuid = context.uuid().map_or(String::new(), |uuid| uuid_text(uuid.bytes.map(|b| b as u8)));
    let kernels = Arc::new(load(context)?);
    let memory_bytes = kernels.context.mem_get_info().map_err(said("memory"))?;
    let of_find = kernels.clone();
    let opens: Opens = Arc::new(move |budget_bytes| reserve(&of_find, budget_bytes, false));
    Ok((Available { ordinal, name, capability, uuid, memory_bytes, context_bytes: None, opens }, kernels))
}

/// As the driver's management library writes it.
fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = String::from("GPU");
    for (i, byte) in bytes.into_iter().enumerate() {
        let dash = if matches!(i, 0 | 4 | 6 | 8 | 10) { "-" } else { "" };
        text += &format!("{dash}{byte:02x}");
    }
    text
}

/// Loads every kernel now rather than at its first launch: what they take is known before anything else is taken.
fn load(context: Arc<CudaContext>) -> Result<Kernels, GpuError> {
    context.bind_to_thread().map_err(said("context"))?;
    // SAFETY: the image is a whole fatbin.
    let module = unsafe { result::module::load_data(FATBIN.as_ptr().cast()) }
        .map_err(said("the kernels do not load on this GPU"))?;
    let mut kernels = Kernels { context, module, functions: HashMap::new() };
    for name in KERNELS {
        let text = CString::new(*name).map_err(|e| GpuError::Device(e.to_string()))?;
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(module, text) }.map_err(said(name))?;
        // SAFETY: it is one of this context.
        unsafe { sys::cuFuncLoad(function) }.result().map_err(said(name))?;
        kernels.functions.insert(*name, function);
    }
    Ok(kernels)
}

/// Opens GPU number `ordinal` with `budget_bytes` of memory, all of it taken now and never more, and every kernel
/// loaded. With `poisoned`, new arrays are full of NaNs: for tests.
///
/// # Errors
/// As [`super::find`]; if there is not so much memory.
pub fn start(ordinal: usize, budget_bytes: usize, poisoned: bool) -> Result<Gpu, GpuError> {
    reserve(&open(ordinal)?.1, budget_bytes, poisoned)
}

fn reserve(kernels: &Arc<Kernels>, budget_bytes: usize, poisoned: bool) -> Result<Gpu, GpuError> {
    let context = &kernels.context;
    context.bind_to_thread().map_err(said("context"))?;
    let stream = result::stream::create(StreamKind::NonBlocking).map_err(said("stream"))?;
    let staging = Mutex::new(Some(Staging::new()?));
    // SAFETY: plain memory, given back when the driver is dropped.
    let base = unsafe { result::malloc_sync(budget_bytes) }.map_err(|_| {
        let free_bytes = context.mem_get_info().map_or(0, |(free, _)| free);
        let (name, mib) = (context.name().unwrap_or_default(), |bytes: usize| bytes >> 20);
        let (budget, free) = (mib(budget_bytes), mib(free_bytes));
        GpuError::Device(format!("{budget} MiB are not free on {name}: {free} MiB are"))
    })?;
    let reserve = Mutex::new(Reserve::new(base, budget_bytes));
    Ok(Gpu::new(Arc::new(Driver { kernels: kernels.clone(), stream, base, reserve, staging, poisoned })))
}

impl Driver {
    fn current(&self) -> Result<(), GpuError> {
        self.kernels.context.bind_to_thread().map_err(said("context"))
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
            Ok(Box::new(Graph { context: self.kernels.context.clone(), stream: self.stream, executable }))
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
            .kernels
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
    fn a_uuid_is_written_as_nvml_writes_it() {
        let bytes = std::array::from_fn(|i| 16 * (i as u8 % 15) + 1);
        assert_eq!(uuid_text(bytes), "GPU-01112131-4151-6171-8191-a1b1c1d1e101");
    }

    #[test]
    fn every_kernel_that_is_launched_is_in_the_table() {
        for name in ["norm", "gelu", "gated", "rope_append", "attention_split", "linear_q6_k_16", "argmax"] {
            assert!(KERNELS.contains(&name), "{name}");
        }
        assert!(FATBIN.len() > 10_000 && ARCHS.contains(&80));
    }
}
