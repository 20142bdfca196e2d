use super::{MappedFile, TensorEntry, Weights};
use crate::error::{ModelError, Result};
use undertone_kernels::Weight;

/// A cache line: where matrices begin.
const ALIGNMENT_BYTES: usize = 64;

/// Bytes of a matrix once it is interleaved, where that is of use.
fn interleaved_bytes(tensor: &TensorEntry) -> Option<usize> {
    let [rows, cols] = *tensor.dims else { return None };
    let bytes = Weight::interleaved_bytes(tensor.ty, rows, cols).filter(|_| tensor.row_scale.is_none())?;
    bytes.checked_next_multiple_of(ALIGNMENT_BYTES)
}

impl Weights {
    /// Lays the matrices `multiplied` names out as this processor multiplies them ([`Weight::interleave`]),
    /// in memory of their own that is kept and watched as a file is, and gives them up in the file.
    ///
    /// # Errors
    /// If there is not so much memory.
    pub(crate) fn interleave(&mut self, multiplied: impl Fn(&str) -> bool) -> Result<()> {
        let taken = |name: &str, e: &TensorEntry| multiplied(name) && interleaved_bytes(e).is_some();
        let total = self.interleaved_bytes(&multiplied);
        if total == 0 {
            return Ok(());
        }
        let mut memory = memmap2::MmapMut::map_anon(total).map_err(ModelError::io(&self.path))?;
        // Weights are read from end to end for each token: the fewer pages the better, but any will do.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        // As they lie in the file, which is then read from end to end.
        let mut names: Vec<String> =
            self.tensors.iter().filter(|(name, e)| taken(name, e)).map(|(name, _)| name.clone()).collect();
        names.sort_by_key(|name| self.tensors.get(name).map(|e| e.range.start));
        let mut laid = Vec::with_capacity(names.len());
        let mut from = 0;
        for name in names {
            let entry = self.entry(&name)?;
            let [rows, cols] = *entry.dims else { continue };
            let weight = Weight::new(entry.bytes.clone(), entry.range.clone(), entry.ty, rows, cols)?;
            let len = Weight::interleaved_bytes(entry.ty, rows, cols).unwrap_or_default();
            weight.interleave(&mut memory[from..from + len]);
            self.give_up_now(entry);
            laid.push((name, from..from + len));
            from = (from + len).next_multiple_of(ALIGNMENT_BYTES);
        }
        self.give_up(taken);
        let memory = MappedFile::of_memory(memory.make_read_only().map_err(ModelError::io(&self.path))?);
        for (name, range) in laid {
            if let Some(entry) = self.tensors.get_mut(&name) {
                (entry.bytes, entry.range, entry.interleaved) = (memory.clone(), range, true);
            }
        }
        self.files.push(memory);
        Ok(())
    }

    /// Bytes of the mapped files and of the memory that [`Weights::interleave`] takes, once it has.
    pub(crate) fn resident_bytes(&self, multiplied: impl Fn(&str) -> bool) -> usize {
        let taken = |name: &str, e: &TensorEntry| multiplied(name) && interleaved_bytes(e).is_some();
        self.file_bytes() - self.spare_bytes(taken) + self.interleaved_bytes(&multiplied)
    }

    fn interleaved_bytes(&self, multiplied: impl Fn(&str) -> bool) -> usize {
        self.sum(|name, e| interleaved_bytes(e).filter(|_| multiplied(name)))
    }

    /// Returns the pages of one matrix to the system as soon as it is copied, so that both are never there
    /// whole.
    fn give_up_now(&self, entry: &TensorEntry) {
        for file in &self.files {
            file.forget(&self.pages(file, |_, e| e.range == entry.range));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::weights::BlockType;
    use std::collections::HashMap;

    #[test]
    fn matrices_are_the_same_and_their_file_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        let (rows, cols, len) = (100, 512, 100 * 512 / 32 * 20);
        // Scales and minima are 0x3c3c, levels whatever follows.
        let bytes: Vec<u8> =
            (0..2 * len).map(|i| if i % 20 < 4 { 0x3c } else { (i * 31 % 251) as u8 }).collect();
        std::fs::write(&path, bytes).unwrap();
        let file = MappedFile::open(&path).unwrap();
        let entry = |n: usize| {
            TensorEntry::new(file.clone(), n * len..(n + 1) * len, BlockType::Q4_1, vec![rows, cols])
        };
        let tensors = HashMap::from([("a".to_string(), entry(0)), ("b".to_string(), entry(1))]);
        let mut weights = Weights::new(&path, vec![file.clone()], tensors);
        let before = ["a", "b"].map(|name| weights.matrix(name, rows, cols).unwrap().to_f32());
        let expected = weights.resident_bytes(|name| name == "b");
        weights.interleave(|name| name == "b").unwrap();
        assert!(before == ["a", "b"].map(|name| weights.matrix(name, rows, cols).unwrap().to_f32()));
        let needed: usize = weights.files().iter().map(|file| file.needed_bytes()).sum();
        assert_eq!(needed, expected);
        match Weight::interleaved_bytes(BlockType::Q4_1, rows, cols) {
            Some(_) => assert!(weights.files().len() == 2 && file.needed_bytes() < len + 2 * 4096),
            None => assert!(weights.files().len() == 1 && file.needed_bytes() == 2 * len),
        }
    }
}
