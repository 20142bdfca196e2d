use crate::Isa;
use crate::dots::activations::{nearest, scale_of};
use crate::isa::per_isa;
use rayon::prelude::*;

/// Rows under which one thread rounds them all.
const PARALLEL_ROWS: usize = 64;

/// Rows of activations as bytes, filled up with zeros to whole groups.
pub(super) struct Activations {
    /// Numbers that share a scale.
    pub(super) group: usize,
    /// Groups a row.
    pub(super) groups: usize,
    /// Levels of -127 to 127, `[m, groups, group]`.
    pub(super) levels: Vec<i8>,
    /// What a level is worth, `[m, groups]`.
    pub(super) scales: Vec<f32>,
    /// Sum of a group's values, `[m, groups]`.
    pub(super) sums: Vec<f32>,
}

impl Activations {
    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.levels.len() / (self.groups * self.group)
    }
}

pub(super) fn quantize_rows(isa: Isa, x: &[f32], cols: usize, group: usize) -> Activations {
    let (m, groups) = (x.len() / cols, cols.div_ceil(group));
    let mut out = Activations {
        group,
        groups,
        levels: vec![0; m * groups * group],
        scales: vec![0.0; m * groups],
        sums: vec![0.0; m * groups],
    };
    let levels = out.levels.par_chunks_exact_mut(groups * group);
    let scales = out.scales.par_chunks_exact_mut(groups).zip(out.sums.par_chunks_exact_mut(groups));
    let rows = x.par_chunks_exact(cols).zip(levels).zip(scales).with_min_len(PARALLEL_ROWS);
    rows.for_each(|((x, levels), (scales, sums))| quantize_row(isa, group, x, levels, scales, sums));
    out
}

per_isa! {
    /// Rounds one row, each `group` of it with a scale of its own.
    fn quantize_row = quantize_row_body(
        group: usize, x: &[f32], levels: &mut [i8], scales: &mut [f32], sums: &mut [f32]
    )
}

#[inline(always)]
fn quantize_row_body<const FMA: bool>(
    group: usize,
    x: &[f32],
    levels: &mut [i8],
    scales: &mut [f32],
    sums: &mut [f32],
) {
    let parts = x.chunks(group).zip(levels.chunks_exact_mut(group));
    for ((x, levels), (scale, sum)) in parts.zip(scales.iter_mut().zip(sums)) {
        let inverse;
        (*scale, inverse) = scale_of(x);
        let mut total = 0;
        for (level, v) in levels.iter_mut().zip(x) {
            let nearest = nearest(v * inverse);
            *level = nearest as i8;
            total += nearest;
        }
        *sum = total as f32 * *scale;
    }
}
