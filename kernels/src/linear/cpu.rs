use crate::dots::interleaved::LANES;
use crate::dots::{Dots, Tiles};
use crate::gemm::{self, PANEL, Rows};
use crate::isa::per_isa;
use crate::{BlockType, Isa, MAX_FEW_ROWS, Regime, Weight, blocks, math};
use rayon::prelude::*;

/// Weights of one row dequantised at a time when there are few rows: stays in the L1 cache.
const CHUNK: usize = 256;
/// Columns of a packed panel multiplied at a time: 32 x 1024 floats stay in a 1 MiB L2 cache.
const K_BLOCK: usize = 1024;
/// Multiply-adds under which waking a second thread costs more than it saves.
const PARALLEL_MACS: usize = 48 * 1024;

/// `y[m, rows] = x[m, cols] weightᵀ + bias` with `m = x.len() / cols`: dot products with each
/// row of the weight (with activations rounded to bytes where the type allows, see `dots`), or tiles
/// over panels of 32 dequantised rows.
///
/// # Panics
/// If the lengths disagree, or `m` exceeds [`MAX_FEW_ROWS`] in [`Regime::Few`].
pub fn linear(isa: Isa, regime: Regime, x: &[f32], weight: &Weight, bias: Option<&[f32]>, y: &mut [f32]) {
    let (rows, cols) = (weight.rows(), weight.cols());
    let m = x.len() / cols;
    assert!(x.len() == m * cols && y.len() == m * rows && bias.is_none_or(|b| b.len() == rows));
    if m == 0 {
        return;
    }
    let out = Rows { ptr: y.as_mut_ptr(), stride: rows };
    let parallel = m * rows * cols >= PARALLEL_MACS && rayon::current_num_threads() > 1;
    // Rows side by side meet few rows as they meet many.
    let tiles = match regime {
        Regime::Few if !weight.is_interleaved() => None,
        _ => Tiles::new(isa, weight.block_type(), x, cols),
    };
    let dots = match regime {
        // Without vector instructions products of bytes cost more than those of the floats they replace.
        Regime::Few if isa > Isa::Scalar && tiles.is_none() => Dots::new(isa, weight.block_type(), x, cols),
        _ => None,
    };
    // A handful of tasks a thread evens out the load without paying for each row.
    let share = rows.div_ceil(4 * rayon::current_num_threads());
    let per_task = match (&tiles, regime) {
        (Some(_), _) => share.next_multiple_of(PANEL),
        (None, Regime::Few) => share.max(8),
        (None, Regime::Many) => PANEL,
    };
    let task = |t: usize| {
        let from = t * per_task;
        let to = (from + per_task).min(rows);
        match (&tiles, regime) {
            // SAFETY: each task has columns of `y` of its own.
            (Some(tiles), _) => unsafe { tiles.columns(weight, bias, (from, to), out) },
            (None, Regime::Few) => {
                dot_rows(isa, dots.as_ref(), x, m, weight, bias, (from..to).map(|row| (row, row)), out)
            }
            (None, Regime::Many) => tile_rows(isa, x, m, weight, bias, from, to, out),
        }
    };
    let tasks = rows.div_ceil(per_task);
    if parallel { (0..tasks).into_par_iter().for_each(task) } else { (0..tasks).for_each(task) }
}

/// Rows of the weight a task of [`linear_rows`] takes.
const ROWS_A_TASK: usize = 256;

/// Columns `rows` of what [`linear`] makes of a few rows, bit for bit: `y[m, rows.len()]`. Rows in rising order
/// are read together.
///
/// # Panics
/// If the lengths disagree, `m` exceeds [`MAX_FEW_ROWS`], or a row is not the weight's.
pub fn linear_rows(isa: Isa, x: &[f32], weight: &Weight, rows: &[u32], y: &mut [f32]) {
    let (m, cols) = (x.len() / weight.cols(), weight.cols());
    assert!(m <= MAX_FEW_ROWS && x.len() == m * cols && y.len() == m * rows.len());
    if m == 0 {
        return;
    }
    let tiles = weight.is_interleaved().then(|| Tiles::new(isa, weight.block_type(), x, cols)).flatten();
    let dots = match &tiles {
        None if isa > Isa::Scalar => Dots::new(isa, weight.block_type(), x, cols),
        _ => None,
    };
    let out = Rows { ptr: y.as_mut_ptr(), stride: rows.len() };
    rows.par_chunks(ROWS_A_TASK).enumerate().for_each(|(task, rows)| {
        let out = out.offset(task * ROWS_A_TASK);
        match &tiles {
            Some(tiles) => tile_these(tiles, m, weight, rows, out),
            None => {
                let places = rows.iter().enumerate().map(|(at, row)| (*row as usize, at));
                dot_rows(isa, dots.as_ref(), x, m, weight, None, places, out)
            }
        }
    });
}

/// Rows `rows` of an interleaved weight: the others that lie beside them are computed in vain.
fn tile_these(tiles: &Tiles, m: usize, weight: &Weight, rows: &[u32], out: Rows<*mut f32>) {
    let mut beside = [0f32; MAX_FEW_ROWS * LANES];
    let mut at = 0;
    for rows in rows.chunk_by(|a, b| *a as usize / LANES == *b as usize / LANES) {
        let first = rows[0] as usize / LANES * LANES;
        let y = Rows { ptr: beside.as_mut_ptr().wrapping_sub(first), stride: LANES };
        // SAFETY: column `first` of `y` is the first of `beside`, which has room for all that follow.
        unsafe { tiles.columns(weight, None, (first, (first + LANES).min(weight.rows())), y) };
        for row in rows {
            for i in 0..m {
                // SAFETY: `y` of `linear_rows` has a column for each of its rows, and this task owns these.
                unsafe { *out.ptr.add(i * out.stride + at) = beside[i * LANES + *row as usize % LANES] };
            }
            at += 1;
        }
    }
}

/// Dot products with rows of the weight, each with the column of `y` it is for.
#[allow(clippy::too_many_arguments)]
fn dot_rows(
    isa: Isa,
    dots: Option<&Dots>,
    x: &[f32],
    m: usize,
    weight: &Weight,
    bias: Option<&[f32]>,
    rows: impl Iterator<Item = (usize, usize)>,
    out: Rows<*mut f32>,
) {
    let cols = weight.cols();
    for (row, column) in rows {
        let mut acc = [0f32; MAX_FEW_ROWS];
        match dots {
            Some(dots) => dots.row(&weight.row(row), &mut acc[..m]),
            None => row_dots(isa, weight.block_type(), &weight.row(row), x, cols, &mut acc[..m]),
        }
        let (scale, bias) = (weight.scale(row), bias.map_or(0.0, |b| b[row]));
        for (i, acc) in acc[..m].iter().enumerate() {
            // SAFETY: `i < m`, and each task owns the columns of `y` it is given.
            unsafe { *out.ptr.add(i * out.stride + column) = acc * scale + bias };
        }
    }
}

per_isa! {
    fn row_dots = row_dots_body(ty: BlockType, row: &[u8], x: &[f32], cols: usize, acc: &mut [f32])
}

#[inline(always)]
fn row_dots_body<const FMA: bool>(ty: BlockType, row: &[u8], x: &[f32], cols: usize, acc: &mut [f32]) {
    let mut buffer = [0f32; CHUNK];
    let mut at = 0;
    while at < cols {
        let len = CHUNK.min(cols - at);
        let start = at / ty.block_len() * ty.block_bytes();
        blocks::dequantize_inline::<FMA>(ty, &row[start..], &mut buffer[..len]);
        for (i, acc) in acc.iter_mut().enumerate() {
            *acc += math::dot::<FMA>(&buffer[..len], &x[i * cols + at..i * cols + at + len]);
        }
        at += len;
    }
}

/// Computes columns `from..to` (at most a panel) of `y` for all `m` rows.
#[allow(clippy::too_many_arguments)]
fn tile_rows(
    isa: Isa,
    x: &[f32],
    m: usize,
    weight: &Weight,
    bias: Option<&[f32]>,
    from: usize,
    to: usize,
    out: Rows<*mut f32>,
) {
    let (cols, n) = (weight.cols(), to - from);
    let block = K_BLOCK.min(cols);
    let mut rows = vec![0f32; n * block];
    let mut packed = vec![0f32; PANEL * block];
    let mut at = 0;
    while at < cols {
        let k = K_BLOCK.min(cols - at);
        for (j, row) in rows.chunks_exact_mut(block).enumerate() {
            weight.dequantize_part(isa, from + j, at, &mut row[..k]);
        }
        transpose_into_panel(&rows, block, k, &mut packed);
        // SAFETY: `x` has `m` rows of `cols`, the panel `k` rows of 32, and columns
        // `from..to` of `y` belong to this task alone.
        unsafe {
            gemm::panel(
                isa,
                (m, n, k),
                Rows { ptr: x.as_ptr().add(at), stride: cols },
                Rows { ptr: packed.as_ptr(), stride: PANEL },
                Rows { ptr: out.ptr.add(from), stride: out.stride },
                at > 0,
            );
        }
        at += k;
    }
    if let Some(bias) = bias {
        for i in 0..m {
            for (j, b) in bias[from..to].iter().enumerate() {
                // SAFETY: as above.
                unsafe { *out.ptr.add(i * out.stride + from + j) += b };
            }
        }
    }
}

/// Writes `rows` (of `stride`, `k` used) as `packed[p][j] = rows[j][p]`, sixteen columns at a time
/// so that the lines written stay in the L1 cache.
fn transpose_into_panel(rows: &[f32], stride: usize, k: usize, packed: &mut [f32]) {
    const BLOCK: usize = 16;
    for (b, packed) in packed[..k * PANEL].chunks_mut(BLOCK * PANEL).enumerate() {
        for (j, row) in rows.chunks_exact(stride).enumerate() {
            let row = &row[b * BLOCK..(b * BLOCK + BLOCK).min(k)];
            for (packed, v) in packed.chunks_exact_mut(PANEL).zip(row) {
                packed[j] = *v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;
    use crate::weight::tests::random_weight;

    #[test]
    fn all_types_and_shapes_agree_with_the_plain_product() {
        use BlockType::*;
        let types =
            [F32, F16, BF16, I8, I16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K, IQ4NL, IQ4XS];
        for ty in types {
            let cols = match ty.block_len() {
                1 => 83,
                32 => 96,
                _ => 1280,
            };
            for rows in [1, 33, 70] {
                let weight = random_weight(ty, rows, cols);
                let dense = weight.to_f32();
                let bias = noise(rows, 5);
                for m in [1, 2, 8, 9, 21] {
                    let x = noise(m * cols, 11);
                    // Where rows are rounded to bytes, the tests of `dots` say how far.
                    let rounds = |isa: Isa| match m <= MAX_FEW_ROWS {
                        true => isa > Isa::Scalar && Dots::new(isa, ty, &x, cols).is_some(),
                        false => Tiles::new(isa, ty, &x, cols).is_some(),
                    };
                    for isa in Isa::available().filter(|isa| !rounds(*isa)) {
                        let mut y = vec![f32::NAN; m * rows];
                        linear(isa, Regime::of_rows(m), &x, &weight, Some(&bias), &mut y);
                        for i in 0..m {
                            for r in 0..rows {
                                let terms =
                                    (0..cols).map(|p| x[i * cols + p] as f64 * dense[r * cols + p] as f64);
                                let size: f64 = terms.clone().map(f64::abs).sum();
                                let want = terms.sum::<f64>() + bias[r] as f64;
                                let error = (y[i * rows + r] as f64 - want).abs();
                                assert!(
                                    error < 1e-5 * (1.0 + size),
                                    "{ty:?} {isa:?} m={m} rows={rows}: {error}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_in_any_company() {
        use BlockType::*;
        let blocks = [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0].map(|ty| (ty, 1312));
        let k_blocks = [Q4K, Q5K, Q6K].map(|ty| (ty, 1280));
        for (ty, cols) in [(F32, 1083), (I8, 77), (IQ4NL, 96)].into_iter().chain(blocks).chain(k_blocks) {
            let (rows, m) = (70, 29);
            let weight = random_weight(ty, rows, cols);
            let (x, bias) = (noise(m * cols, 11), noise(rows, 5));
            for isa in Isa::available() {
                for (regime, sizes) in
                    [(Regime::Few, &[1, 2, 3, 5, 7, 8][..]), (Regime::Many, &[1, 2, 3, 6, 7, 9, 12, 13, 29])]
                {
                    let in_batches_of = |size: usize| -> Vec<u32> {
                        let batches = x.chunks(size * cols).flat_map(|x| {
                            let mut y = vec![f32::NAN; x.len() / cols * rows];
                            linear(isa, regime, x, &weight, Some(&bias), &mut y);
                            y
                        });
                        batches.map(f32::to_bits).collect()
                    };
                    let alone = in_batches_of(1);
                    for size in sizes {
                        assert!(in_batches_of(*size) == alone, "{ty:?} {isa:?} {regime:?} {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn some_rows_are_those_of_all() {
        use BlockType::*;
        for (ty, cols) in [(F16, 83), (Q4_1, 96), (Q6K, 512)] {
            let weight = random_weight(ty, 1000, cols);
            let beside = weight.to_interleaved().into_iter();
            let some: Vec<u32> = (0..1000).filter(|row| row * 7 % 11 < 4).chain([3]).collect();
            for weight in beside.chain([weight]) {
                for (isa, m) in Isa::available().flat_map(|isa| [1, 3, 8].map(|m| (isa, m))) {
                    let x = noise(m * cols, 11);
                    let (mut all, mut y) = (vec![f32::NAN; m * 1000], vec![f32::NAN; m * some.len()]);
                    linear(isa, Regime::Few, &x, &weight, None, &mut all);
                    linear_rows(isa, &x, &weight, &some, &mut y);
                    let want = (0..m).flat_map(|i| some.iter().map(move |row| (i, *row)));
                    let want = want.map(|(i, row)| all[i * 1000 + row as usize].to_bits());
                    assert!(y.iter().map(|v| v.to_bits()).eq(want), "{ty:?} {isa:?} m={m}");
                }
            }
        }
    }

    #[test]
    fn dequantisation_is_bit_equal_to_candles() {
        use candle_core::quantized::{GgmlDType, QStorage, QTensor};
        let pairs = [
            (BlockType::Q4_0, GgmlDType::Q4_0),
            (BlockType::Q4_1, GgmlDType::Q4_1),
            (BlockType::Q5_0, GgmlDType::Q5_0),
            (BlockType::Q5_1, GgmlDType::Q5_1),
            (BlockType::Q8_0, GgmlDType::Q8_0),
            (BlockType::Q2K, GgmlDType::Q2K),
            (BlockType::Q3K, GgmlDType::Q3K),
            (BlockType::Q4K, GgmlDType::Q4K),
            (BlockType::Q5K, GgmlDType::Q5K),
            (BlockType::Q6K, GgmlDType::Q6K),
        ];
        for (ty, dtype) in pairs {
            let weight = random_weight(ty, 3, 512);
            let device = candle_core::Device::Cpu;
            let storage = QStorage::from_data(weight.bytes().to_vec().into(), &device, dtype).unwrap();
            let theirs = QTensor::new(storage, (3, 512)).unwrap().dequantize(&device).unwrap();
            let theirs = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for isa in Isa::available() {
                let mut ours = vec![0f32; 3 * 512];
                blocks::dequantize(isa, ty, weight.bytes(), &mut ours);
                for (a, b) in ours.iter().zip(&theirs) {
                    assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-3), "{ty:?} {isa:?}: {a} {b}");
                }
            }
        }
    }
}
