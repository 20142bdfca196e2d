//! Typing blindly, through the system's own virtual keyboard: on Wayland, macOS and Windows.
//!
//! These systems tell neither which window has the keyboard, nor whether it has read the keys, nor what else
//! was pressed. So the target is an unknown window ([`Target::default`]; whether it is a terminal is for the
//! caller to say) and [`Options::same_window`] cannot be checked; modifiers are not waited for; a paste is
//! typed; the receipt is [`Receipt::Unknown`]; there is no selection; and [`Injector::undo`] trusts that the
//! cursor has not moved.
//!
//! Wayland: verified on Sway, which like all compositors built on wlroots offers `zwp_virtual_keyboard_v1`. Others
//! (GNOME, Plasma) are asked for a keyboard over their portal, which is not verified there. What cannot be
//! typed goes to the clipboard, if `wl-copy` can put it there. macOS and Windows: not verified, but known to
//! compile.

#[cfg(all(target_os = "linux", feature = "portal"))]
mod portal;
#[cfg(not(target_os = "linux"))]
#[path = "enigo.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "wayland.rs"]
mod system;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use unicode_segmentation::UnicodeSegmentation;

use self::system::Keys;
use super::{Error, Injector, Options, Outcome, Receipt, Result, Target, Undo, Way};

/// Clusters typed between two rests.
const CHUNK: usize = 16;
/// Rest after each chunk, for the window to keep up.
const CHUNK_REST: Duration = Duration::from_millis(4);
/// Longest wait for the program that owns Wayland's clipboard.
const COPY_LIMIT: Duration = Duration::from_secs(2);
/// How often it is looked at.
const COPY_POLL: Duration = Duration::from_millis(5);

/// The character that the BackSpace key types.
const BACK_SPACE: &str = "\u{8}";

/// Something that types.
trait Typist: Send {
    /// Types `text`, newlines as Enter, and waits until the system has it.
    fn send(&mut self, text: &str) -> Result<()>;
}

/// The system's virtual keyboard.
pub(super) struct Keyboard {
    /// Path of Wayland's socket; empty elsewhere.
    socket: String,
    /// Address of the portal's bus; the session's where there is none.
    bus: Option<String>,
    /// Where the portal's permission is kept.
    permission: PathBuf,
    /// The portal's keyboard, or why there is none; nothing before it was asked.
    remote: Option<Result<Box<dyn Typist>>>,
    /// Injections and undos so far: only the last injection can be undone, and only once.
    uses: u64,
}

impl Keyboard {
    /// Checks that the system answers; `socket` is the path of Wayland's. Where it lets nobody type, the portal
    /// is asked, which may take as long as the user needs to answer; and texts can still be copied.
    pub(super) fn connect(socket: &str, permission: &Path) -> Result<Self> {
        let opened = Keys::open(socket);
        let mut keyboard =
            Self { socket: socket.into(), bus: None, permission: permission.into(), remote: None, uses: 0 };
        match opened {
            Ok(_) => {}
            Err(Error::Unsupported) => drop(keyboard.remote()),
            Err(error) => return Err(error),
        }
        Ok(keyboard)
    }

    /// The portal's keyboard. A user who declines is not asked again.
    fn remote(&mut self) -> Result<&mut dyn Typist> {
        let remote = self.remote.get_or_insert_with(|| open_remote(self.bus.as_deref(), &self.permission));
        remote.as_mut().map(|typist| &mut **typist as &mut dyn Typist).map_err(|error| error.clone())
    }

    /// Types `text` until `cancel` is set: the bytes that were typed, and why not all.
    fn type_text(&mut self, text: &str, cancel: &AtomicBool) -> (usize, Option<Error>) {
        // Opened anew each time, so that a compositor that was started anew is found.
        match Keys::open(&self.socket) {
            Ok(mut keys) => return type_with(&mut keys, text, cancel),
            Err(Error::Unsupported) => {}
            Err(error) => return (0, Some(error)),
        }
        let (typed, stopped) = match self.remote() {
            Ok(remote) => type_with(remote, text, cancel),
            Err(error) => return (0, Some(error)),
        };
        if stopped.as_ref().is_some_and(|reason| *reason != Error::Cancelled) {
            // The desktop may have ended the session: the next text opens another.
            self.remote = None;
        }
        (typed, stopped)
    }
}

/// Whether the compositor at `socket` lets programs type.
///
/// # Errors
/// If it does not answer.
#[cfg(target_os = "linux")]
pub(super) fn is_offered(socket: &str) -> Result<bool> {
    match Keys::open(socket) {
        Ok(_) => Ok(true),
        Err(Error::Unsupported) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(all(target_os = "linux", feature = "portal"))]
fn open_remote(bus: Option<&str>, permission: &Path) -> Result<Box<dyn Typist>> {
    Ok(Box::new(portal::Remote::open(bus, permission)?))
}

#[cfg(not(all(target_os = "linux", feature = "portal")))]
fn open_remote(_bus: Option<&str>, _permission: &Path) -> Result<Box<dyn Typist>> {
    Err(Error::Unsupported)
}

/// Types `text` in chunks until `cancel` is set: the bytes that were typed, and why not all.
fn type_with(keys: &mut dyn Typist, text: &str, cancel: &AtomicBool) -> (usize, Option<Error>) {
    let mut typed = 0;
    while typed < text.len() {
        if cancel.load(Ordering::Relaxed) {
            return (typed, Some(Error::Cancelled));
        }
        let rest = &text[typed..];
        let end = rest.grapheme_indices(true).nth(CHUNK).map_or(rest.len(), |(end, _)| end);
        if let Err(error) = keys.send(&rest[..end]) {
            return (typed, Some(error));
        }
        typed += end;
        std::thread::sleep(CHUNK_REST);
    }
    (typed, None)
}

impl Injector for Keyboard {
    fn focus(&mut self) -> Result<Target> {
        Ok(Target::default())
    }

    fn inject(&mut self, text: &str, target: &Target, options: &Options, cancel: &AtomicBool) -> Outcome {
        let (text, extra) = options.allowed(text, target);
        let mut outcome = Outcome::unsent(target);
        let whole = format!("{text}{extra}");
        let (bytes, stopped) = self.type_text(&whole, cancel);
        let (typed, rest) = text.split_at(bytes.min(text.len()));
        if bytes > 0 {
            outcome.way = Some(Way::Type);
            outcome.receipt = Receipt::Unknown;
        }
        outcome.chars = typed.chars().count();
        outcome.complete = stopped.is_none();
        outcome.undo = Some(Undo::of(typed));
        outcome.add_extra(&whole[typed.len()..bytes]);
        if stopped.as_ref().is_some_and(|reason| *reason != Error::Cancelled) {
            outcome.leave(rest, |rest| self.copy(rest));
        }
        outcome.reason = outcome.reason.or(stopped);
        self.uses += 1;
        outcome.undo = outcome.undo.map(|undo| Undo { presses: self.uses, ..undo });
        outcome
    }

    fn undo(&mut self, outcome: &Outcome, _own_presses: u64) -> Result<()> {
        let undo = outcome.undo.as_ref().filter(|undo| undo.graphemes > 0).ok_or(Error::NothingToUndo)?;
        if undo.presses != self.uses {
            return Err(Error::UsedSince);
        }
        self.uses += 1;
        let (_, stopped) = self.type_text(&BACK_SPACE.repeat(undo.graphemes), &AtomicBool::new(false));
        stopped.map_or(Ok(()), Err)
    }

    fn selection(&mut self, _target: &Target) -> Result<Option<String>> {
        Err(Error::Unsupported)
    }

    /// By the program `wl-copy`, which stays to own the clipboard.
    fn copy(&mut self, text: &str) -> Result<()> {
        let mut program = Command::new("wl-copy");
        program.args(["--type", "text/plain"]);
        program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        program.env("WAYLAND_DISPLAY", &self.socket);
        if run(&mut program, text) { Ok(()) } else { Err(Error::NoClipboard) }
    }
}

/// Runs a program with `input`; whether it succeeded within the limit.
fn run(program: &mut Command, input: &str) -> bool {
    let Ok(mut child) = program.spawn() else { return false };
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // Ends at the latest when the program is killed.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        let deadline = Instant::now() + COPY_LIMIT;
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(None) => std::thread::sleep(COPY_POLL),
                Ok(Some(status)) => return status.success(),
                Err(_) => break,
            }
        }
        // It may have ended just now: nothing to kill then.
        let _ = child.kill();
        let _ = child.wait();
        false
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
