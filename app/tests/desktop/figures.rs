//! By hand: times of the whole chain, and all clips of the data set.

use crate::delivery::QUIET;
use crate::harness::{Desktop, words};
use serde_json::{Value, json};
use std::path::PathBuf;

fn clip(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/clips")).join(name)
}

#[test]
#[ignore = "takes minutes: cargo test --release -p undertone --test desktop figures -- --ignored --nocapture"]
fn release_to_text() {
    let mut all = serde_json::Map::new();
    for (name, while_speaking) in [("streaming", true), ("whole", false)] {
        let desktop = Desktop::start();
        let dictation = format!("while_speaking = {while_speaking}\n");
        // `[dictation]` is the last table that `configure` opens.
        desktop.configure(&format!("{dictation}{QUIET}[[keys]]\nkey = \"f9\"\nstyle = \"hold\"\n"));
        let program = desktop.start_program(&[]);
        let window = desktop.text_field("field");
        let mut first_sample_after_ms = Vec::new();
        for file in ["question.wav", "dictation.wav"].repeat(10) {
            let before = window.text();
            desktop.hold_and_play("F9", &clip(file));
            first_sample_after_ms.extend(program.wait_end()["first_sample_after_ms"].as_u64());
            window.settled(&before);
        }
        program.quit();
        let stats: Value = serde_json::from_str(&desktop.print(&["history", "stats", "--json"])).unwrap();
        let key = |key: &str| stats[key].clone();
        all.insert(
            name.into(),
            json!({
                "dictations": key("dictations"), "failures": key("failures"), "peak_bytes": key("peak_bytes"),
                "first_sample_after_ms": first_sample_after_ms,
                "release_to_text_ms": key("release_to_text_ms"), "stages_ms": key("stages_ms"),
            }),
        );
    }
    println!("{:#}", Value::Object(all));
}

#[test]
#[ignore = "needs the data set: UNDERTONE_DATA=FOLDER cargo test --release -p undertone --test desktop clips -- --ignored"]
fn all_clips() {
    let data = PathBuf::from(std::env::var("UNDERTONE_DATA").expect("UNDERTONE_DATA names the data set"));
    let manifest = std::fs::read_to_string(data.join("audio/manifest.jsonl")).unwrap();
    let clips: Vec<Value> = manifest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let desktop = Desktop::start();
    desktop.configure(&format!("{QUIET}[[keys]]\nkey = \"f9\"\nstyle = \"hold\"\n"));
    let program = desktop.start_program(&[]);
    let mut of_kind = std::collections::BTreeMap::<String, usize>::new();
    let (mut wrong, mut lost) = (Vec::new(), Vec::new());
    for (number, one) in clips.iter().enumerate() {
        let kind = one["kind"].as_str().unwrap();
        let count = of_kind.entry(kind.into()).or_default();
        let wanted = match kind {
            "nonspeech" | "vad" => true,
            "short" => one["lang"] == "en" && *count < 30,
            _ => false,
        };
        if !wanted {
            continue;
        }
        *count += 1;
        // A window for each, so that nothing of another is in it.
        let window = desktop.text_field(&format!("field-{number}"));
        desktop.hold_and_play("F9", &data.join(one["path"].as_str().unwrap()));
        let end = program.wait_end();
        let silent = one["text"].as_str().is_none_or(str::is_empty);
        assert!(
            end["end"] == "empty" || end["end"].get("delivered").is_some(),
            "{}: {end}: {}",
            one["id"],
            program.errors()
        );
        println!("{}", json!({"id": one["id"], "kind": kind, "end": end["end"]}));
        let text = if end["end"] == "empty" { String::new() } else { window.settled("") };
        let (heard, said) = (words(&text), words(one["text"].as_str().unwrap_or_default()));
        if kind == "nonspeech" && !text.is_empty() {
            wrong.push(one["id"].clone());
        }
        if !silent && kind == "short" {
            let near = |word: Option<&String>, among: &[String]| word.is_some_and(|w| among.contains(w));
            let first = near(said.first(), &heard[..heard.len().min(2)]);
            let last = near(said.last(), &heard[heard.len().saturating_sub(2)..]);
            if !first || !last {
                lost.push(
                    json!({"id": one["id"], "first": first, "last": last, "said": said, "typed": heard}),
                );
            }
        }
    }
    println!(
        "{}",
        json!({"clips": of_kind, "typed_for_nonspeech": wrong, "first_or_last_word_differs": lost})
    );
    assert!(wrong.is_empty(), "something was typed for {wrong:?}");
    program.quit();
}

#[test]
#[ignore = "makes the pictures of the README (needs imagemagick): UNDERTONE_PICTURES=FOLDER"]
fn pictures() {
    let folder =
        PathBuf::from(std::env::var("UNDERTONE_PICTURES").expect("UNDERTONE_PICTURES names a folder"));
    let desktop = Desktop::start();
    let show = "[show]\ntray = false\nsounds = false\nnotifications = false\n";
    desktop.configure(&format!("{show}[[keys]]\nkey = \"f9\"\nstyle = \"hold\"\n"));
    let program = desktop.start_program(&[]);
    let window = desktop.text_field("Notes");
    desktop.hold_and_play("F9", &clip("report.wav"));
    program.wait_end();
    window.settled("");
    desktop.xdotool(&["keydown", "F9"]);
    desktop.wait_recording();
    let mut player =
        desktop.command("paplay").arg("--device=room").arg(clip("dictation.wav")).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let picture = |name: &str, of: &str| {
        desktop.run("import", &["-window", of, &folder.join(name).to_string_lossy()]);
    };
    picture("dictating.png", "root");
    player.wait().unwrap();
    desktop.xdotool(&["keyup", "F9"]);
    program.wait_end();
    for _ in 0..6 {
        desktop.hold_and_play("F9", &clip("question.wav"));
        program.wait_end();
    }
    let dashboard = [env!("CARGO_BIN_EXE_undertone"), "dashboard"];
    let mut xterm = desktop.command("xterm");
    xterm.args([
        "-title",
        "dashboard",
        "-geometry",
        "120x34+20+20",
        "-fa",
        "DejaVu Sans Mono",
        "-fs",
        "9",
        "-e",
    ]);
    let mut terminal = xterm.args(dashboard).spawn().unwrap();
    desktop.xdotool(&["search", "--sync", "--name", "^dashboard$"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    picture("dashboard.png", "dashboard");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    program.quit();
}
