//! The memory plan against what the system reports, for a pair of models in a process of its own:
//! both opened and prefaulted, every cache filled, one window of speech and one full context.
//!
//! `cargo run --release -p undertone-benches --bin memory -- WHISPER GGUF|none [CONTEXT]`, or with
//! a store of models alone for a table of all pairs.

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use std::alloc::{GlobalAlloc, Layout};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use undertone_engine::plan::{self, PlanRequest};
use undertone_models::causal_lm::{CausalLm, Logits};
use undertone_models::footprint::{
    KvType, PREFILL_CHUNK_TOKENS, SpeechFootprint, TextFootprint, VERIFY_TOKENS,
};
use undertone_models::whisper::{WINDOW_FRAMES, Whisper};

/// The program's allocator, which decides how much of what is freed stays resident; and a count of
/// what is in use, to tell the plan's arithmetic from the allocator's habits.
struct Counting(mimalloc::MiMalloc);

#[global_allocator]
static ALLOCATOR: Counting = Counting(mimalloc::MiMalloc);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE_BYTES.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(live, Relaxed);
        // SAFETY: the caller's contract.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let live = LIVE_BYTES.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(live, Relaxed);
        // SAFETY: the caller's contract.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's contract.
        unsafe { self.0.dealloc(at, layout) }
    }
}

const HYPOTHESES: usize = 5;
const SPEECH: [&str; 2] = ["whisper-tiny.en", "whisper-base"];
const TEXT: [&str; 4] = ["none", "smollm2-135m-instruct", "gemma-3-270m", "qwen2.5-coder-1.5b-instruct"];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [store] => all_pairs(Path::new(store)),
        [speech, text, rest @ ..] => {
            let context = rest.first().map_or(Ok(2048), |n| n.parse())?;
            let text = (text != "none").then(|| Path::new(text));
            println!("{}", measure(Path::new(speech), text, context)?);
            Ok(())
        }
        [] => bail!("usage: memory STORE | memory WHISPER GGUF|none [CONTEXT]"),
    }
}

fn all_pairs(store: &Path) -> Result<()> {
    println!("| speech | text | planned | of it margin | peak | steady | margin left | plan / peak |");
    println!("|---|---|---|---|---|---|---|---|");
    for speech in SPEECH {
        for text in TEXT {
            let gguf = if text == "none" { PathBuf::from(text) } else { gguf_in(&store.join(text))? };
            let run = std::process::Command::new(std::env::current_exe()?)
                .args([store.join(speech), gguf])
                .stderr(std::process::Stdio::inherit())
                .output()?;
            let row: serde_json::Value = serde_json::from_slice(&run.stdout).context("a pair's report")?;
            let mib = |key: &str| row[key].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20);
            let (planned, margin, peak) = (mib("planned_bytes"), mib("margin_bytes"), mib("peak_bytes"));
            println!(
                "| {speech} | {text} | {planned:.1} | {margin:.1} | {peak:.1} | {:.1} | {:.1} | {:.3} |",
                mib("steady_bytes"),
                planned - peak,
                planned / peak
            );
        }
    }
    Ok(())
}

fn gguf_in(folder: &Path) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(folder)?.flatten().map(|f| f.path());
    files.find(|f| f.extension().is_some_and(|e| e == "gguf")).context("no GGUF file in the folder")
}

/// Bytes of a line of `/proc/self/status`.
fn status_bytes(name: &str) -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)).context("no such line")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<usize>()? * 1024)
}

fn measure(speech: &Path, text: Option<&Path>, context_tokens: usize) -> Result<serde_json::Value> {
    let at_start = status_bytes("VmRSS:")?;
    let request = PlanRequest {
        speech: SpeechFootprint::read(speech)?,
        text: text.map(TextFootprint::read).transpose()?,
        other_quantisations: Vec::new(),
        device: plan::Device::Cpu,
        budget_bytes: usize::MAX,
        context_tokens,
        kv: KvType::F32,
        max_hypotheses: HYPOTHESES,
        prefix_slot_tokens: Vec::new(),
        threads: rayon::current_num_threads(),
        allow: Vec::new(),
    };
    let plan = request.plan();
    drop(request);
    let mut stages = Vec::new();
    let mut stage = |name: &str| -> Result<()> {
        let live = (LIVE_BYTES.load(Relaxed), PEAK_BYTES.swap(0, Relaxed));
        let resident = (status_bytes("VmRSS:")?, status_bytes("RssAnon:")?, status_bytes("VmHWM:")?);
        stages.push(serde_json::json!({ "after": name, "live_bytes": live.0, "live_peak_bytes": live.1,
            "rss_bytes": resident.0, "rss_anon_bytes": resident.1, "rss_peak_bytes": resident.2 }));
        Ok(())
    };
    stage("planned")?;
    let whisper = Whisper::open(speech)?;
    whisper.files.iter().try_for_each(|f| f.prefault().map(drop))?;
    stage("speech open")?;
    let lm = text.map(CausalLm::open).transpose()?;
    if let Some(text) = text {
        prefault_mappings_of(text)?;
    }
    stage("text open")?;
    let (mut own, mut cross) = (whisper.decoder.new_cache(HYPOTHESES)?, whisper.decoder.new_cross_cache()?);
    let mut context = lm.as_ref().map(|lm| lm.new_cache(context_tokens)).transpose()?;
    for _ in 0..2 {
        transcribe(&whisper, &mut own, &mut cross)?;
        stage("speech run")?;
        if let (Some(lm), Some(context)) = (&lm, &mut context) {
            clean(lm, context)?;
        }
        stage("text run")?;
    }
    let lines: serde_json::Map<_, _> = plan.lines.iter().map(|l| (l.name.into(), l.bytes.into())).collect();
    Ok(serde_json::json!({
        "planned_bytes": plan.total_bytes,
        "margin_bytes": plan.total_bytes - plan.expected_bytes(),
        "at_start_bytes": at_start,
        "peak_bytes": status_bytes("VmHWM:")?,
        "steady_bytes": status_bytes("VmRSS:")?,
        "lines": lines,
        "stages": stages,
    }))
}

/// Touches every page of the mappings of a file (what an engine does through the model itself).
fn prefault_mappings_of(file: &Path) -> Result<()> {
    let file = file.canonicalize()?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines().filter(|l| l.ends_with(&*file.to_string_lossy())) {
        let range = line.split_whitespace().next().and_then(|r| r.split_once('-')).context("a range")?;
        let (from, to) = (usize::from_str_radix(range.0, 16)?, usize::from_str_radix(range.1, 16)?);
        for page in (from..to).step_by(4096) {
            // SAFETY: the kernel just named this range as a readable mapping of the open model.
            unsafe { std::ptr::read_volatile(page as *const u8) };
        }
    }
    Ok(())
}

type Cache = undertone_models::kv_cache::KvCache;

/// A window of 30 s, and five hypotheses to the last position the model has.
fn transcribe(whisper: &Whisper, own: &mut Cache, cross: &mut Cache) -> Result<()> {
    let samples: Vec<f32> = (0..30 * 16_000).map(|i| (i as f32 * 0.05).sin() * 0.1).collect();
    let mel = whisper.mel.log_mel(&samples);
    let input = Tensor::from_vec(mel.window(0, mel.floor), (WINDOW_FRAMES, mel.num_mel_bins), &Device::Cpu)?;
    let audio = whisper.encoder.forward(&input)?;
    drop(input);
    whisper.decoder.attend_to(&audio, cross)?;
    own.rewind(0);
    whisper.decoder.forward(&[whisper.tokens.start_of_transcript; 8], 1, own, cross)?;
    own.reorder(&[0; HYPOTHESES])?;
    while own.len() < own.capacity() {
        let tokens = [1000 + own.len() as u32; HYPOTHESES];
        let hidden = whisper.decoder.forward(&tokens, HYPOTHESES, own, cross)?;
        let logits: Vec<f32> = whisper.decoder.logits(&hidden)?.flatten_all()?.to_vec1()?;
        std::hint::black_box(logits);
        if own.len().is_multiple_of(16) {
            own.reorder(&[1, 0, 3, 2, 4])?;
        }
    }
    Ok(())
}

/// A context filled chunk by chunk, and its last tokens verified at once.
fn clean(lm: &CausalLm, cache: &mut Cache) -> Result<()> {
    cache.rewind(0);
    let tokens: Vec<u32> = (0..cache.capacity() as u32).map(|i| 300 + i * 7 % 4000).collect();
    for chunk in tokens.chunks(PREFILL_CHUNK_TOKENS) {
        lm.forward(chunk, cache, Logits::None)?;
    }
    let draft = tokens.len() - VERIFY_TOKENS;
    cache.rewind(draft);
    let logits = lm.forward(&tokens[draft..], cache, Logits::All)?.context("logits")?;
    std::hint::black_box(logits.flatten_all()?.to_vec1::<f32>()?);
    Ok(())
}
