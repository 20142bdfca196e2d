//! Model files, memory-mapped; every length in them is checked against the file before it is used.

/// CTranslate2's `model.bin` (faster-whisper).
pub mod ctranslate2;
/// whisper.cpp's `ggml-*.bin`.
pub mod ggml;
/// GGUF, llama.cpp's format.
pub mod gguf;
/// Matrices laid out anew for the processor.
mod interleave;
/// A bounds-checked reader of little-endian fields.
mod reader;
/// Whether a mapped file is in memory, and keeping it there.
mod residency;
/// Safetensors, one file or an index of shards.
pub mod safetensors;

pub use residency::ResidencyError;
pub use undertone_kernels::BlockType;

use crate::error::{ModelError, Result};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use undertone_kernels::{Weight, weight::SharedBytes};

/// A whole file mapped read-only; or memory that what it had was laid out in anew.
pub struct MappedFile {
    map: memmap2::Mmap,
    /// What was copied and is not read again: whole pages, in order.
    spare: OnceLock<Vec<Range<usize>>>,
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl MappedFile {
    /// Maps `path`.
    ///
    /// # Errors
    /// If it cannot be opened, is a directory or is empty.
    pub fn open(path: &Path) -> Result<Arc<MappedFile>> {
        let file = std::fs::File::open(path).map_err(ModelError::io(path))?;
        let meta = file.metadata().map_err(ModelError::io(path))?;
        if !meta.is_file() || meta.len() == 0 {
            let what = if meta.is_file() { "it is empty" } else { "it is not a file" };
            return Err(ModelError::NotAModel { path: path.into(), what: what.into() });
        }
        // SAFETY: the mapping is private and read-only. Should another process truncate the file
        // meanwhile, reading faults: installed models are replaced by rename, never rewritten.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(ModelError::io(path))?;
        Ok(MappedFile::of_memory(map))
    }

    fn of_memory(map: memmap2::Mmap) -> Arc<MappedFile> {
        Arc::new(MappedFile { map, spare: OnceLock::new() })
    }
}

/// One tensor of a file: shape outermost first, where its bytes lie and how they are stored.
#[derive(Clone)]
pub struct TensorEntry {
    pub(crate) bytes: SharedBytes,
    pub(crate) range: Range<usize>,
    pub(crate) ty: BlockType,
    pub(crate) dims: Vec<usize>,
    pub(crate) row_scale: Option<Arc<[f32]>>,
    /// See [`Weight::interleave`].
    pub(crate) interleaved: bool,
}

impl TensorEntry {
    /// As a file has it, without multipliers of rows.
    pub(crate) fn new(
        bytes: SharedBytes,
        range: Range<usize>,
        ty: BlockType,
        dims: Vec<usize>,
    ) -> TensorEntry {
        TensorEntry { bytes, range, ty, dims, row_scale: None, interleaved: false }
    }
}

/// The tensors of a model by name.
pub struct Weights {
    path: PathBuf,
    files: Vec<Arc<MappedFile>>,
    tensors: HashMap<String, TensorEntry>,
}

impl Weights {
    pub(crate) fn new(
        path: &Path,
        files: Vec<Arc<MappedFile>>,
        tensors: HashMap<String, TensorEntry>,
    ) -> Weights {
        Weights { path: path.into(), files, tensors }
    }

    /// The mapped files the tensors lie in: what is prefaulted, locked and watched.
    pub fn files(&self) -> Vec<Arc<MappedFile>> {
        self.files.clone()
    }

    /// Bytes of those files from end to end, headers included.
    pub fn file_bytes(&self) -> usize {
        self.files.iter().map(|f| (**f).as_ref().len()).sum()
    }

    /// Every tensor's name, shape (outermost first) and storage type, in no particular order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], BlockType)> {
        self.tensors.iter().map(|(name, t)| (name.as_str(), &t.dims[..], t.ty))
    }

    /// Bytes of the multipliers that integer rows (CTranslate2) are given beside the file.
    pub(crate) fn row_scale_bytes(&self) -> usize {
        self.tensors.values().filter_map(|t| t.row_scale.as_ref()).map(|s| 4 * s.len()).sum()
    }

    /// The file or folder the tensors come from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a tensor of this name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape of a tensor, outermost dimension first.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn dims(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.entry(name)?.dims)
    }

    /// A tensor's bytes as they are stored.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn bytes(&self, name: &str) -> Result<&[u8]> {
        let entry = self.entry(name)?;
        Ok(&(*entry.bytes).as_ref()[entry.range.clone()])
    }

    /// Bytes of all tensors in their stored form.
    pub fn len_bytes(&self) -> usize {
        self.tensors.values().map(|t| t.range.len()).sum()
    }

    /// Sum of what `of` says of each tensor.
    pub(crate) fn sum(&self, of: impl Fn(&str, &TensorEntry) -> Option<usize>) -> usize {
        self.tensors.iter().filter_map(|(name, tensor)| of(name, tensor)).sum()
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry> {
        self.tensors
            .get(name)
            .ok_or_else(|| ModelError::MissingTensor { path: self.path.clone(), name: name.into() })
    }

    fn checked(&self, name: &str, expected: &[usize]) -> Result<&TensorEntry> {
        let entry = self.entry(name)?;
        if entry.dims != expected {
            return Err(ModelError::TensorShape {
                path: self.path.clone(),
                name: name.into(),
                expected: expected.into(),
                found: entry.dims.clone(),
            });
        }
        Ok(entry)
    }

    /// The matrix `name [rows, cols]` over the mapped bytes.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Weight> {
        let e = self.checked(name, &[rows, cols])?;
        if e.interleaved {
            return Ok(Weight::interleaved(e.bytes.clone(), e.range.clone(), e.ty, rows, cols)?);
        }
        self.flat(name, rows, cols)
    }

    /// The tensor `name` as rows, whatever its shape.
    fn flat(&self, name: &str, rows: usize, cols: usize) -> Result<Weight> {
        let e = self.entry(name)?;
        let weight = Weight::new(e.bytes.clone(), e.range.clone(), e.ty, rows, cols)?;
        Ok(match &e.row_scale {
            Some(scale) => weight.with_row_scale(scale.clone())?,
            None => weight,
        })
    }

    /// Gives up the pages of the matrices `copied` takes: they were copied and are not read again.
    pub(crate) fn give_up(&self, copied: impl Fn(&str, &TensorEntry) -> bool) {
        for file in &self.files {
            file.give_up(self.pages(file, &copied));
        }
    }

    /// Bytes of those pages.
    pub(crate) fn spare_bytes(&self, copied: impl Fn(&str, &TensorEntry) -> bool) -> usize {
        let pages = self.files.iter().flat_map(|file| self.pages(file, &copied));
        pages.map(|pages| pages.len()).sum()
    }

    /// Whole pages of a file with nothing in them but matrices `copied` takes, in order.
    fn pages(&self, file: &MappedFile, copied: impl Fn(&str, &TensorEntry) -> bool) -> Vec<Range<usize>> {
        let page = residency::page_bytes();
        let here = |e: &TensorEntry| std::ptr::eq((*e.bytes).as_ref().as_ptr(), file.map.as_ptr());
        let taken = self.tensors.iter().filter(|(name, e)| here(e) && copied(name, e));
        let mut pages: Vec<Range<usize>> = taken
            .map(|(_, e)| e.range.start.next_multiple_of(page)..e.range.end / page * page)
            .filter(|pages| !pages.is_empty())
            .collect();
        pages.sort_by_key(|pages| pages.start);
        // Names that share their bytes, or overlap in a damaged file, give them up once.
        pages.dedup_by(|next, last| {
            let overlap = next.start < last.end;
            if overlap {
                last.end = last.end.max(next.end);
            }
            overlap
        });
        pages
    }

    /// All numbers of the tensor `name` as f32, as they lie in the file.
    ///
    /// # Errors
    /// If it is missing.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>> {
        let dims = self.dims(name)?;
        let rows = dims.first().copied().unwrap_or(1);
        let cols = dims.iter().skip(1).product();
        match dims {
            [len] => self.vector(name, *len),
            _ => Ok(self.flat(name, rows, cols)?.to_f32()),
        }
    }

    /// The vector `name [len]` as f32.
    ///
    /// # Errors
    /// If it is missing or has another length.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let e = self.checked(name, &[len])?;
        Ok(Weight::new(e.bytes.clone(), e.range.clone(), e.ty, 1, len)?.to_f32())
    }

    /// A vector that some models of the family lack.
    ///
    /// # Errors
    /// If it is there with another length.
    pub fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        if self.contains(name) { self.vector(name, len).map(Some) } else { Ok(None) }
    }

    /// A convolution `name [out, channels, 3]` as f32 rows with the tap outermost
    /// (`[out, 3 * channels]`), as [`undertone_kernels::conv1d`] reads it.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn convolution(&self, name: &str, out: usize, channels: usize) -> Result<Weight> {
        self.checked(name, &[out, channels, 3])?;
        let flat = self.flat(name, out, channels * 3)?;
        let mut taps = vec![0f32; out * channels * 3];
        for (to, from) in taps.chunks_exact_mut(channels * 3).zip(flat.to_f32().chunks_exact(channels * 3)) {
            for (i, v) in from.iter().enumerate() {
                to[i % 3 * channels + i / 3] = *v;
            }
        }
        Ok(Weight::from_f32(taps, out, channels * 3)?)
    }
}
