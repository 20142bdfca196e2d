//! The first of the highest logits, of those allowed: on a GPU, so that no vocabulary of logits leaves it.

use crate::gpu::{Array, GpuError, Launch, shapes};

/// Threads a row.
const THREADS: u32 = 256;

/// Of each row of `logits [rows, n]` the index of the first of the highest, into `out [rows]`; with `allowed` (`n` bits,
/// the lowest of a word first) only of those whose bit is set, and -1 where there is none.
///
/// # Errors
/// If lengths disagree; what the driver says.
pub fn argmax(
    logits: &Array<f32>,
    allowed: Option<&Array<u32>>,
    n: usize,
    out: &mut Array<i32>,
) -> Result<(), GpuError> {
    let fits = logits.len() == n * out.len() && allowed.is_none_or(|a| a.len() == n.div_ceil(32));
    shapes(fits, || format!("argmax: {} logits in rows of {n} into {}", logits.len(), out.len()))?;
    let launch = Launch::new(out.len(), THREADS).with_shared_f32(2 * 32);
    let arguments = [logits.into(), allowed.into(), (&*out).into(), (n as i32).into()];
    // SAFETY: a block goes over the `n` logits of its row.
    unsafe { logits.gpu().launch("argmax", launch, &arguments) }
}
