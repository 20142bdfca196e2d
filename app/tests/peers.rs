//! `undertone lab peers` without its packages: the old pipeline's network, which Python's standard library is enough
//! for, and what cannot be used.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

const DRIVER: &str = include_str!("../src/lab/peers/driver.py");

/// The driver in one of its roles.
struct Driver {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Driver {
    fn start(role: &str) -> Driver {
        let mut process = Command::new("python3")
            .args(["-I", "-c", DRIVER, role])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed");
        let answers = BufReader::new(process.stdout.take().unwrap());
        Driver { process, answers }
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.process.stdin.as_mut().unwrap(), "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Ends its standard input, as a program does that is killed.
    fn leave(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

fn server_and_client() -> (Driver, Driver) {
    let (mut server, mut client) = (Driver::start("server"), Driver::start("client"));
    let loaded = server.ask(&json!({ "op": "load", "path": null, "threads": 1, "n_ctx": 2048 }));
    let port = &loaded["ok"]["port"];
    assert!(port.as_u64().is_some_and(|port| port > 0), "{loaded}");
    assert_eq!(client.ask(&json!({ "op": "load", "port": port }))["ok"]["packages"], json!({}));
    (server, client)
}

fn ask(client: &mut Driver, n_ctx: u32, new: bool, silent: bool) -> Value {
    let request = json!({ "op": "ask", "prompt": [1, 2, 3], "limit": 8, "one_line": true, "n_ctx": n_ctx, "new": new, "silent": silent });
    client.ask(&request)["ok"].clone()
}

#[test]
fn the_old_pipelines_faults_are_there_one_by_one() {
    let (server, mut client) = server_and_client();
    let of = |answer: &Value| (answer["connections"].as_u64(), answer["loads"].as_u64());
    // A connection that is kept is one, however much is asked.
    for _ in 0..3 {
        let answer = ask(&mut client, 2048, false, false);
        assert_eq!((&answer["text"], of(&answer)), (&json!("3 tokens"), (Some(1), Some(1))), "{answer}");
    }
    // A new one for each request.
    assert_eq!(of(&ask(&mut client, 2048, true, false)).0, Some(2));
    assert_eq!(of(&ask(&mut client, 2048, true, false)).0, Some(3));
    // Another context size loads the model anew, and so does the way back.
    assert_eq!(of(&ask(&mut client, 1024, false, false)).1, Some(2));
    assert_eq!(of(&ask(&mut client, 1024, false, false)).1, Some(2));
    assert_eq!(of(&ask(&mut client, 2048, false, false)).1, Some(3));
    // A first address that does not answer is waited for, on every connection; the second one answers.
    let address = client.ask(&json!({ "op": "silence" }))["ok"]["address"].clone();
    assert!(address.is_string());
    for connections in [4, 5] {
        let answer = ask(&mut client, 2048, true, true);
        assert_eq!(answer["attempts"], json!([[address, "TimeoutError"], ["127.0.0.1", "connected"]]));
        assert_eq!(of(&answer).0, Some(connections));
        assert!(answer["connect_ms"].as_f64() <= answer["ms"].as_f64(), "{answer}");
    }
    // What is lost is told, and the next request goes on.
    let gone = client.ask(&json!({ "op": "nonsense" }));
    assert!(gone["error"].as_str().is_some_and(|why| why.contains("nonsense")), "{gone}");
    assert_eq!(ask(&mut client, 2048, false, false)["text"], "3 tokens");
    // Both end with their standard input.
    client.leave();
    server.leave();
}

fn refused(args: &[&str], home: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    command.args(["lab", "peers"]).args(args).env("UNDERTONE_MODELS", common::model_dir("."));
    let output = command.env("UNDERTONE_OFFLINE", "1").env("XDG_CACHE_HOME", home).output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_compared_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (home, pairs) = (folder.path(), folder.path().join("pairs.jsonl"));
    std::fs::write(&pairs, "{\"raw\": \"um yes\", \"clean\": \"Yes.\"}\n").unwrap();
    let pairs = pairs.to_str().unwrap();
    let (code, said) = refused(&[], home);
    assert!(code == Some(2) && said.contains("give --clips, --prompts or both"), "{said}");
    let (code, said) = refused(&["--prompts", "gone.jsonl"], home);
    assert!(code == Some(3) && said.contains("gone.jsonl"), "{said}");
    let (code, said) = refused(&["--clips", pairs], home);
    assert!(code == Some(3) && said.contains("give them as --prompts"), "{said}");
    // Where nothing may be fetched there must be an environment: none is made, nothing is fetched.
    let (code, said) = refused(&["--prompts", pairs], home);
    assert!(code == Some(6) && said.contains("no Python environment") && said.contains("--venv"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!home.join("undertone").exists());
    let (code, said) = refused(&["--prompts", pairs, "-o", "/nowhere/out.json"], home);
    assert!(code == Some(7) && said.contains("/nowhere/out.json"), "{said}");
}

/// `lab peers` with llama.cpp on one text in this environment: table, what is said, results.
fn beside_llama(folder: &std::path::Path, venv: &std::path::Path) -> (String, Value) {
    let (pairs, out) = (folder.join("pairs.jsonl"), folder.join("out.json"));
    std::fs::write(&pairs, "{\"raw\": \"um what time is it\", \"clean\": \"What time is it?\"}\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_undertone"))
        .args(["lab", "peers", "--rounds", "1", "--peers", "llama.cpp", "--prompts"])
        .arg(&pairs)
        .arg("--venv")
        .arg(venv)
        .arg("-o")
        .arg(&out)
        .env("UNDERTONE_MODELS", common::model_dir("."))
        .env("UNDERTONE_OFFLINE", "1")
        .output()
        .unwrap();
    let (table, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{said}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    // Ours is measured whatever becomes of the others.
    let ours = &report["prompts"]["Undertone"];
    assert!(ours["requests"] == 1 && ours["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{report}");
    (table, report)
}

#[test]
fn peers_whose_package_is_missing_are_in_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let venv = folder.path().join("venv");
    // Without pip, which would have to be copied: what is asked here is Python alone.
    let made = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&venv).status().unwrap();
    assert!(made.success());
    let (table, report) = beside_llama(folder.path(), &venv);
    assert!(
        table.contains("| llama.cpp | failed: ModuleNotFoundError: No module named 'xllamacpp'"),
        "{table}"
    );
    assert!(report["prompts"]["llama.cpp"]["failed"].is_string(), "{report}");
}

#[cfg(unix)]
#[test]
fn a_peer_that_dies_between_two_requests_takes_nobody_with_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let venv = folder.path().join("venv");
    std::fs::create_dir_all(venv.join("bin")).unwrap();
    // What is installed is asked first; the other process is the peer.
    let script = "#!/bin/sh\ncase \"$*\" in *distributions*) exit 0;; esac\nread a\n\
        echo '{\"ok\": {\"packages\": {}}}'\necho the ground opened >&2\nexit 3\n";
    let python = venv.join("bin/python");
    std::fs::write(&python, script).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (table, _) = beside_llama(folder.path(), &venv);
    let row =
        "| llama.cpp | failed: llama.cpp: it ended (exit status: 3); the last it said: the ground opened |";
    assert!(table.contains(row), "{table}");
}
