//! Where tests find the real models: `scripts/test` puts them there. A missing model is a failure,
//! never a silent skip.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};

/// The folder of a model in the tests' store.
pub fn model_dir(name: &str) -> PathBuf {
    let root = std::env::var_os("UNDERTONE_TEST_MODELS")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-models"));
    let dir = root.join(name);
    assert!(dir.exists(), "{} is missing: run scripts/test, which fetches the test models", dir.display());
    dir
}

/// The one GGUF file of a model.
pub fn gguf(name: &str) -> PathBuf {
    let dir = model_dir(name);
    let mut files = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path());
    files
        .find(|f| f.extension().is_some_and(|e| e == "gguf"))
        .unwrap_or_else(|| panic!("no GGUF file in {}", dir.display()))
}

/// A committed golden file.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/golden").join(name)
}

/// A committed clip as samples: 16-bit mono WAV at 16 kHz with a 44-byte header.
pub fn clip(name: &str) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/clips").join(name);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[36..40], b"data", "{name}: a plain WAV header");
    bytes[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]) as f32 / 32768.0).collect()
}
