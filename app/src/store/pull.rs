//! How a model gets into the store and out of it: a lock, a staging folder, and only when all is checked the rename
//! that makes it a model of the store.

use super::disk::{self, Lock};
use super::kinds::ModelPath;
use super::manifest::{self, Manifest, Stamp};
use super::progress::{Progress, Silent};
use super::recognise::recognise;
use super::{CAN_FETCH, Store};
use crate::exit::{Exit, Failure};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// Folder in the store for what is not whole yet.
const STAGING: &str = ".partial";

/// What a pull came to.
#[derive(Debug)]
pub(crate) enum Pulled {
    /// The model was there, whole.
    Already(ModelPath),
    /// The model was fetched.
    #[cfg_attr(not(feature = "fetch"), expect(dead_code))]
    Fetched(ModelPath),
}

impl Pulled {
    /// The model, however it came.
    pub(crate) fn into_model(self) -> ModelPath {
        match self {
            Self::Already(model) | Self::Fetched(model) => model,
        }
    }
}

impl Store {
    /// Brings a model of the catalogue into the store; a damaged one is replaced. What an earlier,
    /// broken pull fetched is used.
    ///
    /// # Errors
    /// [`Exit::Model`] for an unknown name, [`Exit::Network`] when no source could give it or the
    /// network is switched off, [`Exit::Disk`] when it cannot be written. The store then holds
    /// nothing that looks like the model.
    pub(crate) fn pull(&self, name: &str, progress: &mut dyn Progress) -> Result<Pulled> {
        let model = self.catalogue().find(name).ok_or_else(|| self.unknown(name))?;
        match self.installed_and_whole(&model.name, progress) {
            Ok(Some(ready)) => return Ok(Pulled::Already(ready)),
            Ok(None) => {}
            Err(error) if !CAN_FETCH => return Err(error),
            Err(error) => progress.note(&format!("{error:#}; fetching it again")),
        }
        if self.config().offline && CAN_FETCH {
            let what = format!("{} is not fetched: the network is switched off", model.name);
            return Err(Failure::new(Exit::Network, what).into());
        }
        self.fetch(model, progress)
    }

    #[cfg(not(feature = "fetch"))]
    fn fetch(&self, model: &super::catalogue::Model, _progress: &mut dyn Progress) -> Result<Pulled> {
        let what = format!("{} is not fetched: {}", model.name, super::CANNOT_FETCH);
        Err(Failure::new(Exit::Network, what).into())
    }

    /// The lock of one model, held by whoever changes it.
    pub(crate) fn lock(&self, name: &str, progress: &mut dyn Progress) -> Result<Lock, Failure> {
        let folder = self.root().join(STAGING);
        disk::make_folder(&folder)?;
        Lock::take(folder.join(format!("{name}.lock")), || {
            progress.note(&format!("another undertone is busy with {name}; waiting for it"));
        })
    }

    /// The staging folder of one model: `files/` becomes the model, `scratch/` goes.
    pub(crate) fn staging(&self, name: &str) -> PathBuf {
        self.root().join(STAGING).join(name)
    }

    /// Makes the staged files the model: stamps, manifest, one rename. The lock must be held.
    pub(crate) fn install(&self, staging: &Path, mut manifest: Manifest) -> Result<()> {
        let files = staging.join("files");
        for entry in &mut manifest.files {
            let path = files.join(&entry.name);
            let stamp = Stamp::of(&path).with_context(|| path.display().to_string())?;
            entry.verified_at = Some(stamp);
        }
        remove_others(&files, &files, &manifest)?;
        manifest.write(&files)?;
        let target = self.root().join(&manifest.name);
        let fail = |error: std::io::Error| disk::write_failure(&target, &error);
        let old = self.root().join(STAGING).join(format!("{}.old", manifest.name));
        let _ = std::fs::remove_dir_all(&old);
        if target.symlink_metadata().is_ok() {
            if !target.join(manifest::FILE_NAME).exists() {
                let what = format!(
                    "{} is in the way and was not made by undertone: move it elsewhere",
                    target.display()
                );
                return Err(Failure::new(Exit::Disk, what).into());
            }
            std::fs::rename(&target, &old).map_err(fail)?;
        }
        std::fs::rename(&files, &target).map_err(fail)?;
        disk::sync_folder(self.root()).map_err(fail)?;
        let _ = std::fs::remove_dir_all(&old);
        let _ = std::fs::remove_dir_all(staging);
        Ok(())
    }
}

/// The files came as promised; this asks whether they are the kind of model that was promised.
pub(crate) fn check_shape(manifest: &Manifest, files: &Path) -> Result<(), Failure> {
    let problem = match recognise(&manifest.load_path(files)) {
        Ok(found) if (found.kind, found.format) == (manifest.kind, manifest.format) => return Ok(()),
        Ok(found) => format!("it is a {} model in {} format", found.kind, found.format),
        Err(failure) => failure.message,
    };
    // Kept, it would be taken for good again at the next try.
    let _ = std::fs::remove_dir_all(files);
    let what = format!("what was brought for {} cannot be used: {problem}", manifest.name);
    Err(Failure::new(Exit::Model, what))
}

/// Removes what another source or an earlier version of the catalogue left in the staging folder.
fn remove_others(top: &Path, folder: &Path, manifest: &Manifest) -> Result<()> {
    let listed = std::fs::read_dir(folder).map_err(|error| disk::write_failure(folder, &error))?;
    for entry in listed.flatten() {
        let path = entry.path();
        let name = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_others(top, &path, manifest)?;
            // Only goes when it is empty now.
            let _ = std::fs::remove_dir(&path);
        } else if !manifest.files.iter().any(|file| file.name == name) {
            std::fs::remove_file(&path).map_err(|error| disk::write_failure(&path, &error))?;
        }
    }
    Ok(())
}

impl Store {
    /// Takes a model out of the store and gives its size in bytes. Only a folder that lies
    /// directly in the store and holds a manifest goes; links are removed, never what they
    /// lead to. Where only the rest of a broken pull is left under that name, that goes.
    ///
    /// # Errors
    /// [`Exit::Model`] when there is no such model, [`Exit::Disk`] when it cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<u64> {
        let refuse = |what: String| anyhow::Error::from(Failure::new(Exit::Model, what));
        if !super::names::is_valid(name) {
            return Err(refuse(format!("\"{name}\" is not the name of a model in the store")));
        }
        let folder = self.root().join(name);
        let staging = self.staging(name);
        let Ok(metadata) = folder.symlink_metadata() else {
            if staging.is_dir() {
                let _lock = self.lock(name, &mut Silent)?;
                let size_bytes = disk::bytes_below(&staging, 6);
                std::fs::remove_dir_all(&staging).map_err(|error| disk::write_failure(&staging, &error))?;
                return Ok(size_bytes);
            }
            let owner = self.found_elsewhere(name).map(|found| found.origin.title());
            return Err(refuse(match owner {
                Some(owner) => format!("{name} belongs to {owner}: remove it there"),
                None => format!("{name} is not in the store {}", self.root().display()),
            }));
        };
        if !metadata.is_dir() || !folder.join(manifest::FILE_NAME).is_file() {
            return Err(refuse(format!("{} was not made by undertone", folder.display())));
        }
        let _lock = self.lock(name, &mut Silent)?;
        let size_bytes = Manifest::read(&folder).ok().flatten().map_or(0, |manifest| manifest.size_bytes());
        // Renamed first: what is half removed must not look like a model.
        let gone = self.root().join(STAGING).join(format!("{name}.old"));
        let _ = std::fs::remove_dir_all(&gone);
        std::fs::rename(&folder, &gone)
            .and_then(|()| std::fs::remove_dir_all(&gone))
            .map_err(|error| disk::write_failure(&folder, &error))?;
        let _ = std::fs::remove_dir_all(staging);
        Ok(size_bytes)
    }
}
