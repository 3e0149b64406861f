//! Thrift's compact protocol, as much of it as Parquet's headers need.

/// Writes one struct, and those in it.
#[derive(Default)]
pub struct Thrift {
    pub bytes: Vec<u8>,
    /// The last field's number, of each struct that is open.
    last: Vec<i16>,
}

const TRUE: u8 = 1;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;
/// A list's length that does not fit beside its type.
const LONG: usize = 15;

impl Thrift {
    /// Writes a struct that `write` fills.
    pub fn of(write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut thrift = Self::default();
        thrift.element(write);
        thrift.bytes
    }

    /// Writes a struct that has no number of its own: the outermost one, or one of a list.
    pub fn element(&mut self, write: impl FnOnce(&mut Self)) {
        self.last.push(0);
        write(self);
        self.last.pop();
        self.bytes.push(0);
    }

    pub fn number(&mut self, field: i16, value: i32) {
        self.field(field, I32);
        self.zigzag(value.into());
    }

    pub fn long(&mut self, field: i16, value: i64) {
        self.field(field, I64);
        self.zigzag(value);
    }

    pub fn yes(&mut self, field: i16) {
        self.field(field, TRUE);
    }

    pub fn text(&mut self, field: i16, value: &[u8]) {
        self.field(field, BINARY);
        self.binary(value);
    }

    pub fn inner(&mut self, field: i16, write: impl FnOnce(&mut Self)) {
        self.field(field, STRUCT);
        self.element(write);
    }

    pub fn structs<T>(&mut self, field: i16, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.list(field, STRUCT, values.len());
        for value in values {
            self.element(|thrift| write(thrift, value));
        }
    }

    pub fn numbers(&mut self, field: i16, values: &[i32]) {
        self.list(field, I32, values.len());
        for &value in values {
            self.zigzag(value.into());
        }
    }

    pub fn texts(&mut self, field: i16, values: &[&str]) {
        self.list(field, BINARY, values.len());
        for value in values {
            self.binary(value.as_bytes());
        }
    }

    /// Begins a field. Ours are written in order, so that each is at most 15 beyond the one before.
    fn field(&mut self, field: i16, kind: u8) {
        let last = self.last.last_mut().expect("a struct is open");
        let step = field - std::mem::replace(last, field);
        debug_assert!((1..=15).contains(&step), "{field}");
        self.bytes.push((step as u8) << 4 | kind);
    }

    fn list(&mut self, field: i16, kind: u8, length: usize) {
        self.field(field, LIST);
        self.bytes.push((length.min(LONG) as u8) << 4 | kind);
        if length >= LONG {
            varint(&mut self.bytes, length as u64);
        }
    }

    fn binary(&mut self, value: &[u8]) {
        varint(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    fn zigzag(&mut self, value: i64) {
        zigzag(&mut self.bytes, value);
    }
}

/// Writes a number seven bits a byte, the lowest first.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a number likewise, whose sign is its lowest bit.
pub fn zigzag(out: &mut Vec<u8>, value: i64) {
    varint(out, (value << 1 ^ value >> 63) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_are_as_the_compact_protocol_has_them() {
        let written = Thrift::of(|thrift| {
            thrift.number(1, -1);
            thrift.long(4, 300);
            thrift.text(5, b"ab");
            thrift.inner(8, |inner| inner.yes(1));
            thrift.numbers(9, &[1; 15]);
            thrift.texts(10, &["c"]);
        });
        let expected = [&[0x15, 1, 0x36, 0xd8, 4, 0x18, 2, b'a', b'b', 0x3c, 0x11, 0, 0x19, 0xf5, 15][..], &[2; 15]];
        assert_eq!(written, [&expected.concat()[..], &[0x19, 0x18, 1, b'c', 0]].concat());
    }
}
