use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};
use undertone_kernels::kv_append::kv_reorder;

/// Keys and values of a batch of equally long sequences for every layer: allocated once, never
/// grown. Continuing, rewinding and starting anew are changes of `len` alone. It serves a language
/// model's one sequence, Whisper's hypotheses, and what those hear (cross-attention).
pub struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
    batch: usize,
    capacity: usize,
}

impl KvCache {
    /// Allocates `[batch, num_kv_heads, capacity, head_dim]` twice a layer (f32).
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new(
        layers: usize,
        batch: usize,
        num_kv_heads: usize,
        head_dim: usize,
        capacity: usize,
    ) -> Result<KvCache> {
        let shape = (batch, num_kv_heads, capacity, head_dim);
        let zeros = || Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let layers = (0..layers).map(|_| Ok((zeros()?, zeros()?))).collect::<Result<_>>()?;
        Ok(KvCache { layers, len: 0, batch, capacity })
    }

    /// Positions filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sequences there is room for.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all positions from `len` on.
    pub fn rewind(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes sequence `i` a copy of what sequence `from[i]` was: beams after a step, or one prompt
    /// spread over several samples.
    ///
    /// # Errors
    /// If an index exceeds the batch.
    pub fn reorder(&mut self, from: &[usize]) -> Result<()> {
        for (keys, values) in &self.layers {
            kv_reorder(keys, from, self.len)?;
            kv_reorder(values, from, self.len)?;
        }
        Ok(())
    }

    /// Keys and values `[batch, num_kv_heads, capacity, head_dim]` of a layer.
    pub(crate) fn layer(&self, layer: usize) -> (&Tensor, &Tensor) {
        let (keys, values) = &self.layers[layer];
        (keys, values)
    }

    /// Takes room for `m` more positions and returns the first of them.
    pub(crate) fn check(&self, m: usize) -> Result<usize> {
        let needed = self.len + m;
        if needed > self.capacity {
            return Err(ModelError::ContextFull { needed, capacity: self.capacity });
        }
        Ok(self.len)
    }

    /// Marks `m` more positions as filled, once every layer has written them.
    pub(crate) fn advance(&mut self, m: usize) {
        self.len += m;
    }
}
