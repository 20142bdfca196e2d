//! Getting text into the focused window, never blind: the window is remembered by [`Injector::focus`],
//! checked again while the keys are sent, and an [`Outcome`] says what became of the text.
//!
//! That much only X11 allows. Elsewhere text is typed into whatever window has the keyboard (see `keyboard`).

// What only X11 can do or tell.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

mod keyboard;
mod text;
#[cfg(target_os = "linux")]
mod x11;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A window that text is meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Identity of the window: its X11 id; 0 where the desktop does not tell.
    pub window: u64,
    /// First half of X11's `WM_CLASS`: the name that the program was started under.
    pub instance: String,
    /// Second half of `WM_CLASS`: the kind of program, such as `Firefox`.
    pub class: String,
    /// Title bar text.
    pub title: String,
    /// Process, where the window or the display names it.
    pub pid: Option<u32>,
    /// Whether the class is that of a known terminal.
    pub is_terminal: bool,
}

/// How text gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Key by key.
    Type,
    /// Over the clipboard, whose content is put back.
    Paste,
}

/// Whether the window has taken the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// It fetched the pasted text, or answered a ping sent after the last key.
    Seen,
    /// It did neither within the time limit.
    NotSeen,
    /// It cannot be asked.
    Unknown,
}

/// What happened to the clipboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clipboard {
    /// Not touched.
    Untouched,
    /// It holds what it held before, in all formats.
    Restored,
    /// It holds what it held before, less formats that were too large, too slow or refused.
    PartlyRestored,
    /// It was taken by another program meanwhile, and left to it.
    Taken,
    /// It holds the text: what did not get in, or all of it where nothing is to be restored.
    HoldsText,
}

/// A key pressed after the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ExtraKey {
    /// No key.
    #[default]
    None,
    /// A space.
    Space,
    /// Enter, except in terminals that may have no newlines.
    Enter,
    /// Tab, except likewise.
    Tab,
}

impl ExtraKey {
    /// The character that the key types; empty for no key.
    fn as_text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Space => " ",
            Self::Enter => "\n",
            Self::Tab => "\t",
        }
    }
}

/// The keys that paste in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasteKeys {
    /// Ctrl+V.
    CtrlV,
    /// Ctrl+Shift+V, as in terminals.
    CtrlShiftV,
}

/// How to inject one text.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The way to try; a paste that cannot be prepared falls back to typing.
    pub way: Way,
    /// Key pressed after the text.
    pub extra_key: ExtraKey,
    /// Lets newlines and tabs into terminals, where they run and complete commands.
    pub newlines_in_terminals: bool,
    /// Refuses every window but the target.
    pub same_window: bool,
    /// Puts the clipboard's content back after a paste; otherwise the pasted text stays there.
    pub restore_clipboard: bool,
    /// Leaves a pasted text on the clipboard when no receipt was seen, instead of restoring it.
    pub keep_without_receipt: bool,
    /// The paste keys, where not those usual for the window.
    pub paste_keys: Option<PasteKeys>,
    /// Longest wait for held modifiers.
    pub modifier_wait: Duration,
    /// Longest wait for a receipt.
    pub receipt_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            way: Way::Type,
            extra_key: ExtraKey::None,
            newlines_in_terminals: false,
            same_window: true,
            restore_clipboard: true,
            keep_without_receipt: true,
            paste_keys: None,
            modifier_wait: Duration::from_secs(3),
            receipt_wait: Duration::from_millis(1500),
        }
    }
}

impl Options {
    /// `text` and the extra key as `target` may have them.
    fn allowed(&self, text: &str, target: &Target) -> (String, &'static str) {
        let one_line = target.is_terminal && !self.newlines_in_terminals;
        let extra = if one_line && self.extra_key != ExtraKey::Space { "" } else { self.extra_key.as_text() };
        (text::printable(text, one_line), extra)
    }
}

/// What became of a text.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The way that was used; `None` when nothing was sent.
    pub way: Option<Way>,
    /// Whether the window has taken it.
    pub receipt: Receipt,
    /// Characters (Unicode scalar values) sent, without the extra key.
    pub chars: usize,
    /// Whether all of the text was sent, and the extra key with it.
    pub complete: bool,
    /// The window that it went to.
    pub target: Target,
    /// What happened to the clipboard.
    pub clipboard: Clipboard,
    /// Why it stopped, or what is not certain.
    pub reason: Option<Error>,
    undo: Option<Undo>,
}

/// What it takes to remove a text again.
#[derive(Clone, Debug)]
struct Undo {
    /// BackSpaces needed.
    graphemes: usize,
    /// Count of key and button presses right after the injection: those of the whole desktop on X11, else
    /// our own.
    presses: u64,
}

impl Undo {
    fn of(text: &str) -> Self {
        Self { graphemes: text::graphemes(text), presses: 0 }
    }
}

impl Outcome {
    /// Whether the text, or the rest of it, is on the clipboard.
    pub(crate) fn left_on_clipboard(&self) -> bool {
        self.clipboard == Clipboard::HoldsText
    }

    /// Puts the part of the text that did not get in on the clipboard.
    fn leave(&mut self, rest: &str, copy: impl FnOnce(&str) -> Result<()>) {
        if rest.is_empty() {
            return;
        }
        match copy(rest) {
            Ok(()) => self.clipboard = Clipboard::HoldsText,
            Err(error) => self.reason = Some(error),
        }
    }

    /// Counts the extra key in. After Enter or Tab the text may be sent or left: BackSpace would remove
    /// something else.
    fn add_extra(&mut self, extra: &str) {
        self.undo = self.undo.take().filter(|_| !matches!(extra, "\n" | "\t"));
        if let Some(undo) = &mut self.undo {
            undo.graphemes += text::graphemes(extra);
        }
    }

    fn unsent(target: &Target) -> Self {
        Self {
            way: None,
            receipt: Receipt::NotSeen,
            chars: 0,
            complete: false,
            target: target.clone(),
            clipboard: Clipboard::Untouched,
            reason: None,
            undo: None,
        }
    }
}

/// Why text was not, not wholly or not certainly injected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The desktop cannot be reached or failed.
    #[error("the display does not answer ({0}); check that a desktop session is running")]
    Display(String),
    /// The display lacks something that injection needs.
    #[error("the display has no {0}; enable it in the X server's configuration")]
    Missing(&'static str),
    /// This system has no way to type.
    #[error("typing is not possible on this desktop; paste the text from the clipboard")]
    Unsupported,
    /// The desktop's portal does not, or no longer, let us type.
    #[cfg(all(target_os = "linux", feature = "portal"))]
    #[error(
        "the desktop does not let undertone type ({0}); paste the text from the clipboard, and start undertone again \
         to be asked again"
    )]
    Refused(String),
    /// No window has the keyboard.
    #[error("no window has the keyboard; click into one and try again")]
    NoFocus,
    /// Another window has the keyboard now.
    #[error("the keyboard went from {expected} to {found}; go back there and paste")]
    FocusChanged {
        /// Class of the remembered window.
        expected: String,
        /// Class of the one that has the keyboard.
        found: String,
    },
    /// Shift, Ctrl, Alt, Super or another key stayed down.
    #[error("a key was still held after {waited_ms} ms; release it and paste")]
    KeyHeld {
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// The caller gave up.
    #[error("injection was cancelled")]
    Cancelled,
    /// A character has no key and no spare key is left for it.
    #[error("the keyboard layout has no spare key for some characters; set inject to paste")]
    NoSpareKeys,
    /// The paste keys were sent, but the window did not fetch the text.
    #[error("the window did not fetch the text; paste it by hand if it is missing")]
    NoReceipt,
    /// Another program took the clipboard before the window had fetched the text.
    #[error("another program took the clipboard during the paste; check that the text arrived")]
    ClipboardTaken,
    /// The clipboard could not be taken.
    #[error("the clipboard is not available; find the text in the history")]
    NoClipboard,
    /// Nothing was injected, or it ended in a key that cannot be undone.
    #[error("there is nothing to undo")]
    NothingToUndo,
    /// Keys or buttons were pressed since.
    #[error("keys or mouse buttons were pressed since; undo in the program itself")]
    UsedSince,
}

/// Result of this module.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A desktop that text can be put into.
pub(crate) trait Injector: Send {
    /// The window that has the keyboard now.
    fn focus(&mut self) -> Result<Target>;

    /// Puts `text` into the focused window, if that is `target`. When it cannot, the text (or the part
    /// that was not typed) is left on the clipboard, except after a cancellation.
    fn inject(&mut self, text: &str, target: &Target, options: &Options, cancel: &AtomicBool) -> Outcome;

    /// Removes what `outcome` tells of: one BackSpace for each grapheme cluster. Refused in another window
    /// and when more than `own_presses` keys (those of the undo command itself) were pressed since.
    fn undo(&mut self, outcome: &Outcome, own_presses: u64) -> Result<()>;

    /// The text selected in `target`, or `None` when nothing is.
    fn selection(&mut self, target: &Target) -> Result<Option<String>>;

    /// Leaves `text` on the clipboard.
    fn copy(&mut self, text: &str) -> Result<()>;
}

/// The desktop to inject into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Desktop {
    /// An X server, by its display name.
    X11(String),
    /// A Wayland compositor.
    Wayland {
        /// Path of its socket.
        socket: String,
        /// File that keeps the permission to type, where the desktop asks for one.
        permission: PathBuf,
    },
    /// The desktop of macOS or Windows.
    Native,
}

/// What types on a desktop, and with it what is known of a text that was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// X11's XTEST; windows tell what they have taken.
    X11,
    /// Wayland's `zwp_virtual_keyboard_v1`; no window tells anything.
    VirtualKeyboard,
    /// The portal RemoteDesktop, once the user has allowed it; no window tells anything.
    Portal,
    /// The system's own; no window tells anything.
    Native,
}

/// What would type on `desktop`. The user is asked nothing.
///
/// # Errors
/// As [`open`].
pub(crate) fn method(desktop: &Desktop) -> Result<Method> {
    match desktop {
        #[cfg(target_os = "linux")]
        Desktop::X11(display) => x11::X11::connect(display).map(|_| Method::X11),
        #[cfg(target_os = "linux")]
        Desktop::Wayland { socket, .. } => Ok(match keyboard::is_offered(socket)? {
            true => Method::VirtualKeyboard,
            false => Method::Portal,
        }),
        Desktop::Native if cfg!(not(target_os = "linux")) => Ok(Method::Native),
        _ => Err(Error::Unsupported),
    }
}

/// Connects to `desktop`; [`Error::Unsupported`] where it is not one of this system's.
pub(crate) fn open(desktop: &Desktop) -> Result<Box<dyn Injector>> {
    match desktop {
        #[cfg(target_os = "linux")]
        Desktop::X11(display) => Ok(Box::new(x11::X11::connect(display)?)),
        #[cfg(target_os = "linux")]
        Desktop::Wayland { socket, permission } => {
            Ok(Box::new(keyboard::Keyboard::connect(socket, permission)?))
        }
        #[cfg(not(target_os = "linux"))]
        Desktop::Native => Ok(Box::new(keyboard::Keyboard::connect("", std::path::Path::new(""))?)),
        _ => Err(Error::Unsupported),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
