//! `undertone lab synth`: model files of true shapes with random weights.

use super::quant::Quant;
use super::shapes::{SPEECH, SpeechShape, TEXT, TextShape};
use super::{gguf, safetensors};
use crate::exit::{Exit, Failure};
use crate::store::disk;
use anyhow::Result;
use std::fs::File;
use std::path::{Path, PathBuf};
use undertone_models::weights::BlockType;

/// Arguments of `undertone lab synth`.
#[derive(Debug, clap::Args)]
pub(crate) struct SynthArgs {
    /// The model whose shapes are taken: gemma-3-4b, llama-3.2-1b, whisper-large-v3-turbo, ...
    #[arg(long, value_name = "NAME")]
    like: String,
    /// How its weights are stored; q4_k_m for language models, f16 (or f32) for speech models
    #[arg(long, value_enum)]
    quant: Option<Quant>,
    /// The file (language model, GGUF) or folder (speech model, safetensors) to write
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What the random weights are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Holes instead of weights: for plans, at once and without disk space
    #[arg(long)]
    sparse: bool,
    /// Only so many layers (in encoder and decoder each)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=128))]
    layers: Option<u16>,
}

/// Runs `undertone lab synth` and prints the path of what it wrote.
///
/// # Errors
/// [`Exit::Usage`] for an unknown model or a quantisation it is not written in, [`Exit::Disk`] when
/// it cannot be written or is there already.
pub(crate) fn run(args: &SynthArgs) -> Result<Exit> {
    let bare = |name: &'static str| name.strip_prefix("whisper-").unwrap_or(name);
    if let Some(shape) = TEXT.iter().find(|s| s.name == args.like) {
        text(*shape, args)?;
    } else if let Some(shape) = SPEECH.iter().find(|s| s.name == args.like || bare(s.name) == args.like) {
        speech(*shape, args)?;
    } else {
        let known: Vec<&str> = TEXT.iter().map(|s| s.name).chain(SPEECH.iter().map(|s| s.name)).collect();
        let what = format!("no shapes are known of {}; known are {}", args.like, known.join(", "));
        return Err(Failure::new(Exit::Usage, what).into());
    }
    Ok(Exit::Ok)
}

fn text(mut shape: TextShape, args: &SynthArgs) -> Result<()> {
    let quant = args.quant.unwrap_or(Quant::Q4KM);
    shape.num_hidden_layers = args.layers.map_or(shape.num_hidden_layers, usize::from);
    let default = || format!("{}-{}.gguf", shape.name, quant.file_type().1).into();
    let path = args.output.clone().unwrap_or_else(default);
    let file = File::create_new(&path).map_err(|e| disk::write_failure(&path, &e))?;
    written(&path, gguf::write(file, &shape, quant, args.seed, args.sparse), |p| std::fs::remove_file(p))
}

fn speech(mut shape: SpeechShape, args: &SynthArgs) -> Result<()> {
    let ty = match args.quant.unwrap_or(Quant::F16) {
        Quant::F16 => BlockType::F16,
        Quant::F32 => BlockType::F32,
        _ => return Err(Failure::new(Exit::Usage, "speech models are written in f16 or f32").into()),
    };
    shape.encoder_layers = args.layers.map_or(shape.encoder_layers, usize::from);
    shape.decoder_layers = args.layers.map_or(shape.decoder_layers, usize::from);
    let path = args.output.clone().unwrap_or_else(|| shape.name.into());
    std::fs::create_dir(&path).map_err(|e| disk::write_failure(&path, &e))?;
    written(&path, safetensors::write(&path, &shape, ty, args.seed, args.sparse), |p| {
        std::fs::remove_dir_all(p)
    })
}

/// Names what was written; takes away what was written in part.
fn written(
    path: &Path,
    result: std::io::Result<()>,
    remove: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<()> {
    if let Err(error) = result {
        // The first error is the one to tell.
        let _ = remove(path);
        return Err(disk::write_failure(path, &error).into());
    }
    println!("{}", path.display());
    Ok(())
}
