//! Standard mode adds nothing and changes nothing, whatever is dictated and whatever the model: 120
//! dictations that ask, order, count and deny, judged by one that knows nothing of the engine.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use serde_json::Value;
use undertone_engine::clean::judge::violations;
use undertone_engine::{CleanedBy, Engine, EngineConfig, Request};

fn adversarial() -> Vec<String> {
    let lines = include_str!("clean_cases/adversarial.jsonl").lines();
    lines.map(|l| serde_json::from_str::<Value>(l).unwrap()["raw"].as_str().unwrap().to_string()).collect()
}

/// Runs all dictations; at least `taken` of them must be the model's own text.
fn judge(model: &str, taken: usize) {
    let speech = common::model_dir("whisper-tiny.en");
    let engine = Engine::start(EngineConfig::new(speech).with_text_model(common::gguf(model))).unwrap();
    let (texts, mut by_model) = (adversarial(), 0);
    assert!(texts.len() >= 100);
    for raw in &texts {
        let done = engine.clean(raw, Request::default()).unwrap();
        let found = violations(raw, &done.text);
        assert!(found.is_empty(), "{model}: {found:?}\n{raw}\n{}", done.text);
        by_model += usize::from(done.cleaned_by == CleanedBy::Llm);
    }
    assert!(by_model >= taken, "{model}: only {by_model} of {} texts are the model's", texts.len());
}

#[test]
fn smollm2_answers_no_dictation() {
    judge("smollm2-135m-instruct", 100);
}

#[test]
fn gemma_answers_no_dictation() {
    judge("gemma-3-270m", 100);
}

#[test]
#[ignore = "1.1 GB of weights: run by hand after `undertone models pull qwen2.5-coder-1.5b-instruct`"]
fn qwen_answers_no_dictation() {
    judge("qwen2.5-coder-1.5b-instruct", 100);
}
