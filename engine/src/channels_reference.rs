//! What the splitter must give, computed on the whole text at once: for its tests and for `fuzz/`.

use super::*;

/// How the thoughts of families begin and end that nest, and nothing else is to be known of.
pub fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    BLOCKS.iter().filter(|b| b.shape == Shape::Pair).map(|b| (b.open, b.close))
}

/// Whether a marker stands in `text`.
pub fn has_marker(text: &str) -> bool {
    !occurrences(text).is_empty()
}

pub(super) fn listed() -> impl Iterator<Item = &'static str> {
    BLOCKS.iter().flat_map(|b| [b.open, b.close]).chain(REMNANTS)
}

/// All markers in `text`, as byte ranges.
fn occurrences(text: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<_> =
        listed().flat_map(|m| text.match_indices(m).map(|(at, m)| (at, at + m.len()))).collect();
    for (open, close) in [("<|", "|>"), ("<｜", "｜>")] {
        found.extend(text.match_indices(open).filter_map(|(at, _)| {
            let (name, _) = text[at + open.len()..].split_once(close)?;
            is_name(name).then_some((at, at + open.len() + name.len() + close.len()))
        }));
    }
    found
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.chars().count())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_▁-.:".contains(c))
}

fn first(text: &str) -> Option<(usize, usize)> {
    occurrences(text).into_iter().min_by_key(|&(start, end)| (end, start))
}

/// Where the text behind an opened block goes on.
fn behind_block<'t>(mut text: &'t str, mut by: Option<&str>) -> Option<&'t str> {
    let mut depth = 1;
    while let Some((start, end)) = first(text) {
        let m = &text[start..end];
        text = &text[end..];
        for b in BLOCKS.iter().filter(|b| match by {
            Some(open) => b.open == open,
            None => b.shape != Shape::Header,
        }) {
            if b.close == m {
                depth -= 1;
                break;
            } else if b.open == m {
                depth += usize::from(by.is_some() && b.shape == Shape::Pair);
                by = Some(b.open);
                break;
            }
        }
        if depth == 0 {
            return Some(text);
        }
    }
    None
}

/// Bytes at the end of `text` that begin some marker.
fn stump_bytes(text: &str) -> usize {
    let begins = |end: &str| {
        let name = ["<|", "<｜"].iter().find_map(|bar| end.strip_prefix(bar));
        let named = name.is_some_and(|n| is_name(n.strip_suffix(['|', '｜']).unwrap_or(n)));
        let mixed = end.contains('|') && end.contains('｜');
        (named && !mixed) || listed().any(|m| m.starts_with(end)) || end == "<｜"
    };
    (0..text.len())
        .find(|&at| text.is_char_boundary(at) && begins(&text[at..]))
        .map_or(0, |at| text.len() - at)
}

/// The speech of a whole text: remove the first marker until there is none.
pub fn speech(text: &str, in_thought: bool) -> String {
    let mut text = if in_thought { behind_block(text, None).unwrap_or("") } else { text }.to_owned();
    let mut role_at = None;
    while let Some((start, end)) = first(&text) {
        let (mut head, m, mut rest) = (&text[..start], &text[start..end], &text[end..]);
        if BLOCKS.iter().any(|b| b.shape == Shape::Pair && b.close == m) {
            head = "";
        }
        if let Some((before, name)) = role_at.take().and_then(|at| head.split_at_checked(at))
            && ROLES.contains(&name)
        {
            head = before;
        }
        if BLOCKS.iter().any(|b| b.open == m) {
            rest = behind_block(rest, Some(m)).unwrap_or("");
        } else if stump_bytes(head) == 0 {
            match ROLES.iter().find_map(|r| rest.strip_prefix(r)?.strip_prefix('\n')) {
                Some(behind) => rest = behind,
                None => role_at = Some(head.len()),
            }
        }
        text = format!("{head}{rest}");
    }
    let (head, tail) = text.split_at(text.len() - stump_bytes(&text));
    let special = tail.find("<|").or(tail.find("<｜"));
    let remnant = tail.len() >= 5 && REMNANTS.iter().any(|r| r.starts_with(tail));
    let kept = format!("{head}{}", &tail[..special.unwrap_or(if remnant { 0 } else { tail.len() })]);
    match role_at.and_then(|at| kept.split_at_checked(at)) {
        Some((before, name)) if ROLES.contains(&name) => before.to_owned(),
        _ => kept,
    }
}
