use crate::error::{ModelError, Result};
use crate::gpu::GpuCache;
use candle_core::{DType, Device, Tensor};
use undertone_kernels::gpu::Gpu;
use undertone_kernels::kv_append::{kv_copy, kv_reorder};
use undertone_kernels::kv_rows::quantized_row_bytes;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// Four bytes an element.
    #[default]
    F32,
    /// Two bytes an element: on a GPU only.
    F16,
    /// A byte an element and an f32 scale for each 32 of a head: 9/32 of f32's bytes.
    Q8,
}

impl KvType {
    /// As a GPU stores it: f32 in halves.
    pub fn on_gpu(self) -> KvType {
        if self == KvType::F32 { KvType::F16 } else { self }
    }

    /// Candle's type of the storage and how many of it a head takes at one position.
    fn row(self, head_dim: usize) -> (DType, usize) {
        match self {
            KvType::F32 => (DType::F32, head_dim),
            KvType::F16 => (DType::F16, head_dim),
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
    storage: Storage,
    len: usize,
    batch: usize,
    capacity: usize,
}

enum Storage {
    /// Keys and values `[batch, num_kv_heads, capacity, row]` of each layer.
    Host(Vec<(Tensor, Tensor)>),
    Gpu(GpuCache),
}

impl KvCache {
    /// Allocates room for `capacity` positions of `batch` sequences.
    ///
    /// # Errors
    /// If it cannot be allocated; if it is of a type that only GPUs have.
    pub fn new(
        layers: usize,
        batch: usize,
        num_kv_heads: usize,
        head_dim: usize,
        capacity: usize,
        kv_type: KvType,
    ) -> Result<KvCache> {
        if kv_type == KvType::F16 {
            return Err(ModelError::OtherDevice);
        }
        let (dtype, row) = kv_type.row(head_dim);
        // Pages of zeros are only promised by the system; these are there.
        let ones = || Tensor::ones((batch, num_kv_heads, capacity, row), dtype, &Device::Cpu);
        let layers = (0..layers).map(|_| Ok((ones()?, ones()?))).collect::<Result<_>>()?;
        Ok(KvCache { storage: Storage::Host(layers), len: 0, batch, capacity })
    }

    /// The same on a GPU; [`KvType::F32`] is stored in halves.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub(crate) fn on_gpu(
        gpu: &Gpu,
        (layers, batch): (usize, usize),
        num_kv_heads: usize,
        head_dim: usize,
        capacity: usize,
        kv_type: KvType,
    ) -> Result<KvCache> {
        let quantized = kv_type == KvType::Q8;
        let cache = GpuCache::new(gpu, layers, batch, (num_kv_heads, capacity, head_dim), quantized)?;
        Ok(KvCache { storage: Storage::Gpu(cache), len: 0, batch, capacity })
    }

    /// Bytes allocated for keys and values.
    pub fn bytes(&self) -> usize {
        match &self.storage {
            Storage::Host(layers) => {
                let tensors = layers.iter().flat_map(|(keys, values)| [keys, values]);
                tensors.map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum()
            }
            Storage::Gpu(cache) => cache.bytes(),
        }
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
        if let (Storage::Gpu(cache), 0) = (&mut self.storage, self.len) {
            cache.start_over();
        }
    }

    /// Makes sequence `i` a copy of what sequence `from[i]` was: beams after a step, or one prompt
    /// spread over several samples.
    ///
    /// # Errors
    /// If an index exceeds the batch.
    pub fn reorder(&mut self, from: &[usize]) -> Result<()> {
        match &mut self.storage {
            Storage::Host(layers) => {
                for (keys, values) in layers {
                    kv_reorder(keys, from, self.len)?;
                    kv_reorder(values, from, self.len)?;
                }
            }
            Storage::Gpu(cache) => cache.reorder(from)?,
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
        // A copy that fails half-way must not pass for a filled cache.
        self.len = 0;
        match (&mut self.storage, &other.storage) {
            (Storage::Host(layers), Storage::Host(others)) => {
                check_layers(layers.len(), others.len())?;
                for ((keys, values), (from_keys, from_values)) in layers.iter().zip(others) {
                    kv_copy(from_keys, keys, len)?;
                    kv_copy(from_values, values, len)?;
                }
            }
            (Storage::Gpu(cache), Storage::Gpu(other)) => {
                check_layers(cache.layers(), other.layers())?;
                cache.copy_from(other, len)?;
            }
            _ => return Err(ModelError::OtherDevice),
        }
        self.len = len;
        Ok(())
    }

    /// Keys and values `[batch, num_kv_heads, capacity, row]` of each layer.
    pub(crate) fn layers(&self) -> Result<&[(Tensor, Tensor)]> {
        match &self.storage {
            Storage::Host(layers) => Ok(layers),
            Storage::Gpu(_) => Err(ModelError::OtherDevice),
        }
    }

    pub(crate) fn gpu(&self) -> Result<&GpuCache> {
        match &self.storage {
            Storage::Gpu(cache) => Ok(cache),
            Storage::Host(_) => Err(ModelError::OtherDevice),
        }
    }

    pub(crate) fn gpu_mut(&mut self) -> Result<&mut GpuCache> {
        match &mut self.storage {
            Storage::Gpu(cache) => Ok(cache),
            Storage::Host(_) => Err(ModelError::OtherDevice),
        }
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

fn check_layers(ours: usize, theirs: usize) -> Result<()> {
    match ours == theirs {
        true => Ok(()),
        false => Err(candle_core::Error::msg(format!("{theirs} layers copied to {ours}")).into()),
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
        let storage = match &cache.storage {
            Storage::Host(layers) => {
                let layers = layers.iter().map(|(keys, values)| Ok((like(keys)?, like(values)?)));
                Storage::Host(layers.collect::<Result<_>>()?)
            }
            Storage::Gpu(cache) => Storage::Gpu(cache.like(positions)?),
        };
        Ok(Snapshot(KvCache { storage, len: 0, batch: cache.batch, capacity: positions }))
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
