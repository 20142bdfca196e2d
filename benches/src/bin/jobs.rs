//! Prompts answered several at a time against one at a time.
//!
//! `jobs GGUF PROMPTS.jsonl [PROMPTS] [ROUNDS]`: the texts `raw` of so many lines (16), each asked to be gone on with for 64
//! tokens, 1, 2, 4 and 8 together in turn, so many times (10), after a warm-up. Prints a JSON object: milliseconds of each
//! round, their medians, tokens a second, and how many times as fast as one at a time (the median of the rounds' ratios).

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use undertone_engine::EngineError;
use undertone_engine::batch::{Batch, BatchConfig, MAX_SEQUENCES, Question};
use undertone_models::kv_cache::KvType;

// The program's allocator.
#[path = "../../../app/src/allocator.rs"]
mod allocator;

const TOGETHER: [usize; 4] = [1, 2, 4, MAX_SEQUENCES];
const ANSWER_TOKENS: usize = 64;

fn main() -> Result<()> {
    allocator::begin();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (gguf, prompts, count, rounds) = match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [gguf, prompts] => (*gguf, *prompts, 16, 10),
        [gguf, prompts, count] => (*gguf, *prompts, count.parse()?, 10),
        [gguf, prompts, count, rounds] => (*gguf, *prompts, count.parse()?, rounds.parse()?),
        _ => bail!("usage: jobs GGUF PROMPTS.jsonl [PROMPTS] [ROUNDS]"),
    };
    let mut batch = Batch::load(&BatchConfig {
        text_model: gguf.into(),
        gpu: None,
        context_tokens: 512,
        kv: KvType::F32,
        sequences: MAX_SEQUENCES,
        threads: None,
        budget_bytes: None,
        settle: Some(allocator::settle),
        uploading: None,
    })?;
    let questions = questions(&batch, Path::new(prompts), count)?;
    let (expected, _) = answer(&mut batch, MAX_SEQUENCES, &questions)?;
    let tokens: usize = expected.iter().map(|(tokens, _)| tokens).sum();
    let mut times_ms: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for n in 0..TOGETHER.len() {
            // Who begins a round changes.
            let together = TOGETHER[(n + round) % TOGETHER.len()];
            let (replies, ms) = answer(&mut batch, together, &questions)?;
            ensure!(replies == expected, "{together} together answer otherwise");
            times_ms.entry(together).or_default().push(ms);
        }
    }
    let alone = times_ms[&1].clone();
    let rows = times_ms.into_iter().map(|(together, times)| {
        let ratios = alone.iter().zip(&times).map(|(alone, ms)| alone / ms).collect();
        let ms = median(times.clone());
        json!({ "together": together, "ms": ms, "tokens_per_s": tokens as f64 / ms * 1e3, "times_one": median(ratios), "rounds_ms": times })
    });
    let prompt_tokens: usize = questions.iter().map(|q| q.prompt.len()).sum();
    let rows: Vec<Value> = rows.collect();
    let report = json!({ "model": gguf, "prompts": count, "prompt_tokens": prompt_tokens, "tokens": tokens, "rows": rows });
    println!("{report:#}");
    Ok(())
}

fn questions(batch: &Batch, path: &Path, count: usize) -> Result<Vec<Question>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut questions = Vec::new();
    for line in text.lines().take(count) {
        let line: Value = serde_json::from_str(line)?;
        let raw = line["raw"].as_str().context("a line without raw")?;
        let prompt = batch.prompts().text(raw)?;
        questions.push(Question { prompt, max_tokens: ANSWER_TOKENS, stop: Vec::new() });
    }
    Ok(questions)
}

/// Tokens and texts of the answers, and the milliseconds they took with the reading of the prompts, of which no beginning
/// is kept.
fn answer(batch: &mut Batch, together: usize, questions: &[Question]) -> Result<(Vec<(usize, String)>, f64)> {
    let start = Instant::now();
    let mut next = questions.iter().cloned().map(Ok).enumerate();
    let mut replies = vec![Default::default(); questions.len()];
    let outcome: Result<(), EngineError> = batch.run(
        together,
        |_| next.next(),
        |n, reply| {
            let reply = reply?;
            replies[n] = (reply.tokens, reply.text);
            Ok(())
        },
    );
    outcome?;
    Ok((replies, start.elapsed().as_secs_f64() * 1e3))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
