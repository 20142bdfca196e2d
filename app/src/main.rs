//! The `undertone` program. It knows no tensor: files and flags in, text out.

mod allocator;
mod cli;
mod engine_args;
mod exit;
mod lab;
mod output;
mod plan;
mod store;
mod transcribe;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // `undertone ... | head` should end quietly, as other command-line programs do.
    reset_sigpipe();
    let cli = cli::Cli::parse();
    if let Some(level) = cli.log {
        use tracing_subscriber::fmt::format::FmtSpan;
        let log = tracing_subscriber::fmt().with_max_level(level).with_span_events(FmtSpan::CLOSE);
        log.with_writer(std::io::stderr).init();
    }
    let result = match cli.command {
        cli::Command::Transcribe(args) => transcribe::run(&args),
        cli::Command::Models(args) => store::cli::run(&args),
        cli::Command::Plan(args) => plan::run(&args),
        cli::Command::Lab(args) => lab::run(&args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("undertone: {error:#}");
            exit::Exit::of(&error).into()
        }
    }
}

#[cfg(unix)]
fn reset_sigpipe() {
    // SAFETY: called before any other thread exists; SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

#[cfg(not(unix))]
fn reset_sigpipe() {}
