//! The networks on a GPU against the same on the processor, with the same weights: on that which `UNDERTONE_GPU` names
//! (feature `cuda`), else the kernels' sources run on the host (`undertone_simt`), thousands of times slower: few tokens,
//! but all of them real.

#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Device, Tensor};
use std::path::Path;
use undertone_kernels::Isa;
use undertone_kernels::gpu::Gpu;
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::kv_cache::{KvCache, KvType};
use undertone_models::whisper::{AudioContext, Mel, Quantized, QuantizedType, Whisper};

/// The device, and the processor's exact arithmetic to compare it with.
fn gpu() -> Gpu {
    Isa::limit(Isa::Scalar);
    undertone_simt::device(2 << 30)
}

fn rows(logits: Option<Tensor>) -> Vec<Vec<f32>> {
    logits.unwrap().to_vec2().unwrap()
}

/// Numbers that agree: the root mean square of their difference is a small part of how much they differ among themselves.
#[track_caller]
fn agree(got: &[Vec<f32>], want: &[Vec<f32>], bound: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got.len(), want.len(), "{what}");
        let mean = want.iter().sum::<f32>() / want.len() as f32;
        let spread = (want.iter().map(|w| (w - mean).powi(2)).sum::<f32>() / want.len() as f32).sqrt();
        let squares: f32 = got.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum();
        let off = (squares / want.len() as f32).sqrt();
        assert!(off <= bound * spread, "{what}: off by {off} of {spread}");
    }
}

/// A prompt, then a few tokens one by one, then several at once, then what a snapshot held.
fn passes(lm: &CausalLm, cache: &mut KvCache, prompt: &[u32], next: &[u32], among: &[u32]) -> Vec<Vec<f32>> {
    let mut out = rows(lm.forward_among(prompt, cache, Pass::PrefillLast, Some(among)).unwrap());
    let slot = cache.save(prompt.len()).unwrap();
    for token in &next[..2] {
        out.extend(rows(lm.forward_among(&[*token], cache, Pass::Decode, Some(among)).unwrap()));
    }
    cache.rewind(0);
    cache.restore(&slot).unwrap();
    out.extend(rows(lm.forward_among(next, cache, Pass::Decode, Some(among)).unwrap()));
    out
}

fn language_model(name: &str, kv: KvType, bound: f32) {
    let path = common::gguf(name);
    let device = CausalLm::open_on(&path, &gpu()).unwrap();
    let host = CausalLm::open(&path).unwrap();
    let tokenizer = host.tokenizer();
    let prompt = tokenizer.encode("The quick brown fox jumps over the lazy dog, and the").unwrap();
    let next = tokenizer.encode(" cat sat on").unwrap();
    let among: Vec<u32> = (0..host.tokenizer().vocab_size() as u32).step_by(97).collect();
    let run = |lm: &CausalLm| {
        let mut cache = lm.new_cache(64, kv).unwrap();
        passes(lm, &mut cache, &prompt, &next, &among)
    };
    let (got, want) = (run(&device), run(&host));
    agree(&got, &want, bound, name);
    assert_eq!(want[1..3], want[3..5]);
    assert_eq!(got[1..3], got[3..5], "{name}: several at once are those one by one");

    // Without logits: the likeliest of all.
    let mut caches = [&host, &device].map(|lm| lm.new_cache(64, kv).unwrap());
    let [on_host, on_device] = &mut caches;
    host.forward(&prompt, on_host, Pass::Prefill).unwrap();
    device.forward(&prompt, on_device, Pass::Prefill).unwrap();
    let likeliest = device.forward_likeliest(&next[..2], on_device, Pass::Decode).unwrap();
    assert_eq!(likeliest, host.forward_likeliest(&next[..2], on_host, Pass::Decode).unwrap());
    assert!(host.forward(&next, on_device, Pass::Prefill).is_err(), "a cache of another device");
    assert!(device.forward(&[u32::MAX], on_device, Pass::Decode).is_err(), "no such token");
}

#[test]
fn smollm2_writes_the_same_on_a_gpu() {
    language_model("smollm2-135m-instruct", KvType::F32, 0.05);
}

#[test]
fn gemma_writes_the_same_on_a_gpu() {
    language_model("gemma-3-270m", KvType::Q8, 0.15);
}

/// A second of speech in a window whose silence is a sample, then a prompt, a token, several, and three hypotheses that
/// change places.
fn hear(model: &Whisper) -> (Vec<Vec<f32>>, Vec<Vec<f32>>, Mel) {
    let samples = &common::clip("question.wav")[8_000..24_000];
    let mel = model.mel.log_mel(samples).unwrap();
    let context = AudioContext::sampled(60, 1500);
    let frames = context.mel_frames();
    let input = Tensor::from_vec(mel.window(0, frames, mel.floor), (frames, 80), &Device::Cpu).unwrap();
    let audio =
        model.encoder.forward_layers::<undertone_models::ModelError>(&input, context, |_| Ok(())).unwrap();
    let features = audio.to_tensor().unwrap().to_vec2().unwrap();
    let decoder = &model.decoder;
    let mut cross = decoder.new_cross_cache().unwrap();
    decoder.attend_to(&audio, &mut cross).unwrap();
    let mut cache = decoder.new_cache(3).unwrap();
    let mut logits: Vec<Vec<f32>> = Vec::new();
    let mut pass = |tokens: &[u32], batch: usize, cache: &mut KvCache| {
        let all: Vec<usize> = (0..tokens.len() / batch).collect();
        let rows = decoder.forward(tokens, batch, &all, cache, &cross).unwrap();
        // One in seven.
        let rows = rows.chunks(model.config.vocab_size);
        logits.extend(rows.map(|row| row.iter().step_by(7).copied().collect::<Vec<f32>>()));
    };
    // More than few, then one, then a draft.
    let words =
        model.tokenizer.encode(" What time does the next train to the city leave on Monday morning").unwrap();
    let prompt = [&[model.tokens.start_of_transcript, model.tokens.no_timestamps][..], &words[..8]].concat();
    pass(&prompt, 1, &mut cache);
    pass(&words[8..9], 1, &mut cache);
    pass(&words[9..12], 1, &mut cache);
    let [a, b, c, d] = [words[12], words[5], words[1], words[3]];
    assert!(cache.reorder(&[3]).is_err() && cache.reorder(&[0; 4]).is_err(), "there are three");
    cache.reorder(&[0, 0, 0]).unwrap();
    pass(&[a, b, c], 3, &mut cache);
    cache.reorder(&[2, 0, 0]).unwrap();
    pass(&[c, b, d], 3, &mut cache);
    cache.reorder(&[1, 2]).unwrap();
    pass(&[d, a], 2, &mut cache);
    // What the second of these went through, alone.
    cache.rewind(14);
    cache.reorder(&[1]).unwrap();
    for token in [a, d, a] {
        pass(&[token], 1, &mut cache);
    }
    // A new window begins with one again.
    cache.rewind(0);
    pass(&[50_257], 1, &mut cache);
    (features, logits, mel)
}

#[test]
fn whisper_hears_the_same_on_a_gpu() {
    whisper(&common::model_dir("whisper-tiny.en"), [0.02, 0.25]);
}

/// Its encoder multiplies bytes, on both.
#[test]
fn a_quantized_whisper_hears_the_same_on_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ggml-q5_0.bin");
    let model = Quantized::new(&common::model_dir("whisper-tiny.en"), QuantizedType::Q5_0).unwrap();
    model.write(&mut std::fs::File::create(&path).unwrap(), |_| ()).unwrap();
    whisper(&path, [0.05, 0.25]);
}

fn whisper(path: &Path, [features_off, logits_off]: [f32; 2]) {
    let device = hear(&Whisper::open_on(path, &gpu()).unwrap());
    let host = hear(&Whisper::open_on_bytes(path).unwrap());
    let rows = &device.1;
    assert_eq!([&rows[14], &rows[19], &rows[21]], [&rows[22], &rows[23], &rows[24]], "alone as among others");
    assert_eq!(device.2.frames(), host.2.frames());
    let off = device.2.data.iter().zip(&host.2.data).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(off < 1e-4, "log-mel: {off}");
    agree(&device.0, &host.0, features_off, "features");
    agree(&device.1, &host.1, logits_off, "logits");
}
