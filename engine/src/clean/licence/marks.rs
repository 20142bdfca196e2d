//! The marks and white space between two words.

/// Most marks and spaces between two words, where the transcript has not more.
const LONGEST_RUN: u8 = 8;

/// What stands right before the next character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing: the text begins.
    Start,
    /// A word.
    Word,
    /// A sign that holds on to the next word ("@").
    Glued,
    /// A sign that may ("&").
    Loose,
    /// A hyphen or dash right behind a word.
    Hyphen,
    /// A mark that closes: a space must follow.
    Closed,
    /// A colon right behind a word: a space, or minutes.
    Colon,
    /// A dash behind a space: another must follow.
    Dash,
    /// White space.
    Space,
    /// A mark that opens, or one of a script without spaces.
    Opened,
}

/// What was written since the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Between {
    pub(super) mark: Mark,
    /// Marks and spaces so far.
    run: u8,
    /// They part the words on both sides in speech.
    pub(super) pause: bool,
}

impl Between {
    pub(super) fn new(mark: Mark) -> Between {
        Between { mark, run: 0, pause: false }
    }

    /// Behind a word that no mark may follow.
    pub(super) fn bare() -> Between {
        Between { mark: Mark::Word, run: LONGEST_RUN, pause: false }
    }

    /// Whether nothing was written since the last word.
    pub(super) fn is_fresh(self) -> bool {
        matches!(self.mark, Mark::Start | Mark::Word | Mark::Loose | Mark::Glued)
    }

    /// With one mark or space (as ' ') more, if it may stand here.
    pub(super) fn then(self, c: char) -> Option<Between> {
        use Mark::*;
        let room = self.run < LONGEST_RUN;
        let behind_word = matches!(self.mark, Word | Loose);
        let mark = match (self.mark, c) {
            (Glued, _) => return None,
            (Start | Space, ' ') => room.then_some(Space)?,
            (Opened, ' ') => return None,
            (_, ' ') => Space,
            _ if !room => return None,
            (Word | Loose, ':') => Colon,
            (Word | Loose | Closed | Colon, _) if CLOSING.contains(c) => Closed,
            (Word | Loose | Closed | Opened, _) if WIDE.contains(c) => Opened,
            (Start | Space | Opened | Hyphen, _) if OPENING.contains(c) => Opened,
            (Word, _) if is_dash(c) => Hyphen,
            // A digit would be read with a minus.
            (Loose | Hyphen, _) if is_dash(c) => Closed,
            // One dash is enough.
            (Start | Space, _) if is_dash(c) && !self.pause => Dash,
            _ => return None,
        };
        let dashed = c == ' ' && matches!(self.mark, Hyphen | Dash) && !behind_word;
        Some(Between { mark, run: self.run.saturating_add(1), pause: self.pause || is_pause(c) || dashed })
    }

    /// With a question mark where one is owed.
    pub(super) fn asked(self) -> Option<Between> {
        let owed = !matches!(self.mark, Mark::Start | Mark::Glued);
        owed.then_some(Between { mark: Mark::Closed, run: self.run, pause: true })
    }

    /// Whether the text may end so.
    pub(super) fn ends(self) -> bool {
        !matches!(self.mark, Mark::Glued | Mark::Dash | Mark::Hyphen)
    }
}

const CLOSING: &str = ".,;:!?…)]}\"'”’»“";
const WIDE: &str = "。、，！？：；「」『』（）";
/// No brackets: what was said is no aside of the writer's. Those of the transcript are its own.
const OPENING: &str = "\"“«„»¿¡「『";

const DASHES: &str = "-–—";
/// Marks that a writer may not bring in: what the transcript has of them is its own.
const QUOTES: &str = "\"“”„«»「」『』";
const BRACKETS: &str = ")]}（）";
const INVERTED: &str = "¿¡";

/// Whether a mark parts what stands on its sides in speech.
fn is_pause(c: char) -> bool {
    matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '…' | '。' | '、' | '，' | '！' | '？')
}

/// Whether a mark is a hyphen or a dash.
pub(super) fn is_dash(c: char) -> bool {
    DASHES.contains(c)
}

/// Whether a mark may stand in an edit of `text` that is in `lang` at all.
pub(super) fn is_of(c: char, text: &str, lang: &str) -> bool {
    let quoted = || text.contains(|c| QUOTES.contains(c));
    match c {
        c if QUOTES.contains(c) => quoted(),
        c if BRACKETS.contains(c) => text.contains(c),
        c if INVERTED.contains(c) => matches!(lang, "es" | "gl" | "ast") || text.contains(c),
        _ => true,
    }
}

/// Whether a mark may stand behind a character: marks of a sentence do not pile up, but for the point of an
/// abbreviation, and an apostrophe ends a genitive only.
pub(super) fn follows(before: char, c: char) -> bool {
    match (before, c) {
        ('.', ',' | ';' | ':' | '!' | '?') | ('?', '!') | ('…', '!' | '?') => true,
        (before, '\'') => matches!(before, 's' | 'x' | 'z'),
        (before, c) => !is_pause(before) || !is_pause(c),
    }
}

/// Whether a mark may stand behind the last word.
pub(super) fn ends(c: char) -> bool {
    c != ' ' && !is_dash(c) && (CLOSING.contains(c) || !OPENING.contains(c))
}

/// Whether a mark is one of scripts without spaces, which needs none behind it.
pub(super) fn is_wide(c: char) -> bool {
    WIDE.contains(c)
}

/// All marks, and the space between words.
pub(super) fn all() -> impl Iterator<Item = char> {
    CLOSING.chars().chain(WIDE.chars()).chain(OPENING.chars()).chain(" -–—’".chars())
}

/// Marks and spaces that may follow one another, of whatever stands before.
pub(super) fn follow() -> impl Iterator<Item = (char, char)> {
    use Mark::*;
    let states = [Start, Word, Glued, Loose, Hyphen, Closed, Colon, Dash, Space, Opened];
    let states =
        states.into_iter().flat_map(|mark| [false, true].map(|pause| Between { mark, run: 0, pause }));
    let one = move |a: char| states.clone().flat_map(move |s| [s.then(a), s.asked().filter(|_| a == '?')]);
    let two = |a: char, then: Between| all().filter(move |b| then.then(*b).is_some()).map(move |b| (a, b));
    // A question mark that is owed may stand behind any.
    let asked = all().map(|a| (a, '?'));
    all().flat_map(move |a| one(a).flatten().flat_map(move |then| two(a, then))).chain(asked)
}

/// All marks that are not ASCII.
pub(super) fn wide_marks() -> impl Iterator<Item = char> {
    all().filter(|c| !c.is_ascii())
}
