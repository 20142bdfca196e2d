//! An audio file, from its first bytes to samples at 16 kHz.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_engine::audio::{SAMPLE_RATE_RANGE_HZ, decode_file, resample};
use undertone_fuzz::Folder;

/// Longer recordings are not resampled here: that takes time and is the same for all.
const MAX_SAMPLES: usize = 1 << 18;

/// The decoders of the container crate may panic: the program takes that for a damaged packet. A panic that it does not
/// catch ends the run all the same.
fn allow_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if panic.location().is_none_or(|place| !place.file().contains("symphonia")) {
            eprintln!("{panic}");
        }
    }));
}

fuzz_target!(init: allow_panics(), |data: &[u8]| {
    let folder = Folder::new();
    // Streams of frames have no signature: there the name counts.
    let name = if data.len() % 2 == 0 { "recording.mp3" } else { "recording" };
    match decode_file(&folder.write(name, data)) {
        Err(error) => assert!(!error.to_string().trim().is_empty()),
        Ok(recording) => {
            assert!(!recording.pcm.is_empty() && recording.pcm.iter().all(|sample| sample.is_finite()));
            assert!(SAMPLE_RATE_RANGE_HZ.contains(&recording.sample_rate_hz) && recording.channels > 0);
            if recording.pcm.len() <= MAX_SAMPLES {
                match resample(recording, 16_000) {
                    Ok(pcm) => assert!(pcm.samples.iter().all(|sample| sample.is_finite())),
                    Err(error) => assert!(!error.to_string().trim().is_empty()),
                }
            }
        }
    }
});
