//! Flags that make an engine, shared by the commands that run one.

use crate::cli::Device;
use crate::exit::{Exit, Failure};
use crate::plan;
use crate::settings;
use crate::store::progress::{Progress as _, Terminal};
use crate::store::{Kind, Store, StoreConfig};
use anyhow::{Context as _, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use undertone_engine::gpu::{self, Available};
use undertone_engine::prompt::{Mode, Modes, Policy};
use undertone_engine::{EngineConfig, EngineError, Uploading};
use undertone_models::kv_cache::KvType;

#[derive(Args, Debug)]
pub(crate) struct EngineArgs {
    /// Speech model: a name from `undertone models list`, or a file or folder.
    #[arg(long, value_name = "NAME|PATH", default_value = crate::store::DEFAULT_SPEECH)]
    pub(crate) speech_model: String,
    /// Language model for clean-up: a name, a GGUF file, or none (rules alone clean).
    #[arg(long, value_name = "NAME|PATH|none", default_value = crate::store::DEFAULT_TEXT)]
    pub(crate) text_model: String,
    /// A TOML file with modes of your own (see docs/modes.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) modes: Option<PathBuf>,
    /// Where to compute: auto, cpu, or cuda[:N].
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = Device::parse)]
    pub(crate) device: Device,
    /// Threads to compute with; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Positions of the language model's context.
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(256..=131_072))]
    pub(crate) context: u32,
    /// How the language model's keys and values are stored: q8 takes 9/32 of the memory.
    #[arg(long, value_name = "f32|q8", default_value = "f32", value_parser = kv_type)]
    pub(crate) kv: KvType,
    /// Memory that may be taken, such as 8GiB; what is free by default.
    #[arg(long, value_name = "SIZE", value_parser = plan::size)]
    pub(crate) budget: Option<usize>,
    /// What may be changed when the models do not fit (see `undertone plan`).
    #[arg(long, value_enum, value_delimiter = ',', value_name = "REMEDY,...")]
    pub(crate) allow: Vec<plan::Allow>,
    /// Lock the weights in memory (`ulimit -l` must allow it).
    #[arg(long)]
    pub(crate) lock_memory: bool,
    /// Never touch the network, even when a model is missing.
    #[arg(long)]
    pub(crate) offline: bool,
}

/// What the flags come to.
pub(crate) struct Chosen {
    pub(crate) config: EngineConfig,
    pub(crate) speech_model: String,
    pub(crate) text_model: Option<String>,
    /// `cpu` or `cuda:N`.
    pub(crate) device: String,
}

impl EngineArgs {
    fn own_modes(&self) -> Result<Modes> {
        self.modes.as_deref().map_or(Ok(Modes::new()), own_modes)
    }

    /// What the settings ask for, with this pair of models.
    pub(crate) fn from_settings(models: &settings::Models, speech: &str, text: &str) -> Result<EngineArgs> {
        let wrong = |message: String| Failure::new(Exit::Usage, message);
        let allow = models.allow.iter().map(|remedy| match remedy {
            settings::Remedy::SmallerContext => plan::Allow::SmallerContext,
            settings::Remedy::Q8Kv => plan::Allow::Q8Kv,
            settings::Remedy::SmallerQuant => plan::Allow::SmallerQuant,
            settings::Remedy::WhisperOnCpu => plan::Allow::WhisperOnCpu,
        });
        Ok(EngineArgs {
            speech_model: speech.into(),
            text_model: text.into(),
            modes: None,
            device: Device::parse(&models.device).map_err(wrong)?,
            threads: u16::try_from(models.threads).ok().filter(|threads| *threads > 0),
            context: models.context,
            kv: kv_of(models.kv),
            budget: match models.budget.as_str() {
                "free" => None,
                size => Some(plan::size(size).map_err(wrong)?),
            },
            allow: allow.collect(),
            lock_memory: models.lock_memory,
            offline: models.offline,
        })
    }

    /// Finds the models, fetching them if they are missing, for an engine that keeps `modes` warm.
    pub(crate) fn choose(&self, modes: &[&str]) -> Result<Chosen> {
        self.choose_among(self.own_modes()?, modes)
    }

    /// As [`EngineArgs::choose`], with modes of the user's `own`.
    pub(crate) fn choose_among(&self, own: Modes, modes: &[&str]) -> Result<Chosen> {
        let mut known = Mode::built_in()?;
        known.extend(own.clone());
        for name in modes {
            if !known.contains_key(*name) {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let message = format!("there is no mode '{name}'; there are {}", names.join(", "));
                return Err(Failure::new(Exit::Usage, message).into());
            }
        }
        let gpu = self.gpu()?;
        let mut store_config = StoreConfig::from_env()?;
        store_config.offline |= self.offline;
        let store = Store::open(&store_config)?;
        let speech = store.ensure(&self.speech_model, Kind::Speech)?;
        let unasked = modes.iter().all(|name| known[*name].policy == Policy::None);
        let text = match self.text_model.as_str() {
            "none" => None,
            _ if unasked => None,
            name => Some(store.ensure(name, Kind::Text)?),
        };
        let device = gpu.as_ref().map_or("cpu".into(), Available::to_string);
        let config = EngineConfig {
            gpu,
            text_model: text.as_ref().map(|m| m.path.clone()),
            context_tokens: self.context as usize,
            kv: self.kv,
            threads: self.threads.map(usize::from),
            budget_bytes: self.budget,
            other_quantisations: match self.allow.contains(&plan::Allow::SmallerQuant) {
                true => plan::text_model_paths(&store)?,
                false => Vec::new(),
            },
            allow: self.allow.iter().map(|a| a.kind()).collect(),
            lock_memory: self.lock_memory,
            modes: own,
            settle: Some(crate::allocator::settle),
            warm_modes: modes.iter().map(|m| (*m).to_string()).collect(),
            ..EngineConfig::new(speech.path)
        };
        Ok(Chosen { config, speech_model: speech.name, text_model: text.map(|m| m.name), device })
    }

    /// The GPU to compute on, if any: where none was named, the first that can be used.
    pub(crate) fn gpu(&self) -> Result<Option<Available>> {
        match self.device {
            Device::Cpu => Ok(None),
            Device::Auto => Ok(gpu::find(0).inspect_err(|why| tracing::info!(%why, "on the processor")).ok()),
            Device::Cuda(n) => gpu::find(n).map(Some).map_err(|why| {
                let message = format!("device cuda:{n} is not available: {why}; use --device cpu");
                Failure::new(Exit::Device, message).into()
            }),
        }
    }
}

/// The modes in a file of the user's.
pub(crate) fn own_modes(path: &Path) -> Result<Modes> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::new(Exit::Input, format!("cannot read the modes in {}: {e}", path.display()))
    })?;
    Mode::parse(&text, &path.to_string_lossy()).map_err(|e| Failure::new(Exit::Usage, e.to_string()).into())
}

/// The exit code that an engine's error asks for.
pub(crate) fn failure(error: &EngineError) -> Failure {
    let exit = match error {
        EngineError::UnknownLanguage(_) | EngineError::EnglishOnly | EngineError::Mode { .. } => Exit::Usage,
        EngineError::Model(_) | EngineError::OverBudget(_) | EngineError::Residency(_) => Exit::Model,
        EngineError::Audio(_) => Exit::Input,
        EngineError::Gpu(_) => Exit::Device,
        EngineError::Cancelled => Exit::Interrupted,
        _ => Exit::Internal,
    };
    Failure::new(exit, error.to_string())
}

pub(crate) fn kv_type(text: &str) -> Result<KvType, String> {
    match text {
        "f32" => Ok(KvType::F32),
        "q8" => Ok(KvType::Q8),
        _ => Err("expected f32 or q8".into()),
    }
}

/// As the settings have it.
pub(crate) fn kv_of(kv: settings::Kv) -> KvType {
    match kv {
        settings::Kv::F32 => KvType::F32,
        settings::Kv::Q8 => KvType::Q8,
    }
}

/// Starts an engine, with a sentence and an exit code when it cannot.
pub(crate) fn start(mut config: EngineConfig) -> Result<undertone_engine::Engine> {
    config.uploading = Some(bar());
    undertone_engine::Engine::start(config).map_err(|e| failure(&e)).context("cannot start the engine")
}

/// A bar on a terminal while weights go to a GPU.
fn bar() -> Uploading {
    let bar = Mutex::new((Terminal::default(), 0));
    Uploading::new(move |done_bytes, total_bytes| {
        let (terminal, shown_bytes) = &mut *bar.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown_bytes == 0 {
            terminal.start("loading the models", total_bytes as u64);
        }
        terminal.advance((done_bytes - *shown_bytes) as u64);
        *shown_bytes = done_bytes;
        if done_bytes == total_bytes {
            terminal.finish();
        }
    })
}
