//! The memory plan against what the system reports: an engine for a pair of models, in a process of
//! its own, dictates forty-nine recordings of 2 to 60 s and one of 150 s, some with five beams and cleaned
//! by the model.
//!
//! `cargo run --release -p undertone-benches --bin memory -- STORE` for a table of all pairs, or
//! `... -- WHISPER GGUF|none [CONTEXT] [f32|q8]` for one as JSON.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use undertone_engine::plan::RECORDING_S;
use undertone_engine::telemetry::memory::{peak_resident_bytes, resident_bytes};
use undertone_engine::transcribe::SpeechOptions;
use undertone_engine::{Engine, EngineConfig, Request, audio};
use undertone_models::kv_cache::KvType;
use undertone_models::whisper::SAMPLE_RATE_HZ;

// The program's allocator decides how much of what is freed stays resident.
#[path = "../../../app/src/allocator.rs"]
mod allocator;

const SPEECH: [&str; 2] = ["whisper-tiny.en", "whisper-base"];
const TEXT: [&str; 4] = ["none", "smollm2-135m-instruct", "gemma-3-270m", "qwen2.5-coder-1.5b-instruct"];

fn main() -> Result<()> {
    allocator::begin();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [store] => all_pairs(Path::new(store)),
        [speech, text, rest @ ..] => {
            let context_tokens = rest.first().map_or(Ok(2048), |n| n.parse())?;
            let kv = if rest.get(1).is_some_and(|k| k == "q8") { KvType::Q8 } else { KvType::F32 };
            let text_model = (text != "none").then(|| text.into());
            let settle = Some(allocator::settle as fn());
            let config = EngineConfig { text_model, context_tokens, kv, settle, ..EngineConfig::new(speech) };
            println!("{}", measure(config)?);
            Ok(())
        }
        [] => bail!("usage: memory STORE | memory WHISPER GGUF|none [CONTEXT] [f32|q8]"),
    }
}

fn all_pairs(store: &Path) -> Result<()> {
    println!("| speech | text | planned MiB | of it margin | peak | after | plan / peak |");
    println!("|---|---|---|---|---|---|---|");
    for speech in SPEECH {
        for text in TEXT {
            let gguf = if text == "none" { PathBuf::from(text) } else { gguf_in(&store.join(text))? };
            let run = std::process::Command::new(std::env::current_exe()?)
                .args([store.join(speech), gguf])
                .stderr(std::process::Stdio::inherit())
                .output()?;
            let row: Value = serde_json::from_slice(&run.stdout).context("a pair's report")?;
            let mib = |key: &str| row[key].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20);
            let (planned, peak) = (mib("planned_bytes"), mib("peak_bytes"));
            println!(
                "| {speech} | {text} | {planned:.1} | {:.1} | {peak:.1} | {:.1} | {:.3} |",
                mib("margin_bytes"),
                mib("after_bytes"),
                planned / peak
            );
        }
    }
    Ok(())
}

fn gguf_in(folder: &Path) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(folder)?.flatten().map(|f| f.path());
    files.find(|f| f.extension().is_some_and(|e| e == "gguf")).context("no GGUF file in the folder")
}

/// The speech that recordings are cut from (16 kHz).
fn speech() -> Result<Vec<f32>> {
    let clips = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/clips");
    let mut samples = Vec::new();
    for name in ["report.wav", "long.wav", "question.wav"] {
        samples.extend(audio::resample(audio::decode_file(&clips.join(name))?, SAMPLE_RATE_HZ)?.samples);
    }
    Ok(samples)
}

/// Of as many lengths: what is freed is kept in pieces, and another length may fit none of them.
const DICTATIONS: usize = 50;

/// Bytes the engine added to the process beside its plan.
fn measure(config: EngineConfig) -> Result<Value> {
    let before = resident_bytes().context("the system does not tell")?;
    let engine = Engine::start(EngineConfig { budget_bytes: Some(usize::MAX), ..config })?;
    let warm = resident_bytes().unwrap_or(0);
    let speech = speech()?;
    for n in 0..DICTATIONS {
        // The golden ratio's multiples: all lengths, in no order; then the longest that is planned for.
        let usual = 2.0 + 58.0 * (n as f64 * 0.618_034).fract();
        let seconds = if n + 1 == DICTATIONS { RECORDING_S as f64 } else { usual };
        let samples = (seconds * f64::from(SAMPLE_RATE_HZ)) as usize;
        let audio: Vec<f32> = speech.iter().copied().cycle().skip(n * samples).take(samples).collect();
        let beams = SpeechOptions { beam_size: 5, ..SpeechOptions::default() };
        let request = match n % 10 {
            0 => Request { speech: beams, ..Request::default() },
            _ => Request::in_mode("raw"),
        };
        engine.dictate(audio, request)?;
    }
    let (peak, after) = (peak_resident_bytes().unwrap_or(0), resident_bytes().unwrap_or(0));
    let plan = engine.plan();
    Ok(json!({
        "planned_bytes": plan.total_bytes,
        "margin_bytes": plan.total_bytes - plan.expected_bytes(),
        "warm_bytes": warm.saturating_sub(before),
        "peak_bytes": peak.saturating_sub(before),
        "after_bytes": after.saturating_sub(before),
        "lines": plan.lines,
    }))
}
