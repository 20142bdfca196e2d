//! Text in columns.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Widest line of a table, in columns.
pub(super) const WIDTH: usize = 100;

/// Date and time to the minute, as `strftime` has it.
pub(super) const WHEN: &str = "%Y-%m-%d %H:%M";

/// A moment in the system's time zone, in a format of `strftime`.
pub(crate) fn local_time(utc_ms: i64, format: &str) -> String {
    let Ok(time) = Timestamp::from_millisecond(utc_ms) else { return "?".into() };
    time.to_zoned(TimeZone::system()).strftime(format).to_string()
}

/// Milliseconds since 1970 UTC; 0 for anything before.
pub(crate) fn utc_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// `text` on one line and without control characters: window titles come from strangers.
pub(super) fn printable(text: &str) -> String {
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` in at most `columns`, with an ellipsis where it is cut.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < columns
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Writes `rows` under `header`; a column of numbers is right-aligned, the last takes what is left of [`WIDTH`].
///
/// # Errors
/// If `out` does not take it.
pub(super) fn write<const N: usize>(
    out: &mut impl Write,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    /// Widest column but the last.
    const COLUMN: usize = 20;
    let column = |i: usize| rows.iter().map(move |row| row[i].as_str());
    let number =
        |text: &str| text.is_empty() || text == "-" || text.trim_end_matches('%').parse::<f64>().is_ok();
    let widths: [usize; N] = std::array::from_fn(|i| {
        column(i).chain([header[i]]).map(UnicodeWidthStr::width).max().unwrap_or(0).min(COLUMN)
    });
    let right: [bool; N] = std::array::from_fn(|i| !rows.is_empty() && column(i).all(number));
    let mut line = |cells: [&str; N]| {
        let (mut text, mut used) = (String::new(), 0);
        for (i, cell) in cells.into_iter().enumerate() {
            let last = i + 1 == N && !right[i];
            let cell = fitted(cell, if last { WIDTH.saturating_sub(used) } else { widths[i] });
            let pad = " ".repeat(widths[i].saturating_sub(cell.width()));
            text += &if right[i] { pad + &cell } else { cell + &pad };
            text += "  ";
            used += widths[i] + 2;
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(header)?;
    rows.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_long_text_is_cut_at_the_width() {
        let rows = [["7".into(), "漢".repeat(80)], ["1234".into(), "a".repeat(300)]];
        let mut out = Vec::new();
        write(&mut out, ["ID", "TEXT"], &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  ID  TEXT");
        assert!(lines[1].starts_with("   7  漢") && lines[1].ends_with('…'));
        assert!(lines.iter().all(|line| line.width() <= WIDTH));
        assert_eq!(lines[2].width(), WIDTH);
    }

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(printable("a\u{1b}[31m\tb\n\u{9b}c"), "a [31m b c");
        assert_eq!(fitted("abc", 3), "abc");
        assert_eq!(fitted("abcd", 3), "ab…");
    }
}
