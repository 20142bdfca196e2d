//! After warm-up nothing is allocated that outlives a request. In a process of its own: it counts
//! every allocation.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use undertone_engine::{Engine, EngineConfig, Request};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What is allocated when the engine's thread has let go of the last request, which it does behind the answer.
fn live_bytes() -> usize {
    let mut last = 0;
    loop {
        let now = LIVE_BYTES.load(Relaxed);
        if now == last {
            return now;
        }
        last = now;
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

#[test]
fn dictations_leave_not_a_tensor_behind() {
    let gguf = common::gguf("smollm2-135m-instruct");
    let config = EngineConfig::new(common::model_dir("whisper-tiny.en")).with_text_model(gguf);
    let engine = Engine::start(config).unwrap();
    let clips = ["question.wav", "report.wav", "dictation.wav"].map(common::clip);
    let dictate = |n: usize| {
        let clip = &clips[n % clips.len()][..];
        if n.is_multiple_of(2) {
            drop(engine.dictate(clip, Request::default()).unwrap());
        } else {
            let mut stream = engine.stream(Request::default(), None).unwrap();
            clip.chunks(3_200).for_each(|c| stream.push(c).unwrap());
            drop(stream.finish().unwrap().wait().unwrap());
        }
    };
    // What is made once and kept (the threads' queues, the last readings) is there after a few.
    (0..18).for_each(dictate);
    let before = live_bytes();
    (18..42).for_each(dictate);
    let grown = live_bytes().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} bytes more after 24 dictations");
    let files = engine.resident_fraction().unwrap();
    assert!(files > 0.99, "only {files} of the weights are in memory");
}
