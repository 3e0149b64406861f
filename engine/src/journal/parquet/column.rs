//! What is written: columns as Arrow has them in memory, borrowed.

use std::io;

/// Bits, the lowest of each byte first.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'a> {
    pub bytes: &'a [u8],
    /// Where the first one is.
    pub begin: usize,
}

impl Bits<'_> {
    /// Returns the bit at a place, of which there have to be as many.
    pub fn at(self, place: usize) -> bool {
        let place = self.begin + place;
        self.bytes[place / 8] >> (place % 8) & 1 == 1
    }
}

/// Texts or bytes, one behind the other: one more offset than there are of them.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    pub offsets: &'a [i32],
    pub bytes: &'a [u8],
}

impl<'a> Texts<'a> {
    /// Returns one of them; fails where there is none such.
    pub fn at(self, place: usize) -> io::Result<&'a [u8]> {
        let offset = |place: usize| self.offsets.get(place).and_then(|&offset| usize::try_from(offset).ok());
        let ends = offset(place).zip(offset(place + 1));
        ends.and_then(|(begin, end)| self.bytes.get(begin..end)).ok_or_else(|| invalid("offsets that point nowhere"))
    }

    /// Returns all of them, one behind the other.
    pub fn all(self) -> io::Result<&'a [u8]> {
        let ends = self.offsets.first().zip(self.offsets.last());
        let ends = ends.and_then(|(&begin, &end)| Some(usize::try_from(begin).ok()?..usize::try_from(end).ok()?));
        ends.and_then(|range| self.bytes.get(range)).ok_or_else(|| invalid("offsets that point nowhere"))
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Double(&'a [f64]),
    Boolean(Bits<'a>),
    Bytes(Texts<'a>),
    /// Texts by their numbers.
    Numbered(&'a [i32], Texts<'a>),
}

/// One column of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    pub len: usize,
    /// Which rows have a value, with their count; None: all of them.
    pub there: Option<(Bits<'a>, usize)>,
    pub values: Values<'a>,
}

impl Column<'_> {
    /// Returns a column without a value.
    pub fn nothing(rows: usize) -> Self {
        Self { len: rows, there: Some((Bits { bytes: &[], begin: 0 }, 0)), values: Values::Int32(&[]) }
    }

    /// Returns how many rows have a value.
    pub fn count(&self) -> usize {
        self.there.map_or(self.len, |(_, count)| count)
    }

    /// Yields the places of the rows that have a value.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        let rows = if self.count() == 0 { 0 } else { self.len };
        (0..rows).filter(|&place| self.there.is_none_or(|(bits, _)| bits.at(place)))
    }
}

/// Says that data are not what they claim to be.
pub fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
