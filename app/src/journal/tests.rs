use std::os::unix::fs::PermissionsExt;

use super::*;

fn journal(dir: &Path) -> Journal {
    Journal { dir: dir.join("journal"), max_bytes: 1 << 30, sync_every: None }
}

fn about() -> About {
    About { mode: "dictate".into(), target_app: Some("xterm".into()) }
}

fn ids(dir: &Path) -> Vec<u64> {
    recover(&dir.join("journal")).unwrap().iter().map(|one| one.id).collect()
}

#[test]
fn a_recording_that_was_never_ended_is_found_with_all_its_samples() {
    let dir = tempfile::tempdir().unwrap();
    let mut entry = journal(dir.path()).begin(7, about()).unwrap();
    let samples: Vec<f32> = (0..1600).map(|i| (i % 200 - 100) as f32 / 128.0).collect();
    entry.append(&samples[..100]).unwrap();
    entry.append(&samples[100..]).unwrap();
    assert!(ids(dir.path()).is_empty(), "held by a living process");
    drop(entry); // as the kernel does on kill -9: the lock goes, the files stay

    let found = recover(&dir.path().join("journal")).unwrap().remove(0);
    assert_eq!((found.id, found.state, found.duration_ms), (7, State::Recording, 100));
    assert_eq!(found.about, about());
    assert!(found.started.elapsed().unwrap() < Duration::from_secs(60));
    let read = found.samples().unwrap();
    assert_eq!(read, samples, "multiples of 1/128 are exact in 16 bits");
    found.remove().unwrap();
    assert_eq!(fs::read_dir(dir.path().join("journal")).unwrap().count(), 0);
}

#[test]
fn states_decide_what_is_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let begin = |id| {
        let mut entry = journal(dir.path()).begin(id, about()).unwrap();
        entry.append(&[0.5; 160]).unwrap();
        entry
    };
    begin(1).done().unwrap();
    begin(2).discarded().unwrap();
    begin(3).failed().unwrap();
    begin(4).captured().unwrap();
    drop(journal(dir.path()).begin(5, about()).unwrap()); // no samples: nothing to recover
    let found = recover(&dir.path().join("journal")).unwrap();
    let states: Vec<_> = found.iter().map(|one| (one.id, one.state)).collect();
    assert_eq!(states, [(3, State::Failed), (4, State::Captured)]);
    found[1].failed().unwrap();
    let found = recover(&dir.path().join("journal")).unwrap();
    let states: Vec<_> = found.iter().map(|one| (one.id, one.state)).collect();
    assert_eq!(states, [(3, State::Failed), (4, State::Failed)]);
    let mut left: Vec<_> =
        fs::read_dir(dir.path().join("journal")).unwrap().map(|one| one.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["2.json", "2.wav", "3.json", "3.wav", "4.json", "4.wav"]);
    assert_eq!(wipe(&dir.path().join("journal")).unwrap(), 3, "the discarded one too");
    assert_eq!(fs::read_dir(dir.path().join("journal")).unwrap().count(), 0);
}

#[test]
fn a_finished_file_is_a_valid_wav_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut entry = journal(dir.path()).begin(1, about()).unwrap();
    entry.append(&[2.0, -2.0, f32::NAN, 0.25]).unwrap();
    entry.captured().unwrap();
    let bytes = fs::read(entry.path()).unwrap();
    assert_eq!((&bytes[..4], &bytes[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));
    assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize, bytes.len() - 8);
    assert_eq!(u32::from_le_bytes(bytes[40..44].try_into().unwrap()), 8);
    assert_eq!(wav::decode(&bytes[44..]), [32767.0 / 32768.0, -1.0, 0.0, 0.25]);
}

#[test]
fn damaged_leftovers_are_read_as_far_as_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut entry = journal(dir.path()).begin(1, about()).unwrap();
    entry.append(&[0.5; 160]).unwrap();
    entry.file.write_all(&[1]).unwrap(); // half a sample
    drop(entry);
    let folder = dir.path().join("journal");
    fs::write(folder.join("1.json"), b"{\"state\":").unwrap();
    fs::write(folder.join("2.wav"), b"RIFF").unwrap(); // cut within the header
    fs::write(folder.join("note.wav"), b"not ours").unwrap();
    let found = recover(&folder).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].duration_ms, found[0].about.clone()), (10, About::default()));
    assert_eq!(found[0].samples().unwrap(), vec![0.5; 160]);
    assert!(folder.join("note.wav").exists() && !folder.join("2.wav").exists());
    assert!(recover(Path::new("/nonexistent/journal")).unwrap().is_empty());
}

#[test]
fn room_is_made_by_the_oldest_discarded_and_never_by_unfinished_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path());
    let begin = |journal: &Journal, id| {
        let mut entry = journal.begin(id, about()).unwrap();
        entry.append(&[0.5; 1000]).unwrap();
        std::thread::sleep(Duration::from_millis(2)); // an order in time
        entry
    };
    drop(begin(&journal, 1));
    begin(&journal, 2).discarded().unwrap();
    begin(&journal, 3).discarded().unwrap();
    begin(&journal, 4).failed().unwrap();
    journal.max_bytes = 3 * 2044; // one of the four has to go
    drop(begin(&journal, 5));
    let exists = |id| wav_path(&journal.dir, id).exists();
    assert_eq!([1, 2, 3, 4, 5].map(exists), [true, false, true, true, true]);
    journal.max_bytes = 0;
    drop(begin(&journal, 6));
    assert_eq!([1, 3, 4, 5, 6].map(exists), [true, false, true, true, true]);
}

#[test]
fn only_the_user_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    fs::create_dir(&journal.dir).unwrap();
    fs::set_permissions(&journal.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let _entry = journal.begin(1, about()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&journal.dir), 0o700);
    assert_eq!((mode(&wav_path(&journal.dir, 1)), mode(&sidecar_path(&journal.dir, 1))), (0o600, 0o600));
}

#[test]
fn a_full_disk_and_a_used_number_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let mut entry = journal.begin(1, about()).unwrap();
    assert!(matches!(journal.begin(1, about()), Err(JournalError::Io { .. })), "never overwrites");
    assert!(entry.path().exists(), "the one that was there stays");
    entry.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = entry.append(&[0.5; 10]).unwrap_err();
    assert!(matches!(error, JournalError::DiskFull { .. }), "{error}");
}
