//! Key descriptions as the user writes them: `F9`, `ctrl+shift+space`, `right_ctrl`.

use super::table::{KEYS, Key, MODIFIERS, Modifier};
use std::{fmt, str::FromStr};

/// A key with the modifiers that must be down with it. Also a modifier alone (`right_ctrl`).
#[derive(Clone, Copy)]
pub(crate) struct Chord {
    modifiers: u8,
    key: &'static Key,
}

/// Why a key description is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ChordError {
    /// There is no key of that name.
    #[error("there is no key {word:?}; did you mean {suggestion:?}?")]
    Unknown {
        /// As written.
        word: String,
        /// The known name nearest to it.
        suggestion: &'static str,
    },
    /// Nothing before, between or after the plus signs.
    #[error("{0:?} lacks a key; write for example \"F9\" or \"ctrl+shift+space\"")]
    Empty(String),
    /// The word before the last plus is not one of the four modifiers.
    #[error("{0:?} cannot be held with another key; use ctrl, alt, shift or super")]
    NotAModifier(String),
    /// A modifier alone without its side.
    #[error("{0:?} alone needs its side: write \"left_{0}\" or \"right_{0}\"")]
    NoSide(&'static str),
    /// The key would be lost for typing.
    #[error("{0} alone could no longer be typed; add ctrl, alt or super, or choose a key such as F9")]
    Typing(Chord),
}

impl Chord {
    pub(super) fn key(&self) -> &'static Key {
        self.key
    }

    /// Whether the key is itself a modifier, which is then listened to but not taken from other programs.
    pub(super) fn is_modifier(&self) -> bool {
        MODIFIERS.iter().any(|modifier| modifier.codes.contains(&self.key.code))
    }

    pub(super) fn modifiers(&self) -> impl Iterator<Item = &'static Modifier> {
        let wanted = self.modifiers;
        MODIFIERS.iter().filter(move |modifier| wanted & modifier.bit != 0)
    }

    /// The trigger in the syntax of the XDG shortcuts specification: `CTRL+SHIFT+space`.
    #[cfg(feature = "portal")]
    pub(super) fn portal_trigger(&self) -> String {
        let modifiers = self.modifiers().map(|modifier| modifier.portal);
        modifiers.chain([self.key.keysym_name]).collect::<Vec<_>>().join("+")
    }

    fn takes_typing(&self) -> bool {
        let prints = matches!(self.key.keysym, 0x20..=0x7e | 0xff08 | 0xff09 | 0xff0d);
        prints && self.modifiers().all(|modifier| modifier.names[0] == "shift")
    }
}

impl PartialEq for Chord {
    fn eq(&self, other: &Self) -> bool {
        self.modifiers == other.modifiers && self.key.code == other.key.code
    }
}

impl Eq for Chord {}

impl fmt::Display for Chord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for modifier in self.modifiers() {
            write!(out, "{}+", modifier.names[0])?;
        }
        out.write_str(self.key.names[0])
    }
}

impl fmt::Debug for Chord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Chord {
    type Err = ChordError;

    fn from_str(text: &str) -> Result<Self, ChordError> {
        let words: Vec<&str> = text.split('+').map(str::trim).collect();
        if words.iter().any(|word| word.is_empty()) {
            return Err(ChordError::Empty(text.to_owned()));
        }
        let (last, held) = words.split_last().ok_or_else(|| ChordError::Empty(text.to_owned()))?;
        let mut modifiers = 0;
        for word in held {
            modifiers |= modifier(word).ok_or_else(|| not_a_modifier(word))?.bit;
        }
        if let Some(modifier) = modifier(last) {
            return Err(ChordError::NoSide(modifier.names[0]));
        }
        let chord = Self { modifiers, key: key(last).ok_or_else(|| unknown(last))? };
        if chord.is_modifier() && modifiers != 0 {
            return Err(ChordError::NotAModifier((*last).to_owned()));
        }
        if chord.takes_typing() { Err(ChordError::Typing(chord)) } else { Ok(chord) }
    }
}

/// Case and separators carry no meaning, but `-` alone is a key's own sign.
fn fold(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

fn named(names: &[&str], folded: &str) -> bool {
    names.iter().any(|name| fold(name) == folded)
}

fn key(word: &str) -> Option<&'static Key> {
    let folded = if word == "-" { "minus".to_owned() } else { fold(word) };
    KEYS.iter().find(|key| named(key.names, &folded))
}

fn modifier(word: &str) -> Option<&'static Modifier> {
    let folded = fold(word);
    MODIFIERS.iter().find(|modifier| named(modifier.names, &folded))
}

fn not_a_modifier(word: &str) -> ChordError {
    if key(word).is_some() { ChordError::NotAModifier(word.to_owned()) } else { unknown(word) }
}

fn unknown(word: &str) -> ChordError {
    let folded = fold(word);
    let names = KEYS.iter().flat_map(|key| key.names).chain(MODIFIERS.iter().flat_map(|m| m.names));
    let nearest = names.max_by(|a, b| {
        let likeness = |name: &str| strsim::jaro_winkler(&fold(name), &folded);
        likeness(a).total_cmp(&likeness(b))
    });
    ChordError::Unknown { word: word.to_owned(), suggestion: nearest.copied().unwrap_or("F9") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Chord {
        text.parse().unwrap()
    }

    #[test]
    fn every_key_is_shown_as_it_is_read() {
        for key in KEYS {
            for name in key.names {
                let modifier = MODIFIERS.iter().any(|modifier| modifier.codes.contains(&key.code));
                let text = if modifier { (*name).to_owned() } else { format!("super+{name}") };
                let chord = parse(&text);
                assert_eq!(chord.key.code, key.code, "{text}");
                assert_eq!(parse(&chord.to_string()), chord, "{text}");
            }
        }
        let codes: std::collections::BTreeSet<u16> = KEYS.iter().map(|key| key.code).collect();
        let keysyms: std::collections::BTreeSet<u32> = KEYS.iter().map(|key| key.keysym).collect();
        assert_eq!((codes.len(), keysyms.len()), (KEYS.len(), KEYS.len()), "a code or keysym stands twice");
    }

    #[test]
    fn spelling_is_free() {
        for (text, shown) in [
            ("f9", "F9"),
            (" Shift + Control+SPACE ", "ctrl+shift+space"),
            ("Ctrl-R", "right_ctrl"),
            ("Right Ctrl", "right_ctrl"),
            ("AltGr", "right_alt"),
            ("win+d", "super+d"),
            ("PrintScreen", "print"),
            ("ctrl+-", "ctrl+minus"),
            ("Pause", "pause"),
        ] {
            assert_eq!(parse(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_remedy() {
        let error = |text: &str| text.parse::<Chord>().unwrap_err().to_string();
        assert_eq!(error("ctrl+spcae"), r#"there is no key "spcae"; did you mean "space"?"#);
        assert_eq!(error("contrl+a"), r#"there is no key "contrl"; did you mean "control"?"#);
        assert!(error("F99").contains("F9"));
        assert!(error("ctrl+").contains("lacks a key"));
        assert!(error("").contains("lacks a key"));
        assert!(error("super").contains(r#""left_super""#));
        assert!(error("F8+F9").contains("cannot be held"));
        assert!(error("shift+right_ctrl").contains("cannot be held"));
        assert!(error("a").starts_with("a alone could no longer be typed"));
        assert!(error("shift+enter").contains("no longer be typed"));
    }

    #[cfg(feature = "portal")]
    #[test]
    fn the_portal_gets_its_own_spelling() {
        assert_eq!(parse("ctrl+shift+space").portal_trigger(), "CTRL+SHIFT+space");
        assert_eq!(parse("super+page_up").portal_trigger(), "LOGO+Prior");
        assert_eq!(parse("right_ctrl").portal_trigger(), "Control_R");
    }
}
