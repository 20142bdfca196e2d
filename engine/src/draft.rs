//! Speculative decoding without a draft model (after "prompt lookup decoding", Saxena 2023): what a
//! model is about to write is mostly what it was given, so the next tokens are looked up there and
//! verified in one forward pass. The output is what plain greedy decoding writes, token for token.

use crate::clean::rules::capitalised;
use undertone_models::tokenizer::Tokenizer;

/// How many tokens to propose: more while all are taken, fewer after a refusal.
#[derive(Clone, Copy, Debug)]
struct Pace {
    length: usize,
    most: usize,
    drafted: usize,
    accepted: usize,
}

impl Pace {
    /// Drafts of up to `most` tokens, as many as one pass verifies beside the token before them.
    fn new(most: usize) -> Pace {
        Pace { length: most, most, drafted: 0, accepted: 0 }
    }

    fn judge(&mut self, proposed: usize, accepted: usize) {
        self.drafted += proposed;
        self.accepted += accepted;
        if proposed > 0 {
            let next = if accepted == proposed { 2 * self.length } else { accepted + 2 };
            self.length = next.clamp(1, self.most);
        }
    }
}

/// Drafts from the tokens of an earlier transcript of the same audio.
pub(crate) struct TokenDraft<'a> {
    source: &'a [u32],
    /// The token of `source` that should come next.
    at: usize,
    pace: Pace,
}

/// Tokens looked over for the place where the output goes on.
const REACH_TOKENS: usize = 48;
/// Tokens of the output that must match to find a place out of order; fewer will do in order.
const ANCHOR_TOKENS: usize = 3;

impl<'a> TokenDraft<'a> {
    pub(crate) fn new(source: &'a [u32], most: usize) -> TokenDraft<'a> {
        TokenDraft { source, at: 0, pace: Pace::new(most) }
    }

    /// Tokens that may follow `written`.
    pub(crate) fn propose(&mut self, written: &[u32]) -> &'a [u32] {
        self.align(written);
        let rest = self.source.get(self.at..).unwrap_or_default();
        &rest[..rest.len().min(self.pace.length)]
    }

    /// Behind the longest end of `written` that stands in reach; else one token further on, as if
    /// one word had been replaced by another.
    fn align(&mut self, written: &[u32]) {
        let from = self.at.saturating_sub(REACH_TOKENS / 2);
        let reach = from..(self.at + REACH_TOKENS).min(self.source.len());
        let found = (1..=ANCHOR_TOKENS.min(written.len())).rev().find_map(|n| {
            let anchor = &written[written.len() - n..];
            let ends = |p: &usize| *p + 1 >= n && self.source[p + 1 - n..=*p] == *anchor;
            let ahead = |p: &usize| *p >= self.at;
            reach
                .clone()
                .filter(ahead)
                .find(ends)
                .or_else(|| reach.clone().rev().find(ends).filter(|_| n > 1))
        });
        self.at = match found {
            Some(p) => p + 1,
            None if written.is_empty() => 0,
            None => (self.at + 1).min(self.source.len()),
        };
    }

    pub(crate) fn judge(&mut self, proposed: usize, accepted: usize) {
        self.at += accepted;
        self.pace.judge(proposed, accepted);
    }

    /// Tokens proposed and tokens taken.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.pace.drafted, self.pace.accepted)
    }
}

/// Drafts from the text a model was asked to clean. Aligned by words, whatever their case and
/// however their tokens are cut.
pub(crate) struct TextDraft<'a> {
    source: &'a str,
    words: Vec<SourceWord>,
    /// Index of the word last found in the output, and where in the output it began.
    last: Option<(usize, usize)>,
    /// What the source lacks to end with a sentence: a model that adds it has then to be asked once less.
    closing: &'static str,
    pace: Pace,
}

struct SourceWord {
    start: usize,
    end: usize,
    folded: String,
}

/// Words looked over for the one the output has reached.
const REACH_WORDS: usize = 16;

impl<'a> TextDraft<'a> {
    pub(crate) fn new(source: &'a str, most: usize) -> TextDraft<'a> {
        let mut words: Vec<SourceWord> = Vec::new();
        for (start, c) in source.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
            let end = start + c.len_utf8();
            match words.last_mut() {
                Some(word) if word.end == start => {
                    word.end = end;
                    word.folded.extend(c.to_lowercase());
                }
                _ => words.push(SourceWord { start, end, folded: c.to_lowercase().collect() }),
            }
        }
        let closing = if source.ends_with(|c: char| c.is_ascii_alphanumeric()) { "." } else { "" };
        TextDraft { source, words, last: None, closing, pace: Pace::new(most) }
    }

    /// Tokens that may follow `written`. The end of an answer is never among them: nothing could follow it that
    /// would have to be verified.
    pub(crate) fn propose(&mut self, tokenizer: &Tokenizer, written: &str) -> Vec<u32> {
        let text = self.continuation(written);
        text.map_or(Vec::new(), |text| self.tokens(tokenizer, &text))
    }

    /// As many tokens that `text` begins with as are to be proposed.
    fn tokens(&self, tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let most = self.pace.length;
        // A word is a token or more.
        let cut = text.match_indices(' ').nth(most + 1).map_or(text.len(), |(at, _)| at);
        let Ok(mut tokens) = tokenizer.encode(&text[..cut]) else { return Vec::new() };
        tokens.truncate(most);
        tokens
    }

    /// Tokens that an answer may begin with.
    pub(crate) fn propose_first(&mut self, tokenizer: &Tokenizer, with_space: bool) -> Vec<u32> {
        let text = self.opening(with_space);
        self.tokens(tokenizer, &text)
    }

    /// The source as answers begin: with a capital.
    fn opening(&mut self, with_space: bool) -> String {
        let text = self.continuation("").unwrap_or_default();
        format!("{}{}", if with_space { " " } else { "" }, capitalised(&text))
    }

    /// What the source goes on with behind `written`, in the case that fits there.
    fn continuation(&mut self, written: &str) -> Option<String> {
        let tail_start = written
            .char_indices()
            .rev()
            .take_while(|(_, c)| !c.is_alphanumeric())
            .last()
            .map_or(written.len(), |(at, _)| at);
        let trailing = &written[tail_start..];
        let word_start = written[..tail_start]
            .char_indices()
            .rev()
            .take_while(|(_, c)| c.is_alphanumeric())
            .last()
            .map_or(tail_start, |(at, _)| at);
        let word = written[word_start..tail_start].to_lowercase();
        if word.is_empty() {
            // Nothing is written yet.
            return Some(format!("{}{}", self.source.trim_start(), self.closing));
        }
        let at = self.find(&word, word_start, trailing.is_empty())?;
        let found = &self.words[at];
        self.last = Some((at, word_start));
        let inside: usize = self.source[found.start..found.end]
            .chars()
            .take(written[word_start..tail_start].chars().count())
            .map(char::len_utf8)
            .sum();
        let rest = &self.source[found.start + inside..];
        if let Some(rest) = rest.strip_prefix(trailing) {
            return Some(format!("{rest}{}", self.closing));
        }
        // The output is punctuated otherwise: go on with the next word.
        let next = &self.source[self.words.get(at + 1).map_or(self.source.len(), |w| w.start)..];
        let closed_up = trailing.ends_with(|c: char| c.is_whitespace() || c == '-');
        if next.is_empty() {
            return Some(String::new());
        }
        let space = if closed_up { "" } else { " " };
        let next = match trailing.contains(['.', '!', '?']) {
            true => capitalised(next),
            false => next.to_string(),
        };
        Some(format!("{space}{next}{}", self.closing))
    }

    /// The source word that `word`, which begins at `start` of the output, is or begins.
    fn find(&self, word: &str, start: usize, may_go_on: bool) -> Option<usize> {
        let from = match self.last {
            Some((at, before)) if before == start => at,
            Some((at, _)) => at + 1,
            None => 0,
        };
        let reach = from.min(self.words.len())..(from + REACH_WORDS).min(self.words.len());
        let is = |i: &usize| self.words[*i].folded == word;
        let begins = |i: &usize| may_go_on && self.words[*i].folded.starts_with(word);
        let next = Some(from).filter(|i| reach.contains(i) && (is(i) || begins(i)));
        next.or_else(|| reach.clone().find(is)).or_else(|| reach.clone().find(begins))
    }

    pub(crate) fn judge(&mut self, proposed: usize, accepted: usize) {
        self.pace.judge(proposed, accepted);
    }

    /// Tokens proposed and tokens taken.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.pace.drafted, self.pace.accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_drafts_find_their_place_again_behind_dropped_and_replaced_tokens() {
        let source = [9, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut draft = TokenDraft::new(&source, 3);
        assert_eq!(draft.propose(&[]), [9, 1, 2]);
        draft.judge(3, 3);
        assert_eq!(draft.propose(&[9, 1, 2, 4]), [5, 6, 7], "3 was dropped");
        draft.judge(3, 0);
        assert_eq!(draft.propose(&[9, 1, 2, 4, 77]), [6, 7], "5 was replaced; drafts are shorter now");
        draft.judge(2, 2);
        assert_eq!(draft.propose(&[9, 1, 2, 4, 77, 6, 7]), [8]);
        assert_eq!(TokenDraft::new(&[], 3).propose(&[1, 2]), [0u32; 0]);
        assert_eq!(draft.counts(), (8, 5));
    }

    #[test]
    fn text_drafts_follow_words_whatever_their_case_and_marks() {
        let mut draft = TextDraft::new("so um we meet on tuesday no on friday. and then rest", 7);
        assert_eq!(
            draft.continuation("").as_deref(),
            Some("so um we meet on tuesday no on friday. and then rest.")
        );
        assert_eq!(
            draft.continuation(" So").as_deref(),
            Some(" um we meet on tuesday no on friday. and then rest.")
        );
        let after = draft.continuation(" So we mee");
        assert_eq!(after.as_deref(), Some("t on tuesday no on friday. and then rest."));
        assert!(draft.continuation(" So we meet zebra").is_none());
        let after = draft.continuation(" So we meet on Friday.");
        assert_eq!(after.as_deref(), Some(" and then rest."));
        let after = draft.continuation(" So we meet on Friday. And!");
        assert_eq!(after.as_deref(), Some(" Then rest."), "a sentence begins with a capital");
        assert_eq!(draft.continuation(" So we meet on Friday. And! Then rest").as_deref(), Some("."));
        assert_eq!(draft.continuation(" So we meet on Friday. And! Then rest.").as_deref(), Some(""));
        let mut closed = TextDraft::new("so we rest!", 7);
        assert_eq!(closed.continuation("So").as_deref(), Some(" we rest!"), "it has its mark");
        assert_eq!(closed.continuation("So we rest!").as_deref(), Some(""));
    }

    #[test]
    fn a_first_draft_begins_as_answers_do() {
        let opening = |source, with_space| TextDraft::new(source, 7).opening(with_space);
        assert_eq!(opening(" été à", true), " Été à");
        assert_eq!(opening("ßa!", false), "SSa!");
        assert_eq!((opening("", false), opening("4 x", false)), (String::new(), "4 x.".to_string()));
    }

    #[test]
    fn text_drafts_survive_any_characters() {
        for source in ["", "…", "été ÉTÉ straße 漢字 😀", "İstanbul İ ß ẞ"] {
            let mut draft = TextDraft::new(source, 7);
            for written in ["", " ", "É", "été ", "STRASSE", "漢", "😀", "i̇stanbul", "ß ẞ."] {
                draft.continuation(written);
            }
        }
    }
}
