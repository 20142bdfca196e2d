//! What is printed and kept: tables of [`Series`].

use super::super::score::{self, Normaliser, WordErrors};
use super::old::Faults;
use super::series::{Ratio, Series, rounded};
use super::systems::{Clip, STAGES};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Which columns a table has beside times and ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Word errors.
    Speech,
    /// Texts that agree.
    Prompts,
    /// Stages, and what each fault costs.
    Old,
    /// Nothing more.
    Chain,
}

/// Systems beside each other; the first is ours.
pub(super) struct Table {
    pub(super) key: &'static str,
    pub(super) title: String,
    pub(super) kind: Kind,
    pub(super) series: Vec<Series>,
    /// By series, of speech alone.
    pub(super) errors: Vec<WordErrors>,
    /// Texts that have our words, of how many, by series.
    same: Vec<(usize, usize)>,
}

impl Table {
    pub(super) fn new(
        key: &'static str,
        title: String,
        kind: Kind,
        series: Vec<Series>,
        normaliser: &Normaliser,
    ) -> Table {
        let same = match series.first() {
            // Prompts are English or taken for it, as the default corpus is.
            Some(ours) => series.iter().map(|s| s.same(ours, |text| normaliser.words(text, "en"))).collect(),
            None => Vec::new(),
        };
        Table { key, title, kind, series, errors: Vec::new(), same }
    }

    /// With the word errors of each series against what was said.
    pub(super) fn scored(mut self, clips: &[Clip], normaliser: &Normaliser) -> Table {
        let of = |series: &Series| {
            let mut all = WordErrors::default();
            for (clip, text) in clips.iter().zip(&series.texts) {
                if let Some(text) = text {
                    let lang = clip.lang.as_deref().unwrap_or("en");
                    all.add(score::word_errors(normaliser, lang, &clip.reference, text));
                }
            }
            all
        };
        self.errors = self.series.iter().map(of).collect();
        self
    }

    /// Milliseconds that a fault costs, by the row of the table.
    fn cost(&self, row: usize) -> Option<f64> {
        // Ours, the call without a server, then the rows with faults.
        let (_, _, base) = Faults::ROWS.get(row.checked_sub(2)?)?;
        self.series[row].beyond(&self.series[base + 1])
    }

    fn ratio(&self, row: usize) -> Option<Ratio> {
        self.series[row].over(&self.series[0]).filter(|_| row > 0)
    }

    pub(super) fn markdown(&self) -> String {
        let mut header = vec!["", "p50 ms", "p95", "p99", "x ours (95 %)", "first ms", "first/median"];
        match self.kind {
            Kind::Speech => header.extend(["WER %", "same words as ours"]),
            Kind::Prompts => header.push("same words as ours"),
            Kind::Old => header.extend(["costs ms", "connect", "reload", "prompt", "write"]),
            Kind::Chain => {}
        }
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut out = format!("{}\n\n", self.title);
        out += &line(&header.iter().map(ToString::to_string).collect::<Vec<_>>());
        let _ = writeln!(out, "|{}", "---|".repeat(header.len()));
        for row in 0..self.series.len() {
            let mut cells = self.cells(row);
            cells.resize(header.len(), String::new());
            out += &line(&cells);
        }
        out
    }

    fn cells(&self, row: usize) -> Vec<String> {
        let series = &self.series[row];
        if let Some(why) = &series.failed {
            let why = why.replace('\\', "\\\\").replace('|', "\\|");
            return vec![series.name.clone(), format!("failed: {why}")];
        }
        let shown = |value: Option<f64>, digits| value.map_or(String::new(), |v| format!("{v:.digits$}"));
        let ratio = self.ratio(row);
        let mut cells = vec![series.name.clone()];
        cells.extend([0.5, 0.95, 0.99].map(|q| shown(series.at(q), 1)));
        cells.push(
            ratio.map_or(String::new(), |r| format!("{:.2} ({:.2} to {:.2})", r.of_medians, r.low, r.high)),
        );
        cells.push(shown(series.first_ms, 1));
        cells.push(shown(series.first_over_median(), 2));
        if let Some(errors) = self.errors.get(row) {
            cells.push(shown(errors.percent(), 2));
        }
        if matches!(self.kind, Kind::Speech | Kind::Prompts) {
            let (same, of) = self.same[row];
            cells.push(if row == 0 { String::new() } else { format!("{same} of {of}") });
        }
        if self.kind == Kind::Old {
            cells.push(shown(self.cost(row), 1));
            cells.extend(STAGES.map(|stage| shown(series.stage(stage), 1)));
        }
        cells
    }

    pub(super) fn json(&self) -> Value {
        let row = |row: usize| {
            let series = &self.series[row];
            let at = |q: f64| series.at(q).map(rounded);
            let mut found = json!({
                "requests": series.all_ms.iter().map(Vec::len).sum::<usize>(),
                "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99),
                "ratio_to_ours": self.ratio(row),
                "first_over_median": series.first_over_median().map(rounded),
            });
            if row > 0 {
                let (same, of) = self.same[row];
                found["same_words_as_ours"] = json!({ "texts": same, "of": of });
            }
            if let Some(errors) = self.errors.get(row) {
                found["word_errors"] = json!({ "words": errors.words, "sub": errors.substituted,
                    "del": errors.deleted, "ins": errors.inserted, "percent": errors.percent().map(rounded) });
            }
            if self.kind == Kind::Old {
                found["costs_ms"] = json!(self.cost(row).map(rounded));
            }
            let Value::Object(mut found) = found else { return Value::Null };
            if let Ok(Value::Object(all)) = serde_json::to_value(series) {
                found.extend(all);
            }
            found.shift_remove("name");
            Value::Object(found)
        };
        let rows: Map<String, Value> =
            (0..self.series.len()).map(|n| (self.series[n].name.clone(), row(n))).collect();
        Value::Object(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::Answer;
    use super::*;

    fn series(name: &str, ms: &[f64]) -> Series {
        let mut series = Series::new(name, ms.len());
        for (item, ms) in ms.iter().enumerate() {
            let answer = Answer { ms: *ms, text: "A text.".into(), stages: vec![("connect_ms", 2.0)] };
            series.add(item, Ok(answer));
        }
        series
    }

    fn table(kind: Kind, series: Vec<Series>) -> Table {
        Table::new("t", "A title".into(), kind, series, &Normaliser::new().unwrap())
    }

    #[test]
    fn a_fault_costs_what_the_row_below_it_does_not_take() {
        let ms = [40.0, 100.0, 110.0, 120.0, 2130.0, 900.0, 2800.0];
        let names = ["Undertone", "no server"].into_iter().chain(Faults::ROWS.map(|(name, ..)| name));
        let table = table(Kind::Old, names.zip(ms).map(|(name, ms)| series(name, &[ms; 3])).collect());
        let costs: Vec<Option<f64>> = (0..ms.len()).map(|row| table.cost(row)).collect();
        assert_eq!(costs, [None, None, Some(10.0), Some(10.0), Some(2010.0), Some(790.0), Some(2700.0)]);
        let text = table.markdown();
        assert!(
            text.contains("| + other context size | 900.0 | 900.0 | 900.0 | 22.50 (22.50 to 22.50) |"),
            "{text}"
        );
        let widths: Vec<usize> = text.lines().skip(2).map(|line| line.matches('|').count()).collect();
        assert!(widths.len() == 2 + ms.len() && widths.iter().all(|w| *w == widths[0]), "{text}");
    }

    #[test]
    fn what_failed_is_in_its_row_and_the_others_are_whole() {
        let mut gone = series("gone", &[1.0, 1.0]);
        gone.add(1, Err("it ended | with a bar".into()));
        let table =
            table(Kind::Prompts, vec![series("Undertone", &[1.0, 3.0]), gone, series("there", &[2.0, 6.0])]);
        let text = table.markdown();
        assert!(text.contains("| gone | failed: it ended \\| with a bar | "), "{text}");
        assert!(text.contains("| there | 6.0 | 6.0 | 6.0 | 2.00"), "{text}");
        let json = table.json();
        assert_eq!(json["gone"]["failed"], "it ended | with a bar");
        assert_eq!(
            (&json["there"]["p50_ms"], &json["there"]["same_words_as_ours"]["texts"]),
            (&json!(6.0), &json!(2))
        );
        assert_eq!(json["there"]["all_ms"], json!([[2.0], [6.0]]));
        assert!(!json.to_string().contains("A text"));
    }
}
