//! Dictation while it is spoken: what comes out is what was said, whatever the chunks and pauses.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use undertone_engine::telemetry::Stage;
use undertone_engine::{Dictation, Engine, EngineConfig, Progress, Request};

/// One engine for all tests, one test at a time: a second stream would end the first.
fn engine() -> MutexGuard<'static, Engine> {
    static ENGINE: OnceLock<Mutex<Engine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let gguf = common::gguf("smollm2-135m-instruct");
        let config = EngineConfig::new(common::model_dir("whisper-tiny.en")).with_text_model(gguf);
        Mutex::new(Engine::start(config).unwrap())
    });
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

fn speak(engine: &Engine, samples: &[f32], chunk: usize, mode: &str) -> Dictation {
    let mut stream = engine.stream(Request::in_mode(mode), None).unwrap();
    for chunk in samples.chunks(chunk) {
        stream.push(chunk).unwrap();
    }
    stream.finish().unwrap().wait().unwrap()
}

fn silence(seconds: f32) -> Vec<f32> {
    vec![0.0; (seconds * 16_000.0) as usize]
}

#[test]
fn a_streamed_recording_has_every_word_whatever_the_chunks() {
    let engine = engine();
    let pause = silence(1.5);
    let clips = ["question.wav", "report.wav", "dictation.wav"].map(common::clip);
    let audio = [&silence(0.7)[..], &clips[0], &pause, &clips[1], &pause, &clips[2], &pause].concat();
    let mut texts = Vec::new();
    for chunk in [1_600, 16_000, audio.len()] {
        let done = speak(&engine, &audio, chunk, "standard");
        let text = done.text.to_lowercase();
        for words in [
            "what time does the next train to the city leave",
            "sales report to anna",
            "chairs for 12 people",
        ] {
            assert!(text.contains(words), "{words}: {}", done.text);
        }
        assert!(!text.contains(" um,") && done.transcript.segments.len() >= 3, "{done:?}");
        let ends: Vec<f64> = done.transcript.segments.iter().map(|s| s.end_s).collect();
        assert!(ends.is_sorted() && *ends.last().unwrap() <= audio.len() as f64 / 16_000.0 + 0.1, "{ends:?}");
        texts.push((done.raw_text, done.text));
    }
    assert!(texts.windows(2).all(|t| t[0] == t[1]), "{texts:#?}");
}

#[test]
fn fifty_utterances_in_a_row_are_all_found() {
    let engine = engine();
    let clip = common::clip("question.wav");
    for n in 0..50 {
        let before = silence(0.05 * (n % 7) as f32 * (n % 5) as f32);
        let after = silence(0.1 * (n % 4) as f32);
        let done = speak(&engine, &[&before[..], &clip, &after].concat(), 800 + 531 * n, "raw");
        assert!(done.text.contains("next train to the city leave"), "utterance {n}: {:?}", done.text);
        assert!(done.text.starts_with("What time") && done.text.ends_with("morning?"), "{n}: {}", done.text);
    }
}

#[test]
fn silence_and_noise_give_no_text_and_cost_no_encoder() {
    let engine = engine();
    let mut seed = 1u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let hiss: Vec<f32> = (0..80_000).map(|_| noise() * 0.1).collect();
    let hum: Vec<f32> = (0..80_000).map(|i| (i as f32 * 0.0393).sin() * 0.02).collect();
    for samples in [vec![], silence(5.0), hiss, hum, common::clip("noise.wav"), common::clip("silence.wav")] {
        let streamed = speak(&engine, &samples, 1_600, "standard");
        let whole = engine.dictate(samples, Request::default()).unwrap();
        for done in [streamed, whole] {
            assert_eq!((done.text.as_str(), done.raw_text.as_str()), ("", ""), "{done:?}");
            assert_eq!(done.record.times.ms(Stage::Encode), 0.0);
        }
    }
}

#[test]
fn first_words_behind_a_long_silence_are_heard() {
    let engine = engine();
    let audio = [silence(40.0), common::clip("question.wav")].concat();
    let streamed = speak(&engine, &audio, 1_600, "raw");
    let whole = engine.dictate(audio, Request::in_mode("raw")).unwrap();
    for done in [streamed, whole] {
        assert!(done.text.starts_with("What time does the next train"), "{}", done.text);
        let first = &done.transcript.segments[0];
        assert!((39.0..42.0).contains(&first.start_s) && first.end_s < 45.0, "{first:?}");
    }
}

#[test]
fn work_is_done_while_speech_goes_on_and_only_the_tail_is_left() {
    let engine = engine();
    let pause = silence(2.0);
    let clips = ["report.wav", "dictation.wav"].map(common::clip);
    let mut stream = engine.stream(Request::default(), None).unwrap();
    stream.push(&[&clips[0][..], &pause, &clips[1], &pause].concat()).unwrap();
    // The engine works on what it was given; a request behind it waits until that is done.
    engine.clean("hello", Request::in_mode("raw")).unwrap();
    let done = stream.finish().unwrap().wait().unwrap();
    assert!(done.text.contains("chairs for 12 people"), "{}", done.text);
    let r = &done.record;
    let speech_ms = r.times.ms(Stage::Encode);
    assert!(
        r.latency_ms < r.times.total_ms() - 0.9 * speech_ms,
        "{} of {}",
        r.latency_ms,
        r.times.total_ms()
    );
}

#[test]
fn what_fails_while_speech_goes_on_is_made_good_at_its_end() {
    let engine = engine();
    let clip = common::clip("report.wav");
    let failed = AtomicBool::new(false);
    let mut stream = engine
        .stream(
            Request::default(),
            Some(Box::new(move |p| {
                if p == Progress::Entered(Stage::Encode) && !failed.swap(true, Ordering::Relaxed) {
                    panic!("injected while speech goes on");
                }
            })),
        )
        .unwrap();
    stream.push(&[&clip[..], &silence(2.0)].concat()).unwrap();
    engine.clean("so that the work on it is done", Request::in_mode("raw")).unwrap();
    stream.push(&common::clip("question.wav")).unwrap();
    let done = stream.finish().unwrap().wait().unwrap();
    assert!(done.text.contains("sales report") && done.text.contains("next train"), "{}", done.text);
}

#[test]
fn streams_that_are_dropped_or_overtaken_leave_no_trace() {
    let engine = engine();
    let clip = common::clip("question.wav");
    let mut dropped = engine.stream(Request::default(), None).unwrap();
    dropped.push(&clip).unwrap();
    drop(dropped);
    let mut overtaken = engine.stream(Request::default(), None).unwrap();
    overtaken.push(&clip).unwrap();
    let done = speak(&engine, &common::clip("report.wav"), 1_600, "raw");
    assert!(done.text.contains("sales report") && !done.text.contains("train"), "{}", done.text);
    let failure = overtaken.finish().unwrap().wait().unwrap_err();
    assert!(failure.to_string().contains("another"), "{failure}");
    assert_eq!(failure.audio.len(), clip.len(), "its audio is not lost");
}

/// A word behind a pause is no sentence of its own: heard alone it is anything, or nothing.
#[test]
fn a_word_behind_a_pause_is_heard_with_the_sentence_before_it() {
    let engine = engine();
    for (name, last) in [("question.wav", "morning"), ("report.wav", "Tuesday"), ("dictation.wav", "")] {
        let clip = common::clip(name);
        let whole = speak(&engine, &clip, 1_600, "raw").raw_text;
        for (length, pause) in [(9_600, 0.9), (12_800, 1.4), (16_000, 0.9), (16_000, 2.2)] {
            let word = &clip[clip.len() - length..];
            let done = speak(&engine, &[&clip[..], &silence(pause), word].concat(), 1_600, "raw");
            let more =
                done.raw_text.strip_prefix(&whole).unwrap_or_else(|| panic!("{name}: {}", done.raw_text));
            assert!(more.split_whitespace().count() <= 2, "{name}: {}", done.raw_text);
            let found = more.to_lowercase().contains(&last.to_lowercase());
            assert!(length < 16_000 || found, "{name}: {}", done.raw_text);
        }
    }
}
