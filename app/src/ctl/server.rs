//! The running program's side: a thread that listens, a thread for each of a few connections, and
//! one bounded queue to the owner.

use super::lines::{Line, Lines, MAX_LINE_BYTES, write};
use super::socket::{Bound, bind, require_own_peer};
use super::{Command, CtlError, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a connection that waits for its answer looks whether its client is still there.
const HANG_UP_CHECK: Duration = Duration::from_millis(100);

/// A command and the way to answer it. Dropping it unanswered tells the client so.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) command: Command,
    reply: SyncSender<Reply>,
}

impl Request {
    /// Answers. A client that is gone misses it.
    pub(crate) fn answer(self, reply: Reply) {
        let _ = self.reply.try_send(reply);
    }
}

/// What one client may take from the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once; one more is refused.
    pub(crate) connections: usize,
    /// For a request to come and for an answer to be taken.
    pub(crate) idle: Duration,
    /// For the owner to answer, beyond what the command takes by itself.
    pub(crate) answer: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 16, idle: Duration::from_secs(5), answer: Duration::from_secs(5) }
    }
}

/// The listening socket. Dropping it ends all connections, once the answers that were given are sent,
/// joins its threads and removes the socket.
pub(crate) struct Server {
    path: PathBuf,
    /// Closed to end the thread.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    _lock: File,
}

impl Server {
    /// Listens at `path` and hands every command to `requests`. The path's folder is made if there
    /// is none, and must be closed to other users.
    ///
    /// # Errors
    /// [`CtlError::AlreadyRunning`] if a program listens there; the socket of a dead one is replaced.
    pub(crate) fn bind(
        path: &Path,
        limits: Limits,
        requests: SyncSender<Request>,
    ) -> Result<Server, CtlError> {
        let Bound { listener, lock } = bind(path)?;
        let started = UnixStream::pair().and_then(|(wake, woken)| {
            let listening = Listening {
                listener,
                woken,
                limits,
                requests,
                ending: Arc::default(),
                connections: Vec::new(),
            };
            let thread = std::thread::Builder::new().name("undertone-ctl".into());
            Ok((wake, thread.spawn(move || listening.run())?))
        });
        let (wake, thread) = started.map_err(CtlError::io("start listening"))?;
        Ok(Server { path: path.to_owned(), wake: Some(wake), thread: Some(thread), _lock: lock })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // The lock is still held: the socket is ours. If it cannot be removed it is stale.
        let _ = std::fs::remove_file(&self.path);
    }
}

struct Listening {
    listener: UnixListener,
    woken: UnixStream,
    limits: Limits,
    requests: SyncSender<Request>,
    /// Whether the server is being dropped.
    ending: Arc<AtomicBool>,
    connections: Vec<Connection>,
}

/// A client that is being served. Dropping it ends that.
struct Connection {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Connection {
    fn is_open(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // No more requests; an answer may still be on its way. Fails if the client has closed it.
        let _ = self.stream.shutdown(Shutdown::Read);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Listening {
    /// Until the server is dropped.
    fn run(mut self) {
        while self.await_client() {
            self.connections.retain(Connection::is_open);
            let accepted = self.listener.accept().and_then(|(stream, _)| self.admit(stream));
            // Out of file descriptors, for instance: the client is still there to be accepted, so
            // that without a pause this would spin.
            if accepted.is_err_and(|e| e.kind() != io::ErrorKind::WouldBlock) && self.is_woken_within_ms(100)
            {
                break;
            }
        }
        self.ending.store(true, Ordering::Release);
        // All of them before the first is joined.
        for connection in &self.connections {
            let _ = connection.stream.shutdown(Shutdown::Read);
        }
    }

    /// Waits without a limit, since the owner's drop ends it; whether a client has come.
    fn await_client(&self) -> bool {
        let mut ready = [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
        let polled = poll(&mut ready, None);
        let woken = ready.iter().skip(1).any(|fd| !fd.revents().is_empty());
        !woken && matches!(polled, Ok(_) | Err(rustix::io::Errno::INTR))
    }

    fn is_woken_within_ms(&self, ms: u32) -> bool {
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(ms) * 1_000_000 };
        poll(&mut [PollFd::new(&self.woken, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
    }

    fn admit(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        if self.connections.len() >= self.limits.connections {
            let full = Reply::refused("too many programs talk to undertone at once; try again");
            // A client that does not take its refusal must not hold up the others.
            let _ = write(&stream, &full, HANG_UP_CHECK);
            return Ok(());
        }
        let client = Client {
            stream: stream.try_clone()?,
            limits: self.limits,
            requests: self.requests.clone(),
            ending: self.ending.clone(),
        };
        let thread = std::thread::Builder::new().name("undertone-ctl-client".into()).spawn(move || {
            // The client is gone or broken; the others are not.
            let _ = client.serve();
            let _ = client.stream.shutdown(Shutdown::Both);
        })?;
        self.connections.push(Connection { stream, thread: Some(thread) });
        Ok(())
    }
}

/// What a client's thread has.
struct Client {
    stream: UnixStream,
    limits: Limits,
    requests: SyncSender<Request>,
    ending: Arc<AtomicBool>,
}

/// Serves one connection without a listener.
#[cfg(fuzzing)]
pub(super) fn serve(stream: UnixStream, limits: Limits, requests: SyncSender<Request>) -> io::Result<()> {
    Client { stream, limits, requests, ending: Arc::default() }.serve()
}

impl Client {
    /// Answers its requests until it ends, errs or hesitates.
    fn serve(&self) -> io::Result<()> {
        let refuse = |error: String| write(&self.stream, &Reply::refused(error), self.limits.idle);
        if let Err(foreign) = require_own_peer(&self.stream) {
            return refuse(foreign.to_string());
        }
        let mut lines = Lines::new(&self.stream);
        loop {
            let line = match lines.next(self.limits.idle)? {
                Line::Whole(line) => line,
                Line::TooLong => return refuse(format!("a request has at most {MAX_LINE_BYTES} bytes")),
                Line::Late | Line::End => return Ok(()),
            };
            let Some(reply) = self.respond(&line) else { return Ok(()) };
            write(&self.stream, &reply, self.limits.idle)?;
        }
    }

    /// `None` if the client went away meanwhile.
    fn respond(&self, line: &[u8]) -> Option<Reply> {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return Some(Reply::refused(error)),
        };
        let limit = self.limits.answer + Duration::from_secs(command.takes_s());
        let (reply, answer) = sync_channel(1);
        match self.requests.try_send(Request { command, reply }) {
            Ok(()) => self.await_answer(&answer, limit),
            Err(TrySendError::Full(_)) => {
                Some(Reply::refused("undertone has too many commands to follow; try again"))
            }
            Err(TrySendError::Disconnected(_)) => Some(Reply::refused("undertone is ending")),
        }
    }

    fn await_answer(&self, answer: &Receiver<Reply>, limit: Duration) -> Option<Reply> {
        let deadline = Instant::now() + limit;
        loop {
            // Read before the answer: one that was given before the end is not missed.
            let ending = self.ending.load(Ordering::Acquire);
            let left = deadline.saturating_duration_since(Instant::now());
            match answer.recv_timeout(left.min(HANG_UP_CHECK)) {
                Ok(reply) => return Some(reply),
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Reply::refused("undertone ended before it answered"));
                }
                Err(RecvTimeoutError::Timeout) if ending => {
                    return Some(Reply::refused("undertone is ending"));
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    let error = format!("undertone did not answer within {} s", limit.as_secs());
                    return Some(Reply::refused(error));
                }
                Err(RecvTimeoutError::Timeout) if has_hung_up(&self.stream) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Whether the stream is closed both ways. A client that only has no more requests still listens.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut ready = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ready, Some(&now)).is_ok() && ready.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
}
