//! Audio files in and samples out, on files written here: good, strange, cut and damaged.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use undertone_engine::audio::{AudioError, Decoded, decode_file, resample};

const RATE_HZ: u32 = 16_000;
/// One second.
const FRAMES: usize = 16_000;

/// A quiet tone with a little deterministic noise, so that FLAC and WAV bytes vary.
fn tone(frame: usize) -> f64 {
    let noise = (frame.wrapping_mul(2_654_435_761) >> 7) % 1000;
    0.5 * (frame as f64 * 440.0 * std::f64::consts::TAU / f64::from(RATE_HZ)).sin() + noise as f64 * 1e-5
}

struct WavHeader {
    tag: u16,
    channels: u16,
    rate_hz: u32,
    bits: u16,
    extensible: bool,
    data_bytes: Option<u32>,
}

impl Default for WavHeader {
    fn default() -> Self {
        Self { tag: 1, channels: 1, rate_hz: RATE_HZ, bits: 16, extensible: false, data_bytes: None }
    }
}

fn wav(header: &WavHeader, data: &[u8]) -> Vec<u8> {
    let block = u32::from(header.channels) * u32::from(header.bits) / 8;
    let mut format = Vec::new();
    let tag = if header.extensible { 0xfffe } else { header.tag };
    format.extend(tag.to_le_bytes());
    format.extend(header.channels.to_le_bytes());
    format.extend(header.rate_hz.to_le_bytes());
    format.extend(header.rate_hz.wrapping_mul(block).to_le_bytes());
    format.extend((block as u16).to_le_bytes());
    format.extend(header.bits.to_le_bytes());
    if header.extensible {
        format.extend(22u16.to_le_bytes());
        format.extend(header.bits.to_le_bytes());
        format.extend(0u32.to_le_bytes());
        format.extend(header.tag.to_le_bytes());
        format.extend(b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    }
    let mut file = b"RIFF".to_vec();
    file.extend((20 + format.len() as u32 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend((format.len() as u32).to_le_bytes());
    file.extend(format);
    file.extend(b"data");
    file.extend(header.data_bytes.unwrap_or(data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn pcm16() -> Vec<u8> {
    (0..FRAMES).flat_map(|i| ((tone(i) * 32_767.0) as i16).to_le_bytes()).collect()
}

fn write(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn decode(name: &str, bytes: &[u8]) -> Result<Decoded, AudioError> {
    let dir = TempDir::new().unwrap();
    decode_file(&write(&dir, name, bytes))
}

fn worst_error(decoded: &Decoded) -> f64 {
    decoded.pcm.iter().enumerate().map(|(i, s)| (f64::from(*s) - tone(i)).abs()).fold(0.0, f64::max)
}

#[test]
fn every_wav_encoding_gives_the_same_wave() {
    type Encode = fn(f64) -> Vec<u8>;
    let cases: &[(u16, u16, f64, Encode)] = &[
        (1, 8, 0.01, |s| vec![(s * 127.0 + 128.0).round() as u8]),
        (1, 16, 1e-4, |s| ((s * 32_767.0) as i16).to_le_bytes().to_vec()),
        (1, 24, 1e-6, |s| ((s * 8_388_607.0) as i32).to_le_bytes()[..3].to_vec()),
        (1, 32, 1e-6, |s| ((s * 2_147_483_647.0) as i32).to_le_bytes().to_vec()),
        (3, 32, 1e-6, |s| (s as f32).to_le_bytes().to_vec()),
        (3, 64, 1e-6, |s| s.to_le_bytes().to_vec()),
    ];
    for (tag, bits, tolerance, encode) in cases {
        for (channels, extensible) in [(1u16, false), (2, false), (6, true)] {
            let header = WavHeader { tag: *tag, channels, bits: *bits, extensible, ..WavHeader::default() };
            let frame = |i| encode(tone(i)).repeat(usize::from(channels));
            let data: Vec<u8> = (0..FRAMES).flat_map(frame).collect();
            let decoded = decode("x.wav", &wav(&header, &data)).unwrap();
            assert_eq!((decoded.pcm.len(), decoded.channels), (FRAMES, channels), "{tag} {bits}");
            assert!(worst_error(&decoded) < *tolerance, "{tag} {bits}: {}", worst_error(&decoded));
            assert_eq!(decoded.warning, None);
            assert!((decoded.duration_s - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn channels_are_averaged() {
    let header = WavHeader { channels: 2, ..WavHeader::default() };
    let data: Vec<u8> = (0..FRAMES).flat_map(|_| [0x00, 0x40, 0x00, 0xe0]).collect();
    let decoded = decode("x.wav", &wav(&header, &data)).unwrap();
    assert!(decoded.pcm.iter().all(|s| *s == 0.125), "{:?}", decoded.pcm.first());
}

#[test]
fn the_content_decides_and_not_the_name() {
    for name in ["x.mp3", "x.flac", "x", "x.txt"] {
        let decoded = decode(name, &wav(&WavHeader::default(), &pcm16())).unwrap();
        assert_eq!(decoded.pcm.len(), FRAMES, "{name}");
    }
    let flac = flac(FRAMES);
    assert_eq!(decode("x.wav", &flac).unwrap().pcm.len(), FRAMES);
}

#[test]
fn any_plausible_rate_is_read_and_others_are_refused() {
    for rate_hz in [1_000, 7_350, 44_100, 768_000] {
        let header = WavHeader { rate_hz, ..WavHeader::default() };
        let decoded = decode("x.wav", &wav(&header, &pcm16())).unwrap();
        let seconds = decoded.duration_s;
        assert_eq!(decoded.sample_rate_hz, rate_hz);
        let pcm = resample(decoded, 16_000).unwrap();
        assert_eq!(pcm.samples.len(), (seconds * 16_000.0).round() as usize);
    }
    for rate_hz in [0, 1, 999, 768_001, u32::MAX] {
        let header = WavHeader { rate_hz, ..WavHeader::default() };
        let error = decode("x.wav", &wav(&header, &pcm16())).unwrap_err();
        assert!(matches!(error, AudioError::Corrupt { .. }), "{rate_hz}: {error}");
    }
}

/// Lengths as interrupted recorders and pipes leave them.
#[test]
fn wrong_lengths_in_the_header_lose_no_audio() {
    for claimed in [0, u32::MAX, u32::MAX - 8, 0x7fff_ffff, 64_000] {
        let header = WavHeader { data_bytes: Some(claimed), ..WavHeader::default() };
        let decoded = decode("x.wav", &wav(&header, &pcm16())).unwrap();
        assert_eq!(decoded.pcm.len(), FRAMES, "{claimed}");
        assert!(decoded.warning.is_some(), "{claimed}");
    }
}

#[test]
fn floats_that_are_no_numbers_become_silence() {
    let header = WavHeader { tag: 3, bits: 32, ..WavHeader::default() };
    let sample = |i: usize| [0.25, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38][i % 5];
    let data: Vec<u8> = (0..FRAMES).flat_map(|i| sample(i).to_le_bytes()).collect();
    let decoded = decode("x.wav", &wav(&header, &data)).unwrap();
    assert!(decoded.pcm.iter().all(|s| *s == 0.0 || *s == 0.25));
    assert!(decoded.warning.unwrap().contains("12800 samples"));
}

#[test]
fn absurd_headers_are_errors_and_reserve_nothing() {
    let zero_channels = WavHeader { channels: 0, ..WavHeader::default() };
    assert!(matches!(decode("x.wav", &wav(&zero_channels, &pcm16())), Err(AudioError::Corrupt { .. })));
    let odd_bits = WavHeader { bits: 72, ..WavHeader::default() };
    assert!(matches!(decode("x.wav", &wav(&odd_bits, &pcm16())), Err(AudioError::UnsupportedCodec { .. })));
    let gsm = WavHeader { tag: 0x31, ..WavHeader::default() };
    let error = decode("x.wav", &wav(&gsm, &pcm16())).unwrap_err();
    assert!(error.to_string().contains("GSM"), "{error}");
    // A FLAC header may claim 2^36-1 samples; here one second is behind it.
    let mut claims_years = flac(FRAMES);
    claims_years[21] |= 0x0f;
    claims_years[22..26].fill(0xff);
    match decode("x.flac", &claims_years) {
        Ok(decoded) => assert!(decoded.pcm.len() <= FRAMES && decoded.warning.is_some()),
        Err(error) => assert!(matches!(error, AudioError::TooLong { .. }), "{error}"),
    }
}

#[test]
fn each_kind_of_bad_file_has_its_own_error() {
    let missing = decode_file(Path::new("no/such/file.wav")).unwrap_err();
    assert!(matches!(missing, AudioError::NotFound { .. }));
    let dir = TempDir::new().unwrap();
    assert!(matches!(decode_file(dir.path()), Err(AudioError::NotAFile { .. })));
    assert!(matches!(decode("x.wav", b""), Err(AudioError::Empty { .. })));
    assert!(matches!(decode("x.wav", &wav(&WavHeader::default(), b"")), Err(AudioError::Empty { .. })));
    for (name, bytes, word) in [
        ("x.wav", "Dear diary, today I spoke.\n".repeat(40).as_bytes(), "text file"),
        ("x.mp3", b"plain words in a file called mp3".as_slice(), "text file"),
        ("x.wav", b"%PDF-1.7 and so on".as_slice(), "PDF"),
        ("x.flac", &[0u8; 4000], "no known audio format"),
        ("x.mp3", &[0u8; 4000], "no audio frames"),
    ] {
        let error = decode(name, bytes).unwrap_err();
        assert!(matches!(error, AudioError::NotAudio { .. }), "{name}: {error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn opus_is_named_with_advice() {
    let mut page = b"OggS\0\x02".to_vec();
    page.extend([0; 20]);
    page.extend([1, 19]);
    page.extend(b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0");
    match decode("x.opus", &page).unwrap_err() {
        AudioError::UnsupportedCodec { codec, advice, .. } => {
            assert_eq!(codec, "Opus");
            assert!(advice.contains("convert"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_wav_cut_anywhere_is_read_or_refused() {
    let whole = wav(&WavHeader::default(), &pcm16());
    for tenth in 0..10 {
        let cut = whole.len() * tenth / 10;
        check_cut("x.wav", &whole[..cut], (cut.saturating_sub(44)) / 2);
    }
    for cut in 0..60 {
        check_cut("x.wav", &whole[..cut], 0);
    }
}

#[test]
fn a_flac_cut_anywhere_is_read_or_refused() {
    let whole = flac(FRAMES);
    for tenth in 0..10 {
        let cut = whole.len() * tenth / 10;
        // A damaged last frame is dropped whole.
        check_cut("x.flac", &whole[..cut], (FRAMES * tenth / 10).saturating_sub(2 * FLAC_BLOCK));
    }
    for cut in (0..200).step_by(7) {
        check_cut("x.flac", &whole[..cut], 0);
    }
}

/// At least `least_frames` and a warning, or an error; 100 ms are the least that is returned.
fn check_cut(name: &str, bytes: &[u8], least_frames: usize) {
    match decode(name, bytes) {
        Ok(decoded) => {
            assert!(decoded.pcm.len() >= least_frames.max(1600), "{} of {least_frames}", decoded.pcm.len());
            assert!(decoded.warning.is_some(), "{name} at {}", bytes.len());
            assert!(worst_error(&decoded) < 1e-3);
        }
        Err(error) => {
            assert!(least_frames < 1600, "{name} at {}: {error}", bytes.len());
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}

#[test]
fn damage_in_the_middle_costs_only_the_damaged_frames() {
    let mut damaged = flac(FRAMES);
    let middle = damaged.len() / 2;
    damaged[middle..middle + 40].fill(0x55);
    let decoded = decode("x.flac", &damaged).unwrap();
    assert!(decoded.pcm.len() >= FRAMES - 3 * FLAC_BLOCK, "{}", decoded.pcm.len());
    assert!(decoded.warning.is_some(), "{}", decoded.pcm.len());
}

/// Random damage: every outcome but a panic is allowed, and samples are always numbers.
#[test]
fn random_damage_never_panics() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for whole in [wav(&WavHeader::default(), &pcm16()), flac(4 * FLAC_BLOCK)] {
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random() % 12 {
                let end = if random() % 2 == 0 { 100 } else { bytes.len() };
                let at = random() % end;
                bytes[at] = random() as u8;
            }
            if let Ok(decoded) = decode("x", &bytes) {
                assert!(decoded.pcm.iter().all(|s| s.is_finite()));
            }
        }
    }
}

const FLAC_BLOCK: usize = 1024;

/// A FLAC file of verbatim 16-bit mono frames (RFC 9639), enough to test a reader with.
fn flac(frames: usize) -> Vec<u8> {
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    let block = FLAC_BLOCK as u16;
    file.extend(block.to_be_bytes());
    file.extend(block.to_be_bytes());
    file.extend([0; 6]);
    // 20 bits rate, 3 bits channels - 1, 5 bits sample size - 1, 36 bits frames.
    let packed = (u64::from(RATE_HZ) << 44) | (15 << 36) | frames as u64;
    file.extend(packed.to_be_bytes());
    file.extend([0; 16]);
    for (number, start) in (0..frames).step_by(FLAC_BLOCK).enumerate() {
        let count = FLAC_BLOCK.min(frames - start);
        // Fixed block size, 16-bit size field at the end of the header, rate from the header, mono.
        let mut frame = vec![0xff, 0xf8, 0x70, 0x08, number as u8];
        frame.extend((count as u16 - 1).to_be_bytes());
        frame.push(crc8(&frame));
        frame.push(0x02);
        frame.extend((start..start + count).flat_map(|i| ((tone(i) * 32_767.0) as i16).to_be_bytes()));
        frame.extend(crc16(&frame).to_be_bytes());
        file.extend(frame);
    }
    file
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |c, _| if c & 0x80 != 0 { (c << 1) ^ 0x07 } else { c << 1 })
    })
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let start = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(start, |c, _| if c & 0x8000 != 0 { (c << 1) ^ 0x8005 } else { c << 1 })
    })
}
