use crate::gpu::{Array, Gpu, GpuError, Launch, shapes};
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
        shapes(plain && (is_dense(ty) || kernels(ty).is_some()), || {
            format!("{weight:?} is of a type that the GPU does not multiply")
        })?;
        Ok(GpuWeight { bytes: gpu.array_of(weight.bytes())?, ty, rows, cols })
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

/// GGML's number of a type.
fn number(ty: BlockType) -> i32 {
    (0..32).find(|n| BlockType::from_ggml(*n) == Some(ty)).map_or(-1, |n| n as i32)
}

/// The kernels for 1, 4, 8, 16 and many rows.
fn kernels(ty: BlockType) -> Option<[&'static str; 5]> {
    macro_rules! of {
        ($name:literal) => {
            [
                concat!($name, "_1"),
                concat!($name, "_4"),
                concat!($name, "_8"),
                concat!($name, "_16"),
                concat!($name, "_many"),
            ]
        };
    }
    Some(match ty {
        BlockType::Q4_0 => of!("linear_q4_0"),
        BlockType::Q4_1 => of!("linear_q4_1"),
        BlockType::Q5_0 => of!("linear_q5_0"),
        BlockType::Q5_1 => of!("linear_q5_1"),
        BlockType::Q8_0 => of!("linear_q8_0"),
        BlockType::Q4K => of!("linear_q4_k"),
        BlockType::Q5K => of!("linear_q5_k"),
        BlockType::Q6K => of!("linear_q6_k"),
        _ => return None,
    })
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
/// [`round_rows`] made of it. `y [m, rows]`.
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
    let &GpuWeight { rows, cols, ty, .. } = weight;
    let source = if is_dense(ty) { x.len() >= m * cols } else { rounded.has(m, cols) };
    let fits =
        (1..=MOST_ROWS).contains(&m) && source && y.len() >= m * rows && bias.is_none_or(|b| b.len() == rows);
    shapes(fits, || format!("linear: {m} rows of {} values by {rows}x{cols} into {}", x.len(), y.len()))?;
    let launch = Launch::new(rows.div_ceil(WARPS), THREADS);
    let [rows, cols] = [rows, cols].map(|n| (n as i32).into());
    let (w, bias, y) = ((&weight.bytes).into(), bias.into(), (&*y).into());
    let (m_rows, gpu) = ((m as i32).into(), x.gpu());
    match kernels(ty) {
        // SAFETY: a warp has one row of the weight, and reads and writes `m` rows that are there.
        None => unsafe {
            let arguments = [w, x.into(), bias, y, rows, cols, m_rows, number(ty).into()];
            gpu.launch("linear_dense", launch, &arguments)
        },
        Some([one, four, eight, sixteen, _]) => {
            let kernel = match m {
                1 => one,
                2..=4 => four,
                5..=8 => eight,
                _ => sixteen,
            };
            let (q, scales, sums) = ((&rounded.q).into(), (&rounded.scales).into(), (&rounded.sums).into());
            let arguments = [w, q, scales, sums, bias, y, rows, cols, m_rows];
            // SAFETY: as above.
            unsafe { gpu.launch(kernel, launch, &arguments) }
        }
    }
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
    let Some([.., kernel]) = kernels(ty) else {
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

/// Rows `ids` of `weight`, which must be rows of it: `y [ids.len(), cols]`. Ids on the device are not checked.
///
/// # Safety
/// Each id is a row of the weight.
///
/// # Errors
/// If `y` has another length; what the driver says.
pub unsafe fn gather_rows(weight: &GpuWeight, ids: &Array<i32>, y: &mut Array<f32>) -> Result<(), GpuError> {
    let cols = weight.cols;
    shapes(y.len() == ids.len() * cols, || format!("gather_rows: {} of {cols} into {}", ids.len(), y.len()))?;
    let arguments =
        [(&weight.bytes).into(), ids.into(), (&*y).into(), (cols as i32).into(), number(weight.ty).into()];
    // SAFETY: the caller's word on the ids; a block writes one row.
    unsafe { y.gpu().launch("gather_rows", Launch::new(ids.len(), THREADS), &arguments) }
}
