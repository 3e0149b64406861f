//! Length-prefixed messages: out of pieces of any size, and into one. Knows of no stream.

use bytes::{BufMut, Bytes, BytesMut};

use crate::net::status::{self, INTERNAL, Status};

/// A flag that says whether the message is compressed, and its length in four bytes.
pub const PREFIX_SIZE: usize = 5;
/// Bytes of a message that memory is taken for before they have come.
const AHEAD: usize = 64 * 1024;

/// A whole message.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub compressed: bool,
    pub payload: Bytes,
}

/// Returns `message` as it is sent.
pub fn framed(message: &[u8]) -> Bytes {
    let mut data = BytesMut::with_capacity(PREFIX_SIZE + message.len());
    data.put_slice(&prefix(message.len()));
    data.put_slice(message);
    data.freeze()
}

/// Returns what stands before a message of `size` bytes. Longer ones than the prefix can tell of are not made.
pub fn prefix(size: usize) -> [u8; PREFIX_SIZE] {
    let [a, b, c, d] = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// Cuts messages out of pieces.
pub struct Cutter {
    limit: usize,
    piece: Bytes,
    prefix: [u8; PREFIX_SIZE],
    prefix_size: usize,
    need: usize,
    body: BytesMut,
}

impl Cutter {
    /// Begins before messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, piece: Bytes::new(), prefix: [0; PREFIX_SIZE], prefix_size: 0, need: 0, body: BytesMut::new() }
    }

    /// Takes the next piece; the one before has been cut up.
    pub fn feed(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty());
        self.piece = piece;
    }

    /// Says whether no message has begun.
    pub fn between(&self) -> bool {
        self.prefix_size == 0 && self.piece.is_empty()
    }

    /// Returns how long the message is that has begun; 0 where that is not known.
    pub fn announced(&self) -> usize {
        if self.prefix_size == PREFIX_SIZE { self.need } else { 0 }
    }

    /// Returns the next message; None where it takes another piece.
    pub fn cut(&mut self) -> Result<Option<Message>, Status> {
        if self.prefix_size < PREFIX_SIZE && !self.begin()? {
            return Ok(None);
        }
        let taken = self.need - self.body.len();
        if self.body.is_empty() && self.piece.len() >= taken {
            let payload = self.piece.split_to(taken);
            return Ok(Some(self.whole(payload)));
        }
        let some = self.piece.split_to(taken.min(self.piece.len()));
        if self.body.is_empty() {
            self.body.reserve(self.need.min(AHEAD.max(some.len())));
        }
        self.body.extend_from_slice(&some);
        if self.body.len() < self.need {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.body).freeze();
        Ok(Some(self.whole(payload)))
    }

    /// Takes the prefix, or as much as there is; returns whether it is whole.
    fn begin(&mut self) -> Result<bool, Status> {
        let taken = (PREFIX_SIZE - self.prefix_size).min(self.piece.len());
        let some = self.piece.split_to(taken);
        self.prefix[self.prefix_size..self.prefix_size + taken].copy_from_slice(&some);
        self.prefix_size += taken;
        if self.prefix_size < PREFIX_SIZE {
            return Ok(false);
        }
        let [flag, a, b, c, d] = self.prefix;
        if flag > 1 {
            return Err(Status::new(INTERNAL, format!("a message begins with {flag}; expected 0 or 1")));
        }
        self.need = u32::from_be_bytes([a, b, c, d]) as usize;
        if self.need > self.limit {
            return Err(status::too_large(self.need, self.limit));
        }
        Ok(true)
    }

    fn whole(&mut self, payload: Bytes) -> Message {
        self.prefix_size = 0;
        self.need = 0;
        Message { compressed: self.prefix[0] == 1, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_all(pieces: &[&[u8]], limit: usize) -> (Vec<Message>, Option<String>, bool) {
        let mut cutter = Cutter::new(limit);
        let mut messages = Vec::new();
        for piece in pieces {
            cutter.feed(Bytes::copy_from_slice(piece));
            loop {
                match cutter.cut() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(status) => return (messages, Some(status.message.into_owned()), false),
                }
            }
        }
        (messages, None, cutter.between())
    }

    #[test]
    fn messages_may_be_cut_and_joined_in_any_way() {
        let body = [framed(b"hello"), framed(b""), framed(&[7; 300])].concat();
        for first in 0..=body.len() {
            for second in [first, (first + 3).min(body.len()), (first + 290).min(body.len())] {
                let pieces = [&body[..first], &body[first..second], &body[second..]];
                let (messages, error, between) = cut_all(&pieces, 1_000);
                let payloads: Vec<&[u8]> = messages.iter().map(|message| &*message.payload).collect();
                assert_eq!((payloads, error, between), (vec![&b"hello"[..], b"", &[7; 300]], None, true));
            }
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_comes() {
        let (_, error, _) = cut_all(&[&prefix(1_001)], 1_000);
        assert_eq!(error.as_deref(), Some("Received message larger than max (1001 vs. 1000)"));
    }

    #[test]
    fn a_flag_is_0_or_1() {
        let (messages, _, _) = cut_all(&[b"\x01\0\0\0\x01x"], 10);
        assert!(messages[0].compressed);
        let (_, error, _) = cut_all(&[b"\x02\0\0\0\0"], 10);
        assert_eq!(error.as_deref(), Some("a message begins with 2; expected 0 or 1"));
    }

    #[test]
    fn what_ends_within_a_message_is_not_between_two() {
        for end in 1..10 {
            assert!(!cut_all(&[&framed(b"hello")[..end]], 10).2);
        }
    }

    #[test]
    fn a_message_that_is_announced_takes_no_memory() {
        let mut cutter = Cutter::new(usize::MAX);
        cutter.feed(Bytes::copy_from_slice(&[&prefix(4_000_000_000)[..], b"x"].concat()));
        assert_eq!(cutter.cut(), Ok(None));
        assert!(cutter.body.capacity() <= 2 * AHEAD);
    }
}
