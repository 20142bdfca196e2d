//! Files that promise what they do not hold, straight into the readers: an error that names the
//! lie, no panic, and no allocation of the size that is claimed.

#![allow(clippy::unwrap_used)]

mod common;

use undertone_models::weights::{ctranslate2, ggml, gguf::Gguf, safetensors};
use undertone_models::whisper::Whisper;

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A GGUF file with one key and one tensor `t [rows, cols]` of `ty` at `offset`.
fn gguf(version: u32, counts: (u64, u64), dims: &[u64], ty: u32, offset: u64) -> Vec<u8> {
    let mut b = b"GGUF".to_vec();
    b.extend(version.to_le_bytes());
    b.extend(counts.0.to_le_bytes());
    b.extend(counts.1.to_le_bytes());
    b.extend(string("general.architecture"));
    b.extend(8u32.to_le_bytes());
    b.extend(string("llama"));
    b.extend(string("t"));
    b.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|d| b.extend(d.to_le_bytes()));
    b.extend(ty.to_le_bytes());
    b.extend(offset.to_le_bytes());
    b.resize(b.len().next_multiple_of(32), 0);
    b.extend([0; 256]);
    b
}

#[test]
fn gguf_headers_that_lie() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Gguf::open(&path).map(|g| g.weights().len_bytes()).map_err(|e| e.to_string())
    };
    assert_eq!(open(&gguf(3, (1, 1), &[32, 2], 0, 0)), Ok(256));
    let cases: [(Vec<u8>, &str); 9] = [
        (gguf(3, (u64::MAX, 1), &[32, 2], 0, 0), "more than the file can hold"),
        (gguf(3, (1, u64::MAX), &[32, 2], 0, 0), "more than the file can hold"),
        (gguf(99, (1, 1), &[32, 2], 0, 0), "version 99"),
        (gguf(3, (1, 1), &[32, 3], 0, 0), "does not lie within the file"),
        (gguf(3, (1, 1), &[32, 2], 0, u64::MAX - 31), "does not lie within the file"),
        (gguf(3, (1, 1), &[u64::MAX / 2, 16], 0, 0), "does not lie within the file"),
        (gguf(3, (1, 1), &[33, 1], 2, 0), "does not lie within the file"),
        (gguf(3, (1, 1), &[32, 2], 999, 0), "type 999"),
        (gguf(3, (1, 1), &[1; 9], 0, 0), "9 dimensions"),
    ];
    for (bytes, words) in cases {
        let error = open(&bytes).unwrap_err();
        assert!(error.contains(words), "{words:?} in {error}");
    }
    let good = gguf(3, (1, 1), &[32, 2], 0, 0);
    for len in 0..good.len() {
        assert!(open(&good[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn gguf_tensors_that_share_bytes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(2u64.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    for (name, offset) in [("a", 0u64), ("b", 32)] {
        bytes.extend(string(name));
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(16u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + 96, 0);
    std::fs::write(&path, &bytes).unwrap();
    let error = Gguf::open(&path).err().unwrap().to_string();
    assert!(error.contains("'a' and 'b' lie in the same bytes"), "{error}");
}

#[test]
fn every_cut_and_every_flipped_header_byte_of_small_files_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let model = common::model_dir("whisper-tiny.en");
    let variants = common::model_dir("whisper-tiny.en-variants");
    let read = |path: std::path::PathBuf| std::fs::read(path).unwrap()[..4096].to_vec();
    let heads = [
        ("model.bin", read(model.join("model.bin"))),
        ("model.safetensors", read(variants.join("hf-f16/model.safetensors"))),
        ("ggml.bin", read(variants.join("ggml-q5_0.bin"))),
    ];
    let try_all = |name: &str| {
        let path = dir.path().join(name);
        assert!(ctranslate2::open(dir.path()).is_err() || name != "model.bin");
        assert!(safetensors::open(dir.path()).is_err() || name != "model.safetensors");
        assert!(ggml::open(&path).is_err());
        assert!(Whisper::open(&path).is_err());
    };
    for (name, head) in heads {
        for at in (0..head.len()).step_by(97) {
            std::fs::write(dir.path().join(name), &head[..at]).unwrap();
            try_all(name);
            let mut flipped = head.clone();
            flipped[at] ^= 0xff;
            std::fs::write(dir.path().join(name), &flipped).unwrap();
            try_all(name);
        }
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
}
