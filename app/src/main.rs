//! The `undertone` program: all of it is in the library beside this, so that more than one program can be built of it
//! (`fuzz/`).

use std::process::ExitCode;

fn main() -> ExitCode {
    undertone::main()
}
