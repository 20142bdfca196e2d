//! `undertone transcribe`: several files through one load of the models.

use crate::cli::{Conventions, Device, Format, ModeName, TranscribeArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::store::{Kind, Store, StoreConfig};
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use undertone_engine::audio::{self, Pcm};
use undertone_engine::telemetry::{Stage, StageTimes};
use undertone_engine::transcribe::{Progress, SpeechOptions};
use undertone_engine::{Engine, EngineError, Request};
use undertone_models::whisper::{LANGUAGES, SAMPLE_RATE_HZ, Task};

/// Runs the command; 0 if every file gave a result, else the exit code of the first that did not.
pub(crate) fn run(args: &TranscribeArgs) -> Result<Exit> {
    let request = request(args)?;
    let device = device(args.device)?;
    // Before any model is loaded or fetched; with several files each is told in its turn.
    if let [file] = &args.files[..] {
        audio::check_file(file).map_err(|e| Failure::new(Exit::Input, e.to_string()))?;
    }
    let mut threads = rayon::ThreadPoolBuilder::new();
    if let Some(n) = args.threads {
        threads = threads.num_threads(n.into());
    }
    threads.build_global().map_err(|e| Failure::new(Exit::Internal, format!("cannot start threads: {e}")))?;

    let mut config = StoreConfig::from_env()?;
    config.offline |= args.offline;
    let store = Store::open(&config)?;
    let speech = store.ensure(&args.speech_model, Kind::Speech)?;
    let text = match (args.mode, args.text_model.as_str()) {
        (ModeName::Raw, _) | (_, "none") => None,
        (_, name) => Some(store.ensure(name, Kind::Text)?),
    };
    let hypotheses =
        usize::from(args.beam).max(request.speech.best_of).max(request.speech.fallback_beam_size);
    let text_path = text.as_ref().map(|m| m.path.as_path());
    let spinner = spinner("loading models");
    let mut engine = Engine::load(&speech.path, text_path, hypotheses, args.context as usize)
        .map_err(|e| Failure::new(Exit::Model, e.to_string()))?;
    drop(spinner);
    let mut outcome = Exit::Ok;
    for file in &args.files {
        let context = output::Context {
            file,
            audio_s: 0.0,
            warning: None,
            mode: args.mode.name(),
            speech_model: &speech.name,
            text_model: text.as_ref().map(|m| m.name.as_str()),
            device,
            load: engine.load_times(),
        };
        if let Err(error) = one(&mut engine, &request, args, context) {
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
    Ok(Request { speech, mode: args.mode.name().into() })
}

fn device(device: Device) -> Result<&'static str> {
    match device {
        Device::Auto | Device::Cpu => Ok("cpu"),
        Device::Cuda(n) => {
            let message =
                format!("device cuda:{n} is not available: this build computes on the CPU; use --device cpu");
            Err(Failure::new(Exit::Device, message).into())
        }
    }
}

fn one(
    engine: &mut Engine,
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
    let result = engine.dictate(&pcm, request, times, &mut |progress| {
        bar.update(progress);
        true
    });
    drop(bar);
    let dictation = result.map_err(|e| match e {
        EngineError::UnknownLanguage(_) | EngineError::EnglishOnly => {
            Failure::new(Exit::Usage, e.to_string())
        }
        e => Failure::new(Exit::Internal, format!("{}: {e}", context.file.display())),
    })?;
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

fn load_audio(file: &Path, times: &mut StageTimes) -> Result<(Pcm, Option<String>), audio::AudioError> {
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
