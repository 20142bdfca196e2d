//! `undertone lab report`: what results say, as a page with charts or as a table.

mod charts;
mod columns;
mod html;
mod summary;

use super::run::record;
use super::score::Normaliser;
use crate::exit::{Exit, Failure};
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use columns::{Column, columns};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use summary::{Row, Summary};

#[derive(clap::Args, Debug)]
pub(crate) struct ReportArgs {
    /// Results of `undertone lab run`; several are read as one.
    #[arg(value_name = "RESULTS.jsonl", required = true)]
    results: Vec<PathBuf>,
    /// Where the report goes; to stdout if not said.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// html: one page, with charts, that needs no other file; csv: all columns; markdown: the main ones.
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Html,
    Csv,
    Markdown,
}

/// Runs the command.
pub(crate) fn run(args: &ReportArgs) -> Result<Exit> {
    let summary = summary_of(&args.results)?;
    if summary.rows.is_empty() {
        let what = "there are no results in it yet";
        return Err(Failure::new(Exit::Input, format!("{}: {what}", args.results[0].display())).into());
    }
    let text = match args.format {
        Format::Html => html::page(&summary)?,
        Format::Csv => csv(&summary.rows)?,
        Format::Markdown => markdown(&summary.rows),
    };
    match &args.output {
        None => std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write the report")?,
        Some(path) => std::fs::write(path, text).map_err(|e| {
            Failure::new(Exit::Disk, format!("cannot write the report {}: {e}", path.display()))
        })?,
    }
    Ok(Exit::Ok)
}

fn summary_of(paths: &[impl AsRef<Path>]) -> Result<Summary> {
    Ok(Summary::new(record::read_all(paths)?, &Normaliser::new()?))
}

/// The table of the results in these files.
pub(super) fn markdown_of(paths: &[impl AsRef<Path>]) -> Result<String> {
    Ok(markdown(&summary_of(paths)?.rows))
}

fn csv(rows: &[Row]) -> Result<String> {
    let columns = columns();
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(columns.iter().map(|column| column.name.as_str()))?;
    for row in rows {
        out.write_record(columns.iter().map(|column| column.of(row).to_string()))?;
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}

/// Columns of a text: those with a title that say something, or do not say the same everywhere.
fn shown(rows: &[Row]) -> Vec<Column> {
    let telling = |column: &Column| {
        let setting = ["streaming", "speculation", "kv", "context", "threads", "device"];
        let values: Vec<String> = rows.iter().map(|row| column.of(row).to_string()).collect();
        let same = values.iter().all(|value| *value == values[0]);
        let usual = setting.contains(&column.name.as_str()) && same
            || column.name == "failed" && values.iter().all(|value| value == "0");
        !usual && values.iter().any(|value| !value.is_empty())
    };
    columns().into_iter().filter(|column| column.title.is_some() && telling(column)).collect()
}

fn markdown(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let columns = shown(rows);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = line(columns.iter().map(|c| c.title.unwrap_or_default().to_string()).collect());
    let _ = writeln!(out, "|{}", "---|".repeat(columns.len()));
    let plain = |text: String| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
    for row in rows {
        out += &line(columns.iter().map(|c| plain(c.of(row).to_string())).collect());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::run::Cell;
    use super::super::run::record::Record;
    use super::*;
    use proptest::prelude::*;

    /// Two cells, three clips, two repeats.
    fn records() -> Vec<Record> {
        let places = (0..12_u32).map(|n| (n % 2, n / 2 % 3, n / 6));
        let record = |(cell, clip, repeat): (u32, u32, u32)| Record {
            cell: Cell { mode: "a|b, \"c\"".into(), beam: 1 + cell, ..Cell::default() },
            clip: clip.to_string(),
            repeat,
            turn: 3 * repeat + clip,
            time_ms: i64::from(100 * repeat + 10 * cell + clip),
            reference: "We met Anna. It was late.".into(),
            raw: ["we met ana it was late", "we met anna", ""][clip as usize].into(),
            text: ["We met Ana. It was late.", "We met Anna.", ""][clip as usize].into(),
            language: "en".into(),
            cleaned_by: "llm".into(),
            audio_s: 2.0,
            latency_ms: f64::from(100 + 7 * clip + 31 * repeat),
            stages_ms: [("decode".to_string(), 50.0)].into(),
            ..Record::default()
        };
        places.map(record).collect()
    }

    fn table(records: Vec<Record>) -> String {
        csv(&Summary::new(records, &Normaliser::new().unwrap()).rows).unwrap()
    }

    proptest! {
        #[test]
        fn the_table_does_not_depend_on_the_order_of_lines(
            records in Just([records(), records()[..5].to_vec()].concat()).prop_shuffle()
        ) {
            prop_assert_eq!(table(records), table(super::tests::records()));
        }
    }

    #[test]
    fn cells_are_summed_up() {
        let text = table(records());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let of = |name: &str| &rows[0][header.iter().position(|h| h == name).unwrap()];
        let expected = [
            ("mode", "a|b, \"c\""),
            ("clips", "3"),
            ("dictations", "6"),
            ("words", "36"),
            // One of six words wrong, three lost, six lost.
            ("wer_percent", "55.56"),
            ("punctuation_error_percent", "0.0"),
            ("novel_words", "0"),
            ("by_model_percent", "100"),
            ("real_time_factor", "0.025"),
            ("latency_p50_ms", "131"),
            ("decode_p99_ms", "50.0"),
            // 100 ms over 131.
            ("first_over_median", "0.76"),
            ("energy_j", ""),
            ("tokens_per_s", ""),
        ];
        for (name, value) in expected {
            assert_eq!(of(name), value, "{name}: {text}");
        }
        assert_eq!(rows.len(), 2);
        let lines = markdown(&Summary::new(records(), &Normaliser::new().unwrap()).rows);
        assert!(lines.contains("a\\|b"), "{lines}");
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(lines.lines().all(|line| bars(line) == bars(lines.lines().next().unwrap())), "{lines}");
    }
}
