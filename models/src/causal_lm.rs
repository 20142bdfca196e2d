//! The decoder-only transformer that an [`Architecture`] describes, over mapped GGUF weights.

use crate::architecture::{self, Architecture};
use crate::error::{ModelError, Result};
use crate::footprint::gpu_tensor_bytes;
use crate::gpu::{GpuLm, HeadRows, LmWeights};
use crate::kv_cache::{KvCache, KvType, kv_bytes_per_position};
use crate::tokenizer::Tokenizer;
use crate::weights::{MappedFile, Weights, gguf::Gguf};
use candle_core::Tensor;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;
use undertone_kernels::activation::gated;
use undertone_kernels::attention::{Attention, attention};
use undertone_kernels::gpu::Gpu;
use undertone_kernels::kv_append::kv_append;
use undertone_kernels::linear::{gather_rows, linear, linear_each, linear_rows};
use undertone_kernels::norm::rms_norm;
use undertone_kernels::regime::{MAX_FEW_ROWS, Regime};
use undertone_kernels::residual::add_to;
use undertone_kernels::rope::rope;
use undertone_kernels::weight::Weight;

/// What a forward pass is for. Passes of one [`Regime`] give the same keys, values and logits, bit
/// for bit, however the tokens are divided among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Fills the cache; no logits.
    Prefill,
    /// Fills the cache; logits of the last token.
    PrefillLast,
    /// Logits of each of at most [`MAX_FEW_ROWS`] tokens: one decoded, or drafts to verify.
    Decode,
    /// Logits of each of any number of tokens, computed as in prefill.
    Score,
    /// [`Pass::PrefillLast`] of a prompt and, of this many drafts of what follows it, [`Pass::Decode`] in one: logits
    /// of the prompt's last token and of each draft. For models that [`CausalLm::takes_drafts_with_prompt`].
    PrefillDrafts(usize),
}

impl Pass {
    fn regime(self) -> Regime {
        match self {
            Pass::Decode => Regime::Few,
            Pass::Prefill | Pass::PrefillLast | Pass::Score | Pass::PrefillDrafts(_) => Regime::Many,
        }
    }

    /// Of how many of `tokens` it gives logits: the last.
    fn rows(self, tokens: usize) -> usize {
        match self {
            Pass::Prefill => 0,
            Pass::PrefillLast => 1,
            Pass::Decode | Pass::Score => tokens,
            Pass::PrefillDrafts(drafts) => drafts + 1,
        }
    }

    /// How many of `tokens`, the last, look back as decoded ones do.
    fn decoded(self, tokens: usize) -> usize {
        match self {
            Pass::Prefill | Pass::PrefillLast | Pass::Score => 0,
            Pass::Decode => tokens,
            Pass::PrefillDrafts(drafts) => drafts,
        }
    }
}

struct Layer {
    attn_norm: Vec<f32>,
    q: Weight,
    k: Weight,
    v: Weight,
    out: Weight,
    qkv_bias: Option<[Vec<f32>; 3]>,
    qk_norms: Option<(Vec<f32>, Vec<f32>)>,
    post_attn_norm: Option<Vec<f32>>,
    ffn_norm: Vec<f32>,
    gate: Weight,
    up: Weight,
    down: Weight,
    post_ffn_norm: Option<Vec<f32>>,
}

/// A language model. State lives in the caller's [`KvCache`].
pub struct CausalLm {
    architecture: Architecture,
    tokenizer: Tokenizer,
    chat_template: Option<String>,
    network: Network,
    weights_bytes: usize,
    /// Of weights, for one token.
    read_bytes: usize,
    files: Vec<Arc<MappedFile>>,
}

enum Network {
    Host(HostLm),
    Gpu(Box<GpuLm>),
}

/// Weights in main memory, and their arithmetic on the processor.
struct HostLm {
    embed: Weight,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// None where it is the embedding.
    head: Option<Weight>,
}

impl CausalLm {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// One clear sentence for whatever is missing, damaged or not implemented.
    pub fn open(path: &Path) -> Result<CausalLm> {
        CausalLm::load(path, None)
    }

    /// Opens a GGUF file and uploads its weights.
    ///
    /// # Errors
    /// As [`CausalLm::open`]; if a weight is of a type that the GPU does not multiply, or there is no memory left.
    pub fn open_on(path: &Path, gpu: &Gpu) -> Result<CausalLm> {
        CausalLm::load(path, Some(gpu))
    }

    fn load(path: &Path, gpu: Option<&Gpu>) -> Result<CausalLm> {
        let mut file = Gguf::open(path)?;
        let architecture = architecture::describe(&file)?;
        let tokenizer = file.tokenizer()?;
        let weights_bytes = file.weights().len_bytes();
        if gpu.is_none() {
            let multiplied = multiplied(file.weights());
            file.weights_mut().interleave(multiplied)?;
        }
        let w = file.weights();
        let host = HostLm::load(w, &architecture)?;
        let read_bytes = read_bytes(w, gpu.is_some());
        // Some files pad the embedding past the last token.
        let vocab = host.embed.rows();
        if tokenizer.vocab_size() > vocab {
            let what = format!("{} tokens but {vocab} embeddings", tokenizer.vocab_size());
            return Err(ModelError::corrupt(path, what));
        }
        // What was uploaded is not read again.
        let files = if gpu.is_none() { w.files() } else { Vec::new() };
        Ok(CausalLm {
            network: match gpu {
                None => Network::Host(host),
                Some(gpu) => Network::Gpu(Box::new(host.upload(gpu, &architecture)?)),
            },
            weights_bytes,
            read_bytes,
            files,
            chat_template: file.text("tokenizer.chat_template").map(str::to_string),
            tokenizer,
            architecture,
        })
    }

    /// Sizes and choices.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The file's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The file's chat template (Jinja), where it has one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Bytes of the weights in their stored form.
    pub fn weights_bytes(&self) -> usize {
        self.weights_bytes
    }

    /// Bytes that decoding one token behind `position` others reads: all weights it is multiplied with, a row of an
    /// embedding that is not the head too, and the keys and values.
    pub fn token_bytes(&self, position: usize, kv: KvType) -> usize {
        let a = &self.architecture;
        self.read_bytes
            + position * kv_bytes_per_position(a.num_hidden_layers, a.num_kv_heads, a.head_dim, kv)
    }

    /// The matrices that every token is multiplied with, where they are in main memory.
    pub fn multiplied(&self) -> Vec<&Weight> {
        let Network::Host(lm) = &self.network else { return Vec::new() };
        lm.layers.iter().flat_map(Layer::matrices).chain([lm.head()]).collect()
    }

    /// The mapped files the weights lie in.
    pub fn files(&self) -> &[Arc<MappedFile>] {
        &self.files
    }

    /// An empty cache of `capacity` positions.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new_cache(&self, capacity: usize, kv_type: KvType) -> Result<KvCache> {
        let Architecture { num_hidden_layers: layers, num_kv_heads, head_dim, .. } = self.architecture;
        match &self.network {
            Network::Host(_) => KvCache::new(layers, 1, num_kv_heads, head_dim, capacity, kv_type),
            Network::Gpu(lm) => {
                KvCache::on_gpu(lm.gpu(), (layers, 1), num_kv_heads, head_dim, capacity, kv_type)
            }
        }
    }

    /// Runs `tokens` behind what `cache` holds; logits `[n, vocab_size]` of those that `pass` names
    /// (`None` for [`Pass::Prefill`]).
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] if they do not fit, [`ModelError::PassLength`] if there are none
    /// or too many for the pass; a token outside the vocabulary.
    pub fn forward(&self, tokens: &[u32], cache: &mut KvCache, pass: Pass) -> Result<Option<Tensor>> {
        self.forward_among(tokens, cache, pass, None)
    }

    /// As [`CausalLm::forward`], with the logits of the tokens `among` only, in their order: a small part of the
    /// output head, which can be most of a model.
    ///
    /// # Errors
    /// As [`CausalLm::forward`], or if one of them is not in the vocabulary.
    pub fn forward_among(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
        pass: Pass,
        among: Option<&[u32]>,
    ) -> Result<Option<Tensor>> {
        let position = self.check(tokens, cache, pass)?;
        let a = &self.architecture;
        let logits = match &self.network {
            Network::Host(lm) => lm.forward(a, tokens, Sequences::One(cache), pass, among)?,
            Network::Gpu(lm) => {
                let wanted = among.map_or(HeadRows::All, HeadRows::Among);
                let rows = (pass.rows(tokens.len()), pass.regime());
                lm.forward(a, (tokens, position), cache.gpu_mut()?, rows, wanted)?
            }
        };
        cache.advance(tokens.len());
        Ok(logits)
    }

    /// As [`CausalLm::forward`], with the likeliest token behind each instead of logits, which stay on the device; of
    /// equally likely ones the first.
    ///
    /// # Errors
    /// As [`CausalLm::forward`].
    pub fn forward_likeliest(&self, tokens: &[u32], cache: &mut KvCache, pass: Pass) -> Result<Vec<u32>> {
        let position = self.check(tokens, cache, pass)?;
        let a = &self.architecture;
        let likeliest = match &self.network {
            Network::Host(lm) => {
                let logits = lm.forward(a, tokens, Sequences::One(cache), pass, None)?;
                let rows = logits.map(|l| l.to_vec2::<f32>()).transpose()?.unwrap_or_default();
                rows.iter().map(|row| argmax(row)).collect()
            }
            Network::Gpu(lm) => {
                let rows = (pass.rows(tokens.len()), pass.regime());
                lm.likeliest(a, (tokens, position), cache.gpu_mut()?, rows)?
            }
        };
        cache.advance(tokens.len());
        Ok(likeliest)
    }

    /// Whether a prompt and the first drafts can be one pass ([`Pass::PrefillDrafts`]): where matrices meet decoded
    /// tokens as they meet prompts, so that only attention tells them apart.
    pub fn takes_drafts_with_prompt(&self) -> bool {
        match &self.network {
            Network::Host(lm) => lm.layers.iter().flat_map(Layer::matrices).all(Weight::is_interleaved),
            Network::Gpu(_) => false,
        }
    }

    /// Where `tokens` go, if there is room for them and the pass takes so many.
    fn check(&self, tokens: &[u32], cache: &KvCache, pass: Pass) -> Result<usize> {
        let fits = match pass {
            Pass::Decode => tokens.len() <= MAX_FEW_ROWS,
            Pass::PrefillDrafts(drafts) => {
                drafts < tokens.len().min(MAX_FEW_ROWS) && self.takes_drafts_with_prompt()
            }
            Pass::Prefill | Pass::PrefillLast | Pass::Score => true,
        };
        if tokens.is_empty() || !fits {
            return Err(ModelError::PassLength { tokens: tokens.len(), pass });
        }
        cache.check(tokens.len())
    }

    /// Runs one token of each of at most [`MAX_FEW_ROWS`] sequences, each behind what its cache holds: the weights are
    /// read once for all. Logits `[n, vocab_size]`, bit for bit those of a [`Pass::Decode`] of each alone. (On a GPU
    /// it is a pass for each.)
    ///
    /// # Errors
    /// As [`CausalLm::forward`]; if there are not as many caches as tokens. Where one fails none is changed.
    pub fn forward_each(&self, tokens: &[u32], caches: &mut [&mut KvCache]) -> Result<Tensor> {
        if tokens.is_empty() || tokens.len() > MAX_FEW_ROWS || tokens.len() != caches.len() {
            return Err(ModelError::PassLength { tokens: tokens.len(), pass: Pass::Decode });
        }
        let positions = caches.iter().map(|cache| cache.check(1)).collect::<Result<Vec<_>>>()?;
        let a = &self.architecture;
        let logits = match &self.network {
            Network::Host(lm) => lm.forward(a, tokens, Sequences::Each(caches), Pass::Decode, None)?,
            Network::Gpu(lm) => {
                let mut rows = Vec::with_capacity(tokens.len());
                for ((token, position), cache) in tokens.iter().zip(positions).zip(&mut *caches) {
                    let behind = (std::slice::from_ref(token), position);
                    let rows_of = (1, Pass::Decode.regime());
                    rows.extend(lm.forward(a, behind, cache.gpu_mut()?, rows_of, HeadRows::All)?);
                }
                Some(Tensor::cat(&rows, 0)?)
            }
        };
        caches.iter_mut().for_each(|cache| cache.advance(1));
        logits.ok_or(ModelError::PassLength { tokens: tokens.len(), pass: Pass::Decode })
    }
}

/// How the rows of a pass meet matrices, and how many of them, the last, look back as decoded tokens.
#[derive(Clone, Copy)]
struct Rows {
    regime: Regime,
    decoded: usize,
}

/// Whose tokens the rows of a pass are.
#[derive(Clone, Copy)]
enum Sequences<'a> {
    /// One's, that follow each other behind what the cache holds.
    One(&'a KvCache),
    /// One of each, behind what its cache holds.
    Each(&'a [&'a mut KvCache]),
}

/// The first of the highest.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, l) in logits.iter().enumerate() {
        if *l > logits[best] {
            best = i;
        }
    }
    best as u32
}

impl HostLm {
    fn load(w: &Weights, a: &Architecture) -> Result<HostLm> {
        let (vocab, d) = (w.dims("token_embd.weight")?[0], a.hidden_size);
        let head = w.contains("output.weight").then(|| w.matrix("output.weight", vocab, d));
        Ok(HostLm {
            embed: w.matrix("token_embd.weight", vocab, d)?,
            layers: (0..a.num_hidden_layers).map(|n| Layer::load(w, a, n)).collect::<Result<_>>()?,
            norm: w.vector("output_norm.weight", d)?,
            head: head.transpose()?,
        })
    }

    fn upload(&self, gpu: &Gpu, a: &Architecture) -> Result<GpuLm> {
        let ends = (&self.embed, self.head.as_ref(), &self.norm[..]);
        GpuLm::upload(gpu, a, ends, self.layers.iter().map(Layer::weights))
    }

    fn head(&self) -> &Weight {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    fn forward(
        &self,
        a: &Architecture,
        tokens: &[u32],
        sequences: Sequences<'_>,
        pass: Pass,
        among: Option<&[u32]>,
    ) -> Result<Option<Tensor>> {
        let rows = Rows { regime: pass.regime(), decoded: pass.decoded(tokens.len()) };
        let mut x = gather_rows(&self.embed, tokens)?;
        if a.embedding_scale != 1.0 {
            x = (x * a.embedding_scale as f64)?;
        }
        for (n, layer) in self.layers.iter().enumerate() {
            layer.attend(a, n, &x, sequences, rows)?;
            layer.feed_forward(a, &x, rows.regime)?;
        }
        let (x, regime) = match pass {
            Pass::Prefill => return Ok(None),
            // Always one row, whatever the number of tokens.
            Pass::PrefillLast => (x.narrow(0, tokens.len() - 1, 1)?.contiguous()?, Regime::Few),
            Pass::PrefillDrafts(drafts) => {
                (x.narrow(0, tokens.len() - 1 - drafts, 1 + drafts)?.contiguous()?, Regime::Few)
            }
            Pass::Decode | Pass::Score => (x, rows.regime),
        };
        let (x, head) = (rms_norm(&x, &self.norm, a.rms_norm_eps)?, self.head());
        Ok(Some(match (among, regime) {
            (None, _) => linear(&x, head, None, regime)?,
            (Some(among), Regime::Few) => linear_rows(&x, head, among)?,
            (Some(among), Regime::Many) => {
                linear(&x, head, None, regime)?.index_select(&Tensor::new(among, x.device())?, 1)?
            }
        }))
    }
}

impl Layer {
    /// Adds its attention, that of the `n`-th layer, to `x`.
    fn attend(
        &self,
        a: &Architecture,
        n: usize,
        x: &Tensor,
        sequences: Sequences<'_>,
        rows: Rows,
    ) -> Result<()> {
        let (eps, regime) = (a.rms_norm_eps, rows.regime);
        let h = rms_norm(x, &self.attn_norm, eps)?;
        let [mut q, mut k, v] = linear_each(&h, self.qkv(), regime)?;
        if let Some((q_norm, k_norm)) = &self.qk_norms {
            q = rms_norm(&q, q_norm, eps)?;
            k = rms_norm(&k, k_norm, eps)?;
        }
        let h = match sequences {
            Sequences::One(cache) => look_back(a, n, [q, k, v], cache, rows.decoded)?,
            Sequences::Each(caches) => {
                // Rows of their own, so that what is written in place for one locks no other.
                let row = |x: &Tensor, i: usize| x.narrow(0, i, 1)?.force_contiguous();
                let each = caches
                    .par_iter()
                    .enumerate()
                    .map(|(i, cache)| look_back(a, n, [row(&q, i)?, row(&k, i)?, row(&v, i)?], cache, 1));
                Tensor::cat(&each.collect::<Result<Vec<_>>>()?, 0)?
            }
        };
        let mut h = linear(&h, &self.out, None, regime)?;
        if let Some(norm) = &self.post_attn_norm {
            h = rms_norm(&h, norm, eps)?;
        }
        Ok(add_to(x, &h)?)
    }

    /// Adds its perceptron to `x`.
    fn feed_forward(&self, a: &Architecture, x: &Tensor, regime: Regime) -> Result<()> {
        let eps = a.rms_norm_eps;
        let h = rms_norm(x, &self.ffn_norm, eps)?;
        let [gate, up] = linear_each(&h, [(&self.gate, None), (&self.up, None)], regime)?;
        let mut h = linear(&gated(&gate, &up, a.gate)?, &self.down, None, regime)?;
        if let Some(norm) = &self.post_ffn_norm {
            h = rms_norm(&h, norm, eps)?;
        }
        Ok(add_to(x, &h)?)
    }

    /// Queries, keys and values, each with its bias.
    fn qkv(&self) -> [(&Weight, Option<&[f32]>); 3] {
        let bias = |i: usize| self.qkv_bias.as_ref().map(|b| &b[i][..]);
        [(&self.q, bias(0)), (&self.k, bias(1)), (&self.v, bias(2))]
    }

    fn matrices(&self) -> [&Weight; 7] {
        [&self.q, &self.k, &self.v, &self.out, &self.gate, &self.up, &self.down]
    }

    fn weights(&self) -> LmWeights<'_> {
        LmWeights {
            attn_norm: &self.attn_norm,
            qkv: self.qkv(),
            qk_norms: self.qk_norms.as_ref().map(|(q, k)| (&q[..], &k[..])),
            out: &self.out,
            post_attn_norm: self.post_attn_norm.as_deref(),
            ffn_norm: &self.ffn_norm,
            gate: &self.gate,
            up: &self.up,
            down: &self.down,
            post_ffn_norm: self.post_ffn_norm.as_deref(),
        }
    }
}

/// Puts keys and values of layer `n` behind what `cache` holds, and looks back from there: the last `decoded` rows as
/// decoded tokens do.
fn look_back(
    a: &Architecture,
    n: usize,
    [q, k, v]: [Tensor; 3],
    cache: &KvCache,
    decoded: usize,
) -> Result<Tensor> {
    let (reach, position, (keys, values)) = (&a.layers[n], cache.len(), &cache.layers()?[n]);
    rope(&q, position, &reach.inv_freq, a.pairing)?;
    rope(&k, position, &reach.inv_freq, a.pairing)?;
    kv_append(keys, &k.unsqueeze(0)?, position)?;
    kv_append(values, &v.unsqueeze(0)?, position)?;
    let (window, scale, read) = (reach.window, a.attention_scale, q.dim(0)? - decoded);
    let part = |from: usize, rows: usize, regime: Regime| -> Result<Tensor> {
        let kv_len = position + from + rows;
        let spec = Attention { kv_len, causal: true, window, scale, sampled: None, regime };
        Ok(attention(&q.narrow(0, from, rows)?.unsqueeze(0)?, keys, values, spec)?.squeeze(0)?)
    };
    match (read, decoded) {
        (0, _) => part(0, decoded, Regime::Few),
        (_, 0) => part(0, read, Regime::Many),
        _ => Ok(Tensor::cat(&[part(0, read, Regime::Many)?, part(read, decoded, Regime::Few)?], 0)?),
    }
}

/// The matrices that are more than looked up: all, but the embedding of a model that has another head.
pub(crate) fn multiplied(weights: &Weights) -> impl Fn(&str) -> bool + use<> {
    let apart = weights.contains("output.weight");
    move |name| !apart || name != "token_embd.weight"
}

/// Bytes of weights that one token reads.
fn read_bytes(weights: &Weights, on_gpu: bool) -> usize {
    let is_multiplied = multiplied(weights);
    weights.sum(|name, tensor| match tensor.dims[..] {
        [rows, _] if !is_multiplied(name) => Some(tensor.range.len() / rows),
        [_, _] if on_gpu => gpu_tensor_bytes(tensor),
        [_, _] => Some(tensor.range.len()),
        // Vectors are f32 everywhere.
        _ => Some(size_of::<f32>() * tensor.dims.iter().product::<usize>()),
    })
}

impl Layer {
    fn load(w: &Weights, a: &Architecture, n: usize) -> Result<Layer> {
        let name = |part: &str| format!("blk.{n}.{part}");
        let (d, hidden) = (a.hidden_size, a.intermediate_size);
        let (q, kv) = (a.num_attention_heads * a.head_dim, a.num_kv_heads * a.head_dim);
        let matrix = |part: &str, rows, cols| w.matrix(&name(part), rows, cols);
        let vector = |part: &str, len| w.vector(&name(part), len);
        let post = |part: &str| a.post_norms.then(|| vector(part, d)).transpose();
        let qkv_bias = match a.qkv_bias {
            true => Some([vector("attn_q.bias", q)?, vector("attn_k.bias", kv)?, vector("attn_v.bias", kv)?]),
            false => None,
        };
        let qk_norms = match a.qk_norms {
            true => {
                Some((vector("attn_q_norm.weight", a.head_dim)?, vector("attn_k_norm.weight", a.head_dim)?))
            }
            false => None,
        };
        Ok(Layer {
            attn_norm: vector("attn_norm.weight", d)?,
            q: matrix("attn_q.weight", q, d)?,
            k: matrix("attn_k.weight", kv, d)?,
            v: matrix("attn_v.weight", kv, d)?,
            out: matrix("attn_output.weight", d, q)?,
            qkv_bias,
            qk_norms,
            post_attn_norm: post("post_attention_norm.weight")?,
            ffn_norm: vector("ffn_norm.weight", d)?,
            gate: matrix("ffn_gate.weight", hidden, d)?,
            up: matrix("ffn_up.weight", hidden, d)?,
            down: matrix("ffn_down.weight", d, hidden)?,
            post_ffn_norm: post("post_ffw_norm.weight")?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::weights::{BlockType, TensorEntry};
    use std::collections::HashMap;

    #[test]
    fn a_token_reads_what_it_is_multiplied_with_and_one_row_of_what_it_is_looked_up_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        std::fs::write(&path, vec![0u8; 1 << 16]).unwrap();
        let file = MappedFile::open(&path).unwrap();
        let entry =
            |len: usize, ty, dims: &[usize]| TensorEntry::new(file.clone(), 0..len, ty, dims.to_vec());
        let mut tensors = HashMap::from([
            ("token_embd.weight".to_string(), entry(50 * 34, BlockType::Q8_0, &[50, 32])),
            ("blk.0.attn_q.weight".to_string(), entry(8 * 64, BlockType::F16, &[8, 32])),
            ("output_norm.weight".to_string(), entry(2 * 32, BlockType::F16, &[32])),
        ]);
        let tied = Weights::new(&path, vec![file.clone()], tensors.clone());
        assert_eq!(read_bytes(&tied, false), 50 * 34 + 8 * 64 + 4 * 32);
        tensors.insert("output.weight".into(), entry(50 * 34, BlockType::Q8_0, &[50, 32]));
        let apart = Weights::new(&path, vec![file.clone()], tensors);
        assert_eq!(read_bytes(&apart, false), 34 + 50 * 34 + 8 * 64 + 4 * 32);
    }
}
