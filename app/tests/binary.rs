//! What the built program needs of a system to start.

#![allow(clippy::unwrap_used)]

use std::process::Command;

#[cfg(target_os = "linux")]
#[test]
fn it_needs_the_c_library_and_nothing_else_to_start() {
    let out = Command::new("ldd").arg(env!("CARGO_BIN_EXE_undertone")).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let libraries: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(libraries.len() >= 4, "{text}");
    for library in libraries {
        let name = library.rsplit('/').next().unwrap();
        let known = ["linux-vdso", "ld-linux", "libc.", "libm.", "libgcc_s.", "libstdc++."];
        assert!(
            known.iter().any(|k| name.starts_with(k)),
            "{name} must be looked for when it is used: {text}"
        );
    }
}

#[test]
fn doctor_says_where_models_compute_and_why() {
    let out = Command::new(env!("CARGO_BIN_EXE_undertone")).args(["doctor", "--json"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for name in ["device", "processor", "memory", "config", "models", "disk", "desktop", "history"] {
        assert!(lines.iter().any(|l| l["name"] == name), "{name}: {text}");
    }
    // What is amiss comes with what to do, and what fails shows in the exit code.
    assert!(lines.iter().all(|l| (l["state"] == "ok") == l["remedy"].is_null()), "{text}");
    let failed = lines.iter().any(|l| l["state"] == "fail");
    assert_eq!(out.status.code(), Some(if failed { 5 } else { 0 }), "{text}");
    let device = lines[0]["what"].as_str().unwrap();
    // A machine without a driver is told so; a build without GPU code as well.
    assert!(device.starts_with("cuda:0: ") || device.starts_with("cpu: ") && device.len() > 20, "{device}");
}
