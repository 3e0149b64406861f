//! `ModelInferResponse`, written at once: the twin of `codec.encode` for raw answers.
//!
//! Maps are written in the order of their keys, as Python's protobuf does where it is asked to be deterministic.

use bytes::Bytes;

use super::dtypes::name_of;
use super::texts;
use super::wire::{field_len, put_bytes, put_head, put_varint, varint_len};
use crate::decide::Decision;
use crate::tensor::{DType, Elements};

/// Protobuf neither writes nor reads longer messages.
pub const MESSAGE_LIMIT: usize = i32::MAX as usize;

/// What says who answered, written: the same for every request that is decided alike.
///
/// The request's own id comes between the first two pieces, our id for it between the last two.
#[derive(Debug)]
pub struct Head {
    model: Vec<u8>,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// One output.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    pub name: &'a str,
    pub dtype: DType,
    pub dims: &'a [i64],
    pub data: Elements<'a>,
}

const REQUEST_ID: &str = "turnout_request_id";

impl Head {
    /// Returns what answers by `decision` begin with.
    pub fn of(decision: &Decision) -> Self {
        let mut model = Vec::new();
        put_text(&mut model, 1, &decision.model);
        put_text(&mut model, 2, &decision.version.to_string());
        let mut before = Vec::new();
        put_text_parameter(&mut before, "turnout_assigned_target", &decision.assigned);
        if let Some(propensity) = decision.propensity {
            let mut value = vec![4 << 3 | 1];
            value.extend_from_slice(&propensity.to_le_bytes());
            put_parameter(&mut before, "turnout_propensity", &value);
        }
        put_text_parameter(&mut before, "turnout_reason", decision.reason.name());
        let mut after = Vec::new();
        put_text_parameter(&mut after, "turnout_route", &decision.route);
        put_text_parameter(&mut after, "turnout_target", &decision.target);
        Self { model, before, after }
    }
}

/// Says whether protobuf can carry an answer whose request our records call by so many bytes.
pub fn fits(head: &Head, id: &str, request_id: usize, outputs: &[Output<'_>]) -> bool {
    length_of(head, id, request_id, outputs).is_some()
}

fn length_of(head: &Head, id: &str, request_id: usize, outputs: &[Output<'_>]) -> Option<usize> {
    let id_entry = field_len(REQUEST_ID.len()) + field_len(field_len(request_id));
    let mut length = head.model.len() + text_len(id) + head.before.len() + field_len(id_entry) + head.after.len();
    for output in outputs {
        length = length.checked_add(field_len(tensor_len(output)))?.checked_add(field_len(raw_len(output.data)))?;
    }
    (length <= MESSAGE_LIMIT).then_some(length)
}

/// Returns an answer's bytes; None where there are more than protobuf can carry.
///
/// `id` is the request's own, `request_id` the one in our records.
pub fn encode(head: &Head, id: &str, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
    let length = length_of(head, id, request_id.len(), outputs)?;
    let mut message = Vec::with_capacity(length);
    put(&mut message, head, id, &[], request_id, outputs);
    debug_assert_eq!(message.len(), length);
    Some(Bytes::from(message))
}

/// Returns an answer as a stream has it, a `ModelStreamInferResponse`; else as `encode`. `first` are entries of its
/// parameters, written, that come before all others.
pub fn encode_streamed(head: &Head, id: &str, first: &[u8], request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
    let length = length_of(head, id, request_id.len(), outputs)? + first.len();
    if field_len(length) > MESSAGE_LIMIT {
        return None;
    }
    let mut message = Vec::with_capacity(field_len(length));
    put_head(&mut message, 2, length);
    put(&mut message, head, id, first, request_id, outputs);
    debug_assert_eq!(message.len(), field_len(length));
    Some(Bytes::from(message))
}

fn put(message: &mut Vec<u8>, head: &Head, id: &str, first: &[u8], request_id: &str, outputs: &[Output<'_>]) {
    let id_value = field_len(request_id.len());
    let id_entry = field_len(REQUEST_ID.len()) + field_len(id_value);
    message.extend_from_slice(&head.model);
    put_text(message, 3, id);
    message.extend_from_slice(first);
    message.extend_from_slice(&head.before);
    put_head(message, 4, id_entry);
    put_bytes(message, 1, REQUEST_ID.as_bytes());
    put_head(message, 2, id_value);
    put_bytes(message, 3, request_id.as_bytes());
    message.extend_from_slice(&head.after);
    for output in outputs {
        put_head(message, 5, tensor_len(output));
        put_text(message, 1, output.name);
        put_text(message, 2, name_of(output.dtype));
        if !output.dims.is_empty() {
            put_head(message, 3, dims_len(output.dims));
            for &size in output.dims {
                put_varint(message, size as u64);
            }
        }
    }
    for output in outputs {
        put_head(message, 6, raw_len(output.data));
        match output.data {
            Elements::Raw(raw) => message.extend_from_slice(raw),
            Elements::Texts(texts) => texts::encode(message, texts),
        }
    }
}

/// Appends a text, if there is one: proto3 leaves empty ones out.
pub fn put_text(into: &mut Vec<u8>, number: u8, text: &str) {
    if !text.is_empty() {
        put_bytes(into, number, text.as_bytes());
    }
}

fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { field_len(text.len()) }
}

fn put_text_parameter(into: &mut Vec<u8>, key: &str, text: &str) {
    let mut value = Vec::new();
    put_bytes(&mut value, 3, text.as_bytes()); // in a oneof, an empty text is written too
    put_parameter(into, key, &value);
}

/// Appends an entry of the map of parameters; `value` is a whole `InferParameter`.
pub fn put_parameter(into: &mut Vec<u8>, key: &str, value: &[u8]) {
    put_head(into, 4, field_len(key.len()) + field_len(value.len()));
    put_bytes(into, 1, key.as_bytes());
    put_bytes(into, 2, value);
}

fn raw_len(elements: Elements<'_>) -> usize {
    match elements {
        Elements::Raw(raw) => raw.len(),
        Elements::Texts(texts) => texts::encoded_len(texts),
    }
}

fn tensor_len(output: &Output<'_>) -> usize {
    let dims = if output.dims.is_empty() { 0 } else { field_len(dims_len(output.dims)) };
    text_len(output.name) + text_len(name_of(output.dtype)) + dims
}

fn dims_len(dims: &[i64]) -> usize {
    dims.iter().map(|&size| varint_len(size as u64)).sum()
}
