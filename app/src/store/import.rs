//! Taking a model that the user already has into the store, as a copy or as a link.

use super::disk;
use super::hashing;
use super::kinds::{Format, Kind, ModelPath};
use super::manifest::{FileEntry, Manifest};
use super::names;
use super::progress::Progress;
use super::recognise::{Recognised, recognise};
use super::{Store, interrupt};
use crate::exit::{Exit, Failure};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// How an imported model's files get into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Copied: the store does not depend on the original.
    Copy,
    /// Linked: no space is used, and the model goes when the original goes.
    Link,
}

/// Files of a model folder that belong to the model, beside `*.safetensors`.
const PARTS: &[&str] = &[
    "model.bin",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocabulary.txt",
    "vocabulary.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "normalizer.json",
    "generation_config.json",
    "preprocessor_config.json",
    "model.safetensors.index.json",
];

/// Weights split into more files than this do not exist.
const MAX_FILES: usize = 256;

impl Store {
    /// Imports a file or folder under `name`, or under a name made from its own.
    ///
    /// # Errors
    /// [`Exit::Model`] when it is no model that can be used or the name is taken,
    /// [`Exit::Disk`] when it cannot be written.
    pub(crate) fn import(
        &self,
        path: &Path,
        name: Option<&str>,
        how: How,
        progress: &mut dyn Progress,
    ) -> Result<ModelPath> {
        let model = recognise(path)?;
        let original = std::fs::canonicalize(&model.path)
            .with_context(|| format!("{} cannot be found", model.path.display()))?;
        let name = name.map_or_else(|| default_name(&model.path), ToOwned::to_owned);
        self.check_name(&name, &model.path, model.kind)?;
        let mut manifest = Manifest::new(&name, model.kind, model.format);
        manifest.title = format!("imported {} model", model.architecture);
        manifest.source = format!("{} from {}", how.past(), original.display());
        self.put(manifest, progress, |files, progress| self.take_files(&model, files, how, progress))
    }

    /// Makes a model of a name that is still free out of the files that `fill` lays into a folder.
    ///
    /// # Errors
    /// [`Exit::Model`] when the name is taken, [`Exit::Disk`] when it cannot be written, and those of `fill`.
    pub(super) fn put(
        &self,
        mut manifest: Manifest,
        progress: &mut dyn Progress,
        fill: impl FnOnce(&Path, &mut dyn Progress) -> Result<Vec<FileEntry>>,
    ) -> Result<ModelPath> {
        let name = manifest.name.clone();
        let _lock = self.lock(&name, progress)?;
        let _guard = interrupt::Guard::set();
        if self.root().join(&name).symlink_metadata().is_ok() {
            let what =
                format!("there is already a model called {name}: remove it first, or give another --name");
            return Err(Failure::new(Exit::Model, what).into());
        }
        let staging = self.staging(&name);
        let files = staging.join("files");
        // A half made model holds nothing that was costly to get.
        let _ = std::fs::remove_dir_all(&staging);
        disk::make_folder(&files)?;
        let filled = fill(&files, progress);
        progress.finish();
        let result = filled.and_then(|entries| {
            manifest.files = entries;
            self.install(&staging, manifest)
        });
        if result.is_err() {
            let _ = std::fs::remove_dir_all(&staging);
        }
        result?;
        let ready = self.installed_and_whole(&name, progress)?;
        ready.context("the model vanished while it was written")
    }

    /// Whether a model of this kind, which lies at `path`, may be called so.
    pub(super) fn check_name(&self, name: &str, path: &Path, kind: Kind) -> Result<(), Failure> {
        if !names::is_valid(name) {
            let what = format!("\"{name}\" cannot be a name: use letters, digits, '.', '_' and '-'");
            return Err(Failure::new(Exit::Usage, what));
        }
        match self.catalogue().find(name) {
            Some(known) if known.kind != kind => {
                let what = format!(
                    "{} is a {kind} model, and {name} names a {} model: give another --name",
                    path.display(),
                    known.kind
                );
                Err(Failure::new(Exit::Model, what))
            }
            _ => Ok(()),
        }
    }

    fn take_files(
        &self,
        model: &Recognised,
        files: &Path,
        how: How,
        progress: &mut dyn Progress,
    ) -> Result<Vec<FileEntry>> {
        let originals = originals(model)?;
        let total_bytes = originals
            .iter()
            .filter_map(|path| Some(std::fs::metadata(path).ok()?.len()))
            .fold(0u64, u64::saturating_add);
        if how == How::Copy {
            disk::check_space(files, "the import", total_bytes)?;
        }
        progress.start("importing", total_bytes);
        let mut entries = Vec::new();
        for original in originals {
            let name = original.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let target = files.join(&name);
            let (size_bytes, sha256) = match how {
                How::Copy => copy(&original, &target, progress)?,
                How::Link => link(&original, &target, progress)?,
            };
            entries.push(FileEntry { name, size_bytes, sha256, hub_hash: None, verified_at: None });
        }
        Ok(entries)
    }
}

impl How {
    fn past(self) -> &'static str {
        match self {
            Self::Copy => "copied",
            Self::Link => "linked",
        }
    }
}

/// The files that make up a recognised model.
fn originals(model: &Recognised) -> Result<Vec<PathBuf>> {
    if model.format.is_one_file() {
        return Ok(vec![model.path.clone()]);
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&model.path).with_context(|| model.path.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = match model.format {
            // An HF folder may also hold a PyTorch model.bin, a CT2 folder other weights.
            Format::Hf => name != "model.bin" && PARTS.contains(&name.as_str()),
            _ => PARTS.contains(&name.as_str()) && !name.starts_with("model.safetensors"),
        };
        let weights = model.format == Format::Hf && name.ends_with(".safetensors");
        if (wanted || weights) && path.is_file() {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            anyhow::bail!("{} holds too many files", model.path.display());
        }
    }
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let why = disk::reason(error);
    Failure::new(Exit::Model, format!("{} cannot be read: {why}", path.display()))
}

fn copy(original: &Path, target: &Path, progress: &mut dyn Progress) -> Result<(u64, String)> {
    let mut from = File::open(original).map_err(|error| unreadable(original, &error))?;
    let mut to = File::create_new(target).map_err(|error| disk::write_failure(target, &error))?;
    let copied = hashing::copy(&mut from, &mut to, |bytes| progress.advance(bytes))
        .and_then(|copied| to.sync_all().map(|()| copied));
    Ok(copied.map_err(|error| disk::write_failure(target, &error))?)
}

fn link(original: &Path, target: &Path, progress: &mut dyn Progress) -> Result<(u64, String)> {
    // A link to a link of a cache would break when the cache is tidied.
    let original = std::fs::canonicalize(original).map_err(|error| unreadable(original, &error))?;
    let size_bytes = std::fs::metadata(&original).map_err(|error| unreadable(&original, &error))?.len();
    let sha256 = hashing::sha256_file(&original, |bytes| progress.advance(bytes))
        .map_err(|error| unreadable(&original, &error))?;
    std::os::unix::fs::symlink(&original, target).map_err(|error| disk::write_failure(target, &error))?;
    Ok((size_bytes, sha256))
}

/// The file's stem or the folder's name; a hub cache's snapshot is named after its repository.
fn default_name(path: &Path) -> String {
    let absolute = std::fs::canonicalize(path).unwrap_or(path.to_owned());
    let repo = absolute.ancestors().find_map(|folder| {
        let name = folder.file_name()?.to_str()?.strip_prefix("models--")?;
        (absolute.is_dir()).then(|| name.rsplit("--").next().unwrap_or(name).to_owned())
    });
    let name = repo.unwrap_or_else(|| {
        let name = path.file_name().or(absolute.file_name()).unwrap_or_default();
        let name = name.to_string_lossy();
        let stem = name.strip_suffix(".gguf").or_else(|| name.strip_suffix(".bin"));
        stem.unwrap_or(&name).to_owned()
    });
    names::from_text(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_file_or_the_repository() {
        assert_eq!(default_name(Path::new("/x/Llama-3.2-Q4_K_M.gguf")), "llama-3.2-q4_k_m");
        assert_eq!(default_name(Path::new("/x/ggml-base.en.bin")), "ggml-base.en");
        let folder = tempfile::tempdir().expect("a folder");
        let snapshot = folder.path().join("models--openai--whisper-tiny/snapshots/abc");
        std::fs::create_dir_all(&snapshot).expect("made");
        assert_eq!(default_name(&snapshot), "whisper-tiny");
    }
}
