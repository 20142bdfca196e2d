//! What was dictated, when and how fast, in an SQLite database of the user's own.
//!
//! [`Sink`] is the only way in: it applies the privacy [`Tier`] and writes on a thread of its own. [`Store`] reads,
//! [`run`] is the command line, [`wipe`] forgets everything. Files in the history's folder (0700, files 0600):
//! `history.db` (with `-wal` and `-shm`), `history.spill.jsonl` while the database cannot be written,
//! `history.damaged-*`, `audio/` and `log/`.

mod cli;
mod entry;
mod error;
mod export;
mod files;
mod log;
mod privacy;
mod query;
mod schema;
mod scrub;
mod sink;
mod spill;
mod stats;
mod store;
mod table;
mod wipe;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use cli::{HistoryCommand, run};
pub(crate) use entry::{Entry, Stage, Stored};
pub(crate) use error::HistoryError;
pub(crate) use files::{Layout, erase};
pub(crate) use privacy::Tier;
pub(crate) use query::Filter;
pub(crate) use sink::{Settings, Sink};
pub(crate) use store::{Retention, Store};
pub(crate) use table::{local_time, utc_ms};
pub(crate) use writer::Notice;
