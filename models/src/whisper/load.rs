use super::{Decoder, Encoder, MelFrontEnd, SpecialTokens, WhisperConfig};
use crate::error::{ModelError, Result};
use crate::footprint::gpu_tensor_bytes;
use crate::tokenizer::Tokenizer;
use crate::weights::{MappedFile, TensorEntry, Weights, ctranslate2, ggml, safetensors};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use undertone_kernels::gpu::{Gpu, allocated_bytes};
use undertone_kernels::{BlockType, Weight};

/// A loaded Whisper model: pure functions of its inputs, all state in the caller's caches.
pub struct Whisper {
    /// Sizes.
    pub config: WhisperConfig,
    /// Audio to log-mel.
    pub mel: MelFrontEnd,
    /// Log-mel to audio features.
    pub encoder: Encoder,
    /// Audio features to text.
    pub decoder: Decoder,
    /// Text tokens.
    pub tokenizer: Tokenizer,
    /// Special tokens.
    pub tokens: SpecialTokens,
    /// Bytes of the weights in their stored form.
    pub weights_bytes: usize,
    /// The mapped files they lie in.
    pub files: Vec<Arc<MappedFile>>,
}

/// A speech model's files, opened: tensors located, nothing of them read.
pub(crate) struct SpeechFiles {
    pub(crate) weights: Weights,
    pub(crate) config: WhisperConfig,
    pub(crate) tokenizer: TokenizerFile,
}

/// Where a speech model's text tokens come from.
pub(crate) enum TokenizerFile {
    /// `tokenizer.json` in this folder.
    Json(PathBuf),
    /// Bytes of each token, by rank.
    Ranked(Vec<Vec<u8>>),
}

impl SpeechFiles {
    /// Opens whichever of the three formats lies at `path`.
    pub(crate) fn open(path: &Path) -> Result<SpeechFiles> {
        let meta = std::fs::metadata(path).map_err(ModelError::io(path))?;
        if meta.is_file() {
            if path.file_name().is_some_and(|n| n == "model.bin" || n == "model.safetensors")
                && let Some(folder) = path.parent()
                && !ggml::is_ggml(path)
            {
                return SpeechFiles::open(if folder.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    folder
                });
            }
            let file = ggml::open(path)?;
            let config = WhisperConfig::from_weights(&file.weights, file.heads)?;
            if config.vocab_size != file.vocab_size {
                return Err(ModelError::corrupt(path, "its vocabulary sizes disagree"));
            }
            let tokenizer = TokenizerFile::Ranked(file.tokens);
            return Ok(SpeechFiles { weights: file.weights, config, tokenizer });
        }
        let (weights, heads) = if path.join("model.bin").is_file() {
            let model = ctranslate2::open(path)?;
            (model.weights, model.heads)
        } else if path.join("model.safetensors").is_file()
            || path.join("model.safetensors.index.json").is_file()
        {
            (safetensors::open(path)?, heads(path)?)
        } else {
            let what = "a speech model is a folder with model.bin (CTranslate2) or model.safetensors \
                        (Hugging Face), or a whisper.cpp ggml-*.bin file"
                .to_string();
            return Err(ModelError::NotAModel { path: path.into(), what });
        };
        let config = WhisperConfig::from_weights(&weights, heads)?;
        Ok(SpeechFiles { weights, config, tokenizer: TokenizerFile::Json(path.into()) })
    }
}

impl TokenizerFile {
    /// Its text tokens, if they are as many as a model of these sizes writes.
    pub(super) fn load(self, weights: &Weights, config: &WhisperConfig) -> Result<Tokenizer> {
        let unusable = |what: String| ModelError::Tokenizer { path: weights.path().into(), what };
        let tokenizer = match self {
            TokenizerFile::Json(folder) => tokenizer_json(&folder)?,
            TokenizerFile::Ranked(tokens) => {
                Tokenizer::from_ranked_bytes(tokens, Vec::new()).map_err(|e| unusable(e.to_string()))?
            }
        };
        let text_tokens = SpecialTokens::from_vocab_size(config.vocab_size).end_of_text as usize;
        match tokenizer.vocab_size() < text_tokens {
            true => {
                let has = tokenizer.vocab_size();
                Err(unusable(format!("it has {has} tokens, the model {}", config.vocab_size)))
            }
            false => Ok(tokenizer),
        }
    }
}

impl Whisper {
    /// Opens a CTranslate2 folder, a Hugging Face folder, or a whisper.cpp `.bin` file.
    ///
    /// # Errors
    /// One clear sentence for whatever is missing, damaged or of another kind.
    pub fn open(path: &Path) -> Result<Whisper> {
        let files = SpeechFiles::open(path)?;
        let tokenizer = files.tokenizer.load(&files.weights, &files.config)?;
        Whisper::assemble(&files.weights, files.config, tokenizer, (false, None))
    }

    /// As [`Whisper::open`], the decoder's matrices rounded to bytes ([`Weight::to_q8_0`]) where they are
    /// stored in more: a token reads them all, so it takes half the time of 16 bits or less. They are given
    /// up in the file.
    ///
    /// # Errors
    /// As [`Whisper::open`].
    pub fn open_on_bytes(path: &Path) -> Result<Whisper> {
        let files = SpeechFiles::open(path)?;
        let tokenizer = files.tokenizer.load(&files.weights, &files.config)?;
        let whisper = Whisper::assemble(&files.weights, files.config, tokenizer, (true, None))?;
        files.weights.give_up(is_rounded);
        Ok(whisper)
    }

    /// As [`Whisper::open_on_bytes`], encoder and decoder uploaded to a GPU.
    ///
    /// # Errors
    /// As [`Whisper::open`]; if a weight is of a type that the GPU does not multiply, or there is no memory left.
    pub fn open_on(path: &Path, gpu: &Gpu) -> Result<Whisper> {
        let files = SpeechFiles::open(path)?;
        let tokenizer = files.tokenizer.load(&files.weights, &files.config)?;
        let whisper = Whisper::assemble(&files.weights, files.config, tokenizer, (true, Some(gpu)))?;
        // What was uploaded is not read again.
        Ok(Whisper { files: Vec::new(), ..whisper })
    }

    fn assemble(
        weights: &Weights,
        config: WhisperConfig,
        tokenizer: Tokenizer,
        (on_bytes, gpu): (bool, Option<&Gpu>),
    ) -> Result<Whisper> {
        Ok(Whisper {
            mel: match gpu {
                None => MelFrontEnd::new(config.num_mel_bins),
                Some(gpu) => MelFrontEnd::on(gpu, config.num_mel_bins)?,
            },
            encoder: Encoder::load(weights, &config, gpu)?,
            decoder: Decoder::load(weights, &config, on_bytes, gpu)?,
            tokenizer,
            tokens: SpecialTokens::from_vocab_size(config.vocab_size),
            weights_bytes: weights.len_bytes(),
            files: weights.files(),
            config,
        })
    }
}

/// Whether [`Whisper::open_on_bytes`] rounds a tensor: the matrices a decoded token is multiplied with.
fn is_rounded(name: &str, tensor: &TensorEntry) -> bool {
    rounded_bytes(name, tensor).is_some()
}

/// Whether every token is multiplied with a matrix.
fn is_read_by_tokens(name: &str) -> bool {
    name.starts_with("decoder.layers.") || name == "decoder.embed_tokens.weight"
}

/// Bytes of a tensor that [`Whisper::open_on_bytes`] rounds, once it has.
fn rounded_bytes(name: &str, tensor: &TensorEntry) -> Option<usize> {
    let [rows, cols] = *tensor.dims else { return None };
    let row_bytes = tensor.ty.q8_0_row_bytes(cols).filter(|_| is_read_by_tokens(name))?;
    Some(Weight::interleaved_bytes(BlockType::Q8_0, rows, cols).unwrap_or(rows * row_bytes))
}

impl SpeechFiles {
    /// Bytes of what [`Whisper::open_on_bytes`] keeps of the files, rounded copies included.
    pub(crate) fn resident_bytes(&self) -> usize {
        let weights = &self.weights;
        weights.file_bytes() - weights.spare_bytes(is_rounded) + weights.sum(rounded_bytes)
    }

    /// Bytes of what [`Whisper::open_on`] uploads.
    pub(crate) fn gpu_bytes(&self) -> usize {
        self.weights.sum(|name, tensor| {
            let as_f32 = name.ends_with("embed_positions.weight");
            match tensor.dims[..] {
                [rows, cols] if as_f32 => Some(allocated_bytes([4 * rows * cols])),
                [rows, cols] if is_read_by_tokens(name) => {
                    let rounded = tensor.ty.q8_0_row_bytes(cols).map(|row| allocated_bytes([rows * row]));
                    rounded.or_else(|| gpu_tensor_bytes(tensor))
                }
                _ => gpu_tensor_bytes(tensor),
            }
        })
    }
}

fn tokenizer_json(folder: &Path) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    let missing = "tokenizer.json is missing beside the weights; copy it from the model's page";
    let bytes = std::fs::read(&path)
        .map_err(|_| ModelError::Tokenizer { path: folder.into(), what: missing.into() })?;
    Tokenizer::from_json(&bytes).map_err(|e| ModelError::Tokenizer { path, what: e.to_string() })
}

/// The one size the tensors do not show.
fn heads(folder: &Path) -> Result<(usize, usize)> {
    #[derive(serde::Deserialize)]
    struct Config {
        model_type: Option<String>,
        encoder_attention_heads: Option<usize>,
        decoder_attention_heads: Option<usize>,
    }
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(ModelError::io(&path))?;
    let config: Config =
        serde_json::from_str(&text).map_err(|e| ModelError::corrupt(&path, e.to_string()))?;
    let architecture = config.model_type.unwrap_or_default();
    if architecture != "whisper" {
        return Err(ModelError::UnsupportedArchitecture { path, architecture, supported: "whisper" });
    }
    match (config.encoder_attention_heads, config.decoder_attention_heads) {
        (Some(e), Some(d)) => Ok((e, d)),
        _ => Err(ModelError::corrupt(&path, "it names no attention heads")),
    }
}
