//! The licence to write: an automaton that knows after every byte of a clean-up whether it is still
//! the beginning of an edit of the transcript. A model held to it can leave out, punctuate and
//! respell, but it cannot answer.
//!
//! It reads the words of the transcript, each of which may be written in several ways, with jumps over
//! what [`super::excuse`] lets go. A word is spelled otherwise only if the text model does not know it
//! and knows the other ([`Dictionary`]). What it licenses passes [`super::fidelity::check`] under
//! [`super::fidelity::Policy::Standard`] but for rare coincidences, so that check has the last word.

/// Which characters there can be.
mod alphabet;
/// Capitals within a word.
mod case;
/// What may be left out.
mod drops;
/// The ways to write a word.
mod forms;
/// Punctuation between words.
mod marks;
/// The transcript made ready.
mod said;
/// Spellings of a word.
mod spelling;

pub use alphabet::{Alphabet, signature};

use super::dictionary::Dictionary;
use case::Case;
use forms::Touch;
use marks::{Between, Mark};
use said::{Form, Jump, Said, fold_char};
use std::sync::Arc;

/// Most readings of the text so far that are followed at once.
const MOST_STATES: usize = 128;

/// Which text may follow, given a transcript and the text so far. Cheap to clone: the transcript is
/// shared.
#[derive(Clone)]
pub struct Licence {
    said: Arc<Said>,
    text: Text,
    /// The beginning of a character.
    partial: Vec<u8>,
}

/// All readings of the text so far.
#[derive(Clone)]
struct Text {
    states: Vec<State>,
    /// Its last two characters.
    recent: [char; 2],
    bytes: u32,
    /// It has a question mark.
    asks: bool,
    /// Of the word it ends with.
    case: Case,
}

/// One reading of the text so far.
#[derive(Clone, Copy)]
struct State {
    place: Place,
    /// Words respelled, and words left out without excuse.
    respelled: u16,
    dropped: u16,
    /// What was left out may be a repair.
    repaired: bool,
    /// Hyphens and dashes of the writer's.
    hyphens: u16,
    /// The form has its own capitals so far.
    styled: bool,
    /// The boundary behind the last whole word, and the bytes of text up to it.
    from: u32,
    cut: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Within the form, `at` characters of it done.
    Form { form: u32, at: u32 },
    /// Before the unit, in marks of the writer's.
    Between { unit: u32, between: Between },
    /// Before the unit, in what the transcript has there.
    Gap { unit: u32, at: u32 },
}

impl Licence {
    /// The licence to edit `transcript`, which is in `lang` ("en", "de", ...), with the words of the
    /// model that is to write. Takes time and memory linear in the transcript; of one too long to be
    /// judged only a copy is licensed.
    pub fn new(transcript: &str, lang: &str, known: &Dictionary) -> Licence {
        let said = Said::new(transcript, lang, known);
        let place = if said.verbatim {
            Place::Gap { unit: 0, at: 0 }
        } else {
            Place::Between { unit: 0, between: Between::new(Mark::Start) }
        };
        let (respelled, dropped, hyphens) = (0, 0, 0);
        let state =
            State { place, respelled, dropped, repaired: false, hyphens, styled: true, from: 0, cut: 0 };
        let text = Text { states: vec![state], recent: [' '; 2], bytes: 0, asks: false, case: Case::None };
        Licence { said: Arc::new(said), text, partial: Vec::new() }
    }

    /// What all licensed texts are made of: [`Licence::allows`] nothing that this does not admit.
    pub fn alphabet(&self) -> Alphabet {
        Alphabet::new(&self.said)
    }

    /// Whether the text so far followed by `bytes` is still the beginning of a licensed edit. They
    /// may end within a UTF-8 character.
    pub fn allows(&self, bytes: &[u8]) -> bool {
        self.read(bytes).is_some()
    }

    /// Appends `bytes`; false, and nothing is changed, when they are not licensed.
    pub fn advance(&mut self, bytes: &[u8]) -> bool {
        let Some((text, partial)) = self.read(bytes) else { return false };
        if let Some(text) = text {
            self.text = text;
        }
        self.partial = partial;
        true
    }

    /// Whether the text may end here: all that has not been written may be left out.
    pub fn may_end(&self) -> bool {
        self.partial.is_empty() && self.text.states.iter().any(|s| self.ends(s))
    }

    fn ends(&self, state: &State) -> bool {
        let said = &self.said;
        let state = self.text.completed(state, said).unwrap_or(*state);
        let unit = match state.place {
            Place::Gap { at, .. } if said.verbatim => return at as usize == said.gap(0).len(),
            Place::Form { .. } => return false,
            Place::Between { between, .. } if !between.ends() => return false,
            Place::Between { unit, .. } | Place::Gap { unit, .. } => unit,
        };
        // Without a word it asks nothing.
        let asked = self.text.asks || !said.must_ask || unit == 0;
        asked && said.may_end(unit, state.repaired, state.dropped)
    }

    /// The rest of the transcript after the words written so far, in the reading that left out
    /// least. It continues the text up to [`Licence::cut`].
    pub fn rest(&self) -> &str {
        let (unit, _) = self.reached();
        let end =
            (unit as usize).checked_sub(1).and_then(|u| self.said.units.get(u)).map_or(0, |u| u.span.end);
        self.said.text.get(end..).unwrap_or("")
    }

    /// Bytes of the text so far up to its last whole word.
    pub fn cut(&self) -> usize {
        self.reached().1
    }

    /// Whether the words written so far end within a sentence of a transcript that has its sentences marked.
    pub fn is_within_sentence(&self) -> bool {
        let (unit, _) = self.reached();
        let marked = self.said.text.contains(is_sentence_end);
        unit > 0 && marked && !self.said.gap(unit).iter().copied().any(is_sentence_end)
    }

    /// The boundary behind the last whole word, and the bytes of text up to it.
    fn reached(&self) -> (u32, usize) {
        let whole = |s: &State| self.text.completed(s, &self.said).unwrap_or(*s);
        let best = self.text.states.iter().map(whole).min_by_key(|s| (u32::MAX - s.cut, s.dropped, s.from));
        best.map_or((0, 0), |s| (s.from, s.cut as usize))
    }

    /// The text followed by `bytes`, if licensed: `None` within for no whole character, and what
    /// there is of the next.
    fn read(&self, bytes: &[u8]) -> Option<(Option<Text>, Vec<u8>)> {
        let joined: Vec<u8>;
        let bytes = if self.partial.is_empty() {
            bytes
        } else {
            joined = [&self.partial, bytes].concat();
            &joined
        };
        let (whole, partial) = match std::str::from_utf8(bytes) {
            Ok(whole) => (whole, &bytes[bytes.len()..]),
            Err(e) if e.error_len().is_some() => return None,
            Err(e) => {
                let (whole, partial) = bytes.split_at(e.valid_up_to());
                (std::str::from_utf8(whole).ok()?, partial)
            }
        };
        let mut text = None;
        for c in whole.chars() {
            text = Some(text.as_ref().unwrap_or(&self.text).then(c, &self.said)?);
        }
        let so_far = text.as_ref().unwrap_or(&self.text);
        let begins = |c: &char| c.encode_utf8(&mut [0; 4]).as_bytes().starts_with(partial);
        let goes_on = |c: &char| begins(c) && so_far.then(*c, &self.said).is_some();
        (partial.is_empty() || self.said.wide.iter().any(goes_on)).then(|| (text, partial.to_vec()))
    }
}

impl Text {
    /// With one character more, if some reading has it.
    fn then(&self, c: char, said: &Said) -> Option<Text> {
        let mut text: Option<Text> = None;
        let case = self.case.then(c);
        for (k, folded) in fold_char(c).enumerate() {
            let now = text.as_ref().unwrap_or(self);
            let mut states = Vec::new();
            let upper = k == 0 && c.is_uppercase();
            let mut step = Step { said, text: now, c: folded, upper, case, out: &mut states };
            now.states.iter().for_each(|s| step.state(s));
            if states.is_empty() {
                return None;
            }
            let recent = [now.recent[1], folded];
            let bytes = if k == 0 { self.bytes.saturating_add(c.len_utf8() as u32) } else { now.bytes };
            let asks = now.asks || is_question_mark(folded);
            text = Some(Text { states, recent, bytes, asks, case });
        }
        text
    }

    /// The reading at the boundary behind its form, if the form is whole.
    fn completed(&self, state: &State, said: &Said) -> Option<State> {
        let Place::Form { form, at } = state.place else { return None };
        let form = said.form(form).filter(|f| f.len() == at as usize)?;
        let between = match form.touch {
            Touch::No => Between::new(Mark::Word),
            Touch::Close => Between::bare(),
            Touch::May => Between::new(Mark::Loose),
            Touch::Must | Touch::Dot | Touch::After => Between::new(Mark::Glued),
        };
        let place = Place::Between { unit: form.to, between };
        Some(State { place, from: form.to, cut: self.bytes, ..*state })
    }
}

/// One character read in all states.
struct Step<'a> {
    said: &'a Said,
    text: &'a Text,
    /// Lower case, white space as ' '.
    c: char,
    /// It is a capital, and the word with it.
    upper: bool,
    case: Case,
    out: &'a mut Vec<State>,
}

impl Step<'_> {
    /// The readings of `state` and the character. What follows the transcript to the letter comes
    /// first, so that it is never the one left out for lack of room.
    fn state(&mut self, state: &State) {
        match state.place {
            Place::Between { unit, between } => self.between(state, unit, between),
            Place::Gap { unit, at } => match self.said.gap(unit).get(at as usize) {
                Some(c) if *c == self.c => {
                    self.push(State { place: Place::Gap { unit, at: at + 1 }, ..*state })
                }
                Some(_) => {}
                None => self.begin(state, Jump { to: unit, dropped: 0, repairs: false }, |form| {
                    !matches!(form.touch, Touch::Must | Touch::Dot)
                }),
            },
            Place::Form { form, at } => match self.text.completed(state, self.said) {
                None => self.within(state, form, at),
                Some(done) => {
                    if let Place::Between { unit, between } = done.place {
                        self.between(&done, unit, between);
                    }
                }
            },
        }
    }

    fn push(&mut self, state: State) {
        let same = |s: &State| {
            s.place == state.place
                && s.repaired >= state.repaired
                && s.respelled <= state.respelled
                && s.dropped <= state.dropped
        };
        if self.out.len() < MOST_STATES && !self.out.iter().any(same) {
            self.out.push(state);
        }
    }

    /// Between two words: what the transcript has there, marks, or the next word.
    fn between(&mut self, state: &State, unit: u32, between: Between) {
        let said = self.said;
        let gap = said.gap(unit);
        if between.is_fresh() && gap.first() == Some(&self.c) {
            self.push(State { place: Place::Gap { unit, at: 1 }, ..*state });
        }
        // A pause that keeps two numbers apart comes first.
        if let Some(between) = self.mark(state, unit, between).filter(|b| b.pause || !said.fuses(unit, unit))
        {
            let hyphens = state.hyphens + u16::from(marks::is_dash(self.c));
            self.push(State { place: Place::Between { unit, between }, hyphens, ..*state });
        }
        if matches!(between.mark, Mark::Closed | Mark::Dash) {
            return;
        }
        let minutes = between.mark == Mark::Colon;
        if minutes && !(self.c.is_ascii_digit() && self.text.recent[0].is_ascii_digit()) {
            return;
        }
        for jump in said.jumps(unit) {
            if state.dropped + jump.dropped > said.most_dropped {
                continue;
            }
            let next = jump.to == unit;
            let apart = between.pause || minutes || !said.fuses(unit, jump.to);
            self.begin(state, *jump, |form| match form.touch {
                Touch::Close if !next || between.mark != Mark::Space || between.pause => false,
                _ if !apart => false,
                _ if minutes => next && form.len() == 2,
                Touch::Must => next && between.mark == Mark::Word,
                Touch::Dot => next && between.mark == Mark::Word && self.text.recent[0].is_alphabetic(),
                Touch::May if between.mark == Mark::Word => true,
                _ => between.mark != Mark::Word || next && gap.is_empty(),
            });
        }
    }

    /// With the mark or space behind the word before a unit, if it may stand there.
    fn mark(&self, state: &State, unit: u32, between: Between) -> Option<Between> {
        let (said, c) = (self.said, self.c);
        let question = is_question_mark(c);
        let owed = said.must_ask && !self.text.asks;
        let last = said.is_end(unit);
        let may_end = || said.may_end(unit, state.repaired, state.dropped);
        let then = between.then(c).filter(|_| {
            let room = !marks::is_dash(c) || state.hyphens < said.most_hyphens;
            let fits = if last { marks::ends(c) && (question || !owed) } else { room };
            fits && said.may_mark(unit, c)
                && marks::follows(self.text.recent[1], c)
                && (!question || said.may_ask)
        });
        let asked = || between.asked().filter(|_| question && owed && said.may_mark(unit, c) && may_end());
        then.or_else(asked)
    }

    /// The first character of the ways to write a unit.
    fn begin(&mut self, state: &State, jump: Jump, may: impl Fn(&Form) -> bool) {
        let (dropped, repaired) = (state.dropped + jump.dropped, state.repaired || jump.repairs);
        for id in self.said.forms_of(jump.to) {
            let Some(form) = self.said.form(id) else { continue };
            let respelled = state.respelled + u16::from(form.respells);
            if respelled <= self.said.most_respelled
                && self.said.written(form).first() == Some(&self.c)
                && may(form)
            {
                let state = State { respelled, dropped, repaired, styled: true, ..*state };
                self.letter(&state, id, 0);
            }
        }
    }

    /// Within a word: its next character.
    fn within(&mut self, state: &State, id: u32, at: u32) {
        let next = self.said.form(id).and_then(|form| self.said.written(form).get(at as usize));
        if matches!((next, self.c), (Some(' '), '-') | (Some('-'), ' ')) || next == Some(&self.c) {
            self.letter(state, id, at);
        }
    }

    /// The character, which is the `at`-th of a form, if it has the case it may have.
    fn letter(&mut self, state: &State, id: u32, at: u32) {
        let Some(form) = self.said.form(id) else { return };
        let styled = state.styled && self.said.is_upper(form, at) == self.upper;
        // "US" for "us".
        let short = form.len() == 2 && self.case == Case::Capitals(2);
        if styled || self.case.is_plain() || short || form.named && self.case.is_of_a_name() {
            self.push(State { place: Place::Form { form: id, at: at + 1 }, styled, ..*state });
        }
    }
}

fn is_sentence_end(c: char) -> bool {
    matches!(c, '.' | '!' | '…' | '。' | '！') || is_question_mark(c)
}

fn is_question_mark(c: char) -> bool {
    matches!(c, '?' | '？')
}
