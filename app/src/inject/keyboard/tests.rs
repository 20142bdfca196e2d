//! A terminal on a headless Sway.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use tempfile::TempDir;

use super::*;
use crate::inject::tests::desk::until;
use crate::inject::{Clipboard, Desktop, ExtraKey, open};

/// Sway refuses to run as root; these are the user and group `nobody`.
const NOBODY: u32 = 65534;

/// A compositor with a terminal that records its keys.
struct Compositor {
    folder: TempDir,
    sway: Child,
    socket: PathBuf,
    /// There is always a keyboard, as on a real desk: a window takes a moment to notice the first one.
    _keyboard: Keys,
}

impl Compositor {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let (config, control, socket) = (path.join("config"), path.join("control"), path.join("wayland-1"));
        fs::write(&config, "xwayland disable\n").expect("written");
        let mut sway = Command::new("sway");
        sway.arg("-c").arg(config).env("XDG_RUNTIME_DIR", path).env("HOME", path).env("SWAYSOCK", &control);
        sway.env("WLR_BACKENDS", "headless")
            .env("WLR_LIBINPUT_NO_DEVICES", "1")
            .env("WLR_RENDERER", "pixman");
        sway.env_remove("WAYLAND_DISPLAY").env_remove("DISPLAY");
        sway.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if path.metadata().expect("there").uid() == 0 {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
            sway.uid(NOBODY).gid(NOBODY);
        }
        let sway =
            sway.spawn().expect("sway starts; install the Debian packages sway, foot and wl-clipboard");
        until(|| socket.exists() && control.exists(), || "Sway does not listen".into());
        let keyboard = Keys::open(&socket.display().to_string()).expect("Sway has a virtual keyboard");
        let compositor = Self { folder, sway, socket, _keyboard: keyboard };
        let file = compositor.keys();
        let record = format!("exec foot -e sh -c 'stty raw -echo; exec cat > {}'", file.display());
        until(|| compositor.sway_does(&record), || "Sway starts no program".into());
        until(
            || file.exists() && compositor.sway_does("[app_id=foot] focus"),
            || "no window of foot; is its Debian package installed?".into(),
        );
        compositor
    }

    /// Whether Sway succeeds in carrying out a command.
    fn sway_does(&self, command: &str) -> bool {
        let mut control = Command::new("swaymsg");
        control.arg("-s").arg(self.folder.path().join("control")).args(["--", command]);
        control.output().expect("swaymsg runs; install the Debian package sway").status.success()
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn desktop(&self) -> Desktop {
        let permission = self.folder.path().join("permission");
        Desktop::Wayland { socket: self.socket.display().to_string(), permission }
    }

    fn injector(&self) -> Box<dyn Injector> {
        open(&self.desktop()).expect("Sway has a virtual keyboard")
    }

    /// Waits until the terminal has received exactly this, then makes sure that nothing follows.
    fn expect(&self, content: &str) {
        let found = || fs::read_to_string(self.keys()).unwrap_or_default();
        for _ in 0..2 {
            until(|| found() == content, || format!("{:?} instead of {content:?}", found()));
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    fn clipboard(&self) -> String {
        let mut paste = Command::new("wl-paste");
        let output = paste.arg("--no-newline").env("WAYLAND_DISPLAY", &self.socket).output();
        let output = output.expect("wl-paste runs; install the Debian package wl-clipboard");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        let _ = self.sway.kill();
        let _ = self.sway.wait();
    }
}

fn inject(injector: &mut dyn Injector, text: &str, options: &Options) -> Outcome {
    let target = injector.focus().expect("some window");
    injector.inject(text, &target, options, &AtomicBool::new(false))
}

#[test]
fn types_into_a_terminal_and_undoes() {
    let compositor = Compositor::start();
    let mut injector = compositor.injector();
    let text = "Zoë 漢 ß “quotes” 🙂 A\tb";
    let options = Options { way: Way::Paste, extra_key: ExtraKey::Space, ..Options::default() };
    let outcome = inject(injector.as_mut(), text, &options);
    compositor.expect(&format!("{text} "));
    assert_eq!((outcome.way, outcome.receipt, &outcome.reason), (Some(Way::Type), Receipt::Unknown, &None));
    assert_eq!((outcome.complete, outcome.chars), (true, text.chars().count()));
    assert_eq!(outcome.clipboard, Clipboard::Untouched);

    injector.undo(&outcome, 0).expect("nothing else was typed");
    let backspaces = "\x7f".repeat(text.chars().count() + 1);
    compositor.expect(&format!("{text} {backspaces}"));
    assert_eq!(injector.undo(&outcome, 0), Err(Error::UsedSince));
    assert_eq!(injector.selection(&outcome.target), Err(Error::Unsupported));
}

#[test]
fn twenty_in_a_row() {
    let compositor = Compositor::start();
    let mut injector = compositor.injector();
    let mut expected = String::new();
    for round in 0..20 {
        let text = format!("{round} Größe 漢字 🙂 e\u{301} ");
        assert_eq!(inject(injector.as_mut(), &text, &Options::default()).reason, None);
        expected += &text;
    }
    compositor.expect(&expected);
}

#[test]
fn types_a_long_text_with_more_characters_than_a_keyboard_has_keys() {
    let compositor = Compositor::start();
    let mut injector = compositor.injector();
    let text: String = ('!'..='~').chain('À'..='ɏ').chain('А'..='я').chain('一'..='丿').collect();
    let outcome =
        inject(injector.as_mut(), &text, &Options { extra_key: ExtraKey::Enter, ..Options::default() });
    assert_eq!((outcome.complete, &outcome.reason), (true, &None));
    compositor.expect(&format!("{text}\r"));
    assert_eq!(injector.undo(&outcome, 0), Err(Error::NothingToUndo));
}

#[test]
fn terminals_get_no_newlines_and_a_cancelled_text_stops() {
    let compositor = Compositor::start();
    let mut injector = compositor.injector();
    let terminal = Target { is_terminal: true, ..Target::default() };
    let options = Options { extra_key: ExtraKey::Enter, ..Options::default() };
    let outcome = injector.inject("ls\n\x1brm", &terminal, &options, &AtomicBool::new(false));
    assert!(outcome.complete);
    compositor.expect("ls rm");
    let outcome = injector.inject("more", &terminal, &options, &AtomicBool::new(true));
    assert_eq!(
        (outcome.way, outcome.reason, outcome.clipboard),
        (None, Some(Error::Cancelled), Clipboard::Untouched)
    );
    compositor.expect("ls rm");
}

#[test]
fn a_text_that_cannot_be_typed_is_left_on_the_clipboard() {
    let mut compositor = Compositor::start();
    let mut injector = compositor.injector();
    let large = "Zoë 漢 ß\n".repeat(50_000);
    assert_eq!(injector.copy(&large), Ok(()));
    assert!(compositor.clipboard() == large);
    compositor.sway.kill().expect("it runs");
    compositor.sway.wait().expect("it ends");
    let outcome = inject(injector.as_mut(), "lost", &Options::default());
    assert_eq!((outcome.way, outcome.complete, outcome.reason), (None, false, Some(Error::NoClipboard)));
    assert!(matches!(open(&compositor.desktop()).map(drop), Err(Error::Display(_))));
}

#[test]
fn a_program_that_hangs_is_given_up() {
    let mut program = Command::new("sleep");
    let input = "x".repeat(1 << 20);
    assert!(!run(program.arg("60").stdin(Stdio::piped()), &input));
    assert!(!run(&mut Command::new("no-such-program"), &input));
    assert!(run(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()), &input));
}

#[cfg(feature = "portal")]
mod over_the_portal {
    use super::*;
    use crate::inject::keyboard::portal::Remote;
    use crate::keys::tests::portal::{Desktop, Dialog};

    static NEVER: AtomicBool = AtomicBool::new(false);

    #[test]
    fn keysyms_are_typed_in_order_and_the_permission_is_kept() {
        let desktop = Desktop::start(Dialog::Allow);
        let folder = tempfile::tempdir().unwrap();
        let permission = folder.path().join("data/permission");
        let text = "aß漢🙂\n\t\u{8}";
        let keysyms = [0x61, 0xdf, 0x0100_6f22, 0x0101_f642, 0xff0d, 0xff09, 0xff08];
        for start in 1..=2 {
            let mut remote = Remote::open(Some(desktop.address()), &permission).unwrap();
            assert_eq!(type_with(&mut remote, text, &NEVER), (text.len(), None));
            let typed = std::mem::take(&mut desktop.seen.lock().unwrap().keysyms);
            assert_eq!(typed, keysyms.map(|keysym| [(keysym, true), (keysym, false)]).concat());
            assert_eq!(fs::read_to_string(&permission).unwrap(), format!("permission {start}"));
            assert_eq!(permission.metadata().unwrap().mode() & 0o777, 0o600);
        }
        let seen = desktop.seen.lock().unwrap();
        assert_eq!(seen.offered, [None, Some("permission 1".into())]);
        assert_eq!(seen.application, "org.undertone.Undertone");
    }

    #[test]
    fn a_user_who_declines_is_asked_once() {
        let desktop = Desktop::start(Dialog::Cancel);
        let folder = tempfile::tempdir().unwrap();
        let mut keyboard = Keyboard {
            socket: String::new(),
            bus: Some(desktop.address().into()),
            permission: folder.path().join("permission"),
            remote: None,
            uses: 0,
        };
        for _ in 0..2 {
            assert!(matches!(keyboard.remote().map(drop), Err(Error::Refused(_))));
        }
        assert_eq!(desktop.seen.lock().unwrap().offered, [None]);
        assert!(!keyboard.permission.exists());
    }

    #[test]
    fn a_desktop_that_ends_stops_the_typing() {
        let desktop = Desktop::start(Dialog::Allow);
        let folder = tempfile::tempdir().unwrap();
        let mut remote = Remote::open(Some(desktop.address()), &folder.path().join("permission")).unwrap();
        drop(desktop);
        let (typed, stopped) = type_with(&mut remote, "never", &NEVER);
        assert_eq!(typed, 0);
        assert!(matches!(stopped, Some(Error::Refused(_))), "{stopped:?}");
        let gone = Remote::open(Some("unix:path=/nowhere"), &folder.path().join("permission"));
        assert_eq!(gone.map(drop), Err(Error::Unsupported));
    }
}
