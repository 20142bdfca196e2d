//! The cheapest way from one sequence to another in substitutions, deletions and insertions (Levenshtein 1966).

/// Cells of a table of which all steps are kept; larger ones are cut in two (Hirschberg 1975).
const TABLE_CELLS: usize = 1 << 22;

/// A step from reference to hypothesis; indices are those of the two sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Same(usize, usize),
    Substitute(usize, usize),
    /// What the reference has and the hypothesis has not.
    Delete(usize),
    Insert(usize),
}

/// The steps, in order. Memory grows with the sum of the lengths, time with their product.
pub(crate) fn align<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Vec<Step> {
    let mut steps = Vec::with_capacity(reference.len().max(hypothesis.len()));
    between(reference, hypothesis, (0, 0), &mut steps);
    steps
}

fn between<T: PartialEq>(a: &[T], b: &[T], (i, j): (usize, usize), steps: &mut Vec<Step>) {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    steps.extend((0..head).map(|k| Step::Same(i + k, j + k)));
    let (a, b, i, j) = (&a[head..], &b[head..], i + head, j + head);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (end_a, end_b) = (a.len() - tail, b.len() - tail);
    let (a, b) = (&a[..end_a], &b[..end_b]);
    if a.len() > 1 && (a.len() + 1) * (b.len() + 1) > TABLE_CELLS {
        let middle = a.len() / 2;
        let cut = cut(&a[..middle], &a[middle..], b);
        between(&a[..middle], &b[..cut], (i, j), steps);
        between(&a[middle..], &b[cut..], (i + middle, j + cut), steps);
    } else {
        table(a, b, (i, j), steps);
    }
    steps.extend((0..tail).map(|k| Step::Same(i + end_a + k, j + end_b + k)));
}

/// Where `b` is cut in two so that its parts are cheapest from the halves of the reference.
fn cut<T: PartialEq>(first: &[T], second: &[T], b: &[T]) -> usize {
    let before = last_row(first.iter(), b.iter());
    let behind = last_row(second.iter().rev(), b.iter().rev());
    (0..=b.len()).min_by_key(|&k| before[k] + behind[b.len() - k]).unwrap_or(0)
}

/// What it costs to go from all of `a` to each beginning of `b`.
fn last_row<'t, T: PartialEq + 't>(
    a: impl Iterator<Item = &'t T>,
    b: impl Iterator<Item = &'t T> + Clone,
) -> Vec<u32> {
    let mut row: Vec<u32> = (0..).take(b.clone().count() + 1).collect();
    for x in a {
        let mut diagonal = row[0];
        row[0] += 1;
        for (k, y) in b.clone().enumerate() {
            let cost = diagonal + u32::from(x != y);
            diagonal = row[k + 1];
            row[k + 1] = cost.min(diagonal + 1).min(row[k] + 1);
        }
    }
    row
}

/// Fills the whole table and walks back.
fn table<T: PartialEq>(a: &[T], b: &[T], (i, j): (usize, usize), steps: &mut Vec<Step>) {
    let width = b.len() + 1;
    let mut costs: Vec<u32> = vec![0; (a.len() + 1) * width];
    for x in 0..=a.len() {
        for y in 0..width {
            costs[x * width + y] = match (x, y) {
                (0, y) => y as u32,
                (x, 0) => x as u32,
                _ => (costs[(x - 1) * width + y - 1] + u32::from(a[x - 1] != b[y - 1]))
                    .min(costs[(x - 1) * width + y] + 1)
                    .min(costs[x * width + y - 1] + 1),
            };
        }
    }
    let (mut x, mut y, begin) = (a.len(), b.len(), steps.len());
    while x + y > 0 {
        let here = costs[x * width + y];
        let (at_a, at_b) = ((i + x).wrapping_sub(1), (j + y).wrapping_sub(1));
        if x > 0 && y > 0 && a[x - 1] == b[y - 1] && here == costs[(x - 1) * width + y - 1] {
            steps.push(Step::Same(at_a, at_b));
            (x, y) = (x - 1, y - 1);
        } else if x > 0 && y > 0 && here == costs[(x - 1) * width + y - 1] + 1 {
            steps.push(Step::Substitute(at_a, at_b));
            (x, y) = (x - 1, y - 1);
        } else if x > 0 && here == costs[(x - 1) * width + y] + 1 {
            steps.push(Step::Delete(at_a));
            x -= 1;
        } else {
            steps.push(Step::Insert(at_b));
            y -= 1;
        }
    }
    steps[begin..].reverse();
}

/// The number of steps that change something, without the steps.
pub(crate) fn distance<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> usize {
    let head = reference.iter().zip(hypothesis).take_while(|(x, y)| x == y).count();
    let row = last_row(reference[head..].iter(), hypothesis[head..].iter());
    row.last().map_or(0, |cost| *cost as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn changes(steps: &[Step]) -> usize {
        steps.iter().filter(|s| !matches!(s, Step::Same(..))).count()
    }

    #[test]
    fn steps_are_found() {
        use Step::{Delete, Insert, Same, Substitute};
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        assert_eq!(
            align(&words("the cat sat on it"), &words("a cat on it now")),
            [Substitute(0, 0), Same(1, 1), Delete(2), Same(3, 2), Same(4, 3), Insert(4)]
        );
        assert_eq!(align::<u8>(&[], &[]), []);
    }

    proptest! {
        #[test]
        fn every_alignment_spells_both_and_costs_the_distance(
            a in proptest::collection::vec(0_u8..4, 0..40),
            b in proptest::collection::vec(0_u8..4, 0..40),
        ) {
            let steps = align(&a, &b);
            prop_assert_eq!(changes(&steps), distance(&a, &b));
            prop_assert_eq!(strsim::generic_levenshtein(&a, &b), distance(&a, &b));
            let (mut i, mut j) = (0, 0);
            for step in steps {
                match step {
                    Step::Same(x, y) => prop_assert!((x, y) == (i, j) && a[x] == b[y]),
                    Step::Substitute(x, y) => prop_assert!((x, y) == (i, j) && a[x] != b[y]),
                    Step::Delete(x) => prop_assert_eq!(x, i),
                    Step::Insert(y) => prop_assert_eq!(y, j),
                }
                i += usize::from(!matches!(step, Step::Insert(_)));
                j += usize::from(!matches!(step, Step::Delete(_)));
            }
            prop_assert_eq!((i, j), (a.len(), b.len()));
        }
    }

    #[test]
    fn long_sequences_are_cut_and_cost_the_same() {
        let next = |seed: &mut u32| {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *seed >> 29
        };
        let mut seed = 7;
        let a: Vec<u32> = (0..5000).map(|_| next(&mut seed)).collect();
        let b: Vec<u32> = (0..4000).map(|_| next(&mut seed)).collect();
        assert_eq!(changes(&align(&a, &b)), distance(&a, &b));
    }
}
