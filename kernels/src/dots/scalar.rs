//! The definition of each format, and of the sums every instruction set computes.

use super::activations::Activations;
use super::formats::*;
use super::{LANES, LEN, MAX_TAIL_BYTES, lane, place, weights_at};
use crate::math::f16_at;

/// 256 weights: of lane `l`, `scales[l] * level + offsets[l]`.
pub(super) struct Weights {
    /// At their [`place`].
    pub(super) levels: [u8; LEN],
    pub(super) scales: [f32; LANES],
    pub(super) offsets: [f32; LANES],
}

impl Weights {
    pub(super) const ZERO: Weights =
        Weights { levels: [0; LEN], scales: [0.0; LANES], offsets: [0.0; LANES] };

    /// Sets both groups of block `block`.
    fn scale_block(&mut self, block: usize, scale: f32, offset: f32) {
        for part in 0..2 {
            self.scales[lane(block, part)] = scale;
            self.offsets[lane(block, part)] = offset;
        }
    }
}

/// How 256 weights of a block type are stored.
pub(super) trait Unpack {
    /// Bytes of 256 weights.
    const BYTES: usize;

    fn unpack(bytes: &[u8], weights: &mut Weights);
}

pub(super) fn row_dots<F: Format, const M: usize>(row: &[u8], x: &[Activations], y: &mut [f32]) {
    let (mut weights, mut tail) = (Weights::ZERO, [0; MAX_TAIL_BYTES]);
    let mut lanes = [[0f32; LANES]; M];
    for (b, x) in x.as_chunks::<M>().0.iter().enumerate() {
        <F as Unpack>::unpack(weights_at::<F>(row, b, &mut tail), &mut weights);
        for (x, lanes) in x.iter().zip(&mut lanes) {
            let dots = group_dots(&weights.levels, &x.levels);
            for l in 0..LANES {
                let sum = dots[l] as f32 * weights.scales[l] + x.sums[l] * weights.offsets[l];
                lanes[l] += sum * x.scales[l];
            }
        }
    }
    for (y, lanes) in y.iter_mut().zip(lanes) {
        *y = lanes.iter().sum();
    }
}

#[inline(always)]
fn group_dots(weights: &[u8; LEN], x: &[i8; LEN]) -> [i32; LANES] {
    let mut dots = [0; LANES];
    for (w, x) in weights.as_chunks::<64>().0.iter().zip(x.as_chunks::<64>().0) {
        for (l, dot) in dots.iter_mut().enumerate() {
            for i in 4 * l..4 * l + 4 {
                *dot += w[i] as i32 * x[i] as i32;
            }
        }
    }
    dots
}

/// Unpacks eight blocks of `BYTES` that begin with a scale: `read` gives offset and levels.
#[inline(always)]
fn blocks<const BYTES: usize>(
    bytes: &[u8],
    weights: &mut Weights,
    read: impl Fn(&[u8; BYTES], f32) -> (f32, [u8; 32]),
) {
    for (b, block) in bytes.as_chunks::<BYTES>().0.iter().enumerate() {
        let scale = f16_at(block, 0);
        let (offset, levels) = read(block, scale);
        weights.scale_block(b, scale, offset);
        for (i, level) in levels.into_iter().enumerate() {
            weights.levels[place(b, i)] = level;
        }
    }
}

/// The four low bits of weight `i`: sixteen bytes have the first half's, then the second's.
#[inline(always)]
fn low_four(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 16] >> (4 * (i / 16)) & 15
}

/// The fifth bit of weight `i` at its place, from a bit each in four bytes.
#[inline(always)]
fn fifth(bytes: &[u8], i: usize) -> u8 {
    (bytes[i / 8] >> (i % 8) & 1) << 4
}

impl Unpack for Q4_0 {
    const BYTES: usize = 8 * 18;

    fn unpack(bytes: &[u8], weights: &mut Weights) {
        blocks::<18>(bytes, weights, |b, d| (-8.0 * d, std::array::from_fn(|i| low_four(&b[2..], i))));
    }
}

impl Unpack for Q4_1 {
    const BYTES: usize = 8 * 20;

    fn unpack(bytes: &[u8], weights: &mut Weights) {
        blocks::<20>(bytes, weights, |b, _| (f16_at(b, 2), std::array::from_fn(|i| low_four(&b[4..], i))));
    }
}

impl Unpack for Q5_0 {
    const BYTES: usize = 8 * 22;

    fn unpack(bytes: &[u8], weights: &mut Weights) {
        blocks::<22>(bytes, weights, |b, d| {
            (-16.0 * d, std::array::from_fn(|i| low_four(&b[6..], i) | fifth(&b[2..], i)))
        });
    }
}

impl Unpack for Q5_1 {
    const BYTES: usize = 8 * 24;

    fn unpack(bytes: &[u8], weights: &mut Weights) {
        blocks::<24>(bytes, weights, |b, _| {
            (f16_at(b, 2), std::array::from_fn(|i| low_four(&b[8..], i) | fifth(&b[4..], i)))
        });
    }
}

impl Unpack for Q8_0 {
    const BYTES: usize = 8 * 34;

    fn unpack(bytes: &[u8], weights: &mut Weights) {
        blocks::<34>(bytes, weights, |b, d| (-128.0 * d, std::array::from_fn(|i| b[2 + i] ^ 0x80)));
    }
}

/// The scales and minima with which blocks of Q4_K and Q5_K begin.
#[inline(always)]
fn scale_k(bytes: &[u8], weights: &mut Weights) {
    let (scale, min) = (f16_at(bytes, 0), f16_at(bytes, 2));
    let (scales, minima) = scales_and_minima(bytes[4..].first_chunk().unwrap_or(&[0; 12]));
    for block in 0..8 {
        let byte = |words: [u32; 2]| (words[block / 4] >> (8 * (block % 4)) & 255) as f32;
        weights.scale_block(block, scale * byte(scales), -min * byte(minima));
    }
}

impl Unpack for Q4K {
    const BYTES: usize = 144;

    fn unpack(bytes: &[u8], weights: &mut Weights) {
        scale_k(bytes, weights);
        for block in 0..8 {
            for i in 0..32 {
                let low = bytes[16 + 32 * (block / 2) + i] >> (4 * (block % 2)) & 15;
                weights.levels[place(block, i)] = low;
            }
        }
    }
}

impl Unpack for Q5K {
    const BYTES: usize = 176;

    fn unpack(bytes: &[u8], weights: &mut Weights) {
        scale_k(bytes, weights);
        for block in 0..8 {
            for i in 0..32 {
                let low = bytes[48 + 32 * (block / 2) + i] >> (4 * (block % 2)) & 15;
                weights.levels[place(block, i)] = low | (bytes[16 + i] >> block & 1) << 4;
            }
        }
    }
}

impl Unpack for Q6K {
    const BYTES: usize = 210;

    fn unpack(bytes: &[u8], weights: &mut Weights) {
        let scale = f16_at(bytes, 208);
        for block in 0..8 {
            let (half, quarter) = (block / 4, block % 4);
            for part in 0..2 {
                let l = lane(block, part);
                weights.scales[l] = scale * (bytes[192 + 2 * block + part] as i8) as f32;
                weights.offsets[l] = -32.0 * weights.scales[l];
            }
            for i in 0..32 {
                let low = bytes[64 * half + 32 * (quarter % 2) + i] >> (4 * (quarter / 2)) & 15;
                let high = bytes[128 + 32 * half + i] >> (2 * quarter) & 3;
                weights.levels[place(block, i)] = low | high << 4;
            }
        }
    }
}
