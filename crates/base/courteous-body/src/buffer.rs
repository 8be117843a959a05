use bytes::Bytes;

/// The last bytes that were read from a source, from an offset on.
///
/// Bytes are copied in, so that a small slice of a huge buffer does not keep the huge one alive.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// The offset in the source of the first byte that is held.
    base: u64,
    /// What was held at the last [`freeze`](Self::freeze), shared with the frames of later
    /// attempts.
    frozen: Vec<Bytes>,
    frozen_len: usize,
    /// What was read since then.
    tail: Vec<u8>,
}

impl Buffer {
    pub(crate) const fn base(&self) -> u64 {
        self.base
    }

    pub(crate) const fn len(&self) -> usize {
        self.frozen_len + self.tail.len()
    }

    /// The offset after the last held byte, which is also the source's offset.
    pub(crate) const fn end(&self) -> u64 {
        self.base + self.len() as u64
    }

    /// Whether `more` bytes fit under `limit`.
    pub(crate) fn has_room(&self, more: usize, limit: usize) -> bool {
        self.len()
            .checked_add(more)
            .is_some_and(|total| total <= limit)
    }

    /// Appends `data`. `expected` is the number of bytes that may still come in all, including
    /// `data`. Never allocates more than `limit` in all.
    pub(crate) fn push(&mut self, data: &[u8], expected: u64, limit: usize) {
        let needed = self.tail.len() + data.len();
        if needed > self.tail.capacity() {
            let room = limit - self.frozen_len;
            let expected = usize::try_from(expected).unwrap_or(usize::MAX);
            let wanted = needed
                .max(self.tail.len().saturating_add(expected))
                .max(self.tail.capacity().saturating_mul(2))
                .min(room);
            self.tail.reserve_exact(wanted - self.tail.len());
        }
        self.tail.extend_from_slice(data);
    }

    /// Skips `len` bytes that are not held; only allowed when no bytes are held.
    pub(crate) fn skip(&mut self, len: usize) {
        debug_assert_eq!(self.len(), 0, "what is held cannot be skipped");
        self.base += len as u64;
    }

    /// Releases everything that is held.
    pub(crate) fn release(&mut self) {
        *self = Self {
            base: self.end(),
            ..Self::default()
        };
    }

    /// Makes everything that is held available to [`chunk`](Self::chunk).
    pub(crate) fn freeze(&mut self) {
        if !self.tail.is_empty() {
            self.frozen_len += self.tail.len();
            self.frozen
                .push(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    /// The frozen bytes from `offset` to the end of their piece.
    pub(crate) fn chunk(&self, offset: u64) -> Option<Bytes> {
        let mut skip = usize::try_from(offset.checked_sub(self.base)?).ok()?;
        for piece in &self.frozen {
            if skip < piece.len() {
                return Some(piece.slice(skip..));
            }
            skip -= piece.len();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_allocates_above_the_limit() {
        let mut buffer = Buffer::default();
        for _ in 0..100 {
            assert!(buffer.has_room(1, 100));
            buffer.push(b"x", u64::MAX, 100);
            assert!(buffer.tail.capacity() <= 100);
        }
        assert!(!buffer.has_room(1, 100));
        buffer.freeze();
        assert_eq!((buffer.len(), buffer.end()), (100, 100));
    }

    #[test]
    fn a_length_that_is_known_is_allocated_once() {
        let mut buffer = Buffer::default();
        buffer.push(&[0; 10], 1000, 64 * 1024);
        assert_eq!(buffer.tail.capacity(), 1000);
    }

    #[test]
    fn a_limit_without_end_does_not_overflow() {
        let mut buffer = Buffer::default();
        buffer.push(&[0; 10], 0, usize::MAX);
        assert!(!buffer.has_room(usize::MAX, usize::MAX));
        assert_eq!(buffer.tail.capacity(), 10);
    }

    #[test]
    fn pieces_are_found_by_their_offset_in_the_source() {
        let mut buffer = Buffer::default();
        buffer.skip(100);
        buffer.push(b"ab", 0, 10);
        buffer.freeze();
        buffer.push(b"cd", 0, 10);
        assert_eq!(buffer.chunk(102), None);
        buffer.freeze();
        assert_eq!(buffer.chunk(99), None);
        assert_eq!(buffer.chunk(101).as_deref(), Some(&b"b"[..]));
        assert_eq!(buffer.chunk(102).as_deref(), Some(&b"cd"[..]));
        assert_eq!(buffer.chunk(104), None);
        buffer.release();
        assert_eq!((buffer.base(), buffer.len(), buffer.end()), (104, 0, 104));
    }
}
