//! The words that name punctuation, by language, and the company in which they are only words.

mod english;
mod french;
mod german;
mod spanish;

/// What a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Ends a sentence; stands behind the word before.
    End(&'static str),
    /// A pause; stands behind the word before.
    Pause(&'static str),
    /// Stands behind the word before and is neither.
    Suffix(&'static str),
    /// Stands before the next word.
    Prefix(&'static str),
    /// Opens what another closes.
    Open(&'static str),
    /// Closes what another opened.
    Close(&'static str),
    /// Joins its neighbours.
    Join(&'static str),
    /// Stands between its neighbours.
    Between(&'static str),
    /// A new line.
    Break(&'static str),
}

/// Words that name a mark.
pub(super) struct Command {
    /// Lower case, one space between words.
    pub(super) said: &'static str,
    pub(super) mark: Mark,
    /// Right behind one of these it is a word.
    pub(super) before: &'static [&'static str],
    /// Right before one of these it is a word.
    pub(super) after: &'static [&'static str],
    /// It is a word unless it begins a phrase.
    pub(super) apart: bool,
}

/// The commands of one language.
pub(super) struct Commands {
    /// Longer ones before those that begin them.
    pub(super) all: &'static [Command],
    /// Articles and the like: behind these every command is a word.
    pub(super) determiners: &'static [&'static str],
    /// Right before these every command is a word.
    pub(super) after: &'static [&'static str],
    /// Behind a command's words at the start of a sentence these make them its subject.
    pub(super) verbs: &'static [&'static str],
    /// "literal comma": the word is meant, whatever stands around.
    pub(super) literal: &'static [&'static str],
    /// "three comma five" is a number.
    pub(super) decimal: &'static [&'static str],
    /// A space before "?" and within quotes.
    pub(super) spaced: bool,
}

/// The commands for a language code ("en", "en-US"), if the language has any.
pub(super) fn commands(lang: &str) -> Option<&'static Commands> {
    match lang.split(['-', '_']).next().unwrap_or("").to_ascii_lowercase().as_str() {
        "en" | "english" => Some(&english::ENGLISH),
        "de" | "german" => Some(&german::GERMAN),
        "fr" | "french" => Some(&french::FRENCH),
        "es" | "spanish" => Some(&spanish::SPANISH),
        _ => None,
    }
}

const fn sure(said: &'static str, mark: Mark) -> Command {
    Command { said, mark, before: &[], after: &[], apart: false }
}

const fn unless(
    said: &'static str,
    mark: Mark,
    before: &'static [&'static str],
    after: &'static [&'static str],
) -> Command {
    Command { said, mark, before, after, apart: false }
}

const fn apart(said: &'static str, mark: Mark, after: &'static [&'static str]) -> Command {
    Command { said, mark, before: &[], after, apart: true }
}

const BULLET: &str = "\n• ";
