//! SHA-256 of streams, and the git blob hash that hubs give for small files.

#[cfg(feature = "fetch")]
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

const CHUNK_BYTES: usize = 1 << 20;

/// The SHA-256 of what has been fed, taken while the bytes pass by.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash.
    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The hash as lower-case hex.
    pub(crate) fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Hashes what passes to or from `inner`.
pub(crate) struct Hashed<T> {
    pub(crate) inner: T,
    pub(crate) hasher: Hasher,
}

impl<T> Hashed<T> {
    /// Nothing has passed yet.
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hasher: Hasher::default() }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.feed(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.hasher.feed(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads up to `limit_bytes` and hands every chunk on; returns how many bytes came.
///
/// # Errors
/// Those of reading or of `each`.
pub(crate) fn pass(
    from: &mut dyn Read,
    limit_bytes: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut limited = from.take(limit_bytes);
    let mut total = 0u64;
    loop {
        let count = match limited.read(&mut chunk) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        each(chunk.get(..count).unwrap_or_default())?;
        total += count as u64;
    }
}

/// SHA-256 of a file, telling `advance` of every chunk's size.
pub(crate) fn sha256_file(path: &Path, mut advance: impl FnMut(u64)) -> io::Result<String> {
    let mut hasher = Hasher::default();
    pass(&mut File::open(path)?, u64::MAX, |chunk| {
        hasher.feed(chunk);
        advance(chunk.len() as u64);
        Ok(())
    })?;
    Ok(hasher.hex())
}

/// The hashes of a file that a hub may name: SHA-256, and SHA-1 of the git blob
/// (`"blob " size "\0"` and the bytes).
#[cfg(feature = "fetch")]
pub(crate) fn hub_hashes(path: &Path) -> io::Result<(String, String)> {
    let mut file = File::open(path)?;
    let mut sha256 = Hasher::default();
    let mut blob = Sha1::new();
    blob.update(format!("blob {}\0", file.metadata()?.len()).as_bytes());
    pass(&mut file, u64::MAX, |chunk| {
        sha256.feed(chunk);
        blob.update(chunk);
        Ok(())
    })?;
    Ok((sha256.hex(), hex(&blob.finalize())))
}

/// Copies a stream to `to`, hashing on the way; returns size and SHA-256.
pub(crate) fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    mut advance: impl FnMut(u64),
) -> io::Result<(u64, String)> {
    let mut hasher = Hasher::default();
    let size = pass(from, u64::MAX, |chunk| {
        hasher.feed(chunk);
        advance(chunk.len() as u64);
        to.write_all(chunk)
    })?;
    Ok((size, hasher.hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_other_tools() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        std::fs::write(&path, "hello\n").expect("written");
        // sha256sum and git hash-object on the same bytes.
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        #[cfg(feature = "fetch")]
        let blob = "ce013625030ba8dba906f756967f9e9ca394464a";
        #[cfg(feature = "fetch")]
        assert_eq!(hub_hashes(&path).expect("hashed"), (sha256.into(), blob.into()));
        let mut seen = 0;
        assert_eq!(sha256_file(&path, |count| seen += count).expect("hashed"), sha256);
        assert_eq!(seen, 6);
        let mut out = Vec::new();
        let (size, copied) = copy(&mut &b"hello\n"[..], &mut out, |_| {}).expect("copied");
        assert_eq!((size, copied.as_str(), out.as_slice()), (6, sha256, &b"hello\n"[..]));
    }

    #[test]
    fn a_limit_is_kept() {
        let mut got = Vec::new();
        let count = pass(&mut &b"0123456789"[..], 4, |chunk| {
            got.extend_from_slice(chunk);
            Ok(())
        });
        assert_eq!((count.expect("passed"), got.as_slice()), (4, &b"0123"[..]));
    }
}
