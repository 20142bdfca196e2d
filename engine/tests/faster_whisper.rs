//! Transcripts of the repository's clips against faster-whisper on the same weights in f32: both exact.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;
#[path = "../../models/tests/common/instructions.rs"]
mod instructions;

use instructions::exact;
use serde::Deserialize;
use undertone_engine::control::Control;
use undertone_engine::transcribe::{SpeechOptions, Transcriber, Transcript};
use undertone_kernels::Isa;
use undertone_models::whisper::Whisper;

#[derive(Deserialize)]
struct Golden {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    file: String,
    beam_size: usize,
    condition_on_previous_text: bool,
    text: String,
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    start: f64,
    end: f64,
    tokens: Vec<u32>,
    avg_logprob: f32,
    no_speech_prob: f32,
}

fn transcriber() -> Transcriber {
    Transcriber::new(Whisper::open(&common::model_dir("whisper-tiny.en")).unwrap(), 5).unwrap()
}

fn transcribe(t: &mut Transcriber, samples: &[f32], options: &SpeechOptions) -> Transcript {
    t.transcribe(samples, options, &mut Control::default()).unwrap()
}

fn golden() -> Vec<Run> {
    let bytes = std::fs::read(common::golden("whisper-tiny.en.transcripts.json")).unwrap();
    let golden: Golden = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(golden.runs.len(), 20);
    golden.runs
}

fn options(run: &Run) -> SpeechOptions {
    SpeechOptions {
        beam_size: run.beam_size,
        condition_on_previous_text: run.condition_on_previous_text,
        temperatures: vec![0.0],
        ..SpeechOptions::faster_whisper()
    }
}

#[test]
fn greedy_transcripts_are_token_identical_with_faster_whispers() {
    Isa::limit(exact());
    let mut t = transcriber();
    for run in golden().iter().filter(|r| r.beam_size == 1) {
        let clip = common::clip(&run.file);
        let ours = transcribe(&mut t, &clip, &options(run));
        let tokens: Vec<_> = ours.segments.iter().map(|s| s.tokens.clone()).collect();
        let theirs: Vec<_> = run.segments.iter().map(|s| s.tokens.clone()).collect();
        assert_eq!(tokens, theirs, "{}: {}", run.file, ours.text());
        for (a, b) in ours.segments.iter().zip(&run.segments) {
            // Theirs may last beyond the recording.
            let end_s = b.end.min(clip.len() as f64 / 16_000.0);
            assert!((a.start_s - b.start).abs() < 0.011 && (a.end_s - end_s).abs() < 0.011);
            assert!((a.avg_logprob - b.avg_logprob).abs() < 0.01, "{} {}", a.avg_logprob, b.avg_logprob);
            assert!((a.no_speech_prob - b.no_speech_prob).abs() < 0.01);
        }
        assert_eq!(ours.text(), run.text);
    }
}

#[test]
fn beam_search_finds_what_faster_whisper_finds() {
    Isa::limit(exact());
    let mut t = transcriber();
    for run in golden().iter().filter(|r| r.beam_size == 5 && r.file != "silence.wav") {
        let ours = transcribe(&mut t, &common::clip(&run.file), &options(run));
        assert_eq!(ours.text(), run.text, "{} {}", run.file, run.condition_on_previous_text);
    }
}
