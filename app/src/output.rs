//! Results as text, JSON and subtitles.

use anyhow::Result;
use serde_json::{Map, Value, json};
use std::io::{self, Write as _};
use std::path::Path;
use undertone_engine::Dictation;
use undertone_engine::load::LoadTimes;
use undertone_engine::telemetry::memory::peak_resident_bytes;
use undertone_engine::telemetry::{Stage, StageTimes};

/// Writes a line to stdout.
pub(crate) fn say(line: &str) -> Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// Writes to stdout; a reader that has gone (`| head`) ends the output, not the program.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// What JSON says of one file besides its dictation.
pub(crate) struct Context<'a> {
    pub(crate) file: &'a Path,
    pub(crate) audio_s: f64,
    pub(crate) warning: Option<&'a str>,
    pub(crate) mode: &'a str,
    pub(crate) speech_model: &'a str,
    pub(crate) text_model: Option<&'a str>,
    pub(crate) device: &'a str,
    pub(crate) load: LoadTimes,
}

/// One decimal: finer than the clock's noise, coarse enough to read.
fn ms(value: f64) -> Value {
    json!((value * 10.0).round() / 10.0)
}

fn timings(times: &StageTimes) -> Map<String, Value> {
    Stage::ALL.iter().map(|s| (s.name().to_string(), ms(times.ms(*s)))).collect()
}

/// One object on one line.
pub(crate) fn json(d: &Dictation, c: &Context<'_>) -> Value {
    let t = &d.transcript;
    json!({
        "file": c.file.to_string_lossy(),
        "text": d.text,
        "raw_text": d.raw_text,
        "cleaned_by": d.cleaned_by,
        "refusals": d.refusals,
        "mode": c.mode,
        "language": t.language,
        "language_probability": t.language_probability,
        "duration_s": c.audio_s,
        "avg_logprob": t.avg_logprob(),
        "no_speech_prob": t.no_speech_prob,
        "segments": t.segments,
        "tokens": {
            "speech": t.token_count(),
            "speech_drafted": d.record.speech_drafts.0,
            "speech_accepted": d.record.speech_drafts.1,
            "llm_prefilled": d.record.text.prefilled_tokens,
            "llm_generated": d.record.text.generated_tokens,
            "llm_passes": d.record.text.passes,
            "llm_drafted": d.record.text.drafted_tokens,
            "llm_accepted": d.record.text.accepted_tokens,
            "llm_per_s": d.record.text_tokens_per_s().map(ms),
        },
        "timings_ms": timings(&d.record.times),
        "queue_ms": ms(d.record.queue_ms),
        "load_ms": {
            "speech": ms(c.load.speech_ms),
            "text": ms(c.load.text_ms),
            "prefault": ms(c.load.prefault_ms),
            "warm_up": ms(c.load.warm_up_ms),
        },
        "memory": d.record.memory,
        "health": d.record.health,
        "gpu": d.record.gpu,
        "peak_memory_bytes": peak_resident_bytes(),
        "speech_model": c.speech_model,
        "text_model": c.text_model,
        "device": c.device,
        "warning": c.warning,
    })
}

/// A line of stage times for people.
pub(crate) fn summary(d: &Dictation, c: &Context<'_>) -> String {
    let stages = Stage::ALL.iter().filter(|s| d.record.times.ms(**s) >= 0.05);
    let stages: Vec<String> = stages.map(|s| format!("{} {:.0}", s.name(), d.record.times.ms(*s))).collect();
    let total = d.record.times.total_ms();
    let load = c.load.speech_ms + c.load.text_ms;
    let memory =
        peak_resident_bytes().map_or(String::new(), |b| format!(", peak memory {} MB", b / 1_000_000));
    format!(
        "[{}: {:.1} s of audio in {total:.0} ms ({}); models loaded in {load:.0} ms{memory}; cleaned by {}]",
        c.file.display(),
        c.audio_s,
        stages.join(", "),
        match d.cleaned_by {
            undertone_engine::CleanedBy::Llm => "the language model",
            undertone_engine::CleanedBy::Rules => "rules",
            undertone_engine::CleanedBy::None => "nothing",
        },
    )
}

/// `hh:mm:ss,mmm`, or with a point for WebVTT.
fn timestamp(seconds: f64, separator: char) -> String {
    let ms = (seconds * 1000.0).round() as u64;
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{h:02}:{m:02}:{s:02}{separator}{:03}", ms % 1000)
}

/// Times and text of each cue.
fn cues(d: &Dictation, separator: char) -> Vec<String> {
    let time = |t| timestamp(t, separator);
    // An arrow or a blank line within the text would break the file.
    let text = |t: &str| t.split_whitespace().collect::<Vec<_>>().join(" ").replace("-->", "->");
    let cue = |s: &undertone_engine::transcribe::Segment| {
        format!("{} --> {}\n{}\n", time(s.start_s), time(s.end_s), text(&s.text))
    };
    d.transcript.segments.iter().map(cue).collect()
}

/// SubRip.
pub(crate) fn srt(d: &Dictation) -> String {
    let numbered = cues(d, ',').into_iter().enumerate().map(|(i, cue)| format!("{}\n{cue}\n", i + 1));
    numbered.collect()
}

/// WebVTT.
pub(crate) fn vtt(d: &Dictation) -> String {
    let cues: String = cues(d, '.').into_iter().map(|cue| format!("{cue}\n")).collect();
    format!("WEBVTT\n\n{cues}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_carry_over() {
        assert_eq!(timestamp(3661.9996, ','), "01:01:02,000");
        assert_eq!(timestamp(0.0, '.'), "00:00:00.000");
    }
}
