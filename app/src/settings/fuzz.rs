//! What `fuzz/` writes into the file of settings.

use super::check::check;
use super::print::print;
use super::watch::changes;
use super::{Settings, edit};
use crate::checks::CHECKS;
use undertone_engine::prompt::Mode;

/// Checks a text as the file, and sets a key in it: text, key and value with a zero byte between.
///
/// What is refused has a place in the text and a sentence. What is taken means the same when it is printed and read
/// again, and the engine takes its modes. What a key is set in is sound, and the key then has a value.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut fields = text.split('\0');
    let (file, key, value) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
    match check(file, &CHECKS) {
        Ok(settings) => taken(&settings),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let line = file.split('\n').nth(problem.line - 1).expect("a line of the file");
                assert!(problem.column <= line.chars().count() + 1, "{problem} in {file:?}");
                assert!(!problem.message.trim().is_empty());
            }
        }
    }
    let (Some(key), Some(value)) = (key, value) else { return };
    match edit::set(file, key, value, &CHECKS) {
        Ok(changed) => {
            let settings = check(&changed, &CHECKS).expect("what was set is sound");
            // What no value and the default say alike is not kept.
            let _ = edit::get(&settings, key).expect("the key is there");
            taken(&settings);
        }
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
}

fn taken(settings: &Settings) {
    let printed = print(settings);
    let again = check(&printed, &CHECKS).unwrap_or_else(|problems| panic!("{problems:?} in {printed}"));
    // Compared as texts: a number that is none is not itself.
    assert_eq!(format!("{again:?}"), format!("{settings:?}"), "{printed}");
    let _ = changes(&Settings::default(), settings);
    let _ = settings.profile("org.example.Terminal", "a title");
    let modes = settings.engine_modes();
    Mode::parse(&modes.to_string(), "the settings").expect("modes that were checked");
}
