//! X11: keys through XTEST, the clipboard as a selection owner, both on `x11rb`.
//!
//! Keys are sent under a server grab in which focus and modifiers are checked first, so no key can reach
//! another window than the one checked.

mod clipboard;
mod keyboard;
mod keymap;
mod paste;
mod transfer;
mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use x11rb::connection::{Connection, RequestConnection};
use x11rb::protocol::{res, xinput, xkb, xtest};
use x11rb::rust_connection::{ConnectError, ConnectionError, ReplyError, ReplyOrIdError, RustConnection};

use self::keyboard::Guard;
use super::{
    Clipboard as ClipboardState, Error, Injector, Options, Outcome, Receipt, Result, Target, Undo, Way,
};

x11rb::atom_manager! {
    /// Names that injection uses.
    pub(crate) Atoms: AtomsCookie {
        ATOM, ATOM_PAIR, CLIPBOARD, DELETE, INCR, INSERT_PROPERTY, INSERT_SELECTION, MULTIPLE, SAVE_TARGETS,
        STRING, TARGETS, TEXT, TIMESTAMP, UTF8_STRING, WM_PROTOCOLS, WM_STATE,
        _NET_WM_NAME, _NET_WM_PID, _NET_WM_PING,
        TEXT_PLAIN: b"text/plain",
        TEXT_PLAIN_UTF8: b"text/plain;charset=utf-8",
        PASSWORD_HINT: b"x-kde-passwordManagerHint",
        UNDERTONE_TRANSFER, UNDERTONE_TIME,
    }
}

/// An X display with the clipboard's owner beside it.
pub(crate) struct X11 {
    conn: RustConnection,
    atoms: Atoms,
    root: u32,
    clipboard: clipboard::Clipboard,
}

impl X11 {
    /// Connects to the display `name`, such as `:0`.
    pub(crate) fn connect(name: &str) -> Result<Self> {
        let (conn, screen) = RustConnection::connect(Some(name))?;
        let root = conn.setup().roots.get(screen).ok_or(Error::Missing("screen"))?.root;
        for (extension, missing) in [
            (xkb::X11_EXTENSION_NAME, "XKEYBOARD extension"),
            (xtest::X11_EXTENSION_NAME, "XTEST extension"),
            (xinput::X11_EXTENSION_NAME, "XInputExtension"),
            (res::X11_EXTENSION_NAME, "X-Resource extension"),
        ] {
            conn.extension_information(extension)?.ok_or(Error::Missing(missing))?;
        }
        xkb::use_extension(&conn, 1, 0)?.reply()?;
        let atoms = Atoms::new(&conn)?.reply()?;
        Ok(Self { clipboard: clipboard::Clipboard::start(name)?, conn, atoms, root })
    }

    /// Sends the extra key after a complete text.
    fn press_extra(&self, extra: &str, guard: &Guard, outcome: &mut Outcome) {
        let typed = self.type_text(extra, guard);
        if typed.stopped.is_some() {
            outcome.complete = false;
            outcome.reason = typed.stopped;
        }
        outcome.add_extra(&extra[..typed.bytes]);
    }

    fn type_into(&self, text: &str, guard: &Guard, outcome: &mut Outcome) {
        outcome.way = Some(Way::Type);
        let typed = self.type_text(text, guard);
        outcome.chars = typed.chars;
        outcome.complete = typed.stopped.is_none();
        outcome.receipt = typed.receipt;
        outcome.undo = Some(Undo::of(&text[..typed.bytes]));
        if let Some(stopped) = typed.stopped {
            self.stop(stopped, &text[typed.bytes..], outcome);
        }
    }

    /// Notes why the text stopped; what is left of it goes to the clipboard, unless nobody wants it any more.
    fn stop(&self, reason: Error, rest: &str, outcome: &mut Outcome) {
        let rest = if reason == Error::Cancelled { "" } else { rest };
        outcome.reason = Some(reason);
        outcome.leave(rest, |rest| self.clipboard.own_text(rest));
    }
}

impl Injector for X11 {
    fn focus(&mut self) -> Result<Target> {
        self.describe(self.focused()?)
    }

    fn inject(&mut self, text: &str, target: &Target, options: &Options, cancel: &AtomicBool) -> Outcome {
        let (text, extra) = options.allowed(text, target);
        let mut outcome = Outcome::unsent(target);
        let guard = match self.guard(target, options, true, cancel) {
            Ok(guard) => guard,
            Err(reason) => {
                self.stop(reason, &text, &mut outcome);
                return outcome;
            }
        };
        let keys = options.paste_keys.or_else(|| window::paste_keys(target));
        match (options.way, keys) {
            (Way::Paste, Some(keys)) => self.paste_into(&text, keys, &guard, options, &mut outcome),
            _ => self.type_into(&text, &guard, &mut outcome),
        }
        if outcome.complete {
            self.press_extra(extra, &guard, &mut outcome);
        }
        let presses = self.clipboard.presses();
        outcome.undo = outcome.undo.map(|undo| Undo { presses, ..undo });
        outcome
    }

    fn undo(&mut self, outcome: &Outcome, own_presses: u64) -> Result<()> {
        let undo = outcome.undo.as_ref().filter(|undo| undo.graphemes > 0).ok_or(Error::NothingToUndo)?;
        if self.clipboard.presses().saturating_sub(undo.presses) > own_presses {
            return Err(Error::UsedSince);
        }
        let never = AtomicBool::new(false);
        let guard = self.guard(&outcome.target, &Options::default(), true, &never)?;
        self.press_back_space(undo.graphemes, &guard)
    }

    fn selection(&mut self, target: &Target) -> Result<Option<String>> {
        let never = AtomicBool::new(false);
        // The key that asks for it may still be down.
        let guard = self.guard(target, &Options::default(), false, &never)?;
        self.selected_text(target, &guard)
    }

    fn copy(&mut self, text: &str) -> Result<()> {
        self.clipboard.own_text(text)
    }
}

/// Polls `done` until it returns something or `limit` has passed.
fn until<T>(limit: Duration, mut done: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        let value = done()?;
        if value.is_some() || Instant::now() >= deadline {
            return Ok(value);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_set(cancel: &AtomicBool) -> bool {
    cancel.load(Ordering::Relaxed)
}

macro_rules! display_errors {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Error {
            fn from(error: $kind) -> Self {
                Self::Display(error.to_string())
            }
        }
    )*};
}
display_errors!(ConnectError, ConnectionError, ReplyError, ReplyOrIdError);
