//! The frames in what a client sends: which come, what they cost, and which are too many.
//!
//! h2 bounds what frames make it hold. How many a client may send that only cost time is for us to say, and what all of them
//! cost is what `lane` shares the reactor by.

use std::time::Instant;

use h2::Reason;

use crate::net::authority::Authority;
use crate::net::budgets::Budgets;
use crate::net::unread::SMALL_FRAME;

/// What every client says first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_SIZE: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Bytes of trailers, compressed. gRPC's clients send none, and what stands there is kept as long as the call is.
const TRAILERS: usize = 1024;
/// What h2 and we take for what comes, in nanoseconds: for a frame, a call's head, a field of it, and so many bytes of any.
pub const FRAME_COST: u64 = 600;
pub const HEAD_COST: u64 = 10_000;
const FIELD_COST: u64 = 100;
/// What bytes cost where memory for them is touched for the first time; where it is not, a fifth of that.
pub const BYTES_A_NANOSECOND: u64 = 1;
/// What a byte may cost: heads of calls of a few fields, and frames without anything in them, come to as much.
pub const DEAREST_BYTE: u64 = 80;

/// Finds the frames in what a client sends.
pub struct Scanner {
    preface: usize,
    header: [u8; HEADER_SIZE],
    have: usize,
    pub(super) skip: usize,
    pub(super) begun: bool,
    last_stream: u32,
    in_trailers: bool,
    pub(super) in_block: bool,
    authority: Authority,
    pub(super) budgets: Budgets,
    /// Fields of this block that were counted.
    counted: usize,
    /// What has come has cost so much.
    pub(super) cost: u64,
    /// Header blocks that have begun, and whether the last has not ended.
    blocks: u64,
    in_head: bool,
    /// Bytes that have come.
    bytes: u64,
    /// Whether clients are told to go elsewhere with new calls.
    pub(super) leaving: bool,
    pub(super) client_resets: u64,
    /// Bytes of DATA that have come since what is unread was looked at, and what small frames took beyond.
    pub(super) came: usize,
    pub(super) overhead: usize,
}

impl Scanner {
    pub fn new() -> Self {
        Self {
            preface: PREFACE.len(),
            header: [0; HEADER_SIZE],
            have: 0,
            skip: 0,
            begun: false,
            last_stream: 0,
            in_trailers: false,
            in_block: false,
            authority: Authority::new(),
            budgets: Budgets::new(),
            counted: 0,
            cost: 0,
            blocks: 0,
            in_head: false,
            bytes: 0,
            leaving: false,
            client_resets: 0,
            came: 0,
            overhead: 0,
        }
    }

    /// Looks at what has come, and makes authorities harmless; returns why it is too much.
    pub fn scan(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        self.bytes += bytes.len() as u64;
        self.cost += bytes.len() as u64 / BYTES_A_NANOSECOND;
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        let mut bytes = &mut bytes[preface..];
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (payload, rest) = bytes.split_at_mut(self.skip.min(bytes.len()));
                self.skip -= payload.len();
                if self.in_block {
                    self.authority.overwrite(payload);
                    self.count_fields()?;
                }
                bytes = rest;
                continue;
            }
            let taken = (HEADER_SIZE - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &mut bytes[taken..];
            if self.have == HEADER_SIZE {
                self.have = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// Counts the fields that have come of a block.
    fn count_fields(&mut self) -> Result<(), Reason> {
        let fields = self.authority.fields();
        let more = fields - self.counted.min(fields);
        self.cost += more as u64 * FIELD_COST;
        let counted = std::mem::replace(&mut self.counted, fields);
        if self.budgets.fields(fields, counted) { Ok(()) } else { Err(Reason::ENHANCE_YOUR_CALM) }
    }

    /// Returns what has begun and not ended, if anything has: a number that stays the same while it makes no progress. A
    /// header block makes none until it ends.
    pub fn unfinished(&self) -> Option<(u64, u64)> {
        if self.in_head {
            return Some((self.blocks, 0));
        }
        (self.have > 0 || self.skip > 0).then_some((self.blocks, self.bytes))
    }

    fn frame(&mut self) -> Result<(), Reason> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let size = u32::from_be_bytes([0, a, b, c]) as usize;
        self.skip = size;
        self.in_block = matches!(kind, HEADERS | CONTINUATION);
        self.cost += FRAME_COST;
        if kind == HEADERS {
            self.authority.begin(flags);
            self.counted = 0;
            self.blocks += 1;
            self.cost += HEAD_COST;
        }
        if self.in_block {
            self.in_head = flags & END_HEADERS == 0;
        }
        if !self.begun {
            self.begun = true;
            return if kind == SETTINGS { Ok(()) } else { Err(Reason::PROTOCOL_ERROR) };
        }
        let allowed = match kind {
            HEADERS => {
                let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
                self.in_trailers = stream <= self.last_stream;
                self.last_stream = self.last_stream.max(stream);
                if !self.in_trailers {
                    self.budgets.call();
                }
                let welcome = self.in_trailers || !self.leaving || self.budgets.reset(Instant::now());
                welcome && (!self.in_trailers || size <= TRAILERS)
            }
            CONTINUATION => !self.in_trailers,
            PUSH_PROMISE => true,
            WINDOW_UPDATE => self.budgets.window(Instant::now()),
            DATA if size > 0 || flags & END_STREAM != 0 => {
                self.came += size;
                self.overhead += SMALL_FRAME.saturating_sub(size);
                true
            }
            RST_STREAM => {
                self.client_resets += 1;
                self.budgets.reset(Instant::now())
            }
            _ => {
                if matches!(kind, PING | SETTINGS) && flags & ACK == 0 {
                    self.budgets.acknowledge(HEADER_SIZE + if kind == PING { size } else { 0 });
                }
                self.budgets.idle_frame(Instant::now())
            }
        };
        if allowed { Ok(()) } else { Err(Reason::ENHANCE_YOUR_CALM) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::budgets::FREE_FIELDS;

    fn frame(kind: u8, flags: u8, size: usize) -> Vec<u8> {
        let mut raw = (size as u32).to_be_bytes()[1..].to_vec();
        raw.extend([kind, flags, 0, 0, 0, 1]);
        raw.extend(vec![0xff; size]);
        raw
    }

    fn opened() -> Vec<u8> {
        [PREFACE, &frame(SETTINGS, 0, 6)].concat()
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let all = [opened(), frame(DATA, 0, 40), frame(RST_STREAM, 0, 4), frame(6, 0, 8)].concat();
        for size in 1..all.len() {
            let mut scanner = Scanner::new();
            assert_eq!(all.clone().chunks_mut(size).try_for_each(|chunk| scanner.scan(chunk)), Ok(()));
            assert!(scanner.begun && scanner.skip == 0 && scanner.have == 0);
            assert_eq!(scanner.budgets.spent(), (1.0, 1.0));
        }
    }

    #[test]
    fn the_first_frame_is_settings() {
        let mut scanner = Scanner::new();
        assert_eq!(scanner.scan(&mut [PREFACE, &frame(6, 0, 8)].concat()), Err(Reason::PROTOCOL_ERROR));
    }

    #[test]
    fn trailers_are_short() {
        for (size, end) in [(1024, Ok(())), (1025, Err(Reason::ENHANCE_YOUR_CALM))] {
            let mut scanner = Scanner::new();
            scanner.scan(&mut [opened(), frame(HEADERS, 4, 5_000)].concat()).unwrap();
            assert_eq!(scanner.scan(&mut frame(HEADERS, 4, size)), end);
        }
        let mut scanner = Scanner::new();
        let two = [frame(HEADERS, 0, 10), frame(CONTINUATION, 4, 10)].concat();
        scanner.scan(&mut [opened(), two.clone()].concat()).unwrap();
        assert_eq!(scanner.scan(&mut two.clone()), Err(Reason::ENHANCE_YOUR_CALM));
    }

    #[test]
    fn a_flood_of_what_brings_nothing_is_told_to_calm_down() {
        // Some of it is acknowledged.
        let idle = [
            (frame(PING, 0, 8), 17),
            (frame(SETTINGS, 0, 0), 9),
            (frame(SETTINGS, 0, 6), 9),
            (frame(PING, ACK, 8), 0),
            (frame(DATA, 0, 0), 0),
            (frame(2, 0, 5), 0),
            (frame(77, 0, 1), 0),
            (frame(RST_STREAM, 0, 4), 0),
            (frame(WINDOW_UPDATE, 0, 4), 0),
        ];
        for (idle, acknowledgement) in idle {
            let mut scanner = Scanner::new();
            scanner.scan(&mut opened()).unwrap();
            let end = (0..12_000).find_map(|_| {
                scanner.budgets.sent(acknowledgement);
                scanner.scan(&mut idle.clone()).err()
            });
            assert_eq!(end, Some(Reason::ENHANCE_YOUR_CALM));
        }
    }

    fn head(stream: u32, block: &[u8], flags: u8) -> Vec<u8> {
        let mut raw = frame(HEADERS, flags, block.len());
        raw[5..9].copy_from_slice(&stream.to_be_bytes());
        raw[HEADER_SIZE..].copy_from_slice(block);
        raw
    }

    /// Returns how many calls with such a block come before the client is told to calm down.
    fn calls_of(block: &[u8], flags: u8) -> Option<usize> {
        let mut scanner = Scanner::new();
        scanner.scan(&mut opened()).unwrap();
        (0..10_000u32).position(|number| scanner.scan(&mut head(2 * number + 1, block, flags)).is_err())
    }

    #[test]
    fn fields_that_no_call_can_have_are_no_use_for_long() {
        assert_eq!(calls_of(&b"\0\x01a\0".repeat(FREE_FIELDS), END_HEADERS), None);
        assert_eq!(calls_of(&[0x20; 768], END_HEADERS), None);
        for block in [b"\0\x01a\0".repeat(3_300), vec![0x20; 16_000], vec![0x82; 16_000]] {
            assert!(calls_of(&block, END_HEADERS).is_some_and(|calls| calls < 40));
            assert!(calls_of(&[&[0][..], &block].concat(), END_HEADERS | 8).is_some_and(|calls| calls < 40));
        }
    }

    #[test]
    fn calls_that_come_after_the_goodbye_are_counted() {
        for (leaving, end) in [(false, None), (true, Some(Reason::ENHANCE_YOUR_CALM))] {
            let mut scanner = Scanner::new();
            scanner.scan(&mut opened()).unwrap();
            scanner.leaving = leaving;
            let calls = (0..20_000u32).find_map(|n| scanner.scan(&mut head(2 * n + 1, b"\x82", END_HEADERS)).err());
            assert_eq!(calls, end);
        }
    }

    #[test]
    fn what_comes_is_priced_by_the_work_and_not_by_its_bytes() {
        let cost = |mut bytes: Vec<u8>| {
            let mut scanner = Scanner::new();
            scanner.scan(&mut opened()).unwrap();
            let before = scanner.cost;
            scanner.scan(&mut bytes).unwrap();
            scanner.cost - before
        };
        let bulk = cost(frame(DATA, 0, 16_000));
        assert!(cost(frame(DATA, 0, 1).repeat(1_600)) > 40 * bulk);
        assert!(cost(frame(WINDOW_UPDATE, 0, 4).repeat(1_200)) > 40 * bulk);
        assert!(cost(head(1, &[0x20; 16_000], END_HEADERS)) > 40 * bulk);
    }

    #[test]
    fn what_has_not_ended_is_known_until_it_has() {
        let mut scanner = Scanner::new();
        scanner.scan(&mut opened()).unwrap();
        assert_eq!(scanner.unfinished(), None);
        scanner.scan(&mut head(1, b"\x82", 0)).unwrap();
        let block = scanner.unfinished();
        scanner.scan(&mut frame(CONTINUATION, 0, 1)).unwrap();
        assert!(block.is_some() && scanner.unfinished() == block); // no progress
        scanner.scan(&mut frame(CONTINUATION, END_HEADERS, 1)).unwrap();
        assert_eq!(scanner.unfinished(), None);
        let mut data = frame(DATA, 0, 40);
        let (begin, rest) = data.split_at_mut(20);
        scanner.scan(begin).unwrap();
        let half = scanner.unfinished();
        scanner.scan(&mut rest[..5]).unwrap();
        assert!(half.is_some() && scanner.unfinished() != half); // some
        scanner.scan(&mut rest[5..]).unwrap();
        assert_eq!(scanner.unfinished(), None);
    }

    #[test]
    fn work_is_no_offence() {
        let mut scanner = Scanner::new();
        scanner.scan(&mut opened()).unwrap();
        for number in 0..50_000u32 {
            let mut head = frame(HEADERS, 4, 2_000);
            head[5..9].copy_from_slice(&(2 * number + 1).to_be_bytes());
            let ping = frame(PING, 0, 8);
            let mut call = [&head[..], &frame(DATA, END_STREAM, 0), &ping, &frame(WINDOW_UPDATE, 0, 4), &ping].concat();
            assert_eq!(scanner.scan(&mut call), Ok(()));
            scanner.budgets.sent(2 * ping.len());
        }
    }
}
