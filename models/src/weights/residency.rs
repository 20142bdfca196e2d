use super::MappedFile;
use std::io;
use std::ops::Range;

/// Why a mapped file cannot be kept in memory, or asked whether it is.
#[derive(Debug, thiserror::Error)]
pub enum ResidencyError {
    /// More memory would be locked than this process may lock.
    #[error(
        "{bytes} bytes cannot be locked in memory: the limit RLIMIT_MEMLOCK is {limit_bytes} bytes; \
         raise it (`ulimit -l`, or LimitMEMLOCK= of a systemd unit) or do without locking"
    )]
    LockLimit {
        /// Bytes asked for.
        bytes: usize,
        /// The limit in force.
        limit_bytes: u64,
    },
    /// The system refused for another reason.
    #[error("the system cannot {what} a mapped model file: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl MappedFile {
    /// Returns these pages to the system and counts them no more; once for a file.
    pub(super) fn give_up(&self, pages: Vec<Range<usize>>) {
        self.forget(self.spare.get_or_init(|| pages));
    }

    /// Returns these pages to the system.
    pub(super) fn forget(&self, pages: &[Range<usize>]) {
        #[cfg(unix)]
        for pages in pages {
            // SAFETY: the mapping is read-only and of a file: should a page be read after all, it is
            // read from the file anew. Where the system refuses, pages stay mapped and nothing is lost.
            let _ = unsafe {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                self.map.unchecked_advise_range(advice, pages.start, pages.len())
            };
        }
    }

    /// What is read: all but the pages that were given up.
    fn needed(&self) -> Vec<Range<usize>> {
        let mut needed = Vec::new();
        let mut from = 0;
        for pages in self.spare.get().into_iter().flatten() {
            needed.push(from..pages.start);
            from = pages.end;
        }
        needed.push(from..self.map.len());
        needed.retain(|range| !range.is_empty());
        needed
    }

    /// Bytes of what is read.
    pub fn needed_bytes(&self) -> usize {
        self.needed().iter().map(|range| range.len()).sum()
    }

    /// Reads the file into memory and maps every page that is needed, so that no later access waits for the
    /// disk or faults. Returns the pages touched.
    ///
    /// # Errors
    /// If the system refuses the advice; a damaged disk ends the process, as any mapped read would.
    pub fn prefault(&self) -> Result<usize, ResidencyError> {
        let system = |source| ResidencyError::System { what: "prefetch", source };
        let touch = |page: &[u8]| page.first().map(|byte| std::hint::black_box(*byte));
        let mut touched = 0;
        for range in self.needed() {
            #[cfg(unix)]
            self.map.advise_range(memmap2::Advice::WillNeed, range.start, range.len()).map_err(system)?;
            touched += self.map[range.clone()].chunks(page_bytes()).filter_map(touch).count();
            // A page beside those that were given up can bring two megabytes of them with it.
            let spare = self.spare.get().map_or(&[][..], Vec::as_slice);
            let (from, to) = (
                spare.partition_point(|pages| pages.end < range.start),
                spare.partition_point(|pages| pages.start <= range.end),
            );
            self.forget(&spare[from..to]);
        }
        Ok(touched)
    }

    /// Keeps the file in memory (`mlock`) until it is unmapped.
    ///
    /// # Errors
    /// [`ResidencyError::LockLimit`] where the limit on locked memory is what forbids it.
    #[cfg(unix)]
    pub fn lock(&self) -> Result<(), ResidencyError> {
        for range in self.needed() {
            // SAFETY: the range is in this mapping and begins at a page.
            if unsafe { libc::mlock(self.map[range.clone()].as_ptr().cast(), range.len()) } == 0 {
                continue;
            }
            let source = io::Error::last_os_error();
            return Err(match lock_limit_bytes() {
                Some(limit_bytes) if matches!(source.raw_os_error(), Some(libc::ENOMEM | libc::EPERM)) => {
                    ResidencyError::LockLimit { bytes: self.needed_bytes(), limit_bytes }
                }
                _ => ResidencyError::System { what: "lock", source },
            });
        }
        Ok(())
    }

    /// Bytes of what is needed that are in memory now, in whole pages but never more than there are.
    ///
    /// # Errors
    /// If the system cannot tell (`mincore`).
    #[cfg(unix)]
    pub fn resident_bytes(&self) -> Result<usize, ResidencyError> {
        let page = page_bytes();
        let mut resident_bytes = 0;
        for range in self.needed() {
            // Pages that were given up are not asked for: to find them costs the system a search for each.
            let mut pages = vec![0u8; range.len().div_ceil(page)];
            // SAFETY: the range is in this mapping and begins at a page, and `pages` has one byte for each of its
            // pages. glibc wants `*mut c_char` for the vector on some targets, hence the cast.
            let failed = unsafe {
                let start = self.map.as_ptr().add(range.start);
                libc::mincore(start as *mut libc::c_void, range.len(), pages.as_mut_ptr().cast())
            };
            if failed != 0 {
                let source = io::Error::last_os_error();
                return Err(ResidencyError::System { what: "tell the residency of", source });
            }
            let resident = pages.iter().filter(|page| **page & 1 == 1).count();
            resident_bytes += (resident * page).min(range.len());
        }
        Ok(resident_bytes)
    }
}

#[cfg(unix)]
pub(super) fn page_bytes() -> usize {
    // SAFETY: asks for a constant of the system.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(not(unix))]
pub(super) fn page_bytes() -> usize {
    4096
}

/// The soft limit on locked memory, where there is one.
#[cfg(unix)]
fn lock_limit_bytes() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid `rlimit` to write to.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (failed == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_prefaulted_file_is_resident_and_a_locked_one_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        let len = 64 * page_bytes() + 17;
        std::fs::write(&path, vec![7u8; len]).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.prefault().unwrap(), 65);
        assert_eq!(file.resident_bytes().unwrap(), len);
        match file.lock() {
            Ok(()) => assert_eq!(file.resident_bytes().unwrap(), len),
            Err(error) => assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}"),
        }
    }

    #[test]
    fn pages_that_were_given_up_are_neither_touched_nor_missed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        let page = page_bytes();
        std::fs::write(&path, vec![7u8; 20 * page + 5]).unwrap();
        let file = MappedFile::open(&path).unwrap();
        file.prefault().unwrap();
        file.give_up(vec![2 * page..5 * page, 5 * page..6 * page, 18 * page..20 * page]);
        assert_eq!(file.needed_bytes(), 14 * page + 5);
        assert_eq!(file.prefault().unwrap(), 15);
        assert_eq!(file.resident_bytes().unwrap(), 14 * page + 5);
        // What was given up can still be read.
        assert!((*file).as_ref().iter().all(|byte| *byte == 7));
    }

    #[test]
    fn holes_that_nobody_read_are_not_resident() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let len = 1 << 26;
        std::fs::File::create(&path).unwrap().set_len(len as u64).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert!(file.resident_bytes().unwrap() < len);
        file.prefault().unwrap();
        assert_eq!(file.resident_bytes().unwrap(), len);
    }
}
