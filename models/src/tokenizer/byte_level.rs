//! GPT-2's byte alphabet: every byte is written as one printable character, so that a BPE
//! vocabulary can be kept as text (the `bytes_to_unicode` table of GPT-2's `encoder.py`).

/// The character which stands for `byte` in a byte-level vocabulary.
///
/// Printable Latin-1 bytes stand for themselves; the 68 others are numbered upwards from U+0100.
pub(super) fn char_of(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        0x00..=0x20 => shifted(byte),
        0x7F..=0xA0 => shifted(byte - 0x7F + 0x21),
        0xAD => shifted(0x43),
    }
}

/// The `n`-th character of the block which stands for the unprintable bytes.
fn shifted(n: u8) -> char {
    char::from_u32(0x100 + u32::from(n)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte which `c` stands for, if it is one of the 256 characters of the alphabet.
pub(super) fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// Writes arbitrary bytes in the alphabet.
pub(super) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char_of(byte)).collect()
}

/// The bytes which a vocabulary entry stands for.
///
/// An entry with a character outside the alphabet (a padding token such as `[PAD１]`, say) was
/// never byte-encoded, so its own UTF-8 is the answer.
pub(super) fn decode(token: &str) -> Vec<u8> {
    token.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255u8 {
            assert!(seen.insert(char_of(byte)));
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(0xAD)), ('Ġ', 'Ċ', 'Ń'));
    }

    #[test]
    fn entries_outside_the_alphabet_keep_their_text() {
        assert_eq!(decode("Ġhé"), b" h\xe9");
        assert_eq!(decode("a b"), b"a b");
        assert_eq!(encode(" hé".as_bytes()), "ĠhÃ©");
    }
}
