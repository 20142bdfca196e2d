//! What a GPU would leave undefined ends the program here: each test starts this one anew with a fault to run into.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use undertone_simt::run_fault;

const FAULT: &str = "UNDERTONE_SIMT_FAULT";

/// What the program says when it runs into `fault`.
fn dies_of(fault: &str) -> String {
    let exe = std::env::current_exe().unwrap();
    let mut command = Command::new(exe);
    command.args(["--exact", "a_fault", "--ignored", "--nocapture"]).env(FAULT, fault);
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success(), "{fault} went unseen: {text}");
    text
}

#[test]
#[ignore = "the other tests' helper process"]
fn a_fault() {
    let fault = std::env::var(FAULT).unwrap();
    let name = ["fault_barrier", "fault_shuffle", "fault_overrun"].into_iter().find(|n| *n == fault).unwrap();
    // SAFETY: this process is there to die of it.
    unsafe { run_fault(name, 32) };
}

#[test]
fn a_barrier_that_not_all_reach() {
    let text = dies_of("fault_barrier");
    assert!(text.contains("kernel fault_barrier") && text.contains("barrier"), "{text}");
}

#[test]
fn a_shuffle_that_not_all_reach() {
    let text = dies_of("fault_shuffle");
    assert!(text.contains("kernel fault_shuffle") && text.contains("wait for one another"), "{text}");
}

#[test]
#[ignore = "needs AddressSanitizer: scripts/sanitize runs it"]
fn an_access_behind_the_end() {
    let text = dies_of("fault_overrun");
    assert!(text.contains("heap-buffer-overflow") && text.contains("fault_overrun"), "{text}");
}

#[test]
fn shared_memory_and_new_memory_are_no_numbers() {
    // SAFETY: it keeps to its memory.
    let out = unsafe { run_fault("unwritten_shared", 64) };
    assert_eq!(out.len(), 64);
    assert!(out.iter().all(|v| v.is_nan()));
}
