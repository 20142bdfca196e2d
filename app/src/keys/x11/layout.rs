//! Which keycodes and modifier bits a chord means on the keyboard's present layout.

use super::{Binding, Chord, KEYBOARD};
use crate::keys::table::Key;
use std::collections::BTreeMap;
use x11rb::{
    errors::ReplyError,
    protocol::{
        xkb::{ConnectionExt, GetMapReply, MapPart, VMod},
        xproto::ModMask,
    },
    rust_connection::RustConnection,
};

/// `Num_Lock`, `Scroll_Lock`, `ISO_Level3_Lock`, `ISO_Level5_Lock`: modifiers that stay on, so a chord must work with
/// and without them.
const LOCKS: [u32; 4] = [0xff7f, 0xff14, 0xfe05, 0xfe13];

/// X11's keycode of a position is this more than the kernel's.
const KEYCODE_OFFSET: u16 = 8;

/// The keyboard's symbols without Shift, and its modifiers.
pub(super) struct Layout {
    /// Keycode with one keysym for each group (of the up to four layouts chosen by the user).
    keysyms: Vec<(u8, Vec<u32>)>,
    /// The group in effect.
    group: usize,
    /// Modifier bits by keycode.
    modifiers: BTreeMap<u8, u16>,
}

impl Layout {
    pub(super) fn read(connection: &RustConnection) -> Result<Self, ReplyError> {
        let parts = MapPart::KEY_SYMS | MapPart::MODIFIER_MAP;
        let (none, no_mods) = (MapPart::default(), VMod::default());
        let map = connection
            .xkb_get_map(KEYBOARD, parts, none, 0, 0, 0, 0, 0, 0, 0, 0, no_mods, 0, 0, 0, 0, 0, 0)?;
        let state = connection.xkb_get_state(KEYBOARD)?.reply()?;
        Ok(Self::new(map.reply()?, usize::from(u8::from(state.group))))
    }

    fn new(map: GetMapReply, group: usize) -> Self {
        let symbols = map.map.syms_rtrn.unwrap_or_default();
        let keysyms = (map.first_key_sym..=u8::MAX).zip(symbols).map(|(keycode, key)| {
            let width = usize::from(key.width).max(1);
            (keycode, key.syms.chunks(width).filter_map(|group| group.first().copied()).collect())
        });
        let modifiers = map.map.modmap_rtrn.unwrap_or_default();
        let modifiers = modifiers.into_iter().map(|key| (key.keycode, u16::from(key.mods)));
        Self { keysyms: keysyms.collect(), group, modifiers: modifiers.collect() }
    }

    /// The keycodes and modifiers to grab for a chord, every combination of locks included.
    pub(super) fn grabs(&self, chord: &Chord) -> impl Iterator<Item = (u8, u16)> + use<> {
        let wanted = chord.modifiers().fold(0, |mask, modifier| {
            // A layout without the modifier must not make `super+d` a plain `d`.
            mask | Some(self.mask(&modifier.keysyms)).filter(|bits| *bits != 0).unwrap_or(modifier.x11_mask)
        });
        let locks = (u16::from(ModMask::LOCK) | self.mask(&LOCKS)) & !wanted;
        let keycodes = self.keycodes(chord.key());
        (0..=locks)
            .filter(move |lock| lock & !locks == 0)
            .flat_map(move |lock| keycodes.clone().into_iter().map(move |keycode| (keycode, wanted | lock)))
    }

    /// The bindings that are a modifier alone, by keycode.
    pub(super) fn modifiers_alone(&self, bindings: &[Binding]) -> BTreeMap<u8, usize> {
        let alone = bindings.iter().enumerate().filter(|(_, binding)| binding.chord.is_modifier());
        alone
            .flat_map(|(index, binding)| {
                self.keycodes(binding.chord.key()).into_iter().map(move |k| (k, index))
            })
            .collect()
    }

    /// Where the key is in the layout in effect, else in another of the user's layouts, else where it is on a US
    /// keyboard (`d` while Cyrillic is the only layout).
    fn keycodes(&self, key: &Key) -> Vec<u8> {
        let in_effect = |groups: &[u32]| {
            // A key with fewer groups than the keyboard wraps around.
            groups.get(self.group.checked_rem(groups.len()).unwrap_or(0)) == Some(&key.keysym)
        };
        let anywhere = |groups: &[u32]| groups.contains(&key.keysym);
        let find = |has: &dyn Fn(&[u32]) -> bool| -> Vec<u8> {
            self.keysyms.iter().filter(|(_, groups)| has(groups)).map(|(keycode, _)| *keycode).collect()
        };
        let found =
            Some(find(&in_effect)).filter(|found| !found.is_empty()).unwrap_or_else(|| find(&anywhere));
        if found.is_empty() { u8::try_from(key.code + KEYCODE_OFFSET).into_iter().collect() } else { found }
    }

    /// The modifier bits that keys with one of these symbols set.
    fn mask(&self, wanted: &[u32]) -> u16 {
        let keys =
            self.keysyms.iter().filter(|(_, groups)| groups.iter().any(|keysym| wanted.contains(keysym)));
        keys.filter_map(|(keycode, _)| self.modifiers.get(keycode)).fold(0, |mask, bits| mask | bits)
    }
}
