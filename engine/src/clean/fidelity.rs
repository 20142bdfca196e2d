//! Is a model's clean-up still what was said? Every word must come from the transcript, and nothing
//! may be lost but fillers, repeats and what the speaker took back.

use super::align::{self, Alignment};
use super::excuse::Losses;
use super::lexicon::{self, Lexicon};
use super::words::{self, Kind, Word};
use super::{numbers, rules};
use std::collections::HashSet;
use std::fmt;

/// How far a clean-up may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Edits only: punctuation, case, spelling, fillers, repeats, marked repairs.
    Standard,
    /// New wording of the same content.
    Free,
    /// A new text: an answer, a translation. Only that it is one.
    Open,
}

/// Why a clean-up is not what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Infidelity {
    /// A word nobody said.
    NovelWord(String),
    /// A number appeared, vanished or changed.
    NumberChanged {
        /// The number in the transcript that is missing.
        said: Option<String>,
        /// The number in the clean-up that was not said.
        written: Option<String>,
    },
    /// A "not" appeared or vanished.
    NegationChanged,
    /// A word that was said is missing.
    LostContent(String),
    /// A question became a statement, or a statement a question.
    QuestionChanged,
    /// Longer than any clean-up, or longer than the check can judge.
    TooLong,
    /// Shorter than any clean-up.
    TooShort,
    /// It answers, comments, or repeats its instructions.
    PromptEcho,
    /// Nothing is left.
    Empty,
}

impl fmt::Display for Infidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NovelWord(word) => write!(f, "the clean-up says \"{word}\", which was not said"),
            Self::NumberChanged { said: Some(said), .. } => {
                write!(f, "the number {said} is missing from the clean-up")
            }
            Self::NumberChanged { written: Some(n), .. } => {
                write!(f, "the clean-up has the number {n}, which was not said")
            }
            Self::NumberChanged { .. } => write!(f, "the clean-up changes a number"),
            Self::NegationChanged => write!(f, "the clean-up adds or drops a negation"),
            Self::LostContent(word) => write!(f, "\"{word}\" is missing from the clean-up"),
            Self::QuestionChanged => {
                write!(f, "the clean-up turns a question into a statement or the reverse")
            }
            Self::TooLong => write!(f, "the clean-up is too long to be one"),
            Self::TooShort => write!(f, "the clean-up is too short to be one"),
            Self::PromptEcho => write!(f, "the clean-up answers or comments instead of cleaning"),
            Self::Empty => write!(f, "the clean-up is empty"),
        }
    }
}

impl std::error::Error for Infidelity {}

/// Longest text that is judged.
const LONGEST_BYTES: usize = 400_000;
/// Most words that are judged.
const MOST_WORDS: usize = 12_000;

/// Whether a text is not too long to be judged.
pub(super) fn can_judge(text: &str, words: &[Word]) -> bool {
    text.len() <= LONGEST_BYTES && words.len() <= MOST_WORDS
}

/// Most harmless words that a clean-up of so many words may add, and may drop.
pub(super) fn most_light(words: usize) -> usize {
    2 + words / 20
}

/// Most words of so many that may be spelled differently.
pub(super) fn most_respelled(words: usize) -> usize {
    2 + words / 8
}

/// Checks that `cleaned` is a faithful clean-up of `raw`, both in `lang`.
///
/// # Errors
/// The first infidelity found. Texts beyond 400,000 bytes or 12,000 words are refused as too long.
pub fn check(raw: &str, cleaned: &str, lang: &str, policy: Policy) -> Result<(), Infidelity> {
    if raw.len().max(cleaned.len()) > LONGEST_BYTES {
        return Err(Infidelity::TooLong);
    }
    if policy == Policy::Open {
        return open(raw, cleaned);
    }
    let lex = lexicon::lexicon(lang);
    let (raw_words, cleaned_words) = (words::words(raw, lang), words::words(cleaned, lang));
    if raw_words.len().max(cleaned_words.len()) > MOST_WORDS {
        return Err(Infidelity::TooLong);
    }
    if cleaned_words.is_empty() {
        let said = raw_words.iter().any(|w| w.kind != Kind::Filler);
        return if said { Err(Infidelity::Empty) } else { Ok(()) };
    }
    if echoes(raw, cleaned) {
        return Err(Infidelity::PromptEcho);
    }
    question_kept(raw, cleaned, lex)?;
    match policy {
        Policy::Standard => standard(&raw_words, &cleaned_words, lex),
        Policy::Free | Policy::Open => free(raw, &cleaned_words, lang),
    }
}

/// What models say when they do not clean: at the start, or anywhere.
const OPENERS: &[&str] = &[
    "sure",
    "certainly",
    "of course",
    "here is",
    "here's",
    "here are",
    "i'm sorry, but",
    "i'm sorry, i",
    "i am sorry",
    "i apologize",
    "i cannot",
    "i can't",
    "i can not",
    "i'm unable",
    "as an ai",
    "as a language model",
    "absolutely",
    "great question",
    "the answer is",
    "answer:",
    "okay, here",
    "ok, here",
    "no problem",
    "you're welcome",
    "thank you for",
    "transcript",
    "the transcript",
    "clean text",
    "cleaned",
    "corrected",
    "the corrected",
    "the cleaned",
    "output:",
    "input:",
    "user:",
    "assistant",
    "system:",
    "rewritten",
    "revised",
    "note:",
    "i'd be happy",
    "i would be happy",
    "i'm happy to",
    "let me know if",
    "translation:",
    "summary:",
];
const ANYWHERE: &[&str] = &[
    "```",
    "as an ai",
    "language model",
    "cleaned text",
    "cleaned-up",
    "cleaned up version",
    "i hope this helps",
    "let me know if you",
    "feel free to",
    "###",
    "user:",
    "transcript",
];

/// Whether the clean-up speaks as an assistant where the speaker did not.
fn echoes(raw: &str, cleaned: &str) -> bool {
    let spoken = |t: &str| {
        let norms: Vec<String> = words::words(t, "en").into_iter().map(|w| w.norm).collect();
        format!(" {} ", norms.join(" "))
    };
    let (raw, cleaned) = (words::fold(raw), words::fold(cleaned));
    let raw_spoken = spoken(&raw);
    let said = |phrase: &str| {
        let phrase_spoken = spoken(phrase);
        raw.contains(phrase) || !phrase_spoken.trim().is_empty() && raw_spoken.contains(&phrase_spoken)
    };
    let start = cleaned.trim_start_matches(|c: char| !c.is_alphanumeric());
    let opens =
        |o: &&&str| start.strip_prefix(**o).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    OPENERS.iter().filter(opens).any(|o| !said(o))
        || ANYWHERE.iter().chain(REMNANTS).filter(|o| cleaned.contains(**o)).any(|o| !said(o))
}

/// A text of its own: not empty, no remnant of a prompt, no loop.
fn open(raw: &str, text: &str) -> Result<(), Infidelity> {
    let (said, written) = (words::fold(raw), words::fold(text));
    if !text.contains(char::is_alphanumeric) {
        return Err(Infidelity::Empty);
    }
    if REMNANTS.iter().any(|r| written.contains(r) && !said.contains(r)) {
        return Err(Infidelity::PromptEcho);
    }
    let words: Vec<&str> = written.split_whitespace().collect();
    match (1..=LOOP_WORDS).any(|n| ends_in_loop(&words, n)) {
        true => Err(Infidelity::TooLong),
        false => Ok(()),
    }
}

/// What is left of prompts when models do not stop where they should.
const REMNANTS: &[&str] = &[
    "<|",
    "|>",
    "[inst]",
    "<start_of_turn>",
    "<end_of_turn>",
    "assistant:",
    "transcript:",
    "clean text:",
    "</s>",
];
/// Longest stretch that is looked for as a loop.
const LOOP_WORDS: usize = 12;
/// Repetitions in a row that are no longer a text.
const LOOPS: usize = 5;

/// Whether the last `n` words stand there five times in a row.
fn ends_in_loop(words: &[&str], n: usize) -> bool {
    let mut chunks = words.rchunks_exact(n);
    let Some(last) = chunks.next() else { return false };
    chunks.take_while(|chunk| *chunk == last).count() + 1 >= LOOPS
}

pub(super) fn is_question(text: &str) -> bool {
    text.contains(['?', '？'])
}

/// A question mark may be added where nothing was punctuated or a sentence begins like a question.
pub(super) fn question_kept(raw: &str, cleaned: &str, lex: &Lexicon) -> Result<(), Infidelity> {
    let asks = |text: &str| {
        text.split(['.', '!', '?', ',', ';', '。']).any(|s| {
            let first = words::fold(s.split_whitespace().next().unwrap_or(""));
            lex.interrogatives.contains(&first.as_str())
        })
    };
    let punctuated = raw.trim_end().ends_with(['.', '!', '。']);
    let changed = match (is_question(raw), is_question(cleaned)) {
        (true, false) => true,
        (false, true) => punctuated && !lex.interrogatives.is_empty() && !asks(raw),
        _ => false,
    };
    if changed { Err(Infidelity::QuestionChanged) } else { Ok(()) }
}

fn standard(raw: &[Word], cleaned: &[Word], lex: &Lexicon) -> Result<(), Infidelity> {
    if cleaned.len() > raw.len() * 3 / 2 + 12 {
        return Err(Infidelity::TooLong);
    }
    let Alignment { kept, licensed, respelled } = align::align(raw, cleaned, lex);
    let is_light = |w: &Word| lex.light.contains(&w.norm.as_str());
    let mut added = 0;
    for word in cleaned.iter().zip(&licensed).filter(|(_, l)| !**l).map(|(w, _)| w) {
        match word.kind {
            Kind::Number => {
                return Err(Infidelity::NumberChanged { said: None, written: Some(word.norm.clone()) });
            }
            Kind::Negation => return Err(Infidelity::NegationChanged),
            _ if is_light(word) => added += 1,
            _ => return Err(Infidelity::NovelWord(word.norm.clone())),
        }
        if added > most_light(raw.len()) {
            return Err(Infidelity::NovelWord(word.norm.clone()));
        }
    }
    if respelled > most_respelled(raw.len()) {
        return Err(Infidelity::NovelWord("(too many words respelled)".into()));
    }
    let mut dropped = 0;
    for i in (Losses { raw, kept: &kept, lex }).unexcused() {
        let word = &raw[i];
        match word.kind {
            Kind::Number => {
                return Err(Infidelity::NumberChanged { said: Some(word.norm.clone()), written: None });
            }
            Kind::Negation => return Err(Infidelity::NegationChanged),
            _ if is_light(word) => dropped += 1,
            _ => return Err(Infidelity::LostContent(word.norm.clone())),
        }
        if dropped > most_light(raw.len()) {
            return Err(Infidelity::LostContent(word.norm.clone()));
        }
    }
    Ok(())
}

fn free(raw: &str, cleaned: &[Word], lang: &str) -> Result<(), Infidelity> {
    let lex = lexicon::lexicon(lang);
    let said = words::words(raw, lang);
    // What the speaker took back need not be kept.
    let by_rules = rules::clean(raw, lang);
    let meant = words::words(&by_rules, lang);
    if cleaned.len() > meant.len() * 2 + 4 {
        return Err(Infidelity::TooLong);
    }
    if (cleaned.len() + 2) * 10 < meant.len() * 3 {
        return Err(Infidelity::TooShort);
    }
    free_numbers(&said, &meant, cleaned)?;
    let negations = |words: &[Word]| words.iter().filter(|w| w.kind == Kind::Negation).count();
    if negations(cleaned) != negations(&meant) && negations(cleaned) != negations(&said) {
        return Err(Infidelity::NegationChanged);
    }
    asked(&meant, cleaned, &by_rules, lex)?;
    covered(&meant, cleaned)?;
    let content: Vec<&Word> = cleaned.iter().filter(|w| w.kind == Kind::Content).collect();
    let known: HashSet<&str> = said.iter().map(|w| w.norm.as_str()).collect();
    let stems: HashSet<String> = said.iter().map(|w| stem(&w.norm)).collect();
    let novel: Vec<&&Word> = content
        .iter()
        .filter(|w| !known.contains(w.norm.as_str()) && !stems.contains(&stem(&w.norm)))
        .collect();
    match novel.first() {
        Some(word) if novel.len() * 10 > content.len() * 4 => Err(Infidelity::NovelWord(word.norm.clone())),
        _ => appended(&novel, cleaned),
    }
}

/// A sentence of which nothing was said is an addition, however short.
fn appended(novel: &[&&Word], cleaned: &[Word]) -> Result<(), Infidelity> {
    let new: HashSet<&str> = novel.iter().map(|w| w.norm.as_str()).collect();
    for sentence in cleaned.split_inclusive(|w| w.sentence_end) {
        let mut content = sentence.iter().filter(|w| w.kind == Kind::Content);
        let (count, all_new) = (content.clone().count(), content.all(|w| new.contains(w.norm.as_str())));
        if let (2.., true, Some(word)) = (count, all_new, sentence.last()) {
            return Err(Infidelity::NovelWord(word.norm.clone()));
        }
    }
    Ok(())
}

/// New wording keeps three in ten of the content words.
fn covered(meant: &[Word], cleaned: &[Word]) -> Result<(), Infidelity> {
    let stems: HashSet<String> = cleaned.iter().map(|w| stem(&w.norm)).collect();
    let content: Vec<&Word> = meant.iter().filter(|w| w.kind == Kind::Content).collect();
    let lost: Vec<&&Word> = content.iter().filter(|w| !stems.contains(&stem(&w.norm))).collect();
    match lost.first() {
        Some(word) if content.len() > 2 && lost.len() * 10 > content.len() * 7 => {
            Err(Infidelity::LostContent(word.norm.clone()))
        }
        _ => Ok(()),
    }
}

/// The first letters of a word, which its inflections share.
fn stem(norm: &str) -> String {
    let length = norm.chars().count();
    norm.chars().take(if length <= 4 { length } else { 5.min(length - 1) }).collect()
}

/// A spoken question without a question mark must still be one.
fn asked(meant: &[Word], cleaned: &[Word], by_rules: &str, lex: &Lexicon) -> Result<(), Infidelity> {
    let (Some(first), Some(now)) = (meant.first(), cleaned.first()) else { return Ok(()) };
    let opens = lex.interrogatives.contains(&first.norm.as_str()) && !by_rules.contains(['.', '?', '!']);
    let kept = cleaned.iter().any(|w| w.norm == first.norm) || now.norm == first.norm;
    if opens && !kept { Err(Infidelity::QuestionChanged) } else { Ok(()) }
}

/// Every number said is written and the reverse, in any order.
fn free_numbers(said: &[Word], meant: &[Word], cleaned: &[Word]) -> Result<(), Infidelity> {
    let missing = |of: &[Word], from: &[Word]| {
        let values: Vec<&str> =
            from.iter().filter(|w| w.kind == Kind::Number).map(|w| w.norm.as_str()).collect();
        let own: Vec<&str> = of.iter().filter(|w| w.kind == Kind::Number).map(|w| w.norm.as_str()).collect();
        let mut left = values.clone();
        let (mut i, mut lost) = (0, None);
        while i < own.len() {
            // The number itself, several that are one, or one that is several.
            if let Some(k) = left.iter().position(|v| *v == own[i]) {
                left.swap_remove(k);
                i += 1;
            } else if let Some(k) =
                (2..=12).find(|k| own.get(i..i + k).is_some_and(|p| left.iter().any(|v| numbers::same(p, v))))
            {
                i += k;
            } else {
                let split = (0..values.len()).any(|a| {
                    (2..=12).any(|k| values.get(a..a + k).is_some_and(|p| numbers::same(p, own[i])))
                });
                // "one" is as often a pronoun.
                if !split && own[i] != "1" {
                    lost = Some(own[i].to_string());
                    break;
                }
                i += 1;
            }
        }
        lost
    };
    if let Some(number) = missing(meant, cleaned) {
        return Err(Infidelity::NumberChanged { said: Some(number), written: None });
    }
    match missing(cleaned, said) {
        Some(number) => Err(Infidelity::NumberChanged { said: None, written: Some(number) }),
        None => Ok(()),
    }
}
