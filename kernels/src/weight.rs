use crate::dots::interleaved::{self, LANES};
use crate::{BlockType, Isa, blocks};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that outlive every tensor made over them: a mapped file, or an owned buffer.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Why a weight cannot be made over the given bytes.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// Shape and byte count disagree.
    #[error("a {rows}x{cols} matrix of {ty:?} does not fit its {len_bytes} bytes")]
    Size {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Storage type.
        ty: BlockType,
        /// Bytes at hand.
        len_bytes: usize,
    },
}

/// A weight matrix `[rows, cols]`, row-major, dense or in quantised blocks, over shared bytes.
///
/// Nothing is copied but by [`Weight::to_q8_0`] and [`Weight::interleave`]: a mapped file stays the only copy of its
/// weights.
#[derive(Clone)]
pub struct Weight {
    bytes: SharedBytes,
    range: Range<usize>,
    ty: BlockType,
    rows: usize,
    cols: usize,
    /// One multiplier a row for I8 and I16.
    row_scale: Option<Arc<[f32]>>,
    /// Rows lie side by side: see [`Weight::interleave`].
    interleaved: bool,
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weight[{}, {}] {:?}", self.rows, self.cols, self.ty)
    }
}

impl Weight {
    /// A `[rows, cols]` matrix over `bytes[range]`.
    ///
    /// # Errors
    /// If the range is out of bounds or its length is not what the shape needs.
    pub fn new(
        bytes: SharedBytes,
        range: Range<usize>,
        ty: BlockType,
        rows: usize,
        cols: usize,
    ) -> Result<Weight, WeightError> {
        let needed = ty.row_bytes(cols).and_then(|row_bytes| row_bytes.checked_mul(rows));
        Weight::over(bytes, range, ty, (rows, cols), needed, false)
    }

    /// The matrix over `bytes[range]`, which are to be `needed_bytes`.
    fn over(
        bytes: SharedBytes,
        range: Range<usize>,
        ty: BlockType,
        (rows, cols): (usize, usize),
        needed_bytes: Option<usize>,
        interleaved: bool,
    ) -> Result<Weight, WeightError> {
        let fits = range.start <= range.end && range.end <= (*bytes).as_ref().len();
        if !fits || rows == 0 || cols == 0 || needed_bytes != Some(range.end - range.start) {
            let len_bytes = range.end.saturating_sub(range.start);
            return Err(WeightError::Size { rows, cols, ty, len_bytes });
        }
        Ok(Weight { bytes, range, ty, rows, cols, row_scale: None, interleaved })
    }

    /// An owned f32 matrix.
    ///
    /// # Errors
    /// If `values` has not `rows * cols` elements.
    pub fn from_f32(values: Vec<f32>, rows: usize, cols: usize) -> Result<Weight, WeightError> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let len = bytes.len();
        Weight::new(Arc::new(bytes), 0..len, BlockType::F32, rows, cols)
    }

    /// The same weight with one multiplier a row (`scale.len() == rows`).
    ///
    /// # Errors
    /// If there is not one multiplier a row.
    pub fn with_row_scale(mut self, scale: Arc<[f32]>) -> Result<Weight, WeightError> {
        if scale.len() != self.rows {
            let (rows, cols, ty) = (scale.len(), self.cols, self.ty);
            return Err(WeightError::Size { rows, cols, ty, len_bytes: self.range.len() });
        }
        self.row_scale = Some(scale);
        Ok(self)
    }

    /// Bytes of a `[rows, cols]` matrix of type `ty` once it is interleaved; `None` where that is of no
    /// use to the instruction set in use, or to products with this type.
    pub fn interleaved_bytes(ty: BlockType, rows: usize, cols: usize) -> Option<usize> {
        if !matches!(Isa::current(), Isa::Avx2 | Isa::AvxVnni) {
            return None;
        }
        interleaved::len_bytes(ty, rows, ty.row_bytes(cols)?)
    }

    /// Lays the rows side by side, several to a register, in `out`, which has
    /// [`Weight::interleaved_bytes`]. Nothing is rounded.
    ///
    /// # Panics
    /// If `out` is of another length or the weight is interleaved already.
    pub fn interleave(&self, out: &mut [u8]) {
        use rayon::prelude::*;
        assert!(
            !self.interleaved
                && interleaved::len_bytes(self.ty, self.rows, self.row_bytes()) == Some(out.len())
        );
        let (beside, ty, row_bytes) = (LANES * self.row_bytes(), self.ty, self.row_bytes());
        let rows = self.bytes().par_chunks(beside);
        out.par_chunks_exact_mut(beside)
            .zip(rows)
            .for_each(|(out, rows)| interleaved::interleave(ty, rows, row_bytes, out));
    }

    /// The same weight interleaved, in memory of its own, where that is of use ([`Weight::interleaved_bytes`]).
    pub fn to_interleaved(&self) -> Option<Weight> {
        let mut bytes = vec![0u8; Weight::interleaved_bytes(self.ty, self.rows, self.cols)?];
        self.interleave(&mut bytes);
        let len = bytes.len();
        Weight::interleaved(Arc::new(bytes), 0..len, self.ty, self.rows, self.cols).ok()
    }

    /// A `[rows, cols]` matrix over `bytes[range]` as [`Weight::interleave`] left it.
    ///
    /// # Errors
    /// If the range is out of bounds or its length is not what the shape needs.
    pub fn interleaved(
        bytes: SharedBytes,
        range: Range<usize>,
        ty: BlockType,
        rows: usize,
        cols: usize,
    ) -> Result<Weight, WeightError> {
        let needed = ty.row_bytes(cols).and_then(|row_bytes| interleaved::len_bytes(ty, rows, row_bytes));
        Weight::over(bytes, range, ty, (rows, cols), needed, true)
    }

    /// Whether rows lie side by side.
    pub fn is_interleaved(&self) -> bool {
        self.interleaved
    }

    /// Rows `range` as a weight of their own over the same bytes (fused projections).
    ///
    /// # Errors
    /// If the range is empty, exceeds the rows, or is not of rows that lie one after the other.
    pub fn slice_rows(&self, rows: Range<usize>) -> Result<Weight, WeightError> {
        let row_bytes = self.row_bytes();
        if rows.start >= rows.end || rows.end > self.rows || self.interleaved {
            let (cols, ty) = (self.cols, self.ty);
            return Err(WeightError::Size { rows: rows.end, cols, ty, len_bytes: self.range.len() });
        }
        let start = self.range.start;
        Ok(Weight {
            bytes: self.bytes.clone(),
            range: start + rows.start * row_bytes..start + rows.end * row_bytes,
            rows: rows.len(),
            row_scale: self.row_scale.as_ref().map(|s| s[rows.clone()].into()),
            ..*self
        })
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Storage type.
    pub fn block_type(&self) -> BlockType {
        self.ty
    }

    /// Bytes the weight takes where it lies.
    pub fn len_bytes(&self) -> usize {
        self.range.len() + self.row_scale.as_ref().map_or(0, |s| 4 * s.len())
    }

    /// The stored bytes of all rows, as they lie.
    pub fn bytes(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.range.clone()]
    }

    fn row_bytes(&self) -> usize {
        self.range.len() / if self.interleaved { self.rows.next_multiple_of(LANES) } else { self.rows }
    }

    /// Whether each row has a multiplier of its own beside its bytes.
    pub(crate) fn has_row_scale(&self) -> bool {
        self.row_scale.is_some()
    }

    /// The stored bytes of one row: put together again if rows are interleaved.
    pub(crate) fn row(&self, row: usize) -> Cow<'_, [u8]> {
        let row_bytes = self.row_bytes();
        if self.interleaved {
            let beside = &self.bytes()[row / LANES * LANES * row_bytes..][..LANES * row_bytes];
            return Cow::Owned(interleaved::row(self.ty, beside, row % LANES));
        }
        Cow::Borrowed(&self.bytes()[row * row_bytes..(row + 1) * row_bytes])
    }

    /// The multiplier of one row (1 where the format has none).
    pub(crate) fn scale(&self, row: usize) -> f32 {
        self.row_scale.as_ref().map_or(1.0, |s| s[row])
    }

    /// Writes row `row` as f32 into `out` (`out.len() == cols`).
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        self.dequantize_part(Isa::current(), row, 0, out);
    }

    /// Writes columns `from..from + out.len()` of a row; both ends at block boundaries.
    pub(crate) fn dequantize_part(&self, isa: Isa, row: usize, from: usize, out: &mut [f32]) {
        let start = from / self.ty.block_len() * self.ty.block_bytes();
        blocks::dequantize(isa, self.ty, &self.row(row)[start..], out);
        let scale = self.scale(row);
        if scale != 1.0 {
            out.iter_mut().for_each(|v| *v *= scale);
        }
    }

    /// The same rows in blocks of bytes (`quantize_row_q8_0` of ggml): a quarter of f32's reading, and
    /// products of bytes where rows are few. `None` where rows are not whole blocks or already smaller.
    pub fn to_q8_0(&self) -> Option<Weight> {
        use rayon::prelude::*;
        let row_bytes = self.ty.q8_0_row_bytes(self.cols)?;
        let mut bytes = vec![0u8; self.rows * row_bytes];
        bytes.par_chunks_exact_mut(row_bytes).enumerate().for_each_init(
            || vec![0f32; self.cols],
            |values, (row, bytes)| {
                self.dequantize_row(row, values);
                blocks::quantize_q8_0(Isa::current(), values, bytes);
            },
        );
        let len = bytes.len();
        Weight::new(Arc::new(bytes), 0..len, BlockType::Q8_0, self.rows, self.cols).ok()
    }

    /// All rows as f32, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0f32; self.rows * self.cols];
        for (row, out) in out.chunks_exact_mut(self.cols).enumerate() {
            self.dequantize_row(row, out);
        }
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::gemm::tests::noise;

    /// Random bytes are valid blocks of every type once the f16 scales are kept finite.
    pub(crate) fn random_weight(ty: BlockType, rows: usize, cols: usize) -> Weight {
        let len = ty.row_bytes(cols).unwrap() * rows;
        let mut bytes: Vec<u8> = noise(len, 7).iter().map(|v| (v * 128.0) as i32 as u8).collect();
        let scales: &[usize] = match ty {
            BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
            BlockType::Q2K => &[80, 82],
            BlockType::Q3K => &[108],
            BlockType::Q6K => &[208],
            _ => &[0],
        };
        for (i, block) in bytes.chunks_exact_mut(ty.block_bytes()).enumerate() {
            let v = 0.01 + (i % 7) as f32 * 0.003;
            match ty {
                BlockType::F32 => block.copy_from_slice(&(v - 0.02).to_le_bytes()),
                BlockType::BF16 => block.copy_from_slice(&half::bf16::from_f32(v - 0.02).to_le_bytes()),
                BlockType::I8 | BlockType::I16 => {}
                _ => scales
                    .iter()
                    .for_each(|at| block[*at..at + 2].copy_from_slice(&half::f16::from_f32(v).to_le_bytes())),
            }
        }
        let weight = Weight::new(Arc::new(bytes), 0..len, ty, rows, cols).unwrap();
        if matches!(ty, BlockType::I8 | BlockType::I16) {
            return weight.with_row_scale((0..rows).map(|r| 1e-3 * (r + 1) as f32).collect()).unwrap();
        }
        weight
    }

    #[test]
    fn rows_on_bytes_are_within_half_a_level() {
        use BlockType::*;
        for ty in [F32, F16, BF16, I8, I16] {
            let weight = random_weight(ty, 5, 96);
            let (exact, rounded) = (weight.to_f32(), weight.to_q8_0().unwrap());
            assert_eq!(Some(rounded.len_bytes() / 5), ty.q8_0_row_bytes(96));
            for (exact, rounded) in exact.chunks(32).zip(rounded.to_f32().chunks(32)) {
                let largest = exact.iter().fold(0f32, |max, v| max.max(v.abs()));
                for (a, b) in exact.iter().zip(rounded) {
                    // Half a level, and what the scale loses as a half float.
                    assert!((a - b).abs() <= largest * (0.5 / 127.0 + 1e-3), "{ty:?}: {a} {b}");
                }
            }
        }
        assert!(
            random_weight(F32, 2, 33).to_q8_0().is_none() && random_weight(Q4_0, 2, 32).to_q8_0().is_none()
        );
    }
}
