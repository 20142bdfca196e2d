//! Every format but plain WAV, through symphonia's readers and decoders.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::AssertUnwindSafe;
use std::path::Path;

use symphonia::core::codecs::audio::well_known as codec;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;

use super::mix::MonoMix;
use super::sniff::Kind;
use super::{AudioError, MAX_DURATION_S, Raw, check_format};

/// Broken packets in a row after which the rest of the file is given up. Readers resynchronise by
/// themselves; the bound only keeps a reader that makes no progress from looping for ever.
const MAX_ERRORS_IN_A_ROW: u32 = 256;
/// Share of the promised samples that may be missing before the file is called cut short. Encoder
/// delay and padding make the promise inexact.
const MISSING_SHARE: f64 = 0.01;

/// Decodes the first audio track of `file`, whose kind was found by its content.
pub(super) fn decode(path: &Path, mut file: File, kind: Kind) -> Result<Raw, AudioError> {
    let io_error = |source| AudioError::from_io(path, source);
    let ogg_is_cut = kind == Kind::Ogg && !ogg_ends_properly(&mut file).map_err(io_error)?;
    file.seek(SeekFrom::Start(0)).map_err(io_error)?;

    let again = file.try_clone().map_err(io_error)?;
    let mut raw = match open(path, Box::new(file)) {
        Ok(mut format) => decode_track(path, format.as_mut(), kind)?,
        // Readers of chunked formats refuse a file that is shorter than its chunks say, but not a
        // stream whose end they cannot see.
        Err(first) => {
            let mut again = again;
            again.seek(SeekFrom::Start(0)).map_err(io_error)?;
            let mut format = open(path, Box::new(ReadOnlySource::new(again)))
                .map_err(|_| open_error(path, kind, first))?;
            let mut raw = decode_track(path, format.as_mut(), kind)?;
            raw.cut_short.get_or_insert_with(|| "the file is shorter than its header says".to_owned());
            raw
        }
    };
    if ogg_is_cut && raw.cut_short.is_none() {
        raw.cut_short = Some("the Ogg stream has no last page".to_owned());
    }
    Ok(raw)
}

fn open<'s>(
    path: &Path,
    source: Box<dyn MediaSource + 's>,
) -> Result<Box<dyn FormatReader + 's>, DecodeError> {
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|e| e.to_str()) {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(source, Default::default());
    let probe = symphonia::default::get_probe();
    guarded(|| probe.probe(&hint, stream, FormatOptions::default(), MetadataOptions::default()))
}

/// Runs a step of the container crate. Its decoders add without overflow checks, so that damaged
/// files panic in builds that have these checks on; such a packet counts as a damaged one.
fn guarded<T>(step: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    std::panic::catch_unwind(AssertUnwindSafe(step))
        .unwrap_or(Err(DecodeError::DecodeError("the decoder failed on damaged data")))
}

/// The track that is decoded, as its reader describes it.
struct TrackInfo {
    id: u32,
    params: AudioCodecParameters,
    promised_frames: Option<u64>,
}

fn choose_track(path: &Path, format: &dyn FormatReader) -> Result<TrackInfo, AudioError> {
    let usable = |track: &&symphonia::core::formats::Track| {
        track.codec_params.as_ref().is_some_and(|p| p.audio().is_some())
    };
    let track =
        format.default_track(TrackType::Audio).filter(usable).or_else(|| format.tracks().iter().find(usable));
    let Some((track, params)) = track.and_then(|t| Some((t, t.codec_params.as_ref()?.audio()?))) else {
        return Err(AudioError::NotAudio { path: path.into(), reason: "it has no audio track".to_owned() });
    };
    if let Some(name) = unsupported_codec(params.codec) {
        return Err(AudioError::unsupported(path, name));
    }
    if let Some(sample_rate_hz) = params.sample_rate {
        check_format(path, sample_rate_hz, 1)?;
        let claimed_s = track.num_frames.unwrap_or(0) as f64 / f64::from(sample_rate_hz);
        // A year in a header is a damaged header; a few days may be true.
        if claimed_s > MAX_DURATION_S && claimed_s < 365.0 * 24.0 * 3600.0 {
            return Err(AudioError::TooLong { path: path.into() });
        }
    }
    Ok(TrackInfo { id: track.id, params: params.clone(), promised_frames: track.num_frames })
}

fn make_decoder(path: &Path, params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, AudioError> {
    symphonia::default::get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default()).map_err(
        |error| match error {
            DecodeError::Unsupported(_) => {
                AudioError::unsupported(path, format!("this kind of {}", codec_label(params.codec)))
            }
            other => AudioError::Corrupt { path: path.into(), reason: other.to_string() },
        },
    )
}

/// What has been decoded so far.
struct Progress {
    mix: Option<MonoMix>,
    sample_rate_hz: u32,
    channels: u16,
    bad_packets: u64,
    errors_in_a_row: u32,
    cut_short: Option<String>,
}

fn decode_track(path: &Path, format: &mut dyn FormatReader, kind: Kind) -> Result<Raw, AudioError> {
    let mut track = choose_track(path, format)?;
    let mut decoder = make_decoder(path, &track.params)?;
    let mut interleaved = Vec::new();
    let mut progress = Progress {
        mix: None,
        sample_rate_hz: 0,
        channels: 0,
        bad_packets: 0,
        errors_in_a_row: 0,
        cut_short: None,
    };
    // Native FLAC numbers its samples without holes; time stamps elsewhere are less exact.
    let counts_holes = kind == Kind::Flac;
    let mut next_pts = None;
    while progress.errors_in_a_row < MAX_ERRORS_IN_A_ROW {
        let packet = match guarded(|| format.next_packet()) {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(DecodeError::ResetRequired) => {
                // A chained Ogg stream: the next recording begins, with its own headers.
                track = choose_track(path, format)?;
                decoder = make_decoder(path, &track.params)?;
                track.promised_frames = None;
                next_pts = None;
                continue;
            }
            Err(DecodeError::IoError(error)) => {
                if error.kind() != std::io::ErrorKind::UnexpectedEof {
                    return Err(AudioError::from_io(path, error));
                }
                progress.cut_short = Some("the file ends in the middle of the audio".to_owned());
                break;
            }
            Err(_) => {
                progress.bad_packets += 1;
                progress.errors_in_a_row += 1;
                continue;
            }
        };
        if packet.track_id != track.id {
            continue;
        }
        if counts_holes && next_pts.is_some_and(|expected| packet.pts.get() > expected) {
            // The reader dropped what its checksum found damaged, without a word.
            progress.bad_packets += 1;
        }
        next_pts = Some(packet.pts.get().saturating_add(packet.dur.get() as i64));
        let decoded = guarded(|| {
            let buffer = decoder.decode(&packet)?;
            buffer.copy_to_vec_interleaved::<f32>(&mut interleaved);
            Ok((buffer.spec().rate(), buffer.spec().channels().count()))
        });
        match decoded {
            Ok(_) if interleaved.is_empty() => {}
            Ok((rate_hz, channels)) => {
                if !progress.push(path, rate_hz, channels, &interleaved)? {
                    break;
                }
            }
            Err(_) => {
                progress.bad_packets += 1;
                progress.errors_in_a_row += 1;
                // What a failed decoder remembers of earlier packets is not to be trusted.
                decoder = make_decoder(path, &track.params)?;
            }
        }
    }
    progress.finish(path, track.promised_frames)
}

impl Progress {
    /// Appends one decoded packet; false when the stream changed into something else.
    fn push(
        &mut self,
        path: &Path,
        rate_hz: u32,
        channels: usize,
        samples: &[f32],
    ) -> Result<bool, AudioError> {
        let channel_count = check_format(path, rate_hz, channels)?;
        let mix = match &mut self.mix {
            Some(mix) => mix,
            None => {
                self.sample_rate_hz = rate_hz;
                self.mix.insert(MonoMix::new(rate_hz))
            }
        };
        if rate_hz != self.sample_rate_hz {
            self.cut_short = Some(format!(
                "the sample rate changes from {} Hz to {rate_hz} Hz within the file",
                self.sample_rate_hz
            ));
            return Ok(false);
        }
        self.channels = self.channels.max(channel_count);
        self.errors_in_a_row = 0;
        mix.push_interleaved(path, samples, channels)?;
        Ok(true)
    }

    fn finish(self, path: &Path, promised_frames: Option<u64>) -> Result<Raw, AudioError> {
        let Some(mix) = self.mix else {
            return Err(match (self.cut_short, self.bad_packets) {
                (None, 0) => AudioError::Empty { path: path.into() },
                _ => AudioError::Truncated { path: path.into(), kept_ms: 0 },
            });
        };
        let missing = promised_frames.map_or(0.0, |n| n as f64 - mix.pcm.len() as f64);
        // A tenth of a second is spared too: short files are mostly encoder padding.
        let spared = f64::from(self.sample_rate_hz) / 10.0;
        let is_short = missing > spared && missing > promised_frames.unwrap_or(0) as f64 * MISSING_SHARE;
        let cut_short = self.cut_short.or_else(|| {
            (is_short && self.bad_packets == 0)
                .then(|| "the file has less audio than its header promises".to_owned())
        });
        Ok(Raw {
            pcm: mix.pcm,
            sample_rate_hz: self.sample_rate_hz,
            channels: self.channels,
            bad_samples: mix.bad_samples,
            bad_packets: self.bad_packets,
            cut_short,
        })
    }
}

/// Why a file whose signature is known could not be opened.
fn open_error(path: &Path, kind: Kind, error: DecodeError) -> AudioError {
    let path = path.to_path_buf();
    match error {
        DecodeError::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            AudioError::Io { path, source }
        }
        DecodeError::IoError(_) => AudioError::Truncated { path, kept_ms: 0 },
        // A stream of frames has no signature: finding no frame means that it is none.
        _ if kind == Kind::Frames => {
            AudioError::NotAudio { path, reason: "no audio frames are in it".to_owned() }
        }
        DecodeError::Unsupported(what) => AudioError::Corrupt { path, reason: what.to_owned() },
        other => AudioError::Corrupt { path, reason: other.to_string() },
    }
}

/// Codecs that occur in these containers and have no decoder here.
const UNSUPPORTED_CODECS: &[(AudioCodecId, &str)] = &[
    (codec::CODEC_ID_OPUS, "Opus"),
    (codec::CODEC_ID_SPEEX, "Speex"),
    (codec::CODEC_ID_AC3, "AC-3"),
    (codec::CODEC_ID_EAC3, "E-AC-3"),
    (codec::CODEC_ID_DCA, "DTS"),
    (codec::CODEC_ID_WMA, "WMA"),
    (codec::CODEC_ID_TRUEHD, "TrueHD"),
    (codec::CODEC_ID_WAVPACK, "WavPack"),
    (codec::CODEC_ID_TTA, "True Audio"),
];

fn unsupported_codec(id: AudioCodecId) -> Option<&'static str> {
    UNSUPPORTED_CODECS.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

fn codec_label(id: AudioCodecId) -> &'static str {
    match id {
        codec::CODEC_ID_AAC => "AAC",
        codec::CODEC_ID_MP1 => "MPEG layer 1",
        codec::CODEC_ID_MP2 => "MPEG layer 2",
        codec::CODEC_ID_MP3 => "MP3",
        codec::CODEC_ID_VORBIS => "Vorbis",
        codec::CODEC_ID_FLAC => "FLAC",
        codec::CODEC_ID_ALAC => "ALAC",
        _ => "compressed",
    }
}

/// True when the last page of an Ogg file carries the end-of-stream flag (RFC 3533, section 6).
fn ogg_ends_properly(file: &mut File) -> std::io::Result<bool> {
    /// A page is 27 bytes of header, 255 of segment table and 255 segments of 255 bytes at most.
    const MAX_PAGE_BYTES: u64 = 27 + 255 + 255 * 255;
    let file_bytes = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(file_bytes.saturating_sub(MAX_PAGE_BYTES)))?;
    let mut tail = Vec::new();
    file.take(MAX_PAGE_BYTES).read_to_end(&mut tail)?;
    let last_page = tail.windows(6).rposition(|w| w.starts_with(b"OggS\0"));
    Ok(last_page.and_then(|at| tail.get(at + 5)).is_some_and(|flags| flags & 4 != 0))
}
