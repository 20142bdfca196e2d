//! Mel, encoder and decoder against CTranslate2 on the same weights, in every file format.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/instructions.rs"]
mod instructions;

use candle_core::{Device, Tensor};
use instructions::{exact, on_bytes};
use undertone_models::whisper::{WINDOW_FRAMES, Whisper};

struct Golden(std::collections::HashMap<String, Tensor>);

impl Golden {
    fn open(name: &str) -> Golden {
        Golden(candle_core::safetensors::load(common::golden(name), &Device::Cpu).unwrap())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.0[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    fn ints(&self, name: &str) -> Vec<usize> {
        let values = self.0[name].flatten_all().unwrap().to_vec1::<i32>().unwrap();
        values.into_iter().map(|v| v as usize).collect()
    }
}

/// `|a - b| / |b|` over all elements.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square((a - b) as f64)).sum();
    (difference / b.iter().map(|b| square(*b as f64)).sum::<f64>()).sqrt()
}

/// Largest relative errors of mel, encoder and logits.
fn errors(model: &Whisper, golden: &str, same_words: bool) -> [f64; 3] {
    let golden = Golden::open(golden);
    let bins = model.config.num_mel_bins;
    let mel = model.mel.log_mel(&common::clip("dictation.wav")).unwrap();
    let content = mel.frames() - 1;
    let mut window = mel.window(0, WINDOW_FRAMES, 0.0);
    window[content * bins..].fill(0.0);
    let frames = golden.ints("mel_frames");
    let ours: Vec<f32> = (0..bins)
        .flat_map(|b| frames.iter().map(move |f| (b, *f)))
        .map(|(b, f)| window[f * bins + b])
        .collect();
    let mel_error = relative_error(&ours, &golden.floats("mel"));

    let padded = mel.window(0, WINDOW_FRAMES, mel.floor);
    let frames = golden.ints("mel_silence_frames");
    let ours: Vec<f32> = (0..bins)
        .flat_map(|b| frames.iter().map(move |f| (b, *f)))
        .map(|(b, f)| padded[f * bins + b])
        .collect();
    let mel_error = mel_error.max(relative_error(&ours, &golden.floats("mel_silence")));

    let input = Tensor::from_vec(window, (WINDOW_FRAMES, bins), &Device::Cpu).unwrap();
    let audio = model.encoder.forward(&input).unwrap();
    let rows = audio.to_tensor().unwrap().to_vec2::<f32>().unwrap();
    let ours: Vec<f32> = golden.ints("encoder_rows").iter().flat_map(|r| rows[*r].clone()).collect();
    let encoder_error = relative_error(&ours, &golden.floats("encoder"));

    let (mut cache, mut cross) =
        (model.decoder.new_cache(1).unwrap(), model.decoder.new_cross_cache().unwrap());
    model.decoder.attend_to(&audio, &mut cross).unwrap();
    let ids = |name: &str| golden.ints(name).into_iter().map(|t| t as u32).collect::<Vec<u32>>();
    let (prompt, tokens) = (ids("decoder_prompt"), ids("decoder_tokens"));
    let (top_ids, sample_ids) = (golden.ints("decoder_top_ids"), golden.ints("decoder_sample_ids"));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut next = prompt;
    for (step, token) in tokens.iter().enumerate() {
        // One token at a time behind the cache, as in use.
        let logits = model.decoder.forward(&next, 1, &[next.len() - 1], &mut cache, &cross).unwrap();
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert!(!same_words || best == top_ids[step * 32], "step {step}: {best}");
        ours.extend(top_ids[step * 32..][..32].iter().chain(&sample_ids).map(|i| logits[*i]));
        theirs.extend_from_slice(&golden.floats("decoder_top_logits")[step * 32..][..32]);
        theirs.extend_from_slice(&golden.floats("decoder_sample_logits")[step * 256..][..256]);
        next = vec![*token];
    }
    assert!(tokens.len() >= 20);
    [mel_error, encoder_error, relative_error(&ours, &theirs)]
}

#[test]
fn tiny_en_from_ctranslate2_agrees_with_ctranslate2() {
    // On bytes the bound is what rounding both sides costs.
    let bounds = std::iter::once((exact(), 1e-3)).chain(on_bytes().map(|isa| (isa, 4e-2)));
    for (isa, bound) in bounds {
        let model = Whisper::open(&common::model_dir("whisper-tiny.en")).unwrap();
        let errors = || errors(&model, "whisper-tiny.en.safetensors", isa == exact());
        let e = instructions::limited_to(isa, errors);
        println!("{isa:?}: mel, encoder, logits: {e:?}");
        assert!(e.iter().all(|e| *e < bound), "{isa:?}: {e:?}");
    }
}

#[test]
fn a_decoder_on_bytes_stays_near_the_stored_one() {
    for name in ["hf-f32", "hf-f16", "ct2-int8"] {
        let path = common::model_dir("whisper-tiny.en-variants").join(name);
        let (stored, on_bytes) = (Whisper::open(&path).unwrap(), Whisper::open_on_bytes(&path).unwrap());
        let resident = |w: &Whisper| w.files.iter().map(|f| f.needed_bytes()).sum::<usize>();
        assert!(
            resident(&on_bytes) < resident(&stored) * 2 / 3,
            "{name}: the decoder is given up in the file"
        );
        let golden = "whisper-tiny.en.safetensors";
        let e = instructions::limited_to(exact(), || errors(&on_bytes, golden, false));
        println!("{name}: {e:?}");
        assert!(e.iter().all(|e| *e < 4e-2), "{name}: {e:?}");
    }
}

#[test]
fn every_file_format_holds_the_same_model() {
    // The bound is the format's own rounding: exact for floats, the quantisation error else.
    let formats = [
        ("hf-f32", 1e-3),
        ("hf-f16", 1e-3),
        ("ggml-f16.bin", 1e-3),
        ("ct2-f32", 1e-3),
        ("ct2-int8", 4e-2),
        ("ct2-int8_float16", 4e-2),
        ("ggml-q8_0.bin", 4e-2),
        ("ggml-q5_0.bin", 0.2),
        ("ggml-q5_1.bin", 0.2),
    ];
    for (name, bound) in formats {
        let path = common::model_dir("whisper-tiny.en-variants").join(name);
        let e = instructions::limited_to(exact(), || {
            errors(&Whisper::open(&path).unwrap(), "whisper-tiny.en.safetensors", bound < 1e-2)
        });
        println!("{name}: {e:?}");
        assert!(e.iter().all(|e| *e < bound), "{name}: {e:?}");
    }
}

#[test]
fn the_cached_pass_equals_the_whole_pass() {
    instructions::limited_to(exact(), cached_and_whole_pass);
}

fn cached_and_whole_pass() {
    let model = Whisper::open(&common::model_dir("whisper-tiny.en")).unwrap();
    let mel = model.mel.log_mel(&common::clip("question.wav")).unwrap();
    let input =
        Tensor::from_vec(mel.window(0, WINDOW_FRAMES, 0.0), (WINDOW_FRAMES, 80), &Device::Cpu).unwrap();
    let audio = model.encoder.forward(&input).unwrap();
    let mut cross = model.decoder.new_cross_cache().unwrap();
    model.decoder.attend_to(&audio, &mut cross).unwrap();
    let tokens: Vec<u32> = (0..24).map(|i| (i * 997 + 50_257) % 50_000).collect();
    let mut whole = model.decoder.new_cache(3).unwrap();
    let all: Vec<usize> = (0..tokens.len()).collect();
    let want = model.decoder.forward(&tokens, 1, &all, &mut whole, &cross).unwrap();
    let want: Vec<&[f32]> = want.chunks(model.config.vocab_size).collect();
    // The same in pieces, as three equal beams that are shuffled between steps.
    let mut cache = model.decoder.new_cache(3).unwrap();
    model.decoder.forward(&tokens[..7], 1, &[], &mut cache, &cross).unwrap();
    cache.reorder(&[0, 0, 0]).unwrap();
    for (i, token) in tokens.iter().enumerate().skip(7) {
        let logits = model.decoder.forward(&[*token; 3], 3, &[0], &mut cache, &cross).unwrap();
        for beam in logits.chunks(model.config.vocab_size) {
            assert!(relative_error(beam, want[i]) < 1e-5, "position {i}");
        }
        cache.reorder(&[2, 0, 1]).unwrap();
    }
}
