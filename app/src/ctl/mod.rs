//! `undertone ctl`: commands to the running program over a Unix socket that belongs to its user
//! alone. One JSON object a line each way:
//!
//! ```text
//! {"command":"start","mode":"note"}     {"ok":true,"state":{"phase":"opening",...}}
//! {"command":"strat"}                   {"ok":false,"error":"unknown command 'strat'; did you mean 'start'?"}
//! ```

mod client;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod lines;
mod server;
mod socket;

#[cfg(test)]
mod tests;

pub(crate) use client::ask;
pub(crate) use server::{Limits, Request, Server};
pub(crate) use socket::socket_path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::path::PathBuf;

/// Longest time that `wait` may be asked to wait.
const MAX_WAIT_S: u64 = 3600;

/// What the running program can be told to do. As a line of JSON, the command's name is the field
/// `command`, its arguments are the others.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Command {
    /// Begin a recording; nothing happens if there is one
    Start(Recording),
    /// End the recording; nothing happens if there is none
    Stop,
    /// Begin or end a recording
    Toggle(Recording),
    /// Give up the recording; if there is none, what is transcribed or typed
    Cancel,
    /// Change the mode of recordings that name none
    Mode {
        /// Its name
        name: String,
    },
    /// Type the last text once more
    Again,
    /// Remove what was typed last
    Undo,
    /// Swap the clean text for the raw transcript, or back
    Raw,
    /// Print what goes on
    Status,
    /// Wait until nothing is recorded, transcribed or typed
    Wait {
        /// Longest to wait
        #[arg(long = "timeout", value_name = "SECONDS", default_value_t = default_wait_s())]
        #[serde(default = "default_wait_s")]
        timeout_s: u64,
    },
    /// End the program once what was spoken is typed
    Quit,
}

/// How a recording is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Recording {
    /// Mode for this recording
    #[arg(long, value_name = "NAME")]
    pub(crate) mode: Option<String>,
    /// Deliver every utterance by itself until stopped
    #[arg(long)]
    pub(crate) hands_free: bool,
}

fn default_wait_s() -> u64 {
    60
}

impl Command {
    /// Reads a request.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    fn parse(line: &[u8]) -> Result<Command, String> {
        const FORM: &str = r#"a request is one JSON object a line, such as {"command":"status"}"#;
        let request: Value = serde_json::from_slice(line).map_err(|e| format!("{FORM}: {e}"))?;
        let name = request.get("command").and_then(Value::as_str).ok_or(FORM)?.to_owned();
        let all = <Command as clap::Subcommand>::augment_subcommands(clap::Command::new("ctl"));
        let known: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).collect();
        if !known.contains(&name.as_str()) {
            let near = crate::store::names::nearest(&name, known.iter().copied());
            let shown: String = name.chars().take(40).collect();
            return Err(match near.first() {
                Some(near) => format!("unknown command '{shown}'; did you mean '{near}'?"),
                None => format!("unknown command '{shown}'; use one of: {}", known.join(", ")),
            });
        }
        let command = serde_json::from_value(request).map_err(|e| format!("command '{name}': {e}"))?;
        match command {
            Command::Wait { timeout_s } if timeout_s > MAX_WAIT_S => {
                Err(format!("command 'wait': the time-out is at most {MAX_WAIT_S} s"))
            }
            command => Ok(command),
        }
    }

    /// Seconds that the command may take by its own meaning.
    fn takes_s(&self) -> u64 {
        match self {
            Command::Wait { timeout_s } => (*timeout_s).min(MAX_WAIT_S),
            _ => 0,
        }
    }
}

/// The program's answer to one command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) ok: bool,
    /// Why the command was not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// What goes on after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Value>,
}

impl Reply {
    /// The command was followed, and this is the state now.
    pub(crate) fn done(state: Value) -> Reply {
        Reply { ok: true, error: None, state: Some(state) }
    }

    /// The command was not followed.
    pub(crate) fn refused(error: impl Into<String>) -> Reply {
        Reply { ok: false, error: Some(error.into()), state: None }
    }
}

/// Why the socket cannot be served or asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
    #[error("undertone is already running; `undertone ctl quit` ends it")]
    AlreadyRunning,
    #[error("undertone is not running; start it with `undertone run`")]
    NotRunning,
    #[error("{} {why}; make it a folder of yours with `chmod 700`, or remove it", .path.display())]
    OpenFolder { path: PathBuf, why: &'static str },
    #[error("{} is not a socket; remove it", .path.display())]
    NotASocket { path: PathBuf },
    #[error("the program at the socket runs as user {uid}, not as you; remove the socket")]
    Foreign { uid: u32 },
    #[error("undertone did not answer within {after_s} s; if it hangs, end it and start it again")]
    NoAnswer { after_s: u64 },
    #[error("undertone gave an answer that is none ({0}); run the same version of both")]
    BadAnswer(String),
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },
}

impl CtlError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> CtlError {
        let what = what.into();
        move |source| CtlError::Io { what, source }
    }
}
