//! Dictations in a row, of which most go wrong: a short run of `scripts/soak`.

use crate::delivery::question;
use crate::harness::{alone, models};
use std::process::Command;

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whatever_happens() {
    let _alone = alone();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/soak");
    let events = [
        "plain",
        "spoken_over",
        "cancel_while_speaking",
        "cancel_while_transcribing",
        "cancel_later",
        "microphone_unplugged",
        "sound_server_killed",
        "window_closed",
        "clipboard_owner_gone",
    ];
    let mut soak = Command::new("/usr/bin/python3");
    // Each once. Kills, each of which costs a start, are tested one by one.
    soak.args([script, "9", "7", "--undertone", env!("CARGO_BIN_EXE_undertone"), "--clips"])
        .arg(question().0);
    soak.arg("--only").args(events).env("UNDERTONE_MODELS", models());
    let output = soak.output().unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{wrong}");
    assert!(told.contains("\"dictations\": 9"), "{told}");
}
