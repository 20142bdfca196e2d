//! How the C library's allocator is set up.
//!
//! A dictation frees some tens of megabytes that the next one needs again. By default glibc returns large
//! blocks to the system at once and faults them in again, which costs CTranslate2 more than half of its
//! encoder time; allocators that keep them in a heap for each thread and size let what is resident grow by
//! half with recordings of many lengths. One heap for all threads, best fit, nothing returned: the next
//! dictation finds what the last one freed, and memory stays at what the largest has needed.
//!
//! Elsewhere than on Linux with glibc the system's allocator is left as it is.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// The most that any glibc takes: larger blocks (minutes of decoded audio, no tensor of a dictation) go
    /// to the system and back.
    const MMAP_THRESHOLD_BYTES: libc::c_int = 32 << 20;

    pub(crate) fn begin() {
        // SAFETY: called before there are other threads; what an option refuses stays as it was.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }

    pub(crate) fn settle() {
        // SAFETY: may be called at any time, from any thread.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Sets the allocator up. To be called first in `main`.
pub(crate) fn begin() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::begin();
}

/// Returns to the system what has been freed: behind loading, what only loading needed.
pub(crate) fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::settle();
}
