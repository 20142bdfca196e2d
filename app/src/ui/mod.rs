//! What the user sees and hears: overlay, tray, notifications, sounds, and the terminal dashboard.
//!
//! All of it is optional. Starting a part neither waits nor fails: each runs on a thread of its own,
//! and one that cannot work on this desktop says so once, as [`Event::Problem`], and from then on
//! ignores what it is given.

pub(crate) mod dashboard;
pub(crate) mod notify;
pub(crate) mod overlay;
mod problem;
mod shapes;
pub(crate) mod sound;
#[cfg(test)]
mod testing;
pub(crate) mod tray;
mod worker;

pub(crate) use problem::Problem;
use std::sync::mpsc::SyncSender;

/// What the user chose in the tray's menu, or what a part of the interface has to report.
#[derive(Debug)]
pub(crate) enum Event {
    /// Start a dictation.
    Start,
    /// End the dictation that is running.
    Stop,
    /// Use the mode at this position of [`tray::Status::modes`].
    Mode(usize),
    /// Put the last text in once more.
    Again,
    /// Take the last text out.
    Undo,
    /// Show the folder of the history.
    OpenHistory,
    /// End the program.
    Quit,
    /// A part of the interface is missing or has failed; said once for each cause.
    Problem(Problem),
}

/// Reports to the program without waiting; what a full queue cannot take is only logged.
fn report(events: &SyncSender<Event>, event: Event) {
    if let Err(lost) = events.try_send(event) {
        tracing::warn!("the interface could not report: {lost}");
    }
}
