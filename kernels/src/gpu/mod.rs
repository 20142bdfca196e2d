//! Kernels of a GPU: what runs them, the memory they work on, and how they are launched.
//!
//! Sources are the `.cu` files beside each operation, in the language of `device.h`: compiled for GPUs, and for the host
//! by `kernels/simt`, which runs each against its reference without a GPU.

/// NVIDIA's driver.
#[cfg(feature = "cuda")]
pub mod driver;
#[cfg(any(test, feature = "cuda"))]
mod reserve;
#[cfg(feature = "cuda")]
mod staging;

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why the device did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GpuError {
    /// The shapes of operands disagree.
    #[error("{0}")]
    Shape(String),
    /// What the driver says, or why there is none.
    #[error("{0}")]
    Device(String),
}

/// Blocks of a grid, threads of a block, and the shared memory a block has.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads in x, y and z.
    pub block: [u32; 3],
    /// Bytes of shared memory.
    pub shared_bytes: u32,
}

impl Launch {
    /// `blocks` blocks of `threads` threads in a row.
    pub fn new(blocks: usize, threads: u32) -> Launch {
        Launch { grid: [blocks as u32, 1, 1], block: [threads, 1, 1], shared_bytes: 0 }
    }

    /// The same in `y` rows of blocks.
    pub fn with_rows(mut self, y: usize) -> Launch {
        self.grid[1] = y as u32;
        self
    }

    /// The same with `floats` floats of shared memory.
    pub fn with_shared_f32(mut self, floats: usize) -> Launch {
        self.shared_bytes = 4 * floats as u32;
        self
    }
}

/// A device, in one order: what is launched, read or written later happens later.
///
/// # Safety
/// Memory it hands out is that of nobody else until it is released.
pub unsafe trait Backend: Send + Sync {
    /// The address of `len_bytes` new bytes, aligned for any type.
    ///
    /// # Errors
    /// If there is not so much left.
    fn allocate(&self, len_bytes: usize) -> Result<u64, GpuError>;

    /// Takes back what [`Backend::allocate`] gave.
    fn release(&self, address: u64, len_bytes: usize);

    /// Copies to the device.
    ///
    /// # Safety
    /// `bytes.len()` bytes from `address` on are of one allocation.
    ///
    /// # Errors
    /// What the driver says.
    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError>;

    /// Waits for all before it and copies from the device.
    ///
    /// # Safety
    /// As [`Backend::write`].
    ///
    /// # Errors
    /// What the driver says, of this or of what came before.
    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError>;

    /// Copies `len_bytes` on the device.
    ///
    /// # Safety
    /// As [`Backend::write`], of both; they do not overlap.
    ///
    /// # Errors
    /// What the driver says.
    unsafe fn copy(&self, from: u64, to: u64, len_bytes: usize) -> Result<(), GpuError>;

    /// From here on launches are not run but noted.
    ///
    /// # Errors
    /// What the driver says.
    fn start_recording(&self) -> Result<(), GpuError>;

    /// What was noted since [`Backend::start_recording`].
    ///
    /// # Errors
    /// If nothing was to be; what the driver says.
    fn end_recording(&self) -> Result<Box<dyn Recording>, GpuError>;

    /// The most bytes that were handed out at once.
    fn high_water_bytes(&self) -> usize;

    /// Launches the kernel of that name; each argument points to eight bytes that begin with its value.
    ///
    /// # Safety
    /// The arguments are of the kernel's types, and it accesses only memory of this device.
    ///
    /// # Errors
    /// What the driver says, of this or of what came before.
    unsafe fn launch(
        &self,
        kernel: &'static str,
        launch: Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<(), GpuError>;
}

/// A GPU of this machine that this program can use.
#[derive(Clone)]
pub struct Available {
    /// Its number among the GPUs.
    pub ordinal: usize,
    /// What its maker calls it.
    pub name: String,
    /// Its compute capability, "8.9" as 89.
    pub capability: u32,
    /// What the driver's other interfaces know it by (`GPU-...`); empty where it is none of theirs.
    pub uuid: String,
    /// Bytes of its memory that are free beside its context and the kernels, and all.
    pub memory_bytes: (usize, usize),
    /// Bytes that its context and the kernels have taken, where that was measured.
    pub context_bytes: Option<usize>,
    /// See [`Available::open`].
    pub opens: Opens,
}

/// What opens a GPU with so many bytes.
pub type Opens = Arc<dyn Fn(usize) -> Result<Gpu, GpuError> + Send + Sync>;

impl std::fmt::Debug for Available {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// As the command line names it: `cuda:0`.
impl std::fmt::Display for Available {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuda:{}", self.ordinal)
    }
}

impl Available {
    /// Opens it with `budget_bytes` of memory, all of it taken now and never more.
    ///
    /// # Errors
    /// If there is not so much memory; what the driver says.
    pub fn open(&self, budget_bytes: usize) -> Result<Gpu, GpuError> {
        (self.opens)(budget_bytes)
    }
}

/// The GPU number `ordinal`, if this program can use it, with a context and every kernel loaded.
///
/// # Errors
/// A sentence that says why not: a build without GPU code, no driver, one that is too old, no such GPU, one that is too
/// old.
pub fn find(ordinal: usize) -> Result<Available, GpuError> {
    #[cfg(feature = "cuda")]
    return driver::find(ordinal);
    #[cfg(not(feature = "cuda"))]
    Err(GpuError::Device(format!("this build has no code for GPU number {ordinal} (feature cuda)")))
}

/// Launches that were noted together.
pub trait Recording: Send + Sync {
    /// Runs them in their order.
    ///
    /// # Safety
    /// All memory they work on is still there.
    ///
    /// # Errors
    /// What the driver says.
    unsafe fn replay(&self) -> Result<(), GpuError>;
}

/// A device to allocate on and to launch at.
#[derive(Clone)]
pub struct Gpu {
    backend: Arc<dyn Backend>,
    /// Memory of what is being recorded.
    recorded: Arc<Mutex<Option<Vec<Arc<Allocation>>>>>,
    /// See [`Gpu::tell_of_writes`].
    told: Arc<Mutex<Option<Told>>>,
}

/// Is told of bytes.
type Told = Box<dyn FnMut(usize) + Send>;

/// Launches to be run again and again at the price of one (a CUDA graph). Arguments are those of the recording; what
/// they point to is read anew each time, and stays for as long as this does.
pub struct Recorded {
    recording: Box<dyn Recording>,
    memory: Vec<Arc<Allocation>>,
}

impl Recorded {
    /// Runs them.
    ///
    /// # Errors
    /// What the driver says.
    pub fn replay(&self) -> Result<(), GpuError> {
        debug_assert!(!self.memory.is_empty());
        // SAFETY: all memory that was launched on is kept here.
        unsafe { self.recording.replay() }
    }
}

/// Numbers that lie on a device as they lie in main memory.
pub trait Element: Copy + sealed::Plain {}
impl Element for f32 {}
impl Element for u8 {}
impl Element for i8 {}
impl Element for u16 {}
impl Element for i32 {}
impl Element for u32 {}

mod sealed {
    /// Without padding, any bits a value.
    pub trait Plain {}
    impl Plain for f32 {}
    impl Plain for u8 {}
    impl Plain for i8 {}
    impl Plain for u16 {}
    impl Plain for i32 {}
    impl Plain for u32 {}
}

/// Memory of a device until the last array of it is gone.
pub(crate) struct Allocation {
    gpu: Gpu,
    address: u64,
    len_bytes: usize,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.gpu.backend.release(self.address, self.len_bytes);
    }
}

/// Numbers on a device. What is launched happens in one order, so that arrays may share their memory
/// ([`Array::part`]).
pub struct Array<T: Element> {
    memory: Arc<Allocation>,
    address: u64,
    len: usize,
    of: PhantomData<T>,
}

/// A value for a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Argument<'a> {
    /// Where an array begins, and its memory.
    Array(u64, &'a Arc<Allocation>),
    Nothing,
    Int(i32),
    Float(f32),
}

impl<'a, T: Element> From<&'a Array<T>> for Argument<'a> {
    fn from(array: &'a Array<T>) -> Argument<'a> {
        Argument::Array(array.address, &array.memory)
    }
}

/// Nothing is a null pointer.
impl<'a, T: Element> From<Option<&'a Array<T>>> for Argument<'a> {
    fn from(array: Option<&'a Array<T>>) -> Argument<'a> {
        array.map_or(Argument::Nothing, Argument::from)
    }
}

impl From<f32> for Argument<'_> {
    fn from(value: f32) -> Self {
        Argument::Float(value)
    }
}

impl From<i32> for Argument<'_> {
    fn from(value: i32) -> Self {
        Argument::Int(value)
    }
}

impl Gpu {
    /// Of what runs kernels.
    pub fn new(backend: Arc<dyn Backend>) -> Gpu {
        Gpu { backend, recorded: Arc::default(), told: Arc::default() }
    }

    /// From here on `told` hears how many bytes each copy to the device had, until it is another's turn or nobody's.
    pub fn tell_of_writes(&self, told: Option<Box<dyn FnMut(usize) + Send>>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    /// `len` numbers of no particular value.
    ///
    /// # Errors
    /// If there is not so much memory left.
    pub fn array<T: Element>(&self, len: usize) -> Result<Array<T>, GpuError> {
        let len_bytes = len * size_of::<T>();
        let address = self.backend.allocate(len_bytes)?;
        let memory = Arc::new(Allocation { gpu: self.clone(), address, len_bytes });
        Ok(Array { memory, address, len, of: PhantomData })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// If there is not so much memory left; what the driver says.
    pub fn array_of<T: Element>(&self, values: &[T]) -> Result<Array<T>, GpuError> {
        let mut array = self.array(values.len())?;
        array.write(values)?;
        Ok(array)
    }

    /// Notes what `launches` launches instead of running it.
    ///
    /// # Errors
    /// What it fails with; what the driver says.
    pub fn record<E: From<GpuError>>(&self, launches: impl FnOnce() -> Result<(), E>) -> Result<Recorded, E> {
        self.backend.start_recording()?;
        *self.recorded() = Some(Vec::new());
        // Ended in any case: what comes next is to run.
        let launched = launches();
        let memory = self.recorded().take().unwrap_or_default();
        let recording = self.backend.end_recording();
        launched?;
        Ok(Recorded { recording: recording?, memory })
    }

    fn recorded(&self) -> MutexGuard<'_, Option<Vec<Arc<Allocation>>>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most bytes that arrays took at once, each rounded up as it is laid out.
    pub fn high_water_bytes(&self) -> usize {
        self.backend.high_water_bytes()
    }

    /// Launches `kernel` with `arguments`.
    ///
    /// # Safety
    /// They are those of its signature, and it accesses no array beyond its end.
    pub(crate) unsafe fn launch(
        &self,
        kernel: &'static str,
        launch: Launch,
        arguments: &[Argument<'_>],
    ) -> Result<(), GpuError> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        if let Some(memory) = &mut *self.recorded() {
            let arrays = arguments.iter().filter_map(|a| match a {
                Argument::Array(_, memory) => Some(Arc::clone(memory)),
                _ => None,
            });
            memory.extend(arrays);
        }
        let mut values: Vec<u64> = arguments
            .iter()
            .map(|a| match *a {
                Argument::Array(address, _) => address,
                Argument::Nothing => 0,
                // Little-endian: the first bytes are the number.
                Argument::Int(i) => u64::from(i as u32).to_le(),
                Argument::Float(f) => u64::from(f.to_bits()).to_le(),
            })
            .collect();
        let mut pointers: Vec<*mut c_void> =
            values.iter_mut().map(|v| std::ptr::from_mut(v).cast()).collect();
        // SAFETY: the caller's word.
        unsafe { self.backend.launch(kernel, launch, &mut pointers) }
    }
}

impl<T: Element> Array<T> {
    /// How many numbers.
    #[allow(clippy::len_without_is_empty)] // of no use on a device
    pub fn len(&self) -> usize {
        self.len
    }

    /// The device it is on.
    pub fn gpu(&self) -> &Gpu {
        &self.memory.gpu
    }

    /// Its numbers in `range`, in the same memory.
    ///
    /// # Errors
    /// If it has not so many.
    pub fn part(&self, range: Range<usize>) -> Result<Array<T>, GpuError> {
        shapes(range.start <= range.end && range.end <= self.len, || {
            format!("{range:?} of {} values on the device", self.len)
        })?;
        let address = self.address + (range.start * size_of::<T>()) as u64;
        Ok(Array { memory: self.memory.clone(), address, len: range.len(), of: PhantomData })
    }

    /// All its numbers, in the same memory.
    pub fn all(&self) -> Array<T> {
        Array { memory: self.memory.clone(), address: self.address, len: self.len, of: PhantomData }
    }

    /// Where it lies: another number for each of two that are there at once.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The same memory as bytes.
    pub(crate) fn bytes(&self) -> Array<u8> {
        let (memory, len) = (self.memory.clone(), self.len * size_of::<T>());
        Array { memory, address: self.address, len, of: PhantomData }
    }

    /// Copies from `other`, which has as many and is apart from it.
    ///
    /// # Errors
    /// If it has more or fewer; what the driver says.
    pub fn copy_from(&mut self, other: &Array<T>) -> Result<(), GpuError> {
        self.check(other.len)?;
        let len_bytes = self.len * size_of::<T>();
        let apart = self.address.abs_diff(other.address) as usize >= len_bytes;
        shapes(apart, || format!("{} values copied onto themselves", self.len))?;
        // SAFETY: both have as many bytes, and do not overlap.
        unsafe { self.gpu().backend.copy(other.address, self.address, len_bytes) }
    }

    /// Copies `values`, as many as it has.
    ///
    /// # Errors
    /// If they are more or fewer; what the driver says.
    pub fn write(&mut self, values: &[T]) -> Result<(), GpuError> {
        self.check(values.len())?;
        // SAFETY: elements are plain numbers without padding, and the allocation has as many bytes.
        unsafe {
            let bytes = std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values));
            self.gpu().backend.write(self.address, bytes)?;
        }
        if let Some(told) = &mut *self.gpu().told.lock().unwrap_or_else(PoisonError::into_inner) {
            told(size_of_val(values));
        }
        Ok(())
    }

    /// What it holds once all that was launched has ended.
    ///
    /// # Errors
    /// What the driver says, of this or of what came before.
    pub fn to_vec(&self) -> Result<Vec<T>, GpuError> {
        let mut bytes = vec![0u8; self.len * size_of::<T>()];
        // SAFETY: the allocation has as many bytes.
        unsafe { self.gpu().backend.read(self.address, &mut bytes)? };
        // SAFETY: any bits are a value of an element, read unaligned.
        let at = |i: usize| unsafe { bytes.as_ptr().cast::<T>().add(i).read_unaligned() };
        Ok((0..self.len).map(at).collect())
    }

    fn check(&self, len: usize) -> Result<(), GpuError> {
        match len == self.len {
            true => Ok(()),
            false => Err(GpuError::Shape(format!("{len} values for {} on the device", self.len))),
        }
    }
}

/// Bytes that arrays of `lens_bytes` each take together, as they are laid out.
pub fn allocated_bytes(lens_bytes: impl IntoIterator<Item = usize>) -> usize {
    lens_bytes.into_iter().map(|len| len.max(1).next_multiple_of(ALIGNMENT_BYTES)).sum()
}

/// What addresses on a device are multiples of: the widest access, and a cache line of any GPU.
pub const ALIGNMENT_BYTES: usize = 256;

/// An error about shapes unless `fits`.
pub(crate) fn shapes(fits: bool, what: impl FnOnce() -> String) -> Result<(), GpuError> {
    if fits { Ok(()) } else { Err(GpuError::Shape(what())) }
}
