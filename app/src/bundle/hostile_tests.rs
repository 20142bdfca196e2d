//! Archives that nobody made with this program: sealed, in part with right hashes, and meant to do harm.

use super::PROGRAM;
use super::archive::{seal, sha256};
use super::forge::{Member, archive, head_of, member, pack};
use super::index::{Entry, Index};
use super::tests::{Bench, must_fail};
use crate::exit::Exit;
use tar::EntryType;

#[track_caller]
fn refused(bytes: &[u8], words: &str) {
    let bench = Bench::new();
    let file = bench.path("hostile.tar.zst");
    std::fs::write(&file, bytes).expect("written");
    must_fail(bench.install(&file, None), Exit::Input, words);
    bench.nothing_is_installed();
}

const PROGRAM_FILE: (&str, &[u8]) = (PROGRAM, b"program");
const PAPER: (&str, &[u8]) = ("readme.md", b"paper");

#[test]
fn an_archive_that_is_not_bent_is_a_bundle() {
    let bench = Bench::new();
    let file = bench.path("good.tar.zst");
    std::fs::write(&file, archive(&[PROGRAM_FILE, PAPER], |_| {})).expect("written");
    bench.install(&file, None).expect("installed");
}

#[test]
fn names_and_kinds_that_no_bundle_has_are_refused() {
    for (name, words) in [
        ("/etc/passwd", "outside of its folder"),
        ("undertone/../../.bashrc", "outside of its folder"),
        ("../readme.md", "outside of its folder"),
        ("readme.md", "where undertone/readme.md belongs"),
        ("undertone/bin/undertone", "where undertone/readme.md belongs"),
        ("undertone/./readme.md", "where undertone/readme.md belongs"),
    ] {
        refused(&archive(&[PROGRAM_FILE, PAPER], |members| members[3].name = name.to_owned()), words);
    }
    for (kind, words) in [
        (EntryType::Symlink, "holds a link"),
        (EntryType::Link, "holds a link"),
        (EntryType::Directory, "not a plain file"),
        (EntryType::Fifo, "not a plain file"),
        (EntryType::Char, "not a plain file"),
        (EntryType::XHeader, "not a plain file"),
        (EntryType::GNULongName, "not a plain file"),
        (EntryType::GNUSparse, "not a plain file"),
        (EntryType::Continuous, "not a plain file"),
    ] {
        let bend = |members: &mut Vec<Member>| (members[3].kind, members[3].link) = (kind, "/etc/passwd");
        refused(&archive(&[PROGRAM_FILE, PAPER], bend), words);
    }
    refused(&archive(&[PROGRAM_FILE, PAPER], |members| members[3].link = "x"), "not a bundle's");
}

#[test]
fn files_too_many_too_few_or_in_another_order_are_refused() {
    let two = [PROGRAM_FILE, PAPER];
    refused(&archive(&two, |members| members.push(member("undertone/more", b"x"))), "which it does not list");
    refused(&archive(&two, |members| members.push(member("undertone/readme.md", b"paper"))), "does not list");
    refused(&archive(&two, |members| drop(members.pop())), "ends before readme.md");
    refused(&archive(&two, |members| members.swap(2, 3)), "holds undertone/readme.md where");
    refused(&archive(&two, |members| members.swap(0, 1)), "where undertone/SHA256SUMS belongs");
    refused(&archive(&[PROGRAM_FILE, PAPER, PAPER], |_| {}), "lists \"readme.md\" twice");
    refused(&archive(&[PROGRAM_FILE, ("../readme.md", b"x")], |_| {}), "which no bundle holds");
    refused(&archive(&[PAPER], |_| {}), "lists no program");
    refused(
        &archive(&two, |members| members[3].bytes = b"pAper".to_vec()),
        "readme.md does not have its SHA-256",
    );
    refused(&archive(&two, |members| members[1].bytes[9] ^= 1), "bundle.json does not have its SHA-256");
    let longer = |members: &mut Vec<Member>| members[0] = member("undertone/SHA256SUMS", b"no hashes\n");
    refused(&archive(&two, longer), "SHA256SUMS is not a list of hashes");
}

#[test]
fn sizes_that_are_not_true_are_refused_before_the_bytes_are_read() {
    let bomb = |size_bytes: u64| {
        let entry =
            |name: &str, size_bytes| Entry { name: name.to_owned(), size_bytes, executable: name == PROGRAM };
        let index = Index::new(vec![entry(PROGRAM, 7), entry("readme.md", size_bytes)]);
        let mut members = head_of(&index, &[PROGRAM_FILE, PAPER]);
        members.push(member("undertone/bin/undertone", b"program"));
        members.push(Member { size_bytes, ..member("undertone/readme.md", b"paper") });
        pack(&members)
    };
    refused(&bomb(1 << 40), "claims to hold 1099512 MB");
    refused(&bomb(u64::MAX), "claims to hold");
    refused(&bomb(9000), "ends in readme.md");
    let huge = |members: &mut Vec<Member>| members[0].size_bytes = 1 << 40;
    refused(&archive(&[PROGRAM_FILE], huge), "SHA256SUMS is far too large");
    let larger = |members: &mut Vec<Member>| members[2].size_bytes = 8;
    refused(&archive(&[PROGRAM_FILE], larger), "another size than it lists");
}

#[test]
fn what_stands_behind_or_in_place_of_the_archive_is_refused() {
    let good = archive(&[PROGRAM_FILE, PAPER], |_| {});
    let body = &good[..good.len() - 40];
    let second = zstd::encode_all(&b"more"[..], 1).expect("compressed");
    refused(&seal(&[body, &second].concat()), "behind its archive");
    let unpacked = zstd::decode_all(body).expect("unpacked");
    let longer =
        zstd::encode_all([unpacked.as_slice(), &[0; 512]].concat().as_slice(), 1).expect("compressed");
    refused(&seal(&longer), "does not end as a bundle does");
    let shorter = zstd::encode_all(&unpacked[..unpacked.len() - 512], 1).expect("compressed");
    refused(&seal(&shorter), "does not end as a bundle does");
    refused(&seal(b"not compressed at all"), "is damaged at");
    refused(&seal(&zstd::encode_all(&b"not an archive"[..], 1).expect("compressed")), "is damaged at");
    refused(b"", "not a bundle");
}

#[test]
fn models_whose_manifest_does_not_fit_are_refused() {
    let manifest = |name: &str, file: &str, size_bytes: u64, sha256: &str| {
        format!(
            r#"{{"version":1,"name":"{name}","kind":"text","format":"gguf","licence":"MIT","source":"x",
            "files":[{{"name":"{file}","size_bytes":{size_bytes},"sha256":"{sha256}"}}]}}"#
        )
    };
    let right = sha256(b"weights");
    for text in [
        manifest("m", "m.gguf", 7, &sha256(b"other")),
        manifest("m", "m.gguf", 8, &right),
        manifest("m", "other.gguf", 7, &right),
        manifest("m", "../../m.gguf", 7, &right),
        manifest("other", "m.gguf", 7, &right),
        manifest("m", "undertone-model.json", 7, &right),
        "{}".to_owned(),
    ] {
        let files: &[(&str, &[u8])] = &[
            PROGRAM_FILE,
            ("models/m/undertone-model.json", text.as_bytes()),
            ("models/m/m.gguf", b"weights"),
        ];
        refused(&archive(files, |_| {}), "the manifest of m");
    }
    let files: &[(&str, &[u8])] = &[PROGRAM_FILE, ("models/m/m.gguf", b"weights")];
    refused(&archive(files, |_| {}), "no manifest names");
    // The manifest is right, and what it names is no model.
    let bench = Bench::new();
    let file = bench.path("hostile.tar.zst");
    let text = manifest("m", "m.gguf", 7, &right);
    let files: &[(&str, &[u8])] =
        &[PROGRAM_FILE, ("models/m/undertone-model.json", text.as_bytes()), ("models/m/m.gguf", b"weights")];
    std::fs::write(&file, archive(files, |_| {})).expect("written");
    must_fail(bench.install(&file, None), Exit::Model, "cannot be used");
    assert!(!bench.path("there/models/m").exists());
}

#[test]
fn a_program_for_another_machine_is_not_installed() {
    let mut index = Index::new(vec![Entry { name: PROGRAM.to_owned(), size_bytes: 7, executable: true }]);
    index.target = "vax-vms".to_owned();
    let mut members = head_of(&index, &[PROGRAM_FILE]);
    members.push(member("undertone/bin/undertone", b"program"));
    let bench = Bench::new();
    let file = bench.path("foreign.tar.zst");
    std::fs::write(&file, pack(&members)).expect("written");
    must_fail(bench.install(&file, None), Exit::Device, "a program for vax-vms");
    bench.nothing_is_installed();
}
