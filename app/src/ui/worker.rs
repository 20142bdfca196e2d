//! A thread that acts on the newest value it was given: older ones are out of date, not owed.

use super::{Event, Problem, report};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How long dropping a [`Worker`] waits for its thread, which may hang in a call to the desktop.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Owns a thread and the slot through which it is given values.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    inbox: Arc<Inbox<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Runs `work` on a thread until it returns, which it must when its inbox is closed. Its
    /// error, or the thread's absence, is reported.
    pub(super) fn spawn(
        part: &'static str,
        events: &SyncSender<Event>,
        work: impl FnOnce(&Inbox<T>) -> Result<(), Problem> + Send + 'static,
    ) -> Self {
        let inbox = Arc::new(Inbox { slot: Mutex::new(Slot::default()), changed: Condvar::new() });
        let thread = Builder::new().name(part.into()).spawn({
            let (inbox, events) = (Arc::clone(&inbox), events.clone());
            move || {
                let ended = MarkEnded(&inbox);
                if let Err(problem) = work(ended.0) {
                    report(&events, Event::Problem(problem));
                }
            }
        });
        let thread = thread.map_err(|error| {
            report(events, Event::Problem(Problem::NoThread { part, cause: error.to_string() }));
        });
        Self { inbox, thread: thread.ok() }
    }

    /// Replaces the value that the thread has not taken yet. Never waits.
    pub(super) fn post(&self, value: T) {
        self.inbox.lock().newest = Some(value);
        self.inbox.changed.notify_all();
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut slot = self.inbox.lock();
        slot.closed = true;
        self.inbox.changed.notify_all();
        let waited = self.inbox.changed.wait_timeout_while(slot, END_LIMIT, |slot| !slot.ended);
        let ended = waited.unwrap_or_else(PoisonError::into_inner).0.ended;
        // A thread that hangs is left to the end of the process.
        if ended && thread.join().is_err() {
            tracing::warn!("a thread of the interface had panicked");
        }
    }
}

/// The thread's side of a [`Worker`].
#[derive(Debug)]
pub(super) struct Inbox<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Slot<T> {
    newest: Option<T>,
    closed: bool,
    ended: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { newest: None, closed: false, ended: false }
    }
}

/// What waiting on an [`Inbox`] ended with.
#[derive(Debug, PartialEq)]
pub(super) enum Received<T> {
    /// The newest value.
    Value(T),
    /// Nothing came in time.
    TimedOut,
    /// The owner is gone, and every value was taken.
    Closed,
}

impl<T> Inbox<T> {
    /// Waits for a value until `deadline`; a value given before the owner went is still delivered.
    pub(super) fn take_until(&self, deadline: Instant) -> Received<T> {
        let limit = deadline.saturating_duration_since(Instant::now());
        let empty = |slot: &mut Slot<T>| slot.newest.is_none() && !slot.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), limit, empty);
        let mut slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        match slot.newest.take() {
            Some(value) => Received::Value(value),
            None if slot.closed => Received::Closed,
            None => Received::TimedOut,
        }
    }

    /// The next value, however long it takes; `None` when the owner is gone.
    pub(super) fn take(&self) -> Option<T> {
        let waited = self.changed.wait_while(self.lock(), |slot| slot.newest.is_none() && !slot.closed);
        waited.unwrap_or_else(PoisonError::into_inner).newest.take()
    }

    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the owner that the thread is over, also when it panics.
struct MarkEnded<'a, T>(&'a Inbox<T>);

impl<T> Drop for MarkEnded<'_, T> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, sync_channel};

    #[test]
    fn the_newest_value_wins_and_the_last_is_delivered_before_the_end() {
        let (events, _receiver) = sync_channel(1);
        let (seen, record) = channel();
        let (go, gate) = channel::<()>();
        let worker = Worker::spawn("test", &events, move |inbox| {
            gate.recv().unwrap();
            while let Some(value) = inbox.take() {
                seen.send(value).unwrap();
            }
            Ok(())
        });
        (0..100).for_each(|value| worker.post(value));
        go.send(()).unwrap();
        assert_eq!(record.recv(), Ok(99));
        worker.post(100);
        drop(worker);
        assert_eq!(record.iter().collect::<Vec<_>>(), [100]);
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let inbox = Inbox::<u8> { slot: Mutex::default(), changed: Condvar::new() };
        assert_eq!(inbox.take_until(Instant::now() + Duration::from_millis(5)), Received::TimedOut);
        inbox.lock().newest = Some(7);
        inbox.lock().closed = true;
        assert_eq!(inbox.take_until(Instant::now()), Received::Value(7));
        assert_eq!(inbox.take_until(Instant::now()), Received::Closed);
        assert_eq!(inbox.take(), None);
    }

    #[test]
    fn an_error_is_reported_once_and_later_values_are_ignored() {
        let (events, receiver) = sync_channel(4);
        let worker = Worker::<u8>::spawn("test", &events, |_| Err(Problem::NoTrayHost));
        assert!(matches!(receiver.recv(), Ok(Event::Problem(Problem::NoTrayHost))));
        worker.post(1);
        drop(worker);
        drop(events);
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn a_panic_does_not_hang_the_owner() {
        let (events, _receiver) = sync_channel(1);
        drop(Worker::<u8>::spawn("test", &events, |_| panic!("expected by the test")));
    }
}
