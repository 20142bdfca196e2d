//! `undertone history`.

use super::entry::{Entry, Stage, Stored};
use super::error::Result;
use super::export::{Format, export, json_line};
use super::files::Layout;
use super::query::Filter;
use super::stats::{Group, Percentiles, Stats};
use super::store::Store;
use super::table::{self, WHEN, fitted, local_time, printable};
use super::wipe::wipe;
use clap::{Args, Subcommand};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a command waits for a locked history.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `undertone history` does.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Lists dictations, newest first
    List(Listing),
    /// Shows everything about one dictation
    Show {
        /// Its number in the list
        id: i64,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Lists the dictations with these words, or words that begin so
    Search {
        /// The words
        #[arg(required = true)]
        words: Vec<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Transcribes the recording of a dictation again
    Redo {
        /// Its number in the list
        id: i64,
    },
    /// Writes dictations to standard output
    Export {
        #[command(flatten)]
        choice: Choice,
        /// How
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
    },
    /// Shows counts, times and rates
    Stats {
        #[command(flatten)]
        choice: Choice,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Deletes all dictations, recordings and logs beyond recovery
    Wipe {
        /// Really
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// Which dictations are listed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct Listing {
    #[command(flatten)]
    choice: Choice,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// One JSON object on each line
    #[arg(long)]
    json: bool,
}

/// Which dictations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Choice {
    /// Of this mode
    #[arg(long)]
    mode: Option<String>,
    /// In windows of this application
    #[arg(long)]
    app: Option<String>,
    /// That did not reach their window
    #[arg(long, conflicts_with = "succeeded")]
    failed: bool,
    /// That reached their window
    #[arg(long)]
    succeeded: bool,
    /// Since a date or time (2026-11-21, 2026-11-21T10:30) or for a while (7d, 12h)
    #[arg(long, value_name = "TIME", value_parser = since_ms)]
    since: Option<i64>,
}

impl Choice {
    fn filter(self, limit: Option<u32>) -> Filter {
        let success = (self.failed || self.succeeded).then_some(self.succeeded);
        Filter { mode: self.mode, app: self.app, success, since_ms: self.since, limit }
    }
}

/// A moment in milliseconds UTC from a date, a time, or how long ago it was.
fn since_ms(text: &str) -> std::result::Result<i64, String> {
    let moment = match (text.parse::<DateTime>(), text.parse::<Span>()) {
        (Ok(local), _) => local.to_zoned(TimeZone::system()),
        (_, Ok(span)) => Zoned::now().checked_sub(span.abs()),
        _ => {
            return Err(
                "use a date (2026-11-21), a date and time (2026-11-21T10:30) or a span (7d, 12h)".into()
            );
        }
    };
    moment.map(|zoned| zoned.timestamp().as_millisecond()).map_err(|e| e.to_string())
}

/// Runs `command` on the history in `dir` and prints to `out`. Of [`HistoryCommand::Redo`] the recording is
/// returned for the engine to transcribe.
///
/// # Errors
/// If the history cannot be used, or has no such dictation.
pub(crate) fn run(command: HistoryCommand, dir: &Path, out: &mut impl Write) -> Result<Option<PathBuf>> {
    if let HistoryCommand::Wipe { .. } = command {
        let wiped = wipe(dir, PATIENCE)?;
        writeln!(out, "Deleted {} dictations and {} files.", wiped.dictations, wiped.files)?;
        return Ok(None);
    }
    let store = Store::open_existing(&Layout::new(dir), PATIENCE)?;
    let listed = |filter: &Filter| store.as_ref().map_or(Ok(Vec::new()), |store| store.list(filter));
    let missing = |id| super::HistoryError::NoEntry(id);
    match command {
        HistoryCommand::List(Listing { choice, limit, json }) => {
            list(&listed(&choice.filter(Some(limit)))?, json, out)?
        }
        HistoryCommand::Show { id, json } => {
            let dictation = store.ok_or(missing(id))?.get(id)?;
            if json { json_line(&dictation, out)? } else { show(&dictation, out)? }
        }
        HistoryCommand::Search { words, listing: Listing { choice, limit, json } } => {
            let filter = choice.filter(Some(limit));
            let found = store.map_or(Ok(Vec::new()), |store| store.search(&words.join(" "), &filter))?;
            list(&found, json, out)?;
        }
        HistoryCommand::Redo { id } => return store.ok_or(missing(id))?.recording(id).map(Some),
        HistoryCommand::Export { choice, format } => export(&listed(&choice.filter(None))?, format, out)?,
        HistoryCommand::Stats { choice, json } => {
            let filter = choice.filter(None);
            let stats = store.map_or(Ok(Stats::of(&[])), |store| store.stats(&filter))?;
            if json { json_line(&stats, out)? } else { print_stats(&stats, out)? }
        }
        HistoryCommand::Wipe { .. } => {}
    }
    Ok(None)
}

fn list(dictations: &[Stored], json: bool, out: &mut impl Write) -> Result<()> {
    if json {
        return Ok(dictations.iter().try_for_each(|dictation| json_line(dictation, out))?);
    }
    let row = |Stored { id, entry }: &Stored| {
        let app = fitted(&printable(entry.app.as_deref().unwrap_or("-")), 14);
        let mode = fitted(&printable(&entry.mode), 12);
        let ms = entry.release_to_text_ms.map_or("-".into(), |ms| format!("{ms:.0}"));
        [id.to_string(), local_time(entry.started_at_ms, WHEN), mode, app, ms, summary(entry)]
    };
    let rows: Vec<_> = dictations.iter().map(row).collect();
    Ok(table::write(out, ["ID", "WHEN", "MODE", "APP", "MS", "TEXT"], &rows)?)
}

/// The text, or what is there in its place.
fn summary(entry: &Entry) -> String {
    let text = match entry.clean_text.as_deref().or(entry.raw_text.as_deref()) {
        Some(text) => printable(text),
        None => format!("({} words)", entry.words),
    };
    if entry.success {
        return text;
    }
    let failure = entry.error.as_deref().or(entry.error_stage.as_deref()).unwrap_or("failed");
    format!("[failed: {}] {text}", printable(failure))
}

fn show(Stored { id, entry }: &Stored, out: &mut impl Write) -> Result<()> {
    let e = entry;
    let mut line = |name: &str, value: Option<String>| match value.filter(|value| !value.is_empty()) {
        Some(value) => writeln!(out, "{name:<16} {value}"),
        None => Ok(()),
    };
    let word = |text: &Option<String>| text.as_deref().map(printable);
    line("dictation", Some(id.to_string()))?;
    line("when", Some(local_time(e.started_at_ms, WHEN)))?;
    line("mode", Some(printable(&e.mode)))?;
    line("application", word(&e.app))?;
    line("window", word(&e.window_title))?;
    line("speech model", Some(printable(&e.speech_model)))?;
    line("text model", word(&e.text_model))?;
    line("device", Some(printable(&e.device)))?;
    line("language", word(&e.language))?;
    line("audio", Some(format!("{:.1} s", e.audio_ms as f64 / 1e3)))?;
    line("recording", word(&e.audio_file))?;
    line("release to text", e.release_to_text_ms.map(|ms| format!("{ms:.0} ms")))?;
    for stage in Stage::ALL {
        line(&format!("  {}", stage.name()), e.stages.get(&stage).map(|ms| format!("{ms:.1} ms")))?;
    }
    line("tokens", Some(format!("{} heard, {} written", e.speech_tokens, e.text_tokens)))?;
    line("tokens per s", e.tokens_per_s.map(|rate| format!("{rate:.1}")))?;
    line("drafted tokens", Some(format!("{}, {} taken", e.drafted_tokens, e.accepted_tokens)))?;
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let peak = e.peak_bytes.map(|peak| format!(", {} at most used", mib(peak))).unwrap_or_default();
    line("memory", Some(format!("{} planned{peak}", mib(e.planned_bytes))))?;
    line("GPU", e.gpu.as_ref().map(ToString::to_string))?;
    line("cleaned by", word(&e.cleaned_by))?;
    line("refused windows", (e.refused_windows > 0).then(|| e.refused_windows.to_string()))?;
    for refusal in &e.refusals {
        line("  because", Some(printable(refusal)))?;
    }
    line("injection", word(&e.injection))?;
    line("receipt", e.receipt.map(|seen| if seen { "seen" } else { "not seen" }.into()))?;
    line("result", Some(if e.success { "in its window" } else { "failed" }.into()))?;
    line("failed in", word(&e.error_stage))?;
    line("error", word(&e.error))?;
    for (name, text) in [("heard", &e.raw_text), ("text", &e.clean_text)] {
        if let Some(text) = text {
            let lines: Vec<String> = text.lines().map(printable).collect();
            writeln!(out, "\n{name}:\n{}", lines.join("\n"))?;
        }
    }
    Ok(())
}

fn print_stats(stats: &Stats, out: &mut impl Write) -> Result<()> {
    let rate = stats.words_per_min.map(|rate| format!(", {rate:.0} a minute")).unwrap_or_default();
    writeln!(out, "{} dictations, {} failed", stats.dictations, stats.failures)?;
    writeln!(out, "{} words in {:.1} minutes of audio{rate}", stats.words, stats.audio_s / 60.0)?;
    if let Some(share) = stats.draft_acceptance {
        writeln!(out, "{:.0} % of drafted tokens were taken", share * 100.0)?;
    }
    if let Some(peak) = stats.peak_bytes {
        writeln!(out, "{} MiB of memory at most", peak >> 20)?;
    }
    let times = |name: &str, p: &Percentiles| {
        [name.to_owned(), p.count.to_string(), format!("{:.1}", p.p50), format!("{:.1}", p.p95)]
    };
    let mut rows: Vec<_> =
        stats.stages_ms.iter().map(|(stage, p)| times(&format!("{} ms", stage.name()), p)).collect();
    rows.extend(stats.release_to_text_ms.iter().map(|p| times("release to text ms", p)));
    rows.extend(stats.tokens_per_s.iter().map(|p| times("tokens per s", p)));
    if !rows.is_empty() {
        writeln!(out)?;
        table::write(out, ["STAGE", "COUNT", "P50", "P95"], &rows)?;
    }
    for (name, groups) in [("MODE", &stats.by_mode), ("APP", &stats.by_app)] {
        if !groups.is_empty() {
            writeln!(out)?;
            let rows: Vec<_> = groups.iter().map(group_row).collect();
            table::write(out, [name, "DICTATIONS", "FAILED", "WORDS", "P50 MS", "P95 MS"], &rows)?;
        }
    }
    if !stats.failures_by_stage.is_empty() {
        writeln!(out)?;
        let rows: Vec<_> =
            stats.failures_by_stage.iter().map(|(stage, n)| [printable(stage), n.to_string()]).collect();
        table::write(out, ["FAILED IN", "COUNT"], &rows)?;
    }
    Ok(())
}

fn group_row(group: &Group) -> [String; 6] {
    let ms = |value: fn(&Percentiles) -> f64| {
        group.release_to_text_ms.as_ref().map_or("-".into(), |p| format!("{:.0}", value(p)))
    };
    [
        printable(&group.name),
        group.dictations.to_string(),
        group.failures.to_string(),
        group.words.to_string(),
        ms(|p| p.p50),
        ms(|p| p.p95),
    ]
}
