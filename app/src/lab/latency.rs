//! `undertone lab latency`: is the first dictation as fast as the rest, are they steady, is memory flat
//! and within the plan?

use crate::engine_args::{self, EngineArgs};
use crate::exit::{Exit, Failure};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use undertone_engine::telemetry::Stage;
use undertone_engine::{Engine, Request, audio, load::warm_up_samples};
use undertone_models::whisper::SAMPLE_RATE_HZ;

#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    /// Recordings to dictate in turn; a short synthesised sentence by default.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The mode to clean in.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    mode: String,
    /// Dictations of the first file after warm-up whose times are compared with the very first.
    #[arg(long, value_name = "N", default_value_t = 50)]
    steady: usize,
    /// Seconds without a request before each of these, as between two dictations at a desk.
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    rest: f64,
    /// Dictations of all files in turn over which memory is watched.
    #[arg(long, value_name = "N", default_value_t = 0)]
    soak: usize,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command and prints one JSON object.
pub(crate) fn run(args: &LatencyArgs) -> Result<Exit> {
    let recordings = recordings(&args.files)?;
    let rest = Duration::try_from_secs_f64(args.rest)
        .map_err(|_| Failure::new(Exit::Usage, "--rest takes seconds, 0 or more"))?;
    let chosen = args.engine.choose(&[&args.mode])?;
    let start = Instant::now();
    let engine = engine_args::start(chosen.config.clone())?;
    let start_ms = start.elapsed().as_secs_f64() * 1e3;
    let request = Request::in_mode(&args.mode);
    let first = dictate(&engine, &recordings[0], &request)?;
    let other = other(&recordings);
    let steady = samples(args.steady, |_| {
        dictate(&engine, &other, &request)?;
        std::thread::sleep(rest);
        dictate(&engine, &recordings[0], &request)
    })?;
    let mut report = json!({
        "speech_model": chosen.speech_model,
        "text_model": chosen.text_model,
        "mode": args.mode,
        "threads": chosen.config.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)),
        "start_ms": round(start_ms),
        "audio_s": round(recordings[0].len() as f64 / f64::from(SAMPLE_RATE_HZ)),
        "first_ms": round(first.ms),
        "rest_s": args.rest,
        "first_stage_ms": mean_stages(std::slice::from_ref(&first)),
        "steady": summary(&steady),
    });
    if let Some(median) = quantile(&steady, 0.5) {
        report["first_over_median"] = json!(round(first.ms / median));
        report["p95_over_p50"] = quantile(&steady, 0.95).map(|p95| json!(round(p95 / median))).into();
    }
    if args.soak > 0 {
        let turn = |n: usize| dictate(&engine, &recordings[n % recordings.len()], &request);
        let samples = samples(args.soak, turn)?;
        report["soak"] = summary(&samples);
        report["soak"]["memory"] = memory(&samples, engine.plan().total_bytes as u64);
    }
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(Exit::Ok)
}

/// One dictation.
#[derive(Clone, Copy)]
struct Sample {
    ms: f64,
    /// Milliseconds of each stage.
    stages: [f64; Stage::ALL.len()],
    resident_bytes: Option<u64>,
    peak_bytes: Option<u64>,
}

/// `count` dictations. Room for all is taken before the first, lest the figures be among the memory they
/// report.
fn samples(count: usize, mut next: impl FnMut(usize) -> Result<Sample>) -> Result<Vec<Sample>> {
    let unknown = [f64::NAN; Stage::ALL.len()];
    let empty = Sample { ms: f64::NAN, stages: unknown, resident_bytes: None, peak_bytes: None };
    let mut samples = vec![empty; count];
    for (n, sample) in samples.iter_mut().enumerate() {
        *sample = next(n)?;
    }
    Ok(samples)
}

fn dictate(engine: &Engine, recording: &Arc<[f32]>, request: &Request) -> Result<Sample> {
    let start = Instant::now();
    let done = engine
        .dictate(recording.clone(), request.clone())
        .map_err(|f| Failure::new(Exit::Internal, f.to_string()))?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let stages = Stage::ALL.map(|s| done.record.times.ms(s));
    let memory = done.record.memory;
    Ok(Sample { ms, stages, resident_bytes: memory.resident_bytes, peak_bytes: memory.peak_bytes })
}

fn recordings(files: &[PathBuf]) -> Result<Vec<Arc<[f32]>>> {
    if files.is_empty() {
        return Ok(vec![warm_up_samples().into()]);
    }
    let read = |path: &PathBuf| -> Result<Arc<[f32]>> {
        let bad = |e: audio::AudioError| Failure::new(Exit::Input, e.to_string());
        let pcm = audio::resample(audio::decode_file(path).map_err(bad)?, SAMPLE_RATE_HZ).map_err(bad)?;
        Ok(pcm.samples.into())
    };
    files.iter().map(read).collect()
}

/// What is dictated between two dictations of the first recording, lest they find their own prompt computed.
fn other(recordings: &[Arc<[f32]>]) -> Arc<[f32]> {
    let sentence = warm_up_samples();
    recordings.get(1).cloned().unwrap_or_else(|| sentence[sentence.len() / 2..].into())
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn quantile(samples: &[Sample], q: f64) -> Option<f64> {
    super::quantile::quantile(&samples.iter().map(|s| s.ms).collect::<Vec<_>>(), q)
}

/// Milliseconds at three quantiles, and the mean of each stage.
fn summary(samples: &[Sample]) -> Value {
    let at = |q: f64| quantile(samples, q).map(round);
    json!({
        "dictations": samples.len(), "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99),
        "mean_stage_ms": mean_stages(samples),
    })
}

fn mean_stages(samples: &[Sample]) -> Value {
    let mean = |stage: usize| {
        let sum: f64 = samples.iter().map(|s| s.stages[stage]).sum();
        round(sum / samples.len().max(1) as f64)
    };
    Stage::ALL.iter().enumerate().map(|(i, s)| (s.name().to_string(), json!(mean(i)))).collect()
}

/// Resident memory over the dictations: its slope by least squares with its standard error, and the
/// peak beside the plan.
fn memory(samples: &[Sample], planned_bytes: u64) -> Value {
    let resident: Vec<f64> = samples.iter().filter_map(|s| s.resident_bytes).map(|b| b as f64).collect();
    let (all, all_error) = slope(&resident);
    // What the allocator keeps grows until it has met every size.
    let (late, late_error) = slope(&resident[resident.len() / 2..]);
    json!({
        "planned_bytes": planned_bytes,
        "first_resident_bytes": resident.first(),
        "last_resident_bytes": resident.last(),
        "peak_bytes": samples.iter().filter_map(|s| s.peak_bytes).max(),
        "slope_bytes_per_dictation": round(all),
        "slope_standard_error": round(all_error),
        "second_half_slope_bytes_per_dictation": round(late),
        "second_half_slope_standard_error": round(late_error),
    })
}

/// Least-squares slope of `values` over their index, and its standard error.
fn slope(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if n < 3.0 {
        return (0.0, 0.0);
    }
    let (mean_x, mean_y) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let indexed = || values.iter().enumerate().map(|(x, y)| (x as f64 - mean_x, y - mean_y));
    let xx: f64 = indexed().map(|(x, _)| x * x).sum();
    let slope = indexed().map(|(x, y)| x * y).sum::<f64>() / xx;
    let residual: f64 = indexed().map(|(x, y)| (y - slope * x).powi(2)).sum();
    (slope, (residual / (n - 2.0) / xx).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_found_and_its_error_is_that_of_the_noise() {
        assert_eq!(slope(&[5.0, 7.0, 9.0, 11.0]), (2.0, 0.0));
        let (slope, error) = slope(&[1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]);
        assert!(slope.abs() < 2.0 * error, "{slope} {error}");
        assert_eq!(super::slope(&[1.0]), (0.0, 0.0));
    }
}
