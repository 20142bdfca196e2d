//! `undertone transcribe`: several files through one load of the models.

use crate::cli::{Conventions, Format, TranscribeArgs};
use crate::engine_args;
use crate::exit::{Exit, Failure};
use crate::output;
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use undertone_engine::audio::{self, Pcm};
use undertone_engine::clean::spoken::Spoken;
use undertone_engine::telemetry::{Stage, StageTimes};
use undertone_engine::transcribe::SpeechOptions;
use undertone_engine::{Engine, Progress, Request, Ticket};
use undertone_models::whisper::{LANGUAGES, SAMPLE_RATE_HZ, Task};

/// Runs the command; 0 if every file gave a result, else the exit code of the first that did not.
pub(crate) fn run(args: &TranscribeArgs) -> Result<Exit> {
    let request = request(args)?;
    // Before any model is loaded or fetched; with several files each is told in its turn.
    if let [file] = &args.files[..] {
        audio::check_file(file).map_err(|e| Failure::new(Exit::Input, e.to_string()))?;
    }
    let mut chosen = args.engine.choose(&[&args.mode])?;
    chosen.config.max_hypotheses =
        usize::from(args.beam).max(request.speech.best_of).max(request.speech.fallback_beam_size);
    // Files are no dictation: the first may take its time, so that few do not wait for a warm-up.
    chosen.config.warm_up = false;
    let spinner = spinner("loading models");
    let engine = engine_args::start(chosen.config.clone())?;
    drop(spinner);
    let mut outcome = Exit::Ok;
    for file in &args.files {
        let context = output::Context {
            file,
            audio_s: 0.0,
            warning: None,
            mode: &args.mode,
            speech_model: &chosen.speech_model,
            text_model: chosen.text_model.as_deref(),
            device: &chosen.device,
            load: engine.load_times(),
        };
        if let Err(error) = one(&engine, &request, args, context) {
            // The other files still get their text.
            eprintln!("undertone: {error:#}");
            if outcome == Exit::Ok {
                outcome = Exit::of(&error);
            }
        }
    }
    Ok(outcome)
}

fn request(args: &TranscribeArgs) -> Result<Request> {
    let language = match args.language.to_lowercase().as_str() {
        "auto" => None,
        code => {
            let known = LANGUAGES.iter().find(|(c, name)| *c == code || *name == code);
            let Some((code, _)) = known else {
                let message =
                    format!("language '{code}' is not known; use auto or a code such as en, de, fr, ja");
                return Err(Failure::new(Exit::Usage, message).into());
            };
            Some(code.to_string())
        }
    };
    let speech = SpeechOptions {
        language,
        task: if args.translate { Task::Translate } else { Task::Transcribe },
        beam_size: args.beam.into(),
        initial_prompt: args.prompt.clone(),
        condition_on_previous_text: !args.no_condition,
        ..match args.conventions {
            Conventions::Undertone => SpeechOptions::default(),
            Conventions::FasterWhisper => SpeechOptions::faster_whisper(),
        }
    };
    Ok(Request {
        speech,
        time_limit: args.time_limit_ms.map(Duration::from_millis),
        require_voice: !args.no_vad,
        spoken: Spoken {
            punctuation: args.spoken_punctuation,
            figures: args.figures,
            replacements: args.replace.clone(),
        },
        ..Request::in_mode(&args.mode)
    })
}

fn one(
    engine: &Engine,
    request: &Request,
    args: &TranscribeArgs,
    context: output::Context<'_>,
) -> Result<()> {
    let mut times = StageTimes::default();
    let (pcm, warning) =
        load_audio(context.file, &mut times).map_err(|e| Failure::new(Exit::Input, e.to_string()))?;
    if let Some(warning) = &warning {
        eprintln!("undertone: {}: {warning}", context.file.display());
    }
    let audio_s = pcm.samples.len() as f64 / f64::from(SAMPLE_RATE_HZ);
    let context = output::Context { audio_s, warning: warning.as_deref(), ..context };
    let mut bar = Bar::new(context.file);
    let ticket = engine.submit(pcm.samples, request.clone(), Some(Box::new(move |p| bar.update(p))));
    let dictation = ticket.and_then(Ticket::wait).map_err(|failed| {
        let failure = engine_args::failure(&failed.error);
        match failure.exit {
            Exit::Usage => failure,
            exit => Failure::new(exit, format!("{}: {failed}", context.file.display())),
        }
    })?;
    let mut dictation = dictation;
    dictation.record.times.extend(&times);
    let text = match args.format {
        Format::Text => format!("{}\n", dictation.text),
        Format::Json => format!("{}\n", output::json(&dictation, &context)),
        Format::Srt => output::srt(&dictation),
        Format::Vtt => output::vtt(&dictation),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the result")?;
    if args.format == Format::Text {
        eprintln!("{}", output::summary(&dictation, &context));
    }
    Ok(())
}

/// Samples at 16 kHz, and what was wrong with the file if it could be read anyway.
pub(crate) fn load_audio(
    file: &Path,
    times: &mut StageTimes,
) -> Result<(Pcm, Option<String>), audio::AudioError> {
    let decoded = times.measure(Stage::DecodeAudio, || audio::decode_file(file))?;
    let warning = decoded.warning.clone();
    let pcm = times.measure(Stage::Resample, || audio::resample(decoded, SAMPLE_RATE_HZ))?;
    Ok((pcm, warning))
}

/// A spinner that only shows on a terminal, and only after two seconds.
fn spinner(message: &'static str) -> Option<SpinnerGuard> {
    std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new_spinner().with_message(message);
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let shown = bar.clone();
        let thread = std::thread::spawn(move || {
            if stopped
                .recv_timeout(Duration::from_secs(2))
                .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                shown.set_draw_target(indicatif::ProgressDrawTarget::stderr());
                shown.enable_steady_tick(Duration::from_millis(120));
                let _ = stopped.recv();
                shown.finish_and_clear();
            }
        });
        SpinnerGuard { stop: Some(stop), thread: Some(thread) }
    })
}

/// Takes the spinner away when the work is done.
struct SpinnerGuard {
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for SpinnerGuard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Progress through one file: on a terminal, from the second second on.
struct Bar {
    start: Instant,
    bar: Option<ProgressBar>,
    name: String,
}

impl Bar {
    fn new(file: &Path) -> Bar {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Bar { start: Instant::now(), bar: None, name }
    }

    fn update(&mut self, progress: Progress) {
        let (done, of, what) = match progress {
            Progress::Transcribed { done_s, of_s } => (done_s as u64, of_s as u64, "s of audio heard"),
            Progress::Cleaned { done, of } => (done as u64, of as u64, "stretches of text cleaned"),
            Progress::Entered(_) => return,
        };
        let due = self.start.elapsed() >= Duration::from_secs(2) && std::io::stderr().is_terminal();
        if self.bar.is_none() && due && done < of {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}, {eta} left");
            let bar = ProgressBar::new(of).with_prefix(self.name.clone());
            self.bar = Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
        }
        if let Some(bar) = &self.bar {
            bar.set_message(what);
            bar.set_length(of);
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
