//! Errors as gRPC statuses: the twin of `transport/status.py`, to the byte.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::{Error, Kind, MEMORY_FULL, MEMORY_RETRY};
use crate::net::quota::Full;
use crate::net::tally::Told;

const DOMAIN: &str = "turnout";
const DETAILS_KEY: &str = "grpc-status-details-bin";
const PUSHBACK_KEY: &str = "grpc-retry-pushback-ms";
/// Bytes of UTF-8. A status travels, twice, in headers of 8 KiB in all, where each byte may take three.
const LONGEST_MESSAGE: usize = 1024;
/// Bytes of UTF-8.
const LONGEST_DETAIL: usize = 256;

pub const OK: u8 = 0;
pub const DEADLINE_EXCEEDED: u8 = 4;
pub const RESOURCE_EXHAUSTED: u8 = 8;
pub const UNIMPLEMENTED: u8 = 12;
pub const INTERNAL: u8 = 13;
pub const UNAVAILABLE: u8 = 14;

/// A trailer's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Binary(Vec<u8>),
}

/// What goes over the wire for an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u8,
    pub message: Cow<'static, str>,
    pub trailers: Vec<(Cow<'static, str>, Value)>,
    /// What is counted where the transport says it.
    pub told: Option<Told>,
}

impl Status {
    /// Returns a status without trailers.
    pub fn new(code: u8, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), trailers: Vec::new(), told: None }
    }

    fn telling(self, told: Told) -> Self {
        Self { told: Some(told), ..self }
    }
}

pub fn unknown_method() -> Status {
    Status::new(UNIMPLEMENTED, "Method not found!")
}

pub fn unknown_encoding() -> Status {
    let mut status = Status::new(UNIMPLEMENTED, "unknown grpc-encoding");
    status.trailers.push(("grpc-accept-encoding".into(), Value::Text("identity,deflate,gzip".into())));
    status
}

pub fn too_many_fields() -> Status {
    Status::new(RESOURCE_EXHAUSTED, "the metadata is larger than allowed").telling(Told::Fields)
}

pub fn bad_timeout() -> Status {
    Status::new(INTERNAL, "malformed grpc-timeout")
}

pub fn expired() -> Status {
    Status::new(DEADLINE_EXCEEDED, "Deadline Exceeded")
}

pub fn going() -> Status {
    Status::new(UNAVAILABLE, "the server is shutting down")
}

pub fn crowded() -> Status {
    Status::new(RESOURCE_EXHAUSTED, "answers wait to be read; take them before asking for more").telling(Told::Unread)
}

pub fn not_one_message() -> Status {
    Status::new(UNIMPLEMENTED, "the method takes exactly one message")
}

pub fn truncated() -> Status {
    Status::new(INTERNAL, "the request ends within a message")
}

/// For what was not raised on purpose: its text may say anything, so none of it goes out.
pub fn internal() -> Status {
    Status::new(INTERNAL, "internal error; the server's log has the details")
}

/// The words are those of gRPC's own servers, by which clients tell it from a lack of room. There is no use in trying it
/// again.
pub fn too_large(size: usize, limit: usize) -> Status {
    let mut status = Status::new(RESOURCE_EXHAUSTED, format!("Received message larger than max ({size} vs. {limit})"));
    status.trailers.push((PUSHBACK_KEY.into(), Value::Text("-1".into())));
    status.telling(Told::TooLarge)
}

/// Of a compressed message, whose size is not known: `too_large` for what was sent.
pub fn too_dense(ratio: usize) -> Status {
    let text = format!("the message is compressed more than {ratio}:1; limits.max_compression_ratio is the bound");
    let mut status = Status::new(RESOURCE_EXHAUSTED, text);
    status.trailers.push((PUSHBACK_KEY.into(), Value::Text("-1".into())));
    status.telling(Told::TooDense)
}

/// Of a message with more values than may be in one, as `error` says.
pub fn too_many_values(error: &Error) -> Status {
    status_of(error).telling(Told::TooManyValues)
}

/// As Python's gate says it, for calls that it would not hear of for long.
pub fn too_many_calls() -> Status {
    too_many("calls wait to be looked at already, some of this connection's too".into())
}

/// Likewise, of a method that has as many calls as it may have.
pub fn full(Full { most }: Full) -> Status {
    too_many(format!("{most} calls are in progress already"))
}

fn too_many(text: String) -> Status {
    let error = Error::new(Kind::Overloaded, "TOO_MANY_CALLS", text);
    let retry_after = Some(Duration::from_millis(500));
    status_of(&Error { retry_after, ..error }).telling(Told::Unheard)
}

pub fn unfinished() -> Status {
    Status::new(DEADLINE_EXCEEDED, "the request was not finished in time").telling(Told::Unfinished)
}

pub fn silent() -> Status {
    Status::new(UNAVAILABLE, "the stream was silent for too long").telling(Told::Silent)
}

/// Of what there is no memory for.
pub fn memory_full() -> Status {
    let error = Error {
        retry_after: Some(MEMORY_RETRY),
        ..Error::new(Kind::Overloaded, MEMORY_FULL, "there is no memory for it now; limits.memory_bytes is the bound")
    };
    status_of(&error).telling(Told::Memory)
}

/// Returns the code of a kind of error.
pub fn code_of(kind: Kind) -> u8 {
    match kind {
        Kind::Invalid => 3,
        Kind::NotFound => 5,
        Kind::Conflict => 10,
        Kind::Precondition => 9,
        Kind::Unavailable => UNAVAILABLE,
        Kind::Overloaded => RESOURCE_EXHAUSTED,
        Kind::Expired => DEADLINE_EXCEEDED,
        Kind::Cancelled => 1,
        Kind::Unsupported => UNIMPLEMENTED,
        Kind::Unauthenticated => 16,
        Kind::Forbidden => 7,
        Kind::Internal => INTERNAL,
    }
}

/// Returns the status that tells a caller about `error`; tests/statuses.rs holds it to Python's.
pub fn status_of(error: &Error) -> Status {
    let code = code_of(error.kind);
    let message = shortened(&error.message, LONGEST_MESSAGE);
    let mut trailers = Vec::new();
    // google.rpc.Status: code 1, message 2, details 3.
    let mut rich = Vec::with_capacity(128 + message.len());
    number(&mut rich, 1, u64::from(code));
    bytes(&mut rich, 2, message.as_bytes());
    any(&mut rich, "type.googleapis.com/google.rpc.ErrorInfo", &error_info(error));
    if let Some(delay) = error.retry_after {
        // Duration: seconds 1, nanos 2. RetryInfo: retry_delay 1.
        let (mut duration, mut retry_info) = (Vec::new(), Vec::new());
        number(&mut duration, 1, delay.as_secs());
        number(&mut duration, 2, u64::from(delay.subsec_nanos()));
        tagged(&mut retry_info, 1, &duration);
        any(&mut rich, "type.googleapis.com/google.rpc.RetryInfo", &retry_info);
        let milliseconds = (delay.as_secs_f64() * 1000.0).ceil() as u64;
        trailers.push((PUSHBACK_KEY.into(), Value::Text(milliseconds.to_string())));
    }
    trailers.push((DETAILS_KEY.into(), Value::Binary(rich)));
    Status { code, message: message.into(), trailers, told: None }
}

/// google.rpc.ErrorInfo: reason 1, domain 2, metadata 3.
fn error_info(error: &Error) -> Vec<u8> {
    let mut info = Vec::new();
    bytes(&mut info, 1, error.reason.as_bytes());
    bytes(&mut info, 2, DOMAIN.as_bytes());
    for (key, value) in &error.details {
        let mut entry = Vec::new();
        tagged(&mut entry, 1, key.as_bytes());
        tagged(&mut entry, 2, shortened(value, LONGEST_DETAIL).as_bytes());
        tagged(&mut info, 3, &entry);
    }
    info
}

/// google.protobuf.Any: type_url 1, value 2; as field 3.
fn any(out: &mut Vec<u8>, type_url: &str, value: &[u8]) {
    let mut packed = Vec::with_capacity(value.len() + type_url.len() + 8);
    bytes(&mut packed, 1, type_url.as_bytes());
    bytes(&mut packed, 2, value);
    tagged(out, 3, &packed);
}

/// Appends a field of a length and that many bytes; an empty one is left out.
fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    if !value.is_empty() {
        tagged(out, field, value);
    }
}

/// Appends a field of a length and that many bytes, whether empty or not.
fn tagged(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a field that is a number; 0 is left out.
fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        out.push(field << 3);
        varint(out, value);
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Returns `text`, or its beginning and three dots, in at most `limit` bytes.
fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit - 3;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_where_a_letter_ends() {
        assert_eq!(shortened(&"x".repeat(1024), 1024).len(), 1024);
        assert_eq!(shortened(&"é".repeat(600), 1024), format!("{}...", "é".repeat(510)));
    }
}
