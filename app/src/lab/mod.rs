//! `undertone lab ...`: tools for those who measure and test.

mod fill;
mod gguf;
mod latency;
mod quant;
mod safetensors;
mod shapes;
mod synth;
mod vocabulary;

use crate::exit::Exit;
use anyhow::Result;

/// Arguments of `undertone lab`.
#[derive(Debug, clap::Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// Write a model file of true shapes with random weights: for memory and speed, never for text
    Synth(synth::SynthArgs),
    /// Dictate again and again: first against median, p95, memory over time against the plan
    Latency(latency::LatencyArgs),
}

/// Runs `undertone lab`.
///
/// # Errors
/// Each carries its exit code, see [`Exit::of`].
pub(crate) fn run(args: &LabArgs) -> Result<Exit> {
    match &args.tool {
        Tool::Synth(args) => synth::run(args),
        Tool::Latency(args) => latency::run(args),
    }
}
