//! Measurements of the parts and of the whole. Nothing imports this crate.

use std::time::Instant;

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
