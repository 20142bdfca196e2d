//! Copies new keys or values into a cache of fixed capacity.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};

struct AppendOp {
    position: usize,
}

impl InplaceOp2 for AppendOp {
    fn name(&self) -> &'static str {
        "kv_append"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        new: &CpuStorage,
        new_layout: &Layout,
    ) -> Result<()> {
        let [batch, heads, capacity, head_dim] = *cache_layout.dims() else {
            bail!("kv_append: cache must be [batch, heads, capacity, head_dim]")
        };
        let [new_batch, m, width] = *new_layout.dims() else {
            bail!("kv_append: new rows must be [batch, m, heads*head_dim]")
        };
        if new_batch > batch || width != heads * head_dim || self.position + m > capacity {
            bail!("kv_append: {:?} at {} into {:?}", new_layout.dims(), self.position, cache_layout.dims())
        }
        let new = crate::contiguous(new, new_layout)?;
        let cache = crate::contiguous_mut(cache, cache_layout)?;
        for (row, new) in new.chunks_exact(width).enumerate() {
            let (b, i) = (row / m, row % m);
            for (h, new) in new.chunks_exact(head_dim).enumerate() {
                let at = ((b * heads + h) * capacity + self.position + i) * head_dim;
                cache[at..at + head_dim].copy_from_slice(new);
            }
        }
        Ok(())
    }
}

/// Writes `new [b, m, heads * head_dim]` into `cache [batch, heads, capacity, head_dim]` at
/// positions `position..position + m` of its first `b` sequences.
///
/// # Errors
/// If the rows do not fit: a cache never grows.
pub fn kv_append(cache: &Tensor, new: &Tensor, position: usize) -> Result<()> {
    cache.inplace_op2(new, &AppendOp { position })
}

struct ReorderOp<'a> {
    from: &'a [usize],
    len: usize,
}

impl InplaceOp1 for ReorderOp<'_> {
    fn name(&self) -> &'static str {
        "kv_reorder"
    }

    fn cpu_fwd(&self, cache: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let [batch, heads, capacity, head_dim] = *layout.dims() else {
            bail!("kv_reorder: cache must be [batch, heads, capacity, head_dim]")
        };
        if self.from.len() > batch || self.from.iter().any(|i| *i >= batch) || self.len > capacity {
            bail!("kv_reorder: {:?} in a batch of {batch}", self.from)
        }
        let cache = crate::contiguous_mut(cache, layout)?;
        let filled = self.len * head_dim;
        let mut old = vec![0f32; batch * filled];
        for head in 0..heads {
            let at = |b: usize| (b * heads + head) * capacity * head_dim;
            for (b, old) in old.chunks_exact_mut(filled.max(1)).enumerate() {
                old.copy_from_slice(&cache[at(b)..at(b) + filled]);
            }
            for (b, from) in self.from.iter().enumerate().filter(|(b, from)| b != *from) {
                cache[at(b)..at(b) + filled].copy_from_slice(&old[from * filled..][..filled]);
            }
        }
        Ok(())
    }
}

/// Makes sequence `i` of `cache [batch, heads, capacity, head_dim]` a copy of the first `len`
/// positions of what sequence `from[i]` was (beam search).
///
/// # Errors
/// If an index exceeds the batch.
pub fn kv_reorder(cache: &Tensor, from: &[usize], len: usize) -> Result<()> {
    if len == 0 || from.iter().enumerate().all(|(i, from)| i == *from) {
        return Ok(());
    }
    cache.inplace_op1(&ReorderOp { from, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn reordering_moves_whole_histories_at_once() -> Result<()> {
        let cache = Tensor::arange(0f32, 24.0, &Device::Cpu)?.reshape((3, 2, 2, 2))?;
        kv_reorder(&cache, &[2, 0, 2], 1)?;
        let at = |b: usize, h: usize, p: usize| cache.get(b)?.get(h)?.get(p)?.to_vec1::<f32>();
        assert_eq!((at(0, 0, 0)?, at(0, 1, 0)?), (vec![16.0, 17.0], vec![20.0, 21.0]));
        assert_eq!((at(1, 0, 0)?, at(1, 1, 0)?), (vec![0.0, 1.0], vec![4.0, 5.0]));
        assert_eq!((at(0, 0, 1)?, at(2, 0, 0)?), (vec![2.0, 3.0], vec![16.0, 17.0]));
        assert!(kv_reorder(&cache, &[3], 1).is_err());
        Ok(())
    }

    #[test]
    fn rows_land_at_their_positions_and_overflow_is_refused() -> Result<()> {
        let cache = Tensor::zeros((2, 2, 4, 3), DType::F32, &Device::Cpu)?;
        let new = Tensor::arange(0f32, 24.0, &Device::Cpu)?.reshape((2, 2, 6))?;
        kv_append(&cache, &new, 1)?;
        let at = |b: usize, h: usize, p: usize| cache.get(b)?.get(h)?.get(p)?.to_vec1::<f32>();
        assert_eq!(at(0, 0, 0)?, [0.0; 3]);
        assert_eq!(at(0, 0, 1)?, [0.0, 1.0, 2.0]);
        assert_eq!(at(0, 1, 2)?, [9.0, 10.0, 11.0]);
        assert_eq!(at(1, 1, 2)?, [21.0, 22.0, 23.0]);
        assert!(kv_append(&cache, &new, 3).is_err());
        Ok(())
    }
}
