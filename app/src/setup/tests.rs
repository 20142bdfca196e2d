use super::autostart::{Autostart, install};
use super::tiers::{Tier, Verdict, judge};
use super::*;
use crate::checks::CHECKS;
use crate::settings::ConfigFile;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const GIB: u64 = 1 << 30;

fn tiers() -> Vec<Tier> {
    let tier = |speech: &str, text: Option<&str>, planned_gib: u64, disk_gib: u64| Tier {
        speech: speech.into(),
        text: text.map(String::from),
        planned_bytes: planned_gib * GIB,
        disk_bytes: disk_gib * GIB,
        description: "test".into(),
    };
    vec![tier("large", Some("big"), 8, 6), tier("small", Some("little"), 3, 2), tier("tiny", None, 1, 0)]
}

fn found() -> Found {
    Found {
        microphones: vec!["Built-in Audio".into(), "USB Headset".into(), "USB Camera".into()],
        tiers: tiers(),
        free_bytes: 4 * GIB,
        disk_free_bytes: 10 * GIB,
        autostart: Autostart::Xdg,
        key: "ctrl+shift+space".into(),
    }
}

#[test]
fn the_best_models_that_fit_are_chosen() {
    use Verdict::{Best, Fits, ShortOfDisk, ShortOfMemory};
    let memory = |by_bytes| ShortOfMemory { by_bytes };
    let disk = |by_bytes| ShortOfDisk { by_bytes };
    for (free_bytes, disk_free_bytes, expected) in [
        (16 * GIB, 10 * GIB, [Best, Fits, Fits]),
        (8 * GIB + GIB / 2, 6 * GIB, [Best, Fits, Fits]),
        (8 * GIB, 6 * GIB, [memory(GIB / 2), Best, Fits]),
        (16 * GIB, 3 * GIB, [disk(3 * GIB), Best, Fits]),
        (16 * GIB, 0, [disk(6 * GIB), disk(2 * GIB), Best]),
        (2 * GIB, 10 * GIB, [memory(6 * GIB + GIB / 2), memory(GIB + GIB / 2), Best]),
        (0, 0, [memory(8 * GIB), memory(3 * GIB), memory(GIB)]),
    ] {
        assert_eq!(judge(&tiers(), free_bytes, disk_free_bytes), expected, "{free_bytes} {disk_free_bytes}");
    }
    assert_eq!(judge(&[], GIB, GIB), []);
    let offers: Vec<String> =
        tiers().iter().zip(judge(&tiers(), 4 * GIB, 0)).map(|(tier, verdict)| tier.offer(&verdict)).collect();
    assert_eq!(
        offers,
        [
            "large + big: test; 8192 MiB of memory, 6144 MiB to fetch (needs 4608 MiB more memory)",
            "small + little: test; 3072 MiB of memory, 2048 MiB to fetch (needs 2048 MiB more on disk)",
            "tiny + none: test; 1024 MiB of memory, 0 MiB to fetch (the best that fits)",
        ]
    );
}

#[test]
fn only_what_is_open_is_asked() {
    let subjects = |args: &SetupArgs, found: &Found| -> Vec<Subject> {
        questions(args, found).iter().map(|question| question.subject).collect()
    };
    use Subject::{Key, Microphone, Models};
    let none = SetupArgs::default();
    assert_eq!(subjects(&none, &found()), [Microphone, Models, Key, Subject::Autostart]);
    assert_eq!(subjects(&SetupArgs { yes: true, ..none.clone() }, &found()), []);
    let flags = SetupArgs {
        mic: Some("default".into()),
        speech: Some("x".into()),
        autostart: Some(Autostart::None),
        ..none.clone()
    };
    assert_eq!(subjects(&flags, &found()), [Key]);
    let plain = Found { microphones: vec!["one".into()], tiers: tiers()[2..].to_vec(), ..found() };
    assert_eq!(subjects(&none, &plain), [Key, Subject::Autostart]);
    let models = &questions(&none, &found())[1];
    assert_eq!((models.suggested, models.offers.len()), (1, 3));
    assert_eq!(questions(&none, &found())[3].suggested, 1);
}

#[test]
fn answers_become_settings() {
    let yes = SetupArgs { yes: true, ..SetupArgs::default() };
    let ask_nothing = |_: &Question, _: Option<&str>| -> io::Result<String> { panic!("asked") };
    let answers = interview(&yes, &found(), &CHECKS, ask_nothing).unwrap();
    assert_eq!(answers, suggested(&yes, &found(), &CHECKS).unwrap());

    let said = |answers: &[&str]| {
        let mut left: VecDeque<String> = answers.iter().map(|a| (*a).to_owned()).collect();
        interview(&SetupArgs::default(), &found(), &CHECKS, |_, _| {
            left.pop_front().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        })
    };
    assert_eq!(said(&["", "", "", ""]).unwrap(), answers);
    let others = said(&["headset", "3", "f9", "3"]).unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = ConfigFile::in_folder(home.path());
    let settings = file.set(&others.values(), &CHECKS).unwrap();
    assert_eq!(settings, file.load(&CHECKS).unwrap());
    assert_eq!((settings.audio.device.as_str(), settings.keys[0].key.as_str()), ("USB Headset", "f9"));
    assert_eq!((settings.models.speech.as_str(), settings.models.text.as_str()), ("tiny", "none"));
    assert_eq!(others.autostart, Autostart::None);
    // The rest of the file stays when it is run again.
    file.set(&[("keys.1.key", "f8"), ("audio.tail_ms", "1")], &CHECKS).unwrap();
    let again = file.set(&answers.values(), &CHECKS).unwrap();
    assert_eq!((again.keys.len(), again.audio.tail_ms, again.audio.device.as_str()), (2, 1, "default"));

    assert_eq!(said(&["4", "7", "0", "2", "ctrl++", "f9", ""]).unwrap().speech, "small");
    for (answers, expected) in [
        (&["usb", "usb", "usb"][..], "no answer that can be used to: Which microphone?"),
        (&["1"], "give --yes"),
    ] {
        assert!(said(answers).unwrap_err().to_string().contains(expected), "{answers:?}");
    }
}

#[test]
fn flags_are_checked() {
    let with = |change: fn(&mut SetupArgs), found: &Found| {
        let mut args = SetupArgs::default();
        change(&mut args);
        suggested(&args, found, &CHECKS)
    };
    let none_fits = Found { free_bytes: 0, ..found() };
    let error = with(|_| {}, &none_fits).unwrap_err();
    assert!(error.to_string().starts_with("no models fit: the smallest need 1024 MiB"), "{error}");
    let named = |args: &mut SetupArgs| (args.speech, args.text) = (Some("a".into()), Some("none".into()));
    let answers = with(named, &none_fits).unwrap();
    assert_eq!((answers.speech.as_str(), answers.text.as_str()), ("a", "none"));
    assert_eq!(with(|args| args.text = Some("none".into()), &found()).unwrap().speech, "small");
    assert_eq!(with(|args| args.mic = Some("camera".into()), &found()).unwrap().microphone, "USB Camera");
    assert!(matches!(
        with(|args| args.mic = Some("usb".into()), &found()),
        Err(SetupError::NoMicrophone { .. })
    ));
    assert!(matches!(
        with(|args| args.mic = Some(" ".into()), &found()),
        Err(SetupError::NoMicrophone { .. })
    ));
    assert!(matches!(with(|args| args.key = Some("ctrl++".into()), &found()), Err(SetupError::Key(_))));
}

/// An executable with a name that start files have to quote.
fn program(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::copy("/bin/true", &path).unwrap();
    path
}

/// Runs a program that judges files.
fn judged(program: &str, package: &str, args: &[&str], home: &Path, file: &Path) -> (bool, String) {
    let command = Command::new(program).args(args).arg(file).env("XDG_RUNTIME_DIR", home).output();
    let output = command.unwrap_or_else(|e| panic!("{program}: {e}; install the Debian package {package}"));
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
    )
}

#[test]
fn it_starts_in_one_way_only_and_installing_twice_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let program = program(home.path(), "under tone");
    let unit = home.path().join("systemd/user/undertone.service");
    let link = home.path().join("systemd/user/graphical-session.target.wants/undertone.service");
    let entry = home.path().join("autostart/undertone.desktop");
    let change = |way| install(way, home.path(), &program).unwrap();

    assert_eq!(change(Autostart::None), [""; 0].map(PathBuf::from));
    assert_eq!(change(Autostart::Systemd), [unit.clone(), link.clone()]);
    assert_eq!(change(Autostart::Systemd).len(), 0);
    assert_eq!(fs::read(&link).unwrap(), fs::read(&unit).unwrap());
    assert_eq!(change(Autostart::Xdg), [unit.clone(), link.clone(), entry.clone()]);
    assert!(!unit.exists() && fs::symlink_metadata(&link).is_err());
    assert_eq!(change(Autostart::Xdg).len(), 0);
    // A program that moved is written anew.
    assert_eq!(
        install(Autostart::Xdg, home.path(), Path::new("/bin/true")).unwrap(),
        std::slice::from_ref(&entry)
    );
    assert_eq!(change(Autostart::None), [entry]);
    for bad in ["undertone", "/a/b\nc", "/a/\"b\"", r"/a\b"] {
        assert!(install(Autostart::Systemd, home.path(), Path::new(bad)).is_err());
    }
}

#[test]
fn systemd_accepts_the_unit() {
    let home = tempfile::tempdir().unwrap();
    let program = program(home.path(), "under tone 100% %h $HOME `x` é;");
    install(Autostart::Systemd, home.path(), &program).unwrap();
    let unit = home.path().join("systemd/user/undertone.service");
    let verify =
        || judged("systemd-analyze", "systemd", &["verify", "--user", "--man=no"], home.path(), &unit);
    let (sound, said) = verify();
    assert!(sound && !said.contains("undertone.service"), "{said}");
    // It looks for the very program: without it, it complains.
    fs::remove_file(&program).unwrap();
    let (sound, said) = verify();
    assert!(!sound && said.contains("is not executable"), "{said}");
}

#[test]
fn desktops_accept_the_entry() {
    let home = tempfile::tempdir().unwrap();
    install(Autostart::Xdg, home.path(), &program(home.path(), r#"under "tone" 100% $HOME \t `x`"#)).unwrap();
    let entry = home.path().join("autostart/undertone.desktop");
    let (sound, said) = judged("desktop-file-validate", "desktop-file-utils", &[], home.path(), &entry);
    assert!(sound && said.is_empty(), "{said}");
    let text = fs::read_to_string(entry).unwrap();
    assert!(text.contains(r#"/under \\"tone\\" 100%% \\$HOME \\\\t \\`x\\`" run"#), "{text}");
}
