//! Which window has the keyboard, and whose it is.

use x11rb::protocol::res::{ClientIdMask, ClientIdSpec, ConnectionExt as _};
use x11rb::protocol::xproto::{Atom, AtomEnum, ConnectionExt as _, Window};

use super::{Connection, Error, Result, Target, X11};
use crate::inject::PasteKeys;

/// Classes and instances of terminals, in lower case.
const TERMINALS: &[&str] = &[
    "alacritty",
    "blackbox",
    "com.mitchellh.ghostty",
    "com.raggesilver.blackbox",
    "contour",
    "cool-retro-term",
    "deepin-terminal",
    "foot",
    "ghostty",
    "gnome-terminal",
    "gnome-terminal-server",
    "guake",
    "kgx",
    "kitty",
    "konsole",
    "lxterminal",
    "mate-terminal",
    "org.gnome.console",
    "org.gnome.ptyxis",
    "org.wezfurlong.wezterm",
    "ptyxis",
    "qterminal",
    "rio",
    "rxvt",
    "sakura",
    "st",
    "st-256color",
    "stterm",
    "terminator",
    "terminology",
    "termite",
    "tilda",
    "tilix",
    "urxvt",
    "uxterm",
    "wezterm",
    "xfce4-terminal",
    "xterm",
    "yakuake",
];

/// Terminals in which no key pastes the clipboard unless configured.
const TERMINALS_WITHOUT_PASTE: &[&str] = &["rxvt", "urxvt", "uxterm", "xterm"];

/// Deepest nesting of windows that is followed.
const MAX_DEPTH: usize = 32;

/// The keys that paste in `target`; `None` where there are none.
pub(super) fn paste_keys(target: &Target) -> Option<PasteKeys> {
    match target.is_terminal {
        true if is_one_of(TERMINALS_WITHOUT_PASTE, &target.instance, &target.class) => None,
        true => Some(PasteKeys::CtrlShiftV),
        false => Some(PasteKeys::CtrlV),
    }
}

fn is_one_of(names: &[&str], instance: &str, class: &str) -> bool {
    [instance, class].iter().any(|name| names.contains(&name.to_lowercase().as_str()))
}

impl X11 {
    /// The program window (the one that has `WM_STATE`, else `WM_CLASS`) around the input focus.
    pub(super) fn focused(&self) -> Result<Window> {
        let mut window = self.conn.get_input_focus()?.reply()?.focus;
        let mut with_class = None;
        for _ in 0..MAX_DEPTH {
            // None and PointerRoot: no window, or whatever lies under the pointer.
            if window <= 1 || window == self.root {
                break;
            }
            if !self.property(window, self.atoms.WM_STATE)?.is_empty() {
                return Ok(window);
            }
            if with_class.is_none() && !self.property(window, AtomEnum::WM_CLASS.into())?.is_empty() {
                with_class = Some(window);
            }
            window = self.conn.query_tree(window)?.reply()?.parent;
        }
        with_class.ok_or(Error::NoFocus)
    }

    /// What the window tells of itself.
    pub(super) fn describe(&self, window: Window) -> Result<Target> {
        let class = self.property(window, AtomEnum::WM_CLASS.into())?;
        let mut names = class.split(|&byte| byte == 0).map(|name| String::from_utf8_lossy(name).into_owned());
        let (instance, class) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let mut title = self.property(window, self.atoms._NET_WM_NAME)?;
        if title.is_empty() {
            title = self.property(window, AtomEnum::WM_NAME.into())?;
        }
        let pid = self.property(window, self.atoms._NET_WM_PID)?;
        let pid = <[u8; 4]>::try_from(pid).ok().map(u32::from_ne_bytes);
        Ok(Target {
            window: window.into(),
            is_terminal: is_one_of(TERMINALS, &instance, &class),
            instance,
            class,
            title: String::from_utf8_lossy(&title).into_owned(),
            pid: pid.or_else(|| self.client_pid(window)),
        })
    }

    /// At most 4 KiB of a property; empty when it is not there.
    pub(super) fn property(&self, window: Window, name: Atom) -> Result<Vec<u8>> {
        Ok(self.conn.get_property(false, window, name, AtomEnum::ANY, 0, 1024)?.reply()?.value)
    }

    /// Whether `requestor` belongs to the program that made `window`: the same connection, or another one
    /// of the same process.
    pub(super) fn same_client(&self, requestor: Window, window: Window) -> bool {
        let base = !self.conn.setup().resource_id_mask;
        let pid = || self.client_pid(requestor).filter(|_| requestor & base != 0);
        requestor & base == window & base || pid().is_some_and(|pid| self.client_pid(window) == Some(pid))
    }

    /// Process of a local client, as the server knows it.
    pub(super) fn client_pid(&self, resource: u32) -> Option<u32> {
        let spec = ClientIdSpec { client: resource, mask: ClientIdMask::LOCAL_CLIENT_PID };
        let reply = self.conn.res_query_client_ids(&[spec]).ok()?.reply().ok()?;
        reply.ids.iter().find_map(|id| id.value.first().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_known_by_class_or_instance() {
        let target = |instance: &str, class: &str| Target {
            is_terminal: is_one_of(TERMINALS, instance, class),
            instance: instance.into(),
            class: class.into(),
            ..Target::default()
        };
        assert_eq!(paste_keys(&target("kitty", "kitty")), Some(PasteKeys::CtrlShiftV));
        assert_eq!(
            paste_keys(&target("gnome-terminal-server", "Gnome-terminal")),
            Some(PasteKeys::CtrlShiftV)
        );
        assert_eq!(paste_keys(&target("xterm", "XTerm")), None);
        assert_eq!(paste_keys(&target("Navigator", "firefox")), Some(PasteKeys::CtrlV));
    }
}
