//! The tray icon and its menu, over the StatusNotifierItem protocol (KDE, and GNOME with an
//! extension; swaybar, waybar, xfce4-panel and others).

use super::shapes::{color, fill, polyline, rounded_rect, stroke};
use super::worker::{Inbox, Worker};
use super::{Event, Problem, report};
use ksni::blocking::{Handle, TrayMethods};
use ksni::menu::{CheckmarkItem, RadioGroup, RadioItem, StandardItem};
use ksni::{Icon, MenuItem, OfflineReason, ToolTip};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use tiny_skia::{PathBuilder, Pixmap};

/// Sides of the icon, pixels, for panels of all heights.
const ICON_SIDES: [u32; 3] = [22, 32, 64];

/// What the icon tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Activity {
    /// Waiting for the key.
    #[default]
    Idle,
    /// The microphone is open.
    Recording,
    /// The text is being made.
    Working,
    /// The last dictation failed.
    Error,
}

/// All that the icon and the menu show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Status {
    /// What the icon tells.
    pub(crate) activity: Activity,
    /// Names of the modes, in the menu's order.
    pub(crate) modes: Vec<String>,
    /// Position of the mode in use.
    pub(crate) mode: usize,
    /// Whether there is a text to put in again or to take out.
    pub(crate) has_last: bool,
}

/// The tray icon. Dropping it takes the icon away.
#[derive(Debug)]
pub(crate) struct Tray(Worker<Status>);

impl Tray {
    /// Shows the icon as soon as something on the desktop shows icons; what is chosen in the menu
    /// arrives on `events`.
    pub(crate) fn start(status: Status, events: &SyncSender<Event>) -> Self {
        let item = Item { status, events: events.clone(), is_unseen: Arc::default() };
        Self(Worker::spawn("tray", events, |inbox| run(item, inbox)))
    }

    /// Shows `status` from now on. Never waits.
    pub(crate) fn set(&self, status: Status) {
        self.0.post(status);
    }
}

fn run(item: Item, inbox: &Inbox<Status>) -> Result<(), Problem> {
    // At login the program may be up before the panel is: then the icon appears with the panel.
    let mut handle = spawn(item.clone())?;
    // ksni listens for a panel only after it has found none: one that came in between does not know of the icon.
    if item.is_unseen.load(Ordering::SeqCst) && is_panel_there() {
        handle.shutdown().wait();
        handle = spawn(item)?;
    }
    while let Some(status) = inbox.take() {
        if handle.update(|item| item.status = status).is_none() {
            return Err(Problem::NoBus { part: "tray icon", cause: "it has ended".into() });
        }
    }
    handle.shutdown().wait();
    Ok(())
}

fn spawn(item: Item) -> Result<Handle<Item>, Problem> {
    item.assume_sni_available(true).spawn().map_err(|error| match error {
        ksni::Error::Watcher(_) | ksni::Error::WontShow => Problem::NoTrayHost,
        error => Problem::NoBus { part: "tray icon", cause: error.to_string() },
    })
}

/// Whether something shows icons now.
fn is_panel_there() -> bool {
    let ask = || {
        let bus = zbus::blocking::Connection::session()?;
        let name = "org.kde.StatusNotifierWatcher".try_into()?;
        zbus::Result::Ok(zbus::blocking::fdo::DBusProxy::new(&bus)?.name_has_owner(name)?)
    };
    ask().unwrap_or(false)
}

/// What is published on the bus.
#[derive(Clone)]
struct Item {
    status: Status,
    events: SyncSender<Event>,
    /// Whether nothing has taken the icon yet.
    is_unseen: Arc<AtomicBool>,
}

impl Item {
    fn entry(label: &str, enabled: bool, event: fn() -> Event) -> MenuItem<Self> {
        let activate = Box::new(move |item: &mut Self| report(&item.events, event()));
        StandardItem { label: label.into(), enabled, activate, ..StandardItem::default() }.into()
    }

    fn mode_name(&self) -> &str {
        self.status.modes.get(self.status.mode).map_or("", String::as_str)
    }
}

impl ksni::Tray for Item {
    fn id(&self) -> String {
        "undertone".into()
    }

    fn title(&self) -> String {
        "Undertone".into()
    }

    fn icon_pixmap(&self) -> Vec<Icon> {
        ICON_SIDES.into_iter().filter_map(|side| icon(self.status.activity, side)).collect()
    }

    fn tool_tip(&self) -> ToolTip {
        let doing = match self.status.activity {
            Activity::Idle => "ready",
            Activity::Recording => "recording",
            Activity::Working => "working",
            Activity::Error => "the last dictation failed",
        };
        let description = format!("{}: {doing}", self.mode_name());
        ToolTip { title: "Undertone".into(), description, ..ToolTip::default() }
    }

    fn activate(&mut self, _x: i32, _y: i32) {
        let recording = self.status.activity == Activity::Recording;
        report(&self.events, if recording { Event::Stop } else { Event::Start });
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        let recording = self.status.activity == Activity::Recording;
        // An underscore marks the key that chooses the entry; a name has its own underscores doubled.
        let option = |mode: &String| RadioItem { label: mode.replace('_', "__"), ..RadioItem::default() };
        let modes = RadioGroup {
            selected: self.status.mode,
            select: Box::new(|item: &mut Self, mode| {
                item.status.mode = mode;
                report(&item.events, Event::Mode(mode));
            }),
            options: self.status.modes.iter().map(option).collect(),
        };
        let record = CheckmarkItem {
            label: if recording { "_Stop" } else { "_Start dictation" }.into(),
            checked: recording,
            activate: Box::new(|item: &mut Self| ksni::Tray::activate(item, 0, 0)),
            ..CheckmarkItem::default()
        };
        vec![
            record.into(),
            Self::entry("Insert _again", self.status.has_last, || Event::Again),
            Self::entry("_Undo", self.status.has_last, || Event::Undo),
            MenuItem::Separator,
            modes.into(),
            MenuItem::Separator,
            Self::entry("Open _history folder", true, || Event::OpenHistory),
            Self::entry("_Quit", true, || Event::Quit),
        ]
    }

    fn watcher_online(&self) {
        self.is_unseen.store(false, Ordering::SeqCst);
    }

    fn watcher_offline(&self, reason: OfflineReason) -> bool {
        // A panel that restarts is gone for a moment; only one that never was is worth a word.
        if let OfflineReason::Error(_) = reason {
            self.is_unseen.store(true, Ordering::SeqCst);
            report(&self.events, Event::Problem(Problem::NoTrayHost));
        }
        true
    }
}

/// A microphone in the activity's colour.
fn icon(activity: Activity, side: u32) -> Option<Icon> {
    let rgb = match activity {
        Activity::Idle => 0xE4E6EA,
        Activity::Recording => 0xFF5D55,
        Activity::Working => 0x73ACFF,
        Activity::Error => 0xF4B355,
    };
    let mut pixmap = Pixmap::new(side, side)?;
    let unit = side as f32 / 22.0;
    let at = |x: f32, y: f32| (x * unit, y * unit);
    // A dark rim keeps the light icon visible on light panels.
    for (ink, wider) in [(color(0x101216, 0.55), 1.6), (color(rgb, 1.0), 0.0)] {
        let grow = wider * unit / 2.0;
        let (x, y) = at(8.0, 2.5);
        let capsule =
            rounded_rect(x - grow, y - grow, 6.0 * unit + 2.0 * grow, 10.0 * unit + 2.0 * grow, 9e9);
        fill(&mut pixmap, capsule, ink);
        let mut cradle = PathBuilder::new();
        cradle.move_to(5.0 * unit, 10.0 * unit);
        cradle.cubic_to(5.0 * unit, 17.5 * unit, 17.0 * unit, 17.5 * unit, 17.0 * unit, 10.0 * unit);
        stroke(&mut pixmap, cradle.finish(), (1.5 + wider) * unit, ink);
        stroke(&mut pixmap, polyline(&[at(11.0, 15.6), at(11.0, 19.3)]), (1.5 + wider) * unit, ink);
        stroke(&mut pixmap, polyline(&[at(7.8, 19.3), at(14.2, 19.3)]), (1.5 + wider) * unit, ink);
    }
    let mut data = Vec::with_capacity(pixmap.data().len());
    for pixel in pixmap.pixels() {
        let pixel = pixel.demultiply();
        data.extend_from_slice(&[pixel.alpha(), pixel.red(), pixel.green(), pixel.blue()]);
    }
    let side = i32::try_from(side).ok()?;
    Some(Icon { width: side, height: side, data })
}

#[cfg(test)]
#[path = "tray_tests.rs"]
mod tests;
