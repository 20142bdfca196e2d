//! A mode becomes the tokens of a prompt: through the model's own chat template, or for models
//! without one as a list of worked examples to continue.

use crate::clean::fidelity::Policy;
use crate::error::{EngineError, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use undertone_models::causal_lm::CausalLm;
use undertone_models::chat::{ChatTemplate, Message, Role};
use undertone_models::tokenizer::Part;

/// What a clean-up asks of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    policy: PolicyName,
    /// What the model is told.
    pub instruction: String,
    /// Pairs of transcript and clean text.
    pub examples: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PolicyName {
    Standard,
    Free,
}

impl Mode {
    /// The modes that come with the program, by name.
    ///
    /// # Errors
    /// If their data is malformed.
    pub fn built_in() -> Result<BTreeMap<String, Mode>> {
        toml::from_str(include_str!("../modes.toml"))
            .map_err(|e| EngineError::Mode { name: "built-in".into(), what: e.to_string() })
    }

    /// What the fidelity check allows.
    pub fn policy(&self) -> Policy {
        match self.policy {
            PolicyName::Standard => Policy::Standard,
            PolicyName::Free => Policy::Free,
        }
    }
}

/// A prompt and how its continuation ends.
pub struct Prompt {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Text that ends the answer, for models that know no end of turn.
    pub stop: Option<&'static str>,
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
        let Some(source) = lm.chat_template().filter(|_| follows) else { return Ok(PromptFormat::Examples) };
        let text = |id: Option<u32>| id.and_then(|id| lm.tokenizer().special_text(id)).unwrap_or("");
        let (bos, eos) = (text(lm.tokenizer().bos()), text(lm.tokenizer().eos()));
        let template = ChatTemplate::new(source, bos, eos);
        template
            .map(|t| PromptFormat::Chat(Box::new(t)))
            .map_err(|e| EngineError::ChatTemplate(e.to_string()))
    }

    /// The prompt that asks `lm` to clean `transcript` in `mode`. The transcript is text and
    /// nothing else: whatever it says, no special token comes of it.
    ///
    /// # Errors
    /// If the template or the tokenizer refuses.
    pub fn prompt(&self, lm: &CausalLm, mode: &Mode, transcript: &str) -> Result<Prompt> {
        let (mut parts, stop) = match self {
            PromptFormat::Chat(template) => {
                let message = |role, content| Message { role, content };
                let mut messages = vec![message(Role::System, mode.instruction.as_str())];
                for (raw, clean) in &mode.examples {
                    messages.push(message(Role::User, raw.as_str()));
                    messages.push(message(Role::Assistant, clean.as_str()));
                }
                messages.push(message(Role::User, transcript));
                let parts = template.render(&messages, true, lm.tokenizer());
                (parts.map_err(|e| EngineError::ChatTemplate(e.to_string()))?, None)
            }
            PromptFormat::Examples => {
                let mut text = format!("{}\n\n", mode.instruction.trim());
                for (raw, clean) in &mode.examples {
                    text += &format!("Transcript: {raw}\nClean text: {clean}\n\n");
                }
                // One line: the answer ends with its line.
                let transcript = transcript.split_whitespace().collect::<Vec<_>>().join(" ");
                text += &format!("Transcript: {transcript}\nClean text:");
                (vec![Part::Text(text)], Some("\n"))
            }
        };
        lm.tokenizer().prepend_bos(&mut parts);
        let tokens = lm.tokenizer().encode_parts(&parts).map_err(EngineError::tokenizer)?;
        Ok(Prompt { tokens, stop })
    }
}
