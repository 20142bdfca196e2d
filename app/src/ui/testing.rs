//! A desktop for tests: an X server, a session bus, a sound server, each of the test's own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process in which the body of [`in_own_process`] runs.
const INSIDE: &str = "UNDERTONE_TEST_INSIDE";

/// A program that is killed when the test ends.
pub(super) struct Running(Child);

impl Running {
    /// Starts `program`, or fails naming the Debian package that has it.
    pub(super) fn start(program: &mut Command, package: &str) -> Self {
        let name = program.get_program().to_owned();
        match program.spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("{name:?} does not start ({error}); install the Debian package {package}"),
        }
    }

    /// The next line it prints.
    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().expect("started with a pipe");
        BufReader::new(output).read_line(&mut line).expect("the program prints text");
        line.trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An X server of 1280 by 720 pixels without a window manager, and its display's name.
pub(super) fn x_server() -> (Running, String) {
    let mut xvfb = Command::new("Xvfb");
    xvfb.args(["-displayfd", "1", "-screen", "0", "1280x720x24", "-nolisten", "tcp"]);
    let mut server = Running::start(xvfb.stdout(Stdio::piped()).stderr(Stdio::null()), "xvfb");
    let number = server.line();
    (server, format!(":{number}"))
}

/// Runs `body` in a process of its own, started by `wrapper` (a command line that takes a command)
/// with `environment`: libraries find buses and devices by variables, which tests must not share.
pub(super) fn in_own_process(
    test: &str,
    wrapper: &[&str],
    environment: &[(&str, &Path)],
    body: impl FnOnce(),
) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let this = std::env::current_exe().expect("the test's own program");
    let (_, test) = test.split_once("::").expect("a path that starts with the crate");
    let mut command = match wrapper {
        [] => Command::new(&this),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&this);
            command
        }
    };
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").envs(environment.iter().copied());
    let output = command.output().unwrap_or_else(|error| {
        panic!("{wrapper:?} does not start ({error}); install the Debian package dbus-daemon")
    });
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// [`in_own_process`] with a D-Bus session bus.
pub(super) fn on_own_bus(test: &str, body: impl FnOnce()) {
    in_own_process(test, &["dbus-run-session", "--"], &[], body);
}

/// Waits until `look` finds something.
pub(super) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "{what}: not within 20 seconds");
        std::thread::sleep(Duration::from_millis(15));
    }
}
