//! What clients call `:authority`, made harmless.
//!
//! Nobody here uses it, but h2 resets every call whose authority is not a host and a port. gRPC's own clients send
//! another where they are given several addresses (`ipv4:10.0.0.1:80,10.0.0.2:80`). So its letters are overwritten
//! before h2 reads them. The length stays: the table of header compression counts it on both sides. Header blocks need
//! no table to be taken apart into fields (RFC 7541, section 6). An authority in Huffman code is left as it is, and so is
//! a block with padding: those clients use neither.

const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;
/// The name, which gRPC's own clients write out, and its number in the static table.
const AUTHORITY: &[u8] = b":authority";
const NUMBER: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    /// The first byte of a field.
    Field,
    /// The rest of a number, after which this comes.
    Number(After),
    /// The first byte of a string.
    Name,
    Value,
    /// The rest of a string's length.
    Length {
        name: bool,
        plain: bool,
        shift: u32,
    },
    /// A string.
    Text {
        name: bool,
        plain: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Field,
    Value,
}

/// Follows header blocks, in pieces of any size.
pub struct Authority {
    padded: bool,
    skip: usize,
    next: Next,
    is_authority: bool,
    /// How much of a name is as `AUTHORITY` has it, while it is.
    matched: Option<usize>,
    left: u64,
    fields: usize,
}

impl Authority {
    pub fn new() -> Self {
        Self { padded: false, skip: 0, next: Next::Field, is_authority: false, matched: None, left: 0, fields: 0 }
    }

    /// A HEADERS frame with these flags begins.
    pub fn begin(&mut self, flags: u8) {
        *self = Self::new();
        self.padded = flags & PADDED != 0;
        self.skip = if flags & WITH_PRIORITY != 0 { 5 } else { 0 };
    }

    /// Returns how many fields the block has, and updates of the table's size; of one with padding, how many there may be.
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// Takes the next bytes of the block.
    pub fn overwrite(&mut self, bytes: &mut [u8]) {
        if self.padded {
            self.fields += bytes.len();
            return;
        }
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let mut at = skipped;
        while at < bytes.len() {
            if let Next::Text { name, plain } = self.next {
                let size = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                let text = &mut bytes[at..at + size];
                if name {
                    self.matched = self
                        .matched
                        .filter(|_| plain)
                        .and_then(|matched| AUTHORITY[matched..].starts_with(text).then_some(matched + size));
                } else if plain && self.is_authority {
                    text.fill(b'a');
                }
                at += size;
                self.left -= size as u64;
                self.end_text(name, plain);
                continue;
            }
            self.step(bytes[at]);
            at += 1;
        }
    }

    fn step(&mut self, byte: u8) {
        self.next = match self.next {
            Next::Field => self.field(byte),
            Next::Number(_) if byte & 0x80 != 0 => self.next,
            Next::Number(After::Field) => Next::Field,
            Next::Number(After::Value) => Next::Value,
            Next::Name | Next::Value => {
                let (name, plain) = (self.next == Next::Name, byte & 0x80 == 0);
                self.left = u64::from(byte & 0x7f);
                if self.left == 0x7f { Next::Length { name, plain, shift: 0 } } else { Next::Text { name, plain } }
            }
            Next::Length { name, plain, shift } => {
                self.left = self.left.saturating_add(u64::from(byte & 0x7f) << shift.min(56));
                if byte & 0x80 != 0 {
                    Next::Length { name, plain, shift: shift.saturating_add(7) }
                } else {
                    Next::Text { name, plain }
                }
            }
            text @ Next::Text { .. } => text,
        };
        if let Next::Text { name, plain } = self.next {
            self.end_text(name, plain);
        }
    }

    fn field(&mut self, byte: u8) -> Next {
        self.fields += 1;
        self.is_authority = false;
        let (mask, literal) = match byte {
            0x80.. => (0x7f, false),
            0x40.. => (0x3f, true),
            0x20.. => (0x1f, false),
            _ => (0x0f, true),
        };
        let number = byte & mask;
        match (literal, number == mask) {
            (false, false) => Next::Field,
            (false, true) => Next::Number(After::Field),
            (true, true) => Next::Number(After::Value),
            (true, false) => {
                self.is_authority = number == NUMBER;
                self.matched = Some(0);
                if number == 0 { Next::Name } else { Next::Value }
            }
        }
    }

    fn end_text(&mut self, name: bool, plain: bool) {
        self.next = match (self.left, name) {
            (0, true) => {
                self.is_authority = self.matched == Some(AUTHORITY.len());
                Next::Value
            }
            (0, false) => Next::Field,
            _ => Next::Text { name, plain },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &[u8] = b"\x83\x86\x3f\xe1\x1f\x41\x0bhost:1,h:22\x44\x02/a\x40\x01x\x03a,b\x00\x81\x1f\x00\
        \x0f\x2f\x01:\x01\x04a,b:\x11\x83abc\xff\x80\x80\x01\x10\x00\x00";
    const OVERWRITTEN: &[u8] = b"\x83\x86\x3f\xe1\x1f\x41\x0baaaaaaaaaaa\x44\x02/a\x40\x01x\x03a,b\x00\x81\x1f\x00\
        \x0f\x2f\x01:\x01\x04aaaa\x11\x83abc\xff\x80\x80\x01\x10\x00\x00";

    fn overwritten(flags: u8, block: &[u8], piece: usize) -> Vec<u8> {
        let mut authority = Authority::new();
        authority.begin(flags);
        let mut bytes = block.to_vec();
        bytes.chunks_mut(piece).for_each(|chunk| authority.overwrite(chunk));
        bytes
    }

    #[test]
    fn only_the_authority_is_overwritten_however_a_block_is_cut() {
        for piece in 1..=BLOCK.len() {
            assert_eq!(overwritten(0, BLOCK, piece), OVERWRITTEN, "{piece}");
        }
    }

    #[test]
    fn a_name_that_is_written_out_counts_too() {
        for (name, value) in
            [(":authority", "aaa"), (":authoritx", "x:y"), (":authorit", "x:y"), (":authorityy", "x:y")]
        {
            let begin = [&[0x40, name.len() as u8][..], name.as_bytes(), b"\x03"].concat();
            for piece in [1, 2, 5, 100] {
                let block = [&begin[..], b"x:y\x40\x01n\x01:"].concat();
                assert_eq!(overwritten(0, &block, piece), [&begin, value.as_bytes(), b"\x40\x01n\x01:"].concat());
            }
        }
    }

    #[test]
    fn a_priority_is_passed_over_and_what_has_padding_is_left_alone() {
        assert_eq!(overwritten(WITH_PRIORITY, b"\x41\x02ab\x41\x41\x01:", 2), b"\x41\x02ab\x41\x41\x01a");
        assert_eq!(overwritten(PADDED, b"\x01\x41\x01:\0", 2), b"\x01\x41\x01:\0");
    }

    #[test]
    fn a_long_authority_is_overwritten_to_its_end_and_no_further() {
        for size in [126usize, 127, 128, 300, 20_000] {
            let mut block = vec![0x41];
            if size < 0x7f {
                block.push(size as u8);
            } else {
                block.push(0x7f);
                let mut rest = size - 0x7f;
                while rest >= 0x80 {
                    block.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                block.push(rest as u8);
            }
            let mut expected = block.clone();
            block.extend(vec![b':'; size]);
            expected.extend(vec![b'a'; size]);
            block.extend(b"\x44\x02:/");
            expected.extend(b"\x44\x02:/");
            assert_eq!(overwritten(0, &block, 7), expected);
        }
    }

    #[test]
    fn fields_are_counted_however_a_block_is_cut() {
        for (flags, block, fields) in [(0, BLOCK, 12), (PADDED, BLOCK, BLOCK.len()), (0, &[0x20; 40][..], 40)] {
            for piece in 1..=block.len() {
                let mut authority = Authority::new();
                authority.begin(flags);
                block.to_vec().chunks_mut(piece).for_each(|chunk| authority.overwrite(chunk));
                assert_eq!(authority.fields(), fields, "{piece}");
            }
        }
    }

    #[test]
    fn nothing_that_a_client_sends_panics() {
        for first in 0..=255 {
            for second in [0, 1, 0x7f, 0x80, 0xff] {
                overwritten(0, &[&[first, second][..], &[0xff; 40]].concat(), 3);
            }
        }
    }
}
