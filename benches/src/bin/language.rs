//! The language model in the same roles as llama.cpp's programs, for `benches/peers/llama.py`.
//!
//! `language speed GGUF`: as llama-bench, milliseconds to read prompts of 128 and of 512 tokens and to decode
//! 64 tokens one by one, each after a warm-up, as one JSON object.
//!
//! `language clean WHISPER GGUF`: as a server, the clean text of each line of standard input in standard mode
//! as a JSON object with the milliseconds from request to answer.
//!
//! `language dictate WHISPER GGUF`: as the dictation program, each recording that a line of standard input names
//! in real time, and the clean text as a JSON object with the milliseconds from its end (for
//! `benches/peers/dictate.py`).

use anyhow::{Result, bail};
use serde_json::json;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use undertone_benches::{in_pool, time_ms};
use undertone_engine::telemetry::Stage;
use undertone_engine::{Engine, EngineConfig, Request, audio};
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::footprint::PREFILL_CHUNK_TOKENS;
use undertone_models::kv_cache::KvType;
use undertone_models::whisper::SAMPLE_RATE_HZ;

// The program's allocator.
#[path = "../../../app/src/allocator.rs"]
mod allocator;

const DECODED_TOKENS: usize = 64;

fn main() -> Result<()> {
    allocator::begin();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["speed", gguf] => in_pool(|| speed(Path::new(gguf))),
        ["clean", whisper, gguf] => clean(EngineConfig::new(whisper).with_text_model(gguf)),
        ["dictate", whisper, gguf] => dictate(EngineConfig::new(whisper).with_text_model(gguf)),
        _ => {
            bail!("usage: language speed GGUF | language clean WHISPER GGUF | language dictate WHISPER GGUF")
        }
    }
}

fn speed(gguf: &Path) -> Result<()> {
    let lm = CausalLm::open(gguf)?;
    allocator::settle();
    let mut cache = lm.new_cache(1024, KvType::F32)?;
    let tokens: Vec<u32> = (0..512).map(|i| 300 + i * 7 % 4000).collect();
    let mut report = serde_json::Map::new();
    for n in [128, 512] {
        let [ms, ..] = time_ms(1, || {
            cache.rewind(0);
            for chunk in tokens[..n].chunks(PREFILL_CHUNK_TOKENS) {
                drop(lm.forward(chunk, &mut cache, Pass::PrefillLast));
            }
        });
        report.insert(format!("prefill_{n}"), json!(ms));
    }
    let [ms, ..] = time_ms(1, || {
        cache.rewind(0);
        for token in &tokens[..DECODED_TOKENS] {
            drop(lm.forward(&[*token], &mut cache, Pass::Decode));
        }
    });
    report.insert(format!("decode_{DECODED_TOKENS}"), json!(ms));
    println!("{}", json!(report));
    Ok(())
}

fn clean(config: EngineConfig) -> Result<()> {
    let engine = Engine::start(EngineConfig { settle: Some(allocator::settle), ..config })?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let start = Instant::now();
        let done = engine.clean(&line, Request::default())?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let (times, counts) = (&done.record.times, &done.record.text);
        let report = json!({
            "ms": ms,
            "text": done.text,
            "prompt_tokens": counts.prefilled_tokens,
            "tokens": counts.generated_tokens,
            "passes": counts.passes,
            "prefill_ms": times.ms(Stage::Prefill),
            "generate_ms": times.ms(Stage::Generate),
        });
        writeln!(out, "{report}")?;
        out.flush()?;
    }
    Ok(())
}

/// What a microphone gives at a time.
const CHUNK_MS: u64 = 100;

fn dictate(config: EngineConfig) -> Result<()> {
    let engine = Engine::start(EngineConfig { settle: Some(allocator::settle), ..config })?;
    let mut out = std::io::stdout().lock();
    for path in std::io::stdin().lock().lines() {
        let samples = audio::resample(audio::decode_file(Path::new(&path?))?, SAMPLE_RATE_HZ)?.samples;
        let mut stream = engine.stream(Request::default(), None)?;
        let start = Instant::now();
        for (n, chunk) in (1..).zip(samples.chunks(CHUNK_MS as usize * SAMPLE_RATE_HZ as usize / 1000)) {
            // A chunk is there when it has been spoken.
            let there = Duration::from_millis(CHUNK_MS * n).saturating_sub(start.elapsed());
            std::thread::sleep(there);
            stream.push(chunk)?;
        }
        let released = Instant::now();
        let done = stream.finish()?.wait()?;
        let ms = released.elapsed().as_secs_f64() * 1e3;
        writeln!(out, "{}", json!({ "ms": ms, "raw": done.raw_text, "text": done.text }))?;
        out.flush()?;
    }
    Ok(())
}
