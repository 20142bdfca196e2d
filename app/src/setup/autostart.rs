//! Starting with the desktop: a systemd user unit, or a file in the XDG autostart folder, never both.

use crate::store::disk::write_private;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How the program is started.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Autostart {
    /// By systemd, and again if it fails
    Systemd,
    /// By the desktop
    Xdg,
    /// By hand
    None,
}

impl Autostart {
    pub(crate) const ALL: [Autostart; 3] = [Autostart::Systemd, Autostart::Xdg, Autostart::None];

    /// One line that offers it.
    pub(crate) fn explained(self) -> &'static str {
        match self {
            Autostart::Systemd => "systemd: a user unit, started again if it fails",
            Autostart::Xdg => "xdg: an autostart file, for desktops that systemd does not start",
            Autostart::None => "none: it is started by hand",
        }
    }

    /// What is left to do for the user after [`install`].
    pub(crate) fn next_step(self) -> Option<&'static str> {
        match self {
            Autostart::Systemd => Some(
                "run `systemctl --user daemon-reload && systemctl --user start undertone` to start it now",
            ),
            Autostart::Xdg => Some("it starts at the next login; `undertone run` starts it now"),
            Autostart::None => None,
        }
    }
}

/// Why the start could not be arranged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AutostartError {
    #[error("cannot change {}: {source}", path.display())]
    Change { path: PathBuf, source: io::Error },
    #[error("the program's path {0:?} cannot be written into a start file; install it in another folder")]
    Program(PathBuf),
}

/// Arranges that `program run` starts with the desktop in the given way and no other, with files below
/// `config_home` (`$XDG_CONFIG_HOME`, an absolute path). The files that were written or removed: none,
/// the second time.
///
/// # Errors
/// If the path of the program has no place in such a file, or a file cannot be changed.
pub(crate) fn install(
    way: Autostart,
    config_home: &Path,
    program: &Path,
) -> Result<Vec<PathBuf>, AutostartError> {
    let name = program.to_str().filter(|name| program.is_absolute() && !name.contains(char::is_control));
    let systemd = way == Autostart::Systemd;
    // systemd takes no program with these in its name, however they are quoted.
    let name = name.filter(|name| !(systemd && name.contains(['"', '\'', '\\'])));
    let name = name.ok_or_else(|| AutostartError::Program(program.into()))?;
    let units = config_home.join("systemd").join("user");
    let unit = units.join("undertone.service");
    // What `systemctl --user enable` makes; this works without a running systemd too.
    let wanted = units.join("graphical-session.target.wants").join("undertone.service");
    let entry = config_home.join("autostart").join("undertone.desktop");

    let unit_text = systemd.then(|| unit_file(name));
    let entry_text = (way == Autostart::Xdg).then(|| desktop_entry(name));
    let changes = [
        (put(&unit, unit_text.as_deref()), unit),
        (link(&wanted, systemd), wanted),
        (put(&entry, entry_text.as_deref()), entry),
    ];
    let mut changed = Vec::new();
    for (change, path) in changes {
        match change {
            Ok(true) => changed.push(path),
            Ok(false) => {}
            Err(source) => return Err(AutostartError::Change { path, source }),
        }
    }
    Ok(changed)
}

/// Makes a file hold `text`, or removes it. Whether anything changed.
fn put(path: &Path, text: Option<&str>) -> io::Result<bool> {
    let Some(text) = text else { return remove(path) };
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    write_private(path, text.as_bytes())?;
    Ok(true)
}

#[cfg(unix)]
fn link(path: &Path, there: bool) -> io::Result<bool> {
    const UNIT: &str = "../undertone.service";
    if !there {
        return remove(path);
    }
    if fs::read_link(path).is_ok_and(|old| old == Path::new(UNIT)) {
        return Ok(false);
    }
    remove(path)?;
    fs::create_dir_all(path.parent().ok_or_else(|| io::Error::other("it is in no folder"))?)?;
    std::os::unix::fs::symlink(UNIT, path)?;
    Ok(true)
}

#[cfg(not(unix))]
fn link(path: &Path, there: bool) -> io::Result<bool> {
    if there { Err(io::ErrorKind::Unsupported.into()) } else { remove(path) }
}

fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// The unit file (systemd.service(5)) for a program.
fn unit_file(program: &str) -> String {
    // In quotes a space is no end; % begins a specifier everywhere (systemd.unit(5)).
    let program = program.replace('%', "%%");
    format!(
        "[Unit]
Description=Undertone dictation
PartOf=graphical-session.target
After=graphical-session.target

[Service]
ExecStart=\"{program}\" run
Restart=on-failure
RestartSec=2

[Install]
WantedBy=graphical-session.target
"
    )
}

/// The autostart file (Desktop Entry Specification, key Exec) for a program.
fn desktop_entry(program: &str) -> String {
    let mut quoted = String::new();
    for c in program.chars() {
        match c {
            // First quoted as an argument, and each backslash of that again as part of a string.
            '"' | '`' | '$' => quoted.extend([r"\\", c.encode_utf8(&mut [0; 4])]),
            '\\' => quoted.push_str(r"\\\\"),
            '%' => quoted.push_str("%%"),
            c => quoted.push(c),
        }
    }
    format!(
        "[Desktop Entry]
Type=Application
Name=Undertone
Comment=Hold a key, speak, let go: text
Exec=\"{quoted}\" run
Terminal=false
Categories=Utility;
X-GNOME-Autostart-enabled=true
"
    )
}
