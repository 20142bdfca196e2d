//! The check of a file: everything that is wrong with it at once, each with its line and column.

use super::schema::{Field, Format, Place, Rule, Shape, elsewhere};
use super::{Settings, engine_mode};
use crate::store::names::nearest;
use serde::Deserialize as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, ValueDeserializer};

/// What other parts of the program know of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks {
    /// Whether a text is of a format, else a sentence that says what is expected.
    pub(crate) text: fn(Format, &str) -> Result<(), String>,
    /// Whether the engine takes a mode of this name.
    pub(crate) mode: fn(&str, &toml::Table) -> Result<(), String>,
    /// The modes that are built in.
    pub(crate) built_in_modes: fn() -> Vec<String>,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// One sentence or clause.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// The settings that the text of a file means.
///
/// # Errors
/// All that is wrong with it, in the order of the text.
pub(crate) fn check(text: &str, checks: &Checks) -> Result<Settings, Vec<Problem>> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    let mut walk = Walk { checks, modes: mode_names(root.get_ref(), checks), problems: Vec::new() };
    if let Shape::Table(fields) = Place::root().shape {
        walk.table("", fields, root.get_ref(), root.span());
    }
    walk.repeated_keys(root.get_ref());
    // What the parser says of a line counts, and the first of it; what it makes of the rest means nothing.
    let at = |offset: usize| position(text, offset);
    let mut unreadable = BTreeMap::new();
    for error in &syntax {
        let offset = error.span().unwrap_or_default().start;
        unreadable.entry(at(offset).0).or_insert((offset, error.message().to_owned()));
    }
    walk.problems.retain(|(offset, _)| !unreadable.contains_key(&at(*offset).0));
    walk.problems.extend(unreadable.into_values());

    if walk.problems.is_empty() {
        match Settings::deserialize(Deserializer::from(root)) {
            Ok(settings) => return Ok(settings),
            Err(e) => walk.problems.push((e.span().unwrap_or_default().start, e.message().to_owned())),
        }
    }
    walk.problems.sort();
    let located = walk.problems.into_iter().map(|(offset, message)| {
        let (line, column) = at(offset);
        Problem { line, column, message }
    });
    Err(located.collect())
}

/// Line and column, from 1, of a byte of `text`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The modes that may be named: those built in, and those of the file.
fn mode_names(root: &DeTable<'_>, checks: &Checks) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = (checks.built_in_modes)().into_iter().collect();
    if let Some(DeValue::Table(modes)) = root.get("modes").map(Spanned::get_ref) {
        names.extend(modes.keys().map(|name| name.get_ref().to_string()));
    }
    names
}

/// One pass over a file. Problems carry their byte offset.
struct Walk<'a> {
    checks: &'a Checks,
    modes: BTreeSet<String>,
    problems: Vec<(usize, String)>,
}

impl Walk<'_> {
    fn say(&mut self, span: &Range<usize>, message: String) {
        self.problems.push((span.start, message));
    }

    fn table(&mut self, path: &str, fields: &'static [Field], table: &DeTable<'_>, span: Range<usize>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                self.say(&key.span(), unknown(path, name, fields));
                continue;
            };
            let place = Place { shape: field.shape, rule: field.rule, restart: false };
            self.value(&join(path, name), place, value);
        }
        for field in fields.iter().filter(|field| field.required && !table.contains_key(field.name)) {
            self.say(&span, format!("{path} has no {}; give it one", field.name));
        }
        if path.starts_with("profiles.") && !["class", "title"].iter().any(|key| table.contains_key(*key)) {
            self.say(&span, format!("{path} matches no window; give it a class or a title"));
        }
    }

    fn value(&mut self, path: &str, place: Place, value: &Spanned<DeValue<'_>>) {
        let span = value.span();
        if span.is_empty() && !matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)) {
            // The parser's stand-in for what it could not read, which it told.
            return;
        }
        match (place.shape, value.get_ref()) {
            (Shape::Table(fields), DeValue::Table(table)) => self.table(path, fields, table, span),
            (Shape::Map(shape), DeValue::Table(table)) => {
                for (key, value) in table {
                    if key.get_ref().trim().is_empty() {
                        self.say(&key.span(), format!("{path} has an entry without a name"));
                    }
                    self.value(&join(path, key.get_ref()), Place { shape, ..place }, value);
                    if path == "modes" {
                        self.engine_mode(key, value);
                    }
                }
            }
            (Shape::List(shape), DeValue::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.value(&format!("{path}.{at}"), Place { shape, ..place }, item);
                }
            }
            (Shape::Pair, DeValue::Array(items))
                if matches!(
                    items.iter().map(Spanned::get_ref).collect::<Vec<_>>()[..],
                    [DeValue::String(_), DeValue::String(_)]
                ) => {}
            (Shape::Flag, DeValue::Boolean(_)) => {}
            (Shape::Integer | Shape::Number, DeValue::Integer(number)) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                self.number(path, place.rule, number.map_or(f64::INFINITY, |n| n as f64), &span);
            }
            (Shape::Number, DeValue::Float(number)) => {
                self.number(path, place.rule, number.as_str().parse().unwrap_or(f64::NAN), &span);
            }
            (Shape::Text, DeValue::String(text)) => self.text(path, place.rule, text, &span),
            (Shape::Choice(words), DeValue::String(word)) => {
                if !words.contains(&word.as_ref()) {
                    let meant = nearest(word, words.iter().copied());
                    let meant =
                        meant.first().map_or(String::new(), |word| format!("; did you mean '{word}'?"));
                    self.say(&span, format!("{path} cannot be '{word}', only {}{meant}", words.join(", ")));
                }
            }
            (shape, found) => self.say(&span, format!("{path} is {}, not {}", kind(found), wanted(shape))),
        }
    }

    fn number(&mut self, path: &str, rule: Rule, number: f64, span: &Range<usize>) {
        if let Rule::Within(least, most) = rule
            && !(least as f64..=most as f64).contains(&number)
        {
            self.say(span, format!("{path} must be from {least} to {most}"));
        }
    }

    fn text(&mut self, path: &str, rule: Rule, text: &str, span: &Range<usize>) {
        let judged = match rule {
            Rule::Any | Rule::Within(..) => Ok(()),
            Rule::Filled if text.trim().is_empty() => Err("is empty".to_owned()),
            Rule::Filled => Ok(()),
            Rule::Mode if self.modes.contains(text) => Ok(()),
            Rule::Mode => {
                let names: Vec<&str> = self.modes.iter().map(String::as_str).collect();
                Err(format!("names the mode '{text}', which is not there; there are {}", names.join(", ")))
            }
            Rule::WordOr(word, _) if text == word => Ok(()),
            Rule::Is(format) | Rule::WordOr(_, format) => {
                (self.checks.text)(format, text).map_err(|what| format!("cannot be used: {what}"))
            }
        };
        if let Err(what) = judged {
            self.say(span, format!("{path} {what}"));
        }
    }

    /// Whether the engine takes a mode, where it has keys of the engine and these are sound so far.
    fn engine_mode(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, mode: &Spanned<DeValue<'_>>) {
        let within = format!("modes.{}.", name.get_ref());
        let sound = !self.problems.iter().any(|(_, problem)| problem.starts_with(&within));
        let table = toml::Table::deserialize(ValueDeserializer::from(mode.clone()));
        if let (true, Ok(table)) = (sound, table.map(engine_mode))
            && !table.is_empty()
            && let Err(what) = (self.checks.mode)(name.get_ref(), &table)
        {
            self.say(&name.span(), format!("modes.{} cannot be used: {what}", name.get_ref()));
        }
    }

    /// A key may start one dictation only.
    fn repeated_keys(&mut self, root: &DeTable<'_>) {
        let Some(DeValue::Array(keys)) = root.get("keys").map(Spanned::get_ref) else { return };
        let mut seen = BTreeMap::new();
        for (at, entry) in keys.iter().enumerate() {
            let DeValue::Table(entry) = entry.get_ref() else { continue };
            let Some((DeValue::String(key), span)) = entry.get("key").map(|k| (k.get_ref(), k.span())) else {
                continue;
            };
            // The order of modifiers, letter case and spaces make no other key.
            let mut parts: Vec<String> = key.split('+').map(|part| part.trim().to_lowercase()).collect();
            parts.sort();
            if let Some(first) = seen.insert(parts, at) {
                self.say(&span, format!("keys.{at}.key is the same key as keys.{first}.key"));
            }
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The sentence for a key that is not there, with what may have been meant.
pub(super) fn unknown(path: &str, name: &str, fields: &[Field]) -> String {
    let meant = nearest(name, fields.iter().map(|field| field.name));
    let meant = match meant.first() {
        Some(meant) => Some(join(path, meant)),
        None => elsewhere(name).into_iter().next(),
    };
    let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
    format!("there is no key {}{meant}", join(path, name))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Flag => "true or false",
        Shape::Integer => "a whole number",
        Shape::Number => "a number",
        Shape::Text => "a text in quotes",
        Shape::Choice(_) => "a word in quotes",
        Shape::List(Shape::Table(_)) => "a list of tables, written [[...]]",
        Shape::List(_) => "a list, such as [\"a\", \"b\"]",
        Shape::Pair => "a list of two texts",
        Shape::Map(_) | Shape::Table(_) => "a table",
    }
}
