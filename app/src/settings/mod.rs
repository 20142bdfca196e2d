//! The one file of settings, `undertone/config.toml` in the user's configuration folder: typed,
//! documented and checked from one schema, edited with its comments kept, reloaded while running.

mod check;
pub(crate) mod cli;
mod edit;
mod file;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod print;
mod schema;
mod sections;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use check::Checks;
pub(crate) use file::ConfigFile;
pub(crate) use schema::Format;
pub(crate) use sections::*;
pub(crate) use watch::{Update, Watcher};

use schema::section;
use std::collections::BTreeMap;

section! {
    /// Everything that can be set. What the file leaves out has its default.
    Settings {
        /// The models, and the memory they may take.
        models: Models = Models::default(), restart;
        /// The microphone and the recording.
        audio: Audio = Audio::default();
        /// How keys are read.
        keyboard: Keyboard = Keyboard::default();
        /// The keys that start a dictation; repeat the block for more.
        keys: Vec<Key> = vec![Key::default()];
        /// What becomes of the words.
        dictation: Dictation = Dictation::default();
        /// Words written as others: "k eight s" = "k8s".
        replacements: BTreeMap<String, String> = BTreeMap::new();
        /// Texts written for a spoken phrase: "my address" = "1 Main Street".
        snippets: BTreeMap<String, String> = BTreeMap::new() => schema::Rule::Filled;
        /// Modes of your own, and changes to built-in ones, in [modes.NAME]. A mode with a policy replaces
        /// the built-in one of its name.
        modes: BTreeMap<String, Mode> = BTreeMap::new();
        /// How text gets into windows.
        inject: Inject = Inject::default();
        /// Settings for single applications. The first block that matches the window holds.
        profiles: Vec<Profile> = Vec::new();
        /// What you see and hear.
        show: Show = Show::default();
        /// What is remembered. All of it stays on this machine.
        history: History = History::default();
        /// Where the modes with delivery = "note" write.
        notes: Notes = Notes::default();
        /// The log.
        log: Log = Log::default();
    }
}

impl Settings {
    /// The modes of the file that have keys of the engine, as TOML for the engine's own parser.
    pub(crate) fn engine_modes(&self) -> toml::Table {
        let modes = self.modes.iter().map(|(name, mode)| (name.clone(), engine_mode(to_table(mode))));
        modes.filter(|(_, mode)| !mode.is_empty()).map(|(name, mode)| (name, mode.into())).collect()
    }

    /// The first profile that matches a window.
    pub(crate) fn profile(&self, class: &str, title: &str) -> Option<&Profile> {
        let fits = |pattern: &Option<String>, text| pattern.as_deref().is_none_or(|p| glob(p, text));
        self.profiles.iter().find(|profile| fits(&profile.class, class) && fits(&profile.title, title))
    }
}

/// Whether a window's class is like one of `patterns`.
pub(crate) fn is_any_of(patterns: &[String], class: &str) -> bool {
    patterns.iter().any(|pattern| glob(pattern, class))
}

/// A mode without what the engine does not know.
fn engine_mode(mut mode: toml::Table) -> toml::Table {
    mode.retain(|key, _| key != "delivery" && key != "selection");
    mode
}

/// A section as TOML, without what is not set.
fn to_table(section: &impl serde::Serialize) -> toml::Table {
    // A section holds strings, small numbers, and lists and maps of them: this cannot fail.
    toml::Table::try_from(section).unwrap_or_default()
}

/// Whether `text` is like `pattern`, in which `*` is any characters and `?` is any one.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.to_lowercase().chars().collect(), text.to_lowercase().chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and the text it has taken up to.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(&c), _) if c == '?' || c == text[t] => (p, t) = (p + 1, t + 1),
            (_, Some((at, taken))) => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}
