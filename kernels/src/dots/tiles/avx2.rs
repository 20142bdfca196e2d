//! AVX2: eight weight rows a register, four bytes of each, `vpmaddubsw`; with VNNI in such registers `vpdpbusd`, whose sums
//! are the same.

use super::super::avx2::{Unpack, Weights};
use super::super::formats::*;
use super::super::{LEN, MAX_TAIL_BYTES, lane, weights_at};
use super::activations::Activations;
use super::interleaved;
use super::{DENSE_GROUP, PANELS, PanelColumns, by_panels};
use crate::dots::activations::{nearest, scale_of};
use crate::gemm::Rows;
use crate::{BlockType, Isa, Weight};
use std::arch::x86_64::*;
use std::borrow::Cow;
use std::cell::Cell;

/// Rows of a weight in a panel.
pub(super) const PANEL_ROWS: usize = 8;
/// Rows of activations a tile takes: with two panels 8 sums, what they are made of, and floats that
/// are only wanted once a group.
pub(super) const TILE_ROWS: usize = 4;

/// Eight rows of a weight.
type Panel = super::Panel<__m256i, __m256>;
type Packed<'a> = super::Packed<'a, __m256i, __m256, PANEL_ROWS>;

/// What fits into 16 bits of products of bytes, as the largest level has it.
pub(super) mod sums {
    /// Levels of -128 to 127: two products, as their magnitudes are multiplied.
    pub(in super::super) const SIGNED: usize = 1;
    /// Levels of up to 63, 31 and 15: twice so many products.
    pub(in super::super) const SIX_BITS: usize = 2;
    pub(in super::super) const FIVE_BITS: usize = 4;
    pub(in super::super) const FOUR_BITS: usize = 8;
}

thread_local! {
    /// A thread's panels, kept from one product to the next.
    static KEPT: Cell<[Panel; PANELS]> = const { Cell::new([Panel::EMPTY; PANELS]) };
}

/// See [`super::Tiles::columns`].
///
/// # Safety
/// Needs AVX2, FMA and F16C, and AVX-VNNI if `VNNI`; these columns of `y` must be the caller's for all rows of activations.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn columns<const VNNI: bool>(
    x: &Activations,
    weight: &Weight,
    bias: Option<&[f32]>,
    columns: (usize, usize),
    y: Rows<*mut f32>,
) {
    if weight.is_interleaved() {
        // SAFETY: the caller's.
        return unsafe { interleaved::avx2::columns::<VNNI>(x, weight, bias, columns, y) };
    }
    let cols = weight.cols().next_multiple_of(LEN);
    let mut panels = KEPT.replace([Panel::EMPTY; PANELS]);
    for panel in &mut panels {
        panel.make_room(cols, x.group, (_mm256_setzero_si256(), _mm256_setzero_ps()));
    }
    // SAFETY: the features are the caller's word.
    let pack = |rows: std::ops::Range<usize>, panel: &mut Panel| unsafe { pack(weight, rows, panel) };
    let multiply = |packed: &Packed<'_>, y: Rows<*mut f32>| {
        // SAFETY: as above; the panels have the columns of the weight, and `y` these of its own.
        unsafe {
            use BlockType::*;
            match weight.block_type() {
                Q4_0 | Q4_1 | Q4K => multiply::<8, { sums::FOUR_BITS }, VNNI>(x, packed, y),
                Q5_0 | Q5_1 | Q5K => multiply::<8, { sums::FIVE_BITS }, VNNI>(x, packed, y),
                Q6K => multiply::<4, { sums::SIX_BITS }, VNNI>(x, packed, y),
                Q8_0 => multiply::<8, { sums::SIGNED }, VNNI>(x, packed, y),
                _ => multiply::<{ DENSE_GROUP / 4 }, { sums::SIGNED }, VNNI>(x, packed, y),
            }
        }
    };
    by_panels(&mut panels, bias, columns, y, pack, multiply);
    KEPT.set(panels);
}

/// Weights of `P` times eight rows, by blocks of groups of quads.
pub(super) trait Source<const P: usize>: Copy {
    /// Four numbers of each row, of a group.
    const QUADS: usize;
    /// See [`sums`].
    const SUMS: usize;
    /// Whether the machine has AVX-VNNI.
    const VNNI: bool;

    /// Groups of a block, of `groups` in all: what was unpacked is one block.
    #[inline(always)]
    fn block_groups(groups: usize) -> usize {
        groups
    }

    /// Goes to the block `b`.
    ///
    /// # Safety
    /// Needs AVX2, FMA and F16C; the block is there.
    #[inline(always)]
    unsafe fn enter(&mut self, _b: usize) {}

    /// Asks memory for what will be wanted after group `g`, for `rows` rows of activations: for nothing where it
    /// has just been written.
    #[inline(always)]
    fn ask_ahead(&self, _g: usize, _rows: usize) {}

    /// What a level of group `g` of the block is worth, and what all are more by, of eight rows.
    ///
    /// # Safety
    /// As above; a block was entered and has the group.
    unsafe fn scale(&self, p: usize, g: usize) -> (__m256, __m256);

    /// Quad `q` of the group, of eight rows.
    ///
    /// # Safety
    /// As above.
    unsafe fn quad(&self, p: usize, g: usize, q: usize) -> __m256i;
}

/// Panels are one block of `QUADS` quads a group.
#[derive(Clone, Copy)]
struct Panels<'a, const QUADS: usize, const SUMS: usize, const VNNI: bool, const P: usize>([&'a Panel; P]);

impl<const QUADS: usize, const SUMS: usize, const VNNI: bool, const P: usize> Source<P>
    for Panels<'_, QUADS, SUMS, VNNI, P>
{
    const QUADS: usize = QUADS;
    const SUMS: usize = SUMS;
    const VNNI: bool = VNNI;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scale(&self, p: usize, g: usize) -> (__m256, __m256) {
        // SAFETY: the caller's.
        unsafe { (*self.0[p].scales.as_ptr().add(g), *self.0[p].offsets.as_ptr().add(g)) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quad(&self, p: usize, g: usize, q: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { *self.0[p].levels.as_ptr().add(g * QUADS + q) }
    }
}

/// All rows of activations with one or two panels; a group has `4 * QUADS` numbers.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<const QUADS: usize, const SUMS: usize, const VNNI: bool>(
    x: &Activations,
    packed: &Packed<'_>,
    y: Rows<*mut f32>,
) {
    let (one, pair) = (Panels::<QUADS, SUMS, VNNI, 1>, Panels::<QUADS, SUMS, VNNI, 2>);
    let m = x.rows();
    let mut row = 0;
    while row < m {
        // SAFETY: no arm takes more rows than are left.
        row += unsafe {
            match (packed.panels, m - row) {
                ([a, b], TILE_ROWS..) => tile::<_, TILE_ROWS, 2>(x, row, pair([a, b]), &packed.columns, y),
                ([a, b], _) => tile::<_, 1, 2>(x, row, pair([a, b]), &packed.columns, y),
                ([a, ..], TILE_ROWS..) => tile::<_, TILE_ROWS, 1>(x, row, one([a]), &packed.columns, y),
                ([a, ..], _) => tile::<_, 1, 1>(x, row, one([a]), &packed.columns, y),
                ([], left) => left,
            }
        };
    }
}

/// Rows `row..row + R` of activations with `P` times eight rows of weights. Returns `R`.
///
/// # Safety
/// Needs AVX2, FMA and F16C; the rows of `x` are there, `weights` has all its groups, and `y` the columns.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile<S: Source<P>, const R: usize, const P: usize>(
    x: &Activations,
    row: usize,
    mut weights: S,
    columns: &PanelColumns<PANEL_ROWS>,
    y: Rows<*mut f32>,
) -> usize {
    let block_groups = S::block_groups(x.groups);
    let mut out = [begin(columns); R];
    for b in 0..x.groups / block_groups {
        // SAFETY: the caller's.
        unsafe {
            weights.enter(b);
            add_groups(x, row, b * block_groups, block_groups, weights, &mut out);
        }
    }
    for (r, out) in out.iter().enumerate() {
        // SAFETY: as above.
        unsafe { store(out, columns, y, row + r) };
    }
    R
}

/// What the columns of a row begin with.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn begin<const P: usize>(columns: &PanelColumns<PANEL_ROWS>) -> [__m256; P] {
    let mut out = [_mm256_setzero_ps(); P];
    for (out, bias) in out.iter_mut().zip(&columns.biases) {
        // SAFETY: eight floats.
        *out = unsafe { _mm256_loadu_ps(bias.as_ptr()) };
    }
    out
}

/// Writes the columns of row `row`.
///
/// # Safety
/// `y` has these columns of that row.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store<const P: usize>(
    out: &[__m256; P],
    columns: &PanelColumns<PANEL_ROWS>,
    y: Rows<*mut f32>,
    row: usize,
) {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (p, out) in out.iter().enumerate() {
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(columns.widths[p] as i32), lanes);
        let to = y.ptr.wrapping_add(row * y.stride + p * PANEL_ROWS);
        // SAFETY: the caller's.
        unsafe { _mm256_maskstore_ps(to, mask, *out) };
    }
}

/// Adds `n` groups, of which the rows' first is `from` and the block's the first.
///
/// # Safety
/// As for [`tile`]; a block was entered.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn add_groups<S: Source<P>, const R: usize, const P: usize>(
    x: &Activations,
    row: usize,
    from: usize,
    n: usize,
    weights: S,
    out: &mut [[__m256; P]; R],
) {
    let groups = x.groups;
    // SAFETY: the caller's.
    unsafe {
        let levels = x.levels.as_ptr().add((row * groups + from) * 4 * S::QUADS);
        let scales = x.scales.as_ptr().add(row * groups + from);
        let sums = x.sums.as_ptr().add(row * groups + from);
        for g in 0..n {
            weights.ask_ahead(g, R);
            let dots = group::<S, R, P>(levels.add(4 * g * S::QUADS), groups * S::QUADS, weights, g);
            let (mut scale, mut offset) = ([_mm256_setzero_ps(); P], [_mm256_setzero_ps(); P]);
            for p in 0..P {
                (scale[p], offset[p]) = weights.scale(p, g);
            }
            for (r, (dots, out)) in dots.iter().zip(&mut *out).enumerate() {
                let x_scale = _mm256_set1_ps(*scales.add(r * groups + g));
                let x_sum = _mm256_set1_ps(*sums.add(r * groups + g));
                for p in 0..P {
                    let worth = _mm256_mul_ps(scale[p], x_scale);
                    out[p] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[p]), worth, out[p]);
                    if S::SUMS != sums::SIGNED {
                        out[p] = _mm256_fmadd_ps(offset[p], x_sum, out[p]);
                    }
                }
            }
        }
    }
}

/// The body for each `q`, unrolled: as a loop, of which shifts and places are not constants, it takes up to a third longer.
macro_rules! for_each_quad {
    ($q:ident of $most:expr, $body:block) => {
        for_each_quad!($q $most, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($q:ident $most:expr, $body:block, $($n:literal)*) => {
        $(if $n < $most {
            let $q = $n;
            $body
        })*
    };
}

/// Sums of products of the group `g` of the weights with the levels of `R` rows, `stride` quads apart.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn group<S: Source<P>, const R: usize, const P: usize>(
    levels: *const i8,
    stride: usize,
    weights: S,
    g: usize,
) -> [[__m256i; P]; R] {
    let (zero, ones) = (_mm256_setzero_si256(), _mm256_set1_epi16(1));
    let mut dots = [[zero; P]; R];
    // SAFETY: the caller's: the group is in the weights and the rows.
    unsafe {
        let four = |r: usize, q: usize| {
            _mm256_set1_epi32(levels.add((r * stride + q) * 4).cast::<i32>().read_unaligned())
        };
        if S::VNNI {
            for q in 0..S::QUADS {
                let mut quads = [zero; P];
                for (p, quad) in quads.iter_mut().enumerate() {
                    *quad = weights.quad(p, g, q);
                }
                for (r, dots) in dots.iter_mut().enumerate() {
                    let four = four(r, q);
                    for (dots, w) in dots.iter_mut().zip(quads) {
                        match S::SUMS {
                            sums::SIGNED => add_products(dots, _mm256_abs_epi8(w), _mm256_sign_epi8(four, w)),
                            _ => add_products(dots, w, four),
                        }
                    }
                }
            }
            return dots;
        }
        let mut sums = [[zero; P]; R];
        for_each_quad!(q of S::QUADS, {
            let mut quads = [zero; P];
            for (p, quad) in quads.iter_mut().enumerate() {
                *quad = weights.quad(p, g, q);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let four = four(r, q);
                for (sums, w) in sums.iter_mut().zip(quads) {
                    *sums = if S::SUMS == sums::SIGNED {
                        _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(four, w))
                    } else {
                        _mm256_add_epi16(*sums, _mm256_maddubs_epi16(w, four))
                    };
                    if R > 2 {
                        in_order(sums);
                    }
                }
            }
            if q % S::SUMS == S::SUMS - 1 {
                for (dots, sums) in dots.iter_mut().zip(&mut sums) {
                    for (dots, sums) in dots.iter_mut().zip(sums) {
                        *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(*sums, ones));
                        *sums = zero;
                    }
                }
            }
        });
    }
    dots
}

/// Adds to each lane the products of its four bytes, `unsigned` and `signed`. As assembly, so that code around it need not be
/// compiled for a processor that has it; and computed one after the other, as with [`in_order`].
///
/// # Safety
/// Needs AVX-VNNI.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_products(sums: &mut __m256i, unsigned: __m256i, signed: __m256i) {
    // SAFETY: the caller's.
    unsafe {
        std::arch::asm!(
            "{{vex}} vpdpbusd {}, {}, {}",
            inout(ymm_reg) *sums,
            in(ymm_reg) unsigned,
            in(ymm_reg) signed,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Nothing; but the compiler computes what is passed here one after the other. It would otherwise go over a
/// group of many rows row by row, for which the weights do not fit the registers: a third slower.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(register: &mut __m256i) {
    // SAFETY: there is no instruction, only a comment.
    unsafe {
        std::arch::asm!("/* {} */", inlateout(ymm_reg) * register, options(nomem, nostack, preserves_flags));
    }
}

/// Lays rows `rows` (at most eight) of a weight side by side.
#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack_blocks<F: Format, const GROUP: usize>(
    weight: &Weight,
    row: impl Fn(usize) -> usize,
    panel: &mut Panel,
) {
    let mut tail = [0; MAX_TAIL_BYTES];
    let rows: [Cow<'_, [u8]>; PANEL_ROWS] = std::array::from_fn(|j| weight.row(row(j)));
    let (levels, scales) = ([_mm256_setzero_si256(); 4], _mm256_setzero_ps());
    let mut halves = [[Weights { levels, scales, offsets: scales }; PANEL_ROWS]; 2];
    for b in 0..weight.cols().div_ceil(LEN) {
        for (j, row) in rows.iter().enumerate() {
            let bytes = weights_at::<F>(row, b, &mut tail).as_ptr();
            // SAFETY: the slice has `F::BYTES` bytes.
            unsafe {
                halves[0][j] = <F as Unpack>::unpack::<0>(bytes);
                halves[1][j] = <F as Unpack>::unpack::<1>(bytes);
            }
        }
        for (half, weights) in halves.iter().enumerate() {
            lay_half::<GROUP>(weights, panel, b, half);
        }
    }
}

/// Half `half` of the `b`-th [`LEN`] columns of eight rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lay_half<const GROUP: usize>(weights: &[Weights; PANEL_ROWS], panel: &mut Panel, b: usize, half: usize) {
    let to = &mut panel.levels[b * (LEN / 4) + half * (LEN / 8)..][..LEN / 8];
    for k in 0..4 {
        let mut levels = [_mm256_setzero_si256(); PANEL_ROWS];
        for (levels, w) in levels.iter_mut().zip(weights) {
            *levels = w.levels[k];
        }
        transpose(&mut levels);
        for g in 0..LEN / 32 {
            to[4 * g + k] = levels[lane(g / 2, g % 2)];
        }
    }
    let (mut scales, mut offsets) = ([_mm256_setzero_si256(); 8], [_mm256_setzero_si256(); 8]);
    for (j, w) in weights.iter().enumerate() {
        (scales[j], offsets[j]) = (_mm256_castps_si256(w.scales), _mm256_castps_si256(w.offsets));
    }
    transpose(&mut scales);
    transpose(&mut offsets);
    let groups = LEN / 2 / GROUP;
    for g in 0..groups {
        let (from, at) = (lane(g * GROUP / 32, g * GROUP / 16 % 2), (2 * b + half) * groups + g);
        panel.scales[at] = _mm256_castsi256_ps(scales[from]);
        panel.offsets[at] = _mm256_castsi256_ps(offsets[from]);
    }
}

/// Dense weights, rounded to bytes.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack_dense(weight: &Weight, row: impl Fn(usize) -> usize, panel: &mut Panel) {
    let cols = weight.cols();
    for (g, from) in (0..cols).step_by(DENSE_GROUP).enumerate() {
        let len = DENSE_GROUP.min(cols - from);
        let (mut levels, mut scales) = ([[0i8; DENSE_GROUP]; PANEL_ROWS], [0f32; PANEL_ROWS]);
        for (j, (levels, row_scale)) in levels.iter_mut().zip(&mut scales).enumerate() {
            let mut values = [0f32; DENSE_GROUP];
            weight.dequantize_part(Isa::Avx2, row(j), from, &mut values[..len]);
            let (scale, inverse) = scale_of(&values);
            for (level, v) in levels.iter_mut().zip(&values) {
                *level = nearest(v * inverse) as i8;
            }
            *row_scale = scale;
        }
        // SAFETY: eight floats.
        panel.scales[g] = unsafe { _mm256_loadu_ps(scales.as_ptr()) };
        let to = &mut panel.levels[g * (DENSE_GROUP / 4)..][..DENSE_GROUP / 4];
        for (part, to) in to.chunks_exact_mut(8).enumerate() {
            let mut quads = [_mm256_setzero_si256(); 8];
            for (quad, levels) in quads.iter_mut().zip(&levels) {
                // SAFETY: 32 bytes of the row from `32 * part` on.
                *quad = unsafe { _mm256_loadu_si256(levels.as_ptr().add(32 * part).cast()) };
            }
            transpose(&mut quads);
            to.copy_from_slice(&quads);
        }
    }
}

/// Eight registers of eight words, rows for columns.
#[target_feature(enable = "avx2")]
fn transpose(rows: &mut [__m256i; 8]) {
    let mut pairs = *rows;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    // `fours[4 * i + j]` has in half `h` column `4 * h + j` of rows `4 * i..4 * i + 4`.
    let mut fours = pairs;
    for i in 0..2 {
        let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
        fours[4 * i] = _mm256_unpacklo_epi64(a, c);
        fours[4 * i + 1] = _mm256_unpackhi_epi64(a, c);
        fours[4 * i + 2] = _mm256_unpacklo_epi64(b, d);
        fours[4 * i + 3] = _mm256_unpackhi_epi64(b, d);
    }
    for j in 0..4 {
        rows[j] = _mm256_permute2x128_si256::<0x20>(fours[j], fours[4 + j]);
        rows[4 + j] = _mm256_permute2x128_si256::<0x31>(fours[j], fours[4 + j]);
    }
}
