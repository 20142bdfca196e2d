//! A word or two behind a pause, heard with the sentence before it.

use super::window::{Hints, most_tokens};
use super::{SpeechOptions, Transcriber, Transcript};
use crate::control::Control;
use crate::error::Result;
use crate::telemetry::Stage;
use undertone_models::whisper::{FRAMES_PER_SECOND, SAMPLE_RATE_HZ, WINDOW_FRAMES};

/// Samples a mel frame.
const FRAME_SAMPLES: usize = SAMPLE_RATE_HZ as usize / FRAMES_PER_SECOND;

impl Transcriber {
    /// Transcribes what `samples` (16 kHz) hold behind their first `heard_samples`, which gave the tokens
    /// `heard`, time stamps included: the decoder goes on where they end (`prefix` in Whisper's
    /// `DecodingOptions`). Alone a word or two behind a pause is easily taken for noise, or for quite
    /// another sentence. Returns it with the tokens of all `samples`; `None` where they are too many or
    /// nothing follows.
    ///
    /// # Errors
    /// As [`Transcriber::transcribe`].
    pub(crate) fn transcribe_behind(
        &mut self,
        samples: &[f32],
        (heard_samples, heard): (usize, &[u32]),
        options: &SpeechOptions,
        draft: &[u32],
        control: &mut Control,
    ) -> Result<Option<(Transcript, Vec<u32>)>> {
        let begin = self.model.tokens.timestamp_begin;
        // Where the last sentence ends is for the model to say again.
        let given = match heard {
            [given @ .., last] if *last >= begin => given,
            _ => heard,
        };
        let language = options.language.as_deref().unwrap_or("en");
        let prompt = self.prompt(&self.initial_prompt(options)?, language, options);
        let most_tokens = most_tokens(samples.len().saturating_sub(heard_samples) / FRAME_SAMPLES);
        let room = self.model.config.max_target_positions;
        // Times that do not rise are of several windows.
        let one_window = given.iter().filter(|t| **t >= begin).is_sorted();
        if samples.len() > WINDOW_FRAMES * FRAME_SAMPLES
            || given.is_empty()
            || !one_window
            || prompt.len() + given.len() + most_tokens > room
        {
            return Ok(None);
        }
        let mel = control.stage(Stage::Mel, |_| Ok(self.model.mel.log_mel(samples)?))?;
        self.hear(&mel, 0, options.padding, control)?;
        let hints = Hints { given, draft, most_tokens };
        // A few tokens are never sure; other attempts write other sentences.
        let once = SpeechOptions { temperatures: vec![0.0], fallback_beam_size: 1, ..options.clone() };
        let window =
            control.stage(Stage::Decode, |control| self.decode_window(&prompt, &once, hints, control))?;
        let text = self.text_of(window.hypothesis.decoded());
        let nothing = !text.contains(char::is_alphanumeric);
        if nothing || window.is_repetitive(options) || says_again(&self.text_of(given), &text) {
            return Ok(None);
        }
        let seconds = |samples: usize| samples as f64 / f64::from(SAMPLE_RATE_HZ);
        let times = (seconds(heard_samples), seconds(samples.len()));
        let tokens = window.hypothesis.decoded().to_vec();
        let transcript = Transcript {
            segments: vec![window.segment(times, text, tokens)],
            language: language.to_string(),
            language_probability: 1.0,
            no_speech_prob: window.no_speech_prob,
            drafted: window.drafted,
            accepted: window.accepted,
        };
        Ok(Some((transcript, window.hypothesis.tokens)))
    }
}

/// Whether `next` is a stretch of what was said `before`: a decoder led by a sentence may begin it anew.
fn says_again(before: &str, next: &str) -> bool {
    const WORDS: usize = 4;
    let plain = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let (before, next) = (plain(before), plain(next));
    next.len() >= WORDS && next.windows(WORDS).any(|w| before.windows(WORDS).any(|b| b == w))
}

#[cfg(test)]
mod tests {
    use super::says_again;

    #[test]
    fn a_sentence_begun_anew_is_told_from_one_that_goes_on() {
        let before = "What time does the next train to the city leave on Monday morning?";
        assert!(says_again(before, "What time does the next train leave?"));
        assert!(says_again(before, "And to the City: leave on."));
        assert!(!says_again(before, "On Monday morning, please."));
        assert!(!says_again(before, ""));
    }
}
