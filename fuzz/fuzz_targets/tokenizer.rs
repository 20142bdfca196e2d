//! A tokenizer: GGUF's metadata or a `tokenizer.json`, from its bytes to the ids of texts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_fuzz::{Folder, encode};
use undertone_models::tokenizer::Tokenizer;
use undertone_models::weights::gguf::Gguf;

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"GGUF") {
        let folder = Folder::new();
        let file = Gguf::open(&folder.write("model.gguf", data));
        if let Ok(tokenizer) = file.and_then(|file| file.tokenizer()) {
            encode(&tokenizer);
        }
    } else if let Ok(tokenizer) = Tokenizer::from_json(data) {
        encode(&tokenizer);
    }
});
