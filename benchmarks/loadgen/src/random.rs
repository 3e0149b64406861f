//! Random numbers and names, cheap enough to make for every call. They are for telling calls apart, and for nothing else.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// One that no other run begins with.
    pub fn of_now(number: u64) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Random(now.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(40) ^ number.rotate_left(56))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in [0, 1).
    pub fn share(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A W3C `traceparent` with a trace and a span that nobody had before.
    pub fn traceparent(&mut self, sampled: bool) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..19], self.draw());
        write_hex(&mut text[19..35], self.draw() | 1); // an id of zeros is none
        write_hex(&mut text[36..52], self.draw() | 1);
        text[54] = b'0' + u8::from(sampled);
        text
    }
}

/// The name of a unit.
pub fn unit(number: u64) -> [u8; 18] {
    let mut text = *b"u-0000000000000000";
    write_hex(&mut text[2..], number);
    text
}

fn write_hex(text: &mut [u8], number: u64) {
    for (place, digit) in text.iter_mut().rev().enumerate() {
        *digit = HEXADECIMAL[(number >> (4 * place) & 15) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_has_the_w3cs_form_and_is_new_each_time() {
        let mut random = Random::new(7);
        let (one, other) = (random.traceparent(false), random.traceparent(true));
        let text = std::str::from_utf8(&one).unwrap();
        let parts: Vec<&str> = text.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert!(parts.iter().all(|part| part.bytes().all(|byte| HEXADECIMAL.contains(&byte))), "{text}");
        assert_eq!((parts[0], parts[3], &other[53..]), ("00", "00", &b"01"[..]));
        assert_ne!(one[3..52], other[3..52]);
    }

    #[test]
    fn units_are_their_numbers() {
        assert_eq!(&unit(0x1F), b"u-000000000000001f");
        assert_ne!(Random::of_now(0).draw(), Random::of_now(1).draw());
    }

    #[test]
    fn shares_fill_the_unit_interval() {
        let mut random = Random::new(1);
        let shares: Vec<f64> = (0..1000).map(|_| random.share()).collect();
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        let mean = shares.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
