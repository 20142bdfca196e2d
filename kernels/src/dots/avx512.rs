//! AVX-512 with VNNI: 64 weights a register, `vpdpbusd`.

use super::activations::Activations;
use super::formats::*;
use super::{LANES, MAX_TAIL_BYTES, scalar, weights_at};
use std::arch::x86_64::*;

/// As [`scalar::Weights`].
pub(super) struct Weights {
    pub(super) levels: [__m512i; 4],
    pub(super) scales: __m512,
    pub(super) offsets: __m512,
}

/// [`scalar::Unpack`] in registers.
pub(super) trait Unpack: scalar::Unpack {
    /// # Safety
    /// Needs AVX-512 F, BW and F16C, and `Self::BYTES` bytes to read.
    unsafe fn unpack(bytes: *const u8) -> Weights;
}

/// # Safety
/// Needs AVX-512 F, BW, VNNI and F16C.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn row_dots<F: Format, const M: usize>(row: &[u8], x: &[Activations], y: &mut [f32]) {
    let mut tail = [0; MAX_TAIL_BYTES];
    let mut lanes = [_mm512_setzero_ps(); M];
    for (b, x) in x.as_chunks::<M>().0.iter().enumerate() {
        // SAFETY: the slice has `F::BYTES` bytes; activations are aligned to 64 bytes.
        unsafe {
            let w = <F as Unpack>::unpack(weights_at::<F>(row, b, &mut tail).as_ptr());
            for (x, lanes) in x.iter().zip(&mut lanes) {
                let mut dots = _mm512_setzero_si512();
                for (k, levels) in w.levels.into_iter().enumerate() {
                    let x = _mm512_load_si512(x.levels.as_ptr().add(64 * k).cast());
                    dots = _mm512_dpbusd_epi32(dots, levels, x);
                }
                let offsets = _mm512_mul_ps(_mm512_load_ps(x.sums.as_ptr()), w.offsets);
                let sums = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), w.scales, offsets);
                *lanes = _mm512_fmadd_ps(sums, _mm512_load_ps(x.scales.as_ptr()), *lanes);
            }
        }
    }
    for (y, lanes) in y.iter_mut().zip(lanes) {
        *y = _mm512_reduce_add_ps(lanes);
    }
}

/// `block * b + part * p + constant` by lane, for the block `b` and the part `p` of [`super::lane`].
const fn by_lane(block: i32, part: i32, constant: i32) -> [i32; LANES] {
    let mut out = [0; LANES];
    let mut l = 0;
    while l < LANES {
        let (b, p) = (4 * (l / 8) + l % 4, l / 4 % 2);
        out[l] = block * b as i32 + part * p as i32 + constant;
        l += 1;
    }
    out
}

const PARITY_SHIFTS: [i32; LANES] = {
    let mut out = by_lane(1, 0, 0);
    let mut l = 0;
    while l < LANES {
        out[l] = 4 * (out[l] % 2);
        l += 1;
    }
    out
};

/// Of Q4_K and Q5_K: 32 bytes have the low bits of two blocks.
const PAIRED_WORDS: [i32; LANES] = {
    let (mut out, parts) = (by_lane(1, 0, 0), by_lane(0, 4, 0));
    let mut l = 0;
    while l < LANES {
        out[l] = 8 * (out[l] / 2) + parts[l];
        l += 1;
    }
    out
};

/// Of Q6_K, by half `h` and quarter `q` of a block: words and shifts of the low four bits, words
/// and rotations of the high two.
const Q6_WORDS: [[i32; LANES]; 4] = {
    let (blocks, parts) = (by_lane(1, 0, 0), by_lane(0, 4, 0));
    let mut out = [[0; LANES]; 4];
    let mut l = 0;
    while l < LANES {
        let (h, q) = (blocks[l] / 4, blocks[l] % 4);
        out[0][l] = 16 * h + 8 * (q % 2) + parts[l];
        out[1][l] = 4 * (q / 2);
        out[2][l] = 8 * h + parts[l];
        out[3][l] = (4 - 2 * q) & 31;
        l += 1;
    }
    out
};

#[inline]
#[target_feature(enable = "avx512f")]
fn vector(lanes: &[i32; LANES]) -> __m512i {
    // SAFETY: sixteen numbers are 64 bytes.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

/// Eight values by block to sixteen by lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn to_lanes(blocks: __m256i) -> __m512i {
    _mm512_permutexvar_epi32(vector(&const { by_lane(1, 0, 0) }), _mm512_castsi256_si512(blocks))
}

/// The half floats at the beginning of eight blocks `stride` bytes apart, by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
unsafe fn halves(bytes: *const u8, stride: usize) -> __m512 {
    // SAFETY: the caller's.
    let half = |b: usize| unsafe { bytes.add(b * stride).cast::<i16>().read_unaligned() };
    let halves = _mm_set_epi16(half(7), half(6), half(5), half(4), half(3), half(2), half(1), half(0));
    _mm512_castsi512_ps(to_lanes(_mm256_castps_si256(_mm256_cvtph_ps(halves))))
}

/// Four bits a weight, from the sixteen bytes of each of eight blocks `stride` bytes apart.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn low_fours(bytes: *const u8, stride: usize) -> [__m512i; 4] {
    // SAFETY: the caller's.
    let quarter = |b: usize| unsafe { _mm_loadu_si128(bytes.add(b * stride).cast()) };
    let four = |b: usize| {
        let all = _mm512_castsi128_si512(quarter(b));
        let all = _mm512_inserti32x4::<1>(all, quarter(b + 1));
        let all = _mm512_inserti32x4::<2>(all, quarter(b + 2));
        _mm512_inserti32x4::<3>(all, quarter(b + 3))
    };
    let (first, second) = (four(0), four(4));
    let shifts = vector(&const { by_lane(0, 4, 0) });
    std::array::from_fn(|k| {
        let words = _mm512_add_epi32(vector(&const { by_lane(4, 0, 0) }), _mm512_set1_epi32(k as i32));
        let both = _mm512_permutex2var_epi32(first, words, second);
        _mm512_and_si512(_mm512_srlv_epi32(both, shifts), _mm512_set1_epi8(15))
    })
}

/// Adds the fifth bit of each weight, from the four bytes of each of eight blocks `stride` apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
unsafe fn with_fifths(low: [__m512i; 4], bytes: *const u8, stride: usize) -> [__m512i; 4] {
    // SAFETY: the caller's.
    let word = |b: usize| unsafe { bytes.add(b * stride).cast::<i32>().read_unaligned() };
    let words = _mm256_set_epi32(word(7), word(6), word(5), word(4), word(3), word(2), word(1), word(0));
    let bits = to_lanes(words);
    // All four bytes of a lane look at the byte with the bits of its weights.
    let first = _mm512_set4_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
    let part = _mm512_and_si512(vector(&const { by_lane(0, 2, 0) }), _mm512_set1_epi32(2));
    let part = _mm512_or_si512(part, _mm512_slli_epi32::<8>(part));
    let part = _mm512_or_si512(part, _mm512_slli_epi32::<16>(part));
    let first = _mm512_or_si512(first, part);
    std::array::from_fn(|k| {
        let bytes = _mm512_or_si512(first, _mm512_set1_epi8((k / 2) as i8));
        let test = _mm512_set1_epi32(if k % 2 == 0 { 0x0804_0201 } else { 0x8040_2010_u32 as i32 });
        let set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, bytes), test);
        _mm512_mask_add_epi8(low[k], set, low[k], _mm512_set1_epi8(16))
    })
}

impl Unpack for Q4_0 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
    unsafe fn unpack(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let (scales, levels) = unsafe { (halves(bytes, 18), low_fours(bytes.add(2), 18)) };
        Weights { levels, scales, offsets: _mm512_mul_ps(scales, _mm512_set1_ps(-8.0)) }
    }
}

impl Unpack for Q4_1 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
    unsafe fn unpack(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        unsafe {
            let (scales, offsets) = (halves(bytes, 20), halves(bytes.add(2), 20));
            Weights { levels: low_fours(bytes.add(4), 20), scales, offsets }
        }
    }
}

impl Unpack for Q5_0 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
    unsafe fn unpack(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let (scales, low) = unsafe { (halves(bytes, 22), low_fours(bytes.add(6), 22)) };
        // SAFETY: as above.
        let levels = unsafe { with_fifths(low, bytes.add(2), 22) };
        Weights { levels, scales, offsets: _mm512_mul_ps(scales, _mm512_set1_ps(-16.0)) }
    }
}

impl Unpack for Q5_1 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
    unsafe fn unpack(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        unsafe {
            let (scales, offsets) = (halves(bytes, 24), halves(bytes.add(2), 24));
            let levels = with_fifths(low_fours(bytes.add(8), 24), bytes.add(4), 24);
            Weights { levels, scales, offsets }
        }
    }
}

impl Unpack for Q8_0 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
    unsafe fn unpack(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let scales = unsafe { halves(bytes, 34) };
        // SAFETY: as above.
        let block = |b: usize| unsafe { _mm256_loadu_si256(bytes.add(34 * b + 2).cast()) };
        let [a, b, c, d] = std::array::from_fn(|b| {
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(block(b)), block(b + 4));
            _mm512_xor_si512(both, _mm512_set1_epi8(-128))
        });
        // Transposes the words of each quarter of four registers.
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        let levels = [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
        Weights { levels, scales, offsets: _mm512_mul_ps(scales, _mm512_set1_ps(-128.0)) }
    }
}

/// The scales and minima with which blocks of Q4_K and Q5_K begin, by lane.
#[inline]
#[target_feature(enable = "avx512f,avx2,f16c")]
unsafe fn scales_k(bytes: *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's.
    let (both, packed) = unsafe { (bytes.cast::<i32>().read_unaligned(), &*bytes.add(4).cast()) };
    let factors = _mm_cvtph_ps(_mm_cvtsi32_si128(both));
    let (scales, minima) = scales_and_minima(packed);
    let lanes = |[low, high]: [u32; 2]| {
        let (low, high) = (low as i32, high as i32);
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_set_epi32(high, high, low, low)))
    };
    let scale = _mm512_broadcastss_ps(factors);
    let min = _mm512_broadcastss_ps(_mm_movehdup_ps(factors));
    (
        _mm512_mul_ps(lanes(scales), scale),
        _mm512_mul_ps(lanes(minima), _mm512_sub_ps(_mm512_setzero_ps(), min)),
    )
}

/// Four bits a weight from 128 bytes, each 32 of which are the low bits of two blocks.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn paired_fours(bytes: *const u8) -> [__m512i; 4] {
    // SAFETY: the caller's.
    let (first, second) =
        unsafe { (_mm512_loadu_si512(bytes.cast()), _mm512_loadu_si512(bytes.add(64).cast())) };
    let shifts = vector(&PARITY_SHIFTS);
    std::array::from_fn(|k| {
        let words = _mm512_add_epi32(vector(&PAIRED_WORDS), _mm512_set1_epi32(k as i32));
        let both = _mm512_permutex2var_epi32(first, words, second);
        _mm512_and_si512(_mm512_srlv_epi32(both, shifts), _mm512_set1_epi8(15))
    })
}

impl Unpack for Q4K {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
    unsafe fn unpack(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        unsafe {
            let (scales, offsets) = scales_k(bytes);
            Weights { levels: paired_fours(bytes.add(16)), scales, offsets }
        }
    }
}

impl Unpack for Q5K {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
    unsafe fn unpack(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let ((scales, offsets), low, high) = unsafe {
            (scales_k(bytes), paired_fours(bytes.add(48)), _mm256_loadu_si256(bytes.add(16).cast()))
        };
        // Bit `b` of a byte is block `b`'s: rotated to bit 4.
        let rotations = vector(&const { by_lane(-1, 0, 4) });
        let levels = std::array::from_fn(|k| {
            let words = _mm512_add_epi32(vector(&const { by_lane(0, 4, 0) }), _mm512_set1_epi32(k as i32));
            let bits = _mm512_permutexvar_epi32(words, _mm512_castsi256_si512(high));
            let bits = _mm512_rolv_epi32(bits, rotations);
            _mm512_or_si512(low[k], _mm512_and_si512(bits, _mm512_set1_epi8(16)))
        });
        Weights { levels, scales, offsets }
    }
}

impl Unpack for Q6K {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,f16c")]
    unsafe fn unpack(bytes: *const u8) -> Weights {
        // SAFETY: the caller's.
        let load = |at: usize| unsafe { _mm512_loadu_si512(bytes.add(at).cast()) };
        let (first, second, high) = (load(0), load(64), load(128));
        let [low_words, shifts, high_words, rotations] = Q6_WORDS.each_ref().map(|lanes| vector(lanes));
        let levels = std::array::from_fn(|k| {
            let k = _mm512_set1_epi32(k as i32);
            let low = _mm512_permutex2var_epi32(first, _mm512_add_epi32(low_words, k), second);
            let low = _mm512_and_si512(_mm512_srlv_epi32(low, shifts), _mm512_set1_epi8(15));
            let bits = _mm512_permutexvar_epi32(_mm512_add_epi32(high_words, k), high);
            let bits = _mm512_rolv_epi32(bits, rotations);
            _mm512_or_si512(low, _mm512_and_si512(bits, _mm512_set1_epi8(0x30)))
        });
        // SAFETY: as above.
        let (groups, factor) = unsafe {
            (_mm_loadu_si128(bytes.add(192).cast()), bytes.add(208).cast::<u16>().read_unaligned())
        };
        // Groups by block and part to groups by lane.
        let order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
        let groups = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_shuffle_epi8(groups, order)));
        let factor = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(factor as i32)));
        let scales = _mm512_mul_ps(groups, factor);
        Weights { levels, scales, offsets: _mm512_mul_ps(scales, _mm512_set1_ps(-32.0)) }
    }
}
