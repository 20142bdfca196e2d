//! The listening thread: from what a back-end hears to one press and one release for each hold.

use super::{Backend, Binding, Error, Heard, KeyEvent, bell::Bell};
use crossbeam_channel::{Receiver, SendTimeoutError, Sender};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often a held key's state is asked for, in case its release was lost.
const CHECK: Duration = Duration::from_millis(100);

/// Nothing happens at its end; no wait is without one.
const IDLE: Duration = Duration::from_secs(60);

/// New bindings, and where to say how that went.
pub(super) struct Order {
    pub(super) bindings: Vec<Binding>,
    pub(super) answer: Sender<Result<(), Error>>,
}

pub(super) struct Listener {
    backend: Box<dyn Backend>,
    bindings: Vec<Binding>,
    bell: Arc<Bell>,
    events: Sender<Result<KeyEvent, Error>>,
    /// Binding by the key that holds it.
    held: BTreeMap<u16, usize>,
}

impl Listener {
    pub(super) fn new(
        backend: Box<dyn Backend>,
        bindings: Vec<Binding>,
        bell: Arc<Bell>,
        events: Sender<Result<KeyEvent, Error>>,
    ) -> Self {
        Self { backend, bindings, bell, events, held: BTreeMap::new() }
    }

    /// Runs until the bell is stopped or the source is lost.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        while !self.bell.is_stopped() {
            if let Err(error) = self.turn(orders) {
                for code in self.held.keys().copied().collect::<Vec<_>>() {
                    self.release(code);
                }
                self.send(Err(error));
                return;
            }
        }
    }

    fn turn(&mut self, orders: &Receiver<Order>) -> Result<(), Error> {
        let mut heard = Vec::new();
        let limit = if self.held.is_empty() { IDLE } else { CHECK };
        let result = self.backend.hear(&self.bell, limit, &mut heard);
        for heard in heard {
            match heard {
                Heard::Down { binding, code } => self.press(binding, code),
                Heard::Up { code } => self.release(code),
            }
        }
        result?;
        self.release_lost(|_, _| true)?;
        while let Ok(Order { bindings, answer }) = orders.try_recv() {
            let result = self.backend.bind(&self.bell, &bindings);
            if result.is_ok() {
                let former = std::mem::replace(&mut self.bindings, bindings);
                self.release_lost(|new, index| new.get(index) == former.get(index))?;
            }
            // Whoever asked may have given up meanwhile.
            let _ = answer.try_send(result);
        }
        Ok(())
    }

    /// Releases the bindings that are not to be kept or whose key is up by now.
    fn release_lost(&mut self, keep: impl Fn(&[Binding], usize) -> bool) -> Result<(), Error> {
        for (code, binding) in self.held.clone() {
            if !keep(&self.bindings, binding) || !self.backend.is_down(code)? {
                self.release(code);
            }
        }
        Ok(())
    }

    fn press(&mut self, binding: usize, code: u16) {
        // A repeat, or a second key of the same meaning.
        if self.held.contains_key(&code) || self.held.values().any(|held| *held == binding) {
            return;
        }
        self.held.insert(code, binding);
        self.send(Ok(KeyEvent { binding, pressed: true, at: Instant::now() }));
    }

    fn release(&mut self, code: u16) {
        if let Some(binding) = self.held.remove(&code) {
            self.send(Ok(KeyEvent { binding, pressed: false, at: Instant::now() }));
        }
    }

    /// Waits while the reader is behind, for a release must not be lost, but not beyond the end.
    fn send(&self, mut event: Result<KeyEvent, Error>) {
        while !self.bell.is_stopped() {
            match self.events.send_timeout(event, CHECK) {
                Err(SendTimeoutError::Timeout(unsent)) => event = unsent,
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
            }
        }
    }
}
