//! Text to token ids and back.
//!
//! Three kinds of file describe a tokenizer: a `tokenizer.json` ([`Tokenizer::from_json`]), a GGUF
//! file's metadata ([`Tokenizer::from_gguf`]) and a ranked list of byte strings
//! ([`Tokenizer::from_ranked_bytes`]). Whatever the source, user text never becomes a special
//! token: those enter a prompt only as [`Part::Special`].

mod added;
mod bpe;
mod byte_level;
mod gguf;
mod json;
mod merge;
mod names;
mod pieces;
mod ranked;
mod spm;

use std::collections::{HashMap, HashSet};

pub use gguf::GgufVocab;

use added::{AddedTokens, Stretch};
use bpe::Bpe;
use pieces::Pieces;
use spm::Spm;

/// More ids than this no vocabulary has (Gemma's has 262,144): a bound for tables indexed by id.
const MAX_TOKENS: u32 = 1 << 22;

/// Why a tokenizer could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The bytes are not a `tokenizer.json`.
    #[error("not a tokenizer.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A kind of tokenizer this crate does not have.
    #[error("unsupported tokenizer: {0}")]
    Unsupported(String),
    /// A GGUF file names a pre-tokenizer whose rules are not known here.
    #[error("unknown pre-tokenizer {0:?}")]
    UnknownPreTokenizer(String),
    /// The file contradicts itself.
    #[error("damaged tokenizer: {0}")]
    Invalid(String),
    /// Text could not be encoded.
    #[error("cannot encode text: {0}")]
    Encode(String),
}

impl TokenizerError {
    fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }
}

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A token taken as it is.
    Special(u32),
    /// Text, which becomes no special token whatever it says.
    Text(String),
}

/// A tokenizer; immutable, so share it behind an `Arc`.
pub struct Tokenizer {
    model: Model,
    pieces: Pieces,
    /// Tokens found in any text (GGUF's user-defined ones).
    user_defined: AddedTokens,
    /// Those and the special ones, found in trusted text.
    trusted: AddedTokens,
    special_ids: HashMap<String, u32>,
    special: HashSet<u32>,
    end_of_generation: Vec<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
}

enum Model {
    Bpe(Box<Bpe>),
    Spm(Spm),
}

impl Tokenizer {
    fn new(model: Model, pieces: Pieces) -> Self {
        Self {
            model,
            pieces,
            user_defined: AddedTokens::default(),
            trusted: AddedTokens::default(),
            special_ids: HashMap::new(),
            special: HashSet::new(),
            end_of_generation: Vec::new(),
            bos: None,
            eos: None,
            add_bos: false,
        }
    }

    fn add_special(&mut self, spelling: &str, id: u32) -> Result<(), TokenizerError> {
        self.pieces.set(id, b"")?;
        self.special.insert(id);
        self.trusted.insert(spelling, id);
        match self.special_ids.insert(spelling.to_owned(), id) {
            Some(other) if other != id => {
                Err(TokenizerError::invalid(format!("tokens {other} and {id} are spelled alike")))
            }
            _ => Ok(()),
        }
    }

    fn add_user_defined(&mut self, spelling: &str, id: u32) {
        self.user_defined.insert(spelling, id);
        self.trusted.insert(spelling, id);
    }

    /// Makes every special token with a known name an end of generation.
    fn end_by_names(&mut self) {
        let ends: Vec<u32> =
            names::END_OF_GENERATION.iter().filter_map(|name| self.special_id(name)).collect();
        self.add_ends(ends);
    }

    fn add_ends(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.end_of_generation.extend(ids);
        self.end_of_generation.sort_unstable();
        self.end_of_generation.dedup();
    }

    /// The ids of user text, without BOS. None of them is special, whatever the text says, but for the unknown token,
    /// which SentencePiece's models write for what they have no piece for.
    ///
    /// # Errors
    /// `Encode` when a pattern of a `tokenizer.json` fails on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        self.encode_run(text, &mut ids)?;
        Ok(ids)
    }

    /// The ids of a prompt. Neighbouring texts are joined first, so that a token may reach over
    /// the seam between them; no BOS is added ([`Tokenizer::prepend_bos`] does that).
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_parts(&self, parts: &[Part]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        let mut run = String::new();
        for part in parts {
            match part {
                Part::Text(text) => run.push_str(text),
                Part::Special(id) => {
                    self.encode_run(&run, &mut ids)?;
                    run.clear();
                    ids.push(*id);
                }
            }
        }
        self.encode_run(&run, &mut ids)?;
        Ok(ids)
    }

    /// Encodes text before which nothing or a special token stands.
    fn encode_run(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut at_start = true;
        for stretch in self.user_defined.split(text) {
            match stretch {
                Stretch::Token(id) => ids.push(id),
                Stretch::Text(ref range) => {
                    let text = text.get(range.clone()).unwrap_or_default();
                    match &self.model {
                        Model::Bpe(bpe) => bpe.encode(text, ids)?,
                        Model::Spm(spm) => spm.encode(text, at_start, ids),
                    }
                }
            }
            at_start = matches!(stretch, Stretch::Token(_));
        }
        Ok(())
    }

    /// Finds the special tokens in trusted text (a template's own words), longest spelling first
    /// as llama.cpp does. Empty texts are left out.
    pub fn split_special(&self, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut run = String::new();
        for stretch in self.trusted.split(text) {
            match stretch {
                Stretch::Token(id) if self.is_special(id) => {
                    if !run.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut run)));
                    }
                    parts.push(Part::Special(id));
                }
                // A user-defined token stays text: it is found again by `encode_parts`, after the
                // text has been joined with its neighbours (two line breaks may make one token).
                Stretch::Token(id) => run.push_str(&String::from_utf8_lossy(self.token_bytes(id))),
                Stretch::Text(range) => run.push_str(text.get(range).unwrap_or_default()),
            }
        }
        if !run.is_empty() {
            parts.push(Part::Text(run));
        }
        parts
    }

    /// Puts BOS before a prompt if the model wants it and the prompt has none yet.
    pub fn prepend_bos(&self, parts: &mut Vec<Part>) {
        if let Some(bos) = self.bos.filter(|_| self.add_bos)
            && parts.first() != Some(&Part::Special(bos))
        {
            parts.insert(0, Part::Special(bos));
        }
    }

    /// The id of the special token which is spelled so.
    pub fn special_id(&self, token: &str) -> Option<u32> {
        self.special_ids.get(token).copied()
    }

    /// How a special token is spelled.
    pub fn special_text(&self, id: u32) -> Option<&str> {
        self.special_ids.iter().find(|(_, i)| **i == id).map(|(text, _)| text.as_str())
    }

    /// Whether text can never become this token (control, unknown and added tokens). Ids which the
    /// vocabulary does not have are not special.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The bytes a token stands for, which need not be whole characters; none for special tokens
    /// and ids which the vocabulary does not have.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.pieces.get(id)
    }

    /// The bytes of every token, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.vocab_size() as u32).map(|id| self.token_bytes(id))
    }

    /// The text which the tokens stand for; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.token_bytes(id).iter().copied()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One more than the greatest id the file names. A model may have more rows than that: padding,
    /// or Whisper's timestamps where `tokenizer.json` leaves them out.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The token which begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token which ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Every token at which generation stops, ascending: eos, end of turn, and what is known by
    /// name to end an answer.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.end_of_generation
    }

    /// Whether a prompt for this model begins with BOS.
    pub fn add_bos(&self) -> bool {
        self.add_bos && self.bos.is_some()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("special", &self.special.len())
            .finish_non_exhaustive()
    }
}
