//! The keyboards themselves (`/dev/input`), for desktops that offer programs no global keys.
//!
//! Reading them needs rights, and nothing is taken away: the key reaches the focused window, too.

use super::{Backend, Binding, Error, Heard, bell::Bell, table::MODIFIERS};
use ::evdev::{Device, EventSummary, InputEvent, KeyCode};
use rustix::fs::inotify;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const DEVICES: &str = "/dev/input";

pub(super) struct Evdev {
    keyboards: BTreeMap<PathBuf, Device>,
    /// Tells of keyboards plugged in.
    plugged: OwnedFd,
    chords: Chords,
}

impl Evdev {
    pub(super) fn open() -> Result<Self, Error> {
        let plugged = watch(Path::new(DEVICES)).map_err(|_| Error::NoKeyboard)?;
        let mut evdev = Self { keyboards: BTreeMap::new(), plugged, chords: Chords::default() };
        let forbidden = evdev.look_for_keyboards();
        match evdev.keyboards.is_empty() {
            true if forbidden => Err(Error::NotPermitted),
            true => Err(Error::NoKeyboard),
            false => Ok(evdev),
        }
    }

    /// Opens the keyboards not open yet; whether some device may not be read.
    fn look_for_keyboards(&mut self) -> bool {
        let mut forbidden = false;
        for entry in std::fs::read_dir(DEVICES).into_iter().flatten().flatten() {
            let path = entry.path();
            if !entry.file_name().as_encoded_bytes().starts_with(b"event")
                || self.keyboards.contains_key(&path)
            {
                continue;
            }
            match open_keyboard(&path) {
                Ok(Some(device)) => {
                    self.keyboards.insert(path, device);
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => forbidden = true,
                // It may have gone again already.
                Err(error) => tracing::debug!("cannot open {}: {error}", path.display()),
            }
        }
        forbidden
    }
}

impl Backend for Evdev {
    fn bind(&mut self, _: &Arc<Bell>, bindings: &[Binding]) -> Result<(), Error> {
        self.chords.bindings = bindings.to_vec();
        Ok(())
    }

    fn hear(&mut self, bell: &Arc<Bell>, limit: Duration, heard: &mut Vec<Heard>) -> Result<(), Error> {
        let keyboards = self.keyboards.values().map(Device::as_fd);
        let sources: Vec<BorrowedFd<'_>> = keyboards.chain([self.plugged.as_fd()]).collect();
        bell.wait(&sources, limit).map_err(Error::lost("the keyboards"))?;
        if was_touched(&self.plugged) {
            self.look_for_keyboards();
        }
        let chords = &mut self.chords;
        self.keyboards.retain(|path, keyboard| match keyboard.fetch_events() {
            Ok(events) => {
                heard.extend(events.filter_map(|event| chords.hear(event)));
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => {
                tracing::info!("keyboard {} is gone: {error}", path.display());
                // What was down on it is up; the state of held keys is checked after every wait.
                chords.down.clear();
                false
            }
        });
        Ok(())
    }

    fn is_down(&mut self, code: u16) -> Result<bool, Error> {
        let holds =
            |keyboard: &Device| keyboard.get_key_state().is_ok_and(|keys| keys.contains(KeyCode(code)));
        Ok(self.keyboards.values().any(holds))
    }
}

/// Follows which keys are down, for the bindings' modifiers.
#[derive(Default)]
struct Chords {
    bindings: Vec<Binding>,
    down: BTreeSet<u16>,
}

impl Chords {
    fn hear(&mut self, event: InputEvent) -> Option<Heard> {
        match event.destructure() {
            EventSummary::Key(_, KeyCode(code), 0) => {
                self.down.remove(&code);
                Some(Heard::Up { code })
            }
            EventSummary::Key(_, KeyCode(code), 1) => {
                self.down.insert(code);
                self.bindings
                    .iter()
                    .position(|binding| self.is_met(binding, code))
                    .map(|binding| Heard::Down { binding, code })
            }
            // 2 is a repeat.
            _ => None,
        }
    }

    /// Whether the key just pressed is the binding's, with its modifiers and no others down.
    fn is_met(&self, Binding { chord, .. }: &Binding, code: u16) -> bool {
        chord.key().code == code
            && (chord.is_modifier()
                || MODIFIERS.iter().all(|modifier| {
                    let wanted = chord.modifiers().any(|wanted| wanted.bit == modifier.bit);
                    wanted == modifier.codes.iter().any(|code| self.down.contains(code))
                }))
    }
}

/// None for a device that is no keyboard.
fn open_keyboard(path: &Path) -> io::Result<Option<Device>> {
    let device = Device::open(path)?;
    // A foot switch or a mouse with macro keys is as good as a keyboard; a power button is not.
    let has_keys =
        device.supported_keys().is_some_and(|keys| keys.iter().filter(|key| key.0 < 0x100).count() > 2);
    if has_keys {
        device.set_nonblocking(true)?;
    }
    Ok(has_keys.then_some(device))
}

fn watch(folder: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    // A device appears first and becomes readable by its group a little later.
    inotify::add_watch(&watch, folder, inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB)?;
    Ok(watch)
}

/// Whether something happened in the folder watched; empties the queue.
fn was_touched(watch: &OwnedFd) -> bool {
    let mut touched = false;
    let mut buffer = [0u8; 4096];
    while rustix::io::read(watch, &mut buffer).is_ok_and(|read| read > 0) {
        touched = true;
    }
    touched
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::evdev::EventType;

    fn chords(texts: &[&str]) -> Chords {
        let bind = |text: &&str| Binding { chord: text.parse().unwrap(), name: (*text).to_owned() };
        Chords { bindings: texts.iter().map(bind).collect(), ..Default::default() }
    }

    /// What is heard of keys with these codes, each with 1 for down, 2 for a repeat, 0 for up.
    fn hear(chords: &mut Chords, keys: &[(u16, i32)]) -> Vec<Heard> {
        let events = keys.iter().map(|(code, value)| InputEvent::new(EventType::KEY.0, *code, *value));
        events.filter_map(|event| chords.hear(event)).collect()
    }

    #[test]
    fn a_chord_needs_its_modifiers_and_no_others() {
        let mut chords = chords(&["F9", "ctrl+shift+space"]);
        let space = Heard::Down { binding: 1, code: 57 };
        // Left and right control and shift, in any order, with a repeat and a mouse movement in between.
        assert_eq!(
            hear(&mut chords, &[(97, 1), (42, 1), (57, 1), (57, 2), (57, 0)]),
            [space, Heard::Up { code: 57 }]
        );
        assert_eq!(chords.hear(InputEvent::new(EventType::RELATIVE.0, 57, 1)), None);
        assert_eq!(hear(&mut chords, &[(97, 0), (57, 1), (57, 0)]), [97, 57].map(|code| Heard::Up { code }));
        // F9 while shift is still down is another key.
        assert_eq!(hear(&mut chords, &[(67, 1)]), []);
        assert_eq!(hear(&mut chords, &[(67, 0), (42, 0)]), [67, 42].map(|code| Heard::Up { code }));
        assert_eq!(hear(&mut chords, &[(67, 1)]), [Heard::Down { binding: 0, code: 67 }]);
    }

    #[test]
    fn a_modifier_alone_is_a_key() {
        let mut chords = chords(&["right_ctrl"]);
        assert_eq!(hear(&mut chords, &[(29, 1)]), []);
        assert_eq!(hear(&mut chords, &[(97, 1), (97, 2)]), [Heard::Down { binding: 0, code: 97 }]);
    }

    #[test]
    fn a_folder_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let watch = watch(folder.path()).unwrap();
        assert!(!was_touched(&watch));
        std::fs::write(folder.path().join("event0"), "").unwrap();
        assert!(was_touched(&watch));
        assert!(!was_touched(&watch));
    }
}
