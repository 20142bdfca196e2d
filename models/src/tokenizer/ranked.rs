//! A vocabulary of raw bytes whose order is the order of merging, as tiktoken and the ggml files of
//! whisper.cpp keep it.

use std::collections::{HashMap, HashSet};

use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::bpe::{Bpe, BpeParts};
use super::merge::merge_pairs;
use super::pieces::Pieces;
use super::{Model, Tokenizer, TokenizerError, byte_level, names};

/// No token of a real vocabulary comes near (GPT-2's longest has 128 bytes).
const LONGEST_BYTES: usize = 1024;

impl Tokenizer {
    /// Builds a byte-level BPE tokenizer from raw tokens, where the place in the list is both the
    /// id and the merge rank, with GPT-2's pre-tokenizer.
    ///
    /// The merges, which such files do not have, are found by encoding each token with the ones
    /// before it. `specials` are spellings and ids that text never becomes; their ids may lie
    /// inside the list, and then take the place of the raw token, or beyond it.
    ///
    /// # Errors
    /// `Invalid` when a token is absurdly long or there are absurdly many.
    pub fn from_ranked_bytes(
        tokens: Vec<Vec<u8>>,
        specials: Vec<(String, u32)>,
    ) -> Result<Self, TokenizerError> {
        let special_ids: HashSet<u32> = specials.iter().map(|&(_, id)| id).collect();
        let mut ranks: HashMap<&[u8], u32> = HashMap::with_capacity(tokens.len());
        let mut pieces = Pieces::default();
        for (id, token) in (0u32..).zip(&tokens) {
            if token.len() > LONGEST_BYTES {
                return Err(TokenizerError::invalid(format!("token {id} has {} bytes", token.len())));
            }
            if special_ids.contains(&id) {
                continue;
            }
            pieces.set(id, token)?;
            if !token.is_empty() {
                ranks.entry(token).or_insert(id);
            }
        }
        let mut merges: Vec<(u32, (String, String))> =
            ranks.iter().filter_map(|(token, &id)| Some((id, halves(token, id, &ranks)?))).collect();
        merges.sort_unstable_by_key(|&(id, _)| id);
        let vocab = ranks.iter().map(|(token, &id)| (byte_level::encode(token), id)).collect();
        let model = Bpe::new(BpeParts {
            vocab,
            merges: merges.into_iter().map(|(_, pair)| pair).collect(),
            ignore_merges: false,
            byte_fallback: false,
            stand_ins: true,
            normalizer: None,
            pre_tokenizer: Some(ByteLevel::new(false, true, true).into()),
        })?;
        let mut tokenizer = Tokenizer::new(Model::Bpe(Box::new(model)), pieces);
        for (spelling, id) in &specials {
            tokenizer.add_special(spelling, *id)?;
        }
        tokenizer.end_by_names();
        tokenizer.eos = names::eos_among(|name| tokenizer.special_id(name));
        Ok(tokenizer)
    }
}

/// The two tokens which `token` was joined from; `None` for a single byte and for an entry which
/// no merging reaches (it was put into the list by hand).
fn halves(token: &[u8], id: u32, ranks: &HashMap<&[u8], u32>) -> Option<(String, String)> {
    let bounds: Vec<usize> = (1..=token.len()).collect();
    let ends = merge_pairs(&bounds, |start, end| {
        let joined = token.get(start..end)?;
        ranks.get(joined).copied().filter(|&rank| rank < id)
    });
    let &[middle, _] = ends.as_slice() else {
        return None;
    };
    let (left, right) = token.split_at_checked(middle)?;
    if !ranks.contains_key(left) || !ranks.contains_key(right) {
        return None;
    }
    Some((byte_level::encode(left), byte_level::encode(right)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_recovered_from_the_order() {
        let tokens = ["a", "b", "c", "ab", "abc", "zz", ""];
        let tokens: Vec<Vec<u8>> = tokens.iter().map(|t| t.as_bytes().to_vec()).collect();
        let specials = vec![("<|endoftext|>".to_owned(), 7), ("ab".to_owned(), 3)];
        let plain = Tokenizer::from_ranked_bytes(tokens.clone(), vec![]).unwrap();
        assert_eq!(plain.encode("abc abab").unwrap(), [4, 3, 3]);
        assert_eq!(plain.vocab_size(), 7);

        // An id taken by a special token is no longer made from text, nor anything through it.
        let tokenizer = Tokenizer::from_ranked_bytes(tokens, specials).unwrap();
        assert_eq!(tokenizer.encode("abc").unwrap(), [0, 1, 2]);
        assert_eq!(tokenizer.end_of_generation(), [7]);
        assert_eq!(tokenizer.decode(&[0, 3, 7, 2, 99]), "ac");
    }

    #[test]
    fn absurd_tokens_are_refused() {
        let long = vec![vec![b'a'; LONGEST_BYTES + 1]];
        assert!(Tokenizer::from_ranked_bytes(long, vec![]).is_err());
        let far = vec![("<|x|>".to_owned(), u32::MAX)];
        assert!(Tokenizer::from_ranked_bytes(vec![vec![b'a']], far).is_err());
    }
}
