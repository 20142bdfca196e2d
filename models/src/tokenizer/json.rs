//! Tokenizers out of a Hugging Face `tokenizer.json` with a BPE model (Whisper's, above all).

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::bpe::{Bpe, BpeParts, drop_special_merges};
use super::pieces::Pieces;
use super::spm::{SPACE, byte_token};
use super::{Model, Tokenizer, TokenizerError, byte_level, names};

/// The parts of the file which count here. Post-processor, truncation and padding are left out on
/// purpose: `encode` gives the tokens of the text and nothing else.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    model: Value,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct BpeModel {
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    byte_fallback: bool,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// Older files write a merge as one string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Joined(String),
}

impl Tokenizer {
    /// Builds a tokenizer from the bytes of a `tokenizer.json`.
    ///
    /// All of its `added_tokens`, special or not (Whisper's timestamps are not), are special here:
    /// they have ids, but text never becomes one.
    ///
    /// # Errors
    /// `Json` when the bytes are not such a file, `Unsupported` for models other than BPE,
    /// `Invalid` when vocabulary, merges and added tokens contradict each other.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let document: Document = serde_json::from_slice(bytes)?;
        let is_byte_level =
            mentions(&document.pre_tokenizer, "ByteLevel") || mentions(&document.decoder, "ByteLevel");
        if mentions(&document.normalizer, "Precompiled") {
            let what = "a tokenizer.json with a compiled normalizer".to_owned();
            return Err(TokenizerError::Unsupported(what));
        }
        let model = bpe_model(document.model)?;
        one_token_an_id(&model.vocab, &document.added_tokens)?;
        let specials: HashSet<&str> =
            document.added_tokens.iter().map(|added| added.content.as_str()).collect();
        let mut pieces = Pieces::default();
        let mut vocab = Vec::with_capacity(model.vocab.len());
        for (token, id) in model.vocab {
            if specials.contains(token.as_str()) {
                continue;
            }
            pieces.set(id, &token_bytes(&token, is_byte_level))?;
            vocab.push((token, id));
        }
        let mut merges = pairs(model.merges)?;
        drop_special_merges(&mut merges, &specials);
        let bpe = Bpe::new(BpeParts {
            vocab,
            merges,
            ignore_merges: model.ignore_merges,
            byte_fallback: model.byte_fallback,
            stand_ins: false,
            normalizer: serde_json::from_value(document.normalizer)?,
            pre_tokenizer: serde_json::from_value(document.pre_tokenizer)?,
        })?;
        let mut tokenizer = Tokenizer::new(Model::Bpe(Box::new(bpe)), pieces);
        for added in &document.added_tokens {
            tokenizer.add_special(&added.content, added.id)?;
        }
        tokenizer.end_by_names();
        tokenizer.eos = names::eos_among(|name| tokenizer.special_id(name));
        Ok(tokenizer)
    }
}

/// Whether a part of the file, or a part of that part, is of this type.
fn mentions(part: &Value, kind: &str) -> bool {
    match part {
        Value::Object(fields) => {
            fields.get("type").and_then(Value::as_str) == Some(kind)
                || fields.values().any(|field| mentions(field, kind))
        }
        Value::Array(items) => items.iter().any(|item| mentions(item, kind)),
        _ => false,
    }
}

fn bpe_model(model: Value) -> Result<BpeModel, TokenizerError> {
    let kind = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
    if kind != "BPE" {
        let what = format!("a tokenizer.json with a model of type {kind:?}");
        return Err(TokenizerError::Unsupported(what));
    }
    let model: BpeModel = serde_json::from_value(model)?;
    let affixes = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
    if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
        let what = "a tokenizer.json with subword affixes".to_owned();
        return Err(TokenizerError::Unsupported(what));
    }
    Ok(model)
}

/// Added tokens may stand in the vocabulary too, as the same ones; otherwise text could become one of them.
fn one_token_an_id(vocab: &HashMap<String, u32>, added: &[AddedToken]) -> Result<(), TokenizerError> {
    let mut owners = HashMap::with_capacity(vocab.len() + added.len());
    let vocab = vocab.iter().map(|(token, id)| (token.as_str(), *id));
    for (token, id) in vocab.chain(added.iter().map(|added| (added.content.as_str(), added.id))) {
        if let Some(other) = owners.insert(id, token).filter(|other| *other != token) {
            let (first, second) = (other.min(token), other.max(token));
            return Err(TokenizerError::invalid(format!(
                "tokens {first:?} and {second:?} have one id, {id}"
            )));
        }
    }
    Ok(())
}

fn pairs(merges: Vec<Merge>) -> Result<Vec<(String, String)>, TokenizerError> {
    let pair = |(index, merge)| match merge {
        Merge::Pair(left, right) => Ok((left, right)),
        Merge::Joined(joined) => match joined.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(TokenizerError::invalid(format!("merge {index} does not name two tokens"))),
        },
    };
    merges.into_iter().enumerate().map(pair).collect()
}

fn token_bytes(token: &str, is_byte_level: bool) -> Vec<u8> {
    if is_byte_level {
        return byte_level::decode(token);
    }
    match byte_token(token) {
        Some(byte) => vec![byte],
        None => token.replace(SPACE, " ").into_bytes(),
    }
}
