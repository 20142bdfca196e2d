//! Compiles every `.cu` of the kernels as the host's C++, with a table of their kernels by name.

#[path = "../build_unit.rs"]
mod build_unit;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kernels = here.join("../src");
    for changed in [&kernels, &here.join("src/faults.cu"), &here.join("../build_unit.rs")] {
        println!("cargo::rerun-if-changed={}", changed.display());
    }
    let mut sources = build_unit::sources(&kernels);
    sources.push(here.join("src/faults.cu"));
    let (mut unit, names) = build_unit::unit(&sources);
    unit += "extern \"C\" int simt_launch(const char* name, const unsigned* grid, const unsigned* size, \
             unsigned shared_bytes, void** arguments) {\n\
             static const struct { const char* name; void (*run)(void**); } kernels[] = {\n";
    for (n, name) in names {
        let _ = writeln!(unit, "{{\"{name}\", simt::Call<&unit{n}::{name}>::run}},");
    }
    unit += "};\nfor (auto& kernel : kernels) {\nif (strcmp(kernel.name, name) != 0) continue;\n\
             simt::launch(kernel.name, kernel.run, grid, size, shared_bytes, arguments);\nreturn 0;\n}\nreturn 1;\n}\n";
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("kernels.cc");
    std::fs::write(&out, unit).unwrap_or_else(|e| panic!("{}: {e}", out.display()));

    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").include(&kernels).file(&out);
    build.flag("-Wall").flag("-Wextra").flag("-Wno-unused-function").flag("-fno-strict-aliasing");
    // Sums are those of the source on every machine.
    build.flag("-ffp-contract=off");
    // Coroutines jump from one stack to another, which a fortified jump forbids.
    build.flag("-U_FORTIFY_SOURCE");
    // Tests run where they are built; halves are converted by instructions where there are some.
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
        build.flag("-mavx2").flag("-mf16c");
    }
    if std::env::var("CARGO_CFG_SANITIZE").is_ok_and(|s| s.contains("address")) {
        build.flag("-fsanitize=address");
    }
    build.compile("undertone_simt");
}
