use crate::bundle::cli::BundleArgs;
use crate::doctor::DoctorArgs;
use crate::engine_args::EngineArgs;
use crate::history::HistoryCommand;
use crate::kept::{DashboardArgs, RecoverArgs};
use crate::lab::LabArgs;
use crate::plan::PlanArgs;
use crate::run::RunArgs;
use crate::settings::cli::ConfigArgs;
use crate::setup::SetupArgs;
use crate::store::cli::ModelsArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use undertone_engine::clean::spoken::Replacement;

/// Speech in, clean text out: Whisper and a language model in one process, no network needed.
#[derive(Parser, Debug)]
#[command(name = "undertone", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Tell on stderr what is done: stages with their times at debug. Dictated text is never logged.
    #[arg(long, global = true, value_name = "error|warn|info|debug|trace")]
    pub(crate) log: Option<tracing::Level>,
    /// Settings to use, in place of undertone/config.toml in the configuration folder.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 internal failure; 2 wrong usage; 3 an input file \
cannot be used; 4 a model is missing, cannot be used or does not fit the memory; 5 the device is not available; 6 a \
download failed; 7 the disk is full or not writable; \
130 interrupted.";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the dictation program: hold the key, speak, let go.
    Run(RunArgs),
    /// Tell the running program what to do, for key bindings of any desktop.
    Ctl {
        #[command(subcommand)]
        command: crate::ctl::Command,
    },
    /// Choose microphone, models, key and autostart.
    Setup(SetupArgs),
    /// Print, check and change the settings.
    Config(ConfigArgs),
    /// Transcribe recordings whose text was never delivered.
    Recover(RecoverArgs),
    /// List, show, search, export and wipe past dictations.
    History {
        #[command(subcommand)]
        command: HistoryCommand,
    },
    /// Show the last dictations and where their time went.
    Dashboard(DashboardArgs),
    /// Transcribe audio files and clean the text.
    Transcribe(TranscribeArgs),
    /// List, fetch, import, verify and remove models.
    Models(ModelsArgs),
    /// Carry the program and models to a machine without a network: one file, checked and signed.
    Bundle(BundleArgs),
    /// Show what the models would take of the memory, before anything is loaded.
    Plan(PlanArgs),
    /// Look at all that dictation needs of this machine, and say what to do where something is amiss.
    Doctor(DoctorArgs),
    /// Tools to measure and test with.
    Lab(LabArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TranscribeArgs {
    /// Audio files: wav, flac, mp3, ogg, m4a, aiff, ... of any rate and number of channels.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What to make of the transcript: standard, professional, prompt, ask, translate, a mode of your
    /// own, or raw, which leaves it as it is and loads no language model.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    pub(crate) mode: String,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Language spoken: a code such as en, de, fr, or auto.
    #[arg(long, value_name = "CODE", default_value = "auto")]
    pub(crate) language: String,
    /// Translate to English.
    #[arg(long)]
    pub(crate) translate: bool,
    /// Names and terms that are likely to occur: a hint for the speech model.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// Hypotheses kept while decoding speech; 1 is fastest, and what dictation uses.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) beam: u8,
    /// Decode each 30 s window without regard to the text before it.
    #[arg(long)]
    pub(crate) no_condition: bool,
    /// Whose choices where Whisper programs differ: padding of short windows, symbols never written,
    /// what follows a doubtful result. faster-whisper gives that program's text, for comparisons.
    #[arg(long, value_enum, default_value_t = Conventions::Undertone)]
    pub(crate) conventions: Conventions,
    /// Write "comma", "new line" and their like as what they name.
    #[arg(long)]
    pub(crate) spoken_punctuation: bool,
    /// Write numbers in figures: "twenty five percent" as 25 %.
    #[arg(long)]
    pub(crate) figures: bool,
    /// Write a word or phrase as another: --replace "k eight s=k8s".
    #[arg(long, value_name = "HEARD=WRITTEN", value_parser = replacement)]
    pub(crate) replace: Vec<Replacement>,
    /// Milliseconds the language model may take a file; what it has not cleaned by then is cleaned by
    /// rule.
    #[arg(long, value_name = "MS")]
    pub(crate) time_limit_ms: Option<u64>,
    /// Transcribe even where no voice is found.
    #[arg(long)]
    pub(crate) no_vad: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The text, and a line of stage times on stderr.
    Text,
    /// One JSON object a file, a line each.
    Json,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
}

/// Whose choices where Whisper programs differ.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conventions {
    /// Silence behind short audio, quotation marks and signs allowed, a wider search before chance.
    Undertone,
    /// Zeros in the spectrogram, Whisper's list of symbols, chance at once.
    FasterWhisper,
}

fn replacement(text: &str) -> Result<Replacement, String> {
    match text.split_once('=') {
        Some((heard, written)) if !heard.trim().is_empty() => {
            Ok(Replacement { heard: heard.trim().into(), written: written.trim().into() })
        }
        _ => Err("expected HEARD=WRITTEN".into()),
    }
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Auto,
    Cpu,
    Cuda(usize),
}

impl Device {
    pub(crate) fn parse(text: &str) -> Result<Device, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".to_string()),
        }
    }
}
