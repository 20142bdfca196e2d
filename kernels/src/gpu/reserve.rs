//! Memory taken once and handed out from there: what is allocated never exceeds it, and no driver is asked again.

use std::collections::BTreeMap;

const ALIGNMENT_BYTES: u64 = super::ALIGNMENT_BYTES as u64;

/// The free parts of a range of addresses.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// Bytes of each free part by its beginning. No two touch.
    free: BTreeMap<u64, u64>,
    used_bytes: u64,
    high_water_bytes: u64,
}

fn rounded(len_bytes: usize) -> u64 {
    super::allocated_bytes([len_bytes]) as u64
}

impl Reserve {
    /// All of `len_bytes` from `address` on, which is aligned.
    pub(crate) fn new(address: u64, len_bytes: usize) -> Reserve {
        let whole = len_bytes as u64 / ALIGNMENT_BYTES * ALIGNMENT_BYTES;
        let free = (whole > 0).then_some((address, whole)).into_iter().collect();
        Reserve { free, used_bytes: 0, high_water_bytes: 0 }
    }

    /// The smallest free part that has `len_bytes`, from its beginning on.
    pub(crate) fn take(&mut self, len_bytes: usize) -> Option<u64> {
        let needed = rounded(len_bytes);
        let fits = self.free.iter().filter(|(_, len)| **len >= needed);
        let (at, len) = fits.min_by_key(|(_, len)| **len).map(|(at, len)| (*at, *len))?;
        self.free.remove(&at);
        if len > needed {
            self.free.insert(at + needed, len - needed);
        }
        self.used_bytes += needed;
        self.high_water_bytes = self.high_water_bytes.max(self.used_bytes);
        Some(at)
    }

    /// Makes free what [`Reserve::take`] gave for `len_bytes`, and one with the free parts beside it.
    pub(crate) fn give_back(&mut self, at: u64, len_bytes: usize) {
        let len = rounded(len_bytes);
        self.used_bytes -= len;
        let behind = self.free.remove(&(at + len)).unwrap_or(0);
        let before = self.free.range(..at).next_back().map(|(b, l)| (*b, *l)).filter(|(b, l)| b + l == at);
        let (begin, before) = before.unwrap_or((at, 0));
        self.free.insert(begin, before + len + behind);
    }

    /// The most bytes that were in use at once.
    pub(crate) fn high_water_bytes(&self) -> u64 {
        self.high_water_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_apart_within_and_comes_back_whole() {
        let (begin, len) = (0x1000u64, 64 * 1024usize);
        let mut reserve = Reserve::new(begin, len + 100);
        let mut held: Vec<(u64, usize)> = Vec::new();
        let mut state = 1u64;
        for _ in 0..3000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if state >> 62 == 0 && !held.is_empty() {
                let (at, len) = held.swap_remove((state >> 8) as usize % held.len());
                reserve.give_back(at, len);
            } else if let Some(at) = reserve.take((state >> 40) as usize % 3000) {
                held.push((at, (state >> 40) as usize % 3000));
            }
            let mut spans: Vec<(u64, u64)> = held.iter().map(|(at, len)| (*at, at + rounded(*len))).collect();
            spans.sort_unstable();
            assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "two overlap");
            assert!(spans.iter().all(|(from, to)| *from >= begin && *to <= begin + len as u64));
            assert!(spans.iter().all(|(from, _)| from % ALIGNMENT_BYTES == 0));
            assert_eq!(reserve.used_bytes, spans.iter().map(|(from, to)| to - from).sum::<u64>());
        }
        assert!(reserve.high_water_bytes() <= len as u64 && reserve.high_water_bytes() > len as u64 / 2);
        held.drain(..).for_each(|(at, len)| reserve.give_back(at, len));
        assert_eq!(reserve.free, BTreeMap::from([(begin, len as u64)]), "all is one again");
        assert_eq!(reserve.take(len), Some(begin));
        assert_eq!(reserve.take(1), None, "nothing is left");
        assert_eq!(Reserve::new(begin, 10).take(1), None);
    }
}
