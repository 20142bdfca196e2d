//! The same networks on a GPU: weights uploaded once, activations in a workspace that is allocated once, and passes over
//! few tokens recorded, so that each is one launch. Products, norms and attention are those of `undertone_kernels`.

mod cache;
mod lm;
mod mel;
mod whisper;

use crate::error::Result;
pub(crate) use cache::GpuCache;
pub(crate) use lm::{GpuLm, HeadRows, LmWeights, workspace_bytes as lm_workspace_bytes};
pub(crate) use mel::GpuMel;
use undertone_kernels::activation::gpu::gelu;
use undertone_kernels::gpu::{Array, Gpu, GpuError, allocated_bytes};
use undertone_kernels::linear::gpu::{
    GpuWeight, Rounded, RowsOf, linear, linear_many, matmul, round_rows, takes,
};
use undertone_kernels::{BlockType, Regime, Weight};
pub(crate) use whisper::{
    GpuDecoder, GpuEncoder, HostAttention, HostFeedForward, HostLinear, HostNorm,
    workspace_bytes as speech_workspace_bytes,
};

/// A matrix and its bias.
pub(crate) struct Projection {
    weight: GpuWeight,
    bias: Option<Array<f32>>,
}

impl Projection {
    pub(crate) fn upload(gpu: &Gpu, weight: &Weight, bias: Option<&[f32]>) -> Result<Projection> {
        let bias = bias.map(|b| gpu.array_of(b)).transpose()?;
        // Integers with a multiplier for each row (CTranslate2).
        let rounded = if takes(weight.block_type()) { None } else { weight.to_q8_0() };
        Ok(Projection { weight: GpuWeight::upload(gpu, rounded.as_ref().unwrap_or(weight))?, bias })
    }

    /// `y [m, rows]` of `x [m, cols]`, as [`Rows::new`] has them; with `with_gelu` GELU of that.
    fn forward(&self, x: &Rows, with_gelu: bool, y: &mut Array<f32>) -> Result<(), GpuError> {
        let (weight, bias) = (&self.weight, self.bias.as_ref());
        match (x.regime, weight.is_dense()) {
            (Regime::Many, true) => return matmul(weight, &x.values, RowsOf::Matrix, bias, with_gelu, y),
            (Regime::Many, false) => linear_many(weight, &x.rounded, bias, x.m, y)?,
            (Regime::Few, _) => linear(weight, &x.values, &x.rounded, bias, x.m, y)?,
        }
        // In place: a thread has one number.
        if with_gelu { gelu(&y.all(), y) } else { Ok(()) }
    }
}

/// Rows of activations and, where a product takes them so, as bytes.
struct Rows {
    values: Array<f32>,
    rounded: Rounded,
    m: usize,
    regime: Regime,
}

impl Rows {
    /// `values` `[m, cols]` for products with `weights`; `scratch` is where they are rounded to.
    fn new(
        values: Array<f32>,
        (m, regime): (usize, Regime),
        weights: &[&Projection],
        scratch: &Rounded,
    ) -> Result<Rows, GpuError> {
        let cols = values.len() / m;
        let quantised = weights.iter().any(|p| !p.weight.is_dense());
        let mut rounded = scratch.with_cols(if quantised { cols } else { 32 })?;
        if quantised {
            round_rows(&values, m, &mut rounded)?;
        }
        Ok(Rows { values, rounded, m, regime })
    }
}

/// Bytes that [`Projection::upload`] takes for a matrix of that type.
pub(crate) fn matrix_bytes(ty: BlockType, rows: usize, cols: usize) -> Option<usize> {
    let row = if takes(ty) { ty.row_bytes(cols) } else { ty.q8_0_row_bytes(cols) };
    Some(allocated_bytes([rows * row?]))
}

/// Token ids as the device takes them.
fn on_device(ids: &[u32]) -> Vec<i32> {
    ids.iter().map(|id| *id as i32).collect()
}

/// An error as the CPU's own unless all of `ids` are of `count`.
fn check_ids(ids: &[u32], count: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= count) {
        Some(id) => Err(candle_core::Error::msg(format!("token {id} is none of {count}")).into()),
        None => Ok(()),
    }
}
