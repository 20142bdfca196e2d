//! The words a text model knows: those which its tokenizer holds whole. They are the frequent words
//! of its languages, so that what it knows needs no other spelling, and what it does not know is
//! spelled as something that exists or left as it was heard.

use super::align;
use super::words::{fold, is_unspaced};
use std::collections::BTreeMap;
use std::ops::Range;

/// A set of words that finds the neighbours of one.
pub struct Dictionary {
    /// Its words, sorted, end to end.
    text: String,
    /// Where each is.
    spans: Vec<Range<u32>>,
    /// Words most often written with capitals within ("NASA", "iPhone"), by the same in lower case.
    styles: BTreeMap<String, String>,
}

impl Dictionary {
    /// The words among `tokens` (as bytes, the most frequent first, as tokenizers number them): a space, then
    /// letters only.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Dictionary {
        let word = |token: &'a [u8]| {
            let word = std::str::from_utf8(token.strip_prefix(b" ")?).ok()?;
            let plain = word.chars().all(|c| c.is_alphabetic() && !is_unspaced(c));
            (plain && word.chars().nth(1).is_some()).then(|| (fold(word), word))
        };
        let mut words: BTreeMap<String, &str> = BTreeMap::new();
        for (folded, word) in tokens.into_iter().filter_map(word) {
            words.entry(folded).or_insert(word);
        }
        let (mut text, mut spans) = (String::new(), Vec::with_capacity(words.len()));
        let mut styles = BTreeMap::new();
        for (folded, word) in words {
            let start = text.len() as u32;
            text += &folded;
            spans.push(start..text.len() as u32);
            if word.chars().skip(1).any(char::is_uppercase) {
                styles.insert(folded, word.to_string());
            }
        }
        Dictionary { text, spans, styles }
    }

    /// `word`, which is in lower case, as it is most often written, if that has capitals within.
    pub fn style(&self, word: &str) -> Option<&str> {
        self.styles.get(word).map(String::as_str)
    }

    fn word(&self, span: &Range<u32>) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }

    /// Whether it has `word`, which is in lower case.
    pub fn has(&self, word: &str) -> bool {
        self.spans.binary_search_by(|span| self.word(span).cmp(word)).is_ok()
    }

    /// The other spellings of `word` that it has: see [`super::align::respelled`], by which they begin
    /// with the same letter.
    pub(super) fn near<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        let first = word.chars().next();
        let from = self.spans.partition_point(|span| self.word(span).chars().next() < first);
        self.spans[from..]
            .iter()
            .map(|span| self.word(span))
            .take_while(move |known: &&str| known.chars().next() == first)
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
    fn the_most_frequent_spelling_is_the_style() {
        let words = of(&[" NASA", " nasa", " us", " US", " iPhone", " The", " THE"]);
        assert_eq!(
            ["nasa", "us", "iphone", "the", "none"].map(|w| words.style(w)),
            [Some("NASA"), None, Some("iPhone"), None, None]
        );
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
