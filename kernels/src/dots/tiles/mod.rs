//! Products of many rows on bytes: prompts and encoders.
//!
//! As in the module above both sides are bytes and a group of weights is `scale * q + offset`, but here as
//! many rows of the weight as a register has lanes are laid side by side in a panel, four bytes of each:
//!
//! ```text
//! y[i, j] = Σ_groups x_scale[i] * (scale[j] * Σ q[j] x[i] + offset[j] * Σ x[i])
//! ```
//!
//! Groups have as many numbers as share a scale in the weight's format, so the sums of bytes are exact
//! and as long as they can be. Dense weights (f32, f16, bf16, 16-bit) are rounded to bytes, a scale for
//! each [`DENSE_GROUP`] of a row. No row's sums depend on how many there are.

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod emulator;
/// Rows that lie side by side from the start.
pub(crate) mod interleaved;
#[cfg(test)]
mod tests;

use crate::gemm::Rows;
use crate::{BlockType, Isa, Weight};
use activations::Activations;
#[cfg(target_arch = "x86_64")]
pub(crate) use amx::may_use_amx;
#[cfg(target_arch = "x86_64")]
use std::ops::Range;
use std::sync::Arc;

/// Numbers that share a scale where the weight's format has none.
const DENSE_GROUP: usize = 64;

/// Rows of activations, rounded and ready to meet the panels of a weight.
pub(crate) struct Tiles {
    columns: Columns,
    x: Arc<Activations>,
}

/// See [`Tiles::columns`].
///
/// # Safety
/// As there, and the machine must have the instructions the function was compiled for.
type Columns = unsafe fn(
    x: &Activations,
    weight: &Weight,
    bias: Option<&[f32]>,
    columns: (usize, usize),
    y: Rows<*mut f32>,
);

/// As many rows of a weight as a register `I` has lanes, by columns.
#[cfg(target_arch = "x86_64")]
struct Panel<I, F> {
    /// Four bytes of each row, `[columns / 4]`.
    levels: Vec<I>,
    /// What a level is worth, `[columns / group]`.
    scales: Vec<F>,
    /// What all levels are more by, `[columns / group]`.
    offsets: Vec<F>,
}

#[cfg(target_arch = "x86_64")]
impl<I: Copy, F: Copy> Panel<I, F> {
    const EMPTY: Panel<I, F> = Panel { levels: Vec::new(), scales: Vec::new(), offsets: Vec::new() };

    /// Takes room for `columns` (a multiple of 256) of which each `group` share a scale.
    fn make_room(&mut self, columns: usize, group: usize, (level, scale): (I, F)) {
        fn grow<T: Copy>(vec: &mut Vec<T>, len: usize, with: T) {
            vec.resize(len.max(vec.len()), with);
        }
        grow(&mut self.levels, columns / 4, level);
        grow(&mut self.scales, columns / group, scale);
        grow(&mut self.offsets, columns / group, scale);
    }
}

/// Panels that are multiplied at a time.
#[cfg(target_arch = "x86_64")]
const PANELS: usize = 2;

/// Rows of a weight side by side, ready to meet the rows of activations.
#[cfg(target_arch = "x86_64")]
struct Packed<'a, I, F, const ROWS: usize> {
    /// One or [`PANELS`] panels of `ROWS` rows.
    panels: &'a [Panel<I, F>],
    columns: PanelColumns<ROWS>,
}

/// The columns of `y` that up to [`PANELS`] panels are for.
#[cfg(target_arch = "x86_64")]
struct PanelColumns<const ROWS: usize> {
    /// By panel and row.
    biases: [[f32; ROWS]; PANELS],
    /// Rows in use of each panel.
    widths: [usize; PANELS],
}

#[cfg(target_arch = "x86_64")]
impl<const ROWS: usize> PanelColumns<ROWS> {
    /// Columns from `first` on, of those up to `to`.
    fn new(bias: Option<&[f32]>, first: usize, to: usize) -> PanelColumns<ROWS> {
        let mut columns = PanelColumns { biases: [[0f32; ROWS]; PANELS], widths: [0; PANELS] };
        for (p, (biases, width)) in columns.biases.iter_mut().zip(&mut columns.widths).enumerate() {
            let rows = (first + p * ROWS).min(to)..(first + (p + 1) * ROWS).min(to);
            *width = rows.len();
            if let Some(bias) = bias {
                biases[..*width].copy_from_slice(&bias[rows]);
            }
        }
        columns
    }
}

/// Goes over rows `from..to` of a weight [`PANELS`] panels at a time: `pack` lays rows side by side,
/// `multiply` writes their columns of `y`.
#[cfg(target_arch = "x86_64")]
fn by_panels<I, F, const ROWS: usize>(
    panels: &mut [Panel<I, F>; PANELS],
    bias: Option<&[f32]>,
    (from, to): (usize, usize),
    y: Rows<*mut f32>,
    pack: impl Fn(Range<usize>, &mut Panel<I, F>),
    multiply: impl Fn(&Packed<'_, I, F, ROWS>, Rows<*mut f32>),
) {
    for first in (from..to).step_by(PANELS * ROWS) {
        let columns = PanelColumns::new(bias, first, to);
        let used = (to - first).div_ceil(ROWS).min(PANELS);
        for (p, panel) in panels[..used].iter_mut().enumerate() {
            let from = first + p * ROWS;
            pack(from..from + columns.widths[p], panel);
        }
        multiply(&Packed { panels: &panels[..used], columns }, y.offset(first));
    }
}

/// How many numbers share a scale, for types that have a byte kernel.
fn group(ty: BlockType) -> Option<usize> {
    use BlockType::*;
    match ty {
        F32 | F16 | BF16 | I8 | I16 => Some(DENSE_GROUP),
        Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q4K | Q5K => Some(32),
        Q6K => Some(16),
        Q2K | Q3K | IQ4NL | IQ4XS => None,
    }
}

impl Tiles {
    /// Rounds the rows of `x [m, cols]`, or `None` where this machine or type has no byte kernel.
    pub(crate) fn new(isa: Isa, ty: BlockType, x: &[f32], cols: usize) -> Option<Tiles> {
        let (group, columns) = (group(ty)?, columns(isa)?);
        Some(Tiles { columns, x: Arc::new(activations::quantize_rows(isa, x, cols, group)) })
    }

    /// The same rows for weights of another type, if that has a byte kernel and as many numbers share a scale.
    pub(crate) fn for_type(&self, ty: BlockType) -> Option<Tiles> {
        (group(ty)? == self.x.group).then(|| Tiles { columns: self.columns, x: self.x.clone() })
    }

    /// Columns `from..to` of `y [m, rows]`: the products with these rows of the weight, plus `bias`.
    ///
    /// # Safety
    /// These columns of `y` must be writable for all rows of activations, and nobody else's.
    pub(crate) unsafe fn columns(
        &self,
        weight: &Weight,
        bias: Option<&[f32]>,
        columns: (usize, usize),
        y: Rows<*mut f32>,
    ) {
        // SAFETY: `new` saw that the machine has the instructions; the rest is the caller's.
        unsafe { (self.columns)(&self.x, weight, bias, columns, y) }
    }
}

fn columns(isa: Isa) -> Option<Columns> {
    match isa.min(Isa::detect()) {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => Some(avx512::columns::<true>),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Some(avx512::columns::<false>),
        // Without products of bytes floats are as fast in registers of this length.
        Isa::Avx512 => None,
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni if Isa::AvxVnni.is_here() => Some(avx2::columns::<true>),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => Some(avx2::columns::<false>),
        _ => None,
    }
}
