//! whisper.cpp's `ggml-*.bin` (`convert-pt-to-ggml.py`): hyper-parameters, mel filters,
//! vocabulary, tensors; names become Hugging Face's.

use super::reader::Reader;
use super::{MappedFile, TensorEntry, Weights};
use crate::error::{ModelError, Result};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use undertone_kernels::BlockType;

pub(crate) const MAGIC: u32 = 0x6767_6d6c;

/// A whisper.cpp file.
pub struct GgmlWhisper {
    /// Tensors under Hugging Face's names (without `model.`).
    pub weights: Weights,
    /// Encoder and decoder attention heads.
    pub heads: (usize, usize),
    /// Ids the model knows, special tokens included.
    pub vocab_size: usize,
    /// Bytes of each ordinary token, by id.
    pub tokens: Vec<Vec<u8>>,
}

/// Whether `path` starts as such a file does.
pub fn is_ggml(path: &Path) -> bool {
    let mut magic = [0u8; 4];
    let read = std::fs::File::open(path).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut magic));
    read.is_ok() && u32::from_le_bytes(magic) == MAGIC
}

/// Opens a whisper.cpp file.
///
/// # Errors
/// If it is of another format, truncated or damaged.
pub fn open(path: &Path) -> Result<GgmlWhisper> {
    let file = MappedFile::open(path)?;
    let mut r = Reader::new(path, (*file).as_ref());
    if r.u32()? != MAGIC {
        let what = "a whisper.cpp model starts with 'lmgg'".to_string();
        return Err(ModelError::NotAModel { path: path.into(), what });
    }
    let mut params = [0usize; 11];
    for p in &mut params {
        let value = r.i32()?;
        *p = usize::try_from(value).map_err(|_| r.corrupt(format!("hyper-parameter {value}")))?;
    }
    let [vocab_size, _, _, encoder_heads, _, _, _, decoder_heads, ..] = params;
    let (mels, bins) = (r.u32()? as u64, r.u32()? as u64);
    let filters = r.count(mels.saturating_mul(bins), 4, "mel filter weights")?;
    r.take(4 * filters)?;
    let count = r.u32()?;
    let count = r.count(count as u64, 4, "tokens")?;
    let mut tokens = Vec::new();
    for _ in 0..count {
        let len = r.u32()? as usize;
        tokens.push(r.take(len)?.to_vec());
    }
    let mut tensors = HashMap::new();
    while r.remaining() > 0 {
        let (name, entry) = tensor(&mut r, &file)?;
        if let Some(name) = hugging_face_name(&name) {
            tensors.insert(name, entry);
        }
    }
    let weights = Weights::new(path, vec![file.clone()], tensors);
    Ok(GgmlWhisper { weights, heads: (encoder_heads, decoder_heads), vocab_size, tokens })
}

fn tensor(r: &mut Reader<'_>, file: &Arc<MappedFile>) -> Result<(String, TensorEntry)> {
    let (rank, name_len, ty) = (r.u32()? as usize, r.u32()? as usize, r.u32()?);
    if rank == 0 || rank > 4 {
        return Err(r.corrupt(format!("a tensor of {rank} dimensions")));
    }
    let mut dims = Vec::with_capacity(rank);
    for _ in 0..rank {
        dims.push(r.u32()? as usize);
    }
    dims.reverse();
    let name = String::from_utf8_lossy(r.take(name_len)?).into_owned();
    let Some(ty) = BlockType::from_ggml(ty) else {
        return Err(r.corrupt(format!("tensor '{name}' of type {ty}, which is not supported")));
    };
    let rows = dims[..rank - 1].iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let len = ty.row_bytes(dims[rank - 1]).zip(rows).and_then(|(b, n)| b.checked_mul(n));
    let Some(len) = len else { return Err(r.corrupt(format!("tensor '{name}' {dims:?}"))) };
    let start = r.position();
    r.take(len)?;
    // Convolution biases are stored as columns so that GGML can broadcast them.
    if name.ends_with("bias") && dims.last() == Some(&1) {
        dims.pop();
    }
    let entry = TensorEntry::new(file.clone(), start..start + len, ty, dims);
    Ok((name, entry))
}

/// Modules of a block: whisper.cpp's name, Hugging Face's.
const BLOCK_MODULES: [(&str, &str); 13] = [
    ("attn.query", "self_attn.q_proj"),
    ("attn.key", "self_attn.k_proj"),
    ("attn.value", "self_attn.v_proj"),
    ("attn.out", "self_attn.out_proj"),
    ("attn_ln", "self_attn_layer_norm"),
    ("cross_attn.query", "encoder_attn.q_proj"),
    ("cross_attn.key", "encoder_attn.k_proj"),
    ("cross_attn.value", "encoder_attn.v_proj"),
    ("cross_attn.out", "encoder_attn.out_proj"),
    ("cross_attn_ln", "encoder_attn_layer_norm"),
    ("mlp.0", "fc1"),
    ("mlp.2", "fc2"),
    ("mlp_ln", "final_layer_norm"),
];

/// Modules outside of the blocks.
const MODULES: [(&str, &str); 7] = [
    ("encoder.conv1", "encoder.conv1"),
    ("encoder.conv2", "encoder.conv2"),
    ("encoder.ln_post", "encoder.layer_norm"),
    ("decoder.ln", "decoder.layer_norm"),
    ("decoder.token_embedding", "decoder.embed_tokens"),
    ("encoder.positional_embedding", "encoder.embed_positions"),
    ("decoder.positional_embedding", "decoder.embed_positions"),
];

const POSITIONS: &str = "positional_embedding";

fn hugging_face_name(name: &str) -> Option<String> {
    let (module, leaf) = if name.ends_with(POSITIONS) { (name, "weight") } else { name.rsplit_once('.')? };
    if let Some((_, ours)) = MODULES.iter().find(|(theirs, _)| *theirs == module) {
        return Some(format!("{ours}.{leaf}"));
    }
    let (side, block) = module.split_once(".blocks.")?;
    let (n, module) = block.split_once('.')?;
    let (_, ours) = BLOCK_MODULES.iter().find(|(theirs, _)| *theirs == module)?;
    Some(format!("{side}.layers.{n}.{ours}.{leaf}"))
}

/// whisper.cpp's name of what Hugging Face calls `name`, where it has such a tensor.
pub(crate) fn ggml_name(name: &str) -> Option<String> {
    let (module, leaf) = name.rsplit_once('.')?;
    if let Some((theirs, _)) = MODULES.iter().find(|(_, ours)| *ours == module) {
        return Some(if theirs.ends_with(POSITIONS) {
            theirs.to_string()
        } else {
            format!("{theirs}.{leaf}")
        });
    }
    let (side, block) = module.split_once(".layers.")?;
    let (n, module) = block.split_once('.')?;
    let (theirs, _) = BLOCK_MODULES.iter().find(|(_, ours)| *ours == module)?;
    Some(format!("{side}.blocks.{n}.{theirs}.{leaf}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (theirs, ours) in [
            ("encoder.blocks.3.attn.query.weight", "encoder.layers.3.self_attn.q_proj.weight"),
            ("decoder.blocks.11.mlp.2.bias", "decoder.layers.11.fc2.bias"),
            ("decoder.positional_embedding", "decoder.embed_positions.weight"),
            ("encoder.ln_post.bias", "encoder.layer_norm.bias"),
            ("decoder.ln.weight", "decoder.layer_norm.weight"),
            ("encoder.conv1.bias", "encoder.conv1.bias"),
        ] {
            assert_eq!(hugging_face_name(theirs).as_deref(), Some(ours));
            assert_eq!(ggml_name(ours).as_deref(), Some(theirs));
        }
        for other in ["proj_out.weight", "decoder.blocks.0.other.weight", "weight", ""] {
            assert_eq!((hugging_face_name(other), ggml_name(other)), (None, None), "{other}");
        }
    }
}
