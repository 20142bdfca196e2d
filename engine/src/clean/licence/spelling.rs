//! Which other spelling of a word is still the word.

use crate::clean::align;
use crate::clean::dictionary::Dictionary;
use crate::clean::lexicon::Lexicon;
use crate::clean::spellings::{CONTRACTIONS, SPELLINGS};
use crate::clean::words::Word;
use std::collections::HashSet;

/// Longest word that may be respelled, in bytes.
const LONGEST: usize = 40;
/// Two words with the same beginning and these ends are two forms of one word, or two words.
const ENDINGS: &[&str] = &[
    "", "s", "es", "ed", "d", "ing", "ly", "er", "ers", "r", "rs", "y", "ies", "ied", "ily", "e", "en", "an",
    "n", "is", "est", "st", "or", "t", "al", "ion", "ism", "ist", "th", "ty", "ry",
];

/// Words with a meaning of their own in the checks: nothing is respelled to or from one.
pub(super) struct Reserved {
    listed: HashSet<&'static str>,
    /// The words of the transcript: none becomes another.
    said: HashSet<String>,
}

impl Reserved {
    pub(super) fn new(words: &[Word], lex: &Lexicon) -> Reserved {
        let lists = [lex.fillers, lex.negations, lex.light, lex.function, lex.doublings, lex.interrogatives];
        let numbers = lex.numbers.iter().chain(lex.ordinals).map(|n| n.0);
        let spelled = SPELLINGS.iter().chain(CONTRACTIONS).map(|s| s.0);
        Reserved {
            listed: lists.into_iter().flatten().copied().chain(numbers).chain(spelled).collect(),
            said: words.iter().filter(|w| w.norm.len() <= LONGEST).map(|w| w.norm.clone()).collect(),
        }
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.listed.contains(word)
    }

    /// The other ways to spell `word`, a content word in lower case. One that the dictionary has keeps
    /// its letters; of others only the neighbours that it has are spellings. Apostrophes come and go.
    pub(super) fn spellings(&self, word: &str, known: &Dictionary) -> Vec<String> {
        let mut out = match word.strip_suffix("'s") {
            Some(stem) => vec![format!("{stem}s")],
            None => word.strip_suffix('s').map(|stem| format!("{stem}'s")).into_iter().collect(),
        };
        if !known.has(word) {
            out.extend(known.near(word).map(String::from));
        }
        out.retain(|new| self.respells(word, new));
        out
    }

    /// Whether `new`, which is near `old`, is that word and no other.
    fn respells(&self, old: &str, new: &str) -> bool {
        let chars = |w: &str| w.chars().collect::<Vec<char>>();
        let possessive = old.contains('\'') || new.strip_suffix("'s").is_none_or(|stem| !self.has(stem));
        align::respelled(old, new)
            && possessive
            && !self.has(new)
            && !self.said.contains(new)
            && !inflects(&chars(old), &chars(new))
    }

    /// `word`, which the dictionary does not have, parted by a hyphen into two words that it has.
    pub(super) fn partings(&self, word: &str, known: &Dictionary) -> Vec<String> {
        let free = |part: &str| !known.has(word) && known.has(part) && !self.has(part);
        let split = |(at, _)| word.split_at(at);
        let parts = word.char_indices().map(split).filter(|(head, tail)| free(head) && free(tail));
        parts.map(|(head, tail)| format!("{head}-{tail}")).collect()
    }
}

/// Whether two different words differ in their ends only.
fn inflects(a: &[char], b: &[char]) -> bool {
    let bare = |w: &[char]| w.iter().copied().filter(|c| *c != '\'').collect::<Vec<char>>();
    let (a, b) = (bare(a), bare(b));
    let most = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let ending = |w: &[char]| ENDINGS.contains(&w.iter().collect::<String>().as_str());
    let one = |k: usize| {
        matches!((a[k..].first(), b[k..].first()), (Some('e'), Some('o')) | (Some('o'), Some('e')))
    };
    a != b && (most.saturating_sub(1)..=most).any(|k| ending(&a[k..]) && ending(&b[k..]) && !one(k))
}
