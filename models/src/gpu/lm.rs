use super::{GpuCache, Projection, Rows, check_ids, on_device};
use crate::architecture::Architecture;
use crate::error::Result;
use crate::footprint::PREFILL_CHUNK_TOKENS;
use candle_core::{Device, Tensor};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use undertone_kernels::activation::gpu::gated;
use undertone_kernels::argmax::argmax;
use undertone_kernels::attention::Attention;
use undertone_kernels::attention::gpu::{attend, attend_floats};
use undertone_kernels::gpu::{Array, Gpu, GpuError, allocated_bytes};
use undertone_kernels::kv_append::gpu::{Filled, KvArrays, rope_append};
use undertone_kernels::linear::gpu::{Rounded, can_gate, gather_rows, linear_gated, linear_rows};
use undertone_kernels::norm::gpu::norm;
use undertone_kernels::regime::{MAX_FEW_ROWS, Regime};
use undertone_kernels::weight::Weight;

/// A layer's weights in main memory, as [`GpuLm::upload`] takes them.
pub(crate) struct LmWeights<'a> {
    pub(crate) attn_norm: &'a [f32],
    /// Queries, keys, values.
    pub(crate) qkv: [(&'a Weight, Option<&'a [f32]>); 3],
    pub(crate) qk_norms: Option<(&'a [f32], &'a [f32])>,
    pub(crate) out: &'a Weight,
    pub(crate) post_attn_norm: Option<&'a [f32]>,
    pub(crate) ffn_norm: &'a [f32],
    pub(crate) gate: &'a Weight,
    pub(crate) up: &'a Weight,
    pub(crate) down: &'a Weight,
    pub(crate) post_ffn_norm: Option<&'a [f32]>,
}

struct Layer {
    attn_norm: Array<f32>,
    qkv: [Projection; 3],
    qk_norms: Option<(Array<f32>, Array<f32>)>,
    out: Projection,
    post_attn_norm: Option<Array<f32>>,
    ffn_norm: Array<f32>,
    gate: Projection,
    up: Projection,
    down: Projection,
    post_ffn_norm: Option<Array<f32>>,
    inv_freq: Array<f32>,
}

/// The transformer of [`crate::causal_lm`] on a GPU.
pub(crate) struct GpuLm {
    gpu: Gpu,
    embed: Projection,
    /// None where it is the embedding.
    head: Option<Projection>,
    layers: Vec<Layer>,
    norm: Array<f32>,
    work: Mutex<Workspace>,
}

/// Which logits are wanted of a row.
#[derive(Clone, Copy)]
pub(crate) enum HeadRows<'a> {
    All,
    Among(&'a [u32]),
}

/// Activations of up to [`PREFILL_CHUNK_TOKENS`] tokens, and logits of up to [`MAX_FEW_ROWS`].
struct Workspace {
    ids: Array<i32>,
    among: Array<i32>,
    likeliest: Array<i32>,
    x: Array<f32>,
    h: Array<f32>,
    q: Array<f32>,
    k: Array<f32>,
    v: Array<f32>,
    normed_q: Array<f32>,
    normed_k: Array<f32>,
    attended: Array<f32>,
    gate: Array<f32>,
    up: Array<f32>,
    out: Array<f32>,
    normed_out: Array<f32>,
    parts: Array<f32>,
    logits: Array<f32>,
    rounded: Rounded,
}

/// What a [`Workspace`] has of each, in numbers of four bytes, and columns that are rounded.
struct Sizes {
    numbers: [usize; 17],
    rounded: usize,
}

fn sizes(a: &Architecture, vocab: usize) -> Sizes {
    let (r, few) = (PREFILL_CHUNK_TOKENS, MAX_FEW_ROWS);
    let (d, f) = (a.hidden_size, a.intermediate_size);
    let (q, kv) = (a.num_attention_heads * a.head_dim, a.num_kv_heads * a.head_dim);
    let norms = usize::from(a.qk_norms);
    let parts = attend_floats(r, a.num_attention_heads, a.head_dim);
    let post = usize::from(a.post_norms);
    let numbers = [
        r,
        vocab,
        few,
        r * d,
        r * d,
        r * q,
        r * kv,
        r * kv,
        norms * r * q,
        norms * r * kv,
        r * q,
        r * f,
        r * f,
        r * d,
        post * r * d,
        parts,
        few * vocab,
    ];
    Sizes { numbers, rounded: r * d.max(q).max(f).next_multiple_of(32) }
}

/// Bytes of the workspace of a model of that kind.
pub(crate) fn workspace_bytes(a: &Architecture, vocab: usize) -> usize {
    let Sizes { numbers, rounded } = sizes(a, vocab);
    allocated_bytes(numbers.map(|n| 4 * n)) + allocated_bytes(Rounded::lens_bytes(1, rounded))
}

impl Workspace {
    fn new(gpu: &Gpu, a: &Architecture, vocab: usize) -> Result<Workspace, GpuError> {
        let Sizes { numbers, rounded } = sizes(a, vocab);
        let [ids, among, likeliest, rest @ ..] = numbers;
        let [x, h, q, k, v, normed_q, normed_k, attended, gate, up, out, normed_out, parts, logits] =
            rest.map(|n| gpu.array::<f32>(n));
        Ok(Workspace {
            ids: gpu.array(ids)?,
            among: gpu.array(among)?,
            likeliest: gpu.array(likeliest)?,
            x: x?,
            h: h?,
            q: q?,
            k: k?,
            v: v?,
            normed_q: normed_q?,
            normed_k: normed_k?,
            attended: attended?,
            gate: gate?,
            up: up?,
            out: out?,
            normed_out: normed_out?,
            parts: parts?,
            logits: logits?,
            rounded: Rounded::new(gpu, 1, rounded)?,
        })
    }
}

impl GpuLm {
    pub(crate) fn upload<'a>(
        gpu: &Gpu,
        a: &Architecture,
        (embed, head, last_norm): (&Weight, Option<&Weight>, &[f32]),
        layers: impl Iterator<Item = LmWeights<'a>>,
    ) -> Result<GpuLm> {
        let matrix = |w: &Weight| Projection::upload(gpu, w, None);
        let vector = |v: &[f32]| gpu.array_of(v);
        let optional = |v: Option<&[f32]>| v.map(vector).transpose();
        let layer = |(n, w): (usize, LmWeights<'a>)| -> Result<Layer> {
            let [q, k, v] = w.qkv.map(|(weight, bias)| Projection::upload(gpu, weight, bias));
            let qk_norms = w.qk_norms.map(|(q, k)| Ok::<_, GpuError>((vector(q)?, vector(k)?)));
            Ok(Layer {
                attn_norm: vector(w.attn_norm)?,
                qkv: [q?, k?, v?],
                qk_norms: qk_norms.transpose()?,
                out: matrix(w.out)?,
                post_attn_norm: optional(w.post_attn_norm)?,
                ffn_norm: vector(w.ffn_norm)?,
                gate: matrix(w.gate)?,
                up: matrix(w.up)?,
                down: matrix(w.down)?,
                post_ffn_norm: optional(w.post_ffn_norm)?,
                inv_freq: vector(&a.layers[n].inv_freq)?,
            })
        };
        Ok(GpuLm {
            gpu: gpu.clone(),
            embed: matrix(embed)?,
            head: head.map(matrix).transpose()?,
            layers: layers.enumerate().map(layer).collect::<Result<_>>()?,
            norm: vector(last_norm)?,
            work: Mutex::new(Workspace::new(gpu, a, embed.rows())?),
        })
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn head(&self) -> &Projection {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Rows of the embedding.
    fn vocab(&self) -> usize {
        self.embed.weight.rows()
    }

    /// Computes `tokens` behind `position`, few of them in one recorded pass, many a chunk after the other. Where the last
    /// `n` of them are, `then` is told the rows of the workspace.
    fn run<T>(
        &self,
        a: &Architecture,
        (tokens, position): (&[u32], usize),
        cache: &mut GpuCache,
        (n, regime): (usize, Regime),
        mut then: impl FnMut(&Workspace, Range<usize>) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        check_ids(tokens, self.vocab())?;
        let work = &*self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut end, mut left) = (position, tokens.len());
        let mut out = Vec::new();
        for chunk in tokens.chunks(PREFILL_CHUNK_TOKENS) {
            let m = chunk.len();
            (end, left) = (end + m, left - m);
            work.ids.part(0..m)?.write(&on_device(chunk))?;
            match regime {
                Regime::Few => {
                    let with = (self.embed.weight.address(), 0);
                    cache.step((m, end), with, |m, layers, filled| {
                        self.pass(a, work, (m, regime), layers, filled)
                    })?;
                }
                Regime::Many => {
                    let (layers, filled) = cache.sequence(0);
                    filled.set(end)?;
                    self.pass(a, work, (m, regime), layers, filled)?;
                }
            }
            let from = m - n.saturating_sub(left).min(m);
            if from < m {
                out.extend(then(work, from..m)?);
            }
        }
        Ok(out)
    }

    /// Logits of the last `n` tokens, `[n, vocab or wanted rows]`; nothing for none.
    pub(crate) fn forward(
        &self,
        a: &Architecture,
        tokens: (&[u32], usize),
        cache: &mut GpuCache,
        (n, regime): (usize, Regime),
        wanted: HeadRows<'_>,
    ) -> Result<Option<Tensor>> {
        let wide = match wanted {
            HeadRows::All => self.vocab(),
            HeadRows::Among(ids) => ids.len(),
        };
        let logits =
            self.run(a, tokens, cache, (n, regime), |work, rows| self.logits(a, work, rows, wanted))?;
        Ok((n > 0).then(|| Tensor::from_vec(logits, (n, wide), &Device::Cpu)).transpose()?)
    }

    /// The likeliest token behind each of the last `n` tokens, whose logits stay where they are.
    pub(crate) fn likeliest(
        &self,
        a: &Architecture,
        tokens: (&[u32], usize),
        cache: &mut GpuCache,
        (n, regime): (usize, Regime),
    ) -> Result<Vec<u32>> {
        let vocab = self.vocab();
        self.run(a, tokens, cache, (n, regime), |work, rows| {
            let rows = self.normed(a, work, rows)?;
            let mut logits = work.logits.part(0..rows.m * vocab)?;
            self.head().forward(&rows, false, &mut logits)?;
            let mut best = work.likeliest.part(0..rows.m)?;
            argmax(&logits, None, vocab, &mut best)?;
            // -1, where nothing is a number, is no token.
            Ok(best.to_vec()?.into_iter().map(|id| id.max(0) as u32).collect())
        })
    }

    /// Rows `from..to` of the workspace's states, normed for the head: at most [`MAX_FEW_ROWS`].
    fn normed(&self, a: &Architecture, work: &Workspace, rows: Range<usize>) -> Result<Rows, GpuError> {
        let (d, m) = (a.hidden_size, rows.len());
        // Recorded passes leave the sum behind the last layer to be made here.
        let pending = if a.post_norms { &work.normed_out } else { &work.out };
        let range = rows.start * d..rows.end * d;
        let (mut x, add) = (work.x.part(range.clone())?, pending.part(range)?);
        let mut h = work.h.part(0..m * d)?;
        norm(&mut x, Some(&add), &self.norm, None, a.rms_norm_eps, &mut h)?;
        Rows::new(h, (m, Regime::Few), &[self.head()], &work.rounded)
    }

    fn logits(
        &self,
        a: &Architecture,
        work: &Workspace,
        rows: Range<usize>,
        wanted: HeadRows<'_>,
    ) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        if let HeadRows::Among(ids) = wanted {
            check_ids(ids, self.vocab())?;
            work.among.part(0..ids.len())?.write(&on_device(ids))?;
        }
        for from in rows.clone().step_by(MAX_FEW_ROWS) {
            let x = self.normed(a, work, from..rows.end.min(from + MAX_FEW_ROWS))?;
            let logits = match wanted {
                HeadRows::All => {
                    let mut logits = work.logits.part(0..x.m * self.vocab())?;
                    self.head().forward(&x, false, &mut logits)?;
                    logits
                }
                HeadRows::Among(ids) => {
                    let mut logits = work.logits.part(0..x.m * ids.len())?;
                    let ids = work.among.part(0..ids.len())?;
                    let weight = &self.head().weight;
                    // SAFETY: they were looked at above.
                    unsafe { linear_rows(weight, &ids, &x.values, &x.rounded, x.m, &mut logits)? };
                    logits
                }
            };
            out.extend(logits.to_vec()?);
        }
        Ok(out)
    }

    /// Launches all layers over the `m` tokens whose ids are in the workspace. The sum behind the last is left to
    /// [`GpuLm::normed`].
    fn pass(
        &self,
        a: &Architecture,
        work: &Workspace,
        (m, regime): (usize, Regime),
        layers: &mut [KvArrays],
        filled: &Filled,
    ) -> Result<(), GpuError> {
        let d = a.hidden_size;
        let ids = work.ids.part(0..m)?;
        let mut x = work.x.part(0..m * d)?;
        // SAFETY: ids were looked at before they were written.
        unsafe { gather_rows(&self.embed.weight, &ids, a.embedding_scale, &mut x)? };
        let pending = if a.post_norms { &work.normed_out } else { &work.out };
        for (n, (layer, cache)) in self.layers.iter().zip(layers).enumerate() {
            let add = pending.part(0..m * d)?;
            let mut h = work.h.part(0..m * d)?;
            norm(&mut x, (n > 0).then_some(&add), &layer.attn_norm, None, a.rms_norm_eps, &mut h)?;
            let h = self.attend(a, work, (n, layer), (h, m, regime), cache, filled)?;
            post_norm(a, work, layer.post_attn_norm.as_ref(), &h)?;

            let add = pending.part(0..m * d)?;
            let mut h = work.h.part(0..m * d)?;
            norm(&mut x, Some(&add), &layer.ffn_norm, None, a.rms_norm_eps, &mut h)?;
            let h = feed_forward(a, work, layer, (h, m, regime))?;
            post_norm(a, work, layer.post_ffn_norm.as_ref(), &h)?;
        }
        Ok(())
    }

    fn attend(
        &self,
        a: &Architecture,
        work: &Workspace,
        (n, layer): (usize, &Layer),
        (h, m, regime): (Array<f32>, usize, Regime),
        cache: &mut KvArrays,
        filled: &Filled,
    ) -> Result<Array<f32>, GpuError> {
        let (wide, narrow) = (m * a.num_attention_heads * a.head_dim, m * a.num_kv_heads * a.head_dim);
        let [wq, wk, wv] = &layer.qkv;
        let rows = Rows::new(h, (m, regime), &[wq, wk, wv], &work.rounded)?;
        let (mut q, mut k, mut v) = (work.q.part(0..wide)?, work.k.part(0..narrow)?, work.v.part(0..narrow)?);
        wq.forward(&rows, false, &mut q)?;
        wk.forward(&rows, false, &mut k)?;
        wv.forward(&rows, false, &mut v)?;
        if let Some((q_norm, k_norm)) = &layer.qk_norms {
            let (mut normed_q, mut normed_k) = (work.normed_q.part(0..wide)?, work.normed_k.part(0..narrow)?);
            norm(&mut q, None, q_norm, None, a.rms_norm_eps, &mut normed_q)?;
            norm(&mut k, None, k_norm, None, a.rms_norm_eps, &mut normed_k)?;
            (q, k) = (normed_q, normed_k);
        }
        rope_append(&mut q, &k, &v, Some((&layer.inv_freq, a.pairing)), filled, cache)?;
        let mut attended = work.attended.part(0..wide)?;
        let (window, scale) = (a.layers[n].window, a.attention_scale);
        let spec = Attention { kv_len: 0, causal: true, window, scale, sampled: None, regime };
        attend(&q, cache, filled, m, spec, &mut work.parts.all(), &mut attended)?;
        let rows = Rows::new(attended, (m, regime), &[&layer.out], &work.rounded)?;
        let mut out = work.out.part(0..m * a.hidden_size)?;
        layer.out.forward(&rows, false, &mut out)?;
        Ok(out)
    }
}

/// The layer's perceptron.
fn feed_forward(
    a: &Architecture,
    work: &Workspace,
    layer: &Layer,
    (h, m, regime): (Array<f32>, usize, Regime),
) -> Result<Array<f32>, GpuError> {
    let rows = Rows::new(h, (m, regime), &[&layer.gate, &layer.up], &work.rounded)?;
    let hidden = m * a.intermediate_size;
    let mut gate = work.gate.part(0..hidden)?;
    if regime == Regime::Few && can_gate(&layer.gate.weight, &layer.up.weight) {
        linear_gated((&layer.gate.weight, &layer.up.weight), a.gate, &rows.rounded, m, &mut gate)?;
    } else {
        let mut up = work.up.part(0..hidden)?;
        layer.gate.forward(&rows, false, &mut gate)?;
        layer.up.forward(&rows, false, &mut up)?;
        // In place: a thread has one number.
        gated(&gate.all(), &up, a.gate, &mut gate)?;
    }
    let rows = Rows::new(gate, (m, regime), &[&layer.down], &work.rounded)?;
    let mut out = work.out.part(0..m * a.hidden_size)?;
    layer.down.forward(&rows, false, &mut out)?;
    Ok(out)
}

/// Where a model norms what is added to the residual stream (Gemma), from `out` to where it is added from.
fn post_norm(
    a: &Architecture,
    work: &Workspace,
    weight: Option<&Array<f32>>,
    out: &Array<f32>,
) -> Result<(), GpuError> {
    let Some(weight) = weight else { return Ok(()) };
    let mut normed = work.normed_out.part(0..out.len())?;
    norm(&mut out.all(), None, weight, None, a.rms_norm_eps, &mut normed)
}
