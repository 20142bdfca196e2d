//! The air-gapped machine: the program, models and their papers in one file that is carried there (`docs/air-gap.md`).
//!
//! A bundle is a tar archive in one zstd frame, so that any machine can open it, and a seal behind it. Its files lie
//! in one folder, in this order and no other:
//!
//! | file | |
//! |---|---|
//! | `SHA256SUMS` | the hash of every file below, as `sha256sum -c` reads it |
//! | `SHA256SUMS.minisig` | the signature over it, if there is one |
//! | `bundle.json` | [`index::Index`]: for what machine, and the sizes |
//! | `bin/undertone` | the program |
//! | papers | software bill of materials, licences, catalogue, how to install |
//! | `models/NAME/...` | a model's manifest and files, as in the store |
//!
//! The hashes come first so that a reader knows, before it meets a file, its name, size and hash: everything else is
//! refused ([`archive`]). The seal is a zstd frame that other programs skip, with the SHA-256 of all bytes before it:
//! without it, a byte that means nothing to the decompressor could be changed unseen.

pub(crate) mod archive;
pub(crate) mod check;
pub(crate) mod cli;
pub(crate) mod create;
pub(crate) mod index;
pub(crate) mod install;
pub(crate) mod sbom;
pub(crate) mod signature;

#[cfg(any(test, fuzzing))]
mod forge;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

/// The folder of all files in a bundle.
pub(crate) const FOLDER: &str = "undertone/";
/// The hashes.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// The signature over the hashes.
pub(crate) const SIGNATURE: &str = "SHA256SUMS.minisig";
/// The index.
pub(crate) const INDEX: &str = "bundle.json";
/// The program.
pub(crate) const PROGRAM: &str = "bin/undertone";
/// Models are below it, each in a folder of its name.
pub(crate) const MODELS: &str = "models/";
