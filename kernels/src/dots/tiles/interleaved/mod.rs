//! Quantised rows laid out anew, once, at load: sixteen side by side, so that registers are read as they lie.
//!
//! In a file a row is block after block. Here sixteen rows are block beside block: each field of a block
//! (its scale, its minimum, its levels) stands sixteen times, once for each row, in units of as many bytes
//! as one lane of a register takes of it at a time.
//!
//! ```text
//! rows    | d m q0 q1 q2 q3 | d m ... |   (one row of Q4_1; d, m: 2 bytes, q: 4)
//! here    | d d d ... m m m ... q0 q0 q0 ... q3 q3 q3 | d ... |
//! ```
//!
//! It takes the same bytes, nothing is rounded, and a row can be read back ([`row`]). Weights that lie so
//! are multiplied without shuffling them into lanes and without a panel between: a decoded token is then
//! limited by memory. The idea is that of llama.cpp's repacked types (`ggml-cpu/repack.cpp`).

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;

use crate::BlockType;

/// Rows side by side: two registers of AVX2, one of AVX-512.
pub(crate) const LANES: usize = 16;

/// Consecutive units of one size in a block.
struct Field {
    unit_bytes: usize,
    units: usize,
    /// Whether the unit is 32 bits, one for each weight, which are brought into the order of [`spread`].
    bits: bool,
}

const fn units(unit_bytes: usize, units: usize) -> Field {
    Field { unit_bytes, units, bits: false }
}

/// A half float.
const HALF: Field = units(2, 1);
/// One bit of each of 32 weights.
const BITS: Field = Field { unit_bytes: 4, units: 1, bits: true };

/// The fields of a block, in order, for types that can lie interleaved.
fn fields(ty: BlockType) -> Option<&'static [Field]> {
    Some(match ty {
        BlockType::Q4_0 => const { &[HALF, units(4, 4)] },
        BlockType::Q4_1 => const { &[HALF, HALF, units(4, 4)] },
        BlockType::Q5_0 => const { &[HALF, BITS, units(4, 4)] },
        BlockType::Q5_1 => const { &[HALF, HALF, BITS, units(4, 4)] },
        BlockType::Q8_0 => const { &[HALF, units(4, 8)] },
        // Scales and minima are in twelve bytes, high bits behind them (Q5_K), levels last.
        BlockType::Q4K => const { &[HALF, HALF, units(1, 12), units(4, 32)] },
        BlockType::Q5K => const { &[HALF, HALF, units(1, 12), units(4, 8), units(4, 32)] },
        // Low bits, high bits, scales.
        BlockType::Q6K => const { &[units(4, 32), units(4, 16), units(1, 16), HALF] },
        _ => return None,
    })
}

/// Bytes of `rows` rows of `row_bytes` interleaved: the last sixteen are filled up.
pub(crate) fn len_bytes(ty: BlockType, rows: usize, row_bytes: usize) -> Option<usize> {
    fields(ty)?;
    rows.checked_next_multiple_of(LANES)?.checked_mul(row_bytes)
}

/// Lays rows `rows` (at most [`LANES`], of `row_bytes`) side by side in `out`; what is missing is zeros.
///
/// # Panics
/// If `out` is not as long as [`LANES`] rows.
pub(crate) fn interleave(ty: BlockType, rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    assert!(out.len() == LANES * row_bytes && rows.len() <= out.len());
    out.fill(0);
    for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
        each_unit(ty, row_bytes, lane, |at, there, field| {
            let unit = &row[at..at + field.unit_bytes];
            let to = &mut out[there..there + field.unit_bytes];
            match unit.first_chunk().filter(|_| field.bits) {
                Some(bits) => to.copy_from_slice(&spread(u32::from_le_bytes(*bits)).to_le_bytes()),
                None => to.copy_from_slice(unit),
            }
        });
    }
}

/// One row as it was stored, out of the [`LANES`] in `from`.
pub(crate) fn row(ty: BlockType, from: &[u8], lane: usize) -> Vec<u8> {
    let mut row = vec![0; from.len() / LANES];
    each_unit(ty, row.len(), lane, |at, there, field| {
        let unit = &from[there..there + field.unit_bytes];
        let to = &mut row[at..at + field.unit_bytes];
        match unit.first_chunk().filter(|_| field.bits) {
            Some(bits) => to.copy_from_slice(&gather(u32::from_le_bytes(*bits)).to_le_bytes()),
            None => to.copy_from_slice(unit),
        }
    });
    row
}

/// Tells where each unit of a row is: in the row, and among the interleaved.
fn each_unit(ty: BlockType, row_bytes: usize, lane: usize, mut tell: impl FnMut(usize, usize, &Field)) {
    let fields = fields(ty).unwrap_or_default();
    for block in (0..row_bytes).step_by(ty.block_bytes()) {
        let mut field_at = block;
        for field in fields {
            for unit in 0..field.units {
                let there = LANES * field_at + (LANES * unit + lane) * field.unit_bytes;
                tell(field_at + unit * field.unit_bytes, there, field);
            }
            field_at += field.units * field.unit_bytes;
        }
    }
}

/// The bit of weight `4 q + i` to bit `q` of byte `i`, so that the bits of four weights are at the same
/// place of four bytes.
fn spread(bits: u32) -> u32 {
    (0..32).map(|j| (bits >> j & 1) << (8 * (j % 4) + j / 4)).sum()
}

/// What [`spread`] spread.
fn gather(bits: u32) -> u32 {
    (0..32).map(|j| (bits >> (8 * (j % 4) + j / 4) & 1) << j).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weight::tests::random_weight;

    #[test]
    fn rows_come_back_as_they_were() {
        use BlockType::*;
        for ty in [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K] {
            let fields: usize = fields(ty).unwrap().iter().map(|f| f.unit_bytes * f.units).sum();
            assert_eq!(fields, ty.block_bytes(), "{ty:?}: every byte of a block is in a field");
            for rows in [1, 7, 16] {
                let cols = 3 * ty.block_len();
                let weight = random_weight(ty, rows, cols);
                let row_bytes = ty.row_bytes(cols).unwrap();
                let mut out = vec![255; LANES * row_bytes];
                interleave(ty, weight.bytes(), row_bytes, &mut out);
                for (lane, before) in weight.bytes().chunks_exact(row_bytes).enumerate() {
                    assert!(row(ty, &out, lane) == before, "{ty:?} {lane}");
                }
                assert!((rows..LANES).all(|lane| row(ty, &out, lane).iter().all(|b| *b == 0)));
            }
        }
        assert!(len_bytes(F16, 8, 2).is_none() && len_bytes(Q4K, 17, 144) == Some(32 * 144));
    }
}
