use super::*;
use crate::Weight;
use crate::gemm::tests::noise;
use crate::weight::tests::random_weight;
use BlockType as Ty;

const TYPES: [Ty; 8] = [Ty::Q4_0, Ty::Q4_1, Ty::Q5_0, Ty::Q5_1, Ty::Q8_0, Ty::Q4K, Ty::Q5K, Ty::Q6K];

/// Columns that end within 256 numbers where the type allows.
fn widths(ty: Ty) -> &'static [usize] {
    if ty.block_len() == 32 { &[32, 96, 1312] } else { &[256, 1280] }
}

/// The activations as the kernels see them, in order.
fn rounded(x: &[f32], cols: usize) -> Vec<f32> {
    let m = x.len() / cols;
    let blocks = activations::quantize_rows(Isa::Scalar, x, cols);
    let value = |i: usize| {
        let (row, c) = (i / cols, i % cols);
        let (x, block, j) = (&blocks[c / LEN * m + row], c % LEN / 32, c % 32);
        x.levels[place(block, j)] as f32 * x.scales[lane(block, j / 16)]
    };
    (0..x.len()).map(value).collect()
}

/// `Σ w x` in f64 and `Σ |w x|`.
fn exact(w: &[f32], x: &[f32]) -> (f64, f64) {
    let terms = || w.iter().zip(x).map(|(w, x)| *w as f64 * *x as f64);
    (terms().sum(), terms().map(f64::abs).sum())
}

fn few(isa: Isa, x: &[f32], weight: &Weight) -> Vec<f32> {
    let (m, rows) = (x.len() / weight.cols(), weight.rows());
    let dots = Dots::new(isa, weight.block_type(), x, weight.cols()).unwrap();
    let mut y = vec![f32::NAN; m * rows];
    for row in 0..rows {
        let mut sums = [f32::NAN; 8];
        dots.row(&weight.row(row), &mut sums[..m]);
        (0..m).for_each(|i| y[i * rows + row] = sums[i]);
    }
    y
}

#[test]
fn only_the_activations_are_rounded() {
    for ty in TYPES {
        for (cols, rows) in widths(ty).iter().flat_map(|c| [1, 33, 70].map(|r| (*c, r))) {
            let weight = random_weight(ty, rows, cols);
            let dense = weight.to_f32();
            for m in 1..=8 {
                let x = noise(m * cols, 11);
                let bytes = rounded(&x, cols);
                for isa in Isa::available() {
                    for (i, y) in few(isa, &x, &weight).chunks_exact(rows).enumerate() {
                        for (y, w) in y.iter().zip(dense.chunks_exact(cols)) {
                            let at = i * cols..(i + 1) * cols;
                            let (want, size) = exact(w, &bytes[at.clone()]);
                            let error = (*y as f64 - want).abs();
                            assert!(
                                error < 1e-5 * (1.0 + size),
                                "{ty:?} {isa:?} {rows}x{cols} m={m}: {error}"
                            );
                            // Each of 16 activations moves by half a 127th of their largest at most.
                            let (true_sum, _) = exact(w, &x[at.clone()]);
                            let shift: f64 = (w.chunks(16).zip(x[at].chunks(16)))
                                .map(|(w, x)| {
                                    let largest = x.iter().fold(0f32, |max, v| max.max(v.abs()));
                                    let sum: f32 = w.iter().map(|w| w.abs()).sum();
                                    (sum * largest) as f64 / 254.0
                                })
                                .sum();
                            let error = (*y as f64 - true_sum).abs();
                            assert!(error < shift * 1.001 + 1e-5 * (1.0 + size), "{ty:?} {isa:?}: {error}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn activations_are_the_same_from_every_instruction_set() {
    let (m, cols) = (3, 1312);
    let x = noise(m * cols, 3);
    let want = activations::quantize_rows(Isa::Scalar, &x, cols);
    for isa in Isa::available() {
        let got = activations::quantize_rows(isa, &x, cols);
        for (a, b) in want.iter().zip(&got) {
            assert!(a.levels == b.levels && a.scales == b.scales && a.sums == b.sums, "{isa:?}");
        }
    }
    for (x, bytes) in x.chunks(16).zip(rounded(&x, cols).chunks(16)) {
        let step = x.iter().fold(0f32, |max, v| max.max(v.abs())) / 127.0;
        assert!(x.iter().zip(bytes).all(|(a, b)| (a - b).abs() <= 0.5001 * step));
    }
}

#[test]
fn formats_are_what_their_dequantisation_says() {
    fn check<F: Format>(ty: Ty) {
        let weight = random_weight(ty, 3, LEN);
        let dense = weight.to_f32();
        for (row, want) in weight.bytes().chunks_exact(<F as scalar::Unpack>::BYTES).zip(dense.chunks(LEN)) {
            let mut w = scalar::Weights::ZERO;
            <F as scalar::Unpack>::unpack(row, &mut w);
            for (i, want) in want.iter().enumerate() {
                let (block, j) = (i / 32, i % 32);
                let l = lane(block, j / 16);
                let got = w.scales[l] * w.levels[place(block, j)] as f32 + w.offsets[l];
                assert!(
                    (got - want).abs() <= 1e-6 * w.offsets[l].abs().max(1e-3),
                    "{ty:?} {i}: {got} {want}"
                );
            }
        }
    }
    check::<Q4_0>(Ty::Q4_0);
    check::<Q4_1>(Ty::Q4_1);
    check::<Q5_0>(Ty::Q5_0);
    check::<Q5_1>(Ty::Q5_1);
    check::<Q8_0>(Ty::Q8_0);
    check::<Q4K>(Ty::Q4K);
    check::<Q5K>(Ty::Q5K);
    check::<Q6K>(Ty::Q6K);
}

#[test]
fn integer_sums_do_not_overflow() {
    // Levels at their ends, against activations at theirs.
    for ty in TYPES {
        let cols = widths(ty)[1];
        for fill in [0xff_u8, 0x7f, 0x80] {
            let mut bytes = vec![fill; ty.row_bytes(cols).unwrap()];
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                let one = half::f16::ONE.to_le_bytes();
                let at: &[usize] = match ty {
                    Ty::Q4_1 | Ty::Q5_1 | Ty::Q4K | Ty::Q5K => &[0, 2],
                    Ty::Q6K => &[208],
                    _ => &[0],
                };
                at.iter().for_each(|at| block[*at..at + 2].copy_from_slice(&one));
            }
            let len = bytes.len();
            let weight = Weight::new(std::sync::Arc::new(bytes), 0..len, ty, 1, cols).unwrap();
            for sign in [1.0, -1.0] {
                let x = vec![127.0 * sign; cols];
                let (want, size) = exact(&weight.to_f32(), &x);
                for isa in Isa::available() {
                    let y = few(isa, &x, &weight)[0] as f64;
                    assert!((y - want).abs() < 1e-5 * (1.0 + size), "{ty:?} {isa:?} {fill}: {y} {want}");
                }
            }
        }
    }
}

#[test]
fn extreme_activations_stay_in_their_row() {
    for ty in TYPES {
        let cols = widths(ty)[1];
        let weight = random_weight(ty, 5, cols);
        let dense = weight.to_f32();
        let mut one_huge = noise(cols, 5);
        one_huge[cols / 2] = 1e30;
        let rows = [vec![0.0; cols], one_huge, vec![-3.25; cols], vec![1e-42; cols], vec![f32::MAX; cols]];
        let broken = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|v| {
            let mut x = noise(cols, 7);
            x[cols - 1] = v;
            x
        });
        let x = rows.iter().chain(&broken).flatten().copied().collect::<Vec<f32>>();
        for isa in Isa::available() {
            let y = few(isa, &x, &weight);
            let (finite, rest) = y.split_at(4 * 5);
            for (i, y) in finite.iter().enumerate() {
                let (x, w) = (&rows[i / 5], &dense[i % 5 * cols..][..cols]);
                let (want, size) = exact(w, &rounded(x, cols));
                assert!((*y as f64 - want).abs() < 1e-5 * (1.0 + size), "{ty:?} {isa:?} {i}: {y} {want}");
            }
            assert!(finite[..5].iter().all(|y| *y == 0.0), "{ty:?} {isa:?}");
            assert!(rest[5..].iter().all(|y| y.is_nan()), "{ty:?} {isa:?}: {rest:?}");
        }
    }
}
