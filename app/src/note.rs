//! Notes: a text file that grows at its end.

use jiff::Zoned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A note that is nowhere but in the caller's hands.
#[derive(Debug, thiserror::Error)]
#[error(
    "the note is saved neither to {file} ({why}) nor to {fallback} ({fallback_why}); free some disk space"
)]
pub(crate) struct NoteError {
    file: PathBuf,
    why: io::Error,
    fallback: PathBuf,
    fallback_why: io::Error,
}

/// Where a note is.
#[derive(Debug)]
pub(crate) enum Saved {
    /// In its file.
    InFile,
    /// In the fallback file, which the user should be told.
    InFallback {
        /// That file.
        path: PathBuf,
        /// Why it is not in its own.
        why: io::Error,
    },
}

/// A file of notes, and another on which it falls back.
#[derive(Clone, Debug)]
pub(crate) struct Notebook {
    file: PathBuf,
    fallback: PathBuf,
}

impl Notebook {
    /// Notes go to `file`, or to `notes-unsaved.md` in `data_dir` if that fails.
    pub(crate) fn new(file: &Path, data_dir: &Path) -> Notebook {
        Notebook { file: file.to_owned(), fallback: data_dir.join("notes-unsaved.md") }
    }

    /// Appends `text` as a Markdown list item with the time `at`, and waits until it is on the disk.
    ///
    /// # Errors
    /// If neither file takes it; both are as they were then.
    pub(crate) fn append(&self, text: &str, at: &Zoned) -> Result<Saved, NoteError> {
        let lines: Vec<&str> = text.trim().lines().collect();
        let note = format!("- {} {}\n", at.strftime("%Y-%m-%d %H:%M"), lines.join("\n  "));
        let Err(why) = append(&self.file, &note) else { return Ok(Saved::InFile) };
        match append(&self.fallback, &note) {
            Ok(()) => Ok(Saved::InFallback { path: self.fallback.clone(), why }),
            Err(fallback_why) => {
                let (file, fallback) = (self.file.clone(), self.fallback.clone());
                Err(NoteError { file, why, fallback, fallback_why })
            }
        }
    }
}

/// Appends a line to the file at `path`, whole or not at all.
fn append(path: &Path, line: &str) -> io::Result<()> {
    // Opening a pipe would wait for its reader.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let parent = crate::store::disk::folder_of(path);
    fs::create_dir_all(parent)?;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let before = file.metadata()?.len();
    let cut = if ends_line(&mut file, before)? { "" } else { "\n" };
    // One write: other programs that append do not come between.
    file.write_all(format!("{cut}{line}").as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = file.set_len(before);
    })?;
    if before == 0 {
        // The file's name is on the disk when its folder is.
        File::open(parent).and_then(|dir| dir.sync_all())?;
    }
    Ok(())
}

/// Whether a file of `len` bytes is empty or ends with a line's end.
fn ends_line(file: &mut File, len: u64) -> io::Result<bool> {
    if len == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::Start(len - 1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn noon() -> Zoned {
        date(2026, 11, 21).at(12, 5, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap()
    }

    #[test]
    fn notes_follow_each_other_also_after_a_cut_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/notes.md");
        let notebook = Notebook::new(&file, dir.path());
        assert!(matches!(notebook.append("Buy milk.", &noon()), Ok(Saved::InFile)));
        fs::write(&file, fs::read_to_string(&file).unwrap() + "no end").unwrap();
        notebook.append("Call\nAnna. ", &noon()).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "- 2026-11-21 12:05 Buy milk.\nno end\n- 2026-11-21 12:05 Call\n  Anna.\n");
    }

    #[test]
    fn what_the_file_does_not_take_is_in_the_fallback() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for bad in [dir.path().to_owned(), PathBuf::from("/dev/full"), PathBuf::from("/proc/no/notes.md")] {
            let saved = Notebook::new(&bad, &data).append("kept", &noon());
            assert!(matches!(saved, Ok(Saved::InFallback { .. })), "{saved:?}");
        }
        let kept = fs::read_to_string(data.join("notes-unsaved.md")).unwrap();
        assert_eq!(kept, "- 2026-11-21 12:05 kept\n".repeat(3));

        let lost = Notebook::new(dir.path(), Path::new("/proc/no")).append("x", &noon());
        assert!(lost.unwrap_err().to_string().contains("saved neither to"));
    }
}
