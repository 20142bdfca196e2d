use crate::audio::Pcm;
use crate::clean::{fidelity, rules};
use crate::error::{EngineError, Result};
use crate::generate::{Generator, Limits};
use crate::prompt::{Mode, PromptFormat};
use crate::telemetry::{Stage, StageTimes};
use crate::transcribe::{OnProgress, Progress, SpeechOptions, Transcriber, Transcript};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use undertone_models::causal_lm::CausalLm;
use undertone_models::whisper::{Task, Whisper};

/// Words a clean-up handles at a time: small models copy short text more faithfully, and a window
/// that fails its check costs only itself.
const WINDOW_WORDS: usize = 60;

const SENTENCE_ENDS: [char; 6] = ['.', '!', '?', '。', '！', '？'];

/// What made the final text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CleanedBy {
    /// The language model, in at least one window; its output passed the fidelity check there.
    Llm,
    /// The deterministic rules alone.
    Rules,
    /// Nothing: the text is the transcript.
    None,
}

/// What is asked of one audio file.
#[derive(Clone, Debug)]
pub struct Request {
    /// How to transcribe.
    pub speech: SpeechOptions,
    /// Name of the clean-up mode; `raw` for none.
    pub mode: String,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Dictation {
    /// Segments, language, probabilities.
    pub transcript: Transcript,
    /// The transcript's text.
    pub raw_text: String,
    /// The text to use.
    pub text: String,
    /// What made it.
    pub cleaned_by: CleanedBy,
    /// Windows whose model output was refused, and why (the rules' text stands there).
    pub refusals: Vec<String>,
    /// Tokens the language model computed of its prompts, and tokens it wrote.
    pub llm_tokens: (usize, usize),
    /// Time of each stage.
    pub times: StageTimes,
}

impl Dictation {
    /// The transcript as it is, before any clean-up.
    fn raw(transcript: Transcript, raw_text: String, times: StageTimes) -> Dictation {
        Dictation {
            text: raw_text.clone(),
            raw_text,
            cleaned_by: CleanedBy::None,
            refusals: Vec::new(),
            llm_tokens: (0, 0),
            transcript,
            times,
        }
    }
}

/// What the models take to load.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadTimes {
    /// Milliseconds to open the speech model.
    pub speech_ms: f64,
    /// Milliseconds to open the language model; 0 without one.
    pub text_ms: f64,
}

struct Cleaner {
    generator: Generator,
    format: PromptFormat,
}

/// Both models, resident.
pub struct Engine {
    transcriber: Transcriber,
    cleaner: Option<Cleaner>,
    modes: BTreeMap<String, Mode>,
    load: LoadTimes,
}

impl Engine {
    /// Opens the speech model and, if one is given, the language model.
    ///
    /// # Errors
    /// If a model cannot be opened.
    pub fn load(
        speech: &Path,
        text: Option<&Path>,
        max_hypotheses: usize,
        context_tokens: usize,
    ) -> Result<Engine> {
        let start = Instant::now();
        let transcriber = Transcriber::new(Whisper::open(speech)?, max_hypotheses)?;
        let speech_ms = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        let cleaner = text.map(|path| Cleaner::load(path, context_tokens)).transpose()?;
        let text_ms = if cleaner.is_some() { start.elapsed().as_secs_f64() * 1e3 } else { 0.0 };
        Ok(Engine { transcriber, cleaner, modes: Mode::built_in()?, load: LoadTimes { speech_ms, text_ms } })
    }

    /// What loading took.
    pub fn load_times(&self) -> LoadTimes {
        self.load
    }

    /// Samples to clean text. `times` already holds what decoding the audio took.
    ///
    /// # Errors
    /// If transcription fails or is cancelled. Clean-up never fails: the transcript remains.
    pub fn dictate(
        &mut self,
        pcm: &Pcm,
        request: &Request,
        mut times: StageTimes,
        progress: OnProgress<'_>,
    ) -> Result<Dictation> {
        let transcript = self.transcriber.transcribe(&pcm.samples, &request.speech, &mut times, progress)?;
        let raw_text = transcript.text();
        let mut dictation = Dictation::raw(transcript, raw_text, times);
        if request.mode != "raw" && !dictation.raw_text.is_empty() {
            let language = match request.speech.task {
                Task::Translate => "en".to_string(),
                Task::Transcribe => dictation.transcript.language.clone(),
            };
            self.clean(&mut dictation, &request.mode, &language, progress)?;
        }
        Ok(dictation)
    }

    /// Cleans `text` as if it had been dictated.
    ///
    /// # Errors
    /// If the mode is unknown.
    pub fn clean_text(&mut self, text: &str, mode: &str, language: &str) -> Result<Dictation> {
        let transcript = Transcript {
            segments: Vec::new(),
            language: language.into(),
            language_probability: 1.0,
            no_speech_prob: 0.0,
        };
        let mut dictation = Dictation::raw(transcript, text.into(), StageTimes::default());
        if mode != "raw" {
            self.clean(&mut dictation, mode, language, &mut |_| true)?;
        }
        Ok(dictation)
    }

    fn clean(
        &mut self,
        dictation: &mut Dictation,
        mode: &str,
        language: &str,
        progress: OnProgress<'_>,
    ) -> Result<()> {
        let Some(mode) = self.modes.get(mode) else {
            let known: Vec<&str> = self.modes.keys().map(String::as_str).collect();
            let what = format!("there is none of this name; there are raw, {}", known.join(", "));
            return Err(EngineError::Mode { name: mode.into(), what });
        };
        dictation.cleaned_by = CleanedBy::Rules;
        let mut pieces = Vec::new();
        let raw_text = dictation.raw_text.clone();
        let stretches = windows(&raw_text, WINDOW_WORDS);
        let of = stretches.len();
        for (done, raw) in stretches.into_iter().enumerate() {
            if !progress(Progress::Cleaned { done, of }) {
                return Err(EngineError::Cancelled);
            }
            let by_rules = dictation.times.measure(Stage::Clean, || rules::clean(raw, language));
            let outcome = match &mut self.cleaner {
                Some(c) if !by_rules.is_empty() => Some(c.clean(raw, &by_rules, mode, language, dictation)),
                _ => None,
            };
            match outcome {
                Some(Ok(text)) => {
                    dictation.cleaned_by = CleanedBy::Llm;
                    pieces.push(text);
                }
                Some(Err(why)) => {
                    dictation.refusals.push(why);
                    pieces.push(by_rules);
                }
                None => pieces.push(by_rules),
            }
            // A window cut within a sentence goes on as it was spoken, not with a capital.
            if let [.., before, piece] = &mut pieces[..]
                && !before.ends_with(SENTENCE_ENDS)
                && raw.starts_with(char::is_lowercase)
            {
                let first: String = piece.chars().take(1).flat_map(char::to_lowercase).collect();
                *piece = first + &piece.chars().skip(1).collect::<String>();
            }
        }
        pieces.retain(|p| !p.is_empty());
        dictation.text = pieces.join(" ");
        Ok(())
    }
}

impl Cleaner {
    fn load(path: &Path, context_tokens: usize) -> Result<Cleaner> {
        let lm = CausalLm::open(path)?;
        let format = PromptFormat::of(&lm)?;
        Ok(Cleaner { generator: Generator::new(lm, context_tokens)?, format })
    }

    /// The model's clean-up of one window if it passes the check, else why not.
    fn clean(
        &mut self,
        raw: &str,
        by_rules: &str,
        mode: &Mode,
        language: &str,
        dictation: &mut Dictation,
    ) -> std::result::Result<String, String> {
        let lm = self.generator.lm();
        let prompt = self.format.prompt(lm, mode, by_rules).map_err(|e| e.to_string())?;
        let length = lm.tokenizer().encode(by_rules).map_err(|e| e.to_string())?.len();
        // Half as long again, and room for punctuation: more is not a clean-up.
        let limits = Limits { max_tokens: length * 3 / 2 + 16, stop: prompt.stop };
        let times = &mut dictation.times;
        let out = self.generator.generate(&prompt.tokens, limits, times).map_err(|e| e.to_string())?;
        dictation.llm_tokens.0 += out.prefilled_tokens;
        dictation.llm_tokens.1 += out.tokens;
        if !out.complete {
            return Err("the model did not come to an end".into());
        }
        let text = out.text.trim().to_string();
        let verdict =
            dictation.times.measure(Stage::Clean, || fidelity::check(raw, &text, language, mode.policy()));
        verdict.map_err(|e| e.to_string())?;
        Ok(text)
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
}
