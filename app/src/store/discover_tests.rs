//! Discovery on trees built as the other programs build theirs.

use super::super::recognise::fixtures;
use super::*;
use std::os::unix::fs::symlink;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, bytes).expect("written");
        path
    }

    /// A hub cache's way: the file is a link into `blobs`.
    fn link(&self, repo: &str, commit: &str, name: &str, bytes: &[u8]) {
        let blob = format!("{commit}-{}", name.replace('/', "-"));
        self.put(&format!("{repo}/blobs/{blob}"), bytes);
        let at = self.path(&format!("{repo}/snapshots/{commit}/{name}"));
        fs::create_dir_all(at.parent().expect("a parent")).expect("made");
        symlink(self.path(&format!("{repo}/blobs/{blob}")), at).expect("linked");
    }
}

fn labels(found: &[Found]) -> Vec<&str> {
    found.iter().map(|found| found.label.as_str()).collect()
}

#[test]
fn hub_caches_show_whisper_folders_and_ggufs() {
    let tree = Tree::new();
    let config = br#"{"model_type": "whisper"}"#;
    let ct2 = "hub/models--Systran--faster-whisper-base.en";
    tree.link(ct2, "aaa", "model.bin", &fixtures::ct2());
    tree.link(ct2, "aaa", "config.json", b"{}");
    let hf = "hub/models--openai--whisper-tiny";
    tree.link(hf, "old", "model.safetensors", &fixtures::safetensors());
    tree.link(hf, "old", "config.json", config);
    tree.link(hf, "zzz", "config.json", config);
    tree.put(&format!("{hf}/refs/main"), b"old\n");
    let gguf = "hub/models--bartowski--Llama-3.2-1B-Instruct-GGUF";
    tree.link(gguf, "bbb", "Llama-3.2-1B-Instruct-Q4_K_M.gguf", &fixtures::gguf("llama"));
    // Things to pass over: other models, pieces of models, data sets, empty repositories.
    tree.link("hub/models--a--bert", "c", "model.safetensors", &fixtures::safetensors());
    tree.link("hub/models--a--bert", "c", "config.json", br#"{"model_type": "bert"}"#);
    tree.link("hub/models--a--big", "c", "big-00001-of-00003.gguf", &fixtures::gguf("llama"));
    tree.put("hub/datasets--a--b/snapshots/x/model.bin", &fixtures::ct2());
    tree.put("hub/models--a--empty/refs/main", b"../../../escape");
    tree.put("hub/faster-whisper-small/model.bin", &fixtures::ct2());
    tree.put("hub/faster-whisper-small/config.json", b"{}");

    let all = hugging_face(&tree.path("hub"));
    assert_eq!(
        labels(&all),
        [
            "faster-whisper-small",
            "Systran/faster-whisper-base.en",
            "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
            "openai/whisper-tiny",
        ]
    );
    let base = pick(&all, "whisper-base.en", Some(Kind::Speech)).expect("found by alias");
    assert_eq!(base.format, Format::Ct2);
    assert!(base.size_bytes >= fixtures::ct2().len() as u64);
    let tiny = pick(&all, "OpenAI/whisper-tiny", None).expect("found by label");
    assert!(tiny.path.ends_with("snapshots/old"));
    assert!(pick(&all, "llama-3.2-1b-instruct", Some(Kind::Text)).is_some());
    assert!(pick(&all, "bartowski/llama-3.2-1b-instruct-gguf", Some(Kind::Text)).is_some());
    assert!(pick(&all, "llama-3.2-1b-instruct", Some(Kind::Speech)).is_none());
}

#[test]
fn whisper_cpp_files_are_known_by_their_magic() {
    let tree = Tree::new();
    tree.put("w/ggml-base.en-q5_1.bin", &fixtures::ggml());
    tree.put("w/ggml-base.en.bin", &fixtures::ggml());
    tree.put("w/ggml-silero-v5.bin", b"lmgg\x01\0\0\0");
    tree.put("w/ggml-broken.bin", b"");
    tree.put("w/tiny.pt", b"PK\x03\x04");
    let all = whisper_cpp(&tree.path("w"));
    assert_eq!(labels(&all), ["ggml-base.en-q5_1.bin", "ggml-base.en.bin"]);
    // The plain file is nearer to the name than the quantised one.
    let picked = pick(&all, "whisper-base.en", Some(Kind::Speech)).expect("found");
    assert_eq!(picked.label, "ggml-base.en.bin");
}

fn ollama_manifest(digest: &str, size: u64) -> String {
    format!(
        r#"{{"schemaVersion": 2, "layers": [
            {{"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:00", "size": 1}},
            {{"mediaType": "application/vnd.ollama.image.model", "digest": "{digest}", "size": {size}}}]}}"#
    )
}

#[test]
fn ollama_models_are_read_from_manifests_and_bad_ones_passed_over() {
    let tree = Tree::new();
    let gguf = fixtures::gguf("gemma3");
    let size = gguf.len() as u64;
    let hex = "ab".repeat(32);
    tree.put(&format!("o/blobs/sha256-{hex}"), &gguf);
    let other = "cd".repeat(32);
    tree.put(&format!("o/blobs/sha256-{other}"), b"no model at all");
    let secret = tree.put("secret.gguf", &gguf);
    let at = |name: &str| format!("o/manifests/registry.example/{name}");
    let good = ollama_manifest(&format!("sha256:{hex}"), size);
    tree.put(&at("library/gemma3/1b"), good.as_bytes());
    tree.put(&at("library/gemma3/latest"), good.as_bytes());
    tree.put(&at("someone/tuned/v1"), good.as_bytes());
    for (tag, text) in [
        ("traversal", ollama_manifest("sha256:../../secret.gguf", size)),
        ("absolute", ollama_manifest(&format!("sha256:{}", secret.display()), size)),
        ("other-hash", ollama_manifest(&format!("md5:{hex}"), size)),
        ("cut", ollama_manifest(&format!("sha256:{hex}"), size + 1)),
        ("no-blob", ollama_manifest(&format!("sha256:{}", "ef".repeat(32)), size)),
        ("no-gguf", ollama_manifest(&format!("sha256:{other}"), 15)),
        ("no-json", "{".to_owned()),
        ("no-layers", r#"{"layers": "none"}"#.to_owned()),
    ] {
        tree.put(&at(&format!("library/bad/{tag}")), text.as_bytes());
    }
    tree.put(&at("library/too-high"), good.as_bytes());

    let all = ollama(&tree.path("o"));
    assert_eq!(labels(&all), ["gemma3:1b", "gemma3:latest", "someone/tuned:v1"]);
    assert!(all.iter().all(|found| found.kind == Kind::Text && found.size_bytes == size));
    assert!(pick(&all, "gemma3", Some(Kind::Text)).is_some_and(|f| f.label == "gemma3:latest"));
    assert!(pick(&all, "gemma3:1b", Some(Kind::Text)).is_some());

    // Three tags of one blob are one model in the list.
    let places = Places { ollama: vec![tree.path("o")], ..Places::default() };
    assert_eq!(labels(&discover(&places)), ["gemma3:1b"]);
}

#[test]
fn lm_studio_ggufs_are_found_and_projectors_are_not() {
    let tree = Tree::new();
    let file = "l/pub/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_K_M.gguf";
    tree.put(file, &fixtures::gguf("gemma3"));
    tree.put("l/pub/gemma-3-4b-it-GGUF/mmproj-f16.gguf", &fixtures::gguf("clip"));
    tree.put("l/pub/broken/x.gguf", b"GGUF");
    let all = lm_studio(&tree.path("l"));
    assert_eq!(labels(&all), ["gemma-3-4b-it-Q4_K_M.gguf"]);
    assert_eq!(pick(&all, "gemma-3-4b-it", Some(Kind::Text)).expect("found").path, tree.path(file));
}

#[test]
fn links_in_circles_and_missing_places_end() {
    let tree = Tree::new();
    tree.put("l/a/b/x.gguf", &fixtures::gguf("llama"));
    symlink(tree.path("l"), tree.path("l/a/b/circle")).expect("linked");
    symlink(tree.path("nowhere"), tree.path("l/a/b/dangling.gguf")).expect("linked");
    assert_eq!(labels(&lm_studio(&tree.path("l"))), ["x.gguf"]);
    let nowhere = tree.path("nowhere");
    let places = Places {
        hugging_face: vec![nowhere.clone()],
        whisper_cpp: vec![nowhere.clone()],
        ollama: vec![nowhere.clone()],
        lm_studio: vec![nowhere],
    };
    assert!(discover(&places).is_empty());
}
