//! Counts, rates and percentiles.

use super::entry::{Entry, Stage};
use super::error::Result;
use super::query::Filter;
use super::store::Store;
use serde::Serialize;
use std::collections::BTreeMap;

/// Median and tail of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    /// Values.
    pub(crate) count: usize,
    /// Half are at most this.
    pub(crate) p50: f64,
    /// 95 % are at most this.
    pub(crate) p95: f64,
}

impl Percentiles {
    /// Of `values`; `None` of none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Percentiles> {
        values.sort_by(f64::total_cmp);
        let (p50, p95) = (percentile(&values, 50.0)?, percentile(&values, 95.0)?);
        Some(Percentiles { count: values.len(), p50, p95 })
    }
}

/// The smallest of the `sorted` values that at least `percent` of them do not exceed (nearest rank).
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Dictations that have a mode or an application in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Group {
    /// Of the mode or application.
    pub(crate) name: String,
    /// Dictations.
    pub(crate) dictations: usize,
    /// Those that did not reach their window.
    pub(crate) failures: usize,
    /// Words.
    pub(crate) words: u64,
    /// From release to text.
    pub(crate) release_to_text_ms: Option<Percentiles>,
}

/// What the numbers of many dictations say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Stats {
    /// Dictations.
    pub(crate) dictations: usize,
    /// Those that did not reach their window.
    pub(crate) failures: usize,
    /// Words injected.
    pub(crate) words: u64,
    /// Seconds of audio.
    pub(crate) audio_s: f64,
    /// Words in a minute of audio.
    pub(crate) words_per_min: Option<f64>,
    /// From the key's release to the text in its window.
    pub(crate) release_to_text_ms: Option<Percentiles>,
    /// Of each stage that was measured, in order.
    pub(crate) stages_ms: Vec<(Stage, Percentiles)>,
    /// Of the language model.
    pub(crate) tokens_per_s: Option<Percentiles>,
    /// Share of drafted tokens that were taken.
    pub(crate) draft_acceptance: Option<f64>,
    /// Most memory that was resident.
    pub(crate) peak_bytes: Option<u64>,
    /// Failures of each stage.
    pub(crate) failures_by_stage: BTreeMap<String, usize>,
    /// By mode, most used first.
    pub(crate) by_mode: Vec<Group>,
    /// By application, most used first; of those that have a name.
    pub(crate) by_app: Vec<Group>,
}

impl Store {
    /// The numbers of the dictations of `filter`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(crate) fn stats(&self, filter: &Filter) -> Result<Stats> {
        let mut entries = Vec::new();
        self.each(filter, |dictation| {
            let entry = dictation.entry;
            // The texts of a long history are not needed at once.
            entries.push(Entry { raw_text: None, clean_text: None, gpu: None, ..entry });
        })?;
        Ok(Stats::of(&entries))
    }
}

impl Stats {
    /// Of `entries`.
    pub(crate) fn of(entries: &[Entry]) -> Stats {
        let failed = || entries.iter().filter(|e| !e.success);
        let words = entries.iter().map(|e| e.words).sum();
        let audio_s = entries.iter().map(|e| e.audio_ms as f64 / 1e3).sum::<f64>();
        let (drafted, accepted) =
            entries.iter().fold((0, 0), |(d, a), e| (d + e.drafted_tokens, a + e.accepted_tokens));
        let mut failures_by_stage = BTreeMap::new();
        for entry in failed() {
            *failures_by_stage.entry(entry.error_stage.clone().unwrap_or("unknown".into())).or_default() += 1;
        }
        let stage = |stage: Stage| {
            Some((
                stage,
                Percentiles::of(entries.iter().filter_map(|e| e.stages.get(&stage).copied()).collect())?,
            ))
        };
        Stats {
            dictations: entries.len(),
            failures: failed().count(),
            words,
            audio_s,
            words_per_min: (audio_s > 0.0).then(|| words as f64 * 60.0 / audio_s),
            release_to_text_ms: release_to_text(entries),
            stages_ms: Stage::ALL.into_iter().filter_map(stage).collect(),
            tokens_per_s: Percentiles::of(entries.iter().filter_map(|e| e.tokens_per_s).collect()),
            draft_acceptance: (drafted > 0).then(|| accepted as f64 / drafted as f64),
            peak_bytes: entries.iter().filter_map(|e| e.peak_bytes).max(),
            failures_by_stage,
            by_mode: groups(entries, |e| Some(&e.mode)),
            by_app: groups(entries, |e| e.app.as_deref()),
        }
    }
}

fn release_to_text<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Option<Percentiles> {
    Percentiles::of(entries.into_iter().filter_map(|e| e.release_to_text_ms).collect())
}

fn groups(entries: &[Entry], name: impl Fn(&Entry) -> Option<&str>) -> Vec<Group> {
    let mut named: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        if let Some(name) = name(entry) {
            named.entry(name).or_default().push(entry);
        }
    }
    let group = |(name, of_it): (&str, Vec<&Entry>)| Group {
        name: name.to_owned(),
        dictations: of_it.len(),
        failures: of_it.iter().filter(|e| !e.success).count(),
        words: of_it.iter().map(|e| e.words).sum(),
        release_to_text_ms: release_to_text(of_it),
    };
    let mut groups: Vec<Group> = named.into_iter().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.dictations));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 50.0), Some(50.0));
        assert_eq!(percentile(&values, 95.0), Some(95.0));
        assert_eq!(percentile(&values, 100.0), Some(100.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(percentile(&[7.0], 95.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
        let unsorted = Percentiles::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(unsorted, Some(Percentiles { count: 3, p50: 2.0, p95: 3.0 }));
    }

    #[test]
    fn counts_rates_and_groups() {
        let entry = |mode: &str, app: Option<&str>, ms: f64, success: bool| Entry {
            mode: mode.into(),
            app: app.map(Into::into),
            words: 30,
            audio_ms: 20_000,
            release_to_text_ms: Some(ms),
            stages: [(Stage::Decode, ms / 2.0)].into(),
            tokens_per_s: Some(ms / 10.0),
            drafted_tokens: 10,
            accepted_tokens: 4,
            peak_bytes: Some(ms as u64),
            success,
            error_stage: (!success).then(|| "inject".into()),
            ..Entry::default()
        };
        let stats = Stats::of(&[
            entry("ask", None, 100.0, true),
            entry("dictate", Some("xterm"), 300.0, true),
            entry("dictate", Some("xterm"), 200.0, false),
        ]);
        assert_eq!((stats.dictations, stats.failures, stats.words), (3, 1, 90));
        assert_eq!(stats.words_per_min, Some(90.0));
        assert_eq!(stats.release_to_text_ms, Some(Percentiles { count: 3, p50: 200.0, p95: 300.0 }));
        assert_eq!(stats.stages_ms, [(Stage::Decode, Percentiles { count: 3, p50: 100.0, p95: 150.0 })]);
        assert_eq!(stats.draft_acceptance, Some(0.4));
        assert_eq!(stats.peak_bytes, Some(300));
        assert_eq!(stats.failures_by_stage, [("inject".to_owned(), 1)].into());
        let names: Vec<(&str, usize, usize)> =
            stats.by_mode.iter().map(|g| (g.name.as_str(), g.dictations, g.failures)).collect();
        assert_eq!(names, [("dictate", 2, 1), ("ask", 1, 0)]);
        assert_eq!(stats.by_app.len(), 1);
    }

    #[test]
    fn of_nothing() {
        let stats = Stats::of(&[]);
        assert_eq!((stats.dictations, stats.words_per_min, stats.release_to_text_ms), (0, None, None));
    }
}
