use crate::error::{ModelError, Result};
use std::path::Path;

/// Reads little-endian fields front to back; running past the end is an error, not a panic.
pub(super) struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

macro_rules! scalar {
    ($($name:ident: $ty:ty),*) => {$(
        pub(super) fn $name(&mut self) -> Result<$ty> {
            let mut raw = [0u8; size_of::<$ty>()];
            raw.copy_from_slice(self.take(size_of::<$ty>())?);
            Ok(<$ty>::from_le_bytes(raw))
        }
    )*};
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Reader<'a> {
        Reader { path, bytes, at: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn corrupt(&self, what: impl std::fmt::Display) -> ModelError {
        ModelError::corrupt(self.path, format!("{what} at byte {}", self.at))
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some(taken) = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.corrupt(format!("{len} bytes are promised but the file ends")));
        };
        self.at += len;
        Ok(taken)
    }

    scalar!(u8: u8, i8: i8, u16: u16, i16: i16, u32: u32, i32: i32, u64: u64, i64: i64, f32: f32, f64: f64);

    /// A count of things that take at least `min_bytes` each: never more than can follow.
    pub(super) fn count(&mut self, count: u64, min_bytes: usize, what: &str) -> Result<usize> {
        match usize::try_from(count) {
            Ok(n) if n <= self.remaining() / min_bytes.max(1) => Ok(n),
            _ => Err(self.corrupt(format!("{count} {what} are promised, more than the file can hold"))),
        }
    }
}
