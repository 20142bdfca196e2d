//! Transcript to clean text, window by window: rules first, then the language model, then the check
//! that its text is still what was said. It never fails but by cancellation: what cannot be cleaned
//! stays as it was.

use crate::clean::dictionary::Dictionary;
use crate::clean::licence::Licence;
use crate::clean::{fidelity, rules};
use crate::control::{Control, Progress};
use crate::error::{EngineError, Result};
use crate::generate::{End, Generator, Task};
use crate::prompt::{Input, Mode, Policy, PromptFormat};
use crate::telemetry::{Counts, Stage};
use undertone_models::causal_lm::CausalLm;
use undertone_models::kv_cache::KvType;

/// Words a clean-up handles at a time: small models copy short text more faithfully, and a window
/// that fails its check costs only itself.
const WINDOW_WORDS: usize = 60;
const SENTENCE_ENDS: [char; 6] = ['.', '!', '?', '。', '！', '？'];
/// Mean log-probability a token above which a transcript counts as surely heard.
const CONFIDENT_LOGPROB: f32 = -0.35;

/// What made the final text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CleanedBy {
    /// The language model, in at least one window; its output passed the check there.
    Llm,
    /// The deterministic rules alone.
    Rules,
    /// Nothing: the text is the transcript.
    #[default]
    None,
}

/// What a clean-up works with besides the transcript.
#[derive(Clone, Copy)]
pub(crate) struct Brief<'a> {
    pub(crate) mode: &'a Mode,
    /// Language code of the text.
    pub(crate) language: &'a str,
    pub(crate) selection: Option<&'a str>,
    /// The transcript's mean log-probability, where text that needs no clean-up may be left alone.
    pub(crate) skip_above: Option<f32>,
}

/// A clean-up as its transcript grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cleanup {
    /// Bytes of the transcript that are settled.
    settled_bytes: usize,
    windows: usize,
    pieces: Vec<String>,
    pub(crate) by: CleanedBy,
    /// Windows whose model output was refused, and why.
    pub(crate) refusals: Vec<String>,
    pub(crate) counts: Counts,
}

/// What became of one window.
enum Outcome {
    /// The model's text.
    Written(String),
    /// The model's text as far as it came, the transcript behind it.
    Spliced(String, String),
    /// Why the model's text cannot be used.
    Refused(String),
}

impl Cleanup {
    /// Cleans what is new in `transcript`, which begins as it did at the last call. While more may
    /// come (`last` false) the last window stays open: the model only reads it.
    ///
    /// # Errors
    /// Cancellation.
    pub(crate) fn advance(
        &mut self,
        cleaner: Option<&mut Cleaner>,
        transcript: &str,
        brief: Brief<'_>,
        last: bool,
        control: &mut Control,
    ) -> Result<()> {
        let mut cleaner = cleaner.filter(|_| brief.mode.policy != Policy::None);
        let open = transcript.get(self.settled_bytes..).unwrap_or_default();
        let windows = match brief.mode.whole {
            true => vec![open.trim()],
            false => windows(open, WINDOW_WORDS),
        };
        let settled = if last { windows.len() } else { windows.len().saturating_sub(1) };
        for (done, window) in windows[..settled].iter().enumerate() {
            control.tell(Progress::Cleaned { done: self.windows + done, of: self.windows + windows.len() });
            self.window(cleaner.as_deref_mut(), window, brief, control)?;
        }
        self.windows += settled;
        if let Some(next) = windows.get(settled) {
            self.settled_bytes = next.as_ptr() as usize - transcript.as_ptr() as usize;
            if let Some(cleaner) = cleaner {
                self.counts.prefilled_tokens += cleaner.read(next, brief, control)?;
            }
        }
        Ok(())
    }

    /// The text so far.
    pub(crate) fn text(&self) -> String {
        self.pieces.iter().filter(|p| !p.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    fn window(
        &mut self,
        cleaner: Option<&mut Cleaner>,
        raw: &str,
        brief: Brief<'_>,
        control: &mut Control,
    ) -> Result<()> {
        if brief.mode.policy == Policy::None {
            self.pieces.push(raw.to_string());
            return Ok(());
        }
        let by_rules = control.stage(Stage::Clean, |_| Ok(rules::clean(raw, brief.language)))?;
        if self.by == CleanedBy::None {
            self.by = CleanedBy::Rules;
        }
        // New wording falls back on what was said, an edit on what the rules make of it.
        let fallback = if brief.mode.policy == Policy::Standard { by_rules.clone() } else { raw.to_string() };
        let skipped = brief.skip_above.is_some_and(|logprob| needs_nothing(raw, &by_rules, logprob));
        let mut piece = match cleaner.filter(|_| !by_rules.is_empty() && !skipped) {
            None => by_rules,
            Some(cleaner) => match cleaner.clean(raw, &by_rules, brief, &mut self.counts, control)? {
                Outcome::Written(text) => {
                    self.by = CleanedBy::Llm;
                    text
                }
                Outcome::Spliced(text, why) => {
                    self.by = CleanedBy::Llm;
                    self.refusals.push(why);
                    text
                }
                Outcome::Refused(why) => {
                    self.refusals.push(why);
                    fallback
                }
            },
        };
        // A window cut within a sentence goes on as it was spoken, not with a capital.
        let goes_on = self.pieces.last().is_some_and(|before| !before.ends_with(SENTENCE_ENDS));
        if goes_on && raw.starts_with(char::is_lowercase) {
            let first: String = piece.chars().take(1).flat_map(char::to_lowercase).collect();
            piece = first + &piece.chars().skip(1).collect::<String>();
        }
        self.pieces.push(piece);
        Ok(())
    }
}

/// Whether text is already as a clean-up would leave it, and surely heard.
fn needs_nothing(raw: &str, by_rules: &str, avg_logprob: f32) -> bool {
    let opens = raw.chars().next().is_some_and(|c| c.is_uppercase() || c.is_numeric() || c == '"');
    avg_logprob > CONFIDENT_LOGPROB && raw == by_rules && opens && raw.ends_with(SENTENCE_ENDS)
}

/// A language model, its cache, and how it is asked.
pub(crate) struct Cleaner {
    pub(crate) generator: Generator,
    format: PromptFormat,
    known: Dictionary,
}

impl Cleaner {
    pub(crate) fn new(lm: CausalLm, context_tokens: usize, kv: KvType) -> Result<Cleaner> {
        let format = PromptFormat::of(&lm)?;
        let known = Dictionary::new(lm.tokenizer().tokens());
        Ok(Cleaner { generator: Generator::new(lm, context_tokens, kv)?, format, known })
    }

    /// Computes what prompts of `mode` begin with and keeps it.
    pub(crate) fn add_slot(&mut self, mode: &Mode, control: &mut Control) -> Result<()> {
        let prefix = self.format.prefix(self.generator.lm(), mode)?;
        self.generator.add_slot(&prefix, control)
    }

    /// Sets the cache to the beginning of prompts of `mode`.
    pub(crate) fn wake(&mut self, mode: &Mode, control: &mut Control) -> Result<()> {
        let prefix = self.format.prefix(self.generator.lm(), mode)?;
        self.generator.prefill(&prefix, control).map(|_| ())
    }

    /// Reads a window that may still grow, so that less is left to read later. Returns the prompt
    /// tokens computed.
    fn read(&mut self, raw: &str, brief: Brief<'_>, control: &mut Control) -> Result<usize> {
        let by_rules = rules::clean(raw, brief.language);
        let text = brief.mode.user_text(&by_rules, brief.selection);
        let prompt = self.format.prompt(self.generator.lm(), brief.mode, &text);
        // What cannot be read ahead is told when it is to be cleaned.
        match prompt.and_then(|prompt| self.generator.prefill(&prompt.tokens, control)) {
            Err(EngineError::Cancelled) => Err(EngineError::Cancelled),
            result => Ok(result.unwrap_or_default()),
        }
    }

    fn clean(
        &mut self,
        raw: &str,
        by_rules: &str,
        brief: Brief<'_>,
        counts: &mut Counts,
        control: &mut Control,
    ) -> Result<Outcome> {
        if control.is_late() {
            return Ok(Outcome::Refused("the time limit was reached".into()));
        }
        match self.attempt(raw, by_rules, brief, counts, control) {
            Err(EngineError::Cancelled) => Err(EngineError::Cancelled),
            Err(other) => Ok(Outcome::Refused(other.to_string())),
            Ok(outcome) => Ok(outcome),
        }
    }

    fn attempt(
        &mut self,
        raw: &str,
        by_rules: &str,
        brief: Brief<'_>,
        counts: &mut Counts,
        control: &mut Control,
    ) -> Result<Outcome> {
        let (mode, lm) = (brief.mode, self.generator.lm());
        let text = mode.user_text(by_rules, brief.selection);
        let prompt = self.format.prompt(lm, mode, &text)?;
        let input_tokens = lm.tokenizer().encode(&text).map_err(EngineError::tokenizer)?.len();
        let standard = mode.policy == Policy::Standard;
        let draft = if mode.input == Input::Both { brief.selection.unwrap_or(by_rules) } else { by_rules };
        let task = Task {
            prompt: &prompt.tokens,
            max_tokens: mode.max_tokens(input_tokens),
            one_line: prompt.one_line,
            draft: Some(draft),
            licence: standard.then(|| Licence::new(by_rules, brief.language, &self.known)),
        };
        let out = self.generator.generate(task, control)?;
        counts.add(&out);
        let why = match out.end {
            End::Complete => None,
            End::Early => Some("the model ended within a sentence"),
            End::Late => Some("the time limit was reached"),
            End::Limit => Some("the model did not come to an end"),
        };
        let text = match (why, &out.cut) {
            (None, _) => out.text.trim().to_string(),
            (Some(_), Some((written, rest))) => format!("{written}{rest}").trim().to_string(),
            (Some(why), None) => return Ok(Outcome::Refused(why.into())),
        };
        // Small models double spaces now and then; nobody says one.
        let text = match standard {
            true => text.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "),
            false => text,
        };
        let policy = match mode.policy {
            Policy::Standard => fidelity::Policy::Standard,
            Policy::Free => fidelity::Policy::Free,
            Policy::Open | Policy::None => fidelity::Policy::Open,
        };
        let verdict =
            control.stage(Stage::Clean, |_| Ok(fidelity::check(raw, &text, brief.language, policy)))?;
        Ok(match (verdict, why) {
            (Err(infidelity), _) => Outcome::Refused(infidelity.to_string()),
            (Ok(()), Some(why)) => Outcome::Spliced(text, why.into()),
            (Ok(()), None) => Outcome::Written(text),
        })
    }
}

/// Splits text behind sentence ends into stretches of at most about `words` words; a sentence
/// longer than that is cut between words.
fn windows(text: &str, words: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut sentence_end, mut count, mut since_end) = (0, None, 0, 0);
    for (at, word) in text.split_whitespace().map(|w| (w.as_ptr() as usize - text.as_ptr() as usize, w)) {
        if count == words {
            // Back to the last sentence end, unless that would leave next to nothing.
            let (cut, kept) = match sentence_end {
                Some(end) if since_end < words => (end, since_end),
                _ => (at, 0),
            };
            out.push(text[start..cut].trim());
            (start, count, sentence_end) = (cut, kept, None);
        }
        count += 1;
        since_end += 1;
        if word.ends_with(SENTENCE_ENDS) {
            sentence_end = Some(at + word.len());
            since_end = 0;
        }
    }
    out.push(text[start..].trim());
    out.retain(|w| !w.is_empty());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_at_sentences_and_lose_nothing() {
        let text = "One two three. Four five six seven? Eight nine ten eleven twelve thirteen fourteen.";
        let cut = windows(text, 6);
        assert_eq!(cut[..2], ["One two three.", "Four five six seven?"]);
        assert_eq!(cut.join(" "), text);
        assert!(cut.iter().all(|w| w.split_whitespace().count() <= 6));
        assert!(windows("  ", 5).is_empty());
    }

    #[test]
    fn windows_of_a_growing_text_stay_where_they_were() {
        let text =
            "One two three. Four five six seven? Eight nine ten eleven. Twelve thirteen fourteen fifteen.";
        let whole = windows(text, 6);
        for end in text.char_indices().map(|(i, _)| i).filter(|i| text[*i..].starts_with(' ')) {
            let part = windows(&text[..end], 6);
            let settled = part.len().saturating_sub(1);
            assert_eq!(part[..settled], whole[..settled], "{end}");
        }
    }

    #[test]
    fn text_that_needs_nothing_is_clean_and_surely_heard() {
        assert!(needs_nothing("It is here.", "It is here.", -0.1));
        assert!(!needs_nothing("It is here.", "It is here.", -0.9));
        assert!(!needs_nothing("It is is here.", "It is here.", -0.1));
        assert!(!needs_nothing("it is here", "it is here", -0.1));
    }
}
