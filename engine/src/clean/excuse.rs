//! What may vanish from a transcript: fillers, repeats, and what a speaker took back in so many
//! words ("on Tuesday, no wait, on Wednesday").

use super::lexicon::Lexicon;
use super::spellings::DISCOURSE;
use super::words::{Kind, Word};

/// Ways to take back what was just said; longer ones first.
pub(super) const MARKERS: &[&[&str]] = &[
    &["no", "wait", "a", "minute"],
    &["let", "me", "rephrase"],
    &["i", "take", "that", "back"],
    &["i", "meant", "to", "say"],
    &["no", "scratch", "that"],
    &["scratch", "that"],
    &["strike", "that"],
    &["scrap", "that"],
    &["disregard", "that"],
    &["no", "make", "that"],
    &["or", "make", "that"],
    &["or", "better"],
    &["no", "better", "yet"],
    &["make", "that"],
    &["make", "it"],
    &["no", "wait"],
    &["wait", "no"],
    &["oh", "wait"],
    &["no", "no"],
    &["no", "sorry"],
    &["sorry", "no"],
    &["oh", "no"],
    &["oh", "sorry"],
    &["no", "actually"],
    &["actually", "no"],
    &["or", "actually"],
    &["well", "actually"],
    &["or", "no"],
    &["no", "not"],
    &["or", "rather"],
    &["but", "rather"],
    &["no", "rather"],
    &["i", "mean"],
    &["i", "meant"],
    &["excuse", "me"],
    &["pardon", "me"],
    &["hang", "on"],
    &["hold", "on"],
    &["my", "mistake"],
    &["correction"],
    &["oops"],
    &["whoops"],
    &["whoa"],
    &["sorry"],
    &["rather"],
    &["actually"],
    &["wait"],
    &["no"],
];
/// Longest phrase that is looked for as a repeat of itself.
const LONGEST_REPEAT: usize = 12;
/// How far off, fillers included, a repeat or the word of a fragment is looked for.
const NEAR_WORDS: usize = 64;
/// Most content words one repair takes back.
const REPAIR_WORDS: usize = 8;
/// Most when nothing after the marker resumes what was before it.
const LOOSE_REPAIR_WORDS: usize = 5;

/// The words of a transcript and which of them are in the clean-up.
pub(super) struct Losses<'a> {
    /// The transcript.
    pub(super) raw: &'a [Word],
    /// For each word: it is in the clean-up.
    pub(super) kept: &'a [bool],
    /// Its language's lists.
    pub(super) lex: &'a Lexicon,
}

impl Losses<'_> {
    /// Indices of lost words that nothing excuses; harmless function words are among them.
    pub(super) fn unexcused(&self) -> Vec<usize> {
        let mut out = Vec::new();
        let mut from = 0;
        while from < self.raw.len() {
            if self.kept[from] {
                from += 1;
                continue;
            }
            let to = (from..self.raw.len()).find(|&i| self.kept[i]).unwrap_or(self.raw.len());
            self.run(from, to, &mut out);
            from = to;
        }
        out
    }

    fn norm(&self, i: usize) -> &str {
        self.raw.get(i).map_or("", |w| w.norm.as_str())
    }

    fn is_filler(&self, i: usize) -> bool {
        self.raw.get(i).is_some_and(|w| w.kind == Kind::Filler)
    }

    fn pause_before(&self, i: usize) -> bool {
        i == 0 || self.raw[i - 1].pause_after || self.is_filler(i - 1) || self.raw[i - 1].broken
    }

    fn pause_after(&self, i: usize) -> bool {
        self.raw.get(i).is_none_or(|w| w.pause_after) || self.is_filler(i + 1)
    }

    /// Judges the lost words `from..to`, before and behind which words are kept: adds to `out` those
    /// that nothing excuses.
    pub(super) fn run(&self, from: usize, to: usize, out: &mut Vec<usize>) {
        let mut left: Vec<usize> = (from..to).filter(|&i| !self.is_filler(i)).collect();
        if let Some((start, end)) = self.marker(from, to) {
            let resumed = self.resumed(from, start, to);
            left.retain(|&i| i < resumed || i >= end);
        }
        // "the UK's, or the city's rather": the marker comes last.
        if self.norm(to.wrapping_sub(1)) == "or"
            && (to..to + 8).any(|i| self.norm(i) == "rather" && !self.lost_kept(i))
        {
            left.retain(|&i| self.raw[i].kind == Kind::Negation || i + 1 + LOOSE_REPAIR_WORDS < to);
        }
        if self.is_question_restart(from, to) {
            return;
        }
        left.retain(|&i| !self.is_discourse(i, from, to) && !self.is_fragment(i) && !self.closes_repair(i));
        out.extend(self.unrepeated(&left, from, to));
    }

    /// "When was no how long has ...": a question begun, without content yet, and begun anew.
    fn is_question_restart(&self, from: usize, to: usize) -> bool {
        let begins = from == 0 || self.raw[from - 1].sentence_end || self.raw[from - 1].pause_after;
        let asks = |i: usize| self.lex.interrogatives.contains(&self.norm(i));
        let bare = |i: usize| {
            let light = matches!(self.raw[i].kind, Kind::Function | Kind::Filler);
            !self.raw[i].sentence_end
                && (light || matches!(self.norm(i), "no" | "sorry" | "wait" | "oh" | "like"))
        };
        let noes = (from..to).filter(|&i| self.raw[i].kind == Kind::Negation).count();
        // "What is" is one question.
        let broken_off = to - from > 1 || self.pause_after(from);
        begins && broken_off && to - from <= 7 && noes <= 1 && asks(from) && asks(to) && (from..to).all(bare)
    }

    /// The "rather" of "no, in the 1600s rather" once what came before the "no" is gone.
    fn closes_repair(&self, i: usize) -> bool {
        let back = i.saturating_sub(10)..i;
        self.norm(i) == "rather"
            && self.raw[i].sentence_end
            && back.rev().any(|k| matches!(self.norm(k), "no" | "or" | "sorry") && !self.kept[k])
    }

    fn lost_kept(&self, i: usize) -> bool {
        self.kept.get(i).copied().unwrap_or(true)
    }

    /// The last marker within `from..to`: its start and end.
    fn marker(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        if to == self.raw.len() {
            return None;
        }
        (from..to).rev().find_map(|start| {
            let found = MARKERS.iter().find(|m| {
                start + m.len() <= to
                    && m.iter().enumerate().all(|(k, w)| self.norm(start + k) == *w)
                    && self.takes_back(m, start)
            })?;
            // Alone it takes nothing back: it may be part of what is said.
            let interjection = matches!(found, ["oops" | "whoops" | "whoa"] | ["oh", _]);
            if !interjection && (from..start).all(|i| self.is_filler(i)) {
                return None;
            }
            let widest = (from..start).rev().take_while(|&i| self.is_marker_word(i)).last().unwrap_or(start);
            Some((widest, start + found.len()))
        })
    }

    fn is_marker_word(&self, i: usize) -> bool {
        self.is_filler(i)
            || matches!(self.norm(i), "no" | "oh" | "wait" | "sorry" | "or" | "actually" | "i" | "mean")
    }

    /// Whether words that may be a marker are one where they stand.
    fn takes_back(&self, marker: &[&str], start: usize) -> bool {
        let before = if start == 0 { "" } else { self.norm(start - 1) };
        let after = self.norm(start + marker.len());
        let apart = start > 0 && self.pause_before(start);
        match marker {
            ["sorry"] => {
                !matches!(
                    before,
                    "am" | "are" | "is" | "was" | "were" | "so" | "very" | "feel" | "be" | "say" | "i"
                ) && (self.pause_after(start)
                    || !matches!(after, "about" | "for" | "that" | "to" | "if" | "but"))
            }
            ["rather"] => {
                !matches!(before, "would" | "should" | "much" | "is" | "was" | "had" | "a") && after != "than"
            }
            ["i", "mean" | "meant"] => {
                !matches!(before, "what" | "know" | "see" | "that" | "which" | "when" | "if")
            }
            ["no"] => apart && (self.pause_after(start) || self.is_filler(start - 1)),
            ["actually" | "wait"] => apart,
            ["make", _] => apart,
            ["hang" | "hold", _] | ["excuse", _] => apart,
            ["no", "not"] => apart,
            _ => true,
        }
    }

    /// Where the part that a repair takes back begins: `start` if it takes back nothing.
    fn resumed(&self, from: usize, start: usize, to: usize) -> usize {
        // Only the sentence at hand; the marker may stand in one of its own ("Tuesday. No wait, ...").
        let last = start.saturating_sub(1);
        let sentence = (from..last).rev().find(|&i| self.raw[i].sentence_end).map_or(from, |i| i + 1);
        let parallel = (sentence..start).find(|&i| self.norm(i) == self.norm(to));
        let begin = parallel.unwrap_or(sentence);
        let content =
            (begin..start).filter(|&i| !matches!(self.raw[i].kind, Kind::Function | Kind::Filler)).count();
        let limit = if parallel.is_some() { REPAIR_WORDS } else { LOOSE_REPAIR_WORDS };
        if content <= limit { begin } else { start }
    }

    /// "well", "you know", ... when set apart.
    fn is_discourse(&self, i: usize, from: usize, to: usize) -> bool {
        let pair = |a: usize| {
            matches!((self.norm(a), self.norm(a + 1)), ("you", "know") | ("i", "mean"))
                && a >= from
                && a + 1 < to
                && (self.pause_before(a) || self.pause_after(a + 1))
        };
        let apart = self.pause_before(i) && (self.pause_after(i) || i == 0);
        DISCOURSE.contains(&self.norm(i)) && apart || pair(i) || i > 0 && pair(i - 1)
    }

    /// The start of the next word ("th- the", "w w what").
    fn is_fragment(&self, i: usize) -> bool {
        let word = &self.raw[i];
        let next = (i + 1..self.raw.len().min(i + NEAR_WORDS))
            .find(|&k| !self.is_filler(k) && self.raw[k].norm != word.norm);
        let begins = next.is_some_and(|k| self.norm(k).starts_with(word.norm.as_str()));
        word.kind != Kind::Number
            && begins
            && (word.broken || word.norm.chars().count() == 1 && word.norm != "a" && word.norm != "i")
    }

    /// The lost words but those that are said again right after, or were said right before: phrase
    /// by phrase, as in "we we could, we could try".
    fn unrepeated<'b>(&self, left: &'b [usize], from: usize, to: usize) -> &'b [usize] {
        // "can't not" says more than "can't".
        let within = |i: usize| i > 0 && self.raw[i - 1].span == self.raw[i].span;
        let as_strong = |a: usize, b: usize| self.raw[a].kind != Kind::Negation || within(a) == within(b);
        let same = |a: usize, b: usize| self.norm(a) == self.norm(b) && as_strong(a, b);
        // With nothing but hesitation between.
        let words = |i: &usize| !self.is_filler(*i);
        let after: Vec<usize> =
            (to..self.raw.len()).take(NEAR_WORDS).filter(words).take(LONGEST_REPEAT).collect();
        let before: Vec<usize> =
            (0..from).rev().take(NEAR_WORDS).filter(words).take(LONGEST_REPEAT).collect();
        let mut rest = left;
        while !rest.is_empty() {
            let behind = (1..=after.len().min(rest.len())).find(|&n| {
                let copy = &rest[rest.len() - n..];
                self.may_repeat(copy) && copy.iter().zip(&after).all(|(&a, &b)| same(a, b))
            });
            let ahead = (1..=before.len().min(rest.len())).find(|&n| {
                let copy = &rest[..n];
                self.may_repeat(copy) && copy.iter().rev().zip(&before).all(|(&a, &b)| same(a, b))
            });
            rest = match (behind, ahead) {
                (Some(n), _) => &rest[..rest.len() - n],
                (None, Some(n)) => &rest[n..],
                (None, None) => break,
            };
        }
        rest
    }

    /// "5 5 1 2" is a number: digits alone are never a repeat.
    fn may_repeat(&self, copy: &[usize]) -> bool {
        let has = |k: Kind| copy.iter().any(|&i| self.raw[i].kind == k);
        !has(Kind::Number) || has(Kind::Content)
    }
}
