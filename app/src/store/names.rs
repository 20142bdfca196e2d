//! Names of models: what may be one, which are near to a mistyped one, and what other programs'
//! file names mean in ours.

use std::path::{Component, Path};

/// Whether `name` may name a model in the store: it becomes a folder's name, so letters, digits,
/// `.`, `_` and `-` only, a letter or digit first, 100 bytes at most.
pub(crate) fn is_valid(name: &str) -> bool {
    name.len() <= 100
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Whether `file` stays inside the folder it is joined to.
pub(crate) fn is_inside(file: &str) -> bool {
    !file.is_empty()
        && !file.contains(['\\', '\0'])
        && Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A valid name made of any text: lower case, other characters become `-`.
pub(crate) fn from_text(text: &str) -> String {
    let plain: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect();
    let plain: String = plain.trim_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(100).collect();
    if plain.is_empty() { "model".to_owned() } else { plain }
}

/// Up to three of `known` that resemble `wanted`, nearest first.
pub(crate) fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // The distance costs len * len: nothing that long is a mistyped name.
    if wanted.len() > 100 {
        return Vec::new();
    }
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = edit_distance(&wanted, &lower);
            let close = distance <= 2.max(wanted.chars().count() / 3);
            // "base.en" is far from "whisper-base.en" in letters, not in meaning.
            let part = wanted.len() >= 3 && lower.contains(&wanted);
            (close || part).then_some((if part { distance.min(1) } else { distance }, name))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The catalogue-like names that another program's name stands for, nearest first: without
/// organisation, `faster-`, `ggml-`, `.bin`, `-GGUF`, and without the quantisation at the end.
/// `ggml-base.en-q5_1.bin` gives `whisper-base.en-q5_1` and `whisper-base.en`.
pub(crate) fn aliases(foreign: &str) -> Vec<String> {
    let base = foreign.rsplit('/').next().unwrap_or(foreign).to_lowercase();
    let base = base.strip_suffix(".gguf").or_else(|| base.strip_suffix(".bin")).unwrap_or(&base);
    let base = base.strip_suffix("-gguf").unwrap_or(base);
    let base = base.strip_prefix("google_").unwrap_or(base);
    let base = if let Some(rest) = base.strip_prefix("ggml-") {
        format!("whisper-{rest}")
    } else {
        // Both faster-whisper-NAME and faster-distil-whisper-NAME are conversions of NAME.
        base.strip_prefix("faster-").unwrap_or(base).to_owned()
    };
    let base =
        base.strip_prefix("distil-whisper-").map_or_else(|| base.clone(), |rest| format!("distil-{rest}"));
    let mut names = vec![base.clone()];
    if let Some(plain) = without_quantisation(&base) {
        names.push(plain.to_owned());
    }
    names
}

/// `gemma-3-1b-it-q4_k_m` without its last part, when that names a block type.
fn without_quantisation(name: &str) -> Option<&str> {
    let (rest, last) = name.rsplit_once(['-', '.'])?;
    let digit_after = |prefix: &str| {
        last.strip_prefix(prefix).is_some_and(|tail| tail.starts_with(|c: char| c.is_ascii_digit()))
    };
    (digit_after("q") || digit_after("iq") || matches!(last, "f16" | "bf16" | "f32")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_valid() {
        for good in ["whisper-tiny.en", "a", "qwen2.5-coder_1"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "ä", "a b", "-x", &"x".repeat(101)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn files_stay_inside() {
        assert!(is_inside("model.bin") && is_inside("onnx/model.bin"));
        for bad in ["", "..", "../x", "a/../../x", "/etc/passwd", "a\0b", "./", "a\\..\\b"] {
            assert!(!is_inside(bad), "{bad:?}");
        }
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["whisper-tiny", "whisper-tiny.en", "whisper-base", "gemma-3-1b-it"];
        assert_eq!(nearest("whsper-base", known)[0], "whisper-base");
        assert_eq!(nearest("tiny.en", known), ["whisper-tiny.en"]);
        assert!(nearest("zzzzzzzzzzzz", known).is_empty());
        assert!(nearest(&"w".repeat(1 << 20), known).is_empty());
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", ""), 3);
    }

    #[test]
    fn foreign_names_become_ours() {
        assert_eq!(aliases("Systran/faster-whisper-base.en"), ["whisper-base.en"]);
        assert_eq!(aliases("ggml-base.en.bin"), ["whisper-base.en"]);
        assert_eq!(
            aliases("ggml-large-v3-turbo-q5_0.bin"),
            ["whisper-large-v3-turbo-q5_0", "whisper-large-v3-turbo"]
        );
        assert_eq!(aliases("gemma-3-1b-it-Q4_K_M.gguf")[1], "gemma-3-1b-it");
        assert_eq!(aliases("SmolLM2-135M-Instruct.Q4_1.gguf")[1], "smollm2-135m-instruct");
        assert_eq!(aliases("bartowski/Llama-3.2-1B-Instruct-GGUF"), ["llama-3.2-1b-instruct"]);
        assert_eq!(aliases("Systran/faster-distil-whisper-large-v3"), ["distil-large-v3"]);
        assert_eq!(from_text("My Model (v2)"), "my-model--v2");
        assert_eq!(from_text("…"), "model");
    }
}
