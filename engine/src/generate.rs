use crate::error::Result;
use crate::telemetry::{Stage, StageTimes};
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::kv_cache::{KvCache, KvType};

/// When to stop writing.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// Tokens written at most.
    pub max_tokens: usize,
    /// Text at whose first appearance writing ends (it is not part of the result).
    pub stop: Option<&'a str>,
}

/// What a model wrote.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// The text, special tokens left out.
    pub text: String,
    /// Tokens written.
    pub tokens: usize,
    /// Prompt tokens computed; those shared with the last prompt are not computed again.
    pub prefilled_tokens: usize,
    /// Whether the model ended by itself rather than at the limit.
    pub complete: bool,
}

/// A language model with its one cache, allocated at load.
pub struct Generator {
    lm: CausalLm,
    cache: KvCache,
    /// The tokens whose keys and values the cache holds.
    cached: Vec<u32>,
}

impl Generator {
    /// Allocates a cache of `context_tokens`, or of what the model was trained for if less.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new(lm: CausalLm, context_tokens: usize) -> Result<Generator> {
        let cache =
            lm.new_cache(context_tokens.min(lm.architecture().max_position_embeddings), KvType::F32)?;
        Ok(Generator { lm, cache, cached: Vec::new() })
    }

    /// The model.
    pub fn lm(&self) -> &CausalLm {
        &self.lm
    }

    /// Writes greedily behind `prompt`.
    ///
    /// # Errors
    /// If the prompt does not fit the context, or a tensor operation fails.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        limits: Limits<'_>,
        times: &mut StageTimes,
    ) -> Result<Generated> {
        let mut out = Generated::default();
        let mut logits = times.measure(Stage::Prefill, || self.prefill(prompt, &mut out))?;
        let room = self.cache.capacity().saturating_sub(prompt.len());
        let mut bytes: Vec<u8> = Vec::new();
        times.measure(Stage::Generate, || -> Result<()> {
            for _ in 0..limits.max_tokens.min(room) {
                let token = argmax(&logits);
                if self.lm.tokenizer().end_of_generation().contains(&token) {
                    out.complete = true;
                    break;
                }
                out.tokens += 1;
                bytes.extend_from_slice(self.lm.tokenizer().token_bytes(token));
                if let Some(at) = limits.stop.and_then(|s| find(&bytes, s.as_bytes())) {
                    bytes.truncate(at);
                    out.complete = true;
                    break;
                }
                self.cached.push(token);
                logits = self.run(&[token], Pass::Decode)?;
            }
            Ok(())
        })?;
        out.text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(out)
    }

    /// Rewinds to what `prompt` shares with the cache, computes the rest; logits of the last token.
    fn prefill(&mut self, prompt: &[u32], out: &mut Generated) -> Result<Vec<f32>> {
        let shared = prompt.iter().zip(&self.cached).take_while(|(a, b)| a == b).count();
        let shared = shared.min(prompt.len().saturating_sub(1));
        self.cache.rewind(shared);
        self.cached.truncate(self.cache.len());
        let new = &prompt[self.cached.len()..];
        out.prefilled_tokens = new.len();
        let logits = self.run(new, Pass::PrefillLast)?;
        self.cached.extend_from_slice(new);
        Ok(logits)
    }

    fn run(&mut self, tokens: &[u32], pass: Pass) -> Result<Vec<f32>> {
        let logits = self.lm.forward(tokens, &mut self.cache, pass)?;
        Ok(match logits {
            Some(l) => l.flatten_all()?.to_vec1()?,
            None => Vec::new(),
        })
    }
}

/// The first of the highest.
fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, l) in logits.iter().enumerate() {
        if *l > logits[best] {
            best = i;
        }
    }
    best as u32
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|w| w == needle)
}
