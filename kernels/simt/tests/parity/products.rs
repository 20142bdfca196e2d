//! Products of activations and weights.

use super::*;

/// `y [m, w.rows()]` against sums in f64 of what was multiplied: `x`, or what it was rounded to.
#[track_caller]
fn products(w: &Weight, x: &[f32], rounded: Option<&Rounded>, bias: Option<&[f32]>, y: &[f32]) {
    let (n, cols, wide) = (w.rows(), w.cols(), w.to_f32());
    let bytes = rounded.map(|r| r.to_vec().unwrap());
    let seen = |i: usize| match &bytes {
        Some((q, scales)) => q[i] as f64 * scales[i / 32] as f64,
        None => x[i] as f64,
    };
    let seen: Vec<f64> = (0..x.len()).map(seen).collect();
    assert_eq!(y.len(), x.len() / cols * n);
    for (at, y) in y.iter().enumerate() {
        let (x, r) = (&seen[at / n * cols..][..cols], at % n);
        let terms = x.iter().zip(&wide[r * cols..]).map(|(x, w)| x * *w as f64);
        let size: f64 = terms.clone().map(f64::abs).sum();
        let want = terms.sum::<f64>() + bias.map_or(0.0, |b| b[r] as f64);
        let off = (*y as f64 - want).abs();
        assert!(off <= 2e-6 * (1.0 + size), "{w:?}, {} rows: {y} instead of {want}", x.len() / cols);
    }
}

#[test]
fn products_of_few_rows() {
    let gpu = gpu();
    for ty in QUANTIZED.into_iter().chain(DENSE) {
        let block = ty.block_len().max(32);
        for (n, cols) in [(1, block), (6, 3 * block)] {
            let (w, bias) = (weight(ty, n, cols), noise(n, 5));
            let (wg, biasg) = (GpuWeight::upload(&gpu, &w).unwrap(), on(&gpu, &bias));
            for m in [1, 2, 7, MOST_ROWS] {
                let x = noise(m * cols, 6);
                let xg = on(&gpu, &x);
                let mut rounded = Rounded::new(&gpu, MOST_ROWS, cols).unwrap();
                round_rows(&xg, m, &mut rounded).unwrap();
                let with_bias = m % 2 == 0;
                let mut y = gpu.array(m * n).unwrap();
                linear(&wg, &xg, &rounded, with_bias.then_some(&biasg), m, &mut y).unwrap();
                let rounded = (!DENSE.contains(&ty)).then_some(&rounded);
                products(&w, &x, rounded, with_bias.then_some(&bias[..]), &y.to_vec().unwrap());
            }
        }
    }
}

#[test]
fn rows_are_the_same_whatever_is_beside_them() {
    let gpu = gpu();
    for ty in QUANTIZED.into_iter().chain(DENSE) {
        let (n, cols) = (5, ty.block_len().max(64));
        let w = GpuWeight::upload(&gpu, &weight(ty, n, cols)).unwrap();
        let x = noise(MOST_ROWS * cols, 6);
        let of = |m: usize| -> Vec<f32> {
            let xg = on(&gpu, &x[..m * cols]);
            let mut rounded = Rounded::new(&gpu, m, cols).unwrap();
            round_rows(&xg, m, &mut rounded).unwrap();
            let mut y = gpu.array(m * n).unwrap();
            linear(&w, &xg, &rounded, None, m, &mut y).unwrap();
            y.to_vec().unwrap()
        };
        let all = of(MOST_ROWS);
        for m in [1, 3, 8] {
            assert_eq!(of(m), all[..m * n], "{ty:?}: {m} rows");
        }
    }
}

#[test]
fn products_with_some_rows_and_gated_ones() {
    let gpu = gpu();
    for ty in QUANTIZED.into_iter().chain(DENSE) {
        let (n, cols) = (7, ty.block_len().max(64));
        let (gate, up) = (weight(ty, n, cols), weight(ty, n, cols));
        let (gateg, upg) = (GpuWeight::upload(&gpu, &gate).unwrap(), GpuWeight::upload(&gpu, &up).unwrap());
        for m in [1, 3, 6, MOST_ROWS] {
            let x = noise(m * cols, 6);
            let (xg, mut rounded) = (on(&gpu, &x), Rounded::new(&gpu, m, cols).unwrap());
            round_rows(&xg, m, &mut rounded).unwrap();
            let mut all = gpu.array(m * n).unwrap();
            linear(&gateg, &xg, &rounded, None, m, &mut all).unwrap();
            let all = all.to_vec().unwrap();

            let ids = [6, 0, 2];
            let mut some = gpu.array(m * ids.len()).unwrap();
            // SAFETY: all are rows of it.
            unsafe {
                linear_rows(&gateg, &gpu.array_of(&ids).unwrap(), &xg, &rounded, m, &mut some).unwrap()
            };
            let want: Vec<f32> = all.chunks_exact(n).flat_map(|row| ids.map(|id| row[id as usize])).collect();
            assert_eq!(some.to_vec().unwrap(), want, "{ty:?}");

            assert_eq!(can_gate(&gateg, &upg), !DENSE.contains(&ty));
            for kind in [Gate::Silu, Gate::GeluTanh] {
                let mut y = gpu.array(m * n).unwrap();
                let done = linear_gated((&gateg, &upg), kind, &rounded, m, &mut y);
                if DENSE.contains(&ty) {
                    assert!(done.is_err());
                    continue;
                }
                done.unwrap();
                let want = flat(&activation::gated(&rows(&all, n), &rows(&all, n), kind).unwrap());
                near(&y.to_vec().unwrap(), &want, 4e-6, &(ty, m, kind));
            }
        }
    }
}

#[test]
fn products_of_many_rows() {
    let gpu = gpu();
    for ty in QUANTIZED {
        let cols = ty.block_len().max(64);
        for (n, m) in [(1, 17), (70, 65), (64, 3)] {
            let (w, bias, x) = (weight(ty, n, cols), noise(n, 5), noise(m * cols, 6));
            let (wg, biasg) = (GpuWeight::upload(&gpu, &w).unwrap(), on(&gpu, &bias));
            let mut rounded = Rounded::new(&gpu, m, cols).unwrap();
            round_rows(&on(&gpu, &x), m, &mut rounded).unwrap();
            let with_bias = n != 64;
            let mut y = gpu.array(m * n).unwrap();
            linear_many(&wg, &rounded, with_bias.then_some(&biasg), m, &mut y).unwrap();
            products(&w, &x, Some(&rounded), with_bias.then_some(&bias[..]), &y.to_vec().unwrap());
        }
    }
}

#[test]
fn products_of_halves_and_convolutions() {
    let gpu = gpu();
    for ty in DENSE {
        for (m, n, cols) in [(1, 1, 1), (17, 70, 33), (65, 5, 100)] {
            let (w, bias, x) = (weight(ty, n, cols), noise(n, 5), noise(m * cols, 6));
            let (wg, xg, biasg) = (GpuWeight::upload(&gpu, &w).unwrap(), on(&gpu, &x), on(&gpu, &bias));
            let wide = w.to_f32();
            for gelu in [false, true] {
                let mut y = gpu.array(m * n).unwrap();
                matmul(&wg, &xg, RowsOf::Matrix, gelu.then_some(&biasg), gelu, &mut y).unwrap();
                let product = |i: usize, j: usize| -> f32 {
                    let row = &wide[j * cols..][..cols];
                    row.iter().zip(&x[i * cols..]).map(|(w, x)| *w as f64 * *x as f64).sum::<f64>() as f32
                };
                let sums =
                    (0..m * n).map(|at| product(at / n, at % n) + if gelu { bias[at % n] } else { 0.0 });
                let mut want: Vec<f32> = sums.collect();
                if gelu {
                    want = flat(&activation::gelu(&rows(&want, n)).unwrap());
                }
                near(&y.to_vec().unwrap(), &want, 4e-3, &(ty, m, n, cols, gelu));
            }
        }
    }
    for (frames, channels, n, stride) in [(1, 3, 2, 1), (17, 5, 33, 1), (40, 8, 64, 2), (9, 40, 3, 2)] {
        let (w, bias, x) =
            (weight(BlockType::F16, n, 3 * channels), noise(n, 5), noise(frames * channels, 6));
        let wg = GpuWeight::upload(&gpu, &w).unwrap();
        let mut y = gpu.array(((frames - 1) / stride + 1) * n).unwrap();
        let of = RowsOf::Frames { channels, stride };
        matmul(&wg, &on(&gpu, &x), of, Some(&on(&gpu, &bias)), true, &mut y).unwrap();
        let want = conv1d::conv1d(&rows(&x, channels), &w, &bias, stride).unwrap();
        let want = flat(&activation::gelu(&want).unwrap());
        near(&y.to_vec().unwrap(), &want, 4e-3, &(frames, channels, n, stride));
        assert!(matmul(&wg, &on(&gpu, &x[1..]), of, None, true, &mut y).is_err());
    }
}
