//! Keys and values of caches `[batch, heads, capacity, row]`: appended, moved between sequences,
//! copied between caches. Rows are as in [`crate::kv_rows::KvRows`].

/// On a GPU.
pub mod gpu;

use crate::Isa;
use crate::kv_rows::{quantize_row, quantized_head_dim};
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
        let [batch, heads, capacity, row] = *cache_layout.dims() else {
            bail!("kv_append: cache must be [batch, heads, capacity, row]")
        };
        let [new_batch, m, width] = *new_layout.dims() else {
            bail!("kv_append: new rows must be [batch, m, heads*head_dim]")
        };
        let head_dim = if let CpuStorage::U8(_) = cache { quantized_head_dim(row) } else { row };
        let fits = new_batch <= batch && width == heads * head_dim && width > 0;
        if !fits || self.position + m > capacity {
            bail!("kv_append: {:?} at {} into {:?}", new_layout.dims(), self.position, cache_layout.dims())
        }
        let new = crate::contiguous(new, new_layout)?;
        let rows = new.chunks_exact(head_dim).enumerate().map(|(n, new)| {
            let (b, i, h) = (n / (m * heads), n / heads % m, n % heads);
            (((b * heads + h) * capacity + self.position + i) * row, new)
        });
        if let CpuStorage::U8(_) = cache {
            let (cache, isa) = (crate::bytes_mut(cache, cache_layout)?, Isa::current());
            rows.for_each(|(at, new)| quantize_row(isa, new, &mut cache[at..at + row]));
        } else {
            let cache = crate::contiguous_mut(cache, cache_layout)?;
            rows.for_each(|(at, new)| cache[at..at + row].copy_from_slice(new));
        }
        Ok(())
    }
}

/// Writes `new [b, m, heads * head_dim]` into `cache [batch, heads, capacity, row]` at positions
/// `position..position + m` of its first `b` sequences, quantised if the cache is of bytes.
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
        let [batch, ..] = *layout.dims() else { bail!("kv_reorder: a scalar is no cache") };
        if self.from.len() > batch || self.from.iter().any(|i| *i >= batch) {
            bail!("kv_reorder: {:?} in a batch of {batch}", self.from)
        }
        if let CpuStorage::U8(_) = cache {
            reorder(crate::bytes_mut(cache, layout)?, layout.dims(), self.from, self.len)
        } else {
            reorder(crate::contiguous_mut(cache, layout)?, layout.dims(), self.from, self.len)
        }
    }
}

fn reorder<T: Copy + Default>(cache: &mut [T], dims: &[usize], from: &[usize], len: usize) -> Result<()> {
    let [batch, heads, capacity, row] = *dims else {
        bail!("kv_reorder: cache must be [batch, heads, capacity, row]")
    };
    let filled = len.min(capacity) * row;
    let mut old = vec![T::default(); batch * filled];
    for head in 0..heads {
        let at = |b: usize| (b * heads + head) * capacity * row;
        for (b, old) in old.chunks_exact_mut(filled.max(1)).enumerate() {
            old.copy_from_slice(&cache[at(b)..at(b) + filled]);
        }
        for (b, from) in from.iter().enumerate().filter(|(b, from)| b != *from) {
            cache[at(b)..at(b) + filled].copy_from_slice(&old[from * filled..][..filled]);
        }
    }
    Ok(())
}

/// Makes sequence `i` of `cache [batch, heads, capacity, row]` a copy of the first `len` positions
/// of what sequence `from[i]` was (beam search).
///
/// # Errors
/// If an index exceeds the batch.
pub fn kv_reorder(cache: &Tensor, from: &[usize], len: usize) -> Result<()> {
    if len == 0 || from.iter().enumerate().all(|(i, from)| i == *from) {
        return Ok(());
    }
    cache.inplace_op1(&ReorderOp { from, len })
}

struct CopyOp {
    len: usize,
}

impl InplaceOp2 for CopyOp {
    fn name(&self) -> &'static str {
        "kv_copy"
    }

    fn cpu_fwd(
        &self,
        to: &mut CpuStorage,
        to_layout: &Layout,
        from: &CpuStorage,
        from_layout: &Layout,
    ) -> Result<()> {
        let (&[batch, heads, capacity, row], &[.., from_capacity, _]) =
            (to_layout.dims(), from_layout.dims())
        else {
            bail!("kv_copy: caches must be [batch, heads, capacity, row]")
        };
        let same = *from_layout.dims() == [batch, heads, from_capacity, row];
        if !same || self.len > capacity.min(from_capacity) {
            bail!("kv_copy: {} of {:?} to {:?}", self.len, from_layout.dims(), to_layout.dims())
        }
        let strides = (capacity * row, from_capacity * row);
        if let CpuStorage::U8(_) = to {
            copy_heads(
                crate::bytes_mut(to, to_layout)?,
                crate::bytes(from, from_layout)?,
                strides,
                self.len * row,
            );
        } else {
            let from = crate::contiguous(from, from_layout)?;
            copy_heads(crate::contiguous_mut(to, to_layout)?, from, strides, self.len * row);
        }
        Ok(())
    }
}

fn copy_heads<T: Copy>(to: &mut [T], from: &[T], (to_stride, from_stride): (usize, usize), filled: usize) {
    if filled > 0 {
        for (to, from) in to.chunks_exact_mut(to_stride).zip(from.chunks_exact(from_stride)) {
            to[..filled].copy_from_slice(&from[..filled]);
        }
    }
}

/// Copies the first `len` positions of every sequence and head of `from` to `to`: caches that
/// differ in capacity alone.
///
/// # Errors
/// If they differ in more, or one has no room for `len`.
pub fn kv_copy(from: &Tensor, to: &Tensor, len: usize) -> Result<()> {
    to.inplace_op2(from, &CopyOp { len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// Bytes of a quantised row of three.
    const ROW: usize = 7;

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
    fn bytes_move_as_floats_do() -> Result<()> {
        let new = Tensor::new(crate::gemm::tests::noise(3 * 5 * 6, 9), &Device::Cpu)?.reshape((3, 5, 6))?;
        let rows =
            |cache: &Tensor, b: usize, h: usize, p: usize| cache.get(b)?.get(h)?.get(p)?.to_vec1::<u8>();
        let cache = Tensor::zeros((3, 2, 7, ROW), DType::U8, &Device::Cpu)?;
        kv_append(&cache, &new, 1)?;
        let mut want = vec![0; ROW];
        let head = new.get(2)?.get(4)?.to_vec1::<f32>()?[3..].to_vec();
        quantize_row(Isa::Scalar, &head, &mut want);
        assert_eq!(rows(&cache, 2, 1, 5)?, want);
        kv_reorder(&cache, &[2, 0, 2], 6)?;
        assert_eq!(rows(&cache, 0, 1, 5)?, want);
        let small = Tensor::zeros((3, 2, 6, ROW), DType::U8, &Device::Cpu)?;
        kv_copy(&cache, &small, 6)?;
        assert_eq!(rows(&small, 0, 1, 5)?, want);
        let large = Tensor::zeros((3, 2, 9, ROW), DType::U8, &Device::Cpu)?;
        kv_copy(&small, &large, 6)?;
        assert_eq!(rows(&large, 2, 1, 5)?, want);
        assert_eq!(rows(&large, 2, 1, 6)?, vec![0; ROW]);
        assert!(kv_copy(&large, &small, 7).is_err());
        assert!(kv_copy(&new.unsqueeze(0)?, &small, 1).is_err());
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
