//! What a name means: in the store, elsewhere on the machine, as a path, or nowhere.

use super::config::Places;
use super::import::How;
use super::kinds::Format;
use super::recognise::fixtures;
use super::*;
use std::fs;

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new(offline: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config =
            StoreConfig::from_vars(|name| (name == "HOME").then(|| "/nowhere".into())).expect("a home");
        config.root = folder.path().join("store");
        config.offline = offline;
        // A pip that must not be called.
        config.pip = vec!["/nowhere/pip".into()];
        config.hub_endpoint = Some("http://127.0.0.1:9".into());
        config.places = Places { hugging_face: vec![folder.path().join("hub")], ..Places::default() };
        let store = Store::open(&config).expect("opened");
        Self { folder, store }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, bytes).expect("written");
        path
    }

    fn import(&self, path: &Path, name: &str) -> ModelPath {
        self.store.import(path, Some(name), How::Copy, &mut Silent).expect("imported")
    }
}

#[track_caller]
fn must_fail<T: std::fmt::Debug>(result: Result<T>, exit: Exit, words: &str) {
    let error = result.expect_err("it must fail");
    let text = format!("{error:#}");
    assert_eq!(Exit::of(&error), exit, "{text}");
    assert!(text.contains(words), "\"{words}\" in: {text}");
}

#[test]
fn a_path_is_taken_as_it_is_and_must_be_of_the_right_kind() {
    let bench = Bench::new(true);
    let path = bench.put("mine/x.gguf", &fixtures::gguf("qwen2"));
    let given = path.display().to_string();
    let model = bench.store.resolve(&given, Kind::Text).expect("resolved");
    assert_eq!((model.path.as_path(), model.format), (path.as_path(), Format::Gguf));
    must_fail(bench.store.resolve(&given, Kind::Speech), Exit::Model, "a speech model is needed");
    let text = bench.put("mine/notes.txt", b"hello").display().to_string();
    must_fail(bench.store.resolve(&text, Kind::Text), Exit::Model, "not a model");
    must_fail(bench.store.resolve("no/such/x", Kind::Text), Exit::Model, "no file, folder or model");
}

#[test]
fn a_name_that_is_not_here_names_the_command_and_offline_fetches_nothing() {
    let bench = Bench::new(true);
    let store = &bench.store;
    must_fail(store.resolve("whisper-base", Kind::Speech), Exit::Model, "models pull whisper-base");
    must_fail(store.resolve("whisper-base", Kind::Text), Exit::Model, "a text model is needed");
    must_fail(store.resolve("gema-3-1b-it", Kind::Text), Exit::Model, "mean gemma-3-1b-it");
    let ensured = store.ensure_with("whisper-base", Kind::Speech, &mut Silent);
    must_fail(ensured, Exit::Model, "the network is switched off");
    must_fail(store.pull("whisper-base", &mut Silent), Exit::Network, "switched off");
    assert!(!store.root().exists(), "looking makes nothing");
}

#[test]
fn every_source_is_tried_before_giving_up() {
    let bench = Bench::new(false);
    let ensured = bench.store.ensure_with("whisper-base", Kind::Speech, &mut Silent);
    let text = format!("{:#}", ensured.as_ref().expect_err("nothing is reachable"));
    assert!(text.contains("/nowhere/pip was not found") && text.contains("; then "), "{text}");
    must_fail(ensured, Exit::Network, "Systran/faster-whisper-base");
    assert!(!bench.store.root().join("whisper-base").exists());
}

#[test]
fn the_store_comes_before_other_programs_and_both_before_the_network() {
    let bench = Bench::new(false);
    let snapshot = "hub/models--openai--whisper-tiny/snapshots/abc";
    bench.put(&format!("{snapshot}/model.safetensors"), &fixtures::safetensors());
    bench.put(&format!("{snapshot}/config.json"), br#"{"model_type": "whisper"}"#);
    let elsewhere =
        bench.store.ensure_with("whisper-tiny", Kind::Speech, &mut Silent).expect("found in the cache");
    assert_eq!(elsewhere.path, bench.folder.path().join(snapshot));
    let own = bench.put("ggml-tiny.bin", &fixtures::ggml());
    bench.import(&own, "whisper-tiny");
    let model = bench.store.resolve("Whisper-Tiny", Kind::Speech).expect("installed");
    assert_eq!(model.path, bench.store.root().join("whisper-tiny/ggml-tiny.bin"));
    assert_eq!(bench.store.installed_names().expect("read"), ["whisper-tiny"]);
}

#[test]
fn files_are_read_again_only_when_they_changed() {
    let bench = Bench::new(true);
    let original = bench.put("a.gguf", &fixtures::gguf("llama"));
    let model = bench.import(&original, "mine");
    let mut bytes = fs::read(&model.path).expect("there");
    let times = fs::metadata(&model.path).and_then(|file| file.modified()).expect("a time");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&model.path, &bytes).expect("written");
    must_fail(bench.store.resolve("mine", Kind::Text), Exit::Model, "SHA-256");
    // With size and time as they were, no file is read: that is what makes a start fast.
    let file = fs::File::options().write(true).open(&model.path).expect("opened");
    file.set_modified(times).expect("set");
    bench.store.resolve("mine", Kind::Text).expect("not read");
    let states = bench.store.verify("mine", &mut Silent).expect("verified");
    assert_eq!(states, [("a.gguf".to_owned(), verify::FileState::WrongHash)]);
    // And a full check that failed is not forgotten.
    must_fail(bench.store.resolve("mine", Kind::Text), Exit::Model, "SHA-256");
}

#[test]
fn a_manifest_cannot_lead_out_of_its_folder() {
    let bench = Bench::new(true);
    let secret = bench.put("secret.gguf", &fixtures::gguf("llama"));
    let original = bench.put("a.gguf", &fixtures::gguf("llama"));
    bench.import(&original, "mine");
    let manifest = bench.store.root().join("mine").join(manifest::FILE_NAME);
    let text = fs::read_to_string(&manifest).expect("there");
    for path in ["../../secret.gguf", secret.to_str().expect("plain")] {
        fs::write(&manifest, text.replace("a.gguf", path)).expect("written");
        must_fail(bench.store.resolve("mine", Kind::Text), Exit::Model, "no usable files");
    }
}
