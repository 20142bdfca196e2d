use crate::error::Result;
use crate::whisper::WINDOW_FRAMES;
use std::sync::{Mutex, PoisonError};
use undertone_kernels::gpu::{Array, Gpu, allocated_bytes};
use undertone_kernels::mel::LogMel;

/// Whisper's log-mel front end on a GPU, a window's frames at a time.
pub(crate) struct GpuMel {
    log_mel: LogMel,
    /// Samples and bands of [`WINDOW_FRAMES`] frames.
    state: Mutex<(Array<f32>, Array<f32>)>,
    frame_len: usize,
    hop: usize,
    bands: usize,
}

impl GpuMel {
    pub(crate) fn new(
        gpu: &Gpu,
        window: &[f32],
        hop: usize,
        filters: &[(usize, Vec<f32>)],
    ) -> Result<GpuMel> {
        let (frame_len, bands) = (window.len(), filters.len());
        let [samples, values] = GpuMel::lens(frame_len, hop, bands);
        Ok(GpuMel {
            log_mel: LogMel::new(gpu, window, hop, filters)?,
            state: Mutex::new((gpu.array(samples)?, gpu.array(values)?)),
            frame_len,
            hop,
            bands,
        })
    }

    fn lens(frame_len: usize, hop: usize, bands: usize) -> [usize; 2] {
        [(WINDOW_FRAMES - 1) * hop + frame_len, WINDOW_FRAMES * bands]
    }

    /// Bytes that [`GpuMel::new`] takes.
    pub(crate) fn bytes(frame_len: usize, hop: usize, filters: &[(usize, Vec<f32>)]) -> usize {
        let weights = filters.iter().map(|(_, weights)| weights.len()).sum();
        let tables = LogMel::lens(frame_len, filters.len(), weights);
        let buffers = GpuMel::lens(frame_len, hop, filters.len());
        allocated_bytes(tables.into_iter().chain(buffers).map(|n| 4 * n))
    }

    /// Logarithms of the bands of the first `frames` frames of `samples`.
    pub(crate) fn log_bands(&self, samples: &[f32], frames: usize) -> Result<Vec<f32>> {
        let (device, out) = &*self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut data = Vec::with_capacity(frames * self.bands);
        for from in (0..frames).step_by(WINDOW_FRAMES) {
            let count = WINDOW_FRAMES.min(frames - from);
            let needed = (count - 1) * self.hop + self.frame_len;
            let mut device = device.part(0..needed)?;
            device.write(&samples[from * self.hop..][..needed])?;
            let mut out = out.part(0..count * self.bands)?;
            self.log_mel.forward(&device, &mut out)?;
            data.extend(out.to_vec()?);
        }
        Ok(data)
    }
}
