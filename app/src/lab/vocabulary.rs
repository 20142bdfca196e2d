//! Made-up vocabularies of true size: the bytes, the special tokens of the family, and words of
//! syllables for all other ids. Any text can be encoded.

use super::shapes::Family;

/// SentencePiece's and byte-level BPE's way to write a space.
const SPM_SPACE: char = '\u{2581}';
const BPE_SPACE: char = '\u{120}';

/// GGUF's token types.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// A tokenizer as a GGUF file holds it.
pub(super) struct Vocabulary {
    /// `tokenizer.ggml.model`.
    pub(super) model: &'static str,
    /// `tokenizer.ggml.pre`.
    pub(super) pre: &'static str,
    pub(super) tokens: Vec<String>,
    pub(super) types: Vec<i32>,
    /// One a token; none where merges decide.
    pub(super) scores: Vec<f32>,
    pub(super) merges: Vec<String>,
    pub(super) bos: u32,
    pub(super) eos: u32,
    pub(super) add_bos: bool,
    pub(super) chat_template: &'static str,
}

const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const LLAMA3: &str = "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";
const GEMMA: &str = "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' + message['content'] + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

impl Vocabulary {
    /// `size` tokens for a family.
    pub(super) fn new(family: Family, size: usize) -> Vocabulary {
        match family {
            Family::Gemma3 => sentence_piece(size),
            Family::Llama3 => {
                let named =
                    ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|step_id|>"];
                let turns = ["<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"];
                let mut v = byte_pairs(128_000, &[], &[&named[..], &turns].concat(), size, CONTROL);
                (v.pre, v.bos, v.eos, v.add_bos) = ("llama-bpe", 128_000, 128_007, true);
                v.chat_template = LLAMA3;
                v
            }
            Family::Qwen2 => {
                let named = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
                let mut v = byte_pairs(151_643, &[], &named, size, UNUSED);
                (v.pre, v.bos, v.eos) = ("qwen2", 151_643, 151_645);
                v
            }
            Family::SmolLm2 => {
                let named = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
                let mut v = byte_pairs(size, &named, &[], size, CONTROL);
                (v.pre, v.bos, v.eos) = ("smollm", 1, 2);
                v
            }
        }
    }
}

/// Byte-level BPE as Whisper has it: spellings of the ids below `text_tokens`, and their merges.
pub(super) fn whisper(text_tokens: usize) -> (Vec<String>, Vec<String>) {
    let v = byte_pairs(text_tokens, &[], &[], text_tokens, CONTROL);
    (v.tokens, v.merges)
}

/// The `first` special tokens, the bytes, words up to id `text_end`, the `last` special tokens, and
/// reserved ones of type `rest` up to `size`.
fn byte_pairs(text_end: usize, first: &[&str], last: &[&str], size: usize, rest: i32) -> Vocabulary {
    let mut tokens: Vec<String> = first.iter().map(ToString::to_string).collect();
    tokens.extend((0..=255).map(|b| byte_char(b).to_string()));
    let mut merges = Vec::new();
    for n in 0.. {
        let word = word(n);
        let (head, tail) = word.split_at(if word.len() > 2 { word.len() - 2 } else { 1 });
        for (left, right) in [(head, tail), ("\u{120}", &word)] {
            if tokens.len() < text_end {
                tokens.push(format!("{left}{right}"));
                merges.push(format!("{left} {right}"));
            }
        }
        if tokens.len() >= text_end {
            break;
        }
    }
    let mut types = vec![NORMAL; tokens.len()];
    types[..first.len()].fill(CONTROL);
    tokens.extend(last.iter().map(ToString::to_string));
    types.resize(tokens.len(), CONTROL);
    tokens.extend((tokens.len()..size).map(|id| format!("<|reserved_{id}|>")));
    types.resize(tokens.len(), rest);
    let (model, pre, chat_template) = ("gpt2", "gpt-2", CHATML);
    Vocabulary {
        model,
        pre,
        tokens,
        types,
        scores: Vec::new(),
        merges,
        bos: 0,
        eos: 0,
        add_bos: false,
        chat_template,
    }
}

/// SentencePiece with bytes for what has no piece, laid out as Gemma's.
fn sentence_piece(size: usize) -> Vocabulary {
    let special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"];
    let mut tokens: Vec<String> = special.iter().map(ToString::to_string).collect();
    let mut types = vec![CONTROL; tokens.len()];
    tokens.extend((0..=255).map(|b: u8| format!("<0x{b:02X}>")));
    types.resize(tokens.len(), BYTE);
    tokens.push(SPM_SPACE.into());
    tokens.extend((' '..='~').skip(1).map(String::from));
    for n in 0.. {
        if tokens.len() >= size {
            break;
        }
        let word = word(n);
        tokens.push(format!("{SPM_SPACE}{word}"));
        tokens.push(word);
    }
    tokens.truncate(size);
    types.resize(tokens.len(), NORMAL);
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    Vocabulary {
        model: "llama",
        pre: "default",
        tokens,
        types,
        scores,
        merges: Vec::new(),
        bos: 2,
        eos: 1,
        add_bos: true,
        chat_template: GEMMA,
    }
}

/// Word `n`: one syllable for the first hundred, two for the next ten thousand, and so on, so that
/// every word but its last syllable is a word before it.
fn word(n: usize) -> String {
    const CONSONANTS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
    const VOWELS: &[u8; 5] = b"aeiou";
    let mut letters = Vec::new();
    let mut left = n + 1;
    while left > 0 {
        left -= 1;
        letters.push(VOWELS[left % 5]);
        letters.push(CONSONANTS[left / 5 % 20]);
        left /= 100;
    }
    letters.iter().rev().map(|b| char::from(*b)).collect()
}

/// GPT-2's printable stand-in for a byte (`bytes_to_unicode`).
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if printable(byte) {
        return byte.into();
    }
    let rank = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + rank).unwrap_or(BPE_SPACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_all_different_and_grow_from_words_before_them() {
        let words: Vec<String> = (0..20_000).map(word).collect();
        let seen: HashSet<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(seen.len(), words.len());
        assert_eq!((words[0].as_str(), words[99].as_str(), words[100].as_str()), ("ba", "zu", "baba"));
        for (n, w) in words.iter().enumerate().skip(100) {
            let stem = &w[..w.len() - 2];
            assert!(words[..n].iter().rev().any(|v| v == stem) || n > 400, "{w}");
        }
    }

    #[test]
    fn spaces_and_bytes_are_written_as_gpt2_writes_them() {
        assert_eq!((byte_char(b' '), byte_char(b'\n'), byte_char(b'a')), (BPE_SPACE, '\u{10a}', 'a'));
        assert_eq!((0..=255).map(byte_char).collect::<HashSet<_>>().len(), 256);
    }
}
