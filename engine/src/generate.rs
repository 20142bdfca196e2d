//! Greedy generation with what only a program that owns the model can do: prompts whose beginning
//! is already computed, tokens verified several at a time, and edits bounded while they are written.

use crate::channels::Splitter;
use crate::clean::licence::{Licence, signature};
use crate::control::Control;
use crate::draft::TextDraft;
use crate::error::Result;
use crate::telemetry::Stage;
use std::time::Instant;
use undertone_kernels::MAX_FEW_ROWS;
use undertone_models::causal_lm::{CausalLm, Pass, argmax};
use undertone_models::footprint::PREFILL_CHUNK_TOKENS;
use undertone_models::kv_cache::{KvCache, KvType, Snapshot};
use undertone_models::tokenizer::Tokenizer;

/// What a model is to write.
pub struct Task<'a> {
    /// The prompt.
    pub prompt: &'a [u32],
    /// Tokens written at most.
    pub max_tokens: usize,
    /// Whether the answer ends with its line, for models that know no end of turn.
    pub one_line: bool,
    /// Text that the answer mostly repeats, from which tokens are proposed.
    pub draft: Option<&'a str>,
    /// What the answer may be an edit of.
    pub licence: Option<Licence>,
}

/// Why writing ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The model came to an end.
    Complete,
    /// The model would have ended within a sentence of what it was to edit: held to go on, small ones take
    /// to one-word sentences.
    Early,
    /// At the limit of tokens, or of the context.
    #[default]
    Limit,
    /// At the request's time limit.
    Late,
}

/// What a model wrote.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// The text: speech only, no thought, no special tokens.
    pub text: String,
    /// Tokens written, the end of the answer not counted.
    pub tokens: Vec<u32>,
    /// Prompt tokens computed; those in a prefix slot or shared with the last prompt are not
    /// computed again.
    pub prefilled_tokens: usize,
    /// Tokens a draft proposed, and those of them that were taken.
    pub drafted: usize,
    /// See `drafted`.
    pub accepted: usize,
    /// Forward passes of the writing.
    pub passes: usize,
    /// Why it ended.
    pub end: End,
    /// With a licence: the text up to its last whole word, and the rest of the transcript behind it.
    pub cut: Option<(String, String)>,
}

/// Keys and values of the beginning of a prompt.
struct PrefixSlot {
    tokens: Vec<u32>,
    snapshot: Snapshot,
}

/// A language model with its one cache and its prefix slots, allocated at load.
pub struct Generator {
    lm: CausalLm,
    cache: KvCache,
    /// The tokens of a prompt whose keys and values the cache holds.
    cached: Vec<u32>,
    slots: Vec<PrefixSlot>,
    speculate: bool,
    drafts_with_prompt: bool,
    shorten: bool,
    /// Whether the last answer did: the prompt's template decides that, not what is said.
    opens_with_space: bool,
    /// Of each token of the vocabulary.
    signatures: Vec<u64>,
}

impl Generator {
    /// Allocates a cache of `context_tokens`, or of what the model was trained for if less.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new(lm: CausalLm, context_tokens: usize, kv: KvType) -> Result<Generator> {
        let cache = lm.new_cache(context_tokens.min(lm.architecture().max_position_embeddings), kv)?;
        let signatures = lm.tokenizer().tokens().map(signature).collect();
        Ok(Generator {
            lm,
            signatures,
            cache,
            cached: Vec::new(),
            slots: Vec::new(),
            speculate: true,
            drafts_with_prompt: true,
            shorten: true,
            opens_with_space: false,
        })
    }

    /// Turns drafts on or off (they are on): the text is the same, only later.
    pub fn set_speculation(&mut self, on: bool) {
        self.speculate = on;
    }

    /// Turns on or off (it is on) that a first draft is verified in one pass with the prompt, where the model takes it so:
    /// the text is the same, only later.
    pub fn set_drafts_with_prompt(&mut self, on: bool) {
        self.drafts_with_prompt = on;
    }

    /// Turns on or off (it is on) that with a licence only the logits of tokens are computed that it could
    /// allow: the text is the same, only later.
    pub fn set_shortlist(&mut self, on: bool) {
        self.shorten = on;
    }

    /// The model.
    pub fn lm(&self) -> &CausalLm {
        &self.lm
    }

    /// Computes `prefix` and keeps it in a slot of its own: a prompt that begins so starts there.
    ///
    /// # Errors
    /// If it does not fit the context.
    pub fn add_slot(&mut self, prefix: &[u32], control: &mut Control) -> Result<()> {
        self.prefill(prefix, control)?;
        let snapshot = self.cache.save(prefix.len())?;
        self.slots.push(PrefixSlot { tokens: prefix.to_vec(), snapshot });
        Ok(())
    }

    /// Forgets what the cache holds (slots stay).
    pub fn reset(&mut self) {
        self.cache.rewind(0);
        self.cached.clear();
    }

    /// Forgets slots and cache.
    pub fn clear_slots(&mut self) {
        self.slots.clear();
        self.reset();
    }

    /// Computes `prompt` ahead of a [`Generator::generate`] whose prompt begins alike. Returns the
    /// tokens computed.
    ///
    /// # Errors
    /// If it does not fit the context; cancellation.
    pub fn prefill(&mut self, prompt: &[u32], control: &mut Control) -> Result<usize> {
        let computed = self.rewind_to(prompt, prompt.len())?;
        control.stage(Stage::Prefill, |control| self.extend(prompt, prompt.len(), control))?;
        Ok(prompt.len() - computed)
    }

    /// Writes greedily behind the task's prompt.
    ///
    /// # Errors
    /// If the prompt does not fit the context, a tensor operation fails, or on cancellation.
    pub fn generate(&mut self, task: Task<'_>, control: &mut Control) -> Result<Generated> {
        let last = task.prompt.len().saturating_sub(1);
        let computed = self.rewind_to(task.prompt, last)?;
        let licence = task.licence.as_ref().filter(|_| self.shorten);
        let among = licence.map(|licence| self.shortlist(licence));
        let wanted = Wanted::of(&task.licence, &among);
        let draft = task.draft.filter(|_| self.speculate);
        let mut draft = draft.map(|text| TextDraft::new(text, MAX_FEW_ROWS - 1));
        let mut proposed = self.first_drafts(task.prompt, draft.as_mut());
        let (rows, drafts_time) = control.stage(Stage::Prefill, |control| {
            // The last chunk has the prompt's last token, whose logits choose the first token of the answer.
            let whole_chunks = (last - self.cached.len()) / PREFILL_CHUNK_TOKENS * PREFILL_CHUNK_TOKENS;
            self.extend(task.prompt, self.cached.len() + whole_chunks, control)?;
            control.check()?;
            let rest = &task.prompt[self.cached.len()..];
            proposed.truncate(PREFILL_CHUNK_TOKENS - rest.len());
            let pass =
                if proposed.is_empty() { Pass::PrefillLast } else { Pass::PrefillDrafts(proposed.len()) };
            let tokens = [rest, &proposed].concat();
            let start = Instant::now();
            let rows = scores(&self.lm, &tokens, &mut self.cache, pass, wanted)?;
            self.cached.extend(rest);
            Ok((rows, start.elapsed().mul_f64(proposed.len() as f64 / tokens.len() as f64)))
        })?;
        control.times.shift(Stage::Prefill, Stage::Generate, drafts_time);
        let prefilled_tokens = task.prompt.len() - computed;
        let room = self.cache.capacity().saturating_sub(task.prompt.len());
        let max_tokens = task.max_tokens.min(room);
        let mut answer = Answer {
            one_line: task.one_line,
            licence: task.licence,
            among,
            max_tokens,
            ..Answer::new(self.lm.tokenizer())
        };
        let written = control.stage(Stage::Generate, |control| {
            write(&self.lm, &mut self.cache, &mut answer, (draft, proposed), rows, control)
        });
        // Written tokens are computed another way than prompts: the next prompt starts behind this one.
        self.cache.rewind(self.cached.len());
        let (passes, (drafted, accepted)) = written?;
        let first = answer.tokens.first().map(|token| self.lm.tokenizer().token_bytes(*token));
        self.opens_with_space = first.map_or(self.opens_with_space, |bytes| bytes.starts_with(b" "));
        Ok(Generated { prefilled_tokens, drafted, accepted, passes, ..answer.finish() })
    }

    /// What the answer may begin with, where a model verifies that in one pass with its prompt.
    fn first_drafts(&self, prompt: &[u32], draft: Option<&mut TextDraft<'_>>) -> Vec<u32> {
        let room = self.cache.capacity().saturating_sub(prompt.len());
        let allowed = self.drafts_with_prompt && self.lm.takes_drafts_with_prompt();
        let Some(draft) = draft.filter(|_| allowed) else { return Vec::new() };
        let mut proposed = draft.propose_first(self.lm.tokenizer(), self.opens_with_space);
        proposed.truncate(room);
        proposed
    }

    /// The tokens an edit that `licence` allows could be made of, in rising order.
    fn shortlist(&self, licence: &Licence) -> Vec<u32> {
        let (alphabet, tokenizer) = (licence.alphabet(), self.lm.tokenizer());
        let admits = |id: u32| {
            let bytes = tokenizer.token_bytes(id);
            !bytes.is_empty() && alphabet.admits(bytes)
        };
        let all = (0u32..).zip(&self.signatures).filter(|(_, signature)| alphabet.has_all(**signature));
        let mut tokens: Vec<u32> = all.map(|(id, _)| id).filter(|id| admits(*id)).collect();
        tokens.extend(tokenizer.end_of_generation());
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Keeps of the cache, or takes from a slot, what `prompt` begins with, at most `most` tokens.
    fn rewind_to(&mut self, prompt: &[u32], most: usize) -> Result<usize> {
        let shared =
            |tokens: &[u32]| prompt.iter().zip(tokens).take(most).take_while(|(a, b)| a == b).count();
        let held = shared(&self.cached);
        let best = self.slots.iter().map(|slot| (shared(&slot.tokens), slot)).max_by_key(|(n, _)| *n);
        let held = match best {
            Some((n, slot)) if n > held => {
                self.cache.restore(&slot.snapshot)?;
                n
            }
            _ => held,
        };
        self.cache.rewind(held);
        self.cached.clear();
        self.cached.extend(&prompt[..held]);
        Ok(held)
    }

    /// Computes `prompt[..to]` behind what the cache holds of it.
    fn extend(&mut self, prompt: &[u32], to: usize, control: &Control) -> Result<()> {
        while self.cached.len() < to {
            control.check()?;
            let from = self.cached.len();
            let chunk = &prompt[from..to.min(from + PREFILL_CHUNK_TOKENS)];
            self.lm.forward(chunk, &mut self.cache, Pass::Prefill)?;
            self.cached.extend(chunk);
        }
        Ok(())
    }
}

/// Writes `answer` token by token. Each pass computes the token last chosen and behind it those the draft proposes;
/// logits of a proposal that was not chosen are thrown away with all behind it. The first `rows` are of the prompt and
/// of what was `proposed` with it.
/// Returns passes, tokens drafted and tokens accepted.
fn write(
    lm: &CausalLm,
    cache: &mut KvCache,
    answer: &mut Answer<'_>,
    (mut draft, mut proposed): (Option<TextDraft<'_>>, Vec<u32>),
    mut rows: Vec<Scores>,
    control: &Control,
) -> Result<(usize, (usize, usize))> {
    let mut passes = 0;
    loop {
        let mut accepted = 0;
        let from = cache.len() - proposed.len();
        for (i, scores) in rows.iter_mut().enumerate() {
            if !answer.choose(scores) {
                break;
            }
            if proposed.get(i) != answer.tokens.last() {
                break;
            }
            accepted += 1;
        }
        cache.rewind(from + accepted);
        if let Some(draft) = &mut draft {
            draft.judge(proposed.len(), accepted);
        }
        answer.end = if control.is_late() { answer.end.or(Some(End::Late)) } else { answer.end };
        if answer.end.is_some() {
            return Ok((passes, draft.map_or((0, 0), |d| d.counts())));
        }
        control.check()?;
        let Some(&last) = answer.tokens.last() else { return Ok((passes, (0, 0))) };
        proposed = draft.as_mut().map_or(Vec::new(), |d| d.propose(lm.tokenizer(), &answer.written()));
        proposed.truncate(cache.capacity().saturating_sub(cache.len() + 1));
        let tokens: Vec<u32> = std::iter::once(last).chain(proposed.iter().copied()).collect();
        rows = scores(lm, &tokens, cache, Pass::Decode, Wanted::of(&answer.licence, &answer.among))?;
        passes += 1;
    }
}

/// What a pass is to tell of the tokens that may follow.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// Logits, of some only.
    Logits(Option<&'a [u32]>),
    /// The likeliest: where all are allowed, no vocabulary of logits need leave its device.
    Likeliest,
}

impl<'a> Wanted<'a> {
    fn of(licence: &Option<Licence>, among: &'a Option<Vec<u32>>) -> Wanted<'a> {
        if licence.is_some() { Wanted::Logits(among.as_deref()) } else { Wanted::Likeliest }
    }
}

/// What a pass tells of the tokens that may follow one.
pub(crate) enum Scores {
    Logits(Vec<f32>),
    Likeliest(u32),
}

fn scores(
    lm: &CausalLm,
    tokens: &[u32],
    cache: &mut KvCache,
    pass: Pass,
    wanted: Wanted<'_>,
) -> Result<Vec<Scores>> {
    Ok(match wanted {
        Wanted::Likeliest => {
            lm.forward_likeliest(tokens, cache, pass)?.into_iter().map(Scores::Likeliest).collect()
        }
        Wanted::Logits(among) => {
            let logits = lm.forward_among(tokens, cache, pass, among)?;
            let rows = logits.map(|l| l.to_vec2()).transpose()?.unwrap_or_default();
            rows.into_iter().map(Scores::Logits).collect()
        }
    })
}

/// An answer as it grows.
pub(crate) struct Answer<'a> {
    tokenizer: &'a Tokenizer,
    one_line: bool,
    licence: Option<Licence>,
    /// The tokens logits are of, in rising order, if not all.
    among: Option<Vec<u32>>,
    pub(crate) max_tokens: usize,
    pub(crate) tokens: Vec<u32>,
    bytes: Vec<u8>,
    splitter: Splitter,
    pub(crate) end: Option<End>,
}

/// Tokens tried one by one before the likeliest are sorted.
const FIRST_TRIES: usize = 4;
/// Tokens sorted before the whole vocabulary is.
const SORTED_FIRST: usize = 256;

impl<'a> Answer<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Answer<'a> {
        let (tokens, bytes, splitter) = Default::default();
        let (one_line, licence, among, max_tokens, end) = Default::default();
        Answer { tokenizer, one_line, licence, among, max_tokens, tokens, bytes, splitter, end }
    }

    /// The token of the `at`-th logit.
    fn token(&self, at: usize) -> u32 {
        self.among.as_ref().map_or(at as u32, |among| among[at])
    }

    /// Takes the likeliest token that is licensed; `false` once the answer has come to its end.
    pub(crate) fn choose(&mut self, scores: &mut Scores) -> bool {
        if self.tokens.len() >= self.max_tokens {
            self.end = Some(End::Limit);
            return false;
        }
        let logits = match scores {
            Scores::Likeliest(token) => return self.take(*token),
            Scores::Logits(logits) => logits,
        };
        for nth in 0..FIRST_TRIES.min(logits.len()) {
            let at = argmax(logits) as usize;
            let token = self.token(at);
            if self.is_licensed(token) {
                return self.take(token);
            }
            let within = || self.licence.as_ref().is_some_and(Licence::is_within_sentence);
            if nth == 0 && self.effect(token).1 && within() {
                self.end = Some(End::Early);
                return false;
            }
            logits[at] = f32::NEG_INFINITY;
        }
        match self.likeliest_licensed(logits) {
            Some(at) => self.take(self.token(at as usize)),
            None => {
                self.end = Some(End::Limit);
                false
            }
        }
    }

    /// The place of its logit.
    fn likeliest_licensed(&self, logits: &[f32]) -> Option<u32> {
        let likelier = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let top = SORTED_FIRST.min(order.len());
        if top < order.len() {
            order.select_nth_unstable_by(top, likelier);
        }
        let (first, rest) = order.split_at_mut(top);
        first.sort_unstable_by(likelier);
        let licensed = |at: &&u32| self.is_licensed(self.token(**at as usize));
        let found = first.iter().find(licensed).copied();
        found.or_else(|| {
            rest.sort_unstable_by(likelier);
            rest.iter().find(licensed).copied()
        })
    }

    /// The bytes `token` adds and whether it ends the answer.
    fn effect(&self, token: u32) -> (&'a [u8], bool) {
        if self.tokenizer.end_of_generation().contains(&token) {
            return (b"", true);
        }
        let bytes = self.tokenizer.token_bytes(token);
        match bytes.iter().position(|b| *b == b'\n').filter(|_| self.one_line) {
            Some(at) => (&bytes[..at], true),
            None => (bytes, false),
        }
    }

    fn is_licensed(&self, token: u32) -> bool {
        let Some(licence) = &self.licence else { return true };
        let (bytes, ends) = self.effect(token);
        let bytes = if self.bytes.is_empty() { bytes.trim_ascii_start() } else { bytes };
        match (ends, bytes.is_empty()) {
            (true, true) => licence.may_end(),
            (true, false) => {
                let mut then = licence.clone();
                then.advance(bytes) && then.may_end()
            }
            // A token without bytes of its own says nothing; only white space may open an answer.
            (false, true) => self.tokens.is_empty() && !self.tokenizer.token_bytes(token).is_empty(),
            (false, false) => licence.allows(bytes),
        }
    }

    fn take(&mut self, token: u32) -> bool {
        let (bytes, ends) = self.effect(token);
        // Markers of thought are special tokens in some families: the splitter must see them.
        match self.tokenizer.is_special(token).then(|| self.tokenizer.special_text(token)).flatten() {
            Some(marker) => self.splitter.push(marker.as_bytes()),
            None => self.splitter.push(bytes),
        };
        let spoken = if self.bytes.is_empty() { bytes.trim_ascii_start() } else { bytes };
        if let Some(licence) = &mut self.licence
            && !spoken.is_empty()
        {
            licence.advance(spoken);
        }
        self.bytes.extend_from_slice(spoken);
        if ends {
            self.end = Some(End::Complete);
            return false;
        }
        self.tokens.push(token);
        true
    }

    /// All bytes so far as text; a character still in the making is left out.
    pub(crate) fn written(&self) -> std::borrow::Cow<'_, str> {
        match std::str::from_utf8(&self.bytes) {
            Err(e) if e.error_len().is_none() => String::from_utf8_lossy(&self.bytes[..e.valid_up_to()]),
            _ => String::from_utf8_lossy(&self.bytes),
        }
    }

    pub(crate) fn finish(mut self) -> Generated {
        // An edit of the transcript is speech, whatever it looks like.
        let text = match self.licence {
            Some(_) => String::from_utf8_lossy(&self.bytes).into_owned(),
            None => self.splitter.finish(),
        };
        let cut = self.licence.as_ref().map(|licence| {
            let written = &self.bytes[..licence.cut().min(self.bytes.len())];
            (String::from_utf8_lossy(written).into_owned(), licence.rest().to_string())
        });
        let end = self.end.unwrap_or_default();
        Generated { text, tokens: self.tokens, end, cut, ..Generated::default() }
    }
}
