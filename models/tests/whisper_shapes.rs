//! Shapes no small download has: 128 mel bands and 100 languages (large-v3, turbo), a decoder
//! shallower than the encoder (turbo, distil), shards, bf16. Random weights: enough for loading and
//! shapes, never for text.

#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::Path;
use undertone_models::whisper::{WINDOW_FRAMES, Whisper};

const D: usize = 64;
const VOCAB: usize = 51_866;

fn tensors() -> HashMap<String, Tensor> {
    let mut all = HashMap::new();
    let mut add = |name: String, dims: &[usize]| {
        let t = Tensor::randn(0f32, 0.05, dims, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
        all.insert(format!("model.{name}"), t);
    };
    let layer = |add: &mut dyn FnMut(String, &[usize]), side: &str, n: usize| {
        let blocks: &[&str] = if side == "decoder" { &["self_attn", "encoder_attn"] } else { &["self_attn"] };
        for block in blocks {
            for p in ["q", "k", "v", "out"] {
                add(format!("{side}.layers.{n}.{block}.{p}_proj.weight"), &[D, D]);
                if p != "k" {
                    add(format!("{side}.layers.{n}.{block}.{p}_proj.bias"), &[D]);
                }
            }
            add(format!("{side}.layers.{n}.{block}_layer_norm.weight"), &[D]);
            add(format!("{side}.layers.{n}.{block}_layer_norm.bias"), &[D]);
        }
        for (name, dims) in [
            ("final_layer_norm.weight", &[D][..]),
            ("final_layer_norm.bias", &[D]),
            ("fc1.weight", &[4 * D, D]),
            ("fc1.bias", &[4 * D]),
            ("fc2.weight", &[D, 4 * D]),
            ("fc2.bias", &[D]),
        ] {
            add(format!("{side}.layers.{n}.{name}"), dims);
        }
    };
    (0..3).for_each(|n| layer(&mut add, "encoder", n));
    layer(&mut add, "decoder", 0);
    for (name, dims) in [
        ("encoder.conv1.weight", &[D, 128, 3][..]),
        ("encoder.conv1.bias", &[D]),
        ("encoder.conv2.weight", &[D, D, 3]),
        ("encoder.conv2.bias", &[D]),
        ("encoder.embed_positions.weight", &[1500, D]),
        ("encoder.layer_norm.weight", &[D]),
        ("encoder.layer_norm.bias", &[D]),
        ("decoder.embed_tokens.weight", &[VOCAB, D]),
        ("decoder.embed_positions.weight", &[448, D]),
        ("decoder.layer_norm.weight", &[D]),
        ("decoder.layer_norm.bias", &[D]),
    ] {
        add(name.to_string(), dims);
    }
    all
}

fn write_model(dir: &Path, tensors: &HashMap<String, Tensor>) {
    // Two shards and their index, as the large checkpoints come.
    let mut map = serde_json::Map::new();
    for (shard, side) in [("a.safetensors", "encoder"), ("b.safetensors", "decoder")] {
        let part: HashMap<String, Tensor> = tensors
            .iter()
            .filter(|(k, _)| k.contains(side) && (side == "decoder" || !k.contains("model.decoder")))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        part.keys().for_each(|k| drop(map.insert(k.clone(), shard.into())));
        candle_core::safetensors::save(&part, dir.join(shard)).unwrap();
    }
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    let config = serde_json::json!({ "model_type": "whisper", "encoder_attention_heads": 2, "decoder_attention_heads": 2 });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let tokenizer = common::model_dir("whisper-base").join("tokenizer.json");
    std::fs::copy(tokenizer, dir.join("tokenizer.json")).unwrap();
}

#[test]
fn large_v3_turbo_like_shapes_load_and_run() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path(), &tensors());
    let model = Whisper::open(dir.path()).unwrap();
    assert_eq!(
        (model.config.num_mel_bins, model.config.encoder_layers, model.config.decoder_layers),
        (128, 3, 1)
    );
    assert_eq!(model.tokens.language("yue"), Some(50_358));
    let mel = model.mel.log_mel(&common::clip("question.wav")).unwrap();
    let input = Tensor::from_vec(mel.window(0, WINDOW_FRAMES, mel.floor), (WINDOW_FRAMES, 128), &Device::Cpu)
        .unwrap();
    let audio = model.encoder.forward(&input).unwrap();
    assert_eq!(audio.to_tensor().unwrap().dims(), [1500, D]);
    let (mut cache, mut cross) =
        (model.decoder.new_cache(2).unwrap(), model.decoder.new_cross_cache().unwrap());
    model.decoder.attend_to(&audio, &mut cross).unwrap();
    let logits = model.decoder.forward(&[1, 2, 3, 4], 2, &[0, 1], &mut cache, &cross).unwrap();
    assert_eq!(logits.len(), 2 * 2 * VOCAB);
    assert!(model.decoder.forward(&[1, 2], 2, &[1], &mut cache, &cross).is_err(), "one token each");
    assert!(logits.iter().all(|l| l.is_finite()) && logits.iter().any(|l| *l != 0.0));
}

#[test]
fn a_missing_tensor_and_a_wrong_shape_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = tensors();
    let name = "model.encoder.layers.1.fc2.bias";
    let bias = all.remove(name).unwrap();
    write_model(dir.path(), &all);
    let error = Whisper::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("encoder.layers.1.fc2.bias") && error.contains("missing"), "{error}");
    all.insert(name.into(), bias);
    all.insert(
        "model.encoder.layers.1.fc1.weight".into(),
        Tensor::zeros((D, D), DType::F32, &Device::Cpu).unwrap(),
    );
    write_model(dir.path(), &all);
    let error = Whisper::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("encoder.layers.1.fc1.weight") && error.contains("[256, 64]"), "{error}");
}
