//! `Served`: how a request was routed, and which version answered it.

use crate::decide::{Decision, Reason};
use crate::oip::wire::{field_len, put_bytes, put_head, put_varint};

/// What says who answered, written: the same for every request that is decided alike.
#[derive(Debug)]
pub struct Served {
    before: Vec<u8>,
    /// What comes after the request's id.
    after: Vec<u8>,
}

impl Served {
    /// Returns what is said of `decision`.
    pub fn of(decision: &Decision) -> Self {
        let mut before = Vec::new();
        put_text(&mut before, 1, &decision.route);
        put_text(&mut before, 2, &decision.target);
        put_text(&mut before, 3, &decision.model);
        put_number(&mut before, 4, decision.version as u64);
        put_number(&mut before, 5, number_of(decision.reason));
        put_text(&mut before, 6, &decision.assigned);
        let mut after = Vec::new();
        if let Some(propensity) = decision.propensity {
            after.push(8 << 3 | 1);
            after.extend_from_slice(&propensity.to_le_bytes());
        }
        Self { before, after }
    }

    /// Returns how many bytes the field takes.
    pub fn field_len(&self, request_id: &str) -> usize {
        field_len(self.len(request_id))
    }

    /// As `field_len`, of a request whose id has so many bytes.
    pub fn field_len_of(&self, request_id: usize) -> usize {
        let id = if request_id == 0 { 0 } else { field_len(request_id) };
        field_len(self.before.len() + id + self.after.len())
    }

    /// Appends the field, whose number is under 16.
    pub fn put(&self, into: &mut Vec<u8>, number: u8, request_id: &str) {
        put_head(into, number, self.len(request_id));
        into.extend_from_slice(&self.before);
        put_text(into, 7, request_id);
        into.extend_from_slice(&self.after);
    }

    fn len(&self, request_id: &str) -> usize {
        self.before.len() + text_len(request_id) + self.after.len()
    }
}

/// Returns a reason's number in `served.proto`.
fn number_of(reason: Reason) -> u64 {
    match reason {
        Reason::Split => 1,
        Reason::Override => 2,
        Reason::Pinned => 3,
        Reason::Unsticky => 4,
        Reason::Fallback => 5,
        Reason::Named => 6,
        Reason::Holdout => 7,
        Reason::Unenrolled => 8,
    }
}

/// Returns how many bytes a text's field takes.
pub fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { field_len(text.len()) }
}

/// Returns how many bytes a float's field takes.
pub fn float_len(value: f32) -> usize {
    if value.to_bits() == 0 { 0 } else { 1 + size_of::<f32>() }
}

/// Appends a text, if there is one: proto3 leaves empty ones out.
pub fn put_text(into: &mut Vec<u8>, number: u8, text: &str) {
    if !text.is_empty() {
        put_bytes(into, number, text.as_bytes());
    }
}

/// Appends a number of which proto3 leaves out 0.
pub fn put_number(into: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        into.push(number << 3);
        put_varint(into, value);
    }
}

/// Appends a float, of which proto3 leaves out 0, but not -0.
pub fn put_float(into: &mut Vec<u8>, number: u8, value: f32) {
    if value.to_bits() != 0 {
        into.push(number << 3 | 5);
        into.extend_from_slice(&value.to_le_bytes());
    }
}
