//! `undertone lab run`: the engine over a corpus in every cell of a sweep, and what that measures.

mod cells;
pub(super) mod corpus;
pub(super) mod experiment;
mod measure;
pub(super) mod record;

pub(crate) use cells::Cell;

use super::report;
use crate::cli::Device;
use crate::engine_args::{self, Chosen, EngineArgs};
use crate::exit::{Exit, Failure};
use anyhow::Result;
use cells::{EngineCell, Group, Shard};
use corpus::{Clip, Source};
use experiment::{Experiment, Kv};
use indicatif::{ProgressBar, ProgressStyle};
use measure::Bench;
use record::Appender;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use undertone_engine::prompt::{Mode, Modes};
use undertone_engine::telemetry::{gpu, memory};
use undertone_engine::transcribe::SpeechOptions;
use undertone_models::kv_cache::KvType;

#[derive(clap::Args, Debug)]
pub(crate) struct RunArgs {
    /// What is compared, on what: a TOML file (see docs/lab.md).
    #[arg(value_name = "EXPERIMENT.toml")]
    experiment: PathBuf,
    /// Where results are appended, a line each; by default beside the experiment. What is there already is
    /// not done again.
    #[arg(short, long, value_name = "RESULTS.jsonl")]
    output: Option<PathBuf>,
    /// Do one part of the sweep, such as 2/8; by default its results go to a file of their own.
    #[arg(long, value_name = "PART/PARTS")]
    shard: Option<Shard>,
    /// Print the cells and how much there is to do, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// An experiment and what it comes to.
struct Sweep {
    experiment: Experiment,
    /// Of the experiment's file.
    folder: PathBuf,
    own: Modes,
    clips: Vec<Clip>,
    groups: Vec<Group>,
}

/// All repeats of a clip in a cell.
#[derive(Clone, Copy)]
struct Job<'a> {
    group: usize,
    cell: &'a Cell,
    clip: &'a Clip,
}

/// Runs the command. Prints the table of what is in the results when all is done.
///
/// # Errors
/// Before anything is measured, for an experiment, a corpus, a model or a device that cannot be used; an
/// engine that cannot be started or a clip that fails is told, and the rest is done.
pub(crate) fn run(args: &RunArgs) -> Result<Exit> {
    let sweep = Sweep::read(&args.experiment)?;
    let jobs = sweep.jobs();
    let jobs = args.shard.map_or(jobs.clone(), |shard| shard.of(jobs));
    let output = args.output.clone().unwrap_or_else(|| beside(&args.experiment, args.shard));
    if args.dry_run {
        print!("{}", sweep.outline(&jobs));
        return Ok(Exit::Ok);
    }
    let mut results = Appender::open(&output)?;
    let repeats = sweep.experiment.repeats;
    let left = |job: &&Job<'_>| (0..repeats).any(|r| !results.has(&cells::key(job.cell, job.clip, r)));
    let jobs: Vec<Job<'_>> = jobs.iter().filter(left).copied().collect();
    // What is missing is told, and fetched, before hours are spent.
    let mut chosen = HashMap::new();
    for job in &jobs {
        if let Entry::Vacant(place) = chosen.entry(job.group) {
            place.insert(sweep.choose(job.group)?);
        }
    }
    let (mut outcome, bar) = (Exit::Ok, bar(jobs.len() as u64 * u64::from(repeats), "dictations"));
    for (group, of) in sweep.groups.iter().enumerate() {
        let Some(chosen) = chosen.remove(&group) else { continue };
        let jobs: Vec<Job<'_>> = jobs.iter().filter(|job| job.group == group).copied().collect();
        if let Err(error) = measure_group(&of.engine, chosen, &jobs, repeats, &mut results, &bar) {
            if Exit::of(&error) == Exit::Disk {
                return Err(error);
            }
            eprintln!("undertone: {error:#}");
            outcome = if outcome == Exit::Ok { Exit::of(&error) } else { outcome };
        }
    }
    bar.finish_and_clear();
    print!("{}", report::markdown_of(&[&output])?);
    eprintln!("undertone: results are in {}", output.display());
    Ok(outcome)
}

impl Sweep {
    fn read(path: &Path) -> Result<Sweep> {
        let experiment = Experiment::read(path)?;
        let clips = corpus::read(&experiment.corpus)?;
        let texts = clips.iter().any(|clip| matches!(clip.source, Source::Text(_)));
        let own = match &experiment.modes_file {
            Some(file) => engine_args::own_modes(file)?,
            None => Modes::new(),
        };
        let mut modes = Mode::built_in()?;
        modes.extend(own.clone());
        let groups = cells::groups(&experiment.sweep, &modes, texts)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Sweep { experiment, folder, own, clips, groups })
    }

    /// Everything there is to do, in an order that is the same on every machine.
    fn jobs(&self) -> Vec<Job<'_>> {
        let cells = self.groups.iter().enumerate().flat_map(|(n, of)| of.cells.iter().map(move |c| (n, c)));
        let jobs =
            cells.flat_map(|(group, cell)| self.clips.iter().map(move |clip| Job { group, cell, clip }));
        jobs.collect()
    }

    /// The engine of a group: the same wherever it is loaded, whatever is left to do.
    fn choose(&self, group: usize) -> Result<Chosen> {
        let Group { engine, cells } = &self.groups[group];
        let model = |name: &str| match self.folder.join(name) {
            path if name.contains('/') && path.exists() => path.to_string_lossy().into_owned(),
            _ => name.to_string(),
        };
        let args = EngineArgs {
            speech_model: model(&engine.speech_model),
            text_model: model(&engine.text_model),
            modes: None,
            device: Device::parse(&engine.device).map_err(|what| Failure::new(Exit::Usage, what))?,
            threads: u16::try_from(engine.threads).ok().filter(|threads| *threads > 0),
            context: engine.context,
            kv: match engine.kv {
                Kv::F32 => KvType::F32,
                Kv::Q8 => KvType::Q8,
            },
            budget: self.experiment.budget,
            allow: Vec::new(),
            lock_memory: false,
            offline: self.experiment.offline,
        };
        let mut modes: Vec<&str> = cells.iter().map(|cell| cell.mode.as_str()).collect();
        modes.sort_unstable();
        modes.dedup();
        let mut chosen = args.choose_among(self.own.clone(), &modes)?;
        let (beam, speech) = (cells.iter().map(|cell| cell.beam).max(), SpeechOptions::default());
        let most = speech.best_of.max(speech.fallback_beam_size);
        chosen.config.max_hypotheses = most.max(beam.unwrap_or(1) as usize);
        chosen.config.speculate = engine.speculation;
        Ok(chosen)
    }

    /// The cells, and how much there is to do.
    fn outline(&self, jobs: &[Job<'_>]) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (n, group) in self.groups.iter().enumerate() {
            for cell in &group.cells {
                let clips = jobs.iter().filter(|job| job.group == n && job.cell == cell).count();
                lines.push(format!("{}: {clips} clips", cell));
            }
        }
        let dictations = jobs.len() * self.experiment.repeats as usize;
        lines.push(format!(
            "{} cells, {} engines, {dictations} dictations here",
            lines.len(),
            self.groups.len()
        ));
        lines.join("\n") + "\n"
    }
}

/// Does what is left of `jobs` on one engine: the first repeat of all cells and clips, then the next, so
/// that a machine that becomes slower does so for all.
fn measure_group(
    of: &EngineCell,
    chosen: Chosen,
    jobs: &[Job<'_>],
    repeats: u32,
    results: &mut Appender,
    bar: &ProgressBar,
) -> Result<()> {
    // What the engine before has freed is not to be counted as this one's, nor its peak.
    crate::allocator::settle();
    memory::reset_peak();
    let gpu = chosen.config.gpu.as_ref().and_then(|gpu| gpu::Gpu::open(gpu.ordinal.try_into().ok()?));
    let name = format!("{} and {} on {}", chosen.speech_model, of.text_model, chosen.device);
    bar.suspend(|| eprintln!("undertone: loading {name}"));
    let mut bench = Bench::new(engine_args::start(chosen.config)?, gpu);
    let mut turns: HashMap<&Cell, u32> = HashMap::new();
    let mut failed = 0;
    for (repeat, job) in (0..repeats).flat_map(|repeat| jobs.iter().map(move |job| (repeat, job))) {
        bar.inc(1);
        if results.has(&cells::key(job.cell, job.clip, repeat)) {
            continue;
        }
        let turn = turns.entry(job.cell).or_default();
        let record = bench.measure(job.cell, job.clip, repeat, *turn);
        *turn += 1;
        if let Some(what) = &record.error {
            bar.suspend(|| eprintln!("undertone: {}: {what}", job.clip.id));
            failed += 1;
        }
        results.append(&record)?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(
            Exit::Internal,
            format!("{failed} dictations failed; the next run tries them again"),
        )
        .into()),
    }
}

/// Where results go that were given no place: `EXPERIMENT.jsonl`, `EXPERIMENT.2-of-8.jsonl`.
fn beside(experiment: &Path, shard: Option<Shard>) -> PathBuf {
    match shard {
        None => experiment.with_extension("jsonl"),
        Some(Shard { part, of }) => experiment.with_extension(format!("{part}-of-{of}.jsonl")),
    }
}

/// Shown on a terminal only.
pub(super) fn bar(count: u64, of: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!("{{wide_bar}} {{pos}} of {{len}} {of}, {{eta}} left"));
    ProgressBar::new(count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
