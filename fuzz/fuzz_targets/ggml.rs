//! A whisper.cpp file, from its header to a token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_fuzz::{Folder, expand, whisper};

fuzz_target!(|data: &[u8]| {
    let folder = Folder::new();
    whisper(&folder.write("ggml.bin", &expand(data)));
});
