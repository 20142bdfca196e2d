/// Fused multiply-add where the instruction exists; two roundings elsewhere (a libm call per
/// element would be far slower).
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x`, relative error below 2e-7 for x in [-87, 88]; 0 below, clamped above.
///
/// Range reduction to [-ln2/2, ln2/2] and Cephes' degree-5 polynomial (`expf.c`).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.3);
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer without a function call.
    const ROUND: f32 = 12_582_912.0;
    let n = fma::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = fma::<FMA>(n, -0.693_359_4, clamped);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    p = fma::<FMA>(p, r, 1.398_199_9e-3);
    p = fma::<FMA>(p, r, 8.333_452e-3);
    p = fma::<FMA>(p, r, 4.166_579_6e-2);
    p = fma::<FMA>(p, r, 1.666_666_5e-1);
    p = fma::<FMA>(p, r, 0.5);
    let y = fma::<FMA>(p, r * r, r) + 1.0;
    // `n` is a small integer: to_int_unchecked would be unsafe, the saturating cast vectorises too.
    let scale = f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -87.3 { 0.0 } else { y * scale }
}

/// Error function, absolute error below 1.5e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / fma::<FMA>(0.327_591_1, a, 1.0);
    let mut p = 1.061_405_4_f32;
    p = fma::<FMA>(p, t, -1.453_152);
    p = fma::<FMA>(p, t, 1.421_413_7);
    p = fma::<FMA>(p, t, -0.284_496_74);
    p = fma::<FMA>(p, t, 0.254_829_6);
    (1.0 - p * t * exp::<FMA>(-a * a)).copysign(x)
}

/// `tanh` through `exp`.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let e = exp::<FMA>(2.0 * x.clamp(-20.0, 20.0));
    (e - 1.0) / (e + 1.0)
}

/// IEEE half to single by shifting the bits and rescaling the exponent: branch-free, exact for
/// normal and subnormal numbers. Infinities and NaN become large finite numbers, which no valid
/// weight is.
#[inline(always)]
pub(crate) fn f16_to_f32(h: u16) -> f32 {
    const TWO_POW_112: f32 = f32::from_bits((112 + 127) << 23);
    let magnitude = f32::from_bits(((h & 0x7fff) as u32) << 13) * TWO_POW_112;
    f32::from_bits(magnitude.to_bits() | ((h & 0x8000) as u32) << 16)
}

/// Reads a little-endian f16 at `at`.
#[inline(always)]
pub(crate) fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Dot product of equal-length slices in 64 lanes.
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 64;
    let mut acc = [0f32; LANES];
    let (ca, cb) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut tail = 0f32;
    for (x, y) in ca.remainder().iter().zip(cb.remainder()) {
        tail = fma::<FMA>(*x, *y, tail);
    }
    for (x, y) in ca.zip(cb) {
        for l in 0..LANES {
            acc[l] = fma::<FMA>(x[l], y[l], acc[l]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            acc[l] += acc[l + width];
        }
        width /= 2;
    }
    acc[0] + tail
}

/// `y[j] = scale * (x · rows[j])` for rows of `x.len()`, each sum in the same order.
#[inline(always)]
pub(crate) fn dot_each<const FMA: bool>(scale: f32, x: &[f32], rows: &[f32], y: &mut [f32]) {
    // Four sums at once hide the latency of an addition.
    const ROWS: usize = 4;
    let (y, y_rest) = y.as_chunks_mut::<ROWS>();
    let (rows, rows_rest) = rows.split_at(y.len() * ROWS * x.len());
    for (y, rows) in y.iter_mut().zip(rows.chunks_exact(ROWS * x.len())) {
        *y = dots::<FMA, ROWS>(x, rows).map(|dot| scale * dot);
    }
    for (y, row) in y_rest.iter_mut().zip(rows_rest.chunks_exact(x.len())) {
        *y = scale * dots::<FMA, 1>(x, row)[0];
    }
}

#[inline(always)]
fn dots<const FMA: bool, const ROWS: usize>(x: &[f32], rows: &[f32]) -> [f32; ROWS] {
    const LANES: usize = 16;
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut acc = [[0f32; LANES]; ROWS];
    for (c, chunk) in chunks.iter().enumerate() {
        for (r, acc) in acc.iter_mut().enumerate() {
            let row = &rows[r * x.len() + c * LANES..][..LANES];
            for l in 0..LANES {
                acc[l] = fma::<FMA>(chunk[l], row[l], acc[l]);
            }
        }
    }
    let mut sums = [0f32; ROWS];
    for (r, (sum, mut acc)) in sums.iter_mut().zip(acc).enumerate() {
        let row = &rows[r * x.len() + chunks.len() * LANES..];
        for (x, w) in rest.iter().zip(row) {
            *sum = fma::<FMA>(*x, *w, *sum);
        }
        let mut width = LANES / 2;
        while width > 0 {
            for l in 0..width {
                acc[l] += acc[l + width];
            }
            width /= 2;
        }
        *sum += acc[0];
    }
    sums
}

/// `y += Σ weights[j] * rows[j]` for rows of `y.len()`, in their order.
#[inline(always)]
pub(crate) fn add_weighted<const FMA: bool>(weights: &[f32], rows: &[f32], y: &mut [f32]) {
    // As much of `y` as stays in registers over all rows.
    const LANES: usize = 64;
    let d = y.len();
    let (blocks, rest) = y.as_chunks_mut::<LANES>();
    let tail = blocks.len() * LANES;
    for (b, y) in blocks.iter_mut().enumerate() {
        let mut acc = *y;
        for (w, row) in weights.iter().zip(rows.chunks_exact(d)) {
            let row = &row[b * LANES..][..LANES];
            for l in 0..LANES {
                acc[l] = fma::<FMA>(*w, row[l], acc[l]);
            }
        }
        *y = acc;
    }
    for (w, row) in weights.iter().zip(rows.chunks_exact(d)) {
        for (y, v) in rest.iter_mut().zip(&row[tail..]) {
            *y = fma::<FMA>(*w, *v, *y);
        }
    }
}

/// Turns scores into probabilities in place; `-inf` scores become 0. At least one must be finite.
#[inline(always)]
pub(crate) fn softmax<const FMA: bool>(scores: &mut [f32]) {
    const LANES: usize = 16;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = scores.chunks_exact(LANES);
    for c in chunks.by_ref() {
        for l in 0..LANES {
            lanes[l] = if c[l] > lanes[l] { c[l] } else { lanes[l] };
        }
    }
    let max = lanes.iter().chain(chunks.remainder()).fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let mut sums = [0f32; LANES];
    let mut sum = 0f32;
    let mut chunks = scores.chunks_exact_mut(LANES);
    for c in chunks.by_ref() {
        for l in 0..LANES {
            c[l] = exp::<FMA>(c[l] - max);
            sums[l] += c[l];
        }
    }
    for v in chunks.into_remainder() {
        *v = exp::<FMA>(*v - max);
        sum += *v;
    }
    let inverse = 1.0 / (sum + sums.iter().sum::<f32>());
    for v in scores {
        *v *= inverse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approximations_hold_their_error_bounds() {
        for i in -8000..8000 {
            let x = i as f32 * 0.01;
            let want = (x as f64).exp();
            assert!(((exp::<false>(x) as f64 - want) / want).abs() < 4e-7, "exp {x}");
            let want = (x as f64).tanh();
            assert!((tanh::<false>(x) as f64 - want).abs() < 1e-6, "tanh {x}");
        }
        assert_eq!(exp::<false>(f32::NEG_INFINITY), 0.0);
        for (x, want) in [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (-2.0, -0.995_322_3)] {
            assert!((erf::<false>(x) - want).abs() < 3e-7, "erf {x}");
        }
    }

    #[test]
    fn half_conversion_is_exact_for_every_finite_half() {
        for bits in 0..=u16::MAX {
            let want = half::f16::from_bits(bits);
            if want.is_finite() {
                assert_eq!(f16_to_f32(bits), want.to_f32(), "{bits:#x}");
            }
        }
    }
}
