//! Voice activity: where in a stream of audio somebody speaks, while it is being spoken.
//!
//! Silero VAD 6.0 gives a probability of speech for every 32 ms (`silero.rs`); [`Segmenter`] turns
//! those into segments that end at pauses. An utterance is one [`Segmenter`], made by
//! [`Vad::begin`] and consumed by [`Segmenter::finish`]: everything that must not outlive the
//! utterance lives in that value, so there is nothing to reset. [`Vad::summarize`] judges a whole
//! recording, so that silence, noise and music need not be transcribed at all.

mod boundaries;
mod segmenter;
mod silero;

use std::sync::Arc;

pub use boundaries::{EndReason, Event};
pub use segmenter::Segmenter;
use silero::{FRAME, Network};

/// Sample rate of all audio here, in Hz.
pub const SAMPLE_RATE_HZ: usize = undertone_models::whisper::SAMPLE_RATE_HZ as usize;

/// The most that [`VadSettings::min_speech_ms`] may ask for.
const MAX_MIN_SPEECH_MS: u32 = 500;

/// What counts as speech, and where its segments end.
#[derive(Debug, Clone, PartialEq)]
pub struct VadSettings {
    /// Probability from which a frame of 32 ms is speech.
    pub threshold: f32,
    /// Within speech a frame stays speech down to `threshold - hysteresis`.
    pub hysteresis: f32,
    /// Less speech than this is a click or a cough and is not reported; at most 500.
    pub min_speech_ms: u32,
    /// A pause this long ends a segment.
    pub pause_ms: u32,
    /// A segment shorter than this takes twice the pause to end, so that short phrases are joined.
    pub min_segment_ms: u32,
    /// A segment never gets longer than this; at least 2 s.
    pub max_segment_ms: u32,
    /// Audio kept before and after speech, as far as it belongs to no other segment; no more than a
    /// pause nor a quarter of the longest segment.
    pub pad_ms: u32,
}

impl Default for VadSettings {
    /// Chosen on recorded clips: at this threshold and length all clips with speech, also at 5 dB
    /// signal to noise or -50 dBFS, have speech; of 20 clips of noise and music one has.
    fn default() -> Self {
        VadSettings {
            threshold: 0.5,
            hysteresis: 0.15,
            min_speech_ms: 96,
            pause_ms: 700,
            min_segment_ms: 2_000,
            // Whisper's window is 30 s.
            max_segment_ms: 28_000,
            pad_ms: 300,
        }
    }
}

/// The speech detector: its weights, shared by all utterances.
#[derive(Clone)]
pub struct Vad {
    network: Arc<Network>,
    settings: VadSettings,
}

impl Vad {
    /// Unpacks the weights (1.2 MB), which are part of the program.
    pub fn new(settings: VadSettings) -> Vad {
        Vad { network: Arc::new(Network::new()), settings }
    }

    /// A new utterance, which knows nothing of any other.
    pub fn begin(&self) -> Segmenter {
        Segmenter::new(self.network.clone(), &self.settings)
    }

    /// The first sample of the first frame of speech in a recording (mono, 16 kHz), if there is enough
    /// speech to be worth transcribing. Looks no further than it must.
    pub fn first_speech(&self, samples: &[f32]) -> Option<usize> {
        let needed = (self.settings.min_speech_ms as usize * SAMPLE_RATE_HZ / 1000).max(1).div_ceil(FRAME);
        let probabilities = self.probabilities(samples).enumerate();
        let mut speech =
            probabilities.filter(|(_, p)| *p >= self.settings.threshold).map(|(frame, _)| frame * FRAME);
        let first = speech.next()?;
        if needed > 1 { speech.nth(needed - 2).map(|_| first) } else { Some(first) }
    }

    /// How much speech a whole recording (mono, 16 kHz) has.
    pub fn summarize(&self, samples: &[f32]) -> SpeechSummary {
        let mut summary = SpeechSummary {
            total_ms: to_ms(samples.len()),
            min_speech_ms: self.settings.min_speech_ms.clamp(1, MAX_MIN_SPEECH_MS).into(),
            ..SpeechSummary::default()
        };
        for (i, probability) in self.probabilities(samples).enumerate() {
            summary.max_probability = summary.max_probability.max(probability);
            if probability >= self.settings.threshold {
                let begin_ms = to_ms(i * FRAME);
                let end_ms = to_ms(samples.len().min((i + 1) * FRAME));
                summary.speech_ms += end_ms - begin_ms;
                summary.first_ms.get_or_insert(begin_ms);
                summary.last_ms = Some(end_ms);
            }
        }
        summary
    }

    /// Probability of speech in each 512 samples (32 ms) of a recording; a last part of a frame is
    /// filled with zeros.
    pub fn probabilities(&self, samples: &[f32]) -> impl Iterator<Item = f32> {
        let mut state = silero::State::new();
        samples.chunks(FRAME).map(move |chunk| {
            let mut frame = [0.0; FRAME];
            frame.iter_mut().zip(chunk).for_each(|(to, from)| *to = sane(*from));
            self.network.probability(&frame, &mut state)
        })
    }
}

/// What [`Vad::summarize`] found in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SpeechSummary {
    /// Length of the recording.
    pub total_ms: u64,
    /// Frames with speech, added up.
    pub speech_ms: u64,
    /// The highest probability of speech of any frame; 0 if there is no frame.
    pub max_probability: f32,
    /// Where the first frame with speech begins.
    pub first_ms: Option<u64>,
    /// Where the last frame with speech ends.
    pub last_ms: Option<u64>,
    min_speech_ms: u64,
}

impl SpeechSummary {
    /// Whether there is enough speech to be worth transcribing.
    pub fn has_speech(&self) -> bool {
        self.speech_ms >= self.min_speech_ms.max(1)
    }

    /// The part of the recording that is speech, 0 to 1.
    pub fn speech_ratio(&self) -> f64 {
        self.speech_ms as f64 / self.total_ms.max(1) as f64
    }
}

/// Samples that are not numbers are silence, and none is louder than full scale: one bad sample
/// would otherwise stay in the network's state for good.
fn sane(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

fn to_ms(samples: usize) -> u64 {
    samples as u64 * 1000 / SAMPLE_RATE_HZ as u64
}
