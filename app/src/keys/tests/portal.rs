//! The desktop's side of the portal, played on a private bus.

use super::*;
use crate::keys::bell::block_on;
use ashpd::zbus::{
    self, Connection, Message, MessageStream, connection,
    message::Type,
    zvariant::{OwnedObjectPath, OwnedValue, Value},
};
use futures_util::StreamExt;
use std::{collections::HashMap, thread::JoinHandle};

const PATH: &str = "/org/freedesktop/portal/desktop";
const SHORTCUTS: &str = "org.freedesktop.portal.GlobalShortcuts";

type Options = HashMap<String, OwnedValue>;

/// What the user of this desktop says to its dialog.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Dialog {
    Allow,
    Cancel,
    AllowFirst,
}

/// A desktop with a portal; session and shortcuts as last asked for.
pub(crate) struct Desktop {
    bus: Server,
    connection: Connection,
    bell: Arc<Bell>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) application: String,
    session: Option<OwnedObjectPath>,
    shortcuts: Vec<(String, String)>,
    /// Signs of an earlier permission, one for each keyboard that was asked for.
    pub(crate) offered: Vec<Option<String>>,
    /// Keysyms typed; pressed or released.
    pub(crate) keysyms: Vec<(i32, bool)>,
}

impl Desktop {
    pub(crate) fn start(dialog: Dialog) -> Self {
        let bus =
            Server::start("dbus-daemon", &["--session", "--nofork", "--print-address=1"], "dbus-daemon");
        let bell = Arc::new(Bell::new().unwrap());
        let connecting = async {
            let builder = connection::Builder::address(bus.address.as_str())?;
            let connection = builder.build().await?;
            let messages = MessageStream::from(&connection);
            connection.request_name("org.freedesktop.portal.Desktop").await?;
            zbus::Result::Ok((connection, messages))
        };
        let (connection, mut messages) = block_on(&bell, LIMIT, connecting).unwrap().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (shared, serving, ringing) = (Arc::clone(&seen), connection.clone(), Arc::clone(&bell));
        let thread = std::thread::spawn(move || {
            while let Ok(Some(Ok(message))) = block_on(&ringing, LIMIT, messages.next()) {
                if message.message_type() == Type::MethodCall {
                    let answer = answer(&serving, &message, dialog, &shared);
                    block_on(&ringing, LIMIT, answer).unwrap().unwrap();
                }
            }
        });
        Self { bus, connection, bell, seen, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.bus.address
    }

    fn open(&self, texts: &[&str]) -> Result<Keys, Error> {
        Keys::open(&bindings(texts), &Choice::Portal(Some(self.bus.address.clone())))
    }

    fn emit(&self, message: zbus::Result<Message>) {
        let bell = Arc::new(Bell::new().unwrap());
        block_on(&bell, LIMIT, self.connection.send(&message.unwrap())).unwrap().unwrap();
    }

    pub(crate) fn close_session(&self) {
        let session = self.seen.lock().unwrap().session.clone().unwrap();
        let message = Message::signal(session, "org.freedesktop.portal.Session", "Closed").unwrap();
        self.emit(message.build(&Options::new()));
    }

    fn shortcut(&self, signal: &str, id: &str) {
        let session = self.seen.lock().unwrap().session.clone().unwrap();
        let message = Message::signal(PATH, SHORTCUTS, signal).unwrap();
        self.emit(message.build(&(session, id, 7u64, Options::new())));
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.bell.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn answer(
    desktop: &Connection,
    call: &Message,
    dialog: Dialog,
    seen: &Mutex<Seen>,
) -> zbus::Result<()> {
    let header = call.header();
    match header.member().unwrap().as_str() {
        "Get" => {
            let (interface, _): (String, String) = call.body().deserialize()?;
            match interface == SHORTCUTS {
                true => desktop.reply(&header, &Value::from(1u32)).await,
                false => {
                    desktop.reply_error(&header, "org.freedesktop.DBus.Error.UnknownInterface", &()).await
                }
            }
        }
        "GetAll" => desktop.reply(&header, &HashMap::from([("version", Value::from(1u32))])).await,
        "Register" => {
            let (application, _): (String, Options) = call.body().deserialize()?;
            seen.lock().unwrap().application = application;
            desktop.reply(&header, &()).await
        }
        "NotifyKeyboardKeysym" => {
            let (_, _, keysym, state): (OwnedObjectPath, Options, i32, u32) = call.body().deserialize()?;
            seen.lock().unwrap().keysyms.push((keysym, state == 1));
            desktop.reply(&header, &()).await
        }
        method => {
            let response = respond(method, call, dialog, &mut seen.lock().unwrap())?;
            let Some((request, status, results)) = response else {
                let unknown = "org.freedesktop.DBus.Error.UnknownMethod";
                return desktop.reply_error(&header, unknown, &method).await;
            };
            desktop.reply(&header, &request).await?;
            let (to, interface) = (header.sender().cloned(), "org.freedesktop.portal.Request");
            desktop.emit_signal(to, &request, interface, "Response", &(status, results)).await
        }
    }
}

/// A request's path, its status and its results.
type Response = (OwnedObjectPath, u32, HashMap<&'static str, Value<'static>>);

/// What becomes of a request, of those which the portal answers by a signal.
fn respond(method: &str, call: &Message, dialog: Dialog, seen: &mut Seen) -> zbus::Result<Option<Response>> {
    let header = call.header();
    let sender = header.sender().unwrap().trim_start_matches(':').replace('.', "_");
    let own_path = |kind: &str, token: &OwnedValue| {
        let token: &str = token.downcast_ref().unwrap();
        OwnedObjectPath::try_from(format!("{PATH}/{kind}/{sender}/{token}")).unwrap()
    };
    let cancelled = u32::from(dialog == Dialog::Cancel);
    let (options, status, results): (Options, u32, HashMap<&str, Value<'_>>) = match method {
        "CreateSession" => {
            let options: Options = call.body().deserialize()?;
            let session = own_path("session", &options["session_handle_token"]);
            let results = HashMap::from([("session_handle", Value::from(session.to_string()))]);
            seen.session = Some(session);
            (options, 0, results)
        }
        "BindShortcuts" => {
            type Wanted = Vec<(String, Options)>;
            let (_, mut wanted, _, options): (OwnedObjectPath, Wanted, String, Options) =
                call.body().deserialize()?;
            let trigger = |options: &Options| String::try_from(options["preferred_trigger"].clone()).unwrap();
            seen.shortcuts = wanted.iter().map(|(id, options)| (id.clone(), trigger(options))).collect();
            if dialog == Dialog::AllowFirst {
                wanted.truncate(1);
            }
            let granted = wanted.into_iter().map(|(id, _)| {
                let shown =
                    ["description", "trigger_description"].map(|name| (name, Value::from("Press <F9>")));
                (id, HashMap::from(shown))
            });
            let results = HashMap::from([("shortcuts", Value::from(granted.collect::<Vec<_>>()))]);
            (options, cancelled, results)
        }
        "SelectDevices" => {
            let (_, options): (OwnedObjectPath, Options) = call.body().deserialize()?;
            let offered = options.get("restore_token").cloned();
            seen.offered.push(offered.map(|token| String::try_from(token).unwrap()));
            (options, 0, HashMap::new())
        }
        "Start" => {
            let (_, _, options): (OwnedObjectPath, String, Options) = call.body().deserialize()?;
            let token = format!("permission {}", seen.offered.len());
            let results = [("devices", Value::from(1u32)), ("restore_token", Value::from(token))];
            (options, cancelled, HashMap::from(results))
        }
        _ => return Ok(None),
    };
    Ok(Some((own_path("request", &options["handle_token"]), status, results)))
}

#[test]
fn shortcuts_are_pressed_and_released_in_order() {
    let desktop = Desktop::start(Dialog::Allow);
    let keys = desktop.open(&["F9", "ctrl+shift+space"]).unwrap();
    let asked = desktop.seen.lock().unwrap().shortcuts.clone();
    let expected = [("name of F9", "F9"), ("name of ctrl+shift+space", "CTRL+SHIFT+space")];
    assert_eq!(asked, expected.map(|(id, trigger)| (id.to_owned(), trigger.to_owned())));
    assert_eq!(desktop.seen.lock().unwrap().application, "org.undertone.Undertone");
    for _ in 0..20 {
        for id in ["name of F9", "name of ctrl+shift+space"] {
            desktop.shortcut("Activated", id);
            desktop.shortcut("Deactivated", id);
        }
    }
    assert_heard(&keys, &[(0, true), (0, false), (1, true), (1, false)].repeat(20));
    desktop.shortcut("Activated", "another program's");
    desktop.shortcut("Activated", "name of F9");
    assert_heard(&keys, &[(0, true)]);
    // New bindings are a new session, in which nothing is held.
    keys.rebind(&bindings(&["F9", "F8"])).unwrap();
    assert_heard(&keys, &[(0, false)]);
    desktop.shortcut("Activated", "name of F8");
    assert_heard(&keys, &[(1, true)]);
    assert_silent(&keys);
}

#[test]
fn a_refusal_says_for_what() {
    let error = Desktop::start(Dialog::Cancel).open(&["F9"]).unwrap_err();
    assert!(error.to_string().starts_with("the desktop did not grant"), "{error}");
    let error = Desktop::start(Dialog::AllowFirst).open(&["F9", "F8"]).unwrap_err();
    assert!(error.to_string().starts_with("the desktop did not grant a key for name of F8;"), "{error}");
}

#[test]
fn a_desktop_without_the_portal_is_told_apart() {
    let bus = Server::start("dbus-daemon", &["--session", "--nofork", "--print-address=1"], "dbus-daemon");
    let open = || Keys::open(&bindings(&["F9"]), &Choice::Portal(Some(bus.address.clone()))).unwrap_err();
    let error = open();
    assert!(error.to_string().starts_with("this desktop offers programs no global keys ("), "{error}");
    let no_bus = Choice::Portal(Some("unix:path=/nowhere".to_owned()));
    assert!(matches!(Keys::open(&bindings(&["F9"]), &no_bus), Err(Error::NoPortal(_))));
}

#[test]
fn the_end_of_the_session_ends_the_hold() {
    let desktop = Desktop::start(Dialog::Allow);
    let keys = desktop.open(&["F9"]).unwrap();
    desktop.shortcut("Activated", "name of F9");
    assert_heard(&keys, &[(0, true)]);
    desktop.close_session();
    assert_lost(&keys);
}

#[test]
fn the_end_of_the_portal_or_of_the_bus_ends_the_hold() {
    for ends_bus in [false, true] {
        let mut desktop = Desktop::start(Dialog::Allow);
        let keys = desktop.open(&["F9"]).unwrap();
        desktop.shortcut("Activated", "name of F9");
        assert_heard(&keys, &[(0, true)]);
        if ends_bus {
            desktop.bus.child.kill().unwrap();
        } else {
            let released = desktop.connection.release_name("org.freedesktop.portal.Desktop");
            let bell = Arc::new(Bell::new().unwrap());
            assert!(block_on(&bell, LIMIT, released).unwrap().unwrap());
        }
        assert_lost(&keys);
    }
}

#[track_caller]
fn assert_lost(keys: &Keys) {
    assert_heard(keys, &[(0, false)]);
    let error = keys.events().recv_timeout(LIMIT).unwrap().unwrap_err();
    assert!(error.to_string().starts_with("lost the desktop's portal ("), "{error}");
    assert!(keys.events().recv_timeout(LIMIT).is_err());
}
