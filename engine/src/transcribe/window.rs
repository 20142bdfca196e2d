//! One window of 30 s: heard, and decoded until it is good.

use super::rules::LogitRules;
use super::search::{Hypothesis, Search};
use super::{Padding, Segment, SpeechOptions, Suppress, Transcriber};
use crate::control::Control;
use crate::draft::TokenDraft;
use crate::error::{EngineError, Result};
use crate::telemetry::Stage;
use candle_core::{Device, Tensor};
use undertone_kernels::MAX_FEW_ROWS;
use undertone_models::whisper::{AudioContext, FRAMES_PER_SECOND, Mel, SAMPLE_RATE_HZ, WINDOW_FRAMES};

/// Positions (of 20 ms) of silence that are all computed behind the speech.
const SILENT_POSITIONS: usize = 64;

/// One decoded window.
pub(super) struct Window {
    pub(super) hypothesis: Hypothesis,
    pub(super) no_speech_prob: f32,
    compression_ratio: f32,
    pub(super) temperature: f32,
    /// More was written than can be said in so short a time.
    rambles: bool,
    pub(super) drafted: usize,
    pub(super) accepted: usize,
}

/// What a window is decoded with besides its prompt.
#[derive(Clone, Copy)]
pub(super) struct Hints<'a> {
    /// What it is known to begin with.
    pub(super) given: &'a [u32],
    /// What it may well hold.
    pub(super) draft: &'a [u32],
    /// Most tokens that may be said in it.
    pub(super) most_tokens: usize,
}

impl Window {
    pub(super) fn avg_logprob(&self) -> f32 {
        self.hypothesis.avg_logprob()
    }

    /// A segment that was decoded in it, with its times in seconds.
    pub(super) fn segment(&self, (start_s, end_s): (f64, f64), text: String, tokens: Vec<u32>) -> Segment {
        Segment {
            start_s,
            end_s,
            text,
            tokens,
            avg_logprob: self.avg_logprob(),
            no_speech_prob: self.no_speech_prob,
            compression_ratio: self.compression_ratio,
            temperature: self.temperature,
        }
    }

    pub(super) fn is_repetitive(&self, options: &SpeechOptions) -> bool {
        self.rambles || self.compression_ratio > options.compression_ratio_threshold
    }

    /// Whether it is as good as another attempt, or silence.
    fn is_settled(&self, options: &SpeechOptions) -> bool {
        match self.is_doubtful(options) {
            true => self.may_be_silence(options),
            false => !self.is_repetitive(options),
        }
    }

    fn is_doubtful(&self, options: &SpeechOptions) -> bool {
        self.avg_logprob() < options.log_prob_threshold
    }

    pub(super) fn may_be_silence(&self, options: &SpeechOptions) -> bool {
        self.no_speech_prob > options.no_speech_threshold
    }
}

impl Transcriber {
    /// Encodes a moment of silence that nobody asks for: a device at rest raises its clocks at its first work, which should
    /// not be the first that is waited for.
    pub(crate) fn rouse(&mut self, control: &mut Control) -> Result<()> {
        let silence = self.model.mel.log_mel(&[0.0; SAMPLE_RATE_HZ as usize / 10])?;
        self.hear(&silence, 0, Padding::Sampled, control)
    }

    /// Encodes the window at `seek` and fills the cross-attention cache.
    pub(super) fn hear(
        &mut self,
        mel: &Mel,
        seek: usize,
        padding: Padding,
        control: &mut Control,
    ) -> Result<()> {
        const POSITIONS: usize = WINDOW_FRAMES / 2;
        let bins = mel.num_mel_bins;
        // The last frame only holds the tail of the one before.
        let content = (mel.frames() - 1).saturating_sub(seek).min(WINDOW_FRAMES);
        let context = match padding {
            Padding::Sampled => AudioContext::sampled(content.div_ceil(2) + SILENT_POSITIONS, POSITIONS),
            Padding::Silence | Padding::Zeros => AudioContext::full(POSITIONS),
        };
        let frames = context.mel_frames();
        let audio = control.stage(Stage::Encode, |control| {
            let window = match padding {
                Padding::Sampled | Padding::Silence => mel.window(seek, frames, mel.floor),
                Padding::Zeros => {
                    let mut window = mel.window(seek, frames, 0.0);
                    window[content * bins..].fill(0.0);
                    window
                }
            };
            let input = Tensor::from_vec(window, (frames, bins), &Device::Cpu)?;
            self.model.encoder.forward_layers(&input, context, |_| control.check())
        })?;
        control.stage(Stage::Decode, |_| Ok(self.model.decoder.attend_to(&audio, &mut self.cross)?))
    }

    /// Decodes the window that starts at `seek`, which the cross-attention cache holds. Where a sample of
    /// the silence behind it leaves doubts, all of it is heard before anything else is tried.
    pub(super) fn understand(
        &mut self,
        (mel, seek): (&Mel, usize),
        prompt: &[u32],
        options: &SpeechOptions,
        hints: Hints<'_>,
        control: &mut Control,
    ) -> Result<Window> {
        let first = options.temperatures.first().filter(|_| self.cross.is_sampled());
        if let Some(temperature) = first.copied() {
            let width = if temperature > 0.0 { options.best_of } else { options.beam_size };
            let window = control.stage(Stage::Decode, |control| {
                self.decode_at(prompt, (temperature, width), options, hints, control)
            })?;
            if window.is_settled(options) {
                return Ok(window);
            }
            self.hear(mel, seek, Padding::Silence, control)?;
        }
        control.stage(Stage::Decode, |control| self.decode_window(prompt, options, hints, control))
    }

    /// Decodes the window in the cross-attention cache, at rising temperatures until it is good.
    pub(super) fn decode_window(
        &mut self,
        prompt: &[u32],
        options: &SpeechOptions,
        hints: Hints<'_>,
        control: &Control,
    ) -> Result<Window> {
        let mut tried: Vec<Window> = Vec::new();
        let widths = |t: f32| match t > 0.0 {
            true => vec![options.best_of],
            false if options.fallback_beam_size > options.beam_size => {
                vec![options.beam_size, options.fallback_beam_size]
            }
            false => vec![options.beam_size],
        };
        let attempts = options.temperatures.iter().flat_map(|t| widths(*t).into_iter().map(|w| (*t, w)));
        for (temperature, width) in attempts {
            let window = self.decode_at(prompt, (temperature, width), options, hints, control)?;
            if window.is_settled(options) {
                return Ok(window);
            }
            tried.push(window);
        }
        // None passed: the likeliest of those that do not repeat themselves, else of all.
        let only_repeats = tried.iter().all(|w| w.is_repetitive(options));
        tried
            .into_iter()
            .filter(|w| only_repeats || !w.is_repetitive(options))
            .max_by(|a, b| a.avg_logprob().total_cmp(&b.avg_logprob()))
            .ok_or(EngineError::NoTemperature)
    }

    fn decode_at(
        &mut self,
        prompt: &[u32],
        (temperature, width): (f32, usize),
        options: &SpeechOptions,
        hints: Hints<'_>,
        control: &Control,
    ) -> Result<Window> {
        let config = &self.model.config;
        let rules = LogitRules {
            tokens: &self.model.tokens,
            suppressed: match options.suppress {
                Suppress::Annotations => &self.annotations,
                Suppress::NonSpeech => &self.non_speech,
            },
            blank: &self.blank,
            vocab_size: config.vocab_size,
        };
        let longest = config.max_target_positions;
        let room = (longest / 2).min(longest.saturating_sub(prompt.len() + hints.given.len()));
        let mut search = Search {
            decoder: &self.model.decoder,
            cache: &mut self.cache,
            cross: &self.cross,
            rules,
            given: hints.given,
            max_tokens: room.min(hints.most_tokens),
            draft: TokenDraft::new(hints.draft, MAX_FEW_ROWS - 1),
            control,
        };
        let (hypothesis, no_speech_prob) = search.run(prompt, temperature, width)?;
        let (drafted, accepted) = search.draft.counts();
        let compression_ratio = compression_ratio(&self.text_of(hypothesis.decoded()));
        let rambles = !hypothesis.finished && hints.most_tokens < room;
        Ok(Window { hypothesis, no_speech_prob, compression_ratio, temperature, rambles, drafted, accepted })
    }
}

/// Most tokens in `frames` of speech: three times as many as anybody says, so that a word that makes a
/// model ramble costs tenths of a second and not ten.
pub(super) fn most_tokens(frames: usize) -> usize {
    const PER_SECOND: usize = 25;
    const MARGIN: usize = 10;
    MARGIN + frames * PER_SECOND / FRAMES_PER_SECOND
}

/// Bytes of the text over bytes of it zlib-compressed; about 1.2 for prose, far higher for loops.
fn compression_ratio(text: &str) -> f32 {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing to a vector cannot fail.
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.map_or(0.0, |c| text.len() as f32 / c.len().max(1) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_compress_and_prose_does_not() {
        assert!(compression_ratio(&"And so my fellow Americans. ".repeat(20)) > 2.4);
        assert!(compression_ratio("Ask not what your country can do for you, ask what you can do.") < 2.4);
        assert_eq!(compression_ratio(""), 0.0);
    }
}
