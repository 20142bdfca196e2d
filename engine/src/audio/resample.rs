//! Any rate to the rate of the speech model.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use super::{AudioError, Decoded};

/// Mono samples at the rate that was asked for (16 kHz for Whisper).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pcm {
    /// Samples, nominally in -1..=1.
    pub samples: Vec<f32>,
}

/// Least FFT block on the slower side, in frames. It sets the width of the filter's transition
/// band: at 1024 it lies above 97% of the lower Nyquist frequency.
const MIN_BLOCK_FRAMES: usize = 1024;

/// Resamples to `target_hz`; a recording at that rate passes through untouched.
///
/// The output has `round(n * target_hz / rate)` samples and the same time axis as the input: the
/// filter's delay is removed at the head and its tail flushed at the end. Synchronous FFT
/// resampling (rubato's `Fft` with a squared Blackman-Harris window).
///
/// # Errors
/// [`AudioError::Resample`] for a rate of zero, [`AudioError::OutOfMemory`].
pub fn resample(decoded: Decoded, target_hz: u32) -> Result<Pcm, AudioError> {
    let from_hz = decoded.sample_rate_hz;
    if from_hz == target_hz {
        return Ok(Pcm { samples: decoded.pcm });
    }
    let failed = |reason: String| AudioError::Resample { from_hz, to_hz: target_hz, reason };
    if from_hz == 0 || target_hz == 0 {
        return Err(failed("a rate of zero".to_owned()));
    }
    let input = decoded.pcm;
    let exact = input.len() as f64 * f64::from(target_hz) / f64::from(from_hz);
    let wanted = exact.round() as usize;
    if wanted == 0 {
        return Ok(Pcm::default());
    }
    let block_frames = block_frames(from_hz, target_hz);
    let mut resampler = Fft::<f32>::new_custom(
        from_hz as usize,
        target_hz as usize,
        block_frames,
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .map_err(|error| failed(error.to_string()))?;

    let buffer_frames = resampler.process_all_needed_output_len(input.len());
    let mut samples: Vec<f32> = Vec::new();
    samples
        .try_reserve_exact(buffer_frames)
        .map_err(|_| AudioError::OutOfMemory { samples: buffer_frames })?;
    samples.resize(buffer_frames, 0.0);
    let reader = InterleavedSlice::new(&input, 1, input.len()).map_err(|error| failed(error.to_string()))?;
    let mut writer = InterleavedSlice::new_mut(&mut samples, 1, buffer_frames)
        .map_err(|error| failed(error.to_string()))?;
    resampler
        .process_all_into_buffer(&reader, &mut writer, input.len(), None)
        .map_err(|error| failed(error.to_string()))?;
    samples.truncate(wanted);
    Ok(Pcm { samples })
}

/// Input frames of one FFT block: a multiple of the smallest block in which both rates are whole
/// numbers of frames. The multiple is even, because the filter's delay is half a block and must be
/// a whole number of output frames.
fn block_frames(from_hz: u32, to_hz: u32) -> usize {
    let divisor = gcd(from_hz, to_hz);
    let (smallest_in, smallest_out) = ((from_hz / divisor) as usize, (to_hz / divisor) as usize);
    let multiple = MIN_BLOCK_FRAMES.div_ceil(smallest_in.min(smallest_out).max(1));
    smallest_in * multiple.next_multiple_of(2)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    const OUT_HZ: u32 = 16_000;

    fn decoded(rate_hz: u32, seconds: f64, wave: impl Fn(f64) -> f64) -> Decoded {
        let frames = (seconds * f64::from(rate_hz)) as usize;
        let pcm = (0..frames).map(|i| wave(i as f64 / f64::from(rate_hz)) as f32).collect();
        Decoded { pcm, sample_rate_hz: rate_hz, channels: 1, duration_s: seconds, warning: None }
    }

    fn rms(values: impl Iterator<Item = f64>) -> f64 {
        let (sum, count) = values.fold((0.0, 0usize), |(s, n), v| (s + v * v, n + 1));
        (sum / count.max(1) as f64).sqrt()
    }

    /// Signal to error in dB against the ideal wave, edges of 100 ms left out.
    fn snr_db(out: &[f32], wave: impl Fn(f64) -> f64) -> f64 {
        let range = 1600..out.len() - 1600;
        let ideal = |i: usize| wave(i as f64 / f64::from(OUT_HZ));
        let signal = rms(range.clone().map(ideal));
        let error = rms(range.map(|i| f64::from(out[i]) - ideal(i)));
        20.0 * (signal / error).log10()
    }

    #[test]
    fn tones_in_the_pass_band_keep_60_db_at_every_rate() {
        for rate_hz in
            [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 44_101]
        {
            let nyquist = f64::from(rate_hz.min(OUT_HZ)) / 2.0;
            for share in [0.01, 0.1, 0.3, 0.6, 0.85, 0.93] {
                let wave = |t: f64| 0.5 * (TAU * nyquist * share * t + 0.3).sin();
                let out = resample(decoded(rate_hz, 1.5, wave), OUT_HZ).unwrap().samples;
                let snr = snr_db(&out, wave);
                assert!(snr > 60.0, "{rate_hz} Hz, {share} of Nyquist: {snr:.1} dB");
            }
        }
    }

    #[test]
    fn a_sweep_keeps_60_db() {
        // 100 Hz to 7 kHz in two seconds; phase of a linear sweep.
        let wave = |t: f64| 0.5 * (TAU * (100.0 * t + (6900.0 / 4.0) * t * t)).sin();
        let out = resample(decoded(48_000, 2.0, wave), OUT_HZ).unwrap().samples;
        assert!(snr_db(&out, wave) > 60.0, "{}", snr_db(&out, wave));
    }

    #[test]
    fn tones_above_the_new_nyquist_vanish() {
        for (rate_hz, tone_hz) in
            [(48_000, 8_200.0), (48_000, 12_000.0), (44_100, 9_000.0), (44_100, 21_000.0)]
        {
            let wave = |t: f64| 0.5 * (TAU * tone_hz * t).sin();
            let out = resample(decoded(rate_hz, 1.0, wave), OUT_HZ).unwrap().samples;
            let left = rms(out[1600..out.len() - 1600].iter().map(|s| f64::from(*s)));
            let db = 20.0 * (left / (0.5 / 2f64.sqrt())).log10();
            assert!(db < -60.0, "{tone_hz} Hz at {rate_hz}: {db:.1} dB");
        }
    }

    #[test]
    fn lengths_are_exact_and_nothing_is_lost_at_either_end() {
        for rate_hz in [1_000, 8_000, 11_025, 44_100, 48_000, 767_999, 768_000] {
            for frames in [1usize, 7, 500, 4_410, 30_001] {
                let input = Decoded {
                    pcm: vec![0.5; frames],
                    sample_rate_hz: rate_hz,
                    channels: 1,
                    duration_s: 0.0,
                    warning: None,
                };
                let out = resample(input, OUT_HZ).unwrap().samples;
                let exact = frames as f64 * f64::from(OUT_HZ) / f64::from(rate_hz);
                assert_eq!(out.len(), exact.round() as usize, "{frames} at {rate_hz}");
            }
        }
        // A click near each end stays where it was.
        let mut pcm = vec![0.0f32; 44_100];
        pcm[441] = 1.0;
        pcm[44_100 - 441] = 1.0;
        let input = Decoded { pcm, sample_rate_hz: 44_100, channels: 1, duration_s: 1.0, warning: None };
        let out = resample(input, OUT_HZ).unwrap().samples;
        let peak = |range: std::ops::Range<usize>| {
            range.max_by(|a, b| out[*a].abs().total_cmp(&out[*b].abs())).unwrap()
        };
        assert_eq!((peak(0..8_000), peak(8_000..16_000)), (160, 16_000 - 160));
    }

    #[test]
    fn the_target_rate_passes_through_and_zero_is_refused() {
        let input = decoded(OUT_HZ, 0.1, |t| t);
        assert_eq!(resample(input.clone(), OUT_HZ).unwrap().samples, input.pcm);
        let silent = Decoded { sample_rate_hz: 0, ..input };
        assert!(matches!(resample(silent, OUT_HZ), Err(AudioError::Resample { .. })));
    }
}
