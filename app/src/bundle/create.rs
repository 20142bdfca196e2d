//! Making a bundle: everything is hashed, the hashes are signed, and then all is written in one go.

use super::archive::{Writer, sha256};
use super::index::{Entry, Index, Sums};
use super::sbom::{self, Dependency};
use super::signature::Signer;
use super::{INDEX, MODELS, PROGRAM, SIGNATURE, SUMS};
use crate::exit::{Exit, Failure};
use crate::store::hashing::{self, Hasher};
use crate::store::interrupt::{Doomed, Guard};
use crate::store::manifest::{self, Manifest};
use crate::store::progress::Progress;
use crate::store::verify::FileState;
use crate::store::{Store, disk};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

/// What a bundle is made of.
pub(crate) struct Request<'a> {
    /// Where the models are.
    pub(crate) store: &'a Store,
    /// Their names.
    pub(crate) models: &'a [String],
    /// The program.
    pub(crate) program: &'a Path,
    /// What the program was built from.
    pub(crate) dependencies: &'a [Dependency],
    /// Licences and their like: name and text.
    pub(crate) papers: &'a [(&'a str, &'a str)],
    /// The bundle.
    pub(crate) output: &'a Path,
    /// Whose bundle it is.
    pub(crate) signer: Option<&'a Signer>,
}

/// Where a file's bytes come from.
enum From {
    Memory(Vec<u8>),
    File(PathBuf),
}

/// A file that goes into the bundle.
struct Piece {
    entry: Entry,
    sha256: String,
    from: From,
}

/// Writes the bundle, under a temporary name until it is whole; gives its size in bytes.
///
/// # Errors
/// [`Exit::Model`] for a model that is not in the store or damaged, [`Exit::Disk`] when the bundle cannot be written.
/// Nothing is left behind then.
pub(crate) fn create(request: &Request<'_>, progress: &mut dyn Progress) -> Result<u64> {
    let _guard = Guard::set();
    let pieces = gather(request, progress)?;
    let index = Index::new(pieces.iter().map(|piece| piece.entry.clone()).collect());
    let index = piece(INDEX, index.to_json().context("the index could not be written")?);
    let lines = std::iter::once(&index).chain(&pieces);
    let sums = Sums(lines.map(|piece| (piece.sha256.clone(), piece.entry.name.clone())).collect()).to_text();
    let mut head = vec![piece(SUMS, sums.clone().into_bytes())];
    if let Some(signer) = request.signer {
        head.push(piece(SIGNATURE, signer.sign(sums.as_bytes())?.into_bytes()));
    }
    head.push(index);
    write(request.output, &head, &pieces, progress)
}

fn piece(name: &str, bytes: Vec<u8>) -> Piece {
    let entry = Entry { name: name.to_owned(), size_bytes: bytes.len() as u64, executable: false };
    Piece { entry, sha256: sha256(&bytes), from: From::Memory(bytes) }
}

/// Everything but the head, hashed, in the bundle's order.
fn gather(request: &Request<'_>, progress: &mut dyn Progress) -> Result<Vec<Piece>> {
    let mut models = Vec::new();
    let mut pieces = Vec::new();
    for name in request.models {
        let (folder, manifest) = sound(request.store, name, progress)?;
        if models.iter().any(|known: &Manifest| known.name == manifest.name) {
            continue;
        }
        pieces.extend(model_pieces(&folder, &manifest)?);
        models.push(manifest);
    }
    let program = program_piece(request.program, progress)?;
    let mut papers: Vec<Piece> =
        request.papers.iter().map(|(name, text)| piece(name, text.as_bytes().to_vec())).collect();
    let sbom = sbom::document(request.dependencies, Some(&program.sha256), &models)?;
    papers.push(piece("sbom.cdx.json", sbom));
    papers.push(piece("licences/models.txt", model_licences(&models).into_bytes()));
    Ok(std::iter::once(program).chain(papers).chain(pieces).collect())
}

/// Folder and manifest of a model whose files were all read and found good.
fn sound(store: &Store, name: &str, progress: &mut dyn Progress) -> Result<(PathBuf, Manifest)> {
    let name = store.catalogue().find(name).map_or(name, |model| model.name.as_str());
    let Some((folder, mut manifest)) = store.installed(name)? else {
        let what = format!(
            "{name} is not in the store {}: bring it there first, with `undertone models pull` or `models import`",
            store.root().display()
        );
        return Err(Failure::new(Exit::Model, what).into());
    };
    for (file, state) in store.verify(name, progress)? {
        if state != FileState::Good {
            let what = format!("{name} is damaged: {file} {state}; {}", store.cure(name));
            return Err(Failure::new(Exit::Model, what).into());
        }
    }
    for file in &mut manifest.files {
        file.verified_at = None;
    }
    Ok((folder, manifest))
}

fn model_pieces(folder: &Path, manifest: &Manifest) -> Result<Vec<Piece>> {
    let name = |file: &str| format!("{MODELS}{}/{file}", manifest.name);
    let mut pieces = vec![piece(&name(manifest::FILE_NAME), manifest.to_json()?.into_bytes())];
    for file in &manifest.files {
        let entry = Entry { name: name(&file.name), size_bytes: file.size_bytes, executable: false };
        if entry.place().is_none() {
            let what =
                format!("{} cannot be bundled: {:?} is no name for its file", manifest.name, file.name);
            return Err(Failure::new(Exit::Model, what).into());
        }
        pieces.push(Piece { entry, sha256: file.sha256.clone(), from: From::File(folder.join(&file.name)) });
    }
    Ok(pieces)
}

fn program_piece(path: &Path, progress: &mut dyn Progress) -> Result<Piece, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(Exit::Internal, format!("the program cannot be read: {}", disk::reason(&error)))
    };
    let size_bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    progress.start("reading the program", size_bytes);
    let sha256 = hashing::sha256_file(path, |bytes| progress.advance(bytes)).map_err(unreadable)?;
    progress.finish();
    let entry = Entry { name: PROGRAM.to_owned(), size_bytes, executable: true };
    Ok(Piece { entry, sha256, from: From::File(path.to_owned()) })
}

fn model_licences(models: &[Manifest]) -> String {
    let line = |model: &Manifest| {
        format!("{}: {}\n  {}\n  {}\n", model.name, model.licence, model.title, model.source)
    };
    let mut text = "The models of this bundle, their licences, and where they came from.\n\n".to_owned();
    text.extend(models.iter().map(line));
    text
}

fn write(output: &Path, head: &[Piece], pieces: &[Piece], progress: &mut dyn Progress) -> Result<u64> {
    let folder = disk::folder_of(output);
    if output.file_name().is_none() || output.is_dir() {
        let what = format!("{} is a folder: name the file to write", output.display());
        return Err(Failure::new(Exit::Usage, what).into());
    }
    let fail = |error: io::Error| disk::write_failure(output, &error);
    let file = disk::readable_by_all(folder).map_err(fail)?;
    let doomed = Doomed::file(file.path());
    let total_bytes = pieces.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.entry.size_bytes));
    progress.start(&format!("writing {}", output.display()), total_bytes);
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, file)).map_err(fail)?;
    for piece in head.iter().chain(pieces) {
        add(&mut writer, piece, output, progress)?;
    }
    let mut buffered = writer.finish().map_err(fail)?;
    buffered.flush().map_err(fail)?;
    let file = buffered.into_inner().map_err(|error| fail(error.into_error()))?;
    file.as_file().sync_all().map_err(fail)?;
    let size_bytes = file.as_file().metadata().map_err(fail)?.len();
    file.persist(output).map_err(|error| fail(error.error))?;
    drop(doomed);
    disk::sync_folder(folder).map_err(fail)?;
    progress.finish();
    Ok(size_bytes)
}

/// Adds a file, which must still be what was hashed.
fn add(
    writer: &mut Writer<BufWriter<tempfile::NamedTempFile>>,
    piece: &Piece,
    output: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let name = &piece.entry.name;
    let unreadable = |error: &io::Error| {
        Failure::new(Exit::Model, format!("{name} cannot be read: {}", disk::reason(error)))
    };
    let from: Box<dyn Read + '_> = match &piece.from {
        From::Memory(bytes) => Box::new(bytes.as_slice()),
        From::File(path) => Box::new(File::open(path).map_err(|error| unreadable(&error))?),
    };
    let mut counted = Counted {
        from: from.take(piece.entry.size_bytes),
        hasher: Hasher::default(),
        bytes: 0,
        trouble: None,
        progress,
    };
    let written = writer.add(&piece.entry, &mut counted);
    if let Some(error) = &counted.trouble {
        return Err(unreadable(error));
    }
    written.map_err(|error| disk::write_failure(output, &error))?;
    if counted.bytes != piece.entry.size_bytes || counted.hasher.hex() != piece.sha256 {
        return Err(Failure::new(
            Exit::Model,
            format!("{name} changed while it was bundled: run the command again"),
        ));
    }
    Ok(())
}

/// Hashes and counts what is read, and tells reading's troubles from writing's.
struct Counted<'a> {
    from: io::Take<Box<dyn Read + 'a>>,
    hasher: Hasher,
    bytes: u64,
    trouble: Option<io::Error>,
    progress: &'a mut dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.trouble = Some(error.kind().into());
            }
        })?;
        self.hasher.feed(into.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
