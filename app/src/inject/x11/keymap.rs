//! Which key, with which modifiers, gives a keysym on the active layout.

use std::collections::HashMap;

use x11rb::protocol::xkb::{ConnectionExt as _, ID, KeySymMap, KeyType, MapPart};
use x11rb::protocol::xproto::{ConnectionExt as _, Keycode, ModMask};
use x11rb::rust_connection::RustConnection;
use xkeysym::Keysym;

use super::{Error, Result};

/// The core keyboard, as XKB names it.
pub(super) fn core_keyboard() -> u16 {
    ID::USE_CORE_KBD.into()
}

/// A key and what must be held with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stroke {
    pub(super) keycode: Keycode,
    /// Keys of the modifiers to hold.
    pub(super) held: Vec<Keycode>,
}

/// The active layout.
pub(super) struct Keymap {
    strokes: HashMap<Keysym, Stroke>,
    /// Keys of any group or level that have a keysym, for shortcuts.
    keys: HashMap<Keysym, Keycode>,
    /// Keys without any keysym, the longest row of neighbours first.
    pub(super) spare: Vec<Keycode>,
    shift: Keycode,
    control: Keycode,
}

impl Keymap {
    /// Reads the server's layout and active group.
    pub(super) fn read(conn: &RustConnection) -> Result<Self> {
        let device = core_keyboard();
        let state = conn.xkb_get_state(device)?;
        let modifiers = conn.get_modifier_mapping()?;
        let (none, both) = (MapPart::from(0u16), MapPart::KEY_TYPES | MapPart::KEY_SYMS);
        let map = conn
            .xkb_get_map(device, both, none, 0, 0, 0, 0, 0, 0, 0, 0, 0u16.into(), 0, 0, 0, 0, 0, 0)?
            .reply()?;
        let group = usize::from(u8::from(state.reply()?.group));
        let types = map.map.types_rtrn.unwrap_or_default();
        let syms = map.map.syms_rtrn.unwrap_or_default();
        let keys = || (map.first_key_sym..=u8::MAX).zip(&syms);

        let modifiers = modifiers.reply()?;
        let per_row = usize::from(modifiers.keycodes_per_modifier()).max(1);
        let row = |index| modifiers.keycodes.chunks(per_row).nth(index).unwrap_or_default();
        let first = |index| row(index).iter().copied().find(|&key| key != 0);
        let shift = first(0).ok_or(Error::Missing("Shift key"))?;
        let control = first(2).ok_or(Error::Missing("Control key"))?;
        let level3 = keys().find_map(|(key, syms)| {
            let is_level3 = syms.syms.first() == Some(&Keysym::ISO_Level3_Shift.raw());
            (is_level3 && row(7).contains(&key)).then_some(key)
        });
        let held = |mask: ModMask| {
            let mut held = Vec::new();
            if mask.contains(ModMask::SHIFT) {
                held.push(shift);
            }
            if mask.contains(ModMask::M5) {
                held.push(level3?);
            }
            let rest = u16::from(mask) & !u16::from(ModMask::SHIFT | ModMask::M5);
            (rest == 0).then_some(held)
        };

        let mut found = Self { strokes: HashMap::new(), keys: HashMap::new(), spare: vec![], shift, control };
        for (keycode, key) in keys() {
            if key.syms.iter().all(|&sym| sym == 0) {
                // Keycode 8 is evdev's 0, which toolkits take for no key.
                let is_modifier = modifiers.keycodes.contains(&keycode);
                found.spare.extend(Some(keycode).filter(|&key| key > 8 && !is_modifier));
            }
            for &sym in &key.syms {
                found.keys.entry(Keysym::new(sym)).or_insert(keycode);
            }
            for (sym, mask) in levels(key, &types, group) {
                if let Some(held) = held(mask) {
                    found.insert(sym, Stroke { keycode, held });
                }
            }
        }
        let mut rows: Vec<_> = found.spare.chunk_by(|left, right| left + 1 == *right).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.len()));
        found.spare = rows.concat();
        Ok(found)
    }

    /// Keeps the stroke with the fewest modifiers for a keysym, under its own name and its character's.
    fn insert(&mut self, sym: Keysym, stroke: Stroke) {
        let by_char = sym.key_char().filter(|c| !c.is_control() && !sym.is_keypad_key());
        for name in [Some(sym), by_char.map(Keysym::from_char)].into_iter().flatten() {
            let known = self.strokes.entry(name).or_insert_with(|| stroke.clone());
            if stroke.held.len() < known.held.len() {
                *known = stroke.clone();
            }
        }
    }

    /// How to type `sym` on this layout.
    pub(super) fn stroke(&self, sym: Keysym) -> Option<&Stroke> {
        self.strokes.get(&sym)
    }

    /// A shortcut of Ctrl, and Shift if asked for, with the key that has `sym` in any group, as programs
    /// understand it on layouts without Latin letters.
    pub(super) fn shortcut(&self, sym: Keysym, with_shift: bool) -> Option<Stroke> {
        let keycode = self.strokes.get(&sym).map(|stroke| stroke.keycode);
        let keycode = keycode.or_else(|| self.keys.get(&sym).copied())?;
        let held = if with_shift { vec![self.control, self.shift] } else { vec![self.control] };
        Some(Stroke { keycode, held })
    }
}

/// The keysyms of `key` in `group`, each with the modifiers of its level.
fn levels<'a>(
    key: &'a KeySymMap,
    types: &'a [KeyType],
    group: usize,
) -> impl Iterator<Item = (Keysym, ModMask)> + 'a {
    let groups = usize::from(key.group_info & 0x0f);
    // Bits 6 and 7: a group that the key lacks wraps around, or is clamped, or redirected.
    let group = match key.group_info >> 6 {
        _ if group < groups => group,
        1 => groups.saturating_sub(1),
        2 => usize::from(key.group_info >> 4 & 3),
        _ => group % groups.max(1),
    };
    let width = usize::from(key.width);
    let syms = if groups == 0 { None } else { key.syms.get(group * width..(group + 1) * width) };
    let kind = key.kt_index.get(group).and_then(|&kind| types.get(usize::from(kind)));
    syms.unwrap_or_default().iter().enumerate().filter(|&(_, &sym)| sym != 0).filter_map(
        move |(level, &sym)| {
            let mut entries = kind.iter().flat_map(|kind| &kind.map);
            let mask = match level {
                0 => Some(ModMask::from(0u16)),
                _ => entries
                    .find(|entry| {
                        entry.active
                            && usize::from(entry.level) == level
                            && !entry.mods_mask.contains(ModMask::LOCK)
                    })
                    .map(|entry| entry.mods_mask),
            };
            Some((Keysym::new(sym), mask?))
        },
    )
}
