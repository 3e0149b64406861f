//! A client's connection: a task that takes its calls, and ends it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::call::Unary;
use crate::net::WINDOW;
use crate::net::carry;
use crate::net::scanner::PREFACE;
use crate::net::shard::Shard;
use crate::net::state::State;
use crate::net::tally::Told;
use crate::net::wire::Wire;

/// How long a client may take to say that it speaks HTTP/2.
const PREFACE_TIME: Duration = Duration::from_secs(20);
/// How long a client may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The same when the server ends.
const LAST_WORDS_AT_END: Duration = Duration::from_millis(200);
/// Bytes of header fields of a request that are decoded. Far fewer are taken, see `head`: but h2 answers what it does not
/// decode by itself, not as gRPC does, and ends the connection for a block of a quarter more.
const FIELDS: u32 = 1024 * 1024;
/// Bytes of a stream's answers that wait in h2 for the socket.
const SEND_BUFFER: usize = 256 * 1024;
/// What a connection may make us hold in small DATA frames beyond their bytes.
const FRAME_BUDGET: usize = 64 * 1024 * 1024;
/// Bytes of a frame. What comes in one is not put together again; a stream's window bounds it as well.
const FRAME: u32 = WINDOW as u32;
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Streams that were reset by us and are remembered: what was on its way to them is no fault of the client's.
const REMEMBERED: usize = 2_000;
/// Streams that the client opened and reset before we looked at them.
const RESET_UNSEEN: usize = 1_000;

const HTTP1: [&[u8]; 9] = [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC"];
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 48\r\n\r\nThis port speaks gRPC, over HTTP/2 without TLS.\n";
/// SETTINGS of nothing, and GOAWAY of stream 0 with PROTOCOL_ERROR.
const NOT_HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// Serves one connection until it ends.
pub async fn serve<U: Unary>(stream: TcpStream, state: Rc<State>, shard: Rc<Shard<U>>) {
    let begun = timeout(PREFACE_TIME, begin(stream, &state, shard.settings.connection_calls));
    let first = poll_fn(|cx| {
        state.heed(cx);
        if state.ended() || shard.ending.closing() { Poll::Ready(()) } else { Poll::Pending }
    });
    let connection = tokio::select! {
        begun = begun => begun,
        () = first => return,
    };
    let Ok(Some(mut connection)) = connection else { return };
    if !take_calls(&mut connection, &state, &shard).await {
        let time = if shard.ending.closing() { LAST_WORDS_AT_END } else { LAST_WORDS };
        let last_words = poll_fn(|cx| {
            let closed = connection.poll_closed(cx).map(drop);
            if closed.is_pending() && state.watched.write(cx).is_err() { Poll::Ready(()) } else { closed }
        });
        let _ = timeout(time, last_words).await;
    }
}

/// Looks at the client's first bytes, and begins if they are HTTP/2's.
async fn begin(mut stream: TcpStream, state: &State, most_streams: usize) -> Option<Connection<Wire, Bytes>> {
    state.watched.first_turn().await;
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() {
        let before = first.len();
        let mut rest = (&mut stream).take((PREFACE.len() - before) as u64);
        if rest.read_buf(&mut first).await.ok()? == 0 {
            return None;
        }
        if HTTP1.iter().any(|method| first.starts_with(method)) {
            return turn_away(stream, PLAIN_ANSWER).await;
        }
        let may_be = |whole: &[u8]| whole.starts_with(&first);
        if !may_be(PREFACE) && !HTTP1.iter().any(|method| may_be(method)) {
            return turn_away(stream, NOT_HTTP2).await;
        }
    }
    builder(most_streams).handshake(Wire::new(stream, first, state.watched.clone())).await.ok()
}

/// Says `words`, and reads on until the client has gone: what was left unread would take the words with it.
async fn turn_away<T>(mut stream: TcpStream, words: &[u8]) -> Option<T> {
    let _ = timeout(LAST_WORDS, async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
    None
}

fn builder(most_streams: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW as u32)
        // What a client may make us hold is bounded stream by stream: one window for all of them would let a stream that
        // nobody reads stop the others.
        .initial_connection_window_size(MAX_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(u32::try_from(most_streams).unwrap_or(u32::MAX))
        .max_header_list_size(FIELDS)
        .max_concurrent_reset_streams(REMEMBERED)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(FRAME_BUDGET);
    builder
}

type Begun = (Request<RecvStream>, SendResponse<Bytes>);

/// What comes in place of a call.
enum Turn {
    /// The connection is over.
    Over,
    /// It has to be ended, for this reason.
    End(Reason),
    /// The server goes away.
    Drain,
}

/// Takes calls until the connection is over, and returns true; or until it has to be ended, and returns false.
async fn take_calls<U: Unary>(
    connection: &mut Connection<Wire, Bytes>,
    state: &Rc<State>,
    shard: &Rc<Shard<U>>,
) -> bool {
    let mut drained = false;
    let mut look = std::pin::pin!(tokio::time::sleep(PREFACE_TIME));
    let mut unfinished = None;
    loop {
        let next = poll_fn(|cx| {
            // Looked at now and then, so that nobody else pays for a timer: what has begun, and is as it was at the last
            // look, is not going to end.
            while look.as_mut().poll(cx).is_ready() {
                if !state.begun() {
                    return Poll::Ready(Err(Turn::Over));
                }
                let now = state.watched.unfinished();
                if now.is_some() && now == unfinished {
                    return Poll::Ready(Err(Turn::End(Reason::ENHANCE_YOUR_CALM)));
                }
                unfinished = now;
                let next = look.deadline() + shard.settings.request_time;
                look.as_mut().reset(next);
            }
            poll_next(connection, state, shard, drained, cx)
        })
        .await;
        match next {
            Ok((request, respond)) => carry::begin(shard, state, request, respond),
            Err(Turn::Over) => return true,
            Err(Turn::Drain) => {
                drained = true;
                state.watched.leave();
                shard.tally.add(Told::Going);
                connection.graceful_shutdown();
            }
            Err(Turn::End(reason)) => {
                if !drained || reason != Reason::NO_ERROR {
                    shard.tally.goaway(reason);
                }
                connection.abrupt_shutdown(reason);
                return false;
            }
        }
    }
}

fn poll_next<U: Unary>(
    connection: &mut Connection<Wire, Bytes>,
    state: &State,
    shard: &Shard<U>,
    drained: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<Begun, Turn>> {
    if !drained && shard.ending.draining() {
        return Poll::Ready(Err(Turn::Drain));
    }
    let accepted = connection.poll_accept(cx);
    if accepted.is_pending() && state.watched.write(cx).is_err() {
        return Poll::Ready(Err(Turn::Over));
    }
    state.look_at_written();
    match accepted {
        // What came with it is looked at when all calls that have come were begun.
        Poll::Ready(Some(Ok((request, respond)))) => return Poll::Ready(Ok((request, respond))),
        Poll::Ready(Some(Err(error))) => {
            let _ = state.watched.write(cx); // as far as the socket takes it
            if let Some(reason) = error.reason().filter(|_| error.is_library()) {
                shard.tally.goaway(reason);
            }
            return Poll::Ready(Err(Turn::Over));
        }
        Poll::Ready(None) => return Poll::Ready(Err(Turn::Over)),
        Poll::Pending => state.look_at_unread(),
    }
    if let Some(reason) = state.watched.fault() {
        return Poll::Ready(Err(Turn::End(reason)));
    }
    let all_said = || state.calls() == 0 && !connection.has_streams() && !state.watched.is_blocked();
    if state.ended() || shard.ending.over() || (shard.ending.closing() && all_said()) {
        return Poll::Ready(Err(Turn::End(Reason::NO_ERROR)));
    }
    state.heed(cx);
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;
    use crate::memory::Purse;
    use crate::net::bridge::Bridge;
    use crate::net::events::Events;
    use crate::net::shard::Common;
    use crate::net::{Methods, Nothing, Settings};

    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

    /// Connects, says this and waits for so long; returns whether the server has hung up by then, and the client seen it.
    async fn hung_up_on(said: &[u8], after: Duration) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let bridge = Bridge::new(Arc::new(Events::new(Default::default()).unwrap()), 0, 1);
        let open = Arc::new(AtomicUsize::new(1));
        let settings = Settings::least();
        let shard = Rc::new(Shard::new(
            settings.clone(),
            Arc::new(Methods::new()),
            Nothing::default(),
            bridge,
            open,
            Common::default(),
        ));
        client.write_all(said).await.unwrap();
        let of_python = shard.bridge.join();
        let purse = Rc::new(Purse::new(Arc::default()));
        let state = State::new(peer.to_string().into(), &settings, Arc::default(), Rc::default(), of_python, purse);
        // As a call has it whose handler has not ended yet.
        let _held = state.clone();
        tokio::select! {
            () = serve(stream, state, shard) => {}
            () = sleep(after) => return false,
        }
        timeout(LAST_WORDS, client.read_to_end(&mut Vec::new())).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_in_time_is_hung_up_on() {
        let half = [PREFACE, &SETTINGS[..5]].concat();
        for said in [&b""[..], b"P", &PREFACE[..20], PREFACE, &half] {
            assert!(!hung_up_on(said, PREFACE_TIME - Duration::from_secs(1)).await);
            assert!(hung_up_on(said, PREFACE_TIME + LAST_WORDS + Duration::from_secs(1)).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_begun_may_be_idle() {
        assert!(!hung_up_on(&[PREFACE, SETTINGS].concat(), PREFACE_TIME * 100).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_or_a_frame_that_does_not_end_ends_the_connection() {
        let time = Settings::least().request_time;
        let block = &b"\0\0\x01\x01\0\0\0\0\x01\x82"[..];
        let halves = [block, &[block, b"\0\0\0\x09\0\0\0\0\x01"].concat(), &block[..5], b"\0\0\x08\x06\0\0\0\0\0ping"];
        for half in halves {
            let said = [PREFACE, SETTINGS, half].concat();
            assert!(!hung_up_on(&said, time).await);
            assert!(hung_up_on(&said, PREFACE_TIME + time + LAST_WORDS + Duration::from_secs(1)).await);
        }
    }
}
