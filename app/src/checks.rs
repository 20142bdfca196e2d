//! What the settings cannot know by themselves: keys, languages, devices, modes.

use crate::cli::Device;
use crate::keys::Chord;
use crate::settings::{Checks, Format};
use undertone_engine::EngineError;
use undertone_engine::prompt::Mode;

/// The program's own rules for its settings.
pub(crate) const CHECKS: Checks = Checks {
    text: |format, text| match format {
        Format::Key => text.parse::<Chord>().map(drop).map_err(|e| e.to_string()),
        Format::Size => crate::plan::size(text).map(drop),
        Format::Device => Device::parse(text).map(drop),
        Format::Language => {
            match undertone_models::whisper::LANGUAGES.iter().any(|(code, _)| *code == text) {
                true => Ok(()),
                false => {
                    Err(format!("'{text}' is no language Whisper knows; use a code such as en, de or fr"))
                }
            }
        }
    },
    mode: |name, table| {
        let all = toml::Table::from_iter([(name.to_string(), toml::Value::Table(table.clone()))]);
        Mode::parse(&all.to_string(), "the settings").map(drop).map_err(|e| match e {
            EngineError::Mode { what, .. } => what,
            other => other.to_string(),
        })
    },
    built_in_modes: || {
        // The built-in modes are part of the program and parse.
        let built_in = Mode::built_in().map(|modes| modes.into_keys().collect::<Vec<_>>());
        built_in.unwrap_or_default().into_iter().chain(["note".into()]).collect()
    },
};
