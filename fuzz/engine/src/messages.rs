//! Length-prefixed messages and what is compressed in them.

use std::io::Read;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use turnout_engine::net::framed;
use turnout_engine::net::fuzzing::{Cutter, Encoding, inflated};

use crate::edits::{cuts, edited};
use crate::memory::bounded;

/// Takes a limit, a seed, and what comes on a stream.
pub fn cut(data: &[u8]) {
    let [limit, seed, stream @ ..] = data else { return };
    let limit = usize::from(*limit) * 16;
    let expected = plain(stream, limit);
    for pieces in [vec![stream.len()], cuts(u64::from(*seed), stream.len())] {
        assert_eq!(bounded(stream.len(), 4, || cut_up(stream, &pieces, limit)), expected);
    }
    // What was taken is sent the same way.
    let again: Vec<u8> = expected.0.iter().flat_map(|(_, payload)| framed(payload)).collect();
    let (found, end) = plain(&again, limit);
    assert_eq!((found.len(), end), (expected.0.len(), End::Between));
}

/// Whether compressed, and the payload.
type Found = Vec<(bool, Vec<u8>)>;

#[derive(Debug, PartialEq)]
enum End {
    Between,
    Within,
    Refused,
}

fn cut_up(stream: &[u8], pieces: &[usize], limit: usize) -> (Found, End) {
    let (mut cutter, mut found, mut from) = (Cutter::new(limit), Vec::new(), 0);
    for &to in pieces {
        cutter.feed(Bytes::copy_from_slice(&stream[from..to]));
        from = to;
        loop {
            match cutter.cut() {
                Ok(Some(message)) => found.push((message.compressed, message.payload.to_vec())),
                Ok(None) => break,
                Err(_) => return (found, End::Refused),
            }
            assert!(cutter.announced() <= limit);
        }
    }
    (found, if cutter.between() { End::Between } else { End::Within })
}

fn plain(mut stream: &[u8], limit: usize) -> (Found, End) {
    let mut found = Vec::new();
    while !stream.is_empty() {
        let Some((prefix, rest)) = stream.split_at_checked(5) else { return (found, End::Within) };
        let size = prefix[1..].iter().fold(0, |size, &byte| size << 8 | usize::from(byte));
        if prefix[0] > 1 || size > limit {
            return (found, End::Refused);
        }
        let Some((payload, rest)) = rest.split_at_checked(size) else { return (found, End::Within) };
        found.push((prefix[0] == 1, payload.to_vec()));
        stream = rest;
    }
    (found, End::Between)
}

/// Takes an encoding, a limit, and a compressed message.
pub fn inflate(data: &[u8]) {
    let [how, limit, payload @ ..] = data else { return };
    check(payload, if how & 1 == 0 { Encoding::Gzip } else { Encoding::Deflate }, usize::from(*limit) << (how >> 4));
}

/// Takes what a message is made of, which is compressed and may be damaged on its way.
pub fn inflate_made(data: &[u8]) {
    let _ = packed(&mut Unstructured::new(data));
}

fn packed(from: &mut Unstructured<'_>) -> Result<()> {
    let mut message = Vec::new();
    for _ in 0..from.int_in_range(0..=4)? {
        let piece: Vec<u8> = from.arbitrary()?;
        message.extend(piece.repeat(from.int_in_range(1..=600)?));
    }
    message.truncate(1 << 20);
    let level = Compression::new(from.int_in_range(0..=9)?);
    let encoding = *from.choose(&[Encoding::Gzip, Encoding::Deflate])?;
    let limit = match from.int_in_range(0..=3)? {
        0 => message.len(),
        1 => message.len().saturating_sub(1),
        2 => message.len() / 2,
        _ => 1 << 20,
    };
    let mut payload = Vec::new();
    let done = match encoding {
        Encoding::Gzip => GzEncoder::new(&message[..], level).read_to_end(&mut payload),
        _ => ZlibEncoder::new(&message[..], level).read_to_end(&mut payload),
    };
    assert!(done.is_ok());
    assert_eq!(inflated(&payload, encoding, limit, |_| true).ok(), (message.len() <= limit).then_some(message));
    edited(from, &mut payload)?;
    check(&payload, encoding, limit);
    Ok(())
}

fn check(payload: &[u8], encoding: Encoding, limit: usize) {
    // A Vec doubles, and what is taken once is checked once more.
    let mut most = 0;
    let found = bounded(limit, 3, || {
        inflated(payload, encoding, limit, |wanted| {
            most = wanted;
            true
        })
    });
    let Ok(found) = found else { return };
    assert!(found.len() <= limit && found.capacity() <= most.max(found.len()));
    let mut expected = Vec::new();
    let done = match encoding {
        Encoding::Gzip => GzDecoder::new(payload).read_to_end(&mut expected),
        _ => ZlibDecoder::new(payload).read_to_end(&mut expected),
    };
    assert!(done.is_ok_and(|size| size == found.len()) && found == expected);
}
