//! Many prompts through one resident model, several at a time: a pass reads the weights once for a token of each
//! ([`CausalLm::forward_each`]), and where one answer ends the next prompt takes its place. Each answer is, token for
//! token, what the prompt gets alone.

use crate::config::Uploading;
use crate::error::{EngineError, Result};
use crate::generate::{Answer, End, Scores};
use crate::load::{self, Uploads};
use crate::plan::{Device, Plan, PlanRequest};
use crate::prompt;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::path::PathBuf;
use undertone_kernels::MAX_FEW_ROWS;
use undertone_kernels::gpu::{Available, Gpu};
use undertone_models::ModelError;
use undertone_models::causal_lm::{CausalLm, Pass, argmax};
use undertone_models::chat::{ChatTemplate, Message};
use undertone_models::footprint::{PREFILL_CHUNK_TOKENS, TextFootprint};
use undertone_models::kv_cache::{KvCache, KvType};
use undertone_models::tokenizer::Part;

/// Sequences that can be decoded together, at most.
pub const MAX_SEQUENCES: usize = MAX_FEW_ROWS;

/// What a batch is made of.
#[derive(Clone, Debug)]
pub struct BatchConfig {
    /// A GGUF file.
    pub text_model: PathBuf,
    /// The GPU to compute on; the processor when `None`.
    pub gpu: Option<Available>,
    /// Positions of each sequence's cache; at most what the model was trained for is taken.
    pub context_tokens: usize,
    /// How keys and values are stored.
    pub kv: KvType,
    /// Sequences decoded together, from 1 to [`MAX_SEQUENCES`]: a cache for each.
    pub sequences: usize,
    /// Threads that compute; all cores when `None`.
    pub threads: Option<usize>,
    /// Bytes that may be taken; what is free when `None`.
    pub budget_bytes: Option<usize>,
    /// See [`crate::EngineConfig::settle`].
    pub settle: Option<fn()>,
    /// Told of the weights on their way to a GPU.
    pub uploading: Option<Uploading>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Token ids, as [`Prompts`] makes them.
    pub prompt: Vec<u32>,
    /// Tokens written at most, from 1.
    pub max_tokens: usize,
    /// Texts before the first of which the answer ends.
    pub stop: Vec<String>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the model said; no thought, no special tokens.
    pub text: String,
    /// Tokens written, thought included, the end of the answer not.
    pub tokens: usize,
    /// Of the prompt.
    pub prompt_tokens: usize,
    /// [`End::Complete`] or [`End::Limit`].
    pub end: End,
}

/// A language model with a cache for each sequence, allocated at load.
pub struct Batch {
    lm: CausalLm,
    template: Option<ChatTemplate>,
    free: Vec<Slot>,
    pool: ThreadPool,
    plan: Plan,
    _gpu: Option<Gpu>,
}

/// Makes prompts of texts.
pub struct Prompts<'a> {
    lm: &'a CausalLm,
    template: Option<&'a ChatTemplate>,
}

/// One sequence's cache.
struct Slot {
    cache: KvCache,
    /// The last prompt, whose keys and values it holds.
    prompt: Vec<u32>,
}

/// An answer that is being written.
struct Going<'a, Id> {
    id: Id,
    slot: Slot,
    answer: Answer<'a>,
    stop: Vec<String>,
    prompt_tokens: usize,
}

impl Batch {
    /// Plans and loads.
    ///
    /// # Errors
    /// If the model cannot be used, or does not fit with all its caches.
    pub fn load(config: &BatchConfig) -> Result<Batch> {
        let sequences = config.sequences.clamp(1, MAX_SEQUENCES);
        let pool = ThreadPoolBuilder::new().num_threads(config.threads.unwrap_or(0));
        let pool = pool.build().map_err(|e| EngineError::Thread(e.to_string()))?;
        let request = PlanRequest {
            speech: None,
            text: Some(TextFootprint::read(&config.text_model)?),
            sequences,
            other_quantisations: Vec::new(),
            device: if config.gpu.is_some() { Device::Cuda } else { Device::Cpu },
            context_bytes: config.gpu.as_ref().and_then(|gpu| gpu.context_bytes),
            budget_bytes: config.budget_bytes.unwrap_or_else(|| load::free_bytes(config.gpu.as_ref())),
            context_tokens: config.context_tokens,
            kv: config.kv,
            max_hypotheses: 0,
            prefix_slot_tokens: Vec::new(),
            threads: pool.current_num_threads(),
            allow: Vec::new(),
        };
        let plan = request.plan().granted()?;
        let gpu = config.gpu.as_ref().map(|gpu| gpu.open(plan.reserve_bytes())).transpose();
        let gpu = gpu.map_err(EngineError::Gpu)?;
        let uploads = Uploads::begin(gpu.as_ref(), config.uploading.as_ref(), &plan);
        let lm = load::open_text(&config.text_model, gpu.as_ref())?;
        uploads.end();
        for file in lm.files() {
            file.prefault()?;
        }
        let slot = || {
            let cache = lm.new_cache(plan.settings.context_tokens, config.kv)?;
            Ok(Slot { cache, prompt: Vec::new() })
        };
        let free = (0..sequences).map(|_| slot()).collect::<Result<_>>()?;
        if let Some(settle) = config.settle {
            settle();
        }
        Ok(Batch { template: prompt::chat_template(&lm)?, lm, free, pool, plan, _gpu: gpu })
    }

    /// What it takes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What makes its prompts.
    pub fn prompts(&self) -> Prompts<'_> {
        Prompts { lm: &self.lm, template: self.template.as_ref() }
    }

    /// Answers what `next` asks until it asks no more, at most `together` at a time (and no more than there are caches
    /// for). `done` is told of each as it ends, and of those that cannot be asked: that have no prompt, or one longer than
    /// the context.
    ///
    /// # Errors
    /// The first of `done`, which ends it; if a tensor operation fails.
    pub fn run<Id: Send, E: From<EngineError> + Send>(
        &mut self,
        together: usize,
        mut next: impl FnMut(&Prompts<'_>) -> Option<(Id, Result<Question>)> + Send,
        done: impl FnMut(Id, Result<Reply>) -> std::result::Result<(), E> + Send,
    ) -> std::result::Result<(), E> {
        let prompts = Prompts { lm: &self.lm, template: self.template.as_ref() };
        let (lm, free) = (&self.lm, &mut self.free);
        let together = together.clamp(1, free.len());
        let mut going = Vec::with_capacity(together);
        let ended = self.pool.install(|| answer_all(lm, free, &mut going, together, || next(&prompts), done));
        // What was begun when it ended early.
        free.extend(going.into_iter().map(|going| going.slot));
        ended
    }
}

impl Prompts<'_> {
    /// The prompt of a conversation, by the chat template of the model's file.
    ///
    /// # Errors
    /// If there is none, or it refuses the messages.
    pub fn chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>> {
        let refused = |what: String| EngineError::ChatTemplate(what);
        let none = || refused("this model has none: give it a prompt instead of messages".into());
        let template = self.template.ok_or_else(none)?;
        let parts = template.render(messages, true, self.lm.tokenizer());
        self.encode(parts.map_err(|e| refused(e.to_string()))?)
    }

    /// The prompt that is `text` itself, for the model to continue.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn text(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(vec![Part::Text(text.into())])
    }

    fn encode(&self, mut parts: Vec<Part>) -> Result<Vec<u32>> {
        self.lm.tokenizer().prepend_bos(&mut parts);
        self.lm.tokenizer().encode_parts(&parts).map_err(EngineError::tokenizer)
    }
}

fn answer_all<'a, Id, E: From<EngineError>>(
    lm: &'a CausalLm,
    free: &mut Vec<Slot>,
    going: &mut Vec<Going<'a, Id>>,
    together: usize,
    mut next: impl FnMut() -> Option<(Id, Result<Question>)>,
    mut done: impl FnMut(Id, Result<Reply>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut asking = true;
    loop {
        while asking && going.len() < together {
            let (id, question) = match next() {
                Some((id, Ok(question))) => (id, question),
                Some((id, Err(error))) => {
                    done(id, Err(error))?;
                    continue;
                }
                None => {
                    asking = false;
                    break;
                }
            };
            let Some(mut slot) = take_best(free, &question.prompt) else { break };
            match slot.read(lm, &question.prompt) {
                Ok(first) => going.push(Going::begin(lm, id, slot, question, first)),
                Err(error) => {
                    free.push(slot);
                    done(id, Err(error))?;
                }
            }
        }
        while let Some(at) = going.iter().position(|going| going.answer.end.is_some()) {
            let (id, slot, reply) = going.remove(at).end();
            free.push(slot);
            done(id, Ok(reply))?;
        }
        if !going.is_empty() {
            step(lm, going)?;
        } else if !asking {
            return Ok(());
        }
    }
}

/// The cache that holds most of what `prompt` begins with.
fn take_best(free: &mut Vec<Slot>, prompt: &[u32]) -> Option<Slot> {
    let best = (0..free.len()).max_by_key(|at| free[*at].shared(prompt))?;
    Some(free.swap_remove(best))
}

/// One more token of each.
fn step<Id>(lm: &CausalLm, going: &mut [Going<'_, Id>]) -> Result<()> {
    let last = going.iter().filter_map(|going| going.answer.tokens.last().copied()).collect::<Vec<u32>>();
    let mut caches: Vec<&mut KvCache> = going.iter_mut().map(|going| &mut going.slot.cache).collect();
    let logits = lm.forward_each(&last, &mut caches)?.to_vec2::<f32>()?;
    let likeliest: Vec<u32> = logits.par_iter().map(|row| argmax(row)).collect();
    going.iter_mut().zip(likeliest).for_each(|(going, token)| going.take(token));
    Ok(())
}

impl Slot {
    /// How many tokens of `prompt` need not be computed again; its last must be, for what follows it.
    fn shared(&self, prompt: &[u32]) -> usize {
        let last = prompt.len().saturating_sub(1);
        self.prompt.iter().zip(&prompt[..last]).take_while(|(a, b)| a == b).count()
    }

    /// Computes `prompt`; the likeliest token behind it.
    fn read(&mut self, lm: &CausalLm, prompt: &[u32]) -> Result<u32> {
        let capacity = self.cache.capacity();
        if prompt.len() >= capacity {
            return Err(ModelError::ContextFull { needed: prompt.len() + 1, capacity }.into());
        }
        let shared = self.shared(prompt);
        // What fails half-way is not taken for what it was to become.
        self.prompt.truncate(shared);
        self.cache.rewind(shared);
        let chunks = prompt[shared..].chunks(PREFILL_CHUNK_TOKENS);
        let count = chunks.len();
        let mut likeliest = Vec::new();
        for (n, chunk) in chunks.enumerate() {
            if n + 1 == count {
                likeliest = lm.forward_likeliest(chunk, &mut self.cache, Pass::PrefillLast)?;
            } else {
                lm.forward(chunk, &mut self.cache, Pass::Prefill)?;
            }
            self.prompt.extend(chunk);
        }
        let empty = || ModelError::PassLength { tokens: 0, pass: Pass::PrefillLast };
        Ok(likeliest.first().copied().ok_or_else(empty)?)
    }
}

impl<'a, Id> Going<'a, Id> {
    /// Behind the prompt that `slot` holds, with its first token.
    fn begin(lm: &'a CausalLm, id: Id, slot: Slot, question: Question, first: u32) -> Going<'a, Id> {
        let room = slot.cache.capacity() - slot.cache.len();
        let mut answer = Answer::new(lm.tokenizer());
        answer.max_tokens = question.max_tokens.min(room);
        let prompt_tokens = question.prompt.len();
        let mut going = Going { id, slot, answer, stop: question.stop, prompt_tokens };
        going.take(first);
        going
    }

    fn take(&mut self, token: u32) {
        let written = self.answer.written().len();
        self.answer.choose(&mut Scores::Likeliest(token));
        if self.answer.end.is_some() {
            return;
        }
        let now = self.answer.written();
        let stops =
            |stop: &String| now[now.floor_char_boundary(written.saturating_sub(stop.len()))..].contains(stop);
        if self.stop.iter().any(stops) {
            self.answer.end = Some(End::Complete);
        } else if self.answer.tokens.len() >= self.answer.max_tokens {
            self.answer.end = Some(End::Limit);
        }
    }

    fn end(mut self) -> (Id, Slot, Reply) {
        // Written tokens are computed another way than prompts: the next starts behind this one.
        self.slot.cache.rewind(self.slot.prompt.len());
        let mut written = self.answer.finish();
        let at = self.stop.iter().filter_map(|stop| written.text.find(stop.as_str())).min();
        written.text.truncate(at.unwrap_or(written.text.len()));
        let (tokens, end) = (written.tokens.len(), written.end);
        (self.id, self.slot, Reply { text: written.text, tokens, prompt_tokens: self.prompt_tokens, end })
    }
}
