//! Lines of bounded length within bounded time.

use rustix::net::SendFlags;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longest line, its end not counted.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end. The last one need not have one.
    Whole(Vec<u8>),
    TooLong,
    /// It did not come in time.
    Late,
    /// The peer has nothing more to say.
    End,
}

/// Reads lines off a socket.
pub(super) struct Lines<'a> {
    stream: &'a UnixStream,
    /// Read and not yet handed out; less than a line and a chunk.
    pending: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(stream: &'a UnixStream) -> Lines<'a> {
        Lines { stream, pending: Vec::new() }
    }

    /// The next line, if all of it comes within `limit`: a peer that sends a byte now and then
    /// gains no time.
    pub(super) fn next(&mut self, limit: Duration) -> io::Result<Line> {
        let deadline = Instant::now() + limit;
        let mut searched = 0;
        loop {
            if let Some(at) = self.pending.iter().skip(searched).position(|byte| *byte == b'\n') {
                let end = searched + at;
                let mut line: Vec<u8> = self.pending.drain(..=end).collect();
                line.pop();
                return Ok(if end > MAX_LINE_BYTES { Line::TooLong } else { Line::Whole(line) });
            }
            searched = self.pending.len();
            if searched > MAX_LINE_BYTES {
                return Ok(Line::TooLong);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Line::Late);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 4096];
            match (&mut &*self.stream).read(&mut chunk) {
                Ok(0) if self.pending.is_empty() => return Ok(Line::End),
                Ok(0) => return Ok(Line::Whole(std::mem::take(&mut self.pending))),
                Ok(read) => self.pending.extend(chunk.iter().take(read)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Line::Late),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Sends through a socket without the signal that ends a program whose peer is gone.
struct Quiet<'a>(&'a UnixStream);

impl Write for Quiet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        let flags = SendFlags::NOSIGNAL;
        #[cfg(not(target_os = "linux"))]
        let flags = SendFlags::empty();
        Ok(rustix::net::send(self.0, bytes, flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes `value` as one line; each part of it must be taken within `limit`.
pub(super) fn write(stream: &UnixStream, value: &impl serde::Serialize, limit: Duration) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.set_write_timeout(Some(limit))?;
    Quiet(stream).write_all(&line)
}
