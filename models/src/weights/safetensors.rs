//! Safetensors: `model.safetensors`, or `model.safetensors.index.json` naming shards.

use super::{MappedFile, TensorEntry, Weights};
use crate::error::{ModelError, Result};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use undertone_kernels::BlockType;

/// Opens the safetensors of a Hugging Face folder. A leading `model.` is dropped from names.
///
/// # Errors
/// If there is no such file, or one is damaged or of an unsupported type.
pub fn open(folder: &Path) -> Result<Weights> {
    let (mut mapped, mut tensors) = (Vec::new(), HashMap::new());
    for file in files(folder)? {
        mapped.push(open_file(&file, &mut tensors)?);
    }
    Ok(Weights::new(folder, mapped, tensors))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).map_err(ModelError::io(&single))?;
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let parsed: Index =
        serde_json::from_str(&text).map_err(|e| ModelError::corrupt(&index, e.to_string()))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    if names.iter().any(|n| n.contains(['/', '\\'])) {
        return Err(ModelError::corrupt(&index, "a shard lies outside the folder"));
    }
    Ok(names.into_iter().map(|n| folder.join(n)).collect())
}

fn open_file(path: &Path, tensors: &mut HashMap<String, TensorEntry>) -> Result<Arc<MappedFile>> {
    let file = MappedFile::open(path)?;
    let bytes = (*file).as_ref();
    let parsed = SafeTensors::deserialize(bytes).map_err(|e| ModelError::corrupt(path, e.to_string()))?;
    for (name, view) in parsed.tensors() {
        let ty = match view.dtype() {
            Dtype::F32 => BlockType::F32,
            Dtype::F16 => BlockType::F16,
            Dtype::BF16 => BlockType::BF16,
            // Index buffers and the like: not weights of this model.
            _ => continue,
        };
        let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        let range = start..start + view.data().len();
        let dims = view.shape().to_vec();
        let name = name.strip_prefix("model.").unwrap_or(&name).to_string();
        tensors.insert(name, TensorEntry::new(file.clone(), range, ty, dims));
    }
    Ok(file)
}
