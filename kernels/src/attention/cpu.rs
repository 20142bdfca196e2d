use super::{Attention, Sampled};
use crate::gemm::{self, PANEL, Rows};
use crate::isa::per_isa;
use crate::kv_rows::KvRows;
use crate::{Isa, Regime, math};
use rayon::prelude::*;
use std::ops::Range;

/// Queries a task takes when tiled: enough to pay for transposing the keys once.
const TASK_QUERIES: usize = 252;
/// Queries whose scores are held at a time (a multiple of the AVX-512 tile's rows).
const SCORE_ROWS: usize = 12;
/// Cache rows dequantised at a time for few queries: stay in the L1 cache.
const CACHE_ROWS: usize = 16;
/// Multiply-adds under which one thread does it all.
const PARALLEL_MACS: usize = 32 * 1024;

/// Extents of an attention call.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    /// Sequences.
    pub batch: usize,
    /// Queries a sequence.
    pub m: usize,
    /// Query heads.
    pub heads: usize,
    /// Sequences the cache holds; 1 when all share one.
    pub kv_batch: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Positions a cache row can hold.
    pub capacity: usize,
    /// Elements a head.
    pub head_dim: usize,
}

impl Dims {
    /// First cache row of head `head` of sequence `b`.
    fn cache_row(&self, b: usize, head: usize) -> usize {
        let b = if self.kv_batch == 1 { 0 } else { b };
        let kv_head = head * self.kv_heads / self.heads;
        (b * self.kv_heads + kv_head) * self.capacity
    }
}

/// See [`super::attention`]; every slice is contiguous.
pub fn attention(isa: Isa, spec: Attention, d: Dims, q: &[f32], k: KvRows, v: KvRows, out: &mut [f32]) {
    let per_task = match spec.regime {
        Regime::Few => d.m.max(1),
        Regime::Many => TASK_QUERIES,
    };
    let chunks = d.m.div_ceil(per_task);
    let out = Rows { ptr: out.as_mut_ptr(), stride: d.heads * d.head_dim };
    let row_len = d.heads * d.head_dim;
    let task = |t: usize| {
        let (b, head, chunk) = (t / (d.heads * chunks), t / chunks % d.heads, t % chunks);
        let (from, to) = (chunk * per_task, (chunk * per_task + per_task).min(d.m));
        let row = d.cache_row(b, head);
        let filled = row..row + spec.kv_len;
        let (k, v) = (k.slice(filled.clone(), d.head_dim), v.slice(filled, d.head_dim));
        let q = &q[b * d.m * row_len + head * d.head_dim..];
        // The base of this head's columns; rows `from..to` are this task's alone.
        let out = out.offset(b * d.m * row_len + head * d.head_dim);
        match spec.regime {
            Regime::Few => few_queries(isa, spec, d, q, k, v, out),
            Regime::Many => tiled(isa, spec, d, from, to, q, k, v, out),
        }
    };
    let tasks = d.batch * d.heads * chunks;
    let work = d.batch * d.heads * d.m * spec.kv_len * d.head_dim;
    if work >= PARALLEL_MACS { (0..tasks).into_par_iter().for_each(task) } else { (0..tasks).for_each(task) }
}

per_isa! {
    /// All queries of one head, over keys and values that are dequantised once for them all.
    fn few_queries = few_queries_body(
        spec: Attention, d: Dims, q: &[f32], k: KvRows<'_>, v: KvRows<'_>, out: Rows<*mut f32>
    )
}

#[inline(always)]
fn few_queries_body<const FMA: bool>(
    spec: Attention,
    d: Dims,
    q: &[f32],
    k: KvRows<'_>,
    v: KvRows<'_>,
    out: Rows<*mut f32>,
) {
    let Dims { m, head_dim, .. } = d;
    if m == 0 {
        return;
    }
    let (first, last) = (spec.visible(0, m).0, spec.visible(m - 1, m).1);
    let mut scores = vec![0f32; m * (last - first)];
    let mut buffer = vec![0f32; CACHE_ROWS * head_dim];
    let chunks = || (first..last).step_by(CACHE_ROWS).map(|from| from..(from + CACHE_ROWS).min(last));
    // The part of a chunk that query `i` sees: in its scores, and in the chunk's elements.
    let seen = |i: usize, chunk: &Range<usize>| {
        let (lo, hi) = spec.visible(i, m);
        let (lo, hi) = (lo.clamp(chunk.start, chunk.end), hi.clamp(chunk.start, chunk.end));
        let at = i * (last - first);
        (at + lo - first..at + hi - first, (lo - chunk.start) * head_dim..(hi - chunk.start) * head_dim)
    };
    for chunk in chunks() {
        let keys = k.slice(chunk.clone(), head_dim).dequantized(head_dim, &mut buffer);
        for i in 0..m {
            let (to, from) = seen(i, &chunk);
            let q = &q[i * out.stride..][..head_dim];
            let seen = (chunk.start + from.start / head_dim, chunk.start + from.end / head_dim);
            math::dot_each::<FMA>(spec.scale, q, &keys[from], &mut scores[to.clone()]);
            let (at, by) = Sampled::raise(spec.sampled, seen.0, seen.1);
            scores[to][at..].iter_mut().for_each(|s| *s += by);
        }
    }
    for i in 0..m {
        math::softmax::<FMA>(&mut scores[seen(i, &(first..last)).0]);
        // SAFETY: row `i` of this head's columns is written by this task alone.
        unsafe { std::slice::from_raw_parts_mut(out.ptr.add(i * out.stride), head_dim) }.fill(0.0);
    }
    for chunk in chunks() {
        let values = v.slice(chunk.clone(), head_dim).dequantized(head_dim, &mut buffer);
        for i in 0..m {
            let (weights, rows) = seen(i, &chunk);
            // SAFETY: as above.
            let out = unsafe { std::slice::from_raw_parts_mut(out.ptr.add(i * out.stride), head_dim) };
            math::add_weighted::<FMA>(&scores[weights], &values[rows], out);
        }
    }
}

/// Queries `from..to` of one head: keys transposed into panels once, then scores, softmax and
/// values for twelve queries at a time.
#[allow(clippy::too_many_arguments)]
fn tiled(
    isa: Isa,
    spec: Attention,
    d: Dims,
    from: usize,
    to: usize,
    q: &[f32],
    k: KvRows<'_>,
    v: KvRows<'_>,
    out: Rows<*mut f32>,
) {
    let first = spec.visible(from, d.m).0 / PANEL * PANEL;
    let last = spec.visible(to - 1, d.m).1;
    let k = k.slice(first..last, d.head_dim).to_f32(isa, d.head_dim);
    let panels = pack_keys(&k, d.head_dim);
    let stride = panels.len() / d.head_dim;
    let v = v.slice(first..last, d.head_dim).to_f32(isa, d.head_dim);
    let v = pad_columns(&v, d.head_dim);
    let v_stride = d.head_dim.next_multiple_of(PANEL);
    let mut scores = vec![0f32; SCORE_ROWS * stride];
    for row in (from..to).step_by(SCORE_ROWS) {
        let m = SCORE_ROWS.min(to - row);
        let q = Rows { ptr: q[row * out.stride..].as_ptr(), stride: out.stride };
        let (lo, hi) = (spec.visible(row, d.m).0, spec.visible(row + m - 1, d.m).1);
        let (lo, hi) = ((lo - first) / PANEL * PANEL, hi - first);
        for at in (lo..hi).step_by(PANEL) {
            // SAFETY: `q` has `m` rows of this head, panel `at / 32` has `head_dim` rows of 32,
            // and `scores` holds `m` rows of `stride >= at + 32`.
            unsafe {
                let b = Rows { ptr: panels.as_ptr().add(at * d.head_dim), stride: PANEL };
                let c = Rows { ptr: scores.as_mut_ptr().add(at), stride };
                gemm::panel(isa, (m, PANEL, d.head_dim), q, b, c, false);
            }
        }
        for (i, scores) in scores.chunks_exact_mut(stride).take(m).enumerate() {
            let (from, to) = spec.visible(row + i, d.m);
            let seen = from.saturating_sub(first + lo)..to - first - lo;
            let raised = Sampled::raise(spec.sampled, first + lo + seen.start, first + lo + seen.end);
            masked_softmax(isa, spec.scale, raised, &mut scores[lo..hi], seen);
        }
        for at in (0..d.head_dim).step_by(PANEL) {
            let n = PANEL.min(d.head_dim - at);
            // SAFETY: `scores` has `m` rows with `lo..hi` filled, `v` rows `lo..hi` of padded
            // width, and these columns of rows `row..row + m` of `out` are this task's alone.
            unsafe {
                let a = Rows { ptr: scores.as_ptr().add(lo), stride };
                let b = Rows { ptr: v.as_ptr().add(lo * v_stride + at), stride: v_stride };
                let c = Rows { ptr: out.ptr.add(row * out.stride + at), ..out };
                gemm::panel(isa, (m, n, hi - lo), a, b, c, false);
            }
        }
    }
}

per_isa! {
    /// Softmax of `scores[seen] * scale`, raised from an index in `seen` on; the rest becomes 0.
    fn masked_softmax = masked_softmax_body(
        scale: f32, raised: (usize, f32), scores: &mut [f32], seen: Range<usize>
    )
}

#[inline(always)]
fn masked_softmax_body<const FMA: bool>(
    scale: f32,
    (raised, by): (usize, f32),
    scores: &mut [f32],
    seen: Range<usize>,
) {
    scores[..seen.start].fill(0.0);
    scores[seen.end..].fill(0.0);
    let scores = &mut scores[seen];
    scores.iter_mut().for_each(|s| *s *= scale);
    scores[raised..].iter_mut().for_each(|s| *s += by);
    math::softmax::<FMA>(scores);
}

/// Keys `[n, d]` as panels `[ceil(n / 32)][d][32]`, zero-padded.
fn pack_keys(k: &[f32], head_dim: usize) -> Vec<f32> {
    let n = k.len() / head_dim;
    let mut panels = vec![0f32; n.next_multiple_of(PANEL) * head_dim];
    for (panel, keys) in panels.chunks_exact_mut(PANEL * head_dim).zip(k.chunks(PANEL * head_dim)) {
        for (j, key) in keys.chunks_exact(head_dim).enumerate() {
            for (p, v) in key.iter().enumerate() {
                panel[p * PANEL + j] = *v;
            }
        }
    }
    panels
}

/// Values `[n, d]` themselves when `d` is a multiple of 32, else a padded copy.
fn pad_columns(v: &[f32], head_dim: usize) -> std::borrow::Cow<'_, [f32]> {
    let width = head_dim.next_multiple_of(PANEL);
    if width == head_dim {
        return v.into();
    }
    let mut padded = vec![0f32; v.len() / head_dim * width];
    for (to, from) in padded.chunks_exact_mut(width).zip(v.chunks_exact(head_dim)) {
        to[..head_dim].copy_from_slice(from);
    }
    padded.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;
    use crate::kv_rows::{quantize_row, quantized_row_bytes};

    fn reference(spec: Attention, d: Dims, q: &[f32], k: KvRows, v: KvRows) -> Vec<f64> {
        let (k, v) = (k.to_f32(Isa::Scalar, d.head_dim), v.to_f32(Isa::Scalar, d.head_dim));
        let mut out = Vec::new();
        for b in 0..d.batch {
            for i in 0..d.m {
                for h in 0..d.heads {
                    let (lo, hi) = spec.visible(i, d.m);
                    let q = &q[((b * d.m + i) * d.heads + h) * d.head_dim..][..d.head_dim];
                    let at = d.cache_row(b, h) * d.head_dim;
                    let score = |j: usize| -> f64 {
                        let k = &k[at + j * d.head_dim..][..d.head_dim];
                        q.iter().zip(k).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>() * spec.scale as f64
                    };
                    let weights: Vec<f64> = (lo..hi).map(|j| score(j).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for e in 0..d.head_dim {
                        let value = |j: usize| v[at + j * d.head_dim + e] as f64;
                        out.push((lo..hi).zip(&weights).map(|(j, w)| w / sum * value(j)).sum());
                    }
                }
            }
        }
        out
    }

    #[test]
    fn every_shape_and_mask_agrees_with_the_definition() {
        let shapes =
            [(1, 1, 4, 2, 64), (3, 1, 2, 2, 16), (1, 3, 4, 1, 20), (1, 9, 3, 3, 64), (2, 300, 2, 1, 40)];
        for (batch, m, heads, kv_heads, head_dim) in shapes {
            for (extra, causal, window) in
                [(0, true, None), (70, true, Some(33)), (5, true, Some(1)), (17, false, None)]
            {
                for shared in [false, true] {
                    let kv_len = m + extra;
                    let kv_batch = if shared { 1 } else { batch };
                    let d = Dims { batch, m, heads, kv_batch, kv_heads, capacity: kv_len + 3, head_dim };
                    let spec =
                        Attention { kv_len, causal, window, scale: 0.3, sampled: None, regime: Regime::Few };
                    let q = noise(batch * m * heads * head_dim, 1);
                    let mut k = noise(kv_batch * kv_heads * d.capacity * head_dim, 2);
                    let mut v = noise(k.len(), 3);
                    // What lies past the filled part must never be read.
                    for c in [&mut k, &mut v] {
                        c.chunks_mut(d.capacity * head_dim)
                            .for_each(|c| c[kv_len * head_dim..].fill(f32::NAN));
                    }
                    let (k8, v8) = (quantized(&k, head_dim), quantized(&v, head_dim));
                    let caches = [(KvRows::F32(&k), KvRows::F32(&v)), (KvRows::Q8(&k8), KvRows::Q8(&v8))];
                    for (k, v) in caches {
                        let want = reference(spec, d, &q, k, v);
                        for (isa, regime) in paths() {
                            let (mut out, spec) = (vec![f32::NAN; q.len()], Attention { regime, ..spec });
                            attention(isa, spec, d, &q, k, v, &mut out);
                            for (a, b) in out.iter().zip(&want) {
                                assert!((*a as f64 - b).abs() < 1e-5, "{isa:?} {d:?} {spec:?}: {a} {b}");
                            }
                        }
                    }
                }
            }
        }
    }

    /// NaN, which marks rows that must never be read, becomes a scale of NaN.
    fn quantized(rows: &[f32], head_dim: usize) -> Vec<u8> {
        let row_bytes = quantized_row_bytes(head_dim);
        let mut bytes = vec![0; rows.len() / head_dim * row_bytes];
        for (x, row) in rows.chunks_exact(head_dim).zip(bytes.chunks_exact_mut(row_bytes)) {
            quantize_row(Isa::Scalar, x, row);
            if x[0].is_nan() {
                row[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
        }
        bytes
    }

    #[test]
    fn a_sampled_key_counts_as_often_as_it_stands_for() {
        let (from, each, samples, head_dim, m) = (37, 5, 9, 20, 30);
        let kv_len = from + samples;
        let dims = |n: usize| Dims { batch: 1, m, heads: 2, kv_batch: 1, kv_heads: 1, capacity: n, head_dim };
        let (k, v, q) =
            (noise(kv_len * head_dim, 1), noise(kv_len * head_dim, 2), noise(2 * m * head_dim, 3));
        let repeated = |rows: &[f32]| -> Vec<f32> {
            let (alone, sampled) = rows.split_at(from * head_dim);
            let sampled = sampled.chunks(head_dim).flat_map(|row| row.repeat(each));
            alone.iter().copied().chain(sampled).collect()
        };
        let (all_k, all_v) = (repeated(&k), repeated(&v));
        let n = from + samples * each;
        let all = Attention {
            kv_len: n,
            causal: false,
            window: None,
            scale: 0.3,
            sampled: None,
            regime: Regime::Few,
        };
        let want = reference(all, dims(n), &q, KvRows::F32(&all_k), KvRows::F32(&all_v));
        for (isa, regime) in paths() {
            let mut out = vec![f32::NAN; q.len()];
            let spec = Attention { kv_len, sampled: Some(Sampled { from, each }), regime, ..all };
            attention(isa, spec, dims(kv_len), &q, KvRows::F32(&k), KvRows::F32(&v), &mut out);
            for (a, b) in out.iter().zip(&want) {
                assert!((*a as f64 - b).abs() < 1e-5, "{isa:?} {regime:?}: {a} {b}");
            }
        }
    }

    fn paths() -> impl Iterator<Item = (Isa, Regime)> {
        Isa::available().flat_map(|isa| [(isa, Regime::Few), (isa, Regime::Many)])
    }

    #[test]
    fn a_query_is_the_same_in_any_company() {
        let (heads, kv_heads, total) = (4, 2, 301);
        for (head_dim, causal, window) in [
            (64, true, None),
            (20, true, Some(33)),
            (40, true, Some(1)),
            (33, true, Some(70)),
            (20, false, None),
        ] {
            let width = heads * head_dim;
            let d = Dims { batch: 1, m: 0, heads, kv_batch: 1, kv_heads, capacity: total + 3, head_dim };
            let q = noise(total * width, 1);
            let (k, v) =
                (noise(kv_heads * d.capacity * head_dim, 2), noise(kv_heads * d.capacity * head_dim, 3));
            let (k8, v8) = (quantized(&k, head_dim), quantized(&v, head_dim));
            let caches = [(KvRows::F32(&k), KvRows::F32(&v)), (KvRows::Q8(&k8), KvRows::Q8(&v8))];
            for ((isa, regime), (k, v)) in paths().flat_map(|path| caches.map(|cache| (path, cache))) {
                let in_batches_of = |size: usize| -> Vec<u32> {
                    let batches = q.chunks(size * width).enumerate().flat_map(|(n, q)| {
                        let m = q.len() / width;
                        let kv_len = if causal { n * size + m } else { total };
                        let spec = Attention { kv_len, causal, window, scale: 0.3, sampled: None, regime };
                        let mut out = vec![f32::NAN; q.len()];
                        attention(isa, spec, Dims { m, ..d }, q, k, v, &mut out);
                        out
                    });
                    batches.map(f32::to_bits).collect()
                };
                let alone = in_batches_of(1);
                for size in [2, 5, 7, 8, 13, 33, 301] {
                    assert!(in_batches_of(size) == alone, "{isa:?} {regime:?} {head_dim} {window:?} {size}");
                }
            }
        }
    }
}
