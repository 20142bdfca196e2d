//! The model store: which models there are, where they come from, and whether they are whole.
//!
//! On disk: `ROOT/NAME/` holds a model's files and `undertone-model.json` ([`manifest`]);
//! `ROOT/.partial/` holds locks and what is not whole yet. A model appears under its name by one
//! rename, after every file was checked.

pub(crate) mod catalogue;
pub(crate) mod cli;
pub(crate) mod config;
pub(crate) mod discover;
pub(crate) mod disk;
pub(crate) mod hashing;
pub(crate) mod import;
pub(crate) mod interrupt;
pub(crate) mod kinds;
pub(crate) mod manifest;
pub(crate) mod names;
pub(crate) mod progress;
pub(crate) mod pull;
pub(crate) mod quantize;
pub(crate) mod recognise;
#[cfg(feature = "fetch")]
pub(crate) mod sources;
pub(crate) mod verify;

pub(crate) use catalogue::BUILT_IN as CATALOGUE;
pub(crate) use config::StoreConfig;
pub(crate) use kinds::{Format, Kind, ModelPath};
#[cfg(feature = "fetch")]
pub(crate) use sources::pip::install as install_packages;

use crate::exit::{Exit, Failure};
use anyhow::Result;
use catalogue::Catalogue;
use discover::Found;
use manifest::Manifest;
use progress::{Progress, Silent, Terminal};
use recognise::recognise;
use std::path::{Path, PathBuf};

/// The speech model that is taken when none is named; the catalogue marks it as default.
pub(crate) const DEFAULT_SPEECH: &str = "whisper-tiny.en";
/// The text model that is taken when none is named; the catalogue marks it as default.
pub(crate) const DEFAULT_TEXT: &str = "smollm2-135m-instruct";

/// Whether this build has what fetches models.
pub(crate) const CAN_FETCH: bool = cfg!(feature = "fetch");
/// What a build without it says, and what to do instead.
pub(crate) const CANNOT_FETCH: &str = "this build cannot fetch: bring it with `undertone bundle install FILE` or \
    `undertone models import PATH`";

#[cfg(all(feature = "fetch", feature = "offline"))]
compile_error!("an offline build has nothing that fetches: add --no-default-features to --features offline");

/// The models of this machine.
#[derive(Debug)]
pub(crate) struct Store {
    config: StoreConfig,
    catalogue: Catalogue,
}

impl Store {
    /// Opens the store. Nothing is made on disk, nothing is fetched.
    ///
    /// # Errors
    /// [`Exit::Usage`] when the user's own catalogue is not sound.
    pub(crate) fn open(config: &StoreConfig) -> Result<Self> {
        let catalogue = Catalogue::open(config.extra_catalogue.as_deref())?;
        Ok(Self { config: config.clone(), catalogue })
    }

    /// The folder the models lie in.
    pub(crate) fn root(&self) -> &Path {
        &self.config.root
    }

    /// The models known by name.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The settings it was opened with.
    pub(crate) fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// The model that `name_or_path` means, without fetching anything. In this order: a path that
    /// is written as one; a model of the store (checked before its first use, and again whenever a
    /// file changed); a model another program keeps; any other file or folder of that name.
    ///
    /// # Errors
    /// [`Exit::Model`]: it is unknown (with the nearest names), not here (with the command that
    /// gets it), damaged, or of the other kind.
    pub(crate) fn resolve(&self, name_or_path: &str, kind: impl Into<Option<Kind>>) -> Result<ModelPath> {
        self.find(name_or_path, kind.into(), &mut Silent)?.ok_or_else(|| self.not_here(name_or_path).into())
    }

    /// [`Store::resolve`], and the catalogue's model is fetched when it is not here: one line on
    /// stderr says what comes from where and how large it is, and a bar there, on a terminal, how
    /// far it is.
    ///
    /// # Errors
    /// Those of [`Store::resolve`] and of [`Store::pull`]; offline, [`Exit::Model`].
    pub(crate) fn ensure(&self, name_or_path: &str, kind: Kind) -> Result<ModelPath> {
        self.ensure_with(name_or_path, kind, &mut Terminal::default())
    }

    /// [`Store::ensure`] with another place for what there is to tell.
    ///
    /// # Errors
    /// Those of [`Store::ensure`].
    pub(crate) fn ensure_with(
        &self,
        name_or_path: &str,
        kind: Kind,
        progress: &mut dyn Progress,
    ) -> Result<ModelPath> {
        if let Some(model) = self.find(name_or_path, Some(kind), progress)? {
            return Ok(model);
        }
        if !CAN_FETCH {
            return Err(self.not_here(name_or_path).into());
        }
        if self.config.offline {
            let Failure { exit, message } = self.not_here(name_or_path);
            let what = format!("{message}, and the network is switched off");
            return Err(Failure::new(exit, what).into());
        }
        Ok(self.pull(name_or_path, progress)?.into_model())
    }

    /// The model on this machine; `Ok(None)` when it is in the catalogue but not here.
    pub(crate) fn find(
        &self,
        name_or_path: &str,
        kind: Option<Kind>,
        progress: &mut dyn Progress,
    ) -> Result<Option<ModelPath>> {
        let path = Path::new(name_or_path);
        let written_as_path = name_or_path.contains('/') || name_or_path.starts_with('.');
        if written_as_path && path.symlink_metadata().is_ok() {
            return at_path(path, kind).map(Some);
        }
        let known = self.catalogue.find(name_or_path);
        let name = known.map_or(name_or_path, |model| model.name.as_str());
        if let Some(model) = self.installed_and_whole(name, progress)? {
            check_kind(name, model.kind, kind)?;
            return Ok(Some(model));
        }
        if let Some(model) = known {
            check_kind(name, model.kind, kind)?;
        }
        let elsewhere = discover::discover(&self.config.places);
        if let Some(found) = self.pick(&elsewhere, name, kind) {
            return Ok(Some(found.to_model_path()));
        }
        if known.is_some() {
            return Ok(None);
        }
        if path.symlink_metadata().is_ok() {
            return at_path(path, kind).map(Some);
        }
        if let Some(found) = discover::pick(&elsewhere, name, None) {
            check_kind(name, found.kind, kind)?;
        }
        // What ends like a file was meant as one.
        if written_as_path || name.ends_with(".gguf") || name.ends_with(".bin") {
            let what = format!("there is no file, folder or model called {name_or_path}");
            return Err(Failure::new(Exit::Model, what).into());
        }
        Err(self.unknown(name_or_path).into())
    }

    /// A model of this name that another program keeps.
    pub(crate) fn found_elsewhere(&self, name: &str) -> Option<Found> {
        let all = discover::discover(&self.config.places);
        self.pick(&all, name, None).cloned()
    }

    /// By its own name, or by the hub repository that the catalogue names for it.
    fn pick<'a>(&self, all: &'a [Found], name: &str, kind: Option<Kind>) -> Option<&'a Found> {
        let from_repo = || {
            let model = self.catalogue.find(name)?;
            model.hub_repos().find_map(|repo| discover::pick(all, repo, kind))
        };
        discover::pick(all, name, kind).or_else(from_repo)
    }

    /// Folder and manifest of an installed model, unchecked.
    pub(crate) fn installed(&self, name: &str) -> Result<Option<(PathBuf, Manifest)>> {
        if !names::is_valid(name) {
            return Ok(None);
        }
        let folder = self.root().join(name);
        let read = Manifest::read(&folder).map_err(|error| {
            let what = format!("{name} cannot be used: {error:#}; {}", self.cure(name));
            Failure::new(Exit::Model, what)
        })?;
        // The folder's name is what counts: a renamed folder is a renamed model.
        Ok(read.map(|mut manifest| {
            manifest.name = name.to_owned();
            (folder, manifest)
        }))
    }

    /// Names of the folders in the store that hold a manifest, sorted.
    ///
    /// # Errors
    /// [`Exit::Disk`] when the store is there but cannot be read.
    pub(crate) fn installed_names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let root = self.root().display();
                let what = format!("the store {root} cannot be read: {}", disk::reason(&error));
                return Err(Failure::new(Exit::Disk, what).into());
            }
        };
        let mut found: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.path().join(manifest::FILE_NAME).is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| names::is_valid(name))
            .collect();
        found.sort();
        Ok(found)
    }

    fn not_here(&self, name: &str) -> Failure {
        let size = self.catalogue.find(name).map_or(0, |model| model.size_mb);
        let what = if CAN_FETCH {
            format!("{name} is not on this machine; get it with `undertone models pull {name}` ({size} MB)")
        } else {
            format!("{name} is not on this machine, and {CANNOT_FETCH}")
        };
        Failure::new(Exit::Model, what)
    }

    fn unknown(&self, name: &str) -> Failure {
        let installed = self.installed_names().unwrap_or_default();
        let known = self.catalogue.models().iter().map(|model| model.name.as_str());
        let near = names::nearest(name, known.chain(installed.iter().map(String::as_str)));
        let hint =
            if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
        let shown: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
        let what = format!("no model is called {shown}{hint} (`undertone models list` shows them all)");
        Failure::new(Exit::Model, what)
    }
}

/// A model that the user named by its path, taken as it is.
fn at_path(path: &Path, kind: Option<Kind>) -> Result<ModelPath> {
    let model = recognise(path)?;
    let name = path.display().to_string();
    check_kind(&name, model.kind, kind)?;
    Ok(ModelPath { name, path: model.path, kind: model.kind, format: model.format })
}

fn check_kind(name: &str, actual: Kind, wanted: Option<Kind>) -> Result<(), Failure> {
    match wanted {
        Some(wanted) if wanted != actual => {
            let what = format!("{name} is a {actual} model, and a {wanted} model is needed here");
            Err(Failure::new(Exit::Model, what))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
