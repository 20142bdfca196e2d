//! Models from a hub repository through hf-hub: resumed, and checked against the hub's own hashes.

use super::{Fetched, Job};
use crate::exit::{Exit, Failure};
use crate::store::disk;
use crate::store::hashing;
use crate::store::manifest::FileEntry;
use crate::store::names;
use crate::store::progress::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tries at one file; each goes on where the one before stopped.
const TRIES: u32 = 3;

/// What the hub says about a file.
struct Remote {
    name: String,
    /// As the hub client names the blob.
    etag: String,
    size_bytes: u64,
}

impl Remote {
    /// SHA-256 (large files) or the SHA-1 of the git blob (small ones).
    fn hash(&self) -> &str {
        self.etag.strip_prefix("W/").unwrap_or(&self.etag)
    }

    fn is_matched_by(&self, path: &Path) -> std::io::Result<Option<String>> {
        if std::fs::metadata(path)?.len() != self.size_bytes {
            return Ok(None);
        }
        let (sha256, git_blob) = hashing::hub_hashes(path)?;
        let same = if self.hash().len() == 64 { &sha256 } else { &git_blob } == self.hash();
        Ok(same.then_some(sha256))
    }
}

/// Fetches all files of a repository at one commit.
pub(crate) fn fetch(
    job: &mut Job<'_>,
    repo: &str,
    revision: &str,
    files: &[String],
) -> Result<Fetched, Failure> {
    let cache = Cache::new(job.scratch.join("hub"));
    disk::make_folder(cache.path())?;
    let api = open(job, cache.clone()).map_err(|error| explain(repo, "", &error))?;
    // The first answer names the commit; all files are taken from that one.
    let mut at = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
    let mut remotes = Vec::new();
    for name in files {
        let url = api.repo(at.clone()).url(name);
        let metadata = api.metadata(&url).map_err(|error| explain(repo, name, &error))?;
        remotes.push(remote(repo, name, &metadata)?);
        let commit = metadata.commit_hash().to_owned();
        at = Repo::with_revision(repo.to_owned(), RepoType::Model, commit);
    }
    let total_bytes = remotes.iter().fold(0u64, |sum, file| sum.saturating_add(file.size_bytes));
    let here_bytes = disk::bytes_below(&job.files, 2) + disk::bytes_below(cache.path(), 4);
    disk::check_space(&job.files, &job.model.name, total_bytes.saturating_sub(here_bytes))?;
    job.progress.start(&job.model.name, total_bytes);
    let mut entries = Vec::new();
    for file in &remotes {
        entries.push(bring(job, &api, &cache, &at, file)?);
    }
    job.progress.finish();
    let source = format!("hub {repo} at {}", at.revision());
    Ok(Fetched { files: entries, source })
}

fn open(job: &Job<'_>, cache: Cache) -> Result<Api, ApiError> {
    let mut builder = ApiBuilder::from_cache(cache)
        .with_progress(false)
        .with_token(job.config.hub_token.clone())
        .with_user_agent("undertone", env!("CARGO_PKG_VERSION"));
    if let Some(endpoint) = &job.config.hub_endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    builder.build()
}

/// What the hub said, once it is safe to use: hash and commit become names of files.
fn remote(repo: &str, name: &str, said: &hf_hub::api::sync::Metadata) -> Result<Remote, Failure> {
    let file = Remote { name: name.to_owned(), etag: said.etag().to_owned(), size_bytes: said.size() as u64 };
    let is_hash = matches!(file.hash().len(), 40 | 64)
        && file.hash().chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    if is_hash && names::is_valid(said.commit_hash()) {
        return Ok(file);
    }
    let message = format!("the hub gives no hash for {name} of {repo} to check it with");
    Err(Failure::new(Exit::Network, message))
}

/// Brings one file into the staging folder, unless the right one is there.
fn bring(
    job: &mut Job<'_>,
    api: &Api,
    cache: &Cache,
    at: &Repo,
    file: &Remote,
) -> Result<FileEntry, Failure> {
    let staged = job.staged(&file.name)?;
    let entry = |sha256: String| FileEntry {
        name: file.name.clone(),
        size_bytes: file.size_bytes,
        sha256,
        hub_hash: Some(file.hash().to_owned()),
        verified_at: None,
    };
    if let Ok(Some(sha256)) = file.is_matched_by(&staged) {
        job.progress.advance(file.size_bytes);
        return Ok(entry(sha256));
    }
    let blob = cache.repo(at.clone()).blob_path(&file.etag);
    if !blob.exists() {
        download(job, api, at, file, &blob)?;
    }
    let found = file.is_matched_by(&blob).map_err(|error| disk::write_failure(&blob, &error))?;
    let Some(sha256) = found else {
        let _ = std::fs::remove_file(&blob);
        let message = format!(
            "{} came damaged: it does not have the hash that the hub names; run the command again",
            file.name
        );
        return Err(Failure::new(Exit::Network, message));
    };
    std::fs::File::open(&blob)
        .and_then(|whole| whole.sync_all())
        .and_then(|()| std::fs::rename(&blob, &staged))
        .map_err(|error| disk::write_failure(&staged, &error))?;
    Ok(entry(sha256))
}

fn download(job: &mut Job<'_>, api: &Api, at: &Repo, file: &Remote, blob: &Path) -> Result<(), Failure> {
    let mut reached_bytes = 0;
    let mut tries = 0;
    loop {
        tries += 1;
        if settle_part(file, blob).map_err(|error| disk::write_failure(blob, &error))? {
            return Ok(());
        }
        let meter = Meter { progress: job.progress, reached: &mut reached_bytes, done: 0 };
        let error = match api.repo(at.clone()).download_with_progress(&file.name, meter) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        tracing::debug!(file = file.name, %error, tries, "a download stopped");
        let failure = explain(&at.url(), &file.name, &error);
        let is_final = failure.exit == Exit::Disk || error.to_string().contains("http status: 4");
        if is_final || tries >= TRIES {
            return Err(failure);
        }
        std::thread::sleep(Duration::from_millis(500) * tries);
    }
}

/// Makes what an interrupted download left fit for going on: the client asks for the bytes after
/// the part's end and cannot do with none. True when the part was in fact whole.
fn settle_part(file: &Remote, blob: &Path) -> std::io::Result<bool> {
    let part = PathBuf::from(format!("{}.part", blob.display()));
    match std::fs::metadata(&part).map(|metadata| metadata.len()) {
        Ok(length) if length == file.size_bytes => {
            std::fs::rename(&part, blob)?;
            Ok(true)
        }
        Ok(length) if length > file.size_bytes => {
            std::fs::remove_file(&part)?;
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// Passes on only what is new: every try begins with the bytes that are already there.
struct Meter<'a> {
    progress: &'a mut dyn Progress,
    reached: &'a mut u64,
    done: u64,
}

impl hf_hub::api::Progress for Meter<'_> {
    fn init(&mut self, _size: usize, _filename: &str) {
        self.done = 0;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        let new = self.done.saturating_sub(*self.reached);
        self.progress.advance(new);
        *self.reached += new;
    }

    fn finish(&mut self) {}
}

/// One sentence for an error of the hub client.
fn explain(repo: &str, file: &str, error: &ApiError) -> Failure {
    if let ApiError::IoError(io_error) = error
        && disk::is_write_trouble(io_error)
    {
        let why = disk::reason(io_error);
        return Failure::new(Exit::Disk, format!("{file} of {repo} could not be written: {why}"));
    }
    let text = error.to_string();
    let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
    let message = if text.contains("http status: 401") || text.contains("http status: 403") {
        format!("the hub does not give {repo} to everyone: accept its licence there and set HF_TOKEN")
    } else if text.contains("http status: 404") {
        format!("the hub has no {file} in {repo}")
    } else {
        format!("the hub could not be reached for {repo} (no network?): {text}")
    };
    Failure::new(Exit::Network, message)
}
