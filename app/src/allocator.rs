//! The program's allocator, and what it is told once the models are loaded and when they rest.

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t, mi_option_use_numa_nodes};

// glibc returns large freed blocks to the system and faults them in again at the next window,
// which costs CTranslate2 more than half of its encoder time; mimalloc keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`: milliseconds after which freed memory is returned to the system. The bindings
/// name only the option behind it.
const PURGE_DELAY: mi_option_t = mi_option_use_numa_nodes - 1;
/// Not while the program is in use: only [`settle`] returns memory.
const LATER_MS: std::ffi::c_long = 24 * 3_600_000;

/// Returns what has been freed, and keeps what is freed from now on: no request faults memory in that
/// the one before has had, and what is resident depends on no clock. Without this the program would grow:
/// every thread looks for room elsewhere, and what one has touched another does not find.
pub(crate) fn settle() {
    // SAFETY: both may be called at any time, from any thread.
    unsafe {
        mi_option_set(PURGE_DELAY, LATER_MS);
        mi_collect(true);
    }
}
