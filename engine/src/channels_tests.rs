//! The splitter against a reference that rewrites the whole text, and case by case.

use super::reference::{has_marker, listed, speech as reference};
use super::*;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

fn split(mut splitter: Splitter, pieces: &[&[u8]]) -> String {
    for piece in pieces {
        splitter.push(piece);
        let pending_bytes = splitter.speech.len() - splitter.speech().len();
        assert!(pending_bytes <= MAX_MARKER_BYTES + "assistant".len(), "{pending_bytes}");
        assert!(splitter.open.as_ref().is_none_or(|o| o.tail.len() <= MAX_MARKER_BYTES));
    }
    splitter.finish()
}

fn speech_of(text: &str) -> String {
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    split(Splitter::new(), &bytes)
}

#[test]
fn thoughts_of_all_families_are_taken_out() {
    for b in BLOCKS.iter().filter(|b| b.shape == Shape::Pair) {
        assert_eq!(speech_of(&format!("{}\nhm, so?\n{}\n\nYes.", b.open, b.close)), "\n\nYes.");
        assert_eq!(speech_of(&format!("so it is{}Yes.", b.close)), "Yes.");
        assert_eq!(speech_of(&format!("A {0}x{0}y{1}z{1}B {0}{1}C", b.open, b.close)), "A B C");
        assert_eq!(speech_of(&format!("A{}never closed", b.open)), "A");
    }
    for (text, speech) in [
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>",
            "Hi.",
        ),
        ("<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Hi.", "Hi."),
        ("<|channel|>analysis<|message|>Hm.<|end|>Hi.", "Hi."),
        ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", ""),
        ("<|channel|>final<|message|>Hi.", "Hi."),
        ("<|channel>thought\nHm.\n<channel|>Hi.<turn|>", "Hi."),
        ("Plain <b>text</b> of 1 < 2 [sic] stays, <thin", "Plain <b>text</b> of 1 < 2 [sic] stays, <thin"),
        ("<think>a</thinking>b</think>c", "c"),
        ("one</think>two</think>three", "three"),
        ("", ""),
    ] {
        assert_eq!(speech_of(text), speech, "{text}");
    }
}

#[test]
fn remnants_of_templates_do_not_leak() {
    for (text, speech) in [
        ("Hi.<|im_end|>\n<|im_start|>assistant\nMore.", "Hi.\nMore."),
        ("Hi.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nMore.", "Hi.\n\nMore."),
        ("Hi.<|eot_id|>assistant\n\nMore.", "Hi.\nMore."),
        ("Hi.<end_of_turn>\n<start_of_turn>model\nMore.<end_of_turn>", "Hi.\nMore."),
        ("<start_of_turn>model trains run", "model trains run"),
        ("Hi.<|im_end|>\n<|im_start|>assistant", "Hi.\n"),
        ("Hi.<|end|><|assistant|>", "Hi."),
        ("<s>[INST] Hi. [/INST]</s>", " Hi. "),
        ("Hi.<｜end▁of▁sentence｜><｜Assistant｜>", "Hi."),
        ("Hi.<|reserved_special_token_7|>", "Hi."),
        ("Hi.<|im_e", "Hi."),
        ("Hi.<end_of", "Hi."),
        ("Hi.</", "Hi.</"),
        ("Hi.<|not a token|>", "Hi.<|not a token|>"),
        ("a<|im_<|im_end|>end|>b", "ab"),
        ("<th<|im_end|>ink>x</think>y", "y"),
        ("assistant\nis a word", "assistant\nis a word"),
    ] {
        assert_eq!(speech_of(text), speech, "{text}");
    }
}

#[test]
fn a_thought_that_the_prompt_opened_ends_at_any_closing_marker() {
    for (text, speech) in [
        ("hm</think>Yes.", "Yes."),
        ("<think>\nhm</think>Yes.", "Yes."),
        ("hm[/THINK]Yes.", "Yes."),
        ("hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "Yes."),
        ("hm <|eot_id|> hm", ""),
    ] {
        assert_eq!(split(Splitter::starting_in_thought(), &[text.as_bytes()]), speech, "{text}");
    }
}

#[test]
fn speech_is_returned_as_soon_as_it_is_certain() {
    let mut s = Splitter::new();
    assert_eq!(s.push(b"Hello <"), "Hello ");
    assert_eq!(s.push(b"b> na\xc3"), "<b> na");
    assert_eq!(s.push(b"\xaf <thi"), "ï ");
    assert_eq!(s.push(b"nk>hm"), "");
    assert!(s.in_thought());
    assert_eq!(s.push(b"</think>."), ".");
    assert_eq!(s.speech(), "Hello <b> naï .");
    assert_eq!((s.thought_tokens(), s.speech_tokens()), (2, 3));
    s.push(b" so it was all thought</think>Yes");
    assert_eq!((s.speech(), s.thought_tokens(), s.speech_tokens()), ("Yes", 5, 1));
    assert_eq!(s.finish(), "Yes");
}

#[test]
fn a_long_thought_is_not_kept() {
    let mut s = Splitter::new();
    s.push(b"<think>");
    for _ in 0..100_000 {
        assert_eq!(s.push(b"hm, <b>or </thi"), "");
    }
    assert_eq!(s.thought_tokens(), 100_001);
    assert!(s.speech.capacity() + s.open.as_ref().map_or(0, |o| o.tail.capacity()) < 1024);
}

/// What the splitter relies on: the marker that ends first is never the inside of a longer one, and two
/// markers do not share letters, save that one may end in another.
#[test]
fn markers_do_not_hide_each_other() {
    for (a, b) in listed().flat_map(|a| listed().map(move |b| (a, b))) {
        assert!(a == b || a.ends_with(b) || !a.contains(b), "{a} hides {b}");
        let shared = (1..a.len()).filter(|&at| a.is_char_boundary(at) && b.starts_with(&a[at..]));
        assert!(shared.count() == 0 || a.ends_with(b), "{a} runs into {b}");
        assert!(a.len() <= MAX_MARKER_BYTES);
    }
}

fn random_bytes(rng: &mut SmallRng) -> Vec<u8> {
    const TEXT: [&str; 12] = ["Hi", " ", "\n", "<", "[", "é", "◁", "日本", "🙂", "<|", "|>", "final"];
    const TOKENS: [&str; 6] =
        ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|message|>", "<｜User｜>", "<|a b|>"];
    const INVALID: [&[u8]; 4] = [b"\xff", b"\xe2\x97", b"\xf0\x9f\x99", b"\x80"];
    let markers: Vec<&str> = listed().chain(TOKENS).collect();
    let mut bytes = Vec::new();
    // A few markers per text, so that they meet again and blocks close.
    let few: Vec<&str> = (0..4).filter_map(|_| markers.choose(rng).copied()).collect();
    for _ in 0..rng.random_range(0..14) {
        let m = few[rng.random_range(0..few.len())];
        let cut = rng.random_range(0..=m.len());
        match rng.random_range(0..12) {
            0..4 => bytes.extend_from_slice(m.as_bytes()),
            4 => bytes.extend_from_slice(&m.as_bytes()[..cut]),
            5 => bytes.extend_from_slice(&m.as_bytes()[cut..]),
            6 => bytes.extend_from_slice(ROLES[rng.random_range(0..ROLES.len())].as_bytes()),
            7 => {
                // One marker inside another.
                let inner = few[rng.random_range(0..few.len())];
                bytes.extend([&m.as_bytes()[..cut], inner.as_bytes(), &m.as_bytes()[cut..]].concat());
            }
            8 if rng.random_bool(0.2) => bytes.extend_from_slice(INVALID[rng.random_range(0..4)]),
            9 => bytes.extend_from_slice(b"\n"),
            _ => bytes.extend_from_slice(TEXT[rng.random_range(0..TEXT.len())].as_bytes()),
        }
    }
    bytes
}

fn random_cuts<'b>(mut bytes: &'b [u8], rng: &mut SmallRng) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(rng.random_range(0..=bytes.len().min(9)));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

#[test]
fn every_way_to_cut_the_bytes_gives_what_the_whole_text_gives() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut with_speech = 0;
    for round in 0..20_000 {
        let bytes = random_bytes(&mut rng);
        let in_thought = round % 8 == 0;
        let text = String::from_utf8_lossy(&bytes);
        let expected = reference(&text, in_thought);
        assert!(!has_marker(&expected), "{text:?} leaves {expected:?}");
        with_speech += usize::from(!expected.trim().is_empty() && expected != text);
        let new = || if in_thought { Splitter::starting_in_thought() } else { Splitter::new() };
        assert_eq!(split(new(), &[&bytes]), expected, "{text:?} whole");
        assert_eq!(split(new(), &bytes.chunks(1).collect::<Vec<_>>()), expected, "{text:?} by bytes");
        for _ in 0..2 {
            let pieces = random_cuts(&bytes, &mut rng);
            assert_eq!(split(new(), &pieces), expected, "{text:?} as {pieces:?}");
        }
    }
    assert!(with_speech > 5_000, "the texts exercise little: {with_speech}");
}
