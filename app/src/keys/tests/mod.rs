//! The thread's rules with a back-end played by the test, and every back-end that can be run here for real.

#[cfg(feature = "portal")]
pub(crate) mod portal;
mod x11;

use super::*;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

/// What a wait for something that must come takes at most.
const LIMIT: Duration = Duration::from_secs(20);

/// Within which something that must not come would have come.
const QUIET: Duration = Duration::from_millis(300);

fn bindings(texts: &[&str]) -> Vec<Binding> {
    let bind = |text: &&str| Binding { chord: text.parse().unwrap(), name: format!("name of {text}") };
    texts.iter().map(bind).collect()
}

/// Takes as many events as expected, all of them presses and releases.
#[track_caller]
fn assert_heard(keys: &Keys, expected: &[(usize, bool)]) {
    for expected in expected {
        let event = keys.events().recv_timeout(LIMIT).unwrap().unwrap();
        assert_eq!((event.binding, event.pressed), *expected);
    }
}

#[track_caller]
fn assert_silent(keys: &Keys) {
    let event = keys.events().recv_timeout(QUIET);
    assert!(event.is_err(), "{event:?}");
}

/// A program that runs until dropped and says on its first line how to reach it.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(command: &str, arguments: &[&str], package: &str) -> Self {
        let child =
            Command::new(command).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child =
            child.unwrap_or_else(|error| panic!("{command}: {error}; install the package {package}"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{command} did not start");
        Self { child, address: line.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A back-end whose keys the test presses.
#[derive(Clone, Default)]
struct Played(Arc<Mutex<Play>>);

#[derive(Default)]
struct Play {
    heard: Vec<Heard>,
    down: BTreeSet<u16>,
    refuses: bool,
    breaks: bool,
}

impl Backend for Played {
    fn bind(&mut self, _: &Arc<Bell>, _: &[Binding]) -> Result<(), Error> {
        if self.0.lock().unwrap().refuses { Err(Error::NoKeyboard) } else { Ok(()) }
    }

    fn hear(&mut self, bell: &Arc<Bell>, limit: Duration, heard: &mut Vec<Heard>) -> Result<(), Error> {
        if self.0.lock().unwrap().heard.is_empty() {
            bell.wait(&[], limit).unwrap();
        }
        let mut play = self.0.lock().unwrap();
        heard.append(&mut play.heard);
        if play.breaks { Err(Error::lost("the play")("over")) } else { Ok(()) }
    }

    fn is_down(&mut self, code: u16) -> Result<bool, Error> {
        Ok(self.0.lock().unwrap().down.contains(&code))
    }
}

fn play() -> (Played, Keys) {
    let played = Played::default();
    let bell = Arc::new(Bell::new().unwrap());
    let keys = Keys::listen(Box::new(played.clone()), &bindings(&["F8", "F9"]), bell).unwrap();
    (played, keys)
}

impl Played {
    fn tell(&self, keys: &Keys, heard: &[Heard], down: &[u16]) {
        let mut play = self.0.lock().unwrap();
        play.heard.extend(heard);
        play.down = down.iter().copied().collect();
        drop(play);
        keys.bell.ring();
    }
}

const DOWN: Heard = Heard::Down { binding: 1, code: 67 };

#[test]
fn repeats_are_dropped_and_a_second_hold_is_heard() {
    let (played, keys) = play();
    played.tell(
        &keys,
        &[DOWN, DOWN, DOWN, Heard::Up { code: 9 }, Heard::Up { code: 67 }, Heard::Up { code: 67 }],
        &[],
    );
    played.tell(&keys, &[DOWN], &[67]);
    assert_heard(&keys, &[(1, true), (1, false), (1, true)]);
    assert_silent(&keys);
}

#[test]
fn a_lost_release_is_made_up_for() {
    let (played, keys) = play();
    played.tell(&keys, &[DOWN], &[67]);
    assert_heard(&keys, &[(1, true)]);
    assert_silent(&keys);
    // The key goes up and nobody is told.
    played.0.lock().unwrap().down.clear();
    assert_heard(&keys, &[(1, false)]);
    assert_silent(&keys);
}

#[test]
fn rebinding_keeps_a_hold_only_where_the_binding_stays() {
    let (played, keys) = play();
    played.tell(&keys, &[DOWN, Heard::Down { binding: 0, code: 66 }], &[66, 67]);
    assert_heard(&keys, &[(1, true), (0, true)]);
    played.0.lock().unwrap().refuses = true;
    assert!(matches!(keys.rebind(&bindings(&["F7"])), Err(Error::NoKeyboard)));
    assert_silent(&keys);
    played.0.lock().unwrap().refuses = false;
    keys.rebind(&bindings(&["F7", "F9", "escape"])).unwrap();
    assert_heard(&keys, &[(0, false)]);
    assert_silent(&keys);
    assert!(matches!(keys.rebind(&bindings(&["F7", "F7"])), Err(Error::Duplicate(_))));
}

#[test]
fn a_lost_source_releases_what_is_held_and_says_so() {
    let (played, keys) = play();
    played.tell(&keys, &[DOWN], &[67]);
    assert_heard(&keys, &[(1, true)]);
    played.0.lock().unwrap().breaks = true;
    keys.bell.ring();
    assert_heard(&keys, &[(1, false)]);
    let error = keys.events().recv_timeout(LIMIT).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "lost the play (over), so keys are no longer heard; start undertone again");
    assert!(keys.events().recv_timeout(LIMIT).is_err());
    assert!(matches!(keys.rebind(&bindings(&["F8"])), Err(Error::Stopped)));
}

#[test]
fn a_slow_reader_loses_nothing_and_a_gone_one_does_not_block_the_end() {
    let (played, keys) = play();
    let holds = 2 * EVENTS;
    let heard: Vec<Heard> = std::iter::repeat_n([DOWN, Heard::Up { code: 67 }], holds).flatten().collect();
    played.tell(&keys, &heard, &[]);
    assert_heard(&keys, &vec![[(1, true), (1, false)]; holds].concat());
    played.tell(&keys, &heard, &[]);
    // The thread waits for room by now, and dropping must join it.
    while !keys.events().is_full() {
        std::thread::yield_now();
    }
    drop(keys);
}

#[test]
fn a_desktop_gets_its_way_of_listening() {
    assert_eq!(Choice::for_desktop(true), Choice::Portal(None));
    assert_eq!(Choice::for_desktop(false), Choice::X11(None));
}
