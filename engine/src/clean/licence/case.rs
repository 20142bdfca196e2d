//! Capitals and small letters within a word.

/// How the letters since the last character that is none are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// There are none.
    None,
    /// Small letters.
    Small,
    /// One capital.
    First,
    /// One capital, then small letters.
    Capital,
    /// As many capitals, two or more.
    Capitals(u8),
    /// Capitals behind small letters ("iP", "GitH").
    Second,
    /// Small letters behind those, or behind several capitals ("iPhone", "APIs").
    SecondSmall,
    /// Anything else.
    Wild,
}

/// Most letters of a word that is not in the dictionary and may be all capitals ("UNESCO").
const MOST_CAPITALS: u8 = 6;

impl Case {
    /// With one character more.
    pub(super) fn then(self, c: char) -> Case {
        use Case::*;
        match (self, c.is_alphabetic(), c.is_uppercase()) {
            // "don't" is one word, "O'Neill" two.
            (Small | Capital, false, _) if matches!(c, '\'' | '’') => self,
            (_, false, _) => None,
            (None, _, false) | (Small, _, false) => Small,
            (None, _, true) => First,
            (First | Capital, _, false) => Capital,
            (First, _, true) => Capitals(2),
            (Capitals(n), _, true) => Capitals(n.saturating_add(1)),
            (Small | Capital | Second, _, true) => Second,
            (Capitals(_) | Second | SecondSmall, _, false) => SecondSmall,
            (SecondSmall | Wild, _, _) => Wild,
        }
    }

    /// Whether any word may be written so.
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Case::None | Case::Small | Case::First | Case::Capital)
    }

    /// Whether a name may be.
    pub(super) fn is_of_a_name(self) -> bool {
        !matches!(self, Case::Wild) && !matches!(self, Case::Capitals(n) if n > MOST_CAPITALS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(word: &str) -> Case {
        word.chars().fold(Case::None, Case::then)
    }

    #[test]
    fn words_names_and_neither() {
        let plain = ["", "a", "A", "word", "Word", "don't", "Don’t", "O'Neill", "Anglo-Norman", "5th", "我"];
        for plain in plain {
            assert!(of(plain).is_plain() && of(plain).is_of_a_name(), "{plain}");
        }
        for name in ["US", "iPhone", "GitHub", "MySQL", "NASA", "UNESCO", "APIs", "PhD"] {
            assert!(!of(name).is_plain() && of(name).is_of_a_name(), "{name}");
        }
        for wild in ["UnIoN", "EsSeN", "ABSOLUTE"] {
            assert!(!of(wild).is_of_a_name(), "{wild}");
        }
        assert!(!of("don'T").is_plain());
    }
}
