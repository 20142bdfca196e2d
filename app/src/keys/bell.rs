//! The one thing every back-end waits on besides its own source.

#[cfg(feature = "portal")]
use super::Error;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
#[cfg(feature = "portal")]
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

/// Wakes the listening thread from [`Bell::wait`]: for an order, to stop it, or because a future can go on.
#[derive(Debug)]
pub(crate) struct Bell {
    counter: OwnedFd,
    stopped: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { counter, stopped: AtomicBool::new(false) })
    }

    pub(super) fn ring(&self) {
        // It fails only when the counter is full, and then the thread will wake anyway.
        let _ = rustix::io::write(&self.counter, &1u64.to_ne_bytes());
    }

    /// Rings for the last time: every wait from now on is to be given up.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Returns when the bell rang, a source can be read or has hung up, or `limit` is over.
    pub(super) fn wait(&self, sources: &[BorrowedFd<'_>], limit: Duration) -> io::Result<()> {
        let fds = std::iter::once(self.counter.as_fd()).chain(sources.iter().copied());
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Empty (EAGAIN) when it was something else that woke us.
        let _ = rustix::io::read(&self.counter, &mut [0u8; 8]);
        Ok(())
    }
}

#[cfg(feature = "portal")]
impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// Runs a future on this thread, for at most `limit`.
#[cfg(feature = "portal")]
pub(crate) fn block_on<T>(
    bell: &Arc<Bell>,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Error> {
    let waker = Waker::from(Arc::clone(bell));
    let end = Instant::now() + limit;
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(value);
        }
        let left = end.saturating_duration_since(Instant::now());
        if bell.is_stopped() {
            return Err(Error::Stopped);
        } else if left.is_zero() {
            return Err(Error::Unanswered { limit_s: limit.as_secs() });
        }
        bell.wait(&[], left).map_err(Error::lost("the desktop's portal"))?;
    }
}
