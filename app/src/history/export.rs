//! The history for other programs.

use super::entry::{Entry, Stored};
use super::table::{WHEN, local_time, printable};
use serde_json::Value;
use std::io::{self, Write};

/// A format of `undertone history export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A JSON object on each line, with every field.
    Jsonl,
    /// Comma-separated values (RFC 4180) with a header, with every field.
    Csv,
    /// A heading and the text of each dictation.
    Markdown,
}

/// Writes `dictations` to `out`.
///
/// # Errors
/// If `out` does not take them.
pub(crate) fn export(dictations: &[Stored], format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Jsonl => dictations.iter().try_for_each(|dictation| json_line(dictation, out)),
        Format::Csv => {
            // Without a dictation there is a header all the same.
            let any = Stored { id: 0, entry: Entry::default() };
            csv_line(fields(&any)?.keys().map(String::as_str), out)?;
            for dictation in dictations {
                let cells = fields(dictation)?;
                let cells: Vec<String> = cells.values().map(cell).collect();
                csv_line(cells.iter().map(String::as_str), out)?;
            }
            Ok(())
        }
        Format::Markdown => dictations.iter().try_for_each(|dictation| markdown(dictation, out)),
    }
}

/// One object on one line.
pub(super) fn json_line(value: &impl serde::Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn fields(dictation: &Stored) -> io::Result<serde_json::Map<String, Value>> {
    match serde_json::to_value(dictation)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a str>, out: &mut impl Write) -> io::Result<()> {
    let quoted: Vec<String> = cells
        .map(|cell| match cell.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.to_owned(),
        })
        .collect();
    write!(out, "{}\r\n", quoted.join(","))
}

fn markdown(dictation: &Stored, out: &mut impl Write) -> io::Result<()> {
    let entry = &dictation.entry;
    let place = entry.app.as_deref().map(|app| format!(", {}", printable(app))).unwrap_or_default();
    writeln!(out, "## {}, {}{place}\n", local_time(entry.started_at_ms, WHEN), printable(&entry.mode))?;
    if let Some(text) = entry.clean_text.as_deref().or(entry.raw_text.as_deref()) {
        writeln!(out, "{}\n", text.trim())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(format: Format) -> String {
        let entry = Entry {
            mode: "dictate".into(),
            clean_text: Some("She said \"no\",\nand left.".into()),
            refusals: vec!["a, b".into()],
            ..Entry::default()
        };
        let mut out = Vec::new();
        export(&[Stored { id: 3, entry }], format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_quotes_what_needs_it_and_every_line_has_every_column() {
        let csv = exported(Format::Csv);
        assert!(csv.starts_with("id,started_at_ms,recorded_at_ns,mode,"));
        assert!(csv.contains("\r\n3,0,0,dictate,"));
        assert!(csv.contains(",\"She said \"\"no\"\",\nand left.\","));
        assert!(csv.contains(",\"[\"\"a, b\"\"]\","));
        let header = csv.lines().next().unwrap().matches(',').count();
        let unquoted = csv.split_once("\r\n").unwrap().1.replace("\"no\"\",", "").replace("a, b", "");
        assert_eq!(unquoted.matches(',').count(), header);
    }

    #[test]
    fn json_lines_and_markdown() {
        let json = exported(Format::Jsonl);
        assert_eq!(json.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap().refusals, ["a, b"]);
        assert!(exported(Format::Markdown).ends_with(", dictate\n\nShe said \"no\",\nand left.\n\n"));
    }
}
