//! A Hugging Face folder of a Whisper shape with random weights.

use super::fill::TensorWriter;
use super::shapes::SpeechShape;
use super::vocabulary;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io;
use std::path::Path;
use undertone_models::weights::BlockType;
use undertone_models::whisper::{LANGUAGES, SpecialTokens};

/// Writes `model.safetensors` (f16, or f32), `config.json` and `tokenizer.json` into `folder`.
pub(super) fn write(
    folder: &Path,
    model: &SpeechShape,
    ty: BlockType,
    seed: u64,
    sparse: bool,
) -> io::Result<()> {
    let pretty = |value: &Value| serde_json::to_vec_pretty(value).map_err(io::Error::other);
    std::fs::write(folder.join("config.json"), pretty(&config(model))?)?;
    std::fs::write(folder.join("tokenizer.json"), pretty(&tokenizer(model))?)?;
    let tensors = model.tensors();
    let mut header = Map::new();
    let mut offset = 0usize;
    let mut lens = Vec::with_capacity(tensors.len());
    for tensor in &tensors {
        let len_bytes = tensor.dims.iter().product::<usize>() * ty.block_bytes();
        let dtype = format!("{ty:?}");
        let entry =
            json!({ "dtype": dtype, "shape": tensor.dims, "data_offsets": [offset, offset + len_bytes] });
        header.insert(tensor.name.clone(), entry);
        lens.push(len_bytes);
        offset += len_bytes;
    }
    let mut head = serde_json::to_vec(&header).map_err(io::Error::other)?;
    head.resize(head.len().next_multiple_of(8), b' ');
    let mut out = TensorWriter::new(File::create_new(folder.join("model.safetensors"))?, seed, sparse);
    out.raw(&(head.len() as u64).to_le_bytes())?;
    out.raw(&head)?;
    for (tensor, len_bytes) in tensors.iter().zip(lens) {
        out.tensor(ty, &tensor.name, tensor.dims.len(), len_bytes)?;
    }
    out.finish()
}

fn config(model: &SpeechShape) -> Value {
    json!({
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "d_model": model.d_model,
        "vocab_size": model.vocab_size,
        "num_mel_bins": model.num_mel_bins,
        "encoder_layers": model.encoder_layers,
        "decoder_layers": model.decoder_layers,
        "encoder_attention_heads": model.heads,
        "decoder_attention_heads": model.heads,
        "encoder_ffn_dim": 4 * model.d_model,
        "decoder_ffn_dim": 4 * model.d_model,
        "max_source_positions": SpeechShape::SOURCE_POSITIONS,
        "max_target_positions": SpeechShape::TARGET_POSITIONS,
    })
}

fn tokenizer(model: &SpeechShape) -> Value {
    let special = SpecialTokens::from_vocab_size(model.vocab_size);
    let (tokens, merges) = vocabulary::whisper(special.end_of_text as usize);
    let vocab: Map<String, Value> = tokens.into_iter().zip(0u32..).map(|(t, id)| (t, id.into())).collect();
    let mut names = vec!["<|endoftext|>".to_string(), "<|startoftranscript|>".to_string()];
    names.extend(LANGUAGES.iter().take(special.languages as usize).map(|(code, _)| format!("<|{code}|>")));
    let tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"];
    names.extend(tasks.map(|task| format!("<|{task}|>")));
    let added: Vec<Value> = (special.end_of_text..)
        .zip(names)
        .map(|(id, content)| {
            json!({ "id": id, "content": content, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false })
        })
        .collect();
    let byte_level = |prefix: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level(false),
        "decoder": byte_level(true),
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    })
}
