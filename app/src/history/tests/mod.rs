//! The history as a whole: what is on the disk, and what happens when it is in the way.

mod commands;
mod failures;
mod privacy;
mod storage;

use super::entry::{Entry, Stage};
use super::files::Layout;
use super::privacy::Tier;
use super::sink::{Settings, Sink};
use super::store::Store;
use super::writer::Notice;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

/// A dictation with something in every field.
fn entry(n: i64) -> Entry {
    Entry {
        started_at_ms: 1_700_000_000_000 + n * 60_000,
        recorded_at_ns: n,
        mode: "dictate".into(),
        speech_model: "base.en".into(),
        text_model: Some("gemma-3-1b".into()),
        device: "cpu".into(),
        language: Some("en".into()),
        raw_text: Some(format!("um rawtext number {n}")),
        clean_text: Some(format!("Cleantext number {n}.")),
        words: 3,
        app: Some("Xapplication".into()),
        window_title: Some("Windowtitle".into()),
        stages: [(Stage::Decode, 120.5), (Stage::Inject, 8.0)].into(),
        release_to_text_ms: Some(400.25),
        audio_ms: 3000,
        speech_tokens: 12,
        text_tokens: 9,
        tokens_per_s: Some(33.5),
        drafted_tokens: 8,
        accepted_tokens: 6,
        planned_bytes: 1 << 31,
        peak_bytes: Some(1 << 30),
        gpu: Some(serde_json::json!({"temperature_c": 60})),
        cleaned_by: Some("llm".into()),
        refused_windows: 1,
        refusals: vec!["the word rawtext".into()],
        injection: Some("paste".into()),
        receipt: Some(true),
        success: true,
        error_stage: None,
        error: None,
        audio_file: None,
    }
}

/// A history's folder, and the notices of its sinks.
struct Bench {
    dir: tempfile::TempDir,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Bench {
    fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap(), notices: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("history")
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.path())
    }

    fn settings(&self) -> Settings {
        Settings { tier: Tier::Everything, lock_patience: SECOND / 10, ..Settings::new(&self.path()) }
    }

    fn sink(&self) -> Sink {
        self.sink_with(self.settings())
    }

    fn sink_with(&self, settings: Settings) -> Sink {
        let notices = Arc::clone(&self.notices);
        Sink::open(settings, move |notice| notices.lock().unwrap().push(notice)).unwrap()
    }

    /// Takes the notices given so far.
    fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.notices.lock().unwrap())
    }

    fn reader(&self) -> Store {
        Store::open_existing(&self.layout(), LONG).unwrap().expect("a database")
    }

    fn texts(&self) -> Vec<String> {
        let all = self.reader().list(&super::Filter::default()).unwrap();
        all.into_iter().filter_map(|dictation| dictation.entry.clean_text).collect()
    }
}

/// All files below `dir`.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(tree(&path)),
            false => files.push(path),
        }
    }
    files
}

/// The files below `dir` whose bytes hold `text`, in any case.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap().to_ascii_lowercase();
        bytes.windows(text.len()).any(|window| window == text.to_ascii_lowercase().as_bytes())
    };
    tree(dir).into_iter().filter(holds).collect()
}
