//! `undertone lab jobs`: a file of prompts through the resident language model, several at a time.

mod answers;
mod cache;
mod question;

use crate::cli::Device;
use crate::engine_args::{self, kv_type};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::plan;
use crate::store::hashing::{self, Hasher};
use crate::store::progress::{Progress as _, Terminal};
use crate::store::{Kind, Store, StoreConfig, disk};
use answers::Answers;
use anyhow::Result;
use cache::{Cache, Key};
use question::{Asked, Job};
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;
use undertone_engine::batch::{Batch, BatchConfig, Reply};
use undertone_engine::error::EngineError;
use undertone_models::kv_cache::KvType;

#[derive(clap::Args, Debug)]
pub(crate) struct JobsArgs {
    /// Prompts, a JSON object a line (see docs/lab.md).
    #[arg(value_name = "FILE.jsonl")]
    jobs: PathBuf,
    /// Where answers go, a line each in the order of the prompts; by default beside them. What is there already is
    /// not asked again.
    #[arg(short, long, value_name = "ANSWERS.jsonl")]
    output: Option<PathBuf>,
    /// Language model: a name from `undertone models list`, or a GGUF file.
    #[arg(long, value_name = "NAME|PATH", default_value = crate::store::DEFAULT_TEXT)]
    text_model: String,
    /// Prompts that are answered together: the weights are read once for all, and each needs a cache of its own.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=8))]
    sequences: u8,
    /// Tokens of an answer at most, for prompts that do not say.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Positions of each prompt with its answer.
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(16..=131_072))]
    context: u32,
    /// How keys and values are stored: q8 takes 9/32 of the memory.
    #[arg(long, value_name = "f32|q8", default_value = "f32", value_parser = kv_type)]
    kv: KvType,
    /// Where to compute: auto, cpu, or cuda[:N].
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = Device::parse)]
    device: Device,
    /// Threads to compute with; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Memory that may be taken, such as 8GiB; what is free by default.
    #[arg(long, value_name = "SIZE", value_parser = plan::size)]
    budget: Option<usize>,
    /// Where answers are kept for whoever asks the same again; undertone/answers.sqlite in the cache folder by default.
    #[arg(long, value_name = "FILE", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Look up and keep no answers but those in the output.
    #[arg(long)]
    no_cache: bool,
    /// Never touch the network, even when the model is missing.
    #[arg(long)]
    offline: bool,
}

/// All that an answer depends on.
#[derive(Serialize)]
struct Dependence<'a> {
    undertone: &'static str,
    /// SHA-256 of the model's file.
    model: &'a str,
    context: u32,
    kv: KvType,
    #[serde(flatten)]
    asked: &'a Asked,
}

/// Runs the command.
///
/// # Errors
/// Before anything is asked, for jobs, a model, a cache or a device that cannot be used; behind all answers, if there is
/// none to some.
pub(crate) fn run(args: &JobsArgs) -> Result<Exit> {
    let start = Instant::now();
    let jobs = question::read(&args.jobs, args.max_tokens)?;
    let mut config = StoreConfig::from_env()?;
    config.offline |= args.offline;
    let mut cache = Cache::open(cache_file(args)?.as_deref())?;
    let model = Store::open(&config)?.ensure(&args.text_model, Kind::Text)?.path;
    let hash = hash(&model)?;
    let keys: Vec<Key> = jobs.iter().map(|job| key(args, &hash, &job.asked)).collect::<Result<_>>()?;
    let output = args.output.clone().unwrap_or_else(|| args.jobs.with_extension("answers.jsonl"));
    let mut answers = Answers::open(&output, &jobs, &keys)?;
    let there = answers.written;
    answers.write(&mut cache)?;
    // What stands in the file several times is asked once, and what is known not at all.
    let (mut left, mut seen) = (Vec::new(), HashSet::new());
    for (n, key) in keys.iter().enumerate().skip(answers.written) {
        if seen.insert(key) && cache.get(key)?.is_none() {
            left.push(n);
        }
    }
    let mut tokens = 0;
    if !left.is_empty() {
        let mut batch = Batch::load(&BatchConfig {
            gpu: engine_args::gpu(args.device)?,
            text_model: model,
            context_tokens: args.context as usize,
            kv: args.kv,
            sequences: usize::from(args.sequences),
            threads: args.threads.map(usize::from),
            budget_bytes: args.budget,
            settle: Some(crate::allocator::settle),
            uploading: Some(engine_args::bar()),
        })
        .map_err(|e| engine_args::failure(&e))?;
        tokens = ask(&mut batch, &jobs, &left, &mut answers, (&mut cache, &hash))?;
    }
    let (asked, seconds) = (left.len(), start.elapsed().as_secs_f64());
    eprintln!(
        "undertone: {} answers in {}: {there} were there, {asked} asked ({tokens} tokens, {seconds:.1} s, up to {} \
         together), the others known",
        jobs.len(),
        output.display(),
        args.sequences
    );
    match answers.failed {
        0 => Ok(Exit::Ok),
        failed => {
            let what = format!(
                "{failed} of {} prompts have no answer: see \"error\" in {}",
                jobs.len(),
                output.display()
            );
            Err(Failure::new(Exit::Input, what).into())
        }
    }
}

/// Asks what is `left` and writes what comes; the number of tokens written.
fn ask(
    batch: &mut Batch,
    jobs: &[Job],
    left: &[usize],
    answers: &mut Answers<'_>,
    (cache, hash): (&mut Cache, &str),
) -> Result<usize> {
    let bar = super::run::bar(left.len() as u64, "answers");
    let (mut next, mut tokens) = (left.iter().copied(), 0);
    let keys = answers.keys();
    let done = |n: usize, reply: Result<Reply, EngineError>| -> Result<(), Ended> {
        match reply {
            Ok(reply) => {
                tokens += reply.tokens;
                cache.put(&keys[n], hash, &reply)?;
            }
            Err(error) => answers.fail(keys[n], error.to_string()),
        }
        answers.write(cache)?;
        bar.inc(1);
        Ok(())
    };
    let outcome =
        batch.run(left.len(), |prompts| next.next().map(|n| (n, jobs[n].asked.question(prompts))), done);
    bar.finish_and_clear();
    outcome.map_err(|Ended(error)| error)?;
    Ok(tokens)
}

/// Why asking ended early.
struct Ended(anyhow::Error);

impl From<EngineError> for Ended {
    fn from(error: EngineError) -> Ended {
        Ended(engine_args::failure(&error).into())
    }
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Ended {
        Ended(error)
    }
}

fn key(args: &JobsArgs, model: &str, asked: &Asked) -> Result<Key> {
    let depends =
        Dependence { undertone: env!("CARGO_PKG_VERSION"), model, context: args.context, kv: args.kv, asked };
    let mut hasher = Hasher::default();
    hasher.feed(&serde_json::to_vec(&depends)?);
    Ok(hasher.bytes())
}

/// Of the model's file.
fn hash(path: &Path) -> Result<String> {
    let cannot =
        |e: std::io::Error| Failure::new(Exit::Model, format!("cannot read {}: {e}", path.display()));
    let mut terminal = Terminal::default();
    terminal.start("hashing the model", std::fs::metadata(path).map_err(cannot)?.len());
    let hash = hashing::sha256_file(path, |bytes| terminal.advance(bytes)).map_err(cannot)?;
    terminal.finish();
    Ok(hash)
}

fn cache_file(args: &JobsArgs) -> Result<Option<PathBuf>> {
    if args.no_cache || args.cache.is_some() {
        return Ok(args.cache.clone());
    }
    let folder = Environment::read()?.cache_dir;
    disk::make_folder(&folder)?;
    Ok(Some(folder.join("answers.sqlite")))
}
