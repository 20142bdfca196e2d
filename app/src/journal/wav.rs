//! The canonical 44-byte WAV header and 16-bit samples.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use super::RATE_HZ;

/// Bytes before the first sample.
pub(super) const HEADER_BYTES: u64 = 44;

/// Header of a mono 16-bit file; with no length yet, the greatest there is, which players read as
/// "to the end of the file".
pub(super) fn header(data_bytes: Option<u32>) -> [u8; HEADER_BYTES as usize] {
    let data_bytes = data_bytes.unwrap_or(u32::MAX - HEADER_BYTES as u32);
    let mut header = [0; HEADER_BYTES as usize];
    header[..4].copy_from_slice(b"RIFF");
    header[4..8].copy_from_slice(&data_bytes.saturating_add(36).to_le_bytes());
    header[8..16].copy_from_slice(b"WAVEfmt ");
    header[16..20].copy_from_slice(&16u32.to_le_bytes());
    header[20..22].copy_from_slice(&1u16.to_le_bytes()); // PCM
    header[22..24].copy_from_slice(&1u16.to_le_bytes()); // channels
    header[24..28].copy_from_slice(&RATE_HZ.to_le_bytes());
    header[28..32].copy_from_slice(&(RATE_HZ * 2).to_le_bytes()); // bytes per second
    header[32..34].copy_from_slice(&2u16.to_le_bytes()); // bytes per frame
    header[34..36].copy_from_slice(&16u16.to_le_bytes()); // bits per sample
    header[36..40].copy_from_slice(b"data");
    header[40..44].copy_from_slice(&data_bytes.to_le_bytes());
    header
}

/// Puts the true length into the header and leaves the file at its end.
pub(super) fn close(file: &mut File) -> io::Result<()> {
    let data_bytes = file.metadata()?.len().saturating_sub(HEADER_BYTES);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header(u32::try_from(data_bytes).ok()))?;
    file.seek(SeekFrom::End(0)).map(|_| ())
}

/// Samples in -1..=1 as 16-bit little endian.
pub(super) fn encode(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|sample| ((sample * 32768.0).round() as i16).to_le_bytes()).collect()
}

/// The inverse of [`encode`]; half a sample at the end, of a write that was cut short, is left out.
pub(super) fn decode(bytes: &[u8]) -> Vec<f32> {
    let samples = bytes.as_chunks::<2>().0;
    samples.iter().map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32768.0).collect()
}
