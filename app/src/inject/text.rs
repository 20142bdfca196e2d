//! What may be typed: control characters out, newlines as the window allows.

use unicode_segmentation::UnicodeSegmentation;

/// `text` without control characters, byte order marks and bidirectional overrides (which serve to make
/// text look like other text); the many line ends become `\n`. Where `one_line`, runs of newlines and tabs
/// become one space each.
pub(super) fn printable(text: &str, one_line: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = match c {
            '\r' if chars.peek() == Some(&'\n') => continue,
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
            '\u{202d}' | '\u{202e}' | '\u{feff}' => continue,
            c => c,
        };
        match c {
            '\n' | '\t' if one_line => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Grapheme clusters: what one BackSpace removes.
pub(super) fn graphemes(text: &str) -> usize {
    text.graphemes(true).count()
}

/// The keysym that types a character, BackSpace among them.
#[cfg(target_os = "linux")]
pub(super) fn keysym(c: char) -> xkeysym::Keysym {
    use xkeysym::Keysym;
    match c {
        '\n' => Keysym::Return,
        '\t' => Keysym::Tab,
        '\u{8}' => Keysym::BackSpace,
        c => Keysym::from_char(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_pass() {
        let text = "a\u{1b}[31mb\u{9b}c\u{0}d\u{7f}e\u{202e}f\u{feff}g";
        assert_eq!(printable(text, false), "a[31mbcdefg");
        assert_eq!(printable(text, true), "a[31mbcdefg");
    }

    #[test]
    fn line_ends_are_kept_or_become_spaces() {
        let text = "a\r\nb\rc\u{2028}d\n\n\te";
        assert_eq!(printable(text, false), "a\nb\nc\nd\n\n\te");
        assert_eq!(printable(text, true), "a b c d e");
    }

    #[test]
    fn graphemes_are_what_a_reader_counts() {
        assert_eq!(graphemes("e\u{301}👩‍👩‍👧🇩🇪漢\n"), 5);
    }
}
