//! How much a message holds, counted on the wire before anybody reads it: the twin of `transport/values.py`.
//!
//! Protobuf takes two bytes of a message for what it needs a hundred for, and longer the more there is. Counting takes
//! no memory, and ends with the first value too many.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Kind as Fault};
use crate::net::status::{Status, too_many_values};

/// Messages of no more bytes are not counted: whatever is in them, it costs less than a few MiB.
pub const UNCOUNTED: usize = 64 * 1024;
/// How many values a message within a message counts as: it is an object, and readers look at each.
pub const MESSAGE: usize = 32;
/// How deep messages lie within each other; protobuf refuses deeper ones.
const DEPTH: usize = 100;
/// Bytes of packed numbers that are looked at before it is asked whether there are too many.
const PIECE: usize = 64 * 1024;
/// No field of ours has a larger number.
const LAST_FIELD: u32 = 1 << 10;

/// What a field's bytes are, where they are more than one value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Kind {
    /// One value, or numbers that take as much memory as they have bytes.
    #[default]
    One,
    /// A message: its place in the shape.
    Message(usize),
    /// Numbers that are one byte or more each.
    Varints,
}

/// Which fields of a message are messages or packed numbers, and which of those.
#[derive(Clone, Debug)]
pub struct Shape {
    /// By message, the whole one first: its fields, by number.
    messages: Vec<Vec<Kind>>,
}

impl Shape {
    /// Takes what `transport.values.shape_of` made: of each message its fields' numbers, with the place of the message
    /// that is in it, or -1 for varints.
    pub fn new(messages: &[BTreeMap<u32, i64>]) -> Result<Self, String> {
        let kind = |place: i64| match usize::try_from(place) {
            Ok(place) if place < messages.len() => Ok(Kind::Message(place)),
            Err(_) if place == -1 => Ok(Kind::Varints),
            _ => Err(format!("{place} is no message of a shape")),
        };
        let fields = |of: &BTreeMap<u32, i64>| {
            let last = of.last_key_value().map_or(0, |(&number, _)| number);
            if last > LAST_FIELD {
                return Err(format!("{last} is no field of a shape"));
            }
            let mut fields = vec![Kind::One; last as usize + 1];
            for (&number, &place) in of {
                fields[number as usize] = kind(place)?;
            }
            Ok(fields)
        };
        Ok(Self { messages: messages.iter().map(fields).collect::<Result<_, _>>()? })
    }

    /// Returns how many values there are in `message`, as far as it can be read; `most` and one for more than `most`.
    ///
    /// It reads all that any protobuf may read, and then some: where it stops, so do they.
    pub fn count(&self, message: &[u8], most: usize) -> usize {
        let mut tally = Tally { left: most.saturating_add(1) };
        let _ = self.walk(message, 0, 0, &mut tally);
        most.saturating_add(1) - tally.left
    }

    fn walk(&self, message: &[u8], place: usize, depth: usize, tally: &mut Tally) -> Option<()> {
        let fields = self.messages.get(place)?;
        let mut rest = message;
        let mut groups = 0usize;
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            tally.add(1)?;
            match tag & 7 {
                0 => drop(varint(&mut rest)?),
                1 => drop(take(&mut rest, 8)?),
                5 => drop(take(&mut rest, 4)?),
                2 => {
                    let length = varint(&mut rest)?;
                    let inside = take(&mut rest, length)?;
                    // What is in a group is nobody's: fields there may have any number and be anything.
                    let number = if groups == 0 { usize::try_from(tag >> 3).ok()? } else { 0 };
                    match fields.get(number).copied().unwrap_or_default() {
                        Kind::One => {}
                        Kind::Varints => {
                            let mut pieces = inside.chunks(PIECE);
                            pieces
                                .try_for_each(|piece| tally.add(piece.iter().filter(|&&byte| byte < 0x80).count()))?;
                        }
                        Kind::Message(_) if depth == DEPTH => return None,
                        Kind::Message(place) => {
                            tally.add(MESSAGE - 1)?;
                            self.walk(inside, place, depth + 1, tally)?;
                        }
                    }
                }
                3 => groups += 1,
                4 => groups = groups.checked_sub(1)?,
                _ => return None,
            }
        }
        (groups == 0).then_some(())
    }
}

/// How many more values there may be.
struct Tally {
    left: usize,
}

impl Tally {
    fn add(&mut self, count: usize) -> Option<()> {
        self.left = self.left.saturating_sub(count);
        (self.left > 0).then_some(())
    }
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(taken)
}

/// Reads a varint of any length that one may have; bits beyond the 64th are lost.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return Some(value);
        }
    }
    None
}

/// What messages may come to, besides their bytes.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// How many times as many bytes as it was sent in a compressed message may have.
    pub ratio: usize,
    /// Values in one message.
    pub values: usize,
    /// Of each method's message, by the method's path. Others are not counted.
    pub shapes: HashMap<String, Shape>,
}

impl Bounds {
    /// Checks that a message to `path` does not hold more than it may; returns how many values were counted.
    pub fn check(&self, path: &str, message: &[u8]) -> Result<usize, Status> {
        if message.len() <= UNCOUNTED {
            return Ok(0);
        }
        let Some(shape) = self.shapes.get(path) else { return Ok(0) };
        let count = shape.count(message, self.values);
        if count > self.values { Err(too_many_values(&too_many(self.values))) } else { Ok(count) }
    }
}

fn too_many(most: usize) -> Error {
    let text = format!(
        "the message has more than {most} values, of which a message within it counts as {MESSAGE}; \
         limits.max_message_values is the bound"
    );
    let mut error = Error::new(Fault::Invalid, "TOO_MANY_VALUES", text);
    error.details.push(("limit", most.to_string()));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oip::wire::put_bytes;

    /// Messages in field 5 of the first kind, whose field 2 are varints.
    fn shape() -> Shape {
        Shape::new(&[BTreeMap::from([(5, 1)]), BTreeMap::from([(2, -1)])]).unwrap()
    }

    fn counted(message: &[u8]) -> usize {
        shape().count(message, 1_000_000)
    }

    fn field(number: u8, inside: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        put_bytes(&mut field, number, inside);
        field
    }

    #[test]
    fn fields_messages_and_packed_numbers_count() {
        for (message, count) in [
            (&b""[..], 0),
            (b"\x08\x01\x11\0\0\0\0\0\0\0\0\x1d\0\0\0\0", 3),
            (b"\x12\x03\x01\x01\x01", 1), // varints, but not of this message
            (b"\x2a\x00", MESSAGE),       // a message
            (b"\x28\x01", 1),             // none, as it is a number
            (b"\x2a\x05\x12\x03\x01\x80\x01", MESSAGE + 1 + 2), // two numbers
            (b"\x2a\x04\x10\x01\x10\x01", MESSAGE + 2), // two numbers that are not packed
            (b"\x8a\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00", 1), // a tag that no protobuf reads
        ] {
            assert_eq!(counted(message), count, "{message:?}");
        }
    }

    #[test]
    fn counting_ends_with_the_first_value_too_many() {
        for most in [0, 1, 31, 32, 33, 1000] {
            assert_eq!(shape().count(&b"\x2a\x00".repeat(100), most), most + 1);
            assert_eq!(shape().count(&field(5, &field(2, &[1; 5000])), most), most + 1);
        }
        assert_eq!(shape().count(&b"\x08\x01".repeat(7), 7), 7);
        assert_eq!(shape().count(b"\x08\x01", usize::MAX), 1);
    }

    #[test]
    fn what_protobuf_skips_hides_nothing_behind_it() {
        let many = b"\x2a\x00".repeat(10);
        // In a group field 5 is no message, and need not look like one.
        let group = [&b"\x0b\x2a\x01\xff\x0c"[..], &many].concat();
        assert_eq!(counted(&group), 3 + 10 * MESSAGE);
        let nested = [&b"\x0b\x13\x14\x0c"[..], &many].concat();
        assert_eq!(counted(&nested), 4 + 10 * MESSAGE);
        // Where protobuf stops, so may we.
        for broken in [&b"\x0c"[..], b"\x0f", b"\x2a\x01\xff", b"\x0a\x09a", b"\x80"] {
            assert!(counted(&[broken, &many].concat()) < 10 * MESSAGE, "{broken:?}");
        }
    }

    #[test]
    fn shapes_name_messages_that_there_are() {
        for (number, place) in [(1, 1), (1, -2), (1 << 20, 0)] {
            assert!(Shape::new(&[BTreeMap::from([(number, place)])]).is_err());
        }
        let endless = Shape::new(&[BTreeMap::from([(1, 0)])]).unwrap();
        let mut message = Vec::new();
        (0..300).for_each(|_| message = field(1, &message));
        assert_eq!(endless.count(&message, 1_000_000), (DEPTH + 1) * MESSAGE - (MESSAGE - 1));
    }

    #[test]
    fn small_messages_and_unknown_methods_are_not_counted() {
        let shapes = HashMap::from([("a/B".to_owned(), shape())]);
        let bounds = Bounds { ratio: 1, values: 5, shapes };
        let large = b"\x08\x01".repeat(UNCOUNTED / 2 + 1);
        assert_eq!(bounds.check("a/B", &large[2..]), Ok(0));
        assert_eq!(bounds.check("a/C", &large), Ok(0));
        let status = bounds.check("a/B", &large).unwrap_err();
        assert_eq!((status.code, &*status.message), (3, &*too_many(5).message));
        assert!(status.message.starts_with("the message has more than 5 values, "), "{}", status.message);
    }
}
