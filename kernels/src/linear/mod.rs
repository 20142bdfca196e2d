//! `y = x Wᵀ + b` over dense or quantised rows, and row gather (token embedding).

/// The arithmetic on slices.
pub mod cpu;
/// On a GPU.
pub mod gpu;

use crate::{Isa, MAX_FEW_ROWS, Regime, Weight};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

struct LinearOp<'a> {
    weight: &'a Weight,
    bias: Option<&'a [f32]>,
    regime: Regime,
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
        let m = x.len() / self.weight.cols();
        if self.regime == Regime::Few && m > MAX_FEW_ROWS {
            bail!("linear: {m} rows are not few")
        }
        let mut y = vec![0f32; m * self.weight.rows()];
        cpu::linear(Isa::current(), self.regime, x, self.weight, self.bias, &mut y);
        Ok((CpuStorage::F32(y), Shape::from_dims(&dims)))
    }
}

/// `x [.., cols]` times the transpose of `weight [rows, cols]`, plus `bias [rows]`: `[.., rows]`.
///
/// # Errors
/// If shapes disagree, `x` is not contiguous f32 or has too many rows for [`Regime::Few`].
pub fn linear(x: &Tensor, weight: &Weight, bias: Option<&[f32]>, regime: Regime) -> Result<Tensor> {
    if bias.is_some_and(|b| b.len() != weight.rows()) {
        bail!("linear: bias does not match {weight:?}")
    }
    x.apply_op1_no_bwd(&LinearOp { weight, bias, regime })
}

/// As [`linear`] of `x` and each weight with its bias, bit for bit, in less time than one after the other.
///
/// # Errors
/// As [`linear`].
pub fn linear_each<const N: usize>(
    x: &Tensor,
    weights: [(&Weight, Option<&[f32]>); N],
    regime: Regime,
) -> Result<[Tensor; N]> {
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { bail!("linear_each: not in main memory") };
    let (dims, x) = (layout.dims(), crate::contiguous(storage, layout)?);
    let Some((&cols, outer)) = dims.split_last() else { bail!("linear_each: {dims:?}") };
    let m = outer.iter().product::<usize>();
    let fits = |(w, b): &(&Weight, Option<&[f32]>)| w.cols() == cols && b.is_none_or(|b| b.len() == w.rows());
    if !weights.iter().all(fits) || regime == Regime::Few && m > MAX_FEW_ROWS {
        bail!("linear_each: {dims:?} against {weights:?}")
    }
    let mut outs = weights.map(|(weight, _)| vec![0f32; m * weight.rows()]);
    let mut products = Vec::with_capacity(N);
    for ((weight, bias), y) in weights.into_iter().zip(&mut outs) {
        products.push(cpu::Product { weight, bias, y });
    }
    cpu::linear_each(Isa::current(), regime, x, cols, &mut products);
    let mut tensors = outs.into_iter().zip(weights).map(|(y, (weight, _))| {
        let dims: Vec<usize> = outer.iter().copied().chain([weight.rows()]).collect();
        Tensor::from_vec(y, dims, &candle_core::Device::Cpu)
    });
    let mut out = Vec::with_capacity(N);
    tensors.try_for_each(|tensor| tensor.map(|tensor| out.push(tensor)))?;
    out.try_into().or_else(|_| bail!("linear_each: {N} weights"))
}

/// Columns `rows` of what [`linear`] makes of a few rows `x [.., cols]` without a bias, bit for bit, and no others:
/// `[m, rows.len()]`.
///
/// # Errors
/// If `x` is not contiguous f32 with the weight's columns, has more than [`MAX_FEW_ROWS`] rows, or a row is not
/// the weight's.
pub fn linear_rows(x: &Tensor, weight: &Weight, rows: &[u32]) -> Result<Tensor> {
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { bail!("linear_rows: not in main memory") };
    let x = crate::contiguous(storage, layout)?;
    let m = x.len() / weight.cols();
    if layout.dims().last() != Some(&weight.cols()) || m > MAX_FEW_ROWS {
        bail!("linear_rows: {:?} against {weight:?}", layout.dims())
    }
    if let Some(row) = rows.iter().find(|row| **row as usize >= weight.rows()) {
        bail!("linear_rows: row {row} of {weight:?}")
    }
    let mut y = vec![0f32; m * rows.len()];
    cpu::linear_rows(Isa::current(), x, weight, rows, &mut y);
    Tensor::from_vec(y, (m, rows.len()), &candle_core::Device::Cpu)
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
