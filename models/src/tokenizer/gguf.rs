//! Tokenizers out of a GGUF file's metadata, id for id as llama.cpp reads them.

use std::collections::HashSet;

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use super::bpe::{Bpe, BpeParts, drop_special_merges};
use super::pieces::Pieces;
use super::spm::{SPACE, Spm, byte_token};
use super::{MAX_TOKENS, Model, Tokenizer, TokenizerError, byte_level, names};

/// What a GGUF file says of its tokenizer (keys `tokenizer.ggml.*`).
#[derive(Debug, Clone, Default)]
pub struct GgufVocab<'a> {
    /// `model`: "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE).
    pub model: &'a str,
    /// `pre`: the name of the pre-tokenizer of a "gpt2" model.
    pub pre: Option<&'a str>,
    /// `tokens`: spellings by id.
    pub tokens: &'a [String],
    /// `token_type` by id (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte); may
    /// be empty, then all are normal.
    pub token_types: &'a [i32],
    /// `scores` by id; needed by a "llama" model.
    pub scores: &'a [f32],
    /// `merges`, each two spellings with a space between; needed by a "gpt2" model.
    pub merges: &'a [String],
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`.
    pub eot: Option<u32>,
    /// `unknown_token_id`.
    pub unk: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text may become it.
    Normal,
    /// Found in any text before everything else.
    UserDefined,
    /// One byte of a character without a piece of its own.
    Byte(u8),
    /// Never comes from text: control tokens and the unknown token.
    Special,
}

impl Tokenizer {
    /// Builds the tokenizer which a GGUF file describes.
    ///
    /// # Errors
    /// `Unsupported` for a model other than "gpt2" and "llama", `UnknownPreTokenizer` for a `pre`
    /// this crate has no rules for, `Invalid` for metadata that contradicts itself: lists of
    /// different lengths, ids out of range, spellings given twice, merges of unknown tokens,
    /// scores that are not numbers.
    pub fn from_gguf(vocab: &GgufVocab<'_>) -> Result<Self, TokenizerError> {
        check(vocab)?;
        let kinds = kinds(vocab);
        let is_spm = vocab.model == "llama";
        let (model, add_bos) = match vocab.model {
            "llama" => (Model::Spm(spm(vocab, &kinds)?), true),
            "gpt2" => {
                let pre = PreTokenizer::named(vocab.pre.unwrap_or("default"))?;
                (Model::Bpe(Box::new(bpe(vocab, &kinds, pre)?)), pre.add_bos())
            }
            other => {
                let what = format!("GGUF tokenizer model {other:?}");
                return Err(TokenizerError::Unsupported(what));
            }
        };
        let mut tokenizer = Tokenizer::new(model, pieces(vocab, &kinds, is_spm)?);
        for ((id, token), kind) in (0u32..).zip(vocab.tokens).zip(&kinds) {
            match kind {
                Kind::Special => tokenizer.add_special(token, id)?,
                Kind::UserDefined => tokenizer.add_user_defined(token, id),
                Kind::Normal | Kind::Byte(_) => {}
            }
        }
        (tokenizer.bos, tokenizer.eos) = ends_of_text(vocab);
        tokenizer.add_bos = vocab.add_bos.unwrap_or(add_bos);
        tokenizer.end_by_names();
        let ends = [tokenizer.eos, vocab.eot].into_iter().flatten();
        tokenizer.add_ends(ends);
        Ok(tokenizer)
    }
}

/// Refuses metadata whose parts do not belong together.
fn check(vocab: &GgufVocab<'_>) -> Result<(), TokenizerError> {
    let count = vocab.tokens.len();
    if count == 0 || count >= MAX_TOKENS as usize {
        return Err(TokenizerError::invalid(format!("{count} tokens")));
    }
    for (what, len) in [("token types", vocab.token_types.len()), ("scores", vocab.scores.len())] {
        if len != 0 && len != count {
            let message = format!("{count} tokens but {len} {what}");
            return Err(TokenizerError::invalid(message));
        }
    }
    for (what, id) in [("bos", vocab.bos), ("eos", vocab.eos), ("eot", vocab.eot), ("unknown", vocab.unk)] {
        if id.is_some_and(|id| id as usize >= count) {
            let message = format!("the {what} token's id is out of range");
            return Err(TokenizerError::invalid(message));
        }
    }
    Ok(())
}

/// Where a text begins and ends: what the file says, else what SentencePiece's models have.
fn ends_of_text(vocab: &GgufVocab<'_>) -> (Option<u32>, Option<u32>) {
    let usual = |id: u32| (vocab.model == "llama" && (id as usize) < vocab.tokens.len()).then_some(id);
    (vocab.bos.or_else(|| usual(1)), vocab.eos.or_else(|| usual(2)))
}

/// The role of each token. Tokens with a known role are special whatever type the file gives them.
fn kinds(vocab: &GgufVocab<'_>) -> Vec<Kind> {
    let (bos, eos) = ends_of_text(vocab);
    let roles = [bos, eos, vocab.eot, vocab.unk];
    let kind = |(id, token): (usize, &String)| {
        let given = vocab.token_types.get(id).copied();
        let role = roles.iter().flatten().any(|&role| role as usize == id);
        if role || matches!(given, Some(2 | 3)) || names::ends_generation(token) {
            return Kind::Special;
        }
        match (given, byte_token(token)) {
            (Some(4), _) if names::structures_prompt(token) => Kind::Special,
            (Some(4), _) => Kind::UserDefined,
            // Without types the spelling has to do, as it does for llama.cpp.
            (Some(6), Some(byte)) => Kind::Byte(byte),
            (None, Some(byte)) if vocab.model == "llama" => Kind::Byte(byte),
            _ => Kind::Normal,
        }
    };
    vocab.tokens.iter().enumerate().map(kind).collect()
}

fn pieces(vocab: &GgufVocab<'_>, kinds: &[Kind], is_spm: bool) -> Result<Pieces, TokenizerError> {
    let mut pieces = Pieces::default();
    for ((id, token), kind) in (0u32..).zip(vocab.tokens).zip(kinds) {
        match *kind {
            Kind::Special => pieces.set(id, b"")?,
            Kind::Byte(byte) => pieces.set(id, &[byte])?,
            Kind::UserDefined => pieces.set(id, token.as_bytes())?,
            Kind::Normal if is_spm => pieces.set(id, token.replace(SPACE, " ").as_bytes())?,
            Kind::Normal => pieces.set(id, &byte_level::decode(token))?,
        }
    }
    Ok(pieces)
}

fn spm(vocab: &GgufVocab<'_>, kinds: &[Kind]) -> Result<Spm, TokenizerError> {
    if vocab.scores.is_empty() {
        return Err(TokenizerError::invalid("a llama tokenizer without scores"));
    }
    let first_is_unk = kinds.first() == Some(&Kind::Special);
    let (bos, eos) = ends_of_text(vocab);
    // Text becomes this token where nothing else fits: it must be none that begins or ends something.
    let is_syntax = |id: &u32| {
        let token = vocab.tokens.get(*id as usize).map_or("", String::as_str);
        let has_role = [bos, eos, vocab.eot].contains(&Some(*id));
        has_role || names::ends_generation(token) || names::structures_prompt(token)
    };
    let unk = vocab.unk.or(first_is_unk.then_some(0)).filter(|id| !is_syntax(id));
    let mut spm = Spm::new(unk, vocab.add_space_prefix.unwrap_or(true));
    for (((id, token), &score), kind) in (0u32..).zip(vocab.tokens).zip(vocab.scores).zip(kinds) {
        match *kind {
            Kind::Special => {}
            Kind::Byte(byte) => spm.add_byte(byte, id),
            Kind::Normal | Kind::UserDefined if token.is_empty() => {}
            Kind::Normal | Kind::UserDefined => spm.add_piece(token, id, score)?,
        }
    }
    Ok(spm)
}

fn bpe(vocab: &GgufVocab<'_>, kinds: &[Kind], pre: PreTokenizer) -> Result<Bpe, TokenizerError> {
    if vocab.merges.is_empty() {
        return Err(TokenizerError::invalid("a gpt2 tokenizer without merges"));
    }
    let mut merges = Vec::with_capacity(vocab.merges.len());
    for (index, merge) in vocab.merges.iter().enumerate() {
        // A first half that is itself a space would be ill-formed: the alphabet has none.
        let Some((left, right)) = merge.split_once(' ') else {
            return Err(TokenizerError::invalid(format!("merge {index} does not name two tokens")));
        };
        merges.push((left.to_owned(), right.to_owned()));
    }
    let specials: HashSet<&str> = vocab
        .tokens
        .iter()
        .zip(kinds)
        .filter(|(_, kind)| **kind == Kind::Special)
        .map(|(token, _)| token.as_str())
        .collect();
    drop_special_merges(&mut merges, &specials);
    let text_tokens = (0u32..)
        .zip(vocab.tokens)
        .zip(kinds)
        .filter(|((_, token), kind)| **kind != Kind::Special && !token.is_empty())
        .map(|((id, token), _)| (token.clone(), id));
    Bpe::new(BpeParts {
        vocab: text_tokens.collect(),
        merges,
        ignore_merges: pre.ignore_merges(),
        byte_fallback: false,
        stand_ins: true,
        normalizer: None,
        pre_tokenizer: Some(pre.build()?),
    })
}

/// How text is cut before merging, by the name GGUF files give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PreTokenizer {
    /// llama.cpp's fallback for files converted before the names existed.
    Default,
    Gpt2,
    /// Digits one by one, then as GPT-2.
    Smollm,
    Qwen2,
    /// Digits in threes; a word that is a token is not merged.
    Llama3,
    /// As `Llama3`, but always merged.
    Smaug,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
// Contractions are spelled out: `(?i:'s)` would also take the long s of old print, which
// llama.cpp does not.
const QWEN2: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl PreTokenizer {
    fn named(name: &str) -> Result<Self, TokenizerError> {
        match name {
            "" | "default" => Ok(Self::Default),
            "gpt-2" | "phi-2" | "olmo" | "exaone4" => Ok(Self::Gpt2),
            "smollm" | "starcoder" | "refact" | "command-r" => Ok(Self::Smollm),
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" => Ok(Self::Qwen2),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" | "lfm2" => Ok(Self::Llama3),
            "smaug-bpe" | "dbrx" => Ok(Self::Smaug),
            other => Err(TokenizerError::UnknownPreTokenizer(other.to_owned())),
        }
    }

    fn ignore_merges(self) -> bool {
        self == Self::Llama3
    }

    fn add_bos(self) -> bool {
        self == Self::Llama3
    }

    /// The patterns, applied one after the other, each to the pieces of the one before.
    fn patterns(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
            Self::Gpt2 => &[GPT2],
            Self::Smollm => &[r"\p{N}", GPT2],
            Self::Qwen2 => &[QWEN2],
            Self::Llama3 | Self::Smaug => &[LLAMA3],
        }
    }

    fn build(self) -> Result<PreTokenizerWrapper, TokenizerError> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        for pattern in self.patterns() {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            steps.push(split.map_err(|error| TokenizerError::invalid(error.to_string()))?.into());
        }
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps).into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spm_of(tokens: &[&str], change: impl Fn(&mut GgufVocab<'_>)) -> Tokenizer {
        let tokens: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
        let scores = vec![0.0; tokens.len()];
        let mut vocab =
            GgufVocab { model: "llama", tokens: &tokens, scores: &scores, ..GgufVocab::default() };
        vocab.add_space_prefix = Some(false);
        change(&mut vocab);
        Tokenizer::from_gguf(&vocab).unwrap()
    }

    /// Where nothing fits the unknown token is written; a file may not make that one with which a turn ends.
    #[test]
    fn unknown_text_does_not_become_syntax() {
        let tokens = ["<unk>", "<s>", "</s>", "a", "<end_of_turn>", "<|im_start|>"];
        assert_eq!(spm_of(&tokens, |v| v.unk = Some(0)).encode("a?").unwrap(), [3, 0]);
        for unk in [1, 2, 4, 5] {
            assert_eq!(spm_of(&tokens, |v| v.unk = Some(unk)).encode("a?").unwrap(), [3], "{unk}");
        }
        assert_eq!(spm_of(&tokens, |v| (v.unk, v.eot) = (Some(0), Some(0))).encode("a?").unwrap(), [3]);
    }

    /// Without a word in the file the second and third tokens begin and end a text: none of it becomes them.
    #[test]
    fn text_does_not_become_the_usual_ends() {
        let plain = spm_of(&["x", "b", "e", "a"], |_| {});
        assert_eq!((plain.bos(), plain.eos()), (Some(1), Some(2)));
        assert_eq!(plain.encode("abe").unwrap(), [3]);
    }
}
