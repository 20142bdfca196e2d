//! Wayland: the XDG portal GlobalShortcuts. The desktop asks the user, who may choose other keys than ours.

use super::{Backend, Binding, DIALOG, Error, Heard, bell::Bell, bell::block_on};
use ashpd::{
    AppID,
    desktop::{
        ResponseError, Session,
        global_shortcuts::{Activated, Deactivated, GlobalShortcuts, NewShortcut},
    },
    zbus::{Connection, MatchRule, Message, MessageStream, connection, message},
};
use futures_util::{Stream, StreamExt, stream};
use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Under which the desktop keeps the user's choice of keys; also the name of the desktop file.
const APPLICATION: &str = "org.undertone.Undertone";

pub(super) struct Portal {
    address: Option<String>,
    granted: Option<Granted>,
    down: BTreeSet<u16>,
}

/// Keys that the desktop granted; dropping the connection gives them back.
struct Granted {
    names: Vec<String>,
    news: Pin<Box<dyn Stream<Item = News> + Send>>,
    _session: Session<GlobalShortcuts>,
}

/// What the portal tells; all its signals come in one stream, so that press and release keep their order.
enum News {
    Signal(Message),
    Lost(String),
}

impl Portal {
    pub(super) fn new(address: Option<String>) -> Self {
        Self { address, granted: None, down: BTreeSet::new() }
    }

    /// All that has been told since, without waiting.
    fn take_news(&mut self, bell: &Arc<Bell>, heard: &mut Vec<Heard>) -> Result<(), Error> {
        let waker = Waker::from(Arc::clone(bell));
        let Some(Granted { names, news, .. }) = &mut self.granted else { return Err(Error::Stopped) };
        while let Poll::Ready(next) = news.as_mut().poll_next(&mut Context::from_waker(&waker)) {
            let message = match next {
                Some(News::Signal(message)) => message,
                Some(News::Lost(reason)) => return Err(lost(reason)),
                None => return Err(lost("the bus is closed")),
            };
            let code = |id: &str| {
                names.iter().position(|name| name == id).and_then(|index| u16::try_from(index).ok())
            };
            match message.header().member().map(|member| member.as_str()) {
                Some("Activated") => {
                    let activated: Activated = message.body().deserialize().map_err(lost)?;
                    let Some(code) = code(activated.shortcut_id()) else { continue };
                    self.down.insert(code);
                    heard.push(Heard::Down { binding: code.into(), code });
                }
                Some("Deactivated") => {
                    let deactivated: Deactivated = message.body().deserialize().map_err(lost)?;
                    let Some(code) = code(deactivated.shortcut_id()) else { continue };
                    self.down.remove(&code);
                    heard.push(Heard::Up { code });
                }
                Some("Closed") => return Err(lost("it ended the session")),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Backend for Portal {
    fn bind(&mut self, bell: &Arc<Bell>, bindings: &[Binding]) -> Result<(), Error> {
        // A session takes shortcuts only once, so every change is a new one.
        let granted = block_on(bell, DIALOG, request(self.address.as_deref(), bindings))??;
        self.granted = Some(granted);
        self.down.clear();
        Ok(())
    }

    fn hear(&mut self, bell: &Arc<Bell>, limit: Duration, heard: &mut Vec<Heard>) -> Result<(), Error> {
        self.take_news(bell, heard)?;
        if heard.is_empty() {
            bell.wait(&[], limit).map_err(lost)?;
            self.take_news(bell, heard)?;
        }
        Ok(())
    }

    fn is_down(&mut self, code: u16) -> Result<bool, Error> {
        Ok(self.down.contains(&code))
    }
}

/// A connection to the bus at `address`, by default the session's, on which portals know us by our name.
pub(crate) async fn connect(address: Option<&str>) -> ashpd::zbus::Result<Connection> {
    let builder = match address {
        Some(address) => connection::Builder::address(address),
        None => connection::Builder::session(),
    };
    let connection = builder?.build().await?;
    if let Ok(application) = AppID::try_from(APPLICATION)
        && let Err(error) = ashpd::register_host_app_with_connection(connection.clone(), application).await
    {
        // Portals before 1.20 have no registry and tell programs apart by their systemd unit.
        tracing::debug!("the portal does not register programs: {error}");
    }
    Ok(connection)
}

async fn request(address: Option<&str>, bindings: &[Binding]) -> Result<Granted, Error> {
    let connection = connect(address).await.map_err(no_portal)?;
    let portal = GlobalShortcuts::with_connection(connection.clone()).await.map_err(refused)?;
    let news = listen(&connection, &portal).await.map_err(no_portal)?;
    let session = portal.create_session(Default::default()).await.map_err(refused)?;
    let wanted = bindings.iter().map(|binding| {
        let trigger = binding.chord.portal_trigger();
        NewShortcut::new(&binding.name, &binding.name).preferred_trigger(trigger.as_str())
    });
    let wanted: Vec<NewShortcut> = wanted.collect();
    let answer = portal.bind_shortcuts(&session, &wanted, None, Default::default()).await.map_err(refused)?;
    let shortcuts = answer.response().map_err(refused)?;
    for Binding { name, .. } in bindings {
        let granted = shortcuts.shortcuts().iter().find(|shortcut| shortcut.id() == name);
        let shortcut = granted.ok_or_else(|| Error::Declined(name.clone()))?;
        tracing::info!("{name} is on {}", shortcut.trigger_description());
    }
    let names = bindings.iter().map(|binding| binding.name.clone()).collect();
    Ok(Granted { names, news, _session: session })
}

/// Subscribes before there is a session, so that nothing is missed.
async fn listen(
    connection: &Connection,
    portal: &GlobalShortcuts,
) -> ashpd::zbus::Result<Pin<Box<dyn Stream<Item = News> + Send>>> {
    let rule =
        MatchRule::builder().msg_type(message::Type::Signal).sender(portal.destination().to_owned())?.build();
    let signals = MessageStream::for_match_rule(rule, connection, None).await?;
    let signals = signals.map(|signal| match signal {
        Ok(message) => News::Signal(message),
        Err(error) => News::Lost(error.to_string()),
    });
    let owners = portal.receive_owner_changed().await?;
    let owners = owners.map(|_| News::Lost("it was restarted".to_owned()));
    Ok(Box::pin(stream::select(signals, owners)))
}

fn refused(error: ashpd::Error) -> Error {
    match error {
        ashpd::Error::Response(ResponseError::Cancelled) => Error::Declined("dictation".to_owned()),
        other => no_portal(other),
    }
}

fn no_portal(reason: impl std::fmt::Display) -> Error {
    Error::NoPortal(reason.to_string())
}

fn lost(reason: impl std::fmt::Display) -> Error {
    Error::lost("the desktop's portal")(reason)
}
