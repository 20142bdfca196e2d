#![allow(clippy::unwrap_used)]

use super::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use undertone_kernels::activation::Gate;
use undertone_kernels::rope::Pairing;
use undertone_models::architecture::Architecture;
use undertone_models::whisper::WhisperConfig;

fn speech(rng: &mut SmallRng) -> SpeechFootprint {
    let (heads, layers) = (rng.random_range(6..21), rng.random_range(2..33));
    let d_model = 64 * heads;
    let tensor_bytes = rng.random_range(50 << 20..3 << 30);
    SpeechFootprint {
        config: WhisperConfig {
            vocab_size: 51_865,
            num_mel_bins: 80,
            d_model,
            encoder_layers: layers,
            decoder_layers: layers,
            encoder_attention_heads: heads,
            decoder_attention_heads: heads,
            encoder_ffn_dim: 4 * d_model,
            decoder_ffn_dim: 4 * d_model,
            max_source_positions: 1500,
            max_target_positions: 448,
        },
        quantisation: "F16".into(),
        file_bytes: tensor_bytes + 4096,
        tensor_bytes,
        gpu_bytes: tensor_bytes,
        owned_bytes: rng.random_range(1 << 20..60 << 20),
        tokenizer_bytes: 9 << 20,
    }
}

fn text(rng: &mut SmallRng) -> TextFootprint {
    let num_kv_heads = rng.random_range(1..9);
    let tensor_bytes = rng.random_range(80 << 20..6 << 30);
    TextFootprint {
        architecture: Architecture {
            name: "llama".into(),
            hidden_size: 64 * rng.random_range(9..65),
            intermediate_size: 64 * rng.random_range(24..200),
            num_hidden_layers: rng.random_range(8..49),
            num_attention_heads: 4 * num_kv_heads,
            num_kv_heads,
            head_dim: 64 << rng.random_range(0..3),
            rms_norm_eps: 1e-6,
            max_position_embeddings: 1 << rng.random_range(9..18),
            layers: Vec::new(),
            pairing: Pairing::Halves,
            embedding_scale: 1.0,
            attention_scale: 1.0,
            gate: Gate::Silu,
            post_norms: false,
            qk_norms: false,
            qkv_bias: false,
        },
        vocab_size: rng.random_range(30_000..262_145),
        quantisation: "Q8_0".into(),
        file_bytes: tensor_bytes + (7 << 20),
        tensor_bytes,
        gpu_bytes: tensor_bytes,
        owned_bytes: rng.random_range(1 << 16..1 << 22),
        tokenizer_bytes: 20 << 20,
    }
}

fn request(rng: &mut SmallRng) -> PlanRequest {
    let text = rng.random_bool(0.9).then(|| text(rng));
    let mut other_quantisations = Vec::new();
    for (i, text) in text.iter().cycle().take(rng.random_range(0..4)).enumerate() {
        let factor = rng.random_range(3..20);
        let (file_bytes, tensor_bytes) = (text.file_bytes * factor / 10, text.tensor_bytes * factor / 10);
        let gpu_bytes = tensor_bytes;
        let other = TextFootprint {
            file_bytes,
            tensor_bytes,
            gpu_bytes,
            quantisation: format!("Q{i}"),
            ..text.clone()
        };
        other_quantisations.push((format!("model-{i}"), other));
    }
    // A different network is never a smaller quantisation, however small it is.
    let stranger = TextFootprint { vocab_size: 7, file_bytes: 1, ..self::text(rng) };
    other_quantisations.push(("stranger".into(), stranger));
    PlanRequest {
        speech: rng.random_bool(0.9).then(|| speech(rng)),
        text,
        sequences: rng.random_range(1..9),
        other_quantisations,
        device: if rng.random() { Device::Cpu } else { Device::Cuda },
        context_bytes: rng.random::<bool>().then(|| rng.random_range(100 << 20..600 << 20)),
        budget_bytes: rng.random_range(200 << 20..12 << 30),
        context_tokens: rng.random_range(256..40_000),
        kv: if rng.random() { KvType::F32 } else { KvType::Q8 },
        max_hypotheses: rng.random_range(1..9),
        prefix_slot_tokens: (0..rng.random_range(0..9)).map(|_| rng.random_range(50..2000)).collect(),
        threads: rng.random_range(1..33),
        allow: RemedyKind::ALL.into_iter().filter(|_| rng.random()).collect(),
    }
}

fn sum(plan: &Plan) -> usize {
    plan.lines.iter().map(|l| l.bytes).sum()
}

#[test]
fn a_plan_adds_up_and_its_remedies_save_what_they_say() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut applied = [0usize; 4];
    for _ in 0..3000 {
        let mut request = request(&mut rng);
        let plan = request.plan();
        assert_eq!(plan.total_bytes, sum(&plan));
        match plan.verdict {
            Verdict::Fits { spare_bytes } => assert_eq!(plan.total_bytes + spare_bytes, request.budget_bytes),
            Verdict::Refused { short_by_bytes } => {
                assert!(short_by_bytes > 0);
                assert_eq!(plan.total_bytes, request.budget_bytes + short_by_bytes);
            }
        }
        // What was asked for, less what the applied remedies say, is what is planned.
        let asked = request.total_bytes(&request.asked());
        let saved: usize = plan.remedies.iter().filter(|r| r.applied).map(|r| r.saves_bytes).sum();
        assert_eq!(asked - saved, plan.total_bytes);
        for r in &plan.remedies {
            assert_eq!((r.applied, r.allowed), (request.allow.contains(&r.kind), r.applied), "{r:?}");
            assert!(r.saves_bytes > 0 && !r.what.contains("stranger"), "{r:?}");
            applied[r.kind as usize] += usize::from(r.applied);
        }
        // Each on its own, one after the other, lowers the total by exactly its bytes.
        let (kinds, mut total) = (std::mem::take(&mut request.allow), asked);
        for r in plan.remedies.iter().filter(|r| r.applied) {
            request.allow.push(r.kind);
            let next = request.plan().total_bytes;
            assert_eq!(total - next, r.saves_bytes, "{r:?} of {kinds:?}");
            total = next;
        }
    }
    assert!(applied.iter().all(|n| *n > 50), "every remedy was tried: {applied:?}");
}

#[test]
fn more_context_never_takes_less_and_more_budget_never_refuses_what_less_granted() {
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..1000 {
        let mut request = request(&mut rng);
        let before = request.total_bytes(&request.asked());
        let plan = request.plan();
        request.budget_bytes += rng.random_range(0..4 << 30);
        if matches!(plan.verdict, Verdict::Fits { .. }) {
            assert!(matches!(request.plan().verdict, Verdict::Fits { .. }));
        }
        request.context_tokens += rng.random_range(0..9000);
        assert!(request.total_bytes(&request.asked()) >= before);
    }
}

#[test]
fn a_context_shrinks_no_further_than_it_must_and_than_it_may() {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut request = request(&mut rng);
    request.text = Some(TextFootprint {
        architecture: Architecture { max_position_embeddings: 65_536, ..text(&mut rng).architecture },
        ..text(&mut rng)
    });
    (request.device, request.context_tokens, request.kv) = (Device::Cpu, 16_384, KvType::F32);
    request.allow = vec![RemedyKind::SmallerContext];
    request.budget_bytes = usize::MAX;
    let asked = request.plan();
    assert!(asked.remedies.is_empty());
    request.budget_bytes = asked.total_bytes - 1;
    let plan = request.plan();
    assert_eq!(plan.settings.context_tokens, 16_384 - 256);
    assert!(plan.granted().is_ok());
    request.budget_bytes = 1 << 20;
    let plan = request.plan();
    assert_eq!(plan.settings.context_tokens, MIN_CONTEXT_TOKENS);
    let error = plan.granted().unwrap_err().to_string();
    for words in ["MiB but the budget is 1.0 MiB", "smaller-context (saves", "did not suffice", "q8-kv"] {
        assert!(error.contains(words), "{words:?} in {error}");
    }
}
