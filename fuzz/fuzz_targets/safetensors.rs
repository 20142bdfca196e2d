//! Hugging Face's `model.safetensors`, from its header to a token; or the index that names its shards.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_fuzz::{Folder, TOKENIZER, expand, whisper};

fuzz_target!(|data: &[u8]| {
    let folder = Folder::new();
    folder.write("tokenizer.json", TOKENIZER);
    let config = br#"{"model_type":"whisper","encoder_attention_heads":2,"decoder_attention_heads":2}"#;
    folder.write("config.json", config);
    let name = if data.first() == Some(&b'{') { "model.safetensors.index.json" } else { "model.safetensors" };
    folder.write(name, &expand(data));
    whisper(folder.path());
});
