//! Real windows on a real X server.

pub(super) mod desk;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::desk::{Desk, Recorder, until};
use super::*;

const HELLO: &str = "Hello, world.";
const UNICODE: &str = "Größe é ß 漢字 🙂 “quotes” — dash";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n not really, but \0 bytes \xff all the same";

/// Characters of many kinds, more of them than there are spare keys.
fn long() -> String {
    let words = "The quick brown fox (größer als 1.234 €) said: “Pack my box!” — 漢字 🙂 ß\\@#{}[]|~^`´ ÄÖÜ œuvre ŁÓDŹ \
                 Привет мир Ελληνικά かな 한글 ½ × ÷ ≠ → ♥ ";
    words.chars().cycle().take(2000).collect()
}

fn pasting() -> Options {
    Options { way: Way::Paste, paste_keys: None, ..Options::default() }
}

fn inject(injector: &mut dyn Injector, text: &str, target: &Target, options: &Options) -> Outcome {
    injector.inject(text, target, options, &AtomicBool::new(false))
}

/// Types and pastes in a text field and a terminal under one layout.
fn fills_windows(layout: &str) {
    let mut desk = Desk::start(layout);
    let mut injector = desk.injector();
    let terminal = desk.terminal("terminal", false);
    fills_window(&desk, injector.as_mut(), &terminal, Some(PasteKeys::CtrlShiftV));
    let field = desk.field("field", true);
    fills_window(&desk, injector.as_mut(), &field, None);
}

fn fills_window(desk: &Desk, injector: &mut dyn Injector, window: &Recorder, keys: Option<PasteKeys>) {
    let mut expected = String::new();
    desk.set_clipboard("UTF8_STRING", "what was there — before".as_bytes());
    let long = long();
    for (way, text) in [
        (Way::Type, HELLO),
        (Way::Paste, HELLO),
        (Way::Type, UNICODE),
        (Way::Paste, UNICODE),
        (Way::Type, &long),
        (Way::Paste, &long),
    ] {
        let options = Options { way, paste_keys: keys, ..Options::default() };
        let begin = Instant::now();
        let outcome = inject(injector, text, &window.target, &options);
        println!(
            "{way:?} {} characters in {:?}: {:?}, {:?}",
            outcome.chars,
            begin.elapsed(),
            outcome.receipt,
            outcome.reason
        );
        expected += text;
        window.expect(&expected);
        assert_eq!(outcome.way, Some(way));
        assert_eq!(outcome.reason, None);
        assert!(outcome.complete);
        assert_eq!(outcome.chars, text.chars().count());
        if way == Way::Paste {
            assert_eq!((outcome.receipt, outcome.clipboard), (Receipt::Seen, Clipboard::Restored));
        } else {
            assert_ne!(outcome.receipt, Receipt::NotSeen);
            assert_eq!(outcome.clipboard, Clipboard::Untouched);
        }
        assert_eq!(desk.clipboard_text(), "what was there — before");
    }
}

#[test]
fn us_layout() {
    fills_windows("us");
}

#[test]
fn german_layout() {
    fills_windows("de");
}

#[test]
fn french_layout() {
    fills_windows("fr");
}

#[test]
fn twenty_in_a_row_each_way() {
    let mut desk = Desk::start("de");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.set_clipboard("UTF8_STRING", b"before");
    let mut expected = String::new();
    for round in 0..20 {
        for way in [Way::Type, Way::Paste] {
            let text = format!("{round} {UNICODE}\n");
            let options = Options { way, ..Options::default() };
            let outcome = inject(injector.as_mut(), &text, &field.target, &options);
            assert_eq!((outcome.complete, outcome.reason), (true, None), "round {round}, {way:?}");
            expected += &text;
        }
    }
    field.expect(&expected);
    assert_eq!(desk.clipboard_text(), "before");
}

#[test]
fn gtk_answers_for_what_was_typed() {
    for way in [Way::Type, Way::Paste] {
        let mut desk = Desk::start("de");
        let mut injector = desk.injector();
        let entry = desk.entry("entry");
        let many = format!("{UNICODE} {}", long());
        let options = Options { way, extra_key: ExtraKey::Enter, ..Options::default() };
        let outcome = inject(injector.as_mut(), &many, &entry.target, &options);
        assert_eq!((outcome.receipt, outcome.reason), (Receipt::Seen, None));
        entry.expect(&(many + "\n"));
    }
}

#[test]
fn clipboard_keeps_pictures_and_large_content() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    let large: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let mut expected = String::new();
    for picture in [PNG, &large] {
        desk.set_clipboard("image/png", picture);
        let outcome = inject(injector.as_mut(), HELLO, &field.target, &pasting());
        assert_eq!((outcome.receipt, outcome.clipboard), (Receipt::Seen, Clipboard::Restored));
        expected += HELLO;
        field.expect(&expected);
        assert!(desk.clipboard("image/png") == picture, "a picture of {} bytes is back", picture.len());
    }
    let text = long().repeat(100);
    let outcome = inject(injector.as_mut(), &text, &field.target, &pasting());
    assert_eq!((outcome.receipt, outcome.clipboard), (Receipt::Seen, Clipboard::Restored));
    field.expect(&(expected + &text));
    assert!(desk.clipboard("image/png") == large);
}

#[test]
fn clipboard_is_the_same_in_all_formats() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.xdotool(&["key", "F6"]);
    until(|| desk.formats().len() > 3, || "the field does not own the clipboard".into());
    let before = desk.formats();
    assert_eq!(before.get("text/html").map(Vec::as_slice), Some(&b"<b>bold</b>"[..]));
    assert_eq!(before.get("UTF8_STRING").map(Vec::as_slice), Some("fett — 漢".as_bytes()));
    for round in 1..=2 {
        let outcome = inject(injector.as_mut(), HELLO, &field.target, &pasting());
        assert_eq!((outcome.receipt, outcome.clipboard), (Receipt::Seen, Clipboard::Restored));
        field.expect(&HELLO.repeat(round));
        assert_eq!(desk.formats(), before);
    }
}

#[test]
fn copied_text_stays_until_another_is_copied() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    for text in [UNICODE, HELLO] {
        assert_eq!(injector.copy(text), Ok(()));
        assert_eq!(desk.clipboard_text(), text);
    }
    assert_eq!(desk.clipboard("text/plain;charset=utf-8"), HELLO.as_bytes());
    desk.set_clipboard("UTF8_STRING", b"another");
    assert_eq!(desk.clipboard_text(), "another");
    desk.end();
    assert_eq!(injector.copy(HELLO), Err(Error::NoClipboard));
}

#[test]
fn pasted_text_stays_on_the_clipboard_where_nothing_is_to_be_restored() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.set_clipboard("UTF8_STRING", b"before");
    let options = Options { restore_clipboard: false, ..pasting() };
    let outcome = inject(injector.as_mut(), UNICODE, &field.target, &options);
    assert_eq!((outcome.receipt, outcome.complete), (Receipt::Seen, true));
    assert_eq!(outcome.clipboard, Clipboard::HoldsText);
    field.expect(UNICODE);
    assert_eq!(desk.clipboard_text(), UNICODE);
}

#[test]
fn empty_clipboard_is_empty_again() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    let outcome = inject(injector.as_mut(), HELLO, &field.target, &pasting());
    field.expect(HELLO);
    assert_eq!(outcome.clipboard, Clipboard::Restored);
    assert_eq!(desk.clipboard_text(), "");
}

#[test]
fn a_key_that_somebody_has_grabbed_is_waited_for() {
    use crate::keys::{Binding, Choice, Keys};
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    let binding = Binding { chord: "f9".parse().unwrap(), name: "dictate".into() };
    let _keys = Keys::open(&[binding], &Choice::X11(Some(desk.display.clone()))).unwrap();
    for options in [Options::default(), pasting()] {
        let before = field.content();
        desk.xdotool(&["keydown", "F9"]);
        std::thread::scope(|scope| {
            let typing = scope.spawn(|| inject(injector.as_mut(), HELLO, &field.target, &options));
            // Longer than modifiers are waited for.
            std::thread::sleep(Duration::from_millis(3500));
            assert!(!typing.is_finished());
            desk.xdotool(&["keyup", "F9"]);
            assert!(typing.join().unwrap().complete);
        });
        field.expect(&format!("{before}{HELLO}"));
    }
}

#[test]
fn held_modifier_delays_and_then_refuses() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.xdotool(&["keydown", "shift"]);
    let options = Options { modifier_wait: Duration::from_millis(100), ..Options::default() };
    let outcome = inject(injector.as_mut(), "hello", &field.target, &options);
    assert_eq!(outcome.reason, Some(Error::KeyHeld { waited_ms: 100 }));
    assert_eq!((outcome.way, outcome.left_on_clipboard()), (None, true));
    assert_eq!(desk.clipboard_text(), "hello");
    field.expect_still("");
    std::thread::scope(|scope| {
        let typing = scope.spawn(|| {
            let options = Options { modifier_wait: Duration::from_secs(20), ..Options::default() };
            inject(injector.as_mut(), "hello", &field.target, &options)
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!typing.is_finished());
        field.expect_still("");
        desk.xdotool(&["keyup", "shift"]);
        assert!(typing.join().expect("no panic").complete);
    });
    field.expect("hello");
}

#[test]
fn caps_lock_changes_nothing() {
    let mut desk = Desk::start("de");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.xdotool(&["key", "Caps_Lock"]);
    assert!(inject(injector.as_mut(), UNICODE, &field.target, &Options::default()).complete);
    field.expect(UNICODE);
    desk.xdotool(&["type", "a"]);
    field.expect(&format!("{UNICODE}A"));
}

#[test]
fn other_window_is_refused() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let meant = desk.field("meant", true);
    let other = desk.field("other", true);
    for way in [Way::Type, Way::Paste] {
        let text = format!("secret {way:?}");
        let outcome = inject(injector.as_mut(), &text, &meant.target, &Options { way, ..Options::default() });
        let changed = Error::FocusChanged { expected: "Meant".into(), found: "Other".into() };
        assert_eq!(outcome.reason, Some(changed));
        assert_eq!((outcome.way, outcome.chars), (None, 0));
        assert_eq!(desk.clipboard_text(), text);
    }
    meant.expect_still("");
    other.expect_still("");
    let anywhere = Options { same_window: false, ..Options::default() };
    assert!(inject(injector.as_mut(), HELLO, &meant.target, &anywhere).complete);
    other.expect(HELLO);
}

#[test]
fn focus_change_stops_typing_at_once() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let other = desk.field("other", true);
    let meant = desk.field("meant", true);
    let text = long().repeat(10);
    let outcome = std::thread::scope(|scope| {
        let typing = scope.spawn(|| inject(injector.as_mut(), &text, &meant.target, &Options::default()));
        until(|| meant.content().len() > 100, || "nothing is typed".into());
        desk.xdotool(&["windowfocus", &other.target.window.to_string()]);
        typing.join().expect("no panic")
    });
    let changed = Error::FocusChanged { expected: "Meant".into(), found: "Other".into() };
    assert_eq!(outcome.reason, Some(changed));
    assert!(!outcome.complete && outcome.left_on_clipboard());
    let typed: String = text.chars().take(outcome.chars).collect();
    meant.expect(&typed);
    other.expect_still("");
    assert_eq!(typed + &desk.clipboard_text(), text);
}

#[test]
fn cancelling_stops_typing_and_leaves_the_clipboard() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.set_clipboard("UTF8_STRING", b"before");
    let (text, cancel) = (HELLO.repeat(2000), AtomicBool::new(false));
    let outcome = std::thread::scope(|scope| {
        let typing = scope.spawn(|| injector.inject(&text, &field.target, &Options::default(), &cancel));
        until(|| field.content().len() > 100, || "nothing is typed".into());
        cancel.store(true, Ordering::Relaxed);
        typing.join().expect("no panic")
    });
    assert_eq!(outcome.reason, Some(Error::Cancelled));
    assert!(outcome.chars < text.len());
    field.expect(&text[..outcome.chars]);
    assert_eq!(desk.clipboard_text(), "before");
    injector.undo(&outcome, 0).expect("what was typed can be removed");
    field.expect_still("");
}

#[test]
fn clipboard_managers_are_no_receipt() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let deaf = desk.field("deaf", false);
    desk.set_clipboard("UTF8_STRING", b"before");
    desk.background("while :; do xclip -selection clipboard -o; sleep 0.01; done");
    let options = Options { receipt_wait: Duration::from_millis(700), ..pasting() };
    let outcome = inject(injector.as_mut(), HELLO, &deaf.target, &options);
    assert_eq!((outcome.receipt, &outcome.reason), (Receipt::NotSeen, &Some(Error::NoReceipt)));
    assert!(outcome.left_on_clipboard() && !outcome.complete);
    assert_eq!(desk.clipboard_text(), HELLO);
    deaf.expect_still("");

    desk.set_clipboard("UTF8_STRING", b"before");
    let options = Options { keep_without_receipt: false, ..options };
    let outcome = inject(injector.as_mut(), HELLO, &deaf.target, &options);
    assert_eq!((outcome.receipt, outcome.clipboard), (Receipt::NotSeen, Clipboard::Restored));
    assert_eq!(desk.clipboard_text(), "before");
}

#[test]
fn clipboard_manager_that_takes_over_does_not_lose_the_old_content() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.set_clipboard("UTF8_STRING", b"before");
    desk.background(
        "old=before; while :; do new=$(xclip -selection clipboard -o); if [ \"$new\" != \"$old\" ]; then \
         printf %s \"$new\" | xclip -selection clipboard -i; old=$new; fi; sleep 0.01; done",
    );
    for round in 1..=5 {
        let outcome = inject(injector.as_mut(), HELLO, &field.target, &pasting());
        field.expect(&HELLO.repeat(round));
        match outcome.receipt {
            Receipt::Seen => until(|| desk.clipboard_text() == "before", || "the old content is lost".into()),
            _ => assert_eq!(outcome.reason, Some(Error::ClipboardTaken)),
        }
        desk.set_clipboard("UTF8_STRING", b"before");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn undo_removes_exactly_what_was_injected() {
    let mut desk = Desk::start("fr");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.xdotool(&["type", "kept "]);
    field.expect("kept ");
    for way in [Way::Type, Way::Paste] {
        let options = Options { way, extra_key: ExtraKey::Space, ..Options::default() };
        let outcome = inject(injector.as_mut(), UNICODE, &field.target, &options);
        field.expect(&format!("kept {UNICODE} "));
        injector.undo(&outcome, 0).expect("nothing was typed since");
        field.expect_still("kept ");
    }
    let outcome = inject(injector.as_mut(), HELLO, &field.target, &Options::default());
    desk.xdotool(&["key", "Home"]);
    assert_eq!(injector.undo(&outcome, 0), Err(Error::UsedSince));
    injector.undo(&outcome, 1).expect("the key was that of the command");
    assert_eq!(injector.undo(&outcome, 1), Err(Error::UsedSince), "undone already");
}

#[test]
fn undo_is_refused_in_another_window() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    let outcome = inject(injector.as_mut(), HELLO, &field.target, &Options::default());
    let other = desk.field("other", true);
    let changed = Error::FocusChanged { expected: "Field".into(), found: "Other".into() };
    assert_eq!(injector.undo(&outcome, 0), Err(changed));
    field.expect_still(HELLO);
    other.expect_still("");
}

#[test]
fn undo_empties_a_terminal_line() {
    let mut desk = Desk::start("de");
    let mut injector = desk.injector();
    let terminal = desk.terminal("terminal", true);
    let outcome = inject(injector.as_mut(), "Größe “漢字” 🙂\nrm -rf", &terminal.target, &Options::default());
    injector.undo(&outcome, 0).expect("nothing was typed since");
    desk.xdotool(&["key", "Return"]);
    terminal.expect("\n");
}

#[test]
fn terminals_get_no_control_characters() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let terminal = desk.terminal("terminal", false);
    assert!(terminal.target.is_terminal);
    let text = "ls\r\n\trm\u{1b}[A\u{3} x";
    let mut expected = String::new();
    for way in [Way::Type, Way::Paste] {
        let paste_keys = Some(PasteKeys::CtrlShiftV);
        let options = Options { way, paste_keys, ..Options::default() };
        assert!(inject(injector.as_mut(), text, &terminal.target, &options).complete);
        expected += "ls rm[A x";
        terminal.expect(&expected);
    }
    let allowed = Options { newlines_in_terminals: true, extra_key: ExtraKey::Enter, ..Options::default() };
    let outcome = inject(injector.as_mut(), "ls\n", &terminal.target, &allowed);
    terminal.expect(&(expected + "ls\r\r"));
    assert_eq!(injector.undo(&outcome, 0), Err(Error::NothingToUndo));
    let xterm_has_no_paste_key = inject(injector.as_mut(), HELLO, &terminal.target, &pasting());
    assert_eq!(xterm_has_no_paste_key.way, Some(Way::Type));
}

#[test]
fn the_caller_says_what_is_a_terminal() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let terminal = desk.terminal("terminal", false);
    // As of a terminal whose class is not known, and which has the usual keys.
    let kitty = Target { instance: "kitty".into(), class: "kitty".into(), ..terminal.target.clone() };
    let options = Options { extra_key: ExtraKey::Enter, ..pasting() };
    let outcome = inject(injector.as_mut(), "ls\n-l", &kitty, &options);
    assert_eq!((outcome.way, outcome.receipt, outcome.complete), (Some(Way::Paste), Receipt::Seen, true));
    terminal.expect("ls -l");
    let no_terminal = Target { is_terminal: false, ..terminal.target.clone() };
    assert!(inject(injector.as_mut(), "\n", &no_terminal, &Options::default()).complete);
    terminal.expect("ls -l\r");

    let field = desk.field("field", true);
    let unknown_terminal = Target { is_terminal: true, ..field.target.clone() };
    assert!(inject(injector.as_mut(), "a\nb", &unknown_terminal, &Options::default()).complete);
    field.expect("a b");
    assert_eq!(injector.selection(&unknown_terminal), Ok(None));
}

#[test]
fn extra_keys_follow_the_text() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    let mut expected = String::new();
    for (extra_key, character) in [(ExtraKey::Space, " "), (ExtraKey::Enter, "\n"), (ExtraKey::Tab, "\t")] {
        for way in [Way::Type, Way::Paste] {
            let options = Options { way, extra_key, ..Options::default() };
            assert!(inject(injector.as_mut(), HELLO, &field.target, &options).complete);
            expected = expected + HELLO + character;
            field.expect(&expected);
        }
    }
}

#[test]
fn selection_is_primary_else_copied() {
    let mut desk = Desk::start("us");
    let mut injector = desk.injector();
    let field = desk.field("field", true);
    desk.set_clipboard("image/png", PNG);
    assert_eq!(injector.selection(&field.target), Ok(None));
    assert!(inject(injector.as_mut(), UNICODE, &field.target, &Options::default()).complete);
    desk.xdotool(&["key", "F5"]);
    until(|| injector.selection(&field.target) == Ok(Some("Größe".into())), || "not PRIMARY".into());
    // Somebody else's PRIMARY selection must not be taken for this window's.
    desk.background("printf other | xclip -selection primary -i -quiet");
    std::thread::sleep(Duration::from_millis(300));
    desk.xdotool(&["key", "F5"]);
    assert_eq!(injector.selection(&field.target), Ok(Some("Größe".into())));
    assert!(desk.clipboard("image/png") == PNG);
}
