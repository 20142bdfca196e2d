//! What is dictated: recordings with what was said in them, or texts to clean.

use super::experiment::CorpusSource;
use crate::exit::{Exit, Failure};
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use undertone_engine::audio;
use undertone_models::whisper::LANGUAGES;

/// A recording or a text with its reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clip {
    /// `id`, else the path as it is written, else the line's number.
    pub(crate) id: String,
    pub(crate) source: Source,
    /// Code; found by the speech model if not given.
    pub(crate) lang: Option<String>,
    /// What was said; of a text, what should be written.
    pub(crate) reference: String,
    /// What should be written, if that is not what was said.
    pub(crate) wanted: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Audio(PathBuf),
    Text(String),
}

/// One line; other keys are there to be filtered by.
#[derive(Deserialize)]
struct Line {
    id: Option<String>,
    path: Option<String>,
    text: Option<String>,
    raw: Option<String>,
    clean: Option<String>,
    lang: Option<String>,
}

/// Reads the manifest. All clips are recordings, or all are texts.
///
/// # Errors
/// [`Exit::Input`] with the line of what is wrong; a recording that is not there.
pub(crate) fn read(source: &CorpusSource) -> Result<Vec<Clip>> {
    let manifest = &source.manifest;
    let failed = |what: String| Failure::new(Exit::Input, what);
    let text = std::fs::read_to_string(manifest)
        .map_err(|e| failed(format!("cannot read the manifest {}: {e}", manifest.display())))?;
    let root = source.root.as_deref().or(manifest.parent()).unwrap_or(Path::new(""));
    let clips =
        parse(&text, source, root).map_err(|what| failed(format!("{}, {what}", manifest.display())))?;
    if clips.is_empty() {
        return Err(failed(format!("no line of {} is taken", manifest.display())).into());
    }
    let clips = evenly(clips, source.clips.map_or(usize::MAX, usize::from));
    for clip in &clips {
        if let Source::Audio(path) = &clip.source {
            audio::check_file(path).map_err(|e| failed(format!("{}: {e}", manifest.display())))?;
        }
    }
    Ok(clips)
}

/// # Errors
/// A sentence with the line.
fn parse(text: &str, source: &CorpusSource, root: &Path) -> Result<Vec<Clip>, String> {
    let mut clips: Vec<Clip> = Vec::new();
    let mut lines = HashMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |what: String| format!("line {number}: {what}");
        let object: Map<String, Value> =
            serde_json::from_str(line).map_err(|e| wrong(format!("not a JSON object: {e}")))?;
        if source.filter.iter().any(|(key, value)| object.get(key).and_then(Value::as_str) != Some(value)) {
            continue;
        }
        let line: Line = serde_json::from_value(object.into()).map_err(|e| wrong(e.to_string()))?;
        let clip = clip(line, number, root).map_err(wrong)?;
        if let Some(other) = lines.insert(clip.id.clone(), number) {
            return Err(wrong(format!(
                "'{}' is already on line {other}: give each an id of its own",
                clip.id
            )));
        }
        let kind = |clip: &Clip| matches!(clip.source, Source::Text(_));
        if clips.last().is_some_and(|last| kind(last) != kind(&clip)) {
            return Err(wrong(
                "recordings and texts cannot be in one corpus: use two manifests or where".into(),
            ));
        }
        clips.push(clip);
    }
    Ok(clips)
}

fn clip(line: Line, number: usize, root: &Path) -> Result<Clip, String> {
    let Line { id, path, text, raw, clean, lang } = line;
    if let Some(lang) = lang.as_deref().filter(|lang| !LANGUAGES.iter().any(|(code, _)| code == lang)) {
        return Err(format!("language '{lang}' is not known; use a code such as en, de, fr"));
    }
    let (id, source, reference, wanted) = match (path, text, raw, clean) {
        (Some(path), Some(text), None, clean) => {
            (id.unwrap_or(path.clone()), Source::Audio(root.join(path)), text, clean)
        }
        (Some(_), None, ..) => return Err("a recording without its text".into()),
        (None, None, Some(raw), Some(clean)) => {
            (id.unwrap_or(format!("line {number}")), Source::Text(raw), clean, None)
        }
        _ => return Err("expected path and text, or raw and clean".into()),
    };
    Ok(Clip { id, source, lang, reference, wanted })
}

/// `most` of them, from beginning to end.
fn evenly(clips: Vec<Clip>, most: usize) -> Vec<Clip> {
    let (count, most) = (clips.len(), most.min(clips.len()));
    let taken = |i: usize| i == 0 || i * most / count != (i - 1) * most / count;
    clips.into_iter().enumerate().filter(|(i, _)| taken(*i)).map(|(_, clip)| clip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, filter: &[(&str, &str)]) -> Result<Vec<Clip>, String> {
        let filter = filter.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        let source = CorpusSource { manifest: "m".into(), root: None, filter, clips: None };
        parse(text, &source, Path::new("/data"))
    }

    #[test]
    fn recordings_and_pairs_are_read() {
        let text = "{\"path\":\"a.wav\",\"text\":\"A.\",\"lang\":\"en\",\"kind\":\"short\",\"duration_s\":1.5}\n\n\
            {\"id\":\"b\",\"path\":\"b.wav\",\"text\":\"\",\"clean\":\"B.\"}";
        let clips = parsed(text, &[]).unwrap();
        assert_eq!(clips[0].source, Source::Audio("/data/a.wav".into()));
        assert_eq!((clips[0].id.as_str(), clips[1].id.as_str()), ("a.wav", "b"));
        assert_eq!(clips[1].wanted.as_deref(), Some("B."));
        assert_eq!(parsed(text, &[("kind", "short")]).unwrap().len(), 1);
        let pairs = parsed("{\"raw\":\"um a\",\"clean\":\"A.\"}", &[]).unwrap();
        assert_eq!((pairs[0].id.as_str(), pairs[0].reference.as_str()), ("line 1", "A."));
    }

    #[test]
    fn mistakes_are_named_by_line() {
        let cases = [
            ("{", "line 1: not a JSON object"),
            ("\n[1]", "line 2: not a JSON object"),
            ("{\"path\":\"a\"}", "line 1: a recording without its text"),
            ("{\"raw\":\"a\"}", "line 1: expected path and text, or raw and clean"),
            ("{\"path\":\"a\",\"text\":7}", "line 1: invalid type"),
            ("{\"path\":\"a\",\"text\":\"\",\"lang\":\"xx\"}", "line 1: language 'xx' is not known"),
            (
                "{\"path\":\"a\",\"text\":\"\"}\n{\"path\":\"a\",\"text\":\"\"}",
                "line 2: 'a' is already on line 1",
            ),
            ("{\"path\":\"a\",\"text\":\"\"}\n{\"raw\":\"\",\"clean\":\"\"}", "line 2: recordings and texts"),
        ];
        for (text, expected) in cases {
            let error = parsed(text, &[]).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn some_of_many_are_evenly_spread() {
        let text: String = (0..10).map(|n| format!("{{\"path\":\"{n}\",\"text\":\"\"}}\n")).collect();
        let ids = |most| {
            let clips = evenly(parsed(&text, &[]).unwrap(), most);
            clips.into_iter().map(|clip| clip.id).collect::<String>()
        };
        assert_eq!((ids(10), ids(99), ids(1)), ("0123456789".into(), "0123456789".into(), "0".into()));
        assert_eq!(ids(3), "047");
    }
}
