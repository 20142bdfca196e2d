//! The page. Nothing in it comes from elsewhere, nothing in it runs, and all text is escaped where it is
//! put in (by maud; what plotters draws is numbers and our own words).

use super::charts;
use super::columns::{Column, Value};
use super::shown;
use super::summary::{Row, Summary};
use crate::lab::run::record::Record;
use crate::lab::score::{Score, Step, align};
use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::style::RGBColor;
use std::collections::BTreeMap;
use undertone_engine::telemetry::Stage;
use unicode_segmentation::UnicodeSegmentation;

const WORST_CLIPS: usize = 20;
const CONFUSIONS: usize = 48;
/// Browsers are told to load nothing and to run nothing, whatever the page says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole page.
pub(super) fn page(summary: &Summary) -> Result<String> {
    let rows = &summary.rows;
    let (cells, dictations) = (rows.len(), summary.judged.len());
    let failed: usize = rows.iter().map(|row| row.failed).sum();
    let audio_s: f64 = rows.iter().map(|row| row.times.audio_s).sum();
    let charts = chart_sections(summary)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Undertone: results of " (cells) " cells" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                h1 { "Undertone lab" }
                p.note {
                    (cells) " cells, " (dictations) " dictations, " (failed) " failed, "
                    (format!("{:.1}", audio_s / 60.0)) " minutes of audio. Made by undertone "
                    (env!("CARGO_PKG_VERSION")) "."
                }
                h2 { "Table" }
                p.note { "In the charts a cell is called by its number here. The best of a column is green." }
                (table(rows))
                (charts)
                (confusions(summary))
                (worst(summary))
            }
        }
    };
    Ok(page.into_string())
}

fn table(rows: &[Row]) -> Markup {
    let columns = shown(rows);
    let number = |value: &Value| !matches!(value, Value::Text(_));
    html! {
        div.wide { table {
            thead { tr {
                th.n { "#" }
                @for column in &columns {
                    th.n[rows.first().is_some_and(|row| number(&column.of(row)))] title=(column.name) {
                        (column.title.unwrap_or_default())
                    }
                }
            } }
            tbody {
                @for (n, row) in rows.iter().enumerate() {
                    tr {
                        td.n { (n + 1) }
                        @for column in &columns {
                            @let value = column.of(row);
                            td.n[number(&value)].best[is_best(column, &value, rows)] { (value) }
                        }
                    }
                }
            }
        } }
    }
}

/// Whether no row has a better value, of columns where one is better than another, and some row a worse.
fn is_best(column: &Column, value: &Value, rows: &[Row]) -> bool {
    let less = [
        "raw_wer_percent",
        "wer_percent",
        "cer_percent",
        "punctuation_error_percent",
        "case_error_percent",
        "real_time_factor",
        "latency_p50_ms",
        "latency_p95_ms",
        "latency_p99_ms",
        "peak_mib",
    ];
    let more = ["tokens_per_s", "draft_acceptance_percent"];
    let sign = match column.name.as_str() {
        name if less.contains(&name) => 1.0,
        name if more.contains(&name) => -1.0,
        _ => return false,
    };
    let Value::Number(mine, _) = value else { return false };
    let others = rows.iter().filter_map(|row| match column.of(row) {
        Value::Number(other, _) => Some(other * sign),
        _ => None,
    });
    let others: Vec<f64> = others.collect();
    others.iter().all(|other| mine * sign <= *other) && others.iter().any(|other| mine * sign < *other)
}

/// A drawing with its title, what it shows, and what its colours mean.
fn figure(title: &str, note: &str, legend: &[(String, RGBColor)], svg: &str) -> Markup {
    html! {
        h2 { (title) }
        p.note { (note) }
        figure role="img" aria-label=(title) { (PreEscaped(svg)) }
        @if !legend.is_empty() {
            p.legend {
                @for (name, RGBColor(r, g, b)) in legend {
                    span { span.swatch style=(format!("background:rgb({r},{g},{b})")) {} (name) }
                }
            }
        }
    }
}

fn chart_sections(summary: &Summary) -> Result<Markup> {
    let rows = &summary.rows;
    let by_row: Vec<(String, RGBColor)> = rows
        .iter()
        .enumerate()
        .map(|(n, row)| (format!("{} {}", n + 1, row.cell), charts::colour(n)))
        .collect();
    let by_stage: Vec<(String, RGBColor)> =
        Stage::ALL.iter().enumerate().map(|(n, stage)| (stage.name().into(), charts::colour(n))).collect();
    let by_plan = charts::PLAN_COLOURS.map(|(name, colour)| (name.to_string(), colour));
    let cut = match rows.len() > charts::MOST_BARS {
        true => format!(" The first {} cells.", charts::MOST_BARS),
        false => String::new(),
    };
    let scatter = charts::scatter(rows)?;
    let (stages, memory) = (charts::stages(rows)?, charts::memory(rows)?);
    let over_time = charts::over_time(summary)?;
    let note = "Lower left is better. Ringed: the cells that no other beats in both.";
    Ok(html! {
        @if let Some(svg) = scatter { (figure("Latency against word errors", note, &by_row, &svg)) }
        (figure("Stages", &format!("Where the time of a dictation goes.{cut}"), &by_stage, &stages))
        @if let Some(svg) = memory {
            (figure("Memory, planned and used", &format!("What the plan allowed, and the most that was resident.{cut}"), &by_plan, &svg))
        }
        @for (title, svg) in &over_time {
            (figure(&format!("{title} over the run"), "Every dictation, in the order in which they were done.", &by_row, svg))
        }
    })
}

fn confusions(summary: &Summary) -> Markup {
    html! {
        @if !summary.confusions.is_empty() {
            h2 { "What was heard for what" }
            p.note { "Words of the reference and of the transcript in their place, normalised; a clip counts once in a cell." }
            ul.confusions {
                @for (said, heard, count) in summary.confusions.iter().take(CONFUSIONS) {
                    li { (count) " × " (said) " → " (heard) }
                }
            }
        }
    }
}

/// The clips with the most word errors, each in the cell that has the most.
fn worst(summary: &Summary) -> Markup {
    let mut by_clip: BTreeMap<&str, &(Record, Score)> = BTreeMap::new();
    for judged in &summary.judged {
        let place = by_clip.entry(&judged.0.clip).or_insert(judged);
        if judged.1.text.errors() > place.1.text.errors() {
            *place = judged;
        }
    }
    let mut worst: Vec<&(Record, Score)> = by_clip.into_values().filter(|j| j.1.text.errors() > 0).collect();
    worst.sort_by_key(|judged| std::cmp::Reverse(judged.1.text.errors()));
    let row =
        |record: &Record| summary.rows.iter().position(|row| row.cell == record.cell).map_or(0, |n| n + 1);
    html! {
        @if !worst.is_empty() {
            h2 { "Worst clips" }
            p.note { "The most word errors first, each in its worst cell. " del { "lost" } " " ins { "put in" } "." }
            @for (record, score) in worst.into_iter().take(WORST_CLIPS) {
                div.clip {
                    h3 {
                        (record.clip) ": " (score.text.errors()) " of " (score.text.words) " words, cell "
                        (row(record))
                    }
                    dl {
                        dt { "said" } dd { (record.reference) }
                        dt { "heard" } dd { (diff(&record.reference, &record.raw)) }
                        dt { "written" } dd { (diff(record.wanted(), &record.text)) }
                    }
                }
            }
        }
    }
}

/// `text` with what it lost of `reference` and what was put in marked; case and marks do not count.
fn diff(reference: &str, text: &str) -> Markup {
    let spaced = |text: &str| text.contains(char::is_whitespace);
    let apart = !spaced(reference) && !spaced(text);
    let words = |text: &str| -> Vec<String> {
        match apart {
            // One word, or a script that does not part words.
            true => text.graphemes(true).map(str::to_string).collect(),
            false => text.split_whitespace().map(str::to_string).collect(),
        }
    };
    let plain = |words: &[String]| -> Vec<String> {
        let plain = |word: &String| word.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
        words.iter().map(plain).collect()
    };
    let (said, got) = (words(reference), words(text));
    let space = if apart { "" } else { " " };
    html! {
        @for step in align(&plain(&said), &plain(&got)) {
            @match step {
                Step::Same(_, j) => { (got[j]) }
                Step::Substitute(i, j) => { del { (said[i]) } (space) ins { (got[j]) } }
                Step::Delete(i) => { del { (said[i]) } }
                Step::Insert(j) => { ins { (got[j]) } }
            }
            (space)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::report::columns::columns;
    use crate::lab::run::Cell;
    use crate::lab::score::Normaliser;
    use undertone_engine::telemetry::MemoryUse;

    const HOSTILE: &str =
        "</title></style></svg><script>alert(1)</script><img src=x onerror=alert(2)> \"'&\u{202e}";

    fn hostile() -> Summary {
        let mut cell = Cell { mode: HOSTILE.into(), ..Cell::default() };
        cell.engine.speech_model = HOSTILE.into();
        cell.engine.text_model = HOSTILE.into();
        cell.engine.device = HOSTILE.into();
        let record = |n: u32| Record {
            cell: Cell { beam: n, ..cell.clone() },
            clip: HOSTILE.into(),
            lang: Some("de".into()),
            reference: format!("eins zwei {HOSTILE} drei"),
            raw: format!("eins {HOSTILE} <b>vier</b>"),
            text: format!("{HOSTILE} <b>vier</b> <iframe src=//x>"),
            latency_ms: 10.0,
            audio_s: 1.0,
            memory: MemoryUse { planned_bytes: 2, resident_bytes: Some(1), peak_bytes: Some(1) },
            ..Record::default()
        };
        Summary::new(vec![record(1), record(2)], &Normaliser::new().unwrap())
    }

    #[test]
    fn text_of_the_corpus_stays_text() {
        let page = page(&hostile()).unwrap();
        let (head, body) = page.split_once("<body>").unwrap();
        for tag in ["<script", "<img", "<iframe", "<b>", "onerror=alert(2)>"] {
            assert!(!page.contains(tag), "{tag}");
        }
        assert!(body.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert_eq!((head.matches("</title>").count(), head.matches("</style>").count()), (1, 1));
        // Every drawing that is opened is closed by its own end.
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.matches("<svg").count() == 5);
    }

    #[test]
    fn the_page_asks_for_nothing() {
        let page = page(&hostile()).unwrap();
        for reference in ["<link", "src=\"", "href=", "url(", "@import"] {
            assert!(!page.contains(reference), "{reference}");
        }
        assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
    }

    #[test]
    fn differences_are_marked() {
        let marked = |said, got| diff(said, got).into_string();
        assert_eq!(marked("the cat sat", "The dog sat."), "The <del>cat</del> <ins>dog</ins> sat. ");
        assert_eq!(marked("a b", "a"), "a <del>b</del> ");
        assert_eq!(marked("今日は", "今日も"), "今日<del>は</del><ins>も</ins>");
    }

    #[test]
    fn every_column_has_a_value_or_none() {
        let summary = hostile();
        assert!(
            columns()
                .iter()
                .all(|column| !summary.rows.iter().any(|row| column.of(row).to_string() == "NaN"))
        );
    }
}
