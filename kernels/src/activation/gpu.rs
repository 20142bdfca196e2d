use super::Gate;
use crate::gpu::{Array, GpuError, Launch, shapes};

/// Elements a block.
const THREADS: u32 = 256;

/// [`super::gelu`] of each element.
///
/// # Errors
/// If lengths disagree; what the driver says.
pub fn gelu(x: &Array<f32>, y: &mut Array<f32>) -> Result<(), GpuError> {
    let n = x.len();
    shapes(y.len() == n, || format!("gelu: {n} values into {}", y.len()))?;
    let launch = Launch::new(n.div_ceil(THREADS as usize), THREADS);
    // SAFETY: it stops at `n`, which both have.
    unsafe { x.gpu().launch("gelu", launch, &[x.into(), (&*y).into(), (n as i32).into()]) }
}

/// [`super::gated`] of each element.
///
/// # Errors
/// If lengths disagree; what the driver says.
pub fn gated(gate: &Array<f32>, up: &Array<f32>, kind: Gate, y: &mut Array<f32>) -> Result<(), GpuError> {
    let n = gate.len();
    shapes(up.len() == n && y.len() == n, || format!("gated: {n} and {} values into {}", up.len(), y.len()))?;
    let launch = Launch::new(n.div_ceil(THREADS as usize), THREADS);
    let silu = i32::from(kind == Gate::Silu);
    // SAFETY: it stops at `n`, which all have.
    unsafe {
        gate.gpu().launch(
            "gated",
            launch,
            &[gate.into(), up.into(), (&*y).into(), (n as i32).into(), silu.into()],
        )
    }
}
