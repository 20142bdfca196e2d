//! `undertone config ...`: the settings on the command line.

use super::check::{Checks, check};
use super::edit::get;
use super::file::{ConfigFile, SettingsError};
use super::print::print;
use crate::exit::{Exit, Failure};
use anyhow::Result;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `undertone config`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print all settings as they are in effect, each explained
    Print,
    /// Print where the file is
    Path,
    /// Tell everything that is wrong with the file, or with another one
    Check {
        /// Another file
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print one setting
    Get {
        /// Its path with dots: audio.tail_ms, keys.0.key
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Change one setting; comments in the file stay
    Set {
        /// Its path with dots: audio.tail_ms, keys.0.key
        #[arg(value_name = "KEY")]
        key: String,
        /// A text as it is; numbers, lists and tables as TOML
        #[arg(value_name = "VALUE", allow_hyphen_values = true)]
        value: String,
    },
    /// Edit the file in $EDITOR; it is taken over when it is sound
    Edit,
}

/// Runs `undertone config`: `editor` is what `edit` starts, results go to `out`.
///
/// # Errors
/// [`Exit::Usage`] for an unknown key or a value that is refused, [`Exit::Input`] for a file that
/// cannot be read or used, [`Exit::Disk`] for one that cannot be written.
pub(crate) fn run(
    args: &ConfigArgs,
    file: &ConfigFile,
    checks: &Checks,
    editor: &str,
    out: &mut dyn Write,
) -> Result<Exit> {
    match &args.action {
        Action::Print => write!(out, "{}", print(&file.load(checks).map_err(failure)?))?,
        Action::Path => writeln!(out, "{}", file.path().display())?,
        Action::Check { file: other } => {
            let file = other.as_ref().map_or_else(|| file.clone(), ConfigFile::at);
            if other.is_some() && !file.path().exists() {
                let message = format!("there is no file {}", file.path().display());
                return Err(Failure::new(Exit::Input, message).into());
            }
            return found_problems(&file, checks, out);
        }
        Action::Get { key } => {
            match get(&file.load(checks).map_err(failure)?, key).map_err(|e| failure(e.into()))? {
                Some(value) => writeln!(out, "{value}")?,
                None => return Err(Failure::new(Exit::Input, format!("{key} is not set")).into()),
            }
        }
        Action::Set { key, value } => {
            file.set(&[(key, value)], checks).map_err(failure)?;
        }
        Action::Edit => {
            let changed = file.edit(editor, checks).map_err(failure)?;
            writeln!(out, "{}", if changed { "changed" } else { "nothing was changed" })?;
        }
    }
    Ok(Exit::Ok)
}

/// One line for each problem, as compilers write them.
fn found_problems(file: &ConfigFile, checks: &Checks, out: &mut dyn Write) -> Result<Exit> {
    let problems = check(&file.read().map_err(failure)?, checks).err().unwrap_or_default();
    for problem in &problems {
        writeln!(out, "{}:{problem}", file.path().display())?;
    }
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Input })
}

fn failure(error: SettingsError) -> Failure {
    let exit = match &error {
        SettingsError::Edit(_) => Exit::Usage,
        SettingsError::Write { .. } => Exit::Disk,
        SettingsError::Editor { .. } | SettingsError::EditorFailed(_) => Exit::Internal,
        _ => Exit::Input,
    };
    Failure::new(exit, error.to_string())
}
