//! CTranslate2's `model.bin`, binary versions 5 and 6, `WhisperSpec`; names become Hugging Face's.
//!
//! Layout: version, spec name, revision, variables (name, shape, type, bytes), aliases. Integer
//! weights carry `<name>_scale`: the weight is `q / scale`, one scale a row.

use super::reader::Reader;
use super::{MappedFile, TensorEntry, Weights};
use crate::error::{ModelError, Result};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use undertone_kernels::{BlockType, Weight};

/// A Whisper model in CTranslate2's format.
pub struct Ct2Whisper {
    /// Tensors under Hugging Face's names (without `model.`).
    pub weights: Weights,
    /// Encoder and decoder attention heads.
    pub heads: (usize, usize),
}

/// Opens `folder/model.bin`.
///
/// # Errors
/// If it is missing, damaged, of another version, or not a Whisper model.
pub fn open(folder: &Path) -> Result<Ct2Whisper> {
    let path = folder.join("model.bin");
    let file = MappedFile::open(&path)?;
    let mut r = Reader::new(&path, (*file).as_ref());
    let not_ct2 = |what: String| ModelError::NotAModel { path: path.clone(), what };
    let version = r.u32()?;
    if !(5..=6).contains(&version) {
        return Err(not_ct2(format!("CTranslate2 binary version {version}; 5 and 6 are read")));
    }
    let spec = text(&mut r)?;
    if spec != "WhisperSpec" {
        return Err(ModelError::UnsupportedArchitecture {
            path: path.clone(),
            architecture: spec,
            supported: "Whisper",
        });
    }
    r.u32()?;
    let mut variables = HashMap::new();
    let count = r.u32()?;
    for _ in 0..r.count(count as u64, 8, "variables")? {
        let (name, entry) = variable(&mut r, &file)?;
        variables.insert(name, entry);
    }
    let count = r.u32()?;
    for _ in 0..r.count(count as u64, 4, "aliases")? {
        let (alias, target) = (text(&mut r)?, text(&mut r)?);
        let Some(entry) = variables.get(&target).cloned() else {
            return Err(r.corrupt(format!("alias '{alias}' of nothing")));
        };
        variables.insert(alias, entry);
    }
    attach_scales(&path, &mut variables)?;
    let heads =
        (integer(&path, &variables, "encoder/num_heads")?, integer(&path, &variables, "decoder/num_heads")?);
    Ok(Ct2Whisper { weights: Weights::new(&path, vec![file.clone()], rename(&path, &variables)?), heads })
}

fn text(r: &mut Reader<'_>) -> Result<String> {
    let len = r.u16()? as usize;
    let bytes = r.take(len)?;
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn variable(r: &mut Reader<'_>, file: &Arc<MappedFile>) -> Result<(String, TensorEntry)> {
    let name = text(r)?;
    let rank = r.u8()? as usize;
    let mut dims = Vec::with_capacity(rank);
    for _ in 0..rank {
        dims.push(r.u32()? as usize);
    }
    let ty = match r.u8()? {
        0 => BlockType::F32,
        1 => BlockType::I8,
        2 => BlockType::I16,
        // int32 has no arithmetic here: read byte-wise where a number is needed.
        3 => BlockType::F32,
        4 => BlockType::F16,
        5 => BlockType::BF16,
        other => return Err(r.corrupt(format!("variable '{name}' of type {other}"))),
    };
    let len = r.u32()? as usize;
    let elements = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    if elements.and_then(|n| n.checked_mul(ty.block_bytes())) != Some(len) {
        return Err(r.corrupt(format!("variable '{name}' {dims:?} of {len} bytes")));
    }
    let start = r.position();
    r.take(len)?;
    let entry = TensorEntry::new(file.clone(), start..start + len, ty, dims);
    Ok((name, entry))
}

fn attach_scales(path: &Path, variables: &mut HashMap<String, TensorEntry>) -> Result<()> {
    let quantised: Vec<String> = variables
        .iter()
        .filter(|(_, e)| matches!(e.ty, BlockType::I8 | BlockType::I16) && !e.dims.is_empty())
        .map(|(name, _)| name.clone())
        .collect();
    for name in quantised {
        let Some(scale) = variables.get(&format!("{name}_scale")) else { continue };
        let n = scale.dims.iter().product::<usize>().max(1);
        let values = Weight::new(scale.bytes.clone(), scale.range.clone(), scale.ty, 1, n)?.to_f32();
        let Some(entry) = variables.get_mut(&name) else { continue };
        let rows = entry.dims[0];
        let inverse: Vec<f32> = match values.len() {
            1 => vec![1.0 / values[0]; rows],
            n if n == rows => values.iter().map(|s| 1.0 / s).collect(),
            n => return Err(ModelError::corrupt(path, format!("{n} scales for '{name}'"))),
        };
        entry.row_scale = Some(inverse.into());
    }
    Ok(())
}

fn integer(path: &Path, variables: &HashMap<String, TensorEntry>, name: &str) -> Result<usize> {
    let entry = variables.get(name).filter(|e| (1..=4).contains(&e.range.len()));
    let value = entry.map(|e| {
        let bytes = &(*e.bytes).as_ref()[e.range.clone()];
        bytes.iter().rev().fold(0usize, |n, b| n << 8 | *b as usize)
    });
    value
        .filter(|v| (1..=64).contains(v))
        .ok_or_else(|| ModelError::MissingTensor { path: path.into(), name: name.into() })
}

/// Renames CTranslate2's variables to Hugging Face's, splitting fused projections by rows.
fn rename(path: &Path, variables: &HashMap<String, TensorEntry>) -> Result<HashMap<String, TensorEntry>> {
    let mut out = HashMap::new();
    for (name, entry) in variables {
        let Some((prefix, rest)) = name.split_once('/') else { continue };
        if !matches!(prefix, "encoder" | "decoder") || name.ends_with("_scale") {
            continue;
        }
        let (stem, leaf) = rest.rsplit_once('/').unwrap_or(("", rest));
        let leaf = match leaf {
            "gamma" | "weight" | "encodings" => "weight",
            "beta" | "bias" => "bias",
            _ => continue,
        };
        let (layer, part) = match stem.strip_prefix("layer_").and_then(|s| s.split_once('/')) {
            Some((n, part)) if n.parse::<usize>().is_ok() => (format!("{prefix}.layers.{n}."), part),
            _ => (format!("{prefix}."), stem),
        };
        let (target, pieces) = match part {
            "position_encodings" => ("embed_positions", ""),
            "embeddings" => ("embed_tokens", ""),
            "conv1" | "conv2" | "layer_norm" => (part, ""),
            "self_attention/layer_norm" => ("self_attn_layer_norm", ""),
            "self_attention/linear_0" => ("self_attn", "qkv"),
            "self_attention/linear_1" => ("self_attn.out_proj", ""),
            "attention/layer_norm" => ("encoder_attn_layer_norm", ""),
            "attention/linear_0" => ("encoder_attn", "q"),
            "attention/linear_1" => ("encoder_attn", "kv"),
            "attention/linear_2" => ("encoder_attn.out_proj", ""),
            "ffn/layer_norm" => ("final_layer_norm", ""),
            "ffn/linear_0" => ("fc1", ""),
            "ffn/linear_1" => ("fc2", ""),
            _ => continue,
        };
        if pieces.is_empty() {
            out.insert(format!("{layer}{target}.{leaf}"), entry.clone());
            continue;
        }
        for (i, piece) in pieces.chars().enumerate() {
            let rows = split_rows(path, name, entry, i, pieces.len())?;
            out.insert(format!("{layer}{target}.{piece}_proj.{leaf}"), rows);
        }
    }
    Ok(out)
}

fn split_rows(path: &Path, name: &str, e: &TensorEntry, i: usize, parts: usize) -> Result<TensorEntry> {
    let Some(rows) = e.dims.first().copied().filter(|r| *r > 0 && r % parts == 0) else {
        return Err(ModelError::corrupt(path, format!("'{name}' {:?} is not {parts} projections", e.dims)));
    };
    let (rows, bytes) = (rows / parts, e.range.len() / parts);
    let mut part = e.clone();
    part.dims[0] = rows;
    part.range = e.range.start + i * bytes..e.range.start + (i + 1) * bytes;
    part.row_scale = e.row_scale.as_ref().map(|s| s[i * rows..(i + 1) * rows].into());
    Ok(part)
}
