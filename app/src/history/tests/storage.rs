use super::*;
use crate::history::schema::{STEPS, VERSION};
use crate::history::{Filter, HistoryError, Retention};
use rusqlite::Connection;
use std::thread;
use std::time::Instant;

#[test]
fn an_entry_comes_back_as_it_went_in() {
    let bench = Bench::new();
    let mut store = Store::open(&bench.layout(), LONG).unwrap();
    let bare = Entry { recorded_at_ns: 2, ..Entry::default() };
    store.insert(&[entry(1), bare.clone()]).unwrap();
    assert_eq!(store.get(1).unwrap().entry, entry(1));
    assert_eq!(store.get(2).unwrap().entry, bare);
    assert!(matches!(store.get(3), Err(HistoryError::NoEntry(3))));
    store.insert(&[entry(1)]).unwrap();
    assert_eq!(store.list(&Filter::default()).unwrap().len(), 2, "the same entry again is none");
}

#[test]
fn every_old_schema_is_migrated_with_its_rows() {
    for old in 0..=STEPS.len() {
        let bench = Bench::new();
        fs::create_dir(bench.path()).unwrap();
        let connection = Connection::open(bench.layout().database()).unwrap();
        STEPS[..old].iter().for_each(|step| connection.execute_batch(step).unwrap());
        connection.pragma_update(None, "user_version", old as i64).unwrap();
        if old > 0 {
            let row = "INSERT INTO dictations (started_at_ms, recorded_at_ns, mode, speech_model, device,
                 clean_text, words, stages, audio_ms, speech_tokens, text_tokens, drafted_tokens,
                 accepted_tokens, planned_bytes, refused_windows, refusals, success)
                 VALUES (5, 7, 'ask', 'tiny', 'cpu', 'An old déjà vu.', 4, '{\"mel\":1.5}', 1000, 1, 2, 3, 4, 5, 0,
                 '[]', 1)";
            connection.execute(row, []).unwrap();
        }
        drop(connection);

        let mut store = Store::open(&bench.layout(), LONG).unwrap();
        let version: i64 =
            store.attempt(|c| c.pragma_query_value(None, "user_version", |r| r.get(0))).unwrap();
        assert_eq!(version, VERSION);
        store.insert(&[entry(9)]).unwrap();
        assert_eq!(store.get(if old > 0 { 2 } else { 1 }).unwrap().entry, entry(9));
        if old > 0 {
            let found = store.search("deja", &Filter::default()).unwrap();
            assert_eq!(found.len(), 1, "from schema {old}");
            assert_eq!((found[0].id, found[0].entry.mode.as_str(), found[0].entry.words), (1, "ask", 4));
            assert_eq!(found[0].entry.stages, [(Stage::Mel, 1.5)].into());
        }
    }
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let bench = Bench::new();
    drop(Store::open(&bench.layout(), LONG).unwrap());
    let connection = Connection::open(bench.layout().database()).unwrap();
    connection.pragma_update(None, "user_version", VERSION + 5).unwrap();
    drop(connection);
    let message = Store::open(&bench.layout(), LONG).unwrap_err().to_string();
    assert!(
        message.contains(&format!("schema {}", VERSION + 5)) && message.contains("update undertone"),
        "{message}"
    );

    let sink = bench.sink();
    assert!(sink.record(entry(1)) && sink.flush(LONG));
    assert!(
        matches!(bench.notices().as_slice(), [Notice::Spilled { why }] if why.contains("update undertone"))
    );
    drop(sink);
    assert!(bench.layout().spill().exists(), "it waits for a program that knows the schema");
}

#[test]
fn filters_and_order() {
    let bench = Bench::new();
    let mut store = Store::open(&bench.layout(), LONG).unwrap();
    let ask = Entry { mode: "ask".into(), success: false, ..entry(1) };
    let other = Entry { app: Some("kate".into()), ..entry(2) };
    store.insert(&[entry(3), ask, other]).unwrap();
    let numbers = |filter: Filter| -> Vec<i64> {
        store.list(&filter).unwrap().into_iter().map(|d| d.entry.recorded_at_ns).collect()
    };
    let all = Filter::default();
    assert_eq!(numbers(all.clone()), [3, 2, 1], "by time, not by number");
    assert_eq!(numbers(Filter { limit: Some(2), ..all.clone() }), [3, 2]);
    assert_eq!(numbers(Filter { mode: Some("ask".into()), ..all.clone() }), [1]);
    assert_eq!(numbers(Filter { app: Some("KATE".into()), ..all.clone() }), [2]);
    assert_eq!(numbers(Filter { success: Some(false), ..all.clone() }), [1]);
    assert_eq!(numbers(Filter { since_ms: Some(entry(2).started_at_ms), ..all }), [3, 2]);
}

#[test]
fn search_folds_case_and_accents_and_finds_parts_where_there_are_no_words() {
    let bench = Bench::new();
    let mut store = Store::open(&bench.layout(), LONG).unwrap();
    let with = |n: i64, text: &str| Entry { clean_text: Some(text.into()), raw_text: None, ..entry(n) };
    store
        .insert(&[
            with(1, "Ein Café in Zürich"),
            with(2, "今日は漢字を書く"),
            with(3, "100% sure: a_b \"quoted\""),
        ])
        .unwrap();
    let found = |text: &str| -> Vec<i64> {
        store.search(text, &Filter::default()).unwrap().into_iter().map(|d| d.id).collect()
    };
    assert_eq!(found("cafe"), [1]);
    assert_eq!(found("ZÜR caf"), [1]);
    assert_eq!(found("zurich nowhere"), [0_i64; 0]);
    assert_eq!(found("漢字"), [2]);
    assert_eq!(found("0%"), [3]);
    assert_eq!(found("a_b"), [3]);
    assert_eq!(found("\"quoted\""), [3]);
    assert_eq!(found("NOT OR \" * ("), [0_i64; 0]);
    let asked = Filter { mode: Some("ask".into()), ..Filter::default() };
    assert!(store.search("cafe", &asked).unwrap().is_empty());
}

#[test]
fn what_is_beyond_the_retention_goes_with_its_recording() {
    let bench = Bench::new();
    let mut store = Store::open(&bench.layout(), LONG).unwrap();
    fs::create_dir(bench.layout().audio()).unwrap();
    let entries: Vec<Entry> =
        (1..=6).map(|n| Entry { audio_file: Some(format!("{n}.wav")), ..entry(n) }).collect();
    for e in &entries {
        fs::write(bench.layout().audio().join(e.audio_file.as_ref().unwrap()), "sound").unwrap();
    }
    store.insert(&entries).unwrap();
    let numbers = |store: &Store| -> Vec<i64> {
        store.list(&Filter::default()).unwrap().into_iter().map(|d| d.id).collect()
    };
    let now_ms = entry(3).started_at_ms + 24 * 3600 * 1000;
    assert_eq!(store.retain(Retention::default(), now_ms).unwrap(), 0);
    assert_eq!(store.retain(Retention { days: Some(1), count: None }, now_ms).unwrap(), 2);
    assert_eq!(numbers(&store), [6, 5, 4, 3]);
    assert_eq!(store.retain(Retention { days: None, count: Some(3) }, now_ms).unwrap(), 1);
    assert_eq!(numbers(&store), [6, 5, 4]);
    assert_eq!(tree(&bench.layout().audio()).len(), 3);
    assert_eq!(files_with(&bench.path(), "number 2"), Vec::<PathBuf>::new());
    assert!(store.recording(4).unwrap().ends_with("4.wav"));
    assert!(matches!(store.recording(1), Err(HistoryError::NoEntry(1))));
}

#[test]
fn a_recording_is_only_looked_for_in_its_folder() {
    let bench = Bench::new();
    let mut store = Store::open(&bench.layout(), LONG).unwrap();
    fs::create_dir(bench.layout().audio()).unwrap();
    store.insert(&[Entry { audio_file: Some("../history.db".into()), ..entry(1) }, entry(2)]).unwrap();
    assert!(matches!(store.recording(1), Err(HistoryError::NoAudio(1))));
    assert!(matches!(store.recording(2), Err(HistoryError::NoAudio(2))));
}

#[test]
fn readers_read_while_the_writer_writes() {
    let bench = Bench::new();
    let sink = bench.sink_with(Settings { queue_patience: LONG, lock_patience: LONG, ..bench.settings() });
    assert!(sink.record(entry(0)) && sink.flush(LONG));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (mut seen, start) = (0, Instant::now());
                while seen < 200 {
                    assert!(start.elapsed() < LONG, "only {seen} rows came");
                    let now = bench.reader().list(&Filter::default()).unwrap().len();
                    assert!(now >= seen, "rows do not vanish");
                    seen = now;
                }
            });
        }
        assert!((1..200).all(|n| sink.record(entry(n))));
    });
    drop(sink);
    assert_eq!(bench.notices(), []);
}
