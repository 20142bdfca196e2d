//! Single keys, read and written by their dotted paths. Writing keeps comments and order.

use super::check::{Checks, Problem, check, unknown};
use super::schema::{Place, Shape};
use super::{Settings, to_table};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Key, Table, Value};

/// Why a key could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("{0}")]
    UnknownKey(String),
    #[error("'{value}' cannot be read as TOML for {key}: {what}")]
    Unreadable { key: String, value: String, what: String },
    #[error("{0} is past the end of its list; add to it with the next index")]
    PastEnd(String),
    #[error("nothing was changed:{}", lines(.0))]
    Refused(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {}", problem.message)).collect()
}

/// The value that a key has, as it is given to [`set`]; `None` where it is not set.
///
/// # Errors
/// If there is no such key.
pub(crate) fn get(settings: &Settings, key: &str) -> Result<Option<String>, EditError> {
    let (path, _) = resolve(key)?;
    let mut value = toml::Value::Table(to_table(settings));
    for part in &path {
        let below = match &mut value {
            toml::Value::Table(table) => table.remove(part),
            toml::Value::Array(list) => {
                part.parse().ok().filter(|at| *at < list.len()).map(|at: usize| list.swap_remove(at))
            }
            _ => None,
        };
        match below {
            Some(below) => value = below,
            None => return Ok(None),
        }
    }
    Ok(Some(match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }))
}

/// The file `text` with `key` set: a text or a word as it is, everything else as TOML.
///
/// # Errors
/// If there is no such key, or the file would not pass [`check`]; nothing that is not sound is ever
/// returned.
pub(crate) fn set(text: &str, key: &str, value: &str, checks: &Checks) -> Result<String, EditError> {
    let (path, place) = resolve(key)?;
    let new = match place.shape {
        Shape::Text | Shape::Choice(_) => Value::from(value),
        _ => value.trim().parse::<Value>().map_err(|e| EditError::Unreadable {
            key: key.into(),
            value: value.into(),
            what: e.to_string().lines().last().unwrap_or_default().into(),
        })?,
    };
    let refused = |problems| EditError::Refused(problems);
    let mut document = text.parse::<DocumentMut>().map_err(|e| {
        refused(
            check(text, checks)
                .err()
                .unwrap_or_else(|| vec![Problem { line: 1, column: 1, message: e.to_string() }]),
        )
    })?;
    let slot = slot(&mut document, &path).ok_or_else(|| EditError::PastEnd(key.into()))?;
    replace(slot, new);
    let text = document.to_string();
    check(&text, checks).map_err(refused)?;
    Ok(text)
}

/// The parts of a dotted path, and what the schema says of it.
fn resolve(key: &str) -> Result<(Vec<String>, Place), EditError> {
    let parts = Key::parse(key).map_err(|_| {
        EditError::UnknownKey(format!("'{key}' is not a key; write it with dots, such as audio.tail_ms"))
    })?;
    let path: Vec<String> = parts.iter().map(|part| part.get().to_owned()).collect();
    let mut place = Place::root();
    for (at, part) in path.iter().enumerate() {
        place = place.below(part).ok_or_else(|| {
            let fields = if let Shape::Table(fields) = place.shape { *fields } else { &[] };
            EditError::UnknownKey(unknown(&path[..at].join("."), part, fields))
        })?;
    }
    Ok((path, place))
}

/// Where the value of `path` is or is to be; `None` where an index is past the end of its list.
fn slot<'d>(document: &'d mut DocumentMut, path: &[String]) -> Option<&'d mut Item> {
    let mut item = document.as_item_mut();
    let mut place = Place::root();
    let mut default = toml::Value::Table(to_table(&Settings::default()));
    for (at, part) in path.iter().enumerate() {
        let shape = place.shape;
        place = place.below(part)?;
        default = default.get(part).cloned().unwrap_or(toml::Value::Boolean(false));
        item = match shape {
            Shape::List(of) => below_list(item, of, part.parse().ok()?)?,
            _ => below_table(item, part)?,
        };
        if item.is_none() && at + 1 < path.len() {
            *item = start(place.shape, default.as_array());
        }
    }
    Some(item)
}

/// The item of a list; one more than there are appends.
fn below_list<'i>(list: &'i mut Item, of: &Shape, at: usize) -> Option<&'i mut Item> {
    match list {
        Item::ArrayOfTables(tables) if at == tables.len() => tables.push(Table::new()),
        Item::Value(Value::Array(values)) if at == values.len() => values.push(match of {
            Shape::Table(_) => Value::InlineTable(InlineTable::new()),
            _ => Value::from(""),
        }),
        _ => {}
    }
    list.get_mut(at)
}

fn below_table<'i>(table: &'i mut Item, key: &str) -> Option<&'i mut Item> {
    Some(table.as_table_like_mut()?.entry(key).or_insert(Item::None))
}

/// What a list or table that the file leaves out begins as: a list has its default items, which must
/// be there for one of them to be changed.
fn start(shape: &Shape, default: Option<&Vec<toml::Value>>) -> Item {
    match (shape, default) {
        (Shape::List(Shape::Table(_)), None) => Item::ArrayOfTables(ArrayOfTables::new()),
        (Shape::List(of), items) => {
            let items = items.into_iter().flatten();
            let array: Array = items.filter_map(|item| item.to_string().parse::<Value>().ok()).collect();
            let array = Item::Value(Value::Array(array));
            match of {
                Shape::Table(_) => Item::ArrayOfTables(array.into_array_of_tables().unwrap_or_default()),
                _ => array,
            }
        }
        _ => {
            let mut table = Table::new();
            // [modes.mail] needs no [modes] before it.
            table.set_implicit(true);
            Item::Table(table)
        }
    }
}

/// A value in the place of another keeps the comment at its end, and a table its headers.
fn replace(slot: &mut Item, mut new: Value) {
    match slot.as_value() {
        Some(old) => *new.decor_mut() = old.decor().clone(),
        None => new.decor_mut().clear(),
    }
    *slot = match (&slot, new) {
        (Item::Table(_), Value::InlineTable(table)) => Item::Table(table.into_table()),
        (Item::ArrayOfTables(_), Value::Array(array)) if !array.is_empty() => {
            Item::Value(Value::Array(array))
                .into_array_of_tables()
                .map_or_else(|item| item, Item::ArrayOfTables)
        }
        (_, new) => Item::Value(new),
    };
}
