//! Punctuation and capitals of the words that both texts have.

use super::align::{Step, align};

/// Errors of one kind, and of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    pub(crate) errors: usize,
    pub(crate) of: usize,
}

impl Errors {
    pub(crate) fn add(&mut self, other: Errors) {
        self.errors += other.errors;
        self.of += other.of;
    }

    /// Percent; `None` of nothing.
    pub(crate) fn percent(self) -> Option<f64> {
        (self.of > 0).then(|| 100.0 * self.errors as f64 / self.of as f64)
    }
}

/// A word as it is written.
struct Written<'a> {
    /// Lower case, letters and digits.
    plain: String,
    /// Without the marks around it.
    cased: &'a str,
    /// The mark behind it, if it is one that is counted.
    mark: Option<char>,
}

fn written(text: &str) -> Vec<Written<'_>> {
    let word = |part| -> Option<Written<'_>> {
        let odd = |c: char| !c.is_alphanumeric();
        let begun = str::trim_start_matches(part, odd);
        let cased = begun.trim_end_matches(odd);
        let mark = begun[cased.len()..].chars().find_map(|c| match c {
            '.' | '。' | '…' => Some('.'),
            ',' | '，' | '、' => Some(','),
            '?' | '？' => Some('?'),
            '!' | '！' => Some('!'),
            ':' | ';' => Some(c),
            _ => None,
        });
        let plain: String = cased.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
        (!plain.is_empty()).then_some(Written { plain, cased, mark })
    };
    text.split_whitespace().filter_map(word).collect()
}

/// Errors of punctuation (marks missing, added or changed behind words that both texts have, of the marks
/// that the reference has there) and of capitals (words written in another case, of the words that both
/// have). A reference without marks, or without capitals, says nothing of them.
pub(crate) fn marks(reference: &str, hypothesis: &str) -> (Option<Errors>, Option<Errors>) {
    let (said, got) = (written(reference), written(hypothesis));
    let (mut punctuation, mut case) = (Errors::default(), Errors::default());
    let plain = |words: &[Written<'_>]| words.iter().map(|w| w.plain.clone()).collect::<Vec<_>>();
    for step in align(&plain(&said), &plain(&got)) {
        let Step::Same(i, j) = step else { continue };
        let (said, got) = (&said[i], &got[j]);
        punctuation
            .add(Errors { errors: usize::from(said.mark != got.mark), of: usize::from(said.mark.is_some()) });
        case.add(Errors { errors: usize::from(said.cased != got.cased), of: 1 });
    }
    let marked = said.iter().any(|w| w.mark.is_some());
    (marked.then_some(punctuation), reference.contains(char::is_uppercase).then_some(case))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_capitals_of_shared_words_are_compared() {
        let (marks_, case) = marks("Yes, we met Anna. It is late.", "yes we met (Anna). It was late!");
        assert_eq!(marks_, Some(Errors { errors: 2, of: 3 }));
        assert_eq!(case, Some(Errors { errors: 1, of: 6 }));
    }

    #[test]
    fn a_bare_reference_says_nothing() {
        assert_eq!(marks("we met anna", "We met Anna."), (None, None));
        assert_eq!(marks("", "Well."), (None, None));
    }

    #[test]
    fn a_word_of_marks_alone_is_none() {
        assert_eq!(
            marks("A - b.", "A -- B."),
            (Some(Errors { errors: 0, of: 1 }), Some(Errors { errors: 1, of: 2 }))
        );
    }
}
