//! Softmax attention of new queries over a cache of fixed capacity, reading only its filled part.

/// The arithmetic on slices.
pub mod cpu;
/// On a GPU.
pub mod gpu;

use crate::Regime;
use crate::kv_rows::KvRows;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// Keys that stand for several like them: a sample of a long, even stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// First of them; those before stand for themselves.
    pub from: usize,
    /// How many each stands for: as many as if it were there that often, since `ln each` is added to its
    /// scores.
    pub each: usize,
}

/// Which keys a query may see, and the scale of its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Filled positions of the cache, the new ones included.
    pub kv_len: usize,
    /// Query `i` of `m` sits at position `kv_len - m + i` and sees nothing later.
    pub causal: bool,
    /// Sees only the last `window` positions up to its own (with `causal`).
    pub window: Option<usize>,
    /// Multiplies the scores before the softmax.
    pub scale: f32,
    /// Keys that count more than once.
    pub sampled: Option<Sampled>,
    /// Dot products a query or tiles of queries.
    pub regime: Regime,
}

impl Attention {
    /// First and one past the last position query `i` of `m` sees.
    pub fn visible(&self, i: usize, m: usize) -> (usize, usize) {
        if !self.causal {
            return (0, self.kv_len);
        }
        let end = self.kv_len - m + i + 1;
        (self.window.map_or(0, |w| end.saturating_sub(w)), end)
    }
}

impl Sampled {
    /// What is added to the scores of keys `from..to`: nothing, then the same for all from an index on.
    fn raise(sampled: Option<Sampled>, from: usize, to: usize) -> (usize, f32) {
        sampled.map_or((to - from, 0.0), |s| (s.from.clamp(from, to) - from, (s.each as f32).ln()))
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let [batch, m, width] = *q_layout.dims() else { bail!("attention: q must be [batch, m, heads*d]") };
        let [kv_batch, kv_heads, capacity, row] = *k_layout.dims() else {
            bail!("attention: cache must be [batch, kv_heads, capacity, row]")
        };
        let (k, v) = (KvRows::new(k, k_layout)?, KvRows::new(v, v_layout)?);
        let head_dim = k.head_dim(row);
        let fits = k_layout.dims() == v_layout.dims()
            && std::mem::discriminant(&k) == std::mem::discriminant(&v)
            && head_dim > 0
            && kv_heads > 0
            && width.is_multiple_of(kv_heads * head_dim)
            && (kv_batch == 1 || kv_batch >= batch)
            && self.kv_len <= capacity
            && self.kv_len > 0
            && (!self.causal || m <= self.kv_len);
        if !fits {
            bail!("attention: q {:?} over {:?}, {self:?}", q_layout.dims(), k_layout.dims())
        }
        let shape = cpu::Dims { batch, m, heads: width / head_dim, kv_batch, kv_heads, capacity, head_dim };
        let mut out = vec![0f32; batch * m * width];
        cpu::attention(crate::Isa::current(), *self, shape, crate::contiguous(q, q_layout)?, k, v, &mut out);
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

/// Attention of `q [batch, m, heads * head_dim]` over the caches `k`, `v`
/// `[kv_batch, kv_heads, capacity, row]` (rows as in [`KvRows`]); `heads` a multiple of `kv_heads` (grouped queries,
/// Ainslie et al. 2023). A cache with `kv_batch == 1` is shared by all sequences (cross-attention
/// of beams). Result `[batch, m, heads * head_dim]`.
///
/// # Errors
/// If shapes disagree, `q` is not contiguous f32 or a cache not contiguous.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, spec: Attention) -> Result<Tensor> {
    q.apply_op3_no_bwd(k, v, &spec)
}
