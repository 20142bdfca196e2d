//! The file as documentation: every key with what it means, what it may be, and its default.

use super::Settings;
use super::schema::{Field, Place, Rule, Shape};
use super::to_table;
use std::fmt::Write as _;
use toml::{Table, Value};

/// A file that holds `settings`, each key explained. Keys that are not set are commented out.
pub(crate) fn print(settings: &Settings) -> String {
    let (settings, defaults) = (to_table(settings), to_table(&Settings::default()));
    let Shape::Table(sections) = Place::root().shape else { return String::new() };
    let mut out = String::new();
    for section in *sections {
        let value = settings.get(section.name);
        block(&mut out, section, value, defaults.get(section.name));
    }
    out.trim_start().to_owned()
}

/// A file that sets nothing and explains everything: what `edit` begins with.
pub(crate) fn template() -> String {
    let line = |line: &str| match line {
        "" => "\n".to_owned(),
        _ if line.starts_with('#') || is_section_header(line) => format!("{line}\n"),
        _ => format!("# {line}\n"),
    };
    print(&Settings::default()).lines().map(line).collect()
}

fn is_section_header(line: &str) -> bool {
    line.starts_with('[') && !line.starts_with("[[") && line.ends_with(']')
}

/// One section with an empty line before it.
fn block(out: &mut String, section: &Field, value: Option<&Value>, default: Option<&Value>) {
    out.push('\n');
    comment(out, section.doc, "");
    let name = section.name;
    match (section.shape, value) {
        (Shape::Table(fields), Some(Value::Table(table))) => {
            _ = writeln!(out, "[{name}]");
            keys(out, fields, table, default.and_then(Value::as_table));
        }
        (Shape::List(Shape::Table(fields)), Some(Value::Array(tables))) if !tables.is_empty() => {
            for (at, table) in tables.iter().filter_map(Value::as_table).enumerate() {
                _ = writeln!(out, "[[{name}]]");
                // Once is enough to explain a key.
                if at == 0 { keys(out, fields, table, None) } else { set_keys(out, table) }
            }
        }
        (Shape::List(Shape::Table(fields)), _) => {
            _ = writeln!(out, "# [[{name}]]");
            keys(out, fields, &Table::new(), None);
        }
        (Shape::Map(Shape::Table(fields)), Some(Value::Table(tables))) => {
            for (own_name, table) in tables {
                let Value::Table(table) = table else { continue };
                _ = writeln!(out, "[{name}.{}]", toml_key(own_name));
                set_keys(out, table);
            }
            _ = writeln!(out, "# [{name}.NAME]");
            keys(out, fields, &Table::new(), None);
        }
        (_, Some(Value::Table(table))) => {
            _ = writeln!(out, "[{name}]");
            set_keys(out, table);
        }
        _ => {}
    }
}

/// All keys of a table, explained.
fn keys(out: &mut String, fields: &[Field], table: &Table, defaults: Option<&Table>) {
    for field in fields {
        let default = defaults.and_then(|defaults| defaults.get(field.name));
        comment(out, field.doc, &limits(field, default));
        _ = match table.get(field.name) {
            Some(value) => writeln!(out, "{} = {value}", field.name),
            None => writeln!(out, "# {} = {}", field.name, example(field)),
        };
    }
}

fn set_keys(out: &mut String, table: &Table) {
    for (key, value) in table {
        _ = writeln!(out, "{} = {value}", toml_key(key));
    }
}

/// The documentation and what the key may be, on a line of its own where they are long.
fn comment(out: &mut String, doc: &str, limits: &str) {
    const MAX_COLUMNS: usize = 100;
    let doc: Vec<&str> = doc.lines().map(str::trim).collect();
    let last_columns = doc.last().map_or(0, |line| line.chars().count());
    let gap = match limits {
        "" => "",
        _ if last_columns + limits.chars().count() > MAX_COLUMNS => "\n# ",
        _ => " ",
    };
    _ = writeln!(out, "# {}{gap}{limits}", doc.join("\n# "));
}

/// What a key may be, and its default.
fn limits(field: &Field, default: Option<&Value>) -> String {
    let may_be = match (field.shape, field.rule) {
        (Shape::Choice(words) | Shape::List(Shape::Choice(words)), _) => Some(words.join(" | ")),
        (_, Rule::Within(least, most)) => Some(format!("{least} to {most}")),
        _ => None,
    };
    let default = match (default, field.shape) {
        // A long list is there to be read below.
        (Some(Value::Array(list)), _) if list.len() > 3 => None,
        (Some(value), _) => Some(format!("default {value}")),
        _ => None,
    };
    let limits: Vec<String> = may_be.into_iter().chain(default).collect();
    if limits.is_empty() { String::new() } else { format!("({})", limits.join("; ")) }
}

/// A value for a key that is not set.
fn example(field: &Field) -> String {
    let text = match (field.shape, field.rule) {
        (Shape::Choice(words), _) => words.first().copied().unwrap_or_default(),
        (Shape::Flag, _) => return "false".into(),
        (Shape::Integer | Shape::Number, _) => return "1".into(),
        (Shape::List(Shape::Pair), _) => return r#"[["so um hello", "Hello."]]"#.into(),
        (Shape::List(_), _) => return "[]".into(),
        (_, Rule::Mode) => "standard",
        (_, Rule::WordOr(word, _)) => word,
        (_, Rule::Is(super::Format::Key)) => "ctrl+shift+space",
        _ => "...",
    };
    Value::from(text).to_string()
}

/// A key as TOML wants it written.
fn toml_key(key: &str) -> String {
    toml_edit::Key::new(key).display_repr().into_owned()
}
