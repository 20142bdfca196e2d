//! Numbers in words, in figures (English). What a number is worth is read by [`words`], which the
//! fidelity check reads with as well, so that no value can change; this decides what is written.
//!
//! One to nine stay words in prose, and so does whatever could be read in two ways: numbers side by
//! side ("fifty fifty", "eight thirty two" but for a time), "a twenty second delay", "at this point
//! five people".

use super::lexicon::{self, Lexicon};
use super::words::{self, Kind, Word};
use std::borrow::Cow;
use std::ops::Range;

/// Units by their spelling in [`words`], and the symbol that is written.
const UNITS: &[(&str, &str)] = &[
    ("km", "km"),
    ("m", "m"),
    ("cm", "cm"),
    ("mm", "mm"),
    ("μm", "μm"),
    ("kg", "kg"),
    ("g", "g"),
    ("mg", "mg"),
    ("l", "l"),
    ("ml", "ml"),
    ("ha", "ha"),
    ("kw", "kW"),
    ("mw", "MW"),
    ("gw", "GW"),
    ("v", "V"),
    ("hz", "Hz"),
    ("khz", "kHz"),
    ("mhz", "MHz"),
    ("ghz", "GHz"),
    ("kb", "KB"),
    ("mb", "MB"),
    ("gb", "GB"),
    ("tb", "TB"),
];
/// Units that are written out behind a figure.
const SPELLED_UNITS: &[&str] = &[
    "mi", "ft", "in", "oz", "yards", "acres", "pound", "degrees", "watts", "amps", "bytes", "bits",
    "kilobits", "megabits", "gigabits", "pixels", "tons", "tonnes", "calories", "euro", "yen", "yuan",
    "rupees", "francs", "cents", "pence",
];
/// What stands before a figure however small.
const LABELS: &[&str] = &["version", "page", "chapter", "section", "figure", "table", "paragraph", "volume"];
const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// Months that are other words as well.
const LOOSE_MONTHS: &[&str] = &["march", "may", "august"];
/// What stands before a time of day.
const TIME_BEFORE: &[&str] =
    &["at", "until", "till", "by", "before", "after", "around", "about", "from", "since"];
/// What follows a time of day, if anything does.
const TIME_AFTER: &[&str] = &[
    "on",
    "in",
    "and",
    "for",
    "to",
    "or",
    "but",
    "tomorrow",
    "today",
    "tonight",
    "this",
    "every",
    "sharp",
    "when",
    "because",
    "so",
    "with",
    "if",
    "we",
    "i",
    "the",
    "until",
    "till",
    "please",
    "at",
    "is",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// What "the twenty second" is the rank of.
const RANKED: &[&str] = &[
    "of",
    "century",
    "birthday",
    "anniversary",
    "street",
    "avenue",
    "floor",
    "amendment",
    "president",
    "edition",
    "place",
];
/// How many digits said one by one are a number: fewer may be counting, more are not read as one.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=12;

/// Bytes of the text, and what is written there instead.
type Edit = (Range<usize>, String);

/// `text` with its numbers in figures; unchanged in other languages than English. Applied twice it
/// does what it does once. Linear in the text.
pub(super) fn figures<'t>(text: &'t str, lang: &str) -> Cow<'t, str> {
    if !lexicon::is_english(lang) {
        return Cow::Borrowed(text);
    }
    let words = words::words(text, lang);
    let numbers = Numbers { text, words: &words, lex: lexicon::lexicon(lang) };
    let (mut out, mut copied, mut i) = (String::new(), 0, 0);
    while i < words.len() {
        let end = numbers.run(i);
        if end > i
            && let Some((span, written)) = numbers.edit(i, end)
            && span.start >= copied
            && text[span.clone()] != written
        {
            out += &text[copied..span.start];
            out += &written;
            copied = span.end;
        }
        i = end.max(i + 1);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out += &text[copied..];
    // What neighbours could still read together is no reason to change what was said.
    let same = digits(&words).eq(digits(&words::words(&out, lang)));
    if same { Cow::Owned(out) } else { Cow::Borrowed(text) }
}

/// The digits of all numbers, in order.
fn digits(words: &[Word]) -> impl Iterator<Item = char> {
    let numbers = words.iter().filter(|w| w.kind == Kind::Number);
    numbers.flat_map(|w| w.norm.chars()).filter(char::is_ascii_digit)
}

struct Numbers<'a> {
    text: &'a str,
    words: &'a [Word],
    lex: &'static Lexicon,
}

impl Numbers<'_> {
    /// The word at `i`, "" beyond the text.
    fn norm(&self, i: usize) -> &str {
        self.words.get(i).map_or("", |w| w.norm.as_str())
    }

    /// The words of the text that the number at `i` was said in, in lower case.
    fn said(&self, i: usize) -> Vec<String> {
        let span = self.words[i].span.clone();
        let folded = words::fold(&self.text[span]);
        folded.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(String::from).collect()
    }

    /// Whether the word at `i` follows the one before without pause, with only a space between.
    fn spaced(&self, i: usize) -> bool {
        let (Some(a), Some(b)) = (i.checked_sub(1).and_then(|p| self.words.get(p)), self.words.get(i)) else {
            return false;
        };
        let gap = self.text.get(a.span.end..b.span.start);
        !a.pause_after && !a.sentence_end && gap.is_some_and(|g| g == " ")
    }

    /// The word before `i`, if it belongs to the same phrase.
    fn before(&self, i: usize) -> &str {
        if self.spaced(i) { self.norm(i - 1) } else { "" }
    }

    /// The word `i`, if it belongs to the same phrase as the one before it.
    fn after(&self, i: usize) -> &str {
        if self.spaced(i) { self.norm(i) } else { "" }
    }

    fn is_number(&self, i: usize) -> bool {
        self.words.get(i).is_some_and(|w| w.kind == Kind::Number)
    }

    fn is_rank(&self, i: usize) -> bool {
        let said = self.said(i);
        let written =
            |w: &String| w.starts_with(|c: char| c.is_ascii_digit()) && w.ends_with(char::is_alphabetic);
        said.last().is_some_and(|w| written(w) || self.lex.ordinals.iter().any(|o| o.0 == w))
    }

    /// Where the numbers side by side that begin at `i` end: a rank is the last of its run.
    fn run(&self, i: usize) -> usize {
        let mut end = i;
        while self.is_number(end) && (end == i || !self.is_rank(end - 1) && self.touches(end)) {
            end += 1;
        }
        end
    }

    fn touches(&self, i: usize) -> bool {
        let (a, b) = (&self.words[i - 1], &self.words[i]);
        let gap = self.text.get(a.span.end..b.span.start).unwrap_or("");
        a.span == b.span || !a.pause_after && !a.sentence_end && !gap.contains('\n')
    }

    fn span(&self, from: usize, to: usize) -> Range<usize> {
        self.words[from].span.start..self.words[to - 1].span.end
    }

    fn edit(&self, from: usize, to: usize) -> Option<Edit> {
        let span = self.span(from, to);
        let edges = (self.text[..span.start].chars().next_back(), self.text[span.end..].chars().next());
        // Part of something written: "$5", "3:30", "R2".
        if edges.0.is_some_and(|c| {
            !c.is_whitespace() && !matches!(c, '(' | '"' | '“' | '\'' | '‘' | '[' | '-' | '—' | '–')
        }) || edges.1.is_some_and(char::is_alphanumeric)
        {
            return None;
        }
        if self.text[span.clone()].contains(['$', '€', '£', '¥', '%', '@', '=', '+', '&']) {
            return None;
        }
        // "at this point twenty people": "point 20" would be a fraction.
        if from > 0 && self.norm(from - 1) == "point" {
            return None;
        }
        let in_words =
            (from..to).all(|i| self.text[self.words[i].span.start..].starts_with(char::is_alphabetic));
        self.time(from, to)
            .or_else(|| if in_words { self.digits(from, to) } else { None })
            .or_else(|| if in_words { self.year(from, to) } else { None })
            .or_else(|| if to - from == 1 { self.single(from, in_words) } else { None })
    }

    /// "three thirty p m", "eleven o six PM", "at eight fifteen".
    fn time(&self, from: usize, to: usize) -> Option<Edit> {
        let hour: u8 = self.norm(from).parse().ok().filter(|h| (1..=12).contains(h))?;
        let minute = match to - from {
            1 => None,
            2 => Some(self.norm(from + 1)).filter(|m| m.len() == 2 && m.parse::<u8>().is_ok_and(|m| m < 60)),
            _ => return None,
        };
        let dated = to - from == 2 && MONTHS.contains(&self.before(from));
        if dated || to - from == 2 && minute.is_none() || (from..to).any(|i| self.is_rank(i)) {
            return None;
        }
        let clock = minute.map_or(hour.to_string(), |m| format!("{hour}:{m}"));
        let span = self.span(from, to);
        if let Some((half, end)) = self.half_of_day(to) {
            return Some((span.start..end, format!("{clock} {half}")));
        }
        if minute.is_none() {
            return (self.after(to) == "oclock").then_some((span, clock));
        }
        let last = self.words.get(to).is_none() || !self.touches(to) || self.after(to) == "oclock";
        let apart = last || TIME_AFTER.contains(&self.after(to));
        (TIME_BEFORE.contains(&self.before(from)) && apart).then_some((span, clock))
    }

    /// "a.m." or "p.m." at word `i`, and where it ends in the text.
    fn half_of_day(&self, i: usize) -> Option<(&'static str, usize)> {
        let (norm, last) = match (self.after(i), self.after(i + 1)) {
            ("am", next) if next != "i" => ("a.m.", i),
            ("pm", _) => ("p.m.", i),
            ("a", "m") => ("a.m.", i + 1),
            ("p", "m") => ("p.m.", i + 1),
            _ => return None,
        };
        let end = self.words[last].span.end;
        Some((norm, if self.text[end..].starts_with('.') { end + 1 } else { end }))
    }

    /// Digits said one by one: telephone numbers, codes.
    fn digits(&self, from: usize, to: usize) -> Option<Edit> {
        let digits: Vec<&str> = (from..to).map(|i| self.norm(i)).collect();
        let one_by_one = (from..to).all(|i| self.norm(i).len() == 1 && !self.is_rank(i));
        let counts =
            matches!(self.after(to), "dollar" | "euro" | "yen" | "percent") || self.unit(to).is_some();
        if !DIGITS.contains(&digits.len()) || !one_by_one || counts {
            return None;
        }
        let all = digits.concat();
        if all.as_bytes().windows(2).all(|d| d[0] + 1 == d[1]) {
            // Counting.
            return None;
        }
        let plus = self.before(from) == "plus" && all.len() > 10;
        let written = match all.len() {
            len @ 10..=11 => {
                let (country, rest) = all.split_at(len - 10);
                let parts = [if plus { "+" } else { "" }, country, if country.is_empty() { "" } else { " " }];
                format!("{}{}-{}-{}", parts.concat(), &rest[..3], &rest[3..6], &rest[6..])
            }
            _ if plus => format!("+{all}"),
            _ => all,
        };
        Some((self.span(from - usize::from(plus), to), written))
    }

    /// "nineteen ninety", "twenty twelve", "nineteen o six", "nineteen eighties".
    fn year(&self, from: usize, to: usize) -> Option<Edit> {
        if to - from != 2 {
            return None;
        }
        let (century, rest) = (self.norm(from), self.norm(from + 1));
        let said = self.said(from + 1);
        let decade = said.len() == 1 && said[0].ends_with("ies");
        let sure = matches!(century.parse(), Ok(13..=20_u8)) && rest.len() == 2;
        // "twenty twelve year olds", "fifteen twenty dollar notes".
        let counted = matches!(
            self.after(to),
            "year" | "minute" | "hour" | "day" | "week" | "month" | "dollar" | "percent"
        ) || self.unit(to).is_some();
        if !sure
            || counted
            || self.before(from) == "minus"
            || self.is_rank(from)
            || self.is_rank(from + 1) && !decade
        {
            return None;
        }
        Some((self.span(from, to), format!("{century}{rest}{}", if decade { "s" } else { "" })))
    }

    /// The unit at word `i`, and how it is written.
    fn unit(&self, i: usize) -> Option<Option<&'static str>> {
        let norm = self.after(i);
        let symbol = UNITS.iter().find(|u| u.0 == norm).map(|u| Some(u.1));
        let unit = symbol.or_else(|| SPELLED_UNITS.contains(&norm).then_some(None))?;
        // "200 km per hour" is neither one nor the other.
        Some(unit.filter(|_| self.after(i + 1) != "per"))
    }

    fn single(&self, i: usize, in_words: bool) -> Option<Edit> {
        if !in_words {
            let written = &self.text[self.words[i].span.clone()];
            return written
                .ends_with(|c: char| c.is_ascii_digit())
                .then(|| self.quantity(i, written.into(), false))?;
        }
        let said = self.said(i);
        if said.first().is_some_and(|w| matches!(w.as_str(), "o" | "oh" | "double" | "triple")) {
            return None;
        }
        if self.is_rank(i) {
            return self.rank(i);
        }
        let scales = |w: &String| self.lex.numbers.iter().any(|n| n.1 >= 100 && n.0 == w);
        if said.first().is_none_or(scales) {
            return None;
        }
        let mut written = self.norm(i).to_string();
        if let Some((scale, zeros)) = said.last().and_then(|w| self.million(w)) {
            written = format!("{} {scale}", unscaled(&written, zeros)?);
        }
        if said[0] == "point" {
            let sure = i == 0 || matches!(self.before(i), "by" | "to" | "about" | "than" | "only" | "minus");
            if !sure {
                return None;
            }
            written = written.strip_prefix('0').filter(|w| w.starts_with('.'))?.to_string();
        }
        // "half past twelve", "ten to five"
        let hour = |k: usize| matches!(self.norm(k).parse(), Ok(1..=12_u8));
        if self.before(i) == "past"
            || self.before(i) == "to"
                && i > 1
                && (self.norm(i - 2) == "quarter" || self.of_hour(i - 2) && !(i > 2 && self.is_number(i - 3)))
            || self.of_hour(i) && (self.after(i + 1) == "past" || self.after(i + 1) == "to" && hour(i + 2))
        {
            return None;
        }
        let small = said.len() == 1 && written.len() == 1;
        self.quantity(i, written, small)
    }

    /// Minutes as they are counted to and from the hour.
    fn of_hour(&self, i: usize) -> bool {
        matches!(self.norm(i), "5" | "10" | "20" | "25")
    }

    /// "million" and above: the word and its noughts.
    fn million(&self, word: &str) -> Option<(&'static str, usize)> {
        let scale = self.lex.numbers.iter().find(|n| n.1 >= 1_000_000 && n.0 == word)?;
        Some((scale.0, scale.1.ilog10() as usize))
    }

    /// "twenty third", "the second of may".
    fn rank(&self, i: usize) -> Option<Edit> {
        let said = self.said(i);
        let last = said.last()?;
        let month = |k: usize| MONTHS.contains(&self.norm(k));
        let dated = self.after(i + 1) == "of" && month(i + 2)
            || MONTHS.contains(&self.before(i))
            || self.spaced(i + 1) && month(i + 1);
        let scale = said.first().is_some_and(|w| self.lex.numbers.iter().any(|n| n.1 >= 100 && n.0 == w))
            || said.len() == 1 && self.lex.numbers.iter().any(|n| n.1 >= 100 && last.starts_with(n.0));
        let part = last.ends_with("dth") && self.after(i + 1) == "of";
        let small = self.norm(i).len() == 1 && !dated;
        let scaled = |w: &String| self.lex.numbers.iter().any(|n| n.1 >= 100 && n.0 == w);
        let counted =
            self.is_number(i + 1) && self.touches(i + 1) && self.said(i + 1).first().is_some_and(scaled);
        if counted || scale || part || small || last.ends_with("ies") {
            return None;
        }
        // "a twenty second delay"
        let alone = !self.spaced(i + 1) || RANKED.contains(&self.after(i + 1));
        if last == "second" && !dated && (!alone || matches!(self.before(i), "a" | "one")) {
            return None;
        }
        let value = self.norm(i);
        let ending = match (
            value.ends_with("11") || value.ends_with("12") || value.ends_with("13"),
            value.chars().last(),
        ) {
            (false, Some('1')) => "st",
            (false, Some('2')) => "nd",
            (false, Some('3')) => "rd",
            _ => "th",
        };
        let timed = self.half_of_day(i + 1).is_some() || self.after(i + 1) == "oclock";
        let day = value.parse().is_ok_and(|day: u8| day <= 31);
        let plain = MONTHS.contains(&self.before(i)) && day && !timed;
        Some((self.words[i].span.clone(), format!("{value}{}", if plain { "" } else { ending })))
    }

    /// A number with the sign before it and the currency, percent or unit behind it.
    fn quantity(&self, i: usize, written: String, small: bool) -> Option<Edit> {
        let mut span = self.words[i].span.clone();
        let close = |k: usize| self.words[k].span.end;
        let digits = written.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let symbol = match self.after(i + 1) {
            "dollar" => Some("$"),
            "euro" => Some("€"),
            "yen" => Some("¥"),
            _ => None,
        };
        let percent = self.norm(i + 1) == "percent"
            && self.text.get(span.end..self.words[i + 1].span.start).is_some_and(|g| matches!(g, "" | " "));
        let per_cent = self.after(i + 1) == "per" && self.after(i + 2) == "cent";
        let unit = self.unit(i + 1);
        let square = self.after(i + 1) == "square";
        let labelled = LABELS.contains(&self.before(i));
        let dated = MONTHS.contains(&self.before(i)) && !LOOSE_MONTHS.contains(&self.before(i));
        let pronoun = written == "1" && !matches!(unit, Some(Some(_)));
        let measured = unit.is_some() && !pronoun || square;
        if small && !(symbol.is_some() || percent || per_cent || measured || labelled || dated) {
            return None;
        }
        let minus = self.before(i) == "minus" && !(i > 1 && self.is_number(i - 2));
        if MONTHS.contains(&self.before(i)) && written.parse().is_ok_and(|day: u8| day <= 31) {
            return Some((span, written));
        }
        let sign = if minus && digits { "-" } else { "" };
        if minus {
            span.start = self.words[i - 1].span.start;
        }
        let amount = format!("{sign}{written}");
        // "$29 50 cents" would not do; the two as one amount would be another value.
        let part = i + 2 + usize::from(self.after(i + 2) == "and");
        let parted = self.is_number(part) && matches!(self.after(part + 1), "cent" | "cents");
        let scale = |w: &String| self.lex.numbers.iter().any(|n| n.1 >= 100 && n.0 == w);
        let scaled = self.is_number(i + 2) && self.said(i + 2).first().is_some_and(scale);
        if let Some(symbol) = symbol.filter(|_| !parted && !scaled) {
            return Some((span.start..close(i + 1), format!("{sign}{symbol}{written}")));
        }
        if percent || per_cent {
            return Some((span.start..close(i + 1 + usize::from(per_cent)), format!("{amount}%")));
        }
        if let Some(Some(symbol)) = unit {
            return Some((span.start..close(i + 1), format!("{amount} {symbol}")));
        }
        if square && let Some((_, symbol @ ("km" | "m"))) = UNITS.iter().find(|u| u.0 == self.after(i + 2)) {
            return Some((span.start..close(i + 2), format!("{amount} {symbol}²")));
        }
        // "miles per hour"
        if (self.after(i + 1), self.after(i + 2), self.after(i + 3)) == ("mi", "per", "h") {
            return Some((span.start..close(i + 3), format!("{amount} mph")));
        }
        Some((span, amount))
    }
}

/// The value divided by a power of ten.
fn unscaled(value: &str, zeros: usize) -> Option<String> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let whole = format!("{whole:0>width$}", width = zeros + 1);
    let (up, down) = whole.split_at_checked(whole.len() - zeros)?;
    let down = format!("{down}{fraction}");
    let down = down.trim_end_matches('0');
    Some(if down.is_empty() { up.to_string() } else { format!("{up}.{down}") })
}
