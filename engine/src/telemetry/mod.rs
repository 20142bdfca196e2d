//! Where the milliseconds and the memory go, what the machine reports, and whether it is as fast as it was.

/// NVIDIA cards.
pub mod gpu;
/// Whether generation is as fast as at warm-up, and if not, why.
pub mod health;
/// The machine: power, clocks, load.
pub mod host;
/// Memory of this process and of the machine.
pub mod memory;
mod watch;

use crate::generate::Generated;
pub use gpu::GpuReading;
pub use health::Health;
use std::time::{Duration, Instant};
pub(crate) use watch::Watch;

/// The stages a file passes through, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// File to samples at their own rate.
    DecodeAudio,
    /// To 16 kHz.
    Resample,
    /// Looking for speech.
    Vad,
    /// To log-mel frames.
    Mel,
    /// Whisper's encoder.
    Encode,
    /// Whisper's decoder, language detection included.
    Decode,
    /// The language model reading its prompt. Where a draft is verified in one pass with it, each has that pass's time by
    /// its rows.
    Prefill,
    /// The language model writing.
    Generate,
    /// Rules and the fidelity check.
    Clean,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 9] = [
        Stage::DecodeAudio,
        Stage::Resample,
        Stage::Vad,
        Stage::Mel,
        Stage::Encode,
        Stage::Decode,
        Stage::Prefill,
        Stage::Generate,
        Stage::Clean,
    ];

    /// The stage's key in JSON output.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 9] =
            ["decode_audio", "resample", "vad", "mel", "encode", "decode", "prefill", "generate", "clean"];
        NAMES[self as usize]
    }
}

/// Time spent in each stage for one file.
#[derive(Clone, Debug, Default)]
pub struct StageTimes([Duration; Stage::ALL.len()]);

impl StageTimes {
    /// Runs `work` and adds its time to `stage`.
    pub fn measure<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(stage, start.elapsed());
        result
    }

    /// Adds to the time of `stage`.
    pub fn add(&mut self, stage: Stage, time: Duration) {
        self.0[stage as usize] += time;
    }

    /// Counts `time` of `from`, or all that it has if less, to `to`.
    pub fn shift(&mut self, from: Stage, to: Stage, time: Duration) {
        let time = time.min(self.0[from as usize]);
        self.0[from as usize] -= time;
        self.add(to, time);
    }

    /// Adds the times of `other`.
    pub fn extend(&mut self, other: &StageTimes) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a += *b);
    }

    /// Milliseconds spent in `stage`.
    pub fn ms(&self, stage: Stage) -> f64 {
        self.0[stage as usize].as_secs_f64() * 1e3
    }

    /// Milliseconds in all stages.
    pub fn total_ms(&self) -> f64 {
        Stage::ALL.iter().map(|s| self.ms(*s)).sum()
    }
}

/// Tokens a language model read and wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Prompt tokens computed; what a prefix slot or the last prompt held is not among them.
    pub prefilled_tokens: usize,
    /// Tokens written.
    pub generated_tokens: usize,
    /// Forward passes that wrote them.
    pub passes: usize,
    /// Tokens that drafts proposed.
    pub drafted_tokens: usize,
    /// Those of them that were taken.
    pub accepted_tokens: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, out: &Generated) {
        self.prefilled_tokens += out.prefilled_tokens;
        self.generated_tokens += out.tokens.len();
        self.passes += out.passes;
        self.drafted_tokens += out.drafted;
        self.accepted_tokens += out.accepted;
    }
}

/// Memory of the process beside what was planned for it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MemoryUse {
    /// The plan's total.
    pub planned_bytes: u64,
    /// Resident when the request ended, less what was before the engine was loaded; where the system tells.
    pub resident_bytes: Option<u64>,
    /// Most that was resident since the process began, less what it held before the engine was loaded.
    pub peak_bytes: Option<u64>,
}

impl MemoryUse {
    /// Whether more was used than planned.
    pub fn exceeds_plan(&self) -> bool {
        self.peak_bytes.is_some_and(|peak| peak > self.planned_bytes)
    }
}

/// Where the time and the memory of one request went.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Seconds of audio.
    pub audio_s: f64,
    /// Milliseconds the request waited for its turn.
    pub queue_ms: f64,
    /// Milliseconds from its turn (or the end of the speech, when streamed) to its result.
    pub latency_ms: f64,
    /// Time of each stage, what was done while the user spoke included.
    pub times: StageTimes,
    /// Tokens of the transcript, time stamps included.
    pub speech_tokens: usize,
    /// Tokens of the transcript that a draft proposed, and those taken.
    pub speech_drafts: (usize, usize),
    /// The language model's tokens.
    pub text: Counts,
    /// Memory.
    pub memory: MemoryUse,
    /// The GPU when the request ended, on NVIDIA.
    pub gpu: Option<GpuReading>,
    /// Whether this machine still does what it did at warm-up; `None` before there is a baseline.
    pub health: Option<Health>,
}

impl Record {
    /// Tokens the language model wrote in a second; `None` when it wrote none.
    pub fn text_tokens_per_s(&self) -> Option<f64> {
        let ms = self.times.ms(Stage::Generate);
        (self.text.generated_tokens > 0 && ms > 0.0).then(|| self.text.generated_tokens as f64 * 1e3 / ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shifted_is_counted_once() {
        let mut times = StageTimes::default();
        times.add(Stage::Prefill, Duration::from_millis(30));
        times.shift(Stage::Prefill, Stage::Generate, Duration::from_millis(10));
        assert_eq!((times.ms(Stage::Prefill), times.ms(Stage::Generate)), (20.0, 10.0));
        times.shift(Stage::Prefill, Stage::Generate, Duration::from_millis(50));
        assert_eq!((times.ms(Stage::Prefill), times.ms(Stage::Generate)), (0.0, 30.0));
    }
}
