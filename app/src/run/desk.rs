//! The thread that owns the desktop's windows: focus, selection, typing, clipboard, undo.

use super::Input;
use crate::inject::{self, Desktop, Injector, Options, Target, Way};
use crate::session::{DictationId, Outcome, Text};
use crate::settings;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Orders that may wait: more than a full queue of dictations can give.
const WAITING_ORDERS: usize = 64;
/// How long the start of a recording waits to learn which window has the focus.
const FOCUS_WAIT: Duration = Duration::from_millis(100);

pub(super) enum Order {
    /// Tells which window has the focus.
    Look(SyncSender<Option<Target>>),
    /// Which window classes are terminals: patterns.
    Terminals(Vec<String>),
    RememberFocus(DictationId),
    TakeSelection(DictationId),
    Type {
        id: DictationId,
        text: Text,
        options: Box<Options>,
        stop: Arc<AtomicBool>,
    },
    Copy {
        id: DictationId,
        text: Text,
    },
    Undo(DictationId),
}

/// How a delivery went, for the history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivered {
    pub(super) app: Option<String>,
    pub(super) window_title: Option<String>,
    pub(super) way: Option<&'static str>,
    pub(super) receipt: Option<bool>,
    pub(super) inject_ms: f64,
}

/// Dropping it ends the thread after what it has begun.
pub(super) struct Desk {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    /// Starts the thread for windows of `desktop`; without one every delivery says why it is none.
    pub(super) fn start(desktop: Option<Desktop>, inbox: SyncSender<Input>) -> std::io::Result<Desk> {
        let (orders, queue) = sync_channel(WAITING_ORDERS);
        let thread = std::thread::Builder::new().name("desk".into()).spawn(move || {
            let opened = desktop.ok_or(inject::Error::Unsupported).and_then(|desktop| inject::open(&desktop));
            let hands =
                Hands { injector: opened, terminals: Vec::new(), targets: HashMap::new(), last: None, inbox };
            hands.run(&queue);
        })?;
        Ok(Desk { orders: Some(orders), thread: Some(thread) })
    }

    /// Whether the order was taken; a desk that is full or gone answers nothing.
    pub(super) fn order(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// The window that has the focus now, if the thread is free to tell.
    pub(super) fn look(&self) -> Option<Target> {
        let (reply, answer) = sync_channel(1);
        self.order(Order::Look(reply)).then(|| answer.recv_timeout(FOCUS_WAIT).ok()).flatten().flatten()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Hands {
    injector: inject::Result<Box<dyn Injector>>,
    terminals: Vec<String>,
    targets: HashMap<DictationId, Target>,
    last: Option<(DictationId, inject::Outcome)>,
    inbox: SyncSender<Input>,
}

impl Hands {
    fn run(mut self, queue: &Receiver<Order>) {
        for order in queue {
            let answer = match order {
                Order::Look(reply) => {
                    let _ = reply.try_send(self.focus());
                    continue;
                }
                Order::Terminals(patterns) => {
                    self.terminals = patterns;
                    continue;
                }
                Order::RememberFocus(id) => {
                    if let Some(target) = self.focus() {
                        self.targets.insert(id, target);
                    }
                    continue;
                }
                Order::TakeSelection(id) => Input::SelectionTaken { id, text: self.selection() },
                Order::Type { id, text, options, stop } => {
                    let start = Instant::now();
                    let (outcome, mut details) = self.put(id, &text, &options, &stop);
                    details.inject_ms = start.elapsed().as_secs_f64() * 1e3;
                    Input::Delivered { id, outcome, details }
                }
                Order::Copy { id, text } => {
                    let outcome = match self.injector.as_mut().map(|injector| injector.copy(text.as_str())) {
                        Ok(Ok(())) => Outcome::Copied,
                        Ok(Err(error)) => Outcome::Failed { why: error.to_string() },
                        Err(error) => Outcome::Failed { why: error.to_string() },
                    };
                    let details = Delivered { way: Some("clipboard"), ..Delivered::default() };
                    Input::Delivered { id, outcome, details }
                }
                Order::Undo(id) => Input::Undone { id, result: self.undo(id) },
            };
            if self.inbox.send(answer).is_err() {
                return;
            }
        }
    }

    fn focus(&mut self) -> Option<Target> {
        let mut target = self.injector.as_mut().ok()?.focus().ok()?;
        target.is_terminal = settings::is_any_of(&self.terminals, &target.class);
        Some(target)
    }

    fn selection(&mut self) -> Option<Text> {
        let target = self.focus()?;
        self.injector.as_mut().ok()?.selection(&target).ok()?.as_deref().map(Text::from)
    }

    fn put(
        &mut self,
        id: DictationId,
        text: &Text,
        options: &Options,
        stop: &AtomicBool,
    ) -> (Outcome, Delivered) {
        // Without a remembered window (`again`), the one that has the focus now is meant.
        let target = self.targets.remove(&id).or_else(|| self.focus());
        let injector = match &mut self.injector {
            Ok(injector) => injector,
            Err(error) => return (Outcome::Failed { why: error.to_string() }, Delivered::default()),
        };
        let target = match target {
            Some(target) => target,
            None => {
                // No window to type into: the clipboard keeps the text.
                let why = inject::Error::NoFocus.to_string();
                let outcome = match injector.copy(text.as_str()) {
                    Ok(()) => Outcome::LeftOnClipboard { why },
                    Err(_) => Outcome::Failed { why },
                };
                return (outcome, Delivered::default());
            }
        };
        let done = injector.inject(text.as_str(), &target, options, stop);
        let details = Delivered {
            app: Some(target.class.clone()),
            window_title: Some(target.title.clone()),
            way: done.way.map(|way| match way {
                Way::Type => "type",
                Way::Paste => "paste",
            }),
            receipt: match done.receipt {
                inject::Receipt::Seen => Some(true),
                inject::Receipt::NotSeen => Some(false),
                inject::Receipt::Unknown => None,
            },
            inject_ms: 0.0,
        };
        let outcome = outcome(&done, stop.load(Ordering::Relaxed));
        // A second wording goes where the first one was.
        self.targets.insert(id, target);
        self.targets.retain(|known, _| *known + 8 > id);
        self.last = Some((id, done));
        (outcome, details)
    }

    fn undo(&mut self, id: DictationId) -> Result<(), String> {
        let injector = self.injector.as_mut().map_err(|error| error.to_string())?;
        match &self.last {
            Some((last, outcome)) if *last == id => {
                injector.undo(outcome, OWN_PRESSES).map_err(|error| error.to_string())
            }
            _ => Err(inject::Error::NothingToUndo.to_string()),
        }
    }
}

/// Keys of the longest chord that may ask for the undo.
const OWN_PRESSES: u64 = 4;

fn outcome(done: &inject::Outcome, stopped: bool) -> Outcome {
    let why = || done.reason.as_ref().map(ToString::to_string).unwrap_or_default();
    match (&done.reason, done.way) {
        (_, Some(Way::Paste)) if done.complete => {
            Outcome::Pasted { receipt: done.receipt == inject::Receipt::Seen }
        }
        (_, Some(Way::Type)) if done.complete => Outcome::Typed,
        (Some(inject::Error::Cancelled), _) if stopped => Outcome::Stopped,
        (Some(inject::Error::FocusChanged { .. }), None) => Outcome::FocusChanged,
        _ if done.left_on_clipboard() => Outcome::LeftOnClipboard { why: why() },
        _ => Outcome::Failed { why: why() },
    }
}
