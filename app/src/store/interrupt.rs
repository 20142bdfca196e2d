//! What happens on Ctrl-C while a download runs: the child ends, one sentence, exit 130.
//!
//! Nothing needs to be undone: files get their final name only when they are whole, and the lock
//! goes with the process.

use crate::exit::Exit;
use std::sync::atomic::{AtomicI32, Ordering};

/// The running pip, 0 for none. A signal handler can see nothing but statics.
static CHILD: AtomicI32 = AtomicI32::new(0);

const SENTENCE: &[u8] =
    b"\nundertone: interrupted; what was fetched is kept, the same command goes on from there\n";

/// While it lives, SIGINT and SIGTERM end the process cleanly, and a write over the file size
/// limit is an error instead of a signal. Dropping it puts the old handlers back.
pub(crate) struct Guard {
    previous: Vec<(libc::c_int, libc::sigaction)>,
}

impl Guard {
    /// Sets the handlers; signals that are ignored stay ignored.
    pub(crate) fn set() -> Self {
        let end = on_signal as extern "C" fn(libc::c_int) as usize;
        let wanted = [(libc::SIGINT, end), (libc::SIGTERM, end), (libc::SIGXFSZ, libc::SIG_IGN)];
        let previous = wanted
            .into_iter()
            .filter_map(|(signal, handler)| Some((signal, install(signal, handler)?)))
            .collect();
        Self { previous }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for (signal, action) in &self.previous {
            // SAFETY: `action` is what sigaction gave for this very signal.
            unsafe { libc::sigaction(*signal, action, std::ptr::null_mut()) };
        }
    }
}

/// Names the child that a signal must end too; dropping it forgets the child.
pub(crate) struct Child;

impl Child {
    /// Notes the child's process id.
    pub(crate) fn running(pid: u32) -> Self {
        CHILD.store(i32::try_from(pid).unwrap_or(0), Ordering::SeqCst);
        Self
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        CHILD.store(0, Ordering::SeqCst);
    }
}

fn install(signal: libc::c_int, handler: libc::sighandler_t) -> Option<libc::sigaction> {
    // SAFETY: sigaction is plain data for which zero is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    // SAFETY: as above.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live structures; the handler only makes
    // async-signal-safe calls.
    let code = unsafe { libc::sigaction(signal, &action, &mut previous) };
    if code != 0 {
        return None;
    }
    if previous.sa_sigaction == libc::SIG_IGN {
        // SAFETY: as above.
        unsafe { libc::sigaction(signal, &previous, std::ptr::null_mut()) };
    }
    Some(previous)
}

extern "C" fn on_signal(_signal: libc::c_int) {
    let child = CHILD.load(Ordering::SeqCst);
    // SAFETY: kill, write and _exit are async-signal-safe; the sentence is a static.
    unsafe {
        if child > 0 {
            libc::kill(child, libc::SIGTERM);
        }
        let _ = libc::write(2, SENTENCE.as_ptr().cast(), SENTENCE.len());
        libc::_exit(Exit::Interrupted as i32);
    }
}
