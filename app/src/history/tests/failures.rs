use super::*;
use rusqlite::Connection;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A process that runs one of the ignored tests below on this bench's folder.
fn child(bench: &Bench, test: &str, before: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let script =
        format!("{before} exec \"$0\" --exact history::tests::failures::{test} --ignored --nocapture");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(program).env("HISTORY_TEST_DIR", bench.path());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn child_settings() -> Settings {
    let dir = std::env::var_os("HISTORY_TEST_DIR").expect("run by another test");
    Settings { tier: Tier::Everything, ..Settings::new(Path::new(&dir)) }
}

#[test]
#[ignore = "a process of the test below"]
fn writes_until_it_is_killed() {
    let sink = Sink::open(child_settings(), |_| {}).unwrap();
    for n in 0..1_000_000 {
        assert!(sink.record(entry(n)) && sink.flush(LONG));
        println!("\nflushed {n}");
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_flushed() {
    for round in 1..=3 {
        let bench = Bench::new();
        let mut child = child(&bench, "writes_until_it_is_killed", "");
        let flushed = |line: &str| line.strip_prefix("flushed ").and_then(|n| n.parse::<i64>().ok());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut last = lines.by_ref().filter_map(|line| flushed(&line)).find(|n| *n >= round * 17).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        last = lines.filter_map(|line| flushed(&line)).last().unwrap_or(last);
        let reader = bench.reader();
        reader.check().unwrap();
        let texts = bench.texts();
        // The newest may be written and not yet reported.
        assert!((last + 1..=last + 2).contains(&(texts.len() as i64)), "{} of {}", texts.len(), last + 1);
        assert!((0..=last).all(|n| texts.contains(&format!("Cleantext number {n}."))));
    }
}

#[test]
fn a_locked_database_is_told_once_and_nothing_is_lost() {
    let bench = Bench::new();
    drop(Store::open(&bench.layout(), LONG).unwrap());
    let other = Connection::open(bench.layout().database()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let sink = bench.sink();
    for n in 1..=3 {
        assert!(sink.record(entry(n)) && sink.flush(LONG));
    }
    let [Notice::Spilled { why }] = &bench.notices()[..] else { panic!("told once") };
    assert!(why.contains("locked by another program"), "{why}");
    let lines = |path: PathBuf| fs::read_to_string(path).unwrap_or_default().lines().count();
    // An attempt to merge leaves the spill under another name.
    assert_eq!(lines(bench.layout().spill()) + lines(bench.layout().merging()), 3);

    other.execute_batch("ROLLBACK").unwrap();
    assert!(sink.record(entry(4)) && sink.flush(LONG));
    assert_eq!(bench.notices(), [Notice::Restored { merged: 3 }]);
    assert_eq!(bench.texts().len(), 4);
    assert!(!bench.layout().spill().exists());
}

#[test]
fn what_was_spilled_is_merged_at_the_next_start() {
    let bench = Bench::new();
    drop(Store::open(&bench.layout(), LONG).unwrap());
    let other = Connection::open(bench.layout().database()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let sink = bench.sink();
    assert!((1..=5).all(|n| sink.record(entry(n))));
    // Not flushed: dropping it writes the rest.
    drop(sink);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(bench.texts().is_empty());
    assert!(bench.sink().flush(LONG));
    assert_eq!(bench.texts().len(), 5);
    assert_eq!(bench.notices().last(), Some(&Notice::Restored { merged: 5 }));
}

#[test]
fn a_full_queue_counts_what_it_does_not_take() {
    let bench = Bench::new();
    drop(Store::open(&bench.layout(), LONG).unwrap());
    let other = Connection::open(bench.layout().database()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let sink = bench.sink_with(Settings {
        queue: 1,
        queue_patience: Duration::from_millis(1),
        lock_patience: SECOND,
        ..bench.settings()
    });
    let refused = (0..20).filter(|n| !sink.record(entry(*n))).count();
    assert!(refused > 0);
    other.execute_batch("ROLLBACK").unwrap();
    drop(sink);
    let lost: usize =
        bench.notices().iter().map(|n| if let Notice::Lost { count } = n { *count } else { 0 }).sum();
    assert_eq!((lost, bench.texts().len()), (refused, 20 - refused));
}

#[test]
fn a_damaged_database_is_set_aside_and_a_new_one_begun() {
    for damage in
        [|bytes: &mut Vec<u8>| bytes[..100].fill(b'x'), |bytes: &mut Vec<u8>| bytes[4096..].fill(0xff)]
    {
        let bench = Bench::new();
        let sink = bench.sink();
        assert!((0..200).all(|n| sink.record(entry(n)) && (n % 20 > 0 || sink.flush(LONG))));
        drop(sink);
        let mut bytes = fs::read(bench.layout().database()).unwrap();
        damage(&mut bytes);
        fs::write(bench.layout().database(), &bytes).unwrap();

        let sink = bench.sink();
        assert!(sink.record(Entry { clean_text: Some("New.".into()), ..entry(1) }) && sink.flush(LONG));
        drop(sink);
        let [notice @ Notice::SetAside { moved_to }] = &bench.notices()[..] else { panic!("told once") };
        assert!(notice.to_string().contains("was damaged"));
        assert_eq!(fs::read(moved_to).unwrap(), bytes);
        assert_eq!(bench.texts(), ["New."]);
    }
}

#[test]
fn a_damaged_database_is_named_to_readers() {
    let bench = Bench::new();
    fs::create_dir(bench.path()).unwrap();
    fs::write(bench.layout().database(), "no database".repeat(1000)).unwrap();
    let message = Store::open_existing(&bench.layout(), LONG).unwrap_err().to_string();
    assert!(message.contains("is damaged") && message.contains("history wipe"), "{message}");
}

/// A tmpfs that is unmounted when dropped; `None` where mounting is not allowed.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Option<SmallDisk> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at);
        mount.output().is_ok_and(|output| output.status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_once_and_waits_in_memory() {
    let bench = Bench::new();
    let Some(disk) = SmallDisk::mount(bench.path(), "1m") else {
        // Not allowed to mount here: the file size limit of the next test is a full disk too.
        return a_file_size_limit_is_a_full_disk();
    };
    let sink = bench.sink();
    assert!(sink.record(entry(0)) && sink.flush(LONG));
    let fill = bench.path().join("fill");
    // Until nothing more fits.
    let _ = fs::write(&fill, vec![0; 2 << 20]);
    let big = |n: i64| Entry { raw_text: Some("long ".repeat(8000)), ..entry(n) };
    assert!((1..=5).all(|n| sink.record(big(n))));
    assert!(!sink.flush(LONG), "it is not on the disk, and that is said");
    let told = bench.notices();
    assert!(matches!(&told[..], [Notice::InMemory { why }] if why.contains("no room")), "{told:?}");

    fs::remove_file(fill).unwrap();
    assert!(sink.flush(LONG));
    assert_eq!(bench.texts().len(), 6);
    assert_eq!(bench.notices(), [Notice::Restored { merged: 0 }]);
    drop(sink);
    drop(disk);
}

#[test]
#[ignore = "a process of the test below"]
fn writes_under_a_limit() {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&notices);
    let sink = Sink::open(child_settings(), move |notice| told.lock().unwrap().push(notice)).unwrap();
    for n in 0..300 {
        assert!(sink.record(Entry { raw_text: Some("long ".repeat(2000)), ..entry(n) }));
        sink.flush(LONG);
    }
    drop(sink);
    for notice in notices.lock().unwrap().iter() {
        println!("\ntold {notice}");
    }
}

#[test]
fn a_file_size_limit_is_a_full_disk() {
    let bench = Bench::new();
    let child = child(&bench, "writes_under_a_limit", "trap '' XFSZ; ulimit -f 400;");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nothing panics");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("told ")).collect();
    // Closing the database makes room once or twice; then there is none but in memory.
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "told twice: {told:?}");
    for expected in ["kept in a file beside it", "in memory only"] {
        assert!(told.iter().any(|line| line.contains(expected)), "{told:?}");
    }
    let lost: usize = told
        .iter()
        .filter_map(|line| line.split_once(" dictations are not in the history"))
        .map(|(count, _)| count)
        .map(|count| count.parse::<usize>().unwrap())
        .sum();
    assert!(bench.sink().flush(LONG));
    assert_eq!(bench.texts().len() + lost, 300, "{told:?}");
    assert!(lost < 300, "{told:?}");
}
