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

/// One of the products of some activations.
pub struct Product<'a> {
    /// `[rows, cols]`.
    pub weight: &'a Weight,
    /// `[rows]`.
    pub bias: Option<&'a [f32]>,
    /// `[m, rows]`.
    pub y: &'a mut [f32],
}

/// `y[m, rows] = x[m, cols] weightᵀ + bias` with `m = x.len() / cols`: dot products with each
/// row of the weight (with activations rounded to bytes where the type allows, see `dots`), or tiles
/// over panels of 32 dequantised rows.
///
/// # Panics
/// If the lengths disagree, or `m` exceeds [`MAX_FEW_ROWS`] in [`Regime::Few`].
pub fn linear(isa: Isa, regime: Regime, x: &[f32], weight: &Weight, bias: Option<&[f32]>, y: &mut [f32]) {
    linear_each(isa, regime, x, weight.cols(), &mut [Product { weight, bias, y }]);
}

/// As [`linear`], bit for bit, for several weights: activations are rounded once, and threads meet once.
///
/// # Panics
/// As [`linear`].
pub fn linear_each(isa: Isa, regime: Regime, x: &[f32], cols: usize, products: &mut [Product<'_>]) {
    let m = x.len() / cols;
    let mut total_rows = 0;
    for Product { weight, bias, y } in &*products {
        let rows = weight.rows();
        assert!(weight.cols() == cols && x.len() == m * cols && y.len() == m * rows);
        assert!(bias.is_none_or(|b| b.len() == rows));
        total_rows += rows;
    }
    if m == 0 {
        return;
    }
    // A handful of tasks a thread evens out the load without paying for each row.
    let share = total_rows.div_ceil(4 * rayon::current_num_threads());
    let mut ways: Vec<Way> = Vec::with_capacity(products.len());
    let mut tasks = Vec::with_capacity(8 * rayon::current_num_threads());
    for (n, product) in products.iter_mut().enumerate() {
        let way = Way::new(isa, regime, x, product.weight, &ways);
        let per_task = match &way {
            Way::Tiles(_) => share.next_multiple_of(PANEL),
            Way::Dots(_) | Way::FloatDots => share.max(8),
            Way::FloatTiles => PANEL,
        };
        let (rows, out) =
            (product.weight.rows(), Rows { ptr: product.y.as_mut_ptr(), stride: product.weight.rows() });
        tasks.extend((0..rows).step_by(per_task).map(|from| (n, out, from, (from + per_task).min(rows))));
        ways.push(way);
    }
    let products = &*products;
    let task = |(n, out, from, to): (usize, Rows<*mut f32>, usize, usize)| {
        let (weight, bias) = (products[n].weight, products[n].bias);
        let each = (from..to).map(|row| (row, row));
        match &ways[n] {
            // SAFETY: each task has columns of its own of one product's `y`.
            Way::Tiles(tiles) => unsafe { tiles.columns(weight, bias, (from, to), out) },
            Way::Dots(dots) => dot_rows(isa, Some(dots), x, m, weight, bias, each, out),
            Way::FloatDots => dot_rows(isa, None, x, m, weight, bias, each, out),
            Way::FloatTiles => tile_rows(isa, x, m, weight, bias, from, to, out),
        }
    };
    let parallel = m * total_rows * cols >= PARALLEL_MACS && rayon::current_num_threads() > 1;
    if parallel { tasks.into_par_iter().for_each(task) } else { tasks.into_iter().for_each(task) }
}

/// How activations meet a weight.
enum Way {
    Tiles(Tiles),
    Dots(Dots),
    FloatDots,
    FloatTiles,
}

impl Way {
    /// Rounds `x`, unless that was done for one of the weights before.
    fn new(isa: Isa, regime: Regime, x: &[f32], weight: &Weight, before: &[Way]) -> Way {
        let (ty, cols) = (weight.block_type(), weight.cols());
        // Rows side by side meet few rows as they meet many.
        if regime == Regime::Many || weight.is_interleaved() {
            let rounded = before.iter().find_map(|way| match way {
                Way::Tiles(tiles) => tiles.for_type(ty),
                _ => None,
            });
            if let Some(tiles) = rounded.or_else(|| Tiles::new(isa, ty, x, cols)) {
                return Way::Tiles(tiles);
            }
        }
        if regime == Regime::Many {
            return Way::FloatTiles;
        }
        // Without vector instructions products of bytes cost more than those of the floats they replace.
        if isa == Isa::Scalar {
            return Way::FloatDots;
        }
        let rounded = before.iter().find_map(|way| match way {
            Way::Dots(dots) => dots.for_type(isa, ty),
            _ => None,
        });
        rounded.or_else(|| Dots::new(isa, ty, x, cols)).map_or(Way::FloatDots, Way::Dots)
    }
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
    let way = Way::new(isa, Regime::Few, x, weight, &[]);
    let out = Rows { ptr: y.as_mut_ptr(), stride: rows.len() };
    rows.par_chunks(ROWS_A_TASK).enumerate().for_each(|(task, rows)| {
        let out = out.offset(task * ROWS_A_TASK);
        let places = rows.iter().enumerate().map(|(at, row)| (*row as usize, at));
        match &way {
            Way::Tiles(tiles) => tile_these(tiles, m, weight, rows, out),
            Way::Dots(dots) => dot_rows(isa, Some(dots), x, m, weight, None, places, out),
            // Few rows make no tiles of floats.
            Way::FloatDots | Way::FloatTiles => dot_rows(isa, None, x, m, weight, None, places, out),
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
    fn several_products_are_those_of_each() {
        use BlockType::*;
        for types in [[Q4K, Q4K, Q6K], [F16, Q8_0, Q4_1], [Q6K, Q4K, F32]] {
            let cols = 512;
            let weights = types.map(|ty| random_weight(ty, 70, cols));
            let beside = weights.each_ref().map(|w| w.to_interleaved().unwrap_or(w.clone()));
            let bias = noise(70, 5);
            for (weights, isa) in
                [weights, beside].iter().flat_map(|w| Isa::available().map(move |isa| (w, isa)))
            {
                for (m, regime) in [(1, Regime::Few), (8, Regime::Few), (3, Regime::Many), (21, Regime::Many)]
                {
                    let x = noise(m * cols, 11);
                    let (mut alone, mut each) = (vec![f32::NAN; 3 * m * 70], vec![f32::NAN; 3 * m * 70]);
                    for (w, y) in weights.iter().zip(alone.chunks_exact_mut(m * 70)) {
                        linear(isa, regime, &x, w, Some(&bias), y);
                    }
                    let products = weights.iter().zip(each.chunks_exact_mut(m * 70));
                    let products = products.map(|(weight, y)| Product { weight, bias: Some(&bias), y });
                    linear_each(isa, regime, &x, cols, &mut products.collect::<Vec<_>>());
                    assert!(alone == each, "{types:?} {isa:?} {regime:?} m={m}");
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
