//! Global keys with press and release: X11, the portal of Wayland desktops, or the keyboards themselves.
//!
//! One thread listens. Whatever it hears becomes exactly one press and one release for each hold: repeats are
//! dropped, and a release that got lost is found by asking for the key's state while it is held.

mod bell;
mod chord;
mod evdev;
mod listener;
#[cfg(feature = "portal")]
mod portal;
mod table;
mod x11;

pub(crate) use chord::Chord;

pub(crate) use bell::Bell;
#[cfg(feature = "portal")]
pub(crate) use bell::block_on;
use crossbeam_channel::{Receiver, Sender, bounded};
use listener::{Listener, Order};
#[cfg(feature = "portal")]
pub(crate) use portal::connect;
use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Events that may wait for their reader before the listening thread does.
const EVENTS: usize = 64;

/// A desktop may show a dialog before it grants keys.
const DIALOG: Duration = Duration::from_secs(60);

/// A key and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The key.
    pub(crate) chord: Chord,
    /// The activation's name, such as `dictate`: the portal keeps the user's choice of key under it and shows it.
    pub(crate) name: String,
}

/// Where keys are heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Grabs on an X server, the display as in `:0`; none takes `DISPLAY`.
    X11(Option<String>),
    /// The XDG portal GlobalShortcuts on this D-Bus address; none takes the session's bus.
    Portal(Option<String>),
    /// The keyboards in `/dev/input`, which needs permission to read them. Keys also reach the focused window.
    Evdev,
}

impl Choice {
    /// What suits a desktop: a Wayland compositor shows X clients only the keys typed into X windows.
    pub(crate) fn for_desktop(has_wayland: bool) -> Self {
        if has_wayland { Self::Portal(None) } else { Self::X11(None) }
    }
}

/// A binding's key went down or up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyEvent {
    /// Index of the [`Binding`].
    pub(crate) binding: usize,
    /// Down or up; for each binding they take turns, beginning with down.
    pub(crate) pressed: bool,
    /// When it was heard.
    pub(crate) at: Instant,
}

/// Why keys cannot be heard.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No X server, or one without the extensions needed.
    #[error(
        "cannot reach an X server ({0}); check DISPLAY, or bind a key of the desktop to `undertone ctl toggle`"
    )]
    NoServer(String),
    /// X11: a grab was refused.
    #[error(
        "another program already holds {0}; choose another key, or free it there or in the desktop's settings"
    )]
    Taken(Chord),
    /// Two bindings cannot be told apart.
    #[error("two actions share the key or name {0}; give each its own")]
    Duplicate(String),
    /// No desktop portal, or one without global shortcuts.
    #[error(
        "this desktop offers programs no global keys ({0}); bind a key of the desktop to `undertone ctl toggle`"
    )]
    NoPortal(String),
    /// The portal answered, but not with the shortcut.
    #[cfg(feature = "portal")]
    #[error("the desktop did not grant a key for {0}; allow it in the desktop's settings for shortcuts")]
    Declined(String),
    /// Nobody closed the portal's dialog.
    #[cfg(feature = "portal")]
    #[error(
        "no answer to the request for keys within {limit_s} s; start again and answer the desktop's dialog"
    )]
    Unanswered {
        /// How long it was waited for.
        limit_s: u64,
    },
    /// Evdev: no keyboard could be opened for lack of rights.
    #[error("may not read the keyboards in /dev/input; run `sudo usermod -aG input $USER` and log in again")]
    NotPermitted,
    /// Evdev: there is none.
    #[error("there is no keyboard in /dev/input")]
    NoKeyboard,
    /// The source went away while it was listened to; the last item of [`Keys::events`].
    #[error("lost {source_name} ({reason}), so keys are no longer heard; start undertone again")]
    Lost {
        /// What was lost.
        source_name: &'static str,
        /// As the system puts it.
        reason: String,
    },
    /// The listening thread has ended.
    #[error("keys are no longer heard; start undertone again")]
    Stopped,
}

impl Error {
    fn lost<E: std::fmt::Display>(source_name: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Lost { source_name, reason: error.to_string() }
    }
}

/// Global keys, listened to until dropped.
#[derive(Debug)]
pub(crate) struct Keys {
    events: Receiver<Result<KeyEvent, Error>>,
    orders: Sender<Order>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    /// Takes all `bindings` or none. Over a portal it waits for the user, up to a minute.
    pub(crate) fn open(bindings: &[Binding], choice: &Choice) -> Result<Self, Error> {
        refuse_duplicates(bindings)?;
        let bell = Arc::new(Bell::new().map_err(Error::lost("the event counter"))?);
        let mut backend: Box<dyn Backend> = match choice {
            Choice::X11(display) => Box::new(x11::X11::connect(display.as_deref())?),
            #[cfg(feature = "portal")]
            Choice::Portal(address) => Box::new(portal::Portal::new(address.clone())),
            #[cfg(not(feature = "portal"))]
            Choice::Portal(_) => return Err(Error::NoPortal("built without the feature portal".into())),
            Choice::Evdev => Box::new(evdev::Evdev::open()?),
        };
        backend.bind(&bell, bindings)?;
        Self::listen(backend, bindings, bell)
    }

    fn listen(backend: Box<dyn Backend>, bindings: &[Binding], bell: Arc<Bell>) -> Result<Self, Error> {
        let (sender, events) = bounded(EVENTS);
        let (orders, receiver) = bounded(1);
        let listener = Listener::new(backend, bindings.to_vec(), Arc::clone(&bell), sender);
        let thread = std::thread::Builder::new().name("keys".into()).spawn(move || listener.run(&receiver));
        Ok(Self { events, orders, bell, thread: Some(thread.map_err(Error::lost("the listening thread"))?) })
    }

    /// Presses and releases; an error is the last item, after the releases of all keys held.
    pub(crate) fn events(&self) -> &Receiver<Result<KeyEvent, Error>> {
        &self.events
    }

    /// Replaces all bindings; on an error the former stay. A key that keeps its place may stay held meanwhile,
    /// every other one held gets its release.
    pub(crate) fn rebind(&self, bindings: &[Binding]) -> Result<(), Error> {
        refuse_duplicates(bindings)?;
        let (answer, answered) = bounded(1);
        let order = Order { bindings: bindings.to_vec(), answer };
        self.orders.send_timeout(order, DIALOG).map_err(|_| Error::Stopped)?;
        self.bell.ring();
        answered.recv_timeout(2 * DIALOG).map_err(|_| Error::Stopped)?
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by its hook already.
            let _ = thread.join();
        }
    }
}

fn refuse_duplicates(bindings: &[Binding]) -> Result<(), Error> {
    for (index, binding) in bindings.iter().enumerate() {
        let before = bindings.iter().take(index);
        if before.clone().any(|other| other.chord == binding.chord) {
            return Err(Error::Duplicate(binding.chord.to_string()));
        } else if before.clone().any(|other| other.name == binding.name) {
            return Err(Error::Duplicate(binding.name.clone()));
        }
    }
    Ok(())
}

/// One way to hear keys.
trait Backend: Send {
    /// Replaces all bindings; on an error the former stay.
    fn bind(&mut self, bell: &Arc<Bell>, bindings: &[Binding]) -> Result<(), Error>;

    /// Waits for keys until the bell rings or `limit` is over, and appends what was heard, repeats and all.
    fn hear(&mut self, bell: &Arc<Bell>, limit: Duration, heard: &mut Vec<Heard>) -> Result<(), Error>;

    /// Whether the key with this [`Heard`] code is down now, as far as the source can tell.
    fn is_down(&mut self, code: u16) -> Result<bool, Error>;
}

/// What a back-end heard; `code` tells physical keys apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Down { binding: usize, code: u16 },
    Up { code: u16 },
}

#[cfg(test)]
pub(crate) mod tests;
