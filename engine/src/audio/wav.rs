//! WAV, read here rather than by the container crate because recorders that are killed midway leave
//! headers with wrong lengths, and what they recorded has to survive.
//!
//! Source: Microsoft/IBM RIFF "Multimedia Programming Interface and Data Specifications 1.0" and
//! WAVE_FORMAT_EXTENSIBLE; RF64/BW64 by EBU Tech 3306 and ITU-R BS.2088; G.711 for A-law and mu-law.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::mix::MonoMix;
use super::{AudioError, Raw, check_format};

/// Frames converted at a time.
const BLOCK_FRAMES: usize = 4096;
/// Chunks walked before a file without audio data is given up.
const MAX_CHUNKS: usize = 10_000;

pub(super) enum Outcome {
    Done(Raw),
    /// A compressed codec that the container crate may know.
    OtherCodec,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Encoding {
    Unsigned8,
    /// Little-endian two's complement in this many bytes (2..=4; 1 is unsigned in WAV).
    Signed(usize),
    Float32,
    Float64,
    ALaw,
    MuLaw,
}

impl Encoding {
    fn bytes(self) -> usize {
        match self {
            Self::Unsigned8 | Self::ALaw | Self::MuLaw => 1,
            Self::Signed(bytes) => bytes,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Format {
    encoding: Encoding,
    sample_rate_hz: u32,
    channels: u16,
}

/// Where the samples lie and what the header said about their length.
struct DataChunk {
    offset: u64,
    bytes: u64,
    cut_short: Option<String>,
}

/// Decodes `file` (`file_bytes` long, positioned anywhere).
pub(super) fn decode(path: &Path, file: &mut File, file_bytes: u64) -> Result<Outcome, AudioError> {
    let mut reader = BufReader::new(file);
    let io_error = |source| AudioError::from_io(path, source);
    reader.seek(SeekFrom::Start(0)).map_err(io_error)?;
    let corrupt = |reason: &str| AudioError::Corrupt { path: path.into(), reason: reason.to_owned() };

    let mut position = 12u64;
    let mut format = None;
    let mut ds64_data_bytes = None;
    for _ in 0..MAX_CHUNKS {
        let Some((id, claimed_bytes)) = read_chunk_header(&mut reader, position).map_err(io_error)? else {
            break;
        };
        let body = position + 8;
        match &id {
            b"fmt " => {
                let chunk = read_up_to(&mut reader, claimed_bytes.min(64)).map_err(io_error)?;
                match parse_format(path, &chunk)? {
                    Some(parsed) => format = Some(parsed),
                    None => return Ok(Outcome::OtherCodec),
                }
            }
            b"ds64" => {
                let chunk = read_up_to(&mut reader, claimed_bytes.min(28)).map_err(io_error)?;
                ds64_data_bytes = chunk.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
            }
            b"data" => {
                let format = format.ok_or_else(|| corrupt("the format chunk is missing"))?;
                let next = read_chunk_header(&mut reader, body).map_err(io_error)?;
                let data = data_chunk(body, claimed_bytes, ds64_data_bytes, file_bytes, next);
                return read_samples(path, &mut reader, format, data).map(Outcome::Done);
            }
            _ => {}
        }
        // Chunks are padded to an even length.
        position = body.saturating_add(claimed_bytes).saturating_add(claimed_bytes & 1);
    }
    Err(match format {
        Some(_) => AudioError::Truncated { path: path.into(), kept_ms: 0 },
        None => corrupt("the header is incomplete"),
    })
}

fn read_chunk_header(
    reader: &mut (impl Read + Seek),
    position: u64,
) -> std::io::Result<Option<([u8; 4], u64)>> {
    // A position beyond what the system can seek to is past the end of any file.
    if position > i64::MAX as u64 {
        return Ok(None);
    }
    reader.seek(SeekFrom::Start(position))?;
    let header = read_up_to(reader, 8)?;
    Ok(match header.as_slice() {
        [a, b, c, d, e, f, g, h] => Some(([*a, *b, *c, *d], u64::from(u32::from_le_bytes([*e, *f, *g, *h])))),
        _ => None,
    })
}

fn read_up_to(reader: &mut impl Read, bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut buffer = Vec::new();
    reader.by_ref().take(bytes).read_to_end(&mut buffer)?;
    Ok(buffer)
}

fn parse_format(path: &Path, chunk: &[u8]) -> Result<Option<Format>, AudioError> {
    let u16_at = |at: usize| chunk.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
    let u32_at = |at: usize| chunk.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let (Some(tag), Some(channels), Some(sample_rate_hz), Some(block_bytes), Some(bits)) =
        (u16_at(0), u16_at(2), u32_at(4), u16_at(12), u16_at(14))
    else {
        return Err(AudioError::Corrupt {
            path: path.into(),
            reason: "the format chunk is too short".to_owned(),
        });
    };
    const EXTENSIBLE: u16 = 0xfffe;
    let tag = if tag == EXTENSIBLE { u16_at(24).unwrap_or(tag) } else { tag };
    // Checked before the codec, so that a damaged header is called damaged.
    let channels = check_format(path, sample_rate_hz, usize::from(channels))?;
    // The container's size rules (a 20-bit sample lies in 3 bytes, a 24-bit one may lie in 4).
    let container_bytes = match usize::from(block_bytes / channels) {
        0 => usize::from(bits).div_ceil(8),
        bytes => bytes,
    };
    let encoding = match (tag, container_bytes) {
        (1, 1) => Encoding::Unsigned8,
        (1, 2..=4) => Encoding::Signed(container_bytes),
        (3, 4) => Encoding::Float32,
        (3, 8) => Encoding::Float64,
        (6, 1) => Encoding::ALaw,
        (7, 1) => Encoding::MuLaw,
        (1 | 3 | 6 | 7, _) => {
            return Err(AudioError::unsupported(path, format!("{bits}-bit WAV")));
        }
        // MS ADPCM, IMA ADPCM.
        (2 | 0x11, _) => return Ok(None),
        (tag, _) => return Err(AudioError::unsupported(path, codec_name(tag))),
    };
    Ok(Some(Format { encoding, sample_rate_hz, channels }))
}

/// Names of the more common tags without a decoder (RFC 2361).
fn codec_name(tag: u16) -> String {
    match tag {
        0x31 => "GSM 6.10".to_owned(),
        0x45 => "G.726".to_owned(),
        0x50 | 0x55 => "MPEG-in-WAV".to_owned(),
        0x160..=0x163 => "WMA".to_owned(),
        0x2000 => "AC-3".to_owned(),
        _ => format!("WAV format 0x{tag:04x}"),
    }
}

/// Settles the length of the samples where the header and the file disagree.
fn data_chunk(
    offset: u64,
    claimed_bytes: u64,
    ds64_data_bytes: Option<u64>,
    file_bytes: u64,
    next: Option<([u8; 4], u64)>,
) -> DataChunk {
    let there_bytes = file_bytes.saturating_sub(offset);
    let open_ended = u64::from(u32::MAX);
    let claimed_bytes = match ds64_data_bytes {
        Some(bytes) if claimed_bytes == open_ended => bytes,
        _ => claimed_bytes,
    };
    // Zero with bytes behind it: either a recorder that never came back to fill the length in, or
    // an empty recording followed by another chunk.
    let followed_by_chunk = next.is_some_and(|(id, bytes)| {
        id.iter().all(|c| c.is_ascii_alphanumeric() || *c == b' ') && bytes <= there_bytes.saturating_sub(8)
    });
    let (bytes, cut_short) = match claimed_bytes {
        0 if there_bytes > 0 && !followed_by_chunk => (
            there_bytes,
            Some("the WAV header gives no length, as an interrupted recorder leaves it".to_owned()),
        ),
        // 2^32-1 is what programs write into a pipe; some round down to whole blocks.
        bytes if bytes >= open_ended - 65_535 && bytes <= open_ended && bytes > there_bytes => (
            there_bytes,
            Some(
                "the WAV header leaves the length open, as streamed or interrupted recordings do".to_owned(),
            ),
        ),
        bytes if bytes > there_bytes => (
            there_bytes,
            Some(format!("the WAV header promises {bytes} bytes of audio but the file has {there_bytes}")),
        ),
        bytes => (bytes, None),
    };
    DataChunk { offset, bytes, cut_short }
}

fn read_samples(
    path: &Path,
    reader: &mut (impl Read + Seek),
    format: Format,
    data: DataChunk,
) -> Result<Raw, AudioError> {
    let io_error = |source| AudioError::from_io(path, source);
    let channels = usize::from(format.channels);
    let sample_bytes = format.encoding.bytes();
    let frame_bytes = channels * sample_bytes;
    reader.seek(SeekFrom::Start(data.offset)).map_err(io_error)?;

    let mut mix = MonoMix::new(format.sample_rate_hz);
    let mut left_bytes = data.bytes;
    let block_bytes = (BLOCK_FRAMES / channels).max(1) * frame_bytes;
    let mut samples = Vec::new();
    while left_bytes > 0 {
        let block = read_up_to(reader, left_bytes.min(block_bytes as u64)).map_err(io_error)?;
        if block.is_empty() {
            break;
        }
        left_bytes = left_bytes.saturating_sub(block.len() as u64);
        samples.clear();
        samples.extend(block.chunks_exact(sample_bytes).map(|bytes| to_f32(format.encoding, bytes)));
        mix.push_interleaved(path, &samples, channels)?;
    }
    Ok(Raw {
        pcm: mix.pcm,
        sample_rate_hz: format.sample_rate_hz,
        channels: format.channels,
        bad_samples: mix.bad_samples,
        bad_packets: 0,
        cut_short: data.cut_short,
    })
}

/// One sample of `encoding.bytes()` bytes; a wrong length cannot occur and gives silence.
fn to_f32(encoding: Encoding, bytes: &[u8]) -> f32 {
    match (encoding, bytes) {
        (Encoding::Unsigned8, [a]) => (f32::from(*a) - 128.0) / 128.0,
        (Encoding::Signed(_), [a, b]) => f32::from(i16::from_le_bytes([*a, *b])) / 32_768.0,
        (Encoding::Signed(_), [a, b, c]) => i32::from_le_bytes([0, *a, *b, *c]) as f32 / 2_147_483_648.0,
        (Encoding::Signed(_), [a, b, c, d]) => i32::from_le_bytes([*a, *b, *c, *d]) as f32 / 2_147_483_648.0,
        (Encoding::Float32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
        (Encoding::Float64, bytes) => bytes.try_into().map_or(0.0, |b| f64::from_le_bytes(b) as f32),
        (Encoding::ALaw, [a]) => f32::from(a_law(*a)) / 32_768.0,
        (Encoding::MuLaw, [a]) => f32::from(mu_law(*a)) / 32_768.0,
        _ => 0.0,
    }
}

/// ITU-T G.711 A-law to 16-bit linear.
fn a_law(code: u8) -> i16 {
    let code = code ^ 0x55;
    let exponent = (code >> 4) & 7;
    let mantissa = i16::from(code & 0x0f);
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// ITU-T G.711 mu-law to 16-bit linear.
fn mu_law(code: u8) -> i16 {
    let code = !code;
    let exponent = (code >> 4) & 7;
    let magnitude = (((i16::from(code & 0x0f) << 3) + 0x84) << exponent) - 0x84;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_conversions_reach_full_scale() {
        assert_eq!(to_f32(Encoding::Unsigned8, &[0]), -1.0);
        assert_eq!(to_f32(Encoding::Unsigned8, &[128]), 0.0);
        assert_eq!(to_f32(Encoding::Signed(2), &[0x00, 0x80]), -1.0);
        assert_eq!(to_f32(Encoding::Signed(3), &[0x00, 0x00, 0x80]), -1.0);
        assert_eq!(to_f32(Encoding::Signed(3), &[0x00, 0x00, 0x40]), 0.5);
        assert_eq!(to_f32(Encoding::Signed(4), &[0, 0, 0, 0x40]), 0.5);
        assert_eq!(to_f32(Encoding::Float64, &0.25f64.to_le_bytes()), 0.25);
    }

    /// Values from the decoding tables of G.711 (scaled to 16 bits).
    #[test]
    fn g711_tables() {
        assert_eq!((a_law(0x2a), a_law(0xaa), a_law(0xd5), a_law(0x55)), (-32_256, 32_256, 8, -8));
        assert_eq!((mu_law(0x00), mu_law(0x80), mu_law(0xff), mu_law(0x7f)), (-32_124, 32_124, 0, 0));
    }

    #[test]
    fn length_claims() {
        let chunk = |claimed, next| data_chunk(44, claimed, None, 1044, next);
        assert!(chunk(1000, None).cut_short.is_none());
        assert_eq!(chunk(400, None).bytes, 400);
        for claimed in [0, 0xffff_ffff, 0xffff_ffdb, 5000] {
            let data = chunk(claimed, Some(([1, 2, 3, 4], 7)));
            assert_eq!(data.bytes, 1000, "{claimed}");
            assert!(data.cut_short.is_some(), "{claimed}");
        }
        // An empty recording followed by a LIST chunk stays empty.
        assert_eq!(chunk(0, Some((*b"LIST", 26))).bytes, 0);
    }
}
