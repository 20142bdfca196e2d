//! Whatever fails, the text or the audio is there, and the user is told.

use crate::delivery::{QUIET, question};
use crate::harness::{Desktop, wait_for, words};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

fn begin(settings: &str) -> Desktop {
    let desktop = Desktop::start();
    desktop.configure(&format!("{settings}{QUIET}[[keys]]\nkey = \"f9\"\nstyle = \"hold\"\n"));
    desktop
}

fn recovered(desktop: &Desktop) {
    let text = desktop.print(&["recover"]);
    assert_eq!(words(&text), question().1, "what was said is recovered");
    assert!(desktop.print(&["recover", "--list"]).is_empty(), "once");
}

/// Dictates and holds Ctrl when it is to be typed.
fn dictate_under_control(desktop: &Desktop) {
    desktop.press_and_play("F9", &question().0);
    desktop.xdotool(&["keydown", "Control_L", "keyup", "F9"]);
    wait_for("the delivery", || desktop.ctl(&["status"]).contains("\"delivering\"").then_some(()));
}

#[test]
fn nothing_is_typed_into_another_window() {
    let desktop = begin("");
    let program = desktop.start_program(&[]);
    let meant = desktop.text_field("meant");
    let other = desktop.text_field("other");
    meant.focus();
    desktop.hold_and_play("F9", &question().0);
    // Both windows are there; the focus goes while the text is made.
    other.focus();
    assert_eq!(program.wait_end()["end"]["delivered"], "focus_changed");
    program.wait_error("another window has the focus");
    assert_eq!((meant.text(), other.text()), (String::new(), String::new()));
    meant.focus();
    desktop.ctl(&["again"]);
    meant.expect("", &question().1);
    assert_eq!(other.text(), "");
    program.quit();
}

#[test]
fn a_held_modifier_is_waited_for() {
    let desktop = begin("[inject]\nmodifiers_wait_ms = 10000\n");
    let program = desktop.start_program(&[]);
    let window = desktop.text_field("field");
    dictate_under_control(&desktop);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(window.text(), "", "nothing while the key is down");
    desktop.xdotool(&["keyup", "Control_L"]);
    program.wait_end();
    window.expect("", &question().1);
    program.quit();
}

#[test]
fn a_microphone_that_is_missing_or_goes_away_is_told_and_what_it_heard_is_typed() {
    let desktop = begin("");
    let program = desktop.start_program(&[]);
    let window = desktop.text_field("field");
    desktop.press_and_play("F9", &question().0);
    // The room goes, and with it every source: there is none that the sound server could turn to.
    desktop.run("pactl", &["unload-module", "module-null-sink"]);
    program.wait_error("the microphone is gone");
    desktop.xdotool(&["keyup", "F9"]);
    program.wait_end();
    window.expect("", &question().1);
    desktop.xdotool(&["keydown", "F9"]);
    program.wait_error("microphone");
    desktop.xdotool(&["keyup", "F9"]);
    let end = program.wait_end();
    assert_eq!(end["end"]["failed"], "microphone", "{end}");
    program.quit();
}

#[test]
fn a_sound_server_that_dies_ends_a_recording_and_the_next_is_heard() {
    let desktop = begin("");
    let program = desktop.start_program(&[]);
    let window = desktop.text_field("field");
    let (clip, said) = question();
    desktop.press_and_play("F9", &clip);
    // What was played has passed its buffers.
    std::thread::sleep(std::time::Duration::from_millis(500));
    desktop.restart_sound_server();
    program.wait_error("the microphone is gone");
    desktop.xdotool(&["keyup", "F9"]);
    program.wait_end();
    window.expect("", &said);
    desktop.hold_and_play("F9", &clip);
    program.wait_end();
    window.expect("", &[said.clone(), said].concat());
    program.quit();
}

#[test]
fn a_recording_survives_kill_9_while_it_is_made() {
    let desktop = begin("");
    let program = desktop.start_program(&[]);
    desktop.press_and_play("F9", &question().0);
    // What was played has passed the sound server's buffers.
    std::thread::sleep(std::time::Duration::from_millis(500));
    program.kill_9();
    desktop.xdotool(&["keyup", "F9"]);
    let program = desktop.start_program(&[]);
    program.wait_error("a recording was not finished last time");
    program.quit();
    recovered(&desktop);
}

#[test]
fn a_recording_survives_kill_9_while_it_is_transcribed_and_while_it_is_typed() {
    let desktop = begin("[inject]\nmodifiers_wait_ms = 10000\n");
    let program = desktop.start_program(&[]);
    desktop.hold_and_play("F9", &question().0);
    wait_for("the engine", || desktop.ctl(&["status"]).contains("transcribing").then_some(()));
    program.kill_9();
    recovered(&desktop);

    let program = desktop.start_program(&[]);
    let window = desktop.text_field("field");
    dictate_under_control(&desktop);
    program.kill_9();
    desktop.xdotool(&["keyup", "Control_L"]);
    assert_eq!(window.text(), "");
    recovered(&desktop);
}

#[test]
fn on_a_full_disk_the_text_is_typed_and_the_user_is_told() {
    let desktop = begin("");
    // 16 KiB a file, and no signal for more.
    let program = desktop.start_without_waiting(&[], Some("trap '' XFSZ; ulimit -f 32"));
    program.wait_line("ready after");
    let window = desktop.text_field("field");
    desktop.hold_and_play("F9", &question().0);
    program.wait_error("the recording is not being saved to the disk");
    program.wait_end();
    window.expect("", &question().1);
    program.quit();
}

#[test]
fn an_engine_that_panics_keeps_the_audio_and_works_on() {
    let desktop = begin("");
    let program = desktop.start_program(&["--panic-at", "encode"]);
    let window = desktop.text_field("field");
    desktop.hold_and_play("F9", &question().0);
    let end = program.wait_end();
    assert_eq!(end["end"]["failed"], "engine", "{end}");
    program.wait_error("`undertone recover` transcribes it");
    desktop.hold_and_play("F9", &question().0);
    program.wait_end();
    window.expect("", &question().1);
    program.quit();
    recovered(&desktop);
}

#[test]
fn a_locked_history_loses_nothing() {
    let desktop = begin("");
    let program = desktop.start_program(&[]);
    let window = desktop.text_field("field");
    desktop.hold_and_play("F9", &question().0);
    program.wait_end();
    wait_for("the first entry", || desktop.print(&["history", "list"]).contains("train").then_some(()));
    let database = desktop.path("data/undertone/history/history.db");
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); \
                  c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); sys.stdin.read()";
    let mut holder = desktop.command("python3");
    holder.args(["-c", script]).arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    desktop.hold_and_play("F9", &question().0);
    program.wait_end();
    let said = question().1;
    window.expect("", &[said.clone(), said].concat());
    holder.stdin.take().unwrap().flush().unwrap();
    assert!(holder.wait().unwrap().success());
    program.quit();
    let dictations = desktop.print(&["history", "list", "--json"]);
    assert_eq!(dictations.lines().count(), 2, "{dictations}");
}

#[test]
fn a_dashboard_ends_with_its_terminal() {
    let desktop = begin("");
    let mut xterm = desktop.command("xterm");
    xterm.args(["-title", "dashboard", "-e", env!("CARGO_BIN_EXE_undertone"), "dashboard"]);
    let mut terminal = xterm.spawn().unwrap();
    desktop.xdotool(&["search", "--sync", "--name", "^dashboard$"]);
    let children = format!("/proc/{0}/task/{0}/children", terminal.id());
    let dashboard = wait_for("the dashboard", || {
        let pid = std::fs::read_to_string(&children).ok()?.trim().to_string();
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.contains("dashboard").then_some(pid)
    });
    // It has drawn itself and waits for keys.
    std::thread::sleep(std::time::Duration::from_secs(1));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let gone = || match std::fs::read_to_string(format!("/proc/{dashboard}/stat")) {
        // A dead child that nobody has waited for is as good as gone.
        Ok(stat) => stat.contains(") Z ").then_some(()),
        Err(_) => Some(()),
    };
    wait_for("its end", gone);
}
