//! `undertone lab peers`: the same clips and prompts through other programs and ours, one at a time and in turn, and
//! through the pipeline of before with each of its faults apart.

mod child;
mod old;
mod report;
mod series;
mod systems;
mod table;
mod venv;

use super::run::corpus::{self, Source};
use super::run::experiment::CorpusSource;
use super::score::Normaliser;
use crate::cli::Device;
use crate::engine_args::{self, Chosen, EngineArgs};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::store::progress::Terminal;
use crate::store::{Format, Kind, Store, StoreConfig, hashing};
use crate::transcribe::load_audio;
use anyhow::Result;
use old::{Faults, Old};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use series::{Answer, Series};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use systems::{Clip, MODE, Peer, Prompt, Prompts};
use table::{Kind as Columns, Table};
use undertone_engine::Engine;
use undertone_engine::telemetry::StageTimes;
use undertone_models::kv_cache::KvType;
use undertone_models::whisper::QuantizedType;

/// What each peer needs, `--peers` apart from ours. faster-whisper's weights are multiplied by CTranslate2.
const FASTER_WHISPER: [&str; 2] = ["faster-whisper==1.2.1", "ctranslate2==4.8.5"];
const WHISPER_CPP: [&str; 1] = ["pywhispercpp==1.5.1"];
const LLAMA_CPP: [&str; 1] = ["xllamacpp==2026.10.11549"];
/// Positions of everybody's language model.
const CONTEXT_TOKENS: u32 = 2048;
/// Between two requests: threads of the one before that wait for more, spinning, have then gone to sleep.
const REST: Duration = Duration::from_millis(30);

#[derive(clap::Args, Debug)]
pub(crate) struct PeersArgs {
    /// Recordings with what is said in them, a line each (see docs/lab.md).
    #[arg(long, value_name = "MANIFEST.jsonl")]
    clips: Option<PathBuf>,
    /// What the manifest's paths are relative to; its own folder by default.
    #[arg(long, value_name = "FOLDER", requires = "clips")]
    root: Option<PathBuf>,
    /// Take only lines of the manifest with this value; may be given again.
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = key_and_value, requires = "clips")]
    filter: Vec<(String, String)>,
    /// So many clips at most, evenly spread over the manifest.
    #[arg(long, value_name = "N", default_value = "30")]
    clip_count: NonZeroUsize,
    /// Texts to clean, `raw` and `clean`, a line each.
    #[arg(long, value_name = "PAIRS.jsonl")]
    prompts: Option<PathBuf>,
    /// So many texts at most, evenly spread.
    #[arg(long, value_name = "N", default_value = "100")]
    prompt_count: NonZeroUsize,
    /// So many of them, and of the clips, go through the old pipeline, where one may take three seconds and more.
    #[arg(long, value_name = "N", default_value = "30")]
    old_count: NonZeroUsize,
    /// How often each clip and each text goes through each system; once through the old pipeline.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Who is set beside ours.
    #[arg(long, value_enum, value_name = "PEER,...", value_delimiter = ',', default_values_t = PeerName::ALL)]
    peers: Vec<PeerName>,
    /// A Python environment to use; one in the cache folder is made without it.
    #[arg(long, value_name = "FOLDER")]
    venv: Option<PathBuf>,
    /// A llama-server that was built for this machine, beside the package's llama.cpp.
    #[arg(long, value_name = "PROGRAM")]
    llama_server: Option<PathBuf>,
    /// Speech model for all: a name from `undertone models list`, or a CTranslate2 folder.
    #[arg(long, value_name = "NAME|PATH", default_value = crate::store::DEFAULT_SPEECH)]
    speech_model: String,
    /// Language model for all: a name, or a GGUF file.
    #[arg(long, value_name = "NAME|PATH", default_value = crate::store::DEFAULT_TEXT)]
    text_model: String,
    /// Threads of each; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Never touch the network: models and packages must be there.
    #[arg(long)]
    offline: bool,
    /// Where results are written as JSON.
    #[arg(short, long, value_name = "OUT.json")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PeerName {
    FasterWhisper,
    #[value(name = "whisper.cpp")]
    WhisperCpp,
    #[value(name = "llama.cpp")]
    LlamaCpp,
    /// The pipeline of before.
    Old,
}

impl PeerName {
    const ALL: [PeerName; 4] =
        [PeerName::FasterWhisper, PeerName::WhisperCpp, PeerName::LlamaCpp, PeerName::Old];
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.write_str(value.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as lang=en")?;
    Ok((key.into(), value.into()))
}

/// One system in a table, and how it is asked for an item.
struct Turn<'a> {
    name: String,
    ask: Box<dyn FnMut(usize) -> Result<Answer, String> + 'a>,
}

impl<'a> Turn<'a> {
    fn new(name: impl Into<String>, ask: impl FnMut(usize) -> Result<Answer, String> + 'a) -> Turn<'a> {
        Turn { name: name.into(), ask: Box::new(ask) }
    }
}

/// Everything that is asked, loaded.
struct Bench {
    engine: Engine,
    prompts: Prompts,
    clips: Vec<Clip>,
    texts: Vec<Prompt>,
    /// Those who transcribe, and those who clean.
    speech: Vec<(String, Peer)>,
    text: Vec<(String, Peer)>,
    /// The old pipeline, its transcriber, and its language model without a server.
    old: Option<(Old, Peer, Peer)>,
}

/// Runs the command: prints the tables, writes the results.
///
/// # Errors
/// Before anything is measured, for clips, models, Python or a place for the results that cannot be used. A peer that
/// fails is told in its row, and the exit is then [`Exit::Internal`].
pub(crate) fn run(args: &PeersArgs) -> Result<Exit> {
    if args.clips.is_none() && args.prompts.is_none() {
        let what = "there is nothing to compare on: give --clips, --prompts or both";
        return Err(Failure::new(Exit::Usage, what).into());
    }
    let normaliser = Normaliser::new()?;
    if let Some(path) = &args.output {
        report::check(path)?;
    }
    let clips = read_clips(args)?;
    let texts = read(args.prompts.as_deref(), None, &[], args.prompt_count)?;
    let environment = Environment::read()?;
    let chosen = choose(args)?;
    let gguf = chosen.config.text_model.clone();
    let gguf = gguf.ok_or_else(|| Failure::new(Exit::Usage, "the peers need a --text-model"))?;
    let cache = environment.cache_dir.join("peers");
    let python = venv::Venv::new(args.venv.as_deref(), &cache).ready(&packages(&args.peers), args.offline)?;
    let prompts = Prompts::open(&gguf)?;
    let as_prompt = |clip: corpus::Clip| {
        let Source::Text(raw) = clip.source else { return Err("a recording among the texts".to_string()) };
        Ok(Prompt { request: prompts.request(&raw)?, raw, lang: clip.lang })
    };
    let texts: Result<Vec<Prompt>, String> = texts.into_iter().map(as_prompt).collect();
    let texts = texts.map_err(|what| Failure::new(Exit::Input, what))?;
    let threads = threads(&chosen);
    let facts = report::Facts::new(&chosen, threads, args.rounds);
    let speech_model = chosen.config.speech_model.clone();
    eprintln!("undertone: loading {} and {}, and the peers", chosen.speech_model, gguf.display());
    let engine = engine_args::start(chosen.config)?;
    let loader =
        Loader { args, python: &python, cache: &cache, speech_model: &speech_model, gguf: &gguf, threads };
    let bench = loader.load(engine, prompts, clips, texts)?;
    let tables = bench.measure(args, &normaliser);
    report::print(&tables);
    if let Some(path) = &args.output {
        report::write(path, &facts, bench.packages(), &bench.clips, &tables)?;
    }
    let failed = tables.iter().flat_map(|table| &table.series).any(|series| series.failed.is_some());
    Ok(if failed { Exit::Internal } else { Exit::Ok })
}

fn read(
    manifest: Option<&Path>,
    root: Option<&Path>,
    filter: &[(String, String)],
    count: NonZeroUsize,
) -> Result<Vec<corpus::Clip>> {
    let Some(manifest) = manifest else { return Ok(Vec::new()) };
    let filter = filter.iter().cloned().collect();
    let root = root.map(Path::to_path_buf);
    corpus::read(&CorpusSource { manifest: manifest.into(), root, filter, clips: Some(count) })
}

fn read_clips(args: &PeersArgs) -> Result<Vec<Clip>> {
    let clips = read(args.clips.as_deref(), args.root.as_deref(), &args.filter, args.clip_count)?;
    let heard = |clip: corpus::Clip| {
        let Source::Audio(file) = &clip.source else {
            return Err(Failure::new(Exit::Input, "--clips names texts: give them as --prompts").into());
        };
        let (pcm, _) = load_audio(file, &mut StageTimes::default())
            .map_err(|e| Failure::new(Exit::Input, e.to_string()))?;
        let corpus::Clip { id, lang, reference, .. } = clip;
        Ok(Clip { id, lang, reference, samples: pcm.samples.into() })
    };
    clips.into_iter().map(heard).collect()
}

/// Our engine, on the processor, where the peers compute too.
fn choose(args: &PeersArgs) -> Result<Chosen> {
    let engine = EngineArgs {
        speech_model: args.speech_model.clone(),
        text_model: args.text_model.clone(),
        modes: None,
        device: Device::Cpu,
        threads: args.threads,
        context: CONTEXT_TOKENS,
        kv: KvType::F32,
        budget: None,
        allow: Vec::new(),
        lock_memory: false,
        offline: args.offline,
    };
    engine.choose(&[MODE, "raw"])
}

fn threads(chosen: &Chosen) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    chosen.config.threads.unwrap_or_else(cores)
}

fn packages(peers: &[PeerName]) -> Vec<&'static str> {
    let has = |names: &[PeerName]| names.iter().any(|name| peers.contains(name));
    let mut packages: Vec<&str> = Vec::new();
    if has(&[PeerName::FasterWhisper, PeerName::Old]) {
        packages.extend(FASTER_WHISPER);
    }
    if has(&[PeerName::WhisperCpp]) {
        packages.extend(WHISPER_CPP);
    }
    if has(&[PeerName::LlamaCpp, PeerName::Old]) {
        packages.extend(LLAMA_CPP);
    }
    packages
}

/// What the peers are made of.
struct Loader<'a> {
    args: &'a PeersArgs,
    python: &'a Path,
    cache: &'a Path,
    speech_model: &'a Path,
    gguf: &'a Path,
    threads: usize,
}

impl Loader<'_> {
    fn load(&self, engine: Engine, prompts: Prompts, clips: Vec<Clip>, texts: Vec<Prompt>) -> Result<Bench> {
        let wants = |name| self.args.peers.contains(&name);
        let with_old = wants(PeerName::Old);
        let int8 = (wants(PeerName::FasterWhisper) || with_old).then(|| self.faster_whisper("int8"));
        let llama = (wants(PeerName::LlamaCpp) || with_old).then(|| self.llama("llama.cpp", json!({})));
        let (mut speech, mut text) = (Vec::new(), Vec::new());
        if let (Some(int8), true) = (&int8, wants(PeerName::FasterWhisper)) {
            speech.push(("faster-whisper int8".to_string(), int8.clone()));
            speech.push(("faster-whisper float32".into(), self.faster_whisper("float32")));
        }
        if wants(PeerName::WhisperCpp) {
            let file = self.whisper_cpp_file()?;
            for (name, reduced) in [("whisper.cpp q8_0", false), ("whisper.cpp q8_0, reduced context", true)]
            {
                let arguments = json!({ "path": file, "threads": self.threads, "reduced": reduced });
                speech.push((name.into(), Peer::load(self.python, "whisper.cpp", arguments)));
            }
        }
        if let (Some(llama), true) = (&llama, wants(PeerName::LlamaCpp)) {
            text.push(("llama.cpp".to_string(), llama.clone()));
        }
        if let Some(program) = &self.args.llama_server {
            let peer = self.llama("llama-server", json!({ "program": program }));
            text.push((format!("llama.cpp, {}", program.display()), peer));
        }
        let old = match int8.zip(llama).filter(|_| with_old) {
            None => None,
            Some((int8, llama)) => {
                let old = Old::load(self.python, self.gguf, self.threads, CONTEXT_TOKENS, &prompts);
                Some((old.map_err(|what| Failure::new(Exit::Model, what))?, int8, llama))
            }
        };
        Ok(Bench { engine, prompts, clips, texts, speech, text, old })
    }

    fn faster_whisper(&self, compute: &str) -> Peer {
        if !self.speech_model.join("model.bin").is_file() {
            let path = self.speech_model.display();
            return Peer::missing(&format!("it reads CTranslate2 folders alone, which {path} is not"));
        }
        let arguments = json!({ "path": self.speech_model, "compute": compute, "threads": self.threads });
        Peer::load(self.python, "faster-whisper", arguments)
    }

    fn llama(&self, role: &str, mut arguments: Value) -> Peer {
        arguments["path"] = json!(self.gguf);
        arguments["threads"] = json!(self.threads);
        arguments["n_ctx"] = json!(CONTEXT_TOKENS);
        Peer::load(self.python, role, arguments)
    }

    /// The same weights as whisper.cpp reads them fastest, made once of each model.
    fn whisper_cpp_file(&self) -> Result<PathBuf> {
        let store = Store::open(&StoreConfig::from_env()?)?;
        let model = store.resolve(&self.args.speech_model, Kind::Speech)?;
        if model.format == Format::Ggml {
            return Ok(model.path);
        }
        let weights = ["model.bin", "model.safetensors"].map(|name| model.path.join(name));
        let weights = weights.into_iter().find(|path| path.is_file()).unwrap_or_else(|| model.path.clone());
        let failed = |e: std::io::Error| Failure::new(Exit::Model, format!("{}: {e}", weights.display()));
        let sha256 = hashing::sha256_file(&weights, |_| {}).map_err(failed)?;
        let path = self.cache.join(format!("ggml-{}-q8_0.bin", &sha256[..16]));
        if !path.exists() {
            crate::store::disk::make_folder(self.cache)?;
            let from = model.path.to_string_lossy();
            store.quantize_to_file(&from, QuantizedType::Q8_0, &path, &mut Terminal::default())?;
        }
        Ok(path)
    }
}

impl Bench {
    /// What the peers are made of: versions, and what they say they were built for.
    fn packages(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let old = self.old.iter().flat_map(|(old, speech, text)| [&old.server, speech, text]);
        for peer in self.speech.iter().chain(&self.text).map(|(_, peer)| peer).chain(old) {
            peer.packages(&mut all);
            if let Ok(Value::String(built_for)) = peer.about("built_for") {
                all.insert("llama.cpp is built for".into(), built_for.into());
            }
        }
        all
    }

    fn measure(&self, args: &PeersArgs, normaliser: &Normaliser) -> Vec<Table> {
        let mut tables = Vec::new();
        let few = |items: usize| items.min(args.old_count.get());
        if !self.clips.is_empty() {
            let title = format!("Speech: {} clips, {} rounds, greedy", self.clips.len(), args.rounds);
            let series = interleave("speech", self.speech(), self.clips.len(), args.rounds);
            let table = Table::new("speech", title, Columns::Speech, series, normaliser);
            tables.push(table.scored(&self.clips, normaliser));
        }
        if !self.texts.is_empty() && !self.text.is_empty() {
            let title = format!("Clean-up: {} texts, {} rounds, mode {MODE}", self.texts.len(), args.rounds);
            let series = interleave("clean-up", self.text(), self.texts.len(), args.rounds);
            tables.push(Table::new("prompts", title, Columns::Prompts, series, normaliser));
        }
        if let Some((old, _, llama)) = self.old.as_ref().filter(|_| !self.texts.is_empty()) {
            let items = few(self.texts.len());
            let title = format!("The old pipeline's clean-up, each fault alone: {items} texts");
            let series = interleave("old clean-up", self.faults(old, llama), items, 1);
            tables.push(Table::new("old_cleanup", title, Columns::Old, series, normaliser));
        }
        if let Some(old) = self.old.as_ref().filter(|_| !self.clips.is_empty()) {
            let items = few(self.clips.len());
            let title = format!("Recording to clean text: {items} clips");
            let series = interleave("old pipeline", self.chains(old), items, 1);
            tables.push(Table::new("recording_to_text", title, Columns::Chain, series, normaliser));
        }
        tables
    }

    fn speech(&self) -> Vec<Turn<'_>> {
        let ours = Turn::new("Undertone", |n: usize| systems::dictate(&self.engine, &self.clips[n], "raw"));
        let peers = self
            .speech
            .iter()
            .map(|(name, peer)| Turn::new(name, |n: usize| peer.transcribe(&self.clips[n])));
        std::iter::once(ours).chain(peers).collect()
    }

    fn ours(&self) -> Turn<'_> {
        Turn::new("Undertone", |n: usize| systems::clean(&self.engine, &self.texts[n]))
    }

    fn text(&self) -> Vec<Turn<'_>> {
        let peers = self.text.iter().map(|(name, peer)| {
            Turn::new(name, |n: usize| peer.ask("ask", self.texts[n].request.clone(), None))
        });
        std::iter::once(self.ours()).chain(peers).collect()
    }

    fn faults<'a>(&'a self, old: &'a Old, llama: &'a Peer) -> Vec<Turn<'a>> {
        let direct = Turn::new("llama.cpp, called directly", |n: usize| {
            old.ask_directly(llama, &self.texts[n].request)
        });
        let rows = Faults::ROWS.map(|(name, faults, _)| {
            Turn::new(name, move |n: usize| old.ask(&self.texts[n].request, faults))
        });
        [self.ours(), direct].into_iter().chain(rows).collect()
    }

    fn chains<'a>(&'a self, (old, speech, llama): &'a (Old, Peer, Peer)) -> Vec<Turn<'a>> {
        let ours = Turn::new("Undertone", |n: usize| systems::dictate(&self.engine, &self.clips[n], MODE));
        let direct = Turn::new("faster-whisper int8, llama.cpp called directly", move |n: usize| {
            let clean = |prompt: &Prompt| old.ask_directly(llama, &prompt.request);
            old::chain(speech, &self.prompts, &self.clips[n], clean)
        });
        let faults = Turn::new("the old pipeline, all faults", move |n: usize| {
            let clean = |prompt: &Prompt| old.ask(&prompt.request, Faults::ALL);
            old::chain(speech, &self.prompts, &self.clips[n], clean)
        });
        vec![ours, direct, faults]
    }
}

/// All items through all systems, one request at a time, `rounds` times; the order of the systems is another for each
/// item. The first item is asked once before, and then comes last, lest a prompt be found computed.
fn interleave(what: &'static str, mut turns: Vec<Turn<'_>>, items: usize, rounds: u32) -> Vec<Series> {
    let mut series: Vec<Series> = turns.iter().map(|turn| Series::new(&turn.name, items)).collect();
    for (turn, series) in turns.iter_mut().zip(&mut series) {
        series.first(&(turn.ask)(0));
    }
    let bar = report::bar(what, u64::from(rounds) * items as u64);
    let mut chance = SmallRng::seed_from_u64(0);
    let mut order: Vec<usize> = (0..turns.len()).collect();
    for item in (0..rounds).flat_map(|_| (1..=items).map(|n| n % items)) {
        order.shuffle(&mut chance);
        for n in &order {
            if series[*n].failed.is_none() {
                std::thread::sleep(REST);
                series[*n].add(item, (turns[*n].ask)(item));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for series in series.iter().filter(|series| series.failed.is_some()) {
        let why = series.failed.as_deref().unwrap_or_default();
        eprintln!("undertone: {}: {why}", series.name);
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn all_take_turns_and_one_that_fails_is_asked_no_more() {
        let asked = RefCell::new(Vec::new());
        let turn = |name: &'static str, good: usize| {
            let (asked, mut done) = (&asked, 0);
            Turn::new(name, move |item| {
                done += 1;
                asked.borrow_mut().push((name, item));
                if done <= good {
                    Ok(Answer { ms: 1.0, ..Answer::default() })
                } else {
                    Err("it ended".into())
                }
            })
        };
        let series = interleave("test", vec![turn("a", 99), turn("b", 3), turn("c", 0)], 4, 2);
        let counts = |n: usize| series[n].all_ms.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!((counts(0), counts(1), counts(2)), (vec![2; 4], vec![0, 1, 1, 0], vec![0; 4]));
        assert!(series[0].failed.is_none() && series[1].failed.is_some() && series[2].first_ms.is_none());
        // Each by itself once, then item for item; none twice in a row.
        let items: Vec<usize> =
            asked.borrow().iter().filter(|(name, _)| *name == "a").map(|(_, n)| *n).collect();
        assert_eq!(items, [0, 1, 2, 3, 0, 1, 2, 3, 0]);
    }
}
