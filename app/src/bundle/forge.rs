//! Archives that nobody made with this program, for tests and for `fuzz/`: sealed, with right hashes, and anything else
//! in them as one likes.

use super::archive::{seal, sha256};
use super::index::{Entry, Index, Sums};
use super::{FOLDER, INDEX, PROGRAM, SUMS};
use tar::{EntryType, Header};

/// A file of a hostile archive.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) kind: EntryType,
    pub(super) link: &'static str,
    /// Of the header.
    pub(super) size_bytes: u64,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn member(name: &str, bytes: &[u8]) -> Member {
    Member {
        name: name.to_owned(),
        kind: EntryType::Regular,
        link: "",
        size_bytes: bytes.len() as u64,
        bytes: bytes.to_vec(),
    }
}

/// The archive as a sealed file: names are written as they are, whatever they are.
pub(super) fn pack(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().expect("it is one");
        fields.name[..member.name.len()].copy_from_slice(member.name.as_bytes());
        fields.linkname[..member.link.len()].copy_from_slice(member.link.as_bytes());
        header.set_size(member.size_bytes);
        header.set_mode(if member.name.ends_with(PROGRAM) { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(946_684_800);
        header.set_entry_type(member.kind);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&member.bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    seal(&zstd::encode_all(out.as_slice(), 1).expect("compressed"))
}

/// A bundle's head over these files, with right hashes.
fn head(files: &[(&str, &[u8])]) -> Vec<Member> {
    let entries = files.iter().map(|(name, bytes)| Entry {
        name: (*name).to_owned(),
        size_bytes: bytes.len() as u64,
        executable: *name == PROGRAM,
    });
    head_of(&Index::new(entries.collect()), files)
}

pub(super) fn head_of(index: &Index, files: &[(&str, &[u8])]) -> Vec<Member> {
    let json = index.to_json().expect("JSON");
    let mut lines = vec![(sha256(&json), INDEX.to_owned())];
    lines.extend(files.iter().map(|(name, bytes)| (sha256(bytes), (*name).to_owned())));
    let sums = Sums(lines).to_text();
    vec![member(&format!("{FOLDER}{SUMS}"), sums.as_bytes()), member(&format!("{FOLDER}{INDEX}"), &json)]
}

/// A whole archive of a head and members with other names, kinds, ....
pub(super) fn archive(files: &[(&str, &[u8])], bend: impl Fn(&mut Vec<Member>)) -> Vec<u8> {
    let mut members = head(files);
    members.extend(files.iter().map(|(name, bytes)| member(&format!("{FOLDER}{name}"), bytes)));
    bend(&mut members);
    pack(&members)
}
