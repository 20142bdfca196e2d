//! The decoder-only transformer that an [`Architecture`] describes, over mapped GGUF weights.

use crate::architecture::{self, Architecture};
use crate::error::{ModelError, Result};
use crate::kv_cache::{KvCache, KvType};
use crate::tokenizer::Tokenizer;
use crate::weights::{MappedFile, Weights, gguf::Gguf};
use candle_core::Tensor;
use std::path::Path;
use std::sync::Arc;
use undertone_kernels::activation::gated;
use undertone_kernels::attention::{Attention, attention};
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
}

impl Pass {
    fn regime(self) -> Regime {
        match self {
            Pass::Decode => Regime::Few,
            Pass::Prefill | Pass::PrefillLast | Pass::Score => Regime::Many,
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
    embed: Weight,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Weight,
    weights_bytes: usize,
    files: Vec<Arc<MappedFile>>,
}

impl CausalLm {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// One clear sentence for whatever is missing, damaged or not implemented.
    pub fn open(path: &Path) -> Result<CausalLm> {
        let mut file = Gguf::open(path)?;
        let architecture = architecture::describe(&file)?;
        let tokenizer = file.tokenizer()?;
        let weights_bytes = file.weights().len_bytes();
        let multiplied = multiplied(file.weights());
        file.weights_mut().interleave(multiplied)?;
        let (w, d) = (file.weights(), architecture.hidden_size);
        // Some files pad the embedding past the last token.
        let vocab = w.dims("token_embd.weight")?[0];
        if tokenizer.vocab_size() > vocab {
            let what = format!("{} tokens but {vocab} embeddings", tokenizer.vocab_size());
            return Err(ModelError::corrupt(path, what));
        }
        let embed = w.matrix("token_embd.weight", vocab, d)?;
        let head = match w.contains("output.weight") {
            true => w.matrix("output.weight", vocab, d)?,
            false => embed.clone(),
        };
        let layers = (0..architecture.num_hidden_layers).map(|n| Layer::load(w, &architecture, n));
        Ok(CausalLm {
            layers: layers.collect::<Result<_>>()?,
            norm: w.vector("output_norm.weight", d)?,
            weights_bytes,
            files: w.files(),
            chat_template: file.text("tokenizer.chat_template").map(str::to_string),
            embed,
            head,
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

    /// The mapped files the weights lie in.
    pub fn files(&self) -> &[Arc<MappedFile>] {
        &self.files
    }

    /// An empty cache of `capacity` positions.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new_cache(&self, capacity: usize, kv_type: KvType) -> Result<KvCache> {
        let a = &self.architecture;
        KvCache::new(a.num_hidden_layers, 1, a.num_kv_heads, a.head_dim, capacity, kv_type)
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
        if tokens.is_empty() || (pass == Pass::Decode && tokens.len() > MAX_FEW_ROWS) {
            return Err(ModelError::PassLength { tokens: tokens.len(), pass });
        }
        let regime = pass.regime();
        let position = cache.check(tokens.len())?;
        let mut x = gather_rows(&self.embed, tokens)?;
        if self.architecture.embedding_scale != 1.0 {
            x = (x * self.architecture.embedding_scale as f64)?;
        }
        for n in 0..self.layers.len() {
            self.attend(n, &x, position, cache, regime)?;
            self.feed_forward(&self.layers[n], &x, regime)?;
        }
        cache.advance(tokens.len());
        let (x, regime) = match pass {
            Pass::Prefill => return Ok(None),
            // Always one row, whatever the number of tokens.
            Pass::PrefillLast => (x.narrow(0, tokens.len() - 1, 1)?.contiguous()?, Regime::Few),
            Pass::Decode | Pass::Score => (x, regime),
        };
        let x = rms_norm(&x, &self.norm, self.architecture.rms_norm_eps)?;
        Ok(Some(match (among, regime) {
            (None, _) => linear(&x, &self.head, None, regime)?,
            (Some(among), Regime::Few) => linear_rows(&x, &self.head, among)?,
            (Some(among), Regime::Many) => {
                linear(&x, &self.head, None, regime)?.index_select(&Tensor::new(among, x.device())?, 1)?
            }
        }))
    }

    /// Adds layer `n`'s attention to `x`.
    fn attend(&self, n: usize, x: &Tensor, position: usize, cache: &KvCache, regime: Regime) -> Result<()> {
        let (a, layer) = (&self.architecture, &self.layers[n]);
        let eps = a.rms_norm_eps;
        let h = rms_norm(x, &layer.attn_norm, eps)?;
        let bias = |i: usize| layer.qkv_bias.as_ref().map(|b| &b[i][..]);
        let projections = [(&layer.q, bias(0)), (&layer.k, bias(1)), (&layer.v, bias(2))];
        let [mut q, mut k, v] = linear_each(&h, projections, regime)?;
        if let Some((q_norm, k_norm)) = &layer.qk_norms {
            q = rms_norm(&q, q_norm, eps)?;
            k = rms_norm(&k, k_norm, eps)?;
        }
        let reach = &a.layers[n];
        rope(&q, position, &reach.inv_freq, a.pairing)?;
        rope(&k, position, &reach.inv_freq, a.pairing)?;
        let (keys, values) = cache.layer(n);
        kv_append(keys, &k.unsqueeze(0)?, position)?;
        kv_append(values, &v.unsqueeze(0)?, position)?;
        let kv_len = position + x.dim(0)?;
        let (window, scale) = (reach.window, a.attention_scale);
        let spec = Attention { kv_len, causal: true, window, scale, sampled: None, regime };
        let h = attention(&q.unsqueeze(0)?, keys, values, spec)?.squeeze(0)?;
        let mut h = linear(&h, &layer.out, None, regime)?;
        if let Some(norm) = &layer.post_attn_norm {
            h = rms_norm(&h, norm, eps)?;
        }
        Ok(add_to(x, &h)?)
    }

    /// Adds the layer's perceptron to `x`.
    fn feed_forward(&self, layer: &Layer, x: &Tensor, regime: Regime) -> Result<()> {
        let eps = self.architecture.rms_norm_eps;
        let h = rms_norm(x, &layer.ffn_norm, eps)?;
        let [gate, up] = linear_each(&h, [(&layer.gate, None), (&layer.up, None)], regime)?;
        let mut h = linear(&gated(&gate, &up, self.architecture.gate)?, &layer.down, None, regime)?;
        if let Some(norm) = &layer.post_ffn_norm {
            h = rms_norm(&h, norm, eps)?;
        }
        Ok(add_to(x, &h)?)
    }
}

/// The matrices that are more than looked up: all, but the embedding of a model that has another head.
pub(crate) fn multiplied(weights: &Weights) -> impl Fn(&str) -> bool + use<> {
    let apart = weights.contains("output.weight");
    move |name| !apart || name != "token_embd.weight"
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
