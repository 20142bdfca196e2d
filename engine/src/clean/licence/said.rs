//! A transcript made ready: its words, the ways to write each, and what may be left out.

use super::drops::Drops;
use super::forms::{Forms, Touch};
use super::marks;
use super::spelling::Reserved;
use crate::clean::dictionary::Dictionary;
use crate::clean::fidelity;
use crate::clean::lexicon::{self, Lexicon};
use crate::clean::words::{self, Kind, Word, fold};
use std::collections::HashMap;
use std::ops::Range;

/// Most different words whose other spellings are looked for.
const MOST_SOUGHT: usize = 200;

/// Hyphens and dashes that may be brought into any text, and the words for each one more.
const HYPHENS: usize = 2;
const WORDS_A_HYPHEN: usize = 8;

/// A stretch of the transcript that is written in one: a word, a contraction, a number.
pub(super) struct Unit {
    /// Bytes of the transcript.
    pub(super) span: Range<usize>,
    pub(super) words: Range<usize>,
    /// It may become part of a number beside it.
    pub(super) numeric: bool,
    /// A pause follows.
    pub(super) paused: bool,
    /// An address or file name: it stays as it is, and in some a colon counts as a word.
    address: bool,
}

/// A way to write one or more units.
#[derive(Clone, Copy, Default)]
pub(super) struct Form {
    begin: u32,
    len: u32,
    /// The unit that follows.
    pub(super) to: u32,
    /// It is another spelling of what was said.
    pub(super) respells: bool,
    /// It may have capitals as names have them: the dictionary does not know better.
    pub(super) named: bool,
    pub(super) touch: Touch,
}

/// From a boundary to a unit further on.
#[derive(Clone, Copy)]
pub(super) struct Jump {
    pub(super) to: u32,
    /// Harmless words left out without excuse.
    pub(super) dropped: u16,
    /// A word that may begin a repair is among those left out.
    pub(super) repairs: bool,
}

pub(super) struct Said {
    pub(super) text: String,
    lang: String,
    pub(super) units: Vec<Unit>,
    /// Characters of forms and gaps: lower case, white space as ' '.
    chars: Vec<char>,
    /// Which of them are capitals.
    uppers: Vec<bool>,
    forms: Vec<Form>,
    /// The first form of each unit, and the end.
    begins: Vec<u32>,
    /// What the transcript has before each unit, and at the end.
    gaps: Vec<Range<u32>>,
    jumps: Vec<Vec<Jump>>,
    /// For each boundary: the words left out without excuse if the text ends there.
    ends: Vec<Option<u16>>,
    /// "rather" ends the transcript and may go with a repair.
    rather: bool,
    pub(super) most_dropped: u16,
    pub(super) most_respelled: u16,
    pub(super) most_hyphens: u16,
    /// Whether a question mark may and must be written.
    pub(super) may_ask: bool,
    pub(super) must_ask: bool,
    /// Too long to be judged: only the transcript itself will do.
    pub(super) verbatim: bool,
    /// It is of a script without spaces between words.
    unspaced: bool,
    pub(super) reserved: Reserved,
    /// Characters beyond ASCII that may occur, sorted.
    pub(super) wide: Vec<char>,
}

impl Form {
    /// Its length in characters.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

impl Said {
    pub(super) fn new(text: &str, lang: &str, known: &Dictionary) -> Said {
        let lex = lexicon::lexicon(lang);
        let mut words = words::words(text, lang);
        let verbatim = !fidelity::can_judge(text, &words);
        if verbatim {
            words.clear();
        }
        let units = units(text, &words, lex);
        let mut said = Said {
            text: text.to_string(),
            lang: lang.to_string(),
            chars: Vec::with_capacity(4 * text.len()),
            uppers: Vec::with_capacity(4 * text.len()),
            forms: Vec::with_capacity(2 * units.len()),
            begins: vec![0],
            gaps: Vec::with_capacity(units.len() + 1),
            jumps: Vec::with_capacity(units.len()),
            ends: Vec::new(),
            rather: words.last().is_some_and(|w| w.norm == "rather" && w.sentence_end),
            most_dropped: fidelity::most_light(words.len()) as u16,
            most_respelled: fidelity::most_respelled(words.len()) as u16,
            may_ask: fidelity::question_kept(text, "?", lex).is_ok(),
            most_hyphens: (HYPHENS + words.len() / WORDS_A_HYPHEN) as u16,
            must_ask: fidelity::is_question(text),
            verbatim,
            unspaced: text.contains(words::is_unspaced),
            reserved: Reserved::new(&words, lex),
            wide: Vec::new(),
            units,
        };
        said.fill_forms(&words, lex, lexicon::is_english(lang), known);
        said.fill_drops(&words, lex);
        said.fill_wide();
        said
    }

    fn store(&mut self, text: &str) -> Range<u32> {
        let begin = self.chars.len() as u32;
        for c in text.chars() {
            self.uppers.push(c.is_uppercase());
            self.chars.extend(fold_char(c));
            self.uppers.resize(self.chars.len(), false);
        }
        begin..self.chars.len() as u32
    }

    fn add_form(&mut self, text: &str, form: Form) {
        let chars = self.store(text);
        let (begin, len) = (chars.start, chars.end - chars.start);
        self.forms.push(Form { begin, len, ..form });
    }

    fn fill_forms(&mut self, words: &[Word], lex: &Lexicon, english: bool, known: &Dictionary) {
        let mut end = 0;
        let mut sought: HashMap<String, (Vec<String>, Vec<String>)> = HashMap::new();
        for i in 0..=self.units.len() {
            let next = self.units.get(i).map_or(self.text.len()..self.text.len(), |u| u.span.clone());
            let gap = self.text.get(end..next.start).unwrap_or("").to_string();
            let gap = self.store(&gap);
            self.gaps.push(gap);
            end = next.end;
            if i == self.units.len() {
                break;
            }
            let (units, reserved) = (&self.units, &self.reserved);
            let forms = Forms { text: &self.text, words, units, lex, reserved, english, known };
            let written = forms.of(i);
            let own = self.text[next].to_string();
            let folded = fold(&own);
            let norm = match &words[units[i].words.clone()] {
                [w] if w.kind == Kind::Content && w.norm == folded => &w.norm,
                _ => "",
            };
            // Known words, and all that are in the lexicon, have no capitals within.
            let letters = folded.chars().all(char::is_alphanumeric);
            let named = letters && !reserved.has(&folded) && !known.has(&folded);
            let style = known.style(&folded);
            let free = !norm.is_empty() && !reserved.has(norm) && sought.len() < MOST_SOUGHT;
            if free && !sought.contains_key(norm) {
                let found = (reserved.partings(norm, known), reserved.spellings(norm, known));
                sought.insert(norm.to_string(), found);
            }
            for w in &written {
                let said = w.text == folded;
                let text = if said { &own } else { &w.text };
                // Letters one by one, written in one, are capitals often.
                let named = if said { named } else { w.to > i + 1 && folded.chars().count() == 1 };
                self.add_form(text, Form { to: w.to as u32, named, touch: w.touch, ..Form::default() });
            }
            let alone = Form { to: i as u32 + 1, ..Form::default() };
            style.into_iter().for_each(|w| self.add_form(w, alone));
            if let Some((parted, respelled)) = sought.get(norm) {
                parted.iter().for_each(|w| self.add_form(w, alone));
                respelled.iter().for_each(|w| self.add_form(w, Form { respells: true, ..alone }));
            }
            self.begins.push(self.forms.len() as u32);
        }
    }

    fn fill_drops(&mut self, words: &[Word], lex: &Lexicon) {
        let mut drops = Drops::new(words, lex);
        let mut unit_at = vec![u32::MAX; words.len() + 1];
        for (i, unit) in self.units.iter().enumerate() {
            unit_at[unit.words.start] = i as u32;
        }
        unit_at[words.len()] = self.units.len() as u32;
        for (i, unit) in self.units.iter().enumerate() {
            let mut jumps = vec![Jump { to: i as u32, dropped: 0, repairs: false }];
            let mut ends = None;
            for (to, dropped) in drops.from(unit.words.start, self.most_dropped.into()) {
                let taken_back = |w: &Word| matches!(w.norm.as_str(), "no" | "or" | "sorry");
                let repairs = words[unit.words.start..to].iter().any(taken_back);
                let (to, dropped) = (unit_at[to], dropped as u16);
                if to as usize == self.units.len() {
                    ends = Some(dropped);
                } else if to != u32::MAX {
                    jumps.push(Jump { to, dropped, repairs });
                }
            }
            self.jumps.push(jumps);
            self.ends.push(ends);
        }
        // Nothing at all is left only of hesitation.
        let said = self.verbatim || words.iter().any(|w| w.kind != Kind::Filler);
        self.ends.push(Some(0));
        self.ends[0] = (!said).then_some(0);
    }

    fn fill_wide(&mut self) {
        let letters = self.chars.iter().flat_map(|c| c.to_uppercase().chain([*c]));
        let all = letters.chain(self.text.chars()).chain(marks::wide_marks());
        self.wide = all.filter(|c| !c.is_ascii()).collect();
        self.wide.sort_unstable();
        self.wide.dedup();
    }

    pub(super) fn form(&self, form: u32) -> Option<&Form> {
        self.forms.get(form as usize)
    }

    /// The characters of a form.
    pub(super) fn written(&self, form: &Form) -> &[char] {
        &self.chars[form.begin as usize..(form.begin + form.len) as usize]
    }

    /// Whether the `at`-th character of a form is a capital there.
    pub(super) fn is_upper(&self, form: &Form, at: u32) -> bool {
        self.uppers.get((form.begin + at) as usize).copied().unwrap_or(false)
    }

    /// All characters of forms and gaps.
    pub(super) fn chars(&self) -> &[char] {
        &self.chars
    }

    /// All forms.
    pub(super) fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// What the transcript has before each unit, and at the end.
    pub(super) fn gaps(&self) -> impl Iterator<Item = &[char]> {
        self.gaps.iter().map(|g| &self.chars[g.start as usize..g.end as usize])
    }

    /// The forms that begin with a unit.
    pub(super) fn forms_of(&self, unit: u32) -> Range<u32> {
        let at = |i: usize| self.begins.get(i).copied().unwrap_or(0);
        at(unit as usize)..at(unit as usize + 1)
    }

    /// What the transcript has before a unit.
    pub(super) fn gap(&self, unit: u32) -> &[char] {
        self.gaps.get(unit as usize).map_or(&[], |g| &self.chars[g.start as usize..g.end as usize])
    }

    pub(super) fn jumps(&self, from: u32) -> &[Jump] {
        self.jumps.get(from as usize).map_or(&[], Vec::as_slice)
    }

    /// The words left out without excuse if the text ends at a boundary.
    fn end(&self, unit: u32, repaired: bool) -> Option<u16> {
        let rather = repaired && self.rather && unit as usize + 1 == self.units.len();
        if rather { Some(0) } else { self.ends.get(unit as usize).copied().flatten() }
    }

    /// Whether the text may end at a boundary, with as many words dropped before.
    pub(super) fn may_end(&self, unit: u32, repaired: bool, dropped: u16) -> bool {
        self.end(unit, repaired).is_some_and(|d| dropped + d <= self.most_dropped)
    }

    /// Whether a mark may stand behind the word before a boundary.
    pub(super) fn may_mark(&self, boundary: u32, c: char) -> bool {
        let before = (boundary as usize).checked_sub(1).and_then(|i| self.units.get(i));
        let fits = match c {
            ':' | '-' | '–' | '—' => before.is_none_or(|u| !u.address),
            c => self.unspaced || !marks::is_wide(c),
        };
        fits && marks::is_of(c, &self.text, &self.lang)
    }

    /// Whether no unit follows.
    pub(super) fn is_end(&self, boundary: u32) -> bool {
        boundary as usize == self.units.len()
    }

    /// Whether the words before boundary `from` and at unit `to` would be read as one number unless
    /// something parts them.
    pub(super) fn fuses(&self, from: u32, to: u32) -> bool {
        let Some(before) = (from as usize).checked_sub(1).and_then(|i| self.units.get(i)) else {
            return false;
        };
        let next = self.units.get(to as usize).is_some_and(|u| u.numeric);
        before.numeric && next && (from != to || before.paused)
    }
}

/// One character as [`fold`] has it, white space as ' '.
pub(super) fn fold_char(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().map(|c| match c {
        '’' | '‘' | 'ʼ' | '`' => '\'',
        c if c.is_whitespace() => ' ',
        c => c,
    })
}

fn units(text: &str, words: &[Word], lex: &Lexicon) -> Vec<Unit> {
    let numeric = |w: &Word| {
        let norm = w.norm.as_str();
        w.kind == Kind::Number
            || lex.numbers.iter().chain(lex.ordinals).any(|n| n.0 == norm)
            || matches!(norm, "point" | "o" | "oh" | "double" | "triple" | "and")
    };
    let offset = |token: &str| token.as_ptr() as usize - text.as_ptr() as usize;
    let is_address = |t: &&str| {
        let dot = t.char_indices().any(|(i, c)| {
            c == '.'
                && t[..i].ends_with(char::is_alphanumeric)
                && t[i + 1..].starts_with(char::is_alphanumeric)
        });
        dot || t.contains('@') || t.contains("://")
    };
    let mut addresses =
        text.split_whitespace().filter(is_address).map(|t| offset(t)..offset(t) + t.len()).peekable();
    let mut out: Vec<Unit> = Vec::with_capacity(words.len());
    for (i, word) in words.iter().enumerate() {
        let span = word.span.clone();
        while addresses.next_if(|a| a.end <= span.start && !span.is_empty()).is_some() {}
        let address = addresses.peek().filter(|a| a.contains(&span.start));
        let within = |u: &&mut Unit| {
            span.start < u.span.end
                || span.is_empty() && span.start == u.span.end
                || address.is_some_and(|a| a.contains(&u.span.start))
        };
        if let Some(unit) = out.last_mut().filter(|u| within(u)) {
            unit.span.end = unit.span.end.max(span.end);
            unit.words.end = i + 1;
            unit.paused = word.pause_after;
            if span.is_empty() {
                // The sign of "$50" stands before it.
                let sign = text[..unit.span.start].chars().next_back();
                unit.span.start -=
                    sign.filter(|c| matches!(c, '$' | '€' | '£' | '¥')).map_or(0, char::len_utf8);
            }
            continue;
        }
        out.push(Unit {
            span,
            words: i..i + 1,
            numeric: numeric(word),
            paused: word.pause_after,
            address: address.is_some(),
        });
    }
    out
}
