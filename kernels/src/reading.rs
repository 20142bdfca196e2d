//! Memory read as fast as it can be read: what a decoded token, which reads every weight once, is held against.

use crate::isa::per_isa;
use crate::{Isa, Weight};
use rayon::prelude::*;
use std::hint::black_box;

/// Bytes that a thread reads at a time.
const TASK_BYTES: usize = 64 * 1024;

/// Reads all bytes of `weights` once, with the threads of the pool it is called in and the widest loads there are.
pub fn read_all(weights: &[&Weight]) {
    let isa = Isa::current();
    let sums = weights.par_iter().flat_map(|weight| weight.bytes().par_chunks(TASK_BYTES));
    black_box(sums.map(|bytes| sum(isa, bytes)).reduce(|| 0, u64::wrapping_add));
}

per_isa! { fn sum = sum_body(bytes: &[u8]) -> u64 }

/// The sum of all whole words.
#[inline(always)]
fn sum_body<const FMA: bool>(bytes: &[u8]) -> u64 {
    const LANES: usize = 16;
    let mut sums = [0u64; LANES];
    let (words, rest) = bytes.as_chunks::<8>();
    let (lines, last) = words.as_chunks::<LANES>();
    for line in lines {
        for (sum, word) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    let last = last.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    let rest = rest.iter().fold(0, |sum, byte| sum + u64::from(*byte));
    sums.iter().fold(last.wrapping_add(rest), |all, sum| all.wrapping_add(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        for len in [1, 8, 127, 128, 1000] {
            for at in 0..len {
                let mut bytes = vec![0u8; len];
                bytes[at] = 1;
                for isa in Isa::available() {
                    assert_ne!(sum(isa, &bytes), 0, "byte {at} of {len}");
                }
            }
        }
    }
}
