use super::*;
use crate::history::wipe::wipe;
use std::io::Write;

const RAW: &str = "um rawsecret mail john dot doe at example dot com";
const CLEAN: &str = "Cleansecret, mail john.doe@example.com or call 555-123-4567.";

fn secret() -> Entry {
    Entry {
        raw_text: Some(RAW.into()),
        clean_text: Some(CLEAN.into()),
        app: Some("Appsecret".into()),
        window_title: Some("Titlesecret".into()),
        refusals: vec!["the word refusalsecret".into()],
        error: Some("the focus moved to Titlesecret".into()),
        error_stage: Some("inject".into()),
        ..entry(1)
    }
}

/// Which of the words are on the disk, after a dictation whose way was through database, spill, log and audio.
fn stored(bench: &Bench, settings: Settings) -> Vec<&'static str> {
    let audio = bench.dir.path().join("take.wav");
    fs::write(&audio, "RIFF soundsecret").unwrap();
    let sink = bench.sink_with(settings);
    let audio_file = sink.keep_audio(&audio, 7).unwrap();
    assert!(!audio.exists());
    sink.log().unwrap().write_all(format!("heard {}\n", sink.loggable(CLEAN)).as_bytes()).unwrap();
    assert!(sink.record(Entry { audio_file, ..secret() }) && sink.flush(LONG));
    let words = [
        "rawsecret",
        "cleansecret",
        "example.com",
        "123-4567",
        "appsecret",
        "titlesecret",
        "refusalsecret",
        "soundsecret",
        "dictate",
    ];
    // While the writer has it open, and after.
    let on_disk =
        || words.into_iter().filter(|w| !files_with(bench.dir.path(), w).is_empty()).collect::<Vec<_>>();
    let open = on_disk();
    drop(sink);
    assert_eq!(on_disk(), open);
    open
}

#[test]
fn the_bytes_on_the_disk_are_those_of_the_tier() {
    let everything =
        ["rawsecret", "cleansecret", "example.com", "123-4567", "appsecret", "titlesecret", "refusalsecret"];
    let cases: [(Tier, bool, Vec<&str>); 5] = [
        (Tier::Nothing, true, vec![]),
        (Tier::Numbers, true, vec!["dictate"]),
        (Tier::Scrubbed, true, vec!["cleansecret", "appsecret", "dictate"]),
        (Tier::Everything, false, [&everything[..], &["dictate"]].concat()),
        (Tier::Everything, true, [&everything[..], &["soundsecret", "dictate"]].concat()),
    ];
    for (tier, keep_audio, expected) in cases {
        for log_text in [false, true] {
            let bench = Bench::new();
            let settings = Settings { tier, keep_audio, log_text, ..bench.settings() };
            assert_eq!(stored(&bench, settings), expected, "{tier:?}");
            assert_eq!(bench.path().exists(), tier != Tier::Nothing);
            let in_log = !files_with(bench.dir.path(), "heard Cleansecret").is_empty();
            assert_eq!(in_log, log_text && tier >= Tier::Scrubbed, "{tier:?}");
        }
    }
}

#[test]
fn only_the_user_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    fs::create_dir(bench.path()).unwrap();
    fs::set_permissions(bench.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let settings = Settings { keep_audio: true, ..bench.settings() };
    let audio = bench.dir.path().join("take.wav");
    fs::write(&audio, "RIFF").unwrap();
    let sink = bench.sink_with(settings);
    sink.keep_audio(&audio, 7).unwrap();
    sink.log().unwrap();
    assert!(sink.record(entry(1)) && sink.flush(LONG));
    super::super::spill::append(&bench.layout(), &[entry(2)]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = tree(&bench.path());
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    for expected in ["history.db", "history.db-wal", "history.db-shm", "history.spill.jsonl", "undertone.log"]
    {
        assert!(names.contains(&expected), "{expected} is not among {names:?}");
    }
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    for dir in [bench.path(), bench.layout().audio(), bench.layout().log()] {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
    }
}

#[test]
fn nothing_is_left_after_a_wipe_while_the_writer_and_the_log_go_on() {
    let bench = Bench::new();
    let sink = bench.sink_with(Settings { keep_audio: true, log_text: true, ..bench.settings() });
    let audio = bench.dir.path().join("take.wav");
    fs::write(&audio, "RIFF wordsecret").unwrap();
    let audio_file = sink.keep_audio(&audio, 7).unwrap();
    let mut log = sink.log().unwrap();
    for n in 0..300 {
        let text = format!("wordsecret {} {n}", "filler ".repeat(n as usize));
        log.write_all(sink.loggable(&text).as_bytes()).unwrap();
        let e = Entry { clean_text: Some(text), audio_file: audio_file.clone(), ..entry(n) };
        assert!(sink.record(e) && sink.flush(LONG));
    }
    super::super::spill::append(&bench.layout(), &[Entry { mode: "wordsecret".into(), ..entry(-1) }])
        .unwrap();
    fs::write(bench.path().join("history.damaged-1.db"), "wordsecret").unwrap();
    assert!(files_with(&bench.path(), "wordsecret").len() >= 5);

    let wiped = wipe(&bench.path(), LONG).unwrap();
    assert_eq!(wiped.dictations, 300);
    assert_eq!(wiped.files, 4);
    for text in ["wordsecret", "filler", "rawtext", "windowtitle"] {
        assert_eq!(files_with(&bench.path(), text), Vec::<PathBuf>::new());
    }

    assert!(sink.record(entry(500)) && sink.flush(LONG));
    log.write_all(b"again\n").unwrap();
    drop(sink);
    assert_eq!(bench.texts(), ["Cleantext number 500."]);
    assert_eq!(fs::read(bench.layout().log().join("undertone.log")).unwrap(), b"again\n");
    assert_eq!(bench.notices(), []);
}

#[test]
fn a_wipe_deletes_what_is_no_database_and_says_when_it_is_locked() {
    let bench = Bench::new();
    assert_eq!(wipe(&bench.path(), LONG).unwrap(), Default::default());
    fs::create_dir(bench.path()).unwrap();
    fs::write(bench.layout().database(), "wordsecret".repeat(1000)).unwrap();
    wipe(&bench.path(), LONG).unwrap();
    assert_eq!(tree(&bench.path()), Vec::<PathBuf>::new());

    let mut store = Store::open(&bench.layout(), LONG).unwrap();
    store.insert(&[entry(1)]).unwrap();
    store.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let message = wipe(&bench.path(), SECOND / 10).unwrap_err().to_string();
    assert!(message.contains("locked by another program"), "{message}");
}
