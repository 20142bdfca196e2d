//! However tokens are divided among forward passes of one regime, the bits that come out are the
//! same: drafts may be verified several at a time, prompts read in pieces of any size.

#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Device, Tensor};
use undertone_kernels::Isa;
use undertone_models::causal_lm::{CausalLm, Pass};
use undertone_models::kv_cache::{KvCache, KvType, Snapshot};
use undertone_models::whisper::{WINDOW_FRAMES, Whisper};

const MODELS: [&str; 2] = ["smollm2-135m-instruct", "gemma-3-270m"];
const TYPES: [KvType; 2] = [KvType::F32, KvType::Q8];

fn tokens(lm: &CausalLm, n: usize) -> Vec<u32> {
    let text = "On Tuesday the committee met again: twelve members, four guests, no agenda. ".repeat(n / 8);
    let mut tokens = lm.tokenizer().encode(&text).unwrap();
    assert!(tokens.len() >= n);
    tokens.truncate(n);
    tokens
}

fn bits(lm: &CausalLm, tokens: &[u32], cache: &mut KvCache, pass: Pass) -> Vec<u32> {
    let logits = lm.forward(tokens, cache, pass).unwrap().unwrap();
    logits.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn tokens_decoded_together_equal_one_at_a_time() {
    for model in MODELS {
        let lm = CausalLm::open(&common::gguf(model)).unwrap();
        // Far enough for Gemma's window of 512 to move.
        for (prompt_len, kv_type) in
            [(1, KvType::F32), (37, KvType::Q8), (530, KvType::F32), (530, KvType::Q8)]
        {
            let tokens = tokens(&lm, prompt_len + 8);
            let (prompt, rest) = tokens.split_at(prompt_len);
            let mut cache = lm.new_cache(tokens.len(), kv_type).unwrap();
            lm.forward(prompt, &mut cache, Pass::Prefill).unwrap();
            let alone: Vec<u32> =
                rest.iter().flat_map(|t| bits(&lm, &[*t], &mut cache, Pass::Decode)).collect();
            for size in [2, 3, 5, 8] {
                cache.rewind(prompt_len);
                let together: Vec<u32> =
                    rest.chunks(size).flat_map(|t| bits(&lm, t, &mut cache, Pass::Decode)).collect();
                assert!(together == alone, "{model}: {size} tokens behind {prompt_len}");
            }
        }
        let nine = lm.forward(&[0; 9], &mut lm.new_cache(9, KvType::F32).unwrap(), Pass::Decode);
        assert!(nine.is_err_and(|e| e.to_string().contains("decoding takes 1 to 8")));
        assert!(lm.forward(&[], &mut lm.new_cache(9, KvType::F32).unwrap(), Pass::PrefillLast).is_err());
    }
}

#[test]
fn sequences_decoded_together_equal_each_alone() {
    for model in MODELS {
        let lm = CausalLm::open(&common::gguf(model)).unwrap();
        for kv_type in TYPES {
            // As different as sequences can be: of one token, within Gemma's window and beyond it.
            let lengths = [37, 1, 530, 8, 100, 256, 3, 64];
            let tokens = tokens(&lm, 540);
            let sequence = |length: usize| (&tokens[..length], &tokens[length..length + 4]);
            let mut caches: Vec<KvCache> = lengths
                .iter()
                .map(|length| {
                    let mut cache = lm.new_cache(length + 4, kv_type).unwrap();
                    lm.forward(sequence(*length).0, &mut cache, Pass::Prefill).unwrap();
                    cache
                })
                .collect();
            let alone: Vec<Vec<u32>> = lengths
                .iter()
                .zip(&mut caches)
                .map(|(length, cache)| {
                    let next = sequence(*length).1;
                    let bits = next.iter().flat_map(|t| bits(&lm, &[*t], cache, Pass::Decode)).collect();
                    cache.rewind(*length);
                    bits
                })
                .collect();
            let vocab = alone[0].len() / 4;
            for step in 0..4 {
                // Fewer each time: those that have ended leave the others as they are.
                let going = lengths.len() - 2 * step;
                let next: Vec<u32> = lengths[..going].iter().map(|l| sequence(*l).1[step]).collect();
                let mut each: Vec<&mut KvCache> = caches[..going].iter_mut().collect();
                let rows = lm.forward_each(&next, &mut each).unwrap().to_vec2::<f32>().unwrap();
                for (i, row) in rows.iter().enumerate() {
                    let row: Vec<u32> = row.iter().map(|l| l.to_bits()).collect();
                    assert!(row == alone[i][step * vocab..][..vocab], "{model} {kv_type:?} {i} at {step}");
                }
                assert_eq!(caches[0].len(), 37 + step + 1);
            }
            let (full, free) = caches.split_at_mut(1);
            let both = lm.forward_each(&[1, 2], &mut [&mut full[0], &mut free[0]]);
            assert!(both.is_err_and(|e| e.to_string().contains("42")), "the first is full");
            assert_eq!(free[0].len(), 1 + 4, "and the second as it was");
            assert!(lm.forward_each(&[], &mut []).is_err());
            assert!(lm.forward_each(&[1], &mut []).is_err());
        }
    }
}

#[test]
fn drafts_in_one_pass_with_their_prompt_equal_two_passes() {
    for model in MODELS {
        let lm = CausalLm::open(&common::gguf(model)).unwrap();
        let few_as_many = matches!(Isa::current(), Isa::Avx2 | Isa::AvxVnni);
        assert_eq!(lm.takes_drafts_with_prompt(), few_as_many, "{model}");
        for (prompt_len, kv_type) in
            [(1, KvType::F32), (2, KvType::Q8), (37, KvType::F32), (530, KvType::F32), (530, KvType::Q8)]
        {
            let tokens = tokens(&lm, prompt_len + 8);
            let (slot, prompt_end) = (prompt_len / 2, prompt_len);
            let mut cache = lm.new_cache(tokens.len(), kv_type).unwrap();
            for drafts in [1, 3, 7] {
                let end = prompt_end + drafts;
                let start_over = |cache: &mut KvCache| {
                    cache.rewind(0);
                    (slot > 0).then(|| lm.forward(&tokens[..slot], cache, Pass::Prefill).unwrap());
                };
                start_over(&mut cache);
                let in_one = &tokens[slot..end];
                if !few_as_many {
                    assert!(lm.forward(in_one, &mut cache, Pass::PrefillDrafts(drafts)).is_err());
                    continue;
                }
                let mut mixed = bits(&lm, in_one, &mut cache, Pass::PrefillDrafts(drafts));
                // A decoded token reads every key and value there is.
                mixed.extend(bits(&lm, &tokens[end..=end], &mut cache, Pass::Decode));
                start_over(&mut cache);
                let mut apart = bits(&lm, &tokens[slot..prompt_end], &mut cache, Pass::PrefillLast);
                apart.extend(bits(&lm, &tokens[prompt_end..end], &mut cache, Pass::Decode));
                apart.extend(bits(&lm, &tokens[end..=end], &mut cache, Pass::Decode));
                assert!(mixed == apart, "{model}: {drafts} behind {prompt_len}, {kv_type:?}");
            }
        }
        for (tokens, drafts) in [(&[1, 2, 3][..], 3), (&[1; 12], 8)] {
            let mut cache = lm.new_cache(16, KvType::F32).unwrap();
            assert!(
                lm.forward(tokens, &mut cache, Pass::PrefillDrafts(drafts)).is_err(),
                "no prompt, too many"
            );
        }
    }
}

#[test]
fn prompts_read_in_pieces_equal_the_whole() {
    for model in MODELS {
        let lm = CausalLm::open(&common::gguf(model)).unwrap();
        let tokens = tokens(&lm, 100);
        for kv_type in TYPES {
            let mut cache = lm.new_cache(101, kv_type).unwrap();
            let mut in_pieces_of = |size: usize| {
                cache.rewind(0);
                let pieces: Vec<&[u32]> = tokens.chunks(size).collect();
                let (end, start) = pieces.split_last().unwrap();
                start.iter().for_each(|t| drop(lm.forward(t, &mut cache, Pass::Prefill).unwrap()));
                let last = bits(&lm, end, &mut cache, Pass::PrefillLast);
                // A decoded token reads every key and value there is.
                (last, bits(&lm, &[5], &mut cache, Pass::Decode))
            };
            let whole = in_pieces_of(100);
            for size in [1, 7, 8, 9, 33] {
                assert!(in_pieces_of(size) == whole, "{model} {kv_type:?}: pieces of {size}");
            }
        }
    }
}

#[test]
fn a_restored_prefix_continues_as_the_saved_one() {
    for model in MODELS {
        let lm = CausalLm::open(&common::gguf(model)).unwrap();
        let tokens = tokens(&lm, 60);
        for kv_type in TYPES {
            let mut cache = lm.new_cache(64, kv_type).unwrap();
            lm.forward(&tokens[..40], &mut cache, Pass::Prefill).unwrap();
            let snapshot = cache.save(40).unwrap();
            assert_eq!((snapshot.len(), snapshot.bytes() * 64), (40, cache.bytes() * 40));
            let want = bits(&lm, &tokens[40..], &mut cache, Pass::PrefillLast);
            // Another prompt overwrites the prefix; a longer slot takes a shorter one.
            cache.rewind(0);
            lm.forward(&tokens[20..], &mut cache, Pass::Prefill).unwrap();
            let mut slot = Snapshot::with_capacity(&cache, 41).unwrap();
            cache.save_into(&mut slot, 3).unwrap();
            cache.restore(&snapshot).unwrap();
            assert_eq!(cache.len(), 40);
            assert!(bits(&lm, &tokens[40..], &mut cache, Pass::PrefillLast) == want, "{model} {kv_type:?}");
            cache.save_into(&mut slot, 40).unwrap();
            let mut other = lm.new_cache(60, kv_type).unwrap();
            other.restore(&slot).unwrap();
            assert!(bits(&lm, &tokens[40..], &mut other, Pass::PrefillLast) == want, "{model} {kv_type:?}");
            assert!(cache.save_into(&mut slot, 42).is_err() && slot.len() == 40, "a slot never grows");
            assert!(lm.new_cache(39, kv_type).unwrap().restore(&slot).is_err());
        }
    }
}

#[test]
fn whispers_tokens_together_equal_one_at_a_time() {
    let model = Whisper::open(&common::model_dir("whisper-tiny.en")).unwrap();
    let mel = model.mel.log_mel(&common::clip("question.wav")).unwrap();
    let input =
        Tensor::from_vec(mel.window(0, WINDOW_FRAMES, 0.0), (WINDOW_FRAMES, 80), &Device::Cpu).unwrap();
    let audio = model.encoder.forward(&input).unwrap();
    let mut cross = model.decoder.new_cross_cache().unwrap();
    model.decoder.attend_to(&audio, &mut cross).unwrap();
    let mut cache = model.decoder.new_cache(1).unwrap();
    let tokens: Vec<u32> = (0..24).map(|i| (i * 997 + 50_257) % 50_000).collect();
    let mut in_pieces_of = |size: usize| -> Vec<u32> {
        cache.rewind(0);
        let logits = tokens.chunks(size).flat_map(|tokens| {
            let all: Vec<usize> = (0..tokens.len()).collect();
            model.decoder.forward(tokens, 1, &all, &mut cache, &cross).unwrap()
        });
        logits.map(f32::to_bits).collect()
    };
    let alone = in_pieces_of(1);
    for size in [2, 3, 5, 7, 8] {
        assert!(in_pieces_of(size) == alone, "{size} tokens");
    }
}
