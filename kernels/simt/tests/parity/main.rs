//! Every kernel against its reference on random data: odd sizes, each type, each layout, memory full of NaNs.

#![allow(clippy::unwrap_used)]

mod products;

use candle_core::{Device, Tensor};
use std::sync::Arc;
use undertone_kernels::activation::{self, Gate};
use undertone_kernels::argmax::argmax;
use undertone_kernels::attention::{self, Attention, Sampled};
use undertone_kernels::gpu::{Array, Gpu};
use undertone_kernels::kv_append::gpu::{Filled, KvArrays, rope_append};
use undertone_kernels::linear::gpu::{
    GpuWeight, MOST_ROWS, Rounded, RowsOf, can_gate, gather_rows, linear, linear_gated, linear_many,
    linear_rows, matmul, round_rows,
};
use undertone_kernels::mel::LogMel;
use undertone_kernels::rope::{self, Pairing};
use undertone_kernels::{BlockType, Regime, Weight, conv1d, norm};

/// What new memory holds on this device.
const POISON: u8 = 0xff;

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn rows(values: &[f32], cols: usize) -> Tensor {
    Tensor::from_slice(values, (values.len() / cols, cols), &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn near(got: &[f32], want: &[f32], bound: f32, what: &dyn std::fmt::Debug) {
    assert_eq!(got.len(), want.len(), "{what:?}");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= bound * b.abs().max(1.0), "{what:?} at {i}: {a} instead of {b}");
    }
}

fn gpu() -> Gpu {
    undertone_simt::device(256 << 20)
}

fn on(gpu: &Gpu, values: &[f32]) -> Array<f32> {
    gpu.array_of(values).unwrap()
}

#[test]
fn norms() {
    let gpu = gpu();
    for (n, cols) in [(1, 1), (3, 7), (2, 32), (3, 64), (2, 131), (2, 576), (1, 1000)] {
        let (x, add) = (noise(n * cols, 1), noise(n * cols, 2));
        let (w, b) = (noise(cols, 3), noise(cols, 4));
        let (wg, bg, addg) = (on(&gpu, &w), on(&gpu, &b), on(&gpu, &add));
        for (with_add, with_bias) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut xg, mut y) = (on(&gpu, &x), gpu.array(n * cols).unwrap());
            let sum: Vec<f32> = x.iter().zip(&add).map(|(x, a)| if with_add { x + a } else { *x }).collect();
            norm::gpu::norm(&mut xg, with_add.then_some(&addg), &wg, with_bias.then_some(&bg), 1e-5, &mut y)
                .unwrap();
            let t = rows(&sum, cols);
            let want = match with_bias {
                true => norm::layer_norm(&t, &w, &b, 1e-5),
                false => norm::rms_norm(&t, &w, 1e-5),
            };
            near(&y.to_vec().unwrap(), &flat(&want.unwrap()), 2e-5, &(n, cols, with_add, with_bias));
            assert_eq!(xg.to_vec().unwrap(), sum, "the residual sum stays");
        }
        let mut short = gpu.array(n * cols + 1).unwrap();
        assert!(norm::gpu::norm(&mut on(&gpu, &x), None, &wg, None, 1e-5, &mut short).is_err());
    }
}

#[test]
fn activations() {
    let gpu = gpu();
    for n in [1, 255, 256, 1003] {
        let (x, up): (Vec<f32>, _) = (noise(n, 1).iter().map(|v| v * 9.0).collect(), noise(n, 2));
        let (xg, upg) = (on(&gpu, &x), on(&gpu, &up));
        let (xt, upt) = (rows(&x, n), rows(&up, n));
        let mut y = gpu.array(n).unwrap();
        activation::gpu::gelu(&xg, &mut y).unwrap();
        near(&y.to_vec().unwrap(), &flat(&activation::gelu(&xt).unwrap()), 2e-6, &n);
        for gate in [Gate::Silu, Gate::GeluTanh] {
            let mut y = gpu.array(n).unwrap();
            activation::gpu::gated(&xg, &upg, gate, &mut y).unwrap();
            near(&y.to_vec().unwrap(), &flat(&activation::gated(&xt, &upt, gate).unwrap()), 4e-6, &(n, gate));
        }
    }
}

/// A cache row as floats.
fn cached(bytes: &[u8], quantized: bool, head_dim: usize) -> Vec<f32> {
    if !quantized {
        let half = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
        return bytes.chunks_exact(2).map(half).collect();
    }
    let mut out = Vec::new();
    for block in bytes.chunks(36) {
        let scale = f32::from_le_bytes(block[..4].try_into().unwrap());
        out.extend(block[4..].iter().map(|q| scale * (*q as i8) as f32));
    }
    assert_eq!(out.len(), head_dim);
    out
}

#[test]
fn heads_are_turned_and_appended_and_nothing_else_is_touched() {
    let gpu = gpu();
    for (heads, kv_heads, head_dim, m, before) in [
        (1, 1, 2, 1, 0),
        (4, 2, 20, 3, 5),
        (3, 3, 64, 2, 0),
        (2, 1, 128, 1, 9),
        (4, 1, 256, 2, 3),
        (2, 2, 34, 5, 1),
    ] {
        let capacity = before + m + 2;
        let inv_freq: Vec<f32> = (0..head_dim / 2).map(|i| 0.9f32.powi(i as i32)).collect();
        let (q, k, v) = (
            noise(m * heads * head_dim, 1),
            noise(m * kv_heads * head_dim, 2),
            noise(m * kv_heads * head_dim, 3),
        );
        for (pairing, quantized) in [
            (Some(Pairing::Halves), false),
            (Some(Pairing::Interleaved), true),
            (Some(Pairing::Halves), true),
            (None, false),
        ] {
            let what = (heads, kv_heads, head_dim, m, pairing, quantized);
            let mut cache = KvArrays::new(&gpu, (kv_heads, capacity, head_dim), quantized).unwrap();
            let mut filled = Filled::new(&gpu).unwrap();
            filled.set(before + m).unwrap();
            let (mut qg, freq) = (on(&gpu, &q), on(&gpu, &inv_freq));
            let rope = pairing.map(|p| (&freq, p));
            rope_append(&mut qg, &on(&gpu, &k), &on(&gpu, &v), rope, &filled, &mut cache).unwrap();

            let turned = |values: &[f32], heads: usize| {
                let t = rows(values, heads * head_dim).copy().unwrap();
                if let Some(pairing) = pairing {
                    rope::rope(&t, before, &inv_freq, pairing).unwrap();
                }
                flat(&t)
            };
            near(&qg.to_vec().unwrap(), &turned(&q, heads), 2e-6, &what);
            let (keys, values) = cache.to_bytes().unwrap();
            let row = keys.len() / (kv_heads * capacity);
            for (bytes, want) in [(keys, turned(&k, kv_heads)), (values, v.clone())] {
                for (n, bytes) in bytes.chunks_exact(row).enumerate() {
                    let (head, position) = (n / capacity, n % capacity);
                    if !(before..before + m).contains(&position) {
                        assert!(bytes.iter().all(|b| *b == POISON), "{what:?}: row {n} was touched");
                        continue;
                    }
                    let want = &want[((position - before) * kv_heads + head) * head_dim..][..head_dim];
                    let most = want.iter().fold(0f32, |m, v| m.max(v.abs()));
                    let step = if quantized { most / 127.0 * 0.51 } else { most * 0.0006 };
                    for (a, b) in cached(bytes, quantized, head_dim).iter().zip(want) {
                        assert!((a - b).abs() <= step + 1e-6, "{what:?}: {a} instead of {b}");
                    }
                }
            }
        }
        let mut cache = KvArrays::new(&gpu, (kv_heads, m, head_dim), false).unwrap();
        let mut filled = Filled::new(&gpu).unwrap();
        filled.set(m + 1).unwrap();
        let (k, v) = (on(&gpu, &k), on(&gpu, &v));
        assert!(rope_append(&mut on(&gpu, &q), &k, &v, None, &filled, &mut cache).is_err(), "it is full");
    }
}

/// Attention as it is defined, over `kv_len` rows of each head.
fn attended(
    spec: Attention,
    q: &[f32],
    k: &[Vec<f32>],
    v: &[Vec<f32>],
    dims: (usize, usize, usize, usize),
) -> Vec<f32> {
    let (m, heads, kv_heads, head_dim) = dims;
    let mut out = Vec::new();
    for i in 0..m {
        for head in 0..heads {
            let q = &q[(i * heads + head) * head_dim..][..head_dim];
            let rows = head * kv_heads / heads * spec.kv_len;
            let (from, to) = spec.visible(i, m);
            let score = |j: usize| {
                let dot: f64 = q.iter().zip(&k[rows + j]).map(|(a, b)| *a as f64 * *b as f64).sum();
                let each = spec.sampled.filter(|s| j >= s.from).map_or(1.0, |s| s.each as f64);
                each * (dot * spec.scale as f64).exp()
            };
            let weights: Vec<f64> = (from..to).map(score).collect();
            let sum: f64 = weights.iter().sum();
            let column = |e: usize| {
                (from..to).zip(&weights).map(|(j, w)| w / sum * v[rows + j][e] as f64).sum::<f64>()
            };
            out.extend((0..head_dim).map(|e| column(e) as f32));
        }
    }
    out
}

/// A cache with `kv_len` positions of noise and room for more, and what its rows hold.
struct Kept {
    cache: KvArrays,
    filled: Filled,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

fn kept(gpu: &Gpu, (kv_heads, head_dim): (usize, usize), kv_len: usize, quantized: bool) -> Kept {
    let capacity = kv_len + 3;
    let mut cache = KvArrays::new(gpu, (kv_heads, capacity, head_dim), quantized).unwrap();
    let mut filled = Filled::new(gpu).unwrap();
    filled.set(kv_len).unwrap();
    let n = kv_len * kv_heads * head_dim;
    let (k, v) = (on(gpu, &noise(n, 2)), on(gpu, &noise(n, 3)));
    let mut none = on(gpu, &noise(kv_len * head_dim, 4));
    rope_append(&mut none, &k, &v, None, &filled, &mut cache).unwrap();
    let (keys, values) = cache.to_bytes().unwrap();
    let as_rows = |bytes: &[u8]| -> Vec<Vec<f32>> {
        let row = bytes.len() / (kv_heads * capacity);
        let rows = bytes.chunks_exact(row).enumerate().filter(|(n, _)| n % capacity < kv_len);
        rows.map(|(_, row)| cached(row, quantized, head_dim)).collect()
    };
    let (keys, values) = (as_rows(&keys), as_rows(&values));
    Kept { cache, filled, keys, values }
}

/// All that queries may see.
fn specs(kv_len: usize, scale: f32) -> [Attention; 5] {
    let base = Attention { kv_len, causal: true, window: None, scale, sampled: None, regime: Regime::Few };
    [
        base,
        Attention { window: Some(5), ..base },
        Attention { window: Some(1), ..base },
        Attention { causal: false, ..base },
        Attention { causal: false, sampled: Some(Sampled { from: kv_len / 2, each: 7 }), ..base },
    ]
}

#[test]
fn attention_over_the_filled_part_of_a_cache() {
    let gpu = gpu();
    for (m, heads, kv_heads, head_dim, kv_len) in [
        (1, 1, 1, 2, 1),
        (1, 4, 2, 64, 33),
        (3, 4, 1, 20, 70),
        (8, 3, 3, 64, 8),
        (2, 2, 1, 256, 41),
        (4, 6, 2, 128, 19),
        (5, 2, 2, 34, 6),
    ] {
        for quantized in [false, true] {
            let Kept { cache, mut filled, keys, values } =
                kept(&gpu, (kv_heads, head_dim), kv_len, quantized);
            let q = noise(m * heads * head_dim, 1);
            let qg = on(&gpu, &q);
            for spec in specs(kv_len, 0.3) {
                filled.set_sampled(kv_len, spec.sampled).unwrap();
                let want = attended(spec, &q, &keys, &values, (m, heads, kv_heads, head_dim));
                for splits in [1, 3] {
                    let mut parts =
                        gpu.array(attention::gpu::part_floats(m, heads, splits, head_dim)).unwrap();
                    let mut out = gpu.array(q.len()).unwrap();
                    attention::gpu::attention(&qg, &cache, &filled, (m, splits), spec, &mut parts, &mut out)
                        .unwrap();
                    near(&out.to_vec().unwrap(), &want, 3e-6, &(m, heads, head_dim, spec, splits, quantized));
                }
            }
        }
    }
}

#[test]
fn attention_of_many_queries() {
    let gpu = gpu();
    for (m, heads, kv_heads, head_dim, kv_len) in
        [(1, 1, 1, 64, 1), (17, 2, 1, 64, 50), (70, 1, 1, 64, 70), (20, 2, 2, 128, 35), (33, 2, 1, 256, 40)]
    {
        for quantized in [false, true] {
            let Kept { cache, mut filled, keys, values } =
                kept(&gpu, (kv_heads, head_dim), kv_len, quantized);
            let q = noise(m * heads * head_dim, 1);
            let qg = on(&gpu, &q);
            for spec in specs(kv_len, 0.2) {
                filled.set_sampled(kv_len, spec.sampled).unwrap();
                let want = attended(spec, &q, &keys, &values, (m, heads, kv_heads, head_dim));
                let mut out = gpu.array(q.len()).unwrap();
                attention::gpu::attention_tiles(&qg, &cache, &filled, m, spec, &mut out).unwrap();
                // Halves have eleven bits.
                near(&out.to_vec().unwrap(), &want, 2e-3, &(m, heads, head_dim, spec, quantized));
            }
        }
    }
}

const QUANTIZED: [BlockType; 8] = [
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Q8_0,
    BlockType::Q4K,
    BlockType::Q5K,
    BlockType::Q6K,
];
const DENSE: [BlockType; 3] = [BlockType::F32, BlockType::F16, BlockType::BF16];

/// Random bytes with scales that are numbers.
fn weight(ty: BlockType, rows: usize, cols: usize) -> Weight {
    let len = ty.row_bytes(cols).unwrap() * rows;
    let mut bytes: Vec<u8> = noise(len, 7).iter().map(|v| (v * 128.0) as i32 as u8).collect();
    let scales: &[usize] = match ty {
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        BlockType::Q6K => &[208],
        _ => &[0],
    };
    for (block, v) in bytes.chunks_exact_mut(ty.block_bytes()).zip(noise(len, 8)) {
        match ty {
            BlockType::F32 => block.copy_from_slice(&v.to_le_bytes()),
            BlockType::BF16 => block.copy_from_slice(&half::bf16::from_f32(v).to_le_bytes()),
            _ => {
                let scale = half::f16::from_f32(v * 0.05).to_le_bytes();
                scales.iter().for_each(|at| block[*at..at + 2].copy_from_slice(&scale));
            }
        }
    }
    Weight::new(Arc::new(bytes), 0..len, ty, rows, cols).unwrap()
}

#[test]
fn what_is_recorded_is_run_with_what_memory_holds_then() {
    let gpu = gpu();
    let (mut x, mut y, mut z) =
        (on(&gpu, &[0.0; 40]), gpu.array::<f32>(40).unwrap(), gpu.array::<f32>(20).unwrap());
    y.write(&[0.5; 40]).unwrap();
    let recorded = gpu
        .record(|| {
            activation::gpu::gelu(&x, &mut y)?;
            let (gate, up) = (y.part(0..20)?, y.part(20..40)?);
            activation::gpu::gated(&gate, &up, Gate::Silu, &mut z)
        })
        .unwrap();
    assert_eq!(y.to_vec().unwrap(), [0.5; 40], "nothing has run yet");
    for seed in 1..4 {
        let values = noise(40, seed);
        x.write(&values).unwrap();
        recorded.replay().unwrap();
        let want = flat(&activation::gelu(&rows(&values, 40)).unwrap());
        near(&y.to_vec().unwrap(), &want, 2e-6, &seed);
        let want = activation::gated(&rows(&want[..20], 20), &rows(&want[20..], 20), Gate::Silu).unwrap();
        near(&z.to_vec().unwrap(), &flat(&want), 4e-6, &seed);
    }
    let failed = gpu.record(|| activation::gpu::gelu(&x, &mut z));
    assert!(failed.is_err(), "what fails is not kept");
    activation::gpu::gelu(&x, &mut y).unwrap();
    near(
        &y.to_vec().unwrap(),
        &flat(&activation::gelu(&rows(&noise(40, 3), 40)).unwrap()),
        2e-6,
        &"runs again",
    );
    // What a recording works on stays while it does.
    let before = gpu.high_water_bytes();
    drop((x.all(), z));
    recorded.replay().unwrap();
    assert_eq!(gpu.high_water_bytes(), before);
    assert!(x.part(30..41).is_err() && gpu.high_water_bytes() >= 3 * 256);
}

#[test]
fn positions_go_from_cache_to_cache() {
    let gpu = gpu();
    for (kv_heads, head_dim, quantized) in [(1, 2, false), (3, 64, true), (2, 34, true), (2, 256, false)] {
        let from = kept(&gpu, (kv_heads, head_dim), 9, quantized);
        let mut to = KvArrays::new(&gpu, (kv_heads, 7, head_dim), quantized).unwrap();
        to.copy_positions(&from.cache, 5).unwrap();
        for (to, from) in [
            (to.to_bytes().unwrap().0, from.cache.to_bytes().unwrap().0),
            (to.to_bytes().unwrap().1, from.cache.to_bytes().unwrap().1),
        ] {
            let row = to.len() / (kv_heads * 7);
            for (to, from) in to.chunks_exact(7 * row).zip(from.chunks_exact(12 * row)) {
                assert_eq!(to[..5 * row], from[..5 * row]);
                assert!(to[5 * row..].iter().all(|b| *b == POISON), "behind them nothing is touched");
            }
        }
        let mut twin = KvArrays::new(&gpu, (kv_heads, 12, head_dim), quantized).unwrap();
        twin.copy_from(&from.cache).unwrap();
        assert_eq!(twin.to_bytes().unwrap(), from.cache.to_bytes().unwrap());
        assert!(to.copy_positions(&from.cache, 8).is_err() && to.copy_from(&from.cache).is_err());
    }
}

#[test]
fn activations_are_rounded_to_the_nearest_of_a_groups_steps() {
    let gpu = gpu();
    for (m, cols) in [(1, 32), (3, 96), (2, 576)] {
        let mut x = noise(m * cols, 9);
        x[..32].fill(0.0);
        let mut rounded = Rounded::new(&gpu, m, cols).unwrap();
        round_rows(&on(&gpu, &x), m, &mut rounded).unwrap();
        let (q, scales) = rounded.to_vec().unwrap();
        for (g, x) in x.chunks(32).enumerate() {
            let most = x.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert_eq!(scales[g], most / 127.0);
            for (x, q) in x.iter().zip(&q[32 * g..]) {
                assert!((x - *q as f32 * scales[g]).abs() <= 0.5001 * scales[g], "{x} as {q}");
            }
        }
    }
}

#[test]
fn rows_of_a_weight() {
    let gpu = gpu();
    for ty in QUANTIZED.into_iter().chain(DENSE) {
        let cols = ty.block_len().max(32) * 3;
        let w = weight(ty, 9, cols);
        let wg = GpuWeight::upload(&gpu, &w).unwrap();
        let ids = [8, 0, 3, 3];
        let mut y = gpu.array(ids.len() * cols).unwrap();
        // SAFETY: all are rows of it.
        unsafe { gather_rows(&wg, &gpu.array_of(&ids).unwrap(), 1.5, &mut y).unwrap() };
        let mut want = vec![0f32; ids.len() * cols];
        for (id, want) in ids.iter().zip(want.chunks_exact_mut(cols)) {
            w.dequantize_row(*id as usize, want);
            want.iter_mut().for_each(|v| *v *= 1.5);
        }
        near(&y.to_vec().unwrap(), &want, 1e-6, &ty);
    }
    let unknown = weight(BlockType::Q8_0, 2, 32).with_row_scale(vec![1.0, 2.0].into()).unwrap();
    assert!(GpuWeight::upload(&gpu, &unknown).is_err());
}

#[test]
fn the_likeliest_token() {
    let gpu = gpu();
    for n in [1, 31, 256, 1000] {
        let mut logits = noise(3 * n, 1);
        // Twice the highest: the first counts.
        logits[n + n / 2] = 5.0;
        logits[2 * n - 1] = 5.0;
        let allowed: Vec<u32> = (0..n.div_ceil(32)).map(|i| 0x5a5a_0f0f ^ i as u32).collect();
        let may = |i: usize| allowed[i / 32] >> (i % 32) & 1 == 1;
        let want = |may: &dyn Fn(usize) -> bool| -> Vec<i32> {
            let first = |row: &[f32]| {
                let among = (0..n).filter(|i| may(*i));
                among.fold(
                    -1,
                    |best: i32, i| if best < 0 || row[i] > row[best as usize] { i as i32 } else { best },
                )
            };
            logits.chunks_exact(n).map(first).collect()
        };
        let (lg, ag) = (on(&gpu, &logits), gpu.array_of(&allowed).unwrap());
        let mut out = gpu.array(3).unwrap();
        argmax(&lg, None, n, &mut out).unwrap();
        assert_eq!(out.to_vec().unwrap(), want(&|_| true), "{n}");
        argmax(&lg, Some(&ag), n, &mut out).unwrap();
        assert_eq!(out.to_vec().unwrap(), want(&may), "{n}");
        let none = gpu.array_of(&vec![0u32; n.div_ceil(32)]).unwrap();
        argmax(&lg, Some(&none), n, &mut out).unwrap();
        assert_eq!(out.to_vec().unwrap(), [-1; 3]);
    }
}

#[test]
fn mel_bands() {
    let gpu = gpu();
    for (n, hop, frames) in [(6, 1, 3), (25, 10, 5), (400, 160, 4)] {
        let window = noise(n, 1);
        let bins = n / 2 + 1;
        let filters: Vec<(usize, Vec<f32>)> = (0..bins)
            .step_by(3)
            .map(|first| (first, noise((bins - first).min(5), 2).iter().map(|w| w.abs()).collect()))
            .collect();
        let samples = noise((frames - 1) * hop + n, 3);
        let log_mel = LogMel::new(&gpu, &window, hop, &filters).unwrap();
        let mut out = gpu.array(frames * filters.len()).unwrap();
        log_mel.forward(&on(&gpu, &samples), &mut out).unwrap();
        let mut want = Vec::new();
        for frame in 0..frames {
            let x: Vec<f64> = (0..n).map(|i| samples[frame * hop + i] as f64 * window[i] as f64).collect();
            let power = |k: usize| {
                let turn = |i: usize| 2.0 * std::f64::consts::PI * (i * k) as f64 / n as f64;
                let real: f64 = x.iter().enumerate().map(|(i, x)| x * turn(i).cos()).sum();
                let imaginary: f64 = x.iter().enumerate().map(|(i, x)| x * turn(i).sin()).sum();
                real * real + imaginary * imaginary
            };
            want.extend(filters.iter().map(|(first, weights)| {
                let band: f64 = weights.iter().enumerate().map(|(i, w)| *w as f64 * power(first + i)).sum();
                band.max(1e-10).log10() as f32
            }));
        }
        near(&out.to_vec().unwrap(), &want, 2e-4, &(n, hop, frames));
        assert!(log_mel.forward(&on(&gpu, &samples[1..]), &mut out).is_err());
    }
    assert!(LogMel::new(&gpu, &[1.0; 4], 1, &[(2, vec![1.0, 1.0])]).is_err());
}
