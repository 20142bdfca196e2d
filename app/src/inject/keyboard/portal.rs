//! GNOME and Plasma: the XDG portal RemoteDesktop types keysyms, whatever the layout. The desktop asks the user
//! once; the sign that it gives of this is kept in a file, and is good for one start.
//!
//! Verified against a stand-in only (`keys::tests::portal`), not on these desktops.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ashpd::desktop::remote_desktop::{DeviceType, KeyState, RemoteDesktop, SelectDevicesOptions};
use ashpd::desktop::{PersistMode, ResponseError, Session};
use ashpd::enumflags2::BitFlags;

use super::{Error, Result, Typist};
use crate::inject::text::keysym;
use crate::keys::{Bell, block_on, connect};
use crate::store::disk::write_private;

/// How long the user may think about the desktop's question.
const DIALOG: Duration = Duration::from_secs(60);
/// How long the desktop may take to press a few keys.
const LIMIT: Duration = Duration::from_secs(3);

/// A keyboard that the desktop has granted; it is given back when this is dropped.
pub(in crate::inject) struct Remote {
    bell: Arc<Bell>,
    portal: RemoteDesktop,
    session: Session<RemoteDesktop>,
}

impl Remote {
    /// Asks for a keyboard on the bus at `address`, by default the session's. `permission` is the file that
    /// keeps the user's answer.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without such a portal, [`Error::Refused`] when the user declines.
    pub(in crate::inject) fn open(address: Option<&str>, permission: &Path) -> Result<Self> {
        let bell = Arc::new(Bell::new().map_err(refused)?);
        let kept = std::fs::read_to_string(permission).ok();
        let asked = block_on(&bell, DIALOG, request(address, kept.as_deref())).map_err(refused)?;
        let (portal, session, token) = asked?;
        if let Some(token) = token
            && let Err(error) = write_private(permission, token.as_bytes())
        {
            tracing::warn!("the user will be asked again: {}: {error}", permission.display());
        }
        Ok(Self { bell, portal, session })
    }
}

impl Typist for Remote {
    fn send(&mut self, text: &str) -> Result<()> {
        let typing = async {
            for c in text.chars() {
                // Keysyms have 29 bits.
                let keysym = keysym(c).raw() as i32;
                for state in [KeyState::Pressed, KeyState::Released] {
                    let notified =
                        self.portal.notify_keyboard_keysym(&self.session, keysym, state, Default::default());
                    notified.await.map_err(refused)?;
                }
            }
            Ok(())
        };
        block_on(&self.bell, LIMIT, typing).map_err(refused)?
    }
}

async fn request(
    address: Option<&str>,
    kept: Option<&str>,
) -> Result<(RemoteDesktop, Session<RemoteDesktop>, Option<String>)> {
    let connection = connect(address).await.map_err(|_| Error::Unsupported)?;
    let portal = RemoteDesktop::with_connection(connection).await.map_err(declined)?;
    let session = portal.create_session(Default::default()).await.map_err(declined)?;
    let devices = SelectDevicesOptions::default()
        .set_devices(BitFlags::from(DeviceType::Keyboard))
        .set_persist_mode(PersistMode::ExplicitlyRevoked)
        .set_restore_token(kept);
    portal.select_devices(&session, devices).await.and_then(|r| r.response()).map_err(declined)?;
    let started = portal.start(&session, None, Default::default()).await.and_then(|r| r.response());
    let started = started.map_err(declined)?;
    if !started.devices().contains(DeviceType::Keyboard) {
        return Err(Error::Refused("no keyboard was granted".into()));
    }
    let token = started.restore_token().map(ToOwned::to_owned);
    Ok((portal, session, token))
}

fn declined(error: ashpd::Error) -> Error {
    match error {
        ashpd::Error::Response(ResponseError::Cancelled) => Error::Refused("permission was declined".into()),
        _ => Error::Unsupported,
    }
}

fn refused(reason: impl std::fmt::Display) -> Error {
    Error::Refused(reason.to_string())
}
