//! Rotary position embedding (Su et al. 2021), in place.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};

/// Which elements of a head form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// `(2i, 2i + 1)`: the original; GGUF files of the Llama family are permuted for it.
    Interleaved,
    /// `(i, i + d/2)`: GPT-NeoX's, used by Gemma and Qwen.
    Halves,
}

struct RopeOp<'a> {
    position: usize,
    inv_freq: &'a [f32],
    pairing: Pairing,
}

impl InplaceOp1 for RopeOp<'_> {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let [_, row_len] = *layout.dims() else { bail!("rope: {:?} is not [m, heads*d]", layout.dims()) };
        let head_dim = 2 * self.inv_freq.len();
        if !row_len.is_multiple_of(head_dim) {
            bail!("rope: rows of {row_len} with heads of {head_dim}")
        }
        let x = crate::contiguous_mut(x, layout)?;
        let mut sin_cos = vec![(0f32, 0f32); self.inv_freq.len()];
        for (i, row) in x.chunks_exact_mut(row_len).enumerate() {
            let position = (self.position + i) as f32;
            for (sc, f) in sin_cos.iter_mut().zip(self.inv_freq) {
                *sc = (position * f).sin_cos();
            }
            for head in row.chunks_exact_mut(head_dim) {
                rotate(head, &sin_cos, self.pairing);
            }
        }
        Ok(())
    }
}

fn rotate(head: &mut [f32], sin_cos: &[(f32, f32)], pairing: Pairing) {
    let half = sin_cos.len();
    for (i, (sin, cos)) in sin_cos.iter().enumerate() {
        let (a, b) = match pairing {
            Pairing::Interleaved => (2 * i, 2 * i + 1),
            Pairing::Halves => (i, i + half),
        };
        let (x, y) = (head[a], head[b]);
        head[a] = x * cos - y * sin;
        head[b] = x * sin + y * cos;
    }
}

/// Rotates every head of `x [m, heads * 2 * inv_freq.len()]` for positions `position..position+m`.
///
/// # Errors
/// If rows are not whole heads or `x` is not contiguous f32.
pub fn rope(x: &Tensor, position: usize, inv_freq: &[f32], pairing: Pairing) -> Result<()> {
    x.inplace_op1(&RopeOp { position, inv_freq, pairing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{D, Device};

    #[test]
    fn rotation_keeps_lengths_and_depends_on_distance_only() -> Result<()> {
        let inv_freq = [1.0, 0.25, 0.01];
        let data = crate::gemm::tests::noise(12, 4);
        for pairing in [Pairing::Interleaved, Pairing::Halves] {
            let at = |position: usize, from: usize| -> Result<Tensor> {
                let x = Tensor::new(&data[from..from + 6], &Device::Cpu)?.reshape((1, 6))?;
                rope(&x, position, &inv_freq, pairing)?;
                Ok(x)
            };
            let product = |a: &Tensor, b: &Tensor| (a * b)?.sum(D::Minus1)?.squeeze(0)?.to_scalar::<f32>();
            let (near, far) = (product(&at(3, 0)?, &at(1, 6)?)?, product(&at(103, 0)?, &at(101, 6)?)?);
            assert!((near - far).abs() < 1e-4, "{pairing:?}: {near} {far}");
            let (x, y) = (at(0, 0)?, at(77, 0)?);
            assert!((product(&x, &x)? - product(&y, &y)?).abs() < 1e-5);
            assert_eq!(x.to_vec2::<f32>()?[0], data[..6]);
        }
        Ok(())
    }
}
