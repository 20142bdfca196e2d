use super::super::testing::{eventually, in_own_process, on_own_bus};
use super::*;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::Duration;
use zbus::blocking::{Connection, Proxy, connection};
use zbus::proxy::CacheProperties;
use zbus::zvariant::{OwnedValue, Structure, Value};

/// The part of a panel that icons register with.
struct MockWatcher(Sender<String>);

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl MockWatcher {
    fn register_status_notifier_item(&self, name: String) {
        self.0.send(name).unwrap();
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }
}

fn watcher() -> (Connection, Receiver<String>) {
    let (names, registered) = channel();
    let builder = connection::Builder::session().unwrap().name("org.kde.StatusNotifierWatcher").unwrap();
    let served = builder.serve_at("/StatusNotifierWatcher", MockWatcher(names)).unwrap();
    (served.build().unwrap(), registered)
}

fn status() -> Status {
    let modes = vec!["dictate".into(), "my_note".into()];
    Status { modes, has_last: true, ..Status::default() }
}

fn start() -> (Tray, Receiver<Event>) {
    let (events, reports) = sync_channel(8);
    (Tray::start(status(), &events), reports)
}

const LIMIT: Duration = Duration::from_secs(20);

/// The menu's entries: number, label, state of the check mark.
fn entries(menu: &Proxy<'_>) -> Vec<(i32, String, i32)> {
    type Layout = (u32, (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>));
    let layout: Layout = menu.call("GetLayout", &(0i32, -1i32, Vec::<String>::new())).unwrap();
    let entry = |value: OwnedValue| {
        let entry = Structure::try_from(value).unwrap();
        let (number, properties, _): (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>) =
            entry.try_into().unwrap();
        let label = properties.get("label").map(|label| String::try_from(label.clone()).unwrap());
        let mark = properties.get("toggle-state").map_or(0, |mark| i32::try_from(mark).unwrap());
        (number, label.unwrap_or_default(), mark)
    };
    layout.1.2.into_iter().map(entry).collect()
}

fn click(menu: &Proxy<'_>, label: &str) {
    let entries = entries(menu);
    let number =
        entries.iter().find(|entry| entry.1 == label).unwrap_or_else(|| panic!("{label}: {entries:?}")).0;
    menu.call::<_, _, ()>("Event", &(number, "clicked", Value::U8(0), 0u32)).unwrap();
}

#[test]
fn the_menu_sends_what_was_chosen_and_the_icon_follows_the_status() {
    on_own_bus(
        concat!(module_path!(), "::the_menu_sends_what_was_chosen_and_the_icon_follows_the_status"),
        || {
            let (panel, registered) = watcher();
            let (tray, reports) = start();
            let name = registered.recv_timeout(LIMIT).unwrap();
            let item = zbus::blocking::proxy::Builder::<Proxy<'_>>::new(&panel)
                .destination(name.clone())
                .and_then(|item| item.path("/StatusNotifierItem"))
                .and_then(|item| item.interface("org.kde.StatusNotifierItem"))
                .and_then(|item| item.cache_properties(CacheProperties::No).build())
                .unwrap();
            let path: zbus::zvariant::OwnedObjectPath = item.get_property("Menu").unwrap();
            let menu = Proxy::new(&panel, name, path, "com.canonical.dbusmenu").unwrap();

            for label in
                ["_Start dictation", "Insert _again", "_Undo", "my__note", "Open _history folder", "_Quit"]
            {
                click(&menu, label);
            }
            let chosen: Vec<Event> = (0..6).map(|_| reports.recv_timeout(LIMIT).unwrap()).collect();
            use Event::{Again, Mode, OpenHistory, Quit, Start, Undo};
            assert!(matches!(chosen[..], [Start, Again, Undo, Mode(1), OpenHistory, Quit]), "{chosen:?}");
            assert!(entries(&menu).iter().any(|entry| (entry.1.as_str(), entry.2) == ("my__note", 1)));

            let pixmaps = || item.get_property::<Vec<(i32, i32, Vec<u8>)>>("IconPixmap").unwrap();
            let idle = pixmaps();
            let sizes: Vec<_> =
                idle.iter().map(|(width, height, data)| (*width, *height, data.len())).collect();
            assert_eq!(sizes, [22, 32, 64].map(|side| (side, side, 4 * (side * side) as usize)));
            tray.set(Status { activity: Activity::Recording, ..status() });
            eventually("the recording's icon", || (pixmaps() != idle).then_some(()));
            click(&menu, "_Stop");
            assert!(matches!(reports.recv_timeout(LIMIT), Ok(Event::Stop)));
            drop(tray);
            eventually("the icon's end", || item.get_property::<String>("Id").is_err().then_some(()));
        },
    );
}

#[test]
fn without_a_panel_it_says_so_once_and_appears_when_one_comes() {
    on_own_bus(
        concat!(module_path!(), "::without_a_panel_it_says_so_once_and_appears_when_one_comes"),
        || {
            let (_tray, reports) = start();
            let report = reports.recv_timeout(LIMIT).unwrap();
            assert!(matches!(report, Event::Problem(Problem::NoTrayHost)), "{report:?}");
            let (_panel, registered) = watcher();
            assert!(registered.recv_timeout(LIMIT).unwrap().starts_with("org.kde.StatusNotifierItem-"));
            assert!(reports.try_recv().is_err());
        },
    );
}

#[test]
fn a_missing_bus_is_told() {
    let nowhere = [("DBUS_SESSION_BUS_ADDRESS", std::path::Path::new("unix:path=/nonexistent/bus"))];
    in_own_process(concat!(module_path!(), "::a_missing_bus_is_told"), &[], &nowhere, || {
        let (_tray, reports) = start();
        let report = reports.recv_timeout(LIMIT).unwrap();
        assert!(matches!(report, Event::Problem(Problem::NoBus { part: "tray icon", .. })), "{report:?}");
    });
}

#[test]
fn icons_differ_and_their_corners_are_clear() {
    use Activity::{Error, Idle, Recording, Working};
    let icons = [Idle, Recording, Working, Error].map(|activity| icon(activity, 32).unwrap().data);
    for (at, one) in icons.iter().enumerate() {
        assert_eq!(one[..4], [0; 4]);
        assert!(icons[at + 1..].iter().all(|other| other != one));
    }
}
