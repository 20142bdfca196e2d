//! The thread that owns the database while the program runs.

use super::entry::Entry;
use super::error::{HistoryError, Result};
use super::files::{self, Layout};
use super::spill;
use super::store::{Retention, Store};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries held in memory while neither the database nor the spill takes them.
const BACKLOG: usize = 256;
/// Entries written in one transaction.
const BATCH: usize = 64;
/// Between attempts to write what waits.
const RETRY: Duration = Duration::from_secs(5);
/// Between looks at the retention when nothing is dictated.
const IDLE: Duration = Duration::from_secs(3600);

/// What the user should know. A condition is told once, until writing succeeds again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The database cannot be written, for the reason given; dictations are kept in a file beside it.
    Spilled {
        /// A sentence.
        why: String,
    },
    /// Neither can the file: dictations are kept in memory.
    InMemory {
        /// A sentence.
        why: String,
    },
    /// The database was damaged.
    SetAside {
        /// Where the damaged file is now.
        moved_to: PathBuf,
    },
    /// All is in the database again.
    Restored {
        /// Dictations that had been kept in the file.
        merged: usize,
    },
    /// Dictations were not recorded.
    Lost {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Spilled { why } => {
                write!(f, "{why}. Until then dictations are kept in a file beside it.")
            }
            Notice::InMemory { why } => write!(f, "{why}. Until then dictations are kept in memory only."),
            Notice::SetAside { moved_to } => {
                write!(
                    f,
                    "The history was damaged: it is now {}, and a new one is begun.",
                    moved_to.display()
                )
            }
            Notice::Restored { merged } => {
                write!(f, "The history works again; {merged} dictations that had waited are in it.")
            }
            Notice::Lost { count } => {
                write!(
                    f,
                    "{count} dictations are not in the history: neither the disk nor memory had room for them."
                )
            }
        }
    }
}

/// Takes notices; called from the writer's thread and the recording one.
pub(crate) type Notify = Arc<dyn Fn(Notice) + Send + Sync>;

/// What the thread is asked for.
pub(super) enum Job {
    Record(Box<Entry>),
    /// Answers whether everything recorded before is on the disk.
    Flush(Sender<bool>),
}

/// How bad it is; told when it gets worse, and when it is over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    None,
    Spilled,
    InMemory,
}

pub(super) struct Writer {
    layout: Layout,
    retention: Retention,
    patience: Duration,
    notify: Notify,
    store: Option<Store>,
    backlog: VecDeque<Entry>,
    told: Trouble,
    lost: usize,
}

impl Writer {
    pub(super) fn new(layout: Layout, retention: Retention, patience: Duration, notify: Notify) -> Writer {
        let (store, backlog, told, lost) = (None, VecDeque::new(), Trouble::None, 0);
        Writer { layout, retention, patience, notify, store, backlog, told, lost }
    }

    /// Serves `jobs` until their sender is gone, then writes what is left.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        self.write();
        loop {
            let waiting = !self.backlog.is_empty() || spill::waits(&self.layout);
            let mut flushed = Vec::new();
            match jobs.recv_timeout(if waiting { RETRY } else { IDLE }) {
                Ok(job) => {
                    std::iter::once(job).chain(jobs.try_iter().take(BATCH - 1)).for_each(|job| match job {
                        Job::Record(entry) => self.backlog.push_back(*entry),
                        Job::Flush(reply) => flushed.push(reply),
                    })
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.write();
            for reply in flushed {
                // Who asked may have stopped waiting.
                let _ = reply.send(self.backlog.is_empty());
            }
        }
        self.lost += self.backlog.len();
        self.tell_lost();
    }

    /// Brings the backlog to the database, or else to the spill, or else keeps what fits.
    fn write(&mut self) {
        let why = match self.drain_to_database() {
            Ok(merged) => {
                if self.told != Trouble::None || merged > 0 {
                    (self.notify)(Notice::Restored { merged });
                }
                self.told = Trouble::None;
                return self.tell_lost();
            }
            Err(e) => e,
        };
        // A connection that failed is not relied upon; opening another costs a millisecond.
        self.store = None;
        if self.backlog.is_empty() {
            return;
        }
        match spill::append(&self.layout, self.backlog.make_contiguous()) {
            Ok(()) => {
                self.backlog.clear();
                self.tell(Trouble::Spilled, Notice::Spilled { why: sentence(&why) });
            }
            Err(why) => {
                self.tell(Trouble::InMemory, Notice::InMemory { why: sentence(&why) });
                let excess = self.backlog.len().saturating_sub(BACKLOG);
                self.backlog.drain(..excess);
                self.lost += excess;
            }
        }
    }

    fn drain_to_database(&mut self) -> Result<usize> {
        match self.insert() {
            Err(HistoryError::Damaged(_)) => {
                self.set_aside()?;
                self.insert()
            }
            other => other,
        }
    }

    /// Everything that waits goes to the database; how many came from the spill.
    fn insert(&mut self) -> Result<usize> {
        let store = match &mut self.store {
            Some(store) => store,
            None => {
                let store = Store::open(&self.layout, self.patience)?;
                store.check()?;
                self.store.insert(store)
            }
        };
        let merged = spill::merge(&self.layout, |entries| store.insert(entries))?;
        if !self.backlog.is_empty() {
            store.insert(&self.backlog)?;
            self.backlog.clear();
        }
        store.retain(self.retention, now().as_millis() as i64)?;
        Ok(merged)
    }

    /// Moves the damaged database and its journal out of the way.
    fn set_aside(&mut self) -> Result<()> {
        self.store = None;
        let mark = format!("damaged-{}", now().as_millis());
        let mut moved_to = PathBuf::new();
        for path in self.layout.database_files().into_iter().rev().filter(|path| path.exists()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            moved_to = self.layout.dir().join(name.replacen("history", &format!("history.{mark}"), 1));
            fs::rename(&path, &moved_to).map_err(|e| HistoryError::io(&path, e))?;
            files::restrict(&moved_to, 0o600).map_err(|e| HistoryError::io(&moved_to, e))?;
        }
        (self.notify)(Notice::SetAside { moved_to });
        Ok(())
    }

    fn tell(&mut self, trouble: Trouble, notice: Notice) {
        if trouble > self.told {
            self.told = trouble;
            (self.notify)(notice);
        }
    }

    fn tell_lost(&mut self) {
        let count = std::mem::take(&mut self.lost);
        if count > 0 {
            (self.notify)(Notice::Lost { count });
        }
    }
}

/// An error's message with a capital letter.
fn sentence(error: &HistoryError) -> String {
    let message = error.to_string();
    let mut rest = message.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// Since 1970; zero on a clock before.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
