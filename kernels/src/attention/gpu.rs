use super::Attention;
use crate::gpu::{Argument, Array, GpuError, Launch, shapes};
use crate::kv_append::gpu::{Filled, KvArrays, MOST_HEAD_DIM};
use crate::{MAX_FEW_ROWS, Regime};

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
    let head_dim = cache.head_dim;
    let heads = check(q, cache, filled, m, spec, out)?;
    let Some((kernel, warps, keys)) = tiles(head_dim) else {
        return Err(GpuError::Shape(format!("attention: no tiles for heads of {head_dim}")));
    };
    let queries = 16 * warps;
    let halves = (queries + 2 * keys) * (head_dim + 8);
    let launch = Launch::new(m.div_ceil(queries), 32 * warps as u32);
    let launch = launch.with_rows(heads).with_shared_f32(halves / 2);
    let arguments = arguments(q, (cache, filled), &*out, (m, heads), spec);
    // SAFETY: a block reads filled positions only and writes the columns of its head of its queries.
    unsafe { q.gpu().launch(kernel, launch, &arguments) }
}

/// What both kernels begin with; `to` is what they write.
fn arguments<'a>(
    q: &'a Array<f32>,
    (cache, filled): (&'a KvArrays, &'a Filled),
    to: &'a Array<f32>,
    (m, heads): (usize, usize),
    spec: Attention,
) -> [Argument<'a>; 13] {
    let &KvArrays { kv_heads, capacity, quantized, .. } = cache;
    [
        q.into(),
        (&cache.k).into(),
        (&cache.v).into(),
        filled.device().into(),
        to.into(),
        (m as i32).into(),
        (heads as i32).into(),
        (kv_heads as i32).into(),
        (capacity as i32).into(),
        i32::from(spec.causal).into(),
        (spec.window.unwrap_or(0) as i32).into(),
        spec.scale.into(),
        i32::from(quantized).into(),
    ]
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

/// Blocks among which [`attend`] divides the keys of a query's head.
const SPLITS: usize = 16;

/// Attention of `m` queries: [`attention_tiles`] of many where there are such for these heads, else [`attention`]. As
/// there of `spec`.
///
/// # Errors
/// As those.
pub fn attend(
    q: &Array<f32>,
    cache: &KvArrays,
    filled: &Filled,
    m: usize,
    spec: Attention,
    parts: &mut Array<f32>,
    out: &mut Array<f32>,
) -> Result<(), GpuError> {
    match spec.regime == Regime::Many && tiles(cache.head_dim).is_some() {
        true => attention_tiles(q, cache, filled, m, spec, out),
        false => attention(q, cache, filled, (m, SPLITS), spec, parts, out),
    }
}

/// Floats of parts that [`attend`] keeps of up to `rows` queries.
pub fn attend_floats(rows: usize, heads: usize, head_dim: usize) -> usize {
    let split = if tiles(head_dim).is_some() { rows.min(MAX_FEW_ROWS) } else { rows };
    part_floats(split, heads, SPLITS, head_dim)
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
    let head_dim = cache.head_dim;
    let heads = check(q, cache, filled, m, spec, out)?;
    let room = splits > 0 && parts.len() >= part_floats(m, heads, splits, head_dim);
    shapes(room, || format!("attention: {} floats for {splits} parts", parts.len()))?;
    let mut of_parts = arguments(q, (cache, filled), &*parts, (m, heads), spec).to_vec();
    of_parts.push((head_dim as i32).into());
    let warps = THREADS as usize / 32;
    let launch =
        Launch::new(m * heads, THREADS).with_rows(splits).with_shared_f32(warps * (2 + MOST_HEAD_DIM));
    // SAFETY: blocks read filled positions only and write one part each.
    unsafe { q.gpu().launch("attention_split", launch, &of_parts)? };
    let arguments = [(&*parts).into(), (&*out).into(), (splits as i32).into(), (head_dim as i32).into()];
    // SAFETY: a block reads the parts of its head and writes its columns.
    unsafe { q.gpu().launch("attention_join", Launch::new(m * heads, 32), &arguments) }
}
