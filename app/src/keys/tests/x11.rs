use super::*;
use crate::keys::x11::X11;
use std::{path::Path, thread::sleep};
use x11rb::protocol::{
    xkb::{ConnectionExt as _, Group},
    xtest::ConnectionExt as _,
};

/// An X server with a keyboard that xdotool types on.
struct Screen(Server);

impl Screen {
    fn start() -> Self {
        let arguments = ["-displayfd", "1", "-noreset", "-screen", "0", "640x480x24"];
        Self(Server::start("Xvfb", &arguments, "xvfb"))
    }

    fn display(&self) -> String {
        format!(":{}", self.0.address)
    }

    fn open(&self, texts: &[&str]) -> Result<Keys, Error> {
        Keys::open(&bindings(texts), &Choice::X11(Some(self.display())))
    }

    fn command(&self, program: &str, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command.args(arguments.split(' ')).env("DISPLAY", self.display()).stderr(Stdio::null());
        command
    }

    /// Runs a program of the package to its end.
    #[track_caller]
    fn run(&self, program: &str, arguments: &str, package: &str) -> String {
        let output = self.command(program, arguments).output();
        let output =
            output.unwrap_or_else(|error| panic!("{program}: {error}; install the package {package}"));
        assert!(output.status.success(), "{program} {arguments}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn xdotool(&self, arguments: &str) {
        self.run("xdotool", arguments, "xdotool");
    }

    #[track_caller]
    fn set_layout(&self, layout: &str) {
        self.run("setxkbmap", layout, "x11-xkb-utils");
    }
}

#[test]
fn twenty_holds_are_twenty_presses_and_releases() {
    let screen = Screen::start();
    let keys = screen.open(&["F9"]).unwrap();
    for _ in 0..20 {
        screen.xdotool("keydown F9");
        assert_heard(&keys, &[(0, true)]);
        screen.xdotool("keyup F9");
        assert_heard(&keys, &[(0, false)]);
    }
    // Without waiting in between.
    screen.xdotool("key --delay 1 --repeat 20 F9");
    assert_heard(&keys, &[(0, true), (0, false)].repeat(20));
    assert_silent(&keys);
}

#[test]
fn auto_repeat_is_one_hold() {
    let screen = Screen::start();
    let hold = |key: &str| screen.xdotool(&format!("keydown {key} sleep 1.5 keyup {key}"));
    // The server does repeat the key, and no release comes with it.
    let bell = Arc::new(Bell::new().unwrap());
    let mut backend = X11::connect(Some(&screen.display())).unwrap();
    backend.bind(&bell, &bindings(&["F9"])).unwrap();
    hold("F9");
    let mut heard = Vec::new();
    while !heard.contains(&Heard::Up { code: 75 }) {
        backend.hear(&bell, LIMIT, &mut heard).unwrap();
    }
    assert!(heard.iter().filter(|heard| matches!(heard, Heard::Down { .. })).count() > 5, "{heard:?}");
    assert_eq!(heard.iter().filter(|heard| matches!(heard, Heard::Up { .. })).count(), 1, "{heard:?}");
    drop(backend);

    let lone = ["F9", "right_ctrl", "pause", "scroll_lock", "ctrl+shift+space"];
    let keys = screen.open(&lone).unwrap();
    for (index, key) in ["F9", "Control_R", "Pause", "Scroll_Lock"].into_iter().enumerate() {
        hold(key);
        assert_heard(&keys, &[(index, true), (index, false)]);
    }
    screen.xdotool("keydown ctrl keydown shift keydown space sleep 1.5 keyup ctrl keyup shift");
    assert_heard(&keys, &[(4, true)]);
    assert_silent(&keys);
    screen.xdotool("keyup space");
    assert_heard(&keys, &[(4, false)]);
    assert_silent(&keys);
}

#[test]
fn locks_do_not_matter() {
    let screen = Screen::start();
    let keys = screen.open(&["F9", "ctrl+F9"]).unwrap();
    for lock in ["Num_Lock", "Caps_Lock", "Num_Lock", "Caps_Lock"] {
        screen.xdotool(&format!("key {lock}"));
        screen.xdotool("key F9 key ctrl+F9");
        assert_heard(&keys, &[(0, true), (0, false), (1, true), (1, false)]);
    }
    screen.xdotool("key shift+F9 key ctrl+shift+F9 key F8");
    assert_silent(&keys);
}

#[test]
fn a_modifier_alone_is_heard_and_remains_one() {
    let screen = Screen::start();
    let keys = screen.open(&["right_ctrl", "ctrl+F9"]).unwrap();
    screen.xdotool("key Control_L");
    assert_silent(&keys);
    screen.xdotool("keydown Control_R");
    assert_heard(&keys, &[(0, true)]);
    screen.xdotool("key F9");
    assert_heard(&keys, &[(1, true), (1, false)]);
    screen.xdotool("keyup Control_R");
    assert_heard(&keys, &[(0, false)]);
    // No more when it is no longer bound.
    keys.rebind(&bindings(&["F9"])).unwrap();
    screen.xdotool("key Control_R key F9");
    assert_heard(&keys, &[(0, true), (0, false)]);
    assert_silent(&keys);
}

#[test]
fn a_key_held_by_another_program_is_refused_by_name() {
    let screen = Screen::start();
    let other = screen.open(&["F9"]).unwrap();
    let error = screen.open(&["F8", "F9"]).unwrap_err();
    assert!(error.to_string().starts_with("another program already holds F9; choose another key"), "{error}");
    // Nothing was taken by the attempt.
    let keys = screen.open(&["F8"]).unwrap();
    assert!(matches!(keys.rebind(&bindings(&["F7", "F9"])), Err(Error::Taken(_))));
    screen.xdotool("key F7 key F8 key F9");
    assert_heard(&keys, &[(0, true), (0, false)]);
    assert_heard(&other, &[(0, true), (0, false)]);
    assert_silent(&keys);
    drop(other);
    keys.rebind(&bindings(&["F9", "F8"])).unwrap();
    screen.xdotool("key F8 key F9");
    assert_heard(&keys, &[(1, true), (1, false), (0, true), (0, false)]);
}

#[test]
fn a_held_key_outlives_new_bindings_beside_it() {
    let screen = Screen::start();
    let keys = screen.open(&["F9"]).unwrap();
    screen.xdotool("keydown F9");
    assert_heard(&keys, &[(0, true)]);
    keys.rebind(&bindings(&["F9", "escape"])).unwrap();
    screen.xdotool("key Escape");
    assert_heard(&keys, &[(1, true), (1, false)]);
    keys.rebind(&bindings(&["F8"])).unwrap();
    assert_heard(&keys, &[(0, false)]);
    screen.xdotool("keyup F9 key F9");
    assert_silent(&keys);
}

#[test]
fn keys_are_found_again_on_another_layout() {
    // Keycode 52 is Z on an American keyboard, 29 on a German one; 40 is D, also where there is only Cyrillic.
    let screen = Screen::start();
    let keys = screen.open(&["super+z", "super+d", "F9"]).unwrap();
    screen.xdotool("key super+52 key super+29");
    assert_heard(&keys, &[(0, true), (0, false)]);
    assert_silent(&keys);
    screen.set_layout("de");
    assert_comes_to_hear(&keys, || screen.xdotool("key super+29"), 0);
    screen.xdotool("key super+52 key F9");
    assert_heard(&keys, &[(2, true), (2, false)]);
    assert_silent(&keys);
    screen.set_layout("ru");
    assert_comes_to_hear(&keys, || screen.xdotool("key super+52"), 0);
    assert_comes_to_hear(&keys, || screen.xdotool("key super+40"), 1);
    screen.set_layout("us,de");
    assert_comes_to_hear(&keys, || screen.xdotool("key super+52"), 0);
    // The user switches to the second of two layouts. (xdotool would switch back for each key.)
    let (connection, _) = x11rb::connect(Some(&screen.display())).unwrap();
    connection.xkb_use_extension(1, 0).unwrap().reply().unwrap();
    let none = Default::default();
    let german = Group::from(1);
    (connection.xkb_latch_lock_state(0x100, none, none, true, german, none, false, 0).unwrap())
        .check()
        .unwrap();
    let super_with = |keycode| {
        for (kind, keycode) in [(2, 133), (2, keycode), (3, keycode), (3, 133)] {
            connection.xtest_fake_input(kind, keycode, 0, x11rb::NONE, 0, 0, 0).unwrap().check().unwrap();
        }
    };
    assert_comes_to_hear(&keys, || super_with(29), 0);
    super_with(52);
    assert_silent(&keys);
}

#[test]
fn a_killed_server_ends_the_hold_and_is_told() {
    let mut screen = Screen::start();
    let keys = screen.open(&["F9"]).unwrap();
    screen.xdotool("keydown F9");
    assert_heard(&keys, &[(0, true)]);
    screen.0.child.kill().unwrap();
    assert_heard(&keys, &[(0, false)]);
    let error = keys.events().recv_timeout(LIMIT).unwrap().unwrap_err();
    assert!(error.to_string().starts_with("lost the X server ("), "{error}");
    assert!(keys.events().recv_timeout(LIMIT).is_err());
    let error = screen.open(&["F9"]).unwrap_err();
    assert!(error.to_string().starts_with("cannot reach an X server ("), "{error}");
}

#[test]
fn the_state_of_a_key_is_known() {
    let screen = Screen::start();
    let mut backend = X11::connect(Some(&screen.display())).unwrap();
    assert!(!backend.is_down(75).unwrap());
    screen.xdotool("keydown F9");
    assert!(backend.is_down(75).unwrap());
    assert!(!backend.is_down(74).unwrap());
    screen.xdotool("keyup F9");
    assert!(!backend.is_down(75).unwrap());
}

#[test]
fn the_focused_window_gets_all_keys_but_ours() {
    let screen = Screen::start();
    let folder = tempfile::tempdir().unwrap();
    let typed = folder.path().join("typed");
    let command = format!("stty -icanon -echo min 1; : > {0}; exec cat > {0}", typed.display());
    let mut terminal = screen.command("xterm", "-e sh -c");
    let mut terminal = terminal.arg(command).spawn().expect("install the package xterm");
    wait_until(|| typed.exists());
    let window = screen.run("xdotool", "search --sync --onlyvisible --class xterm", "xdotool");
    screen.xdotool(&format!("windowfocus --sync {}", window.trim()));
    // F9 is ESC [ 2 0 ~ to a terminal, until it is ours.
    screen.xdotool("key F9");
    wait_until(|| content(&typed) == "\u{1b}[20~");
    let keys = screen.open(&["F9", "ctrl+shift+space", "right_ctrl"]).unwrap();
    screen.xdotool(
        "key a key F9 key b keydown F9 sleep 1 keyup F9 key ctrl+shift+space key c key F8 key Control_R+d",
    );
    wait_until(|| content(&typed).ends_with('\u{4}'));
    assert_eq!(content(&typed), "\u{1b}[20~abc\u{1b}[19~\u{4}");
    let holds = [(0, true), (0, false)];
    assert_heard(&keys, &[holds, holds, [(1, true), (1, false)], [(2, true), (2, false)]].concat());
    drop(keys);
    screen.xdotool("key F9");
    wait_until(|| content(&typed).ends_with("\u{4}\u{1b}[20~"));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
}

fn content(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

#[track_caller]
fn wait_until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "it did not happen");
        sleep(Duration::from_millis(20));
    }
}

/// Presses a key until it is heard, for the thread follows a new layout in its own time.
#[track_caller]
fn assert_comes_to_hear(keys: &Keys, press: impl Fn(), binding: usize) {
    let end = Instant::now() + LIMIT;
    let mut heard = Vec::new();
    while heard.is_empty() {
        assert!(Instant::now() < end, "binding {binding} is not heard");
        press();
        heard.extend(keys.events().recv_timeout(QUIET).map(Result::unwrap));
    }
    assert_eq!((heard[0].binding, heard[0].pressed), (binding, true));
    assert_heard(keys, &[(binding, false)]);
}
