//! What the targets share: files to read, and what is done with a model that a file turns out to be.

use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use undertone_models::ModelError;
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::chat::{ChatTemplate, Message, Role};
use undertone_models::footprint::{SpeechFootprint, TextFootprint};
use undertone_models::kv_cache::KvType;
use undertone_models::tokenizer::Tokenizer;
use undertone_models::whisper::Whisper;

/// Stands for as many zeros as the four bytes behind it say: what a small model has most of, so that a seed is small
/// and a mutation hits a header.
const ZEROS: [u8; 4] = *b"\xf0ZR0";
/// A file that is written for a reader is at most as large.
const MAX_FILE_BYTES: usize = 8 << 20;

/// A `tokenizer.json` of as many tokens as Whisper's has; all but two are not there.
pub const TOKENIZER: &[u8] = br#"{"model":{"type":"BPE","vocab":{"a":0,"b":50257},"merges":[]}}"#;

/// A folder that goes when it is dropped. Where TMPDIR is in memory, so is it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder for temporary files"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }
}

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}

/// The file that an input stands for.
pub fn expand(data: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some((first, behind)) = rest.split_first() {
        let run = rest.strip_prefix(&ZEROS).and_then(|count| count.split_first_chunk::<4>());
        match run {
            Some((count, behind)) => {
                let zeros = u32::from_le_bytes(*count) as usize;
                file.resize(file.len().saturating_add(zeros).min(MAX_FILE_BYTES), 0);
                rest = behind;
            }
            None => {
                file.push(*first);
                rest = behind;
            }
        }
    }
    file
}

/// A refusal is a sentence that a terminal can be given, whatever the names in a file are.
fn refused(error: &ModelError) {
    let text = error.to_string();
    assert!(!text.trim().is_empty() && text.len() < 4096 && !text.contains(char::is_control), "{text:?}");
}

/// Plans with the file at `path`, opens it as a language model, and lets it read and write a token.
pub fn language_model(path: &Path) {
    if let Ok(footprint) = TextFootprint::read(path) {
        let _ = footprint.gpu_scratch_bytes();
        let _ = footprint.prefill_scratch_bytes(256, footprint.trained_context_tokens(), 2);
        let _ = footprint.verify_scratch_bytes(8);
        let _ = footprint.kv_position_bytes(KvType::Q8);
    }
    match CausalLm::open(path) {
        Ok(model) => write(&model).unwrap_or_else(|error| refused(&error)),
        Err(error) => refused(&error),
    }
}

fn write(model: &CausalLm) -> Result<(), ModelError> {
    encode(model.tokenizer());
    if let Some(source) = model.chat_template() {
        let hello = Message { role: Role::User, content: "Hello." };
        let _ = ChatTemplate::new(source, "<s>", "</s>")
            .and_then(|template| template.render(&[hello], true, model.tokenizer()));
    }
    let mut tokens = model.tokenizer().encode("Hello.").unwrap_or_default();
    tokens.truncate(3);
    tokens.push(0);
    for kv in [KvType::F32, KvType::Q8] {
        let mut cache = model.new_cache(8, kv)?;
        for (tokens, pass) in [(&tokens[..], Pass::PrefillLast), (&[0], Pass::Decode)] {
            let logits = model.forward(tokens, &mut cache, pass)?.expect("this pass has logits");
            assert!(logits.elem_count() >= model.tokenizer().vocab_size());
        }
    }
    Ok(())
}

/// Plans with the model at `path`, opens it as Whisper, both ways, and lets it hear and write a token.
pub fn whisper(path: &Path) {
    if let Ok(footprint) = SpeechFootprint::read(path) {
        let _ = footprint.gpu_scratch_bytes();
        let _ = footprint.self_cache_bytes(5, KvType::F32) + footprint.cross_cache_bytes(KvType::Q8);
        let _ = footprint.recording_bytes(30) + footprint.encoder_scratch_bytes(2);
        let _ = footprint.decoder_scratch_bytes(5);
    }
    for open in [Whisper::open, Whisper::open_on_bytes] {
        match open(path) {
            Ok(model) => hear(&model).unwrap_or_else(|error| refused(&error)),
            Err(error) => refused(&error),
        }
    }
}

fn hear(model: &Whisper) -> Result<(), ModelError> {
    const FRAMES: usize = 4;
    let mel = Tensor::zeros((FRAMES, model.config.num_mel_bins), candle_core::DType::F32, &Device::Cpu)?;
    let audio = model.encoder.forward(&mel)?;
    let mut cross = model.decoder.new_cross_cache()?;
    model.decoder.attend_to(&audio, &mut cross)?;
    let mut cache = model.decoder.new_cache(1)?;
    let logits = model.decoder.forward(&[0, 1], 1, &[1], &mut cache, &cross)?;
    assert_eq!(logits.len(), model.config.vocab_size);
    Ok(())
}

/// What text becomes, whatever the vocabulary: ids that are there; of special ones the unknown token alone, and that is
/// none with which something begins or ends.
pub fn encode(tokenizer: &Tokenizer) {
    let special: String = (0..64).filter_map(|id| tokenizer.special_text(id)).collect();
    for text in ["", "Hello, wörld 42!  \n\n", " ▁<0x0A><s>", "日本語🙂\u{0}", &special] {
        let Ok(ids) = tokenizer.encode(text) else { continue };
        let mut unknown = None;
        for &id in &ids {
            assert!((id as usize) < tokenizer.vocab_size(), "{id} of {}", tokenizer.vocab_size());
            let is_end = [tokenizer.bos(), tokenizer.eos()].contains(&Some(id));
            let is_syntax = is_end || tokenizer.end_of_generation().contains(&id);
            let is_known = !tokenizer.is_special(id) || *unknown.get_or_insert(id) == id;
            assert!(!is_syntax && is_known, "{text:?} became {id}");
        }
        let _ = tokenizer.decode(&ids);
        let _ = tokenizer.split_special(text);
    }
}
