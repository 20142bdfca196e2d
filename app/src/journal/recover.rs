//! What earlier processes left behind.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{About, JournalError, RATE_HZ, Sidecar, State, wav};

/// A recording whose text was never delivered.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    /// The number it was begun with.
    pub(crate) id: u64,
    /// How far it got.
    pub(crate) state: State,
    /// When it began.
    pub(crate) started: SystemTime,
    /// Length of the audio that is there, in ms.
    pub(crate) duration_ms: u64,
    /// What it was made for; empty if that was lost.
    pub(crate) about: About,
    /// Bytes its audio takes.
    pub(super) file_bytes: u64,
    dir: PathBuf,
}

/// The recordings in `dir` that are neither done nor discarded and that no running process holds,
/// oldest first. Those without a single sample are removed on the way. A folder that does not
/// exist holds none.
///
/// # Errors
/// [`JournalError::Io`] if the folder cannot be read.
pub(crate) fn recover(dir: &Path) -> Result<Vec<Unfinished>, JournalError> {
    let (mut empty, mut unfinished) = (Vec::new(), Vec::new());
    for one in list(dir)?.into_iter().filter(|one| one.state != State::Discarded) {
        if one.duration_ms == 0 { &mut empty } else { &mut unfinished }.push(one);
    }
    empty.into_iter().try_for_each(Unfinished::remove)?;
    unfinished.sort_by_key(|one| (one.started, one.id));
    Ok(unfinished)
}

/// Erases all recordings in `dir` that nobody holds, discarded ones too; how many there were.
///
/// # Errors
/// [`JournalError::Io`] if one cannot be erased.
pub(crate) fn wipe(dir: &Path) -> Result<usize, JournalError> {
    let all = list(dir)?;
    for one in &all {
        for path in [one.path(), super::sidecar_path(dir, one.id)] {
            let erased = crate::history::erase(&path).map_err(io::Error::other);
            erased.map_err(JournalError::at(&path))?;
        }
    }
    Ok(all.len())
}

/// All recordings in `dir` that nobody holds.
pub(super) fn list(dir: &Path) -> Result<Vec<Unfinished>, JournalError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(JournalError::at(dir))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| Unfinished::read(dir, name.strip_suffix(".wav")?.parse().ok()?)).collect())
}

impl Unfinished {
    /// `None` if it is held, or gone since the folder was listed.
    fn read(dir: &Path, id: u64) -> Option<Self> {
        let file = File::open(super::wav_path(dir, id)).ok()?;
        if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            return None;
        }
        let metadata = file.metadata().ok()?;
        let data_bytes = metadata.len().saturating_sub(wav::HEADER_BYTES);
        // Audio without a readable sidecar is still the user's words.
        let sidecar: Option<Sidecar> =
            fs::read(super::sidecar_path(dir, id)).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let started = match &sidecar {
            Some(sidecar) => {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(sidecar.started_unix_ms))
            }
            None => metadata.modified().ok(),
        };
        Some(Self {
            id,
            state: sidecar.as_ref().map_or(State::Recording, |sidecar| sidecar.state),
            started: started.unwrap_or(SystemTime::UNIX_EPOCH),
            duration_ms: data_bytes / 2 * 1000 / u64::from(RATE_HZ),
            about: sidecar.map(|sidecar| sidecar.about).unwrap_or_default(),
            file_bytes: metadata.len(),
            dir: dir.into(),
        })
    }

    /// The audio file.
    pub(crate) fn path(&self) -> PathBuf {
        super::wav_path(&self.dir, self.id)
    }

    /// All samples that reached the disk, 16 kHz mono in -1..=1.
    ///
    /// # Errors
    /// [`JournalError::Io`] if the file cannot be read.
    pub(crate) fn samples(&self) -> Result<Vec<f32>, JournalError> {
        let path = self.path();
        let read = || {
            let mut bytes = Vec::new();
            File::open(&path)?.read_to_end(&mut bytes)?;
            Ok(wav::decode(bytes.get(wav::HEADER_BYTES as usize..).unwrap_or_default()))
        };
        read().map_err(JournalError::at(&path))
    }

    /// Records that working on it failed (again): it stays.
    ///
    /// # Errors
    /// [`JournalError`] if the folder cannot be written.
    pub(crate) fn failed(&self) -> Result<(), JournalError> {
        self.set(State::Failed)
    }

    /// Removes its files: the text is delivered.
    ///
    /// # Errors
    /// [`JournalError`] if the folder cannot be written.
    pub(crate) fn remove(self) -> Result<(), JournalError> {
        super::remove_files(&self.dir, self.id)
    }

    fn set(&self, state: State) -> Result<(), JournalError> {
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started_unix_ms = u64::try_from(started.as_millis()).unwrap_or(u64::MAX);
        let sidecar = Sidecar { state, started_unix_ms, about: self.about.clone() };
        super::write_sidecar(&self.dir, self.id, &sidecar)
    }
}
