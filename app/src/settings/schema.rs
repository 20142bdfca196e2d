//! What the file may hold, as data. The [`section!`] macro makes a struct and its schema of the same
//! lines, so a key without documentation, default or kind of value does not compile. The
//! documentation, the check, `get` and `set` all read the schema.

use std::collections::BTreeMap;

/// What values a key takes.
#[derive(Debug)]
pub(crate) enum Shape {
    /// true or false.
    Flag,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A string.
    Text,
    /// A string out of these.
    Choice(&'static [&'static str]),
    /// An array.
    List(&'static Shape),
    /// An array of two strings.
    Pair,
    /// A table with keys of the user's own.
    Map(&'static Shape),
    /// A table with these keys.
    Table(&'static [Field]),
}

/// Texts that only another part of the program can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A key with its modifiers, such as `ctrl+shift+space`.
    Key,
    /// An amount of memory, such as `8GiB`.
    Size,
    /// A language's code.
    Language,
    /// Where to compute.
    Device,
}

/// What a value must satisfy beyond its shape; in a list or a map, each of its values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// Nothing.
    Any,
    /// A number from the first to the second.
    Within(i64, i64),
    /// A text that is not blank.
    Filled,
    /// The name of a mode, built in or in this file.
    Mode,
    /// A text of this format.
    Is(Format),
    /// This word, or a text of this format.
    WordOr(&'static str, Format),
}

/// One key of a table.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// One sentence or more, in lines.
    pub(crate) doc: &'static str,
    pub(crate) shape: &'static Shape,
    pub(crate) rule: Rule,
    /// Whether the table is refused without it.
    pub(crate) required: bool,
    /// Whether a change takes effect at the next start only; holds for all below it.
    pub(crate) restart: bool,
}

impl Field {
    pub(crate) const fn new(name: &'static str, doc: &'static str, shape: &'static Shape) -> Field {
        Field { name, doc, shape, rule: Rule::Any, required: false, restart: false }
    }
}

/// A type that a key's value may have.
pub(crate) trait Described {
    const SHAPE: Shape;
}

impl Described for bool {
    const SHAPE: Shape = Shape::Flag;
}

impl Described for u32 {
    const SHAPE: Shape = Shape::Integer;
}

impl Described for f64 {
    const SHAPE: Shape = Shape::Number;
}

impl Described for String {
    const SHAPE: Shape = Shape::Text;
}

impl Described for (String, String) {
    const SHAPE: Shape = Shape::Pair;
}

impl<T: Described> Described for Option<T> {
    const SHAPE: Shape = T::SHAPE;
}

impl<T: Described> Described for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}

impl<T: Described> Described for BTreeMap<String, T> {
    const SHAPE: Shape = Shape::Map(&T::SHAPE);
}

/// A struct for a table of the file: `/// documentation`, then `name: Type = default`, then
/// `=> rule` and the flags `, required` or `, restart` where wanted.
macro_rules! section {
    ($(#[doc = $about:literal])+ $Section:ident {
        $($(#[doc = $doc:literal])+ $name:ident: $Type:ty = $default:expr $(=> $rule:expr)? $(, $flag:ident)*;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $Section {
            $($(#[doc = $doc])+ pub(crate) $name: $Type,)+
        }

        impl Default for $Section {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl $crate::settings::schema::Described for $Section {
            const SHAPE: $crate::settings::schema::Shape = $crate::settings::schema::Shape::Table(&[$(
                $crate::settings::schema::Field {
                    $(rule: $rule,)?
                    $($flag: true,)*
                    ..$crate::settings::schema::Field::new(
                        stringify!($name),
                        concat!($($doc, "\n"),+),
                        &<$Type as $crate::settings::schema::Described>::SHAPE,
                    )
                },
            )+]);
        }
    };
}

/// An enum whose variants are words of the file.
macro_rules! choice {
    ($(#[doc = $about:literal])+ $Choice:ident { $($(#[doc = $doc:literal])+ $Variant:ident = $word:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub(crate) enum $Choice {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $Variant,)+
        }

        impl $crate::settings::schema::Described for $Choice {
            const SHAPE: $crate::settings::schema::Shape =
                $crate::settings::schema::Shape::Choice(&[$($word),+]);
        }
    };
}

pub(crate) use {choice, section};

/// What the schema says of one place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) shape: &'static Shape,
    pub(crate) rule: Rule,
    pub(crate) restart: bool,
}

impl Place {
    /// The whole file.
    pub(crate) fn root() -> Place {
        Place { shape: &super::Settings::SHAPE, rule: Rule::Any, restart: false }
    }

    /// The place that `key` names below this one: a key of a table, an index of a list.
    pub(crate) fn below(self, key: &str) -> Option<Place> {
        match self.shape {
            Shape::Table(fields) => fields.iter().find(|field| field.name == key).map(|field| Place {
                shape: field.shape,
                rule: field.rule,
                restart: self.restart || field.restart,
            }),
            Shape::Map(shape) => Some(Place { shape, ..self }),
            Shape::List(shape) => key.parse::<usize>().ok().map(|_| Place { shape, ..self }),
            _ => None,
        }
    }
}

/// The dotted paths of all keys whose last part is `name`, with `*` for what the user names.
pub(crate) fn elsewhere(name: &str) -> Vec<String> {
    fn walk(shape: &Shape, prefix: &str, name: &str, found: &mut Vec<String>) {
        match shape {
            Shape::Table(fields) => {
                for field in *fields {
                    let path = format!("{prefix}{}", field.name);
                    walk(field.shape, &format!("{path}."), name, found);
                    if field.name == name {
                        found.push(path);
                    }
                }
            }
            Shape::Map(inner) | Shape::List(inner) => walk(inner, &format!("{prefix}*."), name, found),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(Place::root().shape, "", name, &mut found);
    found
}
