//! Transcripts of the repository's clips.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use undertone_engine::control::{CancelToken, Control, Progress};
use undertone_engine::transcribe::{Padding, SpeechOptions, Transcriber, Transcript};
use undertone_models::whisper::Whisper;

fn transcriber() -> Transcriber {
    Transcriber::new(Whisper::open(&common::model_dir("whisper-tiny.en")).unwrap(), 5).unwrap()
}

fn transcribe(t: &mut Transcriber, samples: &[f32], options: &SpeechOptions) -> Transcript {
    t.transcribe(samples, options, &mut Control::default()).unwrap()
}

#[test]
fn silence_and_noise_give_no_text_with_any_search() {
    let mut t = transcriber();
    for file in ["silence.wav", "noise.wav"] {
        for beam_size in [1, 5] {
            let options = SpeechOptions { beam_size, ..SpeechOptions::default() };
            assert_eq!(transcribe(&mut t, &common::clip(file), &options).text(), "", "{file} {beam_size}");
        }
    }
    assert_eq!(transcribe(&mut t, &[], &SpeechOptions::default()).text(), "");
}

/// What was said, without case and punctuation.
fn words(t: &Transcript) -> Vec<String> {
    let text = t.text().to_lowercase();
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_string).collect()
}

#[test]
fn a_sample_of_the_silence_is_heard_like_all_of_it() {
    let mut t = transcriber();
    let all = SpeechOptions { padding: Padding::Silence, ..SpeechOptions::default() };
    for file in ["question.wav", "dictation.wav", "report.wav", "long.wav"] {
        let clip = common::clip(file);
        let want = transcribe(&mut t, &clip, &all);
        let sampled = transcribe(&mut t, &clip, &SpeechOptions::default());
        assert_eq!(words(&sampled), words(&want), "{file}");
        // Sentences may be cut elsewhere; none lasts into the silence.
        let times: Vec<f64> = sampled.segments.iter().flat_map(|s| [s.start_s, s.end_s]).collect();
        let most = clip.len() as f64 / 16_000.0;
        assert!(times.is_sorted() && times.iter().all(|t| (0.0..=most).contains(t)), "{file}: {times:?}");
    }
}

#[test]
fn where_a_sample_leaves_doubts_all_of_the_silence_is_heard() {
    let mut t = transcriber();
    // No text is as sure as this asks, so every window is heard anew and decoded in every way there is.
    let all = SpeechOptions {
        padding: Padding::Silence,
        log_prob_threshold: 0.0,
        temperatures: vec![0.0, 0.4],
        ..SpeechOptions::default()
    };
    let sampled = SpeechOptions { padding: Padding::Sampled, ..all.clone() };
    for file in ["question.wav", "report.wav"] {
        let clip = common::clip(file);
        assert_eq!(transcribe(&mut t, &clip, &sampled), transcribe(&mut t, &clip, &all), "{file}");
    }
}

#[test]
fn nothing_of_one_file_reaches_the_next() {
    let mut t = transcriber();
    let options = SpeechOptions::default();
    let clips = ["question.wav", "long.wav", "dictation.wav", "silence.wav"];
    let first: Vec<Transcript> =
        clips.iter().map(|c| transcribe(&mut t, &common::clip(c), &options)).collect();
    for (clip, first) in clips.iter().zip(&first).rev() {
        assert_eq!(&transcribe(&mut t, &common::clip(clip), &options), first, "{clip}");
    }
}

#[test]
fn sampling_is_repeatable_and_stays_near_the_speech() {
    let mut t = transcriber();
    let options = SpeechOptions { temperatures: vec![0.4], ..SpeechOptions::default() };
    let clip = common::clip("question.wav");
    let (a, b) = (transcribe(&mut t, &clip, &options), transcribe(&mut t, &clip, &options));
    assert_eq!(a, b);
    assert!(a.text().contains("train to the city"), "{}", a.text());
}

#[test]
fn a_prompt_biases_spelling_and_cancelling_stops() {
    let mut t = transcriber();
    let options = SpeechOptions {
        initial_prompt: Some("MONDAY MORNING TRAIN TIMES.".into()),
        ..SpeechOptions::default()
    };
    let text = transcribe(&mut t, &common::clip("question.wav"), &options).text();
    assert!(text.to_lowercase().contains("train to the city"), "{text}");
    let cancel = CancelToken::default();
    let windows = Arc::new(AtomicUsize::new(0));
    let (token, seen) = (cancel.clone(), windows.clone());
    let mut control = Control::new(cancel, None).with_listener(Some(Box::new(move |progress| {
        if matches!(progress, Progress::Transcribed { .. }) && seen.fetch_add(1, Ordering::Relaxed) == 1 {
            token.cancel();
        }
    })));
    let result = t.transcribe(&common::clip("long.wav"), &options, &mut control);
    assert!(matches!(result, Err(undertone_engine::EngineError::Cancelled)));
    assert_eq!(windows.load(Ordering::Relaxed), 2);
}

#[test]
fn an_english_model_refuses_other_languages_and_translation() {
    let mut t = transcriber();
    let clip = common::clip("question.wav");
    for options in [
        SpeechOptions { language: Some("de".into()), ..SpeechOptions::default() },
        SpeechOptions { task: undertone_models::whisper::Task::Translate, ..SpeechOptions::default() },
    ] {
        let error = t.transcribe(&clip, &options, &mut Control::default()).unwrap_err();
        assert!(error.to_string().contains("English only"), "{error}");
    }
}

#[test]
fn a_multilingual_model_finds_the_language_by_itself() {
    let model = Whisper::open(&common::model_dir("whisper-base")).unwrap();
    let mut t = Transcriber::new(model, 5).unwrap();
    let clip = common::clip("question.wav");
    let found = transcribe(&mut t, &clip, &SpeechOptions::default());
    assert!(found.language == "en" && found.language_probability > 0.8, "{found:?}");
    assert!(found.text().contains("next train"), "{}", found.text());
    // Told the language, the same window gives the same words.
    let told = SpeechOptions { language: Some("en".into()), ..SpeechOptions::default() };
    assert_eq!(transcribe(&mut t, &clip, &told).text(), found.text());
    let unknown = SpeechOptions { language: Some("xx".into()), ..SpeechOptions::default() };
    let error = t.transcribe(&clip, &unknown, &mut Control::default()).unwrap_err();
    assert!(error.to_string().contains("'xx'"), "{error}");
}

/// A transcript of the first part of a recording is the draft of the whole.
#[test]
fn a_draft_changes_the_time_and_not_one_token() {
    let mut t = transcriber();
    let options = SpeechOptions::default();
    for file in ["question.wav", "dictation.wav", "report.wav"] {
        let clip = common::clip(file);
        let plain = transcribe(&mut t, &clip, &options);
        let drafts = [
            plain.clone(),
            transcribe(&mut t, &clip[..clip.len() * 2 / 3], &options),
            transcribe(&mut t, &common::clip("long.wav")[..200_000], &options),
        ];
        for (n, draft) in drafts.into_iter().enumerate() {
            let tokens: Vec<u32> = draft.segments.into_iter().flat_map(|s| s.tokens).collect();
            let mut control = Control::default();
            let drafted = t.transcribe_with_draft(&clip, &options, &tokens, &mut control).unwrap();
            assert_eq!(drafted.segments, plain.segments, "{file} {n}");
            assert!(drafted.accepted <= drafted.drafted && drafted.drafted > 0);
            if n == 0 {
                assert!(drafted.accepted * 10 > drafted.drafted * 8, "{drafted:?}");
            }
        }
    }
}
