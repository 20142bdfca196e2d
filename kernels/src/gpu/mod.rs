//! Kernels of a GPU: what runs them, the memory they work on, and how they are launched.
//!
//! Sources are the `.cu` files beside each operation, in the language of `device.h`: compiled for GPUs, and for the host
//! by `kernels/simt`, which runs each against its reference without a GPU.

/// NVIDIA's driver.
#[cfg(feature = "cuda")]
pub mod driver;
#[cfg(any(test, feature = "cuda"))]
mod reserve;

use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Arc;

/// Why the device did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GpuError {
    /// The shapes of operands disagree.
    #[error("{0}")]
    Shape(String),
    /// What the driver says.
    #[error("the GPU: {0}")]
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

    /// Launches the kernel of that name; each argument points to its value.
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

/// A device to allocate on and to launch at.
#[derive(Clone)]
pub struct Gpu(Arc<dyn Backend>);

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

/// Numbers on a device.
pub struct Array<T: Element> {
    gpu: Gpu,
    address: u64,
    len: usize,
    of: PhantomData<T>,
}

/// A value for a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    Address(u64),
    Int(i32),
    Float(f32),
}

impl<T: Element> From<&Array<T>> for Argument {
    fn from(array: &Array<T>) -> Argument {
        Argument::Address(array.address)
    }
}

impl<T: Element> From<&mut Array<T>> for Argument {
    fn from(array: &mut Array<T>) -> Argument {
        Argument::Address(array.address)
    }
}

/// Nothing is a null pointer.
impl<T: Element> From<Option<&Array<T>>> for Argument {
    fn from(array: Option<&Array<T>>) -> Argument {
        Argument::Address(array.map_or(0, |a| a.address))
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Argument {
        Argument::Float(value)
    }
}

impl From<i32> for Argument {
    fn from(value: i32) -> Argument {
        Argument::Int(value)
    }
}

impl Gpu {
    /// Of what runs kernels.
    pub fn new(backend: Arc<dyn Backend>) -> Gpu {
        Gpu(backend)
    }

    /// `len` numbers of no particular value.
    ///
    /// # Errors
    /// If there is not so much memory left.
    pub fn array<T: Element>(&self, len: usize) -> Result<Array<T>, GpuError> {
        let address = self.0.allocate(len * size_of::<T>())?;
        Ok(Array { gpu: self.clone(), address, len, of: PhantomData })
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

    /// Launches `kernel` with `arguments`.
    ///
    /// # Safety
    /// They are those of its signature, and it accesses no array beyond its end.
    pub(crate) unsafe fn launch(
        &self,
        kernel: &'static str,
        launch: Launch,
        arguments: &[Argument],
    ) -> Result<(), GpuError> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let mut values: Vec<u64> = arguments
            .iter()
            .map(|a| match *a {
                Argument::Address(address) => address,
                // Little-endian: the first bytes are the number.
                Argument::Int(i) => u64::from(i as u32).to_le(),
                Argument::Float(f) => u64::from(f.to_bits()).to_le(),
            })
            .collect();
        let mut pointers: Vec<*mut c_void> =
            values.iter_mut().map(|v| std::ptr::from_mut(v).cast()).collect();
        // SAFETY: the caller's word.
        unsafe { self.0.launch(kernel, launch, &mut pointers) }
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
        &self.gpu
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
            self.gpu.0.write(self.address, bytes)
        }
    }

    /// What it holds once all that was launched has ended.
    ///
    /// # Errors
    /// What the driver says, of this or of what came before.
    pub fn to_vec(&self) -> Result<Vec<T>, GpuError> {
        let mut bytes = vec![0u8; self.len * size_of::<T>()];
        // SAFETY: the allocation has as many bytes.
        unsafe { self.gpu.0.read(self.address, &mut bytes)? };
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

impl<T: Element> Drop for Array<T> {
    fn drop(&mut self) {
        self.gpu.0.release(self.address, self.len * size_of::<T>());
    }
}

/// An error about shapes unless `fits`.
pub(crate) fn shapes(fits: bool, what: impl FnOnce() -> String) -> Result<(), GpuError> {
    if fits { Ok(()) } else { Err(GpuError::Shape(what())) }
}
