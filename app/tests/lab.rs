//! `undertone lab run`, `merge` and `report`, on the built binary with the real default models: a sweep that
//! is killed again and again, or done in parts, says what one says that was not.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Columns that must be the same whatever happened on the way.
const LASTING: [&str; 28] = [
    "speech_model",
    "text_model",
    "mode",
    "beam",
    "streaming",
    "speculation",
    "kv",
    "context",
    "threads",
    "device",
    "clips",
    "dictations",
    "failed",
    "words",
    "raw_wer_percent",
    "raw_cer_percent",
    "wer_percent",
    "cer_percent",
    "substituted",
    "deleted",
    "inserted",
    "punctuation_error_percent",
    "case_error_percent",
    "novel_words",
    "changed_numbers",
    "changed_negations",
    "refused_windows",
    "by_model_percent",
];

fn lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    command
        .arg("lab")
        .args(args)
        .env("UNDERTONE_MODELS", common::model_dir("."))
        .env("UNDERTONE_OFFLINE", "1");
    command
}

fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn run(args: &[&str]) -> String {
    done(lab(args).output().unwrap())
}

/// The exit code and what is said, of a command that must fail.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = lab(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// An experiment on three clips of this repository, and what is in the folder of it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(sweep: &str) -> Place {
        let clips = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/clips");
        let line = |name: &str, text: &str| {
            let path = clips.join(name);
            format!("{}\n", serde_json::json!({ "id": name, "path": path, "text": text, "lang": "en" }))
        };
        let manifest =
            line("question.wav", "What time does the next train to the city leave on Monday morning?")
                + &line(
                    "report.wav",
                    "Okay, um, please send the sales report to Anna before Friday. We need, we need \
                a large room for twelve people on Tuesday.",
                )
                + &line("silence.wav", "");
        let place = Place { folder: tempfile::tempdir().unwrap() };
        std::fs::write(place.path("clips.jsonl"), manifest).unwrap();
        let experiment = format!("repeats = 2\ncorpus.manifest = 'clips.jsonl'\n[sweep]\n{sweep}\n");
        std::fs::write(place.path("sweep.toml"), experiment).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }
}

/// Rows of the table, with the columns that last.
fn lasting(results: &str) -> BTreeSet<Vec<String>> {
    let csv = run(&["report", results, "--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let at =
        LASTING.map(|name| header.iter().position(|h| h == name).unwrap_or_else(|| panic!("{name}: {csv}")));
    let rows = reader.records().map(|row| at.iter().map(|i| row.as_ref().unwrap()[*i].to_string()).collect());
    rows.collect()
}

fn lines(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
}

/// Numbers that are the same in every run of the tests.
struct Chance(u64);

impl Chance {
    fn next(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + (self.0 >> 33) % (to - from)
    }
}

#[test]
fn killed_and_shared_sweeps_say_what_a_whole_one_says() {
    let sweep = "modes = ['raw', 'standard']\nspeculation = [true, false]\nbeams = [1]\nthreads = [2]";
    let place = Place::new(sweep);
    let (experiment, whole) = (place.text("sweep.toml"), place.text("whole.jsonl"));
    let table = run(&["run", &experiment, "-o", &whole]);
    assert_eq!(table.lines().count(), 2 + 3, "{table}");
    let rows = lasting(&whole);
    assert_eq!((rows.len(), lines(Path::new(&whole))), (3, 3 * 3 * 2));

    // A finished sweep is not done again.
    let before = std::fs::read(&whole).unwrap();
    run(&["run", &experiment, "-o", &whole]);
    assert_eq!(std::fs::read(&whole).unwrap(), before);

    let killed = place.text("killed.jsonl");
    let (mut chance, mut kills) = (Chance(11), 0);
    while lines(Path::new(&killed)) < 18 && kills < 60 {
        let mut child = lab(&["run", &experiment, "-o", &killed])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(chance.next(300, 2500)));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if chance.next(0, 3) == 0 {
            // As a crash of the machine would: part of the last line is on the disk.
            let bytes = std::fs::read(&killed).unwrap_or_default();
            let cut = chance.next(1, 400) as usize;
            std::fs::write(&killed, &bytes[..bytes.len().saturating_sub(cut)]).unwrap();
        }
    }
    run(&["run", &experiment, "-o", &killed]);
    assert!(kills >= 3, "killed {kills} times only");
    assert_eq!((lasting(&killed), lines(Path::new(&killed))), (rows.clone(), 18));

    for shard in ["1/2", "2/2"] {
        run(&["run", &experiment, "--shard", shard]);
    }
    let parts = [place.text("sweep.1-of-2.jsonl"), place.text("sweep.2-of-2.jsonl")];
    assert_eq!(parts.each_ref().map(|part| lines(Path::new(part))), [8, 10]);
    let (merged, again) = (place.text("merged.jsonl"), place.text("again.jsonl"));
    run(&["merge", &merged, &parts[0], &parts[1]]);
    run(&["merge", &again, &parts[1], &parts[0], &parts[1]]);
    assert_eq!(lasting(&merged), rows);
    assert_eq!(std::fs::read(&merged).unwrap(), std::fs::read(&again).unwrap());

    let (page, torn) = (place.text("page.html"), place.text("torn.html"));
    run(&["report", &merged, "-o", &page]);
    let painted = paint(&page);
    assert!(painted.status.success(), "{}", String::from_utf8_lossy(&painted.stderr));
    // A chart behind what a browser cannot read is not there to be seen.
    let html = std::fs::read_to_string(&page).unwrap();
    let chart = html.rfind("<svg").map(|at| at + html[at..].find('>').unwrap() + 1).unwrap();
    std::fs::write(&torn, format!("{}<defs>{}", &html[..chart], &html[chart..])).unwrap();
    assert!(String::from_utf8_lossy(&paint(&torn).stderr).contains("is not painted"));
}

/// Looks at a report in headless Chromium.
fn paint(page: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/report-check");
    Command::new("python3").arg(script).arg(page).output().unwrap()
}

#[test]
fn texts_are_cleaned_without_being_spoken() {
    let place = Place::new("modes = ['standard']\ntext_models = ['smollm2-135m-instruct', 'none']");
    let pairs = "{\"raw\": \"um we need we need ten chairs\", \"clean\": \"We need ten chairs.\"}\n\
        {\"raw\": \"i i dont know\", \"clean\": \"I don't know.\"}\n";
    std::fs::write(place.path("clips.jsonl"), pairs).unwrap();
    let results = place.text("sweep.jsonl");
    run(&["run", &place.text("sweep.toml")]);
    let rows = lasting(&results);
    assert_eq!((rows.len(), lines(Path::new(&results))), (2, 8));
    let page = run(&["report", &results]);
    assert!(
        page.starts_with("<!DOCTYPE html>")
            && page.contains("smollm2-135m-instruct")
            && page.ends_with("</html>")
    );
}

#[test]
fn mistakes_are_named_before_a_model_is_loaded() {
    let place = Place::new("beems = [1]");
    let experiment = place.text("sweep.toml");
    let (code, said) = refused(&["run", &experiment]);
    assert_eq!(code, Some(2));
    assert!(said.contains("sweep.toml, line 4: sweep.beems: unknown field `beems`"), "{said}");

    let place = Place::new("modes = ['tidy']");
    let (code, said) = refused(&["run", &place.text("sweep.toml")]);
    assert!(code == Some(2) && said.contains("there is no mode 'tidy'"), "{said}");

    let place = Place::new("speech_models = ['whisper-of-the-wind']");
    let (code, said) = refused(&["run", &place.text("sweep.toml")]);
    assert!(code == Some(4) && said.contains("whisper-of-the-wind"), "{said}");
    assert_eq!(lines(&place.path("sweep.jsonl")), 0);

    std::fs::write(place.path("clips.jsonl"), "{\"path\": \"gone.wav\", \"text\": \"\"}\n").unwrap();
    let (code, said) = refused(&["run", &place.text("sweep.toml")]);
    assert!(code == Some(3) && said.contains("gone.wav"), "{said}");

    let (code, said) = refused(&["report", &place.text("nothing.jsonl")]);
    assert!(code == Some(3) && said.contains("nothing.jsonl"), "{said}");
    let (code, said) = refused(&["report", &place.text("clips.jsonl")]);
    assert!(code == Some(3) && said.contains("line 1 is not a result"), "{said}");
    assert_eq!(refused(&["run", "x.toml", "--shard", "3/2"]).0, Some(2));
}
