//! The database: opening, writing, retention.

use super::entry::{Entry, Stored};
use super::error::{HistoryError, Result};
use super::files::{self, Layout};
use super::schema;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior, named_params, params_from_iter};
use serde_json::{Map, Value as Json};
use std::path::PathBuf;
use std::time::Duration;

/// How much is kept; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Days after which dictations and recordings are deleted.
    pub(crate) days: Option<u32>,
    /// Dictations beyond which the oldest are deleted.
    pub(crate) count: Option<u32>,
}

/// An open database of the latest schema.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) connection: Connection,
    pub(super) layout: Layout,
}

impl Store {
    /// Opens the database, or makes it, and migrates it. Calls wait up to `patience` for other processes.
    ///
    /// # Errors
    /// If it is locked, damaged, of a later schema, or cannot be written.
    pub(crate) fn open(layout: &Layout, patience: Duration) -> Result<Store> {
        files::private_dir(layout.dir())?;
        let path = layout.database();
        // SQLite gives its journal the permissions of the database.
        files::open_private(&path).map_err(|e| HistoryError::io(&path, e))?;
        Self::connect(layout, patience)
    }

    /// Opens the database for reading; `None` where there is none.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open_existing(layout: &Layout, patience: Duration) -> Result<Option<Store>> {
        if !layout.database().exists() {
            return Ok(None);
        }
        let store = Self::connect(layout, patience)?;
        store.attempt(|c| c.pragma_update(None, "query_only", true))?;
        Ok(Some(store))
    }

    /// Whether there is a database; all of it is read.
    ///
    /// # Errors
    /// As [`Store::open`]; [`HistoryError::Damaged`].
    pub(crate) fn check_existing(layout: &Layout) -> Result<bool> {
        match Store::open_existing(layout, Duration::from_secs(1))? {
            Some(store) => store.check().map(|()| true),
            None => Ok(false),
        }
    }

    fn connect(layout: &Layout, patience: Duration) -> Result<Store> {
        let path = layout.database();
        let attempt = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(patience)?;
            connection.execute_batch(
                "PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;
                 PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
            )?;
            let found = schema::migrate(&mut connection)?;
            Ok((connection, found))
        };
        let (connection, found) = attempt().map_err(|e| HistoryError::database(&path, e))?;
        if found > schema::VERSION {
            return Err(HistoryError::Newer { path, found, known: schema::VERSION });
        }
        Ok(Store { connection, layout: layout.clone() })
    }

    /// Runs `work`; its failure is sorted by what can be done about it.
    pub(super) fn attempt<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.connection).map_err(|e| HistoryError::database(&self.layout.database(), e))
    }

    /// Looks for broken pages; reads the whole file.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] if there is one.
    pub(super) fn check(&self) -> Result<()> {
        let found: String = self.attempt(|c| c.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(HistoryError::Damaged(self.layout.database())),
        }
    }

    /// Adds `entries`, all or none; those that are there already stay as they are.
    ///
    /// # Errors
    /// If the database is locked, full or damaged.
    pub(super) fn insert<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<()> {
        let path = self.layout.database();
        let work = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for entry in entries {
                insert_one(&transaction, entry)?;
            }
            transaction.commit()
        };
        work().map_err(|e| HistoryError::database(&path, e))
    }

    /// Deletes what is beyond `retention` at `now_ms`, with its recordings; how many dictations that were.
    ///
    /// # Errors
    /// If the database or a recording cannot be written.
    pub(super) fn retain(&mut self, retention: Retention, now_ms: i64) -> Result<usize> {
        let day_ms = 24 * 3600 * 1000;
        let oldest_ms = retention.days.map_or(i64::MIN, |days| now_ms - i64::from(days) * day_ms);
        let limit = retention.count.map_or(-1, i64::from);
        let gone: Vec<Option<String>> = self.attempt(|c| {
            let mut delete = c.prepare_cached(
                "DELETE FROM dictations WHERE started_at_ms < :oldest OR id IN (
                     SELECT id FROM dictations ORDER BY started_at_ms DESC, id DESC LIMIT -1
                     OFFSET CASE WHEN :limit < 0 THEN 9223372036854775807 ELSE :limit END)
                 RETURNING audio_file",
            )?;
            let rows =
                delete.query_map(named_params! {":oldest": oldest_ms, ":limit": limit}, |r| r.get(0))?;
            rows.collect()
        })?;
        for name in gone.iter().flatten() {
            files::erase(&self.layout.audio().join(name))?;
        }
        if !gone.is_empty() {
            self.checkpoint()?;
        }
        Ok(gone.len())
    }

    /// Writes the journal's pages to the database and empties the journal, if no reader needs it; whether so.
    pub(super) fn checkpoint(&self) -> Result<bool> {
        let busy: i64 =
            self.attempt(|c| c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)))?;
        Ok(busy == 0)
    }

    /// The dictation of this number.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn get(&self, id: i64) -> Result<Stored> {
        let row = self.attempt(|c| {
            let mut select = c.prepare_cached("SELECT * FROM dictations WHERE id = ?1")?;
            select.query([id])?.next()?.map(stored).transpose()
        })?;
        row.ok_or(HistoryError::NoEntry(id))
    }

    /// The recording of the dictation of this number.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn recording(&self, id: i64) -> Result<PathBuf> {
        let name = self.get(id)?.entry.audio_file.ok_or(HistoryError::NoAudio(id))?;
        let path = self.layout.audio().join(&name);
        // A name that leads out of the folder did not come from the sink.
        let inside = path.file_name().is_some_and(|n| n == name.as_str()) && path.is_file();
        inside.then_some(path).ok_or(HistoryError::NoAudio(id))
    }
}

fn insert_one(connection: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let Ok(Json::Object(fields)) = serde_json::to_value(entry) else {
        return Err(rusqlite::Error::ToSqlConversionFailure("an entry is not an object".into()));
    };
    let columns: Vec<&str> = fields.keys().map(String::as_str).collect();
    let sql = format!(
        "INSERT INTO dictations ({}) VALUES ({}) ON CONFLICT (recorded_at_ns) DO NOTHING",
        columns.join(", "),
        vec!["?"; columns.len()].join(", "),
    );
    connection.prepare_cached(&sql)?.execute(params_from_iter(fields.values().map(sql_value)))?;
    Ok(())
}

fn sql_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Integer(i64::from(*b)),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::Integer(i),
            (None, Some(_)) => Value::Integer(i64::MAX),
            (None, None) => n.as_f64().map_or(Value::Null, Value::Real),
        },
        Json::String(s) => Value::Text(s.clone()),
        Json::Array(_) | Json::Object(_) => Value::Text(json.to_string()),
    }
}

/// A row by the names and declared types of its columns.
pub(super) fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let mut fields = Map::new();
    for (i, column) in row.as_ref().columns().enumerate() {
        let value = match (row.get_ref(i)?, column.decl_type()) {
            (ValueRef::Integer(n), Some("BOOLEAN")) => Json::Bool(n != 0),
            (ValueRef::Text(text), Some("JSON")) => {
                serde_json::from_slice(text).map_err(|e| unreadable(i, e))?
            }
            (ValueRef::Text(text), _) => String::from_utf8_lossy(text).into(),
            (ValueRef::Integer(n), _) => n.into(),
            (ValueRef::Real(x), _) => x.into(),
            (ValueRef::Null | ValueRef::Blob(_), _) => Json::Null,
        };
        fields.insert(column.name().to_owned(), value);
    }
    let id = row.get("id")?;
    let entry = serde_json::from_value(Json::Object(fields)).map_err(|e| unreadable(0, e))?;
    Ok(Stored { id, entry })
}

fn unreadable(column: usize, e: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e))
}
