//! The desktop's portals: on Wayland keys are heard, and on some compositors typed, through them alone.

use super::State::{Fail, Warn};
use super::facts::{Facts, Injection};
use super::table::{Case, Judged, judged, on_desktop};
use crate::environment::Environment;
use crate::inject::Method;
use crate::keys::Choice;
use crate::run::keys_choice;
use crate::settings::{Settings, Way};

/// What the desktop offers of what the program can use, and what of it is needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Portals {
    /// Version of `org.freedesktop.portal.GlobalShortcuts`.
    pub(super) shortcuts: Option<u32>,
    /// Version of `org.freedesktop.portal.RemoteDesktop`.
    pub(super) remote_desktop: Option<u32>,
    pub(super) needs_shortcuts: bool,
    pub(super) needs_remote_desktop: bool,
}

impl Portals {
    pub(super) fn find(
        is_desktop: bool,
        settings: &Settings,
        environment: &Environment,
        injection: Option<&Injection>,
    ) -> Portals {
        let [shortcuts, remote_desktop] = if is_desktop { versions(None) } else { [None; 2] };
        Portals {
            shortcuts,
            remote_desktop,
            needs_shortcuts: matches!(keys_choice(settings, environment), Choice::Portal(_)),
            needs_remote_desktop: injection
                .is_some_and(|i| i.method == Some(Method::Portal) && i.way != Way::None),
        }
    }
}

/// Versions of GlobalShortcuts and RemoteDesktop on the bus at `address`, by default the session's.
#[cfg(target_os = "linux")]
fn versions(address: Option<&str>) -> [Option<u32>; 2] {
    use std::time::Duration;
    use zbus::blocking::{Connection, connection::Builder};
    use zbus::zvariant::OwnedValue;
    /// For the bus, which may have to start the portal first.
    const LIMIT: Duration = Duration::from_secs(3);
    let connect = || -> zbus::Result<Connection> {
        let builder = match address {
            Some(address) => Builder::address(address)?,
            None => Builder::session()?,
        };
        builder.method_timeout(LIMIT).build()
    };
    let Ok(bus) = connect() else { return [None; 2] };
    ["GlobalShortcuts", "RemoteDesktop"].map(|name| {
        let asked = (format!("org.freedesktop.portal.{name}"), "version");
        let portal = (Some("org.freedesktop.portal.Desktop"), "/org/freedesktop/portal/desktop");
        let properties = Some("org.freedesktop.DBus.Properties");
        let answer = bus.call_method(portal.0, portal.1, properties, "Get", &asked).ok()?;
        answer.body().deserialize::<OwnedValue>().ok()?.try_into().ok()
    })
}

#[cfg(not(target_os = "linux"))]
fn versions(_address: Option<&str>) -> [Option<u32>; 2] {
    [None; 2]
}

pub(super) const ABOUT: &str = "What the desktop lets programs do over D-Bus, with its versions: `GlobalShortcuts` hears keys on \
     Wayland, `RemoteDesktop` types where the compositor has no `zwp_virtual_keyboard_v1` (GNOME, Plasma). X11 needs neither.";

pub(super) const CASES: &[&Case] = &[&NO_REMOTE_DESKTOP, &NO_SHORTCUTS];

const NO_REMOTE_DESKTOP: Case = Case {
    state: Fail,
    when: "nothing but RemoteDesktop could type here, and it is not there",
    remedy: "install xdg-desktop-portal and your desktop's part of it (xdg-desktop-portal-gnome, -kde); until then text \
             waits on the clipboard (with wl-copy installed) and in the history",
};
const NO_SHORTCUTS: Case = Case {
    state: Warn,
    when: "keys are to be heard over GlobalShortcuts, and it is not there",
    remedy: "install xdg-desktop-portal and your desktop's part of it (-gnome, -kde, -hyprland); where there is none (Sway), \
             bind a key of the desktop to undertone ctl toggle, or set keyboard.backend = \"evdev\"",
};

pub(super) fn judge(f: &Facts) -> Option<Judged> {
    let portals = &on_desktop(f)?.portals;
    let said = |name: &str, version: Option<u32>, is_needed: bool| match (version, is_needed) {
        (Some(version), _) => format!("{name} {version}"),
        (None, true) => format!("no {name}"),
        (None, false) => format!("no {name} (not needed here)"),
    };
    let Portals { shortcuts, remote_desktop, needs_shortcuts, needs_remote_desktop } = *portals;
    let what = [
        said("GlobalShortcuts", shortcuts, needs_shortcuts),
        said("RemoteDesktop", remote_desktop, needs_remote_desktop),
    ];
    let judged = judged(
        what.join(", "),
        &[
            (needs_remote_desktop && remote_desktop.is_none(), &NO_REMOTE_DESKTOP),
            (needs_shortcuts && shortcuts.is_none(), &NO_SHORTCUTS),
        ],
    )?;
    let figures = serde_json::json!({"GlobalShortcuts": shortcuts, "RemoteDesktop": remote_desktop});
    Some(Judged { figures: Some(figures), ..judged })
}

#[cfg(all(test, target_os = "linux", feature = "portal"))]
mod tests {
    use super::*;
    use crate::keys::tests::portal::{Desktop, Dialog};

    #[test]
    fn versions_are_read_from_the_bus_and_what_is_not_there_is_none() {
        let desktop = Desktop::start(Dialog::Allow);
        assert_eq!(versions(Some(desktop.address())), [Some(1), None]);
        assert_eq!(versions(Some("unix:path=/nowhere")), [None, None]);
    }
}
