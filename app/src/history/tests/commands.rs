use super::*;
use crate::history::{HistoryCommand, run};
use clap::Parser;
use unicode_width::UnicodeWidthStr;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: HistoryCommand,
}

fn parsed(arguments: &str) -> Result<HistoryCommand, clap::Error> {
    Ok(Cli::try_parse_from(["history"].into_iter().chain(arguments.split(' ')))?.command)
}

impl Bench {
    fn run(&self, arguments: &str) -> String {
        let mut out = Vec::new();
        run(parsed(arguments).unwrap(), &self.path(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn fails(&self, arguments: &str) -> String {
        run(parsed(arguments).unwrap(), &self.path(), &mut Vec::new()).unwrap_err().to_string()
    }
}

fn filled() -> Bench {
    let bench = Bench::new();
    let mut store = Store::open(&bench.layout(), LONG).unwrap();
    let failed = Entry {
        success: false,
        error_stage: Some("inject".into()),
        error: Some("the window has gone".into()),
        app: Some("an application with a very long name".into()),
        clean_text: Some("漢字 \u{1b}[31m and ".repeat(30)),
        ..entry(2)
    };
    store.insert(&[entry(1), failed, Entry { clean_text: None, raw_text: None, ..entry(3) }]).unwrap();
    bench
}

#[test]
fn tables_fit_the_width_and_hold_no_escapes() {
    let bench = filled();
    for arguments in ["list", "stats", "search number", "search 漢字"] {
        let text = bench.run(arguments);
        assert!(text.lines().count() > 1, "{arguments}");
        assert!(text.lines().all(|line| line.width() <= 100), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
    let list = bench.run("list");
    assert!(list.contains("(3 words)") && list.contains("Cleantext number 1."), "{list}");
    assert!(list.contains("[failed: the window has gone]"), "{list}");
    let first = |text: &str| text.lines().nth(1).unwrap().trim_start().starts_with('3');
    assert!(first(&list) && !first(&bench.run("list --failed")));
    assert_eq!(bench.run("list --limit 1").lines().count(), 2);
    assert_eq!(bench.run("list --since 1d").lines().count(), 1);
    assert_eq!(bench.run("list --since 2001-01-01").lines().count(), 4);
}

#[test]
fn one_dictation() {
    let bench = filled();
    let text = bench.run("show 1");
    for expected in
        ["um rawtext number 1", "Cleantext number 1.", "gemma-3-1b", "decode", "400 ms", "1024 MiB at most"]
    {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    assert!(!bench.run("show 2").contains('\u{1b}'));
    let json: serde_json::Value = serde_json::from_str(&bench.run("show 1 --json")).unwrap();
    assert_eq!((&json["id"], &json["stages"]["decode"]), (&1.into(), &120.5.into()));
    assert!(bench.fails("show 9").contains("no dictation 9"));
}

#[test]
fn redo_names_the_recording() {
    let bench = filled();
    assert!(bench.fails("redo 1").contains("has no recording"));
    assert!(bench.fails("redo 9").contains("no dictation 9"));
    fs::create_dir(bench.layout().audio()).unwrap();
    let recording = bench.layout().audio().join("4.wav");
    fs::write(&recording, "RIFF").unwrap();
    let with_audio = Entry { audio_file: Some("4.wav".into()), ..entry(4) };
    Store::open(&bench.layout(), LONG).unwrap().insert(&[with_audio]).unwrap();
    let found = run(parsed("redo 4").unwrap(), &bench.path(), &mut Vec::new()).unwrap();
    assert_eq!(found, Some(recording));
}

#[test]
fn exports_and_json() {
    let bench = filled();
    assert_eq!(bench.run("export").lines().count(), 3);
    assert_eq!(bench.run("export --succeeded").lines().count(), 2);
    assert!(bench.run("export --format csv").starts_with("id,started_at_ms,"));
    assert!(bench.run("export --format markdown").starts_with("## 20"));
    let stats: serde_json::Value = serde_json::from_str(&bench.run("stats --json")).unwrap();
    assert_eq!((&stats["dictations"], &stats["failures"]), (&3.into(), &1.into()));
    assert_eq!(stats["failures_by_stage"]["inject"], 1);
    for line in bench.run("list --json").lines().chain(bench.run("search number --json").lines()) {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn without_a_history_there_is_nothing_and_nothing_is_made() {
    let bench = Bench::new();
    assert_eq!(bench.run("list").lines().count(), 1);
    assert_eq!(bench.run("export --format csv").lines().count(), 1);
    assert!(bench.run("stats").starts_with("0 dictations"));
    assert!(bench.fails("show 1").contains("no dictation 1"));
    assert_eq!(bench.run("wipe --yes"), "Deleted 0 dictations and 0 files.\n");
    assert!(!bench.path().exists());
}

#[test]
fn arguments_are_checked() {
    assert!(parsed("wipe").is_err(), "without --yes");
    assert!(parsed("search").is_err());
    assert!(parsed("list --failed --succeeded").is_err());
    let error = parsed("list --since yesterday").unwrap_err().to_string();
    assert!(error.contains("2026-11-21T10:30"), "{error}");
    for good in ["7d", "12h", "2026-11-21", "2026-11-21T10:30"] {
        parsed(&format!("list --since {good}")).unwrap();
    }
}

#[test]
fn a_wipe_is_complete() {
    let bench = filled();
    assert_eq!(bench.run("wipe --yes"), "Deleted 3 dictations and 0 files.\n");
    assert_eq!(bench.run("list").lines().count(), 1);
    assert_eq!(files_with(&bench.path(), "number"), Vec::<PathBuf>::new());
}
