use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};
use undertone_kernels::kv_append::{kv_copy, kv_reorder};
use undertone_kernels::kv_rows::quantized_row_bytes;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// Four bytes an element.
    #[default]
    F32,
    /// A byte an element and an f32 scale for each 32 of a head: 9/32 of f32's bytes.
    Q8,
}

impl KvType {
    /// Candle's type of the storage and how many of it a head takes at one position.
    fn row(self, head_dim: usize) -> (DType, usize) {
        match self {
            KvType::F32 => (DType::F32, head_dim),
            KvType::Q8 => (DType::U8, quantized_row_bytes(head_dim)),
        }
    }
}

/// Bytes that keys and values of one position take in all layers: a cache's `bytes()` is this times
/// its batch and capacity.
pub fn kv_bytes_per_position(
    num_layers: usize,
    num_kv_heads: usize,
    head_dim: usize,
    kv_type: KvType,
) -> usize {
    let (dtype, row) = kv_type.row(head_dim);
    let row_bytes = row.saturating_mul(dtype.size_in_bytes());
    num_layers.saturating_mul(2).saturating_mul(num_kv_heads).saturating_mul(row_bytes)
}

/// Keys and values of a batch of equally long sequences for every layer: allocated once, never
/// grown. Continuing, rewinding and starting anew are changes of `len` alone. It serves a language
/// model's one sequence, Whisper's hypotheses, and what those hear (cross-attention).
pub struct KvCache {
    /// Keys and values `[batch, num_kv_heads, capacity, row]`.
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
    batch: usize,
    capacity: usize,
}

impl KvCache {
    /// Allocates room for `capacity` positions of `batch` sequences.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new(
        layers: usize,
        batch: usize,
        num_kv_heads: usize,
        head_dim: usize,
        capacity: usize,
        kv_type: KvType,
    ) -> Result<KvCache> {
        let (dtype, row) = kv_type.row(head_dim);
        // Pages of zeros are only promised by the system; these are there.
        let ones = || Tensor::ones((batch, num_kv_heads, capacity, row), dtype, &Device::Cpu);
        let layers = (0..layers).map(|_| Ok((ones()?, ones()?))).collect::<Result<_>>()?;
        Ok(KvCache { layers, len: 0, batch, capacity })
    }

    /// Bytes allocated for keys and values.
    pub fn bytes(&self) -> usize {
        let tensors = self.layers.iter().flat_map(|(keys, values)| [keys, values]);
        tensors.map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum()
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

    /// Copies the first `len` positions (all there are, if fewer) out of the cache.
    ///
    /// # Errors
    /// If they cannot be allocated.
    pub fn save(&self, len: usize) -> Result<Snapshot> {
        let mut snapshot = Snapshot::with_capacity(self, len.min(self.len))?;
        self.save_into(&mut snapshot, len)?;
        Ok(snapshot)
    }

    /// As [`KvCache::save`], into a snapshot made for this cache: allocates nothing.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] if the snapshot is too small; if it is of another model.
    pub fn save_into(&self, snapshot: &mut Snapshot, len: usize) -> Result<()> {
        snapshot.0.copy_from(self, len.min(self.len))
    }

    /// Makes the cache hold exactly what `snapshot` does: allocates nothing.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] if the cache is too small; if the snapshot is of another model.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.copy_from(&snapshot.0, snapshot.len())
    }

    fn copy_from(&mut self, other: &KvCache, len: usize) -> Result<()> {
        if len > self.capacity {
            return Err(ModelError::ContextFull { needed: len, capacity: self.capacity });
        }
        if self.layers.len() != other.layers.len() {
            let (ours, theirs) = (self.layers.len(), other.layers.len());
            return Err(candle_core::Error::msg(format!("{theirs} layers copied to {ours}")).into());
        }
        // A copy that fails half-way must not pass for a filled cache.
        self.len = 0;
        for ((keys, values), (from_keys, from_values)) in self.layers.iter().zip(&other.layers) {
            kv_copy(from_keys, keys, len)?;
            kv_copy(from_values, values, len)?;
        }
        self.len = len;
        Ok(())
    }

    /// Keys and values `[batch, num_kv_heads, capacity, row]` of a layer.
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

/// The first positions of a [`KvCache`], kept aside: a prompt's prefix that many prompts begin with.
pub struct Snapshot(KvCache);

impl Snapshot {
    /// An empty snapshot with room for `positions` of `cache`.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn with_capacity(cache: &KvCache, positions: usize) -> Result<Snapshot> {
        let like = |tensor: &Tensor| -> Result<Tensor> {
            let (batch, heads, _, row) = tensor.dims4()?;
            Ok(Tensor::zeros((batch, heads, positions, row), tensor.dtype(), tensor.device())?)
        };
        let layers = cache.layers.iter().map(|(keys, values)| Ok((like(keys)?, like(values)?)));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Snapshot(KvCache { layers, len: 0, batch: cache.batch, capacity: positions }))
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
