//! Logarithms of mel bands of a signal's frames, on a GPU. On the processor an FFT does this (`undertone_models`); here each
//! frequency is a sum of its own, of which a GPU does as many at once.

use crate::gpu::{Array, Gpu, GpuError, Launch, shapes};

/// Threads a frame.
const THREADS: u32 = 256;

/// Tables of the transform, on a device.
pub struct LogMel {
    /// The window, then a period of the cosine and of the sine.
    tables: Array<f32>,
    firsts: Array<i32>,
    lens: Array<i32>,
    offsets: Array<i32>,
    weights: Array<f32>,
    frame_len: usize,
    hop: usize,
    bands: usize,
}

impl LogMel {
    /// Of frames as long as `window`, one every `hop` samples; a band is the first frequency that counts, and how much it
    /// and those behind it do.
    ///
    /// # Errors
    /// If a band reaches beyond the frequencies; if there is no memory left.
    pub fn new(
        gpu: &Gpu,
        window: &[f32],
        hop: usize,
        filters: &[(usize, Vec<f32>)],
    ) -> Result<LogMel, GpuError> {
        let n = window.len();
        let within = filters.iter().all(|(first, weights)| first + weights.len() <= n / 2 + 1);
        shapes(within && hop > 0, || format!("log_mel: bands beyond the frequencies of {n} samples"))?;
        let turn = |i: usize| 2.0 * std::f64::consts::PI * i as f64 / n as f64;
        let cosines = (0..n).map(|i| turn(i).cos() as f32);
        let sines = (0..n).map(|i| turn(i).sin() as f32);
        let tables: Vec<f32> = window.iter().copied().chain(cosines).chain(sines).collect();
        let mut offsets = Vec::with_capacity(filters.len());
        let mut weights: Vec<f32> = Vec::new();
        for (_, of_band) in filters {
            offsets.push(weights.len() as i32);
            weights.extend(of_band);
        }
        let ints = |of: fn(&(usize, Vec<f32>)) -> usize| -> Vec<i32> {
            filters.iter().map(|f| of(f) as i32).collect()
        };
        Ok(LogMel {
            tables: gpu.array_of(&tables)?,
            firsts: gpu.array_of(&ints(|f| f.0))?,
            lens: gpu.array_of(&ints(|f| f.1.len()))?,
            offsets: gpu.array_of(&offsets)?,
            weights: gpu.array_of(&weights)?,
            frame_len: n,
            hop,
            bands: filters.len(),
        })
    }

    /// Lengths in numbers of four bytes of what [`LogMel::new`] allocates for `bands` bands with `weights` weights in all.
    pub fn lens(frame_len: usize, bands: usize, weights: usize) -> [usize; 5] {
        [3 * frame_len, bands, bands, bands, weights]
    }

    /// The logarithm to base 10 of each band of each frame of `samples`, 1e-10 at least: `out [frames, bands]`.
    ///
    /// # Errors
    /// If there are fewer samples than the frames take; what the driver says.
    pub fn forward(&self, samples: &Array<f32>, out: &mut Array<f32>) -> Result<(), GpuError> {
        let frames = out.len() / self.bands.max(1);
        let needed = frames.saturating_sub(1) * self.hop + self.frame_len;
        let fits = out.len() == frames * self.bands && (frames == 0 || samples.len() >= needed);
        shapes(fits, || format!("log_mel: {} samples into {}", samples.len(), out.len()))?;
        let floats = 3 * self.frame_len + self.frame_len / 2 + 1;
        let arguments = [
            samples.into(),
            (&self.tables).into(),
            (&self.firsts).into(),
            (&self.lens).into(),
            (&self.offsets).into(),
            (&self.weights).into(),
            (&*out).into(),
            (self.frame_len as i32).into(),
            (self.hop as i32).into(),
            (self.bands as i32).into(),
        ];
        // SAFETY: a block reads its frame, and of the power what the bands are within; it writes its bands.
        unsafe {
            out.gpu().launch("log_mel", Launch::new(frames, THREADS).with_shared_f32(floats), &arguments)
        }
    }
}
