//! SentencePiece's BPE model as a GGUF file carries it (`tokenizer.ggml.model` = "llama": Llama-2,
//! Gemma): pieces with scores, spaces written as U+2581, bytes as `<0xNN>` where no piece fits.

use std::collections::HashMap;

use super::TokenizerError;
use super::merge::merge_pairs;

/// SentencePiece's visible space.
pub(super) const SPACE: char = '\u{2581}';

/// An encoder for text between special tokens.
pub(super) struct Spm {
    /// Id and urgency (lower is joined sooner) of every piece which text may become.
    pieces: HashMap<Box<str>, (u32, u32)>,
    longest_bytes: usize,
    bytes: Box<[Option<u32>; 256]>,
    /// What a byte without a token of its own becomes; nothing if `None`.
    unk: Option<u32>,
    /// A space is put before the text at the start and after a special token.
    add_space_prefix: bool,
}

impl Spm {
    pub(super) fn new(unk: Option<u32>, add_space_prefix: bool) -> Self {
        Self { pieces: HashMap::new(), longest_bytes: 0, bytes: Box::new([None; 256]), unk, add_space_prefix }
    }

    /// Adds a piece; a higher score is joined sooner.
    ///
    /// # Errors
    /// `Invalid` when the score is not a number or the piece is there already.
    pub(super) fn add_piece(&mut self, piece: &str, id: u32, score: f32) -> Result<(), TokenizerError> {
        if score.is_nan() {
            return Err(TokenizerError::invalid(format!("the score of token {id} is not a number")));
        }
        self.longest_bytes = self.longest_bytes.max(piece.len());
        match self.pieces.insert(piece.into(), (id, urgency(score))) {
            None => Ok(()),
            Some((other, _)) => {
                Err(TokenizerError::invalid(format!("tokens {other} and {id} are spelled alike")))
            }
        }
    }

    /// Names the token for one byte.
    pub(super) fn add_byte(&mut self, byte: u8, id: u32) {
        self.bytes[usize::from(byte)] = Some(id);
    }

    /// Appends the ids of `text` to `ids`; `at_start` when nothing or a special token is before it.
    pub(super) fn encode(&self, text: &str, at_start: bool, ids: &mut Vec<u32>) {
        let mut escaped = String::with_capacity(text.len() + SPACE.len_utf8());
        if self.add_space_prefix && at_start {
            escaped.push(SPACE);
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));

        let bounds: Vec<usize> = escaped.char_indices().map(|(start, c)| start + c.len_utf8()).collect();
        let ends = merge_pairs(&bounds, |start, end| {
            // Bounds the look-up: no piece is longer, however long the text.
            if end - start > self.longest_bytes {
                return None;
            }
            let joined = escaped.get(start..end)?;
            self.pieces.get(joined).map(|&(_, urgency)| urgency)
        });
        let mut start = 0;
        for end in ends {
            let piece = &escaped[start..end];
            match self.pieces.get(piece) {
                Some(&(id, _)) => ids.push(id),
                // Only a single character can be no piece: whatever was joined is one.
                None => {
                    ids.extend(piece.bytes().filter_map(|byte| self.bytes[usize::from(byte)].or(self.unk)))
                }
            }
            start = end;
        }
    }
}

/// Turns a score into an integer of the opposite order.
fn urgency(score: f32) -> u32 {
    // Adding zero makes -0.0 equal to 0.0, which their bits are not.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

/// The byte which a token spelled `<0xNN>` stands for.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || digits.starts_with('+') {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urgency_turns_the_order_of_scores_around() {
        let falling = [f32::INFINITY, 3.5, 1e-20, 0.0, -1e-20, -2.0, f32::NEG_INFINITY];
        assert!(falling.windows(2).all(|w| urgency(w[0]) < urgency(w[1])));
        assert_eq!(urgency(0.0), urgency(-0.0));
    }

    #[test]
    fn byte_tokens_are_two_hex_digits() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0xff>"), Some(255));
        assert_eq!(byte_token("<0x+A>"), None);
        assert_eq!(byte_token("<0x100>"), None);
    }

    #[test]
    fn unknown_characters_become_bytes_or_unk() {
        let mut spm = Spm::new(Some(0), true);
        spm.add_piece("\u{2581}a", 5, -1.0).unwrap();
        spm.add_piece("\u{2581}", 6, -2.0).unwrap();
        spm.add_piece("a", 7, -3.0).unwrap();
        spm.add_byte(0xC3, 8);
        let mut ids = Vec::new();
        spm.encode("a é", true, &mut ids);
        assert_eq!(ids, [5, 6, 8, 0]);
        assert!(spm.add_piece("b", 9, f32::NAN).is_err());
        assert!(spm.add_piece("a", 9, 1.0).is_err());
    }
}
