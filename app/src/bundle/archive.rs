//! A bundle's bytes: written once from front to back, and read so that nothing passes but what [`Writer`] writes.

use super::index::{Entry, Index, Sums, shown};
use super::signature::{self, Signed};
use super::{FOLDER, INDEX, SIGNATURE, SUMS};
use crate::exit::{Exit, Failure};
use crate::store::disk;
use crate::store::hashing::{Hashed, Hasher};
use crate::store::progress::Progress;
use minisign_verify::PublicKey;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write};
use std::path::Path;
use zstd::stream::{read::Decoder, write::Encoder};

/// Weights hardly compress: more effort costs time and gains a percent.
const LEVEL: i32 = 3;
/// 2000-01-01; tar warns of files from 1970.
const MTIME_S: u64 = 946_684_800;
/// A skippable frame of zstd (RFC 8878, 3.1.2): magic, and the size of what follows.
const SEAL_HEAD: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];
/// The seal: its head, and the SHA-256 of all bytes before it.
const SEAL_BYTES: u64 = 40;
/// Hashes, signature and index are read into memory.
const MAX_HEAD_BYTES: u64 = 4 << 20;
/// What a bundle may unpack to, in its own sizes: text compresses to a fifth, a hostile file to a thousandth.
const MAX_EXPANSION: u64 = 100;
const CHUNK_BYTES: usize = 1 << 18;

/// The header of a file of a bundle: nothing in it can vary but name, size and whether it is a program.
fn header(entry: &Entry) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(format!("{FOLDER}{}", entry.name))?;
    header.set_size(entry.size_bytes);
    header.set_mode(if entry.executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME_S);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(header)
}

/// Writes a bundle.
pub(crate) struct Writer<W: Write> {
    tar: tar::Builder<Encoder<'static, Hashed<W>>>,
}

impl<W: Write> Writer<W> {
    /// A bundle to be written to `out`.
    pub(crate) fn new(out: W) -> io::Result<Self> {
        let mut encoder = Encoder::new(Hashed::new(out), LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self { tar: tar::Builder::new(encoder) })
    }

    /// Adds a file. `from` must give exactly `entry.size_bytes`; its reader counts them.
    pub(crate) fn add(&mut self, entry: &Entry, from: &mut dyn Read) -> io::Result<()> {
        self.tar.append(&header(entry)?, from)
    }

    /// Ends the archive and seals it.
    pub(crate) fn finish(self) -> io::Result<W> {
        let Hashed { inner: mut out, hasher } = self.tar.into_inner()?.finish()?;
        out.write_all(&SEAL_HEAD)?;
        out.write_all(&hasher.bytes())?;
        Ok(out)
    }
}

type Stream = Decoder<'static, BufReader<Hashed<io::Take<File>>>>;

/// Meets the files of a bundle in their order.
pub(crate) trait Visit {
    /// What is to come.
    fn begin(&mut self, _head: &Head) -> Result<(), Failure> {
        Ok(())
    }
    /// A file begins.
    fn open(&mut self, entry: &Entry, sha256: &str) -> Result<(), Failure>;
    /// More of it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure>;
    /// It was whole: its size and hash are right.
    fn close(&mut self, entry: &Entry) -> anyhow::Result<()>;
}

/// The head of a bundle.
#[derive(Debug)]
pub(crate) struct Head {
    /// What it holds.
    pub(crate) index: Index,
    /// The hashes.
    pub(crate) sums: Sums,
    /// Whether and by whom it is signed.
    pub(crate) signed: Signed,
}

/// A failure about the bundle `path`.
pub(crate) fn bad(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Input, format!("{} {what}", path.display()))
}

/// Reads a bundle to its end and hands its files on.
///
/// # Errors
/// [`Exit::Input`] when the file is not a whole bundle, holds what its list of hashes does not, or is not signed by
/// `key`; what the visitor fails with.
pub(crate) fn walk(
    path: &Path,
    key: Option<&PublicKey>,
    label: &str,
    visit: &mut dyn Visit,
    progress: &mut dyn Progress,
) -> anyhow::Result<Head> {
    let (file, body_bytes, seal) = open(path)?;
    let watched = Hashed::new(file.take(body_bytes));
    let unreadable = |error: io::Error| damaged(path, "its beginning", &error);
    let buffered = BufReader::with_capacity(CHUNK_BYTES, watched);
    let decoder = Decoder::with_buffer(buffered).map_err(unreadable)?.single_frame();
    let mut archive = tar::Archive::new(decoder);
    let mut walk = Walk { path, entries: archive.entries().map_err(unreadable)?.raw(true) };
    let head = walk.head(key)?;
    let limit_bytes = body_bytes.saturating_mul(MAX_EXPANSION).saturating_add(64 << 20);
    if head.index.size_bytes() > limit_bytes {
        let unpacked = disk::megabytes(head.index.size_bytes());
        return Err(bad(path, format!("claims to hold {unpacked}, more than a file of its size can")).into());
    }
    visit.begin(&head)?;
    progress.start(label, head.index.size_bytes());
    for (at, entry) in head.index.files.iter().enumerate() {
        walk.file(entry, head.sums.hash(at + 1), visit, progress)?;
    }
    walk.no_more()?;
    settle(path, archive.into_inner(), &seal)?;
    progress.finish();
    Ok(head)
}

/// Opens the file and takes its seal off: the file, the size of the rest, and the hash it must have.
fn open(path: &Path) -> Result<(File, u64, [u8; 32]), Failure> {
    let unreadable = |error: io::Error| bad(path, format!("cannot be read: {}", disk::reason(&error)));
    // Asked before it is opened: a pipe would be waited for.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(bad(path, "is not a file"));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let no_seal = || bad(path, "is not a bundle, or was cut off or damaged at its end");
    let body_bytes = metadata.len().checked_sub(SEAL_BYTES).ok_or_else(no_seal)?;
    let mut end = [0; SEAL_BYTES as usize];
    file.seek(SeekFrom::Start(body_bytes)).map_err(unreadable)?;
    file.read_exact(&mut end).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let seal = end.strip_prefix(&SEAL_HEAD).and_then(|hash| hash.try_into().ok());
    Ok((file, body_bytes, seal.ok_or_else(no_seal)?))
}

/// What is left behind the last file: the archive's end, and nothing; and the whole has the seal's hash.
fn settle(path: &Path, mut decoder: Stream, seal: &[u8; 32]) -> Result<(), Failure> {
    let unreadable = |error: io::Error| damaged(path, "its end", &error);
    // Of the two empty blocks that end an archive its reader has taken one.
    let mut rest = Vec::new();
    decoder.by_ref().take(513).read_to_end(&mut rest).map_err(unreadable)?;
    if rest != [0; 512] {
        return Err(bad(path, "is damaged: its archive does not end as a bundle does"));
    }
    let mut buffered = decoder.finish();
    if !buffered.fill_buf().map_err(unreadable)?.is_empty() {
        return Err(bad(path, "holds something behind its archive"));
    }
    if buffered.into_inner().hasher.bytes() != *seal {
        return Err(bad(path, "is damaged: it does not have the SHA-256 that stands at its end"));
    }
    Ok(())
}

fn damaged(path: &Path, at: &str, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(_) => bad(path, format!("cannot be read at {}: {}", shown(at), disk::reason(error))),
        None => bad(path, format!("is damaged at {}: {}", shown(at), shown(&error.to_string()))),
    }
}

/// A bundle that is being read.
struct Walk<'a> {
    path: &'a Path,
    entries: tar::Entries<'a, Stream>,
}

impl<'a> Walk<'a> {
    fn bad(&self, what: impl std::fmt::Display) -> Failure {
        bad(self.path, what)
    }

    fn next(&mut self, wanted: &str) -> Result<tar::Entry<'a, Stream>, Failure> {
        match self.entries.next() {
            Some(Ok(entry)) => Ok(entry),
            Some(Err(error)) => Err(damaged(self.path, wanted, &error)),
            None => Err(self.bad(format!("ends before {wanted}"))),
        }
    }

    /// Hashes, signature and index; the index has the hash it must have, and the hashes the right signature.
    fn head(&mut self, key: Option<&PublicKey>) -> Result<Head, Failure> {
        let sums_bytes = self.small(SUMS, &mut None)?;
        let mut ahead = Some(self.next(INDEX)?);
        let is_signature = |entry: &tar::Entry<'_, Stream>| {
            entry.path_bytes().as_ref() == format!("{FOLDER}{SIGNATURE}").as_bytes()
        };
        let signature = match &ahead {
            Some(entry) if is_signature(entry) => Some(self.small(SIGNATURE, &mut ahead)?),
            _ => None,
        };
        let signed = signature::check(self.path, &sums_bytes, signature.as_deref(), key)?;
        let index_bytes = self.small(INDEX, &mut ahead)?;
        let sums = Sums::parse(&sums_bytes)
            .map_err(|problem| self.bad(format!("cannot be used: {SUMS} {problem}")))?;
        if sha256(&index_bytes) != sums.hash(0) {
            return Err(self.bad(format!("is damaged: {INDEX} does not have its SHA-256")));
        }
        let index = Index::parse(&index_bytes)
            .map_err(|problem| self.bad(format!("cannot be used: {INDEX} {problem}")))?;
        sums.match_names(&index).map_err(|problem| self.bad(format!("cannot be used: {SUMS} {problem}")))?;
        Ok(Head { index, sums, signed })
    }

    /// A file that is read into memory: `ahead` if it was met already, else the next.
    fn small(&mut self, name: &str, ahead: &mut Option<tar::Entry<'a, Stream>>) -> Result<Vec<u8>, Failure> {
        let mut entry = match ahead.take() {
            Some(entry) => entry,
            None => self.next(name)?,
        };
        let size_bytes = entry.header().entry_size().unwrap_or(u64::MAX);
        let wanted = Entry { name: name.to_owned(), size_bytes, executable: false };
        self.check_header(entry.header(), &wanted)?;
        if size_bytes > MAX_HEAD_BYTES {
            return Err(self.bad(format!("cannot be used: its {name} is far too large")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| damaged(self.path, name, &error))?;
        if bytes.len() as u64 != size_bytes {
            return Err(self.bad(format!("ends in {name}")));
        }
        Ok(bytes)
    }

    /// Only the header that [`Writer`] would write passes: no link, no folder, no other name, order, size or mode.
    fn check_header(&self, header: &tar::Header, wanted: &Entry) -> Result<(), Failure> {
        let expected = self::header(wanted)
            .map_err(|_| self.bad(format!("lists a name that is too long: {}", shown(&wanted.name))))?;
        if expected.as_bytes() == header.as_bytes() {
            return Ok(());
        }
        let path = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let (name, kind) = (shown(&path), header.entry_type());
        let wanted_path = format!("{FOLDER}{}", wanted.name);
        let is_outside = path.starts_with('/') || path.split('/').any(|part| part == "..");
        Err(self.bad(if kind.is_symlink() || kind.is_hard_link() {
            format!("holds a link, {name}, which no bundle does")
        } else if is_outside {
            format!("holds {name}, a name outside of its folder")
        } else if !kind.is_file() {
            format!("holds {name}, which is not a plain file")
        } else if path != wanted_path {
            format!("holds {name} where {} belongs", shown(&wanted_path))
        } else if header.entry_size().ok() != Some(wanted.size_bytes) {
            format!("holds {name} in another size than it lists")
        } else {
            format!("holds {name} under a header that is not a bundle's")
        }))
    }

    /// One listed file, from its header to its hash.
    fn file(
        &mut self,
        entry: &Entry,
        sha256: &str,
        visit: &mut dyn Visit,
        progress: &mut dyn Progress,
    ) -> anyhow::Result<()> {
        let mut from = self.next(&entry.name)?;
        self.check_header(from.header(), entry)?;
        visit.open(entry, sha256)?;
        let mut hasher = Hasher::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left_bytes = entry.size_bytes;
        while left_bytes > 0 {
            let count = match from.read(&mut chunk) {
                Ok(0) => return Err(self.bad(format!("ends in {}", shown(&entry.name))).into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(damaged(self.path, &entry.name, &error).into()),
            };
            let bytes = chunk.get(..count).unwrap_or_default();
            hasher.feed(bytes);
            visit.write(bytes)?;
            progress.advance(count as u64);
            left_bytes = left_bytes.saturating_sub(count as u64);
        }
        if hasher.hex() != sha256 {
            let what = format!("is damaged: {} does not have its SHA-256", shown(&entry.name));
            return Err(self.bad(what).into());
        }
        visit.close(entry)
    }

    fn no_more(&mut self) -> Result<(), Failure> {
        match self.entries.next() {
            None => Ok(()),
            Some(Ok(entry)) => {
                let name = shown(&String::from_utf8_lossy(&entry.path_bytes()));
                Err(self.bad(format!("holds {name}, which it does not list")))
            }
            Some(Err(error)) => Err(damaged(self.path, "its end", &error)),
        }
    }
}

/// These bytes with their seal, to make a hostile file look whole.
#[cfg(any(test, fuzzing))]
pub(crate) fn seal(body: &[u8]) -> Vec<u8> {
    let mut hasher = Hasher::default();
    hasher.feed(body);
    [body, &SEAL_HEAD, &hasher.bytes()].concat()
}

/// The hash of a file in memory, lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.feed(bytes);
    hasher.hex()
}
