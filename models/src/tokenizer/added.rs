//! Tokens which are found in the text by their spelling before anything else looks at it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// A stretch of text, or a token found in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    Text(Range<usize>),
    Token(u32),
}

/// A set of spellings, searched longest first as llama.cpp does: a longer token takes its place
/// wherever it stands in the text, shorter ones share what is left, from left to right.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    by_len_bytes: BTreeMap<usize, Spellings>,
    first_bytes: ByteSet,
}

/// The spellings of one length.
#[derive(Debug, Default)]
struct Spellings {
    ids: HashMap<Box<[u8]>, u32>,
    first_bytes: ByteSet,
}

#[derive(Debug, Default, Clone, Copy)]
struct ByteSet([u128; 2]);

impl ByteSet {
    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 7)] |= 1 << (byte & 127);
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 7)] >> (byte & 127) & 1 == 1
    }
}

impl AddedTokens {
    /// Adds a spelling; an empty one and one already there are ignored.
    pub(super) fn insert(&mut self, spelling: &str, id: u32) {
        let Some(&first) = spelling.as_bytes().first() else {
            return;
        };
        self.first_bytes.insert(first);
        let class = self.by_len_bytes.entry(spelling.len()).or_default();
        class.first_bytes.insert(first);
        class.ids.entry(spelling.as_bytes().into()).or_insert(id);
    }

    /// Cuts `text` into tokens of this set and the stretches between them, in order, none empty.
    pub(super) fn split(&self, text: &str) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut done = 0;
        for (start, len_bytes, id) in self.find(text.as_bytes()) {
            if start > done {
                stretches.push(Stretch::Text(done..start));
            }
            stretches.push(Stretch::Token(id));
            done = start + len_bytes;
        }
        if done < text.len() {
            stretches.push(Stretch::Text(done..text.len()));
        }
        stretches
    }

    /// The tokens of the text as (start, length in bytes, id), by start, never overlapping.
    fn find(&self, text: &[u8]) -> Vec<(usize, usize, u32)> {
        // Only places whose byte can begin a token are looked at, once for every token length.
        let places: Vec<usize> = text
            .iter()
            .enumerate()
            .filter(|&(_, &byte)| self.first_bytes.contains(byte))
            .map(|(place, _)| place)
            .collect();
        if places.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut taken = vec![false; text.len()];
        for (&len_bytes, class) in self.by_len_bytes.iter().rev() {
            for &start in &places {
                let end = start + len_bytes;
                // What is taken already is at least this long, so it covers one of the two ends
                // of any place it overlaps.
                if end > text.len()
                    || taken[start]
                    || taken[end - 1]
                    || !class.first_bytes.contains(text[start])
                {
                    continue;
                }
                if let Some(&id) = class.ids.get(&text[start..end]) {
                    taken[start..end].fill(true);
                    found.push((start, len_bytes, id));
                }
            }
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{AddedTokens, Stretch};

    fn split(tokens: &[&str], text: &str) -> Vec<String> {
        let mut added = AddedTokens::default();
        for (id, token) in tokens.iter().enumerate() {
            added.insert(token, id as u32);
        }
        let stretches = added.split(text).into_iter();
        let shown = stretches.map(|stretch| match stretch {
            Stretch::Text(range) => text[range].to_owned(),
            Stretch::Token(id) => format!("#{id}"),
        });
        shown.collect()
    }

    #[test]
    fn longest_first_then_left_to_right() {
        let runs = ["\n", "\n\n", "\n\n\n"];
        assert_eq!(split(&runs, "a\n\n\n\n\nb"), ["a", "#2", "#1", "b"]);
        // The longer token wins although the shorter one begins earlier.
        assert_eq!(split(&["ab", "bcd"], "abcd"), ["a", "#1"]);
        assert_eq!(split(&["<b>", "é"], "é<b>é<b"), ["#1", "#0", "#1", "<b"]);
        assert_eq!(split(&["", "x"], ""), Vec::<String>::new());
        assert_eq!(split(&[], "x"), ["x"]);
    }
}
