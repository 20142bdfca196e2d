//! A display with a window manager, a clipboard and windows that record what they receive.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::inject::{Desktop, Injector, Target, open};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two X servers that look for a free display at the same time may find the same one.
static STARTING: Mutex<()> = Mutex::new(());

/// An X server of its own.
pub(super) struct Desk {
    pub(super) display: String,
    pub(super) folder: TempDir,
    children: Vec<Child>,
}

impl Desk {
    /// Starts the display with a keyboard layout.
    pub(super) fn start(layout: &str) -> Self {
        let mut server = command("Xvfb");
        server.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"]);
        let mut number = String::new();
        let starting = STARTING.lock();
        let mut server = spawn(server.stdout(Stdio::piped()), "xvfb");
        let stdout = server.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut number).expect("Xvfb tells its display");
        drop(starting);
        let display = format!(":{}", number.trim());
        let folder = tempfile::tempdir().expect("a folder");
        let mut desk = Self { display, folder, children: vec![server] };
        desk.tool("setxkbmap", "x11-xkb-utils", &[layout]);
        // Windows that come while openbox starts are never shown, so wait for the end of that. In a UTF-8
        // locale it would read its compose file anew at every change of the layout.
        let started = desk.folder.path().join("started");
        let mut manager = desk.on_display("openbox");
        manager.env("LC_ALL", "C").arg("--startup").arg(format!("touch {}", started.display()));
        desk.children.push(spawn(&mut manager, "openbox"));
        until(|| started.exists(), || "openbox does not manage the display".into());
        desk
    }

    pub(super) fn injector(&self) -> Box<dyn Injector> {
        open(&Desktop::X11(self.display.clone())).expect("the display answers")
    }

    fn on_display(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("DISPLAY", &self.display).env("LC_ALL", "C.UTF-8").env_remove("WAYLAND_DISPLAY");
        command
    }

    /// Runs a program to its end and returns what it prints; empty when it fails.
    pub(super) fn tool(&self, program: &str, package: &str, args: &[&str]) -> Vec<u8> {
        let output = self.on_display(program).args(args).stdout(Stdio::piped()).output();
        output
            .unwrap_or_else(|error| panic!("{program}: {error}; install the Debian package {package}"))
            .stdout
    }

    pub(super) fn xdotool(&self, args: &[&str]) {
        self.tool("xdotool", "xdotool", args);
    }

    /// Puts content on the clipboard as another program does.
    pub(super) fn set_clipboard(&self, target: &str, content: &[u8]) {
        let mut xclip = self.on_display("xclip");
        xclip.args(["-selection", "clipboard", "-i", "-t", target]).stdin(Stdio::piped());
        let mut xclip = spawn(&mut xclip, "xclip");
        xclip.stdin.take().expect("piped").write_all(content).expect("xclip reads");
        xclip.wait().expect("xclip goes to the background");
        until(|| self.clipboard(target) == content, || "xclip does not own the clipboard".into());
    }

    pub(super) fn clipboard(&self, target: &str) -> Vec<u8> {
        self.tool("xclip", "xclip", &["-selection", "clipboard", "-o", "-t", target])
    }

    /// The clipboard's content in all its formats.
    pub(super) fn formats(&self) -> BTreeMap<String, Vec<u8>> {
        let targets = String::from_utf8(self.clipboard("TARGETS")).expect("UTF-8");
        let formats = targets.lines().filter(|target| !["TARGETS", "MULTIPLE", "TIMESTAMP"].contains(target));
        formats.map(|format| (format.to_owned(), self.clipboard(format))).collect()
    }

    pub(super) fn clipboard_text(&self) -> String {
        String::from_utf8(self.clipboard("UTF8_STRING")).expect("UTF-8")
    }

    /// A shell script that runs until the desk ends.
    pub(super) fn background(&mut self, script: &str) {
        let mut shell = self.on_display("sh");
        shell.args(["-c", script]);
        self.children.push(spawn(&mut shell, "dash"));
    }

    /// A text field (Tk) with the focus; it may ignore Ctrl+V.
    pub(super) fn field(&mut self, name: &str, pastes: bool) -> Recorder {
        let file = self.folder.path().join(name);
        let script = self.folder.path().join("recorder.py");
        fs::write(&script, include_str!("recorder.py")).expect("written");
        let mut python = self.on_display("/usr/bin/python3");
        python.arg(script).arg(&file).arg(name).arg(if pastes { "yes" } else { "no" });
        self.children.push(spawn(&mut python, "python3-tk"));
        self.wait_for_window(file, &capitalised(name))
    }

    /// A terminal with the focus whose keys go to a file: as they are, or line by line where `lines`.
    pub(super) fn terminal(&mut self, name: &str, lines: bool) -> Recorder {
        let file = self.folder.path().join(name);
        let mode = if lines { "-echo" } else { "raw -echo" };
        let mut xterm = self.on_display("xterm");
        let paste = "*VT100.translations: #override Ctrl Shift <Key>V: insert-selection(CLIPBOARD)";
        let run = format!("stty {mode}; cat > {}", file.display());
        xterm.args(["-class", "XTerm", "-title", name, "-xrm", paste, "-e", "sh", "-c", &run]);
        self.children.push(spawn(&mut xterm, "xterm"));
        self.wait_for_window(file, "XTerm")
    }

    /// An entry of GTK's, which prints its content to a file when Enter is pressed.
    pub(super) fn entry(&mut self, name: &str) -> Recorder {
        let file = self.folder.path().join(name);
        let mut zenity = self.on_display("zenity");
        zenity.args(["--entry", "--text", name]);
        zenity.stdout(fs::File::create(&file).expect("created"));
        self.children.push(spawn(&mut zenity, "zenity"));
        self.wait_for_window(file, "Zenity")
    }

    /// Ends the windows and the display.
    pub(super) fn end(&mut self) {
        for mut child in self.children.drain(..).rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until the new window has the focus and its recording has begun.
    fn wait_for_window(&self, file: PathBuf, class: &str) -> Recorder {
        let mut injector = self.injector();
        let windows = || self.tool("xdotool", "xdotool", &["search", "--onlyvisible", "--class", class]);
        until(
            || !windows().is_empty() && file.exists(),
            || {
                let (shown, recorded) = (!windows().is_empty(), file.exists());
                format!(
                    "class {class}: window {shown}, recording {recorded}; is its Debian package installed?"
                )
            },
        );
        let mut target = injector.focus();
        until(
            || {
                if target.as_ref().is_ok_and(|target| target.class == class) {
                    return true;
                }
                self.xdotool(&["search", "--onlyvisible", "--class", class, "windowfocus"]);
                std::thread::sleep(Duration::from_millis(200));
                target = injector.focus();
                false
            },
            || format!("no focus for the window of class {class}"),
        );
        let target = target.expect("the window has the focus");
        // The window has the focus, but its program may not have read its keyboard yet.
        std::thread::sleep(Duration::from_millis(300));
        Recorder { file, target }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.end();
    }
}

/// A window and the file of what it has received.
pub(super) struct Recorder {
    file: PathBuf,
    pub(super) target: Target,
}

impl Recorder {
    pub(super) fn content(&self) -> String {
        fs::read_to_string(&self.file).expect("the recording is UTF-8")
    }

    /// Waits for exactly this content, then makes sure that nothing follows.
    pub(super) fn expect(&self, content: &str) {
        until(
            || self.content().len() >= content.len(),
            || format!("{:?} instead of {content:?}", self.content()),
        );
        self.expect_still(content);
    }

    /// Checks that the content stays as it is.
    pub(super) fn expect_still(&self, content: &str) {
        std::thread::sleep(Duration::from_millis(150));
        until(|| self.content() == content, || format!("{:?} instead of {content:?}", self.content()));
    }
}

/// Polls until `done`; fails with what `why` says.
pub(in crate::inject) fn until(mut done: impl FnMut() -> bool, why: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{}", why());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn spawn(command: &mut Command, package: &str) -> Child {
    let program = command.get_program().to_owned();
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?}: {error}; install the Debian package {package}"))
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
}
