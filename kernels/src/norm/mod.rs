//! LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019) over the last dimension.

/// On a GPU.
pub mod gpu;

use crate::isa::per_isa;
use crate::{Isa, math};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

struct NormOp<'a> {
    weight: &'a [f32],
    /// With a bias the mean is taken away (LayerNorm); without it not (RMSNorm).
    bias: Option<&'a [f32]>,
    eps: f32,
}

impl CustomOp1 for NormOp<'_> {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = crate::contiguous(x, layout)?;
        if !x.len().is_multiple_of(self.weight.len()) {
            bail!("norm: {:?} against {} weights", layout.dims(), self.weight.len())
        }
        let mut y = vec![0f32; x.len()];
        norm_rows(Isa::current(), x, self.weight, self.bias, self.eps, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` over the last dimension of `x [.., d]`.
///
/// # Errors
/// If the lengths disagree or `x` is not contiguous f32.
pub fn layer_norm(x: &Tensor, weight: &[f32], bias: &[f32], eps: f32) -> Result<Tensor> {
    if weight.len() != bias.len() {
        bail!("layer_norm: {} weights, {} biases", weight.len(), bias.len())
    }
    x.apply_op1_no_bwd(&NormOp { weight, bias: Some(bias), eps })
}

/// `x / sqrt(mean(x²) + eps) * weight` over groups of `weight.len()` elements of the last
/// dimension: whole rows, or the heads within a row (query and key norms).
///
/// # Errors
/// If the lengths disagree or `x` is not contiguous f32.
pub fn rms_norm(x: &Tensor, weight: &[f32], eps: f32) -> Result<Tensor> {
    if !x.dim(candle_core::D::Minus1)?.is_multiple_of(weight.len()) {
        bail!("rms_norm: {:?} against {} weights", x.dims(), weight.len())
    }
    x.apply_op1_no_bwd(&NormOp { weight, bias: None, eps })
}

per_isa! {
    fn norm_rows = norm_rows_body(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, y: &mut [f32])
}

#[inline(always)]
fn norm_rows_body<const FMA: bool>(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, y: &mut [f32]) {
    let d = weight.len();
    for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
        match bias {
            Some(bias) => {
                let mean = lane_sum(x) / d as f32;
                for (y, x) in y.iter_mut().zip(x) {
                    *y = x - mean;
                }
                let scale = 1.0 / (math::dot::<FMA>(y, y) / d as f32 + eps).sqrt();
                for ((y, w), b) in y.iter_mut().zip(weight).zip(bias) {
                    *y = *y * scale * w + b;
                }
            }
            None => {
                let scale = 1.0 / (math::dot::<FMA>(x, x) / d as f32 + eps).sqrt();
                for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                    *y = x * scale * w;
                }
            }
        }
    }
}

#[inline(always)]
fn lane_sum(x: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let chunks = x.chunks_exact(16);
    let tail: f32 = chunks.remainder().iter().sum();
    for c in chunks {
        for l in 0..16 {
            lanes[l] += c[l];
        }
    }
    lanes.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;

    #[test]
    fn both_norms_follow_their_formulas() {
        for isa in Isa::available() {
            for d in [1, 7, 64, 131] {
                let (x, w, b) = (noise(3 * d, 1), noise(d, 2), noise(d, 3));
                for bias in [None, Some(&b[..])] {
                    let mut y = vec![f32::NAN; 3 * d];
                    norm_rows(isa, &x, &w, bias, 1e-5, &mut y);
                    for (x, y) in x.chunks(d).zip(y.chunks(d)) {
                        let mean = x.iter().map(|v| *v as f64).sum::<f64>() / d as f64;
                        let mean = if bias.is_some() { mean } else { 0.0 };
                        let var = x.iter().map(|v| (*v as f64 - mean).powi(2)).sum::<f64>() / d as f64;
                        for j in 0..d {
                            let mut want = (x[j] as f64 - mean) / (var + 1e-5).sqrt() * w[j] as f64;
                            want += bias.map_or(0.0, |b| b[j] as f64);
                            assert!((y[j] as f64 - want).abs() < 2e-5, "{isa:?} {d}");
                        }
                    }
                }
            }
        }
    }
}
