//! A smaller copy of a speech model.

use super::disk;
use super::hashing::Hashed;
use super::kinds::{Format, Kind, ModelPath};
use super::manifest::{FileEntry, Manifest};
use super::names;
use super::progress::Progress;
use super::{Store, interrupt};
use crate::exit::{Exit, Failure};
use anyhow::Result;
use std::fs::File;
use std::io;
use std::path::Path;
use undertone_models::whisper::{Quantized, QuantizedType, WriteError};

impl Store {
    /// Makes the model `name` out of the speech model `from`, its matrices stored as `ty`.
    ///
    /// # Errors
    /// [`Exit::Usage`] for no such type, [`Exit::Model`] when `from` cannot be used or the name is taken,
    /// [`Exit::Disk`] when it cannot be written.
    pub(crate) fn quantize(
        &self,
        from: &str,
        ty: QuantizedType,
        name: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<ModelPath> {
        let (model, quantized) = self.open_to_quantize(from, ty)?;
        let default = || names::from_text(&format!("{}-{}", model.name, ty.name()));
        let name = name.map_or_else(default, ToOwned::to_owned);
        self.check_name(&name, &model.path, model.kind)?;
        let mut manifest = Manifest::new(&name, Kind::Speech, Format::Ggml);
        manifest.title = format!("{} in {}", model.name, ty.name());
        manifest.source = format!("quantized from {}", model.path.display());
        if let Ok(Some((_, original))) = self.installed(&model.name) {
            manifest.licence = original.licence;
        }
        self.put(manifest, progress, |files, progress| {
            disk::check_space(files, "the model", quantized.len_bytes())?;
            let file_name = format!("ggml-{name}.bin");
            let path = files.join(&file_name);
            let mut file = File::create_new(&path).map_err(|e| disk::write_failure(&path, &e))?;
            let sha256 = write(&quantized, &path, &mut file, progress)?;
            let size_bytes = quantized.len_bytes();
            Ok(vec![FileEntry { name: file_name, size_bytes, sha256, hub_hash: None, verified_at: None }])
        })
    }

    /// Writes the speech model `from` to `path`, its matrices stored as `ty`. A file that is there is left alone.
    ///
    /// # Errors
    /// As [`Store::quantize`].
    pub(crate) fn quantize_to_file(
        &self,
        from: &str,
        ty: QuantizedType,
        path: &Path,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let (_, quantized) = self.open_to_quantize(from, ty)?;
        let failed = |e: &io::Error| disk::write_failure(path, e);
        if path.symlink_metadata().is_ok() {
            return Err(failed(&io::ErrorKind::AlreadyExists.into()).into());
        }
        let _guard = interrupt::Guard::set();
        disk::check_space(path, "the model", quantized.len_bytes())?;
        let mut file = disk::readable_by_all(disk::folder_of(path)).map_err(|e| failed(&e))?;
        let _doomed = interrupt::Doomed::file(file.path());
        let written = write(&quantized, path, file.as_file_mut(), progress);
        progress.finish();
        written?;
        file.persist_noclobber(path).map_err(|e| failed(&e.error))?;
        Ok(())
    }

    fn open_to_quantize(&self, from: &str, ty: QuantizedType) -> Result<(ModelPath, Quantized)> {
        let model = self.resolve(from, Kind::Speech)?;
        let quantized =
            Quantized::new(&model.path, ty).map_err(|e| Failure::new(Exit::Model, e.to_string()))?;
        Ok((model, quantized))
    }
}

/// Writes the model to `path`, and to the disk; its SHA-256.
fn write(model: &Quantized, path: &Path, file: &mut File, progress: &mut dyn Progress) -> Result<String> {
    progress.start("quantizing", model.len_bytes());
    let mut out = Hashed::new(file);
    let written = model.write(&mut out, |bytes| progress.advance(bytes));
    written.and_then(|()| Ok(out.inner.sync_all()?)).map_err(|e| match e {
        WriteError::Io(e) => disk::write_failure(path, &e),
        WriteError::Model(e) => Failure::new(Exit::Model, e.to_string()),
    })?;
    Ok(out.hasher.hex())
}
