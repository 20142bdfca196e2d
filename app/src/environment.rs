//! What the environment says about where things are. With the store's own settings the only place
//! that reads it.

use crate::checks::CHECKS;
use crate::exit::{Exit, Failure};
use crate::settings::{ConfigFile, Settings};
use anyhow::Result;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use undertone_engine::{ISA_VARIABLE, Isa};

/// Whether the instructions the environment asks for are there; without a word in it, the best are used.
///
/// # Errors
/// [`Exit::Usage`] for a name that is none, [`Exit::Device`] if the processor lacks them.
pub(crate) fn check_instructions() -> Result<()> {
    let Some(name) = std::env::var_os(ISA_VARIABLE).filter(|name| !name.is_empty()) else { return Ok(()) };
    let refused = |exit, what: &str| {
        let here: Vec<&str> = Isa::ALL.into_iter().filter(|isa| isa.is_here()).map(Isa::name).collect();
        let (name, here) = (name.display(), here.join(", "));
        Err(Failure::new(exit, format!("{ISA_VARIABLE}={name} {what}; here it can be {here}")).into())
    };
    match name.to_str().and_then(Isa::parse) {
        None => refused(Exit::Usage, "names no instruction set"),
        Some(isa) if !isa.is_here() => refused(Exit::Device, "is more than this processor has"),
        Some(_) => Ok(()),
    }
}

/// Where a command works: the user's session, and the file of its settings.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) environment: Environment,
    pub(crate) file: ConfigFile,
}

impl Place {
    /// The file `config`, or the one in the usual folder.
    ///
    /// # Errors
    /// As [`Environment::read`].
    pub(crate) fn find(config: Option<&Path>) -> Result<Place> {
        let environment = Environment::read()?;
        let file = match config {
            Some(path) => ConfigFile::at(path),
            None => ConfigFile::in_folder(&environment.config_home),
        };
        Ok(Place { environment, file })
    }

    /// The settings.
    ///
    /// # Errors
    /// [`Exit::Usage`] with all that is wrong with them.
    pub(crate) fn settings(&self) -> Result<Settings> {
        Ok(self.file.load(&CHECKS).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?)
    }
}

/// Folders and displays of the user's session.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    pub(crate) home: PathBuf,
    /// `$XDG_CONFIG_HOME`, by default `~/.config`.
    pub(crate) config_home: PathBuf,
    /// `undertone` in `$XDG_DATA_HOME`, by default in `~/.local/share`.
    pub(crate) data_dir: PathBuf,
    /// `undertone` in `$XDG_CACHE_HOME`, by default in `~/.cache`: what can be made again.
    pub(crate) cache_dir: PathBuf,
    /// `$XDG_RUNTIME_DIR`.
    pub(crate) runtime_dir: Option<PathBuf>,
    /// The X display.
    pub(crate) display: Option<String>,
    /// The Wayland compositor's socket.
    pub(crate) wayland: Option<PathBuf>,
    /// `$VISUAL` or `$EDITOR`.
    pub(crate) editor: String,
}

impl Environment {
    /// # Errors
    /// [`Exit::Usage`] without a home folder.
    pub(crate) fn read() -> Result<Environment> {
        Environment::from_vars(|name| std::env::var_os(name))
    }

    fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Environment> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
        let missing = || Failure::new(Exit::Usage, "there is no home folder: set HOME");
        let home = var("HOME").map(PathBuf::from).ok_or_else(missing)?;
        // XDG: a relative value is to be ignored.
        let xdg = |name: &str| var(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
        Ok(Environment {
            config_home: xdg("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
            data_dir: xdg("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share")).join("undertone"),
            cache_dir: xdg("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")).join("undertone"),
            runtime_dir: xdg("XDG_RUNTIME_DIR"),
            display: text("DISPLAY"),
            // Relative to the runtime folder, which an absolute name replaces (wl_display_connect(3)).
            wayland: var("WAYLAND_DISPLAY").and_then(|name| Some(xdg("XDG_RUNTIME_DIR")?.join(name))),
            editor: text("VISUAL").or_else(|| text("EDITOR")).unwrap_or_else(|| "vi".into()),
            home,
        })
    }

    pub(crate) fn history_dir(&self) -> PathBuf {
        self.data_dir.join("history")
    }

    /// Where recordings are while they are made and until their text is delivered.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.data_dir.join("journal")
    }

    /// `path` with a leading `~/` as the home folder.
    pub(crate) fn expand(&self, path: &str) -> PathBuf {
        match path.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => Path::new(path).to_path_buf(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_and_empty_values_are_as_good_as_none() {
        let vars = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/a")),
            "XDG_DATA_HOME" => Some("data".into()),
            "XDG_RUNTIME_DIR" | "WAYLAND_DISPLAY" => Some("".into()),
            "XDG_CONFIG_HOME" => Some("/etc/a".into()),
            _ => None,
        };
        let read = Environment::from_vars(vars).expect("a home is there");
        assert_eq!(read.data_dir, Path::new("/home/a/.local/share/undertone"));
        assert_eq!(read.config_home, Path::new("/etc/a"));
        assert_eq!(read.cache_dir, Path::new("/home/a/.cache/undertone"));
        assert_eq!((read.runtime_dir.as_deref(), read.wayland.as_deref()), (None, None));
        assert_eq!(read.expand("~/notes.md"), Path::new("/home/a/notes.md"));
        assert!(Environment::from_vars(|_| None).is_err());
    }
}
