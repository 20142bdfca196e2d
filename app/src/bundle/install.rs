//! Installing a bundle. It is read twice: once to its end without writing, so that nothing of a bad bundle ever lies on
//! the disk, and once to write. The second reading checks all again, since what it reads may by then be something else.
//!
//! Files are written under temporary names and get their own when their hash was right; a model gets its name when all
//! its files have. Whatever ends the program in between, the next run keeps the files that are in place and whole.

use super::archive::{self, Head, Visit, bad};
use super::check::{Checked, check};
use super::index::{Entry, Place, target};
use super::signature::Signed;
use crate::exit::{Exit, Failure};
use crate::store::interrupt::Guard;
use crate::store::manifest::{FileEntry, Manifest};
use crate::store::progress::Progress;
use crate::store::pull::check_shape;
use crate::store::{Store, disk, hashing, manifest};
use anyhow::Result;
use minisign_verify::PublicKey;
use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where things go.
pub(crate) struct Places<'a> {
    /// For the models.
    pub(crate) store: &'a Store,
    /// For the program.
    pub(crate) programs: &'a Path,
    /// For licences and other papers.
    pub(crate) papers: &'a Path,
}

/// What was done.
#[derive(Debug)]
pub(crate) struct Installed {
    /// Whether it is signed.
    pub(crate) signed: Signed,
    /// Models: name, place, and whether they were written (else they were there).
    pub(crate) models: Vec<(String, PathBuf, bool)>,
    /// The program.
    pub(crate) program: PathBuf,
    /// How many files were written.
    pub(crate) written: usize,
}

/// Checks the bundle and installs what is not there.
///
/// # Errors
/// [`Exit::Input`] for a bad bundle and [`Exit::Device`] for one of another kind of machine, before anything is
/// written; [`Exit::Model`] when another model of the same name is in the store; [`Exit::Disk`] when it cannot be
/// written.
pub(crate) fn install(
    bundle: &Path,
    key: Option<&PublicKey>,
    places: &Places<'_>,
    progress: &mut dyn Progress,
) -> Result<Installed> {
    let checked = check(bundle, key, progress)?;
    progress.finish();
    if checked.head.index.target != target() {
        let what = format!(
            "{} holds a program for {}, and this machine is {}",
            bundle.display(),
            super::index::shown(&checked.head.index.target),
            target()
        );
        return Err(Failure::new(Exit::Device, what).into());
    }
    let missing = missing(places.store, &checked.models, progress)?;
    check_space(places, &checked, &missing)?;
    let locks: Result<Vec<_>, Failure> =
        missing.iter().map(|manifest| places.store.lock(&manifest.name, progress)).collect();
    let _locks = locks?;
    disk::make_folder(places.papers)?;
    // For the program and the papers.
    let _lock = disk::Lock::take(places.papers.join(".lock"), || {
        progress.note("another undertone installs a bundle; waiting for it");
    })?;
    // Another process may have brought some while this one waited.
    let missing = self::missing(places.store, &missing, progress)?;
    let _guard = Guard::set();
    let mut placing = Placing::new(bundle, &checked.head, places, missing);
    let result = archive::walk(bundle, key, "installing", &mut placing, progress);
    progress.finish();
    placing.tidy();
    result?;
    let (done, written) = (placing.done, placing.written);
    let models = checked.models.iter().map(|manifest| {
        let path = places.store.root().join(&manifest.name);
        (manifest.name.clone(), path, done.contains(&manifest.name))
    });
    Ok(Installed {
        models: models.collect(),
        signed: checked.head.signed,
        program: places.programs.join("undertone"),
        written,
    })
}

/// Whether two lists of files are the same model.
fn same_files(a: &[FileEntry], b: &[FileEntry]) -> bool {
    let key = |file: &FileEntry| (file.name.clone(), file.size_bytes, file.sha256.clone());
    let sorted = |files: &[FileEntry]| {
        let mut keys: Vec<_> = files.iter().map(key).collect();
        keys.sort();
        keys
    };
    sorted(a) == sorted(b)
}

/// The models that are not in the store, or there but damaged.
fn missing(store: &Store, models: &[Manifest], progress: &mut dyn Progress) -> Result<Vec<Manifest>> {
    let mut missing = Vec::new();
    for model in models {
        let folder = store.root().join(&model.name);
        match store.installed(&model.name) {
            Ok(None) if folder.symlink_metadata().is_ok() => {
                let what = format!(
                    "{} is in the way and was not made by undertone: move it elsewhere",
                    folder.display()
                );
                return Err(Failure::new(Exit::Disk, what).into());
            }
            Ok(None) => missing.push(model.clone()),
            Ok(Some((_, known))) if !same_files(&known.files, &model.files) => {
                let name = &model.name;
                let what = format!(
                    "another {name} is in the store already: remove it first with `undertone models remove {name}`"
                );
                return Err(Failure::new(Exit::Model, what).into());
            }
            Ok(Some(_)) => match store.installed_and_whole(&model.name, progress) {
                Ok(_) => {}
                Err(_) => missing.push(model.clone()),
            },
            Err(_) => missing.push(model.clone()),
        }
    }
    Ok(missing)
}

/// Refuses before anything is written when it cannot fit.
fn check_space(places: &Places<'_>, checked: &Checked, missing: &[Manifest]) -> Result<(), Failure> {
    let (root, programs) = (places.store.root(), places.programs);
    let wanted: u64 = missing.iter().map(Manifest::size_bytes).fold(0, u64::saturating_add);
    let here = missing.iter().map(|model| disk::bytes_below(&places.store.staging(&model.name), 6));
    if !missing.is_empty() {
        disk::check_space(root, "the models", wanted.saturating_sub(here.sum()))?;
    }
    let others =
        checked.head.index.files.iter().filter(|entry| !matches!(entry.place(), Some(Place::Model { .. })));
    let other_bytes = others.map(|entry| entry.size_bytes).fold(0, u64::saturating_add);
    disk::check_space(programs, "the program", other_bytes)
}

/// A file that is being written.
struct Writing {
    file: File,
    partial: PathBuf,
    target: PathBuf,
}

/// Writes what is missing.
struct Placing<'a> {
    bundle: &'a Path,
    /// What the first reading found.
    head: &'a Head,
    places: &'a Places<'a>,
    missing: HashMap<String, Manifest>,
    /// Files of each missing model that are still to come.
    left: HashMap<String, usize>,
    current: Option<Writing>,
    done: Vec<String>,
    written: usize,
}

impl<'a> Placing<'a> {
    fn new(bundle: &'a Path, head: &'a Head, places: &'a Places<'a>, missing: Vec<Manifest>) -> Self {
        let left = missing.iter().map(|model| (model.name.clone(), model.files.len())).collect();
        let missing = missing.into_iter().map(|model| (model.name.clone(), model)).collect();
        Self { bundle, head, places, missing, left, current: None, done: Vec::new(), written: 0 }
    }

    /// Where a file is written and where it then belongs; `None` for what is not wanted.
    fn target(&self, entry: &Entry) -> Option<(PathBuf, PathBuf)> {
        match entry.place()? {
            Place::Program => {
                let folder = self.places.programs;
                Some((folder.join(".undertone.partial"), folder.join("undertone")))
            }
            Place::Paper => {
                let folder = self.places.papers;
                Some((folder.join(".partial"), folder.join(&entry.name)))
            }
            // The store writes it when the model is whole.
            Place::Model { file: manifest::FILE_NAME, .. } => None,
            Place::Model { model, file } => {
                let staging = self.missing.contains_key(model).then(|| self.places.store.staging(model))?;
                Some((staging.join("scratch/partial"), staging.join("files").join(file)))
            }
        }
    }

    /// Half a file is of no use.
    fn tidy(&mut self) {
        if let Some(Writing { partial, .. }) = self.current.take() {
            let _ = std::fs::remove_file(partial);
        }
    }

    /// A file of this model is in place; with the last one the model is.
    fn count(&mut self, model: &str) -> Result<()> {
        let Some(left) = self.left.get_mut(model) else { return Ok(()) };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return Ok(());
        }
        if let Some(manifest) = self.missing.remove(model) {
            let staging = self.places.store.staging(model);
            check_shape(&manifest, &staging.join("files"))?;
            self.places.store.install(&staging, manifest)?;
            self.done.push(model.to_owned());
        }
        Ok(())
    }
}

impl Visit for Placing<'_> {
    fn begin(&mut self, head: &Head) -> Result<(), Failure> {
        match head.sums == self.head.sums {
            true => Ok(()),
            false => Err(bad(self.bundle, "was changed between its two readings: run the command again")),
        }
    }

    fn open(&mut self, entry: &Entry, sha256: &str) -> Result<(), Failure> {
        let Some((partial, target)) = self.target(entry) else { return Ok(()) };
        if hashing::sha256_file(&target, |_| {}).is_ok_and(|here| here == sha256) {
            return Ok(());
        }
        for path in [&partial, &target] {
            disk::make_folder(path.parent().unwrap_or(Path::new(".")))?;
        }
        let open = || -> std::io::Result<File> {
            // What another run left there, whatever it is now.
            match std::fs::remove_file(&partial) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = File::create_new(&partial)?;
            file.set_permissions(Permissions::from_mode(if entry.executable { 0o755 } else { 0o644 }))?;
            Ok(file)
        };
        let file = open().map_err(|error| disk::write_failure(&partial, &error))?;
        self.current = Some(Writing { file, partial, target });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match &mut self.current {
            Some(writing) => {
                writing.file.write_all(bytes).map_err(|error| disk::write_failure(&writing.target, &error))
            }
            None => Ok(()),
        }
    }

    fn close(&mut self, entry: &Entry) -> Result<()> {
        if let Some(Writing { file, partial, target }) = &self.current {
            let folder = target.parent().unwrap_or(Path::new("."));
            file.sync_all()
                .and_then(|()| std::fs::rename(partial, target))
                .and_then(|()| disk::sync_folder(folder))
                .map_err(|error| disk::write_failure(target, &error))?;
            self.written += 1;
            self.current = None;
        }
        match entry.place() {
            Some(Place::Model { model, file }) if file != manifest::FILE_NAME => self.count(model),
            _ => Ok(()),
        }
    }
}
