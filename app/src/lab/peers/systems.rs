//! The systems, loaded and ready to be asked: ours in this process, each peer in its own.

use super::child::Child;
use super::series::Answer;
use crate::exit::{Exit, Failure};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use undertone_engine::prompt::{Mode, PromptFormat};
use undertone_engine::telemetry::Stage;
use undertone_engine::transcribe::SpeechOptions;
use undertone_engine::{Dictation, Engine, Request};
use undertone_models::causal_lm::CausalLm;

/// The mode whose prompts everybody gets.
pub(super) const MODE: &str = "standard";
/// Reading a large model from a slow disk; then a transcript on a slow machine.
const LOADING: Duration = Duration::from_secs(600);
const ANSWERING: Duration = Duration::from_secs(300);

/// A recording.
pub(super) struct Clip {
    pub(super) id: String,
    pub(super) lang: Option<String>,
    /// What was said.
    pub(super) reference: String,
    /// 16 kHz.
    pub(super) samples: Arc<[f32]>,
}

/// A text to clean, as a language model is asked for it.
pub(super) struct Prompt {
    pub(super) raw: String,
    pub(super) lang: Option<String>,
    /// Token ids, limit and end of the answer, as the peers are told.
    pub(super) request: Value,
}

/// Makes prompts as the engine does, for those who get them from outside.
pub(super) struct Prompts {
    lm: CausalLm,
    format: PromptFormat,
    mode: Mode,
}

impl Prompts {
    /// # Errors
    /// [`Exit::Model`] for a file that cannot be used.
    pub(super) fn open(gguf: &Path) -> Result<Prompts> {
        let failed = |e: String| Failure::new(Exit::Model, e);
        let lm = CausalLm::open(gguf).map_err(|e| failed(e.to_string()))?;
        let format = PromptFormat::of(&lm).map_err(|e| failed(e.to_string()))?;
        let mode = Mode::built_in()?.remove(MODE).ok_or_else(|| failed(format!("no mode {MODE}")))?;
        Ok(Prompts { lm, format, mode })
    }

    /// The peers' request for `raw`: the very tokens.
    ///
    /// # Errors
    /// A sentence, if the tokenizer or the template refuses.
    pub(super) fn request(&self, raw: &str) -> Result<Value, String> {
        let prompt = self.format.prompt(&self.lm, &self.mode, raw).map_err(|e| e.to_string())?;
        let input = self.lm.tokenizer().encode(raw).map_err(|e| e.to_string())?.len();
        let limit = self.mode.max_tokens(input);
        Ok(json!({ "prompt": prompt.tokens, "limit": limit, "one_line": prompt.one_line }))
    }
}

/// A peer, shared by the rows it is in.
#[derive(Clone)]
pub(super) struct Peer(Rc<RefCell<Result<Loaded, String>>>);

struct Loaded {
    child: Child,
    /// What it said of itself.
    about: Map<String, Value>,
}

impl Peer {
    /// Starts the driver in `role` and has it load; what goes wrong is what it will answer.
    pub(super) fn load(python: &Path, role: &str, arguments: Value) -> Peer {
        let load = || {
            let mut child = Child::start(python, role)?;
            let about = child.ask("load", arguments, None, LOADING)?;
            Ok(Loaded { child, about })
        };
        Peer(Rc::new(RefCell::new(load())))
    }

    /// One that cannot be had.
    pub(super) fn missing(why: &str) -> Peer {
        Peer(Rc::new(RefCell::new(Err(why.into()))))
    }

    /// What it said when it was loaded; why it was not.
    pub(super) fn about(&self, key: &str) -> Result<Value, String> {
        let loaded = self.0.borrow();
        let about = &loaded.as_ref().map_err(Clone::clone)?.about;
        Ok(about.get(key).cloned().unwrap_or_default())
    }

    /// Adds the versions of its packages.
    pub(super) fn packages(&self, to: &mut BTreeMap<String, Value>) {
        if let Ok(Value::Object(versions)) = self.about("packages") {
            to.extend(versions);
        }
    }

    /// Asks for `op`.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn ask(&self, op: &str, arguments: Value, samples: Option<&[f32]>) -> Result<Answer, String> {
        let mut loaded = self.0.borrow_mut();
        let child = &mut loaded.as_mut().map_err(|why| why.clone())?.child;
        let answer = child.ask(op, arguments, samples, ANSWERING)?;
        let ms = |key: &str| answer.get(key).and_then(Value::as_f64);
        let stages = STAGES.iter().filter_map(|stage| Some((*stage, ms(stage)?))).collect();
        let text = answer.get("text").and_then(Value::as_str).unwrap_or_default().trim().to_string();
        Ok(Answer { ms: ms("ms").unwrap_or_default(), text, stages })
    }

    pub(super) fn transcribe(&self, clip: &Clip) -> Result<Answer, String> {
        self.ask("transcribe", json!({ "language": clip.lang }), Some(&clip.samples))
    }
}

/// What a clean-up may be made of, as the driver names it.
pub(super) const STAGES: [&str; 4] = ["connect_ms", "load_ms", "prompt_ms", "write_ms"];

/// Ours, greedily: as peers are asked.
pub(super) fn dictate(engine: &Engine, clip: &Clip, mode: &str) -> Result<Answer, String> {
    let request = request(mode, clip.lang.as_deref());
    let start = Instant::now();
    let done = engine.dictate(clip.samples.clone(), request).map_err(|e| e.to_string())?;
    Ok(answer(start, done))
}

pub(super) fn clean(engine: &Engine, prompt: &Prompt) -> Result<Answer, String> {
    let request = request(MODE, prompt.lang.as_deref());
    let start = Instant::now();
    let done = engine.clean(&prompt.raw, request).map_err(|e| e.to_string())?;
    Ok(answer(start, done))
}

fn request(mode: &str, lang: Option<&str>) -> Request {
    let speech = SpeechOptions { language: lang.map(String::from), beam_size: 1, ..SpeechOptions::default() };
    Request { speech, ..Request::in_mode(mode) }
}

fn answer(start: Instant, done: Dictation) -> Answer {
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let times = &done.record.times;
    let stages = vec![("prompt_ms", times.ms(Stage::Prefill)), ("write_ms", times.ms(Stage::Generate))];
    Answer { ms, text: done.text, stages }
}
