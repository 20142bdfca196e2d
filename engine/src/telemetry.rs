use std::time::{Duration, Instant};

/// The stages a file passes through, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// File to samples at their own rate.
    DecodeAudio,
    /// To 16 kHz.
    Resample,
    /// To log-mel frames.
    Mel,
    /// Whisper's encoder.
    Encode,
    /// Whisper's decoder, language detection included.
    Decode,
    /// The language model reading its prompt.
    Prefill,
    /// The language model writing.
    Generate,
    /// Rules and the fidelity check.
    Clean,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 8] = [
        Stage::DecodeAudio,
        Stage::Resample,
        Stage::Mel,
        Stage::Encode,
        Stage::Decode,
        Stage::Prefill,
        Stage::Generate,
        Stage::Clean,
    ];

    /// The stage's key in JSON output.
    pub fn name(self) -> &'static str {
        ["decode_audio", "resample", "mel", "encode", "decode", "prefill", "generate", "clean"][self as usize]
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
        self.0[stage as usize] += start.elapsed();
        result
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

/// Highest resident memory of this process so far in bytes, where the system tells (Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}
