//! An order-preserving alignment of a transcript with its clean-up: which words were kept, and
//! which words of the clean-up come from the transcript.

use super::lexicon::Lexicon;
use super::numbers;
use super::words::{Kind, Word};

/// Beyond this many words on both sides only a band along the diagonal is looked at.
const FULL_WORDS: usize = 400;
/// Half the width of the band.
const BAND_WORDS: usize = 200;
/// Longest spelling-out that is joined ("h t t p").
const JOIN_WORDS: usize = 12;
const FAR: u32 = u32::MAX / 2;

/// What became of each word.
pub(super) struct Alignment {
    /// For each transcript word: it is in the clean-up.
    pub(super) kept: Vec<bool>,
    /// For each clean-up word: the transcript has it.
    pub(super) licensed: Vec<bool>,
    /// Words that are spelled differently.
    pub(super) respelled: usize,
}

/// The cheapest alignment; among equals the one that keeps the later of two repeated words. Time
/// and memory are bounded by the product of the lengths, or for long texts by length times band.
pub(super) fn align(raw: &[Word], cleaned: &[Word], lex: &Lexicon) -> Alignment {
    let grid = Grid::fill(raw, cleaned, lex);
    let mut out =
        Alignment { kept: vec![false; raw.len()], licensed: vec![false; cleaned.len()], respelled: 0 };
    let (mut i, mut j) = (raw.len(), cleaned.len());
    while i > 0 || j > 0 {
        let (di, dj) = match grid.step(i, j) {
            (0, 0) if i > 0 => (1, 0),
            (0, 0) => (0, 1),
            step => step,
        };
        if di > 0 && dj > 0 {
            out.kept[i - di..i].fill(true);
            out.licensed[j - dj..j].fill(true);
            if di == 1 && dj == 1 && raw[i - 1].norm != cleaned[j - 1].norm {
                out.respelled += 1;
            }
        }
        (i, j) = (i - di, j - dj);
    }
    out
}

struct Grid {
    raw_words: usize,
    cleaned_words: usize,
    half: usize,
    /// One byte a cell: words taken of the transcript (high half) and of the clean-up (low half).
    steps: Vec<u8>,
}

impl Grid {
    fn fill(raw: &[Word], cleaned: &[Word], lex: &Lexicon) -> Grid {
        let (n, m) = (raw.len(), cleaned.len());
        let half = if n.max(m) <= FULL_WORDS { FULL_WORDS } else { BAND_WORDS }.min(m + 1);
        let width = 2 * half + 1;
        let mut grid = Grid { raw_words: n, cleaned_words: m, half, steps: vec![0; (n + 1) * width] };
        let mut cost = vec![FAR; (n + 1) * width];
        let drop: Vec<u32> = raw.iter().map(|w| drop_cost(w, lex)).collect();
        let add: Vec<u32> = cleaned.iter().map(|w| add_cost(w, lex)).collect();
        for i in 0..=n {
            let base = grid.base(i);
            for j in base..(base + width).min(m + 1) {
                let at = |i: usize, j: usize| grid.cell(i, j).map_or(FAR, |c| cost[c]);
                let (mut best, mut step) = if i == 0 && j == 0 { (0, (0, 0)) } else { (FAR, (0, 0)) };
                let mut consider = |c: u32, di: usize, dj: usize| {
                    let total = at(i - di, j - dj).saturating_add(c);
                    if total < best {
                        (best, step) = (total, (di, dj));
                    }
                };
                if i > 0 && j > 0 {
                    if let Some(c) = alike(&raw[i - 1], &cleaned[j - 1]) {
                        consider(c, 1, 1);
                    }
                    if let Some(k) = joined(&raw[..i], &cleaned[j - 1]) {
                        consider(1, k, 1);
                    }
                    if let Some(k) = joined(&cleaned[..j], &raw[i - 1]) {
                        consider(1, 1, k);
                    }
                }
                if i > 0 {
                    consider(drop[i - 1], 1, 0);
                }
                if j > 0 {
                    consider(add[j - 1], 0, 1);
                }
                if let Some(c) = grid.cell(i, j) {
                    cost[c] = best;
                    grid.steps[c] = (step.0 << 4 | step.1) as u8;
                }
            }
        }
        grid
    }

    /// First clean-up position of a row.
    fn base(&self, i: usize) -> usize {
        (i * self.cleaned_words / self.raw_words.max(1)).saturating_sub(self.half)
    }

    fn cell(&self, i: usize, j: usize) -> Option<usize> {
        let width = 2 * self.half + 1;
        let column = j.checked_sub(self.base(i))?;
        (column < width).then_some(i * width + column)
    }

    fn step(&self, i: usize, j: usize) -> (usize, usize) {
        let step = self.cell(i, j).map_or(0, |c| self.steps[c]);
        (usize::from(step >> 4), usize::from(step & 15))
    }
}

fn drop_cost(word: &Word, lex: &Lexicon) -> u32 {
    match word.kind {
        Kind::Filler => 1,
        Kind::Function if lex.light.contains(&word.norm.as_str()) => 3,
        Kind::Function => 4,
        _ => 6,
    }
}

fn add_cost(word: &Word, lex: &Lexicon) -> u32 {
    if lex.light.contains(&word.norm.as_str()) { 4 } else { 9 }
}

/// The cost of taking one word for the other, if they are one.
pub(super) fn alike(a: &Word, b: &Word) -> Option<u32> {
    if a.norm == b.norm {
        return Some(0);
    }
    (a.kind == Kind::Content && b.kind == Kind::Content && respelled(&a.norm, &b.norm)).then_some(3)
}

/// Whether two content words are spellings of one: the same first letter, and one edit in five to
/// seven letters or two in eight and more. Shorter words differ in meaning by one letter.
pub(super) fn respelled(a: &str, b: &str) -> bool {
    if a.len() > 40 || b.len() > 40 || a.len().min(b.len()) < 5 || a.len().abs_diff(b.len()) > 4 {
        return false;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let length = a.len().min(b.len());
    let limit = if length >= 8 { 2 } else { 1 };
    let plain = |w: &[char]| w.iter().all(|c| c.is_alphabetic() || *c == '\'');
    length >= 5 && a[0] == b[0] && plain(&a) && plain(&b) && edits(&a, &b) <= limit
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn edits(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut cost = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let at = i * width + j;
            cost[at] = if i == 0 || j == 0 {
                i + j
            } else {
                let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swap { cost[at - 2 * width - 2] + 1 } else { usize::MAX };
                let replaced = cost[at - width - 1] + usize::from(a[i - 1] != b[j - 1]);
                swapped.min(replaced).min(cost[at - width] + 1).min(cost[at - 1] + 1)
            };
        }
    }
    cost[a.len() * width + b.len()]
}

/// How many of the last words of `parts` make up `whole` ("web site", "one two three").
fn joined(parts: &[Word], whole: &Word) -> Option<usize> {
    let mut rest = whole.norm.as_str();
    let number = whole.kind == Kind::Number;
    for (k, part) in parts.iter().rev().take(JOIN_WORDS).enumerate() {
        let mixed = (part.kind == Kind::Number) != number || part.kind == Kind::Negation;
        if mixed || k > 0 && part.pause_after && number {
            return None;
        }
        rest = rest.strip_suffix(part.norm.as_str())?;
        if rest.is_empty() {
            let used: Vec<&str> = parts[parts.len() - k - 1..].iter().map(|w| w.norm.as_str()).collect();
            return (k > 0 && (!number || numbers::same(&used, &whole.norm))).then_some(k + 1);
        }
    }
    None
}
