//! GELU (Hendrycks and Gimpel 2016) in both forms, and the gated activations of MLPs
//! (Shazeer 2020).

/// On a GPU.
pub mod gpu;

use crate::isa::per_isa;
use crate::{Isa, math};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Which nonlinearity a gate passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x * sigmoid(x)` (Llama, Qwen).
    Silu,
    /// `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x³)))` (Gemma).
    GeluTanh,
}

/// Elements a task takes, so that large activations spread over the threads.
const CHUNK: usize = 32 * 1024;

struct GeluOp;

impl CustomOp1 for GeluOp {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = crate::contiguous(x, layout)?;
        let mut y = vec![0f32; x.len()];
        let isa = Isa::current();
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| gelu_slice(isa, x, y));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

/// `x/2 * (1 + erf(x/sqrt 2))`, any shape.
///
/// # Errors
/// If `x` is not contiguous f32.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&GeluOp)
}

struct GatedOp(Gate);

impl CustomOp2 for GatedOp {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gate = crate::contiguous(gate, gate_layout)?;
        let up = crate::contiguous(up, up_layout)?;
        if gate_layout.shape() != up_layout.shape() {
            bail!("gated: {:?} against {:?}", gate_layout.shape(), up_layout.shape())
        }
        let mut y = vec![0f32; gate.len()];
        let (isa, kind) = (Isa::current(), self.0);
        y.par_chunks_mut(CHUNK)
            .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
            .for_each(|(y, (gate, up))| gated_slice(isa, kind, gate, up, y));
        Ok((CpuStorage::F32(y), gate_layout.shape().clone()))
    }
}

/// `activation(gate) * up`, element by element, equal shapes.
///
/// # Errors
/// If the shapes differ or an operand is not contiguous f32.
pub fn gated(gate: &Tensor, up: &Tensor, kind: Gate) -> Result<Tensor> {
    gate.apply_op2_no_bwd(up, &GatedOp(kind))
}

per_isa! { fn gelu_slice = gelu_body(x: &[f32], y: &mut [f32]) }

#[inline(always)]
fn gelu_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = 0.5 * x * (1.0 + math::erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2));
    }
}

per_isa! { fn gated_slice = gated_body(kind: Gate, gate: &[f32], up: &[f32], y: &mut [f32]) }

#[inline(always)]
fn gated_body<const FMA: bool>(kind: Gate, gate: &[f32], up: &[f32], y: &mut [f32]) {
    let operands = gate.iter().zip(up);
    match kind {
        Gate::Silu => {
            for (y, (g, u)) in y.iter_mut().zip(operands) {
                *y = g / (1.0 + math::exp::<FMA>(-g)) * u;
            }
        }
        Gate::GeluTanh => {
            const SQRT_2_OVER_PI: f32 = 0.797_884_6;
            for (y, (g, u)) in y.iter_mut().zip(operands) {
                let inner = SQRT_2_OVER_PI * (g + 0.044_715 * g * g * g);
                *y = 0.5 * g * (1.0 + math::tanh::<FMA>(inner)) * u;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;
    use candle_core::Device;

    #[test]
    fn activations_agree_with_candles_own() -> Result<()> {
        let x: Vec<f32> = noise(1003, 1).iter().map(|v| v * 12.0).collect();
        let up = noise(1003, 2);
        let (tx, tu) = (Tensor::new(&x[..], &Device::Cpu)?, Tensor::new(&up[..], &Device::Cpu)?);
        let want_gelu = tx.gelu_erf()?.to_vec1::<f32>()?;
        let want_silu = (tx.silu()? * &tu)?.to_vec1::<f32>()?;
        let want_tanh = (tx.gelu()? * &tu)?.to_vec1::<f32>()?;
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; x.len()];
            gelu_slice(isa, &x, &mut y);
            close(&y, &want_gelu);
            gated_slice(isa, Gate::Silu, &x, &up, &mut y);
            close(&y, &want_silu);
            gated_slice(isa, Gate::GeluTanh, &x, &up, &mut y);
            close(&y, &want_tanh);
        }
        Ok(())
    }

    fn close(a: &[f32], b: &[f32]) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 3e-6 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}
