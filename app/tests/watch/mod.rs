//! What strace saw of a program's network.

use std::path::Path;

/// Fails the test unless the log of `strace -f -e trace=network` is of a program that ended well, asked for no socket of
/// the internet and connected to nothing.
#[track_caller]
pub(crate) fn no_network(log: &Path) {
    let calls = std::fs::read_to_string(log).unwrap();
    assert!(calls.contains("exited with 0"), "strace saw the program end: {calls}");
    assert!(!calls.contains("AF_INET") && !calls.contains("connect("), "{calls}");
}
