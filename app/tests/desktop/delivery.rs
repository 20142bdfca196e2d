//! Text arrives: by every kind of key, typed and pasted, each dictation once.

use crate::harness::{Desktop, words};
use std::path::PathBuf;

/// The shortest clip, and its words.
pub(crate) fn question() -> (PathBuf, Vec<String>) {
    let clips = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/clips/question.wav");
    (clips.into(), words("What time does the next train to the city leave on Monday morning?"))
}

/// Nothing is shown: windows of our own are tested elsewhere.
pub(crate) const QUIET: &str =
    "[show]\noverlay = false\ntray = false\nsounds = false\nnotifications = false\n";

#[test]
fn twenty_dictations_in_a_row_arrive_once_each_and_the_clipboard_stays() {
    let desktop = Desktop::start();
    let key = |key: &str, style: &str| format!("[[keys]]\nkey = \"{key}\"\nstyle = \"{style}\"\n");
    let keys =
        [key("f9", "hold"), key("f10", "tap"), key("f11", "hybrid"), key("f12", "hands-free")].concat();
    let inject = |way: &str| format!("[inject]\nway = \"{way}\"\nextra_key = \"space\"\n");
    desktop.configure(&format!("{}{QUIET}{keys}", inject("type")));
    desktop.set_clipboard("what was there before");
    let program = desktop.start_program(&[]);
    let (clip, said) = question();
    let press = |key: &str| drop(desktop.xdotool(&["key", key]));
    let mut dictations = 0;
    for way in ["type", "paste"] {
        if way == "paste" {
            desktop.print(&["config", "set", "inject.way", way]);
            program.wait_line("the settings were read again");
        }
        for window in [desktop.text_field(&format!("field-{way}")), desktop.terminal()] {
            window.focus();
            let dictate = |how: &dyn Fn()| {
                let before = window.text();
                how();
                let end = program.wait_end();
                assert!(end["end"].get("delivered").is_some(), "{end}\n{}", program.errors());
                window.expect(&before, &said);
            };
            let hold = || desktop.hold_and_play("F9", &clip);
            let tap = |key: &str| {
                press(key);
                desktop.wait_recording();
                desktop.play(&clip);
                press(key);
            };
            let hands_free = || {
                press("F12");
                desktop.wait_recording();
                desktop.play(&clip);
            };
            dictate(&hold);
            dictate(&|| tap("F10"));
            dictate(&|| tap("F11"));
            dictate(&|| desktop.hold_and_play("F11", &clip));
            dictate(&hands_free);
            dictations += 5;
            // What is recorded between the last utterance and the key is empty.
            press("F12");
            assert_eq!(program.wait_end()["end"], "empty");
        }
    }
    assert_eq!(dictations, 20);
    assert_eq!(desktop.clipboard().as_deref(), Some("what was there before"));
    program.quit();
    let stats = desktop.print(&["history", "stats", "--json"]);
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["failures"], 0, "{stats}");
}

#[test]
fn again_undo_and_raw_work_on_the_last_text() {
    let desktop = Desktop::start();
    desktop.configure(QUIET);
    let program = desktop.start_program(&[]);
    let window = desktop.text_field("field");
    let clip = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/clips/report.wav"));
    desktop.ctl(&["start"]);
    desktop.wait_recording();
    desktop.play(&clip);
    desktop.ctl(&["stop"]);
    program.wait_end();
    let clean = window.settled("");
    assert!(words(&clean).len() >= 20, "{clean:?}");
    assert!(!words(&clean).contains(&"um".to_string()), "{clean:?}");
    desktop.ctl(&["undo"]);
    desktop.ctl(&["wait"]);
    window.wait_text(str::is_empty);
    desktop.ctl(&["again"]);
    desktop.ctl(&["wait"]);
    window.wait_text(|text| text == clean);
    desktop.ctl(&["raw"]);
    desktop.ctl(&["wait"]);
    window.wait_text(|text| words(text).len() > words(&clean).len());
    program.quit();
}

#[test]
fn modes_of_their_own_go_where_they_belong() {
    let desktop = Desktop::start();
    let snippet =
        "[snippets]\n\"what time does the next train to the city leave on monday morning\" = \"At 8:15.\"\n";
    desktop
        .configure(&format!("{QUIET}{snippet}[[keys]]\nkey = \"f8\"\nmode = \"note\"\nstyle = \"hold\"\n"));
    let program = desktop.start_program(&[]);
    let window = desktop.text_field("field");
    let (clip, expected) = question();
    desktop.hold_and_play("F8", &clip);
    let end = program.wait_end();
    assert_eq!(end["end"]["delivered"], "appended", "{end}");
    let notes = std::fs::read_to_string(desktop.path("notes.md")).unwrap();
    assert!(notes.contains("8:15") || words(&notes).ends_with(&expected), "{notes}");
    // A phrase of the snippets is its text, in every other mode.
    desktop.ctl(&["start", "--mode", "raw"]);
    desktop.wait_recording();
    desktop.play(&clip);
    desktop.ctl(&["stop"]);
    program.wait_end();
    window.wait_text(|text| text == "At 8:15.");
    program.quit();
}

#[test]
fn refine_puts_the_selection_in_better_words() {
    let desktop = Desktop::start();
    desktop.configure(QUIET);
    let program = desktop.start_program(&[]);
    let window = desktop.text_field("field");
    let written = "she have two apple in the basket";
    desktop.xdotool(&["type", written]);
    window.wait_text(|text| text == written);
    // Nothing is selected: nothing happens, and it is said why.
    desktop.ctl(&["start", "--mode", "refine"]);
    program.wait_error("nothing is selected");
    assert_eq!(window.text(), written);
    desktop.xdotool(&["key", "ctrl+slash"]);
    desktop.ctl(&["start", "--mode", "refine"]);
    let end = program.wait_end();
    assert_eq!(end["end"]["delivered"], "typed", "{end}");
    let text = window.wait_text(|text| words(text).contains(&"apple".into()) || text.contains("apples"));
    assert_eq!(text.matches("apple").count(), 1, "in its place: {text:?}");
    program.quit();
}
