//! A client's socket, which is read as its turns allow, and what is known of the client by its frames.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::lane::{Lane, Turns};
use crate::net::outbox::Outbox;
use crate::net::scanner::{BYTES_A_NANOSECOND, DEAREST_BYTE, FRAME_COST, HEAD_COST, Scanner};
use crate::net::tally::{Tally, Told};
use crate::net::unread::LOOK;

/// Bytes that are read at once where it is not known that they belong to one frame: that many may be much work.
const AT_ONCE: usize = 16 * 1024;
/// The same where a turn may cost no more.
const AT_LEAST: usize = 512;

/// What is known of a client by its frames.
pub struct Watched {
    scanner: RefCell<Scanner>,
    fault: Cell<Option<Reason>>,
    turns: Rc<Turns>,
    heard_at: Cell<Instant>,
    /// Calls in progress.
    pub calls: Cell<usize>,
    tally: Arc<Tally>,
    /// Bytes that h2 has said since that was asked, and whether some of them wait for the socket.
    written: Cell<usize>,
    blocked: Cell<bool>,
    /// The wire's: when that is dropped the socket is closed, whoever still knows of the connection.
    outbox: OnceCell<Weak<Outbox>>,
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
            outbox: OnceCell::new(),
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

    /// Says whether something waits for the socket to take more.
    pub fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Returns how many bytes h2 has said since the last time; None where none wait for the socket.
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

    /// Writes what the connection has said in this turn. The task is woken when the socket takes what is left.
    pub fn write(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(outbox) = self.outbox.get().and_then(Weak::upgrade) else { return Ok(()) };
        let written = outbox.poll_write(cx);
        self.blocked.set(written.is_pending());
        match written {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
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
    outbox: Rc<Outbox>,
    /// What was read to see whether it is HTTP/2.
    replay: Option<Vec<u8>>,
    watched: Rc<Watched>,
}

impl Wire {
    /// Makes h2 read `replay` first.
    pub fn new(stream: TcpStream, replay: Vec<u8>, watched: Rc<Watched>) -> Self {
        let outbox = Outbox::new(stream);
        let _ = watched.outbox.set(Rc::downgrade(&outbox)); // there is one wire for a connection
        Self { outbox, replay: Some(replay), watched }
    }

    /// Reads some bytes, and says how many.
    fn poll_some(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let (before, most) = (buffer.filled().len(), self.watched.at_once());
        if buffer.remaining() <= most {
            std::task::ready!(Pin::new(&mut *self.outbox.socket.borrow_mut()).poll_read(cx, buffer))?;
            return Poll::Ready(Ok(buffer.filled().len() - before));
        }
        let mut some = ReadBuf::new(buffer.initialize_unfilled_to(most));
        std::task::ready!(Pin::new(&mut *self.outbox.socket.borrow_mut()).poll_read(cx, &mut some))?;
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
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.outbox.poll_put(cx, slices);
        self.watched.sent(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the connection's task writes, when its turn is over.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.outbox.poll_write(cx))?;
        Pin::new(&mut *self.outbox.socket.borrow_mut()).poll_shutdown(cx)
    }
}
