//! What watches a client's frames and header blocks: nothing depends on how they are cut, and a plain reader of the whole
//! sees the same.

use arbitrary::{Result, Unstructured};
use turnout_engine::net::fuzzing::{Authority, PREFACE, Scanner};

use crate::edits::{cuts, edited};

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// Takes a seed, flags and a header block.
pub fn authority(data: &[u8]) {
    let [seed, flags, block @ ..] = data else { return };
    let (expected, fields) = plain_block(*flags, block);
    for pieces in [cuts(u64::from(*seed), block.len()), vec![block.len()]] {
        let mut authority = Authority::new();
        authority.begin(*flags);
        let mut found = block.to_vec();
        let mut from = 0;
        for to in pieces {
            authority.overwrite(&mut found[from..to]);
            from = to;
        }
        assert_eq!((found, authority.fields()), (expected.clone(), fields));
    }
}

/// Takes a seed and what a client sends.
pub fn raw(data: &[u8]) {
    let Some((&seed, sent)) = data.split_first() else { return };
    check(u64::from(seed), &[PREFACE, sent].concat());
    check(u64::from(seed), sent);
}

/// Takes what frames of any kind are made of.
pub fn made(data: &[u8]) {
    let mut from = Unstructured::new(data);
    let _ = frames(&mut from).map(|(seed, sent)| check(seed, &sent));
}

fn frames(from: &mut Unstructured<'_>) -> Result<(u64, Vec<u8>)> {
    let seed = u64::from(from.arbitrary::<u16>()?);
    let mut sent = [PREFACE, &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]].concat();
    for _ in 0..from.int_in_range(0..=24)? {
        let kind = *from.choose(&[HEADERS, HEADERS, CONTINUATION, 0, 3, SETTINGS, 5, 6, 8, 2, 77])?;
        let flags = *from.choose(&[0, 1, 4, 5, PADDED | 4, WITH_PRIORITY | 4, 0xff])?;
        let stream = u32::from(from.arbitrary::<u8>()?) | u32::from(from.ratio(1, 16)?) << 31;
        let mut payload = Vec::new();
        if matches!(kind, HEADERS | CONTINUATION) {
            if flags & WITH_PRIORITY != 0 {
                payload.extend([0; 5]);
            }
            for _ in 0..from.int_in_range(0..=6)? {
                field(from, &mut payload)?;
            }
            if from.ratio(1, 8)? {
                payload.truncate(payload.len() / 2); // the field goes on in the next frame
            }
        } else {
            payload = vec![0xff; from.int_in_range(0..=40)?];
        }
        sent.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        sent.extend([kind, flags]);
        sent.extend_from_slice(&stream.to_be_bytes());
        sent.extend(payload);
    }
    edited(from, &mut sent)?;
    sent.truncate(16 * 1024); // of so much no budget comes to its end, which the clock has a part in
    Ok((seed, sent))
}

/// Appends a field in one of HPACK's forms.
fn field(from: &mut Unstructured<'_>, block: &mut Vec<u8>) -> Result<()> {
    let first = *from.choose(&[0x82, 0x41, 0x01, 0x11, 0x40, 0x00, 0x10, 0x20, 0x3f, 0xff, 0x44, 0x7f, 0x0f])?;
    block.push(first);
    if matches!(first, 0x3f | 0xff | 0x7f | 0x0f) {
        block.extend(from.choose(&[&[0][..], &[0x81, 0], &[0xff, 0xff, 3]])?.iter());
    }
    if matches!(first, 0x40 | 0x00 | 0x10) {
        let name = *from.choose(&[":authority", ":authority", "te", ":authoritx", ":auth", "x-unit"])?;
        block.push(name.len() as u8);
        block.extend(name.bytes());
    }
    if matches!(first, 0x20..0x40 | 0x80..) {
        return Ok(());
    }
    let size = *from.choose(&[0usize, 1, 5, 126, 127, 128, 300])?;
    let huffman = if from.ratio(1, 6)? { 0x80 } else { 0 };
    if size < 0x7f {
        block.push(size as u8 | huffman);
    } else {
        block.push(0x7f | huffman);
        let mut rest = size - 0x7f;
        while rest >= 0x80 {
            block.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        block.push(rest as u8);
    }
    block.extend(std::iter::repeat_n(b':', size));
    Ok(())
}

/// Scans whole and in pieces, and holds both against a plain reader.
fn check(seed: u64, sent: &[u8]) {
    let (expected, fault) = plain(sent);
    for pieces in [vec![sent.len()], cuts(seed, sent.len())] {
        let mut scanner = Scanner::new();
        let mut found = sent.to_vec();
        let (mut from, mut end) = (0, Ok(()));
        for to in pieces {
            end = scanner.scan(&mut found[from..to]);
            if end.is_err() {
                break;
            }
            from = to;
        }
        assert_eq!(end.map_err(u32::from).err(), fault);
        assert!(found == expected, "{found:?}\n{expected:?}");
        if end.is_ok() {
            let _ = scanner.unfinished();
        }
    }
}

/// Returns what is left of a client's frames, and the error that they come to; knows of no budget.
fn plain(sent: &[u8]) -> (Vec<u8>, Option<u32>) {
    const PROTOCOL_ERROR: u32 = 1;
    const ENHANCE_YOUR_CALM: u32 = 11;
    let mut left = sent.to_vec();
    let mut at = PREFACE.len().min(sent.len());
    let (mut begun, mut last_stream, mut in_trailers) = (false, 0, false);
    // The block that goes on: its flags, and where its bytes are.
    let (mut flags_of_block, mut block) = (0, Vec::<usize>::new());
    let mut fault = None;
    while let Some(header) = sent.get(at..at + 9) {
        let size = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (kind, flags) = (header[3], header[4]);
        let stream = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
        if kind == HEADERS {
            overwrite(&mut left, flags_of_block, &std::mem::take(&mut block));
            flags_of_block = flags;
        }
        at += 9;
        if !begun && kind != SETTINGS {
            fault = Some(PROTOCOL_ERROR);
            break;
        }
        if begun && kind == HEADERS {
            in_trailers = stream <= last_stream;
            last_stream = last_stream.max(stream);
            if in_trailers && size > 1024 {
                fault = Some(ENHANCE_YOUR_CALM);
                break;
            }
        }
        if begun && kind == CONTINUATION && in_trailers {
            fault = Some(ENHANCE_YOUR_CALM);
            break;
        }
        begun = true;
        let end = sent.len().min(at + size);
        if matches!(kind, HEADERS | CONTINUATION) {
            block.extend(at..end);
        }
        at = end;
    }
    overwrite(&mut left, flags_of_block, &block);
    (left, fault)
}

fn overwrite(left: &mut [u8], flags: u8, places: &[usize]) {
    let block: Vec<u8> = places.iter().map(|&place| left[place]).collect();
    let (block, _) = plain_block(flags, &block);
    places.iter().zip(block).for_each(|(&place, byte)| left[place] = byte);
}

/// Returns a whole header block without its authorities, and how many fields it has (RFC 7541, section 6).
fn plain_block(flags: u8, block: &[u8]) -> (Vec<u8>, usize) {
    if flags & PADDED != 0 {
        return (block.to_vec(), block.len());
    }
    let mut left = block.to_vec();
    let mut at = if flags & WITH_PRIORITY != 0 { 5 } else { 0 };
    let mut fields = 0;
    while at < block.len() {
        fields += 1;
        if literal(block, &mut left, &mut at).is_none() {
            break;
        }
    }
    (left, fields)
}

/// Passes over one field; None where the block ends within it.
fn literal(block: &[u8], left: &mut [u8], at: &mut usize) -> Option<()> {
    let first = *block.get(*at)?;
    let bits = match first {
        0x80.. => 7,
        0x40.. => 6,
        0x20.. => 5,
        _ => 4,
    };
    let index = number(block, at, bits)?;
    if matches!(first, 0x20..0x40 | 0x80..) {
        return Some(());
    }
    let mut is_authority = index == 1;
    if index == 0 {
        let (huffman, name) = text(block, at)?;
        is_authority = !huffman && &block[name] == b":authority";
    }
    let (huffman, value) = text(block, at).unwrap_or_else(|| {
        let all = begun(block, at);
        *at = block.len() + 1;
        all
    });
    if is_authority && !huffman {
        left[value].fill(b'a');
    }
    (*at <= block.len()).then_some(())
}

/// Returns as much as there is of the text that ends beyond the block.
fn begun(block: &[u8], at: &mut usize) -> (bool, std::ops::Range<usize>) {
    let huffman = block.get(*at).is_some_and(|&byte| byte & 0x80 != 0);
    let whole = number(block, at, 7).is_some();
    (huffman, if whole { *at..block.len() } else { 0..0 })
}

fn text(block: &[u8], at: &mut usize) -> Option<(bool, std::ops::Range<usize>)> {
    let mut place = *at;
    let huffman = *block.get(place)? & 0x80 != 0;
    let length = usize::try_from(number(block, &mut place, 7)?).ok()?;
    let end = place.checked_add(length).filter(|&end| end <= block.len())?;
    *at = end;
    Some((huffman, place..end))
}

/// Reads an integer of so many bits in its first byte (section 5.1).
fn number(block: &[u8], at: &mut usize, bits: u32) -> Option<u128> {
    let mask = (1u8 << bits) - 1;
    let first = *block.get(*at)? & mask;
    *at += 1;
    let mut value = u128::from(first);
    if first < mask {
        return Some(value);
    }
    let mut shift = 0u32;
    loop {
        let byte = *block.get(*at)?;
        *at += 1;
        if byte & 0x7f != 0 {
            value = if shift < 100 { value.saturating_add(u128::from(byte & 0x7f) << shift) } else { u128::MAX };
        }
        shift = shift.saturating_add(7);
        if byte < 0x80 {
            return Some(value);
        }
    }
}
