//! The cells of a sweep, the engines that they share, and who measures what.

use super::corpus::{Clip, Source};
use super::experiment::{Axes, Kv};
use crate::exit::{Exit, Failure};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use undertone_engine::prompt::{Input, Modes, Policy};

/// Settings that are measured together. The order of the fields is that of a table's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Cell {
    #[serde(flatten)]
    pub(crate) engine: EngineCell,
    pub(crate) mode: String,
    pub(crate) streaming: bool,
    pub(crate) beam: u32,
}

/// What an engine is made of: cells in which it is the same share one load.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct EngineCell {
    pub(crate) speech_model: String,
    /// `none` where no language model is asked.
    pub(crate) text_model: String,
    pub(crate) kv: Kv,
    pub(crate) context: u32,
    pub(crate) speculation: bool,
    /// 0: all cores.
    pub(crate) threads: u32,
    pub(crate) device: String,
}

impl fmt::Display for Cell {
    /// As it is called in charts and messages; what is as usual is not said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EngineCell { speech_model, text_model, kv, context, speculation, threads, device } = &self.engine;
        let name = |model: &str| model.rsplit('/').find(|part| !part.is_empty()).unwrap_or(model).to_string();
        write!(f, "{} + {}, {}, beam {}", name(speech_model), name(text_model), self.mode, self.beam)?;
        let usual = Axes::default();
        let said = [
            (self.streaming, "streamed".into()),
            (!speculation, "no drafts".into()),
            (*kv != usual.kv[0], "q8 cache".into()),
            (*context != usual.context[0], format!("context {context}")),
            (*threads != usual.threads[0], format!("{threads} threads")),
            (*device != usual.devices[0], device.clone()),
        ];
        said.iter().filter(|(said, _)| *said).try_for_each(|(_, what)| write!(f, ", {what}"))
    }
}

/// An engine and all of the experiment that it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) engine: EngineCell,
    pub(crate) cells: Vec<Cell>,
}

/// The product of the axes, by engine. Cells that differ only in what means nothing to them are one: where
/// no language model is asked it, its cache and its drafts, and for texts the speech model, beams and
/// streaming.
///
/// # Errors
/// [`Exit::Usage`] for a mode that there is not, or that works on selected text.
pub(crate) fn groups(axes: &Axes, modes: &Modes, texts: bool) -> Result<Vec<Group>> {
    for name in &axes.modes {
        let wrong = |what: String| Failure::new(Exit::Usage, format!("sweep.modes: {what}"));
        let Some(mode) = modes.get(name) else {
            let names: Vec<&str> = modes.keys().map(String::as_str).collect();
            return Err(wrong(format!("there is no mode '{name}'; there are {}", names.join(", "))).into());
        };
        if mode.input != Input::Transcript {
            return Err(wrong(format!("'{name}' works on selected text, which a corpus has none of")).into());
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    for cell in product(axes) {
        let policy = modes[&cell.mode].policy;
        let cell = plain(cell, policy, texts.then_some(axes));
        let at = groups.iter().position(|group| group.engine == cell.engine).unwrap_or_else(|| {
            groups.push(Group { engine: cell.engine.clone(), cells: Vec::new() });
            groups.len() - 1
        });
        if !groups[at].cells.contains(&cell) {
            groups[at].cells.push(cell);
        }
    }
    Ok(groups)
}

fn product(axes: &Axes) -> Vec<Cell> {
    let mut cells = vec![Cell::default()];
    fn cross<T: Clone>(cells: Vec<Cell>, values: &[T], set: impl Fn(&mut Cell, T)) -> Vec<Cell> {
        let with = |cell: Cell| {
            values
                .iter()
                .cloned()
                .map(|value| {
                    let mut cell = cell.clone();
                    set(&mut cell, value);
                    cell
                })
                .collect::<Vec<_>>()
        };
        cells.into_iter().flat_map(with).collect()
    }
    cells = cross(cells, &axes.devices, |cell, value| cell.engine.device = value);
    cells = cross(cells, &axes.threads, |cell, value| cell.engine.threads = value);
    cells = cross(cells, &axes.speech_models, |cell, value| cell.engine.speech_model = value);
    cells = cross(cells, &axes.text_models, |cell, value| cell.engine.text_model = value);
    cells = cross(cells, &axes.kv, |cell, value| cell.engine.kv = value);
    cells = cross(cells, &axes.context, |cell, value| cell.engine.context = value);
    cells = cross(cells, &axes.speculation, |cell, value| cell.engine.speculation = value);
    cells = cross(cells, &axes.modes, |cell, value| cell.mode = value);
    cells = cross(cells, &axes.streaming, |cell, value| cell.streaming = value);
    cross(cells, &axes.beams, |cell, value| cell.beam = value)
}

/// `cell` with what means nothing to it as it is by default; of texts, the first speech model of `axes`.
fn plain(mut cell: Cell, policy: Policy, texts: Option<&Axes>) -> Cell {
    let default = Axes::default();
    if policy == Policy::None {
        cell.engine.text_model = "none".into();
    }
    if cell.engine.text_model == "none" {
        cell.engine.kv = default.kv[0];
        cell.engine.context = default.context[0];
        cell.engine.speculation = default.speculation[0];
    }
    if let Some(axes) = texts {
        cell.engine.speech_model.clone_from(&axes.speech_models[0]);
        cell.streaming = default.streaming[0];
        cell.beam = default.beams[0];
    }
    cell
}

/// What names one dictation of a sweep, wherever and whenever it is done: a hash of the cell, the clip and
/// the repeat.
pub(crate) fn key(cell: &Cell, clip: &Clip, repeat: u32) -> String {
    let raw = match &clip.source {
        Source::Audio(_) => None,
        Source::Text(raw) => Some(raw),
    };
    let named = (cell, &clip.id, raw, &clip.lang, &clip.reference, &clip.wanted, repeat);
    // Strings and numbers alone: this cannot fail.
    let json = serde_json::to_vec(&named).unwrap_or_default();
    Sha256::digest(json).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A part of a sweep, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) part: usize,
    pub(crate) of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let wrong = || "expected PART/PARTS, such as 1/4 for the first of four".to_string();
        let (part, of) = text.split_once('/').ok_or_else(wrong)?;
        let (part, of) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if part < 1 || part > of {
            return Err(wrong());
        }
        Ok(Shard { part, of })
    }
}

impl Shard {
    /// Of `jobs`, which stand in the same order everywhere, those of this part: neighbours, so that few
    /// engines are loaded.
    pub(crate) fn of<T>(self, jobs: Vec<T>) -> Vec<T> {
        let at = |part: usize| (jobs.len() as u128 * part as u128 / self.of as u128) as usize;
        let (begin, end) = (at(self.part - 1), at(self.part));
        jobs.into_iter().take(end).skip(begin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use undertone_engine::prompt::Mode;

    fn axes() -> Axes {
        Axes {
            text_models: vec!["a".into(), "b".into(), "none".into()],
            modes: vec!["raw".into(), "standard".into()],
            kv: vec![Kv::F32, Kv::Q8],
            beams: vec![1, 2],
            ..Axes::default()
        }
    }

    #[test]
    fn cells_share_engines_and_none_is_measured_twice() {
        let groups = groups(&axes(), &Mode::built_in().unwrap(), false).unwrap();
        // a and b with two caches each, and one without a language model: for raw, and for rules alone.
        assert_eq!(groups.len(), 5);
        let cells: usize = groups.iter().map(|group| group.cells.len()).sum();
        assert_eq!(cells, 4 * 2 + 4);
        let alone = groups.iter().find(|group| group.engine.text_model == "none").unwrap();
        let modes: Vec<(&str, u32)> = alone.cells.iter().map(|c| (c.mode.as_str(), c.beam)).collect();
        assert_eq!(modes, [("raw", 1), ("raw", 2), ("standard", 1), ("standard", 2)]);
    }

    #[test]
    fn texts_know_no_beams() {
        let groups = groups(&axes(), &Mode::built_in().unwrap(), true).unwrap();
        let cells: usize = groups.iter().map(|group| group.cells.len()).sum();
        assert_eq!((groups.len(), cells), (5, 6));
    }

    #[test]
    fn modes_that_cannot_be_are_refused() {
        for (mode, expected) in [("tidy", "there is no mode 'tidy'"), ("refine", "works on selected text")] {
            let axes = Axes { modes: vec![mode.into()], ..Axes::default() };
            let error = groups(&axes, &Mode::built_in().unwrap(), false).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn shards_are_a_partition() {
        for (jobs, of) in [(10, 3), (2, 5), (7, 1), (0, 2), (64, 64)] {
            let all: Vec<usize> = (0..jobs).collect();
            let parts: Vec<usize> = (1..=of).flat_map(|part| Shard { part, of }.of(all.clone())).collect();
            assert_eq!(parts, all);
        }
        assert_eq!("2/3".parse(), Ok(Shard { part: 2, of: 3 }));
        for text in ["0/3", "4/3", "3", "a/b", "1/0", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn keys_stay_what_they_are() {
        let clip = Clip {
            id: "a.wav".into(),
            source: Source::Audio("/somewhere/a.wav".into()),
            lang: Some("en".into()),
            reference: "A.".into(),
            wanted: None,
        };
        let elsewhere = Clip { source: Source::Audio("/elsewhere/a.wav".into()), ..clip.clone() };
        let cell = Cell { mode: "raw".into(), ..Cell::default() };
        assert_eq!(key(&cell, &clip, 0), key(&cell, &elsewhere, 0));
        assert_ne!(key(&cell, &clip, 0), key(&cell, &clip, 1));
        assert_ne!(key(&cell, &clip, 0), key(&Cell { beam: 1, ..cell.clone() }, &clip, 0));
        assert_ne!(key(&cell, &clip, 0), key(&cell, &Clip { reference: "B.".into(), ..clip.clone() }, 0));
        // Results of earlier versions must be found again.
        assert_eq!(key(&cell, &clip, 0), "708dcbb9e588d41c7f25f3e6b1e6362d");
    }
}
