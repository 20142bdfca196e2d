//! Clean-up of text pairs: how often the model's text is taken, and the word error rate against the
//! reference of the raw text, of the rules' and of the result.
//!
//! `cargo run --release -p undertone-benches --bin cleanup -- WHISPER GGUF CLEANUP.JSONL [PER_CATEGORY] [MODE]`

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use undertone_benches::word_errors;
use undertone_engine::clean::rules;
use undertone_engine::telemetry::Stage;
use undertone_engine::{CleanedBy, Engine};

#[derive(Default)]
struct Tally {
    pairs: usize,
    taken: usize,
    words: usize,
    errors: [usize; 3],
    llm_ms: Vec<f64>,
    refusals: BTreeMap<String, usize>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [whisper, gguf, pairs, rest @ ..] = &args[..] else {
        anyhow::bail!("usage: cleanup WHISPER GGUF CLEANUP.JSONL [PER_CATEGORY] [MODE]")
    };
    let per_category: usize = rest.first().map_or(Ok(20), |n| n.parse())?;
    let mode = rest.get(1).map_or("standard", String::as_str);
    let mut engine = Engine::load(Path::new(whisper), Some(Path::new(gguf)), 1, 2048)?;
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let lines = std::fs::read_to_string(pairs).context("cannot read the pairs")?;
    for line in lines.lines() {
        let pair: Value = serde_json::from_str(line)?;
        let text = |key: &str| pair[key].as_str().unwrap_or_default();
        let tally = tallies.entry(text("category").to_string()).or_default();
        if tally.pairs == per_category {
            continue;
        }
        let (raw, clean) = (text("raw"), text("clean"));
        let result = engine.clean_text(raw, mode, "en")?;
        tally.pairs += 1;
        tally.taken += usize::from(result.cleaned_by == CleanedBy::Llm);
        tally.llm_ms.push(result.times.ms(Stage::Prefill) + result.times.ms(Stage::Generate));
        for why in result.refusals {
            *tally.refusals.entry(why.split('\'').next().unwrap_or_default().trim().into()).or_default() += 1;
        }
        for (i, candidate) in [raw, &rules::clean(raw, "en"), &result.text].into_iter().enumerate() {
            let (errors, words) = word_errors(clean, candidate);
            tally.errors[i] += errors;
            if i == 0 {
                tally.words += words;
            }
        }
    }
    println!("{}", serde_json::to_string_pretty(&report(gguf, mode, tallies))?);
    Ok(())
}

fn report(gguf: &str, mode: &str, tallies: BTreeMap<String, Tally>) -> Value {
    let mut categories = serde_json::Map::new();
    for (name, mut t) in tallies {
        t.llm_ms.sort_by(f64::total_cmp);
        let rate = |errors: usize| (1e4 * errors as f64 / t.words.max(1) as f64).round() / 100.0;
        let row = json!({
            "pairs": t.pairs,
            "model_text_taken": t.taken,
            "word_error_percent": { "raw": rate(t.errors[0]), "rules": rate(t.errors[1]), "result": rate(t.errors[2]) },
            "llm_ms_median": t.llm_ms[t.llm_ms.len() / 2].round(),
            "refusals": t.refusals,
        });
        categories.insert(name, row);
    }
    let model = Path::new(gguf).file_name().map(|n| n.to_string_lossy());
    json!({ "model": model, "mode": mode, "threads": rayon::current_num_threads(), "categories": categories })
}
