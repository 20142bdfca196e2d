//! The log file.

use super::error::{HistoryError, Result};
use super::files::{self, Layout};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// Size at which the log becomes the old log.
const LIMIT_BYTES: u64 = 2 << 20;

/// A log file of bounded size, for the user alone, with the one before it. Text that was dictated goes through
/// `Sink::loggable` first.
#[derive(Debug)]
pub(crate) struct Log(Option<(PathBuf, File)>);

impl Log {
    /// Opens `log/undertone.log` of the history's folder.
    pub(super) fn open(layout: &Layout) -> Result<Log> {
        files::private_dir(&layout.log())?;
        let path = layout.log().join("undertone.log");
        let file = files::open_private(&path).map_err(|e| HistoryError::io(&path, e))?;
        Ok(Log(Some((path, file))))
    }

    /// Keeps nothing.
    pub(super) fn off() -> Log {
        Log(None)
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some((path, file)) = &mut self.0 else { return Ok(line.len()) };
        if file.metadata()?.len() + line.len() as u64 > LIMIT_BYTES {
            fs::rename(&path, path.with_extension("log.old"))?;
            *file = files::open_private(path)?;
        }
        file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |(_, file)| file.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_of_bounded_size_remain() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let mut log = Log::open(&layout).unwrap();
        let line = vec![b'x'; 700 << 10];
        for _ in 0..9 {
            log.write_all(&line).unwrap();
        }
        let files = files::files_in(&layout.log()).unwrap();
        assert_eq!(files.len(), 2);
        assert!(files.iter().all(|file| (1..=LIMIT_BYTES).contains(&fs::metadata(file).unwrap().len())));
    }
}
