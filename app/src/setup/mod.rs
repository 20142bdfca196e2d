//! `undertone setup`, the first start: what is asked, and what the answers come to. Pure but for
//! [`autostart`]; [`machine`] finds the microphones, plans the memory and asks.

pub(crate) mod autostart;
pub(crate) mod machine;
pub(crate) mod tiers;

#[cfg(test)]
mod tests;

use crate::settings::{Checks, Format};
use autostart::Autostart;
use std::io;
use tiers::{Tier, Verdict, judge, mebibytes};

/// Wrong answers to one question before giving up.
const TRIES: usize = 3;

/// Arguments of `undertone setup`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SetupArgs {
    /// Ask nothing: take what is suggested
    #[arg(long)]
    pub(crate) yes: bool,
    /// Microphone: a part of its name, or default
    #[arg(long, value_name = "NAME")]
    pub(crate) mic: Option<String>,
    /// Speech model
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) speech: Option<String>,
    /// Language model for clean-up
    #[arg(long, value_name = "NAME|PATH|none")]
    pub(crate) text: Option<String>,
    /// The key to dictate with, such as ctrl+shift+space
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// How the program starts with the desktop
    #[arg(long, value_enum)]
    pub(crate) autostart: Option<Autostart>,
}

/// What there is on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) microphones: Vec<String>,
    /// Pairs of models, the best first.
    pub(crate) tiers: Vec<Tier>,
    /// Memory that may be taken.
    pub(crate) free_bytes: u64,
    /// Room where models are stored.
    pub(crate) disk_free_bytes: u64,
    /// What suits the desktop.
    pub(crate) autostart: Autostart,
    /// The key that is set now.
    pub(crate) key: String,
}

/// Why the setup ended without answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(
        "no models fit: the smallest need {} MiB of memory and {} MiB on disk, there are {} and {}; close programs \
         or name models with --speech and --text",
        mebibytes(*memory_bytes), mebibytes(*disk_bytes), mebibytes(*free_bytes), mebibytes(*disk_free_bytes)
    )]
    NothingFits { memory_bytes: u64, disk_bytes: u64, free_bytes: u64, disk_free_bytes: u64 },
    #[error("there is no microphone '{wanted}'; there are: {}", known.join(", "))]
    NoMicrophone { wanted: String, known: Vec<String> },
    #[error("the key cannot be used: {0}")]
    Key(String),
    #[error("no answer that can be used to: {0}")]
    Unanswered(String),
    #[error("cannot ask: {0}; give --yes to take what is suggested")]
    Ask(#[from] io::Error),
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Microphone,
    Models,
    Key,
    Autostart,
}

/// A question with its offers, of which one is suggested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) subject: Subject,
    pub(crate) text: &'static str,
    pub(crate) offers: Vec<String>,
    /// Index into `offers`.
    pub(crate) suggested: usize,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) microphone: String,
    pub(crate) speech: String,
    /// A name, or none.
    pub(crate) text: String,
    pub(crate) key: String,
    pub(crate) autostart: Autostart,
}

impl Answers {
    /// The keys to set, for [`crate::settings::ConfigFile::set`].
    pub(crate) fn values(&self) -> [(&str, &str); 4] {
        [
            ("audio.device", &self.microphone),
            ("models.speech", &self.speech),
            ("models.text", &self.text),
            ("keys.0.key", &self.key),
        ]
    }
}

/// What is left to ask where the flags leave it open and there is a choice.
pub(crate) fn questions(args: &SetupArgs, found: &Found) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut ask = |open: bool, subject, text, offers: Vec<String>, suggested| {
        if open && !args.yes {
            questions.push(Question { subject, text, offers, suggested });
        }
    };
    let microphones = ["default".to_owned()].into_iter().chain(found.microphones.iter().cloned()).collect();
    let several = found.microphones.len() > 1;
    ask(args.mic.is_none() && several, Subject::Microphone, "Which microphone?", microphones, 0);

    let verdicts = judge(&found.tiers, found.free_bytes, found.disk_free_bytes);
    let models = found.tiers.iter().zip(&verdicts).map(|(tier, verdict)| tier.offer(verdict)).collect();
    let best = verdicts.iter().position(|verdict| *verdict == Verdict::Best);
    let open = args.speech.is_none() && args.text.is_none() && best.is_some() && found.tiers.len() > 1;
    ask(open, Subject::Models, "Which models?", models, best.unwrap_or(0));

    let key = vec![found.key.clone()];
    ask(args.key.is_none(), Subject::Key, "Which key starts a dictation? Write one, or take this:", key, 0);

    let ways = Autostart::ALL.map(|way| way.explained().to_owned()).into();
    let suits = Autostart::ALL.iter().position(|way| *way == found.autostart).unwrap_or(0);
    ask(args.autostart.is_none(), Subject::Autostart, "Start with the desktop?", ways, suits);
    questions
}

/// The answers that the flags give, with what is suggested for the rest.
///
/// # Errors
/// If a flag names what is not there, or no models fit.
pub(crate) fn suggested(args: &SetupArgs, found: &Found, checks: &Checks) -> Result<Answers, SetupError> {
    let microphone = args.mic.as_deref().map_or(Ok("default".into()), |wanted| microphone(wanted, found))?;
    let key = args.key.as_deref().unwrap_or(&found.key);
    (checks.text)(Format::Key, key).map_err(SetupError::Key)?;
    let verdicts = judge(&found.tiers, found.free_bytes, found.disk_free_bytes);
    let best = found.tiers.iter().zip(verdicts).find(|(_, verdict)| *verdict == Verdict::Best);
    let (speech, text) = match (&args.speech, &args.text, best) {
        (Some(speech), Some(text), _) => (speech.clone(), text.clone()),
        (speech, text, Some((tier, _))) => (
            speech.clone().unwrap_or_else(|| tier.speech.clone()),
            text.clone().unwrap_or_else(|| tier.text_name().to_owned()),
        ),
        (_, _, None) => {
            let least = |of: fn(&Tier) -> u64| found.tiers.iter().map(of).min().unwrap_or(0);
            return Err(SetupError::NothingFits {
                memory_bytes: least(|tier| tier.planned_bytes),
                disk_bytes: least(|tier| tier.disk_bytes),
                free_bytes: found.free_bytes,
                disk_free_bytes: found.disk_free_bytes,
            });
        }
    };
    let autostart = args.autostart.unwrap_or(found.autostart);
    Ok(Answers { microphone, speech, text, key: key.to_owned(), autostart })
}

/// Asks what is open. `ask` gets a question and what was wrong with the answer before, and returns
/// what was written: the number of an offer from 1, a key or a microphone's name, or nothing for what
/// is suggested.
///
/// # Errors
/// As [`suggested`]; if `ask` fails, or nothing it returns can be used.
pub(crate) fn interview(
    args: &SetupArgs,
    found: &Found,
    checks: &Checks,
    mut ask: impl FnMut(&Question, Option<&str>) -> io::Result<String>,
) -> Result<Answers, SetupError> {
    let mut answers = suggested(args, found, checks)?;
    for question in questions(args, found) {
        let mut wrong: Option<String> = None;
        for _ in 0..TRIES {
            let answer = ask(&question, wrong.as_deref())?;
            wrong = take(&mut answers, &question, answer.trim(), found, checks).err();
            if wrong.is_none() {
                break;
            }
        }
        if wrong.is_some() {
            return Err(SetupError::Unanswered(question.text.into()));
        }
    }
    Ok(answers)
}

/// Puts one answer in its place, or says what is wrong with it.
fn take(
    answers: &mut Answers,
    question: &Question,
    answer: &str,
    found: &Found,
    checks: &Checks,
) -> Result<(), String> {
    let count = question.offers.len();
    let numbered = answer.parse::<usize>().ok().filter(|n| (1..=count).contains(n)).map(|n| n - 1);
    let index = if answer.is_empty() { Some(question.suggested) } else { numbered };
    let expected = || format!("write a number from 1 to {count}");
    match question.subject {
        Subject::Key => {
            let key = index.and_then(|at| question.offers.get(at)).map_or(answer, String::as_str);
            (checks.text)(Format::Key, key)?;
            answers.key = key.to_owned();
        }
        Subject::Microphone => {
            answers.microphone = match index.and_then(|at| question.offers.get(at)) {
                Some(name) => name.clone(),
                None => microphone(answer, found).map_err(|e| e.to_string())?,
            };
        }
        Subject::Models => {
            let tier = index.and_then(|at| found.tiers.get(at)).ok_or_else(expected)?;
            answers.speech.clone_from(&tier.speech);
            answers.text = tier.text_name().to_owned();
        }
        Subject::Autostart => {
            answers.autostart = *index.and_then(|at| Autostart::ALL.get(at)).ok_or_else(expected)?;
        }
    }
    Ok(())
}

/// The microphone of this name, or the only one whose name has `wanted` in it.
fn microphone(wanted: &str, found: &Found) -> Result<String, SetupError> {
    let lower = wanted.to_lowercase();
    if wanted == "default" || found.microphones.iter().any(|name| name == wanted) {
        return Ok(wanted.to_owned());
    }
    let mut alike = found.microphones.iter().filter(|name| name.to_lowercase().contains(&lower));
    match (alike.next(), alike.next()) {
        (Some(name), None) if !wanted.trim().is_empty() => Ok(name.clone()),
        _ => Err(SetupError::NoMicrophone { wanted: wanted.into(), known: found.microphones.clone() }),
    }
}
