//! What goes wrong on the way: changes to bytes that were well made.

use arbitrary::{Arbitrary, Result, Unstructured};

/// One change; places are taken modulo the length.
#[derive(Arbitrary, Debug)]
enum Edit {
    Put(u16, u8),
    Flip(u16, u8),
    Insert(u16, [u8; 2]),
    Drop(u16, u8),
    Cut(u16),
    /// Repeats a piece so often.
    Repeat(u16, u8, u8),
}

/// Changes `bytes` in up to three places; most of what is made stays as it is.
pub fn edited(from: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    if from.ratio(1, 2)? {
        return Ok(());
    }
    for _ in 0..from.int_in_range(1..=3)? {
        let edit: Edit = from.arbitrary()?;
        let at = |place: u16| usize::from(place) % bytes.len().max(1);
        match edit {
            Edit::Put(..) | Edit::Flip(..) | Edit::Repeat(..) if bytes.is_empty() => {}
            Edit::Put(place, byte) => {
                let at = at(place);
                bytes[at] = byte;
            }
            Edit::Flip(place, bit) => {
                let at = at(place);
                bytes[at] ^= 1 << (bit & 7);
            }
            Edit::Insert(place, new) => {
                let at = at(place);
                bytes.splice(at..at, new);
            }
            Edit::Drop(place, count) => {
                let at = at(place);
                let end = bytes.len().min(at + usize::from(count));
                bytes.drain(at..end);
            }
            Edit::Cut(place) => {
                let at = at(place);
                bytes.truncate(at);
            }
            Edit::Repeat(place, size, times) => {
                let at = at(place);
                let piece = bytes[at..bytes.len().min(at + usize::from(size % 16))].repeat(usize::from(times));
                bytes.splice(at..at, piece);
            }
        }
    }
    Ok(())
}

/// Returns where to cut `length` bytes into pieces, by a seed: none of them is longer than 64.
pub fn cuts(mut seed: u64, length: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < length {
        // Knuth's, as good as any for this.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mask = if seed >> 63 == 0 { 0x3 } else { 0x3f };
        at = length.min(at + 1 + (seed >> 40 & mask) as usize);
        ends.push(at);
    }
    ends
}
