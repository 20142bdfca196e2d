//! Which instructions a check may use.
#![allow(dead_code, unreachable_pub)]

use std::sync::{Mutex, PoisonError};
use undertone_kernels::Isa;

static INSTRUCTIONS: Mutex<()> = Mutex::new(());

/// Runs `check` with no more than `isa`. Tests of a program that use this wait for each other.
pub fn limited_to<T>(isa: Isa, check: impl FnOnce() -> T) -> T {
    let _alone = INSTRUCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    Isa::limit(isa);
    check()
}

/// The best instructions without products of bytes for many rows: prompts and encoders are exact.
pub fn exact() -> Isa {
    // AVX2 has such products, AVX-512 without VNNI has not.
    if Isa::detect() >= Isa::Avx512 { Isa::Avx512 } else { Isa::Scalar }
}

/// Those of this machine with products of bytes for many rows.
pub fn on_bytes() -> impl Iterator<Item = Isa> {
    Isa::available().filter(|isa| matches!(isa, Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni | Isa::Amx))
}
