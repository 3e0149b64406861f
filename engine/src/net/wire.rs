//! A client's socket, with an eye on its frames: which come, and how often those that bring nothing.
//!
//! h2 bounds what frames make it hold. How many a client may send that only cost time is for us to say, and what all of them
//! cost is what `lane` shares the reactor by.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::authority::Authority;
use crate::net::budgets::Budgets;
use crate::net::lane::{Lane, Turns};
use crate::net::tally::{Tally, Told};
use crate::net::unread::{LOOK, SMALL_FRAME};

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
/// Bytes that are read at once where it is not known that they belong to one frame: that many may be much work.
const AT_ONCE: usize = 16 * 1024;
/// The same where a turn may cost no more.
const AT_LEAST: usize = 512;
/// What h2 and we take for what comes, in nanoseconds: for a frame, a call's head, a field of it, and so many bytes of any.
const FRAME_COST: u64 = 600;
const HEAD_COST: u64 = 10_000;
const FIELD_COST: u64 = 100;
const BYTES_A_NANOSECOND: u64 = 4;
/// What a byte may cost: heads of calls of a few fields, and frames without anything in them, come to as much.
const DEAREST_BYTE: u64 = 80;

/// Finds the frames in what a client sends.
pub struct Scanner {
    preface: usize,
    header: [u8; HEADER_SIZE],
    have: usize,
    skip: usize,
    begun: bool,
    last_stream: u32,
    in_trailers: bool,
    in_block: bool,
    authority: Authority,
    budgets: Budgets,
    /// Fields of this block that were counted.
    counted: usize,
    /// What has come has cost so much.
    cost: u64,
    /// Header blocks that have begun, and whether the last has not ended.
    blocks: u64,
    in_head: bool,
    /// Bytes that have come.
    bytes: u64,
    /// Whether clients are told to go elsewhere with new calls.
    leaving: bool,
    client_resets: u64,
    /// Bytes of DATA that have come since what is unread was looked at, and what small frames took beyond.
    came: usize,
    overhead: usize,
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

/// What is known of a client by its frames.
pub struct Watched {
    scanner: RefCell<Scanner>,
    fault: Cell<Option<Reason>>,
    turns: Rc<Turns>,
    heard_at: Cell<Instant>,
    /// Calls in progress.
    pub calls: Cell<usize>,
    tally: Arc<Tally>,
    /// Bytes that were written since that was asked, and whether more wait for the socket.
    written: Cell<usize>,
    blocked: Cell<bool>,
}

impl Watched {
    pub fn new(lane: Rc<Lane>, tally: Arc<Tally>) -> Rc<Self> {
        Rc::new(Self {
            scanner: RefCell::new(Scanner::new()),
            fault: Cell::new(None),
            turns: Turns::new(lane),
            heard_at: Cell::new(Instant::now()),
            calls: Cell::new(0),
            tally,
            written: Cell::new(0),
            blocked: Cell::new(false),
        })
    }

    /// Waits until the connection may begin.
    pub async fn first_turn(&self) {
        self.turns.first().await;
    }

    /// Says whether the client's SETTINGS have come.
    pub fn begun(&self) -> bool {
        self.scanner.borrow().begun
    }

    /// Returns why the connection has to end, if so.
    pub fn fault(&self) -> Option<Reason> {
        self.fault.get()
    }

    /// Returns when the client was last heard of.
    pub fn heard_at(&self) -> Instant {
        self.heard_at.get()
    }

    /// See `Scanner::unfinished`.
    pub fn unfinished(&self) -> Option<(u64, u64)> {
        self.scanner.borrow().unfinished()
    }

    /// The client is told to go elsewhere with new calls: many that it begins all the same are an offence.
    pub fn leave(&self) {
        self.scanner.borrow_mut().leaving = true;
    }

    /// See `Turns::spend`.
    pub fn spend(&self, cost: u64) {
        self.turns.spend(cost);
    }

    /// We had work with a call, and it is over.
    pub fn worked(&self) {
        self.scanner.borrow_mut().budgets.worked();
    }

    /// Returns how many bytes may be read at once: what is known to be one frame's, and some more.
    fn at_once(&self) -> usize {
        let scanner = self.scanner.borrow();
        let some = self.turns.may_cost() / DEAREST_BYTE;
        let some = (some as usize).clamp(AT_LEAST, AT_ONCE);
        if scanner.in_block { some } else { scanner.skip.saturating_add(some) }
    }

    /// Returns what small frames took beyond their bytes, where so much has come that it should be looked at.
    pub fn came(&self) -> Option<usize> {
        let mut scanner = self.scanner.borrow_mut();
        if scanner.came + scanner.overhead < LOOK {
            return None;
        }
        scanner.came = 0;
        Some(std::mem::take(&mut scanner.overhead))
    }

    /// Returns how many bytes were written since the last time; None where none wait for the socket.
    pub fn written(&self) -> Option<usize> {
        let written = self.written.take();
        self.blocked.get().then_some(written)
    }

    fn sent(&self, written: &Poll<io::Result<usize>>) {
        self.blocked.set(written.is_pending());
        if let Poll::Ready(Ok(size)) = written {
            self.written.set(self.written.get() + size);
            self.scanner.borrow_mut().budgets.sent(*size);
        }
    }

    fn scan(&self, bytes: &mut [u8]) {
        let mut scanner = self.scanner.borrow_mut();
        if self.fault.get().is_none() {
            self.fault.set(scanner.scan(bytes).err());
            for _ in 0..std::mem::take(&mut scanner.client_resets) {
                self.tally.add(Told::ResetByClient);
            }
        }
        self.turns.spend(std::mem::take(&mut scanner.cost));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.turns.leave();
    }
}

/// The socket, as h2 has it.
pub struct Wire {
    stream: TcpStream,
    /// What was read to see whether it is HTTP/2.
    replay: Option<Vec<u8>>,
    watched: Rc<Watched>,
}

impl Wire {
    /// Makes h2 read `replay` first.
    pub fn new(stream: TcpStream, replay: Vec<u8>, watched: Rc<Watched>) -> Self {
        Self { stream, replay: Some(replay), watched }
    }

    /// Reads some bytes, and says how many.
    fn poll_some(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let (before, most) = (buffer.filled().len(), self.watched.at_once());
        if buffer.remaining() <= most {
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            return Poll::Ready(Ok(buffer.filled().len() - before));
        }
        let mut some = ReadBuf::new(buffer.initialize_unfilled_to(most));
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut some))?;
        let size = some.filled().len();
        buffer.advance(size);
        Poll::Ready(Ok(size))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Some(mut replay) = self.replay.take() {
            let some = buffer.remaining().min(replay.len());
            buffer.put_slice(&replay[..some]);
            replay.drain(..some);
            self.replay = (!replay.is_empty()).then_some(replay);
        } else {
            loop {
                let now = Instant::now();
                if !self.watched.turns.may_read(now, cx.waker()) {
                    return Poll::Pending;
                }
                let Poll::Ready(size) = self.poll_some(cx, buffer) else {
                    self.watched.turns.end();
                    return Poll::Pending;
                };
                if !matches!(size, Ok(1..)) {
                    // All its calls hear of it now.
                    self.watched.turns.spend(self.watched.calls.get() as u64 * HEAD_COST);
                }
                let size = size?;
                self.watched.heard_at.set(now);
                if self.watched.fault.get().is_none() || size == 0 {
                    break;
                }
                // It is of no use any more. Left unread, it would take our last words with it when the socket is closed.
                self.watched.turns.spend(FRAME_COST + size as u64 / BYTES_A_NANOSECOND);
                buffer.set_filled(before);
            }
        }
        self.watched.scan(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched.sent(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watched.sent(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
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
        assert!(cost(frame(DATA, 0, 1).repeat(1_600)) > 50 * bulk);
        assert!(cost(frame(WINDOW_UPDATE, 0, 4).repeat(1_200)) > 50 * bulk);
        assert!(cost(head(1, &[0x20; 16_000], END_HEADERS)) > 50 * bulk);
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
