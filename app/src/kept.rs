//! What is kept of past dictations: `undertone recover`, `history` and `dashboard`.

use crate::engine_args::{self, EngineArgs};
use crate::environment::{Environment, Place};
use crate::exit::{Exit, Failure};
use crate::history::{self, Entry, Filter, HistoryCommand, Layout, Stage, Store, Stored};
use crate::journal::{self, Unfinished};
use crate::run::{engine_modes, open_sink, request_of, unfinished_entry};
use crate::settings::Settings;
use crate::ui::dashboard::{self, Row, Snapshot};
use anyhow::{Context, Result};
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;
use undertone_engine::audio;
use undertone_engine::{Dictation, Engine, Ticket};
use undertone_models::whisper::SAMPLE_RATE_HZ;

/// Dictations that the dashboard shows.
const SHOWN: u32 = 200;
/// How long a locked history is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `undertone recover`.
#[derive(clap::Args, Debug)]
pub(crate) struct RecoverArgs {
    /// Only tell what there is.
    #[arg(long, conflicts_with = "remove")]
    list: bool,
    /// Remove the recordings without transcribing them.
    #[arg(long)]
    remove: bool,
    /// Numbers of the recordings; all when none is named.
    #[arg(value_name = "NUMBER")]
    only: Vec<u64>,
}

/// Arguments of `undertone dashboard`.
#[derive(clap::Args, Debug)]
pub(crate) struct DashboardArgs {
    /// Print one picture as text.
    #[arg(long)]
    once: bool,
}

/// Writes the text of unfinished recordings to stdout, and each into the history; what is written out is
/// removed from the journal.
///
/// # Errors
/// If the journal cannot be read, or the models cannot be used; a recording that fails stays.
pub(crate) fn recover(args: &RecoverArgs, place: &Place) -> Result<Exit> {
    let environment = &place.environment;
    let failed = |e: journal::JournalError| Failure::new(Exit::Disk, e.to_string());
    let mut unfinished = journal::recover(&environment.journal_dir()).map_err(failed)?;
    unfinished.retain(|one| args.only.is_empty() || args.only.contains(&one.id));
    if unfinished.is_empty() {
        eprintln!("undertone: there is no unfinished recording");
        return Ok(Exit::Ok);
    }
    if args.list || args.remove {
        for one in unfinished {
            println!("{}", line(&one));
            if args.remove {
                one.remove().map_err(failed)?;
            }
        }
        return Ok(Exit::Ok);
    }
    let settings = place.settings()?;
    let engine = Transcriber::start(&settings)?;
    let sink = open_sink(&settings, environment, |sentence| eprintln!("undertone: {sentence}"))?;
    let mut exit = Exit::Ok;
    for one in unfinished {
        match engine.transcribe(&settings, one.samples().map_err(failed)?, &one.about.mode) {
            Ok(dictation) => {
                eprintln!("undertone: {}", line(&one));
                print(&dictation.text)?;
                sink.record(unfinished_entry(&engine.speech, engine.text.as_deref(), &one, &dictation));
                // The text is on the disk, or told on stdout, before its audio goes.
                sink.flush(PATIENCE);
                one.remove().map_err(failed)?;
            }
            Err(error) => {
                eprintln!("undertone: recording {}: {error:#}", one.id);
                one.failed().map_err(failed)?;
                exit = Exit::of(&error);
            }
        }
    }
    Ok(exit)
}

fn line(one: &Unfinished) -> String {
    let seconds = one.duration_ms as f64 / 1e3;
    let app = one.about.target_app.as_deref().unwrap_or("-");
    let mode = if one.about.mode.is_empty() { "-" } else { &one.about.mode };
    let started = history::local_time(history::utc_ms(one.started), "%F %T");
    format!("{} {started} {seconds:.1} s {mode} {app}", one.id)
}

/// Runs `undertone history`.
///
/// # Errors
/// As [`history::run`]; for `redo` also if the models cannot be used.
pub(crate) fn history(command: HistoryCommand, place: &Place) -> Result<Exit> {
    let environment = &place.environment;
    let wipes = matches!(command, HistoryCommand::Wipe { .. });
    let result = history::run(command, &environment.history_dir(), &mut stdout().lock());
    let recording = result.map_err(|e| Failure::new(Exit::Input, e.to_string()))?;
    if wipes {
        let files = journal::wipe(&environment.journal_dir());
        let files = files.map_err(|e| Failure::new(Exit::Disk, e.to_string()))?;
        println!("Deleted {files} recordings that were not delivered.");
    }
    if let Some(recording) = recording {
        redo(&recording, &place.settings()?)?;
    }
    Ok(Exit::Ok)
}

fn redo(recording: &Path, settings: &Settings) -> Result<()> {
    let unusable = |e: audio::AudioError| Failure::new(Exit::Input, e.to_string());
    let pcm = audio::decode_file(recording).and_then(|pcm| audio::resample(pcm, SAMPLE_RATE_HZ));
    let engine = Transcriber::start(settings)?;
    let dictation = engine.transcribe(settings, pcm.map_err(unusable)?.samples, "")?;
    print(&dictation.text)
}

fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write the result")
}

/// An engine as the settings want it, for recordings after the fact.
struct Transcriber {
    engine: Engine,
    speech: String,
    text: Option<String>,
}

impl Transcriber {
    fn start(settings: &Settings) -> Result<Transcriber> {
        let models = &settings.models;
        let args = EngineArgs::from_settings(models, &models.speech, &models.text)?;
        let modes = engine_modes(settings).map_err(|e| engine_args::failure(&e))?;
        let mut chosen = args.choose_among(modes, &["standard"])?;
        chosen.config.warm_up = false;
        let engine = engine_args::start(chosen.config)?;
        Ok(Transcriber { engine, speech: chosen.speech_model, text: chosen.text_model })
    }

    /// In the mode it was recorded in, where that needs no selection and still exists.
    fn transcribe(&self, settings: &Settings, samples: Vec<f32>, mode: &str) -> Result<Dictation> {
        let request = request_of(settings, mode);
        let ticket = self.engine.submit(samples, request, None);
        Ok(ticket.and_then(Ticket::wait).map_err(|failed| engine_args::failure(&failed.error))?)
    }
}

/// Runs `undertone dashboard`.
///
/// # Errors
/// If there is no terminal.
pub(crate) fn dashboard(args: &DashboardArgs, environment: &Environment) -> Result<Exit> {
    let dir = environment.history_dir();
    if args.once {
        let columns = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
        print!("{}", dashboard::once(&snapshot(&dir), (columns("COLUMNS").unwrap_or(100), 30)));
        return Ok(Exit::Ok);
    }
    dashboard::run(|| snapshot(&dir)).map_err(|e| Failure::new(Exit::Device, e.to_string()))?;
    Ok(Exit::Ok)
}

/// What the history holds now; a history that cannot be read shows nothing new.
fn snapshot(dir: &Path) -> Snapshot {
    let read = || {
        let store = Store::open_existing(&Layout::new(dir), PATIENCE)?;
        store.map_or(Ok(Vec::new()), |store| store.list(&Filter { limit: Some(SHOWN), ..Filter::default() }))
    };
    let dictations: Vec<Stored> = read().unwrap_or_default();
    let stages = Stage::ALL.into_iter().map(|stage| dashboard::Stage {
        name: stage.name().into(),
        times_ms: dictations.iter().filter_map(|d| d.entry.stages.get(&stage).map(|ms| *ms as f32)).collect(),
    });
    Snapshot {
        stages: stages.collect(),
        gpu: dictations.first().and_then(|d| gpu(&d.entry)),
        rows: dictations.iter().map(|d| row(&d.entry)).collect(),
    }
}

fn row(entry: &Entry) -> Row {
    let outcome = match (&entry.injection, &entry.error) {
        _ if entry.success => entry.injection.clone().unwrap_or_else(|| "done".into()),
        (_, Some(error)) => error.clone(),
        _ => entry.error_stage.clone().unwrap_or_else(|| "failed".into()),
    };
    Row {
        time: history::local_time(entry.started_at_ms, "%T"),
        mode: entry.mode.clone(),
        app: entry.app.clone().unwrap_or_default(),
        words: u32::try_from(entry.words).unwrap_or(u32::MAX),
        total_ms: entry.release_to_text_ms.unwrap_or(0.0) as f32,
        tokens_per_second: entry.tokens_per_s.unwrap_or(0.0) as f32,
        memory_bytes: entry.peak_bytes.unwrap_or(0),
        outcome,
        succeeded: entry.success,
    }
}

/// The card as the last dictation found it.
fn gpu(entry: &Entry) -> Option<dashboard::Gpu> {
    let reading = entry.gpu.as_ref()?;
    let number = |key: &str| reading.get(key).and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    let throttled = reading.get("throttle_reasons").filter(|r| r.as_array().is_some_and(|r| !r.is_empty()));
    Some(dashboard::Gpu {
        name: entry.device.clone(),
        temperature_c: number("temperature_c") as u32,
        power_w: number("power_w") as f32,
        clock_mhz: number("sm_clock_mhz") as u32,
        utilisation_percent: number("utilisation_percent") as u32,
        memory_used_bytes: number("memory_used_bytes") as u64,
        memory_total_bytes: number("memory_total_bytes") as u64,
        throttled: throttled.map(ToString::to_string),
    })
}
