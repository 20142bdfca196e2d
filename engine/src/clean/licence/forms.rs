//! The ways to write what was said: as it was said, with digits, contracted, joined.

use super::said::Unit;
use super::spelling::Reserved;
use crate::clean::dictionary::Dictionary;
use crate::clean::lexicon::Lexicon;
use crate::clean::numbers;
use crate::clean::spellings::SPELLINGS;
use crate::clean::words::{Kind, Word, fold, is_unspaced};

/// Longest row of numbers or letters that is written in one.
const ROW_UNITS: usize = 12;
const NEGATED: &[&str] =
    &["is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "could", "would", "should"];
const PRONOUNS: &[&str] = &["i", "you", "he", "she", "it", "we", "they", "that", "there", "who", "what"];
const SIGNS: &[(&str, &str)] = &[("percent", "%"), ("and", "&"), ("plus", "+"), ("equals", "="), ("at", "@")];
const CURRENCIES: &[(&str, &str)] = &[("dollar", "$"), ("euro", "€"), ("pound", "£"), ("yen", "¥")];
const UNITS: &[(&[&str], &str)] =
    &[(&["square", "km"], "km²"), (&["square", "m"], "m²"), (&["mi", "per", "h"], "mph")];
/// Words that are closed up though neither part carries content.
const COMPOUNDS: &[&str] = &[
    "into",
    "onto",
    "maybe",
    "within",
    "anybody",
    "anything",
    "anyway",
    "anywhere",
    "somebody",
    "something",
    "somewhere",
    "everybody",
    "everything",
    "everywhere",
    "whatever",
    "whenever",
    "wherever",
    "however",
    "whoever",
    "himself",
    "herself",
    "myself",
    "yourself",
    "itself",
    "therefore",
    "somehow",
];

/// Whether a form stands against the words around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Touch {
    #[default]
    No,
    May,
    Must,
    /// It must, and behind two letters.
    Dot,
    /// Against the word behind it.
    After,
    /// Not even with a pause before it ("o" for zero).
    Close,
}

/// A way to write the units up to `to`.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) to: usize,
    pub(super) touch: Touch,
}

/// The units of a transcript and what is known of its language.
pub(super) struct Forms<'a> {
    pub(super) text: &'a str,
    pub(super) words: &'a [Word],
    pub(super) units: &'a [Unit],
    pub(super) lex: &'a Lexicon,
    pub(super) reserved: &'a Reserved,
    pub(super) english: bool,
    pub(super) known: &'a Dictionary,
}

impl Forms<'_> {
    /// The forms that begin with unit `i`; the first is as it was said.
    pub(super) fn of(&self, i: usize) -> Vec<Written> {
        let mut out = Vec::new();
        let said = self.said(i);
        let zero = matches!(self.numbers(i), [w] if w.norm.starts_with('0')) && said.starts_with('o');
        let mut add = |text: String, to: usize, touch: Touch| {
            if !text.is_empty() && !out.iter().any(|w: &Written| w.text == text && w.to == to) {
                out.push(Written { text, to, touch });
            }
        };
        let touch = match said.as_str() {
            _ if zero => Touch::Close,
            "-" | "−" => Touch::After,
            _ => Touch::No,
        };
        add(said.clone(), i + 1, touch);
        add(said.split_whitespace().collect::<Vec<_>>().join(" "), i + 1, Touch::No);
        self.number(i).into_iter().for_each(|n| add(n, i + 1, Touch::No));
        self.rows(i).into_iter().for_each(|(n, to)| add(n, to, Touch::No));
        self.signed(i).into_iter().for_each(|(n, to)| add(n, to, Touch::No));
        self.spellings(i, &said).into_iter().for_each(|(n, to)| add(n, to, Touch::No));
        if let Some(sign) = self.single(i).and_then(|w| SIGNS.iter().find(|s| s.0 == w.norm)) {
            add(sign.1.into(), i + 1, if sign.1 == "@" { Touch::Must } else { Touch::May });
        }
        if self.is_dot(i) {
            add(".".into(), i + 1, Touch::Dot);
        }
        out
    }

    fn said(&self, i: usize) -> String {
        self.units.get(i).and_then(|u| self.text.get(u.span.clone())).map_or(String::new(), fold)
    }

    fn unit_words(&self, i: usize) -> &[Word] {
        self.units.get(i).and_then(|u| self.words.get(u.words.clone())).unwrap_or_default()
    }

    /// The only word of a unit.
    fn single(&self, i: usize) -> Option<&Word> {
        if let [word] = self.unit_words(i) { Some(word) } else { None }
    }

    /// The words of a unit that is numbers only.
    fn numbers(&self, i: usize) -> &[Word] {
        let words = self.unit_words(i);
        if words.iter().all(|w| w.kind == Kind::Number) { words } else { &[] }
    }

    fn runs_on(&self, i: usize) -> bool {
        self.units.get(i).is_some_and(|u| !u.paused)
    }

    /// A number of one value in digits.
    fn number(&self, i: usize) -> Vec<String> {
        let [word] = self.numbers(i) else { return self.digits_apart(i) };
        let (value, said) = (word.norm.as_str(), self.said(i));
        let mut out = vec![value.to_string()];
        if said.starts_with(|c: char| c.is_ascii_digit()) {
            let whole = said.bytes().all(|b| b.is_ascii_digit());
            return if whole { vec![self.grouped(value)] } else { Vec::new() };
        }
        let last = said.split([' ', '-']).next_back().unwrap_or_default();
        let rank = self.lex.ordinals.iter().find(|o| o.0 == last);
        if let Some(rank) = rank {
            let suffix = if last.ends_with("ties") { "s" } else { suffix(rank.1) };
            let teen = value.ends_with("11") || value.ends_with("12") || value.ends_with("13");
            out.push(format!("{value}{}", if teen { "th" } else { suffix }));
        } else {
            out.push(self.grouped(value));
            // ".5"
            out.extend(
                value
                    .strip_prefix('0')
                    .filter(|v| v.starts_with('.') && said.starts_with("point"))
                    .map(String::from),
            );
            out.extend(self.scaled(value, &said));
        }
        out
    }

    fn negates(&self, word: &str) -> bool {
        self.lex.negations.contains(&word) || self.lex.numbers.iter().any(|n| n.0 == word)
    }

    fn digits_apart(&self, i: usize) -> Vec<String> {
        let values: Vec<&str> = self.numbers(i).iter().map(|w| w.norm.as_str()).collect();
        if values.len() > 1 { vec![values.join(" ")] } else { Vec::new() }
    }

    /// "23,000"; "23.000" outside English.
    fn grouped(&self, value: &str) -> String {
        let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
        let (mark, point) = if self.english { (',', ".") } else { ('.', ",") };
        let mut out = String::new();
        for (k, c) in whole.chars().enumerate() {
            if k > 0 && (whole.len() - k).is_multiple_of(3) {
                out.push(mark);
            }
            out.push(c);
        }
        if fraction.is_empty() { out } else { format!("{out}{point}{fraction}") }
    }

    /// "5.2 million" for 5200000, as it was said.
    fn scaled(&self, value: &str, said: &str) -> Option<String> {
        let scale = |w: &str| self.lex.numbers.iter().find(|n| n.0 == w && n.1 >= 1_000);
        let mut scales = said.split([' ', '-']).filter_map(scale);
        let (Some(only), None) = (scales.next(), scales.next()) else { return None };
        let zeros = only.1.ilog10() as usize;
        let point = value.len().checked_sub(zeros).filter(|&p| p > 0 && !value.contains('.'))?;
        let (whole, fraction) = value.split_at(point);
        let fraction = fraction.trim_end_matches('0');
        let amount = if fraction.is_empty() { whole.into() } else { format!("{whole}.{fraction}") };
        (said.ends_with(only.0) && fraction.len() <= 3).then(|| format!("{amount} {}", only.0))
    }

    /// Digits and letters one by one, written in one: "555", "1990", "gmt", "p.m".
    fn rows(&self, i: usize) -> Vec<(String, usize)> {
        let mut out = Vec::new();
        let mut parts: Vec<&str> = Vec::new();
        let mut letters = String::new();
        for to in i + 1..=(i + ROW_UNITS).min(self.units.len()) {
            let words = self.numbers(to - 1);
            let said = self.said(to - 1);
            let letter =
                said.chars().count() == 1 && said.chars().all(|c| c.is_alphabetic() && !is_unspaced(c));
            if to > i + 1 && !self.runs_on(to - 2) || words.is_empty() && !letter {
                break;
            }
            if !words.is_empty() && letters.is_empty() {
                parts.extend(words.iter().map(|w| w.norm.as_str()));
                let whole = parts.concat();
                if parts.len() > 1 && parts.len() <= ROW_UNITS && numbers::same(&parts, &whole) {
                    if self.said(to - 1).ends_with("ties") {
                        out.push((format!("{whole}s"), to));
                    }
                    out.push((whole, to));
                }
            } else if words.is_empty() && parts.is_empty() {
                letters += &said;
                if to > i + 1 && !self.negates(&letters) {
                    let dotted: Vec<String> = letters.chars().map(String::from).collect();
                    out.push((dotted.join("."), to));
                    out.push((letters.clone(), to));
                }
            } else {
                break;
            }
        }
        out
    }

    /// "$50", "-5".
    fn signed(&self, i: usize) -> Vec<(String, usize)> {
        let next = self.single(i + 1).filter(|_| self.runs_on(i)).map_or("", |w| w.norm.as_str());
        let spoken = |n: usize| self.said(n).starts_with(char::is_alphabetic) || self.single(n).is_some();
        if self.single(i).is_some_and(|w| w.norm == "minus") && spoken(i + 1) {
            return self.amounts(i + 1).into_iter().map(|n| (format!("-{n}"), i + 2)).collect();
        }
        let Some(sign) = CURRENCIES.iter().find(|c| c.0 == next) else { return Vec::new() };
        self.amounts(i).into_iter().map(|n| (format!("{}{n}", sign.1), i + 2)).collect()
    }

    fn amounts(&self, i: usize) -> Vec<String> {
        let digit = |n: &String| n.ends_with(|c: char| c.is_ascii_digit()) || n.contains(' ');
        let Some(word) = self.single(i).filter(|w| w.kind == Kind::Number) else { return Vec::new() };
        self.number(i).into_iter().chain([word.norm.clone()]).filter(digit).collect()
    }

    /// Other spellings of one unit, and of it and the next in one.
    fn spellings(&self, i: usize, said: &str) -> Vec<(String, usize)> {
        let mut out = Vec::new();
        let words = self.unit_words(i);
        if let Some(word) = self.single(i)
            && self.english
            && word.kind != Kind::Number
            && SPELLINGS
                .iter()
                .any(|s| s.0 == said && said.strip_suffix('s') != Some(s.1) && s.1 != "allright")
        {
            out.push((word.norm.clone(), i + 1));
        }
        let apostrophes = said.chars().all(|c| c.is_alphabetic() || c == '\'');
        if self.english && words.len() > 1 && apostrophes && said != "mph" {
            let long: Vec<&str> = words.iter().map(|w| w.norm.as_str()).collect();
            out.push((long.join(" "), i + 1));
            out.extend(self.contracted(&words[0].norm, &words[1].norm).map(|c| (c, i + 1)));
        }
        if self.english && said == "oclock" {
            out.push(("o'clock".into(), i + 1));
        }
        let numeric = i.checked_sub(1).and_then(|p| self.units.get(p)).is_some_and(|u| u.numeric);
        if self.english && numeric && matches!(said, "am" | "pm") {
            out.push((format!("{}.m", &said[..1]), i + 1));
        }
        for (norms, unit) in UNITS.iter().filter(|_| self.english) {
            let stands = |(k, n): (usize, &&str)| {
                self.single(i + k).is_some_and(|w| w.norm == *n) && (k == 0 || self.runs_on(i + k - 1))
            };
            if norms.iter().enumerate().all(stands) {
                out.push((unit.to_string(), i + norms.len()));
            }
        }
        if let (Some(a), Some(b)) = (self.single(i), self.single(i + 1))
            && self.runs_on(i)
        {
            out.extend(self.contracted(&a.norm, &b.norm).map(|c| (c, i + 2)));
            out.extend(self.joined(i, a, b).map(|j| (j, i + 2)));
        }
        out
    }

    fn contracted(&self, a: &str, b: &str) -> Option<String> {
        let subject = self.english && PRONOUNS.contains(&a);
        match (a, b) {
            ("can", "not") if self.english => Some("can't".into()),
            ("will", "not") if self.english => Some("won't".into()),
            ("let", "us") if self.english => Some("let's".into()),
            (_, "not") if self.english && NEGATED.contains(&a) => Some(format!("{a}n't")),
            ("i", "am") if subject => Some("i'm".into()),
            (_, "is") if subject && !matches!(a, "i" | "you" | "we" | "they") => Some(format!("{a}'s")),
            ("you" | "we" | "they", "are") if subject => Some(format!("{a}'re")),
            ("i" | "you" | "we" | "they", "have") if subject => Some(format!("{a}'ve")),
            (_, "will") if subject => Some(format!("{a}'ll")),
            (_, "would") if subject => Some(format!("{a}'d")),
            _ => None,
        }
    }

    /// "web site" in one word.
    fn joined(&self, i: usize, a: &Word, b: &Word) -> Option<String> {
        let (x, y) = (self.said(i), self.said(i + 1));
        let plain = |w: &Word, said: &str| {
            matches!(w.kind, Kind::Content | Kind::Function)
                && w.norm == said
                && said.chars().all(char::is_alphabetic)
                && !said.chars().any(is_unspaced)
        };
        let whole = format!("{x}{y}");
        let cannot = whole == "cannot" && self.english;
        let hyphen = self.text.get(self.units[i].span.end..self.units[i + 1].span.start) == Some("-");
        let long = |w: &str| w.len() > 1 || !matches!(w, "a" | "i");
        // "ironthey" is no word.
        let content = [a, b].iter().all(|w| w.kind == Kind::Content) && (x.len() > 1 || y.len() > 1);
        let closed = (content && long(&x) && long(&y) || hyphen)
            && self.known.has(&whole)
            && !self.reserved.has(&whole)
            || COMPOUNDS.contains(&whole.as_str());
        (cannot || plain(a, &x) && plain(b, &y) && closed).then_some(whole)
    }

    /// "dot" in "example dot com", where the mark is read as the word again.
    fn is_dot(&self, i: usize) -> bool {
        let Some(before) = i.checked_sub(1) else { return false };
        let number = |n: usize| self.units.get(n).is_none_or(|u| u.numeric);
        self.single(i).is_some_and(|w| w.norm == "dot")
            && !number(before)
            && !number(i + 1)
            && self.runs_on(before)
            && self.runs_on(i)
    }
}

fn suffix(rank: u64) -> &'static str {
    match rank {
        1 => "st",
        2 => "nd",
        3 => "rd",
        _ => "th",
    }
}
