//! What happens on Ctrl-C while a download or another long write runs: the child ends, a file that would be of no use
//! goes, one sentence, exit 130.
//!
//! Nothing else needs to be undone: files get their final name only when they are whole, and the lock
//! goes with the process.

use crate::exit::Exit;
use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

/// The running pip, 0 for none. A signal handler can see nothing but statics.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// The path of the file that goes, null for none.
static DOOMED: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

const SENTENCE: &[u8] =
    b"\nundertone: interrupted; what was done is kept, the same command goes on from there\n";

const NOTHING: &[u8] = b"\nundertone: interrupted; nothing is left of what was begun\n";

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
#[cfg(feature = "fetch")]
pub(crate) struct Child;

#[cfg(feature = "fetch")]
impl Child {
    /// Notes the child's process id.
    pub(crate) fn running(pid: u32) -> Self {
        CHILD.store(i32::try_from(pid).unwrap_or(0), Ordering::SeqCst);
        Self
    }
}

#[cfg(feature = "fetch")]
impl Drop for Child {
    fn drop(&mut self) {
        CHILD.store(0, Ordering::SeqCst);
    }
}

/// A file that a signal removes while this lives: half of it is of no use to a later run.
pub(crate) struct Doomed(CString);

impl Doomed {
    /// Names the file; `None` for a path that no file can have.
    pub(crate) fn file(path: &Path) -> Option<Self> {
        let name = CString::new(path.as_os_str().as_bytes()).ok()?;
        DOOMED.store(name.as_ptr().cast_mut(), Ordering::SeqCst);
        Some(Self(name))
    }
}

impl Drop for Doomed {
    /// Takes the name back before its memory goes.
    fn drop(&mut self) {
        let name = self.0.as_ptr().cast_mut();
        let _ = DOOMED.compare_exchange(name, std::ptr::null_mut(), Ordering::SeqCst, Ordering::SeqCst);
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
    let doomed = DOOMED.load(Ordering::SeqCst);
    let sentence = if doomed.is_null() { SENTENCE } else { NOTHING };
    // SAFETY: kill, unlink, write and _exit are async-signal-safe; the sentence is a static, and a path that is named
    // lives: [`Doomed`] takes its name back first.
    unsafe {
        if !doomed.is_null() {
            libc::unlink(doomed);
        }
        if child > 0 {
            libc::kill(child, libc::SIGTERM);
        }
        let _ = libc::write(2, sentence.as_ptr().cast(), sentence.len());
        libc::_exit(Exit::Interrupted as i32);
    }
}
