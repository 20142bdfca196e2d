//! GGUF versions 2 and 3 (`gguf.md` of the ggml project).

use super::reader::Reader;
use super::{MappedFile, TensorEntry, Weights};
use crate::error::{ModelError, Result};
use crate::tokenizer::{GgufVocab, Tokenizer};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use undertone_kernels::BlockType;

/// A metadata value. Arrays that no part of this program reads are skipped.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned or signed integer that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Signed(i64),
    /// f32 or f64.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    String(String),
    /// An array of texts.
    Strings(Vec<String>),
    /// An array of integers.
    Integers(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f32>),
}

/// An open GGUF file: metadata read, tensors located, nothing of them read.
pub struct Gguf {
    path: PathBuf,
    metadata: HashMap<String, Value>,
    weights: Weights,
}

/// Dimensions a tensor may have.
const MAX_DIMS: usize = 4;

impl Gguf {
    /// Maps and checks `path`.
    ///
    /// # Errors
    /// If it is not a GGUF file, is truncated, or promises what the file cannot hold.
    pub fn open(path: &Path) -> Result<Gguf> {
        let file = MappedFile::open(path)?;
        let bytes = (*file).as_ref();
        if bytes.get(..4) != Some(b"GGUF") {
            let what = "a GGUF file starts with 'GGUF'".to_string();
            return Err(ModelError::NotAModel { path: path.into(), what });
        }
        let mut r = Reader::new(path, bytes);
        r.take(4)?;
        let version = r.u32()?;
        if !(2..=3).contains(&version) {
            let what = format!("GGUF version {version}; versions 2 and 3 are read");
            return Err(ModelError::NotAModel { path: path.into(), what });
        }
        let (tensors, keys) = (r.u64()?, r.u64()?);
        let keys = r.count(keys, 13, "metadata keys")?;
        let mut metadata = HashMap::with_capacity(keys);
        for _ in 0..keys {
            let key = string(&mut r)?;
            let kind = r.u32()?;
            if let Some(value) = value(&mut r, kind)? {
                metadata.insert(key, value);
            }
        }
        let tensors = r.count(tensors, 24, "tensors")?;
        let mut infos = Vec::with_capacity(tensors);
        for _ in 0..tensors {
            infos.push(tensor_info(&mut r)?);
        }
        let alignment = match metadata.get("general.alignment") {
            Some(Value::Unsigned(a)) if a.is_power_of_two() && *a <= 1 << 20 => *a as usize,
            None => 32,
            Some(other) => return Err(r.corrupt(format!("alignment {other:?}"))),
        };
        let data = r.position().next_multiple_of(alignment);
        let weights = locate(path, file.clone(), data, infos)?;
        Ok(Gguf { path: path.into(), metadata, weights })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The same, to lay them out anew.
    pub(crate) fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// The metadata value `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// An integer of the metadata.
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key) {
            Some(Value::Unsigned(v)) => Some(*v),
            // Some converters write per-layer arrays whose entries are all the same.
            Some(Value::Integers(v)) if v.iter().all(|x| *x == v[0]) => {
                v.first().and_then(|v| u64::try_from(*v).ok())
            }
            _ => None,
        }
    }

    /// A float of the metadata.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key) {
            Some(Value::Float(v)) => Some(*v),
            Some(Value::Unsigned(v)) => Some(*v as f64),
            _ => None,
        }
    }

    /// A text of the metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key) {
            Some(Value::String(v)) => Some(v),
            _ => None,
        }
    }

    fn bool(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key) {
            Some(Value::Bool(v)) => Some(*v),
            _ => None,
        }
    }

    /// The tokenizer the metadata describes.
    ///
    /// # Errors
    /// If there is none or it is of a kind that is not implemented.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let fail = |what: String| ModelError::Tokenizer { path: self.path.clone(), what };
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let strings = |name: &str| match self.get(&key(name)) {
            Some(Value::Strings(v)) => &v[..],
            _ => &[],
        };
        let id = |name: &str| self.unsigned(&key(name)).and_then(|v| u32::try_from(v).ok());
        let types: Vec<i32> = match self.get(&key("token_type")) {
            Some(Value::Integers(v)) => v.iter().map(|v| *v as i32).collect(),
            _ => Vec::new(),
        };
        let scores = match self.get(&key("scores")) {
            Some(Value::Floats(v)) => &v[..],
            _ => &[],
        };
        let model = self
            .text(&key("model"))
            .ok_or_else(|| fail("the file holds no vocabulary; use a complete GGUF".into()))?;
        Tokenizer::from_gguf(&GgufVocab {
            model,
            pre: self.text(&key("pre")),
            tokens: strings("tokens"),
            token_types: &types,
            scores,
            merges: strings("merges"),
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            eot: id("eot_token_id"),
            unk: id("unknown_token_id"),
            add_bos: self.bool(&key("add_bos_token")),
            add_space_prefix: self.bool(&key("add_space_prefix")),
        })
        .map_err(|e| fail(e.to_string()))
    }
}

fn string(r: &mut Reader<'_>) -> Result<String> {
    let len = r.u64()?;
    let len = r.count(len, 1, "bytes of text")?;
    Ok(String::from_utf8_lossy(r.take(len)?).into_owned())
}

fn integer(v: i64) -> Value {
    u64::try_from(v).map_or(Value::Signed(v), Value::Unsigned)
}

fn value(r: &mut Reader<'_>, kind: u32) -> Result<Option<Value>> {
    Ok(Some(match kind {
        0 => Value::Unsigned(r.u8()? as u64),
        1 => integer(r.i8()? as i64),
        2 => Value::Unsigned(r.u16()? as u64),
        3 => integer(r.i16()? as i64),
        4 => Value::Unsigned(r.u32()? as u64),
        5 => integer(r.i32()? as i64),
        6 => Value::Float(r.f32()? as f64),
        7 => Value::Bool(r.u8()? != 0),
        8 => Value::String(string(r)?),
        9 => return array(r),
        10 => Value::Unsigned(r.u64()?),
        11 => integer(r.i64()?),
        12 => Value::Float(r.f64()?),
        other => return Err(r.corrupt(format!("unknown metadata type {other}"))),
    }))
}

fn array(r: &mut Reader<'_>) -> Result<Option<Value>> {
    let kind = r.u32()?;
    let width = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        other => return Err(r.corrupt(format!("array of unknown type {other}"))),
    };
    let len = r.u64()?;
    let len = r.count(len, width, "array entries")?;
    if kind == 8 {
        // No capacity from the file: an entry takes at least 8 bytes there, 24 here.
        let mut out = Vec::new();
        for _ in 0..len {
            out.push(string(r)?);
        }
        return Ok(Some(Value::Strings(out)));
    }
    let raw = r.take(len * width)?;
    let mut r = Reader::new(Path::new(""), raw);
    Ok(match kind {
        6 => Some(Value::Floats((0..len).map(|_| r.f32()).collect::<Result<_>>()?)),
        4 => Some(Value::Integers((0..len).map(|_| Ok(r.u32()? as i64)).collect::<Result<_>>()?)),
        5 => Some(Value::Integers((0..len).map(|_| Ok(r.i32()? as i64)).collect::<Result<_>>()?)),
        _ => None,
    })
}

struct Info {
    name: String,
    dims: Vec<usize>,
    ty: BlockType,
    offset: usize,
}

fn tensor_info(r: &mut Reader<'_>) -> Result<Info> {
    let name = string(r)?;
    let n = r.u32()? as usize;
    if n == 0 || n > MAX_DIMS {
        return Err(r.corrupt(format!("tensor '{name}' with {n} dimensions")));
    }
    let mut dims = Vec::with_capacity(n);
    for _ in 0..n {
        let dim = r.u64()?;
        dims.push(usize::try_from(dim).map_err(|_| r.corrupt(format!("tensor '{name}' of {dim}")))?);
    }
    // GGML names the fastest dimension first; everything here is outermost first.
    dims.reverse();
    let ty = r.u32()?;
    let ty = BlockType::from_ggml(ty)
        .ok_or_else(|| r.corrupt(format!("tensor '{name}' of type {ty}, which is not supported")))?;
    let offset = r.u64()?;
    let offset = usize::try_from(offset).map_err(|_| r.corrupt(format!("offset {offset}")))?;
    Ok(Info { name, dims, ty, offset })
}

fn locate(path: &Path, file: Arc<MappedFile>, data: usize, infos: Vec<Info>) -> Result<Weights> {
    let total = (*file).as_ref().len();
    let mut tensors = HashMap::with_capacity(infos.len());
    for info in infos {
        let cols = info.dims.last().copied().unwrap_or(0);
        let rows = info.dims[..info.dims.len() - 1].iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let len = info.ty.row_bytes(cols).zip(rows).and_then(|(b, n)| b.checked_mul(n));
        let start = data.checked_add(info.offset);
        let range = start.zip(len).and_then(|(s, l)| Some(s..s.checked_add(l)?));
        let Some(range) = range.filter(|r| !r.is_empty() && r.end <= total) else {
            let what = format!("tensor '{}' {:?} does not lie within the file", info.name, info.dims);
            return Err(ModelError::corrupt(path, what));
        };
        let entry = TensorEntry::new(file.clone(), range, info.ty, info.dims);
        tensors.insert(info.name, entry);
    }
    check_apart(path, &tensors)?;
    Ok(Weights::new(path, vec![file], tensors))
}

/// Refuses tensors that share bytes, as ggml does: what is copied of each would be more than the file.
fn check_apart(path: &Path, tensors: &HashMap<String, TensorEntry>) -> Result<()> {
    let mut placed: Vec<(&str, &TensorEntry)> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
    placed.sort_by_key(|(_, t)| t.range.start);
    match placed.windows(2).find(|pair| pair[0].1.range.end > pair[1].1.range.start) {
        Some(pair) => {
            let what = format!("tensors '{}' and '{}' lie in the same bytes", pair[0].0, pair[1].0);
            Err(ModelError::corrupt(path, what))
        }
        None => Ok(()),
    }
}
