//! `x += h`, in place: the residual stream. candle's own sum starts a pool of threads of its own, which spin
//! beside those that compute.

use crate::{Isa, isa::per_isa};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

/// Elements a task adds at least.
const TASK: usize = 32 * 1024;

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        h: &CpuStorage,
        h_layout: &Layout,
    ) -> Result<()> {
        if x_layout.dims() != h_layout.dims() {
            bail!("residual: {:?} to {:?}", h_layout.dims(), x_layout.dims())
        }
        let (h, x) = (crate::contiguous(h, h_layout)?, crate::contiguous_mut(x, x_layout)?);
        match x.len() {
            0..=TASK => add_slice(Isa::current(), x, h),
            _ => x
                .par_chunks_mut(TASK)
                .zip(h.par_chunks(TASK))
                .for_each(|(x, h)| add_slice(Isa::current(), x, h)),
        }
        Ok(())
    }
}

per_isa! { fn add_slice = add_slice_body(x: &mut [f32], h: &[f32]) }

#[inline(always)]
fn add_slice_body<const FMA: bool>(x: &mut [f32], h: &[f32]) {
    for (x, h) in x.iter_mut().zip(h) {
        *x += h;
    }
}

/// Adds `h` to `x`, both of one shape.
///
/// # Errors
/// If shapes differ or one is not contiguous f32.
pub fn add_to(x: &Tensor, h: &Tensor) -> Result<()> {
    x.inplace_op2(h, &Add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;
    use candle_core::Device;

    #[test]
    fn sums_are_candles_own() {
        for len in [1, 31, TASK, 2 * TASK + 7] {
            let make = |seed| Tensor::from_vec(noise(len, seed), (1, len), &Device::Cpu).unwrap();
            let (x, h) = (make(3), make(5));
            let want = (&x + &h).unwrap().to_vec2::<f32>().unwrap();
            add_to(&x, &h).unwrap();
            assert!(x.to_vec2::<f32>().unwrap() == want);
            assert!(add_to(&x, &h.reshape((len, 1)).unwrap()).is_err() || len == 1);
        }
    }
}
