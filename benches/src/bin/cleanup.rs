//! Clean-up of text pairs, each with and without drafts in turn: the same text token for token? how
//! much faster? how often is the model's text taken, and how far is raw, rules' and final text from
//! the reference (word error rate; case and punctuation do not count)?
//!
//! `cargo run --release -p undertone-benches --bin cleanup -- WHISPER GGUF CLEANUP.JSONL [PAIRS] [MODE] [drafted-only]`
//!
//! In standard mode a judge that shares nothing with the check looks for added words, changed numbers
//! and negations; what it objects to is printed on stderr. `PAIRS` are taken evenly from all categories. With `standard+figures` numbers are written in figures first.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use undertone_benches::word_errors;
use undertone_engine::clean::spoken::Spoken;
use undertone_engine::clean::{judge, rules};
use undertone_engine::telemetry::{Counts, Stage};
use undertone_engine::{CleanedBy, Dictation, Engine, EngineConfig, Request};

#[derive(Default)]
struct Tally {
    pairs: usize,
    taken: usize,
    words: usize,
    errors: [usize; 3],
    drafted: Run,
    plain: Run,
    refusals: BTreeMap<String, usize>,
    /// Texts of the model that an independent judge objects to.
    violations: usize,
}

/// What the language model took.
#[derive(Default)]
struct Run {
    generate_ms: Vec<f64>,
    total_ms: f64,
    counts: Counts,
}

impl Run {
    fn add(&mut self, d: &Dictation) {
        let (generate, prefill) = (d.record.times.ms(Stage::Generate), d.record.times.ms(Stage::Prefill));
        self.generate_ms.push(generate);
        self.total_ms += generate + prefill;
        let (sum, more) = (&mut self.counts, d.record.text);
        sum.prefilled_tokens += more.prefilled_tokens;
        sum.generated_tokens += more.generated_tokens;
        sum.passes += more.passes;
        sum.drafted_tokens += more.drafted_tokens;
        sum.accepted_tokens += more.accepted_tokens;
    }

    fn sum_ms(&self) -> f64 {
        self.generate_ms.iter().sum()
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [whisper, gguf, pairs, rest @ ..] = &args[..] else {
        anyhow::bail!("usage: cleanup WHISPER GGUF CLEANUP.JSONL [PAIRS] [MODE] [drafted-only]")
    };
    let most: usize = rest.first().map_or(Ok(200), |n| n.parse())?;
    let mode = rest.get(1).map_or("standard", String::as_str);
    let (mode, figures) = mode.strip_suffix("+figures").map_or((mode, false), |mode| (mode, true));
    let drafted_only = rest.get(2).is_some();
    let config =
        EngineConfig { warm_modes: vec![mode.into()], ..EngineConfig::new(whisper).with_text_model(gguf) };
    let drafted = Engine::start(config.clone())?;
    let plain = match drafted_only {
        true => None,
        false => Some(Engine::start(EngineConfig { speculate: false, ..config })?),
    };
    let spoken = Spoken { figures, ..Spoken::default() };
    let request = Request { spoken, ..Request::in_mode(mode) };
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for pair in evenly(pairs, most)? {
        let text = |key: &str| pair[key].as_str().unwrap_or_default();
        let (raw, clean) = (text("raw"), text("clean"));
        let tally = tallies.entry(text("category").to_string()).or_default();
        let result = drafted.clean(raw, request.clone())?;
        tally.drafted.add(&result);
        if let Some(plain) = &plain {
            let slow = plain.clean(raw, request.clone())?;
            tally.plain.add(&slow);
            ensure!(
                slow.text == result.text,
                "drafts changed the text: {:?} and {:?}",
                slow.text,
                result.text
            );
            let tokens = |d: &Dictation| d.record.text.generated_tokens;
            ensure!(tokens(&slow) == tokens(&result), "drafts changed the tokens of {raw:?}");
        }
        tally.pairs += 1;
        let violations = judge::violations(raw, &result.text);
        if mode == "standard" && !violations.is_empty() {
            tally.violations += 1;
            eprintln!("{violations:?}\n  {raw}\n  {}", result.text);
        }
        tally.taken += usize::from(result.cleaned_by == CleanedBy::Llm && result.refusals.is_empty());
        for why in &result.refusals {
            *tally
                .refusals
                .entry(why.split(['"', '\'']).next().unwrap_or_default().trim().into())
                .or_default() += 1;
        }
        for (i, candidate) in [raw, &rules::clean(raw, "en"), &result.text].into_iter().enumerate() {
            let (errors, words) = word_errors(clean, candidate);
            tally.errors[i] += errors;
            tally.words += if i == 0 { words } else { 0 };
        }
    }
    println!("{}", serde_json::to_string_pretty(&report(gguf, (mode, figures), tallies))?);
    Ok(())
}

/// Pairs from each category in turn until there are `most`.
fn evenly(path: &str, most: usize) -> Result<Vec<Value>> {
    let lines = std::fs::read_to_string(path).context("cannot read the pairs")?;
    let mut categories: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines.lines() {
        let pair: Value = serde_json::from_str(line)?;
        categories.entry(pair["category"].to_string()).or_default().push(pair);
    }
    let longest = categories.values().map(Vec::len).max().unwrap_or(0);
    let turns = (0..longest).flat_map(|i| categories.values().filter_map(move |c| c.get(i)));
    Ok(turns.take(most).cloned().collect())
}

fn report(gguf: &str, (mode, figures): (&str, bool), tallies: BTreeMap<String, Tally>) -> Value {
    let mut all = Tally::default();
    let mut categories = serde_json::Map::new();
    for (name, t) in tallies {
        categories.insert(name, row(&t));
        all.pairs += t.pairs;
        all.taken += t.taken;
        all.words += t.words;
        all.violations += t.violations;
        (0..3).for_each(|i| all.errors[i] += t.errors[i]);
        for (sum, more) in [(&mut all.drafted, t.drafted), (&mut all.plain, t.plain)] {
            sum.generate_ms.extend(more.generate_ms);
            sum.total_ms += more.total_ms;
            let (a, b) = (&mut sum.counts, more.counts);
            a.prefilled_tokens += b.prefilled_tokens;
            a.generated_tokens += b.generated_tokens;
            a.passes += b.passes;
            a.drafted_tokens += b.drafted_tokens;
            a.accepted_tokens += b.accepted_tokens;
        }
    }
    let model = Path::new(gguf).file_name().map(|n| n.to_string_lossy());
    let threads = std::thread::available_parallelism().map_or(0, Into::into);
    json!({ "model": model, "mode": mode, "figures": figures, "threads": threads, "all": row(&all), "categories": categories })
}

fn row(t: &Tally) -> Value {
    let rate = |errors: usize| (1e4 * errors as f64 / t.words.max(1) as f64).round() / 100.0;
    let run = |r: &Run| {
        let mut ms = r.generate_ms.clone();
        ms.sort_by(f64::total_cmp);
        json!({ "generate_ms_median": ms.get(ms.len() / 2).map(|v| v.round()), "generate_ms_sum": r.sum_ms().round(),
            "llm_ms_sum": r.total_ms.round(), "counts": r.counts })
    };
    let ratio = |a: f64, b: f64| (100.0 * a / b).round() / 100.0;
    let speed_up = (!t.plain.generate_ms.is_empty()).then(|| {
        json!({ "generate": ratio(t.plain.sum_ms(), t.drafted.sum_ms()), "llm": ratio(t.plain.total_ms, t.drafted.total_ms) })
    });
    let counts = t.drafted.counts;
    json!({
        "pairs": t.pairs,
        "model_text_taken": t.taken,
        "word_error_percent": { "raw": rate(t.errors[0]), "rules": rate(t.errors[1]), "result": rate(t.errors[2]) },
        "drafted": run(&t.drafted),
        "plain": if t.plain.generate_ms.is_empty() { Value::Null } else { run(&t.plain) },
        "speed_up": speed_up,
        "acceptance": ratio(counts.accepted_tokens as f64, counts.drafted_tokens.max(1) as f64),
        "tokens_per_pass": ratio(counts.generated_tokens as f64, counts.passes.max(1) as f64),
        "refusals": t.refusals,
        "oracle_objections": t.violations,
    })
}
