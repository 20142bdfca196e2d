//! What a model writes, cut into tokens anywhere: the same text has the same speech, which is what a reference that sees
//! it whole makes of it; and of a thought whose marks stand in plain text nothing is spoken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_engine::channels::{Splitter, reference};

// The first byte says whether the prompt opened a thought, the second how long the pieces are.
fuzz_target!(|data: &[u8]| {
    let [how, cut, text @ ..] = data else { return };
    if how % 4 == 3 {
        return nothing_of_a_thought_is_spoken(*cut, text);
    }
    let in_thought = how % 4 == 1;
    let split = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut splitter = if in_thought { Splitter::starting_in_thought() } else { Splitter::new() };
        for piece in pieces {
            splitter.push(piece);
        }
        splitter.finish()
    };
    let whole = split(&mut std::iter::once(text));
    assert_eq!(split(&mut text.chunks(1)), whole, "by bytes");
    assert_eq!(split(&mut text.chunks(usize::from(*cut).max(1))), whole, "by {cut} bytes");
    // The reference looks at all of the text again for each marker.
    if text.len() <= 2048 {
        let text = String::from_utf8_lossy(text);
        assert_eq!(whole, reference::speech(&text, in_thought), "{text:?}");
        assert!(!reference::has_marker(&whole), "{text:?} leaves {whole:?}");
    }
});

/// Lower case is said, upper case is thought.
fn nothing_of_a_thought_is_spoken(cut: u8, data: &[u8]) {
    let pairs: Vec<(&str, &str)> = reference::pairs().collect();
    let (mut text, mut said) = (String::new(), String::new());
    for part in data.split(|byte| *byte == 0) {
        let Some((kind, letters)) = part.split_first() else { continue };
        let letters: String = letters.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        match pairs.get(usize::from(*kind)) {
            Some((open, close)) => text.extend([open, &*letters.to_uppercase(), close]),
            // A name alone on its line behind a mark is the template's.
            None => {
                text.extend([". ", &letters]);
                said.extend([". ", &letters]);
            }
        }
    }
    let mut splitter = Splitter::new();
    for piece in text.as_bytes().chunks(usize::from(cut).max(1)) {
        let _ = splitter.push(piece);
    }
    assert_eq!(splitter.finish(), said, "{text:?}");
}
