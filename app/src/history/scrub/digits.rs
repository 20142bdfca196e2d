//! Runs of digits, written or spoken, and what they are.

use std::ops::Range;

/// A run of digits or letters in the text.
#[derive(Clone, Debug)]
struct Token {
    span: Range<usize>,
    lower: String,
    /// Its digits, if it stands for some.
    digits: Option<String>,
    /// Whether it is a word rather than figures.
    spoken: bool,
}

/// Replaces the telephone, card, account and identity numbers of `text`.
pub(super) fn replace_numbers(text: &str) -> String {
    let tokens = tokens(text);
    let (mut out, mut copied, mut i) = (String::with_capacity(text.len()), 0, 0);
    while i < tokens.len() {
        let found = iban(text, &tokens, i).or_else(|| number(text, &tokens, i));
        let Some((end, label)) = found else {
            i += 1;
            continue;
        };
        if let Some(label) = label {
            out += &text[copied..opening(text, tokens[i].span.start)];
            out += label;
            copied = tokens[end - 1].span.end;
        }
        i = end;
    }
    out + &text[copied..]
}

/// Where a number that begins at `start` begins with its `+` or bracket.
fn opening(text: &str, start: usize) -> usize {
    start - text[..start].chars().rev().take_while(|c| matches!(c, '+' | '(')).count()
}

fn tokens(text: &str) -> Vec<Token> {
    let class = |c: char| (c.is_ascii_digit(), c.is_alphabetic());
    let mut tokens: Vec<Token> = Vec::new();
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
        let end = at + c.len_utf8();
        match tokens.last_mut().filter(|token| token.span.end == at) {
            // Figures and letters that touch are one token, which is neither number nor word.
            Some(token) => {
                if class(c) != text[..at].chars().next_back().map_or((false, false), class) {
                    token.spoken = false;
                }
                token.span.end = end;
            }
            None => tokens.push(Token { span: at..end, lower: String::new(), digits: None, spoken: true }),
        }
    }
    for token in &mut tokens {
        let word = &text[token.span.clone()];
        token.lower = word.to_lowercase();
        token.spoken = word.chars().all(char::is_alphabetic);
        token.digits = match word.bytes().all(|b| b.is_ascii_digit()) {
            true => Some(word.to_owned()),
            false => digit_word(&token.lower).map(str::to_owned),
        };
    }
    tokens
}

/// The digits that a spoken word stands for.
pub(super) fn digit_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "zero" | "oh" | "o" | "null" | "zéro" | "cero" => "0",
        "one" | "eins" | "un" | "une" | "uno" => "1",
        "two" | "zwei" | "zwo" | "deux" | "dos" | "due" => "2",
        "three" | "drei" | "trois" | "tres" | "tre" => "3",
        "four" | "vier" | "quatre" | "cuatro" | "quattro" => "4",
        "five" | "fünf" | "cinq" | "cinco" | "cinque" => "5",
        "six" | "sechs" | "seis" | "sei" => "6",
        "seven" | "sieben" | "sept" | "siete" | "sette" => "7",
        "eight" | "acht" | "huit" | "ocho" | "otto" => "8",
        "nine" | "neun" | "neuf" | "nueve" | "nove" => "9",
        "ten" => "10",
        "eleven" => "11",
        "twelve" => "12",
        "thirteen" => "13",
        "fourteen" => "14",
        "fifteen" => "15",
        "sixteen" => "16",
        "seventeen" => "17",
        "eighteen" => "18",
        "nineteen" => "19",
        "twenty" => "20",
        "thirty" => "30",
        "forty" => "40",
        "fifty" => "50",
        "sixty" => "60",
        "seventy" => "70",
        "eighty" => "80",
        "ninety" => "90",
        _ => return None,
    })
}

/// The run of digits that begins with token `i`: where it ends, and its label if it is to be replaced.
fn number(text: &str, tokens: &[Token], i: usize) -> Option<(usize, Option<&'static str>)> {
    let mut run = Run::default();
    let (mut at, mut times) = (i, 1);
    while let Some(token) = tokens.get(at) {
        if !run.is_empty() || times > 1 {
            let gap = &text[tokens[at - 1].span.end..token.span.start];
            if !run.continues(gap, token) {
                break;
            }
        }
        match (&token.digits, token.lower.as_str()) {
            (Some(digits), _) => {
                run.push(text, token, digits.repeat(times));
                times = 1;
            }
            (None, "double") => times = 2,
            (None, "triple" | "treble") => times = 3,
            // Said between groups.
            (None, "dash" | "hyphen" | "strich") if !run.is_empty() => {}
            _ => break,
        }
        at += 1;
        run.end = if times == 1 && token.digits.is_some() { at } else { run.end };
    }
    if run.is_empty() {
        return None;
    }
    let before: Vec<&str> = tokens[i.saturating_sub(4)..i].iter().map(|t| t.lower.as_str()).collect();
    let after = tokens.get(run.end).map_or("", |t| t.lower.as_str());
    let tail = text[tokens[run.end - 1].span.end..].trim_start();
    let head = text[..tokens[i].span.start].trim_end();
    let surroundings = Surroundings {
        called: before.iter().any(|word| CALLED.contains(word)),
        international: head.ends_with(['+']) || before.last() == Some(&"plus"),
        amount: UNITS.contains(&after)
            || head.ends_with(['$', '€', '£', '¥'])
            || tail.starts_with(['$', '€', '£', '%']),
    };
    let skip = run.leading_date();
    if skip > 0 && run.groups.len() > skip {
        return Some((i + skip, None));
    }
    Some((run.end, run.label(&surroundings)))
}

/// Words that announce a telephone number.
const CALLED: &[&str] = &[
    "call",
    "phone",
    "telephone",
    "tel",
    "cell",
    "mobile",
    "fax",
    "whatsapp",
    "dial",
    "ring",
    "number",
    "nummer",
    "telefon",
    "telefonnummer",
    "handy",
    "handynummer",
    "mobil",
    "rufnummer",
    "numéro",
    "téléphone",
    "portable",
    "teléfono",
    "número",
    "telefono",
    "numero",
    "cellulare",
];

/// Words that make a number an amount.
const UNITS: &[&str] = &[
    "dollars", "dollar", "euros", "euro", "eur", "usd", "gbp", "pounds", "cents", "percent", "prozent",
    "people", "users", "bytes", "kb", "mb", "gb", "kg", "km", "m", "meters", "miles", "hundred", "thousand",
    "million", "millions", "billion", "tokens", "times", "years", "days", "hours", "minutes", "seconds",
    "ms", "rows", "lines",
];

struct Surroundings {
    called: bool,
    international: bool,
    amount: bool,
}

#[derive(Default)]
struct Run {
    groups: Vec<String>,
    /// Between the groups, one fewer.
    gaps: Vec<String>,
    /// Groups that were words for a single digit.
    spoken: usize,
    words: usize,
    /// Index of the token after it.
    end: usize,
    last_end: usize,
}

impl Run {
    fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn push(&mut self, text: &str, token: &Token, digits: String) {
        if !self.is_empty() {
            self.gaps.push(text[self.last_end..token.span.start].to_owned());
        }
        self.words += usize::from(token.spoken);
        self.spoken += usize::from(token.spoken && !digits.is_empty() && digits.len() != 2);
        self.groups.push(digits);
        self.last_end = token.span.end;
    }

    /// Whether `token` after `gap` can belong to the number.
    fn continues(&self, gap: &str, token: &Token) -> bool {
        let single = token.spoken || token.digits.as_ref().is_some_and(|d| d.len() == 1);
        let after_single = self.groups.last().is_none_or(|d| d.len() == 1) || self.words > 0;
        match gap {
            " " | "\u{a0}" | "\u{202f}" | "-" | "–" | " - " | " – " | "." | "/" | ") " | ")" | " ("
            | "-(" => true,
            // Digits are said with commas; so are lists, of longer numbers.
            ", " => single && after_single,
            _ => false,
        }
    }

    fn digits(&self) -> String {
        self.groups.concat()
    }

    fn lengths(&self) -> Vec<usize> {
        self.groups.iter().map(String::len).collect()
    }

    fn values(&self) -> Vec<u64> {
        self.groups.iter().map(|group| group.parse().unwrap_or(u64::MAX)).collect()
    }

    /// Groups of a date that the run begins with, figures only: 3 or 0.
    fn leading_date(&self) -> usize {
        let (lengths, values) = (self.lengths(), self.values());
        let [a, b, c, ..] = values[..] else { return 0 };
        let year = |value| (1900..2100).contains(&value);
        let day_month = |x, y| (1..=31).contains(&x) && (1..=31).contains(&y) && (x <= 12 || y <= 12);
        let date = match lengths[..3] {
            [4, 1..=2, 1..=2] => year(a) && day_month(b, c),
            [1..=2, 1..=2, 4] => year(c) && day_month(a, b),
            _ => false,
        };
        if date && self.words == 0 { 3 } else { 0 }
    }

    fn label(&self, around: &Surroundings) -> Option<&'static str> {
        let digits = self.digits();
        let n = digits.len();
        let lengths = self.lengths();
        if n < 7 || around.amount || self.leading_date() > 0 || self.is_progression() {
            return None;
        }
        if lengths == [3, 2, 4] && self.gaps.iter().all(|gap| gap == "-") {
            return Some("[id]");
        }
        let ordinary = self.words == 0 && !around.international && self.is_ordinary(around.called);
        if ordinary {
            return None;
        }
        if (13..=19).contains(&n) && luhn(&digits) {
            return Some("[card]");
        }
        let zero = digits.starts_with('0');
        let phone = match (self.words, lengths.as_slice()) {
            (1.., _) => self.spoken >= 5 || around.called || around.international,
            _ if around.international || around.called || n > 15 => true,
            (0, [_]) => n >= 10 || zero,
            (0, [3, 4]) => self.gaps[0] != " ",
            (0, [_, _]) => zero || n >= 9 && self.gaps[0] != " ",
            // One by one: with the same sign between all, or it is a score.
            (0, _) if lengths.iter().all(|len| *len == 1) => {
                self.gaps.windows(2).all(|gaps| gaps[0] == gaps[1])
            }
            (0, _) if lengths.iter().all(|len| *len <= 2) => zero,
            _ => true,
        };
        match phone {
            true if n > 15 => Some("[number]"),
            true => Some("[phone]"),
            false => None,
        }
    }

    /// Counting up or down, or a list of even steps.
    fn is_progression(&self) -> bool {
        let values = self.values();
        let steps: Vec<i128> = values.windows(2).map(|v| i128::from(v[1]) - i128::from(v[0])).collect();
        steps.len() >= 2 && steps[0] != 0 && steps.iter().all(|step| *step == steps[0])
    }

    /// Amounts, decimals, addresses of machines, ranges, books.
    fn is_ordinary(&self, called: bool) -> bool {
        let (lengths, values) = (self.lengths(), self.values());
        let gap = |sign: &str| self.gaps.iter().all(|gap| gap.trim() == sign);
        let zero = self.groups[0].starts_with('0');
        let thousands =
            lengths.len() > 1 && lengths[0] <= 3 && lengths[1..].iter().all(|len| *len == 3) && !zero;
        let round = self.groups[1..].iter().all(|group| group.bytes().all(|b| b == b'0'));
        let year = |value: &u64| (1000..3000).contains(value);
        match lengths.as_slice() {
            _ if thousands && (gap(".") || gap("") && (lengths[0] < 3 || round)) => !called,
            [_, _] if gap(".") => true,
            [4, 4] if values.iter().all(year) => true,
            [a, b] if a == b && gap("-") && !zero && values[0] < values[1] => !called,
            [5, 4] if gap("-") => true,
            [1..=2, 1..=2, 1..=2, 1..=2] if self.gaps[0] == "." && self.gaps[1].trim() == "-" => true,
            [1..=3, 1..=3, 1..=3, 1..=3] if gap(".") => values.iter().all(|v| *v <= 255),
            _ => self.digits().len() == 13 && matches!(self.digits().get(..3), Some("978" | "979")),
        }
    }
}

/// The check of card numbers (ISO/IEC 7812): every second digit from the right is doubled.
fn luhn(digits: &str) -> bool {
    let values = digits.bytes().rev().map(|b| u32::from(b - b'0'));
    let sum: u32 =
        values.enumerate().map(|(i, d)| if i % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { d }).sum();
    sum.is_multiple_of(10) && digits.bytes().any(|b| b != b'0')
}

/// The longest IBAN, written in groups or spelled, that begins with token `i`: where it ends.
fn iban(text: &str, tokens: &[Token], i: usize) -> Option<(usize, Option<&'static str>)> {
    let (mut code, mut found) = (String::new(), None);
    for (at, token) in tokens.iter().enumerate().skip(i) {
        let near = at == i || text[tokens[at - 1].span.end..token.span.start].trim().len() <= 1;
        let word = &text[token.span.clone()];
        let part = token.digits.as_deref().unwrap_or(word);
        let belongs = part.contains(|c: char| c.is_ascii_digit()) || word.len() <= 4 && word.is_ascii();
        if !near || !belongs || code.len() + part.len() > 34 {
            break;
        }
        code += part;
        if is_iban(&code) {
            found = Some((at + 1, Some("[iban]")));
        }
    }
    found
}

/// Whether `code` is an International Bank Account Number (ISO 13616): country, check digits, 15 to 34 characters,
/// remainder 1 of 97.
pub(super) fn is_iban(code: &str) -> bool {
    let bytes = code.as_bytes();
    let shaped = (15..=34).contains(&bytes.len())
        && bytes.iter().all(u8::is_ascii_alphanumeric)
        && bytes[..2].iter().all(u8::is_ascii_alphabetic)
        && bytes[2..4].iter().all(u8::is_ascii_digit);
    shaped && {
        let (country, account) = bytes.split_at(4);
        let remainder = account.iter().chain(country).fold(0_u32, |sum, b| match b {
            b'0'..=b'9' => (sum * 10 + u32::from(b - b'0')) % 97,
            letter => (sum * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
        });
        remainder == 1
    }
}
