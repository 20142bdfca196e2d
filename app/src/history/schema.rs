//! The database's schema, as the steps that led to it.

use rusqlite::{Connection, TransactionBehavior};

/// Step `n` leads from `PRAGMA user_version` n to n + 1. Released steps are never edited: new ones follow.
///
/// Columns bear the names of `Entry`'s fields; `JSON` and `BOOLEAN` tell how they are read.
pub(super) const STEPS: &[&str] = &[
    "CREATE TABLE dictations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        started_at_ms INTEGER NOT NULL,
        recorded_at_ns INTEGER NOT NULL UNIQUE,
        mode TEXT NOT NULL,
        speech_model TEXT NOT NULL,
        text_model TEXT,
        device TEXT NOT NULL,
        language TEXT,
        raw_text TEXT,
        clean_text TEXT,
        words INTEGER NOT NULL,
        app TEXT,
        window_title TEXT,
        stages JSON NOT NULL,
        release_to_text_ms REAL,
        audio_ms INTEGER NOT NULL,
        speech_tokens INTEGER NOT NULL,
        text_tokens INTEGER NOT NULL,
        tokens_per_s REAL,
        drafted_tokens INTEGER NOT NULL,
        accepted_tokens INTEGER NOT NULL,
        planned_bytes INTEGER NOT NULL,
        peak_bytes INTEGER,
        gpu JSON,
        cleaned_by TEXT,
        refused_windows INTEGER NOT NULL,
        refusals JSON NOT NULL,
        injection TEXT,
        receipt BOOLEAN,
        success BOOLEAN NOT NULL,
        error_stage TEXT,
        error TEXT,
        audio_file TEXT
    );
    CREATE INDEX dictations_started ON dictations (started_at_ms);",
    "CREATE VIRTUAL TABLE dictation_text USING fts5 (
        raw_text, clean_text, content = 'dictations', content_rowid = 'id',
        tokenize = 'unicode61 remove_diacritics 2'
    );
    INSERT INTO dictation_text (dictation_text, rank) VALUES ('secure-delete', 1);
    INSERT INTO dictation_text (dictation_text) VALUES ('rebuild');
    CREATE TRIGGER dictations_inserted AFTER INSERT ON dictations BEGIN
        INSERT INTO dictation_text (rowid, raw_text, clean_text)
        VALUES (new.id, new.raw_text, new.clean_text);
    END;
    CREATE TRIGGER dictations_deleted AFTER DELETE ON dictations BEGIN
        INSERT INTO dictation_text (dictation_text, rowid, raw_text, clean_text)
        VALUES ('delete', old.id, old.raw_text, old.clean_text);
    END;",
];

/// The latest schema.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Brings the database to the latest schema, a transaction for each step, and keeps its rows.
/// Returns the version found; one above [`VERSION`] is left as it is.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    let found = version(connection)?;
    if found >= VERSION {
        return Ok(found);
    }
    for (step, version_after) in STEPS.iter().zip(1..) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Asked again under the lock: another process may have taken the step meanwhile.
        if version(&transaction)? < version_after {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", version_after)?;
        }
        transaction.commit()?;
    }
    Ok(found)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
