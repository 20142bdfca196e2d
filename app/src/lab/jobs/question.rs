//! Files of prompts: one JSON object a line.

use crate::exit::{Exit, Failure};
use crate::lab::lines;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;
use undertone_engine::batch::{Prompts, Question};
use undertone_engine::error::EngineError;
use undertone_models::chat::{Message, Role};

/// Texts an answer may stop at.
const MAX_STOPS: usize = 16;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Turn {
    pub(super) role: Speaker,
    pub(super) content: String,
}

/// What is asked: all that the answer depends on besides the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Asked {
    /// A text to go on with, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt: Option<String>,
    /// Else a conversation, in the model's own form.
    pub(super) messages: Vec<Turn>,
    pub(super) max_tokens: u32,
    pub(super) stop: Vec<String>,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// `id`, else the line's number.
    pub(super) id: Value,
    pub(super) asked: Asked,
    /// Passed through.
    pub(super) meta: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<Value>,
    prompt: Option<String>,
    system: Option<String>,
    user: Option<String>,
    messages: Option<Vec<Turn>>,
    max_tokens: Option<u32>,
    stop: Option<Stops>,
    meta: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Several(Vec<String>),
}

impl Asked {
    /// As the model is asked.
    ///
    /// # Errors
    /// If the model has no chat template or it refuses the messages; if the tokenizer fails.
    pub(super) fn question(&self, prompts: &Prompts<'_>) -> Result<Question, EngineError> {
        let prompt = match &self.prompt {
            Some(text) => prompts.text(text)?,
            None => {
                let messages: Vec<Message<'_>> = self.messages.iter().map(Turn::message).collect();
                prompts.chat(&messages)?
            }
        };
        Ok(Question { prompt, max_tokens: self.max_tokens as usize, stop: self.stop.clone() })
    }
}

impl Turn {
    fn message(&self) -> Message<'_> {
        let role = match self.role {
            Speaker::System => Role::System,
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
        };
        Message { role, content: &self.content }
    }
}

/// Reads a file of jobs; `max_tokens` is for those that name none.
///
/// # Errors
/// [`Exit::Input`] with the line of what is wrong.
pub(super) fn read(path: &Path, max_tokens: u32) -> Result<Vec<Job>> {
    let failed = |what: String| Failure::new(Exit::Input, what);
    let bytes =
        std::fs::read(path).map_err(|e| failed(format!("cannot read the jobs {}: {e}", path.display())))?;
    let mut jobs = Vec::new();
    for (number, line) in lines::numbered(&bytes) {
        let job = parse(line, number, max_tokens);
        jobs.push(job.map_err(|what| failed(format!("{}, line {number}: {what}", path.display())))?);
    }
    match jobs.is_empty() {
        true => Err(failed(format!("there is no job in {}", path.display())).into()),
        false => Ok(jobs),
    }
}

fn parse(line: &[u8], number: usize, default_max_tokens: u32) -> Result<Job, String> {
    // An object: a list would be taken for its values in the order above.
    let line: Map<String, Value> = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    let line: Line = serde_json::from_value(line.into()).map_err(|e| e.to_string())?;
    let Line { id, prompt, system, user, messages, max_tokens, stop, meta } = line;
    let turn = |role, content| Turn { role, content };
    let messages = match (&prompt, system, user, messages) {
        (Some(_), None, None, None) => Vec::new(),
        (None, system, Some(user), None) => {
            let system = system.map(|content| turn(Speaker::System, content));
            system.into_iter().chain([turn(Speaker::User, user)]).collect()
        }
        (None, None, None, Some(messages)) if !messages.is_empty() => messages,
        _ => return Err("expected prompt, or user (with system or without), or messages".into()),
    };
    let max_tokens = max_tokens.unwrap_or(default_max_tokens);
    if max_tokens == 0 {
        return Err("max_tokens must be at least 1".into());
    }
    let stop = match stop {
        None => Vec::new(),
        Some(Stops::One(stop)) => vec![stop],
        Some(Stops::Several(stops)) => stops,
    };
    if stop.iter().any(String::is_empty) || stop.len() > MAX_STOPS {
        return Err(format!("stop takes up to {MAX_STOPS} texts, none of them empty"));
    }
    let asked = Asked { prompt, messages, max_tokens, stop };
    Ok(Job { id: id.unwrap_or(number.into()), asked, meta })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_ask() {
        let job = |line: &str| parse(line.as_bytes(), 7, 99).unwrap();
        let plain = job(r#"{"prompt": "Once", "stop": "."}"#);
        assert_eq!((plain.id, plain.asked.max_tokens), (7.into(), 99));
        assert_eq!((plain.asked.prompt.as_deref(), plain.asked.stop), (Some("Once"), vec![".".to_string()]));
        let short =
            job(r#"{"id": "a", "system": "Be brief.", "user": "Hi", "max_tokens": 5, "meta": {"k": 1}}"#);
        let long = job(
            r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "max_tokens": 5}"#,
        );
        assert_eq!(short.asked, long.asked);
        assert_eq!((short.id, short.meta), ("a".into(), Some(serde_json::json!({ "k": 1 }))));
    }

    #[test]
    fn what_is_no_job_is_said() {
        for (line, what) in [
            ("{}", "expected prompt"),
            (r#"{"system": "a"}"#, "expected prompt"),
            (r#"{"prompt": "a", "user": "b"}"#, "expected prompt"),
            (r#"{"messages": []}"#, "expected prompt"),
            (r#"{"prompt": "a", "max_token": 3}"#, "max_token"),
            (r#"{"prompt": "a", "max_tokens": 0}"#, "at least 1"),
            (r#"{"prompt": "a", "max_tokens": -1}"#, "-1"),
            (r#"{"prompt": "a", "stop": ""}"#, "none of them empty"),
            (r#"{"messages": [{"role": "tool", "content": ""}]}"#, "tool"),
            ("[1]", "invalid type"),
        ] {
            let error = parse(line.as_bytes(), 1, 9).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
