//! Clean-up by rule: hesitations, stutters, repeats, marked repairs, and the punctuation they leave
//! behind. Whatever is not surely one of these stays as it was said.

use super::lexicon::{self, Lexicon};
use super::numbers;
use super::words::{fold, is_unspaced};

/// Most rounds: what one rule removes may bring a repeat together.
const ROUNDS: usize = 8;
/// Longest repeated phrase.
const PHRASE_WORDS: usize = 4;
/// How far back a repair may reach.
const REPAIR_WORDS: usize = 5;
/// Words that answer or greet at the start of a sentence and stand apart from it.
const OPENERS: [&str; 14] = [
    "okay", "ok", "well", "yes", "yeah", "no", "hello", "hi", "hey", "thanks", "right", "sure", "alright",
    "anyway",
];

/// Ways to take back what was just said; the others must stand behind a comma.
const SURE_MARKERS: &[&[&str]] =
    &[&["no", "wait"], &["wait", "no"], &["scratch", "that"], &["strike", "that"], &["or", "rather"]];
const MARKERS: &[&[&str]] = &[&["i", "mean"], &["sorry"]];
/// Words with a hyphen that look like a stutter.
const HYPHENATED: &[&str] = &["t-test", "t-tests", "t-testing", "d-day", "b-ball", "e-edition", "e-election"];
const ABBREVIATIONS: &[&str] =
    &["mr", "mrs", "ms", "dr", "st", "vs", "etc", "eg", "ie", "no", "approx", "prof", "jr", "sr"];

/// Cleans a transcript in `lang` ("en", "de", ...). Keeps line breaks, and one
/// empty line between paragraphs; text in scripts without spaces is only rid of superfluous white space. Applied twice it does what it does once.
pub fn clean(text: &str, lang: &str) -> String {
    let lines: Vec<String> = text.lines().map(|l| clean_line(l, lang)).collect();
    let mut out = String::with_capacity(text.len());
    let mut paragraph = false;
    for line in &lines {
        if !line.is_empty() {
            if !out.is_empty() {
                out += if paragraph { "\n\n" } else { "\n" };
            }
            out += line;
        }
        paragraph = line.is_empty();
    }
    out
}

fn clean_line(line: &str, lang: &str) -> String {
    let mut text = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if text.chars().filter(|c| is_unspaced(*c)).count() * 3 > letters {
        return text;
    }
    for _ in 0..ROUNDS {
        let next = Line::new(&text, lang).cleaned();
        if next == text {
            break;
        }
        text = next;
    }
    text
}

/// A word as written.
#[derive(Clone, Debug)]
struct Token {
    lead: String,
    core: String,
    trail: String,
    /// Lower case.
    norm: String,
}

impl Token {
    fn new(text: &str) -> Token {
        let edge = |c: char| {
            !c.is_alphanumeric()
                && !matches!(
                    c,
                    '$' | '€'
                        | '£'
                        | '%'
                        | '#'
                        | '@'
                        | '/'
                        | '_'
                        | '='
                        | '+'
                        | '<'
                        | '>'
                        | '{'
                        | '}'
                        | '\\'
                        | '°'
                        | '&'
                        | '*'
                        | '~'
                        | '^'
                        | '|'
                )
        };
        let core = text.trim_start_matches(edge);
        let lead = &text[..text.len() - core.len()];
        let core = core.trim_end_matches(edge);
        let trail = &text[lead.len() + core.len()..];
        Token { lead: lead.into(), core: core.into(), trail: trail.into(), norm: fold(core) }
    }

    fn ends_sentence(&self) -> bool {
        self.trail.contains(['.', '!', '?']) && !self.trail.contains("..")
    }

    fn has_comma(&self) -> bool {
        self.trail.contains(',')
    }

    /// Nothing, a comma or a dash stands behind it.
    fn runs_on(&self) -> bool {
        matches!(self.trail.as_str(), "" | "," | "-" | "—" | "–" | "..." | "…" | ",-")
    }

    /// Digits, addresses, identifiers: never touched.
    fn is_code(&self) -> bool {
        let inner_capital =
            self.core.chars().skip(1).any(char::is_uppercase) && self.core.chars().any(char::is_lowercase);
        self.core.is_empty()
            || inner_capital
            || self.core.chars().any(|c| !c.is_alphabetic() && !matches!(c, '\'' | '’' | '-' | '—'))
    }
}

struct Line<'a> {
    tokens: Vec<Token>,
    lang: &'a str,
    lex: &'static Lexicon,
    english: bool,
}

impl Line<'_> {
    fn new<'a>(text: &str, lang: &'a str) -> Line<'a> {
        let (lex, english) = (lexicon::lexicon(lang), lexicon::is_english(lang));
        Line { tokens: text.split_whitespace().map(Token::new).collect(), lang, lex, english }
    }

    fn cleaned(mut self) -> String {
        let said = self.tokens.len();
        self.fillers();
        self.stutters();
        self.repairs();
        self.repeats();
        self.punctuation();
        self.capitals(said);
        let words: Vec<String> =
            self.tokens.iter().map(|t| format!("{}{}{}", t.lead, t.core, t.trail)).collect();
        words.join(" ")
    }

    fn norm(&self, i: usize) -> &str {
        self.tokens.get(i).map_or("", |t| t.norm.as_str())
    }

    /// Removes `from..to`, leaving the punctuation that still has a place.
    fn remove(&mut self, from: usize, to: usize, apart: bool) {
        let Some(last) = self.tokens.get(to.wrapping_sub(1)).cloned() else { return };
        let Some(first) = self.tokens.get(from).cloned() else { return };
        let capital = first.core.starts_with(char::is_uppercase)
            && from.checked_sub(1).is_none_or(|p| self.tokens[p].ends_sentence());
        self.tokens.drain(from..to);
        if let Some(next) = self.tokens.get_mut(from) {
            if capital && !next.is_code() {
                next.core = capitalised(&next.core);
            }
            next.lead.insert_str(0, &first.lead.replace(['-', '—', '–', ',', '.', '…'], ""));
        }
        let Some(p) = from.checked_sub(1) else { return };
        let opens = p == 0 || self.tokens[p - 1].ends_sentence();
        let Some(before) = self.tokens.get_mut(p) else { return };
        // "Okay, um, please" keeps the comma an opening word has of its own.
        let opener = opens && OPENERS.contains(&before.norm.as_str());
        if last.ends_sentence() {
            if !before.ends_sentence() {
                before.trail = last.trail.clone();
            }
        } else if apart && last.has_comma() && before.trail == "," && first.lead.is_empty() && !opener {
            // The commas set off what is gone.
            before.trail.clear();
        } else if apart && last.has_comma() && before.trail.is_empty() {
            before.trail.push(',');
        }
        let closing: String =
            last.trail.chars().filter(|c| matches!(c, '"' | ')' | '”' | '’' | ']')).collect();
        if !last.ends_sentence() {
            before.trail += &closing;
        }
    }

    fn fillers(&mut self) {
        let mut i = 0;
        while i < self.tokens.len() {
            if self.is_filler(i) {
                self.remove(i, i + 1, true);
            } else if let Some(words) = self.aside(i) {
                self.remove(i, i + words, true);
            } else {
                i += 1;
            }
        }
    }

    fn is_filler(&self, i: usize) -> bool {
        let token = &self.tokens[i];
        if !self.lex.fillers.contains(&token.norm.as_str()) {
            return false;
        }
        let before = i.checked_sub(1).map_or("", |p| self.norm(p));
        let after = self.norm(i + 1);
        // "5 mm", "the ER", "uh huh", "uh oh", "mm hmm".
        let unit =
            before.ends_with(|c: char| c.is_ascii_digit()) || numbers::is_number_word(before, self.lang);
        let acronym = token.core.len() == 2 && token.core.chars().all(char::is_uppercase);
        let word = matches!(after, "huh" | "oh" | "hmm")
            && matches!(token.norm.as_str(), "uh" | "mm" | "mhm")
            || matches!(before, "uh" | "mm");
        !(unit && matches!(token.norm.as_str(), "mm" | "em") || acronym || word && !token.has_comma())
    }

    /// "you know", "I mean", "like" between commas: how many words.
    fn aside(&self, i: usize) -> Option<usize> {
        if !self.english || i == 0 || !self.tokens[i - 1].has_comma() {
            return None;
        }
        let words = match (self.norm(i), self.norm(i + 1)) {
            ("you", "know") | ("i", "mean") => 2,
            ("like", _) => 1,
            _ => return None,
        };
        let closed =
            self.tokens.get(i + words - 1)?.trail == "," && (words == 1 || self.tokens[i].trail.is_empty());
        (closed && i + words < self.tokens.len() && self.repair_at(i).is_none()).then_some(words)
    }

    /// "th- the", "w-w-what".
    fn stutters(&mut self) {
        let mut i = 0;
        while i < self.tokens.len() {
            let token = &self.tokens[i];
            let short = token.norm.chars().count() <= 3 && !token.is_code();
            let next = self.norm(i + 1);
            if short
                && token.trail.starts_with('-')
                && next.starts_with(token.norm.as_str())
                && next != token.norm
            {
                self.remove(i, i + 1, false);
                continue;
            }
            if let Some(whole) = unstuttered(token) {
                let token = &mut self.tokens[i];
                let capital = token.core.starts_with(char::is_uppercase);
                token.core = if capital { capitalised(&whole) } else { whole };
                token.norm = fold(&token.core);
            }
            i += 1;
        }
    }

    /// "on Tuesday, no wait, on Wednesday".
    fn repairs(&mut self) {
        let mut i = 0;
        while i < self.tokens.len() {
            match self.repair_at(i) {
                Some((from, to)) => {
                    self.remove(from, to, false);
                    i = from;
                }
                None => i += 1,
            }
        }
    }

    /// If a marker stands at `i` and what follows resumes what was before: the stretch to remove.
    fn repair_at(&self, i: usize) -> Option<(usize, usize)> {
        if !self.english || i == 0 || self.tokens[i - 1].ends_sentence() {
            return None;
        }
        let stands = |m: &&&[&str]| m.iter().enumerate().all(|(k, w)| self.norm(i + k) == *w);
        let comma = !self.tokens[i - 1].trail.is_empty();
        let sure = SURE_MARKERS.iter().find(stands);
        let marker = sure.or_else(|| MARKERS.iter().find(stands).filter(|_| comma))?;
        let to = i + marker.len();
        if self.tokens[i..to].iter().any(Token::ends_sentence) {
            return None;
        }
        let next = self.tokens.get(to)?;
        // "I like it, I mean it."
        let object = matches!(next.norm.as_str(), "it" | "that" | "this" | "what" | "you" | "them" | "every");
        if sure.is_none() && object && !self.tokens[to - 1].has_comma() {
            return None;
        }
        let first = i.saturating_sub(REPAIR_WORDS);
        let first =
            (first..i).rev().find(|&k| k + 1 < i && self.tokens[k].ends_sentence()).map_or(first, |k| k + 1);
        let from = (first..i).rev().find(|&k| self.resumes(k, to))?;
        let digits = |k: usize| self.is_number(k);
        // A number goes only where another takes its place.
        let safe = (from..i).all(|k| !digits(k) || digits(to + (k - from)));
        (safe && (!next.is_code() || digits(to))).then_some((from, to))
    }

    fn is_number(&self, i: usize) -> bool {
        let norm = self.norm(i);
        norm.contains(|c: char| c.is_ascii_digit()) || numbers::is_number_word(norm, self.lang)
    }

    /// Whether the words at `b` begin like those at `a`: the same word, or both days or months.
    fn resumes(&self, a: usize, b: usize) -> bool {
        const KINDS: &[&[&str]] = &[
            &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
            &[
                "january",
                "february",
                "march",
                "april",
                "june",
                "july",
                "august",
                "september",
                "october",
                "november",
                "december",
            ],
        ];
        let (x, y) = (self.norm(a), self.norm(b));
        if x.is_empty() || self.is_number(b) {
            return false;
        }
        x == y || KINDS.iter().any(|k| k.contains(&x) && k.contains(&y))
    }

    fn repeats(&mut self) {
        let mut i = 0;
        while i < self.tokens.len() {
            let phrase = (1..=PHRASE_WORDS).rev().find(|&n| self.is_repeat(i, n));
            match phrase {
                // The first copy goes: what follows belongs to the second.
                Some(n) => self.remove_copy(i, n),
                None => i += 1,
            }
        }
    }

    fn remove_copy(&mut self, i: usize, n: usize) {
        let (lead, core) = (self.tokens[i].lead.clone(), self.tokens[i].core.clone());
        let capital = core.starts_with(char::is_uppercase);
        self.tokens.drain(i..i + n);
        if let Some(kept) = self.tokens.get_mut(i) {
            kept.lead = lead;
            if capital {
                kept.core = capitalised(&kept.core);
            }
        }
    }

    /// Whether the `n` words at `i` are said again right behind, and not for good reason.
    fn is_repeat(&self, i: usize, n: usize) -> bool {
        let Some(both) = self.tokens.get(i..i + 2 * n) else { return false };
        let (a, b) = both.split_at(n);
        let same = a.iter().zip(b).all(|(x, y)| x.norm == y.norm && !x.is_code())
            && (0..n).all(|k| k == n - 1 || a[k].trail == b[k].trail && a[k].runs_on())
            && b.iter().all(|t| t.lead.is_empty())
            && a[n - 1].runs_on();
        if !same || a.iter().any(|t| numbers::is_number_word(&t.norm, self.lang)) {
            return false;
        }
        let protected = |t: &Token| self.lex.doublings.contains(&t.norm.as_str());
        let named =
            |t: &Token| t.core.starts_with(char::is_uppercase) && t.norm != "i" && !t.norm.starts_with("i'");
        if a.iter().all(protected) || both.iter().all(named) {
            return false;
        }
        if n == 1 { self.is_word_repeat(i) } else { !self.is_climax(i, n) }
    }

    /// A single word said twice: function words, and others without a comma (that is emphasis).
    fn is_word_repeat(&self, i: usize) -> bool {
        let token = &self.tokens[i];
        let stem = token.norm.split('\'').next().unwrap_or("");
        let subject = self.english && matches!(stem, "i" | "we" | "you" | "they" | "he" | "she");
        let function = subject
            || self.lex.light.contains(&token.norm.as_str())
            || self.lex.function.contains(&token.norm.as_str());
        let letter = token.norm.chars().count() == 1
            && !(self.english && matches!(token.core.as_str(), "I" | "i" | "a"));
        let spelled = |k: usize| self.norm(k).chars().count() == 1 && self.norm(k) != token.norm;
        if letter || token.norm.chars().count() == 1 && (spelled(i + 2) || i > 0 && spelled(i - 1)) {
            return false;
        }
        let known = !self.lex.function.is_empty();
        function
            || known
                && token.trail.is_empty()
                && self.tokens[i + 1].core.starts_with(char::is_lowercase)
                && self.norm(i + 2) != token.norm
    }

    /// "again and again and again".
    fn is_climax(&self, i: usize, n: usize) -> bool {
        const AND: &[&str] = &["and", "or", "und", "et", "y", "e", "en", "by", "after", "to", "um"];
        let joins = |k: usize| AND.contains(&self.norm(k));
        n == 2
            && (joins(i) && i > 0 && self.norm(i - 1) == self.norm(i + 1)
                || joins(i + 1) && self.norm(i + 4) == self.norm(i))
    }

    /// Loose and doubled marks.
    fn punctuation(&mut self) {
        let mut out: Vec<Token> = Vec::with_capacity(self.tokens.len());
        for token in self.tokens.drain(..) {
            let loose =
                token.core.is_empty() && matches!(token.lead.as_str(), "," | "." | ",," | "?" | "!" | ";");
            let french =
                self.lex.negations.contains(&"pas") && matches!(token.lead.as_str(), "?" | "!" | ";");
            match out.last_mut() {
                Some(last) if loose && !french && !last.core.is_empty() => last.trail += &token.lead,
                None if loose => {}
                _ => out.push(token),
            }
        }
        for token in out.iter_mut().filter(|t| !t.core.is_empty()) {
            token.trail = tidied(&token.trail);
        }
        if let Some(first) = out.first_mut().filter(|t| !t.core.is_empty()) {
            let lead = first.lead.trim_start_matches([',', ';']);
            if lead.len() != first.lead.len() && !lead.starts_with('.') {
                first.lead = lead.to_string();
            }
        }
        self.tokens = out;
    }

    /// Capitals at sentence starts, and "I".
    fn capitals(&mut self, said: usize) {
        let long = said > 3 && self.tokens.len() > 3;
        for i in 0..self.tokens.len() {
            let starts = match i.checked_sub(1).map(|p| &self.tokens[p]) {
                None => long && !self.is_number(0),
                Some(before) => self.tokens[i].lead.is_empty() && ends(before),
            };
            let alone = |k: usize| self.norm(k).chars().count() == 1 && !matches!(self.norm(k), "a" | "i");
            let (english, next) = (self.english, self.tokens.get(i + 1).is_some_and(|t| t.is_code()));
            let spelled = alone(i + 1) || i > 0 && alone(i - 1);
            let Some(token) = self.tokens.get_mut(i) else { break };
            let plain = !token.is_code()
                && token.core.chars().all(|c| c.is_lowercase() || matches!(c, '\'' | '’' | '-'));
            let first_person = matches!(token.norm.as_str(), "i" | "i'm" | "i'll" | "i've" | "i'd")
                && matches!(token.trail.as_str(), "" | "," | "?" | "!")
                && token.lead.is_empty();
            if plain
                && (starts && (token.lead.is_empty() || token.lead == "\"")
                    || english && first_person && !spelled && !next)
            {
                token.core = capitalised(&token.core);
            }
        }
    }
}

/// Whether a sentence surely ends with the token.
fn ends(token: &Token) -> bool {
    let short = token.core.chars().count() <= 1
        || token.core.contains('.')
        || ABBREVIATIONS.contains(&token.norm.as_str());
    token.ends_sentence() && !(short && token.trail.starts_with('.')) && !token.core.is_empty()
}

/// With its first letter upper case.
pub(crate) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

/// "w-w-what" is "what"; real compounds ("re-read", "t-test") stay.
fn unstuttered(token: &Token) -> Option<String> {
    if token.is_code() || HYPHENATED.contains(&token.norm.as_str()) {
        return None;
    }
    let (starts, whole) = token.core.rsplit_once('-')?;
    let whole_norm = fold(whole);
    let starts: Vec<String> = starts.split('-').map(fold).collect();
    let begins = |s: &String| {
        !s.is_empty()
            && s.chars().count() <= 3
            && whole_norm.starts_with(s.as_str())
            && whole_norm.len() > s.len()
    };
    let vowel = |s: &String| s.contains(['a', 'e', 'i', 'o', 'u', 'y']);
    // One short syllable may be a prefix.
    let sure = starts.iter().all(begins) && (starts.len() > 1 || !starts.iter().any(vowel));
    sure.then(|| whole.to_string())
}

/// ",," is ",", ",." is ".", and what else removals leave.
fn tidied(trail: &str) -> String {
    if trail.is_empty()
        || !trail.chars().all(|c| matches!(c, ',' | '.' | '?' | '!' | ';'))
        || trail.contains("...")
    {
        return trail.to_string();
    }
    let end: String = trail.chars().filter(|c| matches!(c, '.' | '?' | '!')).collect();
    match (end.as_str(), trail.starts_with([',', ';'])) {
        ("", _) => trail.chars().take(1).collect(),
        ("..", _) => ".".into(),
        (_, true) => end,
        _ if trail.ends_with([',', ';']) && end == "." => trail.to_string(),
        _ => trail.to_string(),
    }
}
