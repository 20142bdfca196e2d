//! `undertone doctor`: what this machine gives the program, line by line, and what to do where it gives less.

use crate::exit::Exit;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use undertone_engine::Isa;
use undertone_engine::gpu::{self, Available, GpuError};
use undertone_engine::plan::mebibytes;
use undertone_engine::telemetry::memory;

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// As JSON, an object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    what: String,
}

/// Runs `undertone doctor`.
///
/// # Errors
/// If a line cannot be printed.
pub(crate) fn run(args: &DoctorArgs) -> Result<Exit> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let findings = [device(gpu::find(0)), processor(Isa::current(), cores), free(memory::available_bytes())];
    for finding in findings {
        match args.json {
            true => println!("{}", serde_json::to_string(&finding)?),
            false => {
                let state = if finding.state == State::Ok { "ok" } else { "warn" };
                println!("{state:<5} {:<10} {}", finding.name, finding.what);
            }
        }
    }
    Ok(Exit::Ok)
}

/// Where models compute, and why there.
fn device(found: Result<Available, GpuError>) -> Finding {
    let what = match found {
        Ok(gpu) => {
            let ((free, all), capability) = (gpu.memory_bytes, gpu.capability);
            let (major, minor) = (capability / 10, capability % 10);
            let (name, free, all) = (&gpu.name, mebibytes(free), mebibytes(all));
            format!("{gpu}: {name}, compute capability {major}.{minor}, {free} of {all} free")
        }
        Err(why) => format!("cpu: {why}"),
    };
    Finding { name: "device", state: State::Ok, what }
}

fn processor(instructions: Isa, cores: usize) -> Finding {
    let slow = instructions == Isa::Scalar;
    let what = match slow {
        true => format!("{cores} threads without AVX2: a dictation takes several times as long"),
        false => format!("{cores} threads, {}", instructions.name()),
    };
    Finding { name: "processor", state: if slow { State::Warn } else { State::Ok }, what }
}

fn free(bytes: Option<usize>) -> Finding {
    const LITTLE_BYTES: usize = 1 << 30;
    let (state, what) = match bytes {
        Some(bytes) if bytes < LITTLE_BYTES => {
            let what =
                "close other programs, or choose smaller models (undertone plan shows what each takes)";
            (State::Warn, format!("{} free: {what}", mebibytes(bytes)))
        }
        Some(bytes) => (State::Ok, format!("{} free", mebibytes(bytes))),
        None => (State::Warn, "this system does not tell how much is free: name a --budget".into()),
    };
    Finding { name: "memory", state, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_is_there_and_what_to_do() {
        let gpu = Available {
            ordinal: 0,
            name: "NVIDIA GeForce RTX 4060 Ti".into(),
            capability: 89,
            uuid: String::new(),
            memory_bytes: (7 << 30, 8 << 30),
            context_bytes: None,
            opens: std::sync::Arc::new(|_| Err(GpuError::Device("not here".into()))),
        };
        let found = device(Ok(gpu));
        let want =
            "cuda:0: NVIDIA GeForce RTX 4060 Ti, compute capability 8.9, 7168.0 MiB of 8192.0 MiB free";
        assert_eq!(found.what, want);
        let none = device(Err(GpuError::Device("no NVIDIA driver is installed".into())));
        assert_eq!((none.state, none.what.as_str()), (State::Ok, "cpu: no NVIDIA driver is installed"));
        assert_eq!(processor(Isa::Avx2, 8).state, State::Ok);
        assert!(
            processor(Isa::Scalar, 2).what.contains("AVX2") && processor(Isa::Scalar, 2).state == State::Warn
        );
        assert_eq!(free(Some(8 << 30)).what, "8192.0 MiB free");
        assert!(free(Some(1 << 29)).what.contains("smaller models") && free(None).state == State::Warn);
    }
}
