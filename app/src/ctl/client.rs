//! The side of `undertone ctl`.

use super::lines::{Line, Lines, write};
use super::socket::require_own_peer;
use super::{Command, CtlError, Reply};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Sends one command to the program that listens at `path` and returns its answer, which must come
/// within `limit` beyond what the command takes by itself.
///
/// # Errors
/// If no program listens, it is not the user's, or it does not answer.
pub(crate) fn ask(path: &Path, command: &Command, limit: Duration) -> Result<Reply, CtlError> {
    let stream = UnixStream::connect(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => CtlError::NotRunning,
        _ => CtlError::io(format!("open {}", path.display()))(e),
    })?;
    require_own_peer(&stream)?;
    // A server that has no room answers and closes without reading: its answer says more than the
    // failure to write.
    let written = write(&stream, command, limit);
    let limit = limit + Duration::from_secs(command.takes_s());
    match (Lines::new(&stream).next(limit), written) {
        (Ok(Line::Whole(line)), _) => {
            serde_json::from_slice(&line).map_err(|e| CtlError::BadAnswer(e.to_string()))
        }
        (Ok(Line::TooLong), _) => Err(CtlError::BadAnswer("it is too long".into())),
        (Ok(Line::Late), _) => Err(CtlError::NoAnswer { after_s: limit.as_secs() }),
        (_, Err(e)) => Err(CtlError::io("send the command")(e)),
        (Err(e), _) => Err(CtlError::io("read the answer")(e)),
        (Ok(Line::End), _) => Err(CtlError::NotRunning),
    }
}
