//! Wayland's virtual keyboard (`zwp_virtual_keyboard_v1`), with a layout of its own: one character a key.
//!
//! A window hears of the layout and of the keys in the order in which they are sent, so the layout may change
//! between any two keys, and that of the user does not matter.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use wayland_client::protocol::wl_callback::{self, WlCallback};
use wayland_client::protocol::wl_keyboard::KeymapFormat;
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{Connection, Dispatch, EventQueue, Proxy, QueueHandle, delegate_noop};
use wayland_protocols_misc::zwp_virtual_keyboard_v1::client::{
    zwp_virtual_keyboard_manager_v1::ZwpVirtualKeyboardManagerV1 as KeyboardManager,
    zwp_virtual_keyboard_v1::ZwpVirtualKeyboardV1 as VirtualKeyboard,
};

use super::{Error, Result, Typist};

/// Longest wait for the compositor to have carried out what was sent.
const LIMIT: Duration = Duration::from_secs(3);
/// Keys that have the same meaning on every layout, by their evdev codes: programs know them by these.
const FIXED: [(char, u8); 3] = [('\u{8}', 14), ('\t', 15), ('\n', 28)];
/// Keys that carry characters: those which do so on common keyboards, for programs take others, say Esc, for
/// what their codes say.
const FREE: [std::ops::RangeInclusive<u8>; 4] = [2..=13, 16..=27, 30..=41, 43..=53];
/// XKB's codes are evdev's and this.
const XKB_OFFSET: u8 = 8;

/// A virtual keyboard.
pub(super) struct Keys {
    connection: Connection,
    queue: EventQueue<State>,
    state: State,
    keyboard: VirtualKeyboard,
    /// Characters on the keys of `FREE`, in their order.
    bound: Vec<char>,
    start: Instant,
}

/// What the compositor has told.
#[derive(Default)]
struct State {
    seat: Option<WlSeat>,
    manager: Option<KeyboardManager>,
    is_done: bool,
}

impl Keys {
    /// Connects to the compositor's socket.
    pub(super) fn open(socket: &str) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(display_error)?;
        let connection = Connection::from_socket(stream).map_err(display_error)?;
        let mut queue = connection.new_event_queue();
        let handle = queue.handle();
        connection.display().get_registry(&handle, ());
        let mut state = State::default();
        settle(&connection, &mut queue, &mut state)?;
        let (Some(seat), Some(manager)) = (&state.seat, &state.manager) else {
            return Err(Error::Unsupported);
        };
        let keyboard = manager.create_virtual_keyboard(seat, &handle, ());
        let mut keys = Self { connection, queue, state, keyboard, bound: vec![], start: Instant::now() };
        keys.set_keymap()?;
        // The compositor may still refuse us.
        keys.settle()?;
        Ok(keys)
    }

    fn settle(&mut self) -> Result<()> {
        settle(&self.connection, &mut self.queue, &mut self.state)
    }

    /// Puts characters on keys, no more of them than there are.
    fn bind(&mut self, chars: &[char]) -> Result<()> {
        let before = self.bound.len();
        self.add(chars);
        if self.bound.len() > free().count() {
            self.bound.clear();
            self.add(chars);
        } else if self.bound.len() == before {
            return Ok(());
        }
        self.set_keymap()
    }

    fn add(&mut self, chars: &[char]) {
        for &c in chars {
            if !c.is_control() && !self.bound.contains(&c) {
                self.bound.push(c);
            }
        }
    }

    fn set_keymap(&self) -> Result<()> {
        let keymap = keymap(&self.bound);
        let size_bytes = u32::try_from(keymap.len()).map_err(display_error)?;
        let fd = memfd_create("keymap", MemfdFlags::CLOEXEC).map_err(display_error)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(keymap.as_bytes()).map_err(display_error)?;
        self.keyboard.keymap(KeymapFormat::XkbV1.into(), file.as_fd(), size_bytes);
        self.keyboard.modifiers(0, 0, 0, 0);
        // Sent at once, for the file is closed after this.
        self.queue.flush().map_err(display_error)
    }
}

impl Typist for Keys {
    fn send(&mut self, text: &str) -> Result<()> {
        let chars: Vec<char> = text.chars().collect();
        for part in chars.chunks(free().count()) {
            self.bind(part)?;
            for &c in part {
                let code = FIXED.iter().find(|(fixed, _)| *fixed == c).map(|&(_, code)| code);
                let bound = || self.bound.iter().zip(free()).find(|(bound, _)| **bound == c);
                let code = code.or_else(|| bound().map(|(_, code)| code)).ok_or(Error::NoSpareKeys)?;
                for pressed in [1, 0] {
                    let time_ms = self.start.elapsed().as_millis() as u32;
                    self.keyboard.key(time_ms, code.into(), pressed);
                }
            }
        }
        self.settle()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.keyboard.destroy();
        // A failure means that the compositor is gone, and the keyboard with it.
        let _ = self.queue.flush();
    }
}

/// Codes of the keys for characters.
fn free() -> impl Iterator<Item = u8> {
    FREE.into_iter().flatten()
}

/// A layout in XKB's text format, version 1, with its final NUL.
fn keymap(bound: &[char]) -> String {
    let (mut codes, mut symbols) = (String::new(), String::new());
    let names = ["BackSpace", "Tab", "Return"].map(String::from);
    let fixed = FIXED.iter().map(|&(_, code)| code).zip(names);
    let bound = free().zip(bound.iter().map(|&c| format!("U{:04X}", u32::from(c))));
    for (code, symbol) in fixed.chain(bound) {
        // Writing to a string cannot fail.
        let _ = write!(codes, "<K{code}> = {}; ", code + XKB_OFFSET);
        let _ = write!(symbols, "key <K{code}> {{ [ {symbol} ] }}; ");
    }
    format!(
        "xkb_keymap {{\nxkb_keycodes \"undertone\" {{ minimum = 8; maximum = 255; {codes}}};\n\
         xkb_types \"undertone\" {{ include \"complete\" }};\n\
         xkb_compatibility \"undertone\" {{ include \"complete\" }};\n\
         xkb_symbols \"undertone\" {{ {symbols}}};\n}};\n\0"
    )
}

/// Waits until the compositor has carried out all that was sent.
fn settle(connection: &Connection, queue: &mut EventQueue<State>, state: &mut State) -> Result<()> {
    state.is_done = false;
    let deadline = Instant::now() + LIMIT;
    connection.display().sync(&queue.handle(), ());
    loop {
        queue.dispatch_pending(state).map_err(display_error)?;
        if state.is_done {
            return Ok(());
        }
        queue.flush().map_err(display_error)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Display("no answer in time".into()));
        }
        let Some(guard) = queue.prepare_read() else { continue };
        let limit = Timespec::try_from(left).map_err(display_error)?;
        let fd = guard.connection_fd();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(display_error(error)),
        }
        guard.read().map_err(display_error)?;
    }
}

fn display_error(error: impl std::fmt::Display) -> Error {
    Error::Display(error.to_string())
}

impl Dispatch<WlRegistry, ()> for State {
    fn event(
        state: &mut Self,
        registry: &WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        let wl_registry::Event::Global { name, interface, .. } = event else { return };
        if interface == WlSeat::interface().name && state.seat.is_none() {
            state.seat = Some(registry.bind(name, 1, handle, ()));
        } else if interface == KeyboardManager::interface().name {
            state.manager = Some(registry.bind(name, 1, handle, ()));
        }
    }
}

impl Dispatch<WlCallback, ()> for State {
    fn event(
        state: &mut Self,
        _: &WlCallback,
        _: wl_callback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        state.is_done = true;
    }
}

delegate_noop!(State: ignore WlSeat);
delegate_noop!(State: KeyboardManager);
delegate_noop!(State: VirtualKeyboard);
