use crate::attention::Sampled;
use crate::gpu::{Array, Gpu, GpuError, Launch, shapes};
use crate::kv_rows::quantized_row_bytes;
use crate::rope::Pairing;

/// Elements of a head at most: what a warp holds.
pub const MOST_HEAD_DIM: usize = 256;

/// Threads of a block that copies, and pairs of bytes it copies.
const COPY_THREADS: u32 = 256;
const COPIED: usize = 4 * COPY_THREADS as usize;

/// How many positions of a cache are filled and which of them stand for several, on the device too: a launch that is
/// recorded once reads it anew each time.
pub struct Filled {
    /// Positions; the first that is a sample, and how many such a one stands for.
    device: Array<i32>,
    host: usize,
}

impl Filled {
    /// None.
    ///
    /// # Errors
    /// If there is no memory left.
    pub fn new(gpu: &Gpu) -> Result<Filled, GpuError> {
        let mut filled = Filled { device: gpu.array(3)?, host: 0 };
        filled.set(0)?;
        Ok(filled)
    }

    /// Sets the number, in the order of launches.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set(&mut self, positions: usize) -> Result<(), GpuError> {
        self.set_sampled(positions, None)
    }

    /// The same where some of them are a sample.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_sampled(&mut self, positions: usize, sampled: Option<Sampled>) -> Result<(), GpuError> {
        let (from, each) = sampled.map_or((i32::MAX, 1), |s| (s.from as i32, s.each as i32));
        self.host = positions;
        self.device.write(&[positions as i32, from, each])
    }

    /// Takes the number for what the device will have once a recording is replayed.
    pub fn expect(&mut self, positions: usize) {
        self.host = positions;
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

/// Bytes of a position of a head, of keys or of values.
fn row_bytes(head_dim: usize, quantized: bool) -> usize {
    if quantized { quantized_row_bytes(head_dim) } else { 2 * head_dim }
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
        let len = kv_heads * capacity * row_bytes(head_dim, quantized);
        let (k, v) = (gpu.array(len)?, gpu.array(len)?);
        Ok(KvArrays { k, v, kv_heads, capacity, head_dim, quantized })
    }

    /// Heads, positions, elements of a head.
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.kv_heads, self.capacity, self.head_dim)
    }

    /// Whether rows are bytes with scales.
    pub fn is_quantized(&self) -> bool {
        self.quantized
    }

    /// Where it lies: another number for each of two that are there at once.
    pub fn address(&self) -> u64 {
        self.k.address()
    }

    /// Bytes allocated.
    pub fn len_bytes(&self) -> usize {
        self.k.len() + self.v.len()
    }

    /// Copies all of `other`, which has the same shape.
    ///
    /// # Errors
    /// If it has another; what the driver says.
    pub fn copy_from(&mut self, other: &KvArrays) -> Result<(), GpuError> {
        self.k.copy_from(&other.k)?;
        self.v.copy_from(&other.v)
    }

    /// Copies the first `positions` of `other`, whose capacity may be another.
    ///
    /// # Errors
    /// If either has fewer, or another shape; what the driver says.
    pub fn copy_positions(&mut self, other: &KvArrays, positions: usize) -> Result<(), GpuError> {
        let shape = |a: &KvArrays| (a.kv_heads, a.head_dim, a.quantized);
        let fits = shape(self) == shape(other) && positions <= self.capacity.min(other.capacity);
        shapes(fits, || format!("{positions} positions of {} to {}", other.capacity, self.capacity))?;
        // Rows are of an even number of bytes.
        let row = row_bytes(self.head_dim, self.quantized) / 2;
        let launch = Launch::new((positions * row).div_ceil(COPIED), COPY_THREADS).with_rows(self.kv_heads);
        let len = [other.capacity * row, self.capacity * row, positions * row].map(|n| (n as i32).into());
        for (from, to) in [(&other.k, &self.k), (&other.v, &self.v)] {
            let arguments = [from.into(), to.into(), len[0], len[1], len[2]];
            // SAFETY: of each head the rows that both have.
            unsafe { to.gpu().launch("kv_copy", launch, &arguments)? };
        }
        Ok(())
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
