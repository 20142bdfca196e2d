use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};

/// Keys and values of one sequence for every layer: allocated once, never grown. Continuing,
/// rewinding and starting anew are changes of `len` alone.
pub struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// Allocates `[1, num_kv_heads, capacity, head_dim]` twice a layer (f32).
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new(layers: usize, num_kv_heads: usize, head_dim: usize, capacity: usize) -> Result<KvCache> {
        let zeros = || Tensor::zeros((1, num_kv_heads, capacity, head_dim), DType::F32, &Device::Cpu);
        let layers = (0..layers).map(|_| Ok((zeros()?, zeros()?))).collect::<Result<_>>()?;
        Ok(KvCache { layers, len: 0, capacity })
    }

    /// Bytes such a cache takes.
    pub fn bytes(layers: usize, num_kv_heads: usize, head_dim: usize, capacity: usize) -> usize {
        2 * 4 * layers * num_kv_heads * head_dim * capacity
    }

    /// Positions filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all positions from `len` on.
    pub fn rewind(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Keys and values `[1, num_kv_heads, capacity, head_dim]` of a layer.
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
