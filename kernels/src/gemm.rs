//! `C (+)= A B` for a panel of at most 32 columns: the inner loop of every larger operation.
//!
//! `B` is read row by row, 32 columns at a time; callers pack it so (weights are packed as they
//! are dequantised, keys as they are transposed, values already lie so). A tile of 12x32 on
//! AVX-512 (24 accumulators) or 6x16 on AVX2 stays in registers over the whole of `k`.

use crate::Isa;

/// Columns a panel of `B` has; shorter ones are padded by the caller so that reads stay in bounds.
pub const PANEL: usize = 32;

/// One side of a product: a base pointer and the distance between rows, in elements.
#[derive(Clone, Copy)]
pub struct Rows<T> {
    /// First element.
    pub ptr: T,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl Rows<*mut f32> {
    /// The same rows, `elements` further on.
    pub fn offset(self, elements: usize) -> Self {
        Rows { ptr: self.ptr.wrapping_add(elements), ..self }
    }
}

// SAFETY: a plain address; who may write where is settled by the caller of `panel`.
unsafe impl Send for Rows<*mut f32> {}
// SAFETY: as above.
unsafe impl Sync for Rows<*mut f32> {}

/// `C[m, n] = A[m, k] B[k, n]`, or `C += A B` with `accumulate`; `n <= 32`.
///
/// # Safety
/// `a` must be readable for `m` rows of `k`, `b` for `k` rows of 32 (whatever `n` is), and `c`
/// writable for `m` rows of `n` that nobody else touches meanwhile.
#[allow(clippy::too_many_arguments)]
pub unsafe fn panel(
    isa: Isa,
    (m, n, k): (usize, usize, usize),
    a: Rows<*const f32>,
    b: Rows<*const f32>,
    c: Rows<*mut f32>,
    accumulate: bool,
) {
    debug_assert!(n <= PANEL);
    let mut row = 0;
    while row < m {
        // SAFETY: `row < m`, so both stay within the rows the caller vouches for.
        let (a, c) = unsafe {
            let a = Rows { ptr: a.ptr.add(row * a.stride), ..a };
            (a, Rows { ptr: c.ptr.add(row * c.stride), ..c })
        };
        let left = m - row;
        // SAFETY: every arm handles at most `left` rows; the features were detected.
        row += unsafe {
            match isa.min(Isa::detect()) {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Vnni | Isa::Amx => x86::rows_avx512(left, n, k, a, b, c, accumulate),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 | Isa::AvxVnni => x86::rows_avx2(left, n, k, a, b, c, accumulate),
                _ => rows_plain(n, k, a, b, c, accumulate),
            }
        };
    }
}

/// One row in plain Rust, which the compiler vectorises for the baseline target.
unsafe fn rows_plain(
    n: usize,
    k: usize,
    a: Rows<*const f32>,
    b: Rows<*const f32>,
    c: Rows<*mut f32>,
    accumulate: bool,
) -> usize {
    let mut acc = [0f32; PANEL];
    // SAFETY: the caller's contract for one row of each operand.
    unsafe {
        if accumulate {
            for (j, acc) in acc.iter_mut().enumerate().take(n) {
                *acc = *c.ptr.add(j);
            }
        }
        for p in 0..k {
            let x = *a.ptr.add(p);
            let row = std::slice::from_raw_parts(b.ptr.add(p * b.stride), PANEL);
            for (acc, w) in acc.iter_mut().zip(row) {
                *acc += x * w;
            }
        }
        for (j, acc) in acc.iter().enumerate().take(n) {
            *c.ptr.add(j) = *acc;
        }
    }
    1
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PANEL, Rows};
    use std::arch::x86_64::*;

    type In = Rows<*const f32>;
    type Out = Rows<*mut f32>;

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn rows_avx512(
        left: usize,
        n: usize,
        k: usize,
        a: In,
        b: In,
        c: Out,
        accumulate: bool,
    ) -> usize {
        // SAFETY: the caller's contract, for no more rows than `left`.
        unsafe {
            match left {
                12.. => tile_avx512::<12>(n, k, a, b, c, accumulate),
                8.. => tile_avx512::<8>(n, k, a, b, c, accumulate),
                4.. => tile_avx512::<4>(n, k, a, b, c, accumulate),
                2.. => tile_avx512::<2>(n, k, a, b, c, accumulate),
                _ => tile_avx512::<1>(n, k, a, b, c, accumulate),
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_avx512<const R: usize>(
        n: usize,
        k: usize,
        a: In,
        b: In,
        c: Out,
        accumulate: bool,
    ) -> usize {
        let low = if n >= 16 { !0 } else { (1u16 << n) - 1 };
        let high = if n >= 32 { !0 } else { (1u16 << n.saturating_sub(16)) - 1 };
        let mut acc = [[_mm512_setzero_ps(); 2]; R];
        // SAFETY: reads stay in `R` rows of `a` and `k` rows of `b`; masked lanes of `c` are
        // neither read nor written.
        unsafe {
            if accumulate {
                for (r, acc) in acc.iter_mut().enumerate() {
                    let at = c.ptr.add(r * c.stride);
                    acc[0] = _mm512_maskz_loadu_ps(low, at);
                    acc[1] = _mm512_maskz_loadu_ps(high, at.wrapping_add(16));
                }
            }
            let mut row = b.ptr;
            for p in 0..k {
                let (b0, b1) = (_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(16)));
                for (r, acc) in acc.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.ptr.add(r * a.stride + p));
                    acc[0] = _mm512_fmadd_ps(x, b0, acc[0]);
                    acc[1] = _mm512_fmadd_ps(x, b1, acc[1]);
                }
                row = row.wrapping_add(b.stride);
            }
            for (r, acc) in acc.iter().enumerate() {
                let at = c.ptr.add(r * c.stride);
                _mm512_mask_storeu_ps(at, low, acc[0]);
                _mm512_mask_storeu_ps(at.wrapping_add(16), high, acc[1]);
            }
        }
        R
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn rows_avx2(
        left: usize,
        n: usize,
        k: usize,
        a: In,
        b: In,
        c: Out,
        accumulate: bool,
    ) -> usize {
        let mut rows = 0;
        for half in 0..2 {
            let n = n.saturating_sub(16 * half).min(16);
            if n == 0 && half == 1 {
                break;
            }
            // SAFETY: the caller's contract; the second half starts 16 columns further.
            rows = unsafe {
                let b = Rows { ptr: b.ptr.add(16 * half), ..b };
                let c = Rows { ptr: c.ptr.wrapping_add(16 * half), ..c };
                match left {
                    6.. => tile_avx2::<6>(n, k, a, b, c, accumulate),
                    4.. => tile_avx2::<4>(n, k, a, b, c, accumulate),
                    2.. => tile_avx2::<2>(n, k, a, b, c, accumulate),
                    _ => tile_avx2::<1>(n, k, a, b, c, accumulate),
                }
            };
        }
        rows
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_avx2<const R: usize>(n: usize, k: usize, a: In, b: In, c: Out, accumulate: bool) -> usize {
        let mut acc = [[_mm256_setzero_ps(); 2]; R];
        let mut edge = [0f32; PANEL / 2];
        // SAFETY: as for AVX-512; incomplete columns of `c` go through `edge`.
        unsafe {
            if accumulate {
                for (r, acc) in acc.iter_mut().enumerate() {
                    let at = c.ptr.add(r * c.stride);
                    std::ptr::copy_nonoverlapping(at, edge.as_mut_ptr(), n);
                    acc[0] = _mm256_loadu_ps(edge.as_ptr());
                    acc[1] = _mm256_loadu_ps(edge.as_ptr().add(8));
                }
            }
            let mut row = b.ptr;
            for p in 0..k {
                let (b0, b1) = (_mm256_loadu_ps(row), _mm256_loadu_ps(row.add(8)));
                for (r, acc) in acc.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*a.ptr.add(r * a.stride + p));
                    acc[0] = _mm256_fmadd_ps(x, b0, acc[0]);
                    acc[1] = _mm256_fmadd_ps(x, b1, acc[1]);
                }
                row = row.wrapping_add(b.stride);
            }
            for (r, acc) in acc.iter().enumerate() {
                _mm256_storeu_ps(edge.as_mut_ptr(), acc[0]);
                _mm256_storeu_ps(edge.as_mut_ptr().add(8), acc[1]);
                std::ptr::copy_nonoverlapping(edge.as_ptr(), c.ptr.add(r * c.stride), n);
            }
        }
        R
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fixed pseudo-random sequence in [-1, 1).
    pub(crate) fn noise(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / (1u64 << 31) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn every_tile_agrees_with_the_plain_sum() {
        for isa in Isa::available() {
            for (m, n, k) in [(1, 1, 1), (3, 32, 7), (12, 31, 64), (25, 17, 33), (13, 16, 5), (7, 9, 100)] {
                for accumulate in [false, true] {
                    let (a, b) = (noise(m * k, 1), noise(k * PANEL, 2));
                    let mut c = vec![f32::NAN; m * n];
                    if accumulate {
                        c = noise(m * n, 3);
                    }
                    let before = c.clone();
                    // SAFETY: the buffers have exactly the sizes named.
                    unsafe {
                        panel(
                            isa,
                            (m, n, k),
                            Rows { ptr: a.as_ptr(), stride: k },
                            Rows { ptr: b.as_ptr(), stride: PANEL },
                            Rows { ptr: c.as_mut_ptr(), stride: n },
                            accumulate,
                        );
                    }
                    for i in 0..m {
                        for j in 0..n {
                            let mut want: f64 =
                                (0..k).map(|p| a[i * k + p] as f64 * b[p * PANEL + j] as f64).sum();
                            if accumulate {
                                want += before[i * n + j] as f64;
                            }
                            assert!((c[i * n + j] as f64 - want).abs() < 1e-5, "{isa:?} {m} {n} {k}");
                        }
                    }
                }
            }
        }
    }
}
