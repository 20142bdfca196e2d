//! What a GPU does with this pair of models, for `scripts/gpu-check`: its own copying speed, prompts, tokens one by one and
//! several at a time beside it, the encoder, dictations from release to text, and memory against the plan.
//!
//! `gpu cuda:N|host SPEECH TEXT BUDGET_MIB ROUNDS` prints one JSON object. `host` runs the kernels on the processor
//! (`undertone_simt`): to see that this program works, not to measure.

use anyhow::{Context as _, Result, bail};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;
use undertone_benches::time_ms;
use undertone_engine::gpu::{Available, find};
use undertone_engine::load::warm_up_samples;
use undertone_engine::speed;
use undertone_engine::{Engine, EngineConfig, Request};
use undertone_kernels::MAX_FEW_ROWS;
use undertone_kernels::gpu::Gpu;
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::footprint::PREFILL_CHUNK_TOKENS;
use undertone_models::kv_cache::KvType;
use undertone_models::whisper::{SAMPLE_RATE_HZ, WINDOW_FRAMES, Whisper};

// The program's allocator.
#[path = "../../../app/src/allocator.rs"]
mod allocator;

/// Positions of a language model's cache, and tokens in it while decoding is measured.
const CONTEXT_TOKENS: usize = 2048;
const BEFORE_TOKENS: usize = 500;

/// How much is measured.
struct Effort {
    before_tokens: usize,
    rounds: usize,
    passes: usize,
    soaked: usize,
}

fn main() -> Result<()> {
    allocator::begin();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [device, speech, text, budget_mib, rounds] = &args[..] else {
        bail!("usage: gpu cuda:N|host SPEECH TEXT BUDGET_MIB ROUNDS");
    };
    let (budget_bytes, rounds) = (budget_mib.parse::<usize>()? << 20, rounds.parse::<usize>()?.max(1));
    let available = match device.strip_prefix("cuda:") {
        Some(ordinal) => find(ordinal.parse()?)?,
        None if device == "host" => undertone_simt::available(budget_bytes),
        None => bail!("{device} is neither cuda:N nor host"),
    };
    let effort = match device.as_str() {
        "host" => Effort { before_tokens: 20, rounds: 1, passes: 1, soaked: 1 },
        _ => Effort { before_tokens: BEFORE_TOKENS, rounds, passes: rounds.max(10), soaked: 100 * rounds },
    };
    // What a token's reading of the weights is held against.
    let copied_bytes = (budget_bytes / 4).min(1 << 30);
    let copy_gb_per_s = speed::copy_gb_per_s(&available.open(2 * copied_bytes + (1 << 20))?, copied_bytes)?;
    let mut report = json!({
        "gpu": available.name,
        "capability": available.capability,
        "speech_model": speech,
        "text_model": text,
        "copy_gb_per_s": copy_gb_per_s,
    });
    report["text"] = language(&available.open(budget_bytes)?, Path::new(text), copy_gb_per_s, &effort)?;
    report["speech"] = hearing(&available.open(budget_bytes)?, Path::new(speech), &effort)?;
    let config = EngineConfig {
        gpu: Some(available.clone()),
        budget_bytes: Some(budget_bytes),
        settle: Some(allocator::settle),
        ..EngineConfig::new(speech).with_text_model(text)
    };
    report["engine"] = dictations(config, &available, &effort)?;
    println!("{report:#}");
    Ok(())
}

fn language(gpu: &Gpu, path: &Path, copy_gb_per_s: f64, effort: &Effort) -> Result<Value> {
    let start = Instant::now();
    let lm = CausalLm::open_on(path, gpu)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let mut cache = lm.new_cache(CONTEXT_TOKENS, KvType::F32)?;
    let tokens: Vec<u32> =
        (0..effort.before_tokens.max(MAX_FEW_ROWS) as u32).map(|i| 300 + i * 7 % 4000).collect();
    let [prefill_ms, ..] = time_ms(effort.rounds, || {
        cache.rewind(0);
        for chunk in tokens.chunks(PREFILL_CHUNK_TOKENS) {
            // Its result is there when the work is done.
            let _ = lm.forward_likeliest(chunk, &mut cache, Pass::PrefillLast);
        }
    });
    let mut passes = serde_json::Map::new();
    let mut one_ms = f64::NAN;
    for m in [1, 2, 4, MAX_FEW_ROWS] {
        let [ms, ..] = time_ms(effort.passes, || {
            cache.rewind(tokens.len());
            let _ = lm.forward_likeliest(&tokens[..m], &mut cache, Pass::Decode);
        });
        one_ms = if m == 1 { ms } else { one_ms };
        passes.insert(format!("{m}"), json!({ "ms": ms, "of_one": ms / one_ms }));
    }
    let gb_per_s = lm.weights_bytes() as f64 / one_ms / 1e6;
    Ok(json!({
        "load_ms": load_ms,
        "weights_bytes": lm.weights_bytes(),
        "prefill_tokens_per_s": tokens.len() as f64 / prefill_ms * 1e3,
        "passes_of_tokens": passes,
        "tokens_per_s": 1e3 / one_ms,
        "weights_gb_per_s": gb_per_s,
        "of_copying": gb_per_s / copy_gb_per_s,
    }))
}

fn hearing(gpu: &Gpu, path: &Path, effort: &Effort) -> Result<Value> {
    let model = Whisper::open_on(path, gpu)?;
    let samples = speech_of(30);
    let [mel_ms, ..] = time_ms(effort.rounds, || drop(model.mel.log_mel(&samples)));
    let mel = model.mel.log_mel(&samples)?;
    let window = mel.window(0, WINDOW_FRAMES, mel.floor);
    let input = Tensor::from_vec(window, (WINDOW_FRAMES, mel.num_mel_bins), &Device::Cpu)?;
    let mut cross = model.decoder.new_cross_cache()?;
    let audio = model.encoder.forward(&input)?;
    let [encoder_ms, ..] = time_ms(effort.rounds, || {
        let _ = model.encoder.forward(&input).and_then(|audio| audio.to_tensor());
    });
    model.decoder.attend_to(&audio, &mut cross)?;
    let mut cache = model.decoder.new_cache(1)?;
    model.decoder.forward(&[model.tokens.start_of_transcript], 1, &[], &mut cache, &cross)?;
    let [token_ms, ..] = time_ms(effort.passes, || {
        cache.rewind(1);
        let _ = model.decoder.forward(&[1000], 1, &[0], &mut cache, &cross);
    });
    Ok(json!({ "mel_30_s_ms": mel_ms, "encoder_30_s_ms": encoder_ms, "token_ms": token_ms }))
}

/// The sentence that warm-up dictates, again and again, for `seconds`.
fn speech_of(seconds: usize) -> Vec<f32> {
    warm_up_samples().into_iter().cycle().take(seconds * SAMPLE_RATE_HZ as usize).collect()
}

/// Dictations of several lengths; after that many of the shortest, with memory before and behind.
fn dictations(config: EngineConfig, available: &Available, effort: &Effort) -> Result<Value> {
    let free = || find(available.ordinal).ok().map(|gpu| gpu.memory_bytes.0);
    let free_before = free();
    let engine = Engine::start(config)?;
    let taken = free_before.zip(free()).map(|(before, now)| before.saturating_sub(now));
    let mut lengths = serde_json::Map::new();
    let mut first_over_median = Value::Null;
    for seconds in [3, 6, 11, 30] {
        let clip = speech_of(seconds);
        let mut times = Vec::with_capacity(effort.passes);
        for _ in 0..effort.passes {
            let start = Instant::now();
            engine.dictate(clip.clone(), Request::default())?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let first = times[0];
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        if first_over_median.is_null() {
            first_over_median = json!(first / median);
        }
        lengths.insert(format!("{seconds}_s"), json!({ "p50_ms": median, "most_ms": times.last() }));
    }
    let peak = |engine: &Engine| -> Result<u64> {
        let record = engine.dictate(speech_of(3), Request::default())?.record;
        record.memory.peak_bytes.context("memory is not told")
    };
    let before = peak(&engine)?;
    for _ in 0..effort.soaked {
        engine.dictate(speech_of(3), Request::default())?;
    }
    Ok(json!({
        "load_ms": engine.load_times().total_ms(),
        "release_to_text": lengths,
        "first_over_median": first_over_median,
        "plan_bytes": engine.plan().total_bytes,
        "peak_bytes": before,
        "soaked_dictations": effort.soaked,
        "grew_bytes": peak(&engine)? - before,
        // The context was there before.
        "device_bytes_taken": taken.map(|bytes| bytes + available.context_bytes.unwrap_or(0)),
        "context_bytes": available.context_bytes,
    }))
}
