//! Random histories: a world that answers every effect in any order, and what must hold in each.

use super::script::modes;
use super::*;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

const HISTORIES: u64 = 20_000;
const STEPS: usize = 120;

/// What the session was promised an answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Microphone(DictationId),
    Recorded(DictationId),
    Selection(DictationId),
    Texts(DictationId),
    Delivery(DictationId),
    Removal(DictationId),
    Timer(Timer),
}

/// The devices, the engine and the window, as far as their order matters.
struct World {
    session: Session,
    queue: usize,
    now_ms: u64,
    owed: Vec<Owed>,
    timers: BTreeSet<u64>,
    open: Option<DictationId>,
    in_hand: Option<DictationId>,
    /// Whether what is in hand was told to stop.
    halted: bool,
    begun: BTreeSet<DictationId>,
    ends: BTreeMap<DictationId, End>,
    first_delivered: Vec<DictationId>,
    focus: BTreeSet<DictationId>,
    shown: Status,
    exited: bool,
}

impl World {
    fn new(rng: &mut SmallRng) -> World {
        let settings = Settings {
            autostop_silence_ms: rng.random_bool(0.5).then_some(500),
            queue: rng.random_range(0..5),
            tail_ms: [0, 150][rng.random_range(0..2)],
            ..Settings::default()
        };
        let queue = settings.queue.max(1);
        let session = Session::new(settings, modes(), "dictate");
        World {
            shown: session.status(),
            session,
            queue,
            now_ms: 0,
            owed: Vec::new(),
            timers: BTreeSet::new(),
            open: None,
            in_hand: None,
            halted: false,
            begun: BTreeSet::new(),
            ends: BTreeMap::new(),
            first_delivered: Vec::new(),
            focus: BTreeSet::new(),
            exited: false,
        }
    }

    fn step(&mut self, event: &Event) {
        let effects = self.session.step(event.clone());
        for effect in &effects {
            assert!(!self.exited, "{effect:?} after the exit");
            self.perform(effect, event, &effects);
        }
        assert!(self.begun.len() - self.ends.len() <= self.queue, "more than the queue holds");
        assert_eq!(self.session.status(), self.shown, "a status that was not shown");
    }

    fn perform(&mut self, effect: &Effect, event: &Event, effects: &[Effect]) {
        match effect {
            Effect::Record { id, .. } => {
                assert_eq!(self.open.replace(*id), None, "two recordings at once");
                self.begin(*id);
                self.owed.push(Owed::Microphone(*id));
            }
            Effect::Split { id, next } => {
                assert_eq!(self.open.replace(*next), Some(*id));
                self.begin(*next);
                self.owed.push(Owed::Recorded(*id));
            }
            Effect::StopRecording { id } => {
                assert_eq!(self.open.take(), Some(*id), "another recording was closed");
                self.owed.push(Owed::Recorded(*id));
            }
            Effect::TakeSelection { id } => {
                if self.open != Some(*id) {
                    self.begin(*id);
                }
                self.owed.push(Owed::Selection(*id));
            }
            Effect::Transcribe { id } | Effect::Clean { id, .. } => {
                assert!(self.focus.contains(id), "no window is known for {id}");
                assert_ne!(self.open, Some(*id), "transcribed before its end");
                self.owed.push(Owed::Texts(*id));
            }
            Effect::RememberFocus { id } => drop(self.focus.insert(*id)),
            Effect::Deliver { id, text, .. } => {
                assert_eq!(self.in_hand.replace(*id), None, "two deliveries at once");
                assert!(text.as_str().ends_with(&id.to_string()), "another dictation's text");
                if !self.ends.contains_key(id) {
                    assert!(self.first_delivered.last() < Some(id), "{id} out of order");
                    self.first_delivered.push(*id);
                }
                self.owed.push(Owed::Delivery(*id));
            }
            Effect::Undo { id } => {
                assert_eq!(self.in_hand.replace(*id), None, "removed during a delivery");
                assert!(self.ends.contains_key(id));
                self.owed.push(Owed::Removal(*id));
            }
            Effect::Conclude { id, end } => self.conclude(*id, end, event, effects),
            Effect::StartTimer { timer, .. } => {
                assert!(self.timers.insert(timer.generation), "a generation was used twice");
                self.owed.push(Owed::Timer(*timer));
            }
            Effect::Show(status) => self.shown = status.clone(),
            Effect::Exit => self.exited = true,
            Effect::StopDelivery { id } => {
                assert_eq!(self.in_hand, Some(*id), "something else was stopped");
                self.halted = true;
            }
            Effect::Listen { .. }
            | Effect::CancelEngine { .. }
            | Effect::WakeEngine { .. }
            | Effect::Tell(_) => {}
        }
    }

    fn begin(&mut self, id: DictationId) {
        assert!(self.begun.last() < Some(&id) && self.begun.insert(id), "{id} begun twice");
    }

    fn conclude(&mut self, id: DictationId, end: &End, event: &Event, effects: &[Effect]) {
        assert!(self.begun.contains(&id), "{id} never began");
        assert_eq!(self.ends.insert(id, end.clone()), None, "{id} concluded twice");
        let told = effects.iter().any(|effect| matches!(effect, Effect::Tell(_)));
        match end {
            End::Failed(_) => assert!(told, "{id} failed and nobody was told"),
            End::Discarded => assert!(
                matches!(event, Event::Cancel | Event::Delivered { outcome: Outcome::Stopped, .. }),
                "{id} was discarded by {event:?}"
            ),
            End::Delivered(_) => assert_eq!(self.first_delivered.last(), Some(&id)),
            End::Empty => {}
        }
    }

    /// Something that the user or the microphone does.
    fn happens(&mut self, rng: &mut SmallRng) -> Event {
        self.now_ms += [0, 20, 200, 1500][rng.random_range(0..4)];
        let at_ms = self.now_ms;
        let key = rng.random_range(0..4);
        let styles = [Style::Hold, Style::Toggle, Style::Hybrid, Style::HandsFree];
        let names = ["dictate", "note", "translate", "ask", "refine", "fix", "unknown"];
        let mode = rng.random_bool(0.6).then(|| names[rng.random_range(0..names.len())].into());
        let activation = Activation { mode, style: styles[rng.random_range(0..4)] };
        let id = self.open.unwrap_or(rng.random_range(0..9));
        match rng.random_range(0..100) {
            0..25 => Event::Press { key, activation, at_ms },
            25..50 => Event::Release { key, at_ms },
            50..54 => Event::Start(activation),
            54..58 => Event::Stop,
            58..62 => Event::Toggle(activation),
            62..65 => Event::Cancel,
            65 => Event::SetMode(names[rng.random_range(0..names.len())].into()),
            66..69 => Event::Again,
            69..72 => Event::Undo,
            72..75 => Event::Raw,
            75 if rng.random_bool(0.1) => Event::Quit,
            75..78 => Event::DeviceLost { id },
            78..90 => Event::Speech { id, speaking: rng.random() },
            _ => Event::UtteranceEnded { id },
        }
    }

    /// The answer to one of the effects that wait for one.
    fn answer(&mut self, rng: &mut SmallRng) -> Option<Event> {
        let owed = *self.owed.choose(rng)?;
        self.owed.retain(|other| *other != owed);
        let outcomes = [
            Outcome::Typed,
            Outcome::Pasted { receipt: false },
            Outcome::Copied,
            Outcome::Shown,
            Outcome::LeftOnClipboard { why: String::new() },
            Outcome::FocusChanged,
            Outcome::Failed { why: String::new() },
        ];
        let failed = rng.random_bool(0.15);
        Some(match owed {
            Owed::Microphone(id) if failed => {
                self.owed.retain(|other| *other != Owed::Recorded(id));
                Event::MicrophoneFailed { id, error: String::new() }
            }
            Owed::Microphone(id) => Event::MicrophoneOpened { id },
            Owed::Recorded(id) => Event::Recorded { id, audio_ms: if failed { 0 } else { 900 } },
            Owed::Selection(id) => Event::SelectionTaken { id, text: (!failed).then(|| "old".into()) },
            Owed::Texts(id) if failed => {
                let result = Err(EngineFault { stage: String::new(), error: String::new() });
                Event::Transcribed { id, result }
            }
            Owed::Texts(id) => {
                let clean = if rng.random_bool(0.1) { String::new() } else { format!("clean {id}") };
                let texts = Texts { clean: clean.as_str().into(), raw: format!("raw {id}").as_str().into() };
                Event::Transcribed { id, result: Ok(texts) }
            }
            Owed::Delivery(id) => {
                self.in_hand = None;
                let stopped = std::mem::take(&mut self.halted) && rng.random_bool(0.7);
                let ended = outcomes[rng.random_range(0..outcomes.len())].clone();
                let outcome = if stopped { Outcome::Stopped } else { ended };
                Event::Delivered { id, outcome }
            }
            Owed::Removal(id) => {
                self.in_hand = None;
                self.halted = false;
                Event::Undone { id, result: if failed { Err(String::new()) } else { Ok(()) } }
            }
            Owed::Timer(timer) => Event::TimerFired(timer),
        })
    }

    /// A late answer to a dictation that is over: nothing may come of it.
    fn check_late_answers(&mut self, rng: &mut SmallRng) {
        let over: Vec<DictationId> =
            self.ends.keys().copied().filter(|id| self.in_hand != Some(*id)).collect();
        let Some(&id) = over.choose(rng) else { return };
        let texts = Texts { clean: "late".into(), raw: "late".into() };
        let late = [
            Event::MicrophoneOpened { id },
            Event::DeviceLost { id },
            Event::Recorded { id, audio_ms: 900 },
            Event::SelectionTaken { id, text: None },
            Event::Transcribed { id, result: Ok(texts) },
            Event::Delivered { id, outcome: Outcome::Typed },
            Event::Undone { id, result: Ok(()) },
            Event::TimerFired(Timer { kind: TimerKind::Longest, generation: 0 }),
        ];
        for event in late {
            assert_eq!(self.session.step(event.clone()), [], "{event:?} of a dictation that is over");
        }
    }

    /// Ends the recording and gives every answer that is owed.
    fn drain(&mut self, rng: &mut SmallRng) {
        self.step(&Event::Stop);
        while let Some(event) = self.answer(rng) {
            self.step(&event);
        }
    }
}

#[test]
fn every_recording_is_concluded_once_whatever_happens() {
    let (mut delivered, mut failed, mut discarded, mut empty, mut exits) = (0, 0, 0, 0, 0);
    for seed in 0..HISTORIES {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut world = World::new(&mut rng);
        let impatience = rng.random_range(0.2..0.8);
        for _ in 0..STEPS {
            let answer = if rng.random_bool(impatience) { None } else { world.answer(&mut rng) };
            let event = answer.unwrap_or_else(|| world.happens(&mut rng));
            world.step(&event);
            if rng.random_bool(0.05) {
                world.check_late_answers(&mut rng);
            }
        }
        world.drain(&mut rng);
        assert!(world.session.is_idle(), "history {seed} does not end: {:?}", world.session);
        assert_eq!(world.open, None);
        assert!(world.begun.iter().eq(world.ends.keys()), "history {seed}: {:?}", world.ends);
        for end in world.ends.values() {
            match end {
                End::Delivered(_) => delivered += 1,
                End::Failed(_) => failed += 1,
                End::Discarded => discarded += 1,
                End::Empty => empty += 1,
            }
        }
        exits += u32::from(world.exited);
    }
    println!("delivered {delivered}, failed {failed}, discarded {discarded}, empty {empty}, exits {exits}");
    assert!([delivered, failed, discarded, empty, exits].iter().all(|count| *count > 1000));
}

#[test]
fn a_timer_has_an_effect_at_most_once() {
    for seed in 0..2000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut world = World::new(&mut rng);
        let mut fired = Vec::new();
        for _ in 0..STEPS {
            let event = world.answer(&mut rng).unwrap_or_else(|| world.happens(&mut rng));
            world.step(&event);
            if let Event::TimerFired(timer) = event {
                fired.push(timer);
            }
            for timer in &fired {
                assert_eq!(world.session.step(Event::TimerFired(*timer)), [], "{timer:?} fired twice");
            }
            if let Some(recording) = &world.session.recording {
                let ends = |owed: &Owed| matches!(owed, Owed::Timer(timer) if recording.awaits(*timer));
                assert!(world.owed.iter().any(ends), "a recording without a timer that ends it");
            }
        }
    }
}
