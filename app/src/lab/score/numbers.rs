//! Spelled-out numbers in figures: `EnglishNumberNormalizer` of Whisper (MIT, copyright (c) 2022 OpenAI),
//! its quirks included ("ninth" is no ordinal, "1" becomes "one"), so that error rates can be compared
//! with published ones. Beyond 38 digits, where Python goes on, numbers are left as they are written.

use regex::{Captures, Regex};
use std::collections::HashMap;

const ONES: [&str; 19] = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const SCALES: [&str; 11] = [
    "thousand",
    "million",
    "billion",
    "trillion",
    "quadrillion",
    "quintillion",
    "sextillion",
    "septillion",
    "octillion",
    "nonillion",
    "decillion",
];
const CURRENCIES: [(&str, &str); 8] = [
    ("pound", "£"),
    ("pounds", "£"),
    ("euro", "€"),
    ("euros", "€"),
    ("dollar", "$"),
    ("dollars", "$"),
    ("cent", "¢"),
    ("cents", "¢"),
];

/// What a word says of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Zero,
    /// 1 to 19.
    Ones(u128),
    Tens(u128),
    Multiplier(u128),
    /// Ordinals and plurals end a number.
    OnesEnding(u128, &'static str),
    TensEnding(u128, &'static str),
    MultiplierEnding(u128, &'static str),
    /// "minus": a sign before.
    Sign(&'static str),
    /// "dollars": a sign that was said behind.
    Currency(&'static str),
    Per,
    Percent,
    And,
    Double,
    Triple,
    Point,
}

/// A number as far as it was read.
#[derive(Clone, Debug)]
enum Value {
    Whole(u128),
    /// Digits one by one, or with a point.
    Digits(String),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Value::Whole(n) => n.to_string(),
            Value::Digits(digits) => digits.clone(),
        }
    }

    fn then(&self, more: impl ToString) -> Value {
        Value::Digits(self.text() + &more.to_string())
    }
}

/// The rules, compiled.
pub(super) struct Numbers {
    words: HashMap<String, Word>,
    half: Regex,
    letter_digit: Regex,
    digit_letter: Regex,
    parted_suffix: Regex,
    dollars_and_cents: Regex,
    only_cents: Regex,
    one: Regex,
}

impl Numbers {
    pub(super) fn new() -> Result<Numbers, regex::Error> {
        Ok(Numbers {
            words: words(),
            half: Regex::new(r"\band\s+a\s+half\b")?,
            letter_digit: Regex::new(r"([a-z])([0-9])")?,
            digit_letter: Regex::new(r"([0-9])([a-z])")?,
            parted_suffix: Regex::new(r"([0-9])\s+(st|nd|rd|th|s)\b")?,
            dollars_and_cents: Regex::new(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b")?,
            only_cents: Regex::new(r"[€£$]0.([0-9]{1,2})\b")?,
            one: Regex::new(r"\b1(s?)\b")?,
        })
    }

    /// `text` (lower case) with its numbers in figures.
    pub(super) fn apply(&self, text: &str) -> String {
        let text = self.prepare(text);
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut reader = Reader { numbers: self, prefix: None, value: None, out: Vec::new() };
        let mut at = 0;
        while at < words.len() {
            at += reader.read(at.checked_sub(1).map(|k| words[k]), words[at], words.get(at + 1).copied());
        }
        reader.end_number();
        let text = reader.out.join(" ");
        let cents = |found: &Captures<'_>| format!("{}{}.{:0>2}", &found[1], &found[2], &found[3]);
        let text = self.dollars_and_cents.replace_all(&text, cents);
        let unpadded = |found: &Captures<'_>| match found[1].trim_start_matches('0') {
            "" => "¢0".to_string(),
            cents => format!("¢{cents}"),
        };
        let text = self.only_cents.replace_all(&text, unpadded);
        self.one.replace_all(&text, "one${1}").into_owned()
    }

    /// "Two and a half" as "two point five"; letters and digits parted, but for suffixes.
    fn prepare(&self, text: &str) -> String {
        let segments: Vec<&str> = self.half.split(text).collect();
        let mut parts = Vec::new();
        for (i, segment) in segments.iter().enumerate() {
            let Some(last) = segment.split_whitespace().next_back() else { continue };
            parts.push(*segment);
            if i + 1 < segments.len() {
                let number = matches!(
                    self.words.get(last),
                    Some(Word::Ones(_) | Word::Tens(_) | Word::Zero | Word::Multiplier(_))
                );
                parts.push(if number { "point five" } else { "and a half" });
            }
        }
        let text = parts.join(" ");
        let text = self.letter_digit.replace_all(&text, "${1} ${2}");
        let text = self.digit_letter.replace_all(&text, "${1} ${2}");
        self.parted_suffix.replace_all(&text, "${1}${2}").into_owned()
    }

    fn word(&self, word: Option<&str>) -> Option<Word> {
        self.words.get(word?).copied()
    }
}

fn words() -> HashMap<String, Word> {
    let mut words = HashMap::new();
    let mut add = |word: &str, meaning| {
        words.insert(word.to_string(), meaning);
    };
    for zero in ["o", "oh", "zero"] {
        add(zero, Word::Zero);
    }
    for (name, value) in ONES.into_iter().zip(1_u128..) {
        add(name, Word::Ones(value));
        let plural = if name == "six" { "sixes".into() } else { format!("{name}s") };
        add(&plural, Word::OnesEnding(value, "s"));
        let ordinal = format!("{name}{}", if name.ends_with('t') { "h" } else { "th" });
        if value > 3 && value != 5 && value != 12 {
            add(&ordinal, Word::OnesEnding(value, "th"));
        }
    }
    let irregular = [
        ("zeroth", 0, "th"),
        ("first", 1, "st"),
        ("second", 2, "nd"),
        ("third", 3, "rd"),
        ("fifth", 5, "th"),
        ("twelfth", 12, "th"),
    ];
    for (name, value, suffix) in irregular {
        add(name, Word::OnesEnding(value, suffix));
    }
    for (name, value) in TENS.into_iter().zip((20_u128..).step_by(10)) {
        add(name, Word::Tens(value));
        add(&name.replace('y', "ies"), Word::TensEnding(value, "s"));
        add(&name.replace('y', "ieth"), Word::TensEnding(value, "th"));
    }
    let scales = SCALES.into_iter().zip(1_u32..).map(|(name, n)| (name, 10_u128.pow(3 * n)));
    for (name, value) in std::iter::once(("hundred", 100)).chain(scales) {
        add(name, Word::Multiplier(value));
        add(&format!("{name}s"), Word::MultiplierEnding(value, "s"));
        add(&format!("{name}th"), Word::MultiplierEnding(value, "th"));
    }
    for (name, sign) in [("minus", "-"), ("negative", "-"), ("plus", "+"), ("positive", "+")] {
        add(name, Word::Sign(sign));
    }
    for (name, sign) in CURRENCIES {
        add(name, Word::Currency(sign));
    }
    let others = [
        ("per", Word::Per),
        ("percent", Word::Percent),
        ("and", Word::And),
        ("double", Word::Double),
        ("triple", Word::Triple),
        ("point", Word::Point),
    ];
    for (name, meaning) in others {
        add(name, meaning);
    }
    words
}

/// Reads a text word by word.
struct Reader<'a> {
    numbers: &'a Numbers,
    prefix: Option<char>,
    value: Option<Value>,
    out: Vec<String>,
}

impl Reader<'_> {
    fn put(&mut self, text: &str) {
        let text = match self.prefix.take() {
            Some(prefix) => format!("{prefix}{text}"),
            None => text.to_string(),
        };
        self.value = None;
        self.out.push(text);
    }

    /// Puts the number that was being read, if any.
    fn end_number(&mut self) {
        if let Some(value) = self.value.take() {
            self.put(&value.text());
        }
    }

    /// Reads `current` between its neighbours; returns how many words that took.
    fn read(&mut self, previous: Option<&str>, current: &str, next: Option<&str>) -> usize {
        let sign = current.chars().next().filter(|c| "-+£€$¢".contains(*c));
        let digits = &current[sign.map_or(0, char::len_utf8)..];
        if is_numeric(digits) {
            self.figures(current, sign, digits);
            return 1;
        }
        let Some(word) = self.numbers.word(Some(current)) else {
            self.end_number();
            self.put(current);
            return 1;
        };
        let before = self.numbers.word(previous);
        match word {
            Word::Zero => self.value = Some(Value::Digits(self.digits_so_far() + "0")),
            Word::Ones(n) => self.value = Some(self.with_ones(n, before)),
            Word::Tens(n) => self.value = Some(self.with_tens(n)),
            Word::Multiplier(n) => self.multiply(n),
            Word::OnesEnding(n, suffix) => {
                let value = self.with_ones(n, before);
                self.put(&(value.text() + suffix));
            }
            Word::TensEnding(n, suffix) => {
                let value = self.with_tens(n);
                self.put(&(value.text() + suffix));
            }
            Word::MultiplierEnding(n, suffix) => {
                self.multiply(n);
                let value = self.value.take().unwrap_or(Value::Whole(n));
                self.put(&(value.text() + suffix));
            }
            Word::Sign(sign) => {
                self.end_number();
                match self.can_be_number(next) {
                    true => self.prefix = sign.chars().next(),
                    false => self.put(current),
                }
            }
            Word::Currency(sign) => match self.value.is_some() {
                true => {
                    self.prefix = sign.chars().next();
                    self.end_number();
                }
                false => self.put(current),
            },
            Word::Percent | Word::Per => return self.percent(word, current, next),
            Word::And | Word::Double | Word::Triple | Word::Point => {
                return self.special(word, before, current, next);
            }
        }
        1
    }

    /// A number written in figures.
    fn figures(&mut self, current: &str, sign: Option<char>, digits: &str) {
        match &self.value {
            // Decimals said one by one, parts of an address.
            Some(Value::Digits(so_far)) if so_far.ends_with('.') => {
                self.value = Some(Value::Digits(format!("{so_far}{current}")));
                return;
            }
            Some(_) => self.end_number(),
            None => {}
        }
        self.prefix = sign.or(self.prefix);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        self.value = Some(match (part.bytes().all(|d| d == b'0'), whole.parse()) {
            (true, Ok(whole)) => Value::Whole(whole),
            _ => Value::Digits(digits.into()),
        });
    }

    fn digits_so_far(&self) -> String {
        match &self.value {
            None | Some(Value::Whole(0)) => String::new(),
            Some(value) => value.text(),
        }
    }

    /// With 1 to 19 behind.
    fn with_ones(&self, n: u128, before: Option<Word>) -> Value {
        let round = if n < 10 { 10 } else { 100 };
        match &self.value {
            None => Value::Whole(n),
            Some(Value::Digits(digits)) if n < 10 && matches!(before, Some(Word::Tens(_))) => {
                // "nineteen twenty one": the last zero gives way.
                Value::Digits(format!("{}{n}", digits.strip_suffix('0').unwrap_or(digits)))
            }
            Some(Value::Whole(whole)) if !matches!(before, Some(Word::Ones(_))) && whole % round == 0 => {
                Value::Whole(whole.saturating_add(n))
            }
            Some(value) => value.then(n),
        }
    }

    fn with_tens(&self, n: u128) -> Value {
        match &self.value {
            None => Value::Whole(n),
            Some(Value::Whole(whole)) if whole % 100 == 0 => Value::Whole(whole.saturating_add(n)),
            Some(value) => value.then(n),
        }
    }

    fn multiply(&mut self, n: u128) {
        let product = match &self.value {
            None => Some(n),
            Some(Value::Whole(0)) => Some(0),
            Some(Value::Whole(whole)) => group_times(*whole, n),
            Some(Value::Digits(digits)) => decimal_times(digits, n),
        };
        match product {
            Some(product) => self.value = Some(Value::Whole(product)),
            None => {
                self.end_number();
                self.value = Some(Value::Whole(n));
            }
        }
    }

    fn can_be_number(&self, next: Option<&str>) -> bool {
        self.numbers.word(next).is_some() || next.is_some_and(is_numeric)
    }

    fn percent(&mut self, word: Word, current: &str, next: Option<&str>) -> usize {
        let Some(value) = self.value.clone() else {
            self.put(current);
            return 1;
        };
        if word == Word::Percent || next == Some("cent") {
            self.put(&(value.text() + "%"));
            return if word == Word::Percent { 1 } else { 2 };
        }
        self.end_number();
        self.put(current);
        1
    }

    fn special(&mut self, word: Word, before: Option<Word>, current: &str, next: Option<&str>) -> usize {
        let following = self.numbers.word(next);
        let repeats = if word == Word::Double { 2 } else { 3 };
        match (word, following) {
            _ if !self.can_be_number(next) => {}
            // "two hundred and five"
            (Word::And, _) if matches!(before, Some(Word::Multiplier(_))) => return 1,
            (Word::Double | Word::Triple, Some(Word::Ones(_) | Word::Zero)) => {
                let n = if let Some(Word::Ones(n)) = following { n } else { 0 };
                self.value = Some(Value::Digits(self.digits_so_far() + &n.to_string().repeat(repeats)));
                return 2;
            }
            (Word::Point, _) => {
                let decimal = matches!(following, Some(Word::Ones(_) | Word::Tens(_) | Word::Zero));
                if decimal || next.is_some_and(is_numeric) {
                    self.value = Some(Value::Digits(self.digits_so_far() + "."));
                }
                return 1;
            }
            _ => {}
        }
        self.end_number();
        self.put(current);
        1
    }
}

/// Digits, and perhaps a point and digits.
fn is_numeric(word: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    word.split_once('.').map_or_else(|| digits(word), |(whole, part)| digits(whole) && digits(part))
}

/// What is below a thousand counts `n` times.
fn group_times(whole: u128, n: u128) -> Option<u128> {
    (whole % 1000).checked_mul(n)?.checked_add(whole / 1000 * 1000)
}

/// `digits`, which may have a point, times `n`; `None` unless that is a whole number.
fn decimal_times(digits: &str, n: u128) -> Option<u128> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 10_u128.checked_pow(part.len().try_into().ok()?)?;
    let product = format!("{whole}{part}").parse::<u128>().ok()?.checked_mul(n)?;
    (product % scale == 0).then_some(product / scale)
}
