//! Interleaved frames to one channel, with the bounds every decoder shares.

use std::path::Path;

use super::{AudioError, MAX_DURATION_S};

/// Magnitude above which a float sample is taken for damage (full scale is 1.0).
const MAX_MAGNITUDE: f64 = 1e6;
/// Rate whose 24 hours bound the number of samples whatever rate a header claims.
const BOUND_RATE_HZ: f64 = 48_000.0;
/// Mono samples reserved at a time, so that memory follows what was decoded and not what was claimed.
const GROW_SAMPLES: usize = 1 << 20;

/// Collects the mean of each frame's channels.
pub(super) struct MonoMix {
    pub(super) pcm: Vec<f32>,
    pub(super) bad_samples: u64,
    max_samples: usize,
}

impl MonoMix {
    pub(super) fn new(sample_rate_hz: u32) -> Self {
        let rate_hz = f64::from(sample_rate_hz).min(BOUND_RATE_HZ);
        Self { pcm: Vec::new(), bad_samples: 0, max_samples: (rate_hz * MAX_DURATION_S) as usize }
    }

    /// Appends `samples` (frames of `channels` interleaved values); a partial last frame is ignored.
    pub(super) fn push_interleaved(
        &mut self,
        path: &Path,
        samples: &[f32],
        channels: usize,
    ) -> Result<(), AudioError> {
        let channels = channels.max(1);
        let frames = samples.len() / channels;
        let total = self.pcm.len().saturating_add(frames);
        if total > self.max_samples {
            return Err(AudioError::TooLong { path: path.into() });
        }
        if total > self.pcm.capacity() {
            let more = frames.max(GROW_SAMPLES).max(self.pcm.len() / 2);
            self.pcm
                .try_reserve(more)
                .map_err(|_| AudioError::OutOfMemory { samples: self.pcm.len() + more })?;
        }
        for frame in samples.chunks_exact(channels) {
            let mut sum = 0.0f64;
            for &sample in frame {
                let sample = f64::from(sample);
                // Also false for NaN.
                if sample.abs() <= MAX_MAGNITUDE {
                    sum += sample;
                } else {
                    self.bad_samples += 1;
                }
            }
            self.pcm.push((sum / channels as f64) as f32);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_channels_and_silences_what_is_no_number() {
        let mut mix = MonoMix::new(16_000);
        let samples = [0.5, -0.5, 1.0, 0.5, f32::NAN, 0.5, f32::INFINITY, f32::NEG_INFINITY, 0.25];
        mix.push_interleaved(Path::new("x"), &samples, 2).unwrap();
        assert_eq!(mix.pcm, [0.0, 0.75, 0.25, 0.0]);
        assert_eq!(mix.bad_samples, 3);
    }

    #[test]
    fn refuses_more_than_a_day() {
        let mut mix = MonoMix::new(1_000);
        mix.max_samples = 100;
        assert!(mix.push_interleaved(Path::new("x"), &[0.0; 100], 1).is_ok());
        let error = mix.push_interleaved(Path::new("x"), &[0.0; 1], 1).unwrap_err();
        assert!(matches!(error, AudioError::TooLong { .. }));
    }
}
