//! Audio on disk while it is captured, so that no end of the process can take it away.
//!
//! A recording is two files in one folder (0700, files 0600): `ID.json` says what it is and how far
//! it got, `ID.wav` holds 16 kHz mono i16. The header of the WAV file is written first with the
//! greatest length the format has; the true length is the file's, and is put in when the recording
//! ends. Every append is one `write` with no buffer of ours in between, so `kill -9` loses only
//! what had not yet been appended.
//!
//! No `fsync` is needed for that: the kernel keeps what was written. Against a power cut the
//! kernel's own write-back (30 s by default) stands, or [`Journal::sync_every`].
//!
//! A recording that is being written, or whose owner still works on it, is locked (`flock`); the
//! lock dies with the process, and [`recover`] lists what nobody holds.

mod recover;
mod wav;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

pub(crate) use recover::{Unfinished, recover, wipe};

/// Samples per second of everything in a journal.
const RATE_HZ: u32 = 16_000;

/// How far a recording got. One that is done has no files any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Samples are being appended (or were, when the process ended).
    Recording,
    /// Complete; its text is not delivered yet.
    Captured,
    /// Thrown away by the user; kept while there is room, never listed as unfinished.
    Discarded,
    /// Complete, and working on it failed.
    Failed,
}

/// What a recording was made for; kept beside its audio.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Name of the mode.
    pub(crate) mode: String,
    /// The application that was to receive the text, if known.
    pub(crate) target_app: Option<String>,
}

/// `ID.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sidecar {
    state: State,
    started_unix_ms: u64,
    about: About,
}

/// Why a recording cannot be journalled, read or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// No room is left.
    #[error("the disk that holds {} is full; free some space there", path.display())]
    DiskFull { path: PathBuf },
    /// Any other failure of the file system.
    #[error("{} cannot be used ({source}); check its permissions", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl JournalError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path: path.into() }
            }
            _ => Self::Io { path: path.into(), source },
        }
    }
}

/// A folder of recordings.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    /// The folder; made when the first recording begins.
    pub(crate) dir: PathBuf,
    /// Bytes that all recordings together may take before discarded ones are removed.
    pub(crate) max_bytes: u64,
    /// How often to force the samples onto the disk, against a power cut; `None` leaves it to the
    /// kernel.
    pub(crate) sync_every: Option<Duration>,
}

impl Journal {
    /// Begins the recording `id`, which must not be in the folder yet.
    ///
    /// # Errors
    /// [`JournalError`] if its files cannot be made.
    pub(crate) fn begin(&self, id: u64, about: About) -> Result<Entry, JournalError> {
        make_private_dir(&self.dir).map_err(JournalError::at(&self.dir))?;
        self.remove_discarded();
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let sidecar = Sidecar {
            state: State::Recording,
            started_unix_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            about,
        };
        let wav = wav_path(&self.dir, id);
        let at_wav = || JournalError::at(&wav);
        let mut file = private_file().create_new(true).open(&wav).map_err(at_wav())?;
        let begun =
            file.try_lock().map_err(io::Error::from).and_then(|()| file.write_all(&wav::header(None)));
        let entry = Entry {
            dir: self.dir.clone(),
            id,
            file,
            sidecar,
            sync_every: self.sync_every,
            synced: Instant::now(),
        };
        match begun.map_err(at_wav()).and_then(|()| entry.write_sidecar()) {
            Ok(()) => Ok(entry),
            Err(error) => {
                entry.remove().unwrap_or_default();
                Err(error)
            }
        }
    }

    /// Removes the oldest discarded recordings until all together fit `max_bytes`; one that is
    /// unfinished stays, whatever it takes.
    fn remove_discarded(&self) {
        let Ok(mut all) = recover::list(&self.dir) else { return };
        let mut total_bytes: u64 = all.iter().map(|one| one.file_bytes).sum();
        all.sort_by_key(|one| one.started);
        for one in all.into_iter().filter(|one| one.state == State::Discarded) {
            if total_bytes <= self.max_bytes {
                return;
            }
            let file_bytes = one.file_bytes;
            if one.remove().is_ok() {
                total_bytes -= file_bytes;
            }
        }
    }
}

/// One recording on disk, held by its owner: whatever happens before [`Entry::done`] or
/// [`Entry::discarded`], the next start finds it.
#[derive(Debug)]
pub(crate) struct Entry {
    dir: PathBuf,
    id: u64,
    file: File,
    sidecar: Sidecar,
    sync_every: Option<Duration>,
    synced: Instant,
}

impl Entry {
    /// Appends 16 kHz samples; they survive the process once this returns.
    pub(crate) fn append(&mut self, samples: &[f32]) -> Result<(), JournalError> {
        let path = wav_path(&self.dir, self.id);
        self.file.write_all(&wav::encode(samples)).map_err(JournalError::at(&path))?;
        if self.sync_every.is_some_and(|interval| self.synced.elapsed() >= interval) {
            self.synced = Instant::now();
            self.file.sync_data().map_err(JournalError::at(&path))?;
        }
        Ok(())
    }

    /// All samples are appended.
    pub(crate) fn captured(&mut self) -> Result<(), JournalError> {
        let path = wav_path(&self.dir, self.id);
        wav::close(&mut self.file).map_err(JournalError::at(&path))?;
        self.set(State::Captured)
    }

    /// The text is delivered (or kept elsewhere): the audio goes.
    pub(crate) fn done(self) -> Result<(), JournalError> {
        self.remove()
    }

    /// The user threw the recording away.
    pub(crate) fn discarded(mut self) -> Result<(), JournalError> {
        let path = wav_path(&self.dir, self.id);
        wav::close(&mut self.file).map_err(JournalError::at(&path))?;
        self.set(State::Discarded)
    }

    /// Working on the recording failed: it stays, to be tried again.
    pub(crate) fn failed(mut self) -> Result<(), JournalError> {
        self.set(State::Failed)
    }

    /// The audio file, for the user to be told of.
    pub(crate) fn path(&self) -> PathBuf {
        wav_path(&self.dir, self.id)
    }

    fn set(&mut self, state: State) -> Result<(), JournalError> {
        self.sidecar.state = state;
        self.write_sidecar()
    }

    fn write_sidecar(&self) -> Result<(), JournalError> {
        write_sidecar(&self.dir, self.id, &self.sidecar)
    }

    fn remove(&self) -> Result<(), JournalError> {
        remove_files(&self.dir, self.id)
    }
}

/// Replaces `ID.json` in one step: a reader finds the old one or the new one.
fn write_sidecar(dir: &Path, id: u64, sidecar: &Sidecar) -> Result<(), JournalError> {
    let (path, new) = (sidecar_path(dir, id), dir.join(format!("{id}.json.new")));
    let written = serde_json::to_vec(sidecar).map_err(io::Error::from).and_then(|json| {
        private_file().create(true).truncate(true).open(&new)?.write_all(&json)?;
        fs::rename(&new, &path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        JournalError::at(&path)(error)
    })
}

/// Removes the audio first: a sidecar alone is nothing to recover.
fn remove_files(dir: &Path, id: u64) -> Result<(), JournalError> {
    for path in [wav_path(dir, id), sidecar_path(dir, id)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(JournalError::at(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn wav_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id}.wav"))
}

fn sidecar_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id}.json"))
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(unix)]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

// Elsewhere the folder lies in the user's profile, which others cannot read.
#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    options
}

#[cfg(not(unix))]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}
