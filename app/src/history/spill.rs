//! Entries that the database could not take, as JSON lines in a file beside it.

use super::entry::Entry;
use super::error::{HistoryError, Result};
use super::files::{self, Layout};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// What the spill may grow to: thousands of dictations.
const LIMIT_BYTES: u64 = 64 << 20;

/// Adds `entries` to the spill and waits until they are on the disk; all or none.
///
/// # Errors
/// If the disk or the spill is full.
pub(super) fn append(layout: &Layout, entries: &[Entry]) -> Result<()> {
    let path = layout.spill();
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry).map_err(|e| HistoryError::io(&path, e.into()))?;
        lines.push(b'\n');
    }
    append_whole(&path, &lines, LIMIT_BYTES).map_err(|e| HistoryError::io(&path, e))
}

/// Appends `bytes` to a private file in one piece, synced; on failure the file is as it was.
fn append_whole(path: &Path, bytes: &[u8], limit_bytes: u64) -> io::Result<()> {
    let mut file = files::open_private(path)?;
    let before = file.metadata()?.len();
    if before + bytes.len() as u64 > limit_bytes {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    file.write_all(bytes).and_then(|()| file.sync_data()).inspect_err(|_| {
        // Half a line would be lost anyway, and would take the next one with it.
        let _ = file.set_len(before);
    })
}

/// Whether there are entries to merge.
pub(super) fn waits(layout: &Layout) -> bool {
    layout.spill().exists() || layout.merging().exists()
}

/// Gives what was spilled to `insert`, and deletes it when that succeeds; how many entries there were.
/// A crash in between merges them twice, which [`Entry::recorded_at_ns`] makes harmless.
///
/// # Errors
/// If `insert` fails or a file cannot be used; nothing is deleted then.
pub(super) fn merge(layout: &Layout, mut insert: impl FnMut(&[Entry]) -> Result<()>) -> Result<usize> {
    let (spill, merging) = (layout.spill(), layout.merging());
    let mut merged = 0;
    // First what an interrupted merge left, then the spill under that name.
    while waits(layout) {
        if !merging.exists() {
            fs::rename(&spill, &merging).map_err(|e| HistoryError::io(&spill, e))?;
        }
        let text = fs::read(&merging).map_err(|e| HistoryError::io(&merging, e))?;
        // A line cut by a crash is no JSON; there is nothing to be had from it.
        let entries: Vec<Entry> =
            text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        insert(&entries)?;
        files::erase(&merging)?;
        merged += entries.len();
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64) -> Entry {
        Entry { recorded_at_ns: n, ..Entry::default() }
    }

    #[test]
    fn what_is_spilled_is_merged_once_and_a_cut_line_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        append(&layout, &[entry(1), entry(2)]).unwrap();
        fs::rename(layout.spill(), layout.merging()).unwrap();
        append(&layout, &[entry(3)]).unwrap();
        files::open_private(&layout.spill()).unwrap().write_all(b"{\"mode\":\"dic").unwrap();

        let failed = merge(&layout, |_| Err(HistoryError::NoEntry(0)));
        assert!(failed.is_err() && waits(&layout));

        let mut seen = Vec::new();
        let mut keep = |entries: &[Entry]| {
            seen.extend(entries.iter().map(|e| e.recorded_at_ns));
            Ok(())
        };
        assert_eq!(merge(&layout, &mut keep).unwrap(), 3);
        assert_eq!(merge(&layout, &mut keep).unwrap(), 0);
        assert_eq!(seen, [1, 2, 3]);
        assert!(!waits(&layout));
    }

    #[test]
    fn a_full_spill_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        append_whole(&path, b"12345\n", 8).unwrap();
        assert_eq!(append_whole(&path, b"678\n", 8).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(fs::read(&path).unwrap(), b"12345\n");
    }
}
