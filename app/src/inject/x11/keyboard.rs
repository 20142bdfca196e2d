//! Typing with XTEST. Characters that the layout lacks are bound to spare keys for the time of the typing.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use unicode_segmentation::UnicodeSegmentation;
use x11rb::protocol::Event;
use x11rb::protocol::xkb::ConnectionExt as _;
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ClientMessageEvent, ConnectionExt as _, EventMask, KEY_PRESS_EVENT,
    KEY_RELEASE_EVENT, Keycode, ModMask, Window,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use xkeysym::Keysym;

use super::keymap::{Keymap, Stroke, core_keyboard};
use super::{Connection, Error, Options, Receipt, Result, Target, X11, is_set, until};
use crate::inject::text::keysym;

/// Keys sent between two looks at the focus.
const CHUNK_KEYS: usize = 16;
/// Rest after each chunk, for the window to keep up: 16 keys in 4 ms are faster than any of them draws.
const CHUNK_REST: Duration = Duration::from_millis(4);
/// Longest wait for a window to have read keys that are bound for it alone.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Time in which a window of an unknown process, which answers no ping, is taken to have read its keys.
const BLIND_REST: Duration = Duration::from_millis(500);
/// Looks, one after the other, at which a process sleeps and has not run since the look before, when it is
/// taken to have nothing left to read.
const UNMOVED_LOOKS: usize = 3;
/// Looks at which a process sleeps, whether it ran in between or not, when it is taken likewise.
const ASLEEP_LOOKS: usize = 40;
/// How often held modifiers are looked at.
const MODIFIER_POLL: Duration = Duration::from_millis(5);

/// Longest wait until all keys are up: as long as a dictation that follows at once may be spoken.
const KEY_WAIT: Duration = Duration::from_secs(60);

/// What must hold for a key to be sent.
pub(super) struct Guard<'a> {
    window: Window,
    /// Class of the target, where only it may have the keys.
    only: Option<&'a str>,
    modifier_wait: Duration,
    /// Whether other keys than modifiers must be up too. A key that somebody has grabbed, such as that of a dictation which is
    /// spoken already, takes all that is typed while it is down from every window.
    keys_up: bool,
    receipt_wait: Duration,
    cancel: &'a AtomicBool,
}

/// Why no key can be sent now.
#[derive(Clone, Copy)]
enum Held {
    Modifiers,
    /// Other keys.
    Keys,
}

impl Guard<'_> {
    /// The window that had the keyboard when the guard was made.
    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// Whether the caller has given up.
    pub(super) fn is_cancelled(&self) -> bool {
        is_set(self.cancel)
    }
}

/// How far typing came.
pub(super) struct Typed {
    /// Bytes and characters of the text that were sent.
    pub(super) bytes: usize,
    pub(super) chars: usize,
    pub(super) receipt: Receipt,
    pub(super) stopped: Option<Error>,
}

impl X11 {
    /// Checks focus, and waits until no modifier is held, and with `keys_up` no other key.
    pub(super) fn guard<'a>(
        &self,
        target: &'a Target,
        options: &Options,
        keys_up: bool,
        cancel: &'a AtomicBool,
    ) -> Result<Guard<'a>> {
        let only = options.same_window.then_some(target.class.as_str());
        let window = if only.is_some() { target.window as Window } else { self.focused()? };
        let Options { modifier_wait, receipt_wait, .. } = *options;
        let guard = Guard { window, only, modifier_wait, keys_up, receipt_wait, cancel };
        self.send(&[], &guard)?;
        Ok(guard)
    }

    /// Types `text` (newlines as Enter), chunk by chunk.
    pub(super) fn type_text(&self, text: &str, guard: &Guard) -> Typed {
        let mut typed = Typed { bytes: 0, chars: 0, receipt: Receipt::NotSeen, stopped: None };
        if let Err(error) = self.type_batches(text, guard, &mut typed) {
            typed.stopped = Some(error);
        }
        typed.chars = text[..typed.bytes].chars().count();
        typed
    }

    fn type_batches(&self, text: &str, guard: &Guard, typed: &mut Typed) -> Result<()> {
        let keymap = Keymap::read(&self.conn)?;
        let mut bound = Bound { x11: self, keys: vec![] };
        for batch in batches(text, |sym| keymap.stroke(sym).is_some(), keymap.spare.len())? {
            if !batch.missing.is_empty() {
                bound.rebind(&keymap.spare, &batch.missing)?;
                self.await_keys_read(guard, true)?;
            }
            let result = self.type_batch(&text[batch.range], &keymap, &bound, guard, typed);
            // Keys are looked up when a window reads them, so the bindings must outlast that.
            typed.receipt = self.await_keys_read(guard, !batch.missing.is_empty())?;
            result?;
            if typed.receipt == Receipt::NotSeen {
                return Err(Error::NoReceipt);
            }
        }
        if bound.clear()? {
            self.await_keys_read(guard, true)?;
        }
        Ok(())
    }

    fn type_batch(
        &self,
        text: &str,
        keymap: &Keymap,
        bound: &Bound,
        guard: &Guard,
        typed: &mut Typed,
    ) -> Result<()> {
        let (mut strokes, mut bytes) = (Vec::with_capacity(CHUNK_KEYS), 0);
        for grapheme in text.graphemes(true) {
            for sym in grapheme.chars().map(keysym) {
                let stroke = keymap.stroke(sym).cloned().or_else(|| bound.stroke(sym));
                strokes.push(stroke.ok_or(Error::NoSpareKeys)?);
            }
            bytes += grapheme.len();
            if strokes.len() >= CHUNK_KEYS {
                self.send(&strokes, guard)?;
                typed.bytes += std::mem::take(&mut bytes);
                strokes.clear();
                std::thread::sleep(CHUNK_REST);
            }
        }
        self.send(&strokes, guard)?;
        typed.bytes += bytes;
        Ok(())
    }

    /// Presses BackSpace `count` times.
    pub(super) fn press_back_space(&self, count: usize, guard: &Guard) -> Result<()> {
        let keymap = Keymap::read(&self.conn)?;
        let key = keymap.stroke(Keysym::BackSpace).ok_or(Error::Missing("BackSpace key"))?;
        for sent in (0..count).step_by(CHUNK_KEYS) {
            self.send(&vec![key.clone(); CHUNK_KEYS.min(count - sent)], guard)?;
            std::thread::sleep(CHUNK_REST);
        }
        Ok(())
    }

    /// Sends `strokes` once the guard's conditions hold; all of them or none.
    pub(super) fn send(&self, strokes: &[Stroke], guard: &Guard) -> Result<()> {
        let (start, mut held) = (Instant::now(), None);
        loop {
            if guard.is_cancelled() {
                return Err(Error::Cancelled);
            }
            // A grab at each look would make the screen stutter for as long as a key is held.
            if held.is_some() {
                held = self.look(guard)?.err();
            }
            if held.is_none() {
                // Nobody can move the focus or hear of a key between this look and the last key.
                self.conn.grab_server()?;
                let result = self.send_if_free(strokes, guard);
                self.conn.ungrab_server()?;
                self.conn.get_input_focus()?.reply()?;
                held = result?;
            }
            let limit = match held {
                None => return Ok(()),
                Some(Held::Modifiers) => guard.modifier_wait,
                Some(Held::Keys) => guard.modifier_wait.max(KEY_WAIT),
            };
            if start.elapsed() >= limit {
                return Err(Error::KeyHeld { waited_ms: limit.as_millis() as u64 });
            }
            std::thread::sleep(MODIFIER_POLL);
        }
    }

    /// Which modifiers are locked, where a key can be sent. The focus elsewhere is an error.
    fn look(&self, guard: &Guard) -> Result<std::result::Result<ModMask, Held>> {
        if let Some(class) = guard.only {
            let window = self.focused()?;
            if window != guard.window {
                let found = self.describe(window).map(|found| found.class).unwrap_or_default();
                return Err(Error::FocusChanged { expected: class.into(), found });
            }
        }
        let state = self.conn.xkb_get_state(core_keyboard())?.reply()?;
        let locks = ModMask::LOCK | ModMask::M2;
        if u16::from(state.mods) & !u16::from(locks) != 0 {
            return Ok(Err(Held::Modifiers));
        }
        if guard.keys_up && self.conn.query_keymap()?.reply()?.keys.iter().any(|keys| *keys != 0) {
            return Ok(Err(Held::Keys));
        }
        Ok(Ok(state.locked_mods))
    }

    /// Sends `strokes`, unless something is held.
    fn send_if_free(&self, strokes: &[Stroke], guard: &Guard) -> Result<Option<Held>> {
        let locked = match self.look(guard)? {
            Ok(locked) => locked,
            Err(held) => return Ok(Some(held)),
        };
        let caps_lock = locked & ModMask::LOCK;
        if caps_lock != ModMask::from(0u16) && !strokes.is_empty() {
            self.lock_caps(ModMask::from(0u16))?;
        }
        let mut held: &[Keycode] = &[];
        for stroke in strokes {
            if held != stroke.held {
                self.key_all(KEY_RELEASE_EVENT, held.iter().rev())?;
                self.key_all(KEY_PRESS_EVENT, stroke.held.iter())?;
                held = &stroke.held;
            }
            self.key_all(KEY_PRESS_EVENT, [stroke.keycode].iter())?;
            self.key_all(KEY_RELEASE_EVENT, [stroke.keycode].iter())?;
        }
        self.key_all(KEY_RELEASE_EVENT, held.iter().rev())?;
        if caps_lock != ModMask::from(0u16) && !strokes.is_empty() {
            self.lock_caps(caps_lock)?;
        }
        Ok(None)
    }

    fn key_all<'k>(&self, kind: u8, keys: impl Iterator<Item = &'k Keycode>) -> Result<()> {
        for &key in keys {
            self.conn.xtest_fake_input(kind, key, 0, x11rb::NONE, 0, 0, 0)?;
        }
        Ok(())
    }

    /// Sets the Caps Lock state, which would turn the letters around.
    fn lock_caps(&self, to: ModMask) -> Result<()> {
        let none = ModMask::from(0u16);
        self.conn.xkb_latch_lock_state(
            core_keyboard(),
            ModMask::LOCK,
            to,
            false,
            0u8.into(),
            none,
            false,
            0,
        )?;
        Ok(())
    }

    /// Waits until the window has read the keys sent so far: it answers a ping (`_NET_WM_PING`), which it
    /// reads after them. Where it knows no ping but `must_be_read`, waits until its process rests.
    fn await_keys_read(&self, guard: &Guard, must_be_read: bool) -> Result<Receipt> {
        let protocols = self.property(guard.window, self.atoms.WM_PROTOCOLS).unwrap_or_default();
        let ping = self.atoms._NET_WM_PING.to_ne_bytes();
        let limit = if must_be_read { READ_LIMIT } else { guard.receipt_wait };
        if protocols.chunks(4).any(|atom| atom == ping) {
            return self.await_pong(guard.window, limit);
        }
        if must_be_read && !self.await_rest(guard.window, limit)? {
            return Ok(Receipt::NotSeen);
        }
        Ok(Receipt::Unknown)
    }

    fn await_pong(&self, window: Window, limit: Duration) -> Result<Receipt> {
        self.hear_pongs(EventMask::SUBSTRUCTURE_NOTIFY)?;
        let serial = self.conn.generate_id()?;
        let data = [self.atoms._NET_WM_PING, serial, window, 0, 0];
        let message = ClientMessageEvent::new(32, window, self.atoms.WM_PROTOCOLS, data);
        self.conn.send_event(false, window, EventMask::NO_EVENT, message)?;
        let pong = until(limit, || {
            while let Some(event) = self.conn.poll_for_event()? {
                if matches!(event, Event::ClientMessage(pong) if pong.data.as_data32()[..3] == data[..3]) {
                    return Ok(Some(Receipt::Seen));
                }
            }
            self.conn.flush()?;
            Ok(None)
        });
        self.hear_pongs(EventMask::NO_EVENT)?;
        while self.conn.poll_for_event()?.is_some() {}
        Ok(pong?.unwrap_or(Receipt::NotSeen))
    }

    /// Waits until the window's process has nothing left to read. One with events to read waits for a processor,
    /// runs, or waits for the server's answer to a question about a key. Under load it may be found at the last
    /// again and again, so it must not have run between looks either; and before each look the server answers a
    /// question of our own, hence also those asked before it, a turn later at most. A process that runs for
    /// reasons of its own all the time (timers) must be found asleep many times instead.
    fn await_rest(&self, window: Window, limit: Duration) -> Result<bool> {
        let Some(pid) = self.client_pid(window) else {
            std::thread::sleep(BLIND_REST);
            return Ok(true);
        };
        let (mut asleep, mut unmoved, mut before) = (0, 0, None);
        let rests = until(limit, || {
            self.conn.get_input_focus()?.reply()?;
            let now = sleeping(pid);
            asleep = if now.is_some() { asleep + 1 } else { 0 };
            unmoved = if now.is_some() && now == before { unmoved + 1 } else { 0 };
            before = now;
            Ok((unmoved >= UNMOVED_LOOKS || asleep >= ASLEEP_LOOKS).then_some(()))
        })?;
        Ok(rests.is_some())
    }

    /// Pongs are sent to the root window.
    fn hear_pongs(&self, mask: EventMask) -> Result<()> {
        let attributes = ChangeWindowAttributesAux::new().event_mask(mask);
        Ok(self.conn.change_window_attributes(self.root, &attributes)?.check()?)
    }
}

/// Keysyms on spare keys; the keys are cleared on drop.
///
/// A program that is reading the layout anew misses the notice of a change that comes meanwhile (Xlib clears
/// its marks after the answer), so each change is sent in one piece, and waited for before the next one.
struct Bound<'a> {
    x11: &'a X11,
    keys: Vec<(Keysym, Keycode)>,
}

impl Bound<'_> {
    fn rebind(&mut self, spare: &[Keycode], syms: &[Keysym]) -> Result<()> {
        let keys: Vec<_> = syms.iter().copied().zip(spare.iter().copied()).collect();
        // Keys after those stay bound.
        self.keys.splice(..keys.len().min(self.keys.len()), keys.iter().copied());
        self.map(&keys, Keysym::raw)?;
        self.x11.conn.get_input_focus()?.reply()?;
        Ok(())
    }

    /// Clears the keys; whether there were any.
    fn clear(&mut self) -> Result<bool> {
        let keys = std::mem::take(&mut self.keys);
        self.map(&keys, |_| 0)?;
        Ok(!keys.is_empty())
    }

    /// Maps the keys, those beside one another in one go: programs read the layout anew at every change.
    fn map(&self, keys: &[(Keysym, Keycode)], value: impl Fn(Keysym) -> u32) -> Result<()> {
        for run in keys.chunk_by(|(_, left), (_, right)| left + 1 == *right) {
            let Some(&(_, first)) = run.first() else { continue };
            // Twice each, for the server makes upper and lower case out of a single letter.
            let values: Vec<u32> = run.iter().flat_map(|&(sym, _)| [value(sym); 2]).collect();
            self.x11.conn.change_keyboard_mapping(run.len() as u8, first, 2, &values)?;
        }
        Ok(self.x11.conn.flush()?)
    }

    fn stroke(&self, sym: Keysym) -> Option<Stroke> {
        let &(_, keycode) = self.keys.iter().find(|(bound, _)| *bound == sym)?;
        Some(Stroke { keycode, held: vec![] })
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        // A failure means that the display is gone, and the binding with it.
        let _ = self.clear();
    }
}

/// How often each thread of a process has been given a processor, as `/proc` tells it, when all of them sleep
/// (or the process is gone).
fn sleeping(pid: u32) -> Option<Vec<String>> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let status = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    status
        .map(|status| {
            let state = status.lines().find(|line| line.starts_with("State:"))?;
            let counts = status.lines().filter(|line| line.contains("voluntary_ctxt_switches:"));
            (!state.contains(['R', 'D'])).then(|| counts.collect())
        })
        .collect()
}

/// A stretch of text and the keysyms that must be bound for it.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    range: Range<usize>,
    missing: Vec<Keysym>,
}

/// Cuts `text` between grapheme clusters so that no part needs more than `spare` keysyms that the layout
/// does not know.
fn batches(text: &str, is_known: impl Fn(Keysym) -> bool, spare: usize) -> Result<Vec<Batch>> {
    let mut batches = vec![Batch { range: 0..0, missing: vec![] }];
    for (start, grapheme) in text.grapheme_indices(true) {
        let end = start + grapheme.len();
        let mut missing = Vec::new();
        for sym in grapheme.chars().map(keysym) {
            if !is_known(sym) && !missing.contains(&sym) {
                missing.push(sym);
            }
        }
        if missing.len() > spare {
            return Err(Error::NoSpareKeys);
        }
        let Some(batch) = batches.last_mut() else { break };
        let more: Vec<_> = missing.iter().copied().filter(|sym| !batch.missing.contains(sym)).collect();
        if batch.missing.len() + more.len() <= spare {
            batch.missing.extend(more);
            batch.range.end = end;
        } else {
            batches.push(Batch { range: start..end, missing });
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_bind_no_more_than_the_spare_keys() {
        let ascii = |sym: Keysym| sym.raw() < 0x80;
        let text = "aéßéb漢字c€";
        let cut = batches(text, ascii, 2).expect("two keys are enough");
        assert_eq!(cut.iter().map(|b| &text[b.range.clone()]).collect::<Vec<_>>(), ["aéßéb", "漢字c", "€"]);
        assert!(cut.iter().all(|batch| batch.missing.len() <= 2));
        assert_eq!(batches(text, ascii, 0), Err(Error::NoSpareKeys));
        assert_eq!(batches("abc", ascii, 0).map(|cut| cut.len()), Ok(1));
        assert_eq!(batches("e\u{301}\u{302}", ascii, 1), Err(Error::NoSpareKeys), "a cluster is not cut");
    }
}
