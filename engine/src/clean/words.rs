//! Text into words: where they stand, what they are once case and punctuation are taken off, and
//! what kind of word each is.

use super::lexicon::{self, Lexicon};
use super::numbers;
use super::spellings::{CONTRACTIONS, SPELLINGS};
use std::ops::Range;

/// What a word does in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Carries what is said.
    Content,
    /// Carries grammar.
    Function,
    /// A sound of hesitation.
    Filler,
    /// A number, in words or digits.
    Number,
    /// Turns a statement into its opposite.
    Negation,
}

/// A word of a text. A written word may be several ("don't" is "do" and "not"), a number in
/// several written words is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Bytes of the text it stands in, without surrounding punctuation.
    pub span: Range<usize>,
    /// Lower case, one kind of apostrophe, contractions written out; a number's digits.
    pub norm: String,
    /// What kind of word it is.
    pub kind: Kind,
    /// A comma, dash or other pause follows.
    pub pause_after: bool,
    /// A sentence ends here.
    pub sentence_end: bool,
    /// It was broken off ("th-").
    pub broken: bool,
}

/// A character of a script written without spaces between words.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0xFF66..=0xFF9F | 0x20000..=0x3FFFF)
}

/// Lower case with one kind of apostrophe.
pub(super) fn fold(word: &str) -> String {
    word.chars()
        .flat_map(char::to_lowercase)
        .map(|c| if matches!(c, '’' | '‘' | 'ʼ' | '`') { '\'' } else { c })
        .collect()
}

/// The words of `text` in `lang` ("en", "de", ...; unknown languages have no word lists). Numbers
/// in words become their digits. Linear in the text.
pub fn words(text: &str, lang: &str) -> Vec<Word> {
    let lex = lexicon::lexicon(lang);
    let mut split = Splitter { english: lexicon::is_english(lang), lex, out: Vec::new() };
    for token in text.split_whitespace() {
        let at = token.as_ptr() as usize - text.as_ptr() as usize;
        split.token(token, at);
    }
    let mut out = split.out;
    // "$50 billion" is said as "50 billion dollars".
    for i in 1..out.len() {
        let scale = lex.numbers.iter().any(|n| n.1 >= 1_000 && n.0 == out[i].norm);
        if scale && out[i - 1].span.is_empty() {
            out.swap(i - 1, i);
        }
    }
    numbers::merge(out, lex)
}

/// The kind of a normalised word.
pub(super) fn kind(norm: &str, lex: &Lexicon) -> Kind {
    if norm.starts_with(|c: char| c.is_ascii_digit()) {
        Kind::Number
    } else if lex.fillers.contains(&norm) {
        Kind::Filler
    } else if lex.negations.contains(&norm) {
        Kind::Negation
    } else if lex.light.contains(&norm) || lex.function.contains(&norm) {
        Kind::Function
    } else {
        Kind::Content
    }
}

struct Splitter<'a> {
    english: bool,
    lex: &'a Lexicon,
    out: Vec<Word>,
}

impl Splitter<'_> {
    fn push(&mut self, norm: &str, span: Range<usize>) {
        if norm.is_empty() {
            return;
        }
        let norm = SPELLINGS.iter().find(|s| self.english && s.0 == norm).map_or(norm, |s| s.1);
        let kind = kind(norm, self.lex);
        let norm = norm.to_string();
        self.out.push(Word { span, norm, kind, pause_after: false, sentence_end: false, broken: false });
    }

    /// One stretch without white space, at byte `at` of the text.
    fn token(&mut self, token: &str, at: usize) {
        let first = self.out.len();
        let core = token.trim_matches(|c: char| !c.is_alphanumeric());
        let address = core.contains('@') || core.contains("://") || core.starts_with("www.");
        let mut currency = None;
        let mut start = None;
        let mut chars = token.char_indices().peekable();
        let mut before = ' ';
        while let Some((i, c)) = chars.next() {
            let after = chars.peek().map_or(' ', |&(_, c)| c);
            let inside = start.is_some_and(|s: usize| self.continues(&token[s..i], before, c, after));
            if !inside && let Some(s) = start.take() {
                self.piece(&token[s..i], at + s);
                if let Some(name) = currency.take() {
                    self.push(name, at + i..at + i);
                }
            }
            let end = i + c.len_utf8();
            if is_unspaced(c) {
                let kind = if matches!(c, '嗯' | '呃') { Kind::Filler } else { Kind::Content };
                self.push(&token[i..end], at + i..at + end);
                if let Some(w) = self.out.last_mut() {
                    w.kind = kind;
                }
            } else if c.is_alphanumeric()
                || (c == '\'' || c == '’')
                    && after.is_alphabetic()
                    && start.is_none()
                    && !before.is_alphanumeric()
            {
                start = start.or(Some(i));
            } else if !inside {
                match symbol(c, before, after, address) {
                    Some(name) if is_currency(c) && (after.is_ascii_digit() || after == '.') => {
                        currency = Some(name)
                    }
                    Some(name) => self.push(name, at + i..at + end),
                    None => {}
                }
            }
            before = c;
        }
        if let Some(s) = start {
            let end = s + token[s..].trim_end_matches(|c: char| !c.is_alphanumeric()).len();
            self.piece(&token[s..end], at + s);
        }
        if let Some(name) = currency {
            self.push(name, at + token.len()..at + token.len());
        }
        self.mark_end(token, first);
    }

    /// Whether `c` goes on with the piece begun.
    fn continues(&self, piece: &str, before: char, c: char, after: char) -> bool {
        if is_unspaced(c) {
            return false;
        }
        let digits = before.is_ascii_digit();
        if c.is_alphanumeric() {
            // "4050ti" is a number and a name; "23rd" is a number.
            return !before.is_alphanumeric()
                || digits == c.is_ascii_digit()
                || digits && (is_rank(c, after) || c == 's' && !after.is_alphanumeric());
        }
        match c {
            '\'' | '’' => before.is_alphabetic() && after.is_alphabetic(),
            '.' | ',' => {
                (digits && after.is_ascii_digit())
                    || c == '.'
                        && after.is_alphabetic()
                        && piece.split('.').all(|p| p.chars().count() == 1)
                        && before.is_alphabetic()
            }
            _ => false,
        }
    }

    /// A stretch of letters with apostrophes, or of digits with their marks.
    fn piece(&mut self, piece: &str, at: usize) {
        let span = at..at + piece.len();
        let mut norm = fold(piece);
        if norm.starts_with(|c: char| c.is_ascii_digit()) {
            for digits in numbers::written(&norm, self.english) {
                self.push(&digits, span.clone());
            }
            return;
        }
        norm.retain(|c| c != '.');
        if let Some(long) = CONTRACTIONS.iter().find(|c| self.english && c.0 == norm).map(|c| c.1) {
            return long.split(' ').for_each(|w| self.push(w, span.clone()));
        }
        match norm.rsplit_once('\'') {
            Some((stem, "t")) if self.english && stem.ends_with('n') && stem.len() > 2 => {
                self.push(&stem[..stem.len() - 1], span.clone());
                self.push("not", span);
            }
            Some((stem, end)) if self.english && !stem.is_empty() => self.english_ending(stem, end, span),
            _ if !self.english => norm.split('\'').for_each(|w| self.push(w, span.clone())),
            _ => self.push(&norm, span),
        }
    }

    fn english_ending(&mut self, stem: &str, end: &str, span: Range<usize>) {
        const SUBJECTS: &[&str] = &[
            "it", "he", "she", "that", "this", "there", "here", "what", "who", "where", "how", "when", "why",
        ];
        let long = match end {
            "re" => "are",
            "ve" => "have",
            "ll" => "will",
            "d" => "would",
            "s" if SUBJECTS.contains(&stem) => "is",
            _ => return self.push(&format!("{stem}'{end}"), span),
        };
        self.push(stem, span.clone());
        self.push(long, span);
    }

    /// Notes on the last word of `token` what follows it.
    fn mark_end(&mut self, token: &str, first: usize) {
        let tail = token.trim_end_matches(['"', '\'', ')', '”', '’', ']']);
        let broken = tail.ends_with('-') && self.out.len() > first;
        if let Some(last) = self.out.last_mut() {
            last.sentence_end |= tail.ends_with(['.', '!', '?', '。', '！', '？']);
            last.pause_after |=
                tail.ends_with([',', ';', ':', '-', '—', '–', '…', '.', '!', '?', '。', '、', '，']);
            last.broken |= broken;
        }
    }
}

fn is_rank(c: char, after: char) -> bool {
    matches!(
        (c, after.to_ascii_lowercase()),
        ('s' | 'S', 't') | ('n' | 'N' | 'r' | 'R', 'd') | ('t' | 'T', 'h')
    )
}

fn is_currency(c: char) -> bool {
    matches!(c, '$' | '€' | '£' | '¥')
}

/// The word for a symbol that is read aloud.
fn symbol(c: char, before: char, after: char, address: bool) -> Option<&'static str> {
    Some(match c {
        '$' => "dollar",
        '€' => "euro",
        '£' => "pound",
        '¥' => "yen",
        '%' => "percent",
        '&' => "and",
        '@' => "at",
        '=' => "equals",
        '+' => "plus",
        '-' | '−' if !before.is_alphanumeric() && (after.is_ascii_digit() || is_currency(after)) => "minus",
        '.' if before.is_alphanumeric() && after.is_alphanumeric() => "dot",
        '.' if !before.is_alphanumeric() && after.is_ascii_digit() => "point",
        ':' if address => "colon",
        '/' if address => "slash",
        _ => return None,
    })
}
