//! The file of answers: a line a job, in the order of the jobs, whatever order they are answered in.

use super::cache::{Cache, Key};
use super::question::Job;
use crate::exit::{Exit, Failure};
use crate::lab::lines::{self, Lines};
use crate::store::hashing::hex;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use undertone_engine::batch::Reply;
use undertone_engine::generate::End;

/// A line. Nothing in it depends on when or in what company it was answered, so that a run that was killed and
/// resumed makes the same file as one that was not.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Value>,
    #[serde(flatten)]
    outcome: Outcome<'a>,
    key: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
    Answer {
        text: &'a str,
        /// `complete` or `limit`.
        end: &'static str,
        prompt_tokens: usize,
        tokens: usize,
    },
    Failure {
        error: &'a str,
    },
}

/// What is read of a line that is there already.
#[derive(Deserialize)]
struct Written {
    key: String,
    error: Option<String>,
}

/// The file while it grows.
pub(super) struct Answers<'a> {
    jobs: &'a [Job],
    keys: &'a [Key],
    lines: Lines,
    /// Lines written.
    pub(super) written: usize,
    /// Of them, those that say why there is no answer.
    pub(super) failed: usize,
    /// Why there is none, of those that are not yet written.
    failures: HashMap<Key, String>,
}

impl<'a> Answers<'a> {
    /// Opens or makes the file, and takes up where a killed run has left it.
    ///
    /// # Errors
    /// [`Exit::Usage`] if it holds answers to other jobs or is being written; [`Exit::Disk`].
    pub(super) fn open(path: &Path, jobs: &'a [Job], keys: &'a [Key]) -> Result<Answers<'a>> {
        let (mut lines, whole) = Lines::open(path)?;
        let (mut written, mut failed) = (0, 0);
        for (number, line) in lines::numbered(&whole) {
            let key = keys.get(written).map(|key| hex(key));
            let line: Option<Written> = serde_json::from_slice(line).ok();
            let Some(line) = line.filter(|line| key.is_some_and(|key| key == line.key)) else {
                let what = format!(
                    "{}, line {number} is no answer to job {}, of these jobs and this model: name another file \
                     with -o, or delete it",
                    path.display(),
                    written + 1
                );
                return Err(Failure::new(Exit::Usage, what).into());
            };
            failed += usize::from(line.error.is_some());
            written += 1;
        }
        lines.cut_torn()?;
        Ok(Answers { jobs, keys, lines, written, failed, failures: HashMap::new() })
    }

    /// Of each job.
    pub(super) fn keys(&self) -> &'a [Key] {
        self.keys
    }

    /// There will be no answer of this key, for this reason.
    pub(super) fn fail(&mut self, key: Key, why: String) {
        self.failures.insert(key, why);
    }

    /// Writes the lines that have their turn.
    ///
    /// # Errors
    /// [`Exit::Disk`].
    pub(super) fn write(&mut self, cache: &mut Cache) -> Result<()> {
        while let Some((job, key)) = self.jobs.get(self.written).zip(self.keys.get(self.written)) {
            let reply = cache.get(key)?;
            let outcome = match (&reply, self.failures.get(key)) {
                (Some(Reply { text, tokens, prompt_tokens, end }), _) => Outcome::Answer {
                    text,
                    end: if *end == End::Complete { "complete" } else { "limit" },
                    prompt_tokens: *prompt_tokens,
                    tokens: *tokens,
                },
                (None, Some(error)) => {
                    self.failed += 1;
                    Outcome::Failure { error }
                }
                (None, None) => return Ok(()),
            };
            self.lines.append(&Line { id: &job.id, meta: job.meta.as_ref(), outcome, key: hex(key) })?;
            self.written += 1;
        }
        self.lines.sync()
    }
}
