//! Which other spelling of a word is still the word.

use crate::clean::lexicon::Lexicon;
use crate::clean::spellings::{CONTRACTIONS, SPELLINGS};
use crate::clean::words::Word;
use std::collections::HashSet;

/// Longest word that may be respelled, in bytes and so in characters.
pub(super) const LONGEST: usize = 40;
/// Letters with accents that a respelling may bring in.
pub(super) const ACCENTED: &str = "àâäáãåæçéèêëíìîïñóòôöõøœßúùûüýÿ";
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

    /// Most edits to `word`, 0 for one that stays as it is: see [`crate::clean::fidelity`].
    pub(super) fn most_edits(&self, word: &str) -> u8 {
        let plain = word.chars().all(|c| c.is_alphabetic() || c == '\'');
        match word.chars().filter(|c| *c != '\'').count() {
            _ if word.len() > LONGEST || !plain || self.has(word) => 0,
            0..5 => 0,
            5..8 => 1,
            _ => 2,
        }
    }

    /// Whether `new`, which is within [`Reserved::most_edits`] of `old`, is a spelling of it. All
    /// lower case.
    pub(super) fn respells(&self, old: &[char], new: &[char], edits: u8) -> bool {
        let shorter = old.len().min(new.len());
        if shorter < 5 || new.len() > LONGEST || edits > if shorter >= 8 { 2 } else { 1 } {
            return false;
        }
        let word: String = new.iter().collect();
        let possessive = old.contains(&'\'')
            || word.split_once('\'').is_none_or(|(stem, end)| end == "s" && !self.has(stem));
        word.len() <= LONGEST
            && possessive
            && !self.has(&word)
            && !self.said.contains(&word)
            && !inflects(old, new)
    }

    /// Whether a word may be parted here by a hyphen.
    pub(super) fn parts(&self, head: &[char], tail: &[char]) -> bool {
        let free = |part: &[char]| part.len() > 1 && !self.has(&part.iter().collect::<String>());
        free(head) && free(tail)
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
