//! Exit codes of the program, and the error that carries one through `anyhow`.

use std::fmt;
use std::io;

/// How the process ends. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// A failure that fits none of the others: a fault of the program or of the system.
    Internal = 1,
    /// The command line is wrong (also what clap ends with).
    Usage = 2,
    /// An input file is missing, unreadable, or not what it claims to be.
    Input = 3,
    /// A model is missing, damaged, or of a kind that cannot be used.
    Model = 4,
    /// The device asked for is not available.
    Device = 5,
    /// A download failed: no network, network switched off, or damaged on the way.
    Network = 6,
    /// The disk is full, or the place is not writable.
    Disk = 7,
    /// Ended by the user (Ctrl-C); what was fetched is kept for the next try.
    Interrupted = 130,
}

impl Exit {
    /// The code the process hands to the system.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The exit that an error asks for: that of the outermost [`Failure`] in it; a full or
    /// read-only disk anywhere below is [`Exit::Disk`]; everything else [`Exit::Internal`].
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        // A Failure attached as context is not a link of `chain()` but is found by downcast.
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.exit;
        }
        for cause in error.chain() {
            if let Some(failure) = cause.downcast_ref::<Failure>() {
                return failure.exit;
            }
            if let Some(io_error) = cause.downcast_ref::<io::Error>()
                && is_disk_trouble(io_error)
            {
                return Self::Disk;
            }
        }
        Self::Internal
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error with the sentence the user reads and the exit code it means.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the process ends with.
    pub(crate) exit: Exit,
    /// One sentence, without the program's name and without a full stop.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with this exit and sentence.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Whether an I/O error means a full disk, a file size limit, or a place that cannot be written.
pub(crate) fn is_disk_trouble(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_code_survives_context_on_either_side() {
        let inner = anyhow::Error::from(Failure::new(Exit::Network, "no network"));
        assert_eq!(Exit::of(&inner.context("while pulling")), Exit::Network);
        let outer = Err::<(), _>(io::Error::other("x"))
            .context(Failure::new(Exit::Model, "no model"))
            .expect_err("it is an error");
        assert_eq!(Exit::of(&outer), Exit::Model);
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        for code in [libc::ENOSPC, libc::EFBIG, libc::EROFS, libc::EDQUOT] {
            let error = anyhow::Error::from(io::Error::from_raw_os_error(code)).context("writing");
            assert_eq!(Exit::of(&error), Exit::Disk, "errno {code}");
        }
        assert_eq!(Exit::of(&anyhow::anyhow!("odd")), Exit::Internal);
        assert_eq!(Exit::Interrupted.code(), 130);
    }
}
