//! `undertone lab merge`: results of the parts of a sweep in one file.

use super::run::record;
use crate::exit::{Exit, Failure};
use crate::store::disk;
use anyhow::Result;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct MergeArgs {
    /// The file to make; it may be one of the others.
    #[arg(value_name = "OUT.jsonl")]
    output: PathBuf,
    /// Results of `undertone lab run`.
    #[arg(value_name = "IN.jsonl", required = true)]
    inputs: Vec<PathBuf>,
}

/// Runs the command: one line for each dictation, sorted, so that the same results make the same file.
pub(crate) fn run(args: &MergeArgs) -> Result<Exit> {
    let records = record::read_all(&args.inputs)?;
    let found = records.len();
    let records = record::distinct(records);
    let full =
        |e: std::io::Error| Failure::new(Exit::Disk, format!("cannot write {}: {e}", args.output.display()));
    let file = tempfile::NamedTempFile::new_in(disk::folder_of(&args.output)).map_err(full)?;
    let mut out = BufWriter::new(&file);
    for record in &records {
        serde_json::to_writer(&mut out, record)?;
        out.write_all(b"\n").map_err(full)?;
    }
    out.flush().map_err(full)?;
    drop(out);
    file.as_file().sync_all().map_err(full)?;
    file.persist(&args.output).map_err(|e| full(e.error))?;
    let again = found - records.len();
    eprintln!(
        "undertone: {} dictations in {}, {again} left out that were there twice",
        records.len(),
        args.output.display()
    );
    Ok(Exit::Ok)
}
