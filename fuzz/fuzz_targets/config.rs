//! The file of settings; what holds for it is said beside the code (`app/src`).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| undertone::fuzz::config(data));
