use super::*;
use crate::gemm::tests::noise;
use crate::weight::tests::random_weight;
use BlockType as Ty;

const TYPES: [Ty; 13] = [
    Ty::F32,
    Ty::F16,
    Ty::BF16,
    Ty::I8,
    Ty::I16,
    Ty::Q4_0,
    Ty::Q4_1,
    Ty::Q5_0,
    Ty::Q5_1,
    Ty::Q8_0,
    Ty::Q4K,
    Ty::Q5K,
    Ty::Q6K,
];

/// Columns that end within groups where the type allows.
fn widths(ty: Ty) -> &'static [usize] {
    match ty.block_len() {
        1 => &[1, 83, 240, 384],
        32 => &[32, 96, 1312],
        _ => &[256, 1280],
    }
}

/// `y [m, rows]` from one call for all columns.
fn many(isa: Isa, x: &[f32], weight: &Weight, bias: &[f32]) -> Option<Vec<f32>> {
    let (m, rows) = (x.len() / weight.cols(), weight.rows());
    let tiles = Tiles::new(isa, weight.block_type(), x, weight.cols())?;
    let mut y = vec![f32::NAN; m * rows];
    let to = Rows { ptr: y.as_mut_ptr(), stride: rows };
    // SAFETY: all of `y` is there and nobody else's.
    unsafe { tiles.columns(weight, Some(bias), (0, rows), to) };
    Some(y)
}

/// `x` as the tiles see it.
fn rounded(x: &[f32], cols: usize, group: usize) -> Vec<f32> {
    let a = activations::quantize_rows(Isa::Scalar, x, cols, group);
    let value = |i: usize| {
        let (row, g, at) = (i / cols, i % cols / group, i % cols % group);
        let g = row * a.groups + g;
        a.levels[g * group + at] as f32 * a.scales[g]
    };
    (0..x.len()).map(value).collect()
}

/// The largest magnitudes of groups, half a 127th of which a number moves by at most.
fn steps(x: &[f32], cols: usize, group: usize) -> impl Fn(usize, usize) -> f64 {
    let largest = |g: &[f32]| g.iter().fold(0f32, |max, v| max.max(v.abs())) as f64 / 254.0;
    let all: Vec<Vec<f64>> = x.chunks(cols).map(|x| x.chunks(group).map(largest).collect()).collect();
    move |row, col| all[row][col / group]
}

#[test]
fn every_type_and_shape_agrees_with_the_plain_product() {
    let mut seen = 0;
    for (ty, isa) in TYPES.into_iter().flat_map(|ty| Isa::available().map(move |isa| (ty, isa))) {
        for (cols, rows) in widths(ty).iter().flat_map(|c| [1, 16, 33, 70].map(|r| (*c, r))) {
            let (weight, bias) = (random_weight(ty, rows, cols), noise(rows, 5));
            let (dense, group) = (weight.to_f32(), group(ty).unwrap());
            for m in [1, 2, 5, 6, 9, 25] {
                let all_x = noise(m * cols, 11);
                let Some(y) = many(isa, &all_x, &weight, &bias) else { continue };
                seen += 1;
                let bytes = rounded(&all_x, cols, group);
                let dense_weights = ty.block_len() == 1;
                let (x_step, w_step) = (steps(&all_x, cols, group), steps(&dense, cols, group));
                for (i, j) in (0..m).flat_map(|i| (0..rows).map(move |j| (i, j))) {
                    let (mut want, mut size, mut shift) = (bias[j] as f64, 1.0, 0.0);
                    for c in 0..cols {
                        let (w, x) = (dense[j * cols + c] as f64, bytes[i * cols + c] as f64);
                        want += w * x;
                        size += (w * x).abs();
                        shift += if dense_weights { x.abs() * w_step(j, c) } else { 0.0 };
                        let moved = (x - all_x[i * cols + c] as f64).abs();
                        assert!(moved <= 1.001 * x_step(i, c), "{ty:?}: {moved}");
                    }
                    let error = (y[i * rows + j] as f64 - want).abs();
                    assert!(
                        error < 1.001 * shift + 1e-5 * size,
                        "{ty:?} {isa:?} {rows}x{cols} m={m}: {error}"
                    );
                }
            }
        }
    }
    assert!(seen > 0 || Isa::detect() < Isa::Avx512Vnni);
}

/// The same weight, its rows side by side, whatever the instruction set in use.
fn interleaved(weight: &Weight) -> Weight {
    let (ty, rows, cols) = (weight.block_type(), weight.rows(), weight.cols());
    let len = interleaved::len_bytes(ty, rows, ty.row_bytes(cols).unwrap()).unwrap();
    let mut bytes = vec![0; len];
    weight.interleave(&mut bytes);
    Weight::interleaved(std::sync::Arc::new(bytes), 0..len, ty, rows, cols).unwrap()
}

#[test]
fn rows_side_by_side_give_the_same_products_bit_for_bit() {
    let bits = |y: Vec<f32>| y.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for ty in TYPES.into_iter().filter(|ty| ty.block_len() > 1) {
        for (cols, rows) in widths(ty).iter().flat_map(|c| [1, 8, 16, 33, 70].map(|r| (*c, r))) {
            let (weight, bias) = (random_weight(ty, rows, cols), noise(rows, 5));
            let beside = interleaved(&weight);
            assert!(weight.to_f32() == beside.to_f32(), "{ty:?} {rows}x{cols}");
            for (isa, m) in Isa::available().flat_map(|isa| (1..=13).chain([34]).map(move |m| (isa, m))) {
                let x = noise(m * cols, 11);
                let want = many(isa, &x, &weight, &bias).map(bits);
                assert!(
                    many(isa, &x, &beside, &bias).map(bits) == want,
                    "{ty:?} {isa:?} {rows}x{cols} m={m}"
                );
            }
        }
    }
}

/// `y [m, rows]` as `columns` computes it; what that needs, the machine or an emulator must have.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) fn bits_of(
    columns: Columns,
    x: &activations::Activations,
    weight: &Weight,
    bias: &[f32],
) -> Vec<u32> {
    let rows = weight.rows();
    let mut y = vec![f32::NAN; x.rows() * rows];
    let to = Rows { ptr: y.as_mut_ptr(), stride: rows };
    // SAFETY: all of `y` is there and nobody else's; the instructions are the caller's word.
    unsafe { columns(x, weight, Some(bias), (0, rows), to) };
    y.into_iter().map(f32::to_bits).collect()
}

/// All that AVX2 and AVX-VNNI compute otherwise, on any processor with AVX2.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn avx_vnni_gives_the_products_of_avx2_bit_for_bit() {
    assert!(Isa::Avx2.is_here(), "this processor has no AVX2");
    emulator::install();
    // Emulated, each product is a signal.
    let narrow = |ty: Ty| match ty.block_len() {
        256 => &[256][..],
        _ => &widths(ty)[1..2],
    };
    for ty in TYPES {
        for (cols, rows) in narrow(ty).iter().flat_map(|c| [1, 20].map(|r| (*c, r))) {
            let (weight, bias) = (random_weight(ty, rows, cols), noise(rows, 5));
            let beside = (ty.block_len() > 1).then(|| interleaved(&weight));
            for m in [1, 2, 3, 4, 9] {
                let x =
                    activations::quantize_rows(Isa::Scalar, &noise(m * cols, 11), cols, group(ty).unwrap());
                let want = bits_of(avx2::columns::<false>, &x, &weight, &bias);
                for weight in [Some(&weight), beside.as_ref()].into_iter().flatten() {
                    let got = bits_of(avx2::columns::<true>, &x, weight, &bias);
                    assert!(got == want, "{ty:?} {rows}x{cols} m={m}");
                }
            }
        }
    }
}
