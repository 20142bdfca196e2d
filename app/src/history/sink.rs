//! The one way to the disk for what was dictated: database, recordings and log.

use super::entry::Entry;
use super::error::{HistoryError, Result};
use super::files::{self, Layout};
use super::log::Log;
use super::privacy::Tier;
use super::scrub::scrub;
use super::store::Retention;
use super::writer::{Job, Notice, Notify, Writer, now};
use crossbeam_channel::{Sender, bounded};
use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How the history is kept.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Its folder, for it alone.
    pub(crate) dir: PathBuf,
    /// What may be stored.
    pub(crate) tier: Tier,
    /// Whether recordings are kept, at [`Tier::Everything`].
    pub(crate) keep_audio: bool,
    /// Whether the log may hold what was dictated, at [`Tier::Scrubbed`] (scrubbed) and above.
    pub(crate) log_text: bool,
    /// How long.
    pub(crate) retention: Retention,
    /// Dictations that may wait for the writer.
    pub(crate) queue: usize,
    /// How long recording one may wait for room in the queue.
    pub(crate) queue_patience: Duration,
    /// How long the writer waits for a locked database.
    pub(crate) lock_patience: Duration,
}

impl Settings {
    /// Defaults for a history in `dir`: scrubbed text, no recordings, without end.
    pub(crate) fn new(dir: &Path) -> Settings {
        Settings {
            dir: dir.to_owned(),
            tier: Tier::default(),
            keep_audio: false,
            log_text: false,
            retention: Retention::default(),
            queue: 64,
            queue_patience: Duration::from_millis(50),
            lock_patience: Duration::from_secs(2),
        }
    }
}

/// Takes dictations and stores what the tier allows, on a thread of its own. Dropping it writes the rest.
pub(crate) struct Sink {
    settings: Settings,
    layout: Layout,
    notify: Notify,
    last_ns: AtomicI64,
    /// `None` at [`Tier::Nothing`].
    thread: Option<(Sender<Job>, JoinHandle<()>)>,
}

impl Sink {
    /// Starts the writer. The database is opened on its thread: what is wrong with it is told to `notify`.
    ///
    /// # Errors
    /// If the folder cannot be made or the thread not be started.
    pub(crate) fn open(settings: Settings, notify: impl Fn(Notice) + Send + Sync + 'static) -> Result<Sink> {
        let layout = Layout::new(&settings.dir);
        let notify: Notify = std::sync::Arc::new(notify);
        let last_ns = AtomicI64::new(0);
        if settings.tier == Tier::Nothing {
            return Ok(Sink { settings, layout, notify, last_ns, thread: None });
        }
        files::private_dir(layout.dir())?;
        let (jobs, queue) = bounded(settings.queue);
        let writer = Writer::new(layout.clone(), settings.retention, settings.lock_patience, notify.clone());
        let thread = thread::Builder::new().name("history".into()).spawn(move || writer.run(&queue));
        let thread = thread.map_err(|e| HistoryError::io(layout.dir(), e))?;
        Ok(Sink { settings, layout, notify, last_ns, thread: Some((jobs, thread)) })
    }

    /// Takes a dictation; false, with a [`Notice::Lost`], if the queue stayed full.
    pub(crate) fn record(&self, entry: Entry) -> bool {
        let Some((jobs, _)) = &self.thread else { return true };
        let Some(mut entry) = self.settings.tier.admit(entry) else { return true };
        entry.recorded_at_ns = self.unique_ns();
        let taken = jobs.send_timeout(Job::Record(Box::new(entry)), self.settings.queue_patience).is_ok();
        if !taken {
            (self.notify)(Notice::Lost { count: 1 });
        }
        taken
    }

    /// Nanoseconds UTC, later than any given before.
    fn unique_ns(&self) -> i64 {
        let now_ns = i64::try_from(now().as_nanos()).unwrap_or(i64::MAX);
        let next = |last: i64| Some(now_ns.max(last.saturating_add(1)));
        let last = self.last_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        now_ns.max(last.saturating_add(1))
    }

    /// Waits up to `limit` until all that was recorded is on the disk, in the database or beside it; whether it is.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let Some((jobs, _)) = &self.thread else { return true };
        let (reply, answer) = bounded(1);
        jobs.send_timeout(Job::Flush(reply), limit).is_ok() && answer.recv_timeout(limit) == Ok(true)
    }

    /// Decides about the recording of a dictation that is done: moves it to the audio folder, whose name for it
    /// is [`Entry::audio_file`], or erases it and returns `None`.
    ///
    /// # Errors
    /// If it can be neither.
    pub(crate) fn keep_audio(&self, recording: &Path, started_at_ms: i64) -> Result<Option<String>> {
        if !self.settings.keep_audio || self.settings.tier < Tier::Everything {
            files::erase(recording)?;
            return Ok(None);
        }
        let audio = self.layout.audio();
        files::private_dir(&audio)?;
        let extension = recording.extension().unwrap_or_default().to_string_lossy();
        let name = format!("{started_at_ms}-{}.{extension}", self.unique_ns());
        let kept = audio.join(&name);
        move_file(recording, &kept).map_err(|e| HistoryError::io(recording, e))?;
        files::restrict(&kept, 0o600).map_err(|e| HistoryError::io(&kept, e))?;
        Ok(Some(name))
    }

    /// `text` as it may appear in a log: its length, unless the settings allow more.
    pub(crate) fn loggable<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match (self.settings.log_text, self.settings.tier) {
            (true, Tier::Everything) => text.into(),
            (true, Tier::Scrubbed) => scrub(text).into(),
            _ => format!("[{} words]", text.split_whitespace().count()).into(),
        }
    }

    /// The log file; takes and forgets everything at [`Tier::Nothing`].
    ///
    /// # Errors
    /// If its folder cannot be made.
    pub(crate) fn log(&self) -> Result<Log> {
        match self.settings.tier {
            Tier::Nothing => Ok(Log::off()),
            _ => Log::open(&self.layout),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((jobs, thread)) = self.thread.take() {
            drop(jobs);
            // A panic of the writer has been reported on its thread.
            let _ = thread.join();
        }
    }
}

/// Renames, or copies between file systems.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to)?;
            fs::File::open(to)?.sync_all()?;
            fs::remove_file(from)
        }
        other => other,
    }
}
