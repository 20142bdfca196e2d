//! Quantised speech models: what is written is what whisper.cpp's own tools write.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use undertone_models::ModelError;
use undertone_models::weights::{BlockType, ggml};
use undertone_models::whisper::{Quantized, QuantizedType, Whisper};

fn quantized(from: &Path, ty: QuantizedType, folder: &Path) -> PathBuf {
    let model = Quantized::new(from, ty).unwrap();
    let path = folder.join(format!("ggml-{}.bin", ty.name()));
    let (mut file, mut told) = (std::fs::File::create(&path).unwrap(), 0);
    model.write(&mut file, |bytes| told += bytes).unwrap();
    assert_eq!([told, file.metadata().unwrap().len()], [model.len_bytes(); 2], "{}", ty.name());
    path
}

/// The oracle is `scripts/make_whisper_variants.py`, a port of ggml's `quantize_row_*_ref`.
#[test]
fn a_quantized_file_has_the_bytes_of_whisper_cpps() {
    let folder = tempfile::tempdir().unwrap();
    for ty in [QuantizedType::Q8_0, QuantizedType::Q5_0, QuantizedType::Q5_1] {
        let path = quantized(&common::model_dir("whisper-tiny.en"), ty, folder.path());
        let want = common::model_dir("whisper-tiny.en-variants").join(path.file_name().unwrap());
        let (ours, theirs) = (ggml::open(&path).unwrap(), ggml::open(&want).unwrap());
        assert_eq!((ours.heads, ours.vocab_size), (theirs.heads, theirs.vocab_size));
        assert_eq!(ours.tokens[..], theirs.tokens[..ours.tokens.len()]);
        assert_eq!(ours.weights.tensors().count(), theirs.weights.tensors().count());
        for (name, dims, block_type) in theirs.weights.tensors() {
            let bytes = |file: &ggml::GgmlWhisper| file.weights.bytes(name).unwrap().to_vec();
            assert_eq!(ours.weights.dims(name).unwrap(), dims, "{name}");
            assert!(bytes(&ours) == bytes(&theirs), "{name} {block_type:?}");
        }
    }
}

#[test]
fn super_blocks_hold_the_weights_within_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let from = common::model_dir("whisper-base");
    let stored = Whisper::open(&from).unwrap();
    for (ty, bound) in [(QuantizedType::Q4K, 0.09), (QuantizedType::Q6K, 0.025)] {
        let path = quantized(&from, ty, folder.path());
        assert_eq!(Whisper::open(&path).unwrap().config, stored.config);
        let (file, name) = (ggml::open(&path).unwrap().weights, "encoder.layers.2.fc1.weight");
        let theirs = undertone_models::weights::ctranslate2::open(&from).unwrap().weights;
        let matrix = file.matrix(name, 2048, 512).unwrap();
        assert_eq!(matrix.block_type(), ty.block_type());
        let (got, want) = (matrix.to_f32(), theirs.matrix(name, 2048, 512).unwrap().to_f32());
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
        let error =
            square(&mut got.iter().zip(&want).map(|(a, b)| a - b)) / square(&mut want.iter().copied());
        println!("{}: {}", ty.name(), error.sqrt());
        assert!(error.sqrt() < bound, "{}: {}", ty.name(), error.sqrt());
        let kept = file.tensors().filter(|(_, dims, _)| dims.len() != 2);
        assert!(kept.map(|(_, _, ty)| ty).all(|ty| matches!(ty, BlockType::F32 | BlockType::F16)));
    }
}

#[test]
fn rows_that_blocks_do_not_divide_are_refused_with_those_that_fit() {
    let refused = Quantized::new(&common::model_dir("whisper-tiny.en"), QuantizedType::Q4K).err().unwrap();
    assert!(matches!(refused, ModelError::Blocks { cols: 384, .. }), "{refused}");
    assert!(
        refused.to_string().ends_with("do not fill blocks of q4_k; use q4_0, q4_1, q5_0, q5_1, q8_0"),
        "{refused}"
    );
}

#[test]
fn a_full_disk_is_an_error_of_writing() {
    let model = Quantized::new(&common::model_dir("whisper-tiny.en"), QuantizedType::Q8_0).unwrap();
    let mut full = std::fs::File::create("/dev/full").unwrap();
    let error = model.write(&mut full, |_| ()).unwrap_err();
    assert!(matches!(error, undertone_models::whisper::WriteError::Io(_)), "{error}");
}
