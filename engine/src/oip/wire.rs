//! Protocol Buffers' wire format: what a reader of messages meets, and what a writer leaves.
//!
//! The reader is narrower than protobuf's own: what no ordinary writer makes is odd, and left to Python.

/// What the native path does not read: malformed, or so unusual that Python should say what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Odd;

/// The value of a field, by its wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Varint(u64),
    /// A float or a double: its four or eight bytes.
    Fixed(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Returns the bytes of a length-delimited field.
    pub fn bytes(self) -> Result<&'a [u8], Odd> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Odd),
        }
    }

    /// Returns a string, which has to be UTF-8: Python's protobuf refuses a message with any other.
    pub fn text(self) -> Result<&'a str, Odd> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Odd)
    }
}

/// The fields of a message, one after the other.
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// A length or a tag takes at most so many bytes; protobuf refuses longer ones, too.
const SHORT: usize = 5;
const LONG: usize = 10;

impl<'a> Fields<'a> {
    /// Starts at the first field of `message`.
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns the next field's number and value; None at the end.
    ///
    /// Groups are odd: proto3 has none, and to skip one is to count how deep it goes.
    pub fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, Odd> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint(SHORT)?).map_err(|_| Odd)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Odd);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint(LONG)?),
            1 => self.take(8).map(Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint(SHORT)?).map_err(|_| Odd)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(Value::Fixed)?,
            _ => return Err(Odd),
        };
        Ok(Some((number, value)))
    }

    /// Returns the next varint of a packed field; None at the end.
    pub fn next_varint(&mut self) -> Result<Option<u64>, Odd> {
        if self.rest.is_empty() { Ok(None) } else { self.varint(LONG).map(Some) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Odd> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Odd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self, longest: usize) -> Result<u64, Odd> {
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(byte));
        }
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(longest).enumerate() {
            if index == LONG - 1 && byte > 1 {
                return Err(Odd); // bits beyond the 64th: protobuf drops them without a word
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Odd)
    }
}

/// Returns how many bytes `value` takes as a varint.
pub fn varint_len(value: u64) -> usize {
    (63 - (value | 1).leading_zeros() as usize) / 7 + 1
}

/// Returns how many bytes a length-delimited field takes whose number is under 16.
pub fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Appends a varint.
pub fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Appends the tag and the length of a length-delimited field whose number is under 16.
pub fn put_head(into: &mut Vec<u8>, number: u8, length: usize) {
    into.push(number << 3 | 2);
    put_varint(into, length as u64);
}

/// Appends a length-delimited field whose number is under 16.
pub fn put_bytes(into: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_head(into, number, bytes.len());
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Odd> {
        let mut fields = Fields::of(message);
        let mut found = Vec::new();
        while let Some(field) = fields.next_field()? {
            found.push(field);
        }
        Ok(found)
    }

    #[test]
    fn fields_of_every_wire_type_are_found() {
        let message = [8, 0x96, 1, 17, 0, 0, 0, 0, 0, 0, 0, 0, 26, 2, b'h', b'i', 37, 0, 0, 0, 0];
        let (double, float) = (Value::Fixed(&[0; 8]), Value::Fixed(&[0; 4]));
        let wanted = vec![(1, Value::Varint(150)), (2, double), (3, Value::Bytes(b"hi")), (4, float)];
        assert_eq!(all(&message), Ok(wanted));
    }

    #[test]
    fn a_message_cut_anywhere_is_odd_or_ends_between_fields() {
        let message = [8, 0x96, 1, 17, 0, 0, 0, 0, 0, 0, 0, 0, 26, 2, b'h', b'i', 37, 0, 0, 0, 0];
        let whole: Vec<usize> = (0..=message.len()).filter(|&end| all(&message[..end]).is_ok()).collect();
        assert_eq!(whole, [0, 3, 12, 16, 21]);
    }

    #[test]
    fn odd_tags_lengths_and_groups_are_left_alone() {
        for odd in [
            &[0x02, 0][..],                                                            // field 0
            &[0x7b, 0x7c],                                                             // a group
            &[0x0e],                                                                   // no such wire type
            &[0x8a, 0x80, 0x80, 0x80, 0x80, 0, 0],                                     // a tag of six bytes
            &[0x82, 0x80, 0x80, 0x80, 0x10, 0],                                        // a tag beyond 32 bits
            &[0x0a, 0x81, 0x80, 0x80, 0x80, 0x80, 0, 65],                              // a length of six bytes
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 65],                                 // a length beyond the end
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],       // more than 64 bits
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // eleven bytes
        ] {
            assert_eq!(all(odd), Err(Odd), "{odd:?}");
        }
        assert_eq!(all(&[0x8a, 0, 0x81, 0, 65]), Ok(vec![(1, Value::Bytes(b"A"))]), "long-winded, yet plain");
    }

    #[test]
    fn varints_come_back_and_take_what_was_said() {
        for value in [0, 1, 127, 128, 16383, 16384, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_len(value));
            assert_eq!(Fields::of(&bytes).next_varint(), Ok(Some(value)));
        }
    }
}
