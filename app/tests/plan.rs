//! The built binary plans and writes synthetic models, which the readers take like published ones.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::footprint::{SpeechFootprint, TextFootprint};
use undertone_models::kv_cache::KvType;
use undertone_models::weights::{BlockType, Weights, ctranslate2, gguf::Gguf, safetensors};
use undertone_models::whisper::Whisper;

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the binary in `folder`, whose `store` is the model store.
fn undertone(folder: &Path, args: &str) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_undertone"))
        .args(args.split_whitespace())
        .current_dir(folder)
        .env("UNDERTONE_MODELS", folder.join("store"))
        .env("UNDERTONE_OFFLINE", "1")
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn synth(folder: &Path, args: &str) {
    let ran = undertone(folder, &format!("lab synth {args}"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

/// Names, shapes and types of all tensors.
fn tensors(weights: &Weights) -> BTreeMap<String, (Vec<usize>, BlockType)> {
    weights.tensors().map(|(name, dims, ty)| (name.into(), (dims.to_vec(), ty))).collect()
}

#[test]
fn synthetic_language_models_have_the_tensors_of_the_published_files() {
    let dir = tempfile::tempdir().unwrap();
    let pairs =
        [("smollm2-135m", "q4_1", "smollm2-135m-instruct"), ("gemma-3-270m", "q4_k_m", "gemma-3-270m")];
    for (like, quant, published) in pairs {
        synth(dir.path(), &format!("--like {like} --quant {quant} --sparse -o {like}.gguf"));
        let made = Gguf::open(&dir.path().join(format!("{like}.gguf"))).unwrap();
        let published = Gguf::open(&common::gguf(published)).unwrap();
        assert_eq!(tensors(made.weights()), tensors(published.weights()), "{like}");
        assert_eq!(made.weights().len_bytes(), published.weights().len_bytes(), "{like}");
        for key in ["context_length", "attention.head_count", "attention.head_count_kv"] {
            let key =
                |file: &Gguf| file.unsigned(&format!("{}.{key}", file.text("general.architecture").unwrap()));
            assert_eq!(key(&made), key(&published), "{like}");
        }
    }
}

#[test]
fn a_synthetic_whisper_has_the_tensors_of_the_published_one() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path(), "--like whisper-tiny.en -o tiny");
    let made = tensors(&safetensors::open(&dir.path().join("tiny")).unwrap());
    let mut published = tensors(&ctranslate2::open(&common::model_dir("whisper-tiny.en")).unwrap().weights);
    // CTranslate2 stores the zeros of a bias that Whisper does not have.
    published.retain(|name, _| !name.ends_with("k_proj.bias"));
    assert_eq!(made, published);
    let model = Whisper::open(&dir.path().join("tiny")).unwrap();
    assert!(!model.tokenizer.encode("Any text, für alle: 語!").unwrap().is_empty());
}

#[test]
fn synthetic_language_models_compute_finite_logits_in_every_quantisation() {
    let dir = tempfile::tempdir().unwrap();
    for (like, quant) in [
        ("gemma-3-270m", "q4_k"),
        ("gemma-3-270m", "q6_k"),
        ("smollm2-135m", "f32"),
        ("smollm2-135m", "f16"),
        ("smollm2-135m", "q8_0"),
        ("smollm2-135m", "q4_0"),
        ("smollm2-135m", "q5_k_m"),
        ("llama-3.2-1b", "q5_0"),
        ("qwen2.5-1.5b", "q4_k_m"),
    ] {
        let path = dir.path().join("model.gguf");
        synth(dir.path(), &format!("--like {like} --quant {quant} --layers 2 --seed 7 -o model.gguf"));
        let lm = CausalLm::open(&path).unwrap();
        assert!(lm.chat_template().is_some());
        let text = "Any text, für alle: 語!\n";
        let tokens = lm.tokenizer().encode(text).unwrap();
        assert_eq!(lm.tokenizer().decode(&tokens), text, "{like}");
        let mut cache = lm.new_cache(tokens.len(), KvType::F32).unwrap();
        let logits = lm.forward(&tokens, &mut cache, Pass::Score).unwrap().unwrap();
        let logits = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(logits.iter().all(|l| l.is_finite()), "{like} {quant}");
        let spread = logits.iter().map(|l| l * l).sum::<f32>() / logits.len() as f32;
        assert!((1e-4..1e4).contains(&spread), "{like} {quant}: {spread}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn footprints_are_what_the_loaded_models_say() {
    let path = common::gguf("smollm2-135m-instruct");
    let (text, lm) = (TextFootprint::read(&path).unwrap(), CausalLm::open(&path).unwrap());
    assert_eq!(text.tensor_bytes, lm.weights_bytes());
    // The file, or what is kept of it and its matrices laid out anew.
    assert_eq!(text.file_bytes, lm.files().iter().map(|file| file.needed_bytes()).sum::<usize>());
    assert_eq!((text.quantisation.as_str(), text.trained_context_tokens()), ("Q4_1", 8192));
    assert_eq!(text.kv_position_bytes(KvType::F32), 2 * 30 * 3 * 64 * 4);
    let path = common::model_dir("whisper-tiny.en");
    let (speech, whisper) = (SpeechFootprint::read(&path).unwrap(), Whisper::open(&path).unwrap());
    assert_eq!((speech.tensor_bytes, &speech.config), (whisper.weights_bytes, &whisper.config));
    assert_eq!(speech.quantisation, "F16");
    assert_eq!(speech.cross_cache_bytes(KvType::F32), 2 * 4 * 1500 * 384 * 4);
    let variants = common::model_dir("whisper-tiny.en-variants");
    for (name, quantisation) in [("ct2-int8", "I8"), ("hf-f32", "F32"), ("ggml-q5_0.bin", "Q5_0")] {
        let other = SpeechFootprint::read(&variants.join(name)).unwrap();
        assert_eq!((other.config, other.quantisation.as_str()), (speech.config.clone(), quantisation));
    }
    assert!(TextFootprint::read(&variants.join("ggml-f16.bin")).is_err());
}

const PAIR: &str =
    "--speech-model ./whisper-large-v3-turbo --text-model ./gemma-3-4b-Q4_K_M.gguf --context 4096";

fn large_pair(folder: &Path) {
    synth(folder, "--like gemma-3-4b --quant q4_k_m --sparse");
    synth(folder, "--like large-v3-turbo --sparse");
}

#[test]
fn eight_gigabytes_hold_gemma_4b_and_whisper_turbo_and_four_do_not() {
    let dir = tempfile::tempdir().unwrap();
    large_pair(dir.path());
    let fits = undertone(dir.path(), &format!("plan {PAIR} --device cuda --budget 8GiB"));
    assert_eq!(fits.code, 0, "{}", fits.stderr);
    for line in
        ["speech weights", "text weights", "prompt prefixes", "safety margin", "total", "fits, to spare"]
    {
        assert!(fits.stdout.contains(line), "{line:?} in {}", fits.stdout);
    }
    assert!(!fits.stdout.contains("not allowed"), "{}", fits.stdout);

    let refused = undertone(dir.path(), &format!("plan {PAIR} --device cuda:4GiB"));
    assert_eq!(refused.code, 4);
    assert!(refused.stdout.contains("refused, short by"), "{}", refused.stdout);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    for words in
        ["the budget is 4096.0 MiB", "smaller-context (saves", "q8-kv (saves", "whisper-on-cpu (saves"]
    {
        assert!(refused.stderr.contains(words), "{words:?} in {}", refused.stderr);
    }
    // A GPU's memory cannot be asked of a machine that may have none.
    let unnamed = undertone(dir.path(), &format!("plan {PAIR} --device cuda"));
    assert_eq!((unnamed.code, unnamed.stdout.as_str()), (2, ""), "{}", unnamed.stderr);
}

#[test]
fn allowed_remedies_are_applied_in_order_until_it_fits() {
    let dir = tempfile::tempdir().unwrap();
    large_pair(dir.path());
    let plan = |more: &str| -> Value {
        let ran = undertone(dir.path(), &format!("plan {PAIR} --json {more}"));
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["plan"].clone()
    };
    let all = "--allow whisper-on-cpu,smaller-context,q8-kv";
    let kinds = |plan: &Value| -> Vec<String> {
        let remedies = plan["remedies"].as_array().unwrap().iter();
        remedies.filter(|r| r["applied"] == true).map(|r| r["kind"].as_str().unwrap().into()).collect()
    };
    let asked = plan("--device cuda:16GiB");
    let total = asked["total_bytes"].as_u64().unwrap();
    let step = plan(&format!("--device cuda:5000MiB {all}"));
    assert_eq!(kinds(&step), ["smaller-context"]);
    assert!((1024..4096).contains(&step["settings"]["context_tokens"].as_u64().unwrap()));
    let step = plan(&format!("--device cuda:4700MiB {all}"));
    assert_eq!(kinds(&step), ["smaller-context", "q8-kv"]);
    let step = plan(&format!("--device cuda:4GiB {all}"));
    assert_eq!(kinds(&step), ["smaller-context", "q8-kv", "whisper-on-cpu"]);
    let saved: u64 =
        step["remedies"].as_array().unwrap().iter().map(|r| r["saves_bytes"].as_u64().unwrap()).sum();
    assert_eq!(step["total_bytes"].as_u64().unwrap(), total - saved);
    assert!(step["verdict"]["fits"]["spare_bytes"].is_u64(), "{step}");
    // The processor is no place to flee to for what is there already.
    let cpu = plan(&format!("--device cpu --budget 2GiB {all}"));
    assert!(
        cpu["verdict"]["refused"]["short_by_bytes"].is_u64()
            && !kinds(&cpu).contains(&"whisper-on-cpu".into())
    );
}

#[test]
fn a_smaller_quantisation_comes_from_the_store() {
    let dir = tempfile::tempdir().unwrap();
    for quant in ["f16", "q8_0", "q4_0"] {
        synth(dir.path(), &format!("--like smollm2-135m --quant {quant} --sparse -o {quant}.gguf"));
        let import = undertone(dir.path(), &format!("models import {quant}.gguf --name smol-{quant} --link"));
        assert_eq!(import.code, 0, "{}", import.stderr);
    }
    synth(dir.path(), "--like tiny.en --sparse -o tiny");
    let plan = |budget_bytes: u64| -> (i32, Value, String) {
        let models = "--speech-model ./tiny --text-model smol-f16 --context 1024 --threads 2";
        let budget = budget_bytes.div_ceil(1024);
        let args = format!("plan {models} --allow smaller-quant --json --budget {budget}KiB");
        let ran = undertone(dir.path(), &args);
        (ran.code, serde_json::from_str::<Value>(&ran.stdout).unwrap()["plan"].clone(), ran.stderr)
    };
    let replacement = |plan: &Value| plan["settings"]["text_model"].as_str().map(str::to_string);
    let (code, whole, _) = plan(2 << 30);
    assert_eq!((code, replacement(&whole)), (0, None));
    let total = whole["total_bytes"].as_u64().unwrap();
    // A little too little: the next smaller one. Too little for that one: the smallest.
    let (code, smaller, _) = plan(total - (1 << 20));
    assert_eq!((code, replacement(&smaller)), (0, Some("smol-q8_0".into())));
    let (code, smallest, _) = plan(smaller["total_bytes"].as_u64().unwrap() - (1 << 20));
    assert_eq!((code, replacement(&smallest)), (0, Some("smol-q4_0".into())));
    let (code, refused, sentence) = plan(100 << 20);
    assert_eq!((code, replacement(&refused)), (4, Some("smol-q4_0".into())));
    assert!(sentence.contains("smaller-quant (saves") && sentence.contains("did not suffice"), "{sentence}");
}

#[test]
fn what_is_free_is_the_budget_when_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path(), "--like tiny.en --sparse -o tiny");
    let ran = undertone(dir.path(), "plan --speech-model ./tiny --text-model none --json");
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(plan["plan"]["budget_bytes"].as_u64().unwrap() > 0, "{}", ran.stderr);
    assert!(plan["text_model"].is_null());
}

#[test]
fn dictations_of_many_lengths_stay_within_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let clips = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/clips");
    let clips = ["long", "question", "report", "dictation"].map(|c| clips.join(c).with_extension("wav"));
    let files = clips.map(|c| c.display().to_string()).join(" ");
    let (speech, text) = (common::model_dir("whisper-tiny.en"), common::gguf("smollm2-135m-instruct"));
    let models = format!("--speech-model {} --text-model {}", speech.display(), text.display());
    let ran = undertone(dir.path(), &format!("lab latency --steady 0 --soak 12 {models} {files}"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let memory = &report["soak"]["memory"];
    let mebibytes = |key: &str| memory[key].as_f64().unwrap() / f64::from(1 << 20);
    assert!(mebibytes("peak_bytes") <= mebibytes("planned_bytes"), "{memory}");
    // The first was the longest: the others find what it has freed.
    assert!(mebibytes("last_resident_bytes") - mebibytes("first_resident_bytes") < 8.0, "{memory}");
}

#[test]
fn synth_refuses_what_it_does_not_know_and_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = undertone(dir.path(), "lab synth --like gpt-5");
    assert!(unknown.code == 2 && unknown.stderr.contains("gemma-3-4b"), "{}", unknown.stderr);
    let integers = undertone(dir.path(), "lab synth --like whisper-base --quant q4_0");
    assert!(integers.code == 2 && integers.stderr.contains("f16 or f32"), "{}", integers.stderr);
    synth(dir.path(), "--like smollm2-135m --sparse -o x.gguf");
    let there = undertone(dir.path(), "lab synth --like smollm2-135m --sparse -o x.gguf");
    assert_eq!(there.code, 7, "{}", there.stderr);
}
