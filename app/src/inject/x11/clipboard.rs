//! The thread that owns the CLIPBOARD selection and answers those who ask for it, as long as no other
//! program takes it. It also counts key and button presses, so that `undo` can tell whether any came since.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::protocol::Event;
use x11rb::protocol::xinput::{ConnectionExt as _, EventMask as XiMask, XIEventMask};
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, CreateWindowAux, EventMask, Keycode,
    PropMode, Property, SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Timestamp,
    Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use super::transfer::{Content, Format};
use super::{Atoms, Connection, Error, Result};

/// Content up to this size is handed over at once, larger content in parts (INCR) of this size.
const PART_BYTES: usize = 128 << 10;
/// Most transfers in parts at one time.
const MAX_TRANSFERS: usize = 16;
/// Time after which a receiver that takes no more parts is given up.
const TRANSFER_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for the server's own answers.
const SERVER_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for the thread: it may be reading a slow owner.
const THREAD_LIMIT: Duration = Duration::from_secs(5);
/// XInput's name for all master devices.
const ALL_MASTERS: u16 = 1;

/// What the thread can be asked to do.
enum Command {
    /// Read the clipboard; `None` when nobody owns it.
    Save(Sender<Option<Arc<Content>>>),
    /// Own the clipboard with this content, or nobody.
    Own(Option<Arc<Content>>, Sender<bool>),
    /// Whether the clipboard is ours.
    IsOurs(Sender<bool>),
    /// The text of a selection and the window that owns it.
    Text(Atom, Sender<Option<String>>),
    /// Key and button presses so far.
    Presses(Sender<u64>),
}

/// Handle of the thread, which it joins on drop.
pub(super) struct Clipboard {
    atoms: Atoms,
    commands: Option<Sender<Command>>,
    wake: PipeWriter,
    served: Mutex<Receiver<Window>>,
    thread: Option<JoinHandle<()>>,
}

impl Clipboard {
    /// Starts the thread with a connection of its own.
    pub(super) fn start(display: &str) -> Result<Self> {
        let (reader, wake) = std::io::pipe().map_err(|error| Error::Display(error.to_string()))?;
        let (commands, orders) = channel();
        let (serving, served) = sync_channel(256);
        let owner = Owner::connect(display, serving)?;
        let atoms = owner.atoms;
        let thread = std::thread::Builder::new()
            .name("clipboard".into())
            .spawn(move || owner.run(&orders, reader))
            .map_err(|error| Error::Display(error.to_string()))?;
        Ok(Self { atoms, commands: Some(commands), wake, served: Mutex::new(served), thread: Some(thread) })
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = channel();
        self.commands.as_ref()?.send(command(reply)).ok()?;
        (&self.wake).write_all(&[0]).ok()?;
        answer.recv_timeout(THREAD_LIMIT).ok()
    }

    /// The clipboard's content in all formats; `None` when nobody owns it.
    pub(super) fn save(&self) -> Result<Option<Arc<Content>>> {
        self.ask(Command::Save).ok_or(Error::NoClipboard)
    }

    /// Takes the clipboard with `content`, or gives it up; whether that worked.
    pub(super) fn own(&self, content: Option<Arc<Content>>) -> bool {
        self.ask(|reply| Command::Own(content, reply)).unwrap_or(false)
    }

    /// Takes the clipboard with a text that stays there.
    pub(super) fn own_text(&self, text: &str) -> Result<()> {
        let content = Arc::new(Content::text(text, &self.atoms));
        self.own(Some(content)).then_some(()).ok_or(Error::NoClipboard)
    }

    /// Whether no other program has taken the clipboard since.
    pub(super) fn is_ours(&self) -> bool {
        self.ask(Command::IsOurs).unwrap_or(false)
    }

    /// The text of a selection.
    pub(super) fn text_of(&self, selection: Atom) -> Option<String> {
        self.ask(|reply| Command::Text(selection, reply)).flatten()
    }

    /// Key presses (without modifiers) and button presses on the display so far.
    pub(super) fn presses(&self) -> u64 {
        self.ask(Command::Presses).unwrap_or(u64::MAX)
    }

    /// The next window that has received a format in full, waiting up to `limit`.
    pub(super) fn next_served(&self, limit: Duration) -> Option<Window> {
        self.served.lock().ok()?.recv_timeout(limit).ok()
    }
}

impl Drop for Clipboard {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.wake.write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Content on its way in parts.
struct Transfer {
    requestor: Window,
    property: Atom,
    content: Arc<Content>,
    format: usize,
    sent_bytes: usize,
    touched: Instant,
}

/// The thread's state.
pub(super) struct Owner {
    pub(super) conn: RustConnection,
    pub(super) atoms: Atoms,
    pub(super) window: Window,
    content: Option<Arc<Content>>,
    owned_since: Timestamp,
    transfers: Vec<Transfer>,
    served: SyncSender<Window>,
    modifiers: Vec<Keycode>,
    presses: u64,
}

impl Owner {
    fn connect(display: &str, served: SyncSender<Window>) -> Result<Self> {
        let (conn, screen) = RustConnection::connect(Some(display))?;
        let root = conn.setup().roots.get(screen).ok_or(Error::Missing("screen"))?.root;
        let atoms = Atoms::new(&conn)?.reply()?;
        let window = conn.generate_id()?;
        let events = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        let input_only = WindowClass::INPUT_ONLY;
        conn.create_window(0, window, root, -1, -1, 1, 1, 0, input_only, x11rb::COPY_FROM_PARENT, &events)?;
        conn.xinput_xi_query_version(2, 2)?.reply()?;
        let mask = vec![XIEventMask::RAW_KEY_PRESS | XIEventMask::RAW_BUTTON_PRESS];
        conn.xinput_xi_select_events(root, &[XiMask { deviceid: ALL_MASTERS, mask }])?.check()?;
        let modifiers = conn.get_modifier_mapping()?.reply()?.keycodes;
        Ok(Self {
            conn,
            atoms,
            window,
            content: None,
            owned_since: 0,
            transfers: vec![],
            served,
            modifiers,
            presses: 0,
        })
    }

    /// Serves until the handle is dropped or the display is gone.
    fn run(mut self, orders: &Receiver<Command>, mut wake: PipeReader) {
        let mut buffer = [0; 16];
        loop {
            match orders.try_recv() {
                Ok(command) => {
                    if self.execute(command).is_err() {
                        return;
                    }
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            if self.dispatch().is_err() {
                return;
            }
            match self.sleep(None, Some(wake.as_fd())) {
                Ok(true) => {
                    if wake.read(&mut buffer).is_err() {
                        return;
                    }
                }
                Ok(false) => {}
                Err(_) => return,
            }
        }
    }

    /// Sleeps until the display or `wake` has something, or `limit` has passed; whether it was `wake`.
    fn sleep(&self, limit: Option<Duration>, wake: Option<BorrowedFd>) -> Result<bool> {
        self.conn.flush()?;
        let mut fds = vec![PollFd::new(self.conn.stream(), PollFlags::IN)];
        fds.extend(wake.as_ref().map(|wake| PollFd::new(wake, PollFlags::IN)));
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::Display(error.to_string())),
        }
        Ok(fds.get(1).is_some_and(|wake| !wake.revents().is_empty()))
    }

    /// Handles all events that are there.
    fn dispatch(&mut self) -> Result<()> {
        while let Some(event) = self.conn.poll_for_event()? {
            self.handle(&event)?;
        }
        Ok(())
    }

    /// Handles events until one is wanted, which it returns, or `deadline` has passed.
    pub(super) fn wait_for(
        &mut self,
        deadline: Instant,
        is_wanted: impl Fn(&Event) -> bool,
    ) -> Result<Option<Event>> {
        loop {
            while let Some(event) = self.conn.poll_for_event()? {
                if is_wanted(&event) {
                    return Ok(Some(event));
                }
                self.handle(&event)?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.sleep(Some(left), None)?;
        }
    }

    /// Carries out a command. An asker that has given up waiting misses its answer.
    fn execute(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Save(reply) => {
                let _ = reply.send(self.save()?);
            }
            Command::Own(content, reply) => {
                let _ = reply.send(self.own(content)?);
            }
            Command::IsOurs(reply) => {
                self.conn.sync()?;
                self.dispatch()?;
                let _ = reply.send(self.content.is_some());
            }
            Command::Text(selection, reply) => {
                let deadline = Instant::now() + SERVER_LIMIT;
                let text = self.read(selection, self.atoms.UTF8_STRING, 16 << 20, deadline)?;
                let _ = reply.send(text.and_then(|format| String::from_utf8(format.bytes).ok()));
            }
            Command::Presses(reply) => {
                // The server has queued the presses of all earlier requests when it answers.
                self.conn.sync()?;
                self.dispatch()?;
                let _ = reply.send(self.presses);
            }
        }
        Ok(())
    }

    fn save(&mut self) -> Result<Option<Arc<Content>>> {
        let owner = self.conn.get_selection_owner(self.atoms.CLIPBOARD)?.reply()?.owner;
        match owner {
            x11rb::NONE => Ok(None),
            owner if owner == self.window => Ok(self.content.clone()),
            _ => Ok(Some(Arc::new(self.read_all(self.atoms.CLIPBOARD)?))),
        }
    }

    fn own(&mut self, content: Option<Arc<Content>>) -> Result<bool> {
        let time = self.server_time()?;
        let (window, selection) = (self.window, self.atoms.CLIPBOARD);
        let Some(content) = content else {
            let owner = self.conn.get_selection_owner(selection)?.reply()?.owner;
            if owner == window {
                self.conn.set_selection_owner(x11rb::NONE, selection, time)?;
            }
            self.content = None;
            return Ok(true);
        };
        self.conn.set_selection_owner(window, selection, time)?;
        if self.conn.get_selection_owner(selection)?.reply()?.owner != window {
            return Ok(false);
        }
        // The notice of having lost it to another before this is void now.
        self.owned_since = time;
        self.content = Some(content);
        Ok(true)
    }

    /// The server's clock, for requests that ICCCM wants dated.
    pub(super) fn server_time(&mut self) -> Result<Timestamp> {
        let (window, name) = (self.window, self.atoms.UNDERTONE_TIME);
        self.conn.change_property8(PropMode::REPLACE, window, name, AtomEnum::STRING, &[])?;
        let is_notice = |event: &Event| matches!(event, Event::PropertyNotify(notice) if notice.window == window && notice.atom == name);
        match self.wait_for(Instant::now() + SERVER_LIMIT, is_notice)? {
            Some(Event::PropertyNotify(notice)) => Ok(notice.time),
            _ => Err(Error::Display("no answer in time".into())),
        }
    }

    fn handle(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::SelectionRequest(request) => self.answer(request)?,
            // Wrapping, for the server's clock does.
            Event::SelectionClear(clear)
                if clear.selection == self.atoms.CLIPBOARD
                    && clear.time.wrapping_sub(self.owned_since) < u32::MAX / 2 =>
            {
                self.content = None;
            }
            Event::PropertyNotify(notice) if notice.state == Property::DELETE => {
                self.send_part(notice.window, notice.atom)?;
            }
            Event::MappingNotify(_) => {
                self.modifiers = self.conn.get_modifier_mapping()?.reply()?.keycodes;
            }
            Event::XinputRawKeyPress(press) => {
                let is_modifier = self.modifiers.iter().any(|&key| u32::from(key) == press.detail);
                self.presses += u64::from(!is_modifier);
            }
            Event::XinputRawButtonPress(_) => self.presses += 1,
            _ => {}
        }
        Ok(())
    }

    /// Answers a request for our content.
    fn answer(&mut self, request: &SelectionRequestEvent) -> Result<()> {
        // Requestors of before ICCCM name no property.
        let property = if request.property == x11rb::NONE { request.target } else { request.property };
        let is_ours = request.selection == self.atoms.CLIPBOARD;
        let done = match self.content.clone().filter(|_| is_ours) {
            Some(content) => self.put(request.requestor, property, request.target, &content)?,
            None => false,
        };
        let answer = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: request.requestor,
            selection: request.selection,
            target: request.target,
            property: if done { property } else { x11rb::NONE },
        };
        self.conn.send_event(false, request.requestor, EventMask::NO_EVENT, answer)?;
        Ok(self.conn.flush()?)
    }

    /// Puts what `target` asks for into the property of a window; whether it could.
    fn put(&mut self, to: Window, property: Atom, target: Atom, content: &Arc<Content>) -> Result<bool> {
        let (atoms, mode) = (self.atoms, PropMode::REPLACE);
        if target == atoms.TARGETS {
            let mut targets = vec![atoms.TARGETS, atoms.TIMESTAMP, atoms.MULTIPLE];
            targets.extend(content.formats.iter().map(|format| format.target));
            self.conn.change_property32(mode, to, property, AtomEnum::ATOM, &targets)?;
        } else if target == atoms.TIMESTAMP {
            self.conn.change_property32(mode, to, property, AtomEnum::INTEGER, &[self.owned_since])?;
        } else if target == atoms.MULTIPLE {
            return self.put_multiple(to, property, content);
        } else if let Some(index) = content.formats.iter().position(|format| format.target == target) {
            let Some(format) = content.formats.get(index) else { return Ok(false) };
            if format.bytes.len() <= PART_BYTES {
                self.put_bytes(to, property, format, &format.bytes)?;
                let _ = self.served.try_send(to);
            } else {
                return self.put_in_parts(to, property, content, index);
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// MULTIPLE: a list of targets and properties, in which those refused are marked.
    fn put_multiple(&mut self, to: Window, property: Atom, content: &Arc<Content>) -> Result<bool> {
        let pairs = self.conn.get_property(false, to, property, self.atoms.ATOM_PAIR, 0, 256)?.reply();
        let Ok(pairs) = pairs else { return Ok(false) };
        let mut pairs: Vec<Atom> = pairs.value32().into_iter().flatten().collect();
        for pair in pairs.chunks_exact_mut(2) {
            let &mut [target, to_property] = pair else { continue };
            let nested = target == self.atoms.MULTIPLE || to_property == x11rb::NONE;
            if nested || !self.put(to, to_property, target, content)? {
                pair[1] = x11rb::NONE;
            }
        }
        self.conn.change_property32(PropMode::REPLACE, to, property, self.atoms.ATOM_PAIR, &pairs)?;
        Ok(true)
    }

    fn put_bytes(&self, to: Window, property: Atom, format: &Format, bytes: &[u8]) -> Result<()> {
        let units = bytes.len() / usize::from(format.unit_bits / 8).max(1);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let (mode, unit_bits) = (PropMode::REPLACE, format.unit_bits.max(8));
        self.conn.change_property(mode, to, property, format.kind, unit_bits, units, bytes)?;
        Ok(())
    }

    /// Begins a transfer in parts, each sent when the receiver has taken the one before.
    fn put_in_parts(
        &mut self,
        to: Window,
        property: Atom,
        content: &Arc<Content>,
        format: usize,
    ) -> Result<bool> {
        self.transfers.retain(|transfer| transfer.touched.elapsed() < TRANSFER_LIMIT);
        let Some(bytes) = content.formats.get(format).map(|format| format.bytes.len()) else {
            return Ok(false);
        };
        if self.transfers.len() >= MAX_TRANSFERS {
            return Ok(false);
        }
        let events = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        self.conn.change_window_attributes(to, &events)?;
        let least_bytes = [u32::try_from(bytes).unwrap_or(u32::MAX)];
        self.conn.change_property32(PropMode::REPLACE, to, property, self.atoms.INCR, &least_bytes)?;
        let (content, touched) = (content.clone(), Instant::now());
        self.transfers.push(Transfer { requestor: to, property, content, format, sent_bytes: 0, touched });
        Ok(true)
    }

    /// Sends the next part of a transfer; an empty one ends it.
    fn send_part(&mut self, to: Window, property: Atom) -> Result<()> {
        let is_it = |transfer: &Transfer| transfer.requestor == to && transfer.property == property;
        let Some(index) = self.transfers.iter().position(is_it) else { return Ok(()) };
        let mut transfer = self.transfers.swap_remove(index);
        let Some(format) = transfer.content.formats.get(transfer.format) else { return Ok(()) };
        let rest = format.bytes.get(transfer.sent_bytes..).unwrap_or_default();
        let part = &rest[..rest.len().min(PART_BYTES)];
        self.put_bytes(to, property, format, part)?;
        self.conn.flush()?;
        if part.is_empty() {
            let _ = self.served.try_send(to);
            return Ok(());
        }
        (transfer.sent_bytes, transfer.touched) = (transfer.sent_bytes + part.len(), Instant::now());
        self.transfers.push(transfer);
        Ok(())
    }
}
