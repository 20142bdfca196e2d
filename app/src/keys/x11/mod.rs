//! X11: grabs for keys, raw input events for modifiers alone.
//!
//! A grab takes the key, and all that is typed while it is down, from every other program. A modifier alone is
//! listened to instead, so that right Ctrl still is a Ctrl for others.

mod layout;

use super::{Backend, Binding, Chord, Error, Heard, bell::Bell};
use layout::Layout;
use std::{collections::BTreeMap, os::fd::AsFd, sync::Arc, time::Duration};
use x11rb::{
    connection::Connection,
    errors::{ReplyError, ReplyOrIdError},
    protocol::{
        ErrorKind, Event,
        xinput::{ConnectionExt as _, Device, EventMask, XIEventMask},
        xkb::{self, ConnectionExt as _},
        xproto::{ConnectionExt as _, Grab, GrabMode, ModMask, Window},
    },
    rust_connection::RustConnection,
};

/// The core keyboard in XKB requests (`XkbUseCoreKbd`).
const KEYBOARD: u16 = 0x100;

pub(super) struct X11 {
    connection: RustConnection,
    root: Window,
    layout: Layout,
    bindings: Vec<Binding>,
    /// Binding by keycode and exact modifiers.
    grabs: BTreeMap<(u8, u16), usize>,
    /// Binding by the keycode of a modifier alone.
    modifiers: BTreeMap<u8, usize>,
}

impl X11 {
    pub(super) fn connect(display: Option<&str>) -> Result<Self, Error> {
        let (connection, screen) = x11rb::connect(display).map_err(no_server)?;
        let root = connection.setup().roots.get(screen).ok_or_else(|| no_server("no such screen"))?.root;
        prepare(&connection).map_err(no_server)?;
        let layout = Layout::read(&connection).map_err(no_server)?;
        let (grabs, modifiers) = Default::default();
        Ok(Self { connection, root, layout, bindings: Vec::new(), grabs, modifiers })
    }

    /// Grabs what is new in `wanted` and lets go what is not in it; all or nothing.
    fn grab(&mut self, wanted: BTreeMap<(u8, u16), usize>, bindings: &[Binding]) -> Result<(), Error> {
        let new = wanted.iter().filter(|(grab, _)| !self.grabs.contains_key(grab));
        let new = new.filter_map(|(grab, index)| Some((*grab, bindings.get(*index)?.chord)));
        let new: Vec<((u8, u16), Chord)> = new.collect();
        let result = self.try_grab(&new);
        let released: Vec<(u8, u16)> = match result {
            Ok(()) => self.grabs.keys().filter(|grab| !wanted.contains_key(grab)).copied().collect(),
            Err(_) => new.into_iter().map(|(grab, _)| grab).collect(),
        };
        for (keycode, modifiers) in released {
            let request = self.connection.ungrab_key(keycode, self.root, ModMask::from(modifiers));
            request.map_err(lost)?.ignore_error();
        }
        self.connection.flush().map_err(lost)?;
        if result.is_ok() {
            self.grabs = wanted;
        }
        result
    }

    fn try_grab(&self, grabs: &[((u8, u16), Chord)]) -> Result<(), Error> {
        let mut requests = Vec::with_capacity(grabs.len());
        for &((keycode, modifiers), chord) in grabs {
            let (modifiers, mode) = (ModMask::from(modifiers), GrabMode::ASYNC);
            let request = self.connection.grab_key(false, self.root, modifiers, keycode, mode, mode);
            requests.push((request.map_err(lost)?, chord));
        }
        // All were sent before the first answer is waited for.
        requests.into_iter().try_for_each(|(request, chord)| match request.check() {
            Err(ReplyError::X11Error(error)) if error.error_kind == ErrorKind::Access => {
                Err(Error::Taken(chord))
            }
            result => result.map_err(lost),
        })
    }

    /// Raw events tell of every key, so they are asked for only while a modifier alone is bound.
    fn listen_to_modifiers(&mut self, modifiers: BTreeMap<u8, usize>) -> Result<(), Error> {
        let wanted = XIEventMask::RAW_KEY_PRESS | XIEventMask::RAW_KEY_RELEASE;
        let mask = if modifiers.is_empty() { XIEventMask::default() } else { wanted };
        let mask = EventMask { deviceid: Device::ALL_MASTER.into(), mask: vec![mask] };
        let request = self.connection.xinput_xi_select_events(self.root, &[mask]).map_err(lost)?;
        request.check().map_err(lost)?;
        self.modifiers = modifiers;
        Ok(())
    }

    /// Takes the keys anew after the layout changed. One that another program holds there is left out.
    fn follow_layout(&mut self) -> Result<(), Error> {
        self.layout = Layout::read(&self.connection).map_err(lost)?;
        let bindings = std::mem::take(&mut self.bindings);
        let mut kept: BTreeMap<_, _> = self.grabs.clone();
        for (index, binding) in
            bindings.iter().enumerate().filter(|(_, binding)| !binding.chord.is_modifier())
        {
            let mut wanted = kept.clone();
            wanted.retain(|_, bound| *bound != index);
            wanted.extend(self.layout.grabs(&binding.chord).map(|grab| (grab, index)));
            match self.grab(wanted, &bindings) {
                Ok(()) => {}
                Err(Error::Taken(chord)) => tracing::warn!("another program holds {chord} on the new layout"),
                Err(error) => return Err(error),
            }
            kept.clone_from(&self.grabs);
        }
        self.bindings = bindings;
        let modifiers = self.layout.modifiers_alone(&self.bindings);
        self.listen_to_modifiers(modifiers)
    }
}

impl Drop for X11 {
    /// Gives the keys back before it returns: the server notices a closed connection only later, and who then opens
    /// another would find them taken.
    fn drop(&mut self) {
        let freed = self.connection.ungrab_key(Grab::ANY, self.root, ModMask::ANY).and_then(|request| {
            request.ignore_error();
            self.connection.get_input_focus()
        });
        // The answer of a server that is gone does not matter any more.
        let _ = freed.map(|answer| answer.reply());
    }
}

impl Backend for X11 {
    fn bind(&mut self, _: &Arc<Bell>, bindings: &[Binding]) -> Result<(), Error> {
        let mut grabs = BTreeMap::new();
        for (index, binding) in
            bindings.iter().enumerate().filter(|(_, binding)| !binding.chord.is_modifier())
        {
            for grab in self.layout.grabs(&binding.chord) {
                if grabs.insert(grab, index).is_some_and(|other| other != index) {
                    return Err(Error::Duplicate(binding.chord.to_string()));
                }
            }
        }
        self.grab(grabs, bindings)?;
        self.bindings = bindings.to_vec();
        self.listen_to_modifiers(self.layout.modifiers_alone(bindings))
    }

    fn hear(&mut self, bell: &Arc<Bell>, limit: Duration, heard: &mut Vec<Heard>) -> Result<(), Error> {
        let mut event = self.connection.poll_for_event().map_err(lost)?;
        if event.is_none() {
            bell.wait(&[self.connection.stream().as_fd()], limit).map_err(lost)?;
            event = self.connection.poll_for_event().map_err(lost)?;
        }
        let mut changed = false;
        while let Some(next) = event {
            match next {
                // Sent by another client, not by a keyboard.
                _ if next.sent_event() => {}
                Event::KeyPress(press) => {
                    let grab = (press.detail, u16::from(press.state) & 0xff);
                    let binding = self.grabs.get(&grab).copied();
                    heard.extend(binding.map(|binding| Heard::Down { binding, code: press.detail.into() }));
                }
                Event::KeyRelease(release) => heard.push(Heard::Up { code: release.detail.into() }),
                Event::XinputRawKeyPress(press) => {
                    let keycode = u8::try_from(press.detail).unwrap_or(0);
                    let binding = self.modifiers.get(&keycode).copied();
                    heard.extend(binding.map(|binding| Heard::Down { binding, code: keycode.into() }));
                }
                Event::XinputRawKeyRelease(release) => {
                    let keycode = u8::try_from(release.detail).unwrap_or(0);
                    // Every key released anywhere is told here; a grabbed one has its own event.
                    heard.extend(self.modifiers.get(&keycode).map(|_| Heard::Up { code: keycode.into() }));
                }
                Event::MappingNotify(_)
                | Event::XkbMapNotify(_)
                | Event::XkbNewKeyboardNotify(_)
                | Event::XkbStateNotify(_) => changed = true,
                _ => {}
            }
            event = self.connection.poll_for_event().map_err(lost)?;
        }
        if changed { self.follow_layout() } else { Ok(()) }
    }

    fn is_down(&mut self, code: u16) -> Result<bool, Error> {
        let keymap = self.connection.query_keymap().map_err(lost)?.reply().map_err(lost)?;
        Ok(keymap.keys.get(usize::from(code / 8)).is_some_and(|keys| keys & (1 << (code % 8)) != 0))
    }
}

/// Asks for releases without the ones that auto-repeat makes up, and to be told when the layout changes.
fn prepare(connection: &RustConnection) -> Result<(), ReplyOrIdError> {
    connection.xkb_use_extension(1, 0)?.reply()?;
    connection.xinput_xi_query_version(2, 2)?.reply()?;
    let detectable = xkb::PerClientFlag::DETECTABLE_AUTO_REPEAT;
    let none = xkb::BoolCtrl::default();
    connection.xkb_per_client_flags(KEYBOARD, detectable, detectable, none, none, none)?.reply()?;
    let group = xkb::StatePart::GROUP_STATE;
    let details = xkb::SelectEventsAuxStateNotify { affect_state: group, state_details: group };
    let details = xkb::SelectEventsAux { state_notify: Some(details), ..Default::default() };
    let keyboards = xkb::EventType::NEW_KEYBOARD_NOTIFY;
    let symbols = xkb::MapPart::KEY_SYMS | xkb::MapPart::MODIFIER_MAP;
    connection
        .xkb_select_events(KEYBOARD, xkb::EventType::default(), keyboards, symbols, symbols, &details)?
        .check()?;
    Ok(())
}

fn no_server(reason: impl std::fmt::Display) -> Error {
    Error::NoServer(reason.to_string())
}

fn lost(reason: impl std::fmt::Display) -> Error {
    Error::lost("the X server")(reason)
}
