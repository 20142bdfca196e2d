//! Results on disk: one JSON object a line, each complete in itself, so that a file that ends anywhere is
//! worth all its whole lines.

use super::cells::Cell;
use crate::exit::{Exit, Failure};
use crate::lab::lines::{self, Lines};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use undertone_engine::telemetry::{Counts, MemoryUse};

/// One dictation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// See [`super::cells::key`].
    pub(crate) key: String,
    pub(crate) cell: Cell,
    pub(crate) clip: String,
    /// From 0.
    pub(crate) repeat: u32,
    /// How many dictations of this cell the engine had done before since it was loaded.
    pub(crate) turn: u32,
    /// When it ended, in milliseconds since 1970.
    pub(crate) time_ms: i64,
    pub(crate) version: String,
    /// Language given.
    pub(crate) lang: Option<String>,
    /// What was said; of a text, what should be written.
    pub(crate) reference: String,
    /// What should be written, if that is not what was said.
    pub(crate) wanted: Option<String>,
    /// Why there is no result, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) raw: String,
    pub(crate) text: String,
    /// Language heard, or given.
    pub(crate) language: String,
    /// `llm`, `rules` or `none`.
    pub(crate) cleaned_by: String,
    /// Windows whose model text was refused, and why.
    pub(crate) refusals: Vec<String>,
    /// 0 of a text.
    pub(crate) audio_s: f64,
    /// From the request, or streamed from the end of the speech, to the text.
    pub(crate) latency_ms: f64,
    pub(crate) queue_ms: f64,
    /// By stage; streamed, what was done while speech went on included.
    pub(crate) stages_ms: BTreeMap<String, f64>,
    pub(crate) speech_tokens: usize,
    pub(crate) speech_drafted: usize,
    pub(crate) speech_accepted: usize,
    pub(crate) tokens: Counts,
    /// What loading the engine took.
    pub(crate) load_ms: f64,
    pub(crate) memory: MemoryUse,
    /// What the GPU drew during the request, idle power included; of NVIDIA's alone.
    pub(crate) energy_j: Option<f64>,
}

impl Record {
    /// What should be written.
    pub(crate) fn wanted(&self) -> &str {
        self.wanted.as_deref().unwrap_or(&self.reference)
    }
}

/// Results of a file.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) records: Vec<Record>,
    /// Whether there is a part of a line behind.
    pub(crate) torn: bool,
}

/// Reads a file of results. What a killed run left of its last line is left out.
///
/// # Errors
/// [`Exit::Input`], with the line, for a whole line that is no result.
pub(crate) fn read(path: &Path) -> Result<Results> {
    let bytes = std::fs::read(path)
        .map_err(|e| Failure::new(Exit::Input, format!("cannot read the results {}: {e}", path.display())))?;
    let whole = lines::whole(&bytes);
    Ok(Results { records: parse(whole, path)?, torn: whole.len() < bytes.len() })
}

fn parse(whole: &[u8], path: &Path) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (number, line) in lines::numbered(whole) {
        records.push(serde_json::from_slice(line).map_err(|e| {
            let what = format!("{}, line {number} is not a result of undertone lab run: {e}", path.display());
            Failure::new(Exit::Input, what)
        })?);
    }
    Ok(records)
}

/// Reads several files as one; what is missing at their ends is told on stderr.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_all(paths: &[impl AsRef<Path>]) -> Result<Vec<Record>> {
    let mut all = Vec::new();
    for path in paths {
        let results = read(path.as_ref())?;
        if results.torn {
            let path = path.as_ref().display();
            eprintln!(
                "undertone: the last line of {path} is cut off and left out; the same lab run redoes it"
            );
        }
        all.extend(results.records);
    }
    Ok(all)
}

/// One record for each dictation, in an order that depends on nothing but them: a result rather than a
/// failure, else the later one. Also where the text of a clip was changed between two runs.
pub(crate) fn distinct(records: Vec<Record>) -> Vec<Record> {
    let mut kept: HashMap<(Cell, String, u32), Record> = HashMap::new();
    for record in records {
        let place = (record.cell.clone(), record.clip.clone(), record.repeat);
        let better = kept
            .get(&place)
            .is_none_or(|old| (record.error.is_none(), record.time_ms) >= (old.error.is_none(), old.time_ms));
        if better {
            kept.insert(place, record);
        }
    }
    let mut records: Vec<Record> = kept.into_values().collect();
    records.sort_by(|a, b| (&a.cell, &a.clip, a.repeat).cmp(&(&b.cell, &b.clip, b.repeat)));
    records
}

/// A file of results that is being written, by this process alone.
#[derive(Debug)]
pub(crate) struct Appender {
    lines: Lines,
    /// Keys of the results that are there; failures are tried again.
    done: HashSet<String>,
}

impl Appender {
    /// Opens or makes the file; what a killed run left of its last line is cut off.
    ///
    /// # Errors
    /// If another run writes it, it cannot be written, or holds something else than results.
    pub(crate) fn open(path: &Path) -> Result<Appender> {
        let (mut lines, whole) = Lines::open(path)?;
        let records = parse(&whole, path)?;
        lines.cut_torn()?;
        let done = records.into_iter().filter(|r| r.error.is_none()).map(|r| r.key).collect();
        Ok(Appender { lines, done })
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.done.contains(key)
    }

    /// Adds a line and sees it to the disk.
    ///
    /// # Errors
    /// [`Exit::Disk`].
    pub(crate) fn append(&mut self, record: &Record) -> Result<()> {
        self.lines.append(record)?;
        self.lines.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(clip: &str, time_ms: i64) -> Record {
        Record { key: format!("key of {clip}"), clip: clip.into(), time_ms, ..Record::default() }
    }

    #[test]
    fn a_torn_line_is_cut_off_wherever_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let mut appender = Appender::open(&path).unwrap();
        appender.append(&record("a", 1)).unwrap();
        appender.append(&record("b", 2)).unwrap();
        drop(appender);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut appender = Appender::open(&path).unwrap();
            assert_eq!((appender.has("key of a"), appender.has("key of b")), (end >= first, false), "{end}");
            for (clip, time_ms) in [("a", 1), ("b", 2)] {
                if !appender.has(&format!("key of {clip}")) {
                    appender.append(&record(clip, time_ms)).unwrap();
                }
            }
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{end}");
        }
    }

    #[test]
    fn a_line_that_is_no_result_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let good = serde_json::to_string(&record("a", 1)).unwrap();
        std::fs::write(&path, format!("{good}\n\n{{\"a\":1}}\n{good}\n")).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("line 3 is not a result"), "{error}");
    }

    #[test]
    fn two_runs_cannot_write_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let first = Appender::open(&path).unwrap();
        assert!(Appender::open(&path).unwrap_err().to_string().contains("another run"));
        drop(first);
        Appender::open(&path).unwrap();
    }

    #[test]
    fn a_result_counts_more_than_a_failure_and_a_later_one_more_than_an_earlier() {
        let failed = Record { error: Some("no".into()), ..record("a", 9) };
        let orders =
            [[record("a", 1), failed.clone(), record("a", 3)], [record("a", 3), record("a", 1), failed]];
        for records in orders {
            let kept = distinct(records.into());
            assert_eq!((kept.len(), kept[0].time_ms), (1, 3));
        }
    }
}
