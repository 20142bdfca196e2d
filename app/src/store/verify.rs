//! Whether a model's files are what they were when they were installed.

use super::kinds::ModelPath;
use super::manifest::{FileEntry, Manifest, Stamp};
use super::progress::Progress;
use super::{Store, hashing};
use crate::exit::{Exit, Failure};
use anyhow::Result;
use std::fmt;
use std::path::Path;

/// What a look at a file gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Size and SHA-256 are right.
    Good,
    /// It is not there (or its link leads nowhere).
    Missing,
    /// It cannot be read; the reason.
    Unreadable(String),
    /// Another size than the manifest's.
    WrongSize {
        /// Its size now.
        actual_bytes: u64,
    },
    /// The right size, other bytes.
    WrongHash,
}

impl fmt::Display for FileState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => out.write_str("is good"),
            Self::Missing => out.write_str("is missing"),
            Self::Unreadable(why) => write!(out, "cannot be read: {why}"),
            Self::WrongSize { actual_bytes } => {
                write!(out, "has another size than it was installed with ({actual_bytes} bytes)")
            }
            Self::WrongHash => out.write_str("does not have the SHA-256 it was installed with"),
        }
    }
}

/// Reads a whole file and compares.
pub(crate) fn check_file(folder: &Path, entry: &FileEntry, progress: &mut dyn Progress) -> FileState {
    let path = folder.join(&entry.name);
    let result = std::fs::metadata(&path).and_then(|metadata| {
        if metadata.len() != entry.size_bytes {
            return Ok(FileState::WrongSize { actual_bytes: metadata.len() });
        }
        let sha256 = hashing::sha256_file(&path, |bytes| progress.advance(bytes))?;
        Ok(if sha256 == entry.sha256 { FileState::Good } else { FileState::WrongHash })
    });
    result.unwrap_or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => FileState::Missing,
        _ => FileState::Unreadable(super::disk::reason(&error)),
    })
}

impl Store {
    /// Reads every file of an installed model, whatever was found before.
    ///
    /// # Errors
    /// [`Exit::Model`] when there is no such model in the store. A damaged file is no error here:
    /// see the states.
    pub(crate) fn verify(&self, name: &str, progress: &mut dyn Progress) -> Result<Vec<(String, FileState)>> {
        let Some((folder, mut manifest)) = self.installed(name)? else {
            let what = format!("{name} is not in the store {}", self.root().display());
            return Err(Failure::new(Exit::Model, what).into());
        };
        progress.start(name, manifest.size_bytes());
        let mut states = Vec::new();
        for entry in &mut manifest.files {
            let stamp = Stamp::of(&folder.join(&entry.name)).ok();
            let state = check_file(&folder, entry, progress);
            entry.verified_at = stamp.filter(|_| state == FileState::Good);
            states.push((entry.name.clone(), state));
        }
        progress.finish();
        note_checked(&folder, &manifest);
        Ok(states)
    }

    /// The installed model of this name, once its files are known to be whole: those that changed
    /// since they were last checked (or never were) are read. `Ok(None)` when it is not installed.
    pub(crate) fn installed_and_whole(
        &self,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<Option<ModelPath>> {
        let Some((folder, mut manifest)) = self.installed(name)? else {
            return Ok(None);
        };
        let is_unchanged = |entry: &FileEntry| {
            entry.verified_at.is_some_and(|known| {
                known.size_bytes == entry.size_bytes
                    && Stamp::of(&folder.join(&entry.name)).is_ok_and(|now| now == known)
            })
        };
        if !manifest.files.iter().all(is_unchanged) {
            progress.start(&format!("checking {name}"), manifest.size_bytes());
            for entry in &mut manifest.files {
                // Taken before reading: a change meanwhile must not pass as checked.
                let stamp = Stamp::of(&folder.join(&entry.name)).ok();
                let state = check_file(&folder, entry, progress);
                if state != FileState::Good {
                    progress.finish();
                    let cure = self.cure(&manifest.name);
                    let what = format!("{name} is damaged: {} {state}; {cure}", entry.name);
                    return Err(Failure::new(Exit::Model, what).into());
                }
                entry.verified_at = stamp;
            }
            progress.finish();
            note_checked(&folder, &manifest);
        }
        Ok(Some(ModelPath {
            name: manifest.name.clone(),
            path: manifest.load_path(&folder),
            kind: manifest.kind,
            format: manifest.format,
        }))
    }

    /// What to do about a damaged model.
    pub(crate) fn cure(&self, name: &str) -> String {
        if !super::CAN_FETCH {
            format!(
                "remove it with `undertone models remove {name}` and bring it with `undertone bundle install FILE`"
            )
        } else if self.catalogue().find(name).is_some() {
            format!("fetch it again with `undertone models pull {name}`")
        } else {
            format!("remove it with `undertone models remove {name}` and import it again")
        }
    }
}

/// A store that cannot be written to (a shared one) is checked again at every start; no error.
fn note_checked(folder: &Path, manifest: &Manifest) {
    if let Err(error) = manifest.write(folder) {
        tracing::debug!(%error, "the check could not be noted");
    }
}
