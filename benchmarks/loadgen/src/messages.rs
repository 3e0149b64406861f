//! Messages as files and streams carry them, and what there is to see in an answer without a protobuf library.

use std::path::Path;

use bytes::Bytes;

/// A byte that says whether it is compressed, and the length.
pub const PREFIX: usize = 5;
/// The field of a `ModelInferResponse` that is looked at where nobody says another.
pub const RAW_OUTPUT_CONTENTS: u64 = 6;

/// Return the messages in `file`, each with its prefix.
pub fn frames_in(file: &Path) -> Result<Vec<Bytes>, String> {
    let content = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    frames(Bytes::from(content)).map_err(|problem| format!("{}: {problem}", file.display()))
}

/// Cut a stream of messages into its messages, each with its prefix.
pub fn frames(mut content: Bytes) -> Result<Vec<Bytes>, String> {
    let mut found = Vec::new();
    while !content.is_empty() {
        let Some(length) = length_of(&content) else {
            return Err(format!("message {} is not framed as a gRPC stream has it", found.len()));
        };
        if content.len() - PREFIX < length {
            return Err(format!("message {} is cut off", found.len()));
        }
        found.push(content.split_to(PREFIX + length));
    }
    Ok(found)
}

/// Return the message without its prefix.
pub fn message_in(frame: &Bytes) -> Bytes {
    frame.slice(PREFIX.min(frame.len())..)
}

/// Return how long the message is that `frame` begins with; none where that is no prefix of an uncompressed one.
pub fn length_of(frame: &[u8]) -> Option<usize> {
    match frame {
        [0, a, b, c, d, ..] => usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok(),
        _ => None,
    }
}

/// What one field of an answer is to be: as a rule the raw contents of a `ModelInferResponse`.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The field's number.
    pub field: u64,
    /// Its contents, one after the other where it is repeated.
    pub contents: Bytes,
    /// Whether 32-bit floats may be off by `OFF`, as they are when rows are computed together.
    pub nearly: bool,
}

/// Relative to the greater of the two.
const OFF: f32 = 1e-3;

impl Expected {
    /// Say whether the field has in `message` what is expected.
    pub fn is_in(&self, message: &[u8]) -> bool {
        let (mut message, mut expected) = (message, self.contents.as_ref());
        while !message.is_empty() {
            let Some((field, data)) = next_field(&mut message) else { return false };
            if field == self.field {
                match take(&mut expected, data.len()) {
                    Some(part) if part == data || (self.nearly && are_near(part, data)) => {}
                    _ => return false,
                }
            }
        }
        expected.is_empty()
    }
}

fn are_near(one: &[u8], other: &[u8]) -> bool {
    let (ones, others) = (one.as_chunks::<4>(), other.as_chunks::<4>());
    ones.1 == others.1
        && ones.0.iter().zip(others.0).all(|(one, other)| {
            let (a, b) = (f32::from_le_bytes(*one), f32::from_le_bytes(*other));
            one == other || (a - b).abs() <= OFF * a.abs().max(b.abs())
        })
}

/// Take the next field off `message`: its number and, where it has a length, its content; none where it is malformed.
fn next_field<'a>(message: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let tag = varint(message)?;
    let length = match tag & 7 {
        0 => {
            varint(message)?;
            0
        }
        1 => return take(message, 8).map(|_| (tag >> 3, &[][..])),
        2 => usize::try_from(varint(message)?).ok()?,
        5 => return take(message, 4).map(|_| (tag >> 3, &[][..])),
        _ => return None,
    };
    take(message, length).map(|data| (tag >> 3, data))
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (data, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(data)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_its_messages() {
        let found = frames(Bytes::from_static(b"\0\0\0\0\x02ab\0\0\0\0\0")).unwrap();
        assert_eq!(found, [&b"\0\0\0\0\x02ab"[..], b"\0\0\0\0\0"]);
        assert_eq!(message_in(&found[0]).as_ref(), b"ab");
        assert!(frames(Bytes::from_static(b"\0\0\0\0\x03ab")).unwrap_err().contains("cut off"));
        assert!(frames(Bytes::from_static(b"\x01\0\0\0\0")).unwrap_err().contains("not framed"));
        assert!(frames(Bytes::from_static(b"\0\0")).unwrap_err().contains("not framed"));
    }

    #[test]
    fn raw_contents_are_found_wherever_they_stand() {
        // model_name, two raw contents with an output between them, and fields of every other kind.
        let message = b"\x0a\x01m\x32\x02ab\x2a\x03\x0a\x01y\x32\x01c\x78\x96\x01\x79\0\0\0\0\0\0\0\0\x7d\0\0\0\0";
        assert!(exactly(b"abc").is_in(message));
        for wrong in [&b"ab"[..], b"abcd", b"abd", b"", b"cab"] {
            assert!(!exactly(wrong).is_in(message), "{wrong:?}");
        }
        assert!(exactly(b"").is_in(b""));
    }

    #[test]
    fn any_field_can_be_looked_at() {
        // Two candidates of a `RankResponse`, and who answered, which differs from call to call.
        let message = b"\x0a\x03\x0a\x01a\x12\x02\x3a\0\x0a\x03\x0a\x01b";
        let expected = |contents| Expected { field: 1, ..exactly(contents) };
        assert!(expected(b"\x0a\x01a\x0a\x01b").is_in(message));
        assert!(!expected(b"\x0a\x01b\x0a\x01a").is_in(message));
    }

    fn exactly(contents: &'static [u8]) -> Expected {
        Expected { field: RAW_OUTPUT_CONTENTS, contents: Bytes::from_static(contents), nearly: false }
    }

    #[test]
    fn floats_may_be_near_where_that_is_enough() {
        let answer = |number: f32| [&b"\x32\x04"[..], &number.to_le_bytes()].concat();
        let nearly =
            Expected { contents: Bytes::copy_from_slice(&1.5_f32.to_le_bytes()), nearly: true, ..exactly(b"") };
        let exactly = Expected { nearly: false, ..nearly.clone() };
        for (number, near, equal) in
            [(1.5, true, true), (1.5001, true, false), (1.51, false, false), (f32::NAN, false, false)]
        {
            assert_eq!((nearly.is_in(&answer(number)), exactly.is_in(&answer(number))), (near, equal), "{number}");
        }
        // Whole numbers are tiny floats.
        let seven = Expected { contents: Bytes::from_static(b"\x07\0\0\0"), ..nearly };
        assert!(seven.is_in(b"\x32\x04\x07\0\0\0") && !seven.is_in(b"\x32\x04\x08\0\0\0"));
        assert!(!seven.is_in(b"\x32\x03\x07\0\0") && !seven.is_in(b""));
    }

    #[test]
    fn a_malformed_answer_is_a_wrong_one() {
        for message in
            [&b"\x32\x05ab"[..], b"\x32", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x33", b"\x79\0"]
        {
            assert!(!exactly(b"").is_in(message), "{message:?}");
        }
    }
}
