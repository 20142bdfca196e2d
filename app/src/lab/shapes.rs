//! Shapes of published models, as their own configuration files give them.

/// A tensor: its name in the file and its extents, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
}

impl Shape {
    fn new(name: impl Into<String>, dims: &[usize]) -> Shape {
        Shape { name: name.into(), dims: dims.into() }
    }

    /// Extent of a row.
    pub(super) fn cols(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }
}

/// Tokenizer and chat format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Gemma3,
    Llama3,
    Qwen2,
    SmolLm2,
}

/// A language model. Names are Hugging Face's.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextShape {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) num_kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) vocab_size: usize,
    pub(super) context_tokens: usize,
    /// Positions that most of Gemma's layers see.
    pub(super) window: Option<usize>,
    /// Linear scaling of positions (Gemma's long contexts).
    pub(super) rope_factor: Option<f32>,
    /// Whether the head is a matrix of its own.
    pub(super) own_head: bool,
}

#[rustfmt::skip]
pub(super) const TEXT: [TextShape; 10] = [
    gemma("gemma-3-270m", [640, 2048, 18, 4, 1], 262_144, 32_768, 512),
    gemma("gemma-3-1b", [1152, 6912, 26, 4, 1], 262_144, 32_768, 512),
    gemma("gemma-3-4b", [2560, 10_240, 34, 8, 4], 262_208, 131_072, 1024),
    gemma("gemma-3-12b", [3840, 15_360, 48, 16, 8], 262_208, 131_072, 1024),
    llama("llama-3.2-1b", [2048, 8192, 16, 32, 8], 64, false),
    llama("llama-3.2-3b", [3072, 8192, 28, 24, 8], 128, false),
    llama("llama-3.1-8b", [4096, 14_336, 32, 32, 8], 128, true),
    qwen("qwen2.5-1.5b", [1536, 8960, 28, 12, 2]),
    qwen("qwen2.5-coder-1.5b", [1536, 8960, 28, 12, 2]),
    text("smollm2-135m", Family::SmolLm2, [576, 1536, 30, 9, 3], 64, 49_152, 8192),
];

const fn text(
    name: &'static str,
    family: Family,
    [hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_kv_heads]: [usize; 5],
    head_dim: usize,
    vocab_size: usize,
    context_tokens: usize,
) -> TextShape {
    TextShape {
        name,
        family,
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_kv_heads,
        head_dim,
        vocab_size,
        context_tokens,
        window: None,
        rope_factor: None,
        own_head: false,
    }
}

const fn gemma(
    name: &'static str,
    sizes: [usize; 5],
    vocab: usize,
    context: usize,
    window: usize,
) -> TextShape {
    let rope_factor = if context > 32_768 { Some(8.0) } else { None };
    TextShape { window: Some(window), rope_factor, ..text(name, Family::Gemma3, sizes, 256, vocab, context) }
}

const fn llama(name: &'static str, sizes: [usize; 5], head_dim: usize, own_head: bool) -> TextShape {
    TextShape { own_head, ..text(name, Family::Llama3, sizes, head_dim, 128_256, 131_072) }
}

const fn qwen(name: &'static str, sizes: [usize; 5]) -> TextShape {
    TextShape { own_head: true, ..text(name, Family::Qwen2, sizes, 128, 151_936, 32_768) }
}

impl TextShape {
    /// GGUF's name of the architecture.
    pub(super) fn architecture(&self) -> &'static str {
        match self.family {
            Family::Gemma3 => "gemma3",
            Family::Llama3 | Family::SmolLm2 => "llama",
            Family::Qwen2 => "qwen2",
        }
    }

    pub(super) fn rope_base(&self) -> f32 {
        match self.family {
            Family::Gemma3 | Family::Qwen2 => 1e6,
            Family::Llama3 => 5e5,
            Family::SmolLm2 => 1e5,
        }
    }

    pub(super) fn rms_norm_eps(&self) -> f32 {
        if self.architecture() == "llama" { 1e-5 } else { 1e-6 }
    }

    /// All tensors under llama.cpp's names.
    pub(super) fn tensors(&self) -> Vec<Shape> {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let gemma = self.family == Family::Gemma3;
        let mut out = vec![Shape::new("token_embd.weight", &[self.vocab_size, d])];
        if self.family == Family::Llama3 {
            out.push(Shape::new("rope_freqs.weight", &[self.head_dim / 2]));
        }
        for n in 0..self.num_hidden_layers {
            let mut push = |part: &str, dims: &[usize]| out.push(Shape::new(format!("blk.{n}.{part}"), dims));
            push("attn_norm.weight", &[d]);
            push("attn_q.weight", &[q, d]);
            push("attn_k.weight", &[kv, d]);
            push("attn_v.weight", &[kv, d]);
            push("attn_output.weight", &[d, q]);
            push("ffn_norm.weight", &[d]);
            push("ffn_gate.weight", &[f, d]);
            push("ffn_up.weight", &[f, d]);
            push("ffn_down.weight", &[d, f]);
            if self.family == Family::Qwen2 {
                push("attn_q.bias", &[q]);
                push("attn_k.bias", &[kv]);
                push("attn_v.bias", &[kv]);
            }
            if gemma {
                push("attn_q_norm.weight", &[self.head_dim]);
                push("attn_k_norm.weight", &[self.head_dim]);
                push("post_attention_norm.weight", &[d]);
                push("post_ffw_norm.weight", &[d]);
            }
        }
        out.push(Shape::new("output_norm.weight", &[d]));
        if self.own_head {
            out.push(Shape::new("output.weight", &[self.vocab_size, d]));
        }
        out
    }
}

/// A Whisper model.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpeechShape {
    pub(super) name: &'static str,
    pub(super) d_model: usize,
    pub(super) encoder_layers: usize,
    pub(super) decoder_layers: usize,
    pub(super) heads: usize,
    pub(super) vocab_size: usize,
    pub(super) num_mel_bins: usize,
}

#[rustfmt::skip]
pub(super) const SPEECH: [SpeechShape; 7] = [
    speech("whisper-tiny.en", 384, [4, 4], 51_864, 80),
    speech("whisper-base", 512, [6, 6], 51_865, 80),
    speech("whisper-small", 768, [12, 12], 51_865, 80),
    speech("whisper-medium", 1024, [24, 24], 51_865, 80),
    speech("whisper-large-v3", 1280, [32, 32], 51_866, 128),
    speech("whisper-large-v3-turbo", 1280, [32, 4], 51_866, 128),
    speech("whisper-distil-large-v3", 1280, [32, 2], 51_866, 128),
];

const fn speech(
    name: &'static str,
    d_model: usize,
    [encoder_layers, decoder_layers]: [usize; 2],
    vocab_size: usize,
    num_mel_bins: usize,
) -> SpeechShape {
    let heads = d_model / 64;
    SpeechShape { name, d_model, encoder_layers, decoder_layers, heads, vocab_size, num_mel_bins }
}

impl SpeechShape {
    pub(super) const SOURCE_POSITIONS: usize = 1500;
    pub(super) const TARGET_POSITIONS: usize = 448;

    /// All tensors under Hugging Face's names.
    pub(super) fn tensors(&self) -> Vec<Shape> {
        let d = self.d_model;
        let mut out = Vec::new();
        let mut push = |name: String, dims: &[usize]| out.push(Shape::new(format!("model.{name}"), dims));
        push("encoder.conv1.weight".into(), &[d, self.num_mel_bins, 3]);
        push("encoder.conv1.bias".into(), &[d]);
        push("encoder.conv2.weight".into(), &[d, d, 3]);
        push("encoder.conv2.bias".into(), &[d]);
        push("encoder.embed_positions.weight".into(), &[Self::SOURCE_POSITIONS, d]);
        push("decoder.embed_tokens.weight".into(), &[self.vocab_size, d]);
        push("decoder.embed_positions.weight".into(), &[Self::TARGET_POSITIONS, d]);
        for (side, layers) in [("encoder", self.encoder_layers), ("decoder", self.decoder_layers)] {
            for n in 0..layers {
                let attentions: &[&str] =
                    if side == "encoder" { &["self_attn"] } else { &["self_attn", "encoder_attn"] };
                for attention in attentions {
                    for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                        push(format!("{side}.layers.{n}.{attention}.{part}.weight"), &[d, d]);
                        if part != "k_proj" {
                            push(format!("{side}.layers.{n}.{attention}.{part}.bias"), &[d]);
                        }
                    }
                    push(format!("{side}.layers.{n}.{attention}_layer_norm.weight"), &[d]);
                    push(format!("{side}.layers.{n}.{attention}_layer_norm.bias"), &[d]);
                }
                push(format!("{side}.layers.{n}.fc1.weight"), &[4 * d, d]);
                push(format!("{side}.layers.{n}.fc1.bias"), &[4 * d]);
                push(format!("{side}.layers.{n}.fc2.weight"), &[d, 4 * d]);
                push(format!("{side}.layers.{n}.fc2.bias"), &[d]);
                push(format!("{side}.layers.{n}.final_layer_norm.weight"), &[d]);
                push(format!("{side}.layers.{n}.final_layer_norm.bias"), &[d]);
            }
            push(format!("{side}.layer_norm.weight"), &[d]);
            push(format!("{side}.layer_norm.bias"), &[d]);
        }
        out
    }
}
