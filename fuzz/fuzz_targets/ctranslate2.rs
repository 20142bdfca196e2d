//! CTranslate2's `model.bin`, from its header to a token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_fuzz::{Folder, TOKENIZER, expand, whisper};

fuzz_target!(|data: &[u8]| {
    let folder = Folder::new();
    folder.write("tokenizer.json", TOKENIZER);
    folder.write("model.bin", &expand(data));
    whisper(folder.path());
});
