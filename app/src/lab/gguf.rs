//! A GGUF file (version 3) of a shape, a vocabulary and random weights.

use super::fill::TensorWriter;
use super::quant::Quant;
use super::shapes::TextShape;
use super::vocabulary::Vocabulary;
use std::fs::File;
use std::io;

const ALIGNMENT: usize = 32;

/// Metadata as the format stores it.
#[derive(Default)]
struct Metadata {
    bytes: Vec<u8>,
    keys: u64,
}

impl Metadata {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.keys += 1;
        string(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
        &mut self.bytes
    }

    fn u32(&mut self, key: &str, value: usize) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        self.key(key, 4).extend(value.to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6).extend(value.to_le_bytes());
    }

    fn bool(&mut self, key: &str, value: bool) {
        self.key(key, 7).push(value.into());
    }

    fn text(&mut self, key: &str, value: &str) {
        string(self.key(key, 8), value);
    }

    fn array<T>(&mut self, key: &str, kind: u32, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
        let out = self.key(key, 9);
        out.extend(kind.to_le_bytes());
        out.extend((items.len() as u64).to_le_bytes());
        items.iter().for_each(|item| put(out, item));
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Writes the model.
pub(super) fn write(file: File, model: &TextShape, quant: Quant, seed: u64, sparse: bool) -> io::Result<()> {
    let tensors = model.tensors();
    let metadata = metadata(model, quant);
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(metadata.keys.to_le_bytes());
    head.extend(metadata.bytes);
    let mut data = Vec::with_capacity(tensors.len());
    let mut offset = 0usize;
    for tensor in &tensors {
        let ty = quant.of_tensor(model, tensor);
        string(&mut head, &tensor.name);
        head.extend((tensor.dims.len() as u32).to_le_bytes());
        // The fastest dimension first.
        tensor.dims.iter().rev().for_each(|d| head.extend((*d as u64).to_le_bytes()));
        head.extend(ty.to_ggml().unwrap_or(0).to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        let rows: usize = tensor.dims[..tensor.dims.len() - 1].iter().product();
        let row_bytes =
            ty.row_bytes(tensor.cols()).ok_or_else(|| io::Error::other("rows of part of a block"))?;
        data.push((ty, rows * row_bytes));
        offset = (offset + rows * row_bytes).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    let mut out = TensorWriter::new(file, seed, sparse);
    out.raw(&head)?;
    for (tensor, (ty, len_bytes)) in tensors.iter().zip(data) {
        out.tensor(ty, &tensor.name, tensor.dims.len(), len_bytes)?;
        out.raw(&[0; ALIGNMENT][..len_bytes.next_multiple_of(ALIGNMENT) - len_bytes])?;
    }
    out.finish()
}

fn metadata(model: &TextShape, quant: Quant) -> Metadata {
    let mut m = Metadata::default();
    let architecture = model.architecture();
    m.text("general.architecture", architecture);
    m.text("general.name", &format!("{} (random weights)", model.name));
    m.u32("general.file_type", quant.file_type().0 as usize);
    m.u32("general.quantization_version", 2);
    let key = |k: &str| format!("{architecture}.{k}");
    m.u32(&key("block_count"), model.num_hidden_layers);
    m.u32(&key("context_length"), model.context_tokens);
    m.u32(&key("embedding_length"), model.hidden_size);
    m.u32(&key("feed_forward_length"), model.intermediate_size);
    m.u32(&key("attention.head_count"), model.num_attention_heads);
    m.u32(&key("attention.head_count_kv"), model.num_kv_heads);
    m.u32(&key("attention.key_length"), model.head_dim);
    m.u32(&key("attention.value_length"), model.head_dim);
    m.f32(&key("attention.layer_norm_rms_epsilon"), model.rms_norm_eps());
    m.f32(&key("rope.freq_base"), model.rope_base());
    if let Some(window) = model.window {
        m.u32(&key("attention.sliding_window"), window);
    }
    if let Some(factor) = model.rope_factor {
        m.text(&key("rope.scaling.type"), "linear");
        m.f32(&key("rope.scaling.factor"), factor);
    }
    let vocabulary = Vocabulary::new(model.family, model.vocab_size);
    m.text("tokenizer.ggml.model", vocabulary.model);
    m.text("tokenizer.ggml.pre", vocabulary.pre);
    m.array("tokenizer.ggml.tokens", 8, &vocabulary.tokens, |out, t| string(out, t));
    m.array("tokenizer.ggml.token_type", 5, &vocabulary.types, |out, t| out.extend(t.to_le_bytes()));
    if vocabulary.merges.is_empty() {
        m.array("tokenizer.ggml.scores", 6, &vocabulary.scores, |out, s| out.extend(s.to_le_bytes()));
        m.u32("tokenizer.ggml.unknown_token_id", 3);
    } else {
        m.array("tokenizer.ggml.merges", 8, &vocabulary.merges, |out, t| string(out, t));
    }
    m.u32("tokenizer.ggml.bos_token_id", vocabulary.bos as usize);
    m.u32("tokenizer.ggml.eos_token_id", vocabulary.eos as usize);
    m.bool("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
    m.bool("tokenizer.ggml.add_space_prefix", false);
    m.text("tokenizer.chat_template", vocabulary.chat_template);
    m
}
