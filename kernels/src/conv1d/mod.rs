//! Convolution of width 3 over time, padded by one at both ends.

use crate::gemm::{self, PANEL, Rows};
use crate::{Isa, Weight};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

struct ConvOp<'a> {
    weight: &'a Weight,
    bias: &'a [f32],
    stride: usize,
}

impl CustomOp1 for ConvOp<'_> {
    fn name(&self) -> &'static str {
        "conv1d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [frames, channels] = *layout.dims() else { bail!("conv1d: input must be [frames, channels]") };
        let (rows, k) = (self.weight.rows(), 3 * channels);
        if self.weight.cols() != k || self.bias.len() != rows || frames == 0 {
            bail!("conv1d: {:?} with {:?}", layout.dims(), self.weight)
        }
        let x = crate::contiguous(x, layout)?;
        // With time outermost, three neighbouring frames are one contiguous row of the product:
        // the im2col matrix is the padded input itself, read with overlapping rows.
        let mut padded = vec![0f32; (frames + 2) * channels];
        padded[channels..channels + x.len()].copy_from_slice(x);
        let out_frames = (frames - 1) / self.stride + 1;
        let mut y = vec![0f32; out_frames * rows];
        let out = Rows { ptr: y.as_mut_ptr(), stride: rows };
        (0..rows.div_ceil(PANEL)).into_par_iter().for_each(|t| {
            let (from, to) = (t * PANEL, (t * PANEL + PANEL).min(rows));
            let mut packed = vec![0f32; PANEL * k];
            let mut row = vec![0f32; k];
            for j in from..to {
                self.weight.dequantize_row(j, &mut row);
                row.iter().enumerate().for_each(|(p, w)| packed[p * PANEL + j - from] = *w);
            }
            let out = out.offset(from);
            // SAFETY: row `i` reads `padded[i * stride * channels ..][.. 3 * channels]`, in bounds
            // since `(out_frames - 1) * stride + 3 <= frames + 2`; columns are this task's own.
            unsafe {
                gemm::panel(
                    Isa::current(),
                    (out_frames, to - from, k),
                    Rows { ptr: padded.as_ptr(), stride: self.stride * channels },
                    Rows { ptr: packed.as_ptr(), stride: PANEL },
                    out,
                    false,
                );
            }
        });
        for row in y.chunks_exact_mut(rows) {
            row.iter_mut().zip(self.bias).for_each(|(y, b)| *y += b);
        }
        Ok((CpuStorage::F32(y), Shape::from((out_frames, rows))))
    }
}

/// `x [frames, channels]` with `weight [out, 3 * channels]` (tap outermost) and `bias [out]`:
/// `[ceil(frames / stride), out]`.
///
/// # Errors
/// If shapes disagree or `x` is not contiguous f32.
pub fn conv1d(x: &Tensor, weight: &Weight, bias: &[f32], stride: usize) -> Result<Tensor> {
    x.apply_op1_no_bwd(&ConvOp { weight, bias, stride })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;
    use candle_core::Device;

    #[test]
    fn agrees_with_candles_convolution() -> Result<()> {
        let d = &Device::Cpu;
        for (frames, channels, out) in [(1, 3, 2), (17, 5, 33), (40, 8, 64)] {
            for stride in [1, 2] {
                let x = Tensor::new(noise(frames * channels, 1), d)?.reshape((frames, channels))?;
                let w = Tensor::new(noise(out * channels * 3, 2), d)?.reshape((out, channels, 3))?;
                let bias = noise(out, 3);
                let tb = Tensor::new(&bias[..], d)?.reshape((1, out, 1))?;
                let want =
                    x.t()?.unsqueeze(0)?.contiguous()?.conv1d(&w, 1, stride, 1, 1)?.broadcast_add(&tb)?;
                let want = want.squeeze(0)?.t()?.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
                let taps = w.transpose(1, 2)?.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
                let weight = Weight::from_f32(taps, out, 3 * channels).map_err(candle_core::Error::wrap)?;
                let got = conv1d(&x, &weight, &bias, stride)?.flatten_all()?.to_vec1::<f32>()?;
                assert_eq!(got.len(), want.len());
                for (a, b) in got.iter().zip(&want) {
                    assert!((a - b).abs() < 1e-5, "{frames} {stride}");
                }
            }
        }
        Ok(())
    }
}
