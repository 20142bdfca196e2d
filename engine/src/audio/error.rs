//! What can be wrong with an audio file.

use std::path::{Path, PathBuf};

/// Why a file gave no samples. Every message is one sentence that ends in what to do.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// There is no such file.
    #[error("{}: no such file; check the name", path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path names a folder, device or pipe.
    #[error("{}: not a regular file; give the path of one audio file", path.display())]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The operating system refused to open or read the file.
    #[error("{}: cannot be read ({source}); check its permissions and the disk", path.display())]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Zero bytes, or a valid header with no samples behind it.
    #[error("{}: the file holds no audio; record or export it again", path.display())]
    Empty {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The content is no audio format that is known here.
    #[error("{}: {reason}; give a WAV, FLAC, MP3, Ogg Vorbis, M4A, AIFF or WebM file", path.display())]
    NotAudio {
        /// The path as it was given.
        path: PathBuf,
        /// What it looks like instead.
        reason: String,
    },
    /// Audio, but in a codec this program has no decoder for.
    #[error("{}: {codec} audio cannot be decoded here; {advice}", path.display())]
    UnsupportedCodec {
        /// The path as it was given.
        path: PathBuf,
        /// The codec's usual name, such as `Opus`.
        codec: String,
        /// How to get a file that can be read.
        advice: &'static str,
    },
    /// The file stops before a usable amount of audio (100 ms).
    #[error("{}: the file is damaged or cut short and only {kept_ms} ms of audio can be read; get a complete copy", path.display())]
    Truncated {
        /// The path as it was given.
        path: PathBuf,
        /// How much could be decoded, in milliseconds.
        kept_ms: u64,
    },
    /// The format is known but its structure makes no sense.
    #[error("{}: the audio file is damaged ({reason}); get a complete copy or export it again", path.display())]
    Corrupt {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More than [`super::MAX_DURATION_S`].
    #[error("{}: longer than 24 hours; split it into parts", path.display())]
    TooLong {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The machine has not enough memory for the samples.
    #[error("not enough memory for {samples} audio samples; split the recording into parts")]
    OutOfMemory {
        /// How many samples were to be held.
        samples: usize,
    },
    /// The resampler cannot be built for this pair of rates.
    #[error(
        "cannot resample from {from_hz} Hz to {to_hz} Hz ({reason}); convert the file to 16 kHz WAV first"
    )]
    Resample {
        /// Rate of the input, in Hz.
        from_hz: u32,
        /// Rate asked for, in Hz.
        to_hz: u32,
        /// The resampler's reason.
        reason: String,
    },
}

impl AudioError {
    /// Sorts a system error into [`AudioError::NotFound`] or [`AudioError::Io`].
    pub(super) fn from_io(path: &Path, source: std::io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::Io { path, source },
        }
    }

    /// An [`AudioError::UnsupportedCodec`] with the usual advice.
    pub(super) fn unsupported(path: &Path, codec: impl Into<String>) -> Self {
        Self::UnsupportedCodec {
            path: path.into(),
            codec: codec.into(),
            advice: "convert it first, for example with `ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav`",
        }
    }
}
