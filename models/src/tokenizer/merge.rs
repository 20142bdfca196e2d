//! Byte-pair merging over one run of text, with a heap: O(n log n) however long the run is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A piece that is still alive has `end > start`; a piece merged into its left neighbour is empty.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Joins neighbouring pieces, best pair first, until no pair may be joined.
///
/// `bounds` are the ends of the first pieces in order (the first piece starts at 0). `rank` says
/// how good the piece `start..end` would be: lower is joined sooner, `None` never; of equals, the
/// leftmost goes first. Returns the ends of the pieces which are left.
pub(super) fn merge_pairs<K: Ord>(
    bounds: &[usize],
    mut rank: impl FnMut(usize, usize) -> Option<K>,
) -> Vec<usize> {
    let mut symbols = Vec::with_capacity(bounds.len());
    let mut start = 0;
    for (index, &end) in bounds.iter().enumerate() {
        symbols.push(Symbol {
            start,
            end,
            previous: index.checked_sub(1),
            next: (index + 1 < bounds.len()).then_some(index + 1),
        });
        start = end;
    }
    let mut queue = BinaryHeap::new();
    for left in 0..symbols.len() {
        push_pair(&symbols, Some(left), &mut rank, &mut queue);
    }
    while let Some(Reverse((_, left, end))) = queue.pop() {
        // An entry is stale when its left piece is gone or the pair no longer ends where it did.
        let Some(right) = symbols[left].next else {
            continue;
        };
        if symbols[left].end == symbols[left].start || symbols[right].end != end {
            continue;
        }
        let after = symbols[right].next;
        symbols[left].end = end;
        symbols[left].next = after;
        symbols[right].start = end;
        if let Some(after) = after {
            symbols[after].previous = Some(left);
        }
        push_pair(&symbols, symbols[left].previous, &mut rank, &mut queue);
        push_pair(&symbols, Some(left), &mut rank, &mut queue);
    }
    symbols.iter().filter(|symbol| symbol.end > symbol.start).map(|symbol| symbol.end).collect()
}

/// Queues the pair that begins with the piece `left`, if there is one and it may be joined.
fn push_pair<K: Ord>(
    symbols: &[Symbol],
    left: Option<usize>,
    rank: &mut impl FnMut(usize, usize) -> Option<K>,
    queue: &mut BinaryHeap<Reverse<(K, usize, usize)>>,
) {
    let Some(left) = left else { return };
    let Some(right) = symbols[left].next else {
        return;
    };
    let end = symbols[right].end;
    if let Some(key) = rank(symbols[left].start, end) {
        queue.push(Reverse((key, left, end)));
    }
}

#[cfg(test)]
mod tests {
    use super::merge_pairs;

    fn pieces<'a>(text: &'a str, ranks: &[(&str, u32)]) -> Vec<&'a str> {
        let bounds: Vec<usize> = (1..=text.len()).collect();
        let rank = |start, end| {
            let joined = text.get(start..end)?;
            ranks.iter().find(|(piece, _)| *piece == joined).map(|r| r.1)
        };
        let mut start = 0;
        let ends = merge_pairs(&bounds, rank);
        let cut = ends.iter().map(|&end| {
            let piece = &text[start..end];
            start = end;
            piece
        });
        cut.collect()
    }

    #[test]
    fn best_pair_first_and_leftmost_of_equals() {
        assert_eq!(pieces("aaa", &[("aa", 1)]), ["aa", "a"]);
        assert_eq!(pieces("abc", &[("ab", 2), ("bc", 1)]), ["a", "bc"]);
        assert_eq!(pieces("abcab", &[("ab", 1), ("abc", 2), ("abcab", 3)]), ["abcab"]);
        assert!(pieces("", &[("ab", 1)]).is_empty());
    }
}
