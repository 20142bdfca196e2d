//! The main job, on the built binary with the real default models.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;
#[path = "watch/mod.rs"]
mod watch;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn clip(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/clips").join(name);
    path.to_string_lossy().into_owned()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    command
        .arg("transcribe")
        .args(args)
        .env("UNDERTONE_MODELS", common::model_dir("."))
        .env("UNDERTONE_OFFLINE", "1");
    command
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn run(args: &[&str]) -> String {
    stdout(command(args).output().unwrap())
}

fn json(args: &[&str]) -> Vec<Value> {
    let text = run(&[&["--format", "json"], args].concat());
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn speech_becomes_clean_text() {
    let text = run(&[&clip("report.wav")]);
    let words = text.to_lowercase();
    for word in [
        "please send the sales report to anna before friday",
        "we need a large room for 12 people on tuesday",
    ] {
        assert!(words.contains(word), "{word}: {text}");
    }
    for filler in ["um,", "we need, we need"] {
        assert!(!words.contains(filler), "{filler}: {text}");
    }
}

#[test]
fn a_question_is_cleaned_and_not_answered() {
    let text = run(&[&clip("question.wav")]);
    assert_eq!(text.trim(), "What time does the next train to the city leave on Monday morning?");
}

#[test]
fn every_instruction_set_of_this_processor_hears_the_same() {
    let mut heard = Vec::new();
    for isa in ["scalar", "avx2", "avxvnni", "avx512", "avx512vnni", "amx"] {
        let output = command(&[&clip("question.wav")]).env("UNDERTONE_ISA", isa).output().unwrap();
        if output.status.code() == Some(5) {
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.contains("is more than this processor has") && isa != "scalar", "{isa}: {error}");
            continue;
        }
        assert_eq!(
            stdout(output).trim(),
            "What time does the next train to the city leave on Monday morning?",
            "{isa}"
        );
        heard.push(isa);
    }
    println!("heard with {heard:?}");
}

#[test]
fn every_container_rate_and_channel_count_is_heard() {
    let files: Vec<String> =
        ["flac", "mp3", "ogg", "m4a", "aiff"].iter().map(|e| clip(&format!("question.{e}"))).collect();
    let mut args = vec!["--mode", "raw"];
    args.extend(files.iter().map(String::as_str));
    let texts = json(&args);
    assert_eq!(texts.len(), files.len());
    for (object, file) in texts.iter().zip(&files) {
        let text = object["text"].as_str().unwrap();
        assert!(text.contains("What time does the next train"), "{file}: {text}");
        assert!((object["duration_s"].as_f64().unwrap() - 3.935).abs() < 0.15, "{file}: {object}");
        assert!(object["warning"].is_null(), "{file}: {object}");
    }
}

#[test]
fn json_has_every_promised_key() {
    let files = [clip("report.wav"), clip("silence.wav")];
    let objects = json(&[&files[0], &files[1]]);
    assert_eq!(objects.len(), 2);
    let (speech, silence) = (&objects[0], &objects[1]);
    assert_eq!(speech["file"], files[0].as_str());
    assert_eq!(speech["language"], "en");
    assert!(["llm", "rules"].contains(&speech["cleaned_by"].as_str().unwrap()));
    assert!(speech["avg_logprob"].as_f64().unwrap() < 0.0);
    assert!(speech["no_speech_prob"].as_f64().unwrap() < 0.6);
    assert!(speech["tokens"]["speech"].as_u64().unwrap() > 10);
    assert!(speech["peak_memory_bytes"].as_u64().unwrap() > 50_000_000);
    for stage in ["decode_audio", "resample", "mel", "encode", "decode", "prefill", "generate", "clean"] {
        assert!(speech["timings_ms"][stage].is_number(), "{stage}");
    }
    for stage in ["mel", "encode", "decode", "prefill", "generate"] {
        assert!(speech["timings_ms"][stage].as_f64().unwrap() > 0.0, "{stage}");
        assert_eq!(silence["timings_ms"][stage].as_f64().unwrap(), 0.0, "{stage} of a file without speech");
    }
    assert!(
        speech["load_ms"]["speech"].as_f64().unwrap() > 0.0
            && speech["load_ms"]["text"].as_f64().unwrap() > 0.0
    );
    let segments = speech["segments"].as_array().unwrap();
    let times: Vec<f64> =
        segments.iter().flat_map(|s| [&s["start"], &s["end"]]).map(|t| t.as_f64().unwrap()).collect();
    assert!(!segments.is_empty() && times.is_sorted() && times[times.len() - 1] < 12.0, "{times:?}");
    assert_eq!((silence["text"].as_str(), silence["cleaned_by"].as_str()), (Some(""), Some("none")));
}

#[test]
fn raw_mode_changes_nothing_and_loads_no_language_model() {
    let object = &json(&["--mode", "raw", &clip("report.wav")])[0];
    assert_eq!(object["text"], object["raw_text"]);
    assert_eq!((object["cleaned_by"].as_str(), &object["text_model"]), (Some("none"), &Value::Null));
    assert_eq!(object["load_ms"]["text"].as_f64(), Some(0.0));
}

#[test]
fn rules_alone_clean_when_there_is_no_language_model() {
    let object = &json(&["--text-model", "none", &clip("report.wav")])[0];
    assert_eq!(object["cleaned_by"], "rules");
    let text = object["text"].as_str().unwrap().to_lowercase();
    assert!(text.contains("friday. we need a large") && !text.contains("um,"), "{text}");
}

#[test]
fn long_speech_keeps_every_sentence_once() {
    for args in
        [&["--mode", "raw"][..], &["--mode", "raw", "--no-condition"], &["--mode", "raw", "--beam", "3"], &[]]
    {
        let long = clip("long.wav");
        let text = run(&[args, &[&long]].concat());
        let months = [
            "January",
            "February",
            "March",
            "April",
            "May,",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ];
        let found: Vec<usize> = months.iter().map(|m| text.matches(&format!("In {m}")).count()).collect();
        assert_eq!(found, [1; 12], "{args:?}: {text}");
        assert!(text.trim_end().ends_with("just as good."), "{args:?}: {text}");
    }
}

#[test]
fn subtitles_are_well_formed() {
    let srt = run(&["--format", "srt", "--mode", "raw", &clip("long.wav")]);
    let cues: Vec<&str> = srt.trim_end().split("\n\n").collect();
    assert!(cues.len() >= 5);
    for (i, cue) in cues.iter().enumerate() {
        let lines: Vec<&str> = cue.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, (i + 1).to_string().as_str()));
        assert!(lines[1].len() == 29 && lines[1][12..17] == *" --> ", "{}", lines[1]);
    }
    let vtt = run(&["--format", "vtt", "--mode", "raw", &clip("question.wav")]);
    assert!(vtt.starts_with("WEBVTT\n\n00:00:0") && vtt.contains("next train"), "{vtt}");
}

/// No route, no interface but loopback, and no inet socket asked for at all.
#[test]
fn no_network_is_touched_when_the_models_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("strace");
    let binary = env!("CARGO_BIN_EXE_undertone");
    let output = Command::new("strace")
        .args(["-f", "-e", "trace=network", "-o"])
        .arg(&log)
        .args([binary, "transcribe", &clip("question.wav")])
        .env("UNDERTONE_MODELS", common::model_dir("."))
        .env_remove("UNDERTONE_OFFLINE")
        .output()
        .expect("strace is installed by scripts/test");
    assert!(stdout(output).contains("next train"));
    watch::no_network(&log);
}

#[test]
fn threads_do_not_change_the_text() {
    let one = run(&["--threads", "1", &clip("report.wav")]);
    assert_eq!(one, run(&["--threads", "3", &clip("report.wav")]));
}
