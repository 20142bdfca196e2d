//! Random weights of every type, in a buffer of fixed size however large the tensor is.

use half::f16;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use undertone_models::weights::BlockType;

const BUFFER_BYTES: usize = 1 << 20;

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Ones: gains of norms, factors of frequencies.
    Ones,
    /// Noise of zero mean and a standard deviation of about 0.02, as networks are initialised, so
    /// that forward passes stay finite.
    Noise,
}

impl Fill {
    /// What suits a tensor of this name and rank.
    pub(super) fn of(name: &str, rank: usize) -> Fill {
        if rank == 1 && !name.ends_with("bias") { Fill::Ones } else { Fill::Noise }
    }
}

/// Writes tensors one behind the other.
pub(super) struct TensorWriter {
    file: BufWriter<File>,
    rng: SmallRng,
    /// Matrices become holes.
    sparse: bool,
    buffer: Vec<u8>,
}

impl TensorWriter {
    pub(super) fn new(file: File, seed: u64, sparse: bool) -> TensorWriter {
        let rng = SmallRng::seed_from_u64(seed);
        TensorWriter { file: BufWriter::new(file), rng, sparse, buffer: vec![0; BUFFER_BYTES] }
    }

    /// Writes a header or padding.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Writes a tensor of `rank` dimensions and `len_bytes`.
    pub(super) fn tensor(
        &mut self,
        ty: BlockType,
        name: &str,
        rank: usize,
        len_bytes: usize,
    ) -> io::Result<()> {
        if self.sparse && rank > 1 {
            let skip = i64::try_from(len_bytes).map_err(io::Error::other)?;
            return self.file.seek(SeekFrom::Current(skip)).map(drop);
        }
        let fill = Fill::of(name, rank);
        let block = ty.block_bytes();
        let whole = BUFFER_BYTES / block * block;
        let mut left = len_bytes;
        while left > 0 {
            let part = &mut self.buffer[..whole.min(left)];
            self.rng.fill_bytes(part);
            part.chunks_exact_mut(block).for_each(|b| tame(ty, fill, b));
            self.file.write_all(part)?;
            left -= part.len();
        }
        Ok(())
    }

    /// Ends the file at the last tensor, be it a hole.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let end = self.file.stream_position()?;
        self.file.flush()?;
        self.file.get_ref().set_len(end)
    }
}

/// Turns random bytes into a block whose weights are small: random quants, fixed scales.
fn tame(ty: BlockType, fill: Fill, block: &mut [u8]) {
    // Sign and mantissa stay random, the exponent makes it 2^-6 to 2^-5.
    match (ty, fill) {
        (BlockType::F32, Fill::Ones) => block.copy_from_slice(&1f32.to_le_bytes()),
        (BlockType::F16, Fill::Ones) => block.copy_from_slice(&f16::ONE.to_le_bytes()),
        (BlockType::F32, Fill::Noise) => {
            block[3] = block[3] & 0x80 | 0x3c;
            block[2] = block[2] & 0x7f | 0x80;
        }
        (BlockType::F16, Fill::Noise) => block[1] = block[1] & 0x83 | 9 << 2,
        _ => {
            for (at, scale) in scales(ty) {
                block[*at..at + 2].copy_from_slice(&f16::from_f32(*scale).to_le_bytes());
            }
        }
    }
}

/// Where a block's f16 scale and offset lie, and what makes its weights small: the offset undoes
/// the mean of quants without a sign.
fn scales(ty: BlockType) -> &'static [(usize, f32)] {
    match ty {
        BlockType::Q4_0 => &[(0, 4.3e-3)],
        BlockType::Q4_1 => &[(0, 4.3e-3), (2, -7.5 * 4.3e-3)],
        BlockType::Q5_0 => &[(0, 2.2e-3)],
        BlockType::Q5_1 => &[(0, 2.2e-3), (2, -15.5 * 2.2e-3)],
        BlockType::Q8_0 => &[(0, 2.7e-4)],
        BlockType::Q4K => &[(0, 1.2e-4), (2, 7.5 * 1.2e-4)],
        BlockType::Q5K => &[(0, 6.4e-5), (2, 15.5 * 6.4e-5)],
        BlockType::Q6K => &[(208, 1.5e-5)],
        _ => &[],
    }
}
