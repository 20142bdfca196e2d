use super::check::{Problem, check};
use super::edit::{get, set};
use super::file::{ConfigFile, SettingsError};
use super::print::{print, template};
use super::schema::{Place, Rule, Shape};
use super::watch::changes;
use super::*;
use crate::checks::CHECKS;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;

/// A file that has one of everything that may repeat.
const FULL: &str = r#"
[[keys]]
key = "f9"
[replacements]
a = "b"
[snippets]
a = "b"
[modes.mail]
policy = "free"
instruction = "Write."
[[profiles]]
class = "*"
"#;

fn problems(text: &str) -> Vec<String> {
    check(text, &CHECKS).err().unwrap_or_default().iter().map(Problem::to_string).collect()
}

/// All keys with a value, with 0 for an index and `mail` or `a` for a name of the user's.
fn leaves() -> Vec<(String, Place)> {
    fn walk(place: Place, path: &str, found: &mut Vec<(String, Place)>) {
        let below = |key: &str| format!("{path}{}{key}", if path.is_empty() { "" } else { "." });
        match place.shape {
            Shape::Table(fields) => {
                for field in *fields {
                    walk(place.below(field.name).unwrap(), &below(field.name), found);
                }
            }
            Shape::List(Shape::Table(_)) => walk(place.below("0").unwrap(), &below("0"), found),
            Shape::Map(Shape::Table(_)) => walk(place.below("mail").unwrap(), &below("mail"), found),
            Shape::Map(_) => walk(place.below("a").unwrap(), &below("a"), found),
            _ => found.push((path.to_owned(), place)),
        }
    }
    let mut found = Vec::new();
    walk(Place::root(), "", &mut found);
    found
}

#[test]
fn every_key_is_documented_and_nothing_else() {
    // JSON, unlike TOML, writes what is not set.
    fn walk(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
        let below = |key: &str| format!("{path}{}{key}", if path.is_empty() { "" } else { "." });
        match value {
            serde_json::Value::Object(table) => {
                table.iter().for_each(|(key, value)| walk(value, &below(key), found));
            }
            serde_json::Value::Array(list) if list.iter().any(|item| item.is_object()) => {
                walk(&list[0], &below("0"), found);
            }
            _ => _ = found.insert(path.to_owned()),
        }
    }
    let settings = check(FULL, &CHECKS).unwrap();
    let mut serialised = BTreeSet::new();
    walk(&serde_json::to_value(&settings).unwrap(), "", &mut serialised);
    let documented: BTreeSet<String> = leaves().into_iter().map(|(path, _)| path).collect();
    assert_eq!(serialised, documented);
    assert!(documented.len() > 60, "{}", documented.len());

    fn docs(fields: &[super::schema::Field]) {
        for field in fields {
            let doc = field.doc.trim();
            assert!(doc.len() > 7 && doc.ends_with(['.', '"']), "{}: '{doc}'", field.name);
            if let Shape::Table(fields)
            | Shape::List(Shape::Table(fields))
            | Shape::Map(Shape::Table(fields)) = field.shape
            {
                docs(fields);
            }
        }
    }
    let Shape::Table(sections) = Place::root().shape else { panic!("the file is a table") };
    docs(sections);
}

#[test]
fn what_is_printed_means_the_same() {
    let printed = print(&Settings::default());
    assert_eq!(check(&printed, &CHECKS).unwrap(), Settings::default());
    // Not only because it says nothing: each key with a default is there.
    let keys =
        |text: &str| text.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
    let optional =
        leaves().iter().filter(|(path, _)| get(&Settings::default(), path).unwrap().is_none()).count();
    assert_eq!(keys(&printed), leaves().len() - optional);

    assert_eq!(check(&template(), &CHECKS).unwrap(), Settings::default());
    assert_eq!(keys(&template()), 0);
    for (path, _) in leaves() {
        let key = path.rsplit('.').next().unwrap();
        if key != "a" {
            assert!(template().contains(&format!("# {key} = ")), "{key} is not in the template");
        }
    }
}

#[test]
fn the_examples_in_comments_can_be_used() {
    let line = |line: &str| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_key = bare
            .split_once(" = ")
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_alphanumeric() || c == '_'));
        format!("{}\n", if is_key || bare.starts_with('[') { bare } else { line })
    };
    let text: String = template().lines().map(line).collect();
    let settings = check(&text, &CHECKS).map_err(|problems| format!("{problems:?}")).unwrap();
    assert_eq!((settings.profiles.len(), settings.modes.len(), settings.keys.len()), (1, 1, 1));
    assert!(
        leaves()
            .iter()
            .filter(|(path, _)| !path.ends_with(".a"))
            .all(|(path, _)| { get(&settings, &path.replace("mail", "NAME")).unwrap().is_some() })
    );
}

#[test]
fn everything_wrong_is_told_at_once_with_its_place() {
    let text = "# é\n[models]\nspeach = \"x\"\nthreads = 4000\n[audio]\ntail_ms = \"a\"\nlock_memory = true\n\
        [[keys]]\nstyle = \"hodl\"\nmode = \"standrad\"\n[[keys]]\nkey = \"Shift+ctrl+space\"\n[[keys]]\n\
        key = \"ctrl+shift+space\"\n[modes.mail]\npolicy = \"free\"\n[inject]\nway = = 3\n[[profiles]]\n\
        way = \"type\"\n[show]\noverlay = tru\n[dictation]\nvocabulary = [\"é\", \" \"]\n";
    let expected = [
        "3:1: there is no key models.speach; did you mean models.speech?",
        "4:11: models.threads must be from 0 to 1024",
        "6:11: audio.tail_ms is a text, not a whole number",
        "7:1: there is no key audio.lock_memory; did you mean models.lock_memory?",
        "8:1: keys.0 has no key; give it one",
        "9:9: keys.0.style cannot be 'hodl', only hold, tap, hybrid, hands-free; did you mean 'hold'?",
        "10:8: keys.0.mode names the mode 'standrad', which is not there; there are ask, mail, note, professional, prompt, \
         raw, refine, refine-instruction, standard, translate",
        "14:7: keys.2.key is the same key as keys.1.key",
        "15:8: modes.mail cannot be used: it has no instruction",
        "18:7: extra `=`, expected nothing",
        "19:1: profiles.0 matches no window; give it a class or a title",
        "22:11: invalid boolean, expected `true`",
        "24:20: dictation.vocabulary.1 is empty",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn each_kind_of_wrong_value_is_refused() {
    for (text, expected) in [
        ("models = 1", "models is a whole number, not a table"),
        ("keys = {}", "keys is a table, not a list of tables, written [[...]]"),
        ("[[audio]]", "audio is a list, not a table"),
        ("audio.max_s = 0", "from 1 to 14400"),
        ("audio.max_s = 99999999999999999999", "from 1 to 14400"),
        ("audio.max_s = 1.5", "a number, not a whole number"),
        ("audio.max_s = 1979-05-27", "a date, not a whole number"),
        ("history.tier = -1", "from 0 to 3"),
        ("models.device = \"gpu\"", "models.device cannot be used"),
        ("models.budget = \"8 apples\"", "models.budget cannot be used"),
        ("models.allow = [\"q8-kv\", \"q9-kv\"]", "did you mean 'q8-kv'?"),
        ("models.speech = \" \"", "models.speech is empty"),
        ("dictation.language = \"german\"", "dictation.language cannot be used"),
        ("[[keys]]\nkey = \"ctrl++\"", "keys.0.key cannot be used"),
        ("[replacements]\n\" \" = \"x\"", "without a name"),
        (
            "[modes.x]\npolicy=\"none\"\nexamples = [[\"a\"]]",
            "modes.x.examples.0 is a list, not a list of two texts",
        ),
        ("[modes.x]\npolicy=\"none\"\nmax_ratio = nan", "from 0 to 100"),
        ("[modes.x]\npolicy=\"none\"\nmax_ratio = 101", "from 0 to 100"),
        ("modelz.x = 1", "there is no key modelz; did you mean models?"),
        ("tail_ms = 1", "there is no key tail_ms; did you mean audio.tail_ms?"),
        ("zzzzzzzzz = 1", "there is no key zzzzzzzzz"),
        ("[audio]\ntail_ms = 1\ntail_ms = 2", "duplicate key"),
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(expected), "{text}: {found:?}");
    }
    for text in [
        "",
        "keys = []",
        "models.budget = \"free\"",
        "models.budget = \"8GiB\"",
        "audio.max_s = 0x10",
        "modes.ask.delivery = \"show\"",
        "keys = [{ key = \"f1\", style = \"tap\" }]",
        "[modes.x]\npolicy = \"none\"\nmax_ratio = 2\n[[profiles]]\ntitle = \"*\"\nmode = \"x\"",
    ] {
        assert_eq!(problems(text), [""; 0], "{text}");
    }
}

#[test]
fn own_modes_go_to_the_engine_as_they_are() {
    let text = "[modes.ask]\ndelivery = \"show\"\n[modes.mail]\nselection = \"optional\"\npolicy = \"free\"\n\
        instruction = \"Write.\"\nexamples = [[\"a\", \"b\"]]\nmax_ratio = 2.5\n";
    let settings = check(text, &CHECKS).unwrap();
    let expected: toml::Table =
        "[mail]\npolicy = \"free\"\ninstruction = \"Write.\"\nexamples = [[\"a\", \"b\"]]\n\
        max_ratio = 2.5\n"
            .parse()
            .unwrap();
    assert_eq!(settings.engine_modes(), expected);
    assert_eq!(settings.modes["ask"].delivery, Some(Delivery::Show));
}

#[test]
fn the_first_profile_that_matches_holds() {
    let text = "[[profiles]]\nclass = \"FIREFOX\"\ntitle = \"*mail?\"\n[[profiles]]\nclass = \"fire*\"\n";
    let settings = check(text, &CHECKS).unwrap();
    let at = |class, title| {
        settings.profile(class, title).map(|p| settings.profiles.iter().position(|q| q == p).unwrap())
    };
    assert_eq!(at("firefox", "my mails"), Some(0));
    assert_eq!(at("firefox", "my mail"), Some(1));
    assert_eq!(at("xterm", "my mails"), None);
    assert!(
        is_any_of(&settings.inject.terminals, "Gnome-terminal-server")
            && !is_any_of(&settings.inject.terminals, "steam")
    );
    for (pattern, text, fits) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("a*b*c", "aXbYbZc", true),
        ("a*b*c", "aXbYbZ", false),
        ("?é*", "Éé", true),
        ("?", "", false),
        ("**a", "ba", true),
        ("*ab", "aab", true),
    ] {
        assert_eq!(super::glob(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn setting_keeps_comments_and_order() {
    let text = "# mine\n[show] # what I see\ntray = false # no tray\n\n# ears\n[audio]\nmax_s = 60\n";
    let text = set(text, "show.tray", "true", &CHECKS).unwrap();
    let text = set(&text, "audio.tail_ms", "250", &CHECKS).unwrap();
    let text = set(&text, "modes.mail", "{ policy = \"free\", instruction = \"x\" }", &CHECKS).unwrap();
    let text = set(&text, "keys.1.key", "f9", &CHECKS).unwrap();
    let expected =
        "# mine\n[show] # what I see\ntray = true # no tray\n\n# ears\n[audio]\nmax_s = 60\ntail_ms = 250\n";
    assert!(text.starts_with(expected), "{text}");
    let settings = check(&text, &CHECKS).unwrap();
    // The key that was there by default is there still.
    let keys: Vec<&str> = settings.keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(keys, ["ctrl+shift+space", "f9"]);
    assert_eq!(set(&text, "keys", "[]", &CHECKS).map(|t| check(&t, &CHECKS).unwrap().keys.len()).unwrap(), 0);
    for key in ["keys", "keys.0"] {
        let value = get(&settings, key).unwrap().unwrap();
        let again = set(&text, key, &value, &CHECKS).unwrap();
        assert_eq!(check(&again, &CHECKS).unwrap(), settings, "{key}\n{again}");
    }
}

#[test]
fn what_cannot_be_set_says_why() {
    for (key, value, expected) in [
        ("audio.tial_ms", "1", "did you mean audio.tail_ms?"),
        ("audio.tail_ms.x", "1", "there is no key audio.tail_ms.x"),
        ("", "1", "is not a key"),
        ("keys.5.key", "f9", "past the end"),
        ("keys.x.key", "f9", "there is no key keys.x"),
        ("keys.0.style", "hodl", "did you mean 'hold'?"),
        ("audio.tail_ms", "many", "cannot be read as TOML"),
        ("audio.tail_ms", "1\n[x]", "cannot be read as TOML"),
        ("audio.tail_ms", "99999", "from 0 to 5000"),
        ("profiles.0.mode", "standard", "give it a class or a title"),
        ("modes.new.policy", "free", "no instruction"),
    ] {
        let error = set("", key, value, &CHECKS).unwrap_err().to_string();
        assert!(error.contains(expected), "{key} = {value}: {error}");
    }
    assert!(set("[audio", "audio.tail_ms", "1", &CHECKS).is_err());
    assert!(set("[audio]\nx = 1", "audio.tail_ms", "1", &CHECKS).is_err());
}

#[cfg(unix)]
#[test]
fn the_file_is_replaced_in_one_step_and_private() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    let home = tempfile::tempdir().unwrap();
    let file = ConfigFile::in_folder(home.path());
    assert_eq!(file.path(), home.path().join("undertone/config.toml"));
    assert_eq!(file.load(&CHECKS).unwrap(), Settings::default());
    assert_eq!(file.set(&[("audio.max_s", "7"), ("show.tray", "false")], &CHECKS).unwrap().audio.max_s, 7);
    let first = fs::metadata(file.path()).unwrap();
    assert_eq!(first.permissions().mode() & 0o777, 0o600);
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();

    // All or none: the second is refused, so the first is not written.
    assert!(file.set(&[("audio.max_s", "8"), ("audio.max_s", "0")], &CHECKS).is_err());
    assert_eq!(fs::metadata(file.path()).unwrap().ino(), first.ino());

    let linked = ConfigFile::at(home.path().join("link.toml"));
    symlink(file.path(), linked.path()).unwrap();
    linked.set(&[("audio.max_s", "9")], &CHECKS).unwrap();
    assert!(fs::symlink_metadata(linked.path()).unwrap().is_symlink());
    let second = fs::metadata(file.path()).unwrap();
    assert_ne!(second.ino(), first.ino());
    assert_eq!(second.permissions().mode() & 0o777, 0o600);
    assert_eq!(file.load(&CHECKS).unwrap().audio.max_s, 9);
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(file.path().parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn files_that_are_no_settings_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = ConfigFile::at(home.path().join("c.toml"));
    for bytes in [vec![b'#'; 2 << 20], vec![0xff, 0xfe]] {
        fs::write(file.path(), bytes).unwrap();
        assert!(matches!(file.load(&CHECKS), Err(SettingsError::Read { .. })));
    }
    assert!(matches!(ConfigFile::at(home.path()).load(&CHECKS), Err(SettingsError::Read { .. })));
    let under_a_file = ConfigFile::at(file.path().join("x.toml"));
    assert!(matches!(under_a_file.replace(""), Err(SettingsError::Write { .. })));
}

#[cfg(unix)]
#[test]
fn an_edit_is_taken_over_only_when_it_is_sound() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let file = ConfigFile::in_folder(home.path());
    let editor = |name: &str, script: &str| {
        let path = home.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let draft = file.path().with_extension("edit.toml");

    // The first edit begins with everything explained; leaving it so changes nothing.
    assert!(!file.edit(&editor("look", "grep -q '# tail_ms = 200' \"$1\""), &CHECKS).unwrap());
    assert!(!file.path().exists() && !draft.exists());

    let appends = editor("append", "printf '%s\\n' \"$1\" >> \"$2\"");
    assert!(
        file.edit(&format!("{appends} history.tier=3"), &CHECKS).is_err(),
        "a section must not take it up"
    );
    fs::remove_file(&draft).unwrap();
    fs::create_dir_all(file.path().parent().unwrap()).unwrap();
    file.replace("# mine\n").unwrap();
    assert!(file.edit(&format!("{appends} history.tier=3"), &CHECKS).unwrap());
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "# mine\nhistory.tier=3\n");

    // A bad edit is not taken, and not lost.
    let error = file.edit(&format!("{appends} history.teir=1"), &CHECKS).unwrap_err();
    assert!(error.to_string().contains("config.edit.toml:3:9: there is no key history.teir"), "{error}");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "# mine\nhistory.tier=3\n");
    let mends = editor("mend", "sed -i 's/history.teir=1/history.audio=true/' \"$1\"");
    assert!(file.edit(&mends, &CHECKS).unwrap());
    assert!(file.load(&CHECKS).unwrap().history.audio && !draft.exists());

    assert!(matches!(file.edit(&editor("fail", "exit 1"), &CHECKS), Err(SettingsError::EditorFailed(_))));
    assert!(!draft.exists());
    for missing in ["", "/no/such/editor"] {
        assert!(matches!(file.edit(missing, &CHECKS), Err(SettingsError::Editor { .. })));
    }
}

#[test]
fn changes_say_what_needs_a_restart() {
    let settings = |text| check(text, &CHECKS).unwrap();
    for (old, new, expected) in [
        ("", "", vec![]),
        ("", "audio.tail_ms = 200", vec![]),
        (
            "",
            "audio.tail_ms = 1\nmodels.text = \"none\"",
            vec![("audio.tail_ms", false), ("models.text", true)],
        ),
        ("", "[[keys]]\nkey = \"f1\"", vec![("keys", false)]),
        ("", "[[keys]]\nkey = \"ctrl+shift+space\"\nspeech = \"x\"", vec![("keys", true)]),
        ("modes.ask.delivery = \"show\"", "", vec![("modes.ask.delivery", false)]),
        ("", "modes.x.policy = \"none\"", vec![("modes.x.policy", true)]),
        (
            "replacements.a = \"b\"",
            "replacements.b = \"b\"",
            vec![("replacements.a", false), ("replacements.b", false)],
        ),
        ("", "[[profiles]]\nclass = \"a\"", vec![("profiles", false)]),
        ("keyboard.backend = \"x11\"", "", vec![("keyboard.backend", true)]),
    ] {
        let found = changes(&settings(old), &settings(new));
        let found: Vec<(&str, bool)> = found.iter().map(|c| (c.key.as_str(), c.restart)).collect();
        assert_eq!(found, expected, "{old} -> {new}");
    }
}

/// A value that `place` takes, as it is given to `set`.
fn value_of(place: Place) -> BoxedStrategy<String> {
    let text =
        prop_oneof!["\\PC{0,12}[a-z\"'\\\\#]", "[\\s\\PC]{0,20}x", Just("'''\"\"\"\r\n\t\u{1}".to_owned())];
    match (place.shape, place.rule) {
        (Shape::Flag, _) => any::<bool>().prop_map(|flag| flag.to_string()).boxed(),
        (Shape::Integer, Rule::Within(least, most)) => (least..=most).prop_map(|n| n.to_string()).boxed(),
        (Shape::Number, Rule::Within(least, most)) => {
            (least as f64..=most as f64).prop_map(|n| format!("{n:?}")).boxed()
        }
        (Shape::Choice(words), _) => prop::sample::select(*words).prop_map(String::from).boxed(),
        (Shape::Text, Rule::Mode) => prop::sample::select((CHECKS.built_in_modes)()).boxed(),
        (Shape::Text, Rule::Is(Format::Key)) => "ctrl\\+(shift\\+)?[a-z]|f[1-9]".boxed(),
        (Shape::Text, Rule::Is(Format::Device)) => "auto|cpu|cuda:[0-9]".boxed(),
        (Shape::Text, Rule::WordOr("free", _)) => "free|[1-9]GiB".boxed(),
        (Shape::Text, Rule::WordOr(..)) => "auto|en|de|fr|ja|yue".boxed(),
        (Shape::Text, _) => text.boxed(),
        (Shape::List(of), rule) => {
            let of = *of;
            let items = prop::collection::vec(value_of(Place { shape: of, rule, ..place }), 0..4);
            let quoted = move |item: String| match of {
                Shape::Pair => item,
                _ => toml::Value::from(item).to_string(),
            };
            items
                .prop_map(move |items| {
                    format!("[{}]", items.into_iter().map(&quoted).collect::<Vec<_>>().join(", "))
                })
                .boxed()
        }
        (Shape::Pair, _) => {
            (text.clone(), text).prop_map(|(a, b)| toml::Value::from(vec![a, b]).to_string()).boxed()
        }
        (shape, rule) => panic!("no value for {shape:?} with {rule:?}"),
    }
}

fn many(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn every_key_can_be_set_and_gives_back_what_was_set() {
    let parsed = |value: &str| format!("x = {value}").parse::<toml::Table>().unwrap();
    for (path, place) in leaves() {
        let same = |base: &str, value: &str| {
            let text =
                set(base, &path, value, &CHECKS).map_err(|e| format!("{path} = {value}: {e}")).unwrap();
            let settings = check(&text, &CHECKS).unwrap();
            let got = get(&settings, &path).unwrap().unwrap();
            match place.shape {
                Shape::Text | Shape::Choice(_) => assert_eq!(got, value, "{path}"),
                _ => assert_eq!(parsed(&got), parsed(value), "{path}"),
            }
            assert_eq!(
                set(&text, &path, &got, &CHECKS).unwrap(),
                text,
                "{path}: setting it again changes the file"
            );
            assert_eq!(check(&print(&settings), &CHECKS).unwrap(), settings, "{path}: printed and read back");
        };
        proptest!(many(32), |(value in value_of(place))| {
            same(FULL, &value);
            if !path.starts_with("modes.") && !path.starts_with("profiles.") {
                same("", &value);
            }
        });
    }
}

/// The two gates agree: what the check takes, serde takes, and what serde refuses, the check does.
fn agrees_with_serde(text: &str) {
    let typed = toml::from_str::<Settings>(text);
    match check(text, &CHECKS) {
        Ok(settings) => assert_eq!(Ok(settings), typed.map_err(|e| e.to_string())),
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = text.lines().count().max(1) + 1;
            assert!(problems.iter().all(|p| (1..=lines).contains(&p.line) && p.column >= 1), "{problems:?}");
        }
    }
}

proptest! {
    #![proptest_config(many(2000))]

    #[test]
    fn no_text_makes_it_panic(text in "[\\s\\PC]{0,200}", key in "\\PC{0,20}", value in "\\PC{0,20}") {
        agrees_with_serde(&text);
        _ = set(&text, &key, &value, &CHECKS);
        _ = get(&Settings::default(), &key);
    }

    #[test]
    fn nothing_like_toml_makes_it_panic(
        lines in prop::collection::vec((
            "(\\[{1,2})?(models|audio|keys|modes|profiles|inject|x)?(\\.)?(key|mode|tail_ms|speech|way|mail|0)?(\\]{1,2})?",
            "( = ([0-9]{1,20}|\"[a-z+]{0,9}\"|true|\\[.{0,6}\\]|\\{.{0,6}\\}|nan|1e9|'''|\"\"\"))?",
        ), 0..12),
    ) {
        let text: String = lines.into_iter().map(|(key, value)| format!("{key}{value}\n")).collect();
        agrees_with_serde(&text);
        _ = set(&text, "audio.tail_ms", "1", &CHECKS);
        _ = set(&text, "keys.0.mode", "raw", &CHECKS);
        _ = set(&text, "modes.mail.delivery", "show", &CHECKS);
    }

    #[test]
    fn no_damage_to_a_file_makes_it_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), "\\PC|\n|\\[|\\]|=|\"|#"), 1..6),
    ) {
        let mut text: Vec<char> = format!("{}{FULL}", print(&Settings::default()).replace("[[keys]]", "[[key]]")).chars().collect();
        for (at, with) in damage {
            let at = at.index(text.len());
            text.splice(at..=at, with.chars());
        }
        agrees_with_serde(&text.into_iter().collect::<String>());
    }
}
