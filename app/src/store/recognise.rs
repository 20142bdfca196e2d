//! What a file or folder is, by its contents: magic numbers and headers, never the name alone.
//! Reads a few kilobytes at most; nothing is sized by what a file claims.

use super::kinds::{Format, Kind};
use crate::exit::{Exit, Failure};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A model that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recognised {
    /// Speech or text.
    pub(crate) kind: Kind,
    /// How it lies on disk.
    pub(crate) format: Format,
    /// The file or the folder to load.
    pub(crate) path: PathBuf,
    /// A GGUF's `general.architecture`; `whisper` for speech.
    pub(crate) architecture: String,
}

/// Most bytes of a file that are looked at.
const HEAD_BYTES: u64 = 16 << 10;
/// A `config.json` is a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4096;

/// Recognises a file or folder.
///
/// # Errors
/// [`Exit::Model`] with one sentence on what it is instead.
pub(crate) fn recognise(path: &Path) -> Result<Recognised, Failure> {
    let unreadable = |error: &io::Error| {
        let why = super::disk::reason(error);
        unusable(path, &format!("cannot be read: {why}"))
    };
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if metadata.is_dir() {
        folder(path).map_err(|error| unreadable(&error))?
    } else if metadata.is_file() {
        let head = read_head(path, HEAD_BYTES).map_err(|error| unreadable(&error))?;
        file(path, &head)
    } else {
        Err(unusable(path, "is neither a file nor a folder"))
    }
}

fn unusable(path: &Path, problem: &str) -> Failure {
    Failure::new(Exit::Model, format!("{} {problem}", path.display()))
}

fn read_head(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(limit_bytes).read_to_end(&mut head)?;
    Ok(head)
}

fn found(kind: Kind, format: Format, path: &Path, architecture: &str) -> Recognised {
    Recognised { kind, format, path: path.to_owned(), architecture: architecture.to_owned() }
}

fn file(path: &Path, head: &[u8]) -> Result<Recognised, Failure> {
    let no = |problem: &str| Err(unusable(path, problem));
    if head.is_empty() {
        return no("is empty");
    }
    if head.starts_with(b"GGUF") {
        return match gguf_architecture(head) {
            Some(name) if matches!(name.as_str(), "clip" | "whisper" | "bert") => {
                no(&format!("is a GGUF file of a {name} model, not of a language model"))
            }
            Some(name) => Ok(found(Kind::Text, Format::Gguf, path, &name)),
            None => no("begins like a GGUF file, but its header is damaged"),
        };
    }
    if head.starts_with(b"lmgg") {
        return if is_whisper_ggml(head) {
            Ok(found(Kind::Speech, Format::Ggml, path, "whisper"))
        } else {
            no("is a ggml file, but not of a Whisper model")
        };
    }
    if is_whisper_ct2(head) {
        return no("is the weights of a CTranslate2 model: name the folder that it lies in");
    }
    if is_safetensors(head) {
        return no(
            "is a safetensors file: name the folder that holds it with its config.json and tokenizer.json",
        );
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"\x80\x02") {
        return no(
            "is a PyTorch or zip file, which is not read; use a GGUF, ggml, CTranslate2 or safetensors model",
        );
    }
    no("is not a model: neither GGUF nor a whisper.cpp file")
}

/// `Err` only for I/O; the inner result is the answer.
fn folder(path: &Path) -> io::Result<Result<Recognised, Failure>> {
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(path)?.take(MAX_ENTRIES) {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let has = |name: &str| names.iter().any(|known| known == name);
    if has("model.bin") && has("config.json") {
        let head = read_head(&path.join("model.bin"), 64)?;
        return Ok(if is_whisper_ct2(&head) {
            Ok(found(Kind::Speech, Format::Ct2, path, "whisper"))
        } else {
            Err(unusable(path, "has a model.bin that is not a CTranslate2 Whisper model"))
        });
    }
    if has("config.json") && (has("model.safetensors") || has("model.safetensors.index.json")) {
        return Ok(hugging_face_folder(path));
    }
    // One file that can be recognised stands for its folder.
    let candidates: Vec<Recognised> = names
        .iter()
        .filter(|name| name.ends_with(".gguf") || name.ends_with(".bin"))
        .filter_map(|name| {
            let path = path.join(name);
            file(&path, &read_head(&path, HEAD_BYTES).ok()?).ok()
        })
        .collect();
    Ok(match candidates.as_slice() {
        [one] => Ok(one.clone()),
        [] if has("config.json") => {
            Err(unusable(path, "has a config.json but neither model.bin nor model.safetensors"))
        }
        [] if has("model.bin") || names.iter().any(|name| name.ends_with(".safetensors")) => {
            Err(unusable(path, "has weights but no config.json"))
        }
        [] => Err(unusable(path, "holds no model")),
        many => {
            let count = many.len();
            Err(unusable(path, &format!("holds {count} models: name the file that is meant")))
        }
    })
}

fn hugging_face_folder(path: &Path) -> Result<Recognised, Failure> {
    let config = path.join("config.json");
    let text = std::fs::metadata(&config)
        .ok()
        .filter(|metadata| metadata.len() <= MAX_CONFIG_BYTES)
        .and_then(|_| std::fs::read(&config).ok());
    let model_type = text
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .and_then(|config| Some(config.get("model_type")?.as_str()?.to_owned()));
    match model_type.as_deref() {
        Some("whisper") => Ok(found(Kind::Speech, Format::Hf, path, "whisper")),
        Some(other) => Err(unusable(
            path,
            &format!("holds a {other} model as safetensors; text models are read as GGUF"),
        )),
        None => Err(unusable(path, "has a config.json without a model_type")),
    }
}

/// CTranslate2 `model.bin`: version, then the length-prefixed, NUL-ended name of the specification.
fn is_whisper_ct2(head: &[u8]) -> bool {
    const NAME: &[u8] = b"\x0c\x00WhisperSpec\x00";
    head.get(4..4 + NAME.len()) == Some(NAME)
}

/// A safetensors file begins with the length of its JSON header.
fn is_safetensors(head: &[u8]) -> bool {
    u64_at(head, 0).is_some_and(|length| length < 200 << 20) && head.get(8) == Some(&b'{')
}

/// whisper.cpp's header: magic, n_vocab, 7 sizes, n_text_layer, n_mels, ftype.
fn is_whisper_ggml(head: &[u8]) -> bool {
    let n_vocab = u32_at(head, 4);
    let n_mels = u32_at(head, 4 + 9 * 4);
    n_vocab.is_some_and(|n| (50_000..60_000).contains(&n)) && matches!(n_mels, Some(80 | 128))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let slice = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(slice.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let slice = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(slice.try_into().ok()?))
}

/// `general.architecture` of a GGUF header, which writers put first; `unknown` when it is not
/// among the values that can be walked; `None` for a header that is none.
fn gguf_architecture(head: &[u8]) -> Option<String> {
    let version = u32_at(head, 4)?;
    let (tensors, pairs) = (u64_at(head, 8)?, u64_at(head, 16)?);
    // A file of the other byte order shows an absurd version.
    if !(1..=16).contains(&version) || tensors > 1 << 24 || pairs > 1 << 24 {
        return None;
    }
    let mut at = 24usize;
    for _ in 0..pairs.min(64) {
        let Some((key, value_at)) = gguf_string(head, at) else {
            break;
        };
        let Some(value_type) = u32_at(head, value_at) else {
            break;
        };
        let value_at = value_at + 4;
        let size = match value_type {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                let Some((text, next)) = gguf_string(head, value_at) else {
                    break;
                };
                if key == b"general.architecture" {
                    let text = String::from_utf8_lossy(text).into_owned();
                    let plain = text.len() <= 64 && super::names::is_valid(&text);
                    return plain.then_some(text);
                }
                next - value_at
            }
            // Arrays can be megabytes of vocabulary; the architecture stands before them.
            _ => break,
        };
        at = value_at + size;
    }
    Some("unknown".to_owned())
}

/// The string at `at` and the offset after it.
fn gguf_string(head: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let length = usize::try_from(u64_at(head, at)?).ok()?;
    let start = at.checked_add(8)?;
    let end = start.checked_add(length)?;
    Some((head.get(start..end)?, end))
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! Smallest files that are recognised.

    /// A GGUF header with an architecture.
    pub(crate) fn gguf(architecture: &str) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        for (key, value) in [("general.type", "model"), ("general.architecture", architecture)] {
            bytes.extend((key.len() as u64).to_le_bytes());
            bytes.extend(key.as_bytes());
            bytes.extend(8u32.to_le_bytes());
            bytes.extend((value.len() as u64).to_le_bytes());
            bytes.extend(value.as_bytes());
        }
        bytes
    }

    /// A whisper.cpp header (tiny.en).
    pub(crate) fn ggml() -> Vec<u8> {
        let header = [0x6767_6d6c_u32, 51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1];
        header.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The head of a CTranslate2 Whisper model.bin.
    pub(crate) fn ct2() -> Vec<u8> {
        b"\x06\0\0\0\x0c\0WhisperSpec\0\x03\0\0\0".to_vec()
    }

    /// The head of a safetensors file.
    pub(crate) fn safetensors() -> Vec<u8> {
        b"\x02\0\0\0\0\0\0\0{}".to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn sentence(path: &Path) -> String {
        let failure = recognise(path).expect_err("not a model");
        assert_eq!(failure.exit, Exit::Model);
        failure.message
    }

    #[test]
    fn files_are_known_by_their_first_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let put = |bytes: &[u8]| fs::write(&path, bytes).expect("written");
        put(&fixtures::gguf("gemma3"));
        let model = recognise(&path).expect("a GGUF");
        assert_eq!((model.kind, model.format), (Kind::Text, Format::Gguf));
        assert_eq!(model.architecture, "gemma3");
        put(&fixtures::ggml());
        assert_eq!(recognise(&path).expect("a ggml").format, Format::Ggml);
        for (bytes, expected) in [
            (fixtures::gguf("clip"), "clip"),
            (b"GGUF\0\0\0\x03".to_vec(), "damaged"),
            (b"GGUF".to_vec(), "damaged"),
            (b"lmgg\0\0\0\0".to_vec(), "not of a Whisper"),
            (fixtures::ct2(), "folder that it lies in"),
            (fixtures::safetensors(), "config.json"),
            (b"PK\x03\x04".to_vec(), "PyTorch"),
            (b"hello".to_vec(), "not a model"),
            (Vec::new(), "is empty"),
        ] {
            put(&bytes);
            assert!(sentence(&path).contains(expected), "{expected}: {}", sentence(&path));
        }
        assert!(sentence(&folder.path().join("nothing")).contains("no such file"));
    }

    #[test]
    fn a_gguf_header_cut_or_bent_anywhere_does_no_harm() {
        let whole = fixtures::gguf("llama");
        for end in 0..whole.len() {
            gguf_architecture(&whole[..end]);
            let mut bent = whole.clone();
            bent[end] = 0xff;
            gguf_architecture(&bent);
        }
        assert_eq!(gguf_architecture(&whole).as_deref(), Some("llama"));
    }

    #[test]
    fn folders_are_known_by_what_lies_in_them() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path();
        let put = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("written");
        assert!(sentence(folder).contains("holds no model"));
        put("a.gguf", &fixtures::gguf("llama"));
        assert_eq!(recognise(folder).expect("one GGUF").path, folder.join("a.gguf"));
        put("b.gguf", &fixtures::gguf("llama"));
        assert!(sentence(folder).contains("2 models"));
        put("model.safetensors", &fixtures::safetensors());
        put("config.json", br#"{"model_type": "llama"}"#);
        assert!(sentence(folder).contains("read as GGUF"));
        put("config.json", b"[1, 2");
        assert!(sentence(folder).contains("without a model_type"));
        put("config.json", br#"{"model_type": "whisper"}"#);
        assert_eq!(recognise(folder).expect("HF").format, Format::Hf);
        put("model.bin", b"other");
        assert!(sentence(folder).contains("not a CTranslate2"));
        put("model.bin", &fixtures::ct2());
        assert_eq!(recognise(folder).expect("CT2").format, Format::Ct2);
    }
}
