//! The socket under good clients and bad ones.

use super::lines::MAX_LINE_BYTES;
use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fs::{DirBuilder, File, Permissions, set_permissions, write};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);
const LIMITS: Limits = Limits { connections: 4, idle: LONG, answer: LONG };

/// A server and an owner that echoes commands as its state.
struct Echo {
    server: Option<Server>,
    owner: Option<JoinHandle<Vec<Command>>>,
    path: PathBuf,
    _folder: TempDir,
}

impl Echo {
    fn start(limits: Limits) -> Echo {
        let folder = private_folder();
        let path = folder.path().join("undertone.sock");
        let (requests, received) = sync_channel(8);
        let server = Server::bind(&path, limits, requests).expect("a server");
        let owner = spawn(move || echo(&received));
        Echo { server: Some(server), owner: Some(owner), path, _folder: folder }
    }

    fn ask(&self, command: &Command) -> Reply {
        ask(&self.path, command, LONG).expect("an answer")
    }

    /// A client that writes what it likes.
    fn client(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).expect("a connection");
        stream.set_read_timeout(Some(LONG)).expect("a limit");
        stream
    }

    /// Every command that reached the owner.
    fn end(mut self) -> Vec<Command> {
        drop(self.server.take());
        self.owner.take().expect("an owner").join().expect("no panic")
    }
}

fn echo(requests: &Receiver<Request>) -> Vec<Command> {
    let mut all = Vec::new();
    while let Ok(request) = requests.recv() {
        let command = request.command.clone();
        let state = serde_json::to_value(&command).expect("JSON");
        request.answer(Reply::done(state));
        all.push(command);
    }
    all
}

fn private_folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().expect("a folder")
}

fn read_reply(stream: &UnixStream) -> Option<Reply> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    (!line.is_empty()).then(|| serde_json::from_str(&line).expect("a reply"))
}

fn exchange(mut stream: &UnixStream, line: &[u8]) -> Reply {
    stream.write_all(line).expect("written");
    read_reply(stream).expect("a reply")
}

fn error(reply: Reply) -> String {
    assert!(!reply.ok && reply.state.is_none(), "{reply:?}");
    reply.error.expect("an error")
}

fn parse(line: &str) -> Result<Command, String> {
    Command::parse(line.as_bytes())
}

#[test]
fn every_command_is_its_own_json() {
    let recording = Recording { mode: Some("note".into()), hands_free: true };
    let all = [
        (Command::Start(recording), r#"{"command":"start","mode":"note","hands_free":true}"#),
        (Command::Start(Recording::default()), r#"{"command":"start"}"#),
        (Command::Stop, r#"{"command":"stop"}"#),
        (Command::Toggle(Recording::default()), r#"{"command":"toggle","mode":null}"#),
        (Command::Cancel, r#"{"command":"cancel"}"#),
        (Command::Mode { name: "ask".into() }, r#"{"name":"ask","command":"mode"}"#),
        (Command::Again, r#"{"command":"again"}"#),
        (Command::Undo, r#"{"command":"undo"}"#),
        (Command::Raw, r#" {"command":"raw"} "#),
        (Command::Status, r#"{"command":"status"}"#),
        (Command::Wait { timeout_s: 60 }, r#"{"command":"wait"}"#),
        (Command::Wait { timeout_s: 5 }, r#"{"command":"wait","timeout_s":5}"#),
        (Command::Quit, r#"{"command":"quit"}"#),
    ];
    for (command, line) in all {
        assert_eq!(parse(line).as_ref(), Ok(&command), "{line}");
        let written = serde_json::to_string(&command).expect("JSON");
        assert_eq!(parse(&written), Ok(command), "{written}");
    }
}

#[test]
fn the_command_line_is_the_same_enum() {
    let of = |words: &str| {
        let line = <Command as clap::Subcommand>::augment_subcommands(clap::Command::new("ctl"));
        let matches = line.try_get_matches_from(words.split(' ')).map_err(|e| e.to_string())?;
        <Command as clap::FromArgMatches>::from_arg_matches(&matches).map_err(|e| e.to_string())
    };
    let note = Recording { mode: Some("note".into()), hands_free: true };
    assert_eq!(of("ctl toggle --mode note --hands-free"), Ok(Command::Toggle(note)));
    assert_eq!(of("ctl wait --timeout 3"), Ok(Command::Wait { timeout_s: 3 }));
    assert_eq!(of("ctl mode ask"), Ok(Command::Mode { name: "ask".into() }));
    assert!(of("ctl strat").is_err_and(|e| e.contains("'start'")));
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let wrong = |line: &str| parse(line).expect_err(line);
    assert_eq!(wrong(r#"{"command":"strat"}"#), "unknown command 'strat'; did you mean 'start'?");
    assert!(wrong(r#"{"command":"make coffee"}"#).contains("use one of: start, stop, toggle"));
    assert!(wrong(&format!(r#"{{"command":"{}"}}"#, "é".repeat(9000))).len() < 300);
    assert!(wrong(r#"{"command":"mode"}"#).contains("missing field `name`"));
    assert!(wrong(r#"{"command":"start","mdoe":"note"}"#).contains("unknown field `mdoe`"));
    assert!(wrong(r#"{"command":"wait","timeout_s":-1}"#).contains("wait"));
    assert!(wrong(r#"{"command":"wait","timeout_s":99999999999}"#).contains("3600 s"));
    for line in ["", "start", "[]", "{}", "null", r#"{"command":7}"#, r#"{"command":"stop"} x"#, "\u{0}"] {
        assert!(wrong(line).contains("one JSON object a line"), "{line}: {}", wrong(line));
    }
}

#[test]
fn two_clients_are_answered_in_any_order() {
    let echo = Echo::start(LIMITS);
    let (first, second) = (echo.client(), echo.client());
    for (client, line) in [(&second, "undo"), (&first, "again"), (&second, "raw"), (&first, "status")] {
        let reply = exchange(client, format!("{{\"command\":\"{line}\"}}\n").as_bytes());
        assert_eq!(reply.state.expect("a state")["command"], line);
    }
    assert_eq!(echo.end(), [Command::Undo, Command::Again, Command::Raw, Command::Status]);
}

#[test]
fn many_clients_at_once_lose_nothing() {
    let echo = Echo::start(Limits { connections: 8, ..LIMITS });
    std::thread::scope(|scope| {
        for client in 0..8 {
            let echo = &echo;
            scope.spawn(move || {
                let stream = echo.client();
                for turn in 0..50 {
                    let name = format!("{client}-{turn}");
                    let line = format!("{{\"command\":\"mode\",\"name\":\"{name}\"}}\n");
                    // The echo's queue is bounded: a full one is an answer too.
                    let reply = exchange(&stream, line.as_bytes());
                    assert!(reply.state.is_none_or(|state| state["name"] == name.as_str()));
                }
            });
        }
    });
    assert!(!echo.end().is_empty());
}

#[test]
fn requests_may_come_together_and_in_pieces_and_without_an_end() {
    let echo = Echo::start(LIMITS);
    let mut stream = echo.client();
    for piece in ["{\"comm", "and\":\"stop\"}\n{\"command\":\"undo\"}\n{\"command\"", ":\"raw\"}"] {
        stream.write_all(piece.as_bytes()).expect("written");
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.shutdown(Shutdown::Write).expect("shut");
    let mut replies = String::new();
    stream.read_to_string(&mut replies).expect("replies");
    assert_eq!(replies.lines().count(), 3, "{replies}");
    assert_eq!(echo.end(), [Command::Stop, Command::Undo, Command::Raw]);
}

#[test]
fn garbage_is_answered_and_the_connection_goes_on() {
    let echo = Echo::start(LIMITS);
    let stream = echo.client();
    assert!(error(exchange(&stream, b"\xff\xfe\x00garbage\n")).contains("one JSON object"));
    assert!(error(exchange(&stream, b"\n")).contains("one JSON object"));
    let deep = [b"[".repeat(50_000), b"\n".to_vec()].concat();
    assert!(error(exchange(&stream, &deep)).contains("one JSON object"));
    assert!(exchange(&stream, b"{\"command\":\"stop\"}\n").ok);
    assert_eq!(echo.end(), [Command::Stop]);
}

#[test]
fn a_line_has_a_greatest_length() {
    let echo = Echo::start(LIMITS);
    let padded = |bytes: usize| {
        let mut line = br#"{"command":"stop"}"#.to_vec();
        line.resize(bytes, b' ');
        line.push(b'\n');
        line
    };
    assert!(exchange(&echo.client(), &padded(MAX_LINE_BYTES)).ok);
    let mut stream = echo.client();
    // The server may close before all is written.
    let _ = stream.write_all(&padded(MAX_LINE_BYTES + 1));
    assert!(error(read_reply(&stream).expect("a reply")).contains("at most 65536 bytes"));
    let mut endless = echo.client();
    let chunk = [b'x'; 4096];
    let written = (0..10_000).take_while(|_| endless.write_all(&chunk).is_ok()).count();
    assert!(written < 10_000, "40 MB were taken");
    assert!(echo.ask(&Command::Status).ok);
}

#[test]
fn hanging_clients_are_dropped_and_block_nobody() {
    let idle = Duration::from_secs(1);
    let echo = Echo::start(Limits { idle, ..LIMITS });
    let mut hanging: Vec<UnixStream> = (0..3).map(|_| echo.client()).collect();
    hanging[1].write_all(b"{\"command\":").expect("written");
    assert!(echo.ask(&Command::Status).ok);
    for stream in &hanging {
        assert_eq!(read_reply(stream), None, "it was not closed");
    }
    assert!(echo.ask(&Command::Status).ok);
}

#[test]
fn a_client_that_drips_gains_no_time() {
    let echo = Echo::start(Limits { idle: Duration::from_millis(500), ..LIMITS });
    let mut stream = echo.client();
    let dripped = (0..2000).take_while(|_| {
        std::thread::sleep(Duration::from_millis(10));
        stream.write_all(b" ").is_ok()
    });
    assert!(dripped.count() < 2000, "it was never dropped");
    assert!(echo.ask(&Command::Status).ok);
}

#[test]
fn connections_are_bounded_and_free_again() {
    let echo = Echo::start(Limits { connections: 2, ..LIMITS });
    let busy: Vec<UnixStream> = (0..2).map(|_| echo.client()).collect();
    for stream in &busy {
        assert!(exchange(stream, b"{\"command\":\"stop\"}\n").ok);
    }
    let refused = ask(&echo.path, &Command::Status, LONG).expect("a refusal");
    assert!(error(refused).contains("too many programs"));
    for stream in busy {
        stream.shutdown(Shutdown::Write).expect("shut");
        assert_eq!(read_reply(&stream), None);
    }
    // The thread of a closed connection ends a moment after it.
    let free = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        ask(&echo.path, &Command::Status, LONG).is_ok_and(|reply| reply.ok)
    });
    assert!(free, "the connections stay taken");
}

#[test]
fn an_owner_that_is_busy_silent_or_gone_is_reported() {
    let folder = private_folder();
    let path = folder.path().join("undertone.sock");
    let (requests, received) = sync_channel(1);
    let limits = Limits { answer: Duration::from_secs(1), ..LIMITS };
    let server = Server::bind(&path, limits, requests).expect("a server");
    assert!(error(ask(&path, &Command::Stop, LONG).expect("a reply")).contains("did not answer"));
    assert!(error(ask(&path, &Command::Stop, LONG).expect("a reply")).contains("too many commands"));
    drop(received.recv().expect("the first"));
    let dropping = spawn(move || drop((received.recv(), received)));
    assert!(error(ask(&path, &Command::Stop, LONG).expect("a reply")).contains("ended before"));
    dropping.join().expect("no panic");
    assert!(error(ask(&path, &Command::Stop, LONG).expect("a reply")).contains("is ending"));
    drop(server);
    assert!(matches!(ask(&path, &Command::Stop, LONG), Err(CtlError::NotRunning)));
}

#[test]
fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let folder = private_folder();
    let path = folder.path().join("undertone.sock");
    let (requests, received) = sync_channel(8);
    let server = Server::bind(&path, Limits { connections: 1, ..LIMITS }, requests).expect("a server");
    let mut waiting = UnixStream::connect(&path).expect("a connection");
    waiting.write_all(b"{\"command\":\"wait\",\"timeout_s\":3600}\n").expect("written");
    let unanswered = received.recv().expect("the request");
    drop(waiting);
    let answering = spawn(move || echo(&received));
    let free = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        ask(&path, &Command::Status, LONG).is_ok_and(|reply| reply.ok)
    });
    assert!(free, "the place stays taken");
    unanswered.answer(Reply::refused("too late"));
    drop(server);
    answering.join().expect("no panic");
}

#[test]
fn a_waiting_client_is_answered_when_the_server_ends() {
    let folder = private_folder();
    let path = folder.path().join("undertone.sock");
    let (requests, received) = sync_channel(8);
    let server = Server::bind(&path, LIMITS, requests).expect("a server");
    let asked = path.clone();
    let client = spawn(move || ask(&asked, &Command::Wait { timeout_s: 3600 }, LONG));
    let _unanswered = received.recv().expect("the request");
    drop(server);
    assert_eq!(error(client.join().expect("no panic").expect("a reply")), "undertone is ending");
    assert!(!path.exists());
}

#[test]
fn an_answer_given_before_the_end_arrives() {
    for _ in 0..100 {
        let folder = private_folder();
        let path = folder.path().join("undertone.sock");
        let (requests, received) = sync_channel(8);
        let server = Server::bind(&path, LIMITS, requests).expect("a server");
        let asked = path.clone();
        let client = spawn(move || ask(&asked, &Command::Quit, LONG));
        received.recv().expect("the request").answer(Reply::done("bye".into()));
        drop(server);
        assert!(client.join().expect("no panic").is_ok_and(|reply| reply.ok));
    }
}

#[test]
fn a_second_server_is_refused_and_a_dead_ones_socket_replaced() {
    let echo = Echo::start(LIMITS);
    let second = |path: &Path| Server::bind(path, LIMITS, sync_channel(1).0);
    assert!(matches!(second(&echo.path), Err(CtlError::AlreadyRunning)));
    // Somebody tidied the lock's file away.
    std::fs::remove_file(echo.path.with_extension("lock")).expect("removed");
    assert!(matches!(second(&echo.path), Err(CtlError::AlreadyRunning)));
    assert!(echo.ask(&Command::Status).ok, "the first one suffered");

    let folder = private_folder();
    let path = folder.path().join("undertone.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "a stale socket");
    assert!(matches!(ask(&path, &Command::Stop, LONG), Err(CtlError::NotRunning)));
    let first = second(&path).expect("a server");
    drop(first);
    assert!(!path.exists(), "it was left behind");
    drop(second(&path).expect("a server after a server"));
    // A program that is just starting has the lock and no socket yet.
    let lock = File::open(path.with_extension("lock")).expect("the lock's file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("the lock");
    assert!(matches!(second(&path), Err(CtlError::AlreadyRunning)));
    drop(lock);
    write(&path, "not a socket").expect("a file");
    assert!(matches!(second(&path), Err(CtlError::NotASocket { .. })));
}

#[test]
fn socket_and_folder_belong_to_the_user_alone() {
    let temp = tempfile::tempdir().expect("a folder");
    let path = socket_path(None, temp.path());
    let folder = path.parent().expect("a folder");
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(path, temp.path().join(format!("undertone-{uid}")).join("undertone.sock"));
    assert_eq!(socket_path(Some(Path::new("")), temp.path()), path);
    let bind = || Server::bind(&path, LIMITS, sync_channel(1).0);
    let mode = |path: &Path| path.metadata().expect("a file").permissions().mode() & 0o777;
    let server = bind().expect("a server");
    assert_eq!((mode(folder), mode(&path), mode(&path.with_extension("lock"))), (0o700, 0o600, 0o600));
    drop(server);

    set_permissions(folder, Permissions::from_mode(0o755)).expect("opened");
    let refused = bind().err().expect("refused");
    assert!(matches!(refused, CtlError::OpenFolder { why: "is open to other users", .. }), "{refused}");
    std::fs::remove_dir_all(folder).expect("removed");
    let elsewhere = temp.path().join("elsewhere");
    DirBuilder::new().mode(0o700).create(&elsewhere).expect("a folder");
    symlink(&elsewhere, folder).expect("a link");
    assert!(matches!(bind(), Err(CtlError::OpenFolder { why: "is not a folder", .. })));

    assert_eq!(
        socket_path(Some(Path::new("/run/user/1")), temp.path()),
        Path::new("/run/user/1/undertone.sock")
    );
    let long = temp.path().join("x".repeat(120)).join("undertone.sock");
    assert!(matches!(Server::bind(&long, LIMITS, sync_channel(1).0), Err(CtlError::Io { .. })));
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let folder = private_folder();
    let path = folder.path().join("undertone.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let answer = |bytes: &'static [u8]| {
        let listener = listener.try_clone().expect("a clone");
        let server = spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 100];
            let _ = stream.read(&mut request);
            stream.write_all(bytes).expect("written");
        });
        let result = ask(&path, &Command::Status, LONG);
        server.join().expect("no panic");
        result
    };
    assert!(matches!(answer(b"hello\n"), Err(CtlError::BadAnswer(_))));
    assert!(matches!(answer(b""), Err(CtlError::NotRunning)));
    assert!(answer(b"{\"ok\":true}\n").is_ok_and(|reply| reply.ok));
    let silent = ask(&path, &Command::Status, Duration::from_millis(50));
    assert!(matches!(silent, Err(CtlError::NoAnswer { .. })));
}

/// Bytes that resemble requests more or less.
fn scribble(rng: &mut SmallRng) -> Vec<u8> {
    let seeds = [
        r#"{"command":"start","mode":"note","hands_free":true}"#,
        r#"{"command":"wait","timeout_s":1}"#,
        r#"{"command":"mode","name":"\u00e9"}"#,
        r#"[{"command":{}}]"#,
    ];
    let mut line = seeds[rng.random_range(0..seeds.len())].as_bytes().to_vec();
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..line.len());
        match rng.random_range(0..3) {
            0 => line[at] = rng.random(),
            1 => drop(line.splice(at..at, (0..rng.random_range(0..20)).map(|_| rng.random::<u8>()))),
            _ => line.truncate(at.max(1)),
        }
    }
    line
}

#[test]
fn no_bytes_break_the_parser() {
    let mut rng = SmallRng::seed_from_u64(7);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..100_000 {
        match Command::parse(&scribble(&mut rng)) {
            Ok(command) => {
                let again = serde_json::to_vec(&command).expect("JSON");
                assert_eq!(Command::parse(&again), Ok(command));
                good += 1;
            }
            Err(error) => {
                assert!(error.len() < 1000, "{error}");
                bad += 1;
            }
        }
    }
    assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
}

#[test]
fn no_bytes_break_the_server() {
    let echo = Echo::start(LIMITS);
    for seed in 0..300 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut stream = echo.client();
        for _ in 0..rng.random_range(1..8) {
            let mut line = scribble(&mut rng);
            line.resize(line.len() + usize::from(rng.random::<bool>()), b'\n');
            if stream.write_all(&line).is_err() {
                break;
            }
        }
        if rng.random() {
            stream.shutdown(Shutdown::Write).expect("shut");
            let mut replies = Vec::new();
            // A client that was refused for lack of room is reset once it has read the refusal.
            let _ = stream.read_to_end(&mut replies);
            for line in replies.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                serde_json::from_slice::<Reply>(line).expect("a reply");
            }
        }
    }
    // The last of the clients that left may still hold their places.
    let alive = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        ask(&echo.path, &Command::Status, LONG).is_ok_and(|reply| reply.ok)
    });
    assert!(alive);
    echo.end();
}
