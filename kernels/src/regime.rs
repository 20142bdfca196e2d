/// Rows up to which [`Regime::of_rows`] takes [`Regime::Few`].
pub const MAX_FEW_ROWS: usize = 8;

/// How rows meet a matrix or a cache. The two round differently; within one, what comes out for a
/// row depends on that row alone, bit for bit: not on how many are beside it, nor where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    /// Dot products, for at most [`MAX_FEW_ROWS`] rows: decoding and the verification of drafts,
    /// where reading the weights is the cost.
    Few,
    /// Register tiles over packed panels, for any number of rows: prefill, encoders, scoring.
    Many,
}

impl Regime {
    /// The faster one for `rows` rows, where results need not be equal across batch sizes.
    pub fn of_rows(rows: usize) -> Regime {
        if rows <= MAX_FEW_ROWS { Regime::Few } else { Regime::Many }
    }
}
