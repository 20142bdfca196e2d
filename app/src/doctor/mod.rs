//! `undertone doctor`: what this machine gives the program, line by line, and what to do where it gives less.

mod facts;
mod portal;
mod speed;
mod table;

use crate::environment::Place;
use crate::exit::Exit;
use anyhow::Result;
use clap::Args;
use facts::Facts;
use serde::Serialize;
use table::{CHECKS, Case, Check};

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// As JSON, an object a line.
    #[arg(long)]
    json: bool,
    /// Do not listen to the microphone, nor measure how fast the language model writes
    #[arg(long)]
    quick: bool,
    /// Print everything that can be found, with its remedy, as Markdown (docs/troubleshooting.md)
    #[arg(long, conflicts_with_all = ["json", "quick"])]
    explain: bool,
}

/// How good a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// The program works, but slower or with less.
    Warn,
    /// Something that it is for does not work.
    Fail,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        }
    }
}

/// One line.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    what: String,
    /// What to do; none where nothing is to be done.
    remedy: Option<&'static str>,
    /// The same as numbers, where they are more than `what` tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    figures: Option<serde_json::Value>,
}

/// Runs `undertone doctor`. Ends with [`Exit::Device`] if anything failed.
///
/// # Errors
/// If a line cannot be printed.
pub(crate) fn run(args: &DoctorArgs, place: Result<Place>) -> Result<Exit> {
    if args.explain {
        print!("{}", explanation());
        return Ok(Exit::Ok);
    }
    let findings = findings(&Facts::find(place, !args.quick));
    for finding in &findings {
        match args.json {
            true => println!("{}", serde_json::to_string(&finding)?),
            false => {
                println!("{:<5} {:<10} {}", finding.state.name(), finding.name, finding.what);
                if let Some(remedy) = finding.remedy {
                    println!("{:16} -> {remedy}", "");
                }
            }
        }
    }
    let worst = findings.iter().map(|f| f.state).max();
    Ok(if worst == Some(State::Fail) { Exit::Device } else { Exit::Ok })
}

/// What is said of each check that applies to a machine.
fn findings(facts: &Facts) -> Vec<Finding> {
    let finding = |check: &Check| {
        let table::Judged { case, what, figures } = (check.judge)(facts)?;
        let state = case.map_or(State::Ok, |case: &Case| case.state);
        Some(Finding { name: check.name, state, what, remedy: case.map(|case| case.remedy), figures })
    };
    CHECKS.iter().filter_map(finding).collect()
}

/// The table as a page.
fn explanation() -> String {
    let mut page = String::from(
        "# Troubleshooting\n\n`undertone doctor` looks at all of this and prints a line for each; with `--json` an object a line. \
         `warn` means that\nthe program works, but slower or with less; `fail` that something it is for does not work: then \
         the exit code is 5. (This page\nis `undertone doctor --explain`.)\n",
    );
    for check in CHECKS {
        page += &format!("\n## {}\n{}\n\n| | when | what to do |\n|---|---|---|\n", check.name, check.about);
        for case in check.cases {
            page += &format!("| {} | {} | {} |\n", case.state.name(), case.when, case.remedy);
        }
    }
    page
}

#[cfg(test)]
mod tests;
