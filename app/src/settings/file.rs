//! The file on disk: read whole, replaced in one step, readable by its owner only.

use super::Settings;
use super::check::{Checks, Problem, check};
use super::edit::{self, EditError};
use super::print::template;
use crate::store::disk::write_private;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Settings are a few kilobytes; nothing larger is read.
const MAX_BYTES: u64 = 1 << 20;

/// Why the settings could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the settings in {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the settings to {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the settings cannot be used; correct these lines:{}", listed(path, problems))]
    Broken { path: PathBuf, problems: Vec<Problem> },
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("cannot run the editor '{editor}': {source}; set EDITOR to one that is here")]
    Editor { editor: String, source: io::Error },
    #[error("the editor ended with {0}; nothing was changed")]
    EditorFailed(std::process::ExitStatus),
    #[error(
        "nothing was changed; your edit is kept, correct these lines with `undertone config edit`:{}",
        listed(draft, problems)
    )]
    NotTaken { draft: PathBuf, problems: Vec<Problem> },
}

fn listed(path: &Path, problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {}:{problem}", path.display())).collect()
}

/// The file of settings.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    /// The file at its place in the user's configuration folder (`$XDG_CONFIG_HOME`).
    pub(crate) fn in_folder(config_home: &Path) -> ConfigFile {
        ConfigFile { path: config_home.join("undertone").join("config.toml") }
    }

    /// The file at any place.
    pub(crate) fn at(path: impl Into<PathBuf>) -> ConfigFile {
        ConfigFile { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its text; of a file that is not there, none.
    ///
    /// # Errors
    /// If it cannot be read, is not UTF-8 or is larger than 1 MiB.
    pub(crate) fn read(&self) -> Result<String, SettingsError> {
        let failed = |source| SettingsError::Read { path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            file => file.map_err(failed)?,
        };
        let mut text = String::new();
        let read_bytes = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        if read_bytes as u64 > MAX_BYTES {
            return Err(failed(io::Error::other("it is larger than 1 MiB")));
        }
        Ok(text)
    }

    /// The settings; those of a file that is not there are the defaults.
    ///
    /// # Errors
    /// As [`ConfigFile::read`], and all that [`check`] finds.
    pub(crate) fn load(&self, checks: &Checks) -> Result<Settings, SettingsError> {
        self.settings_of(&self.read()?, checks)
    }

    pub(super) fn settings_of(&self, text: &str, checks: &Checks) -> Result<Settings, SettingsError> {
        check(text, checks).map_err(|problems| SettingsError::Broken { path: self.path.clone(), problems })
    }

    /// Sets keys, all or none; comments and order stay.
    ///
    /// # Errors
    /// If a key or value is refused (see [`edit::set`]), or the file cannot be read or written.
    pub(crate) fn set(&self, values: &[(&str, &str)], checks: &Checks) -> Result<Settings, SettingsError> {
        let mut text = self.read()?;
        for (key, value) in values {
            text = edit::set(&text, key, value, checks)?;
        }
        let settings = self.settings_of(&text, checks)?;
        self.replace(&text)?;
        Ok(settings)
    }

    /// Replaces the file in one step: a reader sees the old text or the new one, and so does a crash.
    ///
    /// # Errors
    /// If the folder cannot be made or the file not written.
    pub(crate) fn replace(&self, text: &str) -> Result<(), SettingsError> {
        self.try_replace(text).map_err(|source| SettingsError::Write { path: self.path.clone(), source })
    }

    fn try_replace(&self, text: &str) -> io::Result<()> {
        // Dotfiles are often links: what they point to is replaced, not they.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        write_private(&path, text.as_bytes())
    }

    /// Lets the user edit a copy in `editor` (a command with its arguments, parted by spaces), and takes
    /// it over when it is sound. A copy that is not stays for the next time. Whether anything changed.
    ///
    /// # Errors
    /// If the editor cannot be run or fails, or the edited file has problems.
    pub(crate) fn edit(&self, editor: &str, checks: &Checks) -> Result<bool, SettingsError> {
        let old = self.read()?;
        let draft = ConfigFile::at(self.path.with_extension("edit.toml"));
        if !draft.path.exists() {
            draft.replace(if old.is_empty() { template() } else { old.clone() }.as_str())?;
        }
        let mut words = editor.split_whitespace();
        let status = Command::new(words.next().unwrap_or_default()).args(words).arg(&draft.path).status();
        let status = status.map_err(|source| SettingsError::Editor { editor: editor.into(), source })?;
        if !status.success() {
            draft.remove()?;
            return Err(SettingsError::EditorFailed(status));
        }
        let new = draft.read()?;
        check(&new, checks)
            .map_err(|problems| SettingsError::NotTaken { draft: draft.path.clone(), problems })?;
        let changed = new != old && !(old.is_empty() && new == template());
        if changed {
            self.replace(&new)?;
        }
        draft.remove()?;
        Ok(changed)
    }

    fn remove(&self) -> Result<(), SettingsError> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(SettingsError::Write { path: self.path.clone(), source: e })
            }
            _ => Ok(()),
        }
    }
}
