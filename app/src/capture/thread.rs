//! The capture thread: empties the ring, keeps the journal, tells the owner.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::source::{Fault, Opened};
use super::take::Take;
use super::{CaptureError, Command, Ended, Event, Settings, Source};
use crate::journal::About;

/// How often the ring is emptied.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often an always open microphone that is gone is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// A device that gives nothing more for so long is gone.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// And one that gives nothing at all for so long after it was opened. A sound card that sleeps needs
/// half a second, a Bluetooth headset that changes its profile or PulseAudio's null sink two.
const SILENT_START: Duration = Duration::from_secs(4);

pub(super) struct CaptureThread<S> {
    /// Before the source, to be closed before it.
    microphone: Option<Opened>,
    source: S,
    settings: Settings,
    events: SyncSender<Event>,
    /// Events that found no room; older than anything that is still to be told.
    backlog: VecDeque<Event>,
    /// The latest samples while nothing is recorded, at the device's rate; only with pre-roll.
    preroll: VecDeque<f32>,
    take: Option<Take>,
    /// Another recording begins as soon as this one has ended.
    is_awaited: bool,
    /// Pre-roll of the take, until its start was told.
    untold_preroll_ms: Option<u32>,
    last_sound: Instant,
    retry_at: Instant,
    loss_told: bool,
}

impl<S: Source> CaptureThread<S> {
    pub(super) fn new(source: S, settings: Settings, events: SyncSender<Event>) -> Self {
        let now = Instant::now();
        Self {
            microphone: None,
            source,
            settings,
            events,
            backlog: VecDeque::new(),
            preroll: VecDeque::new(),
            take: None,
            is_awaited: false,
            untold_preroll_ms: None,
            last_sound: now,
            retry_at: now,
            loss_told: false,
        }
    }

    /// Until the owner is dropped.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            self.keep_open();
            let idle = self.microphone.is_none() && self.backlog.is_empty();
            match commands.recv_timeout(if idle { RETRY_EVERY } else { LOOK_EVERY }) {
                Ok(Command::Start { id, about, at }) => {
                    self.await_stopped();
                    if let Err(error) = self.begin(id, about, at) {
                        self.backlog.push_back(Event::Failed { id, error });
                        if self.take.is_none() {
                            self.close_unless_kept();
                        }
                    }
                }
                Ok(Command::Stop { until }) => {
                    if let Some(take) = &mut self.take {
                        take.stop(until);
                    }
                }
                Ok(Command::Split { next, about, at }) => {
                    // Without a recording to end, the next one begins as any other.
                    self.look();
                    self.finish_take(Ended::Stopped);
                    if let Err(error) = self.begin(next, about, at) {
                        self.backlog.push_back(Event::Failed { id: next, error });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look();
            self.deliver();
        }
    }

    /// Waits for the last sound of a recording that was stopped just now, and leaves the microphone open behind it: the
    /// user speaks on.
    fn await_stopped(&mut self) {
        self.is_awaited = true;
        while self.take.as_ref().is_some_and(Take::is_over) {
            std::thread::sleep(LOOK_EVERY);
            self.look();
            self.deliver();
        }
        self.is_awaited = false;
    }

    /// Opens a microphone that is to be always open.
    fn keep_open(&mut self) {
        if self.settings.preroll_ms == 0 || self.microphone.is_some() || Instant::now() < self.retry_at {
            return;
        }
        match self.open() {
            Ok(()) => self.loss_told = false,
            Err(error) => self.tell_loss(error.to_string()),
        }
    }

    fn open(&mut self) -> Result<(), CaptureError> {
        self.retry_at = Instant::now() + RETRY_EVERY;
        self.microphone = Some(self.source.open()?);
        self.last_sound = Instant::now();
        Ok(())
    }

    fn begin(&mut self, id: u64, about: About, asked_at: Instant) -> Result<(), CaptureError> {
        if self.take.is_some() {
            return Err(CaptureError::Busy);
        }
        if self.microphone.as_ref().is_some_and(|open| self.source.has_moved(&open.device)) {
            self.close();
        }
        if self.microphone.is_none() {
            self.open()?;
        }
        let Some(microphone) = &self.microphone else { return Err(CaptureError::NoDevice) };
        let rate_hz = microphone.tap.rate_hz;
        let mut take = Take::new(id, asked_at, rate_hz, self.settings.max_ms)?;
        if self.settings.preroll_ms > 0 {
            self.look();
        }
        let preroll = std::mem::take(&mut self.preroll);
        take.push(preroll.as_slices().0)?;
        take.push(preroll.as_slices().1)?;
        self.untold_preroll_ms = Some((preroll.len() as u64 * 1000 / u64::from(rate_hz)) as u32);
        match self.settings.journal.as_ref().map(|journal| journal.begin(id, about)).transpose() {
            Ok(entry) => take.journal = entry,
            Err(error) => self.backlog.push_back(Event::JournalStopped { reason: error.to_string() }),
        }
        self.take = Some(take);
        Ok(())
    }

    /// Takes what the microphone gave since the last look.
    fn look(&mut self) {
        let Some(microphone) = &mut self.microphone else { return };
        // Faults first: what was captured before one is then in the ring.
        let faults: Vec<_> = std::iter::from_fn(|| microphone.tap.fault()).collect();
        let mut heard = false;
        let mut pushed = Ok(());
        let captured_until = match &mut self.take {
            Some(take) => microphone.tap.drain(|samples| {
                heard |= !samples.is_empty();
                if pushed.is_ok() {
                    pushed = take.push(samples);
                }
            }),
            None => microphone.tap.drain(|samples| {
                heard |= !samples.is_empty();
                self.preroll.extend(samples);
            }),
        };
        let rate_hz = u64::from(microphone.tap.rate_hz);
        let kept = (u64::from(self.settings.preroll_ms) * rate_hz / 1000) as usize;
        self.preroll.drain(..self.preroll.len().saturating_sub(kept));
        if heard {
            self.last_sound = Instant::now();
        }
        let patience = if microphone.tap.first_at().is_some() { STALLED_AFTER } else { SILENT_START };
        self.tell_news(faults.contains(&Fault::Xrun));

        let gone = faults.into_iter().find_map(|fault| match fault {
            Fault::Lost(reason) => Some(reason),
            Fault::Xrun => None,
        });
        let stalled = self.last_sound.elapsed() >= patience;
        let silent = || format!("it gave nothing for {} ms", patience.as_millis());
        let lost = gone.or_else(|| stalled.then(silent)).or_else(|| pushed.err().map(|e| e.to_string()));
        if let Some(reason) = lost {
            self.lose(reason);
        } else if let Some(ended) = self.take.as_ref().and_then(|take| take.ended(captured_until)) {
            self.finish(ended);
        }
    }

    /// What there is to tell of the take in progress, and its place on disk.
    fn tell_news(&mut self, xrun: bool) {
        let (Some(take), Some(microphone)) = (&mut self.take, &mut self.microphone) else { return };
        let (id, device) = (take.id, &microphone.device);
        if let (Some(first_at), Some(preroll_ms)) = (microphone.tap.first_at(), self.untold_preroll_ms) {
            self.untold_preroll_ms = None;
            let waited = first_at.saturating_duration_since(take.asked_at);
            self.backlog.push_back(Event::Started {
                id,
                device: device.clone(),
                first_sample_after_ms: u32::try_from(waited.as_millis()).unwrap_or(u32::MAX),
                preroll_ms,
            });
        }
        if let Some(for_ms) = take.silence_ms(self.settings.silent_after_ms) {
            self.backlog.push_back(Event::Silent { for_ms, device: device.clone() });
        }
        let dropped_frames = microphone.tap.dropped_frames();
        let lost_ms = take.lose(dropped_frames);
        if (xrun || dropped_frames > 0) && self.backlog.len() < super::WAITING_EVENTS {
            self.backlog.push_back(Event::Overrun { lost_ms });
        }
        if let Err(error) = take.write_journal() {
            self.backlog.push_back(Event::JournalStopped { reason: error.to_string() });
        }
    }

    /// Sends what has room; chunks only after all that is older.
    fn deliver(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.backlog.push_front(event);
                return;
            }
        }
        if let Some(take) = &mut self.take {
            let id = take.id;
            take.hand_out(|chunk| self.events.try_send(Event::Chunk { id, chunk }).is_ok());
        }
    }

    fn finish(&mut self, ended: Ended) {
        self.finish_take(ended);
        self.close_unless_kept();
    }

    fn finish_take(&mut self, ended: Ended) {
        let Some(mut take) = self.take.take() else { return };
        // A resampler that fails here leaves what it gave before.
        let written = take.flush().map_err(|error| error.to_string());
        let written = written.and_then(|()| take.write_journal().map_err(|error| error.to_string()));
        if let Err(reason) = written {
            self.backlog.push_back(Event::JournalStopped { reason });
        }
        let mut recording = take.finish(ended);
        if let Some(Err(error)) = recording.journal.as_mut().map(|entry| entry.captured()) {
            self.backlog.push_back(Event::JournalStopped { reason: error.to_string() });
        }
        self.backlog.push_back(Event::Finished(recording));
        self.deliver();
    }

    fn lose(&mut self, reason: String) {
        self.close();
        match &self.take {
            Some(take) => {
                self.backlog.push_back(Event::Lost { id: Some(take.id), reason });
                self.finish(Ended::Lost);
            }
            None => self.tell_loss(reason),
        }
    }

    /// Tells once that no microphone can be kept open.
    fn tell_loss(&mut self, reason: String) {
        if !std::mem::replace(&mut self.loss_told, true) {
            self.backlog.push_back(Event::Lost { id: None, reason });
        }
    }

    fn close_unless_kept(&mut self) {
        if self.settings.preroll_ms == 0 && !self.is_awaited {
            self.close();
        }
    }

    fn close(&mut self) {
        self.microphone = None;
        self.preroll.clear();
    }
}
