use crate::plan::RemedyKind;
use crate::prompt::Modes;
use std::path::PathBuf;
use std::sync::Arc;
use undertone_kernels::gpu::Available;
use undertone_models::kv_cache::KvType;

/// Everything an engine is made of. It is fixed when the engine starts: no request can name another
/// context, cache type or number of threads.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The speech model: a CTranslate2 or Hugging Face folder, or a whisper.cpp file.
    pub speech_model: PathBuf,
    /// The language model: a GGUF file. Without one the rules alone clean.
    pub text_model: Option<PathBuf>,
    /// The same language model in other quantisations, by name, for when it does not fit.
    pub other_quantisations: Vec<(String, PathBuf)>,
    /// The GPU to compute on; the processor when `None`.
    pub gpu: Option<Available>,
    /// Positions of the language model's context; at most what it was trained for is taken.
    pub context_tokens: usize,
    /// How the language model's keys and values are stored.
    pub kv: KvType,
    /// Beams or samples the speech decoder keeps at once, at most.
    pub max_hypotheses: usize,
    /// Threads that compute; all cores when `None`.
    pub threads: Option<usize>,
    /// Bytes that may be taken; what is free when `None`.
    pub budget_bytes: Option<usize>,
    /// What may be changed when the models do not fit.
    pub allow: Vec<RemedyKind>,
    /// Modes besides the built-in ones; a name that is there already is replaced.
    pub modes: Modes,
    /// Modes whose prompt prefix is computed at load and kept.
    pub warm_modes: Vec<String>,
    /// Whether the weights are locked in memory (the system's limit may forbid it).
    pub lock_memory: bool,
    /// Whether the models are run once before the first request.
    pub warm_up: bool,
    /// Whether tokens are proposed from the transcript; the text is the same without, only later.
    pub speculate: bool,
    /// Called on the engine's thread when the models are loaded, before they are run: here a program tells
    /// its allocator to return what only loading needed.
    pub settle: Option<fn()>,
    /// Told of the weights on their way to a GPU.
    pub uploading: Option<Uploading>,
}

/// Is told how many bytes of how many have been uploaded, again and again.
#[derive(Clone)]
pub struct Uploading(Arc<dyn Fn(usize, usize) + Send + Sync>);

impl Uploading {
    /// Told by calling `told` on the engine's thread.
    pub fn new(told: impl Fn(usize, usize) + Send + Sync + 'static) -> Uploading {
        Uploading(Arc::new(told))
    }

    /// That they all are.
    pub(crate) fn end(&self, total_bytes: usize) {
        (self.0)(total_bytes, total_bytes);
    }

    /// What counts the bytes of each copy, of `total_bytes` in all.
    pub(crate) fn count(&self, total_bytes: usize) -> impl FnMut(usize) + Send + use<> {
        let (Uploading(told), mut done_bytes) = (self.clone(), 0);
        move |bytes| {
            done_bytes = total_bytes.min(done_bytes + bytes);
            told(done_bytes, total_bytes);
        }
    }
}

impl std::fmt::Debug for Uploading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Uploading")
    }
}

impl EngineConfig {
    /// The usual engine around a speech model.
    pub fn new(speech_model: impl Into<PathBuf>) -> EngineConfig {
        EngineConfig {
            speech_model: speech_model.into(),
            text_model: None,
            other_quantisations: Vec::new(),
            gpu: None,
            context_tokens: 2048,
            kv: KvType::F32,
            max_hypotheses: 5,
            threads: None,
            budget_bytes: None,
            allow: Vec::new(),
            modes: Modes::new(),
            warm_modes: vec!["standard".into()],
            lock_memory: false,
            warm_up: true,
            speculate: true,
            settle: None,
            uploading: None,
        }
    }

    /// The same with a language model.
    pub fn with_text_model(self, path: impl Into<PathBuf>) -> EngineConfig {
        EngineConfig { text_model: Some(path.into()), ..self }
    }
}
