//! Bundles of tiny models: made, installed, and every one of their bytes changed.

use super::archive::{self, sha256};
use super::check::check;
use super::create::{Request, create};
use super::install::{Installed, Places, install};
use super::sbom;
use super::signature::{Signed, Signer, public_key};
use crate::exit::Exit;
use crate::store::config;
use crate::store::import::How;
use crate::store::progress::Silent;
use crate::store::recognise::fixtures;
use crate::store::{Store, StoreConfig};
use anyhow::Result;
use minisign_verify::PublicKey;
use std::fs;
use std::path::{Path, PathBuf};

/// A machine with a store of two tiny models, a program, and another machine to install on.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    pub(super) here: Store,
    pub(super) there: Store,
}

fn store(root: PathBuf) -> Store {
    let mut config =
        StoreConfig::from_vars(|name| (name == "HOME").then(|| "/nowhere".into())).expect("a home");
    config.root = root;
    config.offline = true;
    config.places = config::Places::default();
    Store::open(&config).expect("opened")
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let bench = Self { here: store(at("here")), there: store(at("there/models")), folder };
        fs::write(bench.path("program"), b"a program, as it were").expect("written");
        let gguf = bench.path("mine.gguf");
        fs::write(&gguf, fixtures::gguf("llama")).expect("written");
        bench.here.import(&gguf, Some("text"), How::Copy, &mut Silent).expect("imported");
        let ct2 = bench.path("ct2");
        fs::create_dir(&ct2).expect("made");
        fs::write(ct2.join("model.bin"), fixtures::ct2()).expect("written");
        fs::write(ct2.join("config.json"), b"{}").expect("written");
        fs::write(ct2.join("tokenizer.json"), b"{}").expect("written");
        bench.here.import(&ct2, Some("speech"), How::Copy, &mut Silent).expect("imported");
        bench
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn create(&self, models: &[&str], signer: Option<&Signer>) -> Result<PathBuf> {
        let output = self.path("bundle.tar.zst");
        let models: Vec<String> = models.iter().map(|name| (*name).to_owned()).collect();
        let request = Request {
            store: &self.here,
            models: &models,
            program: &self.path("program"),
            dependencies: &sbom::dependencies()?.into_iter().take(3).collect::<Vec<_>>(),
            papers: &[("licences/LICENSE-MIT", "do what you like"), ("catalogue.toml", "# none")],
            output: &output,
            signer,
        };
        create(&request, &mut Silent)?;
        Ok(output)
    }

    pub(super) fn install(&self, bundle: &Path, key: Option<&PublicKey>) -> Result<Installed> {
        let (programs, papers) = (self.path("there/bin"), self.path("there/papers"));
        let places = Places { store: &self.there, programs: &programs, papers: &papers };
        install(bundle, key, &places, &mut Silent)
    }

    #[track_caller]
    pub(super) fn nothing_is_installed(&self) {
        assert!(!self.path("there").exists(), "nothing may have been written");
    }
}

#[track_caller]
pub(super) fn must_fail<T: std::fmt::Debug>(result: Result<T>, exit: Exit, words: &str) {
    let error = result.expect_err(words);
    let text = format!("{error:#}");
    assert!(text.contains(words), "\"{words}\" in: {text}");
    assert_eq!(Exit::of(&error), exit, "{text}");
}

/// A key without a password and what checks it.
fn key(bench: &Bench, name: &str) -> (Signer, String) {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("random numbers");
    let file = bench.path(name);
    fs::write(&file, pair.sk.to_box(None).expect("a box").into_string()).expect("written");
    (Signer::open(&file, None).expect("a key"), pair.pk.to_base64())
}

#[test]
fn what_was_bundled_here_is_installed_there_and_only_once() {
    let bench = Bench::new();
    let bundle = bench.create(&["text", "speech", "text"], None).expect("made");
    assert_eq!(fs::read_dir(bench.path("")).expect("listed").count(), 5, "no temporary file is left");
    let checked = check(&bundle, None, &mut Silent).expect("whole");
    assert_eq!(checked.models.len(), 2, "a model named twice is there once");
    bench.nothing_is_installed();

    let done = bench.install(&bundle, None).expect("installed");
    assert!(done.models.iter().all(|(_, _, written)| *written));
    assert_eq!((done.written, done.signed), (9, Signed::No));
    assert_eq!(fs::read(&done.program).expect("there"), b"a program, as it were");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&done.program).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o755);
    for (name, kind) in [("text", crate::store::Kind::Text), ("speech", crate::store::Kind::Speech)] {
        let model = bench.there.resolve(name, kind).expect("usable");
        assert!(model.path.starts_with(bench.path("there/models")));
        let (_, here) = bench.here.installed(name).expect("read").expect("there");
        let (_, there) = bench.there.installed(name).expect("read").expect("there");
        assert_eq!((here.licence, here.source), (there.licence, there.source), "{name}");
    }
    let sbom = fs::read_to_string(bench.path("there/papers/sbom.cdx.json")).expect("there");
    assert!(sbom.contains("CycloneDX") && sbom.contains(&sha256(b"a program, as it were")));
    assert!(bench.path("there/papers/licences/models.txt").exists());

    let again = bench.install(&bundle, None).expect("installed");
    assert_eq!(again.written, 0);
    assert!(again.models.iter().all(|(_, _, written)| !written));
}

#[test]
fn what_is_damaged_there_is_mended_and_what_differs_is_left_alone() {
    let bench = Bench::new();
    let bundle = bench.create(&["text", "speech"], None).expect("made");
    bench.install(&bundle, None).expect("installed");
    fs::write(bench.path("there/models/speech/model.bin"), b"spoilt").expect("written");
    fs::write(bench.path("there/bin/undertone"), b"an older program").expect("written");
    let done = bench.install(&bundle, None).expect("mended");
    // The model's three files, and the program.
    assert_eq!(done.written, 4);
    assert_eq!(fs::read(bench.path("there/bin/undertone")).expect("there"), b"a program, as it were");
    bench.there.resolve("speech", None).expect("whole again");

    bench.there.remove("text").expect("removed");
    let other = bench.path("other.gguf");
    fs::write(&other, fixtures::gguf("qwen2")).expect("written");
    bench.there.import(&other, Some("text"), How::Copy, &mut Silent).expect("imported");
    must_fail(bench.install(&bundle, None), Exit::Model, "models remove text");
    bench.there.resolve("text", None).expect("the other one is still there");
    fs::remove_dir_all(bench.path("there/models/text")).expect("removed");
    fs::create_dir(bench.path("there/models/text")).expect("made");
    must_fail(bench.install(&bundle, None), Exit::Disk, "in the way");
}

#[test]
fn files_that_a_killed_run_left_whole_are_not_written_again() {
    let bench = Bench::new();
    let bundle = bench.create(&["speech"], None).expect("made");
    let staged = bench.path("there/models/.partial/speech");
    fs::create_dir_all(staged.join("files")).expect("made");
    fs::create_dir_all(staged.join("scratch")).expect("made");
    fs::write(staged.join("files/model.bin"), fixtures::ct2()).expect("written");
    fs::write(staged.join("files/config.json"), b"half").expect("written");
    fs::write(staged.join("scratch/partial"), b"half").expect("written");
    let done = bench.install(&bundle, None).expect("installed");
    // Program, four papers, config.json and tokenizer.json; not model.bin.
    assert_eq!(done.written, 7);
    bench.there.resolve("speech", None).expect("whole");
    assert!(!staged.exists());
}

#[test]
fn every_changed_byte_is_refused_and_nothing_is_installed() {
    let bench = Bench::new();
    let (signer, public) = key(&bench, "key");
    let bundle = bench.create(&["text", "speech"], Some(&signer)).expect("made");
    let whole = fs::read(&bundle).expect("read");
    let key = public_key(&public).expect("a key");
    assert_eq!(check(&bundle, Some(&key), &mut Silent).expect("whole").head.signed, Signed::Good);
    let mut named = 0;
    for at in 0..whole.len() {
        for flip in [1u8, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            fs::write(&bundle, &bytes).expect("written");
            // Without a key: the signature must not be what finds it.
            let error = bench.install(&bundle, None).expect_err("a byte was changed");
            let text = format!("{error:#}");
            assert_eq!(Exit::of(&error), Exit::Input, "byte {at}: {text}");
            assert!(text.contains("bundle.tar.zst") && !text.contains('\n'), "byte {at}: {text}");
            named +=
                usize::from(text.contains("models/") || text.contains("SHA256SUMS") || text.contains("bin/"));
        }
    }
    assert!(named > whole.len() / 2, "many are found where they are: {named} of {}", 2 * whole.len());
    bench.nothing_is_installed();
    for length in 0..whole.len() {
        fs::write(&bundle, &whole[..length]).expect("written");
        must_fail(bench.install(&bundle, None), Exit::Input, "cut off");
    }
    fs::write(&bundle, [whole.as_slice(), b"x"].concat()).expect("written");
    must_fail(bench.install(&bundle, None), Exit::Input, "cut off or damaged at its end");
    bench.nothing_is_installed();
}

#[test]
fn a_signature_is_that_of_the_key_or_the_bundle_is_refused() {
    let bench = Bench::new();
    let (signer, public) = key(&bench, "key");
    let (_, other) = key(&bench, "other");
    let (good, other) = (public_key(&public).expect("a key"), public_key(&other).expect("a key"));
    let bundle = bench.create(&["text"], Some(&signer)).expect("made");
    must_fail(bench.install(&bundle, Some(&other)), Exit::Input, "not signed by this key");
    bench.nothing_is_installed();
    assert_eq!(bench.install(&bundle, None).expect("installed").signed, Signed::Unchecked);
    assert_eq!(bench.install(&bundle, Some(&good)).expect("installed").signed, Signed::Good);
    let bundle = bench.create(&["text"], None).expect("made");
    must_fail(check(&bundle, Some(&good), &mut Silent), Exit::Input, "is not signed");

    let file = bench.path("key.pub");
    fs::write(&file, format!("untrusted comment: mine\n{public}\n")).expect("written");
    public_key(&file.display().to_string()).expect("a key in a file");
    must_fail(public_key("/nowhere/key.pub").map_err(Into::into).map(drop), Exit::Usage, "cannot be read");
    fs::write(&file, "hello").expect("written");
    let text = file.display().to_string();
    must_fail(public_key(&text).map_err(Into::into).map(drop), Exit::Usage, "not a public key");
    must_fail(Signer::open(&file, None).map_err(Into::into).map(drop), Exit::Usage, "not a secret key");
}

#[test]
fn a_key_with_a_password_needs_it() {
    let bench = Bench::new();
    let pair = minisign::KeyPair::generate_encrypted_keypair(Some("sesame".to_owned())).expect("a key");
    let (file, password) = (bench.path("key"), bench.path("password"));
    fs::write(&file, pair.sk.to_box(None).expect("a box").into_string()).expect("written");
    fs::write(&password, "sesame\n").expect("written");
    let signer = Signer::open(&file, Some(&password)).expect("the right password");
    let bundle = bench.create(&["text"], Some(&signer)).expect("made");
    let key = public_key(&pair.pk.to_base64()).expect("a key");
    check(&bundle, Some(&key), &mut Silent).expect("signed");
    fs::write(&password, "simsim\n").expect("written");
    let wrong = Signer::open(&file, Some(&password)).map(drop);
    must_fail(wrong.map_err(Into::into), Exit::Usage, "the password is wrong");
}

#[test]
fn models_that_are_missing_or_damaged_are_not_bundled_and_nothing_is_left() {
    let bench = Bench::new();
    must_fail(bench.create(&["text", "speach"], None), Exit::Model, "speach is not in the store");
    let file = bench.path("here/speech/model.bin");
    let stamp = fs::metadata(&file).expect("there").modified().expect("a time");
    let mut bytes = fs::read(&file).expect("read");
    bytes[9] ^= 1;
    fs::write(&file, bytes).expect("written");
    fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(stamp)).expect("set");
    must_fail(bench.create(&["text", "speech"], None), Exit::Model, "speech is damaged: model.bin");
    let names: Vec<_> =
        fs::read_dir(bench.path("")).expect("listed").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn the_same_models_and_program_give_the_same_bytes() {
    let bench = Bench::new();
    let first = fs::read(bench.create(&["text"], None).expect("made")).expect("read");
    let second = fs::read(bench.create(&["text"], None).expect("made")).expect("read");
    assert!(first == second);
    assert_eq!(archive::seal(&first[..first.len() - 40]), first);
}
