//! What is to be said to a client, until its connection's turn is over: then it goes in one write.
//!
//! HTTP/2 says an answer in several pieces, and h2 writes whatever it has before it takes the next: a head and a body of
//! some 300 bytes are one write, and the trailers another. A write of some bytes costs as much as one of some thousand, and
//! wakes the client each time.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Bytes that are put together. More than that is worth a write of its own, and no copy.
const MOST: usize = 8 * 1024;
/// What is kept of that while there is nothing to say.
const KEPT: usize = 1024;

/// The socket, and what waits to be written to it.
pub struct Outbox {
    pub socket: RefCell<TcpStream>,
    waiting: RefCell<Vec<u8>>,
    /// How much of it was written.
    gone: Cell<usize>,
}

impl Outbox {
    pub fn new(socket: TcpStream) -> Rc<Self> {
        Rc::new(Self { socket: socket.into(), waiting: RefCell::default(), gone: Cell::new(0) })
    }

    /// Takes all of these bytes to be written later, or writes some of them now, where they are many; says how many were
    /// taken. Where the socket takes no more, none is.
    pub fn poll_put(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let size = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if self.waiting.borrow().len() + size > MOST {
            ready!(self.poll_write(cx))?;
            if size > MOST {
                return Pin::new(&mut *self.socket.borrow_mut()).poll_write_vectored(cx, slices);
            }
        }
        let mut waiting = self.waiting.borrow_mut();
        let needed = waiting.len() + size;
        if needed > waiting.capacity() {
            let more = needed.next_power_of_two().min(MOST) - waiting.len();
            waiting.reserve_exact(more);
        }
        slices.iter().for_each(|slice| waiting.extend_from_slice(slice));
        Poll::Ready(Ok(size))
    }

    /// Writes what waits. It is pending while the socket does not take all.
    pub fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = self.waiting.borrow_mut();
        while self.gone.get() < waiting.len() {
            let rest = &waiting[self.gone.get()..];
            let size = ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_write(cx, rest))?;
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone.set(self.gone.get() + size);
        }
        self.gone.set(0);
        waiting.clear();
        waiting.shrink_to(KEPT);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Rc<Outbox>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Outbox::new(listener.accept().await.unwrap().0), client)
    }

    async fn put(outbox: &Outbox, bytes: &[u8]) -> usize {
        poll_fn(|cx| outbox.poll_put(cx, &[IoSlice::new(bytes)])).await.unwrap()
    }

    async fn write(outbox: &Outbox) {
        poll_fn(|cx| outbox.poll_write(cx)).await.unwrap();
    }

    #[tokio::test]
    async fn little_is_written_when_it_is_asked_for_and_together() {
        let (outbox, mut client) = pair().await;
        assert_eq!((put(&outbox, b"head").await, put(&outbox, b"trailers").await), (4, 8));
        assert!(client.try_read(&mut [0; 64]).is_err());
        write(&outbox).await;
        let mut read = [0; 64];
        let size = client.read(&mut read).await.unwrap();
        assert_eq!(&read[..size], b"headtrailers");
    }

    #[tokio::test]
    async fn much_is_written_behind_what_waits_and_nothing_is_lost_where_the_socket_is_full() {
        let (outbox, mut client) = pair().await;
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all
        });
        let mut said = Vec::new();
        for number in 0..400u32 {
            let piece = vec![number as u8; [3, MOST - 1, MOST + 1, 200_000][number as usize % 4]];
            let mut from = 0;
            while from < piece.len() {
                from += put(&outbox, &piece[from..]).await;
            }
            said.extend_from_slice(&piece);
        }
        write(&outbox).await;
        drop(outbox);
        assert!(reading.await.unwrap() == said);
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_waits_and_more_is_not_taken() {
        let (outbox, client) = pair().await;
        let piece = vec![7; MOST];
        let mut taken = 0;
        let full = loop {
            let put = poll_fn(|cx| Poll::Ready(outbox.poll_put(cx, &[IoSlice::new(&piece)]))).await;
            match put {
                Poll::Ready(size) => taken += size.unwrap(),
                Poll::Pending => break outbox.waiting.borrow().len() - outbox.gone.get(),
            }
        };
        assert!(full > 0 && full <= MOST && taken > full);
        drop(client);
    }
}
