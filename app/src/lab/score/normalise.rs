//! Texts made comparable as Whisper's paper does it (Radford et al. 2022, appendix C; the Python package
//! `whisper-normalizer`): case, punctuation, fillers, spellings, contractions and the way numbers are
//! written do not count as errors.

use super::numbers::Numbers;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use regex::{Captures, Regex};
use std::borrow::Cow;
use std::collections::HashMap;
use unicode_segmentation::UnicodeSegmentation;

/// Languages whose words are not parted: their letters are counted.
const BY_LETTER: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];
/// Whisper's `english.json`.
const SPELLINGS: &str = include_str!("spellings.txt");
/// Contractions and titles, in the order in which they are replaced.
const REPLACED: &[(&str, &str)] = &[
    (r"\bwon't\b", "will not"),
    (r"\bcan't\b", "can not"),
    (r"\blet's\b", "let us"),
    (r"\bain't\b", "aint"),
    (r"\by'all\b", "you all"),
    (r"\bwanna\b", "want to"),
    (r"\bkinda\b", "kind of"),
    (r"\bsorta\b", "sort of"),
    (r"\bdunno\b", "do not know"),
    (r"\bgotta\b", "got to"),
    (r"\bgonna\b", "going to"),
    (r"\bi'ma\b", "i am going to"),
    (r"\bimma\b", "i am going to"),
    (r"\bwoulda\b", "would have"),
    (r"\bcoulda\b", "could have"),
    (r"\bshoulda\b", "should have"),
    (r"\bcause\b", "because"),
    (r"\bma'am\b", "madam"),
    (r"\bmr\b", "mister "),
    (r"\bmrs\b", "missus "),
    (r"\bst\b", "saint "),
    (r"\bdr\b", "doctor "),
    (r"\bprof\b", "professor "),
    (r"\bcapt\b", "captain "),
    (r"\bgov\b", "governor "),
    (r"\bald\b", "alderman "),
    (r"\bgen\b", "general "),
    (r"\bsen\b", "senator "),
    (r"\brep\b", "representative "),
    (r"\bpres\b", "president "),
    (r"\brev\b", "reverend "),
    (r"\bhon\b", "honorable "),
    (r"\basst\b", "assistant "),
    (r"\bassoc\b", "associate "),
    (r"\blt\b", "lieutenant "),
    (r"\bcol\b", "colonel "),
    (r"\bjr\b", "junior "),
    (r"\bsr\b", "senior "),
    (r"\besq\b", "esquire "),
    (r"'d been\b", " had been"),
    (r"'s been\b", " has been"),
    (r"'d gone\b", " had gone"),
    (r"'s gone\b", " has gone"),
    (r"'d done\b", " had done"),
    (r"'s got\b", " has got"),
    (r"n't\b", " not"),
    (r"'re\b", " are"),
    (r"'s\b", " is"),
    (r"'d\b", " would"),
    (r"'ll\b", " will"),
    (r"'t\b", " not"),
    (r"'ve\b", " have"),
    (r"'m\b", " am"),
];

/// Both normalisers, compiled.
pub(crate) struct Normaliser {
    bracketed: Regex,
    parenthesised: Regex,
    fillers: Regex,
    parted_apostrophe: Regex,
    replaced: Vec<(Regex, &'static str)>,
    digit_comma: Regex,
    full_stop: Regex,
    accents: Regex,
    symbols_but_signs: Regex,
    symbols: Regex,
    loose_prefix: Regex,
    loose_percent: Regex,
    spellings: HashMap<&'static str, &'static str>,
    numbers: Numbers,
}

impl Normaliser {
    /// # Errors
    /// Never: the patterns are constants, compiled in tests.
    pub(crate) fn new() -> Result<Normaliser, regex::Error> {
        let replaced = REPLACED.iter().map(|(pattern, by)| Ok((Regex::new(pattern)?, *by)));
        let spellings = SPELLINGS.lines().filter(|line| !line.starts_with('#'));
        Ok(Normaliser {
            bracketed: Regex::new(r"[<\[][^>\]]*[>\]]")?,
            parenthesised: Regex::new(r"\(([^)]+?)\)")?,
            fillers: Regex::new(r"\b(hmm|mm|mhm|mmm|uh|um)\b")?,
            parted_apostrophe: Regex::new(r"\s+'")?,
            replaced: replaced.collect::<Result<_, regex::Error>>()?,
            digit_comma: Regex::new(r"(\d),(\d)")?,
            full_stop: Regex::new(r"\.([^0-9]|$)")?,
            accents: Regex::new(r"\p{Mn}")?,
            symbols_but_signs: Regex::new(r"[œŒøØæÆßẞđĐðÐþÞłŁ[\p{M}\p{S}\p{P}&&[^.%$¢€£]]]")?,
            symbols: Regex::new(r"[\p{M}\p{S}\p{P}]")?,
            loose_prefix: Regex::new(r"[.$¢€£]([^0-9])")?,
            loose_percent: Regex::new(r"([^0-9])%")?,
            spellings: spellings.filter_map(|line| line.split_once(' ')).collect(),
            numbers: Numbers::new()?,
        })
    }

    /// The words of a text in a language (a code; English if none is known), or its letters where words
    /// are not parted.
    pub(crate) fn words(&self, text: &str, lang: &str) -> Vec<String> {
        let text = match lang {
            "en" | "" => self.english(text),
            _ if BY_LETTER.contains(&lang) => self.basic(text).graphemes(true).collect::<Vec<_>>().join(" "),
            _ => self.basic(text),
        };
        text.split_whitespace().map(str::to_string).collect()
    }

    /// The words of a reference: what stands in brackets there is spoken, though the paper drops it as a
    /// remark of the transcriber (as `benches/peers/wer.py` has it).
    pub(crate) fn reference_words(&self, text: &str, lang: &str) -> Vec<String> {
        self.words(&text.replace(['(', ')', '[', ']'], " "), lang)
    }

    fn unbracketed<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bracketed.replace_all(text, "") {
            Cow::Borrowed(text) => self.parenthesised.replace_all(text, ""),
            Cow::Owned(text) => Cow::Owned(self.parenthesised.replace_all(&text, "").into_owned()),
        }
    }

    /// `BasicTextNormalizer`.
    fn basic(&self, text: &str) -> String {
        let text = text.to_lowercase();
        let text = ComposingNormalizerBorrowed::new_nfkc().normalize(&self.unbracketed(&text)).into_owned();
        self.symbols.replace_all(&text, " ").to_lowercase()
    }

    /// `EnglishTextNormalizer`; spaces are left as they fall.
    fn english(&self, text: &str) -> String {
        let text = text.to_lowercase();
        let text = self.fillers.replace_all(&self.unbracketed(&text), "").into_owned();
        let mut text = self.parted_apostrophe.replace_all(&text, "'").into_owned();
        for (pattern, by) in &self.replaced {
            if let Cow::Owned(replaced) = pattern.replace_all(&text, *by) {
                text = replaced;
            }
        }
        let text = self.digit_comma.replace_all(&text, "${1}${2}");
        let text = self.full_stop.replace_all(&text, " ${1}");
        let text = self.without_symbols(&text);
        let text = self.numbers.apply(&text);
        let spelled: Vec<&str> =
            text.split_whitespace().map(|w| self.spellings.get(w).copied().unwrap_or(w)).collect();
        let text = spelled.join(" ");
        let text = self.loose_prefix.replace_all(&text, " ${1}");
        self.loose_percent.replace_all(&text, "${1} ").into_owned()
    }

    /// Accents dropped, letters with strokes and ligatures as ASCII, symbols but the signs of numbers as
    /// spaces: `remove_symbols_and_diacritics`.
    fn without_symbols(&self, text: &str) -> String {
        let text = DecomposingNormalizerBorrowed::new_nfkd().normalize(text);
        let text = self.accents.replace_all(&text, "");
        let ascii = |found: &Captures<'_>| match &found[0] {
            "œ" => "oe",
            "Œ" => "OE",
            "ø" => "o",
            "Ø" => "O",
            "æ" => "ae",
            "Æ" => "AE",
            "ß" => "ss",
            "ẞ" => "SS",
            "đ" | "ð" => "d",
            "Đ" | "Ð" => "D",
            "þ" | "Þ" => "th",
            "ł" => "l",
            "Ł" => "L",
            _ => " ",
        };
        self.symbols_but_signs.replace_all(&text, ascii).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `scripts/golden/normalise.py` with whisper-normalizer 0.1.15: language, text, result.
    const GOLDEN: &str = include_str!("golden.tsv");

    #[test]
    fn texts_are_normalised_as_by_the_papers_own_program() {
        let normaliser = Normaliser::new().unwrap();
        let mut lines = 0;
        for line in GOLDEN.lines() {
            let [lang, text, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert_eq!(normaliser.words(text, lang).join(" "), expected, "{lang}: {text}");
            lines += 1;
        }
        assert!(lines >= 100, "only {lines} cases");
    }

    #[test]
    fn what_a_reference_has_in_brackets_counts() {
        let normaliser = Normaliser::new().unwrap();
        assert_eq!(normaliser.words("so (he said) yes", "en"), ["so", "yes"]);
        assert_eq!(normaliser.reference_words("so (he said) yes", "en"), ["so", "he", "said", "yes"]);
    }

    #[test]
    fn no_text_is_too_odd() {
        let normaliser = Normaliser::new().unwrap();
        let digits = "9".repeat(60);
        for text in [
            digits.as_str(),
            "ten trillion decillion decillion decillion",
            "point point double oh",
            "twenty one. five . . 5.",
            "$ £€ 5 % ¢",
            "minus plus and and a half",
            &format!("{digits} million {digits}.5 thousandth five hundreds"),
            "٣٤ ½ Ⅷ x² \u{301}",
        ] {
            normaliser.words(text, "en");
        }
    }
}
