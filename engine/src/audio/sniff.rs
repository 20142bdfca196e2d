//! What a file is, from its first bytes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::AudioError;

/// The kinds of file that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Wav,
    Flac,
    Ogg,
    /// MP3 or ADTS: streams of frames without a file header.
    Frames,
    Mp4,
    Aiff,
    Matroska,
}

/// Bytes looked at. An Ogg stream names its codec within the first page.
const HEAD_BYTES: usize = 512;

/// Signatures of audio formats that are recognised only to be named in the error.
/// (offset, signature, name)
const UNSUPPORTED: &[(usize, &[u8], &str)] = &[
    (28, b"OpusHead", "Opus"),
    (28, b"Speex   ", "Speex"),
    (0, b"#!AMR", "AMR"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"caff", "Core Audio Format"),
    (0, b"DSD ", "DSD"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"TTA1", "True Audio"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b".snd", "Sun AU"),
];

/// Signatures of common files that are no audio at all.
const NOT_AUDIO: &[(&[u8], &str)] = &[
    (b"%PDF", "this is a PDF document"),
    (b"PK\x03\x04", "this is a ZIP archive or office document"),
    (b"\x1f\x8b", "this is a gzip archive"),
    (b"\x89PNG", "this is a PNG picture"),
    (b"\xff\xd8\xff", "this is a JPEG picture"),
    (b"GIF8", "this is a GIF picture"),
    (b"MThd", "this is a MIDI file, which holds notes and no sound"),
    (b"GGUF", "this is a GGUF model file"),
    (b"\x7fELF", "this is a program"),
];

/// Decides the kind from the content and leaves `file` at its start.
pub(super) fn sniff(path: &Path, file: &mut File) -> Result<Kind, AudioError> {
    let io_error = |source| AudioError::from_io(path, source);
    let head = read_head(file, 0).map_err(io_error)?;
    // An ID3v2 tag may precede MP3, ADTS and (wrongly, but it happens) FLAC or WAV.
    let tag_bytes = id3v2_bytes(&head);
    let body = if tag_bytes > 0 { read_head(file, tag_bytes).map_err(io_error)? } else { head };
    file.seek(SeekFrom::Start(0)).map_err(io_error)?;
    if let Some(kind) = known(path, &body)? {
        // Only a tag-less WAV is read by the parser of this crate.
        return Ok(if tag_bytes > 0 && kind == Kind::Wav { Kind::Frames } else { kind });
    }
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    // Frame streams may begin with padding or half a frame: there the extension is believed.
    if tag_bytes > 0 || (matches!(&*extension, "mp3" | "aac" | "mp2") && !is_text(&body)) {
        return Ok(Kind::Frames);
    }
    let named = NOT_AUDIO.iter().find(|(magic, _)| body.starts_with(magic)).map(|(_, what)| *what);
    let reason = match named {
        Some(what) => what,
        None if is_text(&body) => "this is a text file",
        None => "its content is no known audio format",
    };
    Err(AudioError::NotAudio { path: path.into(), reason: reason.to_owned() })
}

fn known(path: &Path, body: &[u8]) -> Result<Option<Kind>, AudioError> {
    let at = |offset: usize, magic: &[u8]| body.get(offset..).is_some_and(|b| b.starts_with(magic));
    if let Some((_, _, codec)) = UNSUPPORTED.iter().find(|(offset, magic, _)| at(*offset, magic)) {
        return Err(AudioError::unsupported(path, *codec));
    }
    if NOT_AUDIO.iter().any(|(magic, _)| body.starts_with(magic)) {
        return Ok(None);
    }
    Ok(match body {
        [b'R', b'I', b'F', b'F' | b'X', ..] | [b'R', b'F', b'6', b'4', ..] | [b'B', b'W', b'6', b'4', ..]
            if at(8, b"WAVE") || body.len() < 12 =>
        {
            Some(Kind::Wav)
        }
        _ if at(0, b"fLaC") => Some(Kind::Flac),
        _ if at(0, b"OggS") => Some(Kind::Ogg),
        _ if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) => Some(Kind::Aiff),
        _ if at(4, b"ftyp") || at(4, b"moov") || at(4, b"mdat") => Some(Kind::Mp4),
        _ if at(0, b"\x1a\x45\xdf\xa3") => Some(Kind::Matroska),
        // Eleven or twelve set bits, then a layer: MPEG audio or ADTS. 0xFF repeated is padding.
        [0xff, second, third, ..] if second & 0xe0 == 0xe0 && *second != 0xff && third & 0xf0 != 0xf0 => {
            Some(Kind::Frames)
        }
        _ => None,
    })
}

fn read_head(file: &mut File, offset: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Length of an ID3v2 tag including its header and footer, 0 without one.
/// Four 7-bit bytes (ID3v2.4.0 structure, section 3.1).
fn id3v2_bytes(head: &[u8]) -> u64 {
    match head {
        [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
            let size = [a, b, c, d].iter().fold(0u64, |n, byte| (n << 7) | u64::from(**byte & 0x7f));
            let footer_bytes = if flags & 0x10 != 0 { 10 } else { 0 };
            10 + size + footer_bytes
        }
        _ => 0,
    }
}

/// True for UTF-8 without control characters; the head may end inside a character.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            match head.get(..error.valid_up_to()).map(std::str::from_utf8) {
                Some(Ok(text)) => text,
                _ => return false,
            }
        }
        Err(_) => return false,
    };
    !valid.is_empty() && !valid.chars().any(|c| c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_tag_length() {
        assert_eq!(id3v2_bytes(b"ID3\x04\0\0\0\0\x02\x01rest"), 10 + 257);
        assert_eq!(id3v2_bytes(b"ID3\x04\0\x10\0\0\0\x01rest"), 10 + 1 + 10);
        assert_eq!(id3v2_bytes(b"RIFF"), 0);
    }

    #[test]
    fn tells_text_from_bytes() {
        assert!(is_text("Grüße,\n".as_bytes()));
        assert!(is_text(&"Grüße".as_bytes()[..3]));
        assert!(!is_text(b"\0\x01\x02"));
        assert!(!is_text(b"\xff\xfb\x90"));
    }
}
