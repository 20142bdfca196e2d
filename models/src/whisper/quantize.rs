//! A Whisper model in fewer bits, as a whisper.cpp file (`convert-pt-to-ggml.py`, and what its `quantize` makes of that).

use super::mel::filter_matrix;
use super::{SpecialTokens, SpeechFiles, WhisperConfig};
use crate::error::{ModelError, Result};
use crate::weights::ggml::{MAGIC, ggml_name};
use crate::weights::{BlockType, Weights};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::io::{self, Write};
use std::path::Path;

/// How the matrices of a model may be stored (`ggml_ftype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the file format's own
pub enum QuantizedType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// Name, blocks, candle's name of them, number as a file's.
type Row = (&'static str, BlockType, GgmlDType, usize);

impl QuantizedType {
    /// All of them, smallest first.
    pub const ALL: [QuantizedType; 8] = {
        use QuantizedType::*;
        [Q4_0, Q4K, Q4_1, Q5_0, Q5K, Q5_1, Q6K, Q8_0]
    };

    fn row(self) -> Row {
        match self {
            QuantizedType::Q4_0 => ("q4_0", BlockType::Q4_0, GgmlDType::Q4_0, 2),
            QuantizedType::Q4_1 => ("q4_1", BlockType::Q4_1, GgmlDType::Q4_1, 3),
            QuantizedType::Q8_0 => ("q8_0", BlockType::Q8_0, GgmlDType::Q8_0, 7),
            QuantizedType::Q5_0 => ("q5_0", BlockType::Q5_0, GgmlDType::Q5_0, 8),
            QuantizedType::Q5_1 => ("q5_1", BlockType::Q5_1, GgmlDType::Q5_1, 9),
            QuantizedType::Q4K => ("q4_k", BlockType::Q4K, GgmlDType::Q4K, 12),
            QuantizedType::Q5K => ("q5_k", BlockType::Q5K, GgmlDType::Q5K, 13),
            QuantizedType::Q6K => ("q6_k", BlockType::Q6K, GgmlDType::Q6K, 14),
        }
    }

    /// As files are named after it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Its blocks.
    pub fn block_type(self) -> BlockType {
        self.row().1
    }
}

/// Why a quantised model could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The model that is read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// What is written to.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A model that is about to be written with quantised matrices. Convolutions stay in 16 bits, vectors and positions in 32.
pub struct Quantized {
    weights: Weights,
    ty: QuantizedType,
    head: Vec<u8>,
    tensors: Vec<Piece>,
}

/// A tensor to be written.
struct Piece {
    /// Hugging Face's name.
    name: String,
    head: Vec<u8>,
    store: Store,
    len_bytes: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Store {
    F32,
    F16,
    Blocks,
}

impl Quantized {
    /// Opens a speech model of any format at `path` and lays out the file.
    ///
    /// # Errors
    /// As [`super::Whisper::open`]; if rows do not fill whole blocks of `ty`.
    pub fn new(path: &Path, ty: QuantizedType) -> Result<Quantized> {
        let SpeechFiles { weights, config, tokenizer } = SpeechFiles::open(path)?;
        let tokenizer = tokenizer.load(&weights, &config)?;
        let text_tokens = SpecialTokens::from_vocab_size(config.vocab_size).end_of_text as usize;
        let tokens: Vec<&[u8]> = tokenizer.tokens().take(text_tokens).collect();
        let mut tensors = Vec::new();
        for (name, dims, _) in weights.tensors() {
            let Some(theirs) = ggml_name(name) else { continue };
            // Keys have no bias; CTranslate2 stores one of zeros, which whisper.cpp would refuse.
            if !name.ends_with("k_proj.bias") || weights.values(name)?.iter().any(|v| *v != 0.0) {
                tensors.push(piece(path, (name, theirs), dims, ty)?);
            }
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let head = head(&config, &tokens, ty);
        Ok(Quantized { weights, ty, head, tensors })
    }

    /// Bytes of the file.
    pub fn len_bytes(&self) -> u64 {
        let tensors: usize = self.tensors.iter().map(|t| t.head.len() + t.len_bytes).sum();
        (self.head.len() + tensors) as u64
    }

    /// Writes the file, and tells `advance` of each part's bytes.
    ///
    /// # Errors
    /// If the model cannot be read or the file not written.
    pub fn write(&self, out: &mut impl Write, mut advance: impl FnMut(u64)) -> Result<(), WriteError> {
        let mut put = |bytes: &[u8]| -> io::Result<()> {
            out.write_all(bytes)?;
            advance(bytes.len() as u64);
            Ok(())
        };
        put(&self.head)?;
        for tensor in &self.tensors {
            put(&tensor.head)?;
            put(&self.bytes_of(tensor)?)?;
        }
        Ok(())
    }

    fn bytes_of(&self, tensor: &Piece) -> Result<Vec<u8>> {
        let values = self.weights.values(&tensor.name)?;
        let bytes = match tensor.store {
            Store::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Store::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
            Store::Blocks => blocks(&values, self.ty)?,
        };
        match bytes.len() == tensor.len_bytes {
            true => Ok(bytes),
            false => {
                Err(ModelError::corrupt(self.weights.path(), format!("'{}' has odd blocks", tensor.name)))
            }
        }
    }
}

/// Values that one task rounds: a whole number of blocks of every type.
const CHUNK: usize = 1 << 16;

/// Whole rows as blocks, rounded by candle (`k_quants`), which follows ggml's reference.
fn blocks(values: &[f32], ty: QuantizedType) -> Result<Vec<u8>> {
    let (_, _, dtype, ..) = ty.row();
    let parts = values.par_chunks(CHUNK).map(|values| -> Result<Vec<u8>> {
        let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
        Ok(QTensor::quantize(&tensor, dtype)?.data()?.into_owned())
    });
    Ok(parts.collect::<Result<Vec<_>>>()?.concat())
}

fn put_i32s(out: &mut Vec<u8>, values: impl IntoIterator<Item = usize>) {
    values.into_iter().for_each(|v| out.extend((v as i32).to_le_bytes()));
}

/// What stands before the tensors: sizes, mel filters, vocabulary.
fn head(c: &WhisperConfig, tokens: &[&[u8]], ty: QuantizedType) -> Vec<u8> {
    /// `GGML_QNT_VERSION * GGML_QNT_VERSION_FACTOR`.
    const VERSION: usize = 2000;
    let mut head = MAGIC.to_le_bytes().to_vec();
    put_i32s(
        &mut head,
        [c.vocab_size, c.max_source_positions, c.d_model, c.encoder_attention_heads, c.encoder_layers],
    );
    put_i32s(&mut head, [c.max_target_positions, c.d_model, c.decoder_attention_heads, c.decoder_layers]);
    put_i32s(&mut head, [c.num_mel_bins, VERSION + ty.row().3]);
    let filters = filter_matrix(c.num_mel_bins);
    put_i32s(&mut head, [filters.len(), filters.first().map_or(0, |f| f.len())]);
    filters.iter().flatten().for_each(|w| head.extend(w.to_le_bytes()));
    put_i32s(&mut head, [tokens.len()]);
    for token in tokens {
        put_i32s(&mut head, [token.len()]);
        head.extend(*token);
    }
    head
}

fn piece(path: &Path, (name, theirs): (&str, String), dims: &[usize], ty: QuantizedType) -> Result<Piece> {
    let positions = name.ends_with("embed_positions.weight");
    let store = match dims.len() {
        1 => Store::F32,
        2 if positions => Store::F32,
        2 => Store::Blocks,
        _ => Store::F16,
    };
    let cols = dims.last().copied().unwrap_or(0);
    let (type_name, block_type, ..) = ty.row();
    let stored = match store {
        Store::F32 => BlockType::F32,
        Store::F16 => BlockType::F16,
        Store::Blocks => block_type,
    };
    let (Some(row_bytes), Some(id)) = (stored.row_bytes(cols), stored.to_ggml()) else {
        let fits = QuantizedType::ALL.into_iter().filter(|t| t.block_type().row_bytes(cols).is_some());
        let fits: Vec<&str> = fits.map(QuantizedType::name).collect();
        let (path, blocks, fits) = (path.into(), type_name, fits.join(", "));
        return Err(ModelError::Blocks { path, cols, blocks, fits });
    };
    // Biases of convolutions are columns, so that ggml can add them to frames.
    let column = dims.len() == 1 && theirs.starts_with("encoder.conv");
    let dims: Vec<usize> = column.then_some(1).into_iter().chain(dims.iter().rev().copied()).collect();
    let mut head = Vec::new();
    put_i32s(&mut head, [dims.len(), theirs.len(), id as usize]);
    put_i32s(&mut head, dims.iter().copied());
    head.extend(theirs.as_bytes());
    let rows: usize = if column { 1 } else { dims.iter().skip(1).product() };
    Ok(Piece { name: name.into(), head, store, len_bytes: rows * row_bytes })
}
