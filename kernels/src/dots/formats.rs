use super::scalar;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A block type that every instruction set can unpack.
#[cfg(target_arch = "x86_64")]
pub(super) trait Format: scalar::Unpack + avx2::Unpack + avx512::Unpack {}
#[cfg(target_arch = "x86_64")]
impl<F: scalar::Unpack + avx2::Unpack + avx512::Unpack> Format for F {}

/// A block type that every instruction set can unpack.
#[cfg(not(target_arch = "x86_64"))]
pub(super) trait Format: scalar::Unpack {}
#[cfg(not(target_arch = "x86_64"))]
impl<F: scalar::Unpack> Format for F {}

pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q5_0;
pub(super) struct Q5_1;
pub(super) struct Q8_0;
pub(super) struct Q4K;
pub(super) struct Q5K;
pub(super) struct Q6K;

/// The eight six-bit scales and the eight minima of Q4_K and Q5_K, a byte each, from the twelve
/// bytes at `packed`: those of sub-blocks 0 to 3 and of 4 to 7.
#[inline(always)]
pub(super) fn scales_and_minima(packed: &[u8; 12]) -> ([u32; 2], [u32; 2]) {
    const LOW_SIX: u32 = 0x3f3f_3f3f;
    const LOW_FOUR: u32 = 0x0f0f_0f0f;
    const HIGH_TWO: u32 = 0xc0c0_c0c0;
    let (words, _) = packed.as_chunks::<4>();
    let [s, m, last] = [words[0], words[1], words[2]].map(u32::from_le_bytes);
    (
        [s & LOW_SIX, last & LOW_FOUR | (s & HIGH_TWO) >> 2],
        [m & LOW_SIX, last >> 4 & LOW_FOUR | (m & HIGH_TWO) >> 2],
    )
}
