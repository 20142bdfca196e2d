//! `y = x Wᵀ + b` over dense or quantised rows, and row gather (token embedding).

/// The arithmetic on slices.
pub mod cpu;

use crate::{Isa, Weight};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

struct LinearOp<'a> {
    weight: &'a Weight,
    bias: Option<&'a [f32]>,
}

impl CustomOp1 for LinearOp<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = crate::contiguous(x, layout)?;
        let mut dims = layout.dims().to_vec();
        let Some(last) = dims.last_mut().filter(|d| **d == self.weight.cols()) else {
            bail!("linear: input {dims:?} against weight {:?}", self.weight)
        };
        *last = self.weight.rows();
        let mut y = vec![0f32; x.len() / self.weight.cols() * self.weight.rows()];
        cpu::linear(Isa::current(), x, self.weight, self.bias, &mut y);
        Ok((CpuStorage::F32(y), Shape::from_dims(&dims)))
    }
}

/// `x [.., cols]` times the transpose of `weight [rows, cols]`, plus `bias [rows]`: `[.., rows]`.
///
/// Up to eight rows of `x` are dot products against each dequantised weight row (decoding, where
/// reading the weights is the cost); more are tiles over panels of 32 dequantised rows.
///
/// # Errors
/// If shapes disagree or `x` is not contiguous f32.
pub fn linear(x: &Tensor, weight: &Weight, bias: Option<&[f32]>) -> Result<Tensor> {
    if bias.is_some_and(|b| b.len() != weight.rows()) {
        bail!("linear: bias does not match {weight:?}")
    }
    x.apply_op1_no_bwd(&LinearOp { weight, bias })
}

/// Rows `ids` of `weight [rows, cols]` as f32 `[ids.len(), cols]`.
///
/// # Errors
/// If an id is not a row of the weight.
pub fn gather_rows(weight: &Weight, ids: &[u32]) -> Result<Tensor> {
    let cols = weight.cols();
    let mut out = vec![0f32; ids.len() * cols];
    for (id, out) in ids.iter().zip(out.chunks_exact_mut(cols)) {
        if *id as usize >= weight.rows() {
            bail!("gather_rows: id {id} of {weight:?}")
        }
        weight.dequantize_row(*id as usize, out);
    }
    Tensor::from_vec(out, (ids.len(), cols), &candle_core::Device::Cpu)
}
