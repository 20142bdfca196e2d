//! What the store writes beside a model's files: their sizes and hashes, where they came from, and
//! when they were last found whole.

use super::disk;
use super::kinds::{Format, Kind};
use super::names;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The manifest's name in a model's folder.
pub(crate) const FILE_NAME: &str = "undertone-model.json";

/// A manifest of our own making is a few kilobytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

const VERSION: u32 = 1;

/// `undertone-model.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Form of this file; 1.
    pub(crate) version: u32,
    /// The model's name, that of its folder.
    pub(crate) name: String,
    /// Speech or text.
    pub(crate) kind: Kind,
    /// How its files lie on disk.
    pub(crate) format: Format,
    /// What it is, in a few words.
    #[serde(default)]
    pub(crate) title: String,
    /// The weights' licence, `unknown` for imports.
    pub(crate) licence: String,
    /// Where the files came from, for people.
    pub(crate) source: String,
    /// Every file of the model.
    pub(crate) files: Vec<FileEntry>,
}

/// One file of a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    /// Name in the model's folder.
    pub(crate) name: String,
    /// Size.
    pub(crate) size_bytes: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub(crate) sha256: String,
    /// The hub's own hash that the download was checked against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hub_hash: Option<String>,
    /// What the file looked like when its hash was last found right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verified_at: Option<Stamp>,
}

/// Size and time of change: while both stay, the hash is not computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Size.
    pub(crate) size_bytes: u64,
    /// Time of change in nanoseconds since 1970.
    pub(crate) mtime_ns: u64,
}

impl Stamp {
    /// The stamp of a file as it is now (of its target, for a link).
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { size_bytes: metadata.len(), mtime_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) })
    }
}

impl Manifest {
    /// A manifest without files yet.
    pub(crate) fn new(name: &str, kind: Kind, format: Format) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            kind,
            format,
            title: String::new(),
            licence: "unknown".to_owned(),
            source: String::new(),
            files: Vec::new(),
        }
    }

    /// Reads the manifest of a model's folder; `Ok(None)` when there is none.
    ///
    /// # Errors
    /// It cannot be read, is not a manifest, or names files outside the folder.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE_NAME);
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        if metadata.len() > MAX_MANIFEST_BYTES {
            bail!("{} is far too large", path.display());
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        Self::parse(&text).map_err(|problem| anyhow::anyhow!("{} {problem}", path.display())).map(Some)
    }

    /// A manifest from its text, or what is wrong with it in a few words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = serde_json::from_str(text).map_err(|error| format!("is damaged: {error}"))?;
        if manifest.version != VERSION {
            return Err(format!("is of version {}", manifest.version));
        }
        if manifest.files.is_empty() || manifest.files.iter().any(|file| !names::is_inside(&file.name)) {
            return Err("names no usable files".to_owned());
        }
        Ok(manifest)
    }

    /// The manifest as its file.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes the manifest into a model's folder, whole or not at all.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        disk::write_whole(&folder.join(FILE_NAME), self.to_json()?.as_bytes())?;
        Ok(())
    }

    /// What to load: the one file of a `ggml` or `gguf` model, else the folder.
    pub(crate) fn load_path(&self, folder: &Path) -> PathBuf {
        match self.files.first() {
            Some(first) if self.format.is_one_file() => folder.join(&first.name),
            _ => folder.to_owned(),
        }
    }

    /// The sum of the files' sizes.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
