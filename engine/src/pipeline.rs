use crate::clean::spoken::Spoken;
use crate::cleanup::{Brief, Cleaner, Cleanup};
use crate::control::Control;
use crate::error::{EngineError, Result};
use crate::prompt::{Input, Mode, Modes, Policy};
use crate::telemetry::{Record, Stage};
use crate::transcribe::{SpeechOptions, Transcriber, Transcript};
use crate::vad::Vad;
use std::time::{Duration, Instant};
use undertone_models::whisper::{SAMPLE_RATE_HZ, Task};

pub use crate::cleanup::CleanedBy;

/// What is asked of one recording.
#[derive(Clone, Debug)]
pub struct Request {
    /// How to transcribe.
    pub speech: SpeechOptions,
    /// Name of the mode; `raw` leaves the transcript as it is.
    pub mode: String,
    /// Text selected before speaking, for modes that work on it.
    pub selection: Option<String>,
    /// How long the language model may take from the start of the request: what it has not cleaned
    /// by then is cleaned by rule.
    pub time_limit: Option<Duration>,
    /// Whether text that was surely heard and needs no clean-up is left alone by the model.
    pub skip_clean_text: bool,
    /// What is applied to the transcript before clean-up: vocabulary, spoken punctuation, figures.
    pub spoken: Spoken,
    /// Whether recordings in which no voice is found give no text.
    pub require_voice: bool,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            speech: SpeechOptions::default(),
            mode: "standard".into(),
            selection: None,
            time_limit: None,
            skip_clean_text: false,
            spoken: Spoken::default(),
            require_voice: true,
        }
    }
}

impl Request {
    /// A request in the named mode.
    pub fn in_mode(mode: &str) -> Request {
        Request { mode: mode.into(), ..Request::default() }
    }
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Dictation {
    /// Segments, language, probabilities.
    pub transcript: Transcript,
    /// The transcript's text.
    pub raw_text: String,
    /// The text to use.
    pub text: String,
    /// What made it.
    pub cleaned_by: CleanedBy,
    /// Windows whose model output was refused or cut short, and why.
    pub refusals: Vec<String>,
    /// Where the time and the memory went.
    pub record: Record,
}

/// Both models and the flow through them, on one thread.
pub(crate) struct Pipeline {
    pub(crate) vad: Vad,
    pub(crate) transcriber: Transcriber,
    pub(crate) cleaner: Option<Cleaner>,
    pub(crate) modes: Modes,
}

impl Pipeline {
    /// The mode a request names.
    ///
    /// # Errors
    /// If there is none of the name, or it needs a selection that is not there.
    pub(crate) fn mode(&self, request: &Request) -> Result<&Mode> {
        let bad = |what: String| EngineError::Mode { name: request.mode.clone(), what };
        let Some(mode) = self.modes.get(&request.mode) else {
            let known: Vec<&str> = self.modes.keys().map(String::as_str).collect();
            return Err(bad(format!("there is none of this name; there are {}", known.join(", "))));
        };
        match (mode.input, &request.selection) {
            (Input::Both, None) => Err(bad("it needs selected text".into())),
            _ => Ok(mode),
        }
    }

    /// Samples (16 kHz, [-1, 1]) to clean text.
    ///
    /// # Errors
    /// If transcription fails, or on cancellation. Clean-up never fails: the transcript remains.
    pub(crate) fn dictate(
        &mut self,
        samples: &[f32],
        request: &Request,
        control: &mut Control,
    ) -> Result<Dictation> {
        self.mode(request)?;
        let start = Instant::now();
        let heard = match request.require_voice {
            true => control.stage(Stage::Vad, |_| Ok(voiced(&self.vad, samples)))?,
            false => 0,
        };
        let mut transcript = self.transcriber.transcribe(&samples[heard..], &request.speech, control)?;
        transcript.shift(heard as f64 / f64::from(SAMPLE_RATE_HZ));
        let mut cleanup = Cleanup::default();
        let dictation = self.clean_transcript(&mut cleanup, transcript, request, control)?;
        Ok(finished(dictation, samples.len(), start, control))
    }

    /// Cleans `text` as if it had been dictated.
    ///
    /// # Errors
    /// If the mode is unknown; cancellation.
    pub(crate) fn clean_text(
        &mut self,
        text: &str,
        request: &Request,
        control: &mut Control,
    ) -> Result<Dictation> {
        let start = Instant::now();
        let language = request.speech.language.clone().unwrap_or_else(|| "en".into());
        let transcript = Transcript { language, language_probability: 1.0, ..Transcript::default() };
        let mut cleanup = Cleanup::default();
        let dictation = self.clean_raw(&mut cleanup, transcript, text.into(), request, control)?;
        Ok(finished(dictation, 0, start, control))
    }

    /// The rest of the way, from a whole transcript.
    pub(crate) fn clean_transcript(
        &mut self,
        cleanup: &mut Cleanup,
        transcript: Transcript,
        request: &Request,
        control: &mut Control,
    ) -> Result<Dictation> {
        let raw_text = transcript.text();
        control.raw_text = Some(raw_text.clone());
        self.clean_raw(cleanup, transcript, raw_text, request, control)
    }

    fn clean_raw(
        &mut self,
        cleanup: &mut Cleanup,
        transcript: Transcript,
        raw_text: String,
        request: &Request,
        control: &mut Control,
    ) -> Result<Dictation> {
        self.advance_cleanup(cleanup, &transcript, &raw_text, request, true, control)?;
        let cleanup = std::mem::take(cleanup);
        let text = cleanup.text();
        let record = Record {
            speech_tokens: transcript.token_count(),
            speech_drafts: (transcript.drafted, transcript.accepted),
            text: cleanup.counts,
            ..Record::default()
        };
        Ok(Dictation {
            transcript,
            raw_text,
            text,
            cleaned_by: cleanup.by,
            refusals: cleanup.refusals,
            record,
        })
    }

    /// Cleans what is new in `raw_text`; see [`Cleanup::advance`].
    pub(crate) fn advance_cleanup(
        &mut self,
        cleanup: &mut Cleanup,
        transcript: &Transcript,
        raw_text: &str,
        request: &Request,
        last: bool,
        control: &mut Control,
    ) -> Result<()> {
        let mode = self.mode(request)?.clone();
        let language = match request.speech.task {
            Task::Translate => "en",
            Task::Transcribe => transcript.language.as_str(),
        };
        let selection = request.selection.as_deref();
        let source = match (mode.input, selection) {
            (Input::Selection, Some(selection)) => selection,
            _ => raw_text,
        };
        let skip_above = request.skip_clean_text.then(|| transcript.avg_logprob());
        let brief = Brief { mode: &mode, language, selection, skip_above };
        let source = match mode.policy {
            Policy::None => source.into(),
            _ => request.spoken.apply(source, language),
        };
        cleanup.advance(self.cleaner.as_mut(), &source, brief, last, control)
    }

    /// Forgets all that a request left half done.
    pub(crate) fn recover(&mut self) {
        self.transcriber.reset();
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.generator.reset();
        }
    }
}

/// Where a recording is worth hearing from: its end where nobody speaks, a little before the first
/// speech where that comes late (the model loses the first words behind a long silence).
fn voiced(vad: &Vad, samples: &[f32]) -> usize {
    const LEAD: usize = SAMPLE_RATE_HZ as usize;
    match vad.first_speech(samples) {
        None => samples.len(),
        Some(first) if first > 3 * LEAD => first - LEAD,
        Some(_) => 0,
    }
}

/// Fills in what only the whole request knows.
pub(crate) fn finished(dictation: Dictation, samples: usize, start: Instant, control: &Control) -> Dictation {
    let record = Record {
        audio_s: samples as f64 / f64::from(SAMPLE_RATE_HZ),
        latency_ms: start.elapsed().as_secs_f64() * 1e3,
        times: control.times.clone(),
        ..dictation.record
    };
    Dictation { record, ..dictation }
}
