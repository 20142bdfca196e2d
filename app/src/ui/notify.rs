//! Desktop notifications (freedesktop.org Desktop Notifications 1.2) over D-Bus.
//!
//! There is never more than one: each replaces the one before. Dictated text is kept out of it, since
//! notifications are shown on locked screens and kept in lists, unless the user has allowed it.

use super::worker::{Inbox, Received, Worker};
use super::{Event, Problem, report};
use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use zbus::blocking::{Connection, connection};
use zbus::zvariant::Value;

/// The shortest time between two notifications; of those in between, the last is shown.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the daemon may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Longer texts are cut: daemons cut them elsewhere, or not at all.
const MAX_CHARS: usize = 240;
const DAEMON: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// How the desktop presents a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Nothing was lost.
    Normal,
    /// Stays until it is dismissed: the user has to do something to get their text.
    Critical,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The headline.
    pub(crate) summary: String,
    /// A sentence of the program's own.
    pub(crate) body: String,
    /// Text that was dictated, shown after the body only where the user has allowed it.
    pub(crate) dictated: Option<String>,
    /// How it is presented.
    pub(crate) urgency: Urgency,
}

/// Sends notifications.
#[derive(Debug)]
pub(crate) struct Notifier(Worker<Notice>);

impl Notifier {
    /// Starts the thread; the bus is first asked with the first notice.
    pub(crate) fn start(show_dictated: bool, events: &SyncSender<Event>) -> Self {
        let reports = events.clone();
        Self(Worker::spawn("notifications", events, move |inbox| {
            run(&mut Daemon { show_dictated, connection: None, last: 0 }, inbox, &reports);
            Ok(())
        }))
    }

    /// Shows `notice` in place of the one before. Never waits.
    pub(crate) fn show(&self, notice: Notice) {
        self.0.post(notice);
    }
}

fn run(daemon: &mut Daemon, inbox: &Inbox<Notice>, events: &SyncSender<Event>) {
    let (mut next, mut reported) = (None, None);
    while let Some(notice) = next.take().or_else(|| inbox.take()) {
        if let Err(problem) = daemon.send(&notice)
            && reported.as_ref() != Some(&problem)
        {
            report(events, Event::Problem(problem.clone()));
            reported = Some(problem);
        }
        let rest = Instant::now() + INTERVAL;
        while let Received::Value(newer) = inbox.take_until(rest) {
            next = Some(newer);
        }
    }
}

/// The bus, the number of the notification that stands, and what may be in it.
struct Daemon {
    show_dictated: bool,
    connection: Option<Connection>,
    last: u32,
}

impl Daemon {
    fn send(&mut self, notice: &Notice) -> Result<(), Problem> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect()
                .map_err(|error| Problem::NoBus { part: "notifications", cause: error.to_string() })?,
        };
        let urgency = match notice.urgency {
            Urgency::Normal => 1u8,
            Urgency::Critical => 2,
        };
        let hints =
            HashMap::from([("urgency", Value::U8(urgency)), ("desktop-entry", Value::from("undertone"))]);
        let actions: [&str; 0] = [];
        let (summary, body) = (shorten(&notice.summary), self.body(notice));
        let content =
            ("Undertone", self.last, "audio-input-microphone", summary, body, &actions[..], hints, -1i32);
        let reply = connection.call_method(Some(DAEMON), PATH, Some(DAEMON), "Notify", &content);
        let number = reply.and_then(|reply| reply.body().deserialize::<u32>());
        self.last = number.map_err(|error| Problem::NoNotifications(error.to_string()))?;
        // A connection that failed is not kept: the next notice tries a new one.
        self.connection = Some(connection);
        Ok(())
    }

    fn body(&self, notice: &Notice) -> String {
        let mut body = escape(&shorten(&notice.body));
        if let Some(text) = notice.dictated.as_deref().filter(|_| self.show_dictated) {
            if !body.is_empty() {
                body.push('\n');
            }
            body.push_str(&escape(&shorten(text)));
        }
        body
    }
}

fn connect() -> zbus::Result<Connection> {
    connection::Builder::session()?.method_timeout(ANSWER_LIMIT).build()
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text.to_owned(),
    }
}

/// Bodies are markup: text must not become a tag, a link or a picture.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
