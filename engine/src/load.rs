use crate::cleanup::Cleaner;
use crate::config::{EngineConfig, Uploading};
use crate::control::Control;
use crate::error::{EngineError, Result};
use crate::pipeline::{Pipeline, Request};
use crate::plan::{self, Device, Plan, PlanRequest};
use crate::prompt::{Mode, Policy};
use crate::telemetry::{MemoryUse, Record, Watch, memory};
use crate::transcribe::Transcriber;
use crate::vad::{Vad, VadSettings};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use undertone_kernels::gpu::{Available, Gpu};
use undertone_models::causal_lm::CausalLm;
use undertone_models::footprint::{SpeechFootprint, TextFootprint};
use undertone_models::weights::MappedFile;
use undertone_models::whisper::Whisper;

/// A synthesised sentence (16 kHz, 16 bits): warm-up runs on what production runs on.
const WARM_UP_CLIP: &[u8] = include_bytes!("../warm_up.s16le");

/// What starting takes, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadTimes {
    /// To open the speech model.
    pub speech_ms: f64,
    /// To open the language model; 0 without one.
    pub text_ms: f64,
    /// To bring the weights into memory.
    pub prefault_ms: f64,
    /// To compute the prompt prefixes and run both models once.
    pub warm_up_ms: f64,
}

impl LoadTimes {
    /// All of them.
    pub fn total_ms(&self) -> f64 {
        self.speech_ms + self.text_ms + self.prefault_ms + self.warm_up_ms
    }
}

/// The models in memory, planned and warm: the only place where caches are made.
pub(crate) struct Loaded {
    pub(crate) pipeline: Pipeline,
    pub(crate) plan: Plan,
    pub(crate) times: LoadTimes,
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) files: Vec<Arc<MappedFile>>,
    pub(crate) watch: Watch,
    /// What the models compute on, if not the processor.
    gpu: Option<Gpu>,
    /// Resident before anything was loaded: the caller's own.
    base_bytes: u64,
}

impl Loaded {
    pub(crate) fn new(config: &EngineConfig) -> Result<Loaded> {
        let base_bytes = memory::resident_bytes().unwrap_or(0);
        let mut modes = Mode::built_in()?;
        modes.extend(config.modes.clone());
        for name in &config.warm_modes {
            if !modes.contains_key(name) {
                return Err(EngineError::Mode {
                    name: name.clone(),
                    what: "there is none of this name to warm".into(),
                });
            }
        }
        let warm: Vec<&Mode> = config.warm_modes.iter().filter_map(|n| modes.get(n)).collect();
        let pool = pool(config.threads)?;
        let plan = plan(config, &warm, pool.current_num_threads())?.granted()?;
        let mut times = LoadTimes::default();

        let gpu = config.gpu.as_ref().map(|gpu| gpu.open(plan.reserve_bytes())).transpose();
        let gpu = gpu.map_err(EngineError::Gpu)?;
        let uploads = Uploads::begin(gpu.as_ref(), config.uploading.as_ref(), &plan);

        let start = Instant::now();
        let whisper = match gpu.as_ref().filter(|_| !plan.settings.whisper_on_cpu) {
            None => Whisper::open_on_bytes(&config.speech_model)?,
            Some(gpu) => Whisper::open_on(&config.speech_model, gpu)?,
        };
        let mut files = whisper.files.clone();
        let transcriber = Transcriber::new(whisper, config.max_hypotheses)?;
        times.speech_ms = lap_ms(start);

        let start = Instant::now();
        let settings = &plan.settings;
        let cleaner = match text_model(config, &plan) {
            None => None,
            Some(path) => {
                let lm = open_text(path, gpu.as_ref())?;
                files.extend_from_slice(lm.files());
                let mut cleaner = Cleaner::new(lm, settings.context_tokens, settings.kv)?;
                cleaner.generator.set_speculation(config.speculate);
                times.text_ms = lap_ms(start);
                Some(cleaner)
            }
        };
        uploads.end();
        let pipeline = Pipeline { vad: Vad::new(VadSettings::default()), transcriber, cleaner, modes };
        let watch = Watch::new();
        let mut loaded = Loaded { pipeline, plan, times, pool, files, watch, gpu, base_bytes };
        loaded.prefault(config.lock_memory)?;
        if let Some(settle) = config.settle {
            settle();
        }
        loaded.warm_up(config)?;
        Ok(loaded)
    }

    /// Brings every page of the weights into memory, and keeps it there if asked to.
    fn prefault(&mut self, lock: bool) -> Result<()> {
        let start = Instant::now();
        for file in &self.files {
            if lock {
                file.lock()?;
            }
            file.prefault()?;
        }
        self.times.prefault_ms = lap_ms(start);
        Ok(())
    }

    /// Computes prompt prefixes, then dictates a sentence in each warm mode: the path, the shapes
    /// and the code of every later request.
    fn warm_up(&mut self, config: &EngineConfig) -> Result<()> {
        let start = Instant::now();
        let pool = self.pool.clone();
        pool.install(|| -> Result<()> {
            let mut control = Control::default();
            if let Some(cleaner) = &mut self.pipeline.cleaner {
                for name in &config.warm_modes {
                    if let Some(mode) = self.pipeline.modes.get(name).filter(|m| m.policy != Policy::None) {
                        cleaner.add_slot(mode, &mut control)?;
                    }
                }
            }
            if !config.warm_up {
                return Ok(());
            }
            let samples = warm_up_samples();
            // Twice: what the first finds cold is no measure of this machine. The second time all that is written is
            // written in passes of its own: a draft taken whole with the prompt would leave none to time.
            for drafts_with_prompt in [true, false] {
                if let Some(cleaner) = &mut self.pipeline.cleaner {
                    cleaner.generator.set_drafts_with_prompt(drafts_with_prompt);
                }
                for mode in &config.warm_modes {
                    let request = Request { selection: Some("A sentence.".into()), ..Request::in_mode(mode) };
                    let warm = self.pipeline.dictate(&samples, &request, &mut Control::default())?;
                    self.watch.set_baseline(&warm.record);
                }
            }
            if let Some(cleaner) = &mut self.pipeline.cleaner {
                cleaner.generator.set_drafts_with_prompt(true);
            }
            Ok(())
        })?;
        self.times.warm_up_ms = lap_ms(start);
        Ok(())
    }

    /// The user begins to speak: what was evicted comes back, a GPU raises its clocks, and the cache holds the prefix of
    /// `mode`.
    pub(crate) fn wake(&mut self, mode: &str, control: &mut Control) -> Result<()> {
        for file in &self.files {
            if file.resident_bytes()? < file.needed_bytes() {
                file.prefault()?;
            }
        }
        let mode = self
            .pipeline
            .mode(&Request { selection: Some(String::new()), ..Request::in_mode(mode) })?
            .clone();
        if self.gpu.is_some() && !self.plan.settings.whisper_on_cpu {
            self.pipeline.transcriber.rouse(control)?;
        }
        match &mut self.pipeline.cleaner {
            Some(cleaner) if mode.policy != Policy::None => cleaner.wake(&mode, control),
            _ => Ok(()),
        }
    }

    /// Writes into a request's record what the machine says after it.
    pub(crate) fn complete(&mut self, record: &mut Record) {
        self.watch.end(record, resident_fraction(&self.files));
        let own = |bytes: Option<u64>| bytes.map(|b| b.saturating_sub(self.base_bytes));
        let planned_bytes = self.plan.total_bytes as u64;
        record.memory = match &self.gpu {
            None => MemoryUse {
                planned_bytes,
                resident_bytes: own(memory::resident_bytes()),
                peak_bytes: own(memory::peak_resident_bytes()),
            },
            // Of a GPU all is taken at load; what is used of it is counted.
            Some(gpu) => {
                let outside = (self.plan.total_bytes - self.plan.reserve_bytes()) as u64;
                let used = Some(outside + gpu.high_water_bytes() as u64);
                MemoryUse { planned_bytes, resident_bytes: used, peak_bytes: used }
            }
        };
        if record.memory.exceeds_plan() {
            tracing::warn!(?record.memory, "more memory was used than planned");
        }
    }
}

/// A language model on its device.
pub(crate) fn open_text(path: &Path, gpu: Option<&Gpu>) -> Result<CausalLm> {
    Ok(match gpu {
        None => CausalLm::open(path)?,
        Some(gpu) => CausalLm::open_on(path, gpu)?,
    })
}

/// Weights on their way to a GPU, and who is told of them.
pub(crate) struct Uploads<'a>(Option<(&'a Gpu, &'a Uploading, usize)>);

impl<'a> Uploads<'a> {
    pub(crate) fn begin(gpu: Option<&'a Gpu>, told: Option<&'a Uploading>, plan: &Plan) -> Uploads<'a> {
        let uploads = gpu.zip(told).map(|(gpu, told)| (gpu, told, plan.weights_bytes()));
        if let Some((gpu, told, bytes)) = uploads {
            gpu.tell_of_writes(Some(Box::new(told.count(bytes))));
        }
        Uploads(uploads)
    }

    pub(crate) fn end(self) {
        if let Some((gpu, told, bytes)) = self.0 {
            gpu.tell_of_writes(None);
            told.end(bytes);
        }
    }
}

/// Part of the mapped weights that is in memory, from 0 to 1; `None` where the system does not tell or none are
/// mapped.
pub(crate) fn resident_fraction(files: &[Arc<MappedFile>]) -> Option<f64> {
    let total: usize = files.iter().map(|f| f.needed_bytes()).sum();
    if total == 0 {
        return None;
    }
    let resident: usize = files.iter().map(|f| f.resident_bytes()).sum::<std::result::Result<_, _>>().ok()?;
    Some(resident as f64 / total as f64)
}

fn lap_ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The calling thread is one of the pool's: what a request allocates always comes from the same thread's
/// heap, and nothing is handed from thread to thread before it is computed.
pub(crate) fn pool(threads: Option<usize>) -> Result<Arc<ThreadPool>> {
    let builder = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).use_current_thread();
    let pool = builder.thread_name(|n| format!("undertone-{n}")).build();
    pool.map(Arc::new).map_err(|e| EngineError::Thread(e.to_string()))
}

/// Bytes there are for models where none were named.
pub(crate) fn free_bytes(gpu: Option<&Available>) -> usize {
    let free_bytes = match gpu {
        // The context is in the plan.
        Some(gpu) => Some(gpu.memory_bytes.0 + gpu.context_bytes.unwrap_or(0)),
        None => memory::available_bytes(),
    };
    free_bytes.unwrap_or(usize::MAX)
}

/// The plan for an engine of `config` that keeps the prefixes of the modes `warm`.
fn plan(config: &EngineConfig, warm: &[&Mode], threads: usize) -> Result<Plan> {
    let read = |path: &PathBuf| TextFootprint::read(path);
    // A file that cannot be planned is no remedy.
    let others =
        config.other_quantisations.iter().filter_map(|(name, path)| Some((name.clone(), read(path).ok()?)));
    let request = PlanRequest {
        speech: Some(SpeechFootprint::read(&config.speech_model)?),
        sequences: 1,
        text: config.text_model.as_ref().map(read).transpose()?,
        other_quantisations: others.collect(),
        device: if config.gpu.is_some() { Device::Cuda } else { Device::Cpu },
        context_bytes: config.gpu.as_ref().and_then(|gpu| gpu.context_bytes),
        budget_bytes: config.budget_bytes.unwrap_or_else(|| free_bytes(config.gpu.as_ref())),
        context_tokens: config.context_tokens,
        kv: config.kv,
        max_hypotheses: config.max_hypotheses,
        prefix_slot_tokens: warm
            .iter()
            .filter(|m| m.policy != Policy::None)
            .map(|m| plan::prefix_tokens(m))
            .collect(),
        threads,
        allow: config.allow.clone(),
    };
    Ok(request.plan())
}

/// The file the plan settled on.
fn text_model<'a>(config: &'a EngineConfig, plan: &Plan) -> Option<&'a Path> {
    let replacement = plan.settings.text_model.as_ref();
    let other = replacement.and_then(|name| config.other_quantisations.iter().find(|(n, _)| n == name));
    other.map(|(_, path)| path).or(config.text_model.as_ref()).map(PathBuf::as_path)
}

/// The sentence that warm-up dictates (16 kHz).
pub fn warm_up_samples() -> Vec<f32> {
    WARM_UP_CLIP.as_chunks().0.iter().map(|s| f32::from(i16::from_le_bytes(*s)) / 32768.0).collect()
}
