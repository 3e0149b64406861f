//! Numbers of 16 bits, which Rust does not have yet.

/// Bits of an infinity, but for its sign.
const INFINITE: u16 = 0x7c00;

/// Returns the number of these bits.
pub fn widened(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Returns the bits of the nearest number, of two the even one; None where a finite one is too large.
pub fn narrowed(value: f32) -> Option<u16> {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    if value.is_nan() {
        // As NumPy: what there is room for of the payload, and never nothing of it, which would be an infinity.
        let payload = (bits >> 13 & 0x3ff) as u16;
        return Some(sign | INFINITE | payload.max(1));
    }
    if value.is_infinite() {
        return Some(sign | INFINITE);
    }
    let magnitude = value.abs();
    let rounded = if magnitude < 2f32.powi(-14) {
        (magnitude * 2f32.powi(24)).round_ties_even() as u16
    } else {
        let bits = magnitude.to_bits();
        // The exponent's bias is 112 less, and what is cut off rounds to even.
        let shifted = (bits - (112 << 23)) >> 13;
        let (rest, odd) = (bits & 0x1fff, shifted & 1);
        u16::try_from(shifted + u32::from(rest + odd > 0x1000)).unwrap_or(INFINITE)
    };
    (rounded < INFINITE).then_some(sign | rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for bits in 0..=u16::MAX {
            let value = widened(bits);
            if value.is_nan() {
                assert!(widened(narrowed(value).unwrap()).is_nan());
            } else {
                assert_eq!(narrowed(value), Some(bits), "{value}");
            }
        }
    }

    #[test]
    fn between_two_numbers_is_the_nearest_or_the_even_one() {
        for bits in 0..INFINITE - 1 {
            let (low, high) = (widened(bits), widened(bits + 1));
            let middle = low + (high - low) / 2.0;
            assert_eq!(narrowed(middle), Some(bits + (bits & 1)), "{low} and {high}");
            assert_eq!(narrowed(middle.next_up()), Some(bits + 1));
            assert_eq!(narrowed(-middle.next_down()), Some(bits | 0x8000));
        }
        assert_eq!((narrowed(65519.996), narrowed(65520.0)), (Some(INFINITE - 1), None));
    }
}
