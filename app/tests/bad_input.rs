//! The built binary on input that cannot be used: one clear sentence, the right exit code, no
//! panic, nothing on stdout.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn undertone(args: &[&str]) -> Outcome {
    undertone_with(&[], args)
}

fn undertone_with(variables: &[(&str, &str)], args: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_undertone"))
        .args(args)
        .env("UNDERTONE_MODELS", common::model_dir("."))
        .env("UNDERTONE_OFFLINE", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().expect("ended by itself, not by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs, and insists on a refusal with `code` whose sentence holds every one of `words`.
fn refused(code: i32, words: &[&str], args: &[&str]) -> String {
    check_refusal(code, words, args, undertone(args))
}

fn check_refusal(code: i32, words: &[&str], args: &[&str], out: Outcome) -> String {
    assert_eq!(out.code, code, "{args:?}: {}", out.stderr);
    assert_eq!(out.stdout, "", "{args:?}");
    assert!(out.stderr.starts_with("undertone: ") && !out.stderr.contains("panicked"), "{}", out.stderr);
    assert_eq!(out.stderr.trim_end().lines().count(), 1, "one sentence: {}", out.stderr);
    for word in words {
        assert!(out.stderr.to_lowercase().contains(&word.to_lowercase()), "{word:?} in {}", out.stderr);
    }
    out.stderr
}

fn clip(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/clips").join(name);
    path.to_string_lossy().into_owned()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_string_lossy().into_owned()
}

const RAW: [&str; 3] = ["transcribe", "--mode", "raw"];

fn raw<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&RAW[..], more, &[file]].concat()
}

#[test]
fn unusable_audio() {
    let dir = tempfile::tempdir().unwrap();
    let text = write(dir.path(), "text.wav", b"This is a letter, not a sound. ".repeat(50).as_slice());
    refused(3, &["text.wav"], &raw(&text, &[]));
    let empty = write(dir.path(), "empty.wav", b"");
    refused(3, &["empty"], &raw(&empty, &[]));
    refused(3, &["no-such-file.flac"], &raw("no-such-file.flac", &[]));
    let folder = dir.path().to_string_lossy().into_owned();
    refused(3, &[&folder], &raw(&folder, &[]));
}

#[test]
fn an_unknown_instruction_set() {
    let (clip, variables) = (clip("question.wav"), [("UNDERTONE_ISA", "mmx")]);
    let args = raw(&clip, &[]);
    let words = ["UNDERTONE_ISA=mmx names no instruction set", "here it can be scalar"];
    check_refusal(2, &words, &args, undertone_with(&variables, &args));
}

#[test]
fn truncated_audio_gives_what_is_there_or_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["question.wav", "question.flac"] {
        let whole = std::fs::read(clip(name)).unwrap();
        for i in 0..10 {
            let cut = write(dir.path(), &format!("cut-{name}"), &whole[..whole.len() * i / 10 + 7]);
            let out = undertone(&raw(&cut, &[]));
            assert!(!out.stderr.contains("panicked") && [0, 3].contains(&out.code), "{i}: {}", out.stderr);
            assert!(out.stderr.contains(&format!("cut-{name}")), "{i}: a truncation is told: {}", out.stderr);
            assert!(i < 6 || out.stdout.to_lowercase().contains("train"), "{name} {i}: {}", out.stdout);
        }
    }
}

#[test]
fn a_bad_file_among_good_ones_costs_only_itself() {
    let (good, bad) = (clip("question.wav"), "no-such-file.wav");
    let out = undertone(&["transcribe", "--mode", "raw", bad, &good]);
    assert_eq!(out.code, 3);
    assert!(out.stdout.contains("next train") && out.stderr.contains(bad));
}

/// Copies `file` of `model` cut at ten places, and hands each to `check` as the model's path.
fn cut_at_ten_places(model: &Path, file: &str, check: impl Fn(&Path)) {
    let bytes = std::fs::read(model.join(file)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != file {
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    for i in 0..10 {
        // Dense at the front, where the header is, and one byte short at the end.
        let at = [
            0,
            3,
            11,
            60,
            700,
            9_000,
            bytes.len() / 4,
            bytes.len() / 2,
            bytes.len() * 9 / 10,
            bytes.len() - 1,
        ][i];
        std::fs::write(dir.path().join(file), &bytes[..at]).unwrap();
        check(dir.path());
    }
}

#[test]
fn truncated_speech_models() {
    let good = clip("question.wav");
    let check = |path: &Path| {
        let path = path.to_string_lossy();
        refused(4, &[&path], &raw(&good, &["--speech-model", &path]));
    };
    cut_at_ten_places(&common::model_dir("whisper-tiny.en"), "model.bin", check);
    let variants = common::model_dir("whisper-tiny.en-variants");
    cut_at_ten_places(&variants.join("hf-f16"), "model.safetensors", check);
    let ggml = std::fs::read(variants.join("ggml-q5_0.bin")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for at in [0, 3, 30, 60_000, 600_000, ggml.len() / 2, ggml.len() - 1] {
        let file = write(dir.path(), "ggml-cut.bin", &ggml[..at]);
        refused(4, &["ggml-cut.bin"], &raw(&good, &["--speech-model", &file]));
    }
}

#[test]
fn truncated_and_hostile_text_models() {
    let good = clip("question.wav");
    let gguf = common::gguf("smollm2-135m-instruct");
    let bytes = std::fs::read(&gguf).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let check = |bytes: &[u8], words: &[&str]| {
        let file = write(dir.path(), "model.gguf", bytes);
        let words: Vec<&str> = ["model.gguf"].iter().chain(words).copied().collect();
        refused(4, &words, &["transcribe", "--text-model", &file, &good])
    };
    for at in [0, 3, 7, 23, 100, 5_000, 1_000_000, bytes.len() / 2, bytes.len() * 9 / 10, bytes.len() - 1] {
        check(&bytes[..at], &[]);
    }
    let patched = |at: usize, with: &[u8]| {
        let mut b = bytes[..bytes.len().min(4_000_000)].to_vec();
        b[at..at + with.len()].copy_from_slice(with);
        b
    };
    // Counts of tensors and of metadata keys, the length of the first key, the version.
    check(&patched(8, &u64::MAX.to_le_bytes()), &[]);
    check(&patched(16, &(u64::MAX / 2).to_le_bytes()), &[]);
    check(&patched(24, &(1u64 << 60).to_le_bytes()), &[]);
    check(&patched(4, &99u32.to_le_bytes()), &[]);
    check(b"GGUF", &[]);
    // A tensor that lies beyond the file.
    let offset = tensor_offset(&bytes, b"output_norm.weight");
    let mut far = bytes.clone();
    far[offset..offset + 8].copy_from_slice(&(u64::MAX - 31).to_le_bytes());
    check(&far, &["output_norm.weight", "does not lie within the file"]);
    // An architecture nobody knows, and a tensor that has another name.
    let mut other = bytes.clone();
    replace(
        &mut other,
        b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
        b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0zebra",
    );
    check(&other, &["zebra", "supported"]);
    let mut missing = bytes;
    replace(&mut missing, b"blk.7.ffn_up.weight", b"blk.7.ffn_no.weight");
    check(&missing, &["blk.7.ffn_up.weight", "missing"]);
}

/// Position of the offset field of a tensor's record.
fn tensor_offset(bytes: &[u8], name: &[u8]) -> usize {
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len();
    let dims = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    at + 4 + 8 * dims + 4
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from).expect("pattern in the file");
    bytes[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn models_of_another_kind_and_incomplete_folders() {
    let good = clip("question.wav");
    let gguf = common::gguf("smollm2-135m-instruct").to_string_lossy().into_owned();
    refused(4, &["speech model"], &raw(&good, &["--speech-model", &gguf]));
    let whisper = common::model_dir("whisper-tiny.en");
    let folder = whisper.to_string_lossy().into_owned();
    refused(4, &[], &["transcribe", "--text-model", &folder, &good]);
    let dir = tempfile::tempdir().unwrap();
    let bare: PathBuf = dir.path().join("bare");
    std::fs::create_dir(&bare).unwrap();
    for file in ["model.bin", "config.json"] {
        std::fs::copy(whisper.join(file), bare.join(file)).unwrap();
    }
    let path = bare.to_string_lossy().into_owned();
    refused(4, &["tokenizer.json"], &raw(&good, &["--speech-model", &path]));
    let nothing = dir.path().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    refused(4, &[], &raw(&good, &["--speech-model", &nothing.to_string_lossy()]));
    refused(4, &["no-such-model"], &raw(&good, &["--speech-model", "no-such-model"]));
}

#[test]
fn wrong_usage() {
    let good = clip("question.wav");
    refused(5, &["cuda"], &raw(&good, &["--device", "cuda"]));
    refused(2, &["klingon"], &raw(&good, &["--language", "klingon"]));
    let out = undertone(&raw(&good, &["--language", "de"]));
    assert!(out.code == 2 && out.stderr.contains("English only"), "{}", out.stderr);
    for args in [
        &["transcribe"][..],
        &["transcribe", "--beam", "0", &good],
        &["transcribe", "--device", "tpu", &good],
    ] {
        assert_eq!(undertone(args).code, 2, "{args:?}");
    }
}
