//! What is said for what is written: vocabulary, spoken punctuation and numbers in figures. These
//! steps come before clean-up, need no model, and are each asked for by the user.

use super::{figures, punctuation, replace};
use serde::Deserialize;
use std::borrow::Cow;

/// The steps that are applied to a transcript before it is cleaned. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spoken {
    /// "comma", "full stop", "new line", "open quote", ... are written as what they name (English,
    /// German, French and Spanish), unless they are spoken of ("the comma is missing").
    pub punctuation: bool,
    /// Numbers in words are written in figures (English): "twenty three" is "23", "five percent"
    /// "5%", "fifty dollars" "$50", "three thirty p m" "3:30 p.m.". One to nine stay words in prose.
    pub figures: bool,
    /// What is heard and what is to be written instead, before all else.
    pub replacements: Vec<Replacement>,
}

/// A phrase that the recogniser hears, and how it is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// Whole words, in any case, a hyphen as good as a space ("k eight s"). Empty: ignored.
    pub heard: String,
    /// Written exactly so ("k8s").
    pub written: String,
}

impl Spoken {
    /// `text` in `lang` ("en", "de-CH", ...) with the steps asked for, unchanged where none applies.
    /// Punctuation and figures applied twice do what they do once. Time grows linearly with the text.
    pub fn apply<'t>(&self, text: &'t str, lang: &str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        if !self.replacements.is_empty() {
            text = then(text, |t| replace::replace(t, &self.replacements));
        }
        // "five percent sign" must be "five%" before it is "5%".
        if self.punctuation {
            text = then(text, |t| punctuation::punctuate(t, lang));
        }
        if self.figures {
            text = then(text, |t| figures::figures(t, lang));
        }
        text
    }
}

fn then<'t>(text: Cow<'t, str>, step: impl Fn(&str) -> Cow<'_, str>) -> Cow<'t, str> {
    match text {
        Cow::Borrowed(text) => step(text),
        Cow::Owned(text) => match step(&text) {
            Cow::Borrowed(_) => Cow::Owned(text),
            Cow::Owned(changed) => Cow::Owned(changed),
        },
    }
}
