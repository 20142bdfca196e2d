//! Measurements of the parts and of the whole. Nothing imports this crate.

use std::time::Instant;

/// Runs `work` as the engine does, on a thread that is one of those that compute: handing each product to
/// others and sleeping until they are done costs a third of a decoded token.
///
/// # Errors
/// What `work` fails with, or if no threads can be started.
pub fn in_pool<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    rayon::ThreadPoolBuilder::new().use_current_thread().build()?.install(work)
}

/// Median, minimum and maximum milliseconds of `runs` runs of `work`, after one to warm up.
pub fn time_ms(runs: usize, mut work: impl FnMut()) -> [f64; 3] {
    work();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    [times[runs / 2], times[0], times[runs - 1]]
}

/// Word errors (substitutions, deletions, insertions) of `candidate` and words of `reference`; case
/// and punctuation do not count.
pub fn word_errors(reference: &str, candidate: &str) -> (usize, usize) {
    let words = |text: &str| -> Vec<String> {
        let plain = text.to_lowercase().replace('’', "'");
        let words = plain.split(|c: char| !c.is_alphanumeric() && c != '\'');
        words.filter(|w| !w.is_empty()).map(str::to_string).collect()
    };
    let (reference, candidate) = (words(reference), words(candidate));
    let mut row: Vec<usize> = (0..=candidate.len()).collect();
    for (i, r) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, c) in candidate.iter().enumerate() {
            let cost = diagonal + usize::from(r != c);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    (row[candidate.len()], reference.len())
}

#[cfg(test)]
mod tests {
    #[test]
    fn word_errors_are_the_edit_distance() {
        assert_eq!(super::word_errors("So, it is on.", "so it was"), (2, 4));
        assert_eq!(super::word_errors("", "a b"), (2, 0));
    }
}
