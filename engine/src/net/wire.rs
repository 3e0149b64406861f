//! A client's socket, with an eye on its frames: which come, and how often those that bring nothing.
//!
//! h2 bounds what frames make it hold. How many a client may send that only cost time is for us to say.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::authority::Authority;
use crate::net::budget::Budget;

/// What every client says first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_SIZE: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// Bytes of trailers, compressed. gRPC's clients send none, and what stands there is kept as long as the call is.
const TRAILERS: usize = 1024;
/// Bytes read before other connections have their turn.
const A_TURN: usize = 256 * 1024;
/// Frames that bring nothing (PING, SETTINGS, empty DATA, PRIORITY, unknown ones) that a client may send at once.
const IDLE_FRAMES: f64 = 10_000.0;
const IDLE_FRAMES_PER_S: f64 = 200.0;
/// Streams that may end before their time at once by the client's will, beyond one for each that ended well.
const RESETS: f64 = 10_000.0;
const RESETS_PER_S: f64 = 1_000.0;

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
    idle_frames: Budget,
    resets: Budget,
}

impl Scanner {
    fn new() -> Self {
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
            idle_frames: Budget::new(IDLE_FRAMES_PER_S, IDLE_FRAMES),
            resets: Budget::new(RESETS_PER_S, RESETS),
        }
    }

    /// Looks at what has come, and makes authorities harmless; returns why it is too much.
    fn scan(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        let mut bytes = &mut bytes[preface..];
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (payload, rest) = bytes.split_at_mut(self.skip.min(bytes.len()));
                self.skip -= payload.len();
                if self.in_block {
                    self.authority.overwrite(payload);
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

    fn frame(&mut self) -> Result<(), Reason> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let size = u32::from_be_bytes([0, a, b, c]) as usize;
        self.skip = size;
        self.in_block = matches!(kind, HEADERS | CONTINUATION);
        if kind == HEADERS {
            self.authority.begin(flags);
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
                !self.in_trailers || size <= TRAILERS
            }
            CONTINUATION => !self.in_trailers,
            PUSH_PROMISE | WINDOW_UPDATE => true,
            DATA if size > 0 || flags & END_STREAM != 0 => true,
            RST_STREAM => self.resets.spend(Instant::now()),
            _ => self.idle_frames.spend(Instant::now()),
        };
        if allowed { Ok(()) } else { Err(Reason::ENHANCE_YOUR_CALM) }
    }
}

/// What is known of a client by its frames.
pub struct Watched {
    scanner: RefCell<Scanner>,
    fault: Cell<Option<Reason>>,
    read: Cell<usize>,
}

impl Watched {
    pub fn new() -> Rc<Self> {
        Rc::new(Self { scanner: RefCell::new(Scanner::new()), fault: Cell::new(None), read: Cell::new(0) })
    }

    /// Says whether the client's SETTINGS have come.
    pub fn begun(&self) -> bool {
        self.scanner.borrow().begun
    }

    /// Returns why the connection has to end, if so.
    pub fn fault(&self) -> Option<Reason> {
        self.fault.get()
    }

    /// The connection has its turn.
    pub fn turn(&self) {
        self.read.set(0);
    }

    /// A call has ended well.
    pub fn earn(&self) {
        self.scanner.borrow_mut().resets.earn();
    }

    fn scan(&self, bytes: &mut [u8]) {
        if self.fault.get().is_none() {
            self.fault.set(self.scanner.borrow_mut().scan(bytes).err());
        }
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
                if self.watched.read.get() >= A_TURN {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
                let size = buffer.filled().len() - before;
                if self.watched.fault.get().is_none() || size == 0 {
                    break;
                }
                // It is of no use any more. Left unread, it would take our last words with it when the socket is closed.
                self.watched.read.set(self.watched.read.get() + size);
                buffer.set_filled(before);
            }
        }
        let came = &mut buffer.filled_mut()[before..];
        self.watched.read.set(self.watched.read.get() + came.len());
        self.watched.scan(came);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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
            assert_eq!((scanner.resets.spent(), scanner.idle_frames.spent()), (1.0, 1.0));
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
        for idle in [frame(6, 0, 8), frame(SETTINGS, 0, 0), frame(DATA, 0, 0), frame(2, 0, 5), frame(77, 0, 1)] {
            let mut scanner = Scanner::new();
            scanner.scan(&mut opened()).unwrap();
            let end = (0..20_000).find_map(|_| scanner.scan(&mut idle.clone()).err());
            assert_eq!(end, Some(Reason::ENHANCE_YOUR_CALM));
        }
    }

    #[test]
    fn resets_are_free_as_far_as_calls_end_well() {
        let mut scanner = Scanner::new();
        scanner.scan(&mut opened()).unwrap();
        for _ in 0..50_000 {
            scanner.resets.earn();
            assert_eq!(scanner.scan(&mut frame(RST_STREAM, 0, 4)), Ok(()));
        }
        let end = (0..200_000).find_map(|_| scanner.scan(&mut frame(RST_STREAM, 0, 4)).err());
        assert_eq!(end, Some(Reason::ENHANCE_YOUR_CALM));
    }

    #[test]
    fn work_is_no_offence() {
        let mut scanner = Scanner::new();
        scanner.scan(&mut opened()).unwrap();
        for number in 0..50_000u32 {
            let mut head = frame(HEADERS, 4, 2_000);
            head[5..9].copy_from_slice(&(2 * number + 1).to_be_bytes());
            let mut call = [head, frame(DATA, END_STREAM, 0), frame(WINDOW_UPDATE, 0, 4)].concat();
            assert_eq!(scanner.scan(&mut call), Ok(()));
        }
    }
}
