//! The pipeline of before: faster-whisper, then a language model behind HTTP on loopback, with each of its faults apart.

use super::series::Answer;
use super::systems::{Clip, Peer, Prompt, Prompts};
use serde_json::{Value, json};
use std::path::Path;

/// What can be wrong with asking a server. Each is there alone, and all together as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// A connection for every request.
    pub(super) new_connection: bool,
    /// The server's name has a first address that does not answer.
    pub(super) silent_address: bool,
    /// What kept the model warm named another context size: the server loads it anew.
    pub(super) other_context: bool,
}

impl Faults {
    pub(super) const ALL: Faults = Faults { new_connection: true, silent_address: true, other_context: true };

    /// Rows of the table: name, faults, and the row (counted from the call without a server, 0) that it is compared with.
    pub(super) const ROWS: [(&str, Faults, usize); 5] = {
        let none = Faults { new_connection: false, silent_address: false, other_context: false };
        [
            ("+ HTTP, connection kept", none, 0),
            ("+ new connection", Faults { new_connection: true, ..none }, 1),
            (
                "+ new connection, first address silent",
                Faults { new_connection: true, silent_address: true, ..none },
                2,
            ),
            ("+ other context size", Faults { other_context: true, ..none }, 1),
            ("all of them", Faults::ALL, 0),
        ]
    };
}

/// Server and asking program, each a process.
pub(super) struct Old {
    pub(super) server: Peer,
    client: Peer,
    context: u32,
    /// Why no first address can be silent.
    loud: Option<String>,
    /// What keeps the model warm.
    warm_up: Value,
}

impl Old {
    /// # Errors
    /// A sentence, if no prompt can be made; what else goes wrong is what it will answer.
    pub(super) fn load(
        python: &Path,
        gguf: &Path,
        threads: usize,
        context: u32,
        prompts: &Prompts,
    ) -> Result<Old, String> {
        let server = json!({ "path": gguf, "threads": threads, "n_ctx": context });
        let server = Peer::load(python, "server", server);
        let client = match server.about("port") {
            Ok(port) => Peer::load(python, "client", json!({ "port": port })),
            Err(why) => Peer::missing(&why),
        };
        let loud = client.ask("silence", json!({}), None).err();
        let mut warm_up = prompts.request("hello")?;
        warm_up["limit"] = json!(1);
        Ok(Old { server, client, context, loud, warm_up })
    }

    /// One clean-up. Keeping the model warm before it is not counted: that was done between dictations. (Without it a row
    /// would find the text computed that the row before it asked for.)
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn ask(&self, request: &Value, faults: Faults) -> Result<Answer, String> {
        if let (true, Some(why)) = (faults.silent_address, &self.loud) {
            return Err(why.clone());
        }
        // The other is half of it: no model is asked for more positions than it was trained with.
        let warm_up_context = if faults.other_context { self.context / 2 } else { self.context };
        self.send(&self.warm_up, warm_up_context, Faults::default())?;
        self.send(request, self.context, faults)
    }

    /// One clean-up by `llama`, without a server, and as warm.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn ask_directly(&self, llama: &Peer, request: &Value) -> Result<Answer, String> {
        llama.ask("ask", self.warm_up.clone(), None)?;
        llama.ask("ask", request.clone(), None)
    }

    fn send(&self, request: &Value, context: u32, faults: Faults) -> Result<Answer, String> {
        let mut request = request.clone();
        request["n_ctx"] = json!(context);
        request["new"] = json!(faults.new_connection);
        request["silent"] = json!(faults.silent_address);
        self.client.ask("ask", request, None)
    }
}

/// A recording to clean text: `speech`, then `clean`. Making the prompt's tokens is not counted.
///
/// # Errors
/// A sentence.
pub(super) fn chain(
    speech: &Peer,
    prompts: &Prompts,
    clip: &Clip,
    clean: impl FnOnce(&Prompt) -> Result<Answer, String>,
) -> Result<Answer, String> {
    let heard = speech.transcribe(clip)?;
    if heard.text.is_empty() {
        return Ok(heard);
    }
    let request = prompts.request(&heard.text)?;
    let mut cleaned = clean(&Prompt { raw: heard.text, lang: clip.lang.clone(), request })?;
    cleaned.stages.push(("speech_ms", heard.ms));
    cleaned.ms += heard.ms;
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_one_fault_more_than_the_row_it_is_compared_with() {
        let count =
            |f: Faults| [f.new_connection, f.silent_address, f.other_context].iter().filter(|f| **f).count();
        for (n, (name, faults, base)) in (1..).zip(Faults::ROWS) {
            assert!(base < n, "{name}");
            if base > 0 {
                assert_eq!(count(faults), count(Faults::ROWS[base - 1].1) + 1, "{name}");
            }
        }
    }
}
