//! What memory permits a language model to write, and what it writes, both measured. A token that is decoded by itself
//! reads every weight once, and little else takes time: bytes a second over bytes a token is the most there can be.

use crate::error::{EngineError, Result};
use crate::load::pool;
use crate::telemetry::host::{CpuTimes, HostReading};
use crate::telemetry::{GpuReading, gpu};
use std::path::Path;
use std::time::{Duration, Instant};
use undertone_kernels::gpu::{Available, Gpu};
use undertone_kernels::reading::read_all;
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::footprint::TextFootprint;
use undertone_models::kv_cache::KvType;

/// Tokens decoded before time is taken, and those whose median counts.
const WARM_TOKENS: usize = 4;
const TOKENS: usize = 32;
/// Slow machines decode fewer of them: at least three, and no more once this has passed.
const DECODE_LIMIT: Duration = Duration::from_secs(2);
/// Times that the weights are read: at least three, until this has passed or they have been read so often.
const READ_LIMIT: Duration = Duration::from_millis(300);
const MOST_READS: usize = 50;
/// Copied on a GPU: more than its cache holds.
const GPU_COPY_BYTES: usize = 256 << 20;
const MIB: usize = 1 << 20;

/// What was measured.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Speed {
    /// Tokens a second: one by one, without drafts, the median of some tens.
    pub tokens_per_s: f64,
    /// What memory permits: [`Speed::memory_gb_per_s`] over [`Speed::token_bytes`].
    pub permitted_tokens_per_s: f64,
    /// Gigabytes a second that memory gives: of the weights themselves, read by all threads, the best of several times;
    /// of a GPU, what it reads and writes when it copies. Weights that stay in the processor's cache come from there.
    pub memory_gb_per_s: f64,
    /// Bytes that a token reads.
    pub token_bytes: usize,
    /// Tokens decoded.
    pub tokens: usize,
    /// Threads that computed.
    pub threads: usize,
    /// Whether a GPU did.
    pub on_gpu: bool,
    /// The machine as the last token was there.
    pub host: HostReading,
    /// The GPU, likewise.
    pub gpu: Option<GpuReading>,
    /// Share of the CPUs that others took meanwhile, 0 to 1.
    pub other_load: Option<f64>,
}

impl Speed {
    /// The part of what memory permits.
    pub fn ratio(&self) -> f64 {
        self.tokens_per_s / self.permitted_tokens_per_s
    }
}

/// Bytes that [`measure`] takes of main memory for the model in this file.
///
/// # Errors
/// If it is none that can be used.
pub fn needed_bytes(model: &Path) -> Result<usize> {
    let model = TextFootprint::read(model)?;
    let kept = model.file_bytes + model.owned_bytes + model.tokenizer_bytes;
    Ok(kept + (WARM_TOKENS + TOKENS) * model.kv_position_bytes(KvType::F32) + model.verify_scratch_bytes(1))
}

/// Loads the model in this file on `gpu`, or on the processor with that many threads (all by default), and decodes some
/// tokens on threads that end with it.
///
/// # Errors
/// If the model or the GPU cannot be used.
pub fn measure(model: &Path, gpu: Option<&Available>, threads: Option<usize>) -> Result<Speed> {
    let work = || {
        pool(threads)?.install(|| match gpu {
            None => on_processor(model),
            Some(gpu) => on_gpu(model, gpu),
        })
    };
    // The pool takes the thread that makes it for one of its own, for good.
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("speed".into()).spawn_scoped(scope, work);
        let ended = worker.map_err(|e| EngineError::Thread(e.to_string()))?.join();
        ended.unwrap_or_else(|_| Err(EngineError::Panicked("while the speed was measured".into())))
    })
}

fn on_processor(model: &Path) -> Result<Speed> {
    let lm = CausalLm::open(model)?;
    for file in lm.files() {
        file.prefault()?;
    }
    let weights = lm.multiplied();
    let bytes: usize = weights.iter().map(|weight| weight.len_bytes()).sum();
    let (begin, mut best, mut reads) = (Instant::now(), f64::INFINITY, 0);
    while reads < 3 || (reads < MOST_READS && begin.elapsed() < READ_LIMIT) {
        let start = Instant::now();
        read_all(&weights);
        best = best.min(start.elapsed().as_secs_f64());
        reads += 1;
    }
    decode(&lm, bytes as f64 / best / 1e9, None)
}

fn on_gpu(model: &Path, available: &Available) -> Result<Speed> {
    let footprint = TextFootprint::read(model)?;
    let cache = (WARM_TOKENS + TOKENS) * footprint.kv_position_bytes(KvType::F32);
    let taken = footprint.gpu_bytes + footprint.gpu_scratch_bytes() + cache;
    // Two arrays; what is rounded up, beside.
    let budget = (taken + 2 * GPU_COPY_BYTES + 64 * MIB).min(available.memory_bytes.0);
    let gpu = available.open(budget).map_err(EngineError::Gpu)?;
    let copied = copy_gb_per_s(&gpu, GPU_COPY_BYTES).map_err(EngineError::Gpu)?;
    decode(&CausalLm::open_on(model, &gpu)?, copied, Some(available))
}

/// Gigabytes a second that a GPU reads and writes together when it copies `len_bytes` within its memory: the best of
/// several times.
///
/// # Errors
/// If it has not twice as much left; what the driver says.
pub fn copy_gb_per_s(
    gpu: &Gpu,
    len_bytes: usize,
) -> std::result::Result<f64, undertone_kernels::gpu::GpuError> {
    /// Together, so that waiting for the end counts little.
    const COPIES: usize = 10;
    let (from, mut to) = (gpu.array::<u8>(len_bytes)?, gpu.array::<u8>(len_bytes)?);
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..COPIES {
            to.copy_from(&from)?;
        }
        // Waits for all of them.
        to.part(0..4)?.to_vec()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok((2 * COPIES * len_bytes) as f64 / best / 1e9)
}

/// Decodes with `lm`, which `gpu` holds where there is one.
fn decode(lm: &CausalLm, memory_gb_per_s: f64, gpu: Option<&Available>) -> Result<Speed> {
    const KV: KvType = KvType::F32;
    let mut cache = lm.new_cache(WARM_TOKENS + TOKENS, KV)?;
    let mut token = lm.tokenizer().bos().unwrap_or(0);
    let mut next = |token: u32| -> Result<u32> {
        Ok(lm.forward_likeliest(&[token], &mut cache, Pass::Decode)?.first().copied().unwrap_or(token))
    };
    for _ in 0..WARM_TOKENS {
        token = next(token)?;
    }
    let (before, begin) = (CpuTimes::read(Path::new("/")), Instant::now());
    let mut times = Vec::with_capacity(TOKENS);
    while times.len() < 3 || (times.len() < TOKENS && begin.elapsed() < DECODE_LIMIT) {
        let start = Instant::now();
        token = next(token)?;
        times.push(start.elapsed().as_secs_f64());
    }
    let now = CpuTimes::read(Path::new("/"));
    let reading = gpu.and_then(|_| gpu::Gpu::read_first());
    let host = HostReading::read(Path::new("/"));
    times.sort_by(f64::total_cmp);
    let token_bytes = lm.token_bytes(WARM_TOKENS + times.len() / 2, KV);
    Ok(Speed {
        tokens_per_s: 1.0 / times[times.len() / 2],
        permitted_tokens_per_s: memory_gb_per_s * 1e9 / token_bytes as f64,
        memory_gb_per_s,
        token_bytes,
        tokens: times.len(),
        threads: rayon::current_num_threads(),
        on_gpu: gpu.is_some(),
        host,
        gpu: reading,
        other_load: now.zip(before).and_then(|(now, before)| now.other_load_since(&before)),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn model() -> PathBuf {
        let root = std::env::var_os("UNDERTONE_TEST_MODELS").map(PathBuf::from);
        let root =
            root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-models"));
        let mut files =
            std::fs::read_dir(root.join("smollm2-135m-instruct")).unwrap().flatten().map(|f| f.path());
        files.find(|file| file.extension().is_some_and(|e| e == "gguf")).unwrap()
    }

    #[test]
    fn a_model_is_held_against_the_bytes_it_reads() {
        let speed = measure(&model(), None, Some(1)).unwrap();
        assert_eq!((speed.threads, speed.on_gpu), (1, false));
        assert!((3..=TOKENS).contains(&speed.tokens));
        assert!(speed.tokens_per_s > 0.0 && speed.memory_gb_per_s > 0.0, "{speed:?}");
        let permitted = speed.memory_gb_per_s * 1e9 / speed.token_bytes as f64;
        assert!((speed.permitted_tokens_per_s / permitted - 1.0).abs() < 1e-9, "{speed:?}");
        // Its head is its embedding: nothing in its file but is read.
        let footprint = TextFootprint::read(&model()).unwrap();
        assert!(speed.token_bytes > footprint.tensor_bytes, "{speed:?}");
        assert!(speed.token_bytes < footprint.tensor_bytes * 11 / 10, "{speed:?}");
        assert!(needed_bytes(&model()).unwrap() > footprint.tensor_bytes);
    }

    #[test]
    fn what_is_no_model_is_said() {
        let missing = measure(Path::new("/nowhere"), None, None).unwrap_err();
        assert!(matches!(missing, EngineError::Model(_)), "{missing}");
    }
}
