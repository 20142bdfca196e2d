use super::rules::LogitRules;
use crate::control::Control;
use crate::draft::TokenDraft;
use crate::error::Result;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use undertone_models::kv_cache::KvCache;
use undertone_models::whisper::{CrossCache, Decoder};

/// A decoded sequence without its prompt and end token.
#[derive(Clone, Debug, Default)]
pub(super) struct Hypothesis {
    pub(super) tokens: Vec<u32>,
    /// Tokens at its head that were not decoded but given.
    pub(super) given: usize,
    /// Natural logarithm, the end token's included.
    pub(super) sum_logprob: f32,
    pub(super) finished: bool,
}

impl Hypothesis {
    /// Mean over tokens, the end counted.
    pub(super) fn avg_logprob(&self) -> f32 {
        self.sum_logprob / (self.decoded().len() + 1) as f32
    }

    /// The tokens that were decoded.
    pub(super) fn decoded(&self) -> &[u32] {
        self.tokens.get(self.given..).unwrap_or_default()
    }

    /// What beams and samples are ranked by.
    fn score(&self) -> f32 {
        self.sum_logprob / self.decoded().len().max(1) as f32
    }

    fn extended(&self, token: u32, logprob: f32, end: u32) -> Hypothesis {
        let mut next = self.clone();
        next.sum_logprob += logprob;
        if token == end {
            next.finished = true
        } else {
            next.tokens.push(token)
        }
        next
    }
}

/// One run of the decoder over what the cross-attention cache holds.
pub(super) struct Search<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) cache: &'a mut KvCache,
    pub(super) cross: &'a CrossCache,
    pub(super) rules: LogitRules<'a>,
    /// What the window is known to begin with.
    pub(super) given: &'a [u32],
    /// Most tokens behind those.
    pub(super) max_tokens: usize,
    /// What greedy search is likely to find.
    pub(super) draft: TokenDraft<'a>,
    pub(super) control: &'a Control,
}

impl Search<'_> {
    /// Decodes behind `prompt` and what is given: beam search (greedy with `width` 1) at temperature 0,
    /// else the best of `width` samples. Returns it with the no-speech probability.
    pub(super) fn run(
        &mut self,
        prompt: &[u32],
        temperature: f32,
        width: usize,
    ) -> Result<(Hypothesis, f32)> {
        self.cache.rewind(0);
        let prompt = &[prompt, self.given].concat();
        let start = self.rules.tokens.start_of_transcript;
        let at = prompt.iter().rposition(|t| *t == start).unwrap_or(0);
        let wanted = [at, prompt.len() - 1];
        let mut at_start = self.decoder.forward(prompt, 1, &wanted, self.cache, self.cross)?;
        let first = at_start.split_off(at_start.len() / 2);
        log_softmax(&mut at_start);
        let no_speech = at_start[self.rules.tokens.no_speech as usize].exp();
        let width = width.clamp(1, self.cache.batch());
        if width > 1 {
            self.cache.reorder(&vec![0; width])?;
        }
        let best = match temperature > 0.0 {
            true => self.sample(first, temperature, width)?,
            false if width == 1 => self.greedy(first)?,
            false => self.beams(first, width)?,
        };
        Ok((best, no_speech))
    }

    fn empty(&self) -> Hypothesis {
        Hypothesis { tokens: self.given.to_vec(), given: self.given.len(), ..Hypothesis::default() }
    }

    fn end(&self) -> u32 {
        self.rules.tokens.end_of_text
    }

    /// Log-probabilities after the rules, `vocab_size` for each hypothesis.
    fn step(&mut self, alive: &[Hypothesis]) -> Result<Vec<f32>> {
        self.control.check()?;
        let last: Vec<u32> = alive.iter().map(|h| *h.tokens.last().unwrap_or(&self.end())).collect();
        Ok(self.decoder.forward(&last, alive.len(), &[0], self.cache, self.cross)?)
    }

    fn normalise(&self, logits: &mut [f32], hypotheses: &[Hypothesis]) {
        for (logits, h) in logits.chunks_exact_mut(self.rules.vocab_size).zip(hypotheses) {
            self.rules.apply(logits, &h.tokens);
            log_softmax(logits);
        }
    }

    /// The likeliest token each time. Each pass computes the token last chosen and those a draft
    /// proposes behind it; logits of a proposal that was not chosen are thrown away with all that
    /// follow, so the result is that of one token at a time.
    fn greedy(&mut self, first: Vec<f32>) -> Result<Hypothesis> {
        let mut best = self.empty();
        let mut logits = first;
        let mut proposed: &[u32] = &[];
        loop {
            let from = self.cache.len() - proposed.len();
            let mut accepted = 0;
            for (i, logits) in logits.chunks_exact_mut(self.rules.vocab_size).enumerate() {
                self.normalise(logits, std::slice::from_ref(&best));
                let Some((token, logprob)) = top(logits, 1).pop() else { break };
                best = best.extended(token, logprob, self.end());
                if best.finished || proposed.get(i) != Some(&token) || best.decoded().len() == self.max_tokens
                {
                    break;
                }
                accepted += 1;
            }
            self.cache.rewind(from + accepted);
            self.draft.judge(proposed.len(), accepted);
            let Some(last) = best.decoded().last().filter(|_| !best.finished) else { return Ok(best) };
            if best.decoded().len() >= self.max_tokens {
                return Ok(best);
            }
            self.control.check()?;
            proposed = self.draft.propose(best.decoded());
            let room = self.cache.capacity() - self.cache.len();
            proposed = &proposed[..proposed.len().min(room.saturating_sub(1))];
            let tokens: Vec<u32> = std::iter::once(*last).chain(proposed.iter().copied()).collect();
            let wanted: Vec<usize> = (0..tokens.len()).collect();
            logits = self.decoder.forward(&tokens, 1, &wanted, self.cache, self.cross)?;
        }
    }

    /// Beam search as `BeamSearchDecoder` with patience 1.
    fn beams(&mut self, first: Vec<f32>, width: usize) -> Result<Hypothesis> {
        let mut alive = vec![self.empty()];
        let mut finished: Vec<Hypothesis> = Vec::new();
        let mut logits = first;
        for step in 0..self.max_tokens {
            self.normalise(&mut logits, &alive);
            let mut candidates: Vec<(f32, usize, u32, f32)> = Vec::new();
            for (i, (h, logprobs)) in alive.iter().zip(logits.chunks_exact(self.rules.vocab_size)).enumerate()
            {
                for (token, logprob) in top(logprobs, width + 1) {
                    candidates.push((h.sum_logprob + logprob, i, token, logprob));
                }
            }
            candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
            let (mut next, mut parents) = (Vec::with_capacity(width), Vec::with_capacity(width));
            for (_, parent, token, logprob) in candidates {
                let h = alive[parent].extended(token, logprob, self.end());
                if h.finished {
                    finished.push(h);
                } else {
                    next.push(h);
                    parents.push(parent);
                }
                if next.len() == width {
                    break;
                }
            }
            alive = next;
            if finished.len() >= width || alive.is_empty() || step + 1 == self.max_tokens {
                break;
            }
            if step > 0 {
                self.cache.reorder(&parents)?;
            }
            logits = self.step(&alive)?;
        }
        if finished.len() < width {
            finished.append(&mut alive);
        }
        Ok(finished.into_iter().max_by(|a, b| a.score().total_cmp(&b.score())).unwrap_or_default())
    }

    /// The likeliest of `width` sequences drawn at `temperature`.
    fn sample(&mut self, first: Vec<f32>, temperature: f32, width: usize) -> Result<Hypothesis> {
        // A fixed seed: the same audio gives the same text.
        let mut rng = SmallRng::seed_from_u64(0x756e_6465_7274_6f6e);
        let mut all = vec![self.empty(); width];
        let mut logits: Vec<f32> = first.repeat(width);
        for step in 0..self.max_tokens {
            self.normalise(&mut logits, &all);
            let vocab = self.rules.vocab_size;
            for (h, logprobs) in all.iter_mut().zip(logits.chunks_exact(vocab)).filter(|(h, _)| !h.finished) {
                let token = draw(logprobs, temperature, &mut rng);
                *h = h.extended(token, logprobs[token as usize], self.rules.tokens.end_of_text);
            }
            if all.iter().all(|h| h.finished) || step + 1 == self.max_tokens {
                break;
            }
            logits = self.step(&all)?;
        }
        Ok(all.into_iter().max_by(|a, b| a.score().total_cmp(&b.score())).unwrap_or_default())
    }
}

fn log_softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| ((l - max) as f64).exp()).sum();
    let shift = max + sum.ln() as f32;
    logits.iter_mut().for_each(|l| *l -= shift);
}

/// The `n` likeliest tokens, best first; the lower id wins a tie.
fn top(logprobs: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(n + 1);
    for (token, logprob) in logprobs.iter().enumerate() {
        let full = best.len() == n;
        if *logprob == f32::NEG_INFINITY || full && best.last().is_some_and(|b| *logprob <= b.1) {
            continue;
        }
        let at = best.partition_point(|b| b.1 >= *logprob);
        best.insert(at, (token as u32, *logprob));
        best.truncate(n);
    }
    best
}

fn draw(logprobs: &[f32], temperature: f32, rng: &mut SmallRng) -> u32 {
    let max = logprobs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |l: f32| ((l - max) as f64 / temperature as f64).exp();
    let total: f64 = logprobs.iter().map(|l| weight(*l)).sum();
    let mut left = rng.random::<f64>() * total;
    for (token, l) in logprobs.iter().enumerate() {
        left -= weight(*l);
        if left < 0.0 {
            return token as u32;
        }
    }
    // Rounding left a crumb: the last token that has any weight.
    logprobs.iter().rposition(|l| *l > f32::NEG_INFINITY).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_is_sorted_and_skips_the_forbidden() {
        let l = [-1.0, f32::NEG_INFINITY, -0.5, -1.0, -3.0];
        assert_eq!(top(&l, 3), [(2, -0.5), (0, -1.0), (3, -1.0)]);
        assert_eq!(top(&l, 9).len(), 4);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let mut rng = SmallRng::seed_from_u64(1);
        let l = [0.75f32.ln(), f32::NEG_INFINITY, 0.25f32.ln()];
        let hits = (0..4000).filter(|_| draw(&l, 1.0, &mut rng) == 0).count();
        assert!((2850..3150).contains(&hits), "{hits}");
        assert!((0..100).all(|_| draw(&l, 0.01, &mut rng) == 0));
    }
}
