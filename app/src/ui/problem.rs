//! Why a part of the interface is missing, each as one sentence.

/// A part of the interface that does not work. Dictation goes on without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The session's compositor is Wayland's.
    #[error("no overlay: a Wayland session lets no program place it, so notifications are used instead")]
    OverlayOnWayland,
    /// No X server could be reached.
    #[error(
        "no overlay: the X display does not answer ({0}); start from a desktop session or switch the overlay off"
    )]
    NoDisplay(String),
    /// The X server lacks an extension.
    #[error("no overlay: the X display lacks the {0} extension, without which it would catch clicks")]
    NoExtension(&'static str),
    /// The connection to the X server has ended.
    #[error("the overlay is gone: the connection to the X display has ended ({0})")]
    DisplayLost(String),
    /// No session bus could be reached.
    #[error("no {part}: the D-Bus session bus does not answer ({cause}); start from a desktop session")]
    NoBus {
        /// What is missing because of it.
        part: &'static str,
        /// The bus library's words.
        cause: String,
    },
    /// No program shows tray icons.
    #[error("no tray icon: nothing on this desktop shows one yet (GNOME needs the AppIndicator extension)")]
    NoTrayHost,
    /// No program shows notifications.
    #[error("no notifications: no notification daemon answers ({0}); install one, such as dunst")]
    NoNotifications(String),
    /// No sound can be played.
    #[error("no sounds: the output device cannot be used ({0}); choose another or switch sounds off")]
    NoSound(String),
    /// The system refused a thread.
    #[error("no {part}: the system starts no further thread ({cause})")]
    NoThread {
        /// What is missing because of it.
        part: &'static str,
        /// The system's words.
        cause: String,
    },
}
