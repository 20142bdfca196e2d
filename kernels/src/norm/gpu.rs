use crate::gpu::{Array, GpuError, Launch, shapes};

/// Threads a row.
const THREADS: u32 = 256;

/// `y = norm(x)` over rows of `weight.len()` of `x`, as [`super::layer_norm`] with a bias and [`super::rms_norm`]
/// without. With `add`, `x += add` first: the residual sum before the next layer.
///
/// # Errors
/// If lengths disagree; what the driver says.
pub fn norm(
    x: &mut Array<f32>,
    add: Option<&Array<f32>>,
    weight: &Array<f32>,
    bias: Option<&Array<f32>>,
    eps: f32,
    y: &mut Array<f32>,
) -> Result<(), GpuError> {
    let (cols, len) = (weight.len(), x.len());
    let fits = len.is_multiple_of(cols)
        && y.len() == len
        && add.is_none_or(|a| a.len() == len)
        && bias.is_none_or(|b| b.len() == cols);
    shapes(fits, || format!("norm: {len} values by {cols} weights into {}", y.len()))?;
    let threads = THREADS.min((cols as u32).next_multiple_of(32));
    let launch = Launch::new(len / cols, threads).with_shared_f32(threads as usize / 32);
    let gpu = x.gpu().clone();
    let arguments = [
        (&*x).into(),
        add.into(),
        weight.into(),
        bias.into(),
        (&*y).into(),
        (cols as i32).into(),
        eps.into(),
    ];
    // SAFETY: a block goes over one row of each, which have as many.
    unsafe { gpu.launch("norm", launch, &arguments) }
}
