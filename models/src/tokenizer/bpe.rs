//! Byte-pair encoding through the `tokenizers` crate, from a vocabulary and a list of merges.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::{MAX_TOKENS, TokenizerError, byte_level};

/// What a BPE model is made of.
pub(super) struct BpeParts {
    /// Spelling and id of every token which text may become (no special token among them).
    pub(super) vocab: Vec<(String, u32)>,
    /// Pairs to join, most urgent first.
    pub(super) merges: Vec<(String, String)>,
    /// A pre-token which is a vocabulary entry as a whole is taken without merging.
    pub(super) ignore_merges: bool,
    /// Unknown characters become `<0xNN>` tokens.
    pub(super) byte_fallback: bool,
    /// A byte of GPT-2's alphabet without a token is dropped after merging, not before.
    pub(super) stand_ins: bool,
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: Option<PreTokenizerWrapper>,
}

/// A byte-pair encoder for text between special tokens.
pub(super) struct Bpe {
    tokenizer: tokenizers::Tokenizer,
    /// Ids from here on are stand-ins for bytes which the vocabulary lacks; they are dropped.
    first_stand_in: u32,
}

impl Bpe {
    /// Builds the encoder.
    ///
    /// # Errors
    /// `Invalid` when a merge names a token which is not in the vocabulary (the crate would panic
    /// on some of these) or a spelling occurs twice.
    pub(super) fn new(parts: BpeParts) -> Result<Self, TokenizerError> {
        let mut vocab = Vocab::with_capacity(parts.vocab.len());
        let mut first_stand_in = 0;
        for (token, id) in parts.vocab {
            if id >= MAX_TOKENS {
                return Err(TokenizerError::invalid(format!("token id {id} is absurd")));
            }
            first_stand_in = first_stand_in.max(id + 1);
            if let Some(other) = vocab.insert(token, id) {
                return Err(TokenizerError::invalid(format!("tokens {other} and {id} are spelled alike")));
            }
        }
        let merges = known_merges(&vocab, parts.merges)?;
        if parts.stand_ins {
            // Some vocabularies (SmolLM2's) have no token for rare bytes. The crate would leave
            // such a byte out before merging and so join what stood on its two sides; a stand-in
            // keeps them apart, as llama.cpp does, and is dropped afterwards.
            for (missing, byte) in (first_stand_in..).zip(0..=255) {
                vocab.entry(byte_level::char_of(byte).to_string()).or_insert(missing);
            }
        }
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .ignore_merges(parts.ignore_merges)
            .byte_fallback(parts.byte_fallback)
            .build()
            .map_err(|error| TokenizerError::invalid(error.to_string()))?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer
            .with_normalizer(parts.normalizer)
            .map_err(|error| TokenizerError::invalid(error.to_string()))?;
        tokenizer.with_pre_tokenizer(parts.pre_tokenizer);
        Ok(Self { tokenizer, first_stand_in })
    }

    /// Appends the ids of `text` to `ids`.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| TokenizerError::Encode(error.to_string()))?;
        let known = |id: &u32| *id < self.first_stand_in;
        ids.extend(encoding.get_ids().iter().copied().filter(known));
        Ok(())
    }
}

/// Checks that both halves and the joined token of each merge exist; of a merge given twice the
/// first counts, as in llama.cpp.
fn known_merges(
    vocab: &Vocab,
    merges: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, TokenizerError> {
    let mut seen = HashSet::with_capacity(merges.len());
    let mut joined = String::new();
    let mut kept = Vec::with_capacity(merges.len());
    for (index, (left, right)) in merges.into_iter().enumerate() {
        joined.clear();
        joined.push_str(&left);
        joined.push_str(&right);
        let ids = (vocab.get(&left), vocab.get(&right), vocab.get(&joined));
        let (Some(&left_id), Some(&right_id), Some(_)) = ids else {
            return Err(TokenizerError::invalid(format!(
                "merge {index} names a token which is not in the vocabulary"
            )));
        };
        if seen.insert((left_id, right_id)) {
            kept.push((left, right));
        }
    }
    Ok(kept)
}

/// Removes the merges which use or make one of `specials`: text never becomes a special token.
pub(super) fn drop_special_merges(merges: &mut Vec<(String, String)>, specials: &HashSet<&str>) {
    let mut joined = String::new();
    merges.retain(|(left, right)| {
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        ![left.as_str(), right.as_str(), joined.as_str()].iter().any(|token| specials.contains(token))
    });
}
