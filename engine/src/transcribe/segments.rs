use undertone_models::whisper::SpecialTokens;

/// Tokens of one segment with times relative to the window.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) start_s: f64,
    pub(super) end_s: f64,
    pub(super) tokens: Vec<u32>,
}

/// A window's segments, and how many mel frames it settles.
#[derive(Debug, PartialEq)]
pub(super) struct Cut {
    pub(super) pieces: Vec<Piece>,
    pub(super) advance_frames: usize,
}

/// Mel frames a timestamp step.
const FRAMES_PER_STEP: usize = 2;

/// Splits a window's tokens where two timestamps meet. What follows the last pair without a
/// closing time is left to the next window, which starts there.
pub(super) fn split(tokens: &[u32], timestamp_begin: u32, frames: usize) -> Cut {
    let is_time = |t: &u32| *t >= timestamp_begin;
    let step = |t: u32| t.saturating_sub(timestamp_begin) as usize;
    let seconds = |t: u32| step(t) as f64 * SpecialTokens::TIME_PRECISION_S;
    let pairs: Vec<usize> =
        (1..tokens.len()).filter(|i| is_time(&tokens[*i]) && is_time(&tokens[i - 1])).collect();
    let closed = matches!(tokens, [.., text, time] if !is_time(text) && is_time(time));
    if pairs.is_empty() {
        let last = tokens.iter().rev().find(|t| is_time(t)).filter(|t| step(**t) > 0);
        let end_s = last.map_or(frames as f64 / 100.0, |t| seconds(*t));
        let pieces = vec![Piece { start_s: 0.0, end_s, tokens: tokens.to_vec() }];
        return Cut { pieces, advance_frames: frames };
    }
    let mut pieces = Vec::new();
    let mut from = 0;
    for to in pairs.into_iter().chain(closed.then_some(tokens.len())) {
        let piece = &tokens[from..to];
        if let [first, .., last] = piece {
            pieces.push(Piece { start_s: seconds(*first), end_s: seconds(*last), tokens: piece.to_vec() });
        }
        from = to;
    }
    let advance_frames = if closed { frames } else { step(tokens[from - 1]) * FRAMES_PER_STEP };
    Cut { pieces, advance_frames: advance_frames.min(frames) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u32 = 1000;

    #[test]
    fn an_unclosed_tail_is_left_to_the_next_window() {
        let cut = split(&[T, 1, 2, T + 100, T + 110, 3], T, 3000);
        assert_eq!(cut.advance_frames, 200);
        assert_eq!(cut.pieces, [Piece { start_s: 0.0, end_s: 2.0, tokens: vec![T, 1, 2, T + 100] }]);
    }

    #[test]
    fn a_closed_window_is_settled_whole() {
        let cut = split(&[T, 1, T + 100, T + 110, 3, T + 200], T, 1234);
        assert_eq!((cut.advance_frames, cut.pieces.len()), (1234, 2));
        assert_eq!((cut.pieces[1].start_s, cut.pieces[1].end_s), (2.2, 4.0));
    }

    #[test]
    fn without_pairs_all_is_one_segment() {
        assert_eq!(split(&[T, 1, 2, T + 50], T, 700).pieces[0].end_s, 1.0);
        let cut = split(&[T, 1, 2], T, 700);
        assert_eq!((cut.pieces[0].end_s, cut.advance_frames), (7.0, 700));
        assert_eq!(split(&[], T, 700).advance_frames, 700);
    }
}
