//! What a dictation asks of the engine, of the injector and of the session, from the settings.

use crate::inject::{ExtraKey, Options, Way};
use crate::session::{Activation, Delivery, Mode, Selection, Style};
use crate::settings::{self, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use undertone_engine::clean::spoken::{Replacement, Spoken};
use undertone_engine::prompt::{self, Input, Modes, Policy};
use undertone_engine::transcribe::SpeechOptions;
use undertone_engine::{EngineError, Request};

/// Longest text that is typed key by key where nothing else was asked for: beyond it a paste is faster
/// than the eye.
pub(crate) const MOST_TYPED_CHARS: usize = 200;

/// Names of a speech and a language model (or none).
pub(super) type Pair = (String, String);

/// What one mode, perhaps as a certain key starts it, is made of.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The engine's mode.
    pub(super) engine_mode: String,
    /// Which of [`pairs`] of models.
    pub(super) engine: usize,
    /// `None`: the settings' own.
    language: Option<String>,
    prompt: Option<String>,
    /// Whether a window's profile may choose another mode.
    pub(super) open_to_profiles: bool,
}

/// All modes by the names the session knows them under.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    tasks: BTreeMap<String, Task>,
    pub(super) modes: Vec<Mode>,
    /// Those the user chooses among.
    pub(super) names: Vec<String>,
    /// What each key of the settings starts.
    pub(super) activations: Vec<Activation>,
}

/// The modes an engine has to know for `settings`: the built-in ones and the user's, with the wishes for style
/// that the settings add.
///
/// # Errors
/// If a mode of the settings is not sound.
pub(crate) fn engine_modes(settings: &Settings) -> Result<Modes, EngineError> {
    let mut modes = prompt::Mode::built_in()?;
    modes.extend(prompt::Mode::parse(&settings.engine_modes().to_string(), "the settings")?);
    let wish = settings.dictation.style.trim();
    if !wish.is_empty() {
        for mode in modes.values_mut().filter(|mode| mode.policy != Policy::None) {
            add_wish(mode, wish);
        }
    }
    for profile in &settings.profiles {
        let (name, Some(wish)) = (profile_mode(settings, profile), &profile.style) else { continue };
        if let Some(mode) = modes.get(name) {
            let mut mode = mode.clone();
            add_wish(&mut mode, wish);
            modes.insert(styled(name, wish), mode);
        }
    }
    Ok(modes)
}

fn add_wish(mode: &mut prompt::Mode, wish: &str) {
    mode.instruction = format!("{} {wish}", mode.instruction.trim_end());
}

/// The mode of a window where the key names none.
fn profile_mode<'a>(settings: &'a Settings, profile: &'a settings::Profile) -> &'a str {
    engine_name(profile.mode.as_deref().unwrap_or(&settings.dictation.mode), settings)
}

/// A mode's name with a wish for style.
fn styled(mode: &str, wish: &str) -> String {
    format!("{mode} ({wish})")
}

/// The engine's name of a mode: `note` is `standard` unless the settings say what it is.
fn engine_name<'a>(mode: &'a str, settings: &Settings) -> &'a str {
    if mode == "note" && !settings.engine_modes().contains_key(mode) { "standard" } else { mode }
}

/// All pairs of models that the settings ask for: the usual one, and those of keys with models of their own.
pub(super) fn pairs(settings: &Settings) -> Vec<Pair> {
    let mut pairs = vec![(settings.models.speech.clone(), settings.models.text.clone())];
    for key in &settings.keys {
        let pair = pair_of(key, settings);
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
}

fn pair_of(key: &settings::Key, settings: &Settings) -> Pair {
    let models = &settings.models;
    let (speech, text) = (key.speech.as_ref(), key.text.as_ref());
    (speech.unwrap_or(&models.speech).clone(), text.unwrap_or(&models.text).clone())
}

/// The engine's modes whose prompts are kept ready for the pair of models at this place.
pub(super) fn warm_modes(settings: &Settings, pair: &Pair) -> Vec<String> {
    let usual = &settings.dictation.mode;
    let of_keys = settings.keys.iter().filter(|key| pair_of(key, settings) == *pair);
    let mut modes: Vec<&str> = of_keys.map(|key| key.mode.as_ref().unwrap_or(usual).as_str()).collect();
    modes.push(usual);
    modes.extend(settings.modes.keys().map(String::as_str));
    let mut names: Vec<String> = modes.iter().map(|mode| engine_name(mode, settings).to_string()).collect();
    for profile in &settings.profiles {
        let name = profile_mode(settings, profile);
        names.push(profile.style.as_ref().map_or(name.to_string(), |wish| styled(name, wish)));
    }
    names.sort_unstable();
    names.dedup();
    names
}

impl Tasks {
    /// `pairs` are the models that are loaded; a key that asks for others gets the usual ones until the next start.
    pub(super) fn new(settings: &Settings, engine_modes: &Modes, pairs: &[Pair]) -> Tasks {
        let mut all =
            Tasks { tasks: BTreeMap::new(), modes: Vec::new(), names: Vec::new(), activations: Vec::new() };
        // A mode in the style of a profile is chosen by the window alone.
        let chosen = engine_modes
            .keys()
            .filter(|name| settings.engine_modes().contains_key(*name) || !name.contains(' '));
        let mut names: Vec<&str> = chosen.map(String::as_str).chain(["note"]).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let engine_mode = engine_name(name, settings);
            let Some(mode) = engine_modes.get(engine_mode) else { continue };
            let task = Task {
                engine_mode: engine_mode.into(),
                engine: 0,
                language: None,
                prompt: None,
                open_to_profiles: *name == *settings.dictation.mode,
            };
            all.names.push(name.into());
            all.add(name.into(), task, session_mode(name, mode, settings));
        }
        for key in &settings.keys {
            let engine = pairs.iter().position(|pair| *pair == pair_of(key, settings)).unwrap_or(0);
            let activation = all.activation(key, engine, settings, engine_modes);
            all.activations.push(activation);
        }
        all
    }

    /// What a key starts; one with a language, a hint or models of its own has a mode of its own, named
    /// after it.
    fn activation(
        &mut self,
        key: &settings::Key,
        engine: usize,
        settings: &Settings,
        engine_modes: &Modes,
    ) -> Activation {
        let style = match key.style {
            settings::Style::Hold => Style::Hold,
            settings::Style::Tap if settings.inject.as_you_speak => Style::HandsFree,
            settings::Style::Tap => Style::Toggle,
            settings::Style::Hybrid => Style::Hybrid,
            settings::Style::HandsFree => Style::HandsFree,
        };
        let mode = key.mode.as_deref().map(Arc::from);
        if key.language.is_none() && key.prompt.is_none() && engine == 0 {
            return Activation { mode, style };
        }
        let base = key.mode.as_deref().unwrap_or(&settings.dictation.mode);
        let engine_mode = engine_name(base, settings);
        let Some(known) = engine_modes.get(engine_mode) else { return Activation { mode, style } };
        let name = format!("{base}@{}", key.key);
        let task = Task {
            engine_mode: engine_mode.into(),
            engine,
            language: key.language.clone(),
            prompt: key.prompt.clone(),
            open_to_profiles: key.mode.is_none(),
        };
        let session_mode = session_mode(base, known, settings);
        self.add(name.clone(), task, Mode { name: name.as_str().into(), ..session_mode });
        Activation { mode: Some(name.into()), style }
    }

    fn add(&mut self, name: String, task: Task, mode: Mode) {
        self.tasks.insert(name, task);
        self.modes.push(mode);
    }

    pub(super) fn get(&self, mode: &str) -> Option<&Task> {
        self.tasks.get(mode)
    }
}

fn session_mode(name: &str, mode: &prompt::Mode, settings: &Settings) -> Mode {
    let set = settings.modes.get(name);
    let delivery = match set.and_then(|m| m.delivery) {
        Some(settings::Delivery::Type) => Delivery::Type,
        Some(settings::Delivery::Copy) => Delivery::Copy,
        Some(settings::Delivery::Show) => Delivery::Show,
        Some(settings::Delivery::Note) => Delivery::Append,
        None if name == "note" => Delivery::Append,
        None => Delivery::Type,
    };
    let selection = match (mode.input, set.and_then(|m| m.selection)) {
        // What works on the selection cannot do without.
        (Input::Selection | Input::Both, _) | (_, Some(settings::Selection::Required)) => Selection::Required,
        (_, Some(settings::Selection::Optional)) => Selection::Optional,
        _ => Selection::Unused,
    };
    Mode { name: name.into(), speech: mode.input != Input::Selection, selection, delivery }
}

/// What is asked of the engine. `profile` is that of the window in which the user dictates.
pub(super) fn request(
    settings: &Settings,
    task: &Task,
    profile: Option<&settings::Profile>,
    selection: Option<String>,
) -> Request {
    let dictation = &settings.dictation;
    let language = task.language.as_deref().or(profile.and_then(|p| p.language.as_deref()));
    let language = language.unwrap_or(&dictation.language);
    let hints = dictation.vocabulary.iter().map(String::as_str).chain(task.prompt.as_deref());
    let hints: Vec<&str> = hints.collect();
    let replacement =
        |heard: &str, written: &str| Replacement { heard: heard.into(), written: written.into() };
    let replaced = settings.replacements.iter().map(|(heard, written)| replacement(heard, written));
    // A word of the vocabulary is written as it stands there.
    let kept = dictation.vocabulary.iter().map(|word| replacement(word, word));
    let profile = profile.filter(|_| task.open_to_profiles);
    let mode = profile.map_or(task.engine_mode.clone(), |profile| {
        let name = profile_mode(settings, profile);
        profile.style.as_ref().map_or(name.to_string(), |wish| styled(name, wish))
    });
    Request {
        speech: SpeechOptions {
            language: (language != "auto").then(|| language.to_string()),
            initial_prompt: (!hints.is_empty()).then(|| hints.join(", ")),
            ..SpeechOptions::default()
        },
        selection,
        time_limit: (dictation.time_limit_ms > 0)
            .then(|| Duration::from_millis(dictation.time_limit_ms.into())),
        skip_clean_text: dictation.skip_clean,
        spoken: Spoken {
            punctuation: dictation.spoken_punctuation,
            figures: dictation.figures,
            replacements: replaced.chain(kept).collect(),
        },
        ..Request::in_mode(&mode)
    }
}

/// What is asked of the engine for a recording of `mode` (as the session names it) after the fact: the usual
/// mode where that one is gone or works on a selection.
pub(crate) fn request_of(settings: &Settings, mode: &str) -> Request {
    let modes = engine_modes(settings).unwrap_or_default();
    let tasks = Tasks::new(settings, &modes, &pairs(settings));
    let hears =
        |task: &&Task| modes.get(&task.engine_mode).is_some_and(|mode| mode.input == Input::Transcript);
    let usual = || tasks.get(&settings.dictation.mode).filter(hears);
    match tasks.get(mode).filter(hears).or_else(usual) {
        Some(task) => request(settings, task, None, None),
        None => Request::default(),
    }
}

/// `text`, or the snippet that it is the phrase of.
pub(super) fn expand<'a>(settings: &'a Settings, text: &'a str) -> &'a str {
    let words = |text: &str| -> Vec<String> {
        let between = |c: char| !c.is_alphanumeric() && c != '\'';
        text.to_lowercase().split(between).filter(|word| !word.is_empty()).map(Into::into).collect()
    };
    let said = words(text);
    let found = settings.snippets.iter().find(|(phrase, _)| !said.is_empty() && words(phrase) == said);
    found.map_or(text, |(_, snippet)| snippet)
}

/// How `text` is put into a window of this class; `None` leaves it on the clipboard.
pub(super) fn options(
    settings: &Settings,
    profile: Option<&settings::Profile>,
    text: &str,
) -> Option<Options> {
    let inject = &settings.inject;
    let way = match profile.and_then(|p| p.way).unwrap_or(inject.way) {
        settings::Way::None => return None,
        settings::Way::Paste => Way::Paste,
        settings::Way::Auto if text.chars().count() > MOST_TYPED_CHARS => Way::Paste,
        settings::Way::Auto | settings::Way::Type => Way::Type,
    };
    Some(Options {
        way,
        extra_key: match profile.and_then(|p| p.extra_key).unwrap_or(inject.extra_key) {
            settings::ExtraKey::None => ExtraKey::None,
            settings::ExtraKey::Space => ExtraKey::Space,
            settings::ExtraKey::Enter => ExtraKey::Enter,
            settings::ExtraKey::Tab => ExtraKey::Tab,
        },
        newlines_in_terminals: inject.newline_in_terminal,
        same_window: inject.same_window_only,
        keep_without_receipt: inject.keep_if_no_receipt,
        restore_clipboard: inject.restore_clipboard,
        modifier_wait: Duration::from_millis(inject.modifiers_wait_ms.into()),
        ..Options::default()
    })
}
