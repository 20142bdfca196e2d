//! Numbers by value, whether spoken ("one hundred forty seven") or written ("147", "1,250", "3.5").
//! Values are decimal digits in a string: no size of number is too large.

use super::lexicon::{self, Lexicon};
use super::words::{self, Kind, Word};

/// The values of all numbers in `text`, sorted: "twenty five" is "25", "nineteen ninety" is "19" and
/// "90" as is "19:90" (see [`same`] for when such parts are one number).
pub fn values(text: &str, lang: &str) -> Vec<String> {
    let mut all: Vec<String> =
        words::words(text, lang).into_iter().filter(|w| w.kind == Kind::Number).map(|w| w.norm).collect();
    all.sort();
    all
}

/// Whether numbers spoken one after the other are the one number `whole`: digits spelled out ("one
/// two three" is 123), or a year or time in pairs ("nineteen ninety" is 1990, "eleven o six" 1106).
pub fn same(parts: &[&str], whole: &str) -> bool {
    if parts.iter().map(|p| p.len()).sum::<usize>() != whole.len() {
        return false;
    }
    let mut rest = whole;
    for part in parts {
        let Some(r) = rest.strip_prefix(part) else { return false };
        rest = r;
    }
    match parts {
        [_] => true,
        // "two three" may be "two or three": only a longer spelling is surely one number.
        [a, b] => matches!(a.parse(), Ok(10..=20)) && b.len() == 2,
        _ => parts.iter().all(|p| p.len() <= 2) || whole.len() >= 7,
    }
}

/// A written number ("1,250", "3.5", "23rd", "225.55.0.40") as its values.
pub(super) fn written(text: &str, english: bool) -> Vec<String> {
    let text = text.trim_end_matches(|c: char| c.is_alphabetic());
    let marks = text.chars().filter(|c| !c.is_ascii_digit()).count();
    let parts: Vec<&str> = text.split(['.', ',']).collect();
    let grouped = marks > 0
        && parts.iter().skip(1).all(|p| p.len() == 3)
        && parts.first().is_some_and(|p| p.len() <= 3);
    let one_mark = |m: char| text.chars().all(|c| c.is_ascii_digit() || c == m);
    let thousands = if english { ',' } else { '.' };
    if marks == 0 {
        vec![text.to_string()]
    } else if grouped && one_mark(thousands) {
        vec![parts.concat()]
    } else if let (true, Some((whole, fraction))) = (english, text.rsplit_once('.'))
        && !whole.contains('.')
    {
        vec![format!("{}.{fraction}", whole.replace(',', ""))]
    } else if let [whole, fraction] = parts[..] {
        vec![format!("{whole}.{fraction}")]
    } else {
        parts.iter().map(|p| (*p).to_string()).collect()
    }
}

/// Replaces runs of number words by their values.
pub(super) fn merge(words: Vec<Word>, lex: &Lexicon) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::with_capacity(words.len());
    let mut i = 0;
    while i < words.len() {
        let run = Run { words: &words[i..], lex, follows: out.last().is_some_and(follows) };
        match run.number() {
            Some((values, used)) if used > 0 => {
                let (first, last) = (&words[i], &words[i + used - 1]);
                for value in values {
                    let span = first.span.start..last.span.end;
                    out.push(Word { span, norm: value, kind: Kind::Number, ..last.clone() });
                }
                i += used;
            }
            _ => {
                out.push(words[i].clone());
                i += 1;
            }
        }
    }
    out
}

fn follows(word: &Word) -> bool {
    word.kind == Kind::Number && !word.pause_after
}

/// Words from here on, read as a number.
struct Run<'a> {
    words: &'a [Word],
    lex: &'a Lexicon,
    /// A number stands right before.
    follows: bool,
}

impl Run<'_> {
    fn value(&self, i: usize) -> Option<u64> {
        let word = self.words.get(i)?;
        self.lex.numbers.iter().find(|n| n.0 == word.norm).map(|n| n.1)
    }

    fn rank(&self, i: usize) -> Option<u64> {
        let word = self.words.get(i)?;
        self.lex.ordinals.iter().find(|n| n.0 == word.norm).map(|n| n.1)
    }

    fn is(&self, i: usize, what: &[&str]) -> bool {
        self.words.get(i).is_some_and(|w| what.contains(&w.norm.as_str()))
    }

    fn pause_before(&self, i: usize) -> bool {
        i > 0 && self.words.get(i - 1).is_some_and(|w| w.pause_after)
    }

    /// A single digit in words ("five", "o") or digits.
    fn digit(&self, i: usize) -> Option<String> {
        match self.value(i) {
            Some(v @ 0..=9) => Some(v.to_string()),
            Some(_) => None,
            None if self.is(i, &["o", "oh"]) => Some("0".into()),
            None => self
                .words
                .get(i)
                .filter(|w| w.norm.bytes().all(|b| b.is_ascii_digit()))
                .map(|w| w.norm.clone()),
        }
    }

    /// The values that begin here and the words they take.
    fn number(&self) -> Option<(Vec<String>, usize)> {
        let times = if self.is(0, &["double"]) {
            2
        } else if self.is(0, &["triple"]) {
            3
        } else {
            1
        };
        if times > 1 {
            return self.digit(1).filter(|d| d.len() == 1).map(|d| (vec![d; times], 2));
        }
        if self.is(0, &["o", "oh"]) && self.follows && !self.words[0].pause_after {
            return match self.value(1) {
                // "eleven o six": the pair 06.
                Some(v @ 1..=9) if self.value(2).is_none() => Some((vec![format!("0{v}")], 2)),
                _ => Some((vec!["0".into()], 1)),
            };
        }
        if self.is(0, &["point"]) && !self.follows && self.digit(1).is_some() {
            return self.fraction("0", 0).map(|(v, used)| self.scaled(v, used));
        }
        let word = self.words.first()?;
        if word.kind == Kind::Number {
            return Some(self.scaled(word.norm.clone(), 1));
        }
        let (value, used, complete) = self.cardinal()?;
        if complete {
            return Some((vec![value.to_string()], used));
        }
        let (value, used) = self.fraction(&value.to_string(), used).unwrap_or((value.to_string(), used));
        Some(self.scaled(value, used))
    }

    /// A whole number: value, words taken, and whether it is a rank, which ends it.
    fn cardinal(&self) -> Option<(u128, usize, bool)> {
        let (mut total, mut group, mut i) = (0_u128, 0_u128, 0);
        let (mut last, mut scale) = (u64::MAX, u64::MAX);
        loop {
            if i > 0 && self.pause_before(i) {
                break;
            }
            let joined = i > 0 && (last >= 100) && self.is(i, &["and"]) && !self.pause_before(i + 1);
            let at = if joined { i + 1 } else { i };
            let (value, rank) = match (self.value(at), self.rank(at)) {
                (Some(v), _) => (v, false),
                // "second" alone is more often a moment than a rank.
                (None, Some(v)) if at > 0 || v != 2 => (v, true),
                _ => break,
            };
            // "between one hundred and two hundred"
            let own_scale =
                joined && self.value(at + 1).is_some_and(|v| v == last || last >= 1_000 && v > last);
            let fits = match value {
                0 => i == 0,
                1..=9 => i == 0 || matches!(last, 20..=90) && last % 10 == 0 || last >= 100,
                10..=99 => i == 0 || last >= 100,
                100 => (i == 0 || group < 100 && last < 100) && !joined,
                _ => value < scale && !joined && (i == 0 || group > 0),
            };
            if !fits || own_scale || (joined && value >= 100) || last == 0 {
                break;
            }
            match value {
                0..=99 => group += u128::from(value),
                100 => group = group.max(1) * 100,
                _ => {
                    total += group.max(1) * u128::from(value);
                    group = 0;
                    scale = value;
                }
            }
            last = value;
            i = at + 1;
            if rank {
                return Some((total + group, i, true));
            }
        }
        (i > 0).then_some((total + group, i, false))
    }

    /// `whole` point digits, if a fraction follows at `used`.
    fn fraction(&self, whole: &str, used: usize) -> Option<(String, usize)> {
        if !self.is(used, &["point"]) || self.pause_before(used) {
            return None;
        }
        let (mut digits, mut i) = (String::new(), used + 1);
        while let Some(d) = self.digit(i).filter(|_| !self.pause_before(i)) {
            digits += &d;
            i += 1;
        }
        if digits.is_empty() {
            // "eighteen point sixteen"
            let v = self.value(i).filter(|v| (10..=99).contains(v))?;
            (digits, i) = (v.to_string(), i + 1);
        }
        Some((format!("{whole}.{digits}"), i))
    }

    /// The value times a scale word that follows ("5.2 million").
    fn scaled(&self, value: String, used: usize) -> (Vec<String>, usize) {
        let scale = self.value(used).filter(|&v| v >= 1_000 && !self.pause_before(used));
        let Some(scale) = scale else { return (vec![value], used) };
        let zeros = scale.ilog10() as usize;
        let (whole, fraction) = value.split_once('.').unwrap_or((&value, ""));
        let moved: String =
            fraction.chars().chain(std::iter::repeat('0')).take(zeros.max(fraction.len())).collect();
        let (up, down) = moved.split_at(zeros.min(moved.len()));
        let mut out = format!("{whole}{up}").trim_start_matches('0').to_string();
        if out.is_empty() {
            out.push('0');
        }
        if !down.is_empty() {
            out = format!("{out}.{down}");
        }
        (vec![out], used + 1)
    }
}

/// Whether a normalised word is a number word of the language.
pub(super) fn is_number_word(norm: &str, lang: &str) -> bool {
    let lex = lexicon::lexicon(lang);
    lex.numbers.iter().chain(lex.ordinals).any(|n| n.0 == norm)
}
