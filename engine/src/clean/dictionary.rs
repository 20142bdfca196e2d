//! The words a text model knows: those which its tokenizer holds whole. They are the frequent words
//! of its languages, so that what it knows needs no other spelling, and what it does not know is
//! spelled as something that exists or left as it was heard.

use super::align;
use super::words::{fold, is_unspaced};
use std::collections::HashMap;

/// Most bytes by which two spellings of a word differ in length: two letters.
const MOST_BYTES_APART: usize = 4;

/// A set of words that finds the neighbours of one.
#[derive(Default)]
pub struct Dictionary {
    /// The words of one first letter and length in bytes, end to end and sorted.
    shelves: HashMap<(char, usize), String>,
}

impl Dictionary {
    /// The words among `tokens` (as bytes): a space, then letters only.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Dictionary {
        let word = |token: &[u8]| {
            let word = std::str::from_utf8(token.strip_prefix(b" ")?).ok()?;
            let plain = word.chars().all(|c| c.is_alphabetic() && !is_unspaced(c));
            (plain && word.chars().nth(1).is_some()).then(|| fold(word))
        };
        let mut words: Vec<String> = tokens.into_iter().filter_map(word).collect();
        words.sort_unstable();
        words.dedup();
        let mut shelves: HashMap<(char, usize), String> = HashMap::new();
        for word in words {
            if let Some(first) = word.chars().next() {
                *shelves.entry((first, word.len())).or_default() += &word;
            }
        }
        Dictionary { shelves }
    }

    /// Whether it has `word`, which is in lower case.
    pub fn has(&self, word: &str) -> bool {
        let Some(first) = word.chars().next() else { return false };
        let Some(shelf) = self.shelves.get(&(first, word.len())) else { return false };
        let (mut low, mut high) = (0, shelf.len() / word.len());
        while low < high {
            let mid = (low + high) / 2;
            match shelf[mid * word.len()..(mid + 1) * word.len()].cmp(word) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => low = mid + 1,
                std::cmp::Ordering::Greater => high = mid,
            }
        }
        false
    }

    /// The other spellings of `word` that it has: see [`super::align::respelled`].
    pub(super) fn near<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        let first = word.chars().next();
        let lengths = word.len().saturating_sub(MOST_BYTES_APART).max(1)..=word.len() + MOST_BYTES_APART;
        lengths
            .filter_map(move |bytes| Some((self.shelves.get(&(first?, bytes))?, bytes)))
            .flat_map(|(shelf, bytes)| {
                (0..shelf.len() / bytes).map(move |k| &shelf[k * bytes..(k + 1) * bytes])
            })
            .filter(move |known| *known != word && align::respelled(word, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Dictionary {
        Dictionary::new(words.iter().map(|w| w.as_bytes()))
    }

    #[test]
    fn words_are_whole_tokens_behind_a_space() {
        let words =
            of(&[" receive", " Receive", "ceive", " re-do", " x", " 42", " größer", " 我们", " \u{e9}"]);
        for known in ["receive", "größer"] {
            assert!(words.has(known), "{known}");
        }
        for unknown in ["ceive", "re-do", "x", "42", "我们", "é", "", "recieve", "größes"] {
            assert!(!words.has(unknown), "{unknown}");
        }
    }

    #[test]
    fn neighbours_are_spellings_of_the_word() {
        let words =
            of(&[" receive", " received", " deceive", " relieve", " recite", " definitely", " definite"]);
        assert_eq!(words.near("recieve").collect::<Vec<_>>(), ["receive", "relieve"]);
        assert_eq!(words.near("definately").collect::<Vec<_>>(), ["definitely"]);
        assert_eq!(words.near("").count(), 0);
        assert!(words.near("receive").all(|w| w != "receive"));
    }
}
