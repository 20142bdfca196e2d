//! Speech to text with Whisper: windows of 30 s, fallback on bad output, segments with times.
//!
//! The procedure is that of Whisper's `transcribe.py` (Radford et al. 2022, section 4.5) with
//! faster-whisper's bookkeeping, so that their word error rates can be compared.

mod behind;
mod rules;
mod search;
mod segments;
mod window;

use crate::control::{Control, Progress};
use crate::error::{EngineError, Result};
use crate::telemetry::Stage;
pub use rules::{Suppress, suppressed_tokens};
use std::ops::Range;
use undertone_models::kv_cache::KvCache;
use undertone_models::whisper::{
    CrossCache, FRAMES_PER_SECOND, LANGUAGES, Mel, Task, WINDOW_FRAMES, Whisper,
};
use window::{Hints, Window, most_tokens};

/// What fills a window behind the end of the audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Silence, as Whisper was trained (and as whisper.cpp does), of which a sample is computed (see
    /// [`AudioContext`](undertone_models::whisper::AudioContext)); all of it, where that leaves doubts.
    #[default]
    Sampled,
    /// Silence, all of it. On the short English clips this gives 0.7 points less word error than zeros.
    Silence,
    /// Zeros in the normalised spectrogram, a middling loudness: what faster-whisper does.
    Zeros,
}

/// Temperature above which what was heard is a guess that should not lead on.
pub(crate) const GUESSED_TEMPERATURE: f32 = 0.5;

/// How speech is transcribed. Defaults are Whisper's own.
#[derive(Clone, Debug)]
pub struct SpeechOptions {
    /// Language code; detected from the first window when `None`.
    pub language: Option<String>,
    /// Transcribe, or translate to English.
    pub task: Task,
    /// Hypotheses kept at temperature 0; 1 is greedy.
    pub beam_size: usize,
    /// Hypotheses kept in a second, wider search at temperature 0 where the first is not trusted:
    /// before chance is asked. At most `beam_size` turns it off, as in Whisper's own procedure.
    pub fallback_beam_size: usize,
    /// Samples drawn at higher temperatures, of which the likeliest is kept.
    pub best_of: usize,
    /// Tried in turn until the output passes both thresholds.
    pub temperatures: Vec<f32>,
    /// Above it text repeats itself (zlib ratio of its UTF-8).
    pub compression_ratio_threshold: f32,
    /// Mean log-probability a token below which the output is not trusted.
    pub log_prob_threshold: f32,
    /// No-speech probability above which an untrusted window is silence.
    pub no_speech_threshold: f32,
    /// Whether earlier text conditions the next window.
    pub condition_on_previous_text: bool,
    /// Vocabulary hint: text that could have come before.
    pub initial_prompt: Option<String>,
    /// What lies behind the end of the audio.
    pub padding: Padding,
    /// Symbols that are never written.
    pub suppress: Suppress,
}

impl Default for SpeechOptions {
    fn default() -> Self {
        SpeechOptions {
            language: None,
            task: Task::Transcribe,
            beam_size: 1,
            fallback_beam_size: 5,
            best_of: 5,
            temperatures: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            compression_ratio_threshold: 2.4,
            log_prob_threshold: -1.0,
            no_speech_threshold: 0.6,
            condition_on_previous_text: true,
            initial_prompt: None,
            padding: Padding::Sampled,
            suppress: Suppress::Annotations,
        }
    }
}

impl SpeechOptions {
    /// faster-whisper's choices: greedy search then gives its tokens exactly (a test holds it to that).
    pub fn faster_whisper() -> SpeechOptions {
        SpeechOptions {
            fallback_beam_size: 1,
            padding: Padding::Zeros,
            suppress: Suppress::NonSpeech,
            ..SpeechOptions::default()
        }
    }
}

/// A stretch of speech and its text.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Segment {
    /// Seconds from the start of the audio.
    #[serde(rename = "start")]
    pub start_s: f64,
    /// Seconds from the start of the audio.
    #[serde(rename = "end")]
    pub end_s: f64,
    /// Text, trimmed.
    pub text: String,
    /// Token ids, timestamps included.
    pub tokens: Vec<u32>,
    /// Mean log-probability a token of the window it was decoded in.
    pub avg_logprob: f32,
    /// Probability that the window holds no speech.
    pub no_speech_prob: f32,
    /// zlib compression ratio of the window's text.
    pub compression_ratio: f32,
    /// Temperature the window was decoded at.
    pub temperature: f32,
}

/// What was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// In order of time.
    pub segments: Vec<Segment>,
    /// Language code.
    pub language: String,
    /// Probability of that language; 1 where it was given.
    pub language_probability: f32,
    /// Highest no-speech probability of any window (the segments of a silent window are gone).
    pub no_speech_prob: f32,
    /// Tokens that a draft proposed.
    pub drafted: usize,
    /// Those of them that decoding took.
    pub accepted: usize,
}

impl Transcript {
    /// The transcript of audio in which nothing can be heard.
    fn silent(language: Option<&str>) -> Transcript {
        let language = language.unwrap_or("en").to_string();
        Transcript { language, no_speech_prob: 1.0, ..Transcript::default() }
    }

    /// All text, segments joined by a space (or nothing, between scripts without spaces).
    pub fn text(&self) -> String {
        let joiner =
            if matches!(self.language.as_str(), "zh" | "ja" | "yue" | "th" | "lo" | "my") { "" } else { " " };
        self.segments.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(joiner)
    }

    /// Moves all segments by `seconds`: what was transcribed was a part of a recording.
    pub(crate) fn shift(&mut self, seconds: f64) {
        for segment in &mut self.segments {
            segment.start_s += seconds;
            segment.end_s += seconds;
        }
    }

    /// Tokens of all segments.
    pub fn token_count(&self) -> usize {
        self.segments.iter().map(|s| s.tokens.len()).sum()
    }

    /// Mean log-probability over segments, weighted by tokens; 0 when there are none.
    pub fn avg_logprob(&self) -> f32 {
        let tokens = self.token_count().max(1) as f32;
        self.segments.iter().map(|s| s.avg_logprob * s.tokens.len() as f32).sum::<f32>() / tokens
    }
}

/// A Whisper model with the caches it transcribes in.
pub struct Transcriber {
    model: Whisper,
    cache: KvCache,
    cross: CrossCache,
    annotations: Vec<u32>,
    non_speech: Vec<u32>,
    blank: Vec<u32>,
}

impl Transcriber {
    /// Allocates caches for up to `max_hypotheses` beams or samples.
    ///
    /// # Errors
    /// If they cannot be allocated or the tokenizer fails on plain symbols.
    pub fn new(model: Whisper, max_hypotheses: usize) -> Result<Transcriber> {
        let cache = model.decoder.new_cache(max_hypotheses.max(1))?;
        let cross = model.decoder.new_cross_cache()?;
        let annotations = suppressed_tokens(&model, Suppress::Annotations)?;
        let non_speech = suppressed_tokens(&model, Suppress::NonSpeech)?;
        let mut blank = model.tokenizer.encode(" ").map_err(EngineError::tokenizer)?;
        blank.push(model.tokens.end_of_text);
        Ok(Transcriber { model, cache, cross, annotations, non_speech, blank })
    }

    /// Transcribes `samples` (16 kHz, [-1, 1]).
    ///
    /// # Errors
    /// An unknown language, cancellation, or a failed tensor operation.
    pub fn transcribe(
        &mut self,
        samples: &[f32],
        options: &SpeechOptions,
        control: &mut Control,
    ) -> Result<Transcript> {
        self.transcribe_with_draft(samples, options, &[], control)
    }

    /// Transcribes `samples` of which an earlier transcript gave the tokens `draft`, time stamps
    /// included: greedy decoding verifies several of them at a time. The result is the same
    /// without a draft, only later.
    ///
    /// # Errors
    /// As [`Transcriber::transcribe`].
    pub fn transcribe_with_draft(
        &mut self,
        samples: &[f32],
        options: &SpeechOptions,
        draft: &[u32],
        control: &mut Control,
    ) -> Result<Transcript> {
        // Below this no microphone has picked up anything; Whisper may still write a word.
        let samples = if is_silent(samples) { &[] } else { samples };
        let mel = control.stage(Stage::Mel, |_| Ok(self.model.mel.log_mel(samples)?))?;
        // The last frame only holds the tail of the one before.
        let content_frames = mel.frames().saturating_sub(1);
        if content_frames == 0 {
            return Ok(Transcript::silent(options.language.as_deref()));
        }
        let (language, language_probability) = self.language(&mel, options, control)?;
        let mut transcript =
            Transcript { language, language_probability, no_speech_prob: 0.0, ..Transcript::default() };
        let mut history = self.initial_prompt(options)?;
        let mut history_from = 0;
        let mut seek = 0;
        // Whether the window at `seek` is what detection has left in the cross-attention cache.
        let mut heard = options.language.is_none() && self.model.tokens.multilingual;
        while seek < content_frames {
            let frames = WINDOW_FRAMES.min(content_frames - seek);
            if !std::mem::take(&mut heard) {
                self.hear(&mel, seek, options.padding, control)?;
            }
            let prompt = self.prompt(&history[history_from..], &transcript.language, options);
            let hints = Hints { given: &[], draft, most_tokens: most_tokens(frames) };
            let window = self.understand((&mel, seek), &prompt, options, hints, control)?;
            transcript.drafted += window.drafted;
            transcript.accepted += window.accepted;
            transcript.no_speech_prob = transcript.no_speech_prob.max(window.no_speech_prob);
            let silent = window.may_be_silence(options)
                && (window.avg_logprob() <= options.log_prob_threshold
                    || is_stock_phrase(&self.text_of(&window.hypothesis.tokens)));
            let from = seek;
            seek += frames;
            if !silent {
                let cut =
                    segments::split(&window.hypothesis.tokens, self.model.tokens.timestamp_begin, frames);
                // Time stamps that do not advance would decode the same window for ever.
                if cut.advance_frames > 0 {
                    seek = from + cut.advance_frames;
                }
                for piece in cut.pieces {
                    self.push_segment(&mut transcript, &mut history, from..from + frames, piece, &window);
                }
                if !options.condition_on_previous_text || window.temperature > GUESSED_TEMPERATURE {
                    history_from = history.len();
                }
            }
            let seconds = |f: usize| f.min(content_frames) as f64 / FRAMES_PER_SECOND as f64;
            control.tell(Progress::Transcribed { done_s: seconds(seek), of_s: seconds(content_frames) });
            control.check()?;
        }
        Ok(transcript)
    }

    /// Forgets what a request left half done.
    pub(crate) fn reset(&mut self) {
        self.cache.rewind(0);
        self.cross.reset();
    }

    /// `heard` are the frames of the recording in the window: into the silence behind them no segment lasts.
    fn push_segment(
        &self,
        transcript: &mut Transcript,
        history: &mut Vec<u32>,
        heard: Range<usize>,
        piece: segments::Piece,
        window: &Window,
    ) {
        let text = self.text_of(&piece.tokens);
        if text.is_empty() || piece.start_s >= piece.end_s {
            return;
        }
        history.extend(&piece.tokens);
        let seconds = |frames: usize| frames as f64 / FRAMES_PER_SECOND as f64;
        let time = |in_window_s: f64| (seconds(heard.start) + in_window_s).min(seconds(heard.end));
        let times = (time(piece.start_s), time(piece.end_s));
        transcript.segments.push(window.segment(times, text, piece.tokens));
    }

    /// The words among `tokens`, trimmed.
    fn text_of(&self, tokens: &[u32]) -> String {
        let words: Vec<u32> = tokens.iter().copied().filter(|t| *t < self.model.tokens.end_of_text).collect();
        self.model.tokenizer.decode(&words).trim().to_string()
    }

    fn language(
        &mut self,
        mel: &Mel,
        options: &SpeechOptions,
        control: &mut Control,
    ) -> Result<(String, f32)> {
        if !self.model.tokens.multilingual {
            return match options.language.as_deref() {
                None | Some("en") if options.task == Task::Transcribe => Ok(("en".into(), 1.0)),
                _ => Err(EngineError::EnglishOnly),
            };
        }
        if let Some(code) = &options.language {
            return match self.model.tokens.language(code) {
                Some(_) => Ok((code.clone(), 1.0)),
                None => Err(EngineError::UnknownLanguage(code.clone())),
            };
        }
        self.hear(mel, 0, options.padding, control)?;
        control.stage(Stage::Decode, |_| self.detect_language())
    }

    /// The likeliest language of what the cross-attention cache holds.
    fn detect_language(&mut self) -> Result<(String, f32)> {
        let tokens = &self.model.tokens;
        self.cache.rewind(0);
        let start = [tokens.start_of_transcript];
        let logits = self.model.decoder.forward(&start, 1, &[0], &mut self.cache, &self.cross)?;
        let first = tokens.first_language as usize;
        let logits = &logits[first..first + tokens.languages as usize];
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = logits.iter().map(|l| (l - max).exp()).sum();
        let best = logits.iter().position(|l| *l == max).unwrap_or(0);
        Ok((LANGUAGES[best].0.to_string(), 1.0 / sum))
    }

    fn initial_prompt(&self, options: &SpeechOptions) -> Result<Vec<u32>> {
        match options.initial_prompt.as_deref().map(str::trim) {
            None | Some("") => Ok(Vec::new()),
            Some(text) => self.model.tokenizer.encode(&format!(" {text}")).map_err(EngineError::tokenizer),
        }
    }

    /// `<|startofprev|> history <|startoftranscript|> language task`.
    fn prompt(&self, history: &[u32], language: &str, options: &SpeechOptions) -> Vec<u32> {
        let tokens = &self.model.tokens;
        let mut prompt = Vec::new();
        if !history.is_empty() {
            let most = self.model.config.max_target_positions / 2 - 1;
            prompt.push(tokens.start_of_prev);
            prompt.extend(&history[history.len().saturating_sub(most)..]);
        }
        prompt.push(tokens.start_of_transcript);
        if tokens.multilingual {
            prompt.extend(tokens.language(language));
            prompt.push(tokens.task(options.task));
        }
        prompt
    }
}

/// What Whisper writes with confidence when it hears nothing: captions of its training videos. Only
/// asked where the model itself doubts that there is speech.
fn is_stock_phrase(text: &str) -> bool {
    const PHRASES: [&str; 9] = [
        "you",
        "thank you",
        "thanks",
        "thank you very much",
        "thank you for watching",
        "thanks for watching",
        "please subscribe",
        "bye",
        "the end",
    ];
    let text = text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    PHRASES.contains(&text.as_str())
}

/// Whether no sample exceeds -70 dB of full scale.
fn is_silent(samples: &[f32]) -> bool {
    const FLOOR: f32 = 3.2e-4;
    samples.iter().all(|s| s.abs() < FLOOR)
}
