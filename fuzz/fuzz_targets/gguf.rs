//! A GGUF file, from its header to a token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_fuzz::{Folder, expand, language_model};

fuzz_target!(|data: &[u8]| {
    let folder = Folder::new();
    language_model(&folder.write("model.gguf", &expand(data)));
});
