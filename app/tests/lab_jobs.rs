//! `undertone lab jobs` on the built binary with a real model: however often it is killed, however many prompts are
//! answered together, the same file of answers.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A folder with these jobs.
    fn new(jobs: &[Value]) -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        place.write("jobs.jsonl", &jobs.iter().map(|job| format!("{job}\n")).collect::<String>());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn answers(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
        command
            .args(["lab", "jobs", "jobs.jsonl", "--context", "512"])
            .args(args)
            .current_dir(self.folder.path());
        command.env("UNDERTONE_MODELS", common::model_dir(".")).env("UNDERTONE_OFFLINE", "1");
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Of different lengths, two of them the same.
fn jobs() -> Vec<Value> {
    let mut jobs: Vec<Value> =
        ["1, 2, 3, 4,", "Once upon a time", "The capital of France is", "To bake bread you need"]
            .iter()
            .enumerate()
            .map(|(n, text)| json!({ "prompt": text, "max_tokens": 12 + 9 * n }))
            .collect();
    jobs.insert(
        1,
        json!({ "id": "hello", "user": "Say hello.", "max_tokens": 20, "meta": { "kind": "chat" } }),
    );
    jobs.push(jobs[2].clone());
    jobs.extend((0..12).map(|n| json!({ "prompt": format!("{n} and {n} make"), "max_tokens": 24 })));
    jobs
}

#[test]
fn answers_are_in_order_whoever_came_first_and_nothing_is_asked_twice() {
    let place = Place::new(&jobs());
    let together = place.run(&[]);
    assert!(together.status.success(), "{}", said(&together));
    assert!(said(&together).contains("0 were there, 17 asked"), "{}", said(&together));
    let answers = place.answers("jobs.answers.jsonl");
    let ids: Vec<&Value> = answers.iter().map(|a| &a["id"]).collect();
    assert_eq!(answers.len(), 18);
    assert_eq!((ids[0], ids[1], ids[17]), (&json!(1), &json!("hello"), &json!(18)));
    assert_eq!(answers[1]["meta"], json!({ "kind": "chat" }));
    assert!(answers[0]["text"].as_str().unwrap().starts_with(" 5, 6, 7"), "{}", answers[0]);
    assert_eq!((&answers[0]["end"], &answers[0]["tokens"]), (&json!("limit"), &json!(12)));
    assert_eq!((&answers[5]["text"], &answers[5]["key"]), (&answers[2]["text"], &answers[2]["key"]));

    let alone = place.run(&["--sequences", "1", "--no-cache", "-o", "alone.jsonl"]);
    assert!(alone.status.success() && said(&alone).contains("17 asked"), "{}", said(&alone));
    assert_eq!(place.read("alone.jsonl"), place.read("jobs.answers.jsonl"));
    let again = place.run(&[]);
    assert!(said(&again).contains("18 were there, 0 asked"), "{}", said(&again));
    let cached = place.run(&["-o", "cached.jsonl"]);
    assert!(said(&cached).contains("0 were there, 0 asked"), "{}", said(&cached));
    assert_eq!(place.read("cached.jsonl"), place.read("alone.jsonl"));
    // Another limit is another question, another way to store keys and values as well.
    let other = place.run(&["--kv", "q8", "-o", "other.jsonl"]);
    assert!(said(&other).contains("17 asked"), "{}", said(&other));
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_file() {
    let place = Place::new(&jobs());
    assert!(place.run(&["--no-cache", "-o", "whole.jsonl"]).status.success());
    let mut kills = 0;
    for n in 0..200 {
        let mut child = place.command(&[]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200 + 80 * n));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => kills += 1,
        }
        // And what a lost machine may leave.
        if n == 3
            && let Ok(bytes) = std::fs::read(place.path("jobs.answers.jsonl"))
        {
            std::fs::write(place.path("jobs.answers.jsonl"), &bytes[..bytes.len().saturating_sub(5)])
                .unwrap();
        }
    }
    assert!(kills > 2, "{kills}");
    assert_eq!(place.read("jobs.answers.jsonl"), place.read("whole.jsonl"));
}

#[test]
fn what_cannot_be_answered_is_in_the_file_and_the_rest_is_answered() {
    let long = "word ".repeat(600);
    let place = Place::new(&[json!({ "prompt": long }), json!({ "prompt": "1, 2, 3,", "max_tokens": 4 })]);
    for there in [0, 2] {
        let output = place.run(&[]);
        assert_eq!(output.status.code(), Some(3));
        assert!(said(&output).contains(&format!("{there} were there")), "{}", said(&output));
        assert!(said(&output).contains("1 of 2 prompts have no answer"), "{}", said(&output));
    }
    let answers = place.answers("jobs.answers.jsonl");
    assert!(answers[0]["error"].as_str().unwrap().contains("512"), "{}", answers[0]);
    assert!(answers[0].get("text").is_none() && answers[1]["tokens"] == 4);
}

#[test]
fn what_cannot_be_used_is_one_sentence() {
    let place = Place::new(&[json!({ "prompt": "a", "max_tokens": 1 })]);
    let refused = |args: &[&str], exit: i32, what: &str| {
        let output = place.run(args);
        let said = said(&output);
        assert!(
            output.status.code() == Some(exit) && said.contains(what) && said.lines().count() == 1,
            "{said}"
        );
    };
    refused(&["--text-model", "nothing"], 4, "nothing");
    refused(&["--budget", "50MiB"], 4, "MiB but the budget is 50.0 MiB");
    place.write("other.jsonl", "{\"key\": \"0\"}\n");
    refused(&["-o", "other.jsonl"], 2, "line 1 is no answer to job 1");
    assert_eq!(place.read("other.jsonl"), "{\"key\": \"0\"}\n");
    refused(&["--cache", "jobs.jsonl"], 3, "jobs.jsonl is no cache of answers");
    refused(&["-o", "none/a.jsonl"], 7, "none/a.jsonl");
    place.write("jobs.jsonl", "{\"prompt\": 1}\n");
    refused(&[], 3, "jobs.jsonl, line 1");
    place.write("jobs.jsonl", "\n");
    refused(&[], 3, "there is no job");
    assert!(place.answers("other.jsonl").len() == 1);
}
