//! Models that other programs have already put on this machine. Read-only, bounded, and never an
//! error: what cannot be read or understood is passed over.

use super::config::Places;
use super::kinds::{Format, Kind, ModelPath};
use super::names;
use super::recognise::{Recognised, recognise};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Entries looked at in one place, so that a strange tree cannot hold the program up.
const MAX_ENTRIES: usize = 20_000;
/// An Ollama manifest is about a kilobyte.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The program that keeps a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// A hub cache, or faster-whisper's folders.
    HuggingFace,
    /// whisper.cpp and its bindings.
    WhisperCpp,
    /// Ollama's blob store.
    Ollama,
    /// LM Studio.
    LmStudio,
}

impl Origin {
    /// The program's name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::HuggingFace => "Hugging Face cache",
            Self::WhisperCpp => "whisper.cpp",
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
        }
    }
}

/// A model found on this machine outside the store.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// What its program calls it: `openai/whisper-tiny`, `ggml-base.en.bin`, `gemma3:1b`.
    pub(crate) label: String,
    /// Names it also answers to, nearest first, lower case.
    pub(crate) aliases: Vec<String>,
    /// Speech or text.
    pub(crate) kind: Kind,
    /// How it lies on disk.
    pub(crate) format: Format,
    /// The file or folder to load.
    pub(crate) path: PathBuf,
    /// Whose it is.
    pub(crate) origin: Origin,
    /// Size on disk.
    pub(crate) size_bytes: u64,
}

impl Found {
    fn new(label: String, mut aliases: Vec<String>, model: Recognised, origin: Origin) -> Self {
        aliases.dedup();
        let size_bytes = if model.format.is_one_file() {
            fs::metadata(&model.path).map_or(0, |metadata| metadata.len())
        } else {
            walk(&model.path, 1).iter().fold(0, |sum: u64, file| {
                sum.saturating_add(fs::metadata(file).map_or(0, |metadata| metadata.len()))
            })
        };
        let Recognised { kind, format, path, .. } = model;
        Self { label, aliases, kind, format, path, origin, size_bytes }
    }

    /// This model, to be loaded.
    pub(crate) fn to_model_path(&self) -> ModelPath {
        ModelPath { name: self.label.clone(), path: self.path.clone(), kind: self.kind, format: self.format }
    }
}

/// Every model in these places, without those that are the same file twice.
pub(crate) fn discover(places: &Places) -> Vec<Found> {
    let mut all = Vec::new();
    all.extend(places.hugging_face.iter().flat_map(|place| hugging_face(place)));
    all.extend(places.whisper_cpp.iter().flat_map(|place| whisper_cpp(place)));
    all.extend(places.ollama.iter().flat_map(|place| ollama(place)));
    all.extend(places.lm_studio.iter().flat_map(|place| lm_studio(place)));
    let mut seen = HashSet::new();
    all.retain(|found| seen.insert(fs::canonicalize(&found.path).unwrap_or(found.path.clone())));
    all
}

/// The one that `name` means, of this kind: its label first, then the nearest alias.
pub(crate) fn pick<'a>(all: &'a [Found], name: &str, kind: Option<Kind>) -> Option<&'a Found> {
    let fits = |found: &&Found| kind.is_none_or(|kind| found.kind == kind);
    let wanted = name.to_lowercase();
    all.iter().filter(fits).find(|found| found.label.to_lowercase() == wanted).or_else(|| {
        let rank = |found: &Found| found.aliases.iter().position(|alias| *alias == wanted);
        all.iter()
            .filter(fits)
            .filter_map(|found| Some((rank(found)?, found)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, found)| found)
    })
}

/// Files below `root`, at most `depth` folders down, in order of name; links to folders are not
/// followed, so there are no cycles.
fn walk(root: &Path, depth: usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![(root.to_owned(), depth)];
    let mut left = MAX_ENTRIES;
    while let Some((folder, depth)) = waiting.pop() {
        for path in entries(&folder).into_iter().take(left) {
            left = left.saturating_sub(1);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                if depth > 1 {
                    waiting.push((path, depth - 1));
                }
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(MAX_ENTRIES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn hugging_face(cache: &Path) -> Vec<Found> {
    let mut all = Vec::new();
    for folder in entries(cache) {
        let name = file_name(&folder);
        if let Some(repo) = name.strip_prefix("models--") {
            let repo = repo.replacen("--", "/", 1);
            if let Some(snapshot) = snapshot(&folder) {
                all.extend(hub_snapshot(&snapshot, &repo));
            }
        } else if folder.join("model.bin").is_file()
            && let Ok(model) = recognise(&folder)
        {
            let aliases = names::aliases(&name);
            all.push(Found::new(name, aliases, model, Origin::HuggingFace));
        }
    }
    all
}

/// The snapshot that `refs/main` names, else the last one.
fn snapshot(repo: &Path) -> Option<PathBuf> {
    let snapshots = repo.join("snapshots");
    let main = fs::metadata(repo.join("refs/main"))
        .ok()
        .filter(|metadata| metadata.len() <= 256)
        .and_then(|_| fs::read_to_string(repo.join("refs/main")).ok())
        .map(|commit| commit.trim().to_owned())
        .filter(|commit| names::is_valid(commit))
        .map(|commit| snapshots.join(commit))
        .filter(|path| path.is_dir());
    main.or_else(|| entries(&snapshots).into_iter().rfind(|path| path.is_dir()))
}

fn hub_snapshot(snapshot: &Path, repo: &str) -> Vec<Found> {
    let ggufs: Vec<PathBuf> = walk(snapshot, 2).into_iter().filter(|path| is_whole_gguf(path)).collect();
    if ggufs.is_empty() {
        return match recognise(snapshot) {
            // ggml files keep their own names: one repository holds many.
            Ok(model) if !model.format.is_one_file() => {
                let aliases = names::aliases(repo);
                vec![Found::new(repo.to_owned(), aliases, model, Origin::HuggingFace)]
            }
            _ => whisper_files(snapshot, Origin::HuggingFace),
        };
    }
    let only = ggufs.len() == 1;
    ggufs
        .iter()
        .filter_map(|path| {
            let model = recognise(path).ok()?;
            let mut aliases = names::aliases(&file_name(path));
            if only {
                aliases.push(repo.to_lowercase());
                aliases.extend(names::aliases(repo));
            }
            Some(Found::new(file_name(path), aliases, model, Origin::HuggingFace))
        })
        .collect()
}

/// A `.gguf` that is not one of several pieces (`-00001-of-00003`), which the loader does not join.
fn is_whole_gguf(path: &Path) -> bool {
    let name = file_name(path).to_lowercase();
    name.strip_suffix(".gguf").is_some_and(|stem| {
        !stem
            .rsplit_once("-of-")
            .is_some_and(|(_, count)| count.len() == 5 && count.chars().all(|c| c.is_ascii_digit()))
    })
}

fn whisper_cpp(place: &Path) -> Vec<Found> {
    whisper_files(place, Origin::WhisperCpp)
}

fn whisper_files(folder: &Path, origin: Origin) -> Vec<Found> {
    entries(folder)
        .into_iter()
        .filter_map(|path| {
            let name = file_name(&path);
            if !(name.starts_with("ggml-") && name.ends_with(".bin")) {
                return None;
            }
            let model = recognise(&path).ok()?;
            let aliases = names::aliases(&name);
            Some(Found::new(name, aliases, model, origin))
        })
        .collect()
}

fn lm_studio(place: &Path) -> Vec<Found> {
    walk(place, 4)
        .into_iter()
        .filter(|path| is_whole_gguf(path))
        .filter_map(|path| {
            let model = recognise(&path).ok()?;
            let name = file_name(&path);
            let aliases = names::aliases(&name);
            Some(Found::new(name, aliases, model, Origin::LmStudio))
        })
        .collect()
}

#[derive(Deserialize)]
struct OllamaManifest {
    layers: Vec<OllamaLayer>,
}

#[derive(Deserialize)]
struct OllamaLayer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: Option<u64>,
}

/// `manifests/REGISTRY/NAMESPACE/NAME/TAG` name a blob `blobs/sha256-HEX` that is a GGUF.
fn ollama(place: &Path) -> Vec<Found> {
    let manifests = place.join("manifests");
    walk(&manifests, 4)
        .into_iter()
        .filter_map(|path| {
            let below = path.strip_prefix(&manifests).ok()?;
            let parts: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let [_registry, namespace, name, tag] = parts.as_slice() else {
                return None;
            };
            let blob = ollama_blob(place, &path)?;
            let model = recognise(&blob).ok()?;
            let name = if namespace == "library" { name.clone() } else { format!("{namespace}/{name}") };
            let mut aliases = Vec::new();
            if tag == "latest" {
                aliases.push(name.to_lowercase());
            }
            Some(Found::new(format!("{name}:{tag}"), aliases, model, Origin::Ollama))
        })
        .collect()
}

/// The model blob of an Ollama manifest, if the manifest is sound and the blob is whole.
fn ollama_blob(place: &Path, manifest: &Path) -> Option<PathBuf> {
    if fs::metadata(manifest).ok()?.len() > MAX_MANIFEST_BYTES {
        return None;
    }
    let manifest: OllamaManifest = serde_json::from_slice(&fs::read(manifest).ok()?).ok()?;
    let layer =
        manifest.layers.iter().find(|layer| layer.media_type == "application/vnd.ollama.image.model")?;
    // The digest becomes a file's name: 64 hex digits or nothing, so it cannot lead elsewhere.
    let hex = layer.digest.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
        tracing::debug!(digest = %layer.digest, "an Ollama manifest with an unsound digest");
        return None;
    }
    let blob = place.join("blobs").join(format!("sha256-{hex}"));
    let size_bytes = fs::metadata(&blob).ok()?.len();
    layer.size.is_none_or(|size| size == size_bytes).then_some(blob)
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
