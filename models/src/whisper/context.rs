use undertone_kernels::attention::Sampled;

/// Positions one sampled position of silence stands for.
const EACH: usize = 16;

/// Which positions of a window are encoded (`n_audio_ctx` of OpenAI's code is how many).
///
/// Whisper was trained on windows of 30 s, most of a short one silence, and loops or stops early when
/// it is simply cut. But silence is even: all its positions hold the same sound and differ by their
/// place alone. So of the silence behind the speech only every sixteenth position is computed, at its
/// true place, and attention counts it sixteen times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioContext {
    /// Positions from the start that are all there.
    dense: usize,
    /// Positions of the whole window.
    total: usize,
    /// How many positions each of the others stands for.
    each: usize,
}

impl AudioContext {
    /// All of `total` positions.
    pub fn full(total: usize) -> AudioContext {
        AudioContext { dense: total, total, each: 1 }
    }

    /// The first `dense` of `total` positions (a few more, so that the others divide evenly), and of the
    /// others a sample.
    pub fn sampled(dense: usize, total: usize) -> AudioContext {
        let samples = total.saturating_sub(dense) / EACH;
        if samples == 0 {
            return AudioContext::full(total);
        }
        AudioContext { dense: total - samples * EACH, total, each: EACH }
    }

    /// Positions that are encoded.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.dense + (self.total - self.dense) / self.each
    }

    /// Mel frames that must be there to compute them.
    pub fn mel_frames(&self) -> usize {
        // One position of the silence, and the frames its convolutions reach, besides.
        if self.is_full() { 2 * self.total } else { 2 * self.dense + 4 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.dense == self.total
    }

    /// Positions that are all there.
    pub(crate) fn dense(&self) -> usize {
        self.dense
    }

    /// Places in the window of the encoded positions: of a sample the middle of what it stands for.
    pub(crate) fn places(&self) -> Vec<u32> {
        let sampled = (self.dense..self.total).step_by(self.each).map(|p| p + self.each / 2);
        (0..self.dense).chain(sampled).map(|p| p as u32).collect()
    }

    /// How attention counts them.
    pub(crate) fn keys(&self) -> Option<Sampled> {
        (!self.is_full()).then_some(Sampled { from: self.dense, each: self.each })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_there_or_stood_for() {
        for dense in [0, 1, 300, 1483, 1484, 1485, 1500, 2000] {
            let context = AudioContext::sampled(dense, 1500);
            assert!(context.dense() >= dense.min(1500));
            let each = context.keys().map_or(1, |keys| keys.each);
            let sampled = context.len() - context.dense();
            assert_eq!(context.dense() + sampled * each, 1500, "{dense}");
            let places = context.places();
            assert_eq!(places.len(), context.len());
            assert!(places.is_sorted_by(|a, b| a < b) && places.iter().all(|p| *p < 1500), "{dense}");
            assert!(context.mel_frames() <= 3000, "{dense}");
        }
        assert_eq!(AudioContext::sampled(1485, 1500), AudioContext::full(1500));
    }
}
