use super::{LANES, LEN, lane, place};
use crate::Isa;
use crate::isa::per_isa;

/// Numbers that share a scale: those of a lane. (ggml shares it among 32; a large one spoils fewer
/// here, at no cost.)
const GROUP: usize = LEN / LANES;

/// 256 activations of one row.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Activations {
    /// Levels of -127 to 127, at their [`place`].
    pub(super) levels: [i8; LEN],
    /// What a level is worth, by lane.
    pub(super) scales: [f32; LANES],
    /// Sum of the levels of a lane: whole numbers.
    pub(super) sums: [f32; LANES],
}

const ZERO: Activations = Activations { levels: [0; LEN], scales: [0.0; LANES], sums: [0.0; LANES] };

/// Rounds each row of `x [m, cols]`; what a row lacks of whole 256 is zeros. Ordered by 256 columns,
/// then by row. `cols` is a multiple of 32.
pub(super) fn quantize_rows(isa: Isa, x: &[f32], cols: usize) -> Vec<Activations> {
    let m = x.len() / cols;
    let mut out = vec![ZERO; m * cols.div_ceil(LEN)];
    for (i, x) in x.chunks_exact(cols).enumerate() {
        for (x, out) in x.chunks(LEN).zip(out.chunks_exact_mut(m)) {
            quantize(isa, x, &mut out[i]);
        }
    }
    out
}

per_isa! { fn quantize = quantize_body(x: &[f32], out: &mut Activations) }

#[inline(always)]
fn quantize_body<const FMA: bool>(x: &[f32], out: &mut Activations) {
    for (group, x) in x.as_chunks::<GROUP>().0.iter().enumerate() {
        let (block, part) = (group / 2, group % 2);
        let (scale, inverse) = scale_of(x);
        let levels = x.map(|v| nearest(v * inverse));
        out.scales[lane(block, part)] = scale;
        out.sums[lane(block, part)] = levels.iter().sum::<i32>() as f32;
        for (i, four) in levels.as_chunks::<4>().0.iter().enumerate() {
            out.levels[place(block, GROUP * part + 4 * i)..][..4].copy_from_slice(&four.map(|v| v as i8));
        }
    }
}

/// What a level is worth where the largest of `x` has level 127, and how many levels 1 is.
#[inline(always)]
pub(crate) fn scale_of(x: &[f32]) -> (f32, f32) {
    // As bits magnitudes keep their order, and NaN is the largest: it must not get lost.
    let largest = x.iter().fold(0, |max, v| max.max(v.abs().to_bits()));
    let scale = f32::from_bits(largest) / 127.0;
    // NaN and infinity stay in the scale; levels are 0 then, and their products NaN.
    (scale, if scale.is_normal() { 1.0 / scale } else { 0.0 })
}

/// The nearest integer of -127.5 < `v` < 127.5 (half to even); 0 for NaN.
#[inline(always)]
pub(crate) fn nearest(v: f32) -> i32 {
    // Adding 1.5 * 2^23 leaves the integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = (v + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
    if v.is_nan() { 0 } else { rounded }
}
