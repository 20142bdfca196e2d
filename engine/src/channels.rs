//! Separates what a model thinks from what it says, while it writes.
//!
//! Model families mark their thoughts in text of their own, which a tokenizer may cut anywhere. The
//! splitter reads the bytes of tokens as they come, keeps the speech, and forgets the thought and every
//! remnant of a chat template. Removing a marker can bring the halves of another together
//! (`<|im_<|im_end|>end|>`), so the speech is the stack of a rewriting machine: the marker that ends first
//! is taken out first, and what then meets is looked at again.

/// How the two ends of a [`Block`] behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Ends that belong together: they nest, and a closing one alone says that all before was thought
    /// (the prompt opened it).
    Pair,
    /// A message of a channel: does not nest, and its ends are remnants where none is open.
    Message,
    /// The header of a message: as a message, and no thought.
    Header,
}

/// Text that is not speech, from `open` to `close`. One `open` may have several ways to close.
struct Block {
    open: &'static str,
    close: &'static str,
    shape: Shape,
}

const fn block(open: &'static str, close: &'static str, shape: Shape) -> Block {
    Block { open, close, shape }
}

const BLOCKS: [Block; 17] = [
    // DeepSeek-R1, Qwen 3, SmolLM 3, Granite 3.3, Phi-4-reasoning and most others.
    block("<think>", "</think>", Shape::Pair),
    block("<thinking>", "</thinking>", Shape::Pair),
    block("<reasoning>", "</reasoning>", Shape::Pair),
    // EXAONE Deep.
    block("<thought>", "</thought>", Shape::Pair),
    // Magistral.
    block("[THINK]", "[/THINK]", Shape::Pair),
    // Command A Reasoning.
    block("<|START_THINKING|>", "<|END_THINKING|>", Shape::Pair),
    // Sky-T1, OpenThinker.
    block("<|begin_of_thought|>", "<|end_of_thought|>", Shape::Pair),
    // Kimi-VL-Thinking.
    block("◁think▷", "◁/think▷", Shape::Pair),
    // Seed-OSS.
    block("<seed:think>", "</seed:think>", Shape::Pair),
    // Gemma 4: `<|channel>thought ... <channel|>`.
    block("<|channel>", "<channel|>", Shape::Pair),
    // Harmony (gpt-oss): every channel but the final one is thought; `<|end|>` ends a message.
    block("<|channel|>", "final<|message|>", Shape::Message),
    block("<|channel|>", "<|end|>", Shape::Message),
    // Solar Open.
    block("<|think|>", "<|/think|>", Shape::Message),
    block("<|think|>", "<|end|>", Shape::Message),
    // Llama 3.
    block("<|start_header_id|>", "<|end_header_id|>", Shape::Header),
    // Llama 2.
    block("<<SYS>>", "<</SYS>>", Shape::Header),
    // Mistral.
    block("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", Shape::Header),
];

/// Special tokens that [`special_token`] does not describe.
const REMNANTS: [&str; 18] = [
    "<start_of_turn>",
    "<end_of_turn>",
    "<|turn>",
    "<turn|>",
    "<s>",
    "</s>",
    "<bos>",
    "<eos>",
    "<pad>",
    "<unk>",
    "<BOS_TOKEN>",
    "<EOS_TOKEN>",
    "<seed:bos>",
    "<seed:eos>",
    "<response>",
    "</response>",
    "[INST]",
    "[/INST]",
];

/// Words that stand alone on a line behind a turn's marker, or between two markers.
const ROLES: [&str; 7] = ["assistant", "model", "user", "system", "developer", "tool", "ipython"];

/// Letters a special token's name has at most.
const MAX_NAME_CHARS: usize = 40;

/// No marker is longer: the name's letters may be `▁`, of three bytes, and so may its bars.
const MAX_MARKER_BYTES: usize = 3 * MAX_NAME_CHARS + 8;

/// What a text is to the markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    No,
    /// The beginning of one.
    Prefix,
    Whole,
}

/// `<|name|>`, the form of most families' special tokens, and DeepSeek's `<｜name｜>`.
fn special_token(text: &str) -> Match {
    let mut chars = text.chars();
    if chars.next() != Some('<') {
        return Match::No;
    }
    let Some(bar) = chars.next() else { return Match::Prefix };
    if !matches!(bar, '|' | '｜') {
        return Match::No;
    }
    for (at, c) in chars.by_ref().enumerate() {
        if c == bar && at > 0 {
            break;
        }
        if at == MAX_NAME_CHARS || !(c.is_ascii_alphanumeric() || matches!(c, '_' | '▁' | '-' | '.' | ':'))
        {
            return Match::No;
        }
    }
    match (chars.next(), chars.next()) {
        (None, _) => Match::Prefix,
        (Some('>'), None) => Match::Whole,
        _ => Match::No,
    }
}

fn marker(text: &str) -> Match {
    let listed = BLOCKS.iter().flat_map(|b| [b.open, b.close]).chain(REMNANTS);
    listed.fold(special_token(text), |best, m| match () {
        () if m == text => Match::Whole,
        () if best == Match::No && m.starts_with(text) => Match::Prefix,
        () => best,
    })
}

/// Start of the longest end of `text`, at or after `from`, that may become a marker; its length if none.
fn marker_start(text: &str, from: usize) -> usize {
    let mut ends = text.get(from..).unwrap_or_default().char_indices().map(|(at, _)| from + at);
    ends.find(|&at| text.get(at..).is_some_and(|end| marker(end) != Match::No)).unwrap_or(text.len())
}

/// A block that is open.
#[derive(Debug)]
struct Open {
    /// What opened it; `None` when the prompt did, with a marker that is not known here.
    by: Option<&'static str>,
    depth: usize,
    /// The end of the text so far, as much of it as may become a marker.
    tail: String,
}

impl Open {
    fn new(by: Option<&'static str>) -> Open {
        Open { by, depth: 1, tail: String::new() }
    }

    /// Reads one character; whether the block is still open after it.
    fn push(&mut self, c: char) -> bool {
        self.tail.push(c);
        self.tail.drain(..marker_start(&self.tail, 0));
        if marker(&self.tail) != Match::Whole {
            return true;
        }
        let found = std::mem::take(&mut self.tail);
        let of_this = |b: &&Block| self.by.map_or(b.shape != Shape::Header, |open| b.open == open);
        if BLOCKS.iter().filter(of_this).any(|b| b.close == found) {
            self.depth -= 1;
        } else if let Some(again) = BLOCKS.iter().filter(of_this).find(|b| b.open == found) {
            // A model may write once more the marker that its prompt ended with.
            match self.by {
                None => self.by = Some(again.open),
                Some(_) if again.shape == Shape::Pair => self.depth += 1,
                Some(_) => (),
            }
        }
        self.depth > 0
    }
}

/// A streaming splitter of one answer. Time is linear in its text; memory is the speech and at most one
/// marker; thought is not kept.
///
/// Speech is what stands outside of all thoughts. A thought that never closes leaves no speech behind it.
/// White space is kept as it is written, also that around a thought. Bytes that are not UTF-8 become U+FFFD.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The first bytes of a character.
    partial: Vec<u8>,
    /// Speech, and at its end what may become a marker or a role line.
    speech: String,
    /// Where the marker that may be coming begins in `speech`; its length if none is.
    marker_at: usize,
    /// Where a remnant was removed, while all that follows it may be a role line.
    role_at: Option<usize>,
    open: Option<Open>,
    /// Bytes of `speech` that `push` has returned.
    returned_bytes: usize,
    thought_tokens: usize,
    speech_tokens: usize,
}

impl Splitter {
    /// A splitter for an answer that begins with speech, or opens its thoughts itself.
    pub fn new() -> Splitter {
        Splitter::default()
    }

    /// A splitter for an answer whose thought the prompt has opened (DeepSeek-R1's template ends with
    /// `<think>`): what comes before the first closing marker is thought.
    pub fn starting_in_thought() -> Splitter {
        Splitter { open: Some(Open::new(None)), ..Splitter::default() }
    }

    /// Reads the bytes of one token, cut anywhere, and returns the speech that they make certain.
    ///
    /// A closing marker that nothing opened takes back all that was returned before it, as does (in part)
    /// a marker found inside another one. [`Self::speech`] and [`Self::finish`] are always right.
    pub fn push(&mut self, bytes: &[u8]) -> &str {
        let was_thought = self.in_thought();
        self.partial.extend_from_slice(bytes);
        let text = std::mem::take(&mut self.partial);
        let mut chunks = text.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            chunk.valid().chars().for_each(|c| self.push_char(c));
            let unfinished = std::str::from_utf8(chunk.invalid()).is_err_and(|e| e.error_len().is_none());
            if unfinished && chunks.peek().is_none() {
                self.partial.extend_from_slice(chunk.invalid());
            } else if !chunk.invalid().is_empty() {
                self.push_char(char::REPLACEMENT_CHARACTER);
            }
        }
        if was_thought || self.in_thought() {
            self.thought_tokens += 1;
        } else {
            self.speech_tokens += 1;
        }
        let from = self.returned_bytes;
        self.returned_bytes = self.certain_bytes().max(from);
        self.speech.get(from..self.returned_bytes).unwrap_or_default()
    }

    /// All speech that is certain so far.
    pub fn speech(&self) -> &str {
        self.speech.get(..self.certain_bytes()).unwrap_or_default()
    }

    /// Ends the answer and hands over the whole of its speech. What might have become a marker is speech,
    /// unless it is the stump of a special token.
    pub fn finish(&mut self) -> String {
        if !std::mem::take(&mut self.partial).is_empty() {
            self.push_char(char::REPLACEMENT_CHARACTER);
        }
        let tail = self.speech.get(self.marker_at..).unwrap_or_default();
        if let Some(stump) = special_stump(tail) {
            self.speech.truncate(self.marker_at + stump);
            self.remove_role();
        } else if tail.is_empty() {
            self.remove_role();
        }
        self.open = None;
        (self.marker_at, self.role_at, self.returned_bytes) = (0, None, 0);
        std::mem::take(&mut self.speech)
    }

    /// Whether the text is now in a thought, or in the header of a message.
    pub fn in_thought(&self) -> bool {
        self.open.is_some()
    }

    /// Tokens (calls of [`Self::push`]) that were thought, markers included.
    pub fn thought_tokens(&self) -> usize {
        self.thought_tokens
    }

    /// Tokens that were not thought.
    pub fn speech_tokens(&self) -> usize {
        self.speech_tokens
    }

    fn certain_bytes(&self) -> usize {
        self.role_at.map_or(self.marker_at, |role| role.min(self.marker_at))
    }

    fn push_char(&mut self, c: char) {
        if let Some(open) = &mut self.open {
            if !open.push(c) {
                self.open = None;
            }
            return;
        }
        self.speech.push(c);
        self.marker_at = marker_start(&self.speech, self.marker_at);
        let tail = self.speech.get(self.marker_at..).unwrap_or_default();
        if marker(tail) == Match::Whole {
            let found = tail.to_owned();
            self.speech.truncate(self.marker_at);
            self.take_marker(&found);
        } else {
            self.read_role();
        }
    }

    /// Acts on a marker that has just been removed from the end of the speech.
    fn take_marker(&mut self, found: &str) {
        if BLOCKS.iter().any(|b| b.shape == Shape::Pair && b.close == found) {
            self.speech.clear();
            self.thought_tokens += std::mem::take(&mut self.speech_tokens);
        }
        self.remove_role();
        self.open = BLOCKS.iter().find(|b| b.open == found).map(|b| Open::new(Some(b.open)));
        // What stood before the marker may go on to become another.
        let near = self.speech.floor_char_boundary(self.speech.len().saturating_sub(MAX_MARKER_BYTES));
        self.marker_at = marker_start(&self.speech, near);
        let resumes = self.marker_at < self.speech.len();
        self.role_at = (self.open.is_none() && !resumes).then_some(self.speech.len());
        self.returned_bytes = self.returned_bytes.min(self.speech.len());
    }

    /// Removes a role's name if it is all that stands behind the last remnant.
    fn remove_role(&mut self) {
        if let Some(role_at) = self.role_at.take()
            && self.speech.get(role_at..).is_some_and(|name| ROLES.contains(&name))
        {
            self.speech.truncate(role_at);
        }
    }

    /// Follows what may be a role line, and removes it when it is one.
    fn read_role(&mut self) {
        let Some(role_at) = self.role_at else { return };
        let line = self.speech.get(role_at..self.marker_at).unwrap_or_default();
        if line.strip_suffix('\n').is_some_and(|name| ROLES.contains(&name)) {
            self.speech.truncate(role_at);
            (self.marker_at, self.role_at) = (role_at, None);
        } else if !ROLES.iter().any(|name| name.starts_with(line)) {
            self.role_at = None;
        }
    }
}

/// Where in `tail`, the beginning of some marker, the stump of a special token begins.
///
/// Text rarely has `<|`, but it may end in `<`, `</` or `[`: of the other special tokens at least five
/// bytes must stand.
fn special_stump(tail: &str) -> Option<usize> {
    let bar = tail.find("<|").or_else(|| tail.find("<｜"));
    bar.or_else(|| (tail.len() >= 5 && REMNANTS.iter().any(|r| r.starts_with(tail))).then_some(0))
}

#[cfg(any(test, fuzzing))]
#[path = "channels_reference.rs"]
pub mod reference;

#[cfg(test)]
#[path = "channels_tests.rs"]
mod tests;
