//! How far a result is from what was said, and from what should be written.

mod align;
mod marks;
mod normalise;
mod numbers;

pub(crate) use align::{Step, align};
pub(crate) use marks::Errors;
pub(crate) use normalise::Normaliser;

use super::run::record::Record;
use undertone_engine::clean::judge::{self, Violation};

/// Word and character errors of one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WordErrors {
    /// Words of the reference.
    pub(crate) words: usize,
    pub(crate) substituted: usize,
    pub(crate) deleted: usize,
    pub(crate) inserted: usize,
    pub(crate) characters: Errors,
}

impl WordErrors {
    pub(crate) fn add(&mut self, other: WordErrors) {
        self.words += other.words;
        self.substituted += other.substituted;
        self.deleted += other.deleted;
        self.inserted += other.inserted;
        self.characters.add(other.characters);
    }

    pub(crate) fn errors(self) -> usize {
        self.substituted + self.deleted + self.inserted
    }

    /// Percent of the reference's words; `None` without any.
    pub(crate) fn percent(self) -> Option<f64> {
        Errors { errors: self.errors(), of: self.words }.percent()
    }
}

/// What a clean-up changed that it should not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    pub(crate) novel_words: usize,
    pub(crate) numbers: usize,
    pub(crate) negations: usize,
}

/// One result, judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    /// The transcript against what was said.
    pub(crate) raw: WordErrors,
    /// The text against what should be written.
    pub(crate) text: WordErrors,
    pub(crate) punctuation: Option<Errors>,
    pub(crate) case: Option<Errors>,
    /// Against the transcript; of English alone.
    pub(crate) edits: Option<Edits>,
    /// Words of what was said and what was heard in their place, normalised.
    pub(crate) confused: Vec<(String, String)>,
}

/// Judges a result that is none of a failure.
pub(crate) fn score(record: &Record, normaliser: &Normaliser) -> Score {
    let lang = record.lang.as_deref().unwrap_or(&record.language);
    let (raw, confused) = errors(normaliser, lang, &record.reference, &record.raw);
    let (text, _) = errors(normaliser, lang, record.wanted(), &record.text);
    let (punctuation, case) = marks::marks(record.wanted(), &record.text);
    let edits = (lang == "en").then(|| edits(&record.raw, &record.text));
    Score { raw, text, punctuation, case, edits, confused }
}

/// Word errors of `text` against `reference`.
pub(crate) fn word_errors(normaliser: &Normaliser, lang: &str, reference: &str, text: &str) -> WordErrors {
    errors(normaliser, lang, reference, text).0
}

fn errors(
    normaliser: &Normaliser,
    lang: &str,
    reference: &str,
    text: &str,
) -> (WordErrors, Vec<(String, String)>) {
    let (said, got) = (normaliser.reference_words(reference, lang), normaliser.words(text, lang));
    let mut errors = WordErrors { words: said.len(), ..WordErrors::default() };
    let mut confused = Vec::new();
    for step in align(&said, &got) {
        match step {
            Step::Same(..) => {}
            Step::Substitute(i, j) => {
                errors.substituted += 1;
                confused.push((said[i].clone(), got[j].clone()));
            }
            Step::Delete(_) => errors.deleted += 1,
            Step::Insert(_) => errors.inserted += 1,
        }
    }
    let letters = |words: &[String]| words.join(" ").chars().collect::<Vec<_>>();
    let (said, got) = (letters(&said), letters(&got));
    errors.characters = Errors { errors: align::distance(&said, &got), of: said.len() };
    (errors, confused)
}

fn edits(raw: &str, text: &str) -> Edits {
    let mut edits = Edits::default();
    for violation in judge::violations(raw, text) {
        *match violation {
            Violation::NovelWord(_) => &mut edits.novel_words,
            Violation::NovelNumber(_) | Violation::LostNumber(_) => &mut edits.numbers,
            Violation::Negations(..) => &mut edits.negations,
        } += 1;
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_judged_on_both_sides_of_clean_up() {
        let record = Record {
            lang: Some("en".into()),
            reference: "Um, we can't meet Anna, sorry, Hanna at ten.".into(),
            wanted: Some("We can't meet Hanna at 10.".into()),
            raw: "um we cannot meet ana sorry hannah at ten".into(),
            text: "We can meet Hannah at 11.".into(),
            ..Record::default()
        };
        let score = score(&record, &Normaliser::new().unwrap());
        // "can not" against "cannot" is a substitution and a deletion, as with the paper's program.
        let (raw, text) = (score.raw, score.text);
        assert_eq!((raw.words, raw.substituted, raw.deleted, raw.inserted), (9, 3, 1, 0));
        assert_eq!((text.words, text.errors()), (7, 3));
        assert!(score.confused.contains(&("anna".into(), "ana".into())), "{:?}", score.confused);
        assert_eq!(score.edits, Some(Edits { novel_words: 0, numbers: 2, negations: 0 }));
        assert_eq!(score.case, Some(Errors { errors: 0, of: 3 }));
    }
    #[test]
    fn edits_are_counted_by_kind() {
        let found = edits("we cannot meet at ten", "We can meet Bob at 11.");
        assert_eq!(found, Edits { novel_words: 1, numbers: 2, negations: 1 });
    }
}
