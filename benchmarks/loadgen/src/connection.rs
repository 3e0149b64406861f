//! One HTTP/2 connection, and calls on it.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::HeaderMap;
use tokio::net::TcpStream;

use crate::calls::Call;
use crate::messages::{Expected, PREFIX, length_of};
use crate::tally::{End, NO_CONNECTION, WRONG_ANSWER, name_of};

/// So large that nobody waits for leave to send: it is the server that is measured.
const WINDOW: u32 = 1 << 26;
const STATUS: &str = "grpc-status";
/// After a connection could not be made.
const PAUSE: Duration = Duration::from_millis(20);

/// A connection that is made when it is needed, and again when it broke.
pub struct Connection {
    target: String,
    sender: RefCell<Option<SendRequest<Bytes>>>,
    opening: tokio::sync::Mutex<()>,
}

impl Connection {
    pub fn new(target: &str) -> Self {
        Connection { target: target.into(), sender: RefCell::new(None), opening: tokio::sync::Mutex::new(()) }
    }

    /// Make one call and look at its answer.
    pub async fn call(&self, call: Call) -> End {
        let sent = call.frame.len();
        match self.answer(call).await {
            Some((code, received)) => End { code, sent, received },
            None => {
                self.sender.borrow_mut().take();
                End { code: NO_CONNECTION, sent, received: 0 }
            }
        }
    }

    /// Return how a call ended, and how many bytes came back; none where the connection failed.
    async fn answer(&self, call: Call) -> Option<(&'static str, usize)> {
        let mut sender = self.sender().await?.ready().await.ok()?;
        let (response, mut body) = sender.send_request(call.head, false).ok()?;
        body.send_data(call.frame, true).ok()?;
        let (head, mut body) = match response.await {
            Ok(response) => response.into_parts(),
            Err(error) => return of_stream(&error),
        };
        if let Some(code) = status_in(&head.headers) {
            return Some((code, 0));
        }
        let mut frame = Vec::new();
        let mut only = None; // an answer that comes in one piece, as most do, is not copied
        while let Some(part) = body.data().await {
            let part = match part {
                Ok(part) => part,
                Err(error) => return of_stream(&error),
            };
            let _ = body.flow_control().release_capacity(part.len());
            match only.take() {
                None if frame.is_empty() => only = Some(part),
                first => {
                    frame.extend_from_slice(&first.unwrap_or_default());
                    frame.extend_from_slice(&part);
                }
            }
        }
        let trailers = match body.trailers().await {
            Ok(trailers) => trailers,
            Err(error) => return of_stream(&error),
        };
        let frame = only.as_deref().unwrap_or(&frame);
        let code = trailers.as_ref().and_then(status_in).unwrap_or("UNKNOWN");
        Some((if code == "OK" && !is_right(frame, call.expected.as_ref()) { WRONG_ANSWER } else { code }, frame.len()))
    }

    /// Return what sends, connected; none where that fails.
    async fn sender(&self) -> Option<SendRequest<Bytes>> {
        if let Some(sender) = self.sender.borrow().as_ref() {
            return Some(sender.clone());
        }
        let _alone = self.opening.lock().await;
        if let Some(sender) = self.sender.borrow().as_ref() {
            return Some(sender.clone());
        }
        match open(&self.target).await {
            Some(sender) => {
                *self.sender.borrow_mut() = Some(sender.clone());
                Some(sender)
            }
            None => {
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }
}

async fn open(target: &str) -> Option<SendRequest<Bytes>> {
    let socket = TcpStream::connect(target).await.ok()?;
    socket.set_nodelay(true).ok()?;
    let (sender, connection) = Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_reset_streams(1000)
        .handshake::<_, Bytes>(socket)
        .await
        .ok()?;
    tokio::task::spawn_local(async move {
        let _ = connection.await; // what breaks shows in the calls
    });
    Some(sender)
}

/// Return how a call ended whose stream failed; none where the whole connection did.
fn of_stream(error: &h2::Error) -> Option<(&'static str, usize)> {
    error.is_reset().then(|| (if error.reason() == Some(h2::Reason::CANCEL) { "CANCELLED" } else { "INTERNAL" }, 0))
}

fn status_in(headers: &HeaderMap) -> Option<&'static str> {
    headers.get(STATUS).map(|status| name_of(status.as_bytes()))
}

fn is_right(frame: &[u8], expected: Option<&Expected>) -> bool {
    length_of(frame) == Some(frame.len().saturating_sub(PREFIX))
        && expected.is_none_or(|expected| expected.is_in(&frame[PREFIX..]))
}
