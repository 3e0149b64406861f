//! Parquet's encodings, as many of them as a segment's columns need.

use std::io;

use super::column::{Column, Texts, invalid};
use super::thrift::{varint, zigzag};

pub const PLAIN: i32 = 0;
pub const RLE: i32 = 3;
pub const DELTA_BINARY_PACKED: i32 = 5;
pub const DELTA_LENGTH_BYTE_ARRAY: i32 = 6;
pub const RLE_DICTIONARY: i32 = 8;

const BLOCK: usize = 128;
const MINI: usize = 32;

/// Writes numbers of so many bits each, the lowest first.
fn pack(out: &mut Vec<u8>, numbers: &[u64], width: u32) {
    if width == 0 {
        return;
    }
    let (mut held, mut bits) = (0_u128, 0);
    for &number in numbers {
        held |= u128::from(number) << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&(held as u64).to_le_bytes());
            held >>= 64;
            bits -= 64;
        }
    }
    out.extend_from_slice(&(held as u64).to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// Returns how many bits a number needs.
pub fn width_of(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// Writes numbers by their differences (DELTA_BINARY_PACKED). Those of 32 bits are `narrow`, and their differences too.
pub fn deltas(out: &mut Vec<u8>, numbers: &[i64], narrow: bool) {
    varint(out, BLOCK as u64);
    varint(out, (BLOCK / MINI) as u64);
    varint(out, numbers.len() as u64);
    zigzag(out, numbers.first().copied().unwrap_or(0));
    let mut last = numbers.first().copied().unwrap_or(0);
    let mut held = [0_i64; BLOCK];
    for block in numbers.get(1..).unwrap_or(&[]).chunks(BLOCK) {
        let mut least = i64::MAX;
        for (delta, &number) in held.iter_mut().zip(block) {
            let wide = number.wrapping_sub(last);
            *delta = if narrow { (wide as i32).into() } else { wide };
            least = least.min(*delta);
            last = number;
        }
        zigzag(out, least);
        let widths = out.len();
        out.extend_from_slice(&[0; BLOCK / MINI]);
        for (place, deltas) in held[..block.len()].chunks(MINI).enumerate() {
            let mut beyond = [0_u64; MINI];
            let mut all = 0;
            for (number, delta) in beyond.iter_mut().zip(deltas) {
                *number = delta.wrapping_sub(least) as u64;
                all |= *number;
            }
            let width = width_of(all);
            out[widths + place] = width as u8;
            pack(out, &beyond, width);
        }
    }
}

/// Writes texts: their lengths by their differences, then all of them (DELTA_LENGTH_BYTE_ARRAY).
pub fn lengths_and_bytes(out: &mut Vec<u8>, column: &Column<'_>, texts: Texts<'_>) -> io::Result<()> {
    if texts.offsets.len() != column.len + 1 {
        return Err(invalid("offsets of another count than rows"));
    }
    let length = |place: usize| i64::from(texts.offsets[place + 1]) - i64::from(texts.offsets[place]);
    let lengths: Vec<i64> = column.places().map(length).collect();
    if lengths.iter().any(|&length| length < 0) {
        return Err(invalid("offsets that go backwards"));
    }
    deltas(out, &lengths, true);
    let all = texts.all()?;
    if lengths.iter().sum::<i64>() == all.len() as i64 {
        out.extend_from_slice(all);
    } else {
        for place in column.places() {
            out.extend_from_slice(texts.at(place)?);
        }
    }
    Ok(())
}

/// Writes which rows have a value, as definition levels of one bit.
pub fn levels(out: &mut Vec<u8>, column: &Column<'_>) {
    match column.there {
        Some((bits, count)) if count != 0 && count != column.len => {
            let groups = column.len.div_ceil(8);
            let (first, shift) = (bits.begin / 8, bits.begin % 8);
            let begin = prefixed(out);
            varint(out, (groups as u64) << 1 | 1);
            if shift == 0 {
                out.extend_from_slice(&bits.bytes[first..first + groups]);
            } else {
                let byte = |place: usize| u16::from(bits.bytes.get(place).copied().unwrap_or(0));
                out.extend((first..first + groups).map(|at| ((byte(at) | byte(at + 1) << 8) >> shift) as u8));
            }
            close(out, begin);
        }
        _ => same_level(out, column.len, column.count() != 0),
    }
}

/// Writes likewise that all rows have a value, or none.
pub fn same_level(out: &mut Vec<u8>, rows: usize, there: bool) {
    let begin = prefixed(out);
    run(out, rows, there.into());
    close(out, begin);
}

/// Writes one number of at most eight bits so often.
pub fn run(out: &mut Vec<u8>, rows: usize, number: u8) {
    varint(out, (rows as u64) << 1);
    out.push(number);
}

/// Writes numbers of texts (RLE_DICTIONARY), the greatest of which is `most`.
pub fn numbers(out: &mut Vec<u8>, numbers: &[u64], most: u64) {
    let width = width_of(most).max(1);
    out.push(width as u8);
    match numbers.first() {
        Some(&first) if width <= 8 && numbers.iter().all(|&number| number == first) => {
            run(out, numbers.len(), first as u8);
        }
        _ => {
            let groups = numbers.len().div_ceil(8);
            varint(out, (groups as u64) << 1 | 1);
            let ends = out.len() + groups * width as usize;
            pack(out, numbers, width);
            out.resize(ends, 0);
        }
    }
}

fn prefixed(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len()
}

fn close(out: &mut [u8], begin: usize) {
    let length = (out.len() - begin) as u32; // a page is shorter, or is refused
    out[begin - 4..begin].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::column::{Bits, Values};
    use super::*;

    #[test]
    fn differences_are_packed_as_the_format_says() {
        let mut out = Vec::new();
        deltas(&mut out, &[7, 5, 3, 1, 2, 3, 4, 5], false);
        // Parquet's own example, whose blocks have 128 numbers here: the least difference is -2, and two bits do.
        let head = [0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0];
        assert_eq!(out, [&head[..], &[0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0]].concat());
    }

    #[test]
    fn differences_of_few_bits_stay_so_when_they_wrap() {
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        deltas(&mut narrow, &[i32::MIN.into(), i32::MAX.into(), 0], true);
        deltas(&mut wide, &[i64::MIN, i64::MAX, 0], false);
        let widths = |out: &[u8], at: usize| out[at];
        assert_eq!((widths(&narrow, 14), widths(&wide, 24)), (31, 63), "{narrow:?} {wide:?}");
    }

    #[test]
    fn levels_are_the_bits_from_wherever_they_begin() {
        let bytes = [0b1011_0000, 0b0000_0101];
        let column = |begin, len, count| Column {
            len,
            there: Some((Bits { bytes: &bytes, begin }, count)),
            values: Values::Int32(&[]),
        };
        let written = |column: &Column<'_>| {
            let mut out = Vec::new();
            levels(&mut out, column);
            out
        };
        assert_eq!(written(&column(4, 7, 4)), [2, 0, 0, 0, 3, 0b0101_1011]);
        assert_eq!(written(&column(8, 3, 2)), [2, 0, 0, 0, 3, 0b101]);
        assert_eq!(written(&column(0, 4, 0)), [2, 0, 0, 0, 8, 0]);
    }

    #[test]
    fn numbers_of_texts_are_one_run_or_groups_of_eight() {
        let mut out = Vec::new();
        numbers(&mut out, &[2, 2, 2], 2);
        numbers(&mut out, &[1, 0, 1], 1);
        assert_eq!(out, [2, 6, 2, 1, 3, 0b101]);
    }
}
