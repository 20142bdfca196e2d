//! Bytes a model takes: pure arithmetic over the headers of its files, before a weight is read.
//!
//! Weights are counted as stored. What is allocated at load and while computing follows the code
//! that does it: [`crate::whisper`], [`crate::causal_lm`] and the kernels. `benches/memory`
//! compares the sums with what the system reports.

use crate::architecture::{self, Architecture};
use crate::causal_lm;
use crate::error::Result;
use crate::gpu;
use crate::kv_cache::{KvType, kv_bytes_per_position};
use crate::tokenizer::Tokenizer;
use crate::weights::gguf::{Gguf, Value};
use crate::weights::{BlockType, TensorEntry, Weights};
use crate::whisper::{
    FRAMES_PER_SECOND, SAMPLE_RATE_HZ, SpecialTokens, SpeechFiles, WINDOW_FRAMES, WhisperConfig,
};
use std::collections::HashMap;
use std::path::Path;
use undertone_kernels::gpu::allocated_bytes;

/// Tokens of a prompt that are computed at a time: bounds the scratch memory of a pass and the wait for
/// a cancellation.
pub const PREFILL_CHUNK_TOKENS: usize = 256;

const F32_BYTES: usize = 4;

/// What a speech model takes.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeechFootprint {
    /// Sizes of the network.
    pub config: WhisperConfig,
    /// The type most of its weights are stored in.
    pub quantisation: String,
    /// Bytes of the mapped files, the decoder's matrices rounded to bytes instead of what they are in there.
    pub file_bytes: usize,
    /// Bytes of the tensors alone.
    pub tensor_bytes: usize,
    /// Bytes of the tensors as a GPU is given them: the decoder on bytes, convolutions, positions and vectors in f32.
    pub gpu_bytes: usize,
    /// Bytes of the f32 copies made at load: convolutions, positions, norms, biases, row scales,
    /// and the encoder's key and value buffers.
    pub owned_bytes: usize,
    /// Bytes of the tokenizer's tables (estimated).
    pub tokenizer_bytes: usize,
}

impl SpeechFootprint {
    /// Reads the headers of a CTranslate2 folder, a Hugging Face folder or a whisper.cpp file.
    ///
    /// # Errors
    /// Those of [`crate::whisper::Whisper::open`] but for the tokenizer's.
    pub fn read(path: &Path) -> Result<SpeechFootprint> {
        let files = SpeechFiles::open(path)?;
        let (file_bytes, gpu_bytes) = (files.resident_bytes(), files.gpu_bytes());
        let SpeechFiles { weights, config, .. } = files;
        let c = &config;
        let convolutions = 3 * c.d_model * (c.num_mel_bins + c.d_model);
        let frames = 3 * c.max_source_positions * c.d_model;
        // GPT-2's vocabulary, which every Whisper has: a merge for each token but the bytes.
        let tokens = SpecialTokens::from_vocab_size(c.vocab_size).end_of_text as usize;
        let vocabulary = Vocabulary { tokens, text_bytes: 7 * tokens, merges: Some(tokens - 256) };
        Ok(SpeechFootprint {
            quantisation: format!("{:?}", commonest_type(&weights)),
            file_bytes,
            gpu_bytes,
            tensor_bytes: weights.len_bytes(),
            owned_bytes: F32_BYTES * (convolutions + frames)
                + vector_bytes(&weights)
                + weights.row_scale_bytes(),
            tokenizer_bytes: vocabulary.table_bytes(),
            config,
        })
    }

    /// Bytes of the activations of encoder and decoder on a GPU.
    pub fn gpu_scratch_bytes(&self) -> usize {
        gpu::speech_workspace_bytes(&self.config)
    }

    /// Bytes of the decoder's self-attention cache for `hypotheses` of full length.
    pub fn self_cache_bytes(&self, hypotheses: usize, kv: KvType) -> usize {
        hypotheses * self.config.max_target_positions * self.position_bytes(kv)
    }

    /// Bytes of the cross-attention cache for one window.
    pub fn cross_cache_bytes(&self, kv: KvType) -> usize {
        self.config.max_source_positions * self.position_bytes(kv)
    }

    fn position_bytes(&self, kv: KvType) -> usize {
        let (c, heads) = (&self.config, self.config.decoder_attention_heads);
        kv_bytes_per_position(c.decoder_layers, heads, c.d_model / heads, kv)
    }

    /// Bytes of a recording of `seconds`: its samples, their padded copy, and the spectrogram.
    pub fn recording_bytes(&self, seconds: usize) -> usize {
        let samples = seconds * SAMPLE_RATE_HZ as usize;
        F32_BYTES * (2 * samples + seconds * FRAMES_PER_SECOND * self.config.num_mel_bins)
    }

    /// Peak bytes of activations while one 30 s window is encoded by `threads`, the window's
    /// samples and spectrogram included.
    pub fn encoder_scratch_bytes(&self, threads: usize) -> usize {
        let (c, t) = (&self.config, self.config.max_source_positions);
        // Alive throughout: the outputs of both convolutions (the first at twice the frames), and
        // the residual stream. Widest is the perceptron: its normed input, and its hidden layer
        // before and behind the activation.
        let layer = (4 * c.d_model).max(c.d_model + 2 * c.encoder_ffn_dim);
        let frames = t * (4 * c.d_model + layer);
        // Samples, the spectrogram, and the window cut out of it.
        let audio = WINDOW_FRAMES * (160 + 2 * c.num_mel_bins);
        let head_dim = c.d_model / c.encoder_attention_heads;
        let scratch = threads * thread_scratch_bytes(t, head_dim, c.encoder_ffn_dim);
        F32_BYTES * (frames + audio) + rounded_bytes(t, c.encoder_ffn_dim) + scratch
    }

    /// Peak bytes of activations while `hypotheses` are extended, or a full prompt is read.
    pub fn decoder_scratch_bytes(&self, hypotheses: usize) -> usize {
        let c = &self.config;
        let prompt = c.max_target_positions / 2 * (2 * c.d_model + 2 * c.decoder_ffn_dim);
        let logits = 2 * hypotheses * c.vocab_size;
        F32_BYTES * prompt.max(logits)
    }
}

/// What a language model takes.
#[derive(Clone, Debug, PartialEq)]
pub struct TextFootprint {
    /// Sizes and choices.
    pub architecture: Architecture,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// As the file names it (`Q4_K_M`), else the type most of its weights are stored in.
    pub quantisation: String,
    /// Bytes of the mapped file, the matrices as they are laid out for this processor instead of what they
    /// are in there.
    pub file_bytes: usize,
    /// Bytes of the tensors alone.
    pub tensor_bytes: usize,
    /// Bytes of the tensors as a GPU is given them: vectors and rotary frequencies in f32.
    pub gpu_bytes: usize,
    /// Bytes of the f32 copies made at load: norms, biases, rotary frequencies.
    pub owned_bytes: usize,
    /// Bytes of the tokenizer's tables (estimated).
    pub tokenizer_bytes: usize,
}

impl TextFootprint {
    /// Reads the header of a GGUF file.
    ///
    /// # Errors
    /// Those of [`crate::causal_lm::CausalLm::open`] but for the tokenizer's and missing tensors.
    pub fn read(path: &Path) -> Result<TextFootprint> {
        let file = Gguf::open(path)?;
        let architecture = architecture::describe(&file)?;
        let weights = file.weights();
        let frequencies: usize = architecture.layers.iter().map(|l| l.inv_freq.len()).sum();
        let named = file.unsigned("general.file_type").and_then(file_type_name);
        Ok(TextFootprint {
            vocab_size: weights.dims("token_embd.weight")?[0],
            quantisation: named.map_or_else(|| format!("{:?}", commonest_type(weights)), str::to_string),
            file_bytes: weights.resident_bytes(causal_lm::multiplied(weights)),
            tensor_bytes: weights.len_bytes(),
            gpu_bytes: weights.sum(|_, tensor| gpu_tensor_bytes(tensor))
                + allocated_bytes(architecture.layers.iter().map(|l| F32_BYTES * l.inv_freq.len())),
            owned_bytes: vector_bytes(weights) + F32_BYTES * frequencies,
            tokenizer_bytes: Vocabulary::of(&file).table_bytes(),
            architecture,
        })
    }

    /// Bytes of its activations and logits on a GPU.
    pub fn gpu_scratch_bytes(&self) -> usize {
        gpu::lm_workspace_bytes(&self.architecture, self.vocab_size)
    }

    /// Whether both are the same network, stored in different types.
    pub fn same_network(&self, other: &TextFootprint) -> bool {
        self.architecture == other.architecture && self.vocab_size == other.vocab_size
    }

    /// Positions the model was trained for.
    pub fn trained_context_tokens(&self) -> usize {
        self.architecture.max_position_embeddings
    }

    /// Bytes of the keys and values of one position.
    pub fn kv_position_bytes(&self, kv: KvType) -> usize {
        let a = &self.architecture;
        kv_bytes_per_position(a.num_hidden_layers, a.num_kv_heads, a.head_dim, kv)
    }

    /// Peak bytes of activations while a chunk of `tokens` is computed at the end of a context of
    /// `context_tokens` by `threads`.
    pub fn prefill_scratch_bytes(&self, tokens: usize, context_tokens: usize, threads: usize) -> usize {
        let a = &self.architecture;
        let (d, f) = (a.hidden_size, a.intermediate_size);
        let (q, kv) = (a.num_attention_heads * a.head_dim, a.num_kv_heads * a.head_dim);
        let attention = 4 * d + 2 * q + 2 * kv;
        let perceptron = 3 * d + 3 * f;
        let activations = F32_BYTES * tokens * attention.max(perceptron);
        activations + rounded_bytes(tokens, f) + threads * thread_scratch_bytes(context_tokens, a.head_dim, f)
    }

    /// Peak bytes of activations and logits while `tokens` drafted tokens are verified.
    pub fn verify_scratch_bytes(&self, tokens: usize) -> usize {
        // The logits as they are computed, and the copy that the sampler reads.
        F32_BYTES * tokens * (2 * self.vocab_size + self.architecture.hidden_size)
    }
}

/// Bytes of a tensor on a GPU: matrices as they are multiplied, the others in f32.
pub(crate) fn gpu_tensor_bytes(tensor: &TensorEntry) -> Option<usize> {
    match tensor.dims[..] {
        [rows, cols] => gpu::matrix_bytes(tensor.ty, rows, cols),
        _ => Some(allocated_bytes([F32_BYTES * tensor.dims.iter().product::<usize>()])),
    }
}

/// Activations as bytes, at most two floats for each 16 of them beside.
fn rounded_bytes(rows: usize, widest: usize) -> usize {
    rows * widest * 3 / 2
}

/// What one thread packs at a time: two panels of weights `widest` long as bytes, or one as rows and as
/// columns of floats; the keys of one head in panels, and twelve rows of scores.
fn thread_scratch_bytes(kv_len: usize, head_dim: usize, widest: usize) -> usize {
    const PANEL: usize = 32;
    const K_BLOCK: usize = 1024;
    const SCORE_ROWS: usize = 12;
    let values = if head_dim.is_multiple_of(PANEL) { 0 } else { head_dim.next_multiple_of(PANEL) };
    let attention = kv_len.next_multiple_of(PANEL) * (head_dim + values + SCORE_ROWS);
    (F32_BYTES * attention.max(2 * PANEL * K_BLOCK)).max(rounded_bytes(PANEL, widest))
}

/// Norms and biases as f32: every tensor of one dimension.
fn vector_bytes(weights: &Weights) -> usize {
    weights.tensors().map(|(_, dims, _)| if let [len] = dims { F32_BYTES * len } else { 0 }).sum()
}

fn commonest_type(weights: &Weights) -> BlockType {
    let mut elements: HashMap<BlockType, usize> = HashMap::new();
    for (_, dims, ty) in weights.tensors() {
        *elements.entry(ty).or_default() += dims.iter().product::<usize>();
    }
    elements.into_iter().max_by_key(|(ty, n)| (*n, ty.block_bytes())).map_or(BlockType::F32, |(ty, _)| ty)
}

/// llama.cpp's names for `general.file_type` (`llama_ftype`).
fn file_type_name(id: u64) -> Option<&'static str> {
    Some(match id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        25 => "IQ4_NL",
        30 => "IQ4_XS",
        32 => "BF16",
        _ => return None,
    })
}

/// What the size of a tokenizer's tables depends on.
struct Vocabulary {
    tokens: usize,
    text_bytes: usize,
    /// Of a byte-pair vocabulary; none for SentencePiece, which merges by score.
    merges: Option<usize>,
}

impl Vocabulary {
    fn of(file: &Gguf) -> Vocabulary {
        let strings = |key: &str| match file.get(key) {
            Some(Value::Strings(list)) => &list[..],
            _ => &[],
        };
        let tokens = strings("tokenizer.ggml.tokens");
        let merges = strings("tokenizer.ggml.merges").len();
        Vocabulary {
            tokens: tokens.len(),
            text_bytes: tokens.iter().map(String::len).sum(),
            merges: (merges > 0).then_some(merges),
        }
    }

    /// Bytes of [`Tokenizer`]'s tables: pieces by id, and either spellings to ids and back with
    /// the merges between ids, or spellings to ids and scores.
    fn table_bytes(&self) -> usize {
        let pieces = self.text_bytes.next_power_of_two() + 8 * self.tokens.next_power_of_two();
        // A spelling of its own, rounded up by the allocator.
        let spellings = self.text_bytes + 8 * self.tokens;
        let tables = match self.merges {
            Some(merges) => {
                2 * (hash_table_bytes(self.tokens, 32) + spellings) + hash_table_bytes(merges, 16)
            }
            None => hash_table_bytes(self.tokens, 24) + spellings,
        };
        size_of::<Tokenizer>() + pieces + tables
    }
}

/// Bytes of a hash table (hashbrown's): a power of two of buckets, at most seven in eight filled,
/// each an entry and a byte of its hash.
fn hash_table_bytes(entries: usize, entry_bytes: usize) -> usize {
    (entries * 8 / 7 + 1).next_power_of_two() * (entry_bytes + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_position_is_a_key_and_a_value_of_each_head_and_layer() {
        assert_eq!(kv_bytes_per_position(34, 4, 256, KvType::F32), 2 * 34 * 4 * 1024);
        assert_eq!(kv_bytes_per_position(34, 4, 256, KvType::Q8), 2 * 34 * 4 * 288);
    }

    #[test]
    fn hash_tables_grow_by_doubling() {
        assert_eq!(hash_table_bytes(7, 15), 16 * 16);
        assert_eq!(hash_table_bytes(50_000, 16), 65_536 * 17);
        assert_eq!(hash_table_bytes(60_000, 16), 131_072 * 17);
    }
}
