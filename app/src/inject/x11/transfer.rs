//! Content of a selection, in all its formats, and reading it from its owner.

use std::time::{Duration, Instant};

use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ConnectionExt as _, Property, SelectionNotifyEvent, Timestamp,
};

use super::clipboard::Owner;
use super::{Atoms, Result};

/// Largest content that is kept to be restored.
const MAX_BYTES: usize = 64 << 20;
/// Most formats that are kept.
const MAX_FORMATS: usize = 64;
/// Longest time for reading all formats.
const READ_LIMIT: Duration = Duration::from_millis(1500);
/// Longest time for one answer of the owner.
const ANSWER_LIMIT: Duration = Duration::from_millis(400);

/// One format of a selection's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) target: Atom,
    /// Type and unit (8, 16 or 32 bits) of the property that it is transferred in.
    pub(super) kind: Atom,
    pub(super) unit_bits: u8,
    pub(super) bytes: Vec<u8>,
}

/// What a selection holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) formats: Vec<Format>,
    /// Whether no format was too large, too slow or refused.
    pub(super) complete: bool,
}

impl Content {
    /// A text in the formats that programs ask for, marked for clipboard managers not to be kept.
    pub(super) fn transient_text(text: &str, atoms: &Atoms) -> Self {
        let mut content = Self::text(text, atoms);
        content.push(atoms.PASSWORD_HINT, atoms.STRING, b"secret".to_vec());
        content
    }

    /// A text in the formats that programs ask for.
    pub(super) fn text(text: &str, atoms: &Atoms) -> Self {
        let mut content = Self { formats: vec![], complete: true };
        for target in [atoms.UTF8_STRING, atoms.TEXT_PLAIN_UTF8, atoms.TEXT_PLAIN, atoms.TEXT] {
            let kind = if target == atoms.TEXT { atoms.UTF8_STRING } else { target };
            content.push(target, kind, text.as_bytes().to_vec());
        }
        // STRING is Latin-1 by definition.
        let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        if let Some(latin1) = latin1 {
            content.push(atoms.STRING, atoms.STRING, latin1);
        }
        content
    }

    fn push(&mut self, target: Atom, kind: Atom, bytes: Vec<u8>) {
        self.formats.push(Format { target, kind, unit_bits: 8, bytes });
    }
}

/// Targets that are questions about a selection, or commands to its owner, and no formats.
fn is_meta(target: Atom, atoms: &Atoms) -> bool {
    [
        atoms.TARGETS,
        atoms.MULTIPLE,
        atoms.TIMESTAMP,
        atoms.SAVE_TARGETS,
        atoms.DELETE,
        atoms.INSERT_SELECTION,
        atoms.INSERT_PROPERTY,
        x11rb::NONE,
    ]
    .contains(&target)
}

impl Owner {
    /// Reads all formats of `selection` from the client that owns it.
    pub(super) fn read_all(&mut self, selection: Atom) -> Result<Content> {
        let deadline = Instant::now() + READ_LIMIT;
        let mut content = Content { formats: vec![], complete: true };
        let Some(targets) = self.read(selection, self.atoms.TARGETS, 1 << 16, deadline)? else {
            // An owner that cannot list its formats: text is the best guess.
            content.complete = false;
            content.formats.extend(self.read(selection, self.atoms.UTF8_STRING, MAX_BYTES, deadline)?);
            return Ok(content);
        };
        let targets = targets.bytes.chunks_exact(4).filter_map(|bytes| bytes.try_into().ok());
        let targets = targets.map(u32::from_ne_bytes).filter(|&target| !is_meta(target, &self.atoms));
        let mut targets: Vec<Atom> = targets.collect();
        // What no one could do without comes first, should time run out.
        targets.sort_by_key(|&target| target != self.atoms.UTF8_STRING);
        targets.dedup();
        content.complete = targets.len() <= MAX_FORMATS;
        let mut left_bytes = MAX_BYTES;
        for target in targets.into_iter().take(MAX_FORMATS) {
            match self.read(selection, target, left_bytes, deadline)? {
                Some(format) => {
                    left_bytes -= format.bytes.len();
                    content.formats.push(format);
                }
                None => content.complete = false,
            }
        }
        Ok(content)
    }

    /// Reads one format: `None` when it is refused, too large or too slow.
    pub(super) fn read(
        &mut self,
        selection: Atom,
        target: Atom,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Option<Format>> {
        let (window, property) = (self.window, self.atoms.UNDERTONE_TRANSFER);
        let time = self.server_time()?;
        self.conn.delete_property(window, property)?;
        self.conn.convert_selection(window, selection, target, property, time)?;
        let is_answer = |event: &Event| match event {
            Event::SelectionNotify(answer) => is_answer_to(answer, selection, target, time),
            _ => false,
        };
        let answer = self.wait_for(deadline.min(Instant::now() + ANSWER_LIMIT), is_answer)?;
        if !matches!(answer, Some(Event::SelectionNotify(answer)) if answer.property == property) {
            return Ok(None);
        }
        let Some(mut format) = self.take_property(target, max_bytes)? else { return Ok(None) };
        if format.kind != self.atoms.INCR {
            return Ok(Some(format));
        }
        format.bytes.clear();
        loop {
            let is_new = |event: &Event| {
                matches!(event, Event::PropertyNotify(new)
                    if new.window == window && new.atom == property && new.state == Property::NEW_VALUE)
            };
            let limit = deadline.min(Instant::now() + ANSWER_LIMIT);
            if self.wait_for(limit, is_new)?.is_none() {
                return Ok(None);
            }
            // The notice of the INCR property itself may come late: the property is gone by then.
            let left_bytes = max_bytes.saturating_sub(format.bytes.len());
            let Some(part) = self.take_property(target, left_bytes)? else { return Ok(None) };
            match part.kind {
                x11rb::NONE => continue,
                kind if part.bytes.is_empty() => {
                    format.kind = kind;
                    return Ok(Some(format));
                }
                kind => (format.kind, format.unit_bits) = (kind, part.unit_bits),
            }
            format.bytes.extend(part.bytes);
        }
    }

    /// Takes what was put into the transfer property; `None` when it is larger than `max_bytes`.
    fn take_property(&mut self, target: Atom, max_bytes: usize) -> Result<Option<Format>> {
        let units = u32::try_from(max_bytes / 4).unwrap_or(u32::MAX);
        let property = self.atoms.UNDERTONE_TRANSFER;
        let reply = self.conn.get_property(true, self.window, property, AtomEnum::ANY, 0, units)?.reply()?;
        if reply.bytes_after > 0 {
            self.conn.delete_property(self.window, property)?;
            return Ok(None);
        }
        Ok(Some(Format { target, kind: reply.type_, unit_bits: reply.format, bytes: reply.value }))
    }
}

/// Whether an answer is to this request and not to one that was given up.
fn is_answer_to(answer: &SelectionNotifyEvent, selection: Atom, target: Atom, time: Timestamp) -> bool {
    answer.selection == selection && answer.target == target && (answer.time == time || answer.time == 0)
}
