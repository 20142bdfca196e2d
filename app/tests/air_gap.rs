//! The machine without a network: a bundle made, installed and used where there is no interface, killed at every step,
//! on a full disk, and opened with other tools.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

#[path = "../../models/tests/common/mod.rs"]
mod common;
#[path = "store/gguf.rs"]
mod gguf;
#[path = "watch/mod.rs"]
mod watch;

use gguf::gguf;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The program without its symbols, as it is shipped: a sixth of the bytes to read and write.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("undertone");
        let strip = Command::new("strip").arg("-o").arg(&path).arg(env!("CARGO_BIN_EXE_undertone")).status();
        assert!(strip.expect("strip comes with the compiler").success());
        (folder, path)
    });
    path
}

/// Two machines in a folder: one with a store, one with nothing.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.path("home")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self) -> PathBuf {
        self.path("undertone.tar.zst")
    }

    /// `command` in a clean environment, at home on the machine with nothing.
    fn settle<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .current_dir(self.folder.path())
    }

    fn run(&self, args: &[&str]) -> Output {
        self.settle(Command::new(program()).args(args)).output().unwrap()
    }

    /// A bundle of one tiny model.
    fn tiny(&self) -> PathBuf {
        let tiny = self.path("tiny.gguf");
        fs::write(&tiny, gguf(300_000)).unwrap();
        let store = self.path("store");
        for args in [
            &["models", "import", "tiny.gguf"][..],
            &["bundle", "create", "--models", "tiny", "-o", "undertone.tar.zst"],
        ] {
            let mut command = Command::new(program());
            must_succeed(self.settle(command.args(args)).env("UNDERTONE_MODELS", &store).output().unwrap());
        }
        self.bundle()
    }

    /// Inode and size of every file that is in place at home: a file that was written again has another inode.
    fn placed(&self) -> BTreeMap<PathBuf, (u64, u64)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path("home")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let (path, metadata) = (entry.path(), entry.metadata().unwrap());
                if metadata.is_dir() {
                    folders.push(path);
                } else if !path.to_string_lossy().contains(".partial") && !path.ends_with(".lock") {
                    found.insert(path, (metadata.ino(), metadata.size()));
                }
            }
        }
        found
    }
}

#[track_caller]
fn must_succeed(output: Output) -> String {
    assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn must_fail(output: Output, code: i32, words: &str) {
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(words) && !error.contains("panicked"), "\"{words}\" in: {error}");
}

/// The first words of a command in a network namespace of its own, which has nothing but a loopback that is down.
fn without_network() -> Command {
    let mut tried = Vec::new();
    // As an ordinary user, or else as root.
    for flags in ["-rn", "-n"] {
        let look = Command::new("unshare").args([flags, "cat", "/proc/net/dev", "/proc/net/route"]).output();
        match look {
            Ok(output) if output.status.success() => {
                let text = String::from_utf8(output.stdout).unwrap();
                let interfaces: Vec<&str> =
                    text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
                assert_eq!(interfaces, ["lo"], "{text}");
                let mut command = Command::new("unshare");
                command.arg(flags);
                return command;
            }
            Ok(output) => tried.push(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => tried.push(error.to_string()),
        }
    }
    panic!(
        "this test needs a network namespace, and this machine gives none (user namespaces are switched off: see \
         kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns): {tried:?}"
    );
}

#[test]
fn a_bundle_is_made_installed_and_used_without_a_network() {
    let bench = Bench::new();
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/clips/question.wav");
    let clip = clip.canonicalize().unwrap().to_string_lossy().into_owned();
    let watched = |program: &Path, args: &[&str], models: Option<PathBuf>| {
        let log = bench.path("strace");
        let mut command = without_network();
        command.args(["strace", "-f", "-e", "trace=network", "-o"]).arg(&log).arg(program).args(args);
        bench.settle(&mut command);
        if let Some(models) = models {
            command.env("UNDERTONE_MODELS", models);
        }
        let out = must_succeed(command.output().unwrap());
        watch::no_network(&log);
        out
    };
    let models = common::model_dir(".");
    watched(program(), &["bundle", "create", "-o", "undertone.tar.zst"], Some(models));
    let told = watched(program(), &["bundle", "verify", "undertone.tar.zst"], None);
    assert!(told.contains("whisper-tiny.en\t") && told.contains("whole; not signed"), "{told}");
    let told = watched(program(), &["bundle", "install", "undertone.tar.zst"], None);
    let installed = bench.path("home/.local/bin/undertone");
    assert!(told.contains(&format!("undertone\t{}", installed.display())), "{told}");
    // With the installed program and models, and no word of where they are.
    let heard = watched(&installed, &["transcribe", &clip], None);
    assert_eq!(heard.trim(), "What time does the next train to the city leave on Monday morning?");
    assert!(bench.path("home/.local/share/undertone/models/whisper-tiny.en/model.bin").exists());
    must_succeed(bench.settle(Command::new(&installed).args(["models", "verify"])).output().unwrap());
}

#[test]
fn an_install_that_is_killed_anywhere_goes_on_from_there() {
    let bench = Bench::new();
    let bundle = bench.tiny();
    let bundle = bundle.to_str().unwrap();
    let mut kills = 0;
    for step in 1.. {
        assert!(step < 100, "a bundle of so few files is installed in fewer steps");
        let bench = Bench::new();
        let mut command = Command::new("strace");
        let calls = "rename,renameat,renameat2";
        command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:signal=KILL:when={step}")]);
        command.arg(program()).args(["bundle", "install", bundle]);
        let killed = bench.settle(&mut command).output().expect("strace is installed by scripts/test");
        if killed.status.success() {
            break;
        }
        kills += 1;
        // What looks whole is whole.
        must_succeed(bench.run(&["models", "verify"]));
        let before = bench.placed();
        must_succeed(bench.run(&["bundle", "install", bundle]));
        let after = bench.placed();
        for (path, was) in before {
            assert_eq!(
                after.get(&path),
                Some(&was),
                "{} was written again after kill {step}",
                path.display()
            );
        }
        assert_eq!(fs::read(bench.path("home/.local/bin/undertone")).unwrap(), fs::read(program()).unwrap());
        must_succeed(bench.run(&["models", "where", "tiny"]));
        let leftovers = fs::read_dir(bench.path("home/.local/bin")).unwrap().count();
        assert_eq!(leftovers, 1, "kill {step} left something beside the program");
    }
    // The program, papers, the model's file, its manifest, the model.
    assert!(kills >= 8, "{kills} steps were killed");
}

#[test]
fn a_bundle_whose_writing_fails_or_is_interrupted_leaves_nothing() {
    let bench = Bench::new();
    let whole = fs::read(bench.tiny()).unwrap();
    fs::remove_file(bench.bundle()).unwrap();
    let names = || fs::read_dir(bench.folder.path()).unwrap().count();
    let before = names();
    let create = format!("{} bundle create --models tiny -o undertone.tar.zst", program().display());
    let store = bench.path("store");
    let run = |line: &str| {
        let mut command = Command::new("sh");
        bench.settle(command.args(["-c", line])).env("UNDERTONE_MODELS", &store).output().unwrap()
    };
    must_fail(run(&format!("ulimit -f 1000; exec {create}")), 7, "larger than the system allows");
    assert_eq!(names(), before);
    must_fail(run(&format!("{create}/x")), 7, "cannot be written");
    // Ended while the models are checked, and when all is written but the name. (Not by SIGINT, which tests that run in
    // the background inherit as ignored.)
    let mut told = String::new();
    for step in 1..10 {
        let inject = format!("strace -f -o /dev/null -e trace=fsync -e inject=fsync:signal=TERM:when={step}");
        let output = run(&format!("{inject} {create}"));
        if output.status.success() {
            break;
        }
        told += &String::from_utf8_lossy(&output.stderr);
        must_fail(output, 130, "interrupted");
        // Once it has its name it is whole.
        if bench.bundle().exists() {
            assert!(fs::read(bench.bundle()).unwrap() == whole);
            fs::remove_file(bench.bundle()).unwrap();
        }
        assert_eq!(names(), before);
    }
    assert!(told.contains("nothing is left"), "{told}");
    must_succeed(run(&create));
    assert!(fs::read(bench.bundle()).unwrap() == whole, "the same models and program give the same bundle");

    // And installing, where the program is too large for the file system.
    let install = format!("ulimit -f 1000; exec {} bundle install undertone.tar.zst", program().display());
    must_fail(run(&install), 7, "larger than the system allows");
    assert!(!bench.path("home/.local/bin/undertone").exists());
    assert_eq!(fs::read_dir(bench.path("home/.local/bin")).unwrap().count(), 0);
}

#[test]
fn other_tools_open_it_and_find_the_same_hashes() {
    let bench = Bench::new();
    bench.tiny();
    let line = "tar --zstd -xf undertone.tar.zst && cd undertone && sha256sum --quiet --strict -c SHA256SUMS \
                && bin/undertone --version";
    let told = must_succeed(bench.settle(Command::new("sh").args(["-c", line])).output().unwrap());
    assert!(told.starts_with("undertone "), "{told}");
    let sbom = fs::read_to_string(bench.path("undertone/sbom.cdx.json")).unwrap();
    let sbom: serde_json::Value = serde_json::from_str(&sbom).unwrap();
    let components = sbom["components"].as_array().unwrap();
    assert!(components.iter().any(|component| component["type"] == "machine-learning-model"));
    let licences = fs::read_to_string(bench.path("undertone/licences/dependencies.txt")).unwrap();
    assert!(licences.contains("Apache License") && licences.contains("rusqlite"));
}

#[test]
fn a_signed_bundle_is_installed_with_the_right_key_alone() {
    let bench = Bench::new();
    bench.tiny();
    let pair = minisign::KeyPair::generate_encrypted_keypair(Some("sesame".into())).unwrap();
    fs::write(bench.path("key"), pair.sk.to_box(None).unwrap().into_string()).unwrap();
    fs::write(bench.path("password"), "sesame\n").unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(program());
        bench.settle(command.args(args)).env("UNDERTONE_MODELS", bench.path("store")).output().unwrap()
    };
    let create = ["bundle", "create", "--models", "tiny", "-o", "undertone.tar.zst", "--sign", "key"];
    must_fail(run(&create), 2, "give --password-file");
    must_succeed(run(&[&create[..], &["--password-file", "password"]].concat()));
    let key = pair.pk.to_base64();
    let told = must_succeed(run(&["bundle", "verify", "undertone.tar.zst", "--public-key", &key]));
    assert!(told.contains("signed by the key that was given"), "{told}");
    let other = minisign::KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64();
    must_fail(
        bench.run(&["bundle", "install", "undertone.tar.zst", "--public-key", &other]),
        3,
        "not signed by this key",
    );
    assert!(bench.placed().is_empty());
    must_succeed(bench.run(&[
        "bundle",
        "install",
        "undertone.tar.zst",
        "--public-key",
        &key,
        "--to",
        "programs",
    ]));
    assert!(bench.path("programs/undertone").exists());
}
