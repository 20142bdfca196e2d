//! With the feature `cuda`: compiles every `.cu` for the GPUs there are and embeds what comes out.

#[path = "build_unit.rs"]
mod build_unit;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compute capabilities with machine code of their own: A100, RTX 30, RTX 40, H100, RTX 50. Others from the first on
/// get it from the driver, which translates PTX when the program starts.
const ARCHS: &str = "80 86 89 90 120";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for variable in ["NVCC", "CUDA_HOME", "UNDERTONE_CUDA_ARCHS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kernels = here.join("src");
    println!("cargo::rerun-if-changed={}", kernels.display());
    println!("cargo::rerun-if-changed=build_unit.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let (unit, names) = build_unit::unit(&build_unit::sources(&kernels));
    let source = out.join("kernels.cu");
    std::fs::write(&source, unit).unwrap_or_else(|e| panic!("{}: {e}", source.display()));

    let archs = std::env::var("UNDERTONE_CUDA_ARCHS").unwrap_or_else(|_| ARCHS.to_string());
    let archs: Vec<&str> = archs.split_whitespace().collect();
    let first = archs.first().expect("UNDERTONE_CUDA_ARCHS names no compute capability");
    let nvcc = nvcc(here);
    let mut command = Command::new(&nvcc);
    command.arg("-fatbin").arg("-std=c++17").arg("-O3").arg("-Xfatbin=-compress-all").arg("--threads=2");
    command.arg("-I").arg(&kernels).arg("-o").arg(out.join("kernels.fatbin")).arg(&source);
    for arch in &archs {
        command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
    }
    command.arg(format!("-gencode=arch=compute_{first},code=compute_{first}"));
    let done = command.status().unwrap_or_else(|e| {
        panic!("the feature cuda needs CUDA's compiler ({}: {e}): run scripts/cuda-toolkit", nvcc.display())
    });
    assert!(done.success(), "{} failed", nvcc.display());

    let names: Vec<&String> = names.iter().map(|(_, name)| name).collect();
    let archs = archs.join(", ");
    let table = format!("const KERNELS: &[&str] = &{names:?};\nconst ARCHS: &[u32] = &[{archs}];\n");
    std::fs::write(out.join("kernels.rs"), table).unwrap_or_else(|e| panic!("{}: {e}", out.display()));
}

/// `NVCC`, that of `CUDA_HOME`, that which `scripts/cuda-toolkit` puts into `target/cuda`, or the one in the path.
fn nvcc(here: &Path) -> PathBuf {
    if let Some(nvcc) = std::env::var_os("NVCC") {
        return nvcc.into();
    }
    let home = std::env::var_os("CUDA_HOME").map(PathBuf::from);
    let homes = home.into_iter().chain([here.join("../target/cuda")]);
    homes.map(|home| home.join("bin/nvcc")).find(|nvcc| nvcc.exists()).unwrap_or_else(|| "nvcc".into())
}
