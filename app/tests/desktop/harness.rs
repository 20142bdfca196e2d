//! A desktop of its own: an X server, a window manager, a sound server whose microphone hears what
//! is played to it, windows that record what they receive, and the resident program.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long anything may take to come up or to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// A window that receives nothing for this long has all that was sent.
const SETTLED: Duration = Duration::from_millis(250);

/// A process that ends with its owner.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "a process does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command, package: &str) -> Child {
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().unwrap_or_else(|e| panic!("{program} is needed (Debian package {package}): {e}"))
}

/// Waits until `ready` gives something.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) struct Desktop {
    home: tempfile::TempDir,
    display: String,
    // Dropped in this order: clients before servers.
    reader: RefCell<Option<Running>>,
    _window_manager: Running,
    sound: RefCell<Running>,
    _x_server: Running,
    _alone: MutexGuard<'static, ()>,
}

/// One desktop at a time: sound that is played must not wait for another test's models.
static ALONE: Mutex<()> = Mutex::new(());

/// Held while a desktop is there.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Desktop {
    pub(crate) fn start() -> Desktop {
        let alone = alone();
        let home = tempfile::Builder::new().prefix("undertone-desktop").tempdir().unwrap();
        for dir in ["run", "config", "data", "state"] {
            std::fs::DirBuilder::new().mode(0o700).create(home.path().join(dir)).unwrap();
        }
        std::fs::write(home.path().join(".asoundrc"), "pcm.!default pulse\nctl.!default pulse\n").unwrap();
        let mut server = Command::new("Xvfb");
        server.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"]);
        let mut child = spawn(server.stdout(Stdio::piped()).stderr(Stdio::null()), "xvfb");
        let mut number = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut number).unwrap();
        let display = format!(":{}", number.trim());
        let x_server = Running { child };
        let environment = Environment { home: home.path(), display: &display };
        let window_manager =
            Running { child: spawn(environment.command("openbox").stderr(Stdio::null()), "openbox") };
        let sound = environment.sound_server();
        let desktop = Desktop {
            _alone: alone,
            reader: RefCell::new(None),
            _window_manager: window_manager,
            sound: RefCell::new(sound),
            _x_server: x_server,
            display,
            home,
        };
        desktop.await_sound_server();
        wait_for("the window manager", || {
            desktop.try_run("xdotool", &["getactivewindow"]).or_else(|| {
                let root = desktop.try_run("xprop", &["-root", "_NET_SUPPORTING_WM_CHECK"])?;
                root.contains("window id").then_some(root)
            })
        });
        desktop
    }

    fn await_sound_server(&self) {
        wait_for("the sound server", || self.try_run("pactl", &["set-default-source", "microphone"]));
        // An idle sink takes its time to wake; a reader keeps it awake.
        let mut reader = self.command("parec");
        reader.args(["-d", "room.monitor", "--latency-msec=10"]).stdout(Stdio::null());
        self.reader.replace(Some(Running { child: spawn(&mut reader, "pulseaudio-utils") }));
    }

    /// Kills the sound server and starts another.
    pub(crate) fn restart_sound_server(&self) {
        self.reader.replace(None);
        self.sound.borrow_mut().kill_9();
        self.sound.replace(self.environment().sound_server());
        self.await_sound_server();
    }

    fn environment(&self) -> Environment<'_> {
        Environment { home: self.home.path(), display: &self.display }
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        self.environment().command(program)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn try_run(&self, program: &str, args: &[&str]) -> Option<String> {
        let output = self.command(program).args(args).stderr(Stdio::null()).output();
        let output = output.unwrap_or_else(|e| panic!("{program} is needed: {e}"));
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output();
        let output = output.unwrap_or_else(|e| panic!("{program} is needed: {e}"));
        assert!(
            output.status.success(),
            "{program} {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn xdotool(&self, args: &[&str]) -> String {
        self.run("xdotool", args)
    }

    /// Plays a clip into the room, to its end.
    pub(crate) fn play(&self, clip: &Path) {
        self.run("paplay", &["--device=room", &clip.to_string_lossy()]);
    }

    pub(crate) fn set_clipboard(&self, text: &str) {
        use std::io::Write;
        let mut xclip = self.command("xclip");
        xclip.args(["-selection", "clipboard", "-i"]).stdin(Stdio::piped());
        let mut child = spawn(xclip.stdout(Stdio::null()), "xclip");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    pub(crate) fn clipboard(&self) -> Option<String> {
        self.try_run("xclip", &["-selection", "clipboard", "-o"])
    }

    /// A terminal in which `cat` writes what is typed to a file.
    pub(crate) fn terminal(&self) -> Window<'_> {
        let file = self.path("terminal.txt");
        let _ = std::fs::remove_file(&file);
        let mut xterm = self.command("xterm");
        // Not line by line: what is typed must arrive without an Enter.
        let script = format!("stty raw -echo; exec cat > {}", file.display());
        xterm.args(["-title", "terminal", "-e", "sh", "-c", &script]);
        let child = spawn(xterm.stderr(Stdio::null()), "xterm");
        self.window("terminal", file, child)
    }

    /// A text field that writes what it holds to a file at every change.
    pub(crate) fn text_field(&self, title: &str) -> Window<'_> {
        let file = self.path(&format!("{title}.txt"));
        let _ = std::fs::remove_file(&file);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/desktop/text_field.py");
        let mut python = self.command("/usr/bin/python3");
        python.args([script, title]).arg(&file);
        let child = spawn(&mut python, "python3-tk");
        self.window(title, file, child)
    }

    fn window(&self, title: &str, file: PathBuf, child: Child) -> Window<'_> {
        let id = wait_for(title, || self.try_run("xdotool", &["search", "--name", &format!("^{title}$")]));
        let id = id.lines().last().unwrap().trim().to_string();
        wait_for("its file", || file.exists().then_some(()));
        let window = Window { desktop: self, id, file, _process: Running { child } };
        window.focus();
        window
    }
}

struct Environment<'a> {
    home: &'a Path,
    display: &'a str,
}

impl Environment<'_> {
    fn sound_server(&self) -> Running {
        let mut sound = self.command("pulseaudio");
        sound.args(["--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--log-level=error", "-n"]);
        for module in [
            "module-native-protocol-unix",
            "module-null-sink sink_name=room rate=48000",
            "module-remap-source source_name=microphone master=room.monitor",
        ] {
            sound.args(["-L", module]);
        }
        Running { child: spawn(sound.stderr(Stdio::null()), "pulseaudio") }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let set = |command: &mut Command, name: &str, dir: &str| {
            command.env(name, self.home.join(dir));
        };
        command.env("DISPLAY", self.display).env("HOME", self.home).env("LC_ALL", "C.UTF-8");
        command.env_remove("WAYLAND_DISPLAY").env_remove("PULSE_SERVER").env_remove("XAUTHORITY");
        set(&mut command, "XDG_RUNTIME_DIR", "run");
        set(&mut command, "XDG_CONFIG_HOME", "config");
        set(&mut command, "XDG_DATA_HOME", "data");
        set(&mut command, "XDG_STATE_HOME", "state");
        command.stdin(Stdio::null());
        command
    }
}

/// A window that records what it receives.
pub(crate) struct Window<'a> {
    desktop: &'a Desktop,
    pub(crate) id: String,
    file: PathBuf,
    _process: Running,
}

impl Window<'_> {
    pub(crate) fn focus(&self) {
        self.desktop.xdotool(&["windowactivate", "--sync", &self.id]);
        self.desktop.xdotool(&["windowfocus", "--sync", &self.id]);
    }

    /// All it has received.
    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    /// Waits until it holds a text that `ends` tells.
    pub(crate) fn wait_text(&self, ends: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if ends(&text) {
                return text;
            }
            assert!(Instant::now() < end, "waited in vain; the window holds {text:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has received these words after `before`, and makes sure that no more follow.
    pub(crate) fn expect(&self, before: &str, expected: &[String]) {
        let holds = |text: &str| text.strip_prefix(before).is_some_and(|new| words(new) == expected);
        self.wait_text(holds);
        std::thread::sleep(SETTLED);
        let text = self.text();
        assert!(holds(&text), "{text:?} has more than {expected:?}");
    }

    /// Waits until it has received something after `before` and nothing more follows; all that it holds then.
    pub(crate) fn settled(&self, before: &str) -> String {
        let mut last = self.wait_text(|text| text.len() > before.len());
        loop {
            std::thread::sleep(SETTLED);
            let text = self.text();
            if text == last {
                return text;
            }
            last = text;
        }
    }
}

/// The resident program, started on a desktop.
pub(crate) struct Program<'a> {
    desktop: &'a Desktop,
    running: Running,
    lines: Receiver<String>,
    errors: Arc<Mutex<String>>,
}

impl Desktop {
    /// Writes the settings: these, and models that are never fetched.
    pub(crate) fn configure(&self, settings: &str) {
        let folder = self.path("config/undertone");
        std::fs::create_dir_all(&folder).unwrap();
        let always = "[models]\noffline = true\n[dictation]\nlanguage = \"en\"\n";
        std::fs::write(folder.join("config.toml"), format!("{always}{settings}")).unwrap();
    }

    pub(crate) fn undertone(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_undertone"));
        command.args(args).env("UNDERTONE_MODELS", models());
        command
    }

    /// Starts the program and waits until its models are loaded.
    pub(crate) fn start_program(&self, args: &[&str]) -> Program<'_> {
        let program = self.start_without_waiting(args, None);
        program.wait_line("ready after");
        program
    }

    /// Starts the program, behind a shell's `before` where one is given.
    pub(crate) fn start_without_waiting(&self, args: &[&str], before: Option<&str>) -> Program<'_> {
        let mut command = match before {
            None => self.undertone(&["run", "--verbose"]),
            Some(before) => {
                let mut shell = self.command("sh");
                let script = format!("{before}; exec \"$0\" \"$@\"");
                shell.args(["-c", &script, env!("CARGO_BIN_EXE_undertone"), "run", "--verbose"]);
                shell.env("UNDERTONE_MODELS", models());
                shell
            }
        };
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        let errors = Arc::new(Mutex::new(String::new()));
        let (kept, stderr) = (errors.clone(), BufReader::new(child.stderr.take().unwrap()));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &format!("{line}\n");
            }
        });
        Program { desktop: self, running: Running { child }, lines, errors }
    }

    pub(crate) fn ctl(&self, args: &[&str]) -> String {
        let output = self.undertone(&["ctl"]).args(args).output().unwrap();
        assert!(output.status.success(), "ctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the program records.
    pub(crate) fn wait_recording(&self) {
        wait_for("a recording", || {
            let status = self.ctl(&["status"]);
            (status.contains("\"recording\"") || status.contains("\"hands_free\"")).then_some(())
        });
    }

    /// Presses the key and plays the clip.
    pub(crate) fn press_and_play(&self, key: &str, clip: &Path) {
        self.xdotool(&["keydown", key]);
        self.wait_recording();
        self.play(clip);
    }

    /// Holds the key while the clip is played.
    pub(crate) fn hold_and_play(&self, key: &str, clip: &Path) {
        self.press_and_play(key, clip);
        self.xdotool(&["keyup", key]);
    }

    /// What `undertone` prints with these arguments.
    pub(crate) fn print(&self, args: &[&str]) -> String {
        let output = self.undertone(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

pub(crate) fn models() -> String {
    std::env::var("UNDERTONE_TEST_MODELS").expect("UNDERTONE_TEST_MODELS is set by scripts/test")
}

impl Program<'_> {
    /// Waits for a line of stdout with `part` in it.
    pub(crate) fn wait_line(&self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with {part:?} ({error}); stderr: {}", self.errors()),
            }
        }
    }

    /// The line that tells how the next dictation ended.
    pub(crate) fn wait_end(&self) -> serde_json::Value {
        serde_json::from_str(&self.wait_line("\"end\":")).unwrap()
    }

    /// All that was said on stderr.
    pub(crate) fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// Waits until stderr holds `part`.
    pub(crate) fn wait_error(&self, part: &str) {
        wait_for(part, || self.errors().contains(part).then_some(()));
    }

    pub(crate) fn kill_9(mut self) {
        self.running.kill_9();
    }

    /// Ends it as a user would; it must end well.
    pub(crate) fn quit(mut self) {
        self.desktop.ctl(&["quit"]);
        assert!(self.running.wait().success(), "{}", self.errors());
    }
}

/// The text in lower case without what is not a letter or digit.
pub(crate) fn words(text: &str) -> Vec<String> {
    let between = |c: char| !c.is_alphanumeric();
    text.to_lowercase().split(between).filter(|word| !word.is_empty()).map(Into::into).collect()
}
