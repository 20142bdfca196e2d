//! Audio files in, mono samples at 16 kHz out.
//!
//! Two separately timed steps: [`decode_file`] turns any supported file into mono samples at the
//! file's own rate; [`resample`] brings those to the rate the speech model wants. What a file *is*
//! is decided by its content; its extension is only a hint for streams without a signature.
//!
//! Damaged files: whatever can be decoded is decoded. A recording cut short, or with broken frames
//! in its midst, comes back with a sentence in [`Decoded::warning`]; less than 100 ms of audio in a
//! damaged file is an error. No allocation is sized from a length that a header merely claims.

mod container;
mod error;
mod mix;
mod resample;
mod sniff;
mod wav;

use std::fs::File;
use std::path::Path;

pub use error::AudioError;
pub use resample::{Pcm, resample};

/// Lowest and highest sample rate taken as plausible, in Hz.
pub const SAMPLE_RATE_RANGE_HZ: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Longest recording accepted, in seconds (24 hours).
pub const MAX_DURATION_S: f64 = 24.0 * 3600.0;
/// Least audio that makes a *damaged* file worth returning, in seconds.
const MIN_SALVAGE_S: f64 = 0.1;

/// A decoded recording: one channel at the file's own sample rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Mono samples, nominally in -1..=1: the mean of the file's channels, always finite.
    pub pcm: Vec<f32>,
    /// Sample rate of `pcm`, in Hz.
    pub sample_rate_hz: u32,
    /// Number of channels the file had before they were averaged.
    pub channels: u16,
    /// Length of `pcm` in seconds.
    pub duration_s: f64,
    /// One sentence on what was wrong with the file, when something was and it could be read anyway.
    pub warning: Option<String>,
}

/// Decodes a whole audio file to mono at its native rate.
///
/// Formats: WAV (8/16/24/32-bit integer, 32/64-bit float, A-law, mu-law, ADPCM, extensible, RF64),
/// FLAC, MP3, Ogg Vorbis, AAC in MP4 or ADTS, ALAC, AIFF and Matroska or WebM with those codecs.
///
/// # Errors
/// See [`AudioError`]; each variant's message is one sentence that says what to do.
pub fn decode_file(path: &Path) -> Result<Decoded, AudioError> {
    let file_bytes = check_file(path)?;
    let mut file = File::open(path).map_err(|source| AudioError::from_io(path, source))?;
    let kind = sniff::sniff(path, &mut file)?;
    let raw = match kind {
        sniff::Kind::Wav => match wav::decode(path, &mut file, file_bytes)? {
            wav::Outcome::Done(raw) => raw,
            // ADPCM inside WAV: the container crate has the codec.
            wav::Outcome::OtherCodec => container::decode(path, file, kind)?,
        },
        _ => container::decode(path, file, kind)?,
    };
    finish(path, raw)
}

/// Refuses what cannot be audio whatever is in it; bytes of the file. Costs nothing, so it can be
/// asked before models are loaded or fetched.
///
/// # Errors
/// If there is no such file, it is a directory, or it is empty.
pub fn check_file(path: &Path) -> Result<u64, AudioError> {
    let metadata = std::fs::metadata(path).map_err(|source| AudioError::from_io(path, source))?;
    if !metadata.is_file() {
        return Err(AudioError::NotAFile { path: path.into() });
    }
    if metadata.len() == 0 {
        return Err(AudioError::Empty { path: path.into() });
    }
    Ok(metadata.len())
}

/// What a decoder hands over before the common checks.
struct Raw {
    pcm: Vec<f32>,
    sample_rate_hz: u32,
    channels: u16,
    /// Samples that were not numbers and became silence.
    bad_samples: u64,
    /// Frames or packets that could not be decoded and were skipped.
    bad_packets: u64,
    /// Why the recording ends before its header says, when it does.
    cut_short: Option<String>,
}

fn finish(path: &Path, raw: Raw) -> Result<Decoded, AudioError> {
    let duration_s = raw.pcm.len() as f64 / f64::from(raw.sample_rate_hz.max(1));
    let damaged = raw.cut_short.is_some() || raw.bad_packets > 0;
    if damaged && duration_s < MIN_SALVAGE_S {
        return Err(AudioError::Truncated { path: path.into(), kept_ms: (duration_s * 1000.0) as u64 });
    }
    if raw.pcm.is_empty() {
        return Err(AudioError::Empty { path: path.into() });
    }
    let mut notes = Vec::new();
    if let Some(reason) = raw.cut_short {
        notes.push(format!("{reason}; the {duration_s:.1} s that are there were read"));
    }
    if raw.bad_packets > 0 {
        notes.push(format!("{} damaged audio frames were skipped", raw.bad_packets));
    }
    if raw.bad_samples > 0 {
        notes.push(format!("{} samples were not valid numbers and were set to silence", raw.bad_samples));
    }
    Ok(Decoded {
        pcm: raw.pcm,
        sample_rate_hz: raw.sample_rate_hz,
        channels: raw.channels,
        duration_s,
        warning: (!notes.is_empty()).then(|| notes.join("; ")),
    })
}

/// Checks the numbers every header gives, before anything is sized by them.
fn check_format(path: &Path, sample_rate_hz: u32, channels: usize) -> Result<u16, AudioError> {
    if !SAMPLE_RATE_RANGE_HZ.contains(&sample_rate_hz) {
        return Err(AudioError::Corrupt {
            path: path.into(),
            reason: format!("its header gives a sample rate of {sample_rate_hz} Hz"),
        });
    }
    match u16::try_from(channels) {
        Ok(channels) if channels > 0 => Ok(channels),
        _ => Err(AudioError::Corrupt {
            path: path.into(),
            reason: format!("its header gives {channels} channels"),
        }),
    }
}
