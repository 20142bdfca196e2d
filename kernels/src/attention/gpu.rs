use super::Attention;
use crate::gpu::{Argument, Array, GpuError, Launch, shapes};
use crate::kv_append::gpu::{Filled, KvArrays, MOST_HEAD_DIM};

/// Threads of a block: four warps, each with a key at a time.
const THREADS: u32 = 128;

/// Of the kernel for many queries of heads of a size: its name, its warps, its keys at a time.
fn tiles(head_dim: usize) -> Option<(&'static str, usize, usize)> {
    Some(match head_dim {
        64 => ("attention_tiles_64", 4, 32),
        128 => ("attention_tiles_128", 4, 32),
        256 => ("attention_tiles_256", 2, 16),
        _ => return None,
    })
}

/// [`super::attention`] of many queries `q [m, heads * head_dim]`, on tensor cores: queries, keys, weights and values as
/// halves, sums in f32. `spec.kv_len`, `spec.sampled` and `spec.regime` are not read.
///
/// # Errors
/// If shapes disagree or heads are not of 64, 128 or 256; what the driver says.
pub fn attention_tiles(
    q: &Array<f32>,
    cache: &KvArrays,
    filled: &Filled,
    m: usize,
    spec: Attention,
    out: &mut Array<f32>,
) -> Result<(), GpuError> {
    let &KvArrays { kv_heads, capacity, head_dim, quantized, .. } = cache;
    let heads = check(q, cache, filled, m, spec, out)?;
    let Some((kernel, warps, keys)) = tiles(head_dim) else {
        return Err(GpuError::Shape(format!("attention: no tiles for heads of {head_dim}")));
    };
    let queries = 16 * warps;
    let halves = (queries + 2 * keys) * (head_dim + 8);
    let launch = Launch::new(m.div_ceil(queries), 32 * warps as u32);
    let launch = launch.with_rows(heads).with_shared_f32(halves / 2);
    let [causal, window, scale] = arguments(spec);
    let arguments = [
        q.into(),
        (&cache.k).into(),
        (&cache.v).into(),
        filled.device().into(),
        (&*out).into(),
        (m as i32).into(),
        (heads as i32).into(),
        (kv_heads as i32).into(),
        (capacity as i32).into(),
        causal,
        window,
        scale,
        i32::from(quantized).into(),
    ];
    // SAFETY: a block reads filled positions only and writes the columns of its head of its queries.
    unsafe { q.gpu().launch(kernel, launch, &arguments) }
}

/// What a query sees, as kernels take it: causal, window, scale.
fn arguments(spec: Attention) -> [Argument<'static>; 3] {
    [i32::from(spec.causal).into(), (spec.window.unwrap_or(0) as i32).into(), spec.scale.into()]
}

/// Whether [`attention_tiles`] takes heads of `head_dim`.
pub fn has_tiles(head_dim: usize) -> bool {
    tiles(head_dim).is_some()
}

/// Heads of the queries, if all fits.
fn check(
    q: &Array<f32>,
    cache: &KvArrays,
    filled: &Filled,
    m: usize,
    spec: Attention,
    out: &Array<f32>,
) -> Result<usize, GpuError> {
    let &KvArrays { kv_heads, capacity, head_dim, .. } = cache;
    let heads = q.len() / (m * head_dim).max(1);
    let fits = q.len() == m * heads * head_dim
        && m > 0
        && heads.is_multiple_of(kv_heads)
        && out.len() == q.len()
        && (1..=capacity).contains(&filled.get())
        && (!spec.causal || m <= filled.get());
    shapes(fits, || {
        let (q, filled) = (q.len(), filled.get());
        format!("attention: {q} values as {m} queries over {filled} of {capacity} positions, {spec:?}")
    })?;
    Ok(heads)
}

/// Floats of parts that [`attention`] of `m` queries of `heads` heads keeps.
pub fn part_floats(m: usize, heads: usize, splits: usize, head_dim: usize) -> usize {
    m * heads * splits * (2 + head_dim)
}

/// [`super::attention`] of few queries `q [m, heads * head_dim]` over a cache on the device, whose keys are split into
/// `splits` parts for as many blocks. `spec.kv_len`, `spec.sampled` and `spec.regime` are not read: `filled` says what there is.
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
    let heads = check(q, cache, filled, m, spec, out)?;
    let room = splits > 0 && parts.len() >= part_floats(m, heads, splits, head_dim);
    shapes(room, || format!("attention: {} floats for {splits} parts", parts.len()))?;
    let [causal, window, scale] = arguments(spec);
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
        causal,
        window,
        scale,
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
