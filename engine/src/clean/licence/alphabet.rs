//! What a licensed text can be made of at all: a quick first look at the tokens of a vocabulary, of which the
//! [`super::Licence`] would have to be asked one by one.

use super::forms::Touch;
use super::marks;
use super::said::{Said, fold_char};

/// Letters and digits of ASCII.
const SLOTS: usize = 36;

/// Which characters a licensed text may have, and which may follow one another: within a word three, elsewhere
/// two at a time.
pub struct Alphabet {
    /// ASCII, folded.
    narrow: [bool; 128],
    /// Others, folded, sorted.
    wide: Vec<char>,
    /// For two letters or digits those that may follow them within a form, a bit each.
    inner: Vec<u64>,
    /// For each letter or digit those that may follow it, within a form and from one to another.
    pairs: [u64; SLOTS],
    glued: [u64; SLOTS],
    /// For each other ASCII character those others that may follow it.
    marks: [u128; 128],
    /// See [`signature`].
    signature: u64,
}

fn slot(c: u8) -> Option<usize> {
    match c {
        b'a'..=b'z' => Some(usize::from(c - b'a')),
        b'0'..=b'9' => Some(26 + usize::from(c - b'0')),
        _ => None,
    }
}

fn ascii(c: char) -> Option<u8> {
    u8::try_from(c).ok().filter(u8::is_ascii)
}

fn slot_of(c: char) -> Option<usize> {
    ascii(c).and_then(slot)
}

/// A bit for each letter and digit of `text`, and some for what else there is.
fn bits(text: impl Iterator<Item = char>) -> u64 {
    let bit = |c: char| match (slot_of(c), ascii(c)) {
        (Some(slot), _) => 1 << slot,
        // Space and marks are everywhere.
        (None, Some(_)) => 0,
        (None, None) => 1 << (SLOTS as u32 + (u32::from(c) >> 7) % (64 - SLOTS as u32)),
    };
    text.map(bit).fold(0, |all, bit| all | bit)
}

/// The characters of a token, as few bits: an [`Alphabet`] without one of them does not admit it. Made once for a
/// vocabulary.
pub fn signature(token: &[u8]) -> u64 {
    match std::str::from_utf8(&token[..line_end(token)]) {
        Ok(text) => bits(text.chars().flat_map(fold_char)),
        Err(_) => 0,
    }
}

/// A token that goes on behind a line's end may be one that ends it.
fn line_end(token: &[u8]) -> usize {
    token.iter().position(|b| *b == b'\n').unwrap_or(token.len())
}

impl Alphabet {
    pub(super) fn new(said: &Said) -> Alphabet {
        let mut alphabet = Alphabet {
            narrow: [false; 128],
            wide: Vec::new(),
            inner: vec![0; SLOTS * SLOTS],
            pairs: [0; SLOTS],
            glued: [0; SLOTS],
            marks: [0; 128],
            signature: 0,
        };
        let all = || said.chars().iter().copied().chain(marks::all()).flat_map(fold_char);
        alphabet.signature = bits(all());
        for c in all() {
            match ascii(c) {
                Some(c) => alphabet.narrow[usize::from(c)] = true,
                None => alphabet.wide.push(c),
            }
        }
        alphabet.wide.sort_unstable();
        alphabet.wide.dedup();
        marks::follow().for_each(|(a, b)| alphabet.mark(a, b));
        said.gaps().for_each(|gap| alphabet.run(gap));
        for form in said.forms() {
            let chars = said.written(form);
            alphabet.run(chars);
            // A sign meets whatever stands beside it.
            let (Some(&first), Some(&last)) = (chars.first(), chars.last()) else { continue };
            for c in all() {
                alphabet.mark(c, first);
                alphabet.mark(last, c);
            }
        }
        alphabet.glue(said);
        alphabet
    }

    /// Characters one after the other.
    fn run(&mut self, chars: &[char]) {
        for pair in chars.windows(2) {
            self.mark(pair[0], pair[1]);
            if let (Some(a), Some(b)) = (slot_of(pair[0]), slot_of(pair[1])) {
                self.pairs[a] |= 1 << b;
            }
        }
        for triple in chars.windows(3) {
            if let [Some(a), Some(b), Some(c)] = [triple[0], triple[1], triple[2]].map(slot_of) {
                self.inner[a * SLOTS + b] |= 1 << c;
            }
        }
    }

    fn mark(&mut self, a: char, b: char) {
        if let (Some(a), Some(b)) = (ascii(a), ascii(b))
            && slot(a).is_none()
            && slot(b).is_none()
        {
            self.marks[usize::from(a)] |= 1 << b;
        }
    }

    /// From the end of a form to the beginning of the next, where nothing must part them.
    fn glue(&mut self, said: &Said) {
        let ends = |of: Option<&char>| of.and_then(|c| slot_of(*c)).map_or(0, |slot| 1u64 << slot);
        let firsts = |forms: &mut dyn Iterator<Item = u32>| {
            let forms = forms.filter_map(|id| said.form(id));
            forms.fold(0, |all, form| all | ends(said.written(form).first()))
        };
        let all = firsts(&mut (0..said.forms().len() as u32));
        let close = |id: &u32| said.form(*id).is_some_and(|form| form.touch != Touch::No);
        let touching = firsts(&mut (0..said.forms().len() as u32).filter(close));
        for form in said.forms() {
            let Some(last) = said.written(form).last().and_then(|c| slot_of(*c)) else { continue };
            self.glued[last] |= match form.touch {
                Touch::No if !said.gap(form.to).is_empty() => touching,
                Touch::No => touching | firsts(&mut said.forms_of(form.to)),
                _ => all,
            };
        }
        for (pairs, glued) in self.pairs.iter_mut().zip(self.glued) {
            *pairs |= glued;
        }
    }

    /// Whether a licensed text may have a token of this [`signature`].
    pub fn has_all(&self, signature: u64) -> bool {
        signature & !self.signature == 0
    }

    /// Whether a licensed text may have `token` somewhere.
    pub fn admits(&self, token: &[u8]) -> bool {
        let end = line_end(token);
        // It may complete a character that another began.
        let begin = token[..end].iter().take_while(|b| (0x80..0xc0).contains(*b)).count();
        let mut rest = &token[begin..end];
        // The last two characters, if ASCII.
        let (mut before, mut last) = (None, None);
        while let Some(&byte) = rest.first() {
            if byte.is_ascii() {
                let folded = fold_byte(byte);
                if !self.narrow[usize::from(folded)] || !self.follows(before, last, folded) {
                    return false;
                }
                (before, last) = (last, Some(folded));
                rest = &rest[1..];
                continue;
            }
            (before, last) = (None, None);
            let long = rest.iter().skip(1).take_while(|b| (0x80..0xc0).contains(*b)).count() + 1;
            let (one, others) = rest.split_at(long);
            match std::str::from_utf8(one) {
                Ok(one) if one.chars().flat_map(fold_char).all(|c| self.has(c)) => rest = others,
                // A character that another token completes.
                Err(e) => return others.is_empty() && e.error_len().is_none(),
                Ok(_) => return false,
            }
        }
        true
    }

    /// Whether `here` may stand behind the two characters.
    fn follows(&self, before: Option<u8>, last: Option<u8>, here: u8) -> bool {
        let Some(last) = last else { return true };
        match (before.and_then(slot), slot(last), slot(here)) {
            (_, None, None) => self.marks[usize::from(last)] & 1 << here != 0,
            (None, Some(b), Some(c)) => self.pairs[b] & 1 << c != 0,
            (Some(a), Some(b), Some(c)) => {
                let glued = self.glued[a] & 1 << b != 0 || self.glued[b] & 1 << c != 0;
                self.inner[a * SLOTS + b] & 1 << c != 0 || glued && self.pairs[b] & 1 << c != 0
            }
            _ => true,
        }
    }

    fn has(&self, c: char) -> bool {
        ascii(c).map_or_else(|| self.wide.binary_search(&c).is_ok(), |c| self.narrow[usize::from(c)])
    }
}

/// As [`fold_char`].
fn fold_byte(byte: u8) -> u8 {
    match byte {
        b'`' => b'\'',
        byte if char::from(byte).is_whitespace() => b' ',
        byte => byte.to_ascii_lowercase(),
    }
}
