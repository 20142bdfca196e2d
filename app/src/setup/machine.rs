//! What `undertone setup` finds on this machine, and the questions on the terminal.

use super::autostart::{self, Autostart};
use super::tiers::Tier;
use super::{Found, Question, SetupArgs, interview};
use crate::capture;
use crate::checks::CHECKS;
use crate::environment::Place;
use crate::exit::{Exit, Failure};
use crate::plan;
use crate::settings::Settings;
use crate::store::{Kind, Store, StoreConfig, disk};
use anyhow::{Context, Result};
use std::io::{self, Write};
use std::path::Path;
use undertone_engine::telemetry::memory;

/// Pairs of models that go together. On a processor what answers at once comes first.
const PAIRS: [(&str, Option<&str>, &str); 5] = [
    ("whisper-tiny.en", Some("smollm2-135m-instruct"), "English, at once on any machine"),
    (
        "whisper-base",
        Some("smollm2-135m-instruct"),
        "any language heard, English cleaned, on two cores and more",
    ),
    ("whisper-base", Some("gemma-3-1b-it"), "any language, on eight cores and more"),
    ("whisper-large-v3-turbo", Some("gemma-3-4b-it"), "the best text, for fast machines"),
    ("whisper-tiny.en", None, "English, cleaned by rules alone"),
];
/// What a model that is not here yet takes beyond its file: caches, tables and scratch.
const BESIDE_WEIGHTS_BYTES: u64 = 300 << 20;

/// Runs `undertone setup`: asks, fetches the models, writes the settings and arranges the start.
///
/// # Errors
/// If nothing fits, an answer cannot be used, a download fails or a file cannot be written.
pub(crate) fn run(args: &SetupArgs, Place { environment, file }: &Place) -> Result<Exit> {
    let settings = file.load(&CHECKS).map_err(|e| Failure::new(Exit::Input, e.to_string()))?;
    let store = Store::open(&StoreConfig::from_env()?)?;
    let found = find(&settings, &store);
    let answers =
        interview(args, &found, &CHECKS, ask).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    store.ensure(&answers.speech, Kind::Speech)?;
    if answers.text != "none" {
        store.ensure(&answers.text, Kind::Text)?;
    }
    file.set(&answers.values(), &CHECKS).map_err(|e| Failure::new(Exit::Disk, e.to_string()))?;
    println!("the settings are in {}", file.path().display());
    let program = std::env::current_exe().context("the program's own path is not known")?;
    let changed = autostart::install(answers.autostart, &environment.config_home, &program)
        .map_err(|e| Failure::new(Exit::Disk, e.to_string()))?;
    for path in changed {
        println!("changed {}", path.display());
    }
    if let Some(step) = answers.autostart.next_step() {
        println!("{step}");
    }
    println!("`undertone run` starts it; then hold {}, speak, and let go", answers.key);
    Ok(Exit::Ok)
}

fn find(settings: &Settings, store: &Store) -> Found {
    let devices = capture::devices().unwrap_or_else(|error| {
        eprintln!("undertone: {error}");
        Vec::new()
    });
    let booted_by_systemd = Path::new("/run/systemd/system").exists();
    Found {
        microphones: devices.into_iter().filter(|d| !d.is_monitor).map(|d| d.name).collect(),
        tiers: PAIRS.iter().map(|(speech, text, what)| tier(settings, store, speech, *text, what)).collect(),
        free_bytes: memory::available_bytes().map_or(u64::MAX, |bytes| bytes as u64),
        disk_free_bytes: disk::free_bytes(store.root()).unwrap_or(u64::MAX),
        autostart: if booted_by_systemd { Autostart::Systemd } else { Autostart::Xdg },
        key: settings.keys.first().map_or_else(|| "ctrl+shift+space".into(), |key| key.key.clone()),
    }
}

/// A pair with what it takes: by the plan where its files are here, else by its size.
fn tier(settings: &Settings, store: &Store, speech: &str, text: Option<&str>, what: &str) -> Tier {
    let size_bytes = |name: &str| store.catalogue().find(name).map_or(0, |model| model.size_mb * 1_000_000);
    let is_here = |name: &str| store.resolve(name, None).is_ok();
    let names = || [Some(speech), text].into_iter().flatten();
    let planned = plan::planned_bytes(&settings.models, store, speech, text);
    Tier {
        speech: speech.into(),
        text: text.map(Into::into),
        planned_bytes: planned.map_or_else(
            |_| names().map(size_bytes).sum::<u64>() + BESIDE_WEIGHTS_BYTES,
            |bytes| bytes as u64,
        ),
        disk_bytes: names().filter(|name| !is_here(name)).map(size_bytes).sum(),
        description: what.into(),
    }
}

fn ask(question: &Question, wrong: Option<&str>) -> io::Result<String> {
    if let Some(wrong) = wrong {
        println!("{wrong}");
    }
    println!("{}", question.text);
    for (at, offer) in question.offers.iter().enumerate() {
        println!("  {}{} {offer}", at + 1, if at == question.suggested { "*" } else { " " });
    }
    print!("> ");
    io::stdout().flush()?;
    let mut line = String::new();
    match io::stdin().read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}
