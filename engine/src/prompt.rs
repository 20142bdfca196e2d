//! A mode becomes the tokens of a prompt: through the model's own chat template, or for models
//! without one as a list of worked examples to continue.

use crate::error::{EngineError, Result};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use undertone_models::causal_lm::CausalLm;
use undertone_models::chat::{ChatTemplate, Message, Role};
use undertone_models::tokenizer::Part;

/// What the text of a mode must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// No model is asked: the transcript is the result.
    None,
    /// An edit of the transcript, held to it while it is written.
    Standard,
    /// New wording of the same content.
    Free,
    /// A new text.
    Open,
}

/// What a mode works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// What was said.
    #[default]
    Transcript,
    /// Text selected before speaking.
    Selection,
    /// Selected text, and what was said of it.
    Both,
}

/// What a clean-up asks of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// What its text must satisfy.
    pub policy: Policy,
    /// What it works on.
    #[serde(default)]
    pub input: Input,
    /// What the model is told.
    #[serde(default)]
    pub instruction: String,
    /// Pairs of what is said and what to write.
    #[serde(default)]
    pub examples: Vec<(String, String)>,
    /// Whether the text must not be cut into windows.
    #[serde(default)]
    pub whole: bool,
    /// Answer tokens allowed for each input token.
    #[serde(default = "Mode::default_ratio")]
    pub max_ratio: f32,
    /// Answer tokens allowed beyond that.
    #[serde(default = "Mode::default_extra")]
    pub max_extra_tokens: usize,
}

/// Modes by name.
pub type Modes = BTreeMap<String, Mode>;

impl Mode {
    // Half as long again, and room for punctuation: more is not a clean-up.
    fn default_ratio() -> f32 {
        1.5
    }

    fn default_extra() -> usize {
        16
    }

    /// The modes that come with the program.
    ///
    /// # Errors
    /// If their data is malformed.
    pub fn built_in() -> Result<Modes> {
        Mode::parse(include_str!("../modes.toml"), "built-in")
    }

    /// Modes from TOML, one table each; `source` names it in errors.
    ///
    /// # Errors
    /// An unknown key, a missing policy or instruction, limits that allow nothing.
    pub fn parse(text: &str, source: &str) -> Result<Modes> {
        let bad = |name: &str, what: String| EngineError::Mode { name: name.into(), what };
        let modes: Modes = toml::from_str(text).map_err(|e| bad(source, e.to_string()))?;
        for (name, mode) in &modes {
            let asks = mode.policy != Policy::None;
            let ratio = mode.max_ratio;
            if asks && mode.instruction.trim().is_empty() {
                return Err(bad(name, "it has no instruction".into()));
            }
            if !(0.0..=100.0).contains(&ratio) || ratio == 0.0 && mode.max_extra_tokens == 0 {
                let limits = format!("max_ratio {ratio}, max_extra_tokens {}", mode.max_extra_tokens);
                return Err(bad(name, format!("its limits allow no text ({limits})")));
            }
        }
        Ok(modes)
    }

    /// Answer tokens allowed for an input of `input_tokens`.
    pub fn max_tokens(&self, input_tokens: usize) -> usize {
        (input_tokens as f32 * self.max_ratio) as usize + self.max_extra_tokens
    }

    /// What the model is given.
    pub fn user_text<'a>(&self, text: &'a str, selection: Option<&str>) -> Cow<'a, str> {
        match (self.input, selection) {
            (Input::Both, Some(selection)) => format!("Text: {selection}\nInstruction: {text}").into(),
            _ => text.into(),
        }
    }
}

/// A prompt and how its continuation ends.
pub struct Prompt {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Whether the answer is one line, for models that know no end of turn.
    pub one_line: bool,
}

/// The model's way of being asked, made once at load.
pub enum PromptFormat {
    /// The file's chat template.
    Chat(Box<ChatTemplate>),
    /// Plain text to continue.
    Examples,
}

impl PromptFormat {
    /// The format the model's file asks for; worked examples for very small models, which copy text
    /// better than they follow a conversation (SmolLM2-135M: 90 of 129 texts pass the fidelity check
    /// so, 69 through its chat template).
    ///
    /// # Errors
    /// If its chat template cannot be parsed.
    pub fn of(lm: &CausalLm) -> Result<PromptFormat> {
        const SMALL_HIDDEN_SIZE: usize = 1024;
        let follows = lm.architecture().hidden_size >= SMALL_HIDDEN_SIZE;
        let template = if follows { chat_template(lm)? } else { None };
        Ok(template.map_or(PromptFormat::Examples, |template| PromptFormat::Chat(Box::new(template))))
    }

    /// The prompt that asks `lm` for `text` in `mode`. The text is text and nothing else: whatever it
    /// says, no special token comes of it.
    ///
    /// # Errors
    /// If the template or the tokenizer refuses.
    pub fn prompt(&self, lm: &CausalLm, mode: &Mode, text: &str) -> Result<Prompt> {
        let (mut parts, one_line) = match self {
            PromptFormat::Chat(template) => {
                let message = |role, content| Message { role, content };
                let mut messages = vec![message(Role::System, mode.instruction.as_str())];
                for (raw, clean) in &mode.examples {
                    messages.push(message(Role::User, raw.as_str()));
                    messages.push(message(Role::Assistant, clean.as_str()));
                }
                messages.push(message(Role::User, text));
                let parts = template.render(&messages, true, lm.tokenizer());
                (parts.map_err(|e| EngineError::ChatTemplate(e.to_string()))?, false)
            }
            PromptFormat::Examples => {
                // One line each: the answer ends with its line.
                let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                let mut prompt = format!("{}\n\n", line(&mode.instruction));
                for (raw, clean) in &mode.examples {
                    prompt += &format!("Transcript: {}\nClean text: {}\n\n", line(raw), line(clean));
                }
                prompt += &format!("Transcript: {}\nClean text:", line(text));
                (vec![Part::Text(prompt)], true)
            }
        };
        lm.tokenizer().prepend_bos(&mut parts);
        let tokens = lm.tokenizer().encode_parts(&parts).map_err(EngineError::tokenizer)?;
        Ok(Prompt { tokens, one_line })
    }

    /// What all prompts of `mode` begin with: the instruction and the examples.
    ///
    /// # Errors
    /// As [`PromptFormat::prompt`].
    pub fn prefix(&self, lm: &CausalLm, mode: &Mode) -> Result<Vec<u32>> {
        // Texts that share no beginning and are not alike at their ends.
        let (mut a, b) =
            (self.prompt(lm, mode, "So it is.")?.tokens, self.prompt(lm, mode, "What now?")?.tokens);
        a.truncate(a.iter().zip(&b).take_while(|(a, b)| a == b).count());
        Ok(a)
    }
}

/// The chat template of the model's file, where it has one.
///
/// # Errors
/// If it cannot be parsed.
pub(crate) fn chat_template(lm: &CausalLm) -> Result<Option<ChatTemplate>> {
    let Some(source) = lm.chat_template() else { return Ok(None) };
    let text = |id: Option<u32>| id.and_then(|id| lm.tokenizer().special_text(id)).unwrap_or("");
    let (bos, eos) = (text(lm.tokenizer().bos()), text(lm.tokenizer().eos()));
    ChatTemplate::new(source, bos, eos).map(Some).map_err(|e| EngineError::ChatTemplate(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_modes_are_complete() {
        let modes = Mode::built_in().unwrap();
        let names: Vec<&str> = modes.keys().map(String::as_str).collect();
        let expected =
            ["ask", "professional", "prompt", "raw", "refine", "refine-instruction", "standard", "translate"];
        assert_eq!(names, expected);
        assert_eq!(modes["ask"].max_tokens(10), 512);
        assert_eq!(modes["standard"].max_tokens(10), 31);
    }

    #[test]
    fn modes_that_cannot_work_are_refused() {
        for (text, what) in [
            ("[a]\npolicy = \"wild\"\ninstruction = \"x\"", "wild"),
            ("[a]\npolicy = \"free\"", "no instruction"),
            ("[a]\npolicy = \"free\"\ninstruction = \"x\"\ncolour = 1", "colour"),
            ("[a]\npolicy = \"free\"\ninstruction = \"x\"\nmax_ratio = 0.0\nmax_extra_tokens = 0", "no text"),
            ("[a]\npolicy = \"free\"\ninstruction = \"x\"\nmax_ratio = -1.0", "no text"),
        ] {
            let error = Mode::parse(text, "test").unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
