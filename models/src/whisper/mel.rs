use crate::error::Result;
use crate::gpu::GpuMel;
use realfft::{RealFftPlanner, RealToComplex};
use std::sync::Arc;
use undertone_kernels::gpu::Gpu;

/// Samples a second Whisper hears.
pub const SAMPLE_RATE_HZ: u32 = 16_000;
/// Mel frames a second.
pub const FRAMES_PER_SECOND: usize = 100;
/// Mel frames of the 30 s window.
pub const WINDOW_FRAMES: usize = 3000;

const N_FFT: usize = 400;
const HOP: usize = 160;
const BINS: usize = N_FFT / 2 + 1;

/// A log-mel spectrogram, time outermost: `[frames, num_mel_bins]`.
#[derive(Clone, Debug)]
pub struct Mel {
    /// Values, frame by frame.
    pub data: Vec<f32>,
    /// Mel bands.
    pub num_mel_bins: usize,
    /// What digital silence would be in this spectrogram: its lowest value.
    pub floor: f32,
}

impl Mel {
    /// Frames of 10 ms.
    pub fn frames(&self) -> usize {
        self.data.len() / self.num_mel_bins
    }

    /// Frames `from..from + frames`, filled up with `padding` past the end.
    pub fn window(&self, from: usize, frames: usize, padding: f32) -> Vec<f32> {
        let end = (from + frames).min(self.frames());
        let mut out = self.data[from.min(end) * self.num_mel_bins..end * self.num_mel_bins].to_vec();
        out.resize(frames * self.num_mel_bins, padding);
        out
    }
}

/// Whisper's log-mel front end: 25 ms Hann windows every 10 ms, Slaney mel bands, log10, the
/// range limited to 8 below the loudest, scaled to about [-1, 1] (`whisper/audio.py`).
pub struct MelFrontEnd {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// Per band: first non-zero FFT bin, and the weights from there.
    filters: Vec<(usize, Vec<f32>)>,
    device: Option<GpuMel>,
}

impl MelFrontEnd {
    /// Plans the transform and computes the filters for `num_mel_bins` bands (80 or 128).
    pub fn new(num_mel_bins: usize) -> MelFrontEnd {
        let phase = |i: usize| 2.0 * std::f64::consts::PI * i as f64 / N_FFT as f64;
        MelFrontEnd {
            fft: RealFftPlanner::new().plan_fft_forward(N_FFT),
            window: (0..N_FFT).map(|i| (0.5 - 0.5 * phase(i).cos()) as f32).collect(),
            filters: slaney_filters(num_mel_bins),
            device: None,
        }
    }

    /// The same computed on a GPU.
    ///
    /// # Errors
    /// If there is no memory left.
    pub(crate) fn on(gpu: &Gpu, num_mel_bins: usize) -> Result<MelFrontEnd> {
        let host = MelFrontEnd::new(num_mel_bins);
        let device = GpuMel::new(gpu, &host.window, HOP, &host.filters)?;
        Ok(MelFrontEnd { device: Some(device), ..host })
    }

    /// Bytes that [`MelFrontEnd::on`] takes of a GPU.
    pub(crate) fn gpu_bytes(num_mel_bins: usize) -> usize {
        GpuMel::bytes(N_FFT, HOP, &slaney_filters(num_mel_bins))
    }

    /// The log-mel spectrogram of `samples` (16 kHz, [-1, 1]): `samples.len() / 160` frames of
    /// content and one more that holds the end of the last window (faster-whisper's padding);
    /// none for no samples.
    ///
    /// # Errors
    /// What the GPU says, where there is one.
    pub fn log_mel(&self, samples: &[f32]) -> Result<Mel> {
        let bands = self.filters.len();
        if samples.is_empty() {
            return Ok(Mel { data: Vec::new(), num_mel_bins: bands, floor: 0.0 });
        }
        let padded = reflect_pad(samples);
        let frames = samples.len() / HOP + 1;
        let mut data = match &self.device {
            Some(device) => device.log_bands(&padded, frames)?,
            None => self.log_bands(&padded, frames),
        };
        let loudest = data.iter().copied().fold(f32::MIN, f32::max);
        for v in &mut data {
            *v = (v.max(loudest - 8.0) + 4.0) / 4.0;
        }
        Ok(Mel { data, num_mel_bins: bands, floor: (loudest - 4.0) / 4.0 })
    }

    /// The logarithm of each band of each frame.
    fn log_bands(&self, padded: &[f32], frames: usize) -> Vec<f32> {
        let bands = self.filters.len();
        let mut data = vec![0f32; frames * bands];
        let mut scratch = self.fft.make_scratch_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut frame = self.fft.make_input_vec();
        let mut power = [0f32; BINS];
        for (t, out) in data.chunks_exact_mut(bands).enumerate() {
            let source = &padded[t * HOP..t * HOP + N_FFT];
            for ((f, s), w) in frame.iter_mut().zip(source).zip(&self.window) {
                *f = s * w;
            }
            // Lengths are the plan's own, the only thing this can fail on.
            let _ = self.fft.process_with_scratch(&mut frame, &mut spectrum, &mut scratch);
            for (p, c) in power.iter_mut().zip(&spectrum) {
                *p = c.norm_sqr();
            }
            for (out, (first, weights)) in out.iter_mut().zip(&self.filters) {
                let sum: f32 = weights.iter().zip(&power[*first..]).map(|(w, p)| w * p).sum();
                *out = sum.max(1e-10).log10();
            }
        }
        data
    }
}

/// Samples with 200 mirrored ones in front, and one window of silence plus its mirror image
/// behind so that the last frame is whole.
fn reflect_pad(samples: &[f32]) -> Vec<f32> {
    let half = N_FFT / 2;
    let mut extended = samples.to_vec();
    extended.resize(samples.len() + HOP, 0.0);
    let at = |i: usize| extended.get(i).copied().unwrap_or(0.0);
    let mut out = Vec::with_capacity(extended.len() + 2 * N_FFT);
    out.extend((1..=half).rev().map(at));
    out.extend_from_slice(&extended);
    out.extend((0..half).map(|i| extended.len().checked_sub(2 + i).map_or(0.0, at)));
    out.resize(out.len() + N_FFT, 0.0);
    out
}

/// The filters as a matrix `[bands, 201]`, as model files keep them.
pub(super) fn filter_matrix(bands: usize) -> Vec<[f32; BINS]> {
    let dense = |(first, weights): (usize, Vec<f32>)| {
        let mut row = [0f32; BINS];
        row[first..first + weights.len()].copy_from_slice(&weights);
        row
    };
    slaney_filters(bands).into_iter().map(dense).collect()
}

/// Triangular bands on Slaney's scale (linear to 1 kHz, logarithmic above), area-normalised, as
/// librosa makes them and OpenAI ships them.
fn slaney_filters(bands: usize) -> Vec<(usize, Vec<f32>)> {
    const TOP_MEL: f64 = 45.245_640_471_924_965;
    let hz = |mel: f64| {
        if mel < 15.0 { 200.0 / 3.0 * mel } else { 1000.0 * (6.4f64.ln() / 27.0 * (mel - 15.0)).exp() }
    };
    let edges: Vec<f64> = (0..bands + 2).map(|i| hz(TOP_MEL * i as f64 / (bands + 1) as f64)).collect();
    let weight = |b: usize, bin: usize| {
        let f = bin as f64 * SAMPLE_RATE_HZ as f64 / N_FFT as f64;
        let up = (f - edges[b]) / (edges[b + 1] - edges[b]);
        let down = (edges[b + 2] - f) / (edges[b + 2] - edges[b + 1]);
        (up.min(down).max(0.0) * 2.0 / (edges[b + 2] - edges[b])) as f32
    };
    (0..bands)
        .map(|b| {
            let all: Vec<f32> = (0..BINS).map(|bin| weight(b, bin)).collect();
            let first = all.iter().position(|w| *w > 0.0).unwrap_or(0);
            let last = all.iter().rposition(|w| *w > 0.0).unwrap_or(0);
            (first, all[first..=last].to_vec())
        })
        .collect()
}
