//! The `undertone` program. It knows no tensor: files and flags in, text out.

mod allocator;
mod bundle;
mod capture;
mod checks;
mod cli;
mod ctl;
mod doctor;
mod engine_args;
mod environment;
mod exit;
mod history;
mod inject;
mod journal;
mod kept;
mod keys;
mod lab;
mod note;
mod output;
mod plan;
mod run;
mod session;
mod settings;
mod setup;
mod store;
mod transcribe;
mod ui;

use anyhow::Result;
use clap::Parser;
use cli::Command;
use environment::{Environment, Place};
use exit::{Exit, Failure};
use std::process::ExitCode;
use std::time::Duration;

/// What `fuzz/` feeds with bytes of any kind, a function for each of its targets.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use crate::{bundle::fuzz::bundle, ctl::fuzz::control, settings::fuzz::config};
}

/// How long `undertone ctl` waits for an answer, beyond the time that the command itself takes.
const ANSWER: Duration = Duration::from_secs(5);

/// The program, from its command line to its exit code. To be called first in a process, and once.
pub fn main() -> ExitCode {
    allocator::begin();
    let cli = cli::Cli::parse();
    // `undertone ... | head` should end quietly, as other command-line programs do; the resident program
    // must outlive whoever reads what it prints, and what has children those that end.
    let stays = match &cli.command {
        Command::Run(_) => true,
        Command::Lab(args) => args.has_children(),
        _ => false,
    };
    if !stays {
        reset_sigpipe();
    }
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("undertone: {error:#}");
            Exit::of(&error).into()
        }
    }
}

fn run(cli: cli::Cli) -> Result<Exit> {
    environment::check_instructions()?;
    let place = || Place::find(cli.config.as_deref());
    // The settings' own level is that of the resident program.
    if let (Some(level), false) = (cli.log, matches!(cli.command, Command::Run(_))) {
        log(level);
    }
    match cli.command {
        Command::Run(args) => run::run(&args, &place()?, cli.log),
        Command::Ctl { command } => control(&command),
        Command::Setup(args) => setup::machine::run(&args, &place()?),
        Command::Config(args) => {
            let (place, out) = (place()?, &mut std::io::stdout().lock());
            settings::cli::run(&args, &place.file, &checks::CHECKS, &place.environment.editor, out)
        }
        Command::Recover(args) => kept::recover(&args, &place()?),
        Command::History { command } => kept::history(command, &place()?),
        Command::Dashboard(args) => kept::dashboard(&args, &Environment::read()?),
        Command::Transcribe(args) => transcribe::run(&args),
        Command::Models(args) => store::cli::run(&args),
        Command::Bundle(args) => bundle::cli::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Doctor(args) => doctor::run(&args, place()),
        Command::Lab(args) => lab::run(&args),
    }
}

/// Tells the resident program what to do, and prints what it answers.
fn control(command: &ctl::Command) -> Result<Exit> {
    let environment = Environment::read()?;
    let socket = ctl::socket_path(environment.runtime_dir.as_deref(), &std::env::temp_dir());
    let reply = ctl::ask(&socket, command, ANSWER).map_err(|e| Failure::new(Exit::Device, e.to_string()))?;
    if let Some(error) = reply.error {
        return Err(Failure::new(Exit::Usage, error).into());
    }
    println!("{}", reply.state.unwrap_or_default());
    Ok(Exit::Ok)
}

/// Sends what is traced to stderr.
fn log(level: tracing::Level) {
    use tracing_subscriber::fmt::format::FmtSpan;
    let log = tracing_subscriber::fmt().with_max_level(level).with_span_events(FmtSpan::CLOSE);
    log.with_writer(std::io::stderr).init();
}

#[cfg(unix)]
fn reset_sigpipe() {
    // SAFETY: called before any other thread exists; SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

#[cfg(not(unix))]
fn reset_sigpipe() {}
