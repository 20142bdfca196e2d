//! Products of quantised weights with activations rounded to eight bits: here for a few rows, in
//! [`tiles`] for many.
//!
//! The idea is ggml's Q8_1: an activation row is rounded once to signed bytes, a scale for every 16
//! of them; weights stay the small unsigned integers they are stored as, and bytes are multiplied
//! with bytes. Every format here is, for each group of 16 weights, `scale * q + offset`, so that
//!
//! ```text
//! y = Σ_groups x_scale * (scale * Σ q x + offset * Σ x)
//! ```
//!
//! Rounded are the activations (by at most half a 127th of the largest of their 16) and the sums of
//! groups, which are f32. Weights and both integer sums are exact, in every instruction set.
//!
//! 256 weights at a time are laid out for a register of 16 lanes of 4 bytes: lane `l` has weights of
//! one group only, so a group's sum is one lane, and lanes are added up once, at the end of a row.
//! The activations are stored in that order ([`place`]); weights are brought into it as they are
//! unpacked, once for all activation rows. No row's sums depend on how many there are.
//!
//! A new block type needs a name in [`formats`], its arm in [`kernel`], and how it is unpacked:
//! [`scalar::Unpack`], which defines it, [`avx2::Unpack`] and [`avx512::Unpack`].

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod formats;
mod scalar;
#[cfg(test)]
mod tests;
mod tiles;

use crate::{BlockType, Isa};
use activations::Activations;
pub(crate) use activations::{nearest, scale_of};
use formats::*;
use std::sync::Arc;
#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::may_use_amx;
pub(crate) use tiles::{Tiles, interleaved};

/// Numbers taken at a time, of weights and activations.
const LEN: usize = 256;
/// Groups of 16 in [`LEN`] numbers, each the business of one lane.
const LANES: usize = 16;
/// Bytes of [`LEN`] weights of the widest format whose rows may end within them (Q8_0).
const MAX_TAIL_BYTES: usize = 8 * 34;

/// Dot products of one weight row with each of the activation rows.
///
/// # Safety
/// The machine must have the instructions the function was compiled for.
type Kernel = unsafe fn(row: &[u8], x: &[Activations], y: &mut [f32]);

/// Rows of activations, rounded and ready to meet the rows of a weight.
pub(crate) struct Dots {
    kernel: Kernel,
    /// By 256 columns, then by row.
    x: Arc<[Activations]>,
    /// How many rows there are.
    m: usize,
}

impl Dots {
    /// Rounds the rows of `x [m, cols]`, or `None` if weights of type `ty` have no integer kernel.
    pub(crate) fn new(isa: Isa, ty: BlockType, x: &[f32], cols: usize) -> Option<Dots> {
        let m = x.len() / cols;
        let kernel = kernel(isa, ty, m)?;
        Some(Dots { kernel, x: activations::quantize_rows(isa, x, cols).into(), m })
    }

    /// The same rows for weights of another type, if that has an integer kernel.
    pub(crate) fn for_type(&self, isa: Isa, ty: BlockType) -> Option<Dots> {
        Some(Dots { kernel: kernel(isa, ty, self.m)?, x: self.x.clone(), m: self.m })
    }

    /// `y[i]` is the dot product of activation row `i` with the weight row stored in `row`.
    pub(crate) fn row(&self, row: &[u8], y: &mut [f32]) {
        // SAFETY: `kernel` chose it among those this machine can run.
        unsafe { (self.kernel)(row, &self.x, y) }
    }
}

fn kernel(isa: Isa, ty: BlockType, m: usize) -> Option<Kernel> {
    match ty {
        BlockType::Q4_0 => kernel_of::<Q4_0>(isa, m),
        BlockType::Q4_1 => kernel_of::<Q4_1>(isa, m),
        BlockType::Q5_0 => kernel_of::<Q5_0>(isa, m),
        BlockType::Q5_1 => kernel_of::<Q5_1>(isa, m),
        BlockType::Q8_0 => kernel_of::<Q8_0>(isa, m),
        BlockType::Q4K => kernel_of::<Q4K>(isa, m),
        BlockType::Q5K => kernel_of::<Q5K>(isa, m),
        BlockType::Q6K => kernel_of::<Q6K>(isa, m),
        _ => None,
    }
}

fn kernel_of<F: Format>(isa: Isa, m: usize) -> Option<Kernel> {
    Some(match m {
        1 => kernel_for_rows::<F, 1>(isa),
        2 => kernel_for_rows::<F, 2>(isa),
        3 => kernel_for_rows::<F, 3>(isa),
        4 => kernel_for_rows::<F, 4>(isa),
        5 => kernel_for_rows::<F, 5>(isa),
        6 => kernel_for_rows::<F, 6>(isa),
        7 => kernel_for_rows::<F, 7>(isa),
        8 => kernel_for_rows::<F, 8>(isa),
        _ => return None,
    })
}

fn kernel_for_rows<F: Format, const M: usize>(isa: Isa) -> Kernel {
    match isa.min(Isa::detect()) {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx | Isa::Avx512Vnni => avx512::row_dots::<F, M>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::AvxVnni | Isa::Avx2 => avx2::row_dots::<F, M>,
        _ => scalar::row_dots::<F, M>,
    }
}

/// The lane of a group: half `part` (0 or 1) of the block of 32 numbers `block` (0 to 7).
///
/// The order is the one a transposition within quarters of registers leaves.
const fn lane(block: usize, part: usize) -> usize {
    8 * (block / 4) + 4 * part + block % 4
}

/// Where number `i` of block `block` stands among the bytes of [`LEN`] numbers: four registers, in
/// each four bytes of every lane.
const fn place(block: usize, i: usize) -> usize {
    64 * (i % 16 / 4) + 4 * lane(block, i / 16) + i % 4
}

/// The bytes of the `b`-th [`LEN`] weights of a row. A row that ends within them is filled up with
/// zeros, whose scale and offset are 0, in `tail`.
#[inline(always)]
fn weights_at<'a, F: Format>(row: &'a [u8], b: usize, tail: &'a mut [u8; MAX_TAIL_BYTES]) -> &'a [u8] {
    let rest = &row[b * F::BYTES..];
    if rest.len() >= F::BYTES {
        return &rest[..F::BYTES];
    }
    tail[..rest.len()].copy_from_slice(rest);
    &tail[..F::BYTES]
}
