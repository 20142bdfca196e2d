//! `undertone bundle ...` on the command line. Results go to stdout, all else to stderr.

use super::check::check;
use super::create::{Request, create};
use super::index::shown;
use super::install::{Places, install};
use super::signature::Signer;
use super::{sbom, signature};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{print, say};
use crate::store::config::StoreConfig;
use crate::store::disk::megabytes;
use crate::store::progress::Terminal;
use crate::store::{CATALOGUE, DEFAULT_SPEECH, DEFAULT_TEXT, Store};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// What goes into every bundle beside the program and the models.
const PAPERS: &[(&str, &str)] = &[
    ("air-gap.md", include_str!("../../../docs/air-gap.md")),
    ("catalogue.toml", CATALOGUE),
    ("licences/LICENSE-APACHE", include_str!("../../../LICENSE-APACHE")),
    ("licences/LICENSE-MIT", include_str!("../../../LICENSE-MIT")),
    ("licences/dependencies.txt", include_str!("../../licences.txt")),
];

/// Arguments of `undertone bundle`.
#[derive(Debug, clap::Args)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write this program, models, licences and checksums into one file
    Create {
        /// Models of the store; by default the two that are taken when none is named
        #[arg(long, value_name = "NAME", num_args = 1.., default_values = [DEFAULT_SPEECH, DEFAULT_TEXT])]
        models: Vec<String>,
        /// The file to write, NAME.tar.zst
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Sign with this secret key of minisign
        #[arg(long, value_name = "KEYFILE")]
        sign: Option<PathBuf>,
        /// A file with the key's password; without it the password is asked for
        #[arg(long, value_name = "FILE", requires = "sign")]
        password_file: Option<PathBuf>,
    },
    /// Check a bundle and install what it holds, as an ordinary user
    Install {
        /// The bundle
        file: PathBuf,
        /// The folder for the program; by default ~/.local/bin
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
        /// Install only what is signed by this key of minisign: the key itself or its file
        #[arg(long, value_name = "KEY|FILE")]
        public_key: Option<String>,
    },
    /// Check a bundle and write nothing
    Verify {
        /// The bundle
        file: PathBuf,
        /// The key that it must be signed by: the key itself or its file
        #[arg(long, value_name = "KEY|FILE")]
        public_key: Option<String>,
    },
    /// Print the bill of materials of this program (CycloneDX, JSON)
    Sbom,
}

/// Runs `undertone bundle`.
///
/// # Errors
/// Each carries its exit code, see [`Exit::of`].
pub(crate) fn run(args: &BundleArgs) -> Result<Exit> {
    match &args.action {
        Action::Create { models, output, sign, password_file } => {
            let signer =
                sign.as_deref().map(|file| Signer::open(file, password_file.as_deref())).transpose()?;
            make(models, output, signer.as_ref())
        }
        Action::Install { file, to, public_key } => bring(file, to.as_deref(), public_key.as_deref()),
        Action::Verify { file, public_key } => verify(file, public_key.as_deref()),
        Action::Sbom => print(&sbom::document(&sbom::dependencies()?, None, &[])?),
    }
    .map(|()| Exit::Ok)
}

fn make(models: &[String], output: &Path, signer: Option<&Signer>) -> Result<()> {
    let store = Store::open(&StoreConfig::from_env()?)?;
    let request = Request {
        store: &store,
        models,
        program: &program()?,
        dependencies: &sbom::dependencies()?,
        papers: PAPERS,
        output,
        signer,
    };
    let size_bytes = create(&request, &mut Terminal::default())?;
    say(&format!("{}\t{}", output.display(), megabytes(size_bytes)))
}

fn bring(file: &Path, to: Option<&Path>, key: Option<&str>) -> Result<()> {
    let key = key.map(signature::public_key).transpose()?;
    let environment = Environment::read()?;
    let store = Store::open(&StoreConfig::from_env()?)?;
    let programs = to.map_or_else(|| environment.home.join(".local/bin"), Path::to_path_buf);
    let papers = environment.data_dir.join("papers");
    let places = Places { store: &store, programs: &programs, papers: &papers };
    let done = install(file, key.as_ref(), &places, &mut Terminal::default())?;
    eprintln!("{} is {}", file.display(), done.signed.describe());
    if done.written == 0 {
        eprintln!("all of it was here already: nothing was written");
    }
    for (name, path, written) in &done.models {
        let note = if *written { "" } else { "\t(already here)" };
        say(&format!("{name}\t{}{note}", path.display()))?;
    }
    say(&format!("undertone\t{}", done.program.display()))?;
    say(&format!("licences\t{}", papers.display()))
}

fn verify(file: &Path, key: Option<&str>) -> Result<()> {
    let key = key.map(signature::public_key).transpose()?;
    let checked = check(file, key.as_ref(), &mut Terminal::default())?;
    let index = &checked.head.index;
    say(&format!("undertone {} for {}", shown(&index.version), shown(&index.target)))?;
    for model in &checked.models {
        say(&format!("{}\t{}\t{}", model.name, megabytes(model.size_bytes()), shown(&model.licence)))?;
    }
    say(&format!("whole; {}", checked.head.signed.describe()))
}

/// The running program's own file, also when another has taken its name since it was started.
fn program() -> Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return Ok(running);
    }
    std::env::current_exe().map_err(|error| {
        Failure::new(Exit::Internal, format!("the running program cannot be found: {error}")).into()
    })
}
