//! Typed contents: elements as protobuf's own values. The twin of `rpc/open_inference/typed_tensors.py`.
//!
//! Protobuf packs numbers into one field, or has a field for each; readers take both, mixed as they like.

use bytes::Bytes;

use super::texts::{MOST_ELEMENTS, is_text};
use super::wire::{Fields, Odd, Value};
use crate::tensor::{DType, Data};

/// Returns the `count` elements of `dtype` in `contents`, an `InferTensorContents` inside `message`.
///
/// None for what Python has to look at: another field than the dtype's, fewer or more elements, one that the dtype does
/// not hold, and dtypes that travel raw only. No more is read, and no more room is made, than for what is there.
pub fn decode(message: &Bytes, contents: &[u8], dtype: DType, count: u64) -> Option<Data> {
    let count = usize::try_from(count).ok().filter(|&count| count <= MOST_ELEMENTS)?;
    let raw = match dtype {
        DType::Bool => varints(contents, 1, count, |value| Some([u8::from(value != 0)])),
        DType::Int8 => varints(contents, 2, count, |value| i8::try_from(value as i32).ok().map(i8::to_le_bytes)),
        DType::Int16 => varints(contents, 2, count, |value| i16::try_from(value as i32).ok().map(i16::to_le_bytes)),
        // Of a varint that is too long for its field, protobuf drops the bits in front.
        DType::Int32 => varints(contents, 2, count, |value| Some((value as i32).to_le_bytes())),
        DType::Int64 => varints(contents, 3, count, |value| Some((value as i64).to_le_bytes())),
        DType::Uint8 => varints(contents, 4, count, |value| u8::try_from(value as u32).ok().map(u8::to_le_bytes)),
        DType::Uint16 => varints(contents, 4, count, |value| u16::try_from(value as u32).ok().map(u16::to_le_bytes)),
        DType::Uint32 => varints(contents, 4, count, |value| Some((value as u32).to_le_bytes())),
        DType::Uint64 => varints(contents, 5, count, |value| Some(value.to_le_bytes())),
        DType::Fp32 => fixed(contents, 6, count, quiet),
        DType::Fp64 => fixed(contents, 7, count, |value: [u8; 8]| value),
        DType::Bytes => return texts(message, contents, count).ok().map(Data::Texts),
        DType::Fp16 | DType::Bf16 => return None,
    };
    raw.ok().map(|raw| Data::Raw(raw.into()))
}

/// Says whether protobuf can read `contents`, whatever it is that they are for.
pub fn are_sound(contents: &[u8]) -> bool {
    let look = || -> Result<(), Odd> {
        let mut fields = Fields::of(contents);
        while let Some((number, value)) = fields.next_field()? {
            match (number, value) {
                (1..=5, Value::Bytes(packed)) => {
                    let mut values = Fields::of(packed);
                    while values.next_varint()?.is_some() {}
                }
                (6, Value::Bytes(packed)) if packed.len() % 4 != 0 => return Err(Odd),
                (7, Value::Bytes(packed)) if packed.len() % 8 != 0 => return Err(Odd),
                _ => {}
            }
        }
        Ok(())
    };
    look().is_ok()
}

/// Returns the elements of a field of varints, as `made` writes each.
fn varints<const WIDTH: usize>(
    contents: &[u8],
    wanted: u32,
    count: usize,
    made: impl Fn(u64) -> Option<[u8; WIDTH]>,
) -> Result<Vec<u8>, Odd> {
    // A varint takes a byte at least: what the shape claims is not believed.
    let mut raw = Vec::with_capacity(count.min(contents.len()) * WIDTH);
    let full = count * WIDTH;
    let put = |raw: &mut Vec<u8>, value: u64| {
        let element = made(value).filter(|_| raw.len() < full).ok_or(Odd)?;
        raw.extend_from_slice(&element);
        Ok(())
    };
    let mut fields = Fields::of(contents);
    while let Some((number, value)) = fields.next_field()? {
        match value {
            Value::Varint(value) if number == wanted => put(&mut raw, value)?,
            Value::Bytes(packed) if number == wanted => {
                let mut values = Fields::of(packed);
                while let Some(value) = values.next_varint()? {
                    put(&mut raw, value)?;
                }
            }
            _ => return Err(Odd),
        }
    }
    if raw.len() == full { Ok(raw) } else { Err(Odd) }
}

/// Returns the elements of a field of floats or doubles, as `made` writes each.
fn fixed<const WIDTH: usize>(
    contents: &[u8],
    wanted: u32,
    count: usize,
    made: impl Fn([u8; WIDTH]) -> [u8; WIDTH],
) -> Result<Vec<u8>, Odd> {
    let full = count * WIDTH;
    let mut raw = Vec::with_capacity(full.min(contents.len()));
    let mut fields = Fields::of(contents);
    while let Some((number, value)) = fields.next_field()? {
        let elements = match value {
            Value::Fixed(one) if one.len() == WIDTH => one,
            Value::Bytes(packed) => packed,
            _ => return Err(Odd),
        };
        if number != wanted || elements.len() % WIDTH != 0 || elements.len() > full - raw.len() {
            return Err(Odd);
        }
        let whole = elements.chunks_exact(WIDTH).filter_map(|element| element.try_into().ok());
        whole.for_each(|element| raw.extend_from_slice(&made(element)));
    }
    if raw.len() == full { Ok(raw) } else { Err(Odd) }
}

/// Returns a float as it is once it was a double in between, which in Python all are: no NaN of it is a signal.
fn quiet(element: [u8; 4]) -> [u8; 4] {
    let value = f32::from_le_bytes(element);
    if value.is_nan() { (value.to_bits() | 1 << 22).to_le_bytes() } else { element }
}

fn texts(message: &Bytes, contents: &[u8], count: usize) -> Result<Vec<Bytes>, Odd> {
    // Each takes a tag and a length.
    let mut texts = Vec::with_capacity(count.min(contents.len() / 2));
    let mut fields = Fields::of(contents);
    while let Some((number, value)) = fields.next_field()? {
        let text = value.bytes()?;
        if number != 8 || texts.len() == count || !is_text(text) {
            return Err(Odd);
        }
        texts.push(message.slice_ref(text));
    }
    if texts.len() == count { Ok(texts) } else { Err(Odd) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oip::wire::{put_bytes, put_varint};

    fn numbers(contents: &[u8], dtype: DType, count: u64) -> Option<Vec<u8>> {
        let message = Bytes::copy_from_slice(contents);
        match decode(&message, &message, dtype, count)? {
            Data::Raw(raw) => Some(raw.to_vec()),
            Data::Texts(_) => None,
        }
    }

    fn packed(field: u8, values: &[u64]) -> Vec<u8> {
        let (mut contents, mut inside) = (Vec::new(), Vec::new());
        values.iter().for_each(|&value| put_varint(&mut inside, value));
        put_bytes(&mut contents, field, &inside);
        contents
    }

    #[test]
    fn packed_and_unpacked_elements_are_one_list() {
        let contents = [packed(2, &[1, 2]), vec![0x10, 3], packed(2, &[])].concat();
        assert_eq!(numbers(&contents, DType::Int8, 3), Some(vec![1, 2, 3]));
        let floats = [&[0x35, 0, 0, 128, 63][..], &[0x32, 8, 0, 0, 0, 64, 0, 0, 64, 64]].concat();
        let wanted: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(numbers(&floats, DType::Fp32, 3), Some(wanted));
        assert_eq!(numbers(b"", DType::Fp64, 0), Some(Vec::new()));
    }

    #[test]
    fn an_element_that_the_dtype_does_not_hold_is_declined() {
        for (dtype, field, inside, outside) in [
            (DType::Int8, 2, [127, -128i64 as u64], [128, -129i64 as u64]),
            (DType::Int16, 2, [32767, -32768i64 as u64], [32768, -32769i64 as u64]),
            (DType::Uint8, 4, [255, 0], [256, u64::from(u32::MAX)]),
            (DType::Uint16, 4, [65535, 0], [65536, u64::from(u32::MAX)]),
        ] {
            assert!(numbers(&packed(field, &inside), dtype, 2).is_some(), "{dtype:?}");
            outside.iter().for_each(|&one| assert_eq!(numbers(&packed(field, &[one]), dtype, 1), None, "{dtype:?}"));
        }
        assert_eq!(numbers(&packed(1, &[2]), DType::Bool, 1), Some(vec![1]), "whatever is not 0 is true");
        assert_eq!(numbers(&packed(2, &[1 << 32 | 7]), DType::Int32, 1), Some(vec![7, 0, 0, 0]));
    }

    #[test]
    fn only_the_dtypes_own_field_is_read_and_to_the_last_element() {
        assert_eq!(numbers(&packed(4, &[1]), DType::Int8, 1), None);
        assert_eq!(numbers(&packed(2, &[1]), DType::Int8, 2), None);
        assert_eq!(numbers(&packed(2, &[1, 1]), DType::Int8, 1), None);
        assert_eq!(numbers(&[packed(2, &[1]), packed(9, &[])].concat(), DType::Int8, 1), None);
        assert_eq!(numbers(&[0x32, 3, 0, 0, 0], DType::Fp32, 0), None, "three quarters of a float");
        assert_eq!(numbers(&[0x31, 0, 0, 0, 0, 0, 0, 0, 0], DType::Fp32, 2), None, "a double is no two floats");
        assert_eq!(numbers(b"", DType::Fp16, 0), None);
        assert_eq!(numbers(&[0x0a, 1, 0x80], DType::Bool, 1), None, "cut");
    }

    #[test]
    fn claims_of_elements_are_not_believed() {
        assert_eq!(numbers(&packed(2, &[1]), DType::Int32, 1 << 60), None);
        assert_eq!(numbers(&packed(2, &[1]), DType::Int32, MOST_ELEMENTS as u64), None);
        let most = vec![1; MOST_ELEMENTS + 1];
        assert_eq!(numbers(&packed(1, &most), DType::Bool, MOST_ELEMENTS as u64 + 1), None);
        assert!(numbers(&packed(1, &most[1..]), DType::Bool, MOST_ELEMENTS as u64).is_some());
    }

    #[test]
    fn texts_are_slices_of_the_message() {
        let message = Bytes::from_static(b"\x42\x02hi\x42\x00");
        let found = decode(&message, &message, DType::Bytes, 2);
        assert_eq!(found, Some(Data::Texts(vec![Bytes::from_static(b"hi"), Bytes::new()])));
        let Some(Data::Texts(texts)) = found else { unreachable!() };
        assert_eq!(texts[0].as_ptr(), message[2..].as_ptr());
        for (odd, count) in
            [(&b"\x42\x02\xc3\x28"[..], 1), (b"\x42\x01a", 2), (b"\x42\x01a\x42\x01b", 1), (b"\x40\x01", 1)]
        {
            let odd = Bytes::from_static(odd);
            assert_eq!(decode(&odd, &odd, DType::Bytes, count), None, "{odd:?}");
        }
    }

    #[test]
    fn what_no_protobuf_reads_is_not_sound() {
        for sound in [&b""[..], b"\x0a\x01\x01", b"\x32\x04\0\0\0\0", b"\x42\x01\xff", b"\x48\x07", b"\x12\x02\x80\x00"]
        {
            assert!(are_sound(sound), "{sound:?}");
        }
        for broken in [&b"\x0a"[..], b"\x0a\x01\x80", b"\x32\x03\0\0\0", b"\x3a\x04\0\0\0\0", b"\x42\x05a"] {
            assert!(!are_sound(broken), "{broken:?}");
        }
    }
}
