//! AVX2: 32 weights a register, `vpmaddubsw`, in two halves of eight lanes.

use super::activations::Activations;
use super::formats::*;
use super::{MAX_TAIL_BYTES, scalar, weights_at};
use std::arch::x86_64::*;

/// Half of [`scalar::Weights`].
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub(super) levels: [__m256i; 4],
    pub(super) scales: __m256,
    pub(super) offsets: __m256,
}

/// [`scalar::Unpack`] in registers.
pub(super) trait Unpack: scalar::Unpack {
    /// Whether levels are signed (and offsets less by as much): those of eight bits, two products
    /// of which overflow 16 bits if they are not. The others have six bits at most, so that even
    /// four products fit.
    const SIGNED: bool = false;

    /// Blocks 4 `HALF` to 4 `HALF` + 3.
    ///
    /// # Safety
    /// Needs AVX2, FMA and F16C, and `Self::BYTES` bytes to read.
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights;
}

/// # Safety
/// Needs AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn row_dots<F: Format, const M: usize>(row: &[u8], x: &[Activations], y: &mut [f32]) {
    let mut tail = [0; MAX_TAIL_BYTES];
    let mut lanes = [_mm256_setzero_ps(); M];
    for (b, x) in x.as_chunks::<M>().0.iter().enumerate() {
        let bytes = weights_at::<F>(row, b, &mut tail).as_ptr();
        // SAFETY: there are `F::BYTES` bytes.
        unsafe {
            add_half::<F, 0, M>(<F as Unpack>::unpack::<0>(bytes), x, &mut lanes);
            add_half::<F, 1, M>(<F as Unpack>::unpack::<1>(bytes), x, &mut lanes);
        }
    }
    for (y, lanes) in y.iter_mut().zip(lanes) {
        let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        *y = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_half<F: Format, const HALF: usize, const M: usize>(
    w: Weights,
    x: &[Activations; M],
    lanes: &mut [__m256; M],
) {
    for (x, lanes) in x.iter().zip(lanes) {
        // SAFETY: activations are aligned, and both halves of all four registers are in them.
        let level = |k: usize| unsafe { _mm256_load_si256(x.levels.as_ptr().add(64 * k + 32 * HALF).cast()) };
        // SAFETY: as above.
        let half = |lanes: &[f32; 16]| unsafe { _mm256_load_ps(lanes.as_ptr().add(8 * HALF)) };
        let ones = _mm256_set1_epi16(1);
        let dots = if F::SIGNED {
            let [a, b, c, d] = std::array::from_fn(|k| {
                let (magnitude, signed) =
                    (_mm256_abs_epi8(w.levels[k]), _mm256_sign_epi8(level(k), w.levels[k]));
                _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed), ones)
            });
            _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d))
        } else {
            let [a, b, c, d] = std::array::from_fn(|k| _mm256_maddubs_epi16(w.levels[k], level(k)));
            let first = _mm256_madd_epi16(_mm256_add_epi16(a, b), ones);
            _mm256_add_epi32(first, _mm256_madd_epi16(_mm256_add_epi16(c, d), ones))
        };
        let offsets = _mm256_mul_ps(half(&x.sums), w.offsets);
        let sums = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), w.scales, offsets);
        *lanes = _mm256_fmadd_ps(sums, half(&x.scales), *lanes);
    }
}

/// Four blocks of 32 levels, transposed so that a group is in one lane.
#[inline]
#[target_feature(enable = "avx2")]
fn to_lanes([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The half floats at the beginning of four blocks `stride` bytes apart, by lane.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn halves(bytes: *const u8, stride: usize) -> __m256 {
    // SAFETY: the caller's.
    let half = |b: usize| unsafe { bytes.add(b * stride).cast::<i16>().read_unaligned() };
    let halves = _mm_cvtph_ps(_mm_set_epi16(0, 0, 0, 0, half(3), half(2), half(1), half(0)));
    _mm256_set_m128(halves, halves)
}

/// The low four bits of each byte, then the high four.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn nibbles(bytes: *const u8) -> __m256i {
    // SAFETY: the caller's.
    let both = unsafe { _mm_loadu_si128(bytes.cast()) };
    _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(both), both), _mm256_set1_epi8(15))
}

/// Each of the 32 bits at `bytes` as the fifth bit of a byte.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn fifths(bytes: *const u8) -> __m256i {
    // SAFETY: the caller's.
    let bits = _mm256_set1_epi32(unsafe { bytes.cast::<i32>().read_unaligned() });
    let (one, two) = (0x0101_0101_0101_0101, 0x0202_0202_0202_0202);
    let bits = _mm256_shuffle_epi8(bits, _mm256_set_epi64x(one + two, two, one, 0));
    let test = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, test), test);
    _mm256_and_si256(set, _mm256_set1_epi8(16))
}

impl Unpack for Q4_0 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let scales = unsafe { halves(bytes.add(4 * HALF * 18), 18) };
        // SAFETY: as above.
        let block = |b: usize| unsafe { nibbles(bytes.add((4 * HALF + b) * 18 + 2)) };
        let levels = to_lanes(std::array::from_fn(block));
        Weights { levels, scales, offsets: _mm256_mul_ps(scales, _mm256_set1_ps(-8.0)) }
    }
}

impl Unpack for Q4_1 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let (scales, offsets) =
            unsafe { (halves(bytes.add(4 * HALF * 20), 20), halves(bytes.add(4 * HALF * 20 + 2), 20)) };
        // SAFETY: as above.
        let block = |b: usize| unsafe { nibbles(bytes.add((4 * HALF + b) * 20 + 4)) };
        Weights { levels: to_lanes(std::array::from_fn(block)), scales, offsets }
    }
}

impl Unpack for Q5_0 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let scales = unsafe { halves(bytes.add(4 * HALF * 22), 22) };
        let levels = to_lanes(std::array::from_fn(|b| {
            let at = (4 * HALF + b) * 22;
            // SAFETY: as above.
            unsafe { _mm256_or_si256(nibbles(bytes.add(at + 6)), fifths(bytes.add(at + 2))) }
        }));
        Weights { levels, scales, offsets: _mm256_mul_ps(scales, _mm256_set1_ps(-16.0)) }
    }
}

impl Unpack for Q5_1 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let (scales, offsets) =
            unsafe { (halves(bytes.add(4 * HALF * 24), 24), halves(bytes.add(4 * HALF * 24 + 2), 24)) };
        let levels = to_lanes(std::array::from_fn(|b| {
            let at = (4 * HALF + b) * 24;
            // SAFETY: as above.
            unsafe { _mm256_or_si256(nibbles(bytes.add(at + 8)), fifths(bytes.add(at + 4))) }
        }));
        Weights { levels, scales, offsets }
    }
}

impl Unpack for Q8_0 {
    const SIGNED: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let scales = unsafe { halves(bytes.add(4 * HALF * 34), 34) };
        // SAFETY: as above.
        let block = |b: usize| unsafe { _mm256_loadu_si256(bytes.add((4 * HALF + b) * 34 + 2).cast()) };
        Weights { levels: to_lanes(std::array::from_fn(block)), scales, offsets: _mm256_setzero_ps() }
    }
}

/// The scales and minima with which blocks of Q4_K and Q5_K begin, by lane.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scales_k<const HALF: usize>(bytes: *const u8) -> (__m256, __m256) {
    // SAFETY: the caller's.
    let (both, packed) = unsafe { (bytes.cast::<i32>().read_unaligned(), &*bytes.add(4).cast()) };
    let factors = _mm_cvtph_ps(_mm_cvtsi32_si128(both));
    let (scales, minima) = scales_and_minima(packed);
    let lanes = |four: u32| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_set1_epi32(four as i32)));
    let scale = _mm256_broadcastss_ps(factors);
    let min = _mm256_broadcastss_ps(_mm_movehdup_ps(factors));
    (
        _mm256_mul_ps(lanes(scales[HALF]), scale),
        _mm256_mul_ps(lanes(minima[HALF]), _mm256_sub_ps(_mm256_setzero_ps(), min)),
    )
}

/// Four bits a weight of four blocks, from 64 bytes, each 32 of which are the low bits of two.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn paired_nibbles(bytes: *const u8) -> [__m256i; 4] {
    // SAFETY: the caller's.
    let pair = |p: usize| unsafe { _mm256_loadu_si256(bytes.add(32 * p).cast()) };
    let four = |v| _mm256_and_si256(v, _mm256_set1_epi8(15));
    let (first, second) = (pair(0), pair(1));
    [four(first), four(_mm256_srli_epi16::<4>(first)), four(second), four(_mm256_srli_epi16::<4>(second))]
}

impl Unpack for Q4K {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let ((scales, offsets), blocks) =
            unsafe { (scales_k::<HALF>(bytes), paired_nibbles(bytes.add(16 + 64 * HALF))) };
        Weights { levels: to_lanes(blocks), scales, offsets }
    }
}

impl Unpack for Q5K {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let (scales, offsets) = unsafe { scales_k::<HALF>(bytes) };
        // SAFETY: as above.
        let ([a, b, c, d], high) =
            unsafe { (paired_nibbles(bytes.add(48 + 64 * HALF)), _mm256_loadu_si256(bytes.add(16).cast())) };
        // Bit `i` of a byte is block `i`'s.
        let high = if HALF == 0 { high } else { _mm256_srli_epi16::<4>(high) };
        let with = |low, bits| _mm256_or_si256(low, _mm256_and_si256(bits, _mm256_set1_epi8(16)));
        let blocks = [
            with(a, _mm256_slli_epi16::<4>(high)),
            with(b, _mm256_slli_epi16::<3>(high)),
            with(c, _mm256_slli_epi16::<2>(high)),
            with(d, _mm256_slli_epi16::<1>(high)),
        ];
        Weights { levels: to_lanes(blocks), scales, offsets }
    }
}

impl Unpack for Q6K {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<const HALF: usize>(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let load = |at: usize| unsafe { _mm256_loadu_si256(bytes.add(at).cast()) };
        let (first, second, high) = (load(64 * HALF), load(64 * HALF + 32), load(128 + 32 * HALF));
        let six = |low, bits| {
            let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
            _mm256_or_si256(low, _mm256_and_si256(bits, _mm256_set1_epi8(0x30)))
        };
        let blocks = [
            six(first, _mm256_slli_epi16::<4>(high)),
            six(second, _mm256_slli_epi16::<2>(high)),
            six(_mm256_srli_epi16::<4>(first), high),
            six(_mm256_srli_epi16::<4>(second), _mm256_srli_epi16::<2>(high)),
        ];
        // SAFETY: as above.
        let (groups, factor) = unsafe {
            (_mm_loadl_epi64(bytes.add(192 + 8 * HALF).cast()), bytes.add(208).cast::<u16>().read_unaligned())
        };
        // Groups by block and part to groups by lane.
        let order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, -1, -1, -1, -1, -1, -1, -1, -1);
        let groups = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_shuffle_epi8(groups, order)));
        let factor = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(factor as i32)));
        let scales = _mm256_mul_ps(groups, factor);
        Weights { levels: to_lanes(blocks), scales, offsets: _mm256_mul_ps(scales, _mm256_set1_ps(-32.0)) }
    }
}
