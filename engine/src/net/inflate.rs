//! Compressed messages, taken apart within bounds.

use flate2::{Decompress, FlushDecompress, Status as Progress};

use crate::net::status::{self, INTERNAL, Status};

/// How messages that say that they are compressed are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Deflate,
    Gzip,
}

impl Encoding {
    /// Returns the encoding of a name in `grpc-encoding`.
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"identity" => Some(Self::Identity),
            b"deflate" => Some(Self::Deflate),
            b"gzip" => Some(Self::Gzip),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Deflate => "deflate",
            Self::Gzip => "gzip",
        }
    }
}

/// Bytes by which room is made for what comes out.
const STEP: usize = 64 * 1024;
const WINDOW_BITS: u8 = 15;

/// Returns a compressed message as it was. It is not whole, more than `limit` bytes, or something follows it: the status
/// says which. `hold` is told how much memory it takes before it does, and may say no.
pub fn inflated(
    payload: &[u8],
    encoding: Encoding,
    limit: usize,
    mut hold: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, Status> {
    let mut inflater = match encoding {
        Encoding::Gzip => Decompress::new_gzip(WINDOW_BITS),
        Encoding::Deflate => Decompress::new(true),
        Encoding::Identity => {
            return Err(Status::new(INTERNAL, "a message is compressed, and grpc-encoding does not say how"));
        }
    };
    let name = encoding.name();
    let mut message = Vec::new();
    loop {
        let room = STEP.min(limit + 1 - message.len());
        if message.capacity() - message.len() < room {
            let wanted = (message.len() + room).max(2 * message.capacity());
            if !hold(wanted) {
                return Err(status::memory_full());
            }
            message.reserve_exact(wanted - message.len());
        }
        let rest = &payload[inflater.total_in() as usize..];
        let before = (inflater.total_in(), message.len());
        let progress = inflater.decompress_vec(rest, &mut message, FlushDecompress::None);
        if message.len() > limit {
            return Err(status::too_large(limit + 1, limit));
        }
        match progress {
            Err(_) => return Err(Status::new(INTERNAL, format!("a message is not valid {name}"))),
            Ok(Progress::StreamEnd) if inflater.total_in() < payload.len() as u64 => {
                return Err(Status::new(INTERNAL, format!("a message goes on after its end as {name}")));
            }
            Ok(Progress::StreamEnd) => return Ok(message),
            Ok(_) if before == (inflater.total_in(), message.len()) => {
                return Err(Status::new(INTERNAL, format!("a message is not whole as {name}")));
            }
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tally::Told;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write;

    fn packed(encoding: Encoding, message: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(message).unwrap();
                encoder.finish().unwrap()
            }
            _ => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(message).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn refusal(payload: &[u8], encoding: Encoding, limit: usize) -> String {
        inflated(payload, encoding, limit, |_| true).unwrap_err().message.into_owned()
    }

    #[test]
    fn messages_come_out_as_they_were() {
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            for size in [0, 1, STEP - 1, STEP, STEP + 1, 1_000_000] {
                let message: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
                assert_eq!(inflated(&packed(encoding, &message), encoding, size, |_| true).as_ref(), Ok(&message));
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let bomb = packed(encoding, &vec![0; 10_000_000]);
            assert_eq!(refusal(&bomb, encoding, 1_000), "Received message larger than max (1001 vs. 1000)");
        }
    }

    #[test]
    fn no_memory_is_taken_that_there_is_not() {
        let bomb = packed(Encoding::Gzip, &vec![0; 10_000_000]);
        let mut most = 0;
        let hold = |size: usize| {
            most = size.max(most);
            size <= 1_000_000
        };
        let refused = inflated(&bomb, Encoding::Gzip, 10_000_000, hold).unwrap_err();
        assert_eq!((refused.code, refused.told), (status::RESOURCE_EXHAUSTED, Some(Told::Memory)));
        assert!(most <= 2_000_000);
        let mut held = 0;
        let hold = |size| {
            held = size;
            true
        };
        let message = inflated(&bomb, Encoding::Gzip, 10_000_000, hold).unwrap();
        assert!(message.capacity() <= held);
    }

    #[test]
    fn two_members_or_bytes_after_one_are_an_error() {
        for (encoding, name) in [(Encoding::Gzip, "gzip"), (Encoding::Deflate, "deflate")] {
            let one = packed(encoding, b"hello");
            for more in [one.clone(), b"x".to_vec()] {
                let text = refusal(&[one.clone(), more].concat(), encoding, 1_000);
                assert_eq!(text, format!("a message goes on after its end as {name}"));
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error() {
        for (encoding, name) in [(Encoding::Gzip, "gzip"), (Encoding::Deflate, "deflate")] {
            let one = packed(encoding, b"hello hello hello");
            for end in 0..one.len() {
                assert_eq!(refusal(&one[..end], encoding, 1_000), format!("a message is not whole as {name}"));
            }
            assert_eq!(refusal(b"not compressed", encoding, 1_000), format!("a message is not valid {name}"));
            let mut damaged = one.clone();
            *damaged.last_mut().unwrap() ^= 1;
            assert_eq!(refusal(&damaged, encoding, 1_000), format!("a message is not valid {name}"));
        }
    }

    #[test]
    fn a_flag_without_an_encoding_is_an_error() {
        assert!(refusal(b"x", Encoding::Identity, 10).contains("does not say how"));
    }
}
