//! Llama (Touvron et al. 2023), Qwen2 (2024) and Gemma 3 (2025) differ in a handful of choices.
//! Each is read here from a GGUF file's metadata into one plain description; [`crate::causal_lm`]
//! is the transformer that follows it. A new architecture is a function and an arm in [`describe`].

use crate::error::{ModelError, Result};
use crate::weights::gguf::Gguf;
use undertone_kernels::activation::Gate;
use undertone_kernels::rope::Pairing;

/// Architectures [`describe`] knows, as error messages name them.
pub const SUPPORTED: &str = "llama, qwen2, gemma3";

/// Rotary frequencies and reach of a layer's attention.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerAttention {
    /// Radians a position for each rotated pair.
    pub inv_freq: Vec<f32>,
    /// Positions a query sees, its own included; all when `None`.
    pub window: Option<usize>,
}

/// Everything the transformer needs to know that is not a tensor. Names are Hugging Face's.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Architecture {
    pub name: String,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f32,
    /// Positions the model was trained for.
    pub max_position_embeddings: usize,
    pub layers: Vec<LayerAttention>,
    pub pairing: Pairing,
    /// Multiplies embeddings (Gemma: the square root of the hidden size).
    pub embedding_scale: f32,
    /// Multiplies attention scores.
    pub attention_scale: f32,
    pub gate: Gate,
    /// Norms behind attention and MLP as well as before them (Gemma).
    pub post_norms: bool,
    /// RMSNorm on each query and key head (Gemma 3).
    pub qk_norms: bool,
    /// Biases on query, key and value projections (Qwen2).
    pub qkv_bias: bool,
}

/// Reads the description of the model in `file`.
///
/// # Errors
/// If the architecture or a variant of it is not implemented, or metadata is missing or absurd.
pub fn describe(file: &Gguf) -> Result<Architecture> {
    match file.text("general.architecture") {
        Some("llama") => llama(file),
        Some("qwen2") => qwen2(file),
        Some("gemma3") => gemma3(file),
        other => Err(unsupported(file, other.unwrap_or("unnamed"))),
    }
}

fn unsupported(file: &Gguf, architecture: &str) -> ModelError {
    ModelError::UnsupportedArchitecture {
        path: file.path().into(),
        architecture: architecture.into(),
        supported: SUPPORTED,
    }
}

fn llama(file: &Gguf) -> Result<Architecture> {
    let mut a = base(file, "llama")?;
    if file.unsigned("llama.expert_count").is_some_and(|n| n > 0) {
        return Err(unsupported(file, "llama with experts"));
    }
    // Converters permute Llama's projections so that rotated pairs are neighbours.
    a.pairing = Pairing::Interleaved;
    Ok(a)
}

fn qwen2(file: &Gguf) -> Result<Architecture> {
    Ok(Architecture { qkv_bias: true, ..base(file, "qwen2")? })
}

fn gemma3(file: &Gguf) -> Result<Architecture> {
    const LOCAL_ROPE_BASE: f64 = 10_000.0;
    /// Every sixth layer sees everything, the others a sliding window.
    const GLOBAL_EVERY: usize = 6;
    let mut a = base(file, "gemma3")?;
    if file.get("gemma3.final_logit_softcapping").is_some() {
        return Err(unsupported(file, "gemma3 with capped logits"));
    }
    let window = file.unsigned("gemma3.attention.sliding_window").map(|w| w as usize).filter(|w| *w > 0);
    let local = frequencies(LOCAL_ROPE_BASE, a.head_dim, 1.0);
    for (n, layer) in a.layers.iter_mut().enumerate() {
        if window.is_some() && n % GLOBAL_EVERY != GLOBAL_EVERY - 1 {
            *layer = LayerAttention { inv_freq: local.clone(), window };
        }
    }
    // The 27B model scales by its hidden size per head instead of its head size.
    if a.num_hidden_layers == 62 {
        a.attention_scale = 1.0 / ((a.hidden_size / a.num_attention_heads) as f32).sqrt();
    }
    a.embedding_scale = (a.hidden_size as f32).sqrt();
    a.gate = Gate::GeluTanh;
    a.post_norms = true;
    a.qk_norms = true;
    Ok(a)
}

/// What the three share: sizes, norms, rope and its scaling.
fn base(file: &Gguf, name: &str) -> Result<Architecture> {
    let corrupt = |what: String| ModelError::corrupt(file.path(), what);
    let key = |k: &str| format!("{name}.{k}");
    let size = |k: &str, most: u64| -> Result<usize> {
        match file.unsigned(&key(k)) {
            Some(v) if (1..=most).contains(&v) => Ok(v as usize),
            other => Err(corrupt(format!("metadata '{}' is {other:?}", key(k)))),
        }
    };
    let hidden_size = size("embedding_length", 1 << 20)?;
    let num_attention_heads = size("attention.head_count", 1 << 12)?;
    let num_kv_heads = match file.unsigned(&key("attention.head_count_kv")) {
        None => num_attention_heads,
        Some(_) => size("attention.head_count_kv", num_attention_heads as u64)?,
    };
    let head_dim = match file.unsigned(&key("attention.key_length")) {
        None => hidden_size / num_attention_heads,
        Some(_) => size("attention.key_length", 1 << 12)?,
    };
    let rotated = file.unsigned(&key("rope.dimension_count")).unwrap_or(head_dim as u64);
    if !num_attention_heads.is_multiple_of(num_kv_heads) || head_dim % 2 != 0 || head_dim == 0 {
        return Err(corrupt(format!("{num_attention_heads} heads of {head_dim}, {num_kv_heads} for keys")));
    }
    if rotated != head_dim as u64 {
        return Err(unsupported(file, &format!("{name} with partly rotated heads")));
    }
    let num_hidden_layers = size("block_count", 1 << 10)?;
    let rope_base = file.float(&key("rope.freq_base")).unwrap_or(10_000.0);
    let mut inv_freq = frequencies(rope_base, head_dim, linear_scaling(file, name)?);
    // Llama 3.1's long-context factors come as a tensor that divides each frequency.
    if file.weights().contains("rope_freqs.weight") {
        let factors = file.weights().vector("rope_freqs.weight", head_dim / 2)?;
        inv_freq.iter_mut().zip(factors).for_each(|(f, factor)| *f /= factor);
    }
    let layers = vec![LayerAttention { inv_freq, window: None }; num_hidden_layers];
    let eps = file.float(&key("attention.layer_norm_rms_epsilon"));
    Ok(Architecture {
        name: name.into(),
        hidden_size,
        intermediate_size: size("feed_forward_length", 1 << 22)?,
        num_hidden_layers,
        num_attention_heads,
        num_kv_heads,
        head_dim,
        rms_norm_eps: eps.ok_or_else(|| corrupt("it names no norm epsilon".into()))? as f32,
        max_position_embeddings: size("context_length", 1 << 30)?,
        layers,
        pairing: Pairing::Halves,
        embedding_scale: 1.0,
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        gate: Gate::Silu,
        post_norms: false,
        qk_norms: false,
        qkv_bias: false,
    })
}

/// The factor positions are divided by (linear rope scaling, Chen et al. 2023); 1 without.
fn linear_scaling(file: &Gguf, name: &str) -> Result<f64> {
    let factor = file
        .float(&format!("{name}.rope.scaling.factor"))
        .or_else(|| file.float(&format!("{name}.rope.scale_linear")));
    match file.text(&format!("{name}.rope.scaling.type")) {
        None | Some("linear") => match factor.unwrap_or(1.0) {
            f if f > 0.0 && f.is_finite() => Ok(f),
            f => Err(ModelError::corrupt(file.path(), format!("rope scaling by {f}"))),
        },
        Some("none") => Ok(1.0),
        Some(other) => Err(unsupported(file, &format!("{name} with {other} rope scaling"))),
    }
}

fn frequencies(base: f64, head_dim: usize, divisor: f64) -> Vec<f32> {
    let exponent = |i: usize| -2.0 * i as f64 / head_dim as f64;
    (0..head_dim / 2).map(|i| (base.powf(exponent(i)) / divisor) as f32).collect()
}
