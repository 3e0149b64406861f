//! BYTES as raw contents: before each element its length, in four bytes. The twin of `rpc/open_inference/raw_tensors.py`.

use bytes::Bytes;

/// Elements of an input that have to be looked at one by one: texts, and typed contents.
pub const MOST_ELEMENTS: usize = 1 << 20;
/// How many bytes a length takes.
const LENGTH: usize = 4;

/// Says whether an element is a text, which is to say UTF-8.
pub fn is_text(element: &[u8]) -> bool {
    std::str::from_utf8(element).is_ok()
}

/// Returns the `count` elements in `data`, as slices of it.
///
/// None for what Python has to look at: fewer or more bytes or elements, and elements that are no texts.
pub fn decode(data: &Bytes, count: u64) -> Option<Vec<Bytes>> {
    let count = usize::try_from(count).ok().filter(|&count| count <= MOST_ELEMENTS)?;
    if count * LENGTH > data.len() {
        return None; // before room is made: the count is the caller's claim
    }
    let mut texts = Vec::with_capacity(count);
    let mut rest = &data[..];
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, after) = after.split_at_checked(length)?;
        if !is_text(text) {
            return None;
        }
        texts.push(data.slice_ref(text));
        rest = after;
    }
    rest.is_empty().then_some(texts)
}

/// Returns how many bytes `encode` appends.
pub fn encoded_len(texts: &[Bytes]) -> usize {
    texts.iter().map(|text| LENGTH + text.len()).sum()
}

/// Appends `texts`, none of which is longer than protobuf can carry.
pub fn encode(into: &mut Vec<u8>, texts: &[Bytes]) {
    for text in texts {
        into.extend_from_slice(&(text.len() as u32).to_le_bytes());
        into.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let texts = ["", "a\0b", "漢字", "😀"].map(|text| Bytes::from_static(text.as_bytes()));
        let mut data = Vec::new();
        encode(&mut data, &texts);
        assert_eq!(data.len(), encoded_len(&texts));
        assert_eq!(decode(&data.into(), 4), Some(texts.to_vec()));
        assert_eq!(decode(&Bytes::new(), 0), Some(Vec::new()));
    }

    #[test]
    fn what_does_not_come_out_even_is_declined() {
        for (data, count) in [
            (&b"\x01\0\0\0a"[..], 2),
            (b"\x01\0\0\0ab", 1),
            (b"\x01\0\0\0a", 0),
            (b"\x02\0\0\0a", 1),
            (b"\x01\0\0", 1),
            (b"\x00\0\0\0\x00\0\0", 2),
            (b"\xff\xff\xff\xff", 1),
            (b"\x02\0\0\0\xc3\x28", 1),
            (b"\x03\0\0\0\xed\xa0\x80", 1), // half a surrogate pair
            (b"\x00\0\0\0", 1 << 62),
        ] {
            assert_eq!(decode(&Bytes::from_static(data), count), None, "{data:?}");
        }
        let many = |count: usize| decode(&vec![0; count * LENGTH].into(), count as u64).is_some();
        assert!(many(MOST_ELEMENTS));
        assert!(!many(MOST_ELEMENTS + 1));
    }
}
