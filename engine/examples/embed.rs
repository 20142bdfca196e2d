//! Undertone in a program of your own: load once, dictate thousands of times.
//!
//! `cargo run --release -p undertone-engine --example embed -- WHISPER GGUF AUDIO...`

use std::error::Error;
use undertone_engine::audio::{decode_file, resample};
use undertone_engine::{Engine, EngineConfig, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [whisper, gguf, files @ ..] = &args[..] else {
        return Err("usage: embed WHISPER GGUF AUDIO...".into());
    };
    let engine = Engine::start(EngineConfig::new(whisper).with_text_model(gguf))?;
    for file in files {
        let pcm = resample(decode_file(file.as_ref())?, 16_000)?;
        // While it is spoken: chunks of any size go in, finished sentences are worked on at once.
        let mut stream = engine.stream(Request::default(), None)?;
        for chunk in pcm.samples.chunks(1_600) {
            stream.push(chunk)?;
        }
        let dictation = stream.finish()?.wait()?;
        println!("{}", dictation.text);
        eprintln!(
            "[{:.0} ms after the last word; heard: {}]",
            dictation.record.latency_ms, dictation.raw_text
        );
        // The same from a recording; on failure the error holds the audio or the transcript.
        match engine.dictate(pcm.samples, Request::in_mode("professional")) {
            Ok(dictation) => println!("{}", dictation.text),
            Err(failure) => eprintln!("{failure}; {} samples are kept", failure.audio.len()),
        }
    }
    Ok(())
}
