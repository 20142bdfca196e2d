//! What each token stands for, as bytes.

use super::{MAX_TOKENS, TokenizerError};

/// The bytes of every token by id, in one allocation.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Start and length in `bytes`.
    spans: Vec<(u32, u32)>,
}

impl Pieces {
    /// Sets the bytes of token `id`, making room for all ids up to it.
    ///
    /// # Errors
    /// `Invalid` when the id or the sum of all bytes is absurd.
    pub(super) fn set(&mut self, id: u32, bytes: &[u8]) -> Result<(), TokenizerError> {
        if id >= MAX_TOKENS {
            return Err(TokenizerError::invalid(format!("token id {id} is absurd")));
        }
        let (Ok(start), Ok(len)) = (u32::try_from(self.bytes.len()), u32::try_from(bytes.len())) else {
            return Err(TokenizerError::invalid("more than 4 GiB of tokens"));
        };
        let index = id as usize;
        if index >= self.spans.len() {
            self.spans.resize(index + 1, (0, 0));
        }
        self.bytes.extend_from_slice(bytes);
        self.spans[index] = (start, len);
        Ok(())
    }

    /// The bytes of token `id`; none for an id that was never set.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let span = self.spans.get(id as usize);
        span.and_then(|&(start, len)| self.bytes.get(start as usize..)?.get(..len as usize))
            .unwrap_or_default()
    }

    /// One more than the greatest id set.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }
}
