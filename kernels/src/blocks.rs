//! GGML's block formats. Layouts follow `ggml-common.h`; every dequantisation is exact.

use crate::dots::{nearest, scale_of};
use crate::isa::per_isa;
use crate::math::f16_at;

/// How the numbers of a weight row are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the file format's own
pub enum BlockType {
    F32,
    F16,
    BF16,
    /// Signed bytes; one scale a row is kept beside the bytes (CTranslate2).
    I8,
    /// Signed 16-bit; one scale for the row beside the bytes (CTranslate2).
    I16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    IQ4NL,
    IQ4XS,
}

use BlockType::*;

impl BlockType {
    /// From GGML's type number, as GGUF and whisper.cpp files store it.
    pub fn from_ggml(id: u32) -> Option<BlockType> {
        Some(match id {
            0 => F32,
            1 => F16,
            2 => Q4_0,
            3 => Q4_1,
            6 => Q5_0,
            7 => Q5_1,
            8 => Q8_0,
            10 => Q2K,
            11 => Q3K,
            12 => Q4K,
            13 => Q5K,
            14 => Q6K,
            20 => IQ4NL,
            23 => IQ4XS,
            30 => BF16,
            _ => return None,
        })
    }

    /// GGML's number of the type; `None` for those that only CTranslate2 has.
    pub fn to_ggml(self) -> Option<u32> {
        (0..=30).find(|id| BlockType::from_ggml(*id) == Some(self))
    }

    /// Weights a block.
    pub fn block_len(self) -> usize {
        match self {
            F32 | F16 | BF16 | I8 | I16 => 1,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | IQ4NL => 32,
            Q2K | Q3K | Q4K | Q5K | Q6K | IQ4XS => 256,
        }
    }

    /// Bytes a block.
    pub fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | BF16 | I16 => 2,
            I8 => 1,
            Q4_0 | IQ4NL => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q8_0 => 34,
            Q2K => 84,
            Q3K => 110,
            Q4K => 144,
            Q5K => 176,
            Q6K => 210,
            IQ4XS => 136,
        }
    }

    /// Bytes of `cols` weights, or `None` when they do not fill whole blocks (or overflow).
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl BlockType {
    /// Bytes of a row of `cols` weights once [`crate::Weight::to_q8_0`] has rounded it, where it does.
    pub fn q8_0_row_bytes(self, cols: usize) -> Option<usize> {
        matches!(self, F32 | F16 | BF16 | I8 | I16).then(|| Q8_0.row_bytes(cols))?
    }
}

per_isa! {
    /// Rounds whole blocks of 32 to bytes, the largest of each to 127.
    pub(crate) fn quantize_q8_0 = quantize_q8_0_inline(values: &[f32], out: &mut [u8])
}

#[inline(always)]
fn quantize_q8_0_inline<const FMA: bool>(values: &[f32], out: &mut [u8]) {
    for (values, out) in values.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<34>().0) {
        let (scale, inverse) = scale_of(values);
        out[..2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
        for (out, v) in out[2..].iter_mut().zip(values) {
            *out = nearest(v * inverse) as u8;
        }
    }
}

per_isa! {
    /// Dequantises `dst.len()` weights (whole blocks) from `src`. I8 and I16 come out unscaled.
    ///
    /// # Panics
    /// If `src` is shorter than the blocks `dst` needs: callers check files, not this.
    pub fn dequantize = dequantize_inline(ty: BlockType, src: &[u8], dst: &mut [f32])
}

#[inline(always)]
fn blocks<const LEN: usize, const BYTES: usize>(
    src: &[u8],
    dst: &mut [f32],
    f: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (src, _) = src.as_chunks::<BYTES>();
    let (dst, rest) = dst.as_chunks_mut::<LEN>();
    assert!(rest.is_empty() && src.len() >= dst.len(), "whole blocks");
    for (s, d) in src.iter().zip(dst) {
        f(s, d);
    }
}

#[inline(always)]
pub(crate) fn dequantize_inline<const FMA: bool>(ty: BlockType, src: &[u8], dst: &mut [f32]) {
    match ty {
        F32 => blocks::<1, 4>(src, dst, |s, d| d[0] = f32::from_le_bytes(*s)),
        F16 => blocks::<1, 2>(src, dst, |s, d| d[0] = crate::math::f16_to_f32(u16::from_le_bytes(*s))),
        BF16 => blocks::<1, 2>(src, dst, |s, d| d[0] = f32::from_bits((u16::from_le_bytes(*s) as u32) << 16)),
        I8 => blocks::<1, 1>(src, dst, |s, d| d[0] = s[0] as i8 as f32),
        I16 => blocks::<1, 2>(src, dst, |s, d| d[0] = i16::from_le_bytes(*s) as f32),
        Q4_0 => blocks(src, dst, q4_0),
        Q4_1 => blocks(src, dst, q4_1),
        Q5_0 => blocks(src, dst, q5_0),
        Q5_1 => blocks(src, dst, q5_1),
        Q8_0 => blocks(src, dst, q8_0),
        Q2K => blocks(src, dst, q2_k),
        Q3K => blocks(src, dst, q3_k),
        Q4K => blocks(src, dst, q4_k),
        Q5K => blocks(src, dst, q5_k),
        Q6K => blocks(src, dst, q6_k),
        IQ4NL => blocks(src, dst, iq4_nl),
        IQ4XS => blocks(src, dst, iq4_xs),
    }
}

#[inline(always)]
fn q4_0(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = f16_at(b, 0);
    for j in 0..16 {
        y[j] = d * ((b[2 + j] & 15) as i32 - 8) as f32;
        y[j + 16] = d * ((b[2 + j] >> 4) as i32 - 8) as f32;
    }
}

#[inline(always)]
fn q4_1(b: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (f16_at(b, 0), f16_at(b, 2));
    for j in 0..16 {
        y[j] = d * (b[4 + j] & 15) as f32 + m;
        y[j + 16] = d * (b[4 + j] >> 4) as f32 + m;
    }
}

#[inline(always)]
fn fifth_bits(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

#[inline(always)]
fn q5_0(b: &[u8; 22], y: &mut [f32; 32]) {
    let (d, high) = (f16_at(b, 0), fifth_bits(b, 2));
    for j in 0..16 {
        let lo = (b[6 + j] & 15) as u32 | ((high >> j) & 1) << 4;
        let hi = (b[6 + j] >> 4) as u32 | ((high >> (j + 16)) & 1) << 4;
        y[j] = d * (lo as i32 - 16) as f32;
        y[j + 16] = d * (hi as i32 - 16) as f32;
    }
}

#[inline(always)]
fn q5_1(b: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m, high) = (f16_at(b, 0), f16_at(b, 2), fifth_bits(b, 4));
    for j in 0..16 {
        let lo = (b[8 + j] & 15) as u32 | ((high >> j) & 1) << 4;
        let hi = (b[8 + j] >> 4) as u32 | ((high >> (j + 16)) & 1) << 4;
        y[j] = d * lo as f32 + m;
        y[j + 16] = d * hi as f32 + m;
    }
}

#[inline(always)]
fn q8_0(b: &[u8; 34], y: &mut [f32; 32]) {
    let d = f16_at(b, 0);
    for j in 0..32 {
        y[j] = d * (b[2 + j] as i8) as f32;
    }
}

#[inline(always)]
fn q2_k(b: &[u8; 84], y: &mut [f32; 256]) {
    let (d, min) = (f16_at(b, 80), f16_at(b, 82));
    for group in 0..16 {
        // Sixteen groups of 16: two halves of 128, four shifts a half, two groups a shift.
        let (half, shift, part) = (group / 8, 2 * (group % 8 / 2), group % 2);
        let scale = b[group];
        let (dl, ml) = (d * (scale & 15) as f32, min * (scale >> 4) as f32);
        for l in 0..16 {
            let q = (b[16 + 32 * half + 16 * part + l] >> shift) & 3;
            y[16 * group + l] = dl * q as f32 - ml;
        }
    }
}

#[inline(always)]
fn q3_k(b: &[u8; 110], y: &mut [f32; 256]) {
    let d = f16_at(b, 108);
    let scales = &b[96..108];
    for group in 0..16 {
        let (half, j, part) = (group / 8, group % 8 / 2, group % 2);
        // Low four bits sit in the first eight bytes, the high two packed in the last four.
        let low = if group < 8 { scales[group] & 15 } else { scales[group - 8] >> 4 };
        let high = (scales[8 + group % 4] >> (2 * (group / 4))) & 3;
        let dl = d * ((low | high << 4) as i32 - 32) as f32;
        for l in 0..16 {
            let q = (b[32 + 32 * half + 16 * part + l] >> (2 * j)) & 3;
            let set = (b[16 * part + l] >> (4 * half + j)) & 1;
            y[16 * group + l] = dl * (q as i32 - 4 * (1 - set as i32)) as f32;
        }
    }
}

/// The six-bit scale and minimum of sub-block `j` of Q4_K and Q5_K.
#[inline(always)]
fn scale_min(j: usize, q: &[u8]) -> (f32, f32) {
    let (s, m) = if j < 4 {
        (q[j] & 63, q[j + 4] & 63)
    } else {
        ((q[j + 4] & 15) | (q[j - 4] >> 6) << 4, (q[j + 4] >> 4) | (q[j] >> 6) << 4)
    };
    (s as f32, m as f32)
}

#[inline(always)]
fn q4_k(b: &[u8; 144], y: &mut [f32; 256]) {
    let (d, min) = (f16_at(b, 0), f16_at(b, 2));
    for pair in 0..4 {
        let (s1, m1) = scale_min(2 * pair, &b[4..16]);
        let (s2, m2) = scale_min(2 * pair + 1, &b[4..16]);
        let (d1, m1, d2, m2) = (d * s1, min * m1, d * s2, min * m2);
        for l in 0..32 {
            let q = b[16 + 32 * pair + l];
            y[64 * pair + l] = d1 * (q & 15) as f32 - m1;
            y[64 * pair + 32 + l] = d2 * (q >> 4) as f32 - m2;
        }
    }
}

#[inline(always)]
fn q5_k(b: &[u8; 176], y: &mut [f32; 256]) {
    let (d, min) = (f16_at(b, 0), f16_at(b, 2));
    for pair in 0..4 {
        let (s1, m1) = scale_min(2 * pair, &b[4..16]);
        let (s2, m2) = scale_min(2 * pair + 1, &b[4..16]);
        let (d1, m1, d2, m2) = (d * s1, min * m1, d * s2, min * m2);
        for l in 0..32 {
            let (q, high) = (b[48 + 32 * pair + l], b[16 + l] >> (2 * pair));
            y[64 * pair + l] = d1 * ((q & 15) + 16 * (high & 1)) as f32 - m1;
            y[64 * pair + 32 + l] = d2 * ((q >> 4) + 8 * (high & 2)) as f32 - m2;
        }
    }
}

#[inline(always)]
fn q6_k(b: &[u8; 210], y: &mut [f32; 256]) {
    let d = f16_at(b, 208);
    for half in 0..2 {
        let (low, high, scales) = (&b[64 * half..], &b[128 + 32 * half..], &b[192 + 8 * half..]);
        let y = &mut y[128 * half..128 * half + 128];
        for part in 0..2 {
            let s = |i: usize| d * (scales[part + 2 * i] as i8) as f32;
            let (s0, s1, s2, s3) = (s(0), s(1), s(2), s(3));
            for l in 16 * part..16 * part + 16 {
                let h = high[l];
                let q = |low: u8, high: u8| ((low | (high & 3) << 4) as i32 - 32) as f32;
                y[l] = s0 * q(low[l] & 15, h);
                y[l + 32] = s1 * q(low[l + 32] & 15, h >> 2);
                y[l + 64] = s2 * q(low[l] >> 4, h >> 4);
                y[l + 96] = s3 * q(low[l + 32] >> 4, h >> 6);
            }
        }
    }
}

/// Non-linear four-bit levels of IQ4_NL and IQ4_XS.
const IQ4_LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

#[inline(always)]
fn iq4_nl(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = f16_at(b, 0);
    for j in 0..16 {
        y[j] = d * IQ4_LEVELS[(b[2 + j] & 15) as usize] as f32;
        y[j + 16] = d * IQ4_LEVELS[(b[2 + j] >> 4) as usize] as f32;
    }
}

#[inline(always)]
fn iq4_xs(b: &[u8; 136], y: &mut [f32; 256]) {
    let d = f16_at(b, 0);
    let high = u16::from_le_bytes([b[2], b[3]]);
    for block in 0..8 {
        let low = (b[4 + block / 2] >> (4 * (block % 2))) & 15;
        let scale = low as i32 | (((high >> (2 * block)) & 3) << 4) as i32;
        let dl = d * (scale - 32) as f32;
        for j in 0..16 {
            let q = b[8 + 16 * block + j];
            y[32 * block + j] = dl * IQ4_LEVELS[(q & 15) as usize] as f32;
            y[32 * block + 16 + j] = dl * IQ4_LEVELS[(q >> 4) as usize] as f32;
        }
    }
}
