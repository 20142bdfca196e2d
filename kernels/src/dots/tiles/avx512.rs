//! AVX-512 with VNNI: sixteen weight rows a register, four bytes of each. With AMX, tiles of them ([`super::amx`]).

use super::super::avx512::Unpack;
use super::super::formats::*;
use super::super::{LEN, MAX_TAIL_BYTES, lane, weights_at};
use super::activations::Activations;
use super::{DENSE_GROUP, PANELS, amx, by_panels};
use crate::dots::activations::{nearest, scale_of};
use crate::gemm::Rows;
use crate::{BlockType, Isa, Weight};
use std::arch::x86_64::*;
use std::borrow::Cow;
use std::cell::Cell;

/// Rows of a weight in a panel.
pub(super) const PANEL_ROWS: usize = 16;
/// Rows of activations a tile takes: with two panels 12 sums of bytes, 12 of floats and what they
/// are made of fill the registers.
const TILE_ROWS: usize = 6;

/// Sixteen rows of a weight.
pub(super) type Panel = super::Panel<__m512i, __m512>;
pub(super) type Packed<'a> = super::Packed<'a, __m512i, __m512, PANEL_ROWS>;

thread_local! {
    /// A thread's panels, kept from one product to the next.
    static KEPT: Cell<[Panel; PANELS]> = const { Cell::new([Panel::EMPTY; PANELS]) };
}

/// See [`super::Tiles::columns`]. With `AMX`, sixteen rows of activations at a time while there are as many.
///
/// # Safety
/// Needs AVX-512 with VNNI, and AMX for bytes if `AMX` ([`amx::may_use_amx`]); these columns of `y` must be the caller's for
/// all rows of activations.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn columns<const AMX: bool>(
    x: &Activations,
    weight: &Weight,
    bias: Option<&[f32]>,
    columns: (usize, usize),
    y: Rows<*mut f32>,
) {
    let has_tiles = AMX && x.rows() >= amx::TILE_ROWS;
    // SAFETY: the caller's; until the end of this function the thread has no others.
    let tiles = has_tiles.then(|| unsafe { amx::TileRegisters::configure(x.group) });
    let tiles = tiles.as_ref();
    let cols = weight.cols().next_multiple_of(LEN);
    let mut panels = KEPT.replace([Panel::EMPTY; PANELS]);
    for panel in &mut panels {
        panel.make_room(cols, x.group, (_mm512_setzero_si512(), _mm512_setzero_ps()));
    }
    // SAFETY: the features are the caller's word.
    let pack = |rows: std::ops::Range<usize>, panel: &mut Panel| unsafe { pack(weight, rows, panel) };
    let multiply = |packed: &Packed<'_>, y: Rows<*mut f32>| {
        // SAFETY: as above; the panels have the columns of the weight, and `y` these of its own.
        unsafe {
            match x.group {
                16 => multiply::<4>(tiles, x, packed, y),
                32 => multiply::<8>(tiles, x, packed, y),
                _ => multiply::<{ DENSE_GROUP / 4 }>(tiles, x, packed, y),
            }
        }
    };
    by_panels(&mut panels, bias, columns, y, pack, multiply);
    KEPT.set(panels);
}

/// All rows of activations with one or two panels; a group has `4 * QUADS` numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn multiply<const QUADS: usize>(
    tiles: Option<&amx::TileRegisters>,
    x: &Activations,
    packed: &Packed<'_>,
    y: Rows<*mut f32>,
) {
    let m = x.rows();
    let mut row = 0;
    while let (Some(tiles), amx::TILE_ROWS..) = (tiles, m - row) {
        // SAFETY: there are as many rows.
        row += unsafe { tiles.multiply::<QUADS>(x, row, packed, y) };
    }
    while row < m {
        // SAFETY: no arm takes more rows than are left.
        row += unsafe {
            match (packed.panels, m - row) {
                ([a, b], TILE_ROWS..) => tile::<QUADS, TILE_ROWS, 2>(x, row, [a, b], packed, y),
                ([a, b], 2..) => tile::<QUADS, 2, 2>(x, row, [a, b], packed, y),
                ([a, b], _) => tile::<QUADS, 1, 2>(x, row, [a, b], packed, y),
                ([a, ..], TILE_ROWS..) => tile::<QUADS, TILE_ROWS, 1>(x, row, [a], packed, y),
                ([a, ..], _) => tile::<QUADS, 1, 1>(x, row, [a], packed, y),
                ([], left) => left,
            }
        };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile<const QUADS: usize, const R: usize, const P: usize>(
    x: &Activations,
    row: usize,
    panels: [&Panel; P],
    packed: &Packed<'_>,
    y: Rows<*mut f32>,
) -> usize {
    let groups = x.groups;
    // SAFETY: rows `row..row + R` are there, and a panel has all groups of a row.
    unsafe {
        let levels = x.levels.as_ptr().add(row * groups * 4 * QUADS);
        let (scales, sums) = (x.scales.as_ptr().add(row * groups), x.sums.as_ptr().add(row * groups));
        let mut out = [[_mm512_setzero_ps(); P]; R];
        for out in &mut out {
            for (out, bias) in out.iter_mut().zip(&packed.columns.biases) {
                *out = _mm512_loadu_ps(bias.as_ptr());
            }
        }
        for g in 0..groups {
            let mut dots = [[_mm512_setzero_si512(); P]; R];
            for q in g * QUADS..(g + 1) * QUADS {
                let weights = panels.map(|p| *p.levels.as_ptr().add(q));
                for (r, dots) in dots.iter_mut().enumerate() {
                    let four = levels.add((r * groups * QUADS + q) * 4).cast::<i32>().read_unaligned();
                    let four = _mm512_set1_epi32(four);
                    for (dots, weights) in dots.iter_mut().zip(weights) {
                        *dots = _mm512_dpbusd_epi32(*dots, weights, four);
                    }
                }
            }
            let scale = panels.map(|p| *p.scales.as_ptr().add(g));
            let offset = panels.map(|p| *p.offsets.as_ptr().add(g));
            for (r, (dots, out)) in dots.iter().zip(&mut out).enumerate() {
                let x_scale = _mm512_set1_ps(*scales.add(r * groups + g));
                let x_sum = _mm512_set1_ps(*sums.add(r * groups + g));
                for p in 0..P {
                    let worth = _mm512_mul_ps(scale[p], x_scale);
                    out[p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[p]), worth, out[p]);
                    out[p] = _mm512_fmadd_ps(offset[p], x_sum, out[p]);
                }
            }
        }
        for (r, out) in out.iter().enumerate() {
            for (p, out) in out.iter().enumerate() {
                let mask = ((1u32 << packed.columns.widths[p]) - 1) as u16;
                let to = y.ptr.wrapping_add((row + r) * y.stride + p * PANEL_ROWS);
                _mm512_mask_storeu_ps(to, mask, *out);
            }
        }
    }
    R
}

/// Lays rows `rows` (at most sixteen) of a weight side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
unsafe fn pack(weight: &Weight, rows: std::ops::Range<usize>, panel: &mut Panel) {
    // What is missing is a copy of the first row, never stored.
    let row = |j: usize| if j < rows.len() { rows.start + j } else { rows.start };
    // SAFETY: the caller's.
    unsafe {
        match weight.block_type() {
            BlockType::Q4_0 => pack_blocks::<Q4_0, 32>(weight, row, panel),
            BlockType::Q4_1 => pack_blocks::<Q4_1, 32>(weight, row, panel),
            BlockType::Q5_0 => pack_blocks::<Q5_0, 32>(weight, row, panel),
            BlockType::Q5_1 => pack_blocks::<Q5_1, 32>(weight, row, panel),
            BlockType::Q8_0 => pack_blocks::<Q8_0, 32>(weight, row, panel),
            BlockType::Q4K => pack_blocks::<Q4K, 32>(weight, row, panel),
            BlockType::Q5K => pack_blocks::<Q5K, 32>(weight, row, panel),
            BlockType::Q6K => pack_blocks::<Q6K, 16>(weight, row, panel),
            _ => pack_dense(weight, row, panel),
        }
    }
}

/// Weights in blocks, of which `GROUP` share a scale: exact.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
unsafe fn pack_blocks<F: Format, const GROUP: usize>(
    weight: &Weight,
    row: impl Fn(usize) -> usize,
    panel: &mut Panel,
) {
    let zero = _mm512_setzero_si512();
    let mut tail = [0; MAX_TAIL_BYTES];
    let rows: [Cow<'_, [u8]>; PANEL_ROWS] = std::array::from_fn(|j| weight.row(row(j)));
    for b in 0..weight.cols().div_ceil(LEN) {
        let (mut levels, mut scales, mut offsets) = ([[zero; 16]; 4], [zero; 16], [zero; 16]);
        for (j, row) in rows.iter().enumerate() {
            // SAFETY: the slice has `F::BYTES` bytes.
            let w = unsafe { <F as Unpack>::unpack(weights_at::<F>(row, b, &mut tail).as_ptr()) };
            for (levels, level) in levels.iter_mut().zip(w.levels) {
                levels[j] = level;
            }
            (scales[j], offsets[j]) = (_mm512_castps_si512(w.scales), _mm512_castps_si512(w.offsets));
        }
        let to = &mut panel.levels[b * (LEN / 4)..][..LEN / 4];
        for (k, levels) in levels.iter_mut().enumerate() {
            transpose(levels);
            for g in 0..LEN / 16 {
                to[4 * g + k] = levels[lane(g / 2, g % 2)];
            }
        }
        transpose(&mut scales);
        transpose(&mut offsets);
        for g in 0..LEN / GROUP {
            let (from, at) = (lane(g * GROUP / 32, g * GROUP / 16 % 2), b * (LEN / GROUP) + g);
            panel.scales[at] = _mm512_castsi512_ps(scales[from]);
            panel.offsets[at] = _mm512_castsi512_ps(offsets[from]);
        }
    }
}

/// Dense weights, rounded to bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
unsafe fn pack_dense(weight: &Weight, row: impl Fn(usize) -> usize, panel: &mut Panel) {
    let cols = weight.cols();
    for (g, from) in (0..cols).step_by(DENSE_GROUP).enumerate() {
        let len = DENSE_GROUP.min(cols - from);
        let (mut levels, mut scales) = ([[0u8; DENSE_GROUP]; PANEL_ROWS], [0f32; PANEL_ROWS]);
        for (j, (levels, row_scale)) in levels.iter_mut().zip(&mut scales).enumerate() {
            let mut values = [0f32; DENSE_GROUP];
            weight.dequantize_part(Isa::Avx512Vnni, row(j), from, &mut values[..len]);
            let (scale, inverse) = scale_of(&values);
            for (level, v) in levels.iter_mut().zip(&values) {
                *level = (nearest(v * inverse) + 128) as u8;
            }
            *row_scale = scale;
        }
        // SAFETY: sixteen floats.
        panel.scales[g] = unsafe { _mm512_loadu_ps(scales.as_ptr()) };
        panel.offsets[g] = _mm512_mul_ps(panel.scales[g], _mm512_set1_ps(-128.0));
        let to = &mut panel.levels[g * (DENSE_GROUP / 4)..][..DENSE_GROUP / 4];
        for (part, to) in to.chunks_exact_mut(16).enumerate() {
            let mut quads = [_mm512_setzero_si512(); 16];
            for (quad, levels) in quads.iter_mut().zip(&levels) {
                // SAFETY: 64 bytes of the row from `64 * part` on.
                *quad = unsafe { _mm512_loadu_si512(levels.as_ptr().add(64 * part).cast()) };
            }
            transpose(&mut quads);
            to.copy_from_slice(&quads);
        }
    }
}

/// Sixteen registers of sixteen words, rows for columns.
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; 16]) {
    let mut pairs = *rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    // `fours[4 * i + j]` has in each quarter `q` column `4 * q + j` of rows `4 * i..4 * i + 4`.
    let mut fours = pairs;
    for i in 0..4 {
        let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
        fours[4 * i] = _mm512_unpacklo_epi64(a, c);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    const EVEN: i32 = 0x88;
    const ODD: i32 = 0xdd;
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let (even, even_high) = (_mm512_shuffle_i32x4::<EVEN>(a, b), _mm512_shuffle_i32x4::<EVEN>(c, d));
        let (odd, odd_high) = (_mm512_shuffle_i32x4::<ODD>(a, b), _mm512_shuffle_i32x4::<ODD>(c, d));
        rows[j] = _mm512_shuffle_i32x4::<EVEN>(even, even_high);
        rows[4 + j] = _mm512_shuffle_i32x4::<EVEN>(odd, odd_high);
        rows[8 + j] = _mm512_shuffle_i32x4::<ODD>(even, even_high);
        rows[12 + j] = _mm512_shuffle_i32x4::<ODD>(odd, odd_high);
    }
}
