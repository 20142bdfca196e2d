//! The language of the event scripts.

use super::*;

pub(super) fn modes() -> Vec<Mode> {
    let mode =
        |name: &str, speech, selection, delivery| Mode { name: name.into(), speech, selection, delivery };
    vec![
        mode("dictate", true, Selection::Unused, Delivery::Type),
        mode("note", true, Selection::Unused, Delivery::Append),
        mode("translate", true, Selection::Unused, Delivery::Copy),
        mode("ask", true, Selection::Optional, Delivery::Show),
        mode("refine", true, Selection::Required, Delivery::Type),
        mode("fix", false, Selection::Required, Delivery::Type),
    ]
}

pub(super) fn settings() -> Settings {
    Settings { autostop_silence_ms: Some(2000), queue: 3, ..Settings::default() }
}

/// A session and the timers it started.
pub(super) struct Script {
    pub(super) session: Session,
    started: Vec<Timer>,
}

impl Script {
    pub(super) fn new() -> Script {
        Script::with(settings())
    }

    fn with(settings: Settings) -> Script {
        Script { session: Session::new(settings, modes(), "dictate"), started: Vec::new() }
    }

    fn timer(&self, kind: &str, nth_from_last: usize) -> Timer {
        let of_kind = |timer: &&Timer| format!("{:?}", timer.kind).to_lowercase() == kind;
        *self.started.iter().rev().filter(of_kind).nth(nth_from_last).expect("a started timer")
    }

    fn event(&self, line: &str) -> Event {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        let number = |n: usize| word(n).trim_start_matches('@').parse::<u64>().expect("a number");
        let key = || number(1) as Key;
        let id = || number(1);
        let text = |n: usize| (words.len() > n).then(|| Text::from(word(n)));
        let delivered = |outcome| Event::Delivered { id: id(), outcome };
        let why = || String::from("why");
        match word(0) {
            "press" => Event::Press { key: key(), activation: activation(word(2)), at_ms: number(3) },
            "release" => Event::Release { key: key(), at_ms: number(2) },
            "start" => Event::Start(activation(word(1))),
            "stop" => Event::Stop,
            "toggle" => Event::Toggle(activation(word(1))),
            "cancel" => Event::Cancel,
            "mode" => Event::SetMode(word(1).into()),
            "again" => Event::Again,
            "undo" => Event::Undo,
            "raw" => Event::Raw,
            "quit" => Event::Quit,
            "opened" => Event::MicrophoneOpened { id: id() },
            "unopened" => Event::MicrophoneFailed { id: id(), error: why() },
            "lost" => Event::DeviceLost { id: id() },
            "speech" => Event::Speech { id: id(), speaking: true },
            "silence" => Event::Speech { id: id(), speaking: false },
            "utterance" => Event::UtteranceEnded { id: id() },
            "recorded" => Event::Recorded { id: id(), audio_ms: 1000 },
            "unrecorded" => Event::Recorded { id: id(), audio_ms: 0 },
            "selection" => Event::SelectionTaken { id: id(), text: text(2) },
            "text" => {
                let clean = text(2).unwrap_or_else(|| "".into());
                Event::Transcribed {
                    id: id(),
                    result: Ok(Texts { raw: text(3).unwrap_or(clean.clone()), clean }),
                }
            }
            "fault" => {
                let result = Err(EngineFault { stage: "decoder".into(), error: why() });
                Event::Transcribed { id: id(), result }
            }
            "typed" => delivered(Outcome::Typed),
            "pasted" => delivered(Outcome::Pasted { receipt: true }),
            "appended" => delivered(Outcome::Appended),
            "clipboard" => delivered(Outcome::LeftOnClipboard { why: why() }),
            "elsewhere" => delivered(Outcome::FocusChanged),
            "stopped" => delivered(Outcome::Stopped),
            "untyped" => delivered(Outcome::Failed { why: why() }),
            "removed" => Event::Undone { id: id(), result: Ok(()) },
            "unremoved" => Event::Undone { id: id(), result: Err(why()) },
            "timer" => Event::TimerFired(self.timer(word(1), 0)),
            "stale" => Event::TimerFired(self.timer(word(1), 1)),
            other => panic!("no event '{other}'"),
        }
    }

    /// Goes on by the event that the line names.
    pub(super) fn step(&mut self, line: &str) -> Vec<Effect> {
        let effects = self.session.step(self.event(line));
        for effect in &effects {
            if let Effect::StartTimer { timer, .. } = effect {
                self.started.push(*timer);
            }
        }
        effects
    }
}

/// `hold`, or `hold:refine` for another mode than the current one.
pub(super) fn activation(text: &str) -> Activation {
    let (style, mode) = text.split_once(':').map_or((text, None), |(style, mode)| (style, Some(mode.into())));
    let style = match style {
        "hold" => Style::Hold,
        "toggle" => Style::Toggle,
        "hybrid" => Style::Hybrid,
        "handsfree" => Style::HandsFree,
        other => panic!("no style '{other}'"),
    };
    Activation { mode, style }
}

/// An effect as the scripts write it.
pub(super) fn written(effect: &Effect) -> Option<String> {
    let variant = |debug: String| debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    Some(match effect {
        Effect::Show(_) | Effect::WakeEngine { .. } => return None,
        Effect::Record { id, mode } => format!("record {id} {mode}"),
        Effect::Listen { id, selection: None, .. } => format!("listen {id}"),
        Effect::Listen { id, selection: Some(text), .. } => format!("listen {id} {}", text.as_str()),
        Effect::Split { id, next } => format!("split {id} {next}"),
        Effect::StopRecording { id } => format!("close {id}"),
        Effect::Transcribe { id } => format!("transcribe {id}"),
        Effect::Clean { id, text, .. } => format!("clean {id} {}", text.as_str()),
        Effect::CancelEngine { id } => format!("cancel {id}"),
        Effect::TakeSelection { id } => format!("select {id}"),
        Effect::RememberFocus { id } => format!("focus {id}"),
        Effect::Deliver { id, delivery, text, .. } => {
            format!("{} {id} {}", format!("{delivery:?}").to_lowercase(), text.as_str())
        }
        Effect::StopDelivery { id } => format!("halt {id}"),
        Effect::Undo { id } => format!("remove {id}"),
        Effect::Conclude { id, end: End::Failed(at) } => format!("failed {id} {at:?}"),
        Effect::Conclude { id, end: End::Delivered(outcome) } => {
            format!("done {id} {}", variant(format!("{outcome:?}")))
        }
        Effect::Conclude { id, end } => format!("{} {id}", format!("{end:?}").to_lowercase()),
        Effect::StartTimer { timer, after_ms } => {
            format!("timer {} {after_ms}", format!("{:?}", timer.kind).to_lowercase())
        }
        Effect::Tell(notice) => format!("tell {}", variant(format!("{notice:?}"))),
        Effect::Exit => "exit".into(),
    })
}

/// Runs a script from a fresh session; each line is an event and the effects it must have.
pub(super) fn check_with(settings: Settings, lines: &str) -> Session {
    let mut script = Script::with(settings);
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (event, expected) = line.split_once("=>").expect("event => effects");
        let effects: Vec<String> = script.step(event).iter().filter_map(written).collect();
        let expected: Vec<&str> = expected.split(',').map(str::trim).filter(|e| !e.is_empty()).collect();
        assert_eq!(effects, expected, "after '{}' in\n{lines}", event.trim());
    }
    script.session
}
