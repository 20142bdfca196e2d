//! The Python environment that the peers live in.

use crate::exit::{Exit, Failure};
use crate::store::{self, StoreConfig};
use anyhow::Result;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Prints `NAME==VERSION` of what is installed.
const LIST: &str = "import importlib.metadata as m\nfor d in m.distributions(): print(f\"{d.metadata['Name']}=={d.version}\")";

/// A folder with a Python environment, not yet looked at.
pub(super) struct Venv {
    folder: PathBuf,
    /// Named by the user, whose versions are then taken as they are.
    own: bool,
}

impl Venv {
    /// The user's `own`, else the one in the cache folder.
    pub(super) fn new(own: Option<&Path>, cache: &Path) -> Venv {
        match own {
            Some(folder) => Venv { folder: folder.to_path_buf(), own: true },
            None => Venv { folder: cache.join("venv"), own: false },
        }
    }

    fn python(&self) -> PathBuf {
        self.folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
    }

    /// Its Python, with `packages` (`NAME==VERSION`) installed; what is missing is fetched. Where nothing may be
    /// fetched an environment that is there is taken as it is: a peer without its package says so itself.
    ///
    /// # Errors
    /// [`Exit::Network`] with what is missing and what to do: Python, its module venv, pip, the network.
    pub(super) fn ready(&self, packages: &[&str], offline: bool) -> Result<PathBuf> {
        let python = self.python();
        let missing = match python.exists() {
            true => self.missing(packages)?,
            false => packages.to_vec(),
        };
        let cannot = match offline || StoreConfig::from_env()?.offline {
            _ if !store::CAN_FETCH => Some("this build cannot fetch"),
            true => Some("the network is switched off"),
            false => None,
        };
        match cannot {
            _ if missing.is_empty() && python.exists() => {}
            Some(why) if !python.exists() => {
                let folder = self.folder.display();
                let what = format!(
                    "there is no Python environment in {folder} and {why}: name one that has {} with --venv",
                    packages.join(", ")
                );
                return Err(Failure::new(Exit::Network, what).into());
            }
            Some(_) => {}
            None => self.install(&python, &missing)?,
        }
        Ok(python)
    }

    /// Those of `packages` that are not installed, or not in this version.
    fn missing<'a>(&self, packages: &[&'a str]) -> Result<Vec<&'a str>> {
        let python = self.python();
        let broken = |why: &str| {
            let what = format!("{} is no Python that runs ({why}): remove its folder", python.display());
            Failure::new(Exit::Input, what)
        };
        let listed = Command::new(&python).args(["-I", "-c", LIST]).output();
        let listed = listed.map_err(|e| broken(&e.to_string()))?;
        if !listed.status.success() {
            return Err(broken(&listed.status.to_string()).into());
        }
        let listed = String::from_utf8_lossy(&listed.stdout);
        let installed: HashMap<String, &str> = listed.lines().filter_map(split).collect();
        let is_there = |package: &&str| {
            split(package).is_some_and(|(name, version)| match installed.get(&name) {
                Some(found) => self.own || *found == version,
                None => false,
            })
        };
        Ok(packages.iter().filter(|package| !is_there(package)).copied().collect())
    }

    #[cfg(feature = "fetch")]
    fn install(&self, python: &Path, missing: &[&str]) -> Result<()> {
        if !python.exists() {
            eprintln!("undertone: making a Python environment in {}", self.folder.display());
            make(&self.folder)?;
        }
        eprintln!("undertone: fetching {} and what they need, about 500 MB", missing.join(", "));
        Ok(store::install_packages(python, missing)?)
    }

    #[cfg(not(feature = "fetch"))]
    fn install(&self, _: &Path, missing: &[&str]) -> Result<()> {
        let what = format!("{} cannot be fetched by this build", missing.join(", "));
        Err(Failure::new(Exit::Network, what).into())
    }
}

/// A package's name as packages are compared by (PEP 503), and its version.
fn split(package: &str) -> Option<(String, &str)> {
    let (name, version) = package.split_once("==")?;
    Some((name.to_lowercase().replace(['_', '.'], "-"), version))
}

#[cfg(feature = "fetch")]
fn make(folder: &Path) -> Result<()> {
    let failed = |what: String| Failure::new(Exit::Network, what);
    let made = Command::new("python3").args(["-m", "venv"]).arg(folder).output().map_err(|e| {
        failed(match e.kind() {
            std::io::ErrorKind::NotFound => "python3 was not found: install Python 3.9 or later".into(),
            _ => format!("python3 could not be started: {e}"),
        })
    })?;
    if !made.status.success() {
        // What venv says is on standard output where ensurepip is missing.
        let said = [made.stderr, made.stdout].concat();
        let said = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(300).collect();
        let what = format!("python3 -m venv failed (on Debian: install python3-venv): {said}");
        return Err(failed(what).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_packages_are() {
        assert_eq!(split("Faster_Whisper==1.2.1"), Some(("faster-whisper".into(), "1.2.1")));
        assert_eq!(split("pip"), None);
    }

    #[test]
    fn without_a_network_an_environment_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Venv::new(None, folder.path()).ready(&["a==1"], true).unwrap_err();
        assert_eq!(Exit::of(&refused), Exit::Network);
        let said = refused.to_string();
        assert!(said.contains("name one that has a==1 with --venv"), "{said}");
        assert!(!said.contains('\n') && !folder.path().join("venv").exists());
    }
}
