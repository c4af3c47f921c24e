//! permessage-deflate of one direction taken off (RFC 7692 7.2.2). Knows no frame.

use flate2::{Decompress, FlushDecompress, Status};

use super::Compression;
use crate::observe::decode::encoding::Fault;

/// What one round gives at most.
const ROUND: usize = 8 * 1024;
/// An inflater's state and window, about.
const STATE: usize = 44 << 10;
/// What each message leaves out at its end.
const END: [u8; 4] = [0, 0, 0xff, 0xff];

/// Inflates message after message. Its window is taken with the first that is compressed, and where no
/// message continues the one before it, only for the length of one.
pub(super) struct Inflater {
    keeps: bool,
    state: Option<Box<Decompress>>,
}

type Round<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Fault>;

impl Inflater {
    pub(super) fn new(compression: Compression) -> Self {
        Self { keeps: compression.keeps, state: None }
    }

    /// Feeds bytes of a message and hands on what comes out.
    pub(super) fn push(&mut self, mut input: &[u8], give: Round<'_>) -> Result<(), Fault> {
        let state = self.state.get_or_insert_with(|| Box::new(Decompress::new(false)));
        let mut output = [0; ROUND];
        loop {
            let (before_in, before_out) = (state.total_in(), state.total_out());
            let status = state.decompress(input, &mut output, FlushDecompress::Sync);
            let has_ended = status.map_err(|_| Fault::Broken)? == Status::StreamEnd;
            let taken = (state.total_in() - before_in) as usize;
            let given = (state.total_out() - before_out) as usize;
            input = input.get(taken..).unwrap_or_default();
            give(output.get(..given).unwrap_or_default())?;
            if has_ended {
                // A block may say that it is the last; what follows it is another stream.
                state.reset(false);
            }
            let is_full = given == ROUND;
            if input.is_empty() && !is_full {
                return Ok(());
            }
            if taken == 0 && given == 0 {
                return Err(Fault::Broken);
            }
        }
    }

    /// The message ended.
    pub(super) fn end(&mut self, give: Round<'_>) -> Result<(), Fault> {
        self.push(&END, give)?;
        self.state.take_if(|_| !self.keeps);
        Ok(())
    }

    /// Bytes of its buffers, about.
    pub(super) fn held(&self) -> usize {
        self.state.as_ref().map_or(0, |_| STATE)
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inflater(keeps: {}, {} bytes)", self.keeps, self.held())
    }
}
