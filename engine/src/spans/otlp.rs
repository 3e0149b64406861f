//! Spans as OTLP has them: `opentelemetry.proto.trace.v1.Span`, each as a field of a `ScopeSpans`.

use super::context::{Context, SpanId, TraceId};
use crate::oip::wire::{field_len, put_bytes, put_head, put_varint, varint_len};

/// The field of `ScopeSpans` that has the spans.
const SPANS: u8 = 2;
/// `SpanFlags`: what follows is known, and is so.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// `Status`, which is an error's.
const ERROR: [u8; 2] = [3 << 3, 2];

/// `Span.SpanKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Server = 2,
}

/// What all spans have.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub trace: &'a TraceId,
    pub span: &'a SpanId,
    /// `tracestate`.
    pub state: &'a str,
    pub parent: Option<&'a SpanId>,
    /// Whether the parent is another process's.
    pub remote: bool,
    pub name: &'a str,
    pub kind: Kind,
    /// In nanoseconds since the epoch.
    pub started: u64,
    pub ended: u64,
    /// What to say of an error, which may be nothing; None for a span that went well.
    pub error: Option<&'a str>,
}

/// A span being written.
pub struct Writer {
    body: Vec<u8>,
}

impl Writer {
    /// Begins a span.
    pub fn new(head: &Head<'_>) -> Self {
        let mut body = Vec::with_capacity(512);
        put_bytes(&mut body, 1, head.trace);
        put_bytes(&mut body, 2, head.span);
        if !head.state.is_empty() {
            put_bytes(&mut body, 3, head.state.as_bytes());
        }
        if let Some(parent) = head.parent {
            put_bytes(&mut body, 4, parent);
        }
        put_bytes(&mut body, 5, head.name.as_bytes());
        body.extend_from_slice(&[6 << 3, head.kind as u8]);
        put_fixed64(&mut body, 7, head.started);
        put_fixed64(&mut body, 8, head.ended);
        let mut status = Vec::new();
        if let Some(text) = head.error {
            if !text.is_empty() {
                put_bytes(&mut status, 2, text.as_bytes());
            }
            status.extend_from_slice(&ERROR);
        }
        put_bytes(&mut body, 15, &status);
        put_varint(&mut body, 16 << 3 | 5);
        body.extend_from_slice(&flags(head.remote).to_le_bytes());
        Self { body }
    }

    /// Adds an attribute that is a text.
    pub fn text(&mut self, key: &str, text: &str) {
        let value = field_len(text.len());
        self.attribute(key, value);
        put_bytes(&mut self.body, 1, text.as_bytes()); // in a oneof, an empty text is written too
    }

    /// Adds an attribute that is a number.
    pub fn number(&mut self, key: &str, number: i64) {
        self.attribute(key, 1 + varint_len(number as u64));
        self.body.push(3 << 3);
        put_varint(&mut self.body, number as u64);
    }

    fn attribute(&mut self, key: &str, value: usize) {
        put_head(&mut self.body, 9, field_len(key.len()) + field_len(value));
        put_bytes(&mut self.body, 1, key.as_bytes());
        put_head(&mut self.body, 2, value);
    }

    /// Adds a link to a span of this process's.
    pub fn link(&mut self, to: &Context) {
        put_head(&mut self.body, 13, field_len(to.trace.len()) + field_len(to.span.len()) + 5);
        put_bytes(&mut self.body, 1, &to.trace);
        put_bytes(&mut self.body, 2, &to.span);
        self.body.push(6 << 3 | 5);
        self.body.extend_from_slice(&flags(false).to_le_bytes());
    }

    /// Appends the span.
    pub fn end(self, into: &mut Vec<u8>) {
        put_bytes(into, SPANS, &self.body);
    }
}

fn flags(remote: bool) -> u32 {
    if remote { HAS_IS_REMOTE | IS_REMOTE } else { HAS_IS_REMOTE }
}

fn put_fixed64(into: &mut Vec<u8>, number: u8, value: u64) {
    into.push(number << 3 | 1);
    into.extend_from_slice(&value.to_le_bytes());
}
