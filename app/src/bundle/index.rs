//! What is in a bundle: `bundle.json` and `SHA256SUMS`, and what both must satisfy before a name in them is used.

use super::{INDEX, MODELS, PROGRAM, SIGNATURE, SUMS};
use crate::store::names;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt::Write as _;

/// The form of bundles that this program writes and reads.
const FORMAT: u32 = 1;
/// More files than any set of models has.
const MAX_FILES: usize = 10_000;

/// `bundle.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    /// Form of the bundle; 1.
    pub(crate) format: u32,
    /// The program's version.
    pub(crate) version: String,
    /// What the program runs on, e.g. `x86_64-linux`.
    pub(crate) target: String,
    /// What was built into the program.
    pub(crate) features: Vec<String>,
    /// All files but this one and the hashes, in the archive's order.
    pub(crate) files: Vec<Entry>,
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its name in the bundle's folder.
    pub(crate) name: String,
    /// Its size.
    pub(crate) size_bytes: u64,
    /// Whether it is a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) executable: bool,
}

/// What a file of a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// The program.
    Program,
    /// Licences, bill of materials, ...: for people.
    Paper,
    /// A file of a model.
    Model {
        /// The model's name.
        model: &'a str,
        /// The file's name in the model's folder.
        file: &'a str,
    },
}

impl Entry {
    /// What the file is for; `None` for a name that no bundle has.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        let name = self.name.as_str();
        if name == PROGRAM {
            return self.executable.then_some(Place::Program);
        }
        if self.executable || [SUMS, SIGNATURE, INDEX].contains(&name) {
            return None;
        }
        if let Some(rest) = name.strip_prefix(MODELS) {
            let (model, file) = rest.split_once('/')?;
            let is_plain = names::is_inside(file) && !file.ends_with('/') && !file.contains("//");
            let fits = names::is_valid(model) && is_plain && !file.contains(char::is_control);
            return fits.then_some(Place::Model { model, file });
        }
        let is_paper = name.split('/').count() <= 2 && name.split('/').all(names::is_valid);
        (is_paper && !name.starts_with("bin/")).then_some(Place::Paper)
    }
}

impl Index {
    /// The index of a bundle with this machine's program.
    pub(crate) fn new(files: Vec<Entry>) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            target: target(),
            features: features().into_iter().map(ToOwned::to_owned).collect(),
            files,
        }
    }

    /// The index as its file.
    pub(crate) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text.into_bytes())
    }

    /// An index from its file, or what is wrong with it in a few words.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let form: Form = serde_json::from_slice(bytes).map_err(|_| "is not an index".to_owned())?;
        if form.format != FORMAT {
            return Err(format!("is of form {}, and this program reads form {FORMAT}", form.format));
        }
        let index: Self = serde_json::from_slice(bytes).map_err(|_| "is not an index".to_owned())?;
        if index.files.len() > MAX_FILES {
            return Err(format!("lists {} files", index.files.len()));
        }
        let mut seen = HashSet::new();
        for entry in &index.files {
            if entry.place().is_none() {
                return Err(format!("lists \"{}\", which no bundle holds", shown(&entry.name)));
            }
            if !seen.insert(entry.name.as_str()) {
                return Err(format!("lists \"{}\" twice", shown(&entry.name)));
            }
        }
        let in_the_way = |entry: &&Entry| {
            let above = entry.name.match_indices('/').filter_map(|(at, _)| entry.name.get(..at));
            above.into_iter().any(|folder| seen.contains(folder))
        };
        if let Some(entry) = index.files.iter().find(in_the_way) {
            return Err(format!("lists \"{}\" below a file", shown(&entry.name)));
        }
        if !seen.contains(PROGRAM) {
            return Err("lists no program".to_owned());
        }
        Ok(index)
    }

    /// The sum of the files' sizes.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, entry| sum.saturating_add(entry.size_bytes))
    }
}

/// What this program runs on.
pub(crate) fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// What was built into this program.
pub(crate) fn features() -> Vec<&'static str> {
    let all = [
        ("cuda", cfg!(feature = "cuda")),
        ("fetch", cfg!(feature = "fetch")),
        ("portal", cfg!(feature = "portal")),
    ];
    all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

/// Lines of `SHA256SUMS`: hash (lower-case hex) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums(pub(crate) Vec<(String, String)>);

impl Sums {
    /// The list as its file.
    pub(crate) fn to_text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (sha256, name)| {
            let _ = writeln!(text, "{sha256}  {name}");
            text
        })
    }

    /// A list from its file, or what is wrong with it in a few words. Only what [`Sums::to_text`] writes is read.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is not a list of hashes".to_owned())?;
        let mut lines = Vec::new();
        for line in text.lines() {
            let (sha256, name) = line.split_once("  ").unwrap_or_default();
            let is_hash = sha256.len() == 64 && sha256.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
            if !is_hash || name.is_empty() {
                return Err(format!("is not a list of hashes at line {}", lines.len() + 1));
            }
            lines.push((sha256.to_owned(), name.to_owned()));
        }
        let sums = Self(lines);
        if sums.to_text() != text {
            return Err("is not a list of hashes".to_owned());
        }
        Ok(sums)
    }

    /// Whether it names the index and then the index's files, in their order; the first that differs.
    pub(crate) fn match_names(&self, index: &Index) -> Result<(), String> {
        let listed = self.0.iter().map(|(_, name)| name.as_str());
        let wanted = std::iter::once(INDEX).chain(index.files.iter().map(|entry| entry.name.as_str()));
        if self.0.len() != index.files.len() + 1 {
            return Err(format!("has {} lines for {} files", self.0.len(), index.files.len() + 1));
        }
        match listed.zip(wanted).find(|(listed, wanted)| listed != wanted) {
            Some((listed, wanted)) => Err(format!("has {} where {} belongs", shown(listed), shown(wanted))),
            None => Ok(()),
        }
    }

    /// The hash of the index (0) and of the files (from 1).
    pub(crate) fn hash(&self, at: usize) -> &str {
        self.0.get(at).map_or("", |(sha256, _)| sha256)
    }
}

/// A name from a file that is not trusted, as it may be shown.
pub(crate) fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).take(200).collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    fn entry(name: &str, executable: bool) -> Entry {
        Entry { name: name.to_owned(), size_bytes: 1, executable }
    }

    #[test]
    fn only_the_names_of_a_bundle_have_a_place() {
        assert_eq!(entry(PROGRAM, true).place(), Some(Place::Program));
        assert_eq!(entry("licences/LICENSE-MIT", false).place(), Some(Place::Paper));
        let model = entry("models/a/sub/m.bin", false);
        assert_eq!(model.place(), Some(Place::Model { model: "a", file: "sub/m.bin" }));
        for bad in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../x",
            "models/../x",
            "models/a",
            "models/a/",
            "models/a/../b",
            "models//x",
            "models/.partial/x",
            "models/a//etc",
            "models/a/b\n",
            "bin/sh",
            "SHA256SUMS",
            "bundle.json",
            "a/b/c",
            "models/a/b\\c",
            ".bashrc",
            "licences/../x",
            "models/a/./b",
        ] {
            assert_eq!(entry(bad, false).place(), None, "{bad:?}");
        }
        assert_eq!(entry("models/a/m.bin", true).place(), None, "a model is no program");
        assert_eq!(entry(PROGRAM, false).place(), None);
    }

    #[test]
    fn an_index_with_bad_names_is_refused() {
        let json = |files: Vec<Entry>| Index::new(files).to_json().expect("JSON");
        let good = vec![entry(PROGRAM, true), entry("models/a/m", false)];
        let index = Index::parse(&json(good.clone())).expect("it is good");
        assert_eq!((index.size_bytes(), index.files.len()), (2, 2));
        let with = |more: Entry| json([good.clone(), vec![more]].concat());
        for (bytes, words) in [
            (with(entry("models/a/m", false)), "twice"),
            (with(entry("models/a/m/n", false)), "below a file"),
            (with(entry("../x", false)), "no bundle holds"),
            (json(vec![entry("models/a/m", false)]), "no program"),
            (json(vec![entry("models/a/m", false); MAX_FILES + 1]), "10001 files"),
            (br#"{"format": 2, "news": 1}"#.to_vec(), "of form 2"),
            (b"{}".to_vec(), "not an index"),
            (b"\xff".to_vec(), "not an index"),
        ] {
            let problem = Index::parse(&bytes).expect_err(words);
            assert!(problem.contains(words), "{words}: {problem}");
        }
    }

    #[test]
    fn a_list_of_hashes_is_read_as_it_was_written_or_not_at_all() {
        let hash = "0".repeat(64);
        let sums = Sums(vec![(hash.clone(), INDEX.to_owned()), (hash.clone(), PROGRAM.to_owned())]);
        assert_eq!(Sums::parse(sums.to_text().as_bytes()), Ok(sums.clone()));
        for bad in
            [format!("{hash} x\n"), format!("{hash}  x"), format!("{hash}  x\r\n"), format!("{hash}  \n")]
        {
            assert!(Sums::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let index = Index::new(vec![entry(PROGRAM, true)]);
        assert_eq!(sums.match_names(&index), Ok(()));
        let other = Index::new(vec![entry("x", false)]);
        assert!(sums.match_names(&other).is_err_and(|problem| problem.contains("bin/undertone where x")));
        assert!(sums.match_names(&Index::new(Vec::new())).is_err_and(|problem| problem.contains("2 lines")));
    }
}
