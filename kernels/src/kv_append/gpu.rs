use crate::gpu::{Array, Gpu, GpuError, Launch, shapes};
use crate::kv_rows::quantized_row_bytes;
use crate::rope::Pairing;

/// Elements of a head at most: what a warp holds.
pub const MOST_HEAD_DIM: usize = 256;

/// How many positions of a cache are filled, on the device too: a launch that is recorded once reads it anew each
/// time.
pub struct Filled {
    device: Array<i32>,
    host: usize,
}

impl Filled {
    /// None.
    ///
    /// # Errors
    /// If there is no memory left.
    pub fn new(gpu: &Gpu) -> Result<Filled, GpuError> {
        Ok(Filled { device: gpu.array_of(&[0])?, host: 0 })
    }

    /// Sets the number, in the order of launches.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set(&mut self, positions: usize) -> Result<(), GpuError> {
        self.host = positions;
        self.device.write(&[positions as i32])
    }

    /// The number.
    pub fn get(&self) -> usize {
        self.host
    }

    pub(crate) fn device(&self) -> &Array<i32> {
        &self.device
    }
}

/// Keys and values of one layer, `[kv_heads, capacity]` rows each.
pub struct KvArrays {
    pub(crate) k: Array<u8>,
    pub(crate) v: Array<u8>,
    pub(crate) kv_heads: usize,
    pub(crate) capacity: usize,
    pub(crate) head_dim: usize,
    /// Rows of [`crate::kv_rows::KvRows::Q8`] instead of halves.
    pub(crate) quantized: bool,
}

impl KvArrays {
    /// Room for `capacity` positions: halves, or bytes with a scale for each 32.
    ///
    /// # Errors
    /// If a head has more than [`MOST_HEAD_DIM`] elements or there is no memory left.
    pub fn new(
        gpu: &Gpu,
        (kv_heads, capacity, head_dim): (usize, usize, usize),
        quantized: bool,
    ) -> Result<KvArrays, GpuError> {
        shapes(head_dim <= MOST_HEAD_DIM, || format!("heads of {head_dim} are larger than {MOST_HEAD_DIM}"))?;
        let row = if quantized { quantized_row_bytes(head_dim) } else { 2 * head_dim };
        let len = kv_heads * capacity * row;
        let (k, v) = (gpu.array(len)?, gpu.array(len)?);
        Ok(KvArrays { k, v, kv_heads, capacity, head_dim, quantized })
    }

    /// The bytes of all rows, of keys and of values.
    ///
    /// # Errors
    /// What the driver says.
    pub fn to_bytes(&self) -> Result<(Vec<u8>, Vec<u8>), GpuError> {
        Ok((self.k.to_vec()?, self.v.to_vec()?))
    }
}

/// Turns the heads of `q [m, heads * head_dim]` in place and those of `k [m, kv_heads * head_dim]` on their way into the
/// cache, to which `v` goes as it is ([`crate::rope::rope`], [`super::kv_append`]). The tokens are the last `m` of the
/// `filled` positions. Without `rope` (inverse frequencies and pairing) nothing is turned.
///
/// # Errors
/// If shapes disagree or the cache has not so many positions; what the driver says.
pub fn rope_append(
    q: &mut Array<f32>,
    k: &Array<f32>,
    v: &Array<f32>,
    rope: Option<(&Array<f32>, Pairing)>,
    filled: &Filled,
    cache: &mut KvArrays,
) -> Result<(), GpuError> {
    let &mut KvArrays { kv_heads, capacity, head_dim, quantized, .. } = cache;
    let m = k.len() / (kv_heads * head_dim);
    let heads = q.len() / (m * head_dim).max(1);
    let fits = k.len() == m * kv_heads * head_dim
        && v.len() == k.len()
        && q.len() == m * heads * head_dim
        && rope.is_none_or(|(f, _)| 2 * f.len() == head_dim)
        && (m..=capacity).contains(&filled.get());
    shapes(fits, || {
        let (q, k, v, filled) = (q.len(), k.len(), v.len(), filled.get());
        format!(
            "rope_append: {q}, {k}, {v} values as {filled} of {capacity} positions of {kv_heads}x{head_dim}"
        )
    })?;
    let launch = Launch::new(m, 32).with_rows(heads + 2 * kv_heads);
    let halves = rope.is_some_and(|(_, pairing)| pairing == Pairing::Halves);
    let numbers = [heads, kv_heads, head_dim, capacity, usize::from(halves), usize::from(quantized)];
    let [heads, kv_heads, head_dim, capacity, halves, bytes] = numbers.map(|n| (n as i32).into());
    let (inv_freq, filled) = (rope.map(|(f, _)| f).into(), filled.device().into());
    let arguments = [
        (&*q).into(),
        k.into(),
        v.into(),
        inv_freq,
        filled,
        (&cache.k).into(),
        (&cache.v).into(),
        heads,
        kv_heads,
        head_dim,
        capacity,
        halves,
        bytes,
    ];
    // SAFETY: a block has one head of one token, and `filled` positions, of which these are the last, are there.
    unsafe { q.gpu().launch("rope_append", launch, &arguments) }
}
