//! AVX2: eight of the rows are the lanes of a register, four bytes of each; the other eight of the next.

use super::super::avx2::{PANEL_ROWS, Source, TILE_ROWS, add_groups, begin, store, sums, tile};
use super::super::{PANELS, PanelColumns, activations::Activations};
use super::LANES;
use crate::dots::formats::*;
use crate::gemm::Rows;
use crate::{BlockType, Weight};
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// How far ahead weights are asked for, at least: blocks of 256 are further apart, and their fields too far for
/// the machine to foresee (Q6_K is read at 11 GB/s without, 28 with).
const AHEAD_BYTES: usize = 512;
/// The same where a whole tile of rows is multiplied in between, and memory has the time.
const FAR_AHEAD_BYTES: usize = 2048;

/// Sixteen rows of blocks, as registers take them: two panels.
trait Blocks {
    /// Bytes of one row's block.
    const BYTES: usize;
    /// Groups that share a scale, of a block.
    const GROUPS: usize;
    /// See [`Source`].
    const QUADS: usize;
    /// See [`sums`].
    const SUMS: usize;
    /// What the scales of a block are made of, of both panels.
    type Scales: Copy;

    /// # Safety
    /// Needs AVX2 and F16C; sixteen rows of a block are at `block`.
    unsafe fn scales(block: *const u8) -> Self::Scales;

    /// What a level of group `g` is worth, and what all are more by, in panel `p`.
    ///
    /// # Safety
    /// As above; the group is in the block.
    unsafe fn scale(scales: &Self::Scales, p: usize, g: usize) -> (__m256, __m256);

    /// Quad `q` of group `g` of panel `p`.
    ///
    /// # Safety
    /// As above.
    unsafe fn quad(block: *const u8, p: usize, g: usize, q: usize) -> __m256i;
}

/// See [`super::super::Tiles::columns`]; `columns` begin with a multiple of [`LANES`].
///
/// # Safety
/// As for [`super::super::avx2::columns`]; the weight is interleaved.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn columns<const VNNI: bool>(
    x: &Activations,
    weight: &Weight,
    bias: Option<&[f32]>,
    columns: (usize, usize),
    y: Rows<*mut f32>,
) {
    // SAFETY: the caller's.
    unsafe {
        match weight.block_type() {
            BlockType::Q4_0 => columns_of::<Q4_0, VNNI>(x, weight, bias, columns, y),
            BlockType::Q4_1 => columns_of::<Q4_1, VNNI>(x, weight, bias, columns, y),
            BlockType::Q5_0 => columns_of::<Q5_0, VNNI>(x, weight, bias, columns, y),
            BlockType::Q5_1 => columns_of::<Q5_1, VNNI>(x, weight, bias, columns, y),
            BlockType::Q8_0 => columns_of::<Q8_0, VNNI>(x, weight, bias, columns, y),
            BlockType::Q4K => columns_of::<Q4K, VNNI>(x, weight, bias, columns, y),
            BlockType::Q5K => columns_of::<Q5K, VNNI>(x, weight, bias, columns, y),
            BlockType::Q6K => columns_of::<Q6K, VNNI>(x, weight, bias, columns, y),
            other => unreachable!("{other:?} is never interleaved"),
        }
    }
}

/// A tile of rows or two straight from the weight; more from spans of it, unpacked once for all of them.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns_of<F: Blocks, const VNNI: bool>(
    x: &Activations,
    weight: &Weight,
    bias: Option<&[f32]>,
    (from, to): (usize, usize),
    y: Rows<*mut f32>,
) {
    let places = (from..to).step_by(LANES).map(|first| Place {
        columns: PanelColumns::new(bias, first, to),
        weights: Interleaved::<F, VNNI>::new(weight, first),
        y: y.offset(first),
    });
    let m = x.rows();
    if m > rows_at_once::<F>() {
        // SAFETY: the caller's.
        return unsafe { by_spans(x, places) };
    }
    for Place { columns, weights, y } in places {
        let mut row = 0;
        while row < m {
            // SAFETY: as above; no arm takes more rows than are left.
            row += unsafe {
                match m - row {
                    1 => tile::<_, 1, PANELS>(x, row, weights, &columns, y),
                    2 => tile::<_, 2, PANELS>(x, row, weights, &columns, y),
                    3 => tile::<_, 3, PANELS>(x, row, weights, &columns, y),
                    _ => tile::<_, TILE_ROWS, PANELS>(x, row, weights, &columns, y),
                }
            };
        }
    }
}

/// Rows of activations up to which weights are unpacked for each tile anew: two, where that takes an instruction or two.
const fn rows_at_once<F: Blocks>() -> usize {
    match F::SUMS {
        sums::FOUR_BITS | sums::SIGNED => 2 * TILE_ROWS,
        _ => TILE_ROWS,
    }
}

/// Sixteen rows of a weight, and the columns of `y` that they are for.
struct Place<F: Blocks, const VNNI: bool> {
    columns: PanelColumns<PANEL_ROWS>,
    weights: Interleaved<F, VNNI>,
    y: Rows<*mut f32>,
}

/// Rows of activations that meet a span: their levels are to fit the first-level cache beside it.
const SPAN_ROWS: usize = 32;

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_spans<F: Blocks, const VNNI: bool>(
    x: &Activations,
    places: impl Iterator<Item = Place<F, VNNI>> + Clone,
) {
    let mut span = Span::<F, VNNI>::new();
    let mut room = [[_mm256_setzero_ps(); PANELS]; SPAN_ROWS];
    let blocks = x.groups / F::GROUPS;
    for row in (0..x.rows()).step_by(SPAN_ROWS) {
        let sums = &mut room[..SPAN_ROWS.min(x.rows() - row)];
        for Place { columns, mut weights, y } in places.clone() {
            sums.fill(begin(&columns));
            for b in (0..blocks).step_by(Span::<F, VNNI>::BLOCKS) {
                let n = Span::<F, VNNI>::BLOCKS.min(blocks - b);
                // SAFETY: the caller's; these are blocks of the weight and of the rows.
                unsafe {
                    span.unpack(&mut weights, b, n);
                    span.add_to(sums, x, row, (b * F::GROUPS, n * F::GROUPS));
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe { store(sums, &columns, y, row + r) };
            }
        }
    }
}

/// Columns of a [`Span`]: its levels take 4 KB.
const SPAN: usize = 256;

/// A stretch of two panels, unpacked. It stays in the first-level cache while all rows of activations meet it, and
/// memory has that time to bring the next.
struct Span<F: Blocks, const VNNI: bool> {
    levels: [[__m256i; PANELS]; SPAN / 4],
    /// With room for groups of 16.
    scales: [[__m256; PANELS]; SPAN / 16],
    offsets: [[__m256; PANELS]; SPAN / 16],
    format: PhantomData<F>,
}

impl<F: Blocks, const VNNI: bool> Span<F, VNNI> {
    const BLOCKS: usize = SPAN / (4 * F::QUADS * F::GROUPS);

    #[inline]
    #[target_feature(enable = "avx2")]
    fn new() -> Span<F, VNNI> {
        let (levels, scales) = ([_mm256_setzero_si256(); PANELS], [_mm256_setzero_ps(); PANELS]);
        let (levels, scales) = ([levels; SPAN / 4], [scales; SPAN / 16]);
        Span { levels, scales, offsets: scales, format: PhantomData }
    }

    /// Takes `n` blocks from `from` on.
    ///
    /// # Safety
    /// Needs AVX2, FMA and F16C; the weights have these blocks.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(&mut self, weights: &mut Interleaved<F, VNNI>, from: usize, n: usize) {
        let levels = self.levels.chunks_exact_mut(F::QUADS);
        let scales = self.scales.iter_mut().zip(&mut self.offsets);
        for (at, (levels, (scales, offsets))) in levels.zip(scales).take(n * F::GROUPS).enumerate() {
            let (b, g) = (at / F::GROUPS, at % F::GROUPS);
            // SAFETY: the caller's.
            unsafe {
                if g == 0 {
                    weights.enter(from + b);
                }
                weights.ask_ahead(g, TILE_ROWS);
                for p in 0..PANELS {
                    (scales[p], offsets[p]) = weights.scale(p, g);
                }
                for (q, levels) in levels.iter_mut().enumerate() {
                    for (p, level) in levels.iter_mut().enumerate() {
                        *level = weights.quad(p, g, q);
                    }
                }
            }
        }
    }

    /// Adds its products with the rows from `row` on, to one of `sums` each; its `n_groups` groups are theirs from `from` on.
    ///
    /// # Safety
    /// Needs AVX2, FMA and F16C, and AVX-VNNI if `VNNI`; `x` has these rows and groups, and they were unpacked.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_to(
        &self,
        sums: &mut [[__m256; PANELS]],
        x: &Activations,
        row: usize,
        (from, n_groups): (usize, usize),
    ) {
        let (tiles, rest) = sums.as_chunks_mut::<TILE_ROWS>();
        let last = row + TILE_ROWS * tiles.len();
        // SAFETY: the caller's.
        unsafe {
            for (n, tile) in tiles.iter_mut().enumerate() {
                add_groups(x, row + n * TILE_ROWS, from, n_groups, self, tile);
            }
            if let Some(tile) = rest.first_chunk_mut::<3>() {
                add_groups(x, last, from, n_groups, self, tile);
            } else if let Some(tile) = rest.first_chunk_mut::<2>() {
                add_groups(x, last, from, n_groups, self, tile);
            } else if let Some(tile) = rest.first_chunk_mut::<1>() {
                add_groups(x, last, from, n_groups, self, tile);
            }
        }
    }
}

impl<F: Blocks, const VNNI: bool> Source<PANELS> for &Span<F, VNNI> {
    const QUADS: usize = F::QUADS;
    const SUMS: usize = F::SUMS;
    const VNNI: bool = VNNI;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scale(&self, p: usize, g: usize) -> (__m256, __m256) {
        // SAFETY: the caller's.
        unsafe { (self.scales.get_unchecked(g)[p], self.offsets.get_unchecked(g)[p]) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quad(&self, p: usize, g: usize, q: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { self.levels.get_unchecked(g * F::QUADS + q)[p] }
    }
}

/// Two panels of a weight.
struct Interleaved<F: Blocks, const VNNI: bool> {
    blocks: *const u8,
    block: *const u8,
    scales: MaybeUninit<F::Scales>,
}

impl<F: Blocks, const VNNI: bool> Clone for Interleaved<F, VNNI> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Blocks, const VNNI: bool> Copy for Interleaved<F, VNNI> {}

impl<F: Blocks, const VNNI: bool> Interleaved<F, VNNI> {
    /// The sixteen rows that `row` is one of.
    #[inline(always)]
    fn new(weight: &Weight, row: usize) -> Interleaved<F, VNNI> {
        let len = weight.cols() / weight.block_type().block_len() * LANES * F::BYTES;
        let blocks = weight.bytes()[row / LANES * len..][..len].as_ptr();
        Interleaved { blocks, block: blocks, scales: MaybeUninit::uninit() }
    }
}

impl<F: Blocks, const VNNI: bool> Source<PANELS> for Interleaved<F, VNNI> {
    const QUADS: usize = F::QUADS;
    const SUMS: usize = F::SUMS;
    const VNNI: bool = VNNI;

    #[inline(always)]
    fn block_groups(_: usize) -> usize {
        F::GROUPS
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn enter(&mut self, b: usize) {
        // SAFETY: the caller's.
        unsafe {
            self.block = self.blocks.add(b * LANES * F::BYTES);
            self.scales.write(F::scales(self.block));
        }
    }

    #[inline(always)]
    fn ask_ahead(&self, g: usize, rows: usize) {
        let ahead = if rows < TILE_ROWS { AHEAD_BYTES } else { FAR_AHEAD_BYTES };
        let share = LANES * F::BYTES / F::GROUPS;
        for line in (share * g..share * (g + 1)).step_by(64) {
            let next = self.block.wrapping_add(ahead.max(LANES * F::BYTES) + line);
            // SAFETY: every x86-64 machine has it, and it reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(next.cast()) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scale(&self, p: usize, g: usize) -> (__m256, __m256) {
        // SAFETY: the caller's; a block was entered.
        unsafe { F::scale(self.scales.assume_init_ref(), p, g) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn quad(&self, p: usize, g: usize, q: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { F::quad(self.block, p, g, q) }
    }
}

/// The register of panel `p` among the `n`-th sixteen times four bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(bytes: *const u8, p: usize, n: usize) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_loadu_si256(bytes.cast::<__m256i>().add(PANELS * n + p)) }
}

/// Half floats of both panels.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn halves(bytes: *const u8) -> [__m256; PANELS] {
    let bytes = bytes.cast::<__m128i>();
    // SAFETY: the caller's.
    unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(bytes)), _mm256_cvtph_ps(_mm_loadu_si128(bytes.add(1)))] }
}

/// Bits `n` to `n + 3` of each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(v: __m256i, n: usize) -> __m256i {
    _mm256_and_si256(_mm256_srlv_epi32(v, _mm256_set1_epi32(n as i32)), _mm256_set1_epi8(15))
}

/// Bit `n` of each byte as its fifth.
#[inline]
#[target_feature(enable = "avx2")]
fn fifths(v: __m256i, n: usize) -> __m256i {
    let bits = _mm256_slli_epi32::<4>(_mm256_srlv_epi32(v, _mm256_set1_epi32(n as i32)));
    _mm256_and_si256(bits, _mm256_set1_epi8(16))
}

/// Blocks of 32: scales and offsets of both panels, and a quad.
macro_rules! blocks_of_32 {
    ($format:ty, $bytes:literal, $sums:ident, |$block:ident| $scales:expr, |$at:ident, $p:ident, $q:ident| $quad:expr) => {
        impl Blocks for $format {
            const BYTES: usize = $bytes;
            const GROUPS: usize = 1;
            const QUADS: usize = 8;
            const SUMS: usize = sums::$sums;
            type Scales = ([__m256; PANELS], [__m256; PANELS]);

            #[inline]
            #[target_feature(enable = "avx2,f16c")]
            unsafe fn scales($block: *const u8) -> Self::Scales {
                // SAFETY: the caller's.
                unsafe { $scales }
            }

            #[inline(always)]
            unsafe fn scale((scales, offsets): &Self::Scales, p: usize, _: usize) -> (__m256, __m256) {
                (scales[p], offsets[p])
            }

            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn quad($at: *const u8, $p: usize, _: usize, $q: usize) -> __m256i {
                // SAFETY: the caller's.
                unsafe { $quad }
            }
        }
    };
}

/// Scales; levels are less by `n`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn centred(block: *const u8, n: f32) -> ([__m256; PANELS], [__m256; PANELS]) {
    // SAFETY: the caller's.
    let scales = unsafe { halves(block) };
    let n = _mm256_set1_ps(-n);
    (scales, [_mm256_mul_ps(scales[0], n), _mm256_mul_ps(scales[1], n)])
}

blocks_of_32!(Q4_0, 18, FOUR_BITS, |block| centred(block, 8.0), |block, p, q| {
    nibbles(load(block.add(2 * LANES), p, q % 4), q / 4 * 4)
});
blocks_of_32!(Q4_1, 20, FOUR_BITS, |block| (halves(block), halves(block.add(2 * LANES))), |block, p, q| {
    nibbles(load(block.add(4 * LANES), p, q % 4), q / 4 * 4)
});
blocks_of_32!(Q5_0, 22, FIVE_BITS, |block| centred(block, 16.0), |block, p, q| {
    let high = fifths(load(block.add(2 * LANES), p, 0), q);
    _mm256_or_si256(nibbles(load(block.add(6 * LANES), p, q % 4), q / 4 * 4), high)
});
blocks_of_32!(Q5_1, 24, FIVE_BITS, |block| (halves(block), halves(block.add(2 * LANES))), |block, p, q| {
    let high = fifths(load(block.add(4 * LANES), p, 0), q);
    _mm256_or_si256(nibbles(load(block.add(8 * LANES), p, q % 4), q / 4 * 4), high)
});
blocks_of_32!(Q8_0, 34, SIGNED, |block| (halves(block), [_mm256_setzero_ps(); PANELS]), |block, p, q| {
    load(block.add(2 * LANES), p, q)
});

/// The scales of blocks of 256 and of their minima, and a byte of each group and row.
#[derive(Clone, Copy)]
struct ScalesK {
    scale: [__m256; PANELS],
    less: [__m256; PANELS],
    /// Of groups 0 to 3 and 4 to 7.
    scales: [__m256i; 4],
    minima: [__m256i; 4],
}

/// As [`scales_and_minima`], for sixteen rows.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scales_k(block: *const u8) -> ScalesK {
    // SAFETY: the caller's.
    let (scale, min, packed) = unsafe { (halves(block), halves(block.add(2 * LANES)), block.add(4 * LANES)) };
    let zero = _mm256_setzero_si256();
    let (mut scales, mut minima) = ([zero; 4], [zero; 4]);
    for half in 0..2 {
        // SAFETY: as above.
        let (s, m, last) = unsafe { (load(packed, half, 0), load(packed, half, 1), load(packed, half, 2)) };
        let high = |v| _mm256_and_si256(_mm256_srli_epi32::<2>(v), _mm256_set1_epi8(0x30));
        scales[half] = _mm256_and_si256(s, _mm256_set1_epi8(0x3f));
        scales[2 + half] = _mm256_or_si256(nibbles(last, 0), high(s));
        minima[half] = _mm256_and_si256(m, _mm256_set1_epi8(0x3f));
        minima[2 + half] = _mm256_or_si256(nibbles(last, 4), high(m));
    }
    let less = [_mm256_sub_ps(_mm256_setzero_ps(), min[0]), _mm256_sub_ps(_mm256_setzero_ps(), min[1])];
    ScalesK { scale, less, scales, minima }
}

/// The bytes of group `g` and panel `p`.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes_of<const N: usize>(bytes: &[__m256i; N], p: usize, g: usize) -> __m128i {
    debug_assert!((PANELS * g + p + 1) * PANEL_ROWS <= 32 * N);
    // SAFETY: they are in the registers.
    unsafe { _mm_loadl_epi64(bytes.as_ptr().cast::<u8>().add((PANELS * g + p) * PANEL_ROWS).cast()) }
}

/// Blocks of 256 in groups of 32.
macro_rules! blocks_k {
    ($format:ty, $bytes:literal, $sums:ident, |$block:ident, $p:ident, $g:ident, $q:ident| $quad:expr) => {
        impl Blocks for $format {
            const BYTES: usize = $bytes;
            const GROUPS: usize = 8;
            const QUADS: usize = 8;
            const SUMS: usize = sums::$sums;
            type Scales = ScalesK;

            #[inline]
            #[target_feature(enable = "avx2,f16c")]
            unsafe fn scales(block: *const u8) -> ScalesK {
                // SAFETY: the caller's.
                unsafe { scales_k(block) }
            }

            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn scale(k: &ScalesK, p: usize, g: usize) -> (__m256, __m256) {
                let float = |bytes| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
                let (scale, min) = (float(bytes_of(&k.scales, p, g)), float(bytes_of(&k.minima, p, g)));
                (_mm256_mul_ps(scale, k.scale[p]), _mm256_mul_ps(min, k.less[p]))
            }

            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn quad($block: *const u8, $p: usize, $g: usize, $q: usize) -> __m256i {
                // SAFETY: the caller's.
                unsafe { $quad }
            }
        }
    };
}

blocks_k!(Q4K, 144, FOUR_BITS, |block, p, g, q| {
    nibbles(load(block.add(16 * LANES), p, 8 * (g / 2) + q), 4 * (g % 2))
});
blocks_k!(Q5K, 176, FIVE_BITS, |block, p, g, q| {
    let high = fifths(load(block.add(16 * LANES), p, q), g);
    _mm256_or_si256(nibbles(load(block.add(48 * LANES), p, 8 * (g / 2) + q), 4 * (g % 2)), high)
});

/// The scales of blocks of 256, and a signed byte of each group of 16 and row.
#[derive(Clone, Copy)]
struct Scales6K {
    scale: [__m256; PANELS],
    bytes: [__m256i; 8],
}

impl Blocks for Q6K {
    const BYTES: usize = 210;
    const GROUPS: usize = 16;
    const QUADS: usize = 4;
    const SUMS: usize = sums::SIX_BITS;
    type Scales = Scales6K;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(block: *const u8) -> Scales6K {
        let mut bytes = [_mm256_setzero_si256(); 8];
        for (n, bytes) in bytes.iter_mut().enumerate() {
            // SAFETY: the caller's.
            *bytes = unsafe { load(block.add(192 * LANES), n % 2, n / 2) };
        }
        // SAFETY: as above.
        Scales6K { scale: unsafe { halves(block.add(208 * LANES)) }, bytes }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scale(k: &Scales6K, p: usize, g: usize) -> (__m256, __m256) {
        let byte = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes_of(&k.bytes, p, g)));
        let scale = _mm256_mul_ps(byte, k.scale[p]);
        (scale, _mm256_mul_ps(scale, _mm256_set1_ps(-32.0)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quad(block: *const u8, p: usize, g: usize, q: usize) -> __m256i {
        // Halves of 128, quarters of 32 in them, two groups in each.
        let (half, quarter, part) = (g / 8, g / 2 % 4, g % 2);
        // SAFETY: the caller's.
        let (low, high) = unsafe {
            (
                load(block, p, 16 * half + 8 * (quarter % 2) + 4 * part + q),
                load(block.add(128 * LANES), p, 8 * half + 4 * part + q),
            )
        };
        let high = _mm256_srlv_epi32(high, _mm256_set1_epi32(2 * quarter as i32));
        let high = _mm256_slli_epi32::<4>(_mm256_and_si256(high, _mm256_set1_epi8(3)));
        _mm256_or_si256(nibbles(low, quarter / 2 * 4), high)
    }
}
