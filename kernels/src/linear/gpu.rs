use crate::activation::Gate;
use crate::gpu::{Argument, Array, Gpu, GpuError, Launch, shapes};
use crate::{BlockType, Weight};

/// Rows of activations that [`linear`] takes at most.
pub const MOST_ROWS: usize = 16;
/// Rows of a tile of [`linear_many`], of activations and of the weight.
const TILE: usize = 64;
/// Floats of shared memory that a tile takes: bytes of both sides, scales and sums.
const TILE_FLOATS: usize = TILE * (2 * 9 + 3 + 2 * 2);
/// Threads of a block: four warps, a row of the weight each.
const THREADS: u32 = 128;
const WARPS: usize = THREADS as usize / 32;

/// A weight matrix on a device, in its file's blocks.
pub struct GpuWeight {
    bytes: Array<u8>,
    ty: BlockType,
    rows: usize,
    cols: usize,
}

/// Activations rounded to bytes: see [`round_rows`].
pub struct Rounded {
    q: Array<i32>,
    scales: Array<f32>,
    sums: Array<i32>,
    cols: usize,
}

impl GpuWeight {
    /// A copy of `weight`.
    ///
    /// # Errors
    /// If its type is none of the device's kernels or it is not in its file's order; if there is no memory left.
    pub fn upload(gpu: &Gpu, weight: &Weight) -> Result<GpuWeight, GpuError> {
        let (ty, rows, cols) = (weight.block_type(), weight.rows(), weight.cols());
        let plain = !weight.is_interleaved() && !weight.has_row_scale();
        shapes(plain && takes(ty), || {
            format!("{weight:?} is of a type that the GPU does not multiply; use --device cpu")
        })?;
        Ok(GpuWeight { bytes: gpu.array_of(weight.bytes())?, ty, rows, cols })
    }

    /// The rows of `values`, as they are.
    ///
    /// # Errors
    /// If they are not of `cols`.
    pub fn over(values: &Array<f32>, cols: usize) -> Result<GpuWeight, GpuError> {
        let rows = values.len() / cols.max(1);
        shapes(cols > 0 && values.len() == rows * cols, || format!("{} in rows of {cols}", values.len()))?;
        Ok(GpuWeight { bytes: values.bytes(), ty: BlockType::F32, rows, cols })
    }

    /// Whether it is multiplied as it is, with activations as they are; else with rounded ones.
    pub fn is_dense(&self) -> bool {
        is_dense(self.ty)
    }

    /// Where it lies: another number for each of two that are there at once.
    pub fn address(&self) -> u64 {
        self.bytes.address()
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

impl Rounded {
    /// Room for `rows` rows of `cols`, a multiple of 32.
    ///
    /// # Errors
    /// If it is none; if there is no memory left.
    pub fn new(gpu: &Gpu, rows: usize, cols: usize) -> Result<Rounded, GpuError> {
        shapes(cols.is_multiple_of(32), || format!("rows of {cols} are not rounded in groups of 32"))?;
        let groups = rows * cols / 32;
        let (q, scales, sums) = (gpu.array(8 * groups)?, gpu.array(groups)?, gpu.array(groups)?);
        Ok(Rounded { q, scales, sums, cols })
    }

    /// The same memory for rows of `cols`, a multiple of 32.
    ///
    /// # Errors
    /// If it is none.
    pub fn with_cols(&self, cols: usize) -> Result<Rounded, GpuError> {
        shapes(cols.is_multiple_of(32), || format!("rows of {cols} are not rounded in groups of 32"))?;
        let (q, scales, sums) = (self.q.all(), self.scales.all(), self.sums.all());
        Ok(Rounded { q, scales, sums, cols })
    }

    /// Bytes that [`Rounded::new`] allocates.
    pub fn lens_bytes(rows: usize, cols: usize) -> [usize; 3] {
        let groups = rows * cols / 32;
        [32 * groups, 4 * groups, 4 * groups]
    }

    /// Whether there is room for `m` rows of `cols`.
    fn has(&self, m: usize, cols: usize) -> bool {
        self.cols == cols && self.scales.len() >= m * cols / 32
    }

    /// The bytes and the scale of each 32.
    ///
    /// # Errors
    /// What the driver says.
    pub fn to_vec(&self) -> Result<(Vec<i8>, Vec<f32>), GpuError> {
        let bytes =
            self.q.to_vec()?.into_iter().flat_map(|word| word.to_le_bytes().map(|b| b as i8)).collect();
        Ok((bytes, self.scales.to_vec()?))
    }
}

/// Whether weights are multiplied as they are, with activations as they are.
fn is_dense(ty: BlockType) -> bool {
    matches!(ty, BlockType::F32 | BlockType::F16 | BlockType::BF16)
}

/// Whether weights of this type are multiplied on a device.
pub fn takes(ty: BlockType) -> bool {
    is_dense(ty) || kernels(ty).is_some()
}

/// GGML's number of a type.
fn number(ty: BlockType) -> i32 {
    (0..32).find(|n| BlockType::from_ggml(*n) == Some(ty)).map_or(-1, |n| n as i32)
}

/// The kernels of a type.
struct Kernels {
    /// For 1, 4, 8 and 16 rows.
    few: [&'static str; 4],
    /// The same of two weights and their gate.
    gated: [&'static str; 4],
    many: &'static str,
}

fn kernels(ty: BlockType) -> Option<Kernels> {
    macro_rules! of {
        ($ty:literal) => {
            Kernels {
                few: of!("linear_", $ty),
                gated: of!("gated_", $ty),
                many: concat!("linear_", $ty, "_many"),
            }
        };
        ($name:literal, $ty:literal) => {
            [
                concat!($name, $ty, "_1"),
                concat!($name, $ty, "_4"),
                concat!($name, $ty, "_8"),
                concat!($name, $ty, "_16"),
            ]
        };
    }
    Some(match ty {
        BlockType::Q4_0 => of!("q4_0"),
        BlockType::Q4_1 => of!("q4_1"),
        BlockType::Q5_0 => of!("q5_0"),
        BlockType::Q5_1 => of!("q5_1"),
        BlockType::Q8_0 => of!("q8_0"),
        BlockType::Q4K => of!("q4_k"),
        BlockType::Q5K => of!("q5_k"),
        BlockType::Q6K => of!("q6_k"),
        _ => return None,
    })
}

/// That of them which takes `m` rows.
fn of_rows(kernels: [&'static str; 4], m: usize) -> &'static str {
    kernels[match m {
        1 => 0,
        2..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }]
}

/// Rounds `m` rows of `x` to bytes, the largest of each 32 to 127.
///
/// # Errors
/// If shapes disagree; what the driver says.
pub fn round_rows(x: &Array<f32>, m: usize, to: &mut Rounded) -> Result<(), GpuError> {
    let groups = to.cols / 32;
    let fits = x.len() >= m * to.cols && to.scales.len() >= m * groups;
    shapes(fits, || format!("round_rows: {m} rows of {} values by {}", x.len(), to.cols))?;
    let launch = Launch::new(groups.div_ceil(WARPS), THREADS).with_rows(m);
    let arguments =
        [x.into(), (&to.q).into(), (&to.scales).into(), (&to.sums).into(), (groups as i32).into()];
    // SAFETY: a warp has one of the groups of one of the rows.
    unsafe { x.gpu().launch("round_rows", launch, &arguments) }
}

/// [`super::linear`] of few rows `x [m, cols]`: dense weights with `x`, quantised ones with `rounded`, which
/// [`round_rows`] made of it. `y [m, rows]`. A row of `y` has the same bits whatever rows are beside it.
///
/// # Errors
/// If shapes disagree or there are more rows than [`MOST_ROWS`]; what the driver says.
pub fn linear(
    weight: &GpuWeight,
    x: &Array<f32>,
    rounded: &Rounded,
    bias: Option<&Array<f32>>,
    m: usize,
    y: &mut Array<f32>,
) -> Result<(), GpuError> {
    // SAFETY: all rows of the weight.
    unsafe { few_rows(weight, None, x, rounded, bias, m, y) }
}

/// [`linear`] over the rows `ids` of the weight ([`super::linear_rows`]): `y [m, ids.len()]`.
///
/// # Safety
/// Each id is a row of the weight.
///
/// # Errors
/// As [`linear`].
pub unsafe fn linear_rows(
    weight: &GpuWeight,
    ids: &Array<i32>,
    x: &Array<f32>,
    rounded: &Rounded,
    m: usize,
    y: &mut Array<f32>,
) -> Result<(), GpuError> {
    // SAFETY: the caller's word.
    unsafe { few_rows(weight, Some(ids), x, rounded, None, m, y) }
}

unsafe fn few_rows(
    weight: &GpuWeight,
    ids: Option<&Array<i32>>,
    x: &Array<f32>,
    rounded: &Rounded,
    bias: Option<&Array<f32>>,
    m: usize,
    y: &mut Array<f32>,
) -> Result<(), GpuError> {
    let &GpuWeight { cols, ty, .. } = weight;
    let rows = ids.map_or(weight.rows, Array::len);
    let source = if is_dense(ty) { x.len() >= m * cols } else { rounded.has(m, cols) };
    let fits = (1..=MOST_ROWS).contains(&m)
        && source
        && y.len() >= m * rows
        && bias.is_none_or(|b| b.len() == weight.rows);
    shapes(fits, || format!("linear: {m} rows of {} values by {rows}x{cols} into {}", x.len(), y.len()))?;
    let launch = Launch::new(rows.div_ceil(WARPS), THREADS);
    let [rows, cols, m_rows] = [rows, cols, m].map(|n| (n as i32).into());
    let (w, ids, bias, y): (Argument<'_>, Argument<'_>, _, _) =
        ((&weight.bytes).into(), ids.into(), bias.into(), (&*y).into());
    match kernels(ty) {
        // SAFETY: a warp has one row of the weight, and reads and writes `m` rows that are there.
        None => unsafe {
            let arguments = [w, ids, x.into(), bias, y, rows, cols, m_rows, number(ty).into()];
            x.gpu().launch("linear_dense", launch, &arguments)
        },
        Some(Kernels { few, .. }) => {
            let (q, scales, sums) = ((&rounded.q).into(), (&rounded.scales).into(), (&rounded.sums).into());
            let arguments = [w, ids, q, scales, sums, bias, y, rows, cols, m_rows];
            // SAFETY: as above.
            unsafe { x.gpu().launch(of_rows(few, m), launch, &arguments) }
        }
    }
}

/// [`crate::activation::gated`] of what [`linear`] makes of `rounded` with `gate` and with `up`, two quantised weights of
/// one type and shape: `y [m, rows]`, without either in memory.
///
/// # Errors
/// If shapes or types disagree or there are more rows than [`MOST_ROWS`]; what the driver says.
pub fn linear_gated(
    (gate, up): (&GpuWeight, &GpuWeight),
    kind: Gate,
    rounded: &Rounded,
    m: usize,
    y: &mut Array<f32>,
) -> Result<(), GpuError> {
    let &GpuWeight { rows, cols, ty, .. } = gate;
    let alike = (up.ty, up.rows, up.cols) == (ty, rows, cols);
    let fits = alike && (1..=MOST_ROWS).contains(&m) && rounded.has(m, cols) && y.len() >= m * rows;
    let Some(Kernels { gated, .. }) = kernels(ty).filter(|_| fits) else {
        let text = format!("linear_gated: {m} rows by {rows}x{cols} of {ty:?} into {}", y.len());
        return Err(GpuError::Shape(text));
    };
    let arguments = [
        (&gate.bytes).into(),
        (&up.bytes).into(),
        (&rounded.q).into(),
        (&rounded.scales).into(),
        (&rounded.sums).into(),
        (&*y).into(),
        (rows as i32).into(),
        (cols as i32).into(),
        (m as i32).into(),
        i32::from(kind == Gate::Silu).into(),
    ];
    // SAFETY: a warp has one row of both weights, and reads and writes `m` rows that are there.
    unsafe { y.gpu().launch(of_rows(gated, m), Launch::new(rows.div_ceil(WARPS), THREADS), &arguments) }
}

/// Whether [`linear_gated`] takes both.
pub fn can_gate(gate: &GpuWeight, up: &GpuWeight) -> bool {
    (gate.ty, gate.rows, gate.cols) == (up.ty, up.rows, up.cols) && kernels(gate.ty).is_some()
}

/// [`super::linear`] of any number of rows over a quantised weight, on tensor cores: `y [m, rows]` of what
/// [`round_rows`] made of `m` rows.
///
/// # Errors
/// If shapes disagree or the weight is dense; what the driver says.
pub fn linear_many(
    weight: &GpuWeight,
    rounded: &Rounded,
    bias: Option<&Array<f32>>,
    m: usize,
    y: &mut Array<f32>,
) -> Result<(), GpuError> {
    let &GpuWeight { rows, cols, ty, .. } = weight;
    let Some(Kernels { many: kernel, .. }) = kernels(ty) else {
        return Err(GpuError::Shape(format!("linear_many: {ty:?} has no tiles")));
    };
    let fits = rounded.has(m, cols) && y.len() >= m * rows && bias.is_none_or(|b| b.len() == rows);
    shapes(fits, || format!("linear_many: {m} rows by {rows}x{cols} into {}", y.len()))?;
    let launch = Launch::new(rows.div_ceil(TILE), 2 * TILE as u32);
    let launch = launch.with_rows(m.div_ceil(TILE)).with_shared_f32(TILE_FLOATS);
    let arguments = [
        (&weight.bytes).into(),
        (&rounded.q).into(),
        (&rounded.scales).into(),
        (&rounded.sums).into(),
        bias.into(),
        (&*y).into(),
        (rows as i32).into(),
        (cols as i32).into(),
        (m as i32).into(),
    ];
    // SAFETY: a block reads and writes the rows of its tile that are there.
    unsafe { y.gpu().launch(kernel, launch, &arguments) }
}

/// Which numbers of the activations are the rows of a product.
#[derive(Clone, Copy, Debug)]
pub enum RowsOf {
    /// One row behind the other.
    Matrix,
    /// Frames of `channels`: of three neighbours, with zeros before the first and behind the last, and every
    /// `stride`-th of these ([`crate::conv1d`]).
    Frames {
        /// Numbers a frame.
        channels: usize,
        /// Frames from one row to the next.
        stride: usize,
    },
}

/// [`super::linear`] of any number of rows of `x` over a dense weight, or with [`RowsOf::Frames`]
/// [`crate::conv1d::conv1d`]; with `gelu` [`crate::activation::gelu`] of that. On tensor cores: both sides as halves, so
/// numbers beyond 65,504 are infinite; sums in f32. `y [m, rows]`.
///
/// # Errors
/// If shapes disagree or the weight is quantised; what the driver says.
pub fn matmul(
    weight: &GpuWeight,
    x: &Array<f32>,
    of: RowsOf,
    bias: Option<&Array<f32>>,
    gelu: bool,
    y: &mut Array<f32>,
) -> Result<(), GpuError> {
    let &GpuWeight { rows, cols, ty, .. } = weight;
    let (len, m) = (x.len(), y.len() / rows);
    let (step, offset, fits) = match of {
        RowsOf::Matrix => (cols, 0, len == m * cols),
        RowsOf::Frames { channels, stride } => {
            let frames = len / channels.max(1);
            let whole = channels > 0 && stride > 0 && len == frames * channels && cols == 3 * channels;
            (
                stride * channels,
                -(channels as i32),
                whole && frames > 0 && m == (frames - 1) / stride.max(1) + 1,
            )
        }
    };
    let fits = fits && is_dense(ty) && y.len() == m * rows && bias.is_none_or(|b| b.len() == rows);
    shapes(fits && i32::try_from(len + cols).is_ok(), || {
        format!("matmul: {len} values, {of:?}, by {rows}x{cols} of {ty:?} into {}", y.len())
    })?;
    let launch = Launch::new(rows.div_ceil(TILE), 2 * TILE as u32);
    let launch = launch.with_rows(m.div_ceil(TILE)).with_shared_f32(TILE * (32 + 8));
    let arguments = [
        (&weight.bytes).into(),
        x.into(),
        bias.into(),
        (&*y).into(),
        (rows as i32).into(),
        (cols as i32).into(),
        (m as i32).into(),
        number(ty).into(),
        (step as i32).into(),
        offset.into(),
        (len as i32).into(),
        i32::from(gelu).into(),
    ];
    // SAFETY: a block reads and writes the rows of its tile that are there, and of `x` no more than `len`.
    unsafe { x.gpu().launch("matmul", launch, &arguments) }
}

/// Rows `ids` of `weight`, which must be rows of it, times `scale`: `y [ids.len(), cols]`. Ids on the device are not
/// checked.
///
/// # Safety
/// Each id is a row of the weight.
///
/// # Errors
/// If `y` has another length; what the driver says.
pub unsafe fn gather_rows(
    weight: &GpuWeight,
    ids: &Array<i32>,
    scale: f32,
    y: &mut Array<f32>,
) -> Result<(), GpuError> {
    let cols = weight.cols;
    shapes(y.len() == ids.len() * cols, || format!("gather_rows: {} of {cols} into {}", ids.len(), y.len()))?;
    let (number, cols) = (number(weight.ty), cols as i32);
    let arguments =
        [(&weight.bytes).into(), ids.into(), (&*y).into(), cols.into(), number.into(), scale.into()];
    // SAFETY: the caller's word on the ids; a block writes one row.
    unsafe { y.gpu().launch("gather_rows", Launch::new(ids.len(), THREADS), &arguments) }
}
