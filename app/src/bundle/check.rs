//! A bundle read to its end without writing anything.

use super::MODELS;
use super::archive::{self, Head, Visit, bad};
use super::index::{Entry, Index, Place, Sums};
use crate::exit::Failure;
use crate::store::manifest::{self, Manifest};
use crate::store::progress::Progress;
use anyhow::Result;
use minisign_verify::PublicKey;
use std::path::Path;

/// A manifest of our own making is a few kilobytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// A bundle that is whole.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What it holds.
    pub(crate) head: Head,
    /// Its models, in its order.
    pub(crate) models: Vec<Manifest>,
}

/// Reads the bundle `path` to its end.
///
/// # Errors
/// [`crate::exit::Exit::Input`] for whatever is not as [`super::archive::Writer`] wrote it, or not signed by `key`.
pub(crate) fn check(path: &Path, key: Option<&PublicKey>, progress: &mut dyn Progress) -> Result<Checked> {
    let mut manifests = Manifests::default();
    let label = format!("checking {}", path.display());
    let head = archive::walk(path, key, &label, &mut manifests, progress)?;
    let models = manifests.models(path, &head.index, &head.sums)?;
    Ok(Checked { head, models })
}

/// Keeps the manifests that come by.
#[derive(Default)]
struct Manifests {
    current: Option<Vec<u8>>,
    /// By the name of the model's folder.
    read: Vec<(String, Vec<u8>)>,
}

impl Visit for Manifests {
    fn open(&mut self, entry: &Entry, _sha256: &str) -> Result<(), Failure> {
        let is_manifest = matches!(entry.place(), Some(Place::Model { file: manifest::FILE_NAME, .. }));
        self.current = (is_manifest && entry.size_bytes <= MAX_MANIFEST_BYTES).then(Vec::new);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(current) = &mut self.current {
            current.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn close(&mut self, entry: &Entry) -> Result<()> {
        if let (Some(bytes), Some(Place::Model { model, .. })) = (self.current.take(), entry.place()) {
            self.read.push((model.to_owned(), bytes));
        }
        Ok(())
    }
}

impl Manifests {
    /// The models, once every one has a manifest that names exactly its files with their sizes and hashes.
    fn models(self, path: &Path, index: &Index, sums: &Sums) -> Result<Vec<Manifest>, Failure> {
        let mut models = Vec::new();
        for (name, bytes) in self.read {
            let about = |what: &str| bad(path, format!("cannot be used: the manifest of {name} {what}"));
            let text = String::from_utf8(bytes).map_err(|_| about("is not one"))?;
            let mut manifest = Manifest::parse(&text).map_err(|_| about("is not one"))?;
            if manifest.name != name {
                return Err(about("is another model's"));
            }
            for file in &mut manifest.files {
                file.verified_at = None;
                let full = format!("{MODELS}{name}/{}", file.name);
                let at = index.files.iter().position(|entry| entry.name == full);
                let same = at.is_some_and(|at| {
                    index.files.get(at).is_some_and(|entry| entry.size_bytes == file.size_bytes)
                        && sums.hash(at + 1) == file.sha256
                });
                if !same || file.name == manifest::FILE_NAME {
                    return Err(about("does not fit its files"));
                }
            }
            models.push(manifest);
        }
        // A file of the bundle that belongs to no manifest, or a manifest that names a file twice.
        let in_models = index.files.iter().filter(|entry| matches!(entry.place(), Some(Place::Model { .. })));
        let named: usize = models.iter().map(|manifest| manifest.files.len() + 1).sum();
        if in_models.count() != named {
            return Err(bad(path, "cannot be used: its models hold files that no manifest names"));
        }
        Ok(models)
    }
}
