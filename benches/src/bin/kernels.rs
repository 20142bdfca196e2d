//! Nanoseconds on one thread: a weight of `linear` by block type, rows of input and instruction set;
//! a cached element of `attention` (keys and values) by type of the cache. Then, on all threads, few
//! rows on a small matrix that stays in the cache and on large ones that come from memory, with the
//! gigabytes of weights a second.
//!
//! `cargo run --release -p undertone-benches --bin kernels`

use std::sync::Arc;
use undertone_benches::time_ms;
use undertone_kernels::attention::{Attention, cpu::Dims, cpu::attention};
use undertone_kernels::kv_rows::{KvRows, quantized_row_bytes};
use undertone_kernels::{BlockType, Isa, Regime, Weight, linear::cpu::linear};

const ROWS: usize = 512;
const COLS: usize = 2048;

fn main() -> anyhow::Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(1).build()?.install(on_one_thread)?;
    rayon::ThreadPoolBuilder::new().build()?.install(|| {
        decode("cache", 576, 1536, 1)?;
        decode("memory", 8960, 1536, 12)
    })
}

/// A pass over `copies` matrices as decoding makes it, by rows of input.
fn decode(from: &str, rows: usize, cols: usize, copies: usize) -> anyhow::Result<()> {
    println!("\n{from}: {copies} of {rows}x{cols}, {} threads", rayon::current_num_threads());
    println!(
        "{:8} {:>15} {:>15} {:>15} {:>15} {:>15} {:>15}  ns (GB/s)",
        "type", "m=1", "m=2", "m=4", "m=8", "m=12", "m=16"
    );
    use BlockType::*;
    for ty in [F16, I8, IQ4NL, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K] {
        let len = ty.row_bytes(cols).unwrap_or(0) * rows;
        let weights = (0..copies).map(|_| Weight::new(Arc::new(vec![17u8; len]), 0..len, ty, rows, cols));
        let weights = weights.collect::<Result<Vec<_>, _>>()?;
        few_rows(&format!("{ty:?}"), &weights);
        if let Some(beside) = weights.iter().map(Weight::to_interleaved).collect::<Option<Vec<_>>>() {
            few_rows(&format!("{ty:?} x16"), &beside);
        }
    }
    Ok(())
}

fn few_rows(name: &str, weights: &[Weight]) {
    print!("{name:8}");
    let (copies, rows, cols) = (weights.len(), weights[0].rows(), weights[0].cols());
    for m in [1, 2, 4, 8, 12, 16] {
        let x = vec![0.5f32; m * cols];
        let mut y = vec![0f32; m * rows];
        let [_, best, _] = time_ms(60 / copies, || {
            let regime = Regime::of_rows(m);
            weights.iter().for_each(|w| linear(Isa::current(), regime, &x, w, None, &mut y));
        });
        let (ns, bytes) = (best * 1e6, (copies * weights[0].len_bytes()) as f64);
        print!(" {:7.4} ({:5.1})", ns / (copies * rows * cols) as f64, bytes / ns);
    }
    println!();
}

fn on_one_thread() -> anyhow::Result<()> {
    println!("{:8} {:8} {:>8} {:>8} {:>8} {:>8}", "type", "isa", "m=1", "m=8", "m=32", "m=128");
    use BlockType::*;
    for ty in [F32, F16, I8, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K, IQ4NL] {
        let len = ty.row_bytes(COLS).unwrap_or(0) * ROWS;
        let weight = Weight::new(Arc::new(vec![17u8; len]), 0..len, ty, ROWS, COLS)?;
        for isa in Isa::available() {
            print!("{:8} {:8}", format!("{ty:?}"), format!("{isa:?}"));
            for m in [1, 8, 32, 128] {
                let x = vec![0.5f32; m * COLS];
                let mut y = vec![0f32; m * ROWS];
                let [median, ..] = time_ms(7, || linear(isa, Regime::of_rows(m), &x, &weight, None, &mut y));
                print!(" {:8.3}", median * 1e6 / (ROWS * COLS) as f64);
            }
            println!();
        }
    }
    println!();
    attend();
    Ok(())
}

fn attend() {
    let (heads, kv_len) = (4, 800);
    for head_dim in [64, 256] {
        let rows = vec![0.5f32; heads * kv_len * head_dim];
        let bytes = vec![17u8; heads * kv_len * quantized_row_bytes(head_dim)];
        for (name, cache) in [("F32", KvRows::F32(&rows)), ("Q8", KvRows::Q8(&bytes))] {
            for isa in Isa::available() {
                print!("{:8} {:8}", format!("{name} {head_dim}"), format!("{isa:?}"));
                for m in [1, 8, 32, 128] {
                    let regime = Regime::of_rows(m);
                    let spec =
                        Attention { kv_len, causal: true, window: None, scale: 0.1, sampled: None, regime };
                    let dims =
                        Dims { batch: 1, m, heads, kv_batch: 1, kv_heads: heads, capacity: kv_len, head_dim };
                    let q = vec![0.5f32; m * heads * head_dim];
                    let mut out = q.clone();
                    let [median, ..] = time_ms(7, || attention(isa, spec, dims, &q, cache, cache, &mut out));
                    print!(" {:8.3}", median * 1e6 / (2 * heads * kv_len * head_dim) as f64);
                }
                println!();
            }
        }
    }
}
