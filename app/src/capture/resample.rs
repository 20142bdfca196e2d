//! A live stream at the device's rate to 16 kHz.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler, WindowFunction};

use super::{CaptureError, RATE_HZ};

/// Least FFT block, in samples at 16 kHz: 32 ms. Half of what files are resampled with, as half the
/// filter's sharpness (flat to 94% of 8 kHz) buys half the delay.
const MIN_BLOCK_SAMPLES: usize = 512;

/// Converts block by block. The output has the input's time axis: the filter's delay is taken off
/// the head, and [`ToSpeechRate::finish`] gives the tail.
pub(super) struct ToSpeechRate {
    /// `None` where the device runs at 16 kHz already.
    fft: Option<Fft<f32>>,
    rate_hz: u32,
    /// Input that does not fill a block yet.
    waiting: Vec<f32>,
    /// Output of one block.
    block: Vec<f32>,
    /// Output samples that are still the filter's delay.
    delay_samples: usize,
    taken_frames: u64,
    given_samples: u64,
}

impl ToSpeechRate {
    pub(super) fn new(rate_hz: u32) -> Result<Self, CaptureError> {
        let fft = (rate_hz != RATE_HZ).then(|| {
            let (from_hz, to_hz) = (rate_hz as usize, RATE_HZ as usize);
            let frames = block_frames(rate_hz, RATE_HZ);
            let window = WindowFunction::BlackmanHarris2;
            Fft::<f32>::new_custom(from_hz, to_hz, frames, 1, 1, window, FixedSync::Both)
        });
        let fft = fft.transpose().map_err(|_| CaptureError::Rate { rate_hz })?;
        let (out_frames, delay_samples) =
            fft.as_ref().map_or((0, 0), |fft| (fft.output_frames_max(), fft.output_delay()));
        let block = vec![0.0; out_frames];
        Ok(Self {
            fft,
            rate_hz,
            waiting: Vec::new(),
            block,
            delay_samples,
            taken_frames: 0,
            given_samples: 0,
        })
    }

    /// Appends to `out` what `input` completes.
    pub(super) fn push(&mut self, input: &[f32], out: &mut Vec<f32>) -> Result<(), CaptureError> {
        self.taken_frames += input.len() as u64;
        let Some(fft) = &self.fft else {
            self.given_samples += input.len() as u64;
            out.extend_from_slice(input);
            return Ok(());
        };
        let block_frames = fft.input_frames_next();
        self.waiting.extend_from_slice(input);
        let waiting = std::mem::take(&mut self.waiting);
        let blocks = waiting.chunks_exact(block_frames);
        self.waiting.extend_from_slice(blocks.remainder());
        for block in blocks {
            self.convert(block, out)?;
        }
        Ok(())
    }

    /// Appends the rest; in all `round(n * 16000 / rate)` samples were given then.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), CaptureError> {
        let exact = self.taken_frames as f64 * f64::from(RATE_HZ) / f64::from(self.rate_hz);
        let wanted = exact.round() as u64;
        let waiting = std::mem::take(&mut self.waiting);
        self.convert(&waiting, out)?;
        while self.given_samples < wanted && self.fft.is_some() {
            self.convert(&[], out)?;
        }
        let surplus = usize::try_from(self.given_samples.saturating_sub(wanted)).unwrap_or(0);
        out.truncate(out.len().saturating_sub(surplus));
        self.given_samples = wanted;
        Ok(())
    }

    /// One block; what it lacks is silence.
    fn convert(&mut self, input: &[f32], out: &mut Vec<f32>) -> Result<(), CaptureError> {
        let Some(fft) = &mut self.fft else { return Ok(()) };
        let broken = |_| CaptureError::Rate { rate_hz: self.rate_hz };
        let frames = self.block.len();
        let reader = InterleavedSlice::new(input, 1, input.len()).map_err(|_| broken(()))?;
        let mut writer = InterleavedSlice::new_mut(&mut self.block, 1, frames).map_err(|_| broken(()))?;
        let indexing = Indexing { partial_len: Some(input.len()), ..Indexing::default() };
        let (_, written) =
            fft.process_into_buffer(&reader, &mut writer, Some(&indexing)).map_err(|_| broken(()))?;
        let cut = self.delay_samples.min(written);
        self.delay_samples -= cut;
        self.given_samples += (written - cut) as u64;
        out.extend_from_slice(&self.block[cut..written]);
        Ok(())
    }
}

/// Input frames of one FFT block: a multiple of the smallest in which both rates are whole numbers
/// of frames. Even, as the filter's delay is half a block and must be whole output frames.
fn block_frames(from_hz: u32, to_hz: u32) -> usize {
    let divisor = gcd(from_hz, to_hz);
    let (smallest_in, smallest_out) = ((from_hz / divisor) as usize, (to_hz / divisor) as usize);
    let multiple = MIN_BLOCK_SAMPLES.div_ceil(smallest_out.max(1));
    smallest_in * multiple.next_multiple_of(2)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// The wave in uneven pieces, as devices give it.
    fn converted(rate_hz: u32, frames: usize, wave: impl Fn(f64) -> f64) -> Vec<f32> {
        let input: Vec<f32> = (0..frames).map(|i| wave(i as f64 / f64::from(rate_hz)) as f32).collect();
        let (mut resampler, mut out, mut rest) =
            (ToSpeechRate::new(rate_hz).unwrap(), Vec::new(), &input[..]);
        for size in [1, 7, 441, 480, 1023, 4096].into_iter().cycle() {
            let (piece, left) = rest.split_at(size.min(rest.len()));
            resampler.push(piece, &mut out).unwrap();
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        resampler.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn tones_keep_60_db_and_their_place_in_time() {
        for rate_hz in [8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000] {
            let nyquist_hz = f64::from(rate_hz.min(RATE_HZ)) / 2.0;
            for share in [0.02, 0.3, 0.8] {
                let wave = |t: f64| 0.5 * (TAU * nyquist_hz * share * t + 0.3).sin();
                let out = converted(rate_hz, rate_hz as usize, wave);
                let (mut signal, mut error) = (0.0, 0.0);
                for (i, sample) in out.iter().enumerate().take(14_400).skip(1_600) {
                    let ideal = wave(i as f64 / f64::from(RATE_HZ));
                    signal += ideal * ideal;
                    error += (ideal - f64::from(*sample)).powi(2);
                }
                let snr_db = 10.0 * (signal / error).log10();
                assert!(snr_db > 60.0, "{rate_hz} Hz, {share} of Nyquist: {snr_db:.1} dB");
            }
        }
    }

    #[test]
    fn lengths_are_exact() {
        for rate_hz in [8_000, 11_025, 16_000, 44_100, 48_000] {
            for frames in [1, 7, 500, 1_536, 30_001] {
                let exact = frames as f64 * f64::from(RATE_HZ) / f64::from(rate_hz);
                let out = converted(rate_hz, frames, |_| 0.5);
                assert_eq!(out.len(), exact.round() as usize, "{frames} at {rate_hz}");
            }
        }
    }

    #[test]
    fn blocks_at_the_rates_of_devices_are_short() {
        for rate_hz in [8_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000] {
            let block_ms = block_frames(rate_hz, RATE_HZ) * 1000 / rate_hz as usize;
            assert!(block_ms <= 40, "{rate_hz}: {block_ms} ms");
        }
    }
}
