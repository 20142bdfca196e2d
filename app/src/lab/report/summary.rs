//! Results, judged and summed up by cell: from the records alone, in an order that depends on nothing else.

use crate::lab::quantile::quantile;
use crate::lab::run::Cell;
use crate::lab::run::record::{Record, distinct};
use crate::lab::score::{Edits, Errors, Normaliser, Score, WordErrors, score};
use std::collections::{BTreeMap, BTreeSet};
use undertone_engine::telemetry::Stage;

/// All that a report is made of.
pub(super) struct Summary {
    pub(super) rows: Vec<Row>,
    /// Dictations with their scores, ordered by cell, clip and repeat; none that failed.
    pub(super) judged: Vec<(Record, Score)>,
    /// What was heard for what, and how often, most often first; every clip counts once in a cell.
    pub(super) confusions: Vec<(String, String, usize)>,
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) cell: Cell,
    pub(super) clips: usize,
    pub(super) dictations: usize,
    pub(super) failed: usize,
    /// Sums over all dictations.
    pub(super) raw: WordErrors,
    pub(super) text: WordErrors,
    pub(super) punctuation: Errors,
    pub(super) case: Errors,
    /// `None` where no clip could be judged.
    pub(super) edits: Option<Edits>,
    /// Windows of text, and dictations that the language model's text was taken in.
    pub(super) refused_windows: usize,
    pub(super) by_model: Errors,
    pub(super) times: Times,
    pub(super) text_drafts: Errors,
    pub(super) speech_drafts: Errors,
    pub(super) planned_bytes: Option<u64>,
    pub(super) peak_bytes: Option<u64>,
}

/// What differs from run to run.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub(super) latency_ms: Vec<f64>,
    pub(super) stages_ms: BTreeMap<&'static str, Vec<f64>>,
    pub(super) audio_s: f64,
    /// Milliseconds in stages, of recordings.
    pub(super) busy_ms: f64,
    /// Latency of the cell's first dictation behind loading over the median of that clip's others.
    pub(super) first_over_median: Option<f64>,
    pub(super) generated_tokens: usize,
    pub(super) generate_ms: f64,
    pub(super) load_ms: Vec<f64>,
    pub(super) energy_j: Vec<f64>,
}

impl Times {
    /// Processing time over the length of the audio.
    pub(super) fn real_time_factor(&self) -> Option<f64> {
        (self.audio_s > 0.0).then(|| self.busy_ms / 1e3 / self.audio_s)
    }

    pub(super) fn tokens_per_s(&self) -> Option<f64> {
        (self.generate_ms > 0.0).then(|| self.generated_tokens as f64 * 1e3 / self.generate_ms)
    }

    pub(super) fn latency(&self, q: f64) -> Option<f64> {
        quantile(&self.latency_ms, q)
    }

    pub(super) fn stage(&self, stage: Stage, q: f64) -> Option<f64> {
        quantile(self.stages_ms.get(stage.name())?, q)
    }

    pub(super) fn mean_stage(&self, stage: Stage) -> f64 {
        let all = self.stages_ms.get(stage.name()).map_or(&[][..], Vec::as_slice);
        all.iter().sum::<f64>() / all.len().max(1) as f64
    }
}

impl Summary {
    pub(super) fn new(records: Vec<Record>, normaliser: &Normaliser) -> Summary {
        let (failed, good): (Vec<Record>, Vec<Record>) =
            distinct(records).into_iter().partition(|record| record.error.is_some());
        let judged: Vec<(Record, Score)> = good
            .into_iter()
            .map(|record| {
                let score = score(&record, normaliser);
                (record, score)
            })
            .collect();
        let mut rows: BTreeMap<Cell, Row> = BTreeMap::new();
        for record in &failed {
            rows.entry(record.cell.clone()).or_default().failed += 1;
        }
        for (record, score) in &judged {
            rows.entry(record.cell.clone()).or_default().add(record, score);
        }
        let rows = rows.into_iter().map(|(cell, row)| {
            let mine: Vec<&Record> = judged.iter().map(|(r, _)| r).filter(|r| r.cell == cell).collect();
            let clips: BTreeSet<&str> = mine.iter().map(|record| record.clip.as_str()).collect();
            let times = Times { first_over_median: first_over_median(&mine), ..row.times };
            Row { clips: clips.len(), cell, times, ..row }
        });
        Summary { rows: rows.collect(), confusions: confusions(&judged), judged }
    }
}

impl Row {
    fn add(&mut self, record: &Record, score: &Score) {
        self.dictations += 1;
        self.raw.add(score.raw);
        self.text.add(score.text);
        self.punctuation.add(score.punctuation.unwrap_or_default());
        self.case.add(score.case.unwrap_or_default());
        if let Some(edits) = score.edits {
            let sum = self.edits.get_or_insert_default();
            sum.novel_words += edits.novel_words;
            sum.numbers += edits.numbers;
            sum.negations += edits.negations;
        }
        self.refused_windows += record.refusals.len();
        self.by_model.add(Errors { errors: usize::from(record.cleaned_by == "llm"), of: 1 });
        let counts = record.tokens;
        self.text_drafts.add(Errors { errors: counts.accepted_tokens, of: counts.drafted_tokens });
        self.speech_drafts.add(Errors { errors: record.speech_accepted, of: record.speech_drafted });
        self.planned_bytes = self.planned_bytes.max(Some(record.memory.planned_bytes));
        self.peak_bytes = self.peak_bytes.max(record.memory.peak_bytes);
        self.times.add(record);
    }
}

impl Times {
    fn add(&mut self, record: &Record) {
        self.latency_ms.push(record.latency_ms);
        let ms = |stage: &Stage| record.stages_ms.get(stage.name()).copied().unwrap_or(0.0);
        for stage in Stage::ALL {
            self.stages_ms.entry(stage.name()).or_default().push(ms(&stage));
        }
        if record.audio_s > 0.0 {
            self.audio_s += record.audio_s;
            self.busy_ms += Stage::ALL.iter().map(ms).sum::<f64>();
        }
        self.generated_tokens += record.tokens.generated_tokens;
        self.generate_ms += ms(&Stage::Generate);
        self.load_ms.push(record.load_ms);
        self.energy_j.extend(record.energy_j);
    }
}

/// The mean over loads of a cell's first dictation over the median of the same clip's later ones; `None`
/// where no clip was dictated again.
fn first_over_median(records: &[&Record]) -> Option<f64> {
    let ratios: Vec<f64> = records
        .iter()
        .filter(|record| record.turn == 0)
        .filter_map(|first| {
            let others = records.iter().filter(|r| r.clip == first.clip && r.turn > 0);
            let others: Vec<f64> = others.map(|r| r.latency_ms).collect();
            quantile(&others, 0.5).filter(|median| *median > 0.0).map(|median| first.latency_ms / median)
        })
        .collect();
    (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
}

fn confusions(judged: &[(Record, Score)]) -> Vec<(String, String, usize)> {
    let mut counts: BTreeMap<&(String, String), usize> = BTreeMap::new();
    let mut last: Option<(&Cell, &str)> = None;
    for (record, score) in judged {
        // Sorted: repeats follow each other.
        if last.replace((&record.cell, &record.clip)) == Some((&record.cell, &record.clip)) {
            continue;
        }
        score.confused.iter().for_each(|pair| *counts.entry(pair).or_default() += 1);
    }
    let mut list: Vec<(String, String, usize)> =
        counts.into_iter().map(|((said, heard), n)| (said.clone(), heard.clone(), n)).collect();
    list.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
    list
}
