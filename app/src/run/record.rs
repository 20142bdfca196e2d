//! The history's entry of one dictation.

use super::desk::Delivered;
use crate::history::{Entry, Stage, utc_ms};
use crate::journal::Unfinished;
use crate::session::{End, FailedAt, Outcome};
use std::time::{Instant, SystemTime};
use undertone_engine::telemetry;
use undertone_engine::{CleanedBy, Dictation};

/// What the engine runs, for every entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Models {
    pub(super) speech: String,
    pub(super) text: Option<String>,
    pub(super) device: String,
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub(super) started: SystemTime,
    pub(super) released: Option<Instant>,
    /// The recording was whole.
    pub(super) recorded: Option<Instant>,
    pub(super) delivered: Option<Instant>,
}

pub(super) fn entry(
    models: &Models,
    mode: &str,
    moments: &Moments,
    dictation: Option<&Dictation>,
    delivered: &Delivered,
    end: &End,
    error: Option<&str>,
) -> Entry {
    let mut entry = Entry {
        started_at_ms: utc_ms(moments.started),
        mode: mode.into(),
        speech_model: models.speech.clone(),
        text_model: models.text.clone(),
        device: models.device.clone(),
        app: delivered.app.clone(),
        window_title: delivered.window_title.clone(),
        injection: delivered.way.map(Into::into),
        receipt: delivered.receipt,
        success: matches!(end, End::Delivered(outcome) if arrived(outcome)) || *end == End::Empty,
        error_stage: failed_stage(end).map(Into::into),
        error: error.map(Into::into),
        ..Entry::default()
    };
    let between = |from: Option<Instant>, to: Option<Instant>| {
        from.zip(to).map(|(from, to)| to.saturating_duration_since(from).as_secs_f64() * 1e3)
    };
    entry.release_to_text_ms = between(moments.released, moments.delivered);
    if let Some(ms) = between(moments.released, moments.recorded) {
        entry.stages.insert(Stage::Capture, ms);
    }
    if delivered.inject_ms > 0.0 {
        entry.stages.insert(Stage::Inject, delivered.inject_ms);
    }
    if let Some(dictation) = dictation {
        add_dictation(&mut entry, dictation);
    }
    entry
}

/// The entry of a recording that was transcribed after the fact.
pub(crate) fn unfinished_entry(
    speech: &str,
    text: Option<&str>,
    recording: &Unfinished,
    dictation: &Dictation,
) -> Entry {
    let mut entry = Entry {
        started_at_ms: utc_ms(recording.started),
        mode: recording.about.mode.clone(),
        speech_model: speech.into(),
        text_model: text.map(Into::into),
        device: "cpu".into(),
        app: recording.about.target_app.clone(),
        injection: Some("recovered".into()),
        success: true,
        ..Entry::default()
    };
    add_dictation(&mut entry, dictation);
    entry
}

fn add_dictation(entry: &mut Entry, dictation: &Dictation) {
    use telemetry::Stage as From;
    let record = &dictation.record;
    entry.language = Some(dictation.transcript.language.clone());
    entry.raw_text = Some(dictation.raw_text.clone());
    entry.clean_text = Some(dictation.text.clone());
    entry.audio_ms = (record.audio_s * 1e3) as u64;
    entry.speech_tokens = record.speech_tokens as u64;
    entry.text_tokens = record.text.generated_tokens as u64;
    entry.tokens_per_s = record.text_tokens_per_s();
    entry.drafted_tokens = (record.text.drafted_tokens + record.speech_drafts.0) as u64;
    entry.accepted_tokens = (record.text.accepted_tokens + record.speech_drafts.1) as u64;
    entry.planned_bytes = record.memory.planned_bytes;
    entry.peak_bytes = record.memory.peak_bytes;
    entry.gpu = record.gpu.as_ref().and_then(|gpu| serde_json::to_value(gpu).ok());
    entry.refusals = dictation.refusals.clone();
    entry.cleaned_by = Some(
        match dictation.cleaned_by {
            CleanedBy::Llm => "llm",
            CleanedBy::Rules => "rules",
            CleanedBy::None => "none",
        }
        .into(),
    );
    let stages = [
        (From::Vad, Stage::Vad),
        (From::Mel, Stage::Mel),
        (From::Encode, Stage::Encode),
        (From::Decode, Stage::Decode),
        (From::Prefill, Stage::Prefill),
        (From::Generate, Stage::Generate),
        (From::Clean, Stage::Clean),
    ];
    entry.stages.extend(stages.map(|(from, to)| (to, record.times.ms(from))));
    entry.stages.insert(Stage::Queue, record.queue_ms);
}

/// Whether the text is where it was meant to be.
pub(super) fn arrived(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Typed | Outcome::Pasted { .. } | Outcome::Copied | Outcome::Shown | Outcome::Appended
    )
}

fn failed_stage(end: &End) -> Option<&'static str> {
    Some(match end {
        End::Failed(FailedAt::Microphone) => "microphone",
        End::Failed(FailedAt::Selection) => "selection",
        End::Failed(FailedAt::Engine) => "engine",
        End::Failed(FailedAt::Quit) => "quit",
        End::Failed(FailedAt::Delivery) => "delivery",
        End::Delivered(outcome) if !arrived(outcome) => "delivery",
        _ => return None,
    })
}
