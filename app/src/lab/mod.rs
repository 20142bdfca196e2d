//! `undertone lab ...`: tools for those who measure and test.

mod fill;
mod gguf;
mod jobs;
mod latency;
mod lines;
mod merge;
mod peers;
mod quant;
mod quantile;
mod report;
mod run;
mod safetensors;
mod score;
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
    /// The same clips and prompts through faster-whisper, whisper.cpp and llama.cpp in turn with ours, and through the
    /// pipeline of before
    Peers(peers::PeersArgs),
    /// Run an experiment: models, modes and settings over a corpus; what is done already is not done again
    Run(run::RunArgs),
    /// Answer a file of prompts, several at a time; what is answered already is not asked again
    Jobs(jobs::JobsArgs),
    /// Put results of several runs into one file
    Merge(merge::MergeArgs),
    /// Make a report of results: a page with charts, a table for a spreadsheet or for a text
    Report(report::ReportArgs),
}

impl LabArgs {
    /// Whether it writes to processes of its own, which may end before it does.
    pub(crate) fn has_children(&self) -> bool {
        matches!(self.tool, Tool::Peers(_))
    }
}

/// Runs `undertone lab`.
///
/// # Errors
/// Each carries its exit code, see [`Exit::of`].
pub(crate) fn run(args: &LabArgs) -> Result<Exit> {
    match &args.tool {
        Tool::Synth(args) => synth::run(args),
        Tool::Latency(args) => latency::run(args),
        Tool::Peers(args) => peers::run(args),
        Tool::Run(args) => run::run(args),
        Tool::Jobs(args) => jobs::run(args),
        Tool::Merge(args) => merge::run(args),
        Tool::Report(args) => report::run(args),
    }
}
