//! macOS and Windows, by the `enigo` crate.

use ::enigo::{Direction::Click, Enigo, InputError, Key, Keyboard as _, Settings};
use unicode_segmentation::UnicodeSegmentation;

use super::{BACK_SPACE, Error, Result, Typist};

/// A connection to the system's input.
pub(super) struct Keys(Enigo);

impl Keys {
    /// Connects; there is no socket.
    pub(super) fn open(_socket: &str) -> Result<Self> {
        Enigo::new(&Settings::default()).map(Self).map_err(|_| Error::Unsupported)
    }
}

impl Typist for Keys {
    fn send(&mut self, text: &str) -> Result<()> {
        for grapheme in text.graphemes(true) {
            match grapheme {
                "\n" => self.0.key(Key::Return, Click),
                "\t" => self.0.key(Key::Tab, Click),
                BACK_SPACE => self.0.key(Key::Backspace, Click),
                _ => self.0.text(grapheme),
            }?;
        }
        Ok(())
    }
}

impl From<InputError> for Error {
    fn from(_: InputError) -> Self {
        Self::Unsupported
    }
}
