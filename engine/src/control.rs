//! What a running request obeys, and what it tells while it runs.

use crate::error::{EngineError, Result};
use crate::telemetry::{Stage, StageTimes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Stops a request from another thread; clones stop the same one.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// The request ends at its next decoding step with [`EngineError::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a request tells of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// A stage begins.
    Entered(Stage),
    /// A window of speech has become text.
    Transcribed {
        /// Seconds of audio done.
        done_s: f64,
        /// Seconds of audio in all.
        of_s: f64,
    },
    /// A stretch of text has been cleaned.
    Cleaned {
        /// Stretches done.
        done: usize,
        /// Stretches in all.
        of: usize,
    },
}

/// Told of every [`Progress`], on the thread that computes: it should be quick.
pub type OnProgress = Box<dyn FnMut(Progress) + Send>;

/// One request's cancellation, time limit, listener and stage times.
pub struct Control {
    cancel: CancelToken,
    deadline: Option<Instant>,
    on_progress: Option<OnProgress>,
    /// Milliseconds of each stage so far.
    pub times: StageTimes,
    /// The stage begun last.
    pub stage: Option<Stage>,
    /// The transcript, once there is one: what remains when a later stage fails.
    pub raw_text: Option<String>,
}

impl Default for Control {
    fn default() -> Control {
        Control::new(CancelToken::default(), None)
    }
}

impl Control {
    /// Obeys `cancel`; clean-up by a model ends after `time_limit` from now.
    pub fn new(cancel: CancelToken, time_limit: Option<Duration>) -> Control {
        // A limit too far off to be a time is none.
        let deadline = time_limit.and_then(|limit| Instant::now().checked_add(limit));
        Control {
            cancel,
            deadline,
            on_progress: None,
            times: StageTimes::default(),
            stage: None,
            raw_text: None,
        }
    }

    /// Tells `listener` of the request's progress.
    pub fn with_listener(self, listener: Option<OnProgress>) -> Control {
        Control { on_progress: listener, ..self }
    }

    /// # Errors
    /// [`EngineError::Cancelled`] once the request is cancelled.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }

    /// Whether the time limit has passed.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Tells the listener.
    pub fn tell(&mut self, progress: Progress) {
        if let Some(listener) = &mut self.on_progress {
            listener(progress);
        }
    }

    /// What stops the request.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Counts the time limit from now: the speech of a streamed request has ended.
    pub fn restart_time_limit(&mut self, time_limit: Option<Duration>) {
        self.deadline = time_limit.and_then(|limit| Instant::now().checked_add(limit));
    }

    /// Runs `work` as part of `stage`: announced, timed, and not begun when cancelled.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`], or what `work` fails with.
    pub fn stage<T>(&mut self, stage: Stage, work: impl FnOnce(&Control) -> Result<T>) -> Result<T> {
        self.stage = Some(stage);
        self.tell(Progress::Entered(stage));
        self.check()?;
        let _span = tracing::debug_span!("stage", name = stage.name()).entered();
        let start = Instant::now();
        let result = work(self);
        self.times.add(stage, start.elapsed());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_request_begins_no_stage_and_a_late_one_knows_it() {
        let cancel = CancelToken::default();
        let mut control = Control::new(cancel.clone(), Some(Duration::ZERO));
        assert!(control.is_late() && control.stage(Stage::Mel, |_| Ok(1)).is_ok_and(|v| v == 1));
        cancel.cancel();
        let begun = control.stage(Stage::Mel, |_| Ok(2));
        assert!(matches!(begun, Err(EngineError::Cancelled)));
        assert!(!Control::new(cancel, Some(Duration::MAX)).is_late());
    }
}
