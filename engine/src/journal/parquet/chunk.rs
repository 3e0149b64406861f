//! One column of a row group: its pages, compressed, and what the footer says of them.

use std::collections::HashMap;
use std::io::{self, Write};

use zstd_safe::CCtx;

use super::column::{Bits, Column, Texts, Values, invalid};
use super::encodings::{self, DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY, PLAIN, RLE, RLE_DICTIONARY};
use super::thrift::Thrift;
use super::{Field, Kind, Own};

/// Higher ones take longer and save nothing: what is long is hashes and ids.
const LEVEL: i32 = 1;
const DATA_PAGE: i32 = 0;
const DICTIONARY_PAGE: i32 = 2;

/// What the footer says of a chunk.
#[derive(Debug, Default)]
pub struct Chunk {
    pub encodings: Vec<i32>,
    pub rows: u64,
    pub nulls: u64,
    pub plain_bytes: u64,
    pub bytes: u64,
    /// Where its first data page begins.
    pub data: u64,
    /// Where its dictionary begins, if it has one.
    pub dictionary: Option<u64>,
    /// The least value and the greatest, as the format has them.
    pub bounds: Option<(Vec<u8>, Vec<u8>)>,
}

/// Writes pages behind each other.
pub struct Pages<W> {
    out: W,
    /// How many bytes have been written.
    pub at: u64,
    compressing: CCtx<'static>,
    body: Vec<u8>,
    compressed: Vec<u8>,
}

impl<W: Write> Pages<W> {
    /// Writes into `out`; fails where there is no memory to compress with.
    pub fn new(out: W) -> io::Result<Self> {
        let compressing = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { out, at: 0, compressing, body: Vec::new(), compressed: Vec::new() })
    }

    /// Writes bytes that are no page.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Ends with everything written.
    pub fn flush(mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes a column whose rows come in several parts.
    pub fn chunk(&mut self, field: &Field, parts: &[Column<'_>], rows: usize) -> io::Result<Chunk> {
        let mut chunk = Chunk { rows: rows as u64, ..Chunk::default() };
        match &field.own {
            Some(own) => self.same(&mut chunk, own, rows)?,
            None if parts.iter().all(|part| part.count() == 0) => {
                self.body.clear();
                encodings::same_level(&mut self.body, rows, false);
                self.data_page(&mut chunk, rows, PLAIN)?;
                chunk.nulls = rows as u64;
            }
            None => {
                chunk.nulls = parts.iter().map(|part| (part.len - part.count()) as u64).sum();
                self.parts(&mut chunk, field.kind, parts)?;
            }
        }
        Ok(chunk)
    }

    /// Writes one value for all rows.
    fn same(&mut self, chunk: &mut Chunk, own: &Own, rows: usize) -> io::Result<()> {
        self.body.clear();
        let value = match own {
            Own::Number(number) => number.to_le_bytes().to_vec(),
            Own::Text(text) => text.as_bytes().to_vec(),
        };
        if let Own::Text(text) = own {
            self.body.extend_from_slice(&length(text.len())?.to_le_bytes());
        }
        self.body.extend_from_slice(&value);
        self.dictionary_page(chunk, 1)?;
        self.body.clear();
        self.body.push(1); // bits of each
        encodings::run(&mut self.body, rows, 0);
        chunk.bounds = Some((value.clone(), value));
        self.data_page(chunk, rows, RLE_DICTIONARY)
    }

    fn parts(&mut self, chunk: &mut Chunk, kind: Kind, parts: &[Column<'_>]) -> io::Result<()> {
        let mut distinct = Distinct::default();
        for part in parts {
            if let Values::Numbered(numbers, texts) = part.values {
                distinct.number(part, numbers, texts)?;
            }
        }
        if !distinct.texts.is_empty() {
            self.body.clear();
            for text in &distinct.texts {
                self.body.extend_from_slice(&length(text.len())?.to_le_bytes());
                self.body.extend_from_slice(text);
            }
            self.dictionary_page(chunk, distinct.texts.len())?;
            let bound = |text: Option<&&[u8]>| text.map(|text| text.to_vec());
            chunk.bounds = bound(distinct.texts.iter().min()).zip(bound(distinct.texts.iter().max()));
        }
        let mut bounds: Option<(i64, i64)> = None;
        let mut widen = |least: i64, most: i64| {
            bounds = Some(bounds.map_or((least, most), |(low, high)| (low.min(least), high.max(most))));
        };
        let mut numbered = distinct.numbers.iter();
        for part in parts {
            self.body.clear();
            encodings::levels(&mut self.body, part);
            let encoding = match part.values {
                Values::Numbered(..) => {
                    let numbers = numbered.next().map_or(&[][..], Vec::as_slice);
                    encodings::numbers(&mut self.body, numbers, distinct.texts.len().saturating_sub(1) as u64);
                    RLE_DICTIONARY
                }
                _ if part.count() == 0 => PLAIN,
                Values::Int32(numbers) => {
                    let numbers: Vec<i64> = part.places().map(|place| numbers[place].into()).collect();
                    widen(numbers.iter().min().copied().unwrap_or(0), numbers.iter().max().copied().unwrap_or(0));
                    encodings::deltas(&mut self.body, &numbers, true);
                    DELTA_BINARY_PACKED
                }
                Values::Int64(all) => {
                    let some: Vec<i64>;
                    let numbers = if part.count() == part.len {
                        all
                    } else {
                        some = part.places().map(|place| all[place]).collect();
                        &some
                    };
                    widen(numbers.iter().min().copied().unwrap_or(0), numbers.iter().max().copied().unwrap_or(0));
                    encodings::deltas(&mut self.body, numbers, false);
                    DELTA_BINARY_PACKED
                }
                Values::Double(numbers) => {
                    self.body.extend(part.places().flat_map(|place| numbers[place].to_le_bytes()));
                    PLAIN
                }
                Values::Boolean(bits) => {
                    booleans(&mut self.body, part, bits);
                    PLAIN
                }
                Values::Bytes(texts) => {
                    encodings::lengths_and_bytes(&mut self.body, part, texts)?;
                    DELTA_LENGTH_BYTE_ARRAY
                }
            };
            self.data_page(chunk, part.len, encoding)?;
        }
        if let Some((least, most)) = bounds {
            let bytes = |bound: i64| bound.to_le_bytes()[..if kind == Kind::Int32 { 4 } else { 8 }].to_vec();
            chunk.bounds = Some((bytes(least), bytes(most)));
        }
        Ok(())
    }

    /// Writes the body as a page of texts that numbers name.
    fn dictionary_page(&mut self, chunk: &mut Chunk, count: usize) -> io::Result<()> {
        let (count, at) = (length(count)?, self.at);
        self.page(chunk, DICTIONARY_PAGE, |thrift| {
            thrift.inner(7, |header| {
                header.number(1, count);
                header.number(2, PLAIN);
            });
        })?;
        chunk.dictionary = Some(at);
        chunk.encodings.push(PLAIN);
        Ok(())
    }

    /// Writes the body as a page of so many rows.
    fn data_page(&mut self, chunk: &mut Chunk, rows: usize, encoding: i32) -> io::Result<()> {
        let (rows, at) = (length(rows)?, self.at);
        self.page(chunk, DATA_PAGE, |thrift| {
            thrift.inner(5, |header| {
                header.number(1, rows);
                header.number(2, encoding);
                header.number(3, RLE);
                header.number(4, RLE);
            });
        })?;
        if chunk.data == 0 {
            chunk.data = at;
        }
        for used in [RLE, encoding] {
            if !chunk.encodings.contains(&used) {
                chunk.encodings.push(used);
            }
        }
        Ok(())
    }

    fn page(&mut self, chunk: &mut Chunk, kind: i32, header: impl FnOnce(&mut Thrift)) -> io::Result<()> {
        let bound = zstd_safe::compress_bound(self.body.len());
        if self.compressed.len() < bound {
            self.compressed.resize(bound, 0);
        }
        let done = self.compressing.compress(&mut self.compressed[..], &self.body, LEVEL);
        let done = done.map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
        let compressed = &self.compressed[..done];
        let (plain, shorter) = (length(self.body.len())?, length(done)?);
        let head = Thrift::of(|thrift| {
            thrift.number(1, kind);
            thrift.number(2, plain);
            thrift.number(3, shorter);
            header(thrift);
        });
        self.out.write_all(&head)?;
        self.out.write_all(compressed)?;
        let bytes = (head.len() + done) as u64;
        self.at += bytes;
        chunk.bytes += bytes;
        chunk.plain_bytes += (head.len() + self.body.len()) as u64;
        Ok(())
    }
}

/// The texts of a chunk, each once: parts number theirs each by themselves.
#[derive(Default)]
struct Distinct<'a> {
    found: HashMap<&'a [u8], u64>,
    texts: Vec<&'a [u8]>,
    /// Of each part, the numbers of its rows that have a text.
    numbers: Vec<Vec<u64>>,
}

impl<'a> Distinct<'a> {
    fn number(&mut self, part: &Column<'_>, numbers: &[i32], texts: Texts<'a>) -> io::Result<()> {
        let mut known: Vec<Option<u64>> = vec![None; texts.offsets.len()];
        let mut mapped = Vec::with_capacity(part.count());
        for place in part.places() {
            let number = usize::try_from(numbers[place]).ok().filter(|&number| number < known.len());
            let number = number.ok_or_else(|| invalid("a number that names no text"))?;
            let there = match known[number] {
                Some(there) => there,
                None => {
                    let text = texts.at(number)?;
                    let there = *self.found.entry(text).or_insert_with(|| {
                        self.texts.push(text);
                        self.texts.len() as u64 - 1
                    });
                    *known[number].insert(there)
                }
            };
            mapped.push(there);
        }
        self.numbers.push(mapped);
        Ok(())
    }
}

fn booleans(out: &mut Vec<u8>, part: &Column<'_>, bits: Bits<'_>) {
    let begin = out.len();
    out.resize(begin + part.count().div_ceil(8), 0);
    for (to, from) in part.places().enumerate() {
        out[begin + to / 8] |= u8::from(bits.at(from)) << (to % 8);
    }
}

/// Returns a length as the format has it; fails where it is too long for it.
fn length(length: usize) -> io::Result<i32> {
    i32::try_from(length).map_err(|_| invalid("a page of more than 2 GiB"))
}
