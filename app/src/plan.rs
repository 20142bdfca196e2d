//! `undertone plan`: what both models would take, from the headers of their files.

use crate::engine_args::kv_type;
use crate::exit::{Exit, Failure};
use crate::store::{Kind, Store, StoreConfig};
use anyhow::Result;
use clap::ValueEnum;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use undertone_engine::plan::{self, Plan, PlanRequest, RemedyKind, Verdict, mebibytes};
use undertone_engine::prompt::Mode;
use undertone_engine::telemetry::memory;
use undertone_engine::transcribe::SpeechOptions;
use undertone_models::ModelError;
use undertone_models::footprint::{SpeechFootprint, TextFootprint};
use undertone_models::kv_cache::KvType;

/// Arguments of `undertone plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Speech model: a name from `undertone models list`, or a file or folder.
    #[arg(long, value_name = "NAME|PATH", default_value = crate::store::DEFAULT_SPEECH)]
    speech_model: String,
    /// Language model for clean-up: a name, a GGUF file, or none.
    #[arg(long, value_name = "NAME|PATH|none", default_value = crate::store::DEFAULT_TEXT)]
    text_model: String,
    /// Positions of the language model's context.
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(256..=131_072))]
    context: u32,
    /// How the language model's keys and values are kept.
    #[arg(long, value_name = "f32|q8", default_value = "f32", value_parser = kv_type)]
    kv: KvType,
    /// Memory that may be taken, such as 8GiB; what is free on this machine by default.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    budget: Option<usize>,
    /// Whose memory is planned: cpu, or cuda with its size (cuda:8GiB). No GPU is needed to plan.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = Device::parse)]
    device: Device,
    /// What may be changed when it does not fit, in the order it is tried.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "REMEDY,...")]
    allow: Vec<Allow>,
    /// Modes whose prompt prefix is kept computed.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...", default_value = "standard")]
    modes: Vec<String>,
    /// Threads to compute with; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Remedies by their names on the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allow {
    /// Fewer positions of context, 1024 at least.
    SmallerContext,
    /// Keys and values in 8 bits.
    Q8Kv,
    /// A smaller quantisation of the same language model, if the store has one.
    SmallerQuant,
    /// The speech model on the processor (with --device cuda).
    WhisperOnCpu,
}

impl Allow {
    pub(crate) fn kind(self) -> RemedyKind {
        RemedyKind::ALL[self as usize]
    }
}

/// A device, and its memory where it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Device {
    device: plan::Device,
    memory_bytes: Option<usize>,
}

impl Device {
    fn parse(text: &str) -> Result<Device, String> {
        let (device, memory) = match text.split_once(':') {
            Some((device, memory)) => (device, Some(size(memory)?)),
            None => (text, None),
        };
        match (device, memory) {
            ("cpu", None) => Ok(Device { device: plan::Device::Cpu, memory_bytes: None }),
            ("cuda", memory_bytes) => Ok(Device { device: plan::Device::Cuda, memory_bytes }),
            _ => Err("expected cpu, cuda or cuda:SIZE (such as cuda:8GiB)".into()),
        }
    }
}

/// Bytes of a size as people write it: `8GiB`, `8 GB`, `7.5G`, `8192MiB`. A unit is needed; those
/// with an i, and single letters, are powers of 1024.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("'{text}' is not a size; write a number and a unit, such as 8GiB or 8192MiB");
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit: f64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024f64.powi(2),
        "g" | "gib" => 1024f64.powi(3),
        _ => return Err(wrong()),
    };
    let bytes = number * unit;
    if (1.0..2f64.powi(53)).contains(&bytes) { Ok(bytes as usize) } else { Err(wrong()) }
}

/// Runs `undertone plan`.
///
/// # Errors
/// [`Exit::Model`] when a model is missing or cannot be used, and when the plan does not fit.
pub(crate) fn run(args: &PlanArgs) -> Result<Exit> {
    let store = Store::open(&StoreConfig::from_env()?)?;
    let request = request(args, &store)?;
    let plan = request.plan();
    match args.json {
        true => println!("{}", report(&plan, &request)),
        false => print!("{}", table(&plan, &request, args)),
    }
    plan.granted().map_err(|e| Failure::new(Exit::Model, e.to_string()))?;
    Ok(Exit::Ok)
}

fn request(args: &PlanArgs, store: &Store) -> Result<PlanRequest> {
    let unusable = |e: ModelError| Failure::new(Exit::Model, e.to_string());
    let speech = store.resolve(&args.speech_model, Kind::Speech)?;
    let speech = SpeechFootprint::read(&speech.path).map_err(unusable)?;
    let text = match args.text_model.as_str() {
        "none" => None,
        name => {
            let model = store.resolve(name, Kind::Text)?;
            Some(TextFootprint::read(&model.path).map_err(unusable)?)
        }
    };
    let speech_options = SpeechOptions::default();
    let modes = Mode::built_in().map_err(|e| Failure::new(Exit::Internal, e.to_string()))?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Ok(PlanRequest {
        speech: Some(speech),
        sequences: 1,
        other_quantisations: if text.is_some() { installed_text_models(store)? } else { Vec::new() },
        text,
        device: args.device.device,
        context_bytes: None,
        budget_bytes: budget_bytes(args)?,
        context_tokens: args.context as usize,
        kv: args.kv,
        max_hypotheses: speech_options.best_of.max(speech_options.fallback_beam_size),
        prefix_slot_tokens: args.modes.iter().filter_map(|m| modes.get(m)).map(plan::prefix_tokens).collect(),
        threads: args.threads.map_or_else(cores, usize::from),
        allow: args.allow.iter().map(|a| a.kind()).collect(),
    })
}

fn budget_bytes(args: &PlanArgs) -> Result<usize, Failure> {
    let free = || (args.device.device == plan::Device::Cpu).then(memory::available_bytes).flatten();
    args.budget.or(args.device.memory_bytes).or_else(free).ok_or_else(|| {
        let what = "how much memory there is cannot be told here: name it, such as --budget 8GiB";
        Failure::new(Exit::Usage, what)
    })
}

/// Every language model of the store whose header can be read.
fn installed_text_models(store: &Store) -> Result<Vec<(String, TextFootprint)>> {
    let mut found = Vec::new();
    for (name, path) in text_model_paths(store)? {
        match TextFootprint::read(&path) {
            Ok(footprint) => found.push((name, footprint)),
            Err(error) => tracing::debug!(%error, "an installed model that cannot be planned"),
        }
    }
    Ok(found)
}

/// What this pair of models takes as the settings have it.
///
/// # Errors
/// If a model is not here or cannot be used.
pub(crate) fn planned_bytes(
    models: &crate::settings::Models,
    store: &Store,
    speech: &str,
    text: Option<&str>,
) -> Result<usize> {
    let args = PlanArgs {
        speech_model: speech.into(),
        text_model: text.unwrap_or("none").into(),
        context: models.context,
        kv: crate::engine_args::kv_of(models.kv),
        budget: Some(usize::MAX),
        device: Device { device: plan::Device::Cpu, memory_bytes: None },
        allow: Vec::new(),
        modes: vec!["standard".into()],
        threads: u16::try_from(models.threads).ok().filter(|threads| *threads > 0),
        json: false,
    };
    Ok(request(&args, store)?.plan().total_bytes)
}

/// Every language model of the store.
pub(crate) fn text_model_paths(store: &Store) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for name in store.installed_names()? {
        let Ok(Some((folder, manifest))) = store.installed(&name) else { continue };
        if manifest.kind == Kind::Text {
            found.push((name, manifest.load_path(&folder)));
        }
    }
    Ok(found)
}

fn table(plan: &Plan, request: &PlanRequest, args: &PlanArgs) -> String {
    let mut out = String::new();
    let name = |given: &str| Path::new(given).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let quantisation = request.speech.as_ref().map_or("", |speech| &speech.quantisation);
    let mut row = |label: &str, value: &str, note: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", format!("{label:<30}{value:>12}  {note}").trim_end());
    };
    row("speech model", "", &format!("{} ({quantisation})", name(&args.speech_model)));
    if let Some(text) = &request.text {
        let architecture = &text.architecture.name;
        row("text model", "", &format!("{} ({architecture}, {})", name(&args.text_model), text.quantisation));
        let (tokens, trained) = (plan.settings.context_tokens, text.trained_context_tokens());
        let stored =
            if plan.device == plan::Device::Cuda { plan.settings.kv.on_gpu() } else { plan.settings.kv };
        let kv = format!("{stored:?}").to_lowercase();
        row("context", "", &format!("{tokens} tokens of {trained}, KV cache in {kv}"));
    }
    row("device", "", &format!("{:?}", plan.device).to_lowercase());
    for line in &plan.lines {
        row(line.name, &mebibytes(line.bytes), if line.estimate { "estimate" } else { "" });
    }
    row("total", &mebibytes(plan.total_bytes), &format!("{} bytes", plan.total_bytes));
    row("budget", &mebibytes(plan.budget_bytes), &format!("{} bytes", plan.budget_bytes));
    match plan.verdict {
        Verdict::Fits { spare_bytes } => row("fits, to spare", &mebibytes(spare_bytes), ""),
        Verdict::Refused { short_by_bytes } => row("refused, short by", &mebibytes(short_by_bytes), ""),
    }
    for remedy in &plan.remedies {
        let state = if remedy.applied { "applied" } else { "not allowed" };
        let label = format!("{state}: {}", remedy.kind.name());
        row(&label, &format!("-{}", mebibytes(remedy.saves_bytes)), &remedy.what);
    }
    out
}

fn report(plan: &Plan, request: &PlanRequest) -> serde_json::Value {
    let text = request.text.as_ref().map(|t| {
        json!({ "architecture": t.architecture.name, "quantisation": t.quantisation,
            "trained_context_tokens": t.trained_context_tokens() })
    });
    json!({
        "speech_model": { "architecture": "whisper", "quantisation": request.speech.as_ref().map(|s| &s.quantisation) },
        "text_model": text,
        "plan": plan,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let good = [
            ("8GiB", 8 << 30),
            ("8gib", 8 << 30),
            ("8G", 8 << 30),
            ("8 GB", 8_000_000_000),
            ("8192MiB", 8 << 30),
            ("7.5GiB", 15 << 29),
            ("512MB", 512_000_000),
            ("100k", 102_400),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "8", "GiB", "8GiBs", "-8GiB", "8..5GiB", "0GiB", "9e9GiB", "99999999999GiB", "8 Gi B"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_may_name_its_memory() {
        let cuda = |memory_bytes| Ok(Device { device: plan::Device::Cuda, memory_bytes });
        assert_eq!(Device::parse("cuda"), cuda(None));
        assert_eq!(Device::parse("cuda:8GiB"), cuda(Some(8 << 30)));
        assert!(Device::parse("cpu:8GiB").is_err() && Device::parse("cuda:0").is_err());
    }

    #[test]
    fn what_may_be_allowed_is_what_can_be_done() {
        for (allow, kind) in Allow::value_variants().iter().zip(RemedyKind::ALL) {
            let value = allow.to_possible_value();
            assert_eq!(value.as_ref().map(|v| v.get_name()), Some(kind.name()));
        }
    }
}
