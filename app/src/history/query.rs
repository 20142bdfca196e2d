//! Lists and searches.

use super::entry::Stored;
use super::error::Result;
use super::store::{Store, stored};
use rusqlite::named_params;

/// Which dictations; what is `None` does not choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Of this mode.
    pub(crate) mode: Option<String>,
    /// In a window of this class, in any case.
    pub(crate) app: Option<String>,
    /// That reached their window, or did not.
    pub(crate) success: Option<bool>,
    /// Begun at this time or later.
    pub(crate) since_ms: Option<i64>,
    /// At most so many, the newest.
    pub(crate) limit: Option<u32>,
}

const CHOSEN: &str = "SELECT * FROM dictations WHERE (:mode IS NULL OR mode = :mode)
    AND (:app IS NULL OR app = :app COLLATE NOCASE)
    AND (:success IS NULL OR success = :success)
    AND (:since IS NULL OR started_at_ms >= :since)";
const NEWEST_FIRST: &str = "ORDER BY started_at_ms DESC, id DESC LIMIT :limit";

impl Store {
    /// The dictations of `filter`, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(crate) fn list(&self, filter: &Filter) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        self.each(filter, |dictation| found.push(dictation))?;
        Ok(found)
    }

    /// Gives the dictations of `filter` to `take` one by one, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(crate) fn each(&self, filter: &Filter, take: impl FnMut(Stored)) -> Result<()> {
        self.select(filter, "", "", take)
    }

    /// The dictations of `filter` whose raw or clean text has all words of `text`, or words that begin so, in any
    /// case and with or without accents; where there are none, those with `text` inside of words (as scripts
    /// without spaces and signs need).
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(crate) fn search(&self, text: &str, filter: &Filter) -> Result<Vec<Stored>> {
        let words = text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric));
        let query: Vec<String> = words.map(|word| format!("\"{}\"*", word.replace('"', "\"\""))).collect();
        let mut found = Vec::new();
        if !query.is_empty() {
            let matches = "AND id IN (SELECT rowid FROM dictation_text WHERE dictation_text MATCH :text)";
            self.select(filter, matches, &query.join(" "), |dictation| found.push(dictation))?;
        }
        if found.is_empty() {
            let contains = "AND (raw_text LIKE :text ESCAPE '\\' OR clean_text LIKE :text ESCAPE '\\')";
            let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            self.select(filter, contains, &format!("%{escaped}%"), |dictation| found.push(dictation))?;
        }
        Ok(found)
    }

    fn select(
        &self,
        filter: &Filter,
        condition: &str,
        text: &str,
        mut take: impl FnMut(Stored),
    ) -> Result<()> {
        self.attempt(|c| {
            // Without a condition the parameter is named all the same, so that one list binds every query.
            let mut select =
                c.prepare_cached(&format!("{CHOSEN} {condition} AND :text IS NOT NULL {NEWEST_FIRST}"))?;
            let mut rows = select.query(named_params! {
                ":mode": filter.mode,
                ":app": filter.app,
                ":success": filter.success,
                ":since": filter.since_ms,
                ":text": text,
                ":limit": filter.limit.map_or(-1, i64::from),
            })?;
            while let Some(row) = rows.next()? {
                take(stored(row)?);
            }
            Ok(())
        })
    }
}
