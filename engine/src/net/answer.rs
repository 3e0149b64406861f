//! What a server says to a call: headers, messages as the client's windows allow, and a status at the end.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::net::cutter::{framed, prefix};
use crate::net::head::Refusal;
use crate::net::status::{Status, Value};

/// A framed answer of so few bytes is left with h2, whatever the client's windows are: it takes no more than its stream does.
const SMALL: usize = 512;
/// Messages of so many bytes are not copied to stand behind their prefix.
const LARGE: usize = 16 * 1024;

/// The client has gone, or only this call of its.
#[derive(Debug, PartialEq)]
pub struct Gone;

/// The server's side of a call.
pub struct Answer {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    headers_first: bool,
}

impl Answer {
    /// Begins with nothing said. `headers_first`: a status never stands in the headers, see `Settings`.
    pub fn new(respond: SendResponse<Bytes>, headers_first: bool) -> Self {
        Self { respond, stream: None, headers_first }
    }

    /// Is ready when the client has reset the call, or gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| ())
    }

    /// Says whether it has done so by now.
    pub fn is_gone(&mut self) -> bool {
        self.poll_gone(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Sends `message`, which has no prefix, and OK.
    pub async fn answer(&mut self, message: Bytes) -> Result<(), Gone> {
        if message.len() >= LARGE {
            self.send_message(message).await?;
            return self.ok();
        }
        self.answer_framed(framed(&message)).await
    }

    /// Sends `message`, which has no prefix, as one of several.
    pub async fn send_message(&mut self, message: Bytes) -> Result<(), Gone> {
        if message.len() < LARGE {
            return self.send(framed(&message)).await;
        }
        self.send(Bytes::copy_from_slice(&prefix(message.len()))).await?;
        self.send(message).await
    }

    /// Sends a message that stands behind its prefix, and OK.
    pub async fn answer_framed(&mut self, data: Bytes) -> Result<(), Gone> {
        if data.len() <= SMALL {
            self.open()?.send_data(data, false).map_err(|_| Gone)?;
        } else {
            self.send(data).await?;
        }
        self.ok()
    }

    /// Sends a piece as far as the client's windows and our buffers have room, and waits for room for the rest.
    pub async fn send(&mut self, mut data: Bytes) -> Result<(), Gone> {
        let stream = self.open()?;
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let mut room = stream.capacity();
            if room == 0 {
                match poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(more)) => room = more,
                    _ => return Err(Gone),
                }
            }
            let some = data.split_to(room.min(data.len()));
            if !some.is_empty() {
                stream.send_data(some, false).map_err(|_| Gone)?;
            }
        }
        Ok(())
    }

    /// Ends the call well.
    pub fn ok(&mut self) -> Result<(), Gone> {
        const OK: HeaderValue = HeaderValue::from_static("0");
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(GRPC_STATUS, OK);
        self.end(trailers)
    }

    /// Ends the call with a status; before any answer, headers and trailers are one ("Trailers-Only"), unless headers are
    /// to come first.
    pub fn status(&mut self, status: &Status) -> Result<(), Gone> {
        self.end(trailers_of(status))
    }

    /// Ends a call whose head says how.
    pub fn refuse(&mut self, refusal: &Refusal) -> Result<(), Gone> {
        let mut response = Response::new(());
        match refusal {
            Refusal::Status(status) => return self.status(status),
            Refusal::NotGrpc => *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::NotPost => {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
        }
        self.respond.send_response(response, true).map(|_| ()).map_err(|_| Gone)
    }

    /// Resets the call.
    pub fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    fn end(&mut self, trailers: HeaderMap) -> Result<(), Gone> {
        if self.headers_first {
            self.open()?;
        }
        match &mut self.stream {
            Some(stream) => stream.send_trailers(trailers).map_err(|_| Gone),
            None => {
                let mut response = headers();
                response.headers_mut().extend(trailers);
                self.respond.send_response(response, true).map(|_| ()).map_err(|_| Gone)
            }
        }
    }

    /// Returns the stream, with the headers sent.
    fn open(&mut self) -> Result<&mut SendStream<Bytes>, Gone> {
        if self.stream.is_none() {
            self.stream = Some(self.respond.send_response(headers(), false).map_err(|_| Gone)?);
        }
        self.stream.as_mut().ok_or(Gone)
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

fn headers() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_GRPC);
    response
}

/// Returns the trailers that tell of `status`. What no field can have in it is left out.
fn trailers_of(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2 + status.trailers.len());
    trailers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status.code)));
    if !status.message.is_empty()
        && let Ok(message) = HeaderValue::from_str(&percent_encoded(&status.message))
    {
        trailers.insert(GRPC_MESSAGE, message);
    }
    for (name, value) in &status.trailers {
        let value = match value {
            Value::Text(text) => HeaderValue::from_bytes(&latin1(text)),
            Value::Binary(raw) => HeaderValue::from_str(&base64(raw)),
        };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
            trailers.append(name, value);
        }
    }
    trailers
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}

/// Returns a message as gRPC has it in fields: printable ASCII but for `%`, and the rest in hexadecimal.
fn percent_encoded(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// Returns base64 without padding.
fn base64(raw: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(raw.len().div_ceil(3) * 4);
    for chunk in raw.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=chunk.len() {
            out.push(char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_no_padding() {
        let all: [(&[u8], &str); 6] =
            [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (&[0, 255, 254], "AP/+")];
        for (raw, text) in all {
            assert_eq!(base64(raw), text);
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("wörd 100%\n~"), "w%C3%B6rd 100%25%0A~");
    }

    #[test]
    fn trailers_are_the_status_its_message_and_its_own() {
        let mut status = Status::new(10, "no");
        status.trailers = vec![
            ("x-text".into(), Value::Text("t\u{e9}".into())),
            ("x-bin".into(), Value::Binary(vec![0, 1, 2, 3])),
            ("x-bad".into(), Value::Text("a\nb".into())),
        ];
        let trailers = trailers_of(&status);
        let all: Vec<(&str, &[u8])> = trailers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 4] =
            [("grpc-status", b"10"), ("grpc-message", b"no"), ("x-text", b"t\xe9"), ("x-bin", b"AAECAw")];
        assert_eq!(all, expected);
    }
}
