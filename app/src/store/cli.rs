//! `undertone models ...`: the store on the command line. Results go to stdout, all else to stderr.

use super::Store;
use super::config::StoreConfig;
use super::discover::{self, Found};
use super::disk::megabytes;
use super::import::How;
use super::kinds::{Format, Kind};
use super::progress::Terminal;
use super::pull::Pulled;
use super::verify::FileState;
use crate::exit::{Exit, Failure};
use crate::output::say;
use anyhow::Result;
use serde::Serialize;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use undertone_models::whisper::QuantizedType;

/// Arguments of `undertone models`.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    action: Action,
    /// Fetch nothing (also: UNDERTONE_OFFLINE=1)
    #[arg(long, global = true)]
    offline: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the models there are, here and to be had
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch models by name
    Pull {
        /// Names from the list
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Take a model that you have into the store
    Import {
        /// A GGUF or whisper.cpp file, or a CTranslate2 or Hugging Face folder
        path: PathBuf,
        /// Its name in the store
        #[arg(long)]
        name: Option<String>,
        /// Copy the files (this is what is done by default)
        #[arg(long, conflicts_with = "link")]
        copy: bool,
        /// Link to the files instead
        #[arg(long)]
        link: bool,
    },
    /// Make a speech model smaller: its matrices in fewer bits, as a whisper.cpp file
    Quantize {
        /// A speech model of any format: its name, or its path
        model: String,
        /// Bits a weight: q8_0 is as good as the original, q5_1 nearly; the k types need a model of base size or more
        #[arg(long, value_name = "TYPE", value_parser = quantized_type)]
        to: QuantizedType,
        /// Its name in the store; the model's with the type behind it by default
        #[arg(long)]
        name: Option<String>,
        /// A file to write instead
        #[arg(short, long, value_name = "FILE", conflicts_with = "name")]
        output: Option<PathBuf>,
    },
    /// Read every file and compare it with what was installed
    Verify {
        /// One model; all of them by default
        name: Option<String>,
    },
    /// Take a model out of the store
    Remove {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print where the store is, or where a model lies
    Where {
        /// A model
        name: Option<String>,
    },
}

/// Runs `undertone models`.
///
/// # Errors
/// Each carries its exit code, see [`Exit::of`].
pub(crate) fn run(args: &ModelsArgs) -> Result<Exit> {
    let mut config = StoreConfig::from_env()?;
    config.offline |= args.offline;
    let store = Store::open(&config)?;
    match &args.action {
        Action::List { json } => list(&store, *json),
        Action::Pull { names } => pull(&store, names),
        Action::Import { path, name, link, copy: _ } => {
            let how = if *link { How::Link } else { How::Copy };
            let model = store.import(path, name.as_deref(), how, &mut Terminal::default())?;
            say(&format!("{}\t{}", model.name, model.path.display()))
        }
        Action::Quantize { model, to, name, output } => {
            quantize(&store, (model, *to), name.as_deref(), output.as_deref())
        }
        Action::Verify { name } => verify(&store, name.as_deref()),
        Action::Remove { name, yes } => remove(&store, name, *yes),
        Action::Where { name: None } => say(&store.root().display().to_string()),
        Action::Where { name: Some(name) } => say(&store.resolve(name, None)?.path.display().to_string()),
    }
    .map(|()| Exit::Ok)
}

/// One line of the list, and one object of its JSON form.
#[derive(Serialize)]
struct Row {
    name: String,
    kind: Kind,
    format: Format,
    /// As the files name it; only known here for the catalogue's models.
    architecture: Option<String>,
    title: String,
    languages: Vec<String>,
    licence: String,
    /// 10^6 bytes.
    size_mb: u64,
    /// `installed`, `damaged`, `found` (another program's), or `available`.
    state: &'static str,
    /// Where it is, or where it comes from.
    origin: String,
    path: Option<PathBuf>,
    default: bool,
}

fn rows(store: &Store) -> Result<Vec<Row>> {
    let installed = store.installed_names()?;
    let mut rows: Vec<Row> = store.catalogue().models().iter().map(available).collect();
    for name in installed {
        let row = match store.installed(&name) {
            Ok(Some((folder, manifest))) => Row {
                path: Some(manifest.load_path(&folder)),
                size_mb: manifest.size_bytes().div_ceil(1_000_000),
                name: name.clone(),
                kind: manifest.kind,
                format: manifest.format,
                architecture: None,
                title: manifest.title,
                languages: Vec::new(),
                licence: manifest.licence,
                state: "installed",
                origin: manifest.source,
                default: false,
            },
            // A list must not end at one bad manifest.
            Ok(None) => continue,
            Err(error) => {
                tracing::debug!(%error, "a manifest that cannot be read");
                if let Some(known) = rows.iter_mut().find(|row| row.name == name) {
                    known.state = "damaged";
                    known.path = Some(store.root().join(&name));
                }
                continue;
            }
        };
        match rows.iter_mut().find(|known| known.name == name) {
            Some(known) => {
                *known = Row {
                    languages: std::mem::take(&mut known.languages),
                    architecture: known.architecture.take(),
                    default: known.default,
                    ..row
                };
            }
            None => rows.push(row),
        }
    }
    rows.extend(discover::discover(&store.config().places).iter().map(elsewhere));
    Ok(rows)
}

fn available(model: &super::catalogue::Model) -> Row {
    Row {
        name: model.name.clone(),
        kind: model.kind,
        format: model.format,
        architecture: Some(model.architecture.clone()),
        title: model.title.clone(),
        languages: model.languages.clone(),
        licence: model.licence.clone(),
        size_mb: model.size_mb,
        state: "available",
        origin: model.sources.first().map_or_else(String::new, |source| source.describe()),
        path: None,
        default: model.default,
    }
}

fn elsewhere(found: &Found) -> Row {
    Row {
        name: found.label.clone(),
        kind: found.kind,
        format: found.format,
        architecture: None,
        title: String::new(),
        languages: Vec::new(),
        licence: "unknown".to_owned(),
        size_mb: found.size_bytes.div_ceil(1_000_000),
        state: "found",
        origin: found.origin.title().to_owned(),
        path: Some(found.path.clone()),
        default: false,
    }
}

fn list(store: &Store, json: bool) -> Result<()> {
    let rows = rows(store)?;
    if json {
        return say(&serde_json::to_string_pretty(&rows)?);
    }
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).min(60);
    say(&format!("  {:width$}  KIND    FORMAT     SIZE  STATE      FROM", "NAME"))?;
    for row in rows {
        let Row { name, kind, format, size_mb, state, origin, .. } = row;
        let mark = if row.default { '*' } else { ' ' };
        say(&format!("{mark} {name:width$}  {kind:6}  {format:6} {size_mb:5} MB  {state:9}  {origin}"))?;
    }
    say("* what is taken when none is named")
}

fn pull(store: &Store, names: &[String]) -> Result<()> {
    // A mistyped last name must not show only after the first ones were fetched.
    for name in names {
        store.catalogue().find(name).ok_or_else(|| store.unknown(name))?;
    }
    let mut progress = Terminal::default();
    for name in names {
        let pulled = store.pull(name, &mut progress)?;
        let note = if matches!(pulled, Pulled::Already(_)) { "\t(already here)" } else { "" };
        let model = pulled.into_model();
        say(&format!("{}\t{}{note}", model.name, model.path.display()))?;
    }
    Ok(())
}

fn quantize(
    store: &Store,
    (model, to): (&str, QuantizedType),
    name: Option<&str>,
    output: Option<&Path>,
) -> Result<()> {
    let mut progress = Terminal::default();
    if let Some(file) = output {
        store.quantize_to_file(model, to, file, &mut progress)?;
        return say(&file.display().to_string());
    }
    let model = store.quantize(model, to, name, &mut progress)?;
    say(&format!("{}\t{}", model.name, model.path.display()))
}

/// A type by its name.
fn quantized_type(name: &str) -> std::result::Result<QuantizedType, String> {
    let known = QuantizedType::ALL.into_iter().find(|ty| ty.name() == name);
    known.ok_or_else(|| format!("known are {}", QuantizedType::ALL.map(QuantizedType::name).join(", ")))
}

fn verify(store: &Store, name: Option<&str>) -> Result<()> {
    let names = match name {
        Some(name) => vec![store.catalogue().find(name).map_or(name, |model| &model.name).to_owned()],
        None => store.installed_names()?,
    };
    let mut damaged = Vec::new();
    let mut progress = Terminal::default();
    for name in &names {
        let states = match store.verify(name, &mut progress) {
            Ok(states) => states,
            // One bad manifest must not keep the others from being read.
            Err(error) if names.len() > 1 => {
                say(&format!("{name}: {error:#}"))?;
                damaged.push(name.clone());
                continue;
            }
            Err(error) => return Err(error),
        };
        for (file, state) in states {
            say(&format!("{name}/{file} {state}"))?;
            if state != FileState::Good {
                damaged.push(format!("{name}/{file}"));
            }
        }
    }
    if names.is_empty() {
        say(&format!("no models in {}", store.root().display()))?;
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let what = format!("damaged: {}; {}", damaged.join(", "), store.cure(first_name(&damaged)));
    Err(Failure::new(Exit::Model, what).into())
}

fn first_name(damaged: &[String]) -> &str {
    damaged.first().and_then(|file| file.split('/').next()).unwrap_or_default()
}

fn remove(store: &Store, name: &str, yes: bool) -> Result<()> {
    // Refused before it is asked.
    let installed = store.installed(name);
    if !yes && matches!(installed, Ok(Some(_)) | Err(_)) && !confirmed(name)? {
        let what = format!("{name} was not removed");
        return Err(Failure::new(Exit::Usage, what).into());
    }
    let size_bytes = store.remove(name)?;
    say(&format!("removed {name} ({})", megabytes(size_bytes)))
}

fn confirmed(name: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        let what = format!("{name} is only removed when you say so: add --yes");
        return Err(Failure::new(Exit::Usage, what).into());
    }
    eprint!("Remove {name}? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
