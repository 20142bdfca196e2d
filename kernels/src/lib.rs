//! Operations on tensors as plain functions: the only crate that names SIMD and CUDA.
//! It knows no model. Each operation is a folder: `mod.rs` has the shapes and the Candle custom
//! op, `cpu.rs` the arithmetic on slices, `gpu.rs` the launch and `.cu` the kernel.
#![warn(missing_docs)]

/// GELU, and gated activations of MLPs.
pub mod activation;
/// The likeliest token.
pub mod argmax;
/// Softmax attention over a fixed cache: prefill and decode, causal, windowed, full.
pub mod attention;
/// Block formats of quantised weights (GGML's) and their exact dequantisation.
pub mod blocks;
/// Two strided 1-D convolutions as matrix products without im2col (Whisper's front end).
pub mod conv1d;
/// Integer dot products of quantised weights with activations rounded to bytes.
mod dots;
/// The f32 matrix-product micro-kernels all larger operations share.
pub mod gemm;
/// Kernels of a GPU: memory, launches.
pub mod gpu;
/// Which vector instructions this machine has, and the macro that compiles one body for each.
pub mod isa;
/// Writing, moving and copying keys and values in caches of fixed capacity.
pub mod kv_append;
/// How a cache stores keys and values: f32, or bytes and a scale.
pub mod kv_rows;
/// `y = x Wᵀ + b` and row gather from a [`weight::Weight`].
pub mod linear;
/// Branch-free `exp`, `erf`, f16 conversion: written so that the compiler vectorises them.
mod math;
/// Logarithms of mel bands.
pub mod mel;
/// LayerNorm and RMSNorm over the last dimension.
pub mod norm;
/// Memory read as fast as it can be.
pub mod reading;
/// Dot products for few rows, tiles for many: which of them a caller asks for.
pub mod regime;
/// `x += h`.
pub mod residual;
/// Rotary position embedding, interleaved and half-split.
pub mod rope;
/// A weight matrix: dense or quantised rows over mapped or owned bytes.
pub mod weight;

pub use blocks::BlockType;
pub use isa::{ISA_VARIABLE, Isa};
pub use regime::{MAX_FEW_ROWS, Regime};
pub use weight::Weight;

use candle_core::{CpuStorage, Layout, Result, bail};

/// The f32 elements of a contiguous operand.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (CpuStorage::F32(values), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
        bail!("operand must be contiguous f32")
    };
    Ok(&values[from..to])
}

/// As [`contiguous`], for operands changed in place.
fn contiguous_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let (CpuStorage::F32(values), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
        bail!("operand must be contiguous f32")
    };
    Ok(&mut values[from..to])
}

/// The bytes of a contiguous operand.
fn bytes<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [u8]> {
    let (CpuStorage::U8(values), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
        bail!("operand must be contiguous u8")
    };
    Ok(&values[from..to])
}

/// As [`bytes`], for operands changed in place.
fn bytes_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [u8]> {
    let (CpuStorage::U8(values), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
        bail!("operand must be contiguous u8")
    };
    Ok(&mut values[from..to])
}
