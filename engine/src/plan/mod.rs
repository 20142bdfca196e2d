//! One memory plan for both models, from the headers of their files: what is granted, line by
//! line, before a weight is read. The answer is a fit or a refusal with figures; nothing is ever
//! moved elsewhere quietly.

mod remedy;
#[cfg(test)]
mod tests;

use crate::prompt::Mode;
pub use remedy::{MIN_CONTEXT_TOKENS, Remedy, RemedyKind};
use serde::Serialize;
use undertone_kernels::MAX_FEW_ROWS;
use undertone_models::footprint::{PREFILL_CHUNK_TOKENS, SpeechFootprint, TextFootprint};
use undertone_models::kv_cache::KvType;

/// The process itself: the code it touches, the standard library's and the allocator's own.
const PROCESS_BYTES: usize = 7 << 20;
/// Seconds of a recording whose samples and spectrogram are planned; longer ones add 150 KiB a second.
pub const RECORDING_S: usize = 150;
/// What each computing thread adds: its stack and the allocator's pages for it.
const THREAD_BYTES: usize = 1 << 19;
/// A CUDA context with its kernels where it is not measured (drivers differ).
const CUDA_CONTEXT_BYTES: usize = 400 << 20;
/// What laying out arrays on a GPU rounds up, at most.
const CUDA_LAYOUT_BYTES: usize = 1 << 20;
/// Names of lines that are looked for again.
const WEIGHTS: [&str; 2] = ["speech weights", "text weights"];
const CONTEXT: &str = "CUDA context";
const MARGIN: &str = "safety margin";
/// Part of everything else that is kept free, for what differs from run to run.
const MARGIN_PER_MILLE: usize = 20;

/// Where the models compute, and so whose memory the budget is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor, in the machine's memory.
    Cpu,
    /// An NVIDIA GPU, in its own memory.
    Cuda,
}

/// What is to be loaded, and how much there is for it.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The speech model; none where texts alone are worked on.
    pub speech: Option<SpeechFootprint>,
    /// The language model; none where rules alone clean.
    pub text: Option<TextFootprint>,
    /// Sequences the language model has a cache for.
    pub sequences: usize,
    /// The same language model in other quantisations, by name.
    pub other_quantisations: Vec<(String, TextFootprint)>,
    /// Whose memory is planned.
    pub device: Device,
    /// Bytes of a GPU's context and kernels, where they were measured.
    pub context_bytes: Option<usize>,
    /// Bytes that may be taken.
    pub budget_bytes: usize,
    /// Positions of the language model's cache; at most what it was trained for is taken.
    pub context_tokens: usize,
    /// How the language model's cache is stored. Whisper's caches are f32.
    pub kv: KvType,
    /// Hypotheses the speech decoder keeps at once.
    pub max_hypotheses: usize,
    /// Tokens of each mode's prompt prefix that is kept computed.
    pub prefix_slot_tokens: Vec<usize>,
    /// Computing threads.
    pub threads: usize,
    /// What may be changed when it does not fit.
    pub allow: Vec<RemedyKind>,
}

/// What the plan settles on: what was asked for, less what the applied remedies took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Positions of the language model's cache; 0 without one.
    pub context_tokens: usize,
    /// How that cache is stored.
    pub kv: KvType,
    /// Name of the quantisation that replaces the language model asked for.
    pub text_model: Option<String>,
    /// Whether the speech model computes on the processor although the device is a GPU.
    pub whisper_on_cpu: bool,
    #[serde(skip)]
    replacement: Option<usize>,
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What takes the bytes.
    pub name: &'static str,
    /// How many.
    pub bytes: usize,
    /// Whether they are a rule of thumb rather than a sum.
    pub estimate: bool,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It fits.
    Fits {
        /// Bytes of the budget that are left.
        spare_bytes: usize,
    },
    /// It does not, and nothing is loaded.
    Refused {
        /// Bytes that are missing.
        short_by_bytes: usize,
    },
}

/// A memory plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whose memory.
    pub device: Device,
    /// What is loaded.
    pub settings: Settings,
    /// What takes how much.
    pub lines: Vec<Line>,
    /// Their sum.
    pub total_bytes: usize,
    /// What there is.
    pub budget_bytes: usize,
    /// Whether it fits.
    pub verdict: Verdict,
    /// What could be, or was, done to make it fit, in order; empty where it fits as asked for.
    pub remedies: Vec<Remedy>,
}

/// A plan that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the models need {} but the budget is {}: {} too little; {remedies}",
    mebibytes(*.needed_bytes), mebibytes(*.budget_bytes), mebibytes(.needed_bytes - .budget_bytes)
)]
pub struct OverBudget {
    /// Bytes the plan takes, after what was allowed.
    pub needed_bytes: usize,
    /// Bytes there are.
    pub budget_bytes: usize,
    /// What would help, in words.
    pub remedies: String,
}

impl PlanRequest {
    /// Plans, and where it does not fit applies the allowed remedies one by one until it does.
    pub fn plan(&self) -> Plan {
        let (settings, remedies) = remedy::settle(self);
        let lines = self.lines(&settings);
        let total_bytes = lines.iter().map(|l| l.bytes).sum();
        let budget_bytes = self.budget_bytes;
        let verdict = match budget_bytes.checked_sub(total_bytes) {
            Some(spare_bytes) => Verdict::Fits { spare_bytes },
            None => Verdict::Refused { short_by_bytes: total_bytes - budget_bytes },
        };
        Plan { device: self.device, settings, lines, total_bytes, budget_bytes, verdict, remedies }
    }

    /// The settings asked for.
    fn asked(&self) -> Settings {
        let trained = self.text.as_ref().map_or(0, TextFootprint::trained_context_tokens);
        Settings {
            context_tokens: self.context_tokens.min(trained),
            kv: self.kv,
            text_model: None,
            whisper_on_cpu: false,
            replacement: None,
        }
    }

    fn text(&self, settings: &Settings) -> Option<&TextFootprint> {
        let replacement = settings.replacement.and_then(|i| self.other_quantisations.get(i));
        replacement.map(|(_, footprint)| footprint).or(self.text.as_ref())
    }

    fn total_bytes(&self, settings: &Settings) -> usize {
        self.lines(settings).iter().map(|l| l.bytes).sum()
    }

    fn lines(&self, settings: &Settings) -> Vec<Line> {
        let on_gpu = self.device == Device::Cuda;
        let speech = self.speech.as_ref().filter(|_| !settings.whisper_on_cpu);
        let recording = self.speech.as_ref().filter(|_| !on_gpu);
        let text = self.text(settings);
        let threads = self.threads;
        // A GPU is given the tensors; on the processor the whole file is mapped, and what is made of it at load
        // and the tokenizers' tables lie in the same memory.
        let file = |file: usize, gpu: usize| if on_gpu { gpu } else { file };
        let tables = |owned: usize, tokenizer: usize| if on_gpu { 0 } else { owned + tokenizer };
        let stored = |kv: KvType| if on_gpu { kv.on_gpu() } else { kv };
        let kv_position = text.map_or(0, |t| t.kv_position_bytes(stored(settings.kv)));
        let slots = self.prefix_slot_tokens.iter().map(|n| n.min(&settings.context_tokens)).sum::<usize>();
        let scratch = match self.device {
            // What a GPU computes in is allocated at load.
            Device::Cuda => {
                speech.map_or(0, SpeechFootprint::gpu_scratch_bytes)
                    + text.map_or(0, TextFootprint::gpu_scratch_bytes)
            }
            // One thread owns both models, so one of them computes at a time.
            Device::Cpu => {
                let speech = speech.map_or(0, |s| {
                    s.encoder_scratch_bytes(threads).max(s.decoder_scratch_bytes(self.max_hypotheses))
                });
                speech.max(text.map_or(0, |t| {
                    t.prefill_scratch_bytes(PREFILL_CHUNK_TOKENS, settings.context_tokens, threads)
                        .max(t.verify_scratch_bytes(MAX_FEW_ROWS))
                }))
            }
        };
        // What is freed is found again by the next request (see the program's `allocator`), so that nothing
        // is kept beyond the larger scratch.
        let runtime = match self.device {
            Device::Cpu => PROCESS_BYTES + threads * THREAD_BYTES,
            Device::Cuda => CUDA_LAYOUT_BYTES,
        };
        let line = |name, bytes| Line { name, bytes, estimate: false };
        let estimate = |name, bytes| Line { name, bytes, estimate: true };
        let mut lines = vec![
            line(WEIGHTS[0], speech.map_or(0, |s| file(s.file_bytes, s.gpu_bytes))),
            line(WEIGHTS[1], text.map_or(0, |t| file(t.file_bytes, t.gpu_bytes))),
            line(
                "loaded tables",
                speech.map_or(0, |s| tables(s.owned_bytes, s.tokenizer_bytes))
                    + text.map_or(0, |t| tables(t.owned_bytes, t.tokenizer_bytes)),
            ),
            line("KV cache, text", self.sequences * settings.context_tokens * kv_position),
            line(
                "KV cache, speech decoder",
                speech.map_or(0, |s| s.self_cache_bytes(self.max_hypotheses, stored(KvType::F32))),
            ),
            line("KV cache, speech window", speech.map_or(0, |s| s.cross_cache_bytes(stored(KvType::F32)))),
            line("prompt prefixes", slots * kv_position),
            line("recording", recording.map_or(0, |speech| speech.recording_bytes(RECORDING_S))),
            line("scratch", scratch),
            estimate("runtime", runtime),
        ];
        if on_gpu {
            lines.push(match self.context_bytes {
                Some(bytes) => line(CONTEXT, bytes),
                None => estimate(CONTEXT, CUDA_CONTEXT_BYTES),
            });
        }
        let sum: usize = lines.iter().map(|l| l.bytes).sum();
        lines.push(estimate(MARGIN, sum * MARGIN_PER_MILLE / 1000));
        lines
    }
}

impl Plan {
    /// The plan if it fits.
    ///
    /// # Errors
    /// [`OverBudget`] with what is needed, what there is, and what would help.
    pub fn granted(self) -> Result<Plan, OverBudget> {
        match self.verdict {
            Verdict::Fits { .. } => Ok(self),
            Verdict::Refused { .. } => Err(OverBudget {
                needed_bytes: self.total_bytes,
                budget_bytes: self.budget_bytes,
                remedies: remedy::advice(&self.remedies),
            }),
        }
    }

    /// Bytes of a GPU that are taken at once and hold all arrays: the plan without the context, which is not ours to lay
    /// out. With the margin in it, a length that is estimated (a prompt's prefix) may be a little more.
    pub fn reserve_bytes(&self) -> usize {
        self.total_bytes - self.bytes_of(CONTEXT)
    }

    /// Bytes of both models' weights.
    pub(crate) fn weights_bytes(&self) -> usize {
        WEIGHTS.iter().map(|name| self.bytes_of(name)).sum()
    }

    fn bytes_of(&self, name: &str) -> usize {
        self.lines.iter().filter(|l| l.name == name).map(|l| l.bytes).sum()
    }

    /// Bytes that are expected in use: the plan without its safety margin.
    pub fn expected_bytes(&self) -> usize {
        self.total_bytes - self.bytes_of(MARGIN)
    }
}

/// Tokens a mode's prompt prefix is taken to have before there is a tokenizer to count them: one
/// for three bytes of its text, and six for the turn markers of each message.
pub fn prefix_tokens(mode: &Mode) -> usize {
    let messages = 1 + 2 * mode.examples.len();
    let examples: usize = mode.examples.iter().map(|(raw, clean)| raw.len() + clean.len()).sum();
    (mode.instruction.len() + examples).div_ceil(3) + 6 * messages
}

/// Bytes as people read them: `1234.5 MiB`.
pub fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
