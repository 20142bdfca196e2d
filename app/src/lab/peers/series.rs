//! What the systems took and said, and how that compares.

use super::super::quantile::quantile;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use std::collections::BTreeMap;

/// Draws of items with which an interval is estimated.
const DRAWS: usize = 1000;

/// What a system answers to one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) ms: f64,
    pub(super) text: String,
    /// Parts of `ms`, by name.
    pub(super) stages: Vec<(&'static str, f64)>,
}

/// All that one system did with the items of a table.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Series {
    pub(super) name: String,
    /// The first request behind loading, of the first item.
    pub(super) first_ms: Option<f64>,
    /// By item, then by round.
    pub(super) all_ms: Vec<Vec<f64>>,
    /// Of each stage, by request.
    pub(super) stages_ms: BTreeMap<&'static str, Vec<f64>>,
    /// The last of each item. Not kept on disk: it is the corpus' text.
    #[serde(skip)]
    pub(super) texts: Vec<Option<String>>,
    /// Why it was asked no more.
    pub(super) failed: Option<String>,
}

/// How many times as long as ours, and where 95 of 100 such ratios lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Ratio {
    pub(super) of_medians: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Series {
    pub(super) fn new(name: &str, items: usize) -> Series {
        let (all_ms, texts) = (vec![Vec::new(); items], vec![None; items]);
        Series { name: name.into(), all_ms, texts, ..Series::default() }
    }

    pub(super) fn first(&mut self, answer: &Result<Answer, String>) {
        match answer {
            Ok(answer) => self.first_ms = Some(rounded(answer.ms)),
            Err(why) => self.failed = Some(why.clone()),
        }
    }

    pub(super) fn add(&mut self, item: usize, answer: Result<Answer, String>) {
        match answer {
            Ok(answer) => {
                self.all_ms[item].push(rounded(answer.ms));
                self.texts[item] = Some(answer.text);
                for (stage, ms) in answer.stages {
                    self.stages_ms.entry(stage).or_default().push(rounded(ms));
                }
            }
            Err(why) => self.failed = Some(why),
        }
    }

    /// Over all requests, by nearest rank.
    pub(super) fn at(&self, q: f64) -> Option<f64> {
        quantile(&self.all_ms.concat(), q)
    }

    /// The median of a stage.
    pub(super) fn stage(&self, name: &str) -> Option<f64> {
        quantile(self.stages_ms.get(name)?, 0.5)
    }

    /// The first request over the median of the later ones of the same item.
    pub(super) fn first_over_median(&self) -> Option<f64> {
        Some(self.first_ms? / quantile(self.all_ms.first()?, 0.5)?)
    }

    /// Items that both have, by their times.
    fn paired<'a>(&'a self, other: &'a Series) -> Vec<(&'a [f64], &'a [f64])> {
        let both = self.all_ms.iter().zip(&other.all_ms).map(|(a, b)| (a.as_slice(), b.as_slice()));
        both.filter(|(a, b)| !a.is_empty() && !b.is_empty()).collect()
    }

    /// The median over `ours`, of the items that both have. The interval is of items drawn anew with all their times
    /// (bootstrap by items, percentiles; Efron and Tibshirani 1993): rounds of one item are no new evidence.
    pub(super) fn over(&self, ours: &Series) -> Option<Ratio> {
        let pairs = self.paired(ours);
        let of = |pairs: &[(&[f64], &[f64])]| {
            let (theirs, ours): (Vec<&[f64]>, Vec<&[f64]>) = pairs.iter().copied().unzip();
            Some(quantile(&theirs.concat(), 0.5)? / quantile(&ours.concat(), 0.5)?)
        };
        let of_medians = of(&pairs)?;
        let mut chance = SmallRng::seed_from_u64(0);
        let mut draw =
            || of(&pairs.iter().map(|_| pairs[chance.random_range(0..pairs.len())]).collect::<Vec<_>>());
        let drawn: Vec<f64> = (0..DRAWS).filter_map(|_| draw()).collect();
        let (low, high) = (quantile(&drawn, 0.025)?, quantile(&drawn, 0.975)?);
        Some(Ratio { of_medians, low, high })
    }

    /// Milliseconds more than `base`: the median of the differences, item by item.
    pub(super) fn beyond(&self, base: &Series) -> Option<f64> {
        let median = |ms: &[f64]| quantile(ms, 0.5);
        let differences: Vec<f64> =
            self.paired(base).iter().filter_map(|(a, b)| Some(median(a)? - median(b)?)).collect();
        quantile(&differences, 0.5)
    }

    /// Texts that have the same `words` as those of `ours`, and how many both have.
    pub(super) fn same(&self, ours: &Series, words: impl Fn(&str) -> Vec<String>) -> (usize, usize) {
        let both: Vec<bool> = self
            .texts
            .iter()
            .zip(&ours.texts)
            .filter_map(|(a, b)| Some(words(a.as_ref()?) == words(b.as_ref()?)))
            .collect();
        (both.iter().filter(|same| **same).count(), both.len())
    }
}

/// To hundredths.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(times: &[&[f64]]) -> Series {
        let mut series = Series::new("a", times.len());
        for (item, ms) in times.iter().enumerate() {
            for ms in *ms {
                let stages = vec![("connect_ms", ms / 2.0)];
                series.add(item, Ok(Answer { ms: *ms, text: format!("Text {item}."), stages }));
            }
        }
        series
    }

    #[test]
    fn medians_ratios_and_differences_are_of_what_both_did() {
        let ours = series(&[&[10.0, 11.0, 12.0], &[20.0, 20.0, 20.0], &[30.0]]);
        let mut theirs = series(&[&[30.0, 33.0, 36.0], &[60.0], &[]]);
        theirs.first(&Ok(Answer { ms: 66.0, ..Answer::default() }));
        assert_eq!((ours.at(0.5), ours.at(1.0), theirs.at(0.5)), (Some(20.0), Some(30.0), Some(36.0)));
        assert_eq!((theirs.stage("connect_ms"), theirs.stage("load_ms")), (Some(18.0), None));
        assert_eq!((theirs.first_over_median(), ours.first_over_median()), (Some(2.0), None));
        // The third item is ours alone: 36 over 20, medians of four and of six.
        let ratio = theirs.over(&ours).unwrap();
        assert_eq!(ratio.of_medians, 36.0 / 20.0);
        assert!(ratio.low <= ratio.of_medians && ratio.of_medians <= ratio.high, "{ratio:?}");
        // 33 - 11 and 60 - 20.
        assert_eq!(theirs.beyond(&ours), Some(40.0));
        assert_eq!(Series::new("nothing", 3).over(&ours), None);
    }

    #[test]
    fn an_interval_is_narrow_where_all_items_agree_and_wide_where_they_do_not() {
        let ours = series(&[&[10.0], &[10.0], &[10.0], &[10.0], &[10.0]]);
        let steady = series(&[&[20.0], &[20.0], &[20.0], &[20.0], &[20.0]]);
        assert_eq!(steady.over(&ours), Some(Ratio { of_medians: 2.0, low: 2.0, high: 2.0 }));
        let mixed = series(&[&[10.0], &[15.0], &[20.0], &[25.0], &[30.0]]).over(&ours).unwrap();
        assert!(mixed.low < 2.0 && mixed.high > 2.0, "{mixed:?}");
    }

    #[test]
    fn texts_agree_by_their_words_and_a_failure_is_kept() {
        let words = |text: &str| text.to_lowercase().split(['.', ' ']).map(String::from).collect();
        let ours = series(&[&[1.0], &[1.0], &[1.0]]);
        let mut theirs = series(&[&[1.0], &[1.0], &[]]);
        theirs.add(1, Ok(Answer { text: "other".into(), ..Answer::default() }));
        theirs.add(2, Err("it ended".into()));
        assert_eq!(theirs.same(&ours, words), (1, 2));
        assert_eq!(theirs.failed.as_deref(), Some("it ended"));
    }
}
