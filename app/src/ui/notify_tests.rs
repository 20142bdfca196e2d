use super::super::testing::{eventually, on_own_bus};
use super::*;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::sync::{Arc, Mutex};
use zbus::zvariant::OwnedValue;

type Shown = (u32, String, String, u8);

/// A notification daemon that keeps what it is sent: replaced number, headline, body, urgency.
struct MockDaemon(Arc<Mutex<Vec<Shown>>>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl MockDaemon {
    #[expect(clippy::too_many_arguments)]
    fn notify(
        &self,
        _app: String,
        replaces: u32,
        _icon: String,
        summary: String,
        body: String,
        _actions: Vec<String>,
        hints: HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        let urgency = u8::try_from(&hints["urgency"]).unwrap();
        self.0.lock().unwrap().push((replaces, summary, body, urgency));
        41
    }
}

fn daemon() -> (Connection, Arc<Mutex<Vec<Shown>>>) {
    let shown = Arc::default();
    let builder = connection::Builder::session().unwrap().name(DAEMON).unwrap();
    let connection = builder.serve_at(PATH, MockDaemon(Arc::clone(&shown))).unwrap().build().unwrap();
    (connection, shown)
}

fn start(show_dictated: bool) -> (Notifier, Receiver<Event>) {
    let (events, reports) = sync_channel(8);
    (Notifier::start(show_dictated, &events), reports)
}

fn notice(summary: &str) -> Notice {
    let body = "It is in the <clipboard> & the history.".into();
    let dictated = Some("my secret".into());
    Notice { summary: summary.into(), body, dictated, urgency: Urgency::Critical }
}

#[test]
fn replaces_its_own_skips_the_outdated_and_keeps_dictated_text_out() {
    on_own_bus(
        concat!(module_path!(), "::replaces_its_own_skips_the_outdated_and_keeps_dictated_text_out"),
        || {
            let (_connection, shown) = daemon();
            let (notifier, reports) = start(false);
            notifier.show(notice("first"));
            eventually("the first", || (shown.lock().unwrap().len() == 1).then_some(()));
            (0..50).for_each(|number| notifier.show(notice(&number.to_string())));
            eventually("the last", || (shown.lock().unwrap().len() == 2).then_some(()));
            drop(notifier);
            let shown = shown.lock().unwrap();
            let body = "It is in the &lt;clipboard&gt; &amp; the history.".to_owned();
            assert_eq!(*shown, [(0, "first".into(), body.clone(), 2), (41, "49".into(), body, 2)]);
            assert!(reports.try_recv().is_err());
        },
    );
}

#[test]
fn shows_dictated_text_where_allowed() {
    on_own_bus(concat!(module_path!(), "::shows_dictated_text_where_allowed"), || {
        let (_connection, shown) = daemon();
        let (notifier, _reports) = start(true);
        notifier.show(notice("first"));
        drop(notifier);
        assert!(shown.lock().unwrap()[0].2.ends_with("\nmy secret"));
    });
}

#[test]
fn a_missing_daemon_is_told_once_and_one_that_comes_later_is_used() {
    on_own_bus(
        concat!(module_path!(), "::a_missing_daemon_is_told_once_and_one_that_comes_later_is_used"),
        || {
            let (notifier, reports) = start(false);
            notifier.show(notice("lost"));
            let report = reports.recv_timeout(Duration::from_secs(20)).unwrap();
            assert!(matches!(report, Event::Problem(Problem::NoNotifications(_))), "{report:?}");
            let (_connection, shown) = daemon();
            notifier.show(notice("found"));
            eventually("the notice", || (shown.lock().unwrap().len() == 1).then_some(()));
            assert!(reports.try_recv().is_err());
        },
    );
}

#[test]
fn a_missing_bus_is_told() {
    use super::super::testing::in_own_process;
    let nowhere = [("DBUS_SESSION_BUS_ADDRESS", std::path::Path::new("unix:path=/nonexistent/bus"))];
    in_own_process(concat!(module_path!(), "::a_missing_bus_is_told"), &[], &nowhere, || {
        let (notifier, reports) = start(false);
        notifier.show(notice("lost"));
        let report = reports.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(matches!(report, Event::Problem(Problem::NoBus { part: "notifications", .. })), "{report:?}");
    });
}

#[test]
fn a_daemon_that_hangs_does_not_hold_up_the_caller() {
    on_own_bus(concat!(module_path!(), "::a_daemon_that_hangs_does_not_hold_up_the_caller"), || {
        struct Hanging(Mutex<Receiver<()>>);
        #[zbus::interface(name = "org.freedesktop.Notifications")]
        impl Hanging {
            fn notify(&self) -> u32 {
                self.0.lock().unwrap().recv().ok();
                0
            }
        }
        let (release, gate) = channel::<()>();
        let builder = connection::Builder::session().unwrap().name(DAEMON).unwrap();
        let connection = builder.serve_at(PATH, Hanging(Mutex::new(gate))).unwrap().build().unwrap();
        let (notifier, reports) = start(false);
        notifier.show(notice("lost"));
        let report = reports.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(matches!(report, Event::Problem(Problem::NoNotifications(_))), "{report:?}");
        drop((release, notifier, connection));
    });
}

#[test]
fn texts_are_cut_between_characters() {
    let text = shorten(&"é".repeat(1000));
    assert_eq!(text.chars().count(), MAX_CHARS + 1);
    assert_eq!(shorten("short"), "short");
}
