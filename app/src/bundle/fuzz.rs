//! What `fuzz/` carries to a machine without a network.

use super::archive::{seal, sha256};
use super::check::check;
use super::forge::{Member, archive, member};
use super::install::{Places, install};
use super::{FOLDER, PROGRAM};
use crate::store::manifest::FILE_NAME;
use crate::store::progress::Silent;
use crate::store::{Store, StoreConfig, config};
use std::fs;
use std::path::Path;
use tar::EntryType;

/// Installs a hostile bundle. The first byte says what the others are: the file; the file without its seal; its archive,
/// neither compressed nor sealed; or the files in it ([`forged`]).
///
/// Where the check refuses it nothing is written. Whatever happens, nothing is written but below the folders that things
/// belong in, and nothing but plain files and folders.
pub fn bundle(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let compressed = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("compressed");
    let bytes = match kind % 4 {
        0 => rest.to_vec(),
        1 => seal(rest),
        2 => seal(&compressed(rest)),
        _ => forged(rest),
    };
    // Deep enough that a few steps upward are seen.
    let outer = tempfile::tempdir().expect("a folder");
    let here = outer.path().join("a/b/c/d");
    fs::create_dir_all(&here).expect("made");
    let file = here.join("bundle.tar.zst");
    fs::write(&file, &bytes).expect("written");
    let there = here.join("there");
    let store = store(&there.join("models"));
    let (programs, papers) = (there.join("bin"), there.join("papers"));

    let whole = check(&file, None, &mut Silent).is_ok();
    assert!(!there.exists(), "checking wrote something");
    let places = Places { store: &store, programs: &programs, papers: &papers };
    let installed = install(&file, None, &places, &mut Silent);
    assert!(whole || installed.is_err(), "what is refused was installed");
    assert!(whole || !there.exists(), "something of a refused bundle was written");
    if let Err(error) = installed {
        assert!(!format!("{error:#}").trim().is_empty());
    }
    for folder in ["", "a", "a/b", "a/b/c"] {
        assert_eq!(
            fs::read_dir(outer.path().join(folder)).expect("listed").count(),
            1,
            "outside, in {folder:?}"
        );
    }
    for entry in fs::read_dir(&here).expect("listed").flatten() {
        assert!(["bundle.tar.zst", "there"].iter().any(|name| entry.file_name() == *name), "{entry:?}");
    }
    assert_eq!(fs::read(&file).expect("there"), bytes, "the bundle was changed");
    plain(&there);
}

/// Files and folders only.
fn plain(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a kind");
        assert!(kind.is_dir() || kind.is_file(), "{entry:?}");
        if kind.is_dir() {
            plain(&entry.path());
        }
    }
}

fn store(root: &Path) -> Store {
    let mut config =
        StoreConfig::from_vars(|name| (name == "HOME").then(|| "/nowhere".into())).expect("a home");
    config.root = root.to_path_buf();
    config.offline = true;
    config.places = config::Places::default();
    Store::open(&config).expect("opened")
}

/// Stands between files, and between bends; twice between the two.
const NEXT: u8 = 0xff;
/// Stands between a file's name and what is in it.
const HOLDS: u8 = 0xfe;

/// A bundle whose hashes are right. A manifest is written for what is below `models/`. Behind the files stands how the
/// archive is bent: a file's number, a byte that says in what, and a new name.
fn forged(data: &[u8]) -> Vec<u8> {
    let at = data.windows(2).position(|two| two == [NEXT, NEXT]).unwrap_or(data.len());
    let (listed, bends) = data.split_at(at);
    let mut files = vec![(PROGRAM.to_owned(), b"program".to_vec())];
    for file in listed.split(|byte| *byte == NEXT).filter(|file| !file.is_empty()).take(8) {
        let mut parts = file.splitn(2, |byte| *byte == HOLDS);
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        // A header has no room for more.
        if name.len() + FOLDER.len() <= 100 {
            files.push((name, parts.next().unwrap_or_default().to_vec()));
        }
    }
    let manifests: Vec<_> = files.iter().filter_map(|(name, bytes)| manifest(name, bytes)).collect();
    files.splice(1..1, manifests);
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    archive(&borrowed, |members| bends.split(|byte| *byte == NEXT).for_each(|how| bend(members, how)))
}

/// A manifest for a file of a model, unless it is one.
fn manifest(name: &str, bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let (model, file) = name.strip_prefix(super::MODELS)?.split_once('/')?;
    let text = serde_json::json!({
        "version": 1, "name": model, "kind": "text", "format": "gguf", "licence": "MIT", "source": "x",
        "files": [{ "name": file, "size_bytes": bytes.len(), "sha256": sha256(bytes) }],
    });
    let name = format!("{}{model}/{FILE_NAME}", super::MODELS);
    (file != FILE_NAME && name.len() + FOLDER.len() <= 100).then(|| (name, text.to_string().into_bytes()))
}

fn bend(members: &mut Vec<Member>, how: &[u8]) {
    const KINDS: [EntryType; 6] = [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::XHeader,
        EntryType::GNULongName,
        EntryType::GNUSparse,
    ];
    let [at, what, name @ ..] = how else { return };
    let name = String::from_utf8_lossy(name).into_owned();
    let at = usize::from(*at) % members.len().max(1);
    let Some(bent) = members.get_mut(at) else { return };
    match what % 8 {
        0 if name.len() <= 100 => bent.name = name,
        1 => bent.kind = KINDS[name.len() % KINDS.len()],
        2 => (bent.kind, bent.link) = (EntryType::Symlink, "../../.."),
        3 => bent.size_bytes = name.bytes().fold(0, |size, byte| size << 8 | u64::from(byte)),
        4 => bent.bytes = name.into_bytes(),
        5 => drop(members.remove(at)),
        6 if name.len() <= 100 => members.insert(at, member(&name, b"more")),
        _ => bent.link = "/etc",
    }
}
