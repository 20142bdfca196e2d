//! Dictation while one speaks beside the same recording transcribed whole: word error rate, and what
//! decoding takes.
//!
//! `cargo run --release -p undertone-benches --bin stream -- WHISPER DATA [KIND]`: the English clips of
//! that kind ("short") in `DATA/audio/manifest.jsonl`. Clips with many more errors in the stream are named
//! on stderr.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use undertone_benches::word_errors;
use undertone_engine::telemetry::Stage;
use undertone_engine::{Dictation, Engine, EngineConfig, Request, audio};
use undertone_models::whisper::SAMPLE_RATE_HZ;

const CHUNK_SAMPLES: usize = 1_600;
/// Errors more than in the whole recording's text for which a clip is named.
const NAMED_ERRORS: usize = 2;

// The program's allocator.
#[path = "../../../app/src/allocator.rs"]
mod allocator;

#[derive(Default)]
struct Tally {
    errors: usize,
    words: usize,
    encode_ms: Vec<f64>,
    decode_ms: Vec<f64>,
}

impl Tally {
    fn add(&mut self, reference: &str, done: &Dictation) -> usize {
        let (errors, words) = word_errors(reference, &done.raw_text);
        self.errors += errors;
        self.words += words;
        self.encode_ms.push(done.record.times.ms(Stage::Encode));
        self.decode_ms.push(done.record.times.ms(Stage::Decode));
        errors
    }

    fn report(&mut self) -> Value {
        json!({
            "word_error_percent": (self.errors as f64 / self.words.max(1) as f64 * 1e4).round() / 100.0,
            "encode_ms": spread(&mut self.encode_ms),
            "decode_ms": spread(&mut self.decode_ms),
        })
    }
}

fn spread(ms: &mut [f64]) -> Value {
    ms.sort_by(f64::total_cmp);
    let at = |q: usize| ms.get(ms.len().saturating_sub(1) * q / 100).map(|ms| ms.round());
    json!({"p50": at(50), "p95": at(95), "max": at(100)})
}

fn main() -> Result<()> {
    allocator::begin();
    let usage = "stream WHISPER DATA [KIND]";
    let mut args = std::env::args().skip(1);
    let (whisper, data) = (args.next().context(usage)?, args.next().context(usage)?);
    let kind = args.next().unwrap_or_else(|| "short".into());
    let settle = Some(allocator::settle as fn());
    let engine = Engine::start(EngineConfig { settle, ..EngineConfig::new(&whisper) })?;
    let manifest = std::fs::read_to_string(Path::new(&data).join("audio/manifest.jsonl"))?;
    let (mut whole, mut streamed, mut clips) = (Tally::default(), Tally::default(), 0);
    for line in manifest.lines() {
        let clip: Value = serde_json::from_str(line)?;
        if clip["kind"] != kind.as_str() || clip["lang"] != "en" {
            continue;
        }
        let path = Path::new(&data).join(clip["path"].as_str().context("a clip without a path")?);
        let reference = clip["text"].as_str().context("a clip without a text")?;
        let samples = audio::resample(audio::decode_file(&path)?, SAMPLE_RATE_HZ)?.samples;
        let at_once = engine.dictate(samples.as_slice(), Request::in_mode("raw"))?;
        let mut stream = engine.stream(Request::in_mode("raw"), None)?;
        samples.chunks(CHUNK_SAMPLES).try_for_each(|chunk| stream.push(chunk))?;
        let spoken = stream.finish()?.wait()?;
        clips += 1;
        let (few, many) = (whole.add(reference, &at_once), streamed.add(reference, &spoken));
        if many > few + NAMED_ERRORS {
            eprintln!("{}: {few} -> {many}\n  {}\n  {}", clip["id"], at_once.raw_text, spoken.raw_text);
        }
    }
    let report =
        json!({"kind": kind, "clips": clips, "whole": whole.report(), "streamed": streamed.report()});
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
