//! Milliseconds of each stage on its own, and of a decoded token by position: with caches its time
//! may grow with what attention reads and by nothing else.
//!
//! `cargo run --release -p undertone-benches --bin stages -- WHISPER [GGUF] [RUNS]`

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use serde_json::json;
use std::path::Path;
use undertone_benches::{in_pool, time_ms};
use undertone_kernels::MAX_FEW_ROWS;
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::kv_cache::KvType;
use undertone_models::whisper::{WINDOW_FRAMES, Whisper};

fn main() -> Result<()> {
    in_pool(measure)
}

fn measure() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let whisper = args.first().context("usage: stages WHISPER [GGUF] [RUNS]")?;
    let runs = args.get(2).map_or(Ok(10), |r| r.parse())?;
    let mut report =
        json!({ "threads": rayon::current_num_threads(), "runs": runs, "unit": "ms [median, min, max]" });
    report["whisper"] = speech(Path::new(whisper), runs)?;
    if let Some(gguf) = args.get(1) {
        report["text"] = text(Path::new(gguf), runs, KvType::F32)?;
        report["text_q8_cache"] = text(Path::new(gguf), runs, KvType::Q8)?;
    }
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn speech(path: &Path, runs: usize) -> Result<serde_json::Value> {
    let model = Whisper::open_on_bytes(path)?;
    let samples: Vec<f32> = (0..11 * 16_000).map(|i| (i as f32 * 0.05).sin() * 0.1).collect();
    let mel_ms = time_ms(runs, || drop(model.mel.log_mel(&samples)));
    let mel = model.mel.log_mel(&samples)?;
    let input = Tensor::from_vec(
        mel.window(0, WINDOW_FRAMES, mel.floor),
        (WINDOW_FRAMES, mel.num_mel_bins),
        &Device::Cpu,
    )?;
    let audio = model.encoder.forward(&input)?;
    let encoder_ms = time_ms(runs, || drop(model.encoder.forward(&input)));
    let mut cross = model.decoder.new_cross_cache()?;
    let cross_ms = time_ms(runs, || drop(model.decoder.attend_to(&audio, &mut cross)));
    let mut by_position = serde_json::Map::new();
    for position in [1, 50, 100, 200, 400] {
        let tokens = vec![1000; position];
        let mut cache = model.decoder.new_cache(1)?;
        model.decoder.forward(&tokens, 1, &[], &mut cache, &cross)?;
        let ms = time_ms(runs.max(20), || {
            cache.rewind(position);
            drop(model.decoder.forward(&[1000], 1, &[0], &mut cache, &cross));
        });
        by_position.insert(position.to_string(), json!(ms));
    }
    Ok(json!({ "model": path.file_name().map(|n| n.to_string_lossy()), "mel_11_s": mel_ms,
        "encoder_30_s": encoder_ms, "cross_keys": cross_ms, "token_at_position": by_position }))
}

fn text(path: &Path, runs: usize, kv_type: KvType) -> Result<serde_json::Value> {
    let lm = CausalLm::open(path)?;
    let mut cache = lm.new_cache(1024, kv_type)?;
    let tokens: Vec<u32> = (0..900).map(|i| 300 + i * 7 % 4000).collect();
    let mut report = serde_json::Map::new();
    for n in [32, 128, 512] {
        let ms = time_ms(runs, || {
            cache.rewind(0);
            drop(lm.forward(&tokens[..n], &mut cache, Pass::PrefillLast));
        });
        report.insert(format!("prefill_{n}"), json!(ms));
    }
    cache.rewind(0);
    lm.forward(&tokens, &mut cache, Pass::Prefill)?;
    for position in [800, 400, 100, 1] {
        let ms = time_ms(runs.max(20), || {
            cache.rewind(position);
            drop(lm.forward(&[1000], &mut cache, Pass::Decode));
        });
        report.insert(format!("token_at_{position}"), json!(ms));
        let ms = time_ms(runs.max(20), || {
            cache.rewind(position);
            drop(lm.forward(&[1000; MAX_FEW_ROWS], &mut cache, Pass::Decode));
        });
        report.insert(format!("{MAX_FEW_ROWS}_tokens_at_{position}"), json!(ms));
    }
    Ok(json!({ "model": path.file_name().map(|n| n.to_string_lossy()), "ms": report }))
}
