//! The file that says what is compared, on what.

use crate::cli::Device;
use crate::exit::{Exit, Failure};
use crate::plan;
use anyhow::Result;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// An experiment, as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Experiment {
    /// What is dictated.
    pub(crate) corpus: CorpusSource,
    /// How often every clip is dictated in every cell.
    #[serde(default = "once", deserialize_with = "repeats")]
    pub(crate) repeats: u32,
    /// Whether missing models are an error.
    #[serde(default)]
    pub(crate) offline: bool,
    /// Modes of one's own, see docs/modes.md; relative to the experiment.
    #[serde(default)]
    pub(crate) modes_file: Option<PathBuf>,
    /// Memory that each engine may take, such as "8GiB"; what is free without it.
    #[serde(default, deserialize_with = "size")]
    pub(crate) budget: Option<usize>,
    /// The axes.
    #[serde(default)]
    pub(crate) sweep: Axes,
}

/// Where the clips or text pairs are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorpusSource {
    /// JSONL, relative to the experiment.
    pub(crate) manifest: PathBuf,
    /// What paths in the manifest are relative to: its own folder, or this one (relative to the experiment).
    #[serde(default)]
    pub(crate) root: Option<PathBuf>,
    /// Lines are taken whose keys have these values.
    #[serde(default, rename = "where")]
    pub(crate) filter: BTreeMap<String, String>,
    /// So many of them at most, evenly spread.
    #[serde(default)]
    pub(crate) clips: Option<std::num::NonZeroUsize>,
}

/// How the language model's keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kv {
    #[default]
    F32,
    Q8,
}

/// The lists whose product is the sweep; what is not named has one value, that of `undertone transcribe`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Axes {
    #[serde(deserialize_with = "list")]
    pub(crate) speech_models: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) text_models: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) modes: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) kv: Vec<Kv>,
    #[serde(deserialize_with = "numbers::<_, 256, 131_072>")]
    pub(crate) context: Vec<u32>,
    #[serde(deserialize_with = "list")]
    pub(crate) speculation: Vec<bool>,
    #[serde(deserialize_with = "list")]
    pub(crate) streaming: Vec<bool>,
    #[serde(deserialize_with = "numbers::<_, 1, 16>")]
    pub(crate) beams: Vec<u32>,
    /// 0: all cores.
    #[serde(deserialize_with = "numbers::<_, 0, 1024>")]
    pub(crate) threads: Vec<u32>,
    #[serde(deserialize_with = "devices")]
    pub(crate) devices: Vec<String>,
}

impl Default for Axes {
    fn default() -> Axes {
        Axes {
            speech_models: vec![crate::store::DEFAULT_SPEECH.into()],
            text_models: vec![crate::store::DEFAULT_TEXT.into()],
            modes: vec!["standard".into()],
            kv: vec![Kv::F32],
            context: vec![2048],
            speculation: vec![true],
            streaming: vec![false],
            beams: vec![2],
            threads: vec![0],
            devices: vec!["auto".into()],
        }
    }
}

fn once() -> u32 {
    1
}

fn repeats<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        n @ 1..=10_000 => Ok(n),
        n => Err(D::Error::custom(format!("{n} is not from 1 to 10000"))),
    }
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    plan::size(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

/// At least one value, none twice.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de> + PartialEq>(from: D) -> Result<Vec<T>, D::Error> {
    let values = Vec::<T>::deserialize(from)?;
    if values.is_empty() {
        return Err(D::Error::custom("the list is empty: leave the key out for its default"));
    }
    if values.iter().enumerate().any(|(i, value)| values[..i].contains(value)) {
        return Err(D::Error::custom("a value is listed twice"));
    }
    Ok(values)
}

fn numbers<'de, D: Deserializer<'de>, const LEAST: u32, const MOST: u32>(
    from: D,
) -> Result<Vec<u32>, D::Error> {
    let values: Vec<u32> = list(from)?;
    match values.iter().find(|n| !(LEAST..=MOST).contains(*n)) {
        Some(n) => Err(D::Error::custom(format!("{n} is not from {LEAST} to {MOST}"))),
        None => Ok(values),
    }
}

fn devices<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let values: Vec<String> = list(from)?;
    values.iter().try_for_each(|name| Device::parse(name).map(drop)).map_err(D::Error::custom)?;
    Ok(values)
}

impl Experiment {
    /// Reads the file at `path`; what it names relative to itself becomes relative to here.
    ///
    /// # Errors
    /// [`Exit::Input`] if it cannot be read, [`Exit::Usage`] with key and line if it is no experiment.
    pub(crate) fn read(path: &Path) -> Result<Experiment> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::new(Exit::Input, format!("cannot read the experiment {}: {e}", path.display()))
        })?;
        let mut experiment = Experiment::parse(&text)
            .map_err(|what| Failure::new(Exit::Usage, format!("{}, {what}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = |file: &mut PathBuf| *file = folder.join(&*file);
        beside(&mut experiment.corpus.manifest);
        experiment.corpus.root.as_mut().map(beside);
        experiment.modes_file.as_mut().map(beside);
        Ok(experiment)
    }

    /// # Errors
    /// A sentence with line and key.
    fn parse(text: &str) -> Result<Experiment, String> {
        toml::from_str(text).map_err(|e| {
            let what = e.message().lines().collect::<Vec<_>>().join(" ");
            let Some(span) = e.span() else { return what };
            let line = 1 + text[..span.start.min(text.len())].matches('\n').count();
            match key_at(text, &span) {
                Some(key) => format!("line {line}: {key}: {what}"),
                None => format!("line {line}: {what}"),
            }
        })
    }
}

/// The dotted key whose value, or which itself, is at `span`.
fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    // What is missing is nowhere.
    (!span.is_empty()).then(|| in_table(DeTable::parse(text).ok()?.get_ref(), span))?
}

/// A table's own span is that of its header, so all are looked into.
fn in_table(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let inside = |range: Range<usize>| range.start <= span.start && span.end <= range.end;
    table.iter().find_map(|(key, value)| {
        let below = match value.get_ref() {
            DeValue::Table(inner) => in_table(inner, span),
            _ => None,
        };
        match below {
            Some(below) => Some(format!("{}.{below}", key.get_ref())),
            None => (inside(key.span()) || inside(value.span())).then(|| key.get_ref().to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_default() {
        let experiment = Experiment::parse("corpus.manifest = 'a.jsonl'").unwrap();
        assert_eq!((experiment.repeats, experiment.sweep.beams), (1, vec![2]));
        assert_eq!(experiment.sweep.speech_models, [crate::store::DEFAULT_SPEECH]);
    }

    #[test]
    fn mistakes_are_named_by_line_and_key() {
        let head = "repeats = 2\n[corpus]\nmanifest = 'a.jsonl'\n";
        let cases = [
            ("[sweep]\nbeams = [1, 17]", "line 5: sweep.beams: 17 is not from 1 to 16"),
            ("[sweep]\nbeems = [1]", "line 5: sweep.beems: unknown field `beems`"),
            ("[sweep]\nkv = ['f32', 'q4']", "line 5: sweep.kv: unknown variant `q4`"),
            ("[sweep]\nkv = [\n'f32',\n'q4']", "line 7: sweep.kv: unknown variant `q4`"),
            ("[sweep]\nmodes = []", "line 5: sweep.modes: the list is empty"),
            ("[sweep]\nstreaming = [true, true]", "line 5: sweep.streaming: a value is listed twice"),
            ("[sweep]\nthreads = 'all'", "line 5: sweep.threads: invalid type"),
            ("[sweep]\ndevices = ['gpu']", "line 5: sweep.devices: expected auto, cpu"),
            ("clips = 0", "line 4: corpus.clips: "),
            ("[swep]\nkv = ['f32']", "line 4: swep: unknown field `swep`"),
            ("x = [", "line 4: "),
        ];
        for (more, expected) in cases {
            let error = Experiment::parse(&format!("{head}{more}")).unwrap_err();
            assert!(error.starts_with(expected), "{more:?}: {error}");
        }
        let cases = [
            ("repeats = 0\ncorpus.manifest = 'a'", "line 1: repeats: 0 is not"),
            ("budget = '8'\ncorpus.manifest = 'a'", "line 1: budget: '8' is not a size"),
            ("repeats = 3", "line 1: missing field `corpus`"),
        ];
        for (text, expected) in cases {
            let error = Experiment::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
