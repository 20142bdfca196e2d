//! Reload while running: a thread that looks at the file twice a second.
//!
//! Looking costs one `stat`, works on every file system, and sees a file that is replaced by another;
//! watching through the kernel would need a second way for each of these.

use super::check::Checks;
use super::file::{ConfigFile, SettingsError};
use super::schema::Place;
use super::{Settings, to_table};
use std::fs;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use toml::Table;

const INTERVAL: Duration = Duration::from_millis(500);

/// A key whose value is another now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its dotted path; a list counts as one key.
    pub(crate) key: String,
    /// Whether it takes effect at the next start only.
    pub(crate) restart: bool,
}

/// What became of a changed file.
#[derive(Debug)]
pub(crate) enum Update {
    /// Other settings than before, and in what. They hold all of the file, also what needs a restart.
    Reload { settings: Box<Settings>, changed: Vec<Change> },
    /// The file cannot be used: the settings stay as they were. Told once, until it can be used again
    /// or is broken in another way.
    Broken(SettingsError),
}

/// What is seen of a file without reading it.
type Stamp = (SystemTime, u64);

/// What is known of the file between two looks at it.
struct Observed {
    file: ConfigFile,
    checks: Checks,
    settings: Settings,
    /// At the last look; `None` of a file that is not there.
    seen: Option<Stamp>,
    /// When it was last read.
    read: Option<Stamp>,
    /// The failure last told.
    told: Option<String>,
}

impl Observed {
    /// `settings` are those the caller has. The first looks read the file in any case, so that nothing
    /// changed since is missed.
    fn new(file: ConfigFile, settings: Settings, checks: Checks) -> Observed {
        let never = Some((SystemTime::UNIX_EPOCH, u64::MAX));
        Observed { file, checks, settings, seen: never, read: never, told: None }
    }

    fn look(&mut self) -> Option<Update> {
        let stamp = fs::metadata(self.file.path()).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
        // An editor may be in the middle of writing: only a file that rests is read.
        let rests = std::mem::replace(&mut self.seen, stamp) == stamp;
        if !rests || self.read == stamp {
            return None;
        }
        self.read = stamp;
        match self.file.load(&self.checks) {
            Ok(settings) => {
                self.told = None;
                let changed = changes(&self.settings, &settings);
                self.settings = settings.clone();
                (!changed.is_empty()).then(|| Update::Reload { settings: Box::new(settings), changed })
            }
            Err(error) => {
                let sentence = error.to_string();
                let news = self.told.as_ref() != Some(&sentence);
                self.told = Some(sentence);
                news.then_some(Update::Broken(error))
            }
        }
    }
}

/// The keys whose values differ.
pub(super) fn changes(old: &Settings, new: &Settings) -> Vec<Change> {
    let mut changed = Vec::new();
    differences(&to_table(old), &to_table(new), Place::root(), "", &mut changed);
    changed
}

fn differences(old: &Table, new: &Table, place: Place, prefix: &str, changed: &mut Vec<Change>) {
    let empty = Table::new();
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let (before, after) = (old.get(key), new.get(key));
        let Some(place) = place.below(key).filter(|_| before != after) else { continue };
        let path = format!("{prefix}{key}");
        let tables =
            (before.map_or(Some(&empty), |v| v.as_table()), after.map_or(Some(&empty), |v| v.as_table()));
        match tables {
            (Some(before), Some(after)) => differences(before, after, place, &format!("{path}."), changed),
            _ => changed
                .push(Change { restart: place.restart || list_restarts(before, after, place), key: path }),
        }
    }
}

/// Whether two lists of tables differ in a key that needs a restart.
fn list_restarts(before: Option<&toml::Value>, after: Option<&toml::Value>, place: Place) -> bool {
    let items = |list: Option<&toml::Value>| list.and_then(|v| v.as_array().cloned()).unwrap_or_default();
    let (before, after, empty) = (items(before), items(after), Table::new());
    let mut changed = Vec::new();
    for at in 0..before.len().max(after.len()) {
        let item = |list: &'_ [toml::Value]| list.get(at).and_then(|v| v.as_table().cloned());
        let (Some(place), (before, after)) = (place.below("0"), (item(&before), item(&after))) else {
            continue;
        };
        let (before, after) = (before.as_ref().unwrap_or(&empty), after.as_ref().unwrap_or(&empty));
        differences(before, after, place, "", &mut changed);
    }
    changed.iter().any(|change| change.restart)
}

/// Looks after the file on a thread of its own until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    // Dropped first: that ends the thread.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Calls `tell` on its thread at every change against `settings`, at most a second after it.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start(
        file: ConfigFile,
        settings: Settings,
        checks: Checks,
        mut tell: impl FnMut(Update) + Send + 'static,
    ) -> io::Result<Watcher> {
        let (stop, stopped) = sync_channel::<()>(0);
        let mut observed = Observed::new(file, settings, checks);
        let watch = move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if let Some(update) = observed.look() {
                    tell(update);
                }
            }
        };
        let thread = std::thread::Builder::new().name("settings".into()).spawn(watch)?;
        Ok(Watcher { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of `tell` was printed by its thread; there is nothing left to end.
            _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::CHECKS;
    use std::sync::mpsc::channel;

    /// Writes with a time of its own, as if at another moment.
    fn write(file: &ConfigFile, text: &str, second: u64) {
        fs::write(file.path(), text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        fs::File::options().write(true).open(file.path()).unwrap().set_modified(time).unwrap();
    }

    fn told(update: Option<Update>) -> String {
        match update {
            None => String::new(),
            Some(Update::Broken(_)) => "broken".into(),
            Some(Update::Reload { changed, .. }) => {
                changed.iter().map(|c| format!("{}{} ", c.key, if c.restart { "!" } else { "" })).collect()
            }
        }
    }

    #[test]
    fn a_changed_file_is_read_when_it_rests_and_broken_ones_are_told_once() {
        let home = tempfile::tempdir().unwrap();
        let file = ConfigFile::at(home.path().join("c.toml"));
        let mut observed = Observed::new(file.clone(), Settings::default(), CHECKS);
        let mut look = || told(observed.look());
        assert_eq!([look(), look(), look()], ["", "", ""]);
        write(&file, "audio.tail_ms = 1", 1);
        assert_eq!([look(), look(), look()], ["", "audio.tail_ms ", ""]);
        // Written in two parts.
        write(&file, "audio.tail_ms = ", 2);
        assert_eq!(look(), "");
        write(&file, "audio.tail_ms = 2\nmodels.threads = 1", 2);
        assert_eq!([look(), look(), look()], ["", "audio.tail_ms models.threads! ", ""]);
        write(&file, "audio.tail = 2", 3);
        assert_eq!([look(), look(), look()], ["", "broken", ""]);
        // Saved again with the same fault; then with another; then as it was before.
        write(&file, "audio.tail = 3", 4);
        assert_eq!([look(), look()], ["", ""]);
        write(&file, "audio.tail_ms = 'x'", 5);
        assert_eq!([look(), look()], ["", "broken"]);
        write(&file, "models.threads = 1\naudio.tail_ms = 2", 6);
        assert_eq!([look(), look()], ["", ""]);
        write(&file, "audio.tail = 3", 7);
        assert_eq!([look(), look()], ["", "broken"]);
        // Without the file the defaults hold.
        fs::remove_file(file.path()).unwrap();
        assert_eq!([look(), look(), look()], ["", "audio.tail_ms models.threads! ", ""]);
    }

    #[test]
    fn the_thread_tells_and_ends_when_dropped() {
        let home = tempfile::tempdir().unwrap();
        let file = ConfigFile::at(home.path().join("c.toml"));
        let (updates, update) = channel();
        let tell = move |update| updates.send(told(Some(update))).unwrap();
        let watcher = Watcher::start(file.clone(), Settings::default(), CHECKS, tell).unwrap();
        file.set(&[("audio.tail_ms", "1")], &CHECKS).unwrap();
        assert_eq!(update.recv_timeout(Duration::from_secs(30)).unwrap(), "audio.tail_ms ");
        drop(watcher);
        // The sender went with the thread.
        assert!(update.recv().is_err());
    }
}
