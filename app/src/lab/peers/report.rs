//! What is said on the way and in the end.

use super::systems::Clip;
use super::table::Table;
use crate::engine_args::Chosen;
use crate::exit::{Exit, Failure};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use undertone_engine::Isa;
use undertone_models::whisper::SAMPLE_RATE_HZ;

/// What is true before the first request.
pub(super) struct Facts(Value);

impl Facts {
    pub(super) fn new(chosen: &Chosen, threads: usize, rounds: u32) -> Facts {
        let command: Vec<String> = std::env::args().skip(1).collect();
        Facts(json!({
            "date": jiff::Zoned::now().strftime("%Y-%m-%d").to_string(),
            "command": format!("undertone {}", command.join(" ")),
            "version": env!("CARGO_PKG_VERSION"),
            "machine": std::env::consts::ARCH,
            "system": std::env::consts::OS,
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
            "instructions": Isa::current().name(),
            "threads": threads,
            "load_average_before": load_average(),
            "speech_model": chosen.speech_model,
            "text_model": chosen.text_model,
            "rounds": rounds,
        }))
    }
}

/// Of the last minute, where the system tells it: a machine that does something else measures nothing.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Whether results can be written to `path`, before half an hour is spent.
pub(super) fn check(path: &Path) -> Result<()> {
    let opened = std::fs::File::options().create(true).append(true).open(path);
    Ok(opened.map(drop).map_err(|e| failed(path, &e))?)
}

fn failed(path: &Path, e: &std::io::Error) -> Failure {
    Failure::new(Exit::Disk, format!("cannot write the results {}: {e}", path.display()))
}

pub(super) fn print(tables: &[Table]) {
    let tables: Vec<String> = tables.iter().map(Table::markdown).collect();
    // Nobody may be there to read them any more; the results are written all the same.
    let _ = std::io::stdout().write_all(tables.join("\n").as_bytes());
}

/// Writes all that was measured: times and counts, no texts.
///
/// # Errors
/// [`Exit::Disk`].
pub(super) fn write(
    path: &Path,
    facts: &Facts,
    packages: BTreeMap<String, Value>,
    clips: &[Clip],
    tables: &[Table],
) -> Result<()> {
    let mut report = facts.0.clone();
    report["packages"] = packages.into_iter().collect::<Map<_, _>>().into();
    report["measured"] = json!(
        "milliseconds; peers: in their process, from samples or prompt tokens to the text; \
        ours: from the request to the text, with rules, licence and check"
    );
    let audio_s = |clip: &Clip| clip.samples.len() as f64 / f64::from(SAMPLE_RATE_HZ);
    let clips: Map<String, Value> =
        clips.iter().map(|clip| (clip.id.clone(), json!(audio_s(clip)))).collect();
    report["clips_s"] = clips.into();
    for table in tables {
        report[table.key] = table.json();
    }
    let text = serde_json::to_string_pretty(&report)? + "\n";
    std::fs::write(path, text).map_err(|e| failed(path, &e))?;
    eprintln!("undertone: results are in {}", path.display());
    Ok(())
}

/// Shown on a terminal only.
pub(super) fn bar(what: &'static str, items: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        eprintln!("undertone: {what}");
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:14} {wide_bar} {pos} of {len}, {eta} left");
    ProgressBar::new(items)
        .with_message(what)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
