//! An input, taken apart piece by piece. Knows no property.

/// What is left of an input. At its end every piece is empty or zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// The bytes before the next `end`, which is passed over.
    pub(crate) fn until(&mut self, end: u8) -> &'a [u8] {
        let mut parts = self.0.splitn(2, |&byte| byte == end);
        let piece = parts.next().unwrap_or_default();
        self.0 = parts.next().unwrap_or_default();
        piece
    }

    /// The next line as text; nothing where that is not UTF-8.
    pub(crate) fn line(&mut self) -> &'a str {
        std::str::from_utf8(self.until(b'\n')).unwrap_or_default()
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A count in one byte: small ones as they are, above them powers of two.
    pub(crate) fn count(&mut self) -> u64 {
        match self.byte() {
            small @ 0..192 => u64::from(small),
            large => 1 << (large - 192),
        }
    }

    /// A count that may be absent.
    pub(crate) fn some_count(&mut self) -> Option<u64> {
        self.count().checked_sub(1)
    }
}
