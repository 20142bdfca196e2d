use super::Attention;
use crate::gpu::{Array, GpuError, Launch, shapes};
use crate::kv_append::gpu::{Filled, KvArrays, MOST_HEAD_DIM};

/// Threads of a block: four warps, each with a key at a time.
const THREADS: u32 = 128;

/// Floats of parts that [`attention`] of `m` queries of `heads` heads keeps.
pub fn part_floats(m: usize, heads: usize, splits: usize, head_dim: usize) -> usize {
    m * heads * splits * (2 + head_dim)
}

/// [`super::attention`] of few queries `q [m, heads * head_dim]` over a cache on the device, whose keys are split into
/// `splits` parts for as many blocks. `spec.kv_len` and `spec.regime` are not read: `filled` says how much there is.
///
/// # Errors
/// If shapes disagree; what the driver says.
pub fn attention(
    q: &Array<f32>,
    cache: &KvArrays,
    filled: &Filled,
    (m, splits): (usize, usize),
    spec: Attention,
    parts: &mut Array<f32>,
    out: &mut Array<f32>,
) -> Result<(), GpuError> {
    let &KvArrays { kv_heads, capacity, head_dim, quantized, .. } = cache;
    let heads = q.len() / (m * head_dim).max(1);
    let fits = q.len() == m * heads * head_dim
        && m > 0
        && heads.is_multiple_of(kv_heads)
        && out.len() == q.len()
        && splits > 0
        && parts.len() >= part_floats(m, heads, splits, head_dim)
        && (1..=capacity).contains(&filled.get())
        && (!spec.causal || m <= filled.get());
    shapes(fits, || {
        let (q, filled) = (q.len(), filled.get());
        format!("attention: {q} values as {m} queries over {filled} of {capacity} positions, {spec:?}")
    })?;
    let (sampled, raise) = spec.sampled.map_or((-1, 0.0), |s| (s.from as i32, (s.each as f32).ln()));
    let (causal, window) = (i32::from(spec.causal), spec.window.unwrap_or(0) as i32);
    let arguments = [
        q.into(),
        (&cache.k).into(),
        (&cache.v).into(),
        filled.device().into(),
        (&*parts).into(),
        (m as i32).into(),
        (heads as i32).into(),
        (kv_heads as i32).into(),
        (head_dim as i32).into(),
        (capacity as i32).into(),
        causal.into(),
        window.into(),
        spec.scale.into(),
        sampled.into(),
        raise.into(),
        i32::from(quantized).into(),
    ];
    let warps = THREADS as usize / 32;
    let launch =
        Launch::new(m * heads, THREADS).with_rows(splits).with_shared_f32(warps * (2 + MOST_HEAD_DIM));
    // SAFETY: blocks read filled positions only and write one part each.
    unsafe { q.gpu().launch("attention_split", launch, &arguments)? };
    let arguments = [(&*parts).into(), (&*out).into(), (splits as i32).into(), (head_dim as i32).into()];
    // SAFETY: a block reads the parts of its head and writes its columns.
    unsafe { q.gpu().launch("attention_join", Launch::new(m * heads, 32), &arguments) }
}
