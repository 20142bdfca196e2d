//! How much of a transcript may be left out from each word on.

use crate::clean::excuse::{Losses, MARKERS};
use crate::clean::lexicon::Lexicon;
use crate::clean::spellings::DISCOURSE;
use crate::clean::words::{Kind, Word};
use std::collections::HashMap;

/// Most words left out in one go.
const LONGEST_WORDS: usize = 48;
/// How far behind a marker what is left out may go on.
const BEHIND_MARKER_WORDS: usize = 12;
/// Most stretches that are judged, and for each word: a transcript of nothing but markers has too
/// many.
const MOST_JUDGED: usize = 2_000;
const JUDGED_PER_WORD: usize = 8;
const NONE: usize = usize::MAX;

/// Judges stretches of a transcript: the words of [`Losses`] with all others kept.
pub(super) struct Drops<'a> {
    words: &'a [Word],
    lex: &'a Lexicon,
    kept: Vec<bool>,
    /// Words that may go alone.
    soft: Vec<bool>,
    /// Where a marker of a repair begins.
    marker: Vec<bool>,
    /// The same word before and behind each.
    same: Vec<(usize, usize)>,
    /// The first and the last word of what is said in earnest: they go with an excuse only.
    ends: [usize; 2],
    judged: usize,
    lost: Vec<usize>,
}

impl<'a> Drops<'a> {
    pub(super) fn new(words: &'a [Word], lex: &'a Lexicon) -> Drops<'a> {
        let norm = |i: usize| words.get(i).map_or("", |w: &Word| w.norm.as_str());
        let mut same = vec![(NONE, NONE); words.len()];
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (i, word) in words.iter().enumerate() {
            if let Some(before) = last.insert(&word.norm, i) {
                same[before].1 = i;
                same[i].0 = before;
            }
        }
        let soft = |w: &Word| {
            let norm = w.norm.as_str();
            w.kind == Kind::Filler
                || lex.light.contains(&norm)
                || DISCOURSE.contains(&norm)
                || matches!(norm, "you" | "know" | "i" | "mean" | "rather")
                || w.broken
                || norm.chars().count() == 1
        };
        let marks = |i: usize| MARKERS.iter().any(|m| m.iter().enumerate().all(|(k, w)| norm(i + k) == *w));
        let opens = |w: &Word| lex.openers.contains(&w.norm.as_str()) || DISCOURSE.contains(&w.norm.as_str());
        let spoken = |w: &Word| w.kind != Kind::Filler && !opens(w);
        let ends = [words.iter().position(spoken), words.iter().rposition(spoken)];
        Drops {
            words,
            lex,
            kept: vec![true; words.len()],
            soft: words.iter().map(soft).collect(),
            marker: (0..words.len()).map(marks).collect(),
            same,
            ends: ends.map(|at| at.unwrap_or(NONE)),
            judged: 0,
            lost: Vec::new(),
        }
    }

    /// The ends of the stretches from word `from` that may be left out, and how many harmless words
    /// of each nothing excuses: at most `most`.
    pub(super) fn from(&mut self, from: usize, most: usize) -> Vec<(usize, usize)> {
        let mut out = Vec::new();
        let (mut soft, mut marker) = (true, NONE);
        let before = self.spoken((0..from).rev());
        for to in from + 1..=self.words.len().min(from + LONGEST_WORDS) {
            soft &= self.soft[to - 1];
            if self.marker[to - 1] {
                marker = to - 1;
            }
            let behind = self.spoken(to..self.words.len());
            let repeats = self.same.get(behind).is_some_and(|s| s.0 != NONE && s.0 >= from)
                || self.same.get(before).is_some_and(|s| s.1 < to);
            let repairs = marker != NONE && to - marker <= BEHIND_MARKER_WORDS;
            if (soft || repeats || repairs || self.restarts(from, to) || self.norm(to - 1) == "or")
                && self.judged < MOST_JUDGED + from * JUDGED_PER_WORD
                && let Some(cost) = self.cost(from, to).filter(|c| *c <= most)
                && (cost == 0 || !self.ends.iter().any(|end| self.lost.contains(end)))
                && self.unambiguous(from, to)
            {
                out.push((to, cost));
            }
        }
        out
    }

    fn norm(&self, i: usize) -> &str {
        self.words.get(i).map_or("", |w| w.norm.as_str())
    }

    /// The first of a few words that is not hesitation.
    fn spoken(&self, mut range: impl Iterator<Item = usize>) -> usize {
        range.by_ref().take(LONGEST_WORDS).find(|&i| self.words[i].kind != Kind::Filler).unwrap_or(NONE)
    }

    fn restarts(&self, from: usize, to: usize) -> bool {
        let asks = |i: usize| self.lex.interrogatives.contains(&self.norm(i));
        to - from <= 7 && asks(from) && asks(to)
    }

    /// When the word before is said again in what is left out, a reader takes it for the later one:
    /// then that reading must be as good.
    fn unambiguous(&mut self, from: usize, to: usize) -> bool {
        let Some(before) = from.checked_sub(1) else { return true };
        let Some(later) = (from..to).rev().find(|&i| self.norm(i) == self.norm(before)) else { return true };
        self.cost(before, later).is_some() && (later + 1 == to || self.cost(later + 1, to).is_some())
    }

    fn cost(&mut self, from: usize, to: usize) -> Option<usize> {
        self.judged += 1;
        self.kept[from..to].fill(false);
        self.lost.clear();
        let losses = Losses { raw: self.words, kept: &self.kept, lex: self.lex };
        losses.run(from, to, &mut self.lost);
        self.kept[from..to].fill(true);
        let light = |i: &usize| {
            let word = &self.words[*i];
            !matches!(word.kind, Kind::Number | Kind::Negation)
                && self.lex.light.contains(&word.norm.as_str())
        };
        self.lost.iter().all(light).then_some(self.lost.len())
    }
}
