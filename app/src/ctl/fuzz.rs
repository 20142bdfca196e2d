//! What `fuzz/` sends to the socket.

use super::lines::MAX_LINE_BYTES;
use super::server::serve;
use super::{Command, Limits, Reply, Request};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::sync_channel;

/// More does not fit into a socket that nobody reads yet.
const MAX_BYTES: usize = MAX_LINE_BYTES + 4096;
/// As many answers fit.
const MAX_LINES: usize = 128;

/// Sends `data` to a connection. Every line is answered by one line, and what is understood means the same when it is
/// written down and read again.
pub fn control(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n');
    if data.len() > MAX_BYTES || lines.clone().count() > MAX_LINES {
        return;
    }
    for command in lines.filter_map(|line| Command::parse(line).ok()) {
        let written = serde_json::to_vec(&command).expect("JSON");
        assert_eq!(Command::parse(&written), Ok(command));
    }
    let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
    client.write_all(data).expect("there is room");
    client.shutdown(Shutdown::Write).expect("it is open");
    let (requests, asked) = sync_channel::<Request>(1);
    let mut answers = String::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let followed = |command: &Command| serde_json::to_value(command).expect("JSON");
            asked.into_iter().for_each(|request| {
                let state = followed(&request.command);
                request.answer(Reply::done(state));
            });
        });
        scope.spawn(move || serve(server, Limits::default(), requests));
        client.read_to_string(&mut answers).expect("UTF-8");
    });
    let mut whole = data.split_inclusive(|byte| *byte == b'\n');
    let too_long = |line: &[u8]| line.strip_suffix(b"\n").unwrap_or(line).len() > MAX_LINE_BYTES;
    // The first that is too long ends the connection.
    let expected = whole.clone().position(too_long).map_or(whole.clone().count(), |at| at + 1);
    for answer in answers.lines() {
        let reply: Reply = serde_json::from_str(answer).expect("a reply");
        assert_eq!((reply.ok, reply.error.is_none()), (reply.state.is_some(), reply.ok), "{answer}");
        assert!(reply.error.is_none_or(|error| !error.trim().is_empty()), "{answer}");
    }
    assert_eq!(answers.lines().count(), expected, "of {:?}: {answers}", whole.next());
}
