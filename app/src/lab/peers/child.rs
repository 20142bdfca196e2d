//! A resident Python process that holds one peer, and what is said to it: a line of JSON each way.

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

const DRIVER: &str = include_str!("driver.py");
/// An answer is a transcript at most.
const LINE_BYTES: u64 = 4 << 20;
/// Of what a child says on standard error, so much is kept.
const SAID_LINES: usize = 3;
const SAID_BYTES: usize = 300;
/// A child that is told to end does so in this time, or is killed.
const PARTING: Duration = Duration::from_secs(3);

/// A peer's process. It ends when this is dropped, and when we end in any other way: its standard input is
/// then at its end.
pub(super) struct Child {
    role: String,
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    /// The last it said, when it is done.
    said: Receiver<String>,
    /// Why it is of no more use.
    lost: Option<String>,
}

impl Child {
    /// Starts the driver in the `role`; in isolated mode, lest a file beside us be taken for a module of Python's.
    ///
    /// # Errors
    /// A sentence, if Python cannot be started.
    pub(super) fn start(python: &Path, role: &str) -> Result<Child, String> {
        let mut command = Command::new(python);
        command.args(["-I", "-c", DRIVER, role]);
        Child::run(command, role).map_err(|e| format!("{} could not be started: {e}", python.display()))
    }

    fn run(mut command: Command, role: &str) -> std::io::Result<Child> {
        // Models are files of ours: nothing is to be looked for elsewhere.
        command.env("HF_HUB_OFFLINE", "1");
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, answers) = bounded(1);
        if let Some(stdout) = process.stdout.take() {
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                loop {
                    let mut line = String::new();
                    let read = stdout.by_ref().take(LINE_BYTES).read_line(&mut line);
                    if !matches!(read, Ok(1..)) || sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let stderr = process.stderr.take();
        let (words, said) = bounded(1);
        std::thread::spawn(move || words.send(stderr.map(last_lines).unwrap_or_default()));
        let stdin = process.stdin.take();
        Ok(Child { role: role.into(), process, stdin, answers, said, lost: None })
    }

    /// Asks for `op` with `arguments` and, if any, `samples` (16 kHz), and waits for the answer.
    ///
    /// # Errors
    /// A sentence: what the peer could not do, that it has died, answers nonsense, or not within `limit`. After the
    /// last three it is gone, and every later request says the same.
    pub(super) fn ask(
        &mut self,
        op: &str,
        arguments: Value,
        samples: Option<&[f32]>,
        limit: Duration,
    ) -> Result<Map<String, Value>, String> {
        if let Some(why) = &self.lost {
            return Err(why.clone());
        }
        let line = self.send(op, arguments, samples).and_then(|()| match self.answers.recv_timeout(limit) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Disconnected) => Err(None),
            Err(RecvTimeoutError::Timeout) => Err(Some(format!("no answer within {} s", limit.as_secs()))),
        });
        let answer = line.and_then(|line| parse(&line).ok_or_else(|| Some(nonsense(&line))));
        answer.unwrap_or_else(|why| Err(self.lose(why)))
    }

    fn send(&mut self, op: &str, arguments: Value, samples: Option<&[f32]>) -> Result<(), Option<String>> {
        let mut request = arguments;
        request["op"] = json!(op);
        let mut bytes = Vec::new();
        if let Some(samples) = samples {
            bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
            request["bytes"] = json!(bytes.len());
        }
        let stdin = self.stdin.as_mut().ok_or(None)?;
        let mut send = || {
            writeln!(stdin, "{request}")?;
            stdin.write_all(&bytes)?;
            stdin.flush()
        };
        // It reads all it is sent at once, whatever it does: this waits for nobody.
        send().map_err(|_| None)
    }

    /// Ends it; the sentence for it, `why` or what became of it, with the last it said.
    fn lose(&mut self, why: Option<String>) -> String {
        let status = self.end();
        let said = self.said.recv_timeout(PARTING).unwrap_or_default();
        let why = why.unwrap_or_else(|| match status {
            Some(status) => format!("it ended ({status})"),
            None => "it runs, but takes no requests or gives no answers".into(),
        });
        let sentence = match said.is_empty() {
            true => format!("{}: {why}", self.role),
            false => format!("{}: {why}; the last it said: {said}", self.role),
        };
        self.lost = Some(sentence.clone());
        sentence
    }

    /// How it ended, unless it had to be killed.
    fn end(&mut self) -> Option<std::process::ExitStatus> {
        self.stdin = None;
        let begun = Instant::now();
        while begun.elapsed() < PARTING {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(status) => return status,
                Err(_) => break,
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        None
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the peer answers, be it an error; `None` of what is no answer.
fn parse(line: &str) -> Option<Result<Map<String, Value>, String>> {
    let mut answer: Map<String, Value> = serde_json::from_str(line).ok()?;
    match (answer.remove("ok"), answer.remove("error")) {
        (Some(Value::Object(ok)), None) => Some(Ok(ok)),
        (None, Some(Value::String(why))) => Some(Err(cut(&why))),
        _ => None,
    }
}

fn nonsense(line: &str) -> String {
    format!("it answers what is no answer: {}", cut(line))
}

/// Short enough for a sentence, on one line.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(SAID_BYTES).collect()
}

/// The last lines that are not empty, as one.
fn last_lines(stderr: impl Read) -> String {
    let mut stderr = BufReader::new(stderr);
    let mut kept = VecDeque::new();
    let mut line = Vec::new();
    while matches!(stderr.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
        let text = cut(&String::from_utf8_lossy(&line));
        line.clear();
        if !text.is_empty() {
            kept.push_back(text);
        }
        if kept.len() > SAID_LINES {
            kept.pop_front();
        }
    }
    Vec::from(kept).join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn child(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::run(command, "a peer").unwrap()
    }

    fn ask(child: &mut Child, limit: Duration) -> Result<Map<String, Value>, String> {
        child.ask("load", json!({}), None, limit)
    }

    #[test]
    fn an_answer_and_an_error_leave_it_usable() {
        // What is sent is read to its end: else whoever sends finds nobody.
        let script = "read a; echo '{\"ok\": {\"ms\": 1.5}}'; read a; echo '{\"error\": \"no  more\"}'; \
            read a; head -c 4 > /dev/null; echo \"{\\\"ok\\\": $a}\"";
        let mut child = child(script);
        assert_eq!(ask(&mut child, LIMIT).unwrap()["ms"], 1.5);
        assert_eq!(ask(&mut child, LIMIT).unwrap_err(), "no more");
        let back = child.ask("ask", json!({"limit": 3}), Some(&[0.5]), LIMIT).unwrap();
        assert_eq!((&back["op"], &back["limit"], &back["bytes"]), (&json!("ask"), &json!(3), &json!(4)));
    }

    #[test]
    fn one_that_dies_leaves_its_last_words_and_says_them_again() {
        let mut child = child("read a; echo one >&2; echo; printf 'two\\nthree\\n\\nfour\\n' >&2; exit 7");
        let first = ask(&mut child, LIMIT).unwrap_err();
        assert!(first.starts_with("a peer: it answers what is no answer"), "{first}");
        assert!(first.ends_with("the last it said: two / three / four"), "{first}");
        assert_eq!(ask(&mut child, LIMIT).unwrap_err(), first);

        let mut child = self::child("read a; echo out of memory >&2; exit 9");
        let sentence = ask(&mut child, LIMIT).unwrap_err();
        assert_eq!(sentence, "a peer: it ended (exit status: 9); the last it said: out of memory");
    }

    #[test]
    fn one_that_hangs_is_left_behind() {
        // `exec`: the shell itself is what hangs, and what is killed. Its input stays open, else the request
        // could find it closed.
        let mut child = child("read a; echo wait >&2; exec sleep 600");
        let sentence = ask(&mut child, Duration::from_millis(300)).unwrap_err();
        assert_eq!(sentence, "a peer: no answer within 0 s; the last it said: wait");
        assert!(child.process.try_wait().unwrap().is_some());
    }

    #[test]
    fn one_that_lives_with_its_input_and_output_closed_has_not_ended() {
        // Whichever of the two we find closed first.
        let mut child = child("echo wait >&2; exec sleep 600 < /dev/null > /dev/null");
        let sentence = ask(&mut child, LIMIT).unwrap_err();
        let end = "it runs, but takes no requests or gives no answers; the last it said: wait";
        assert_eq!(sentence, format!("a peer: {end}"));
        assert!(child.process.try_wait().unwrap().is_some());
    }
}
