//! Vocabulary: what is heard is replaced by what is to be written.

use super::spoken::Replacement;
use super::words::{fold, is_unspaced};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// What a phrase of the vocabulary asks for.
#[derive(Clone, Copy)]
enum Wish<'a> {
    /// It was heard: write this.
    Write(&'a str),
    /// It is already written so: leave it, and what is heard within it.
    Keep(&'a str),
}

/// The phrases as a tree of their words.
#[derive(Default)]
struct Node<'a> {
    next: HashMap<String, usize>,
    wish: Option<Wish<'a>>,
}

/// Writes every phrase of `vocabulary` that stands in `text` as whole words, whatever its case, as
/// it is to be written: the longest where several begin, each word of the text once. Time grows with
/// the text and the longest phrase, not with the number of phrases.
pub(super) fn replace<'t>(text: &'t str, vocabulary: &[Replacement]) -> Cow<'t, str> {
    let tree = tree(vocabulary);
    let atoms = atoms(text);
    let (mut out, mut copied, mut i) = (String::new(), 0, 0);
    while i < atoms.len() {
        let Some((used, end, wish)) = longest(&tree, text, &atoms[i..]) else {
            i += 1;
            continue;
        };
        if let Wish::Write(written) = wish {
            out += &text[copied..atoms[i].start];
            out += written;
            copied = end;
        }
        i += used;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out += &text[copied..];
    Cow::Owned(out)
}

fn tree(vocabulary: &[Replacement]) -> Vec<Node<'_>> {
    let mut tree = vec![Node::default()];
    for r in vocabulary {
        add(&mut tree, &r.heard, Wish::Write(&r.written));
    }
    for r in vocabulary {
        add(&mut tree, &r.written, Wish::Keep(&r.written));
    }
    tree
}

/// The first wish for a phrase stands; an empty phrase is none.
fn add<'a>(tree: &mut Vec<Node<'a>>, phrase: &'a str, wish: Wish<'a>) {
    let mut at = 0;
    for atom in atoms(phrase) {
        let free = tree.len();
        let next = *tree[at].next.entry(fold(&phrase[atom])).or_insert(free);
        if next == free {
            tree.push(Node::default());
        }
        at = next;
    }
    if at > 0 {
        tree[at].wish.get_or_insert(wish);
    }
}

/// The longest phrase that begins with the first of `atoms`: its words, where it ends, its wish.
fn longest<'a>(tree: &[Node<'a>], text: &str, atoms: &[Range<usize>]) -> Option<(usize, usize, Wish<'a>)> {
    let start = atoms.first()?.start;
    let (mut node, mut best) = (&tree[0], None);
    for (k, atom) in atoms.iter().enumerate() {
        if k > 0 && !joins(&text[atoms[k - 1].end..atom.start]) {
            break;
        }
        let word = fold(&text[atom.clone()]);
        let wish = |node: &Node<'a>, end: usize| {
            node.wish.filter(|w| !matches!(w, Wish::Keep(as_is) if *as_is != &text[start..end]))
        };
        // "Postgres's"
        if let Some(stem) = word.strip_suffix("'s")
            && let Some(&next) = node.next.get(stem)
        {
            let suffix = text[atom.clone()].char_indices().rev().nth(1).map_or(0, |(i, _)| i);
            let end = atom.start + suffix;
            best = wish(&tree[next], end).map(|w| (k + 1, end, w)).or(best);
        }
        let Some(&next) = node.next.get(&word) else { break };
        node = &tree[next];
        best = wish(node, atom.end).map(|w| (k + 1, atom.end, w)).or(best);
    }
    best
}

/// Whether words with this between them may be one phrase.
fn joins(gap: &str) -> bool {
    gap == "-" || gap.chars().all(|c| c.is_whitespace() && c != '\n')
}

/// Words (letters and digits with apostrophes inside), and every other character by itself, but for
/// white space and hyphens within a compound.
fn atoms(text: &str) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut chars = text.char_indices().peekable();
    let (mut before, mut open) = (' ', false);
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map_or(' ', |&(_, c)| c);
        let inside = is_word(before) && is_word(after);
        let apostrophe = matches!(c, '\'' | '’') && open && inside;
        let end = at + c.len_utf8();
        match out.last_mut() {
            Some(last) if open && (is_word(c) || apostrophe) => last.end = end,
            _ if c.is_whitespace() || c == '-' && inside => {}
            _ => out.push(at..end),
        }
        open = is_word(c) || apostrophe;
        before = c;
    }
    out
}

/// A character that makes a word with its neighbours; combining marks belong to their letter.
fn is_word(c: char) -> bool {
    (c.is_alphanumeric() || matches!(c, '\u{300}'..='\u{36f}')) && !is_unspaced(c)
}
