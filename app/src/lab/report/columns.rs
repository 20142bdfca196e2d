//! What a table says of a cell: one list for spreadsheets, texts and pages.

use super::summary::Row;
use undertone_engine::telemetry::Stage;

/// A value of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Count(u64),
    /// With so many decimals.
    Number(f64, usize),
    Missing,
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Count(count) => write!(f, "{count}"),
            Value::Number(number, decimals) => write!(f, "{number:.decimals$}"),
            Value::Missing => Ok(()),
        }
    }
}

/// A column of the tables.
pub(super) struct Column {
    /// In a spreadsheet.
    pub(super) name: String,
    /// In a text or on a page; those without a title are for spreadsheets alone.
    pub(super) title: Option<&'static str>,
    value: Box<dyn Fn(&Row) -> Value>,
}

impl Column {
    pub(super) fn of(&self, row: &Row) -> Value {
        (self.value)(row)
    }
}

fn number(value: Option<f64>, decimals: usize) -> Value {
    value.map_or(Value::Missing, |value| Value::Number(value, decimals))
}

fn count(value: Option<usize>) -> Value {
    value.map_or(Value::Missing, |value| Value::Count(value as u64))
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Collects columns.
#[derive(Default)]
struct Columns(Vec<Column>);

impl Columns {
    fn add(&mut self, name: &str, title: &'static str, value: impl Fn(&Row) -> Value + 'static) {
        let title = (!title.is_empty()).then_some(title);
        self.0.push(Column { name: name.into(), title, value: Box::new(value) });
    }
}

/// All columns, in their order; docs/lab.md says what each means.
pub(super) fn columns() -> Vec<Column> {
    let mut all = Columns::default();
    settings(&mut all);
    quality(&mut all);
    costs(&mut all);
    all.0
}

fn settings(all: &mut Columns) {
    all.add("speech_model", "speech", |r| Value::Text(r.cell.engine.speech_model.clone()));
    all.add("text_model", "text", |r| Value::Text(r.cell.engine.text_model.clone()));
    all.add("mode", "mode", |r| Value::Text(r.cell.mode.clone()));
    all.add("beam", "beam", |r| Value::Count(r.cell.beam.into()));
    all.add("streaming", "stream", |r| Value::Text(yes(r.cell.streaming)));
    all.add("speculation", "drafts", |r| Value::Text(yes(r.cell.engine.speculation)));
    all.add("kv", "kv", |r| Value::Text(format!("{:?}", r.cell.engine.kv).to_lowercase()));
    all.add("context", "context", |r| Value::Count(r.cell.engine.context.into()));
    all.add("threads", "threads", |r| match r.cell.engine.threads {
        0 => Value::Text("all".into()),
        threads => Value::Count(threads.into()),
    });
    all.add("device", "device", |r| Value::Text(r.cell.engine.device.clone()));
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}

/// The same whenever and however often a sweep was interrupted.
fn quality(all: &mut Columns) {
    all.add("clips", "clips", |r| count(Some(r.clips)));
    all.add("dictations", "", |r| count(Some(r.dictations)));
    all.add("failed", "failed", |r| count(Some(r.failed)));
    all.add("words", "", |r| count(Some(r.text.words)));
    all.add("raw_wer_percent", "raw WER %", |r| number(r.raw.percent(), 2));
    all.add("raw_cer_percent", "", |r| number(r.raw.characters.percent(), 2));
    all.add("wer_percent", "WER %", |r| number(r.text.percent(), 2));
    all.add("cer_percent", "CER %", |r| number(r.text.characters.percent(), 2));
    all.add("substituted", "", |r| count(Some(r.text.substituted)));
    all.add("deleted", "", |r| count(Some(r.text.deleted)));
    all.add("inserted", "", |r| count(Some(r.text.inserted)));
    all.add("punctuation_error_percent", "punct. %", |r| number(r.punctuation.percent(), 1));
    all.add("case_error_percent", "case %", |r| number(r.case.percent(), 1));
    all.add("novel_words", "novel", |r| count(r.edits.map(|e| e.novel_words)));
    all.add("changed_numbers", "numbers", |r| count(r.edits.map(|e| e.numbers)));
    all.add("changed_negations", "negations", |r| count(r.edits.map(|e| e.negations)));
    all.add("refused_windows", "", |r| count(Some(r.refused_windows)));
    all.add("by_model_percent", "by model %", |r| number(r.by_model.percent(), 0));
}

fn costs(all: &mut Columns) {
    all.add("real_time_factor", "RTF", |r| number(r.times.real_time_factor(), 3));
    all.add("latency_p50_ms", "p50 ms", |r| number(r.times.latency(0.5), 0));
    all.add("latency_p95_ms", "p95 ms", |r| number(r.times.latency(0.95), 0));
    all.add("latency_p99_ms", "p99 ms", |r| number(r.times.latency(0.99), 0));
    all.add("first_over_median", "first/median", |r| number(r.times.first_over_median, 2));
    for stage in Stage::ALL {
        for (name, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let name = format!("{}_{name}_ms", stage.name());
            all.add(&name, "", move |r| number(r.times.stage(stage, q), 1));
        }
    }
    all.add("tokens_per_s", "tokens/s", |r| number(r.times.tokens_per_s(), 0));
    all.add("draft_acceptance_percent", "accepted %", |r| number(r.text_drafts.percent(), 0));
    all.add("speech_draft_acceptance_percent", "", |r| number(r.speech_drafts.percent(), 0));
    all.add("load_ms", "load ms", |r| number(mean(&r.times.load_ms), 0));
    all.add("planned_mib", "planned MiB", |r| number(r.planned_bytes.map(mib), 1));
    all.add("peak_mib", "peak MiB", |r| number(r.peak_bytes.map(mib), 1));
    all.add("energy_j", "", |r| number(mean(&r.times.energy_j), 2));
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
