//! Errors as values, with a reason that stays the same, and no transport in them: the twin of `vocabulary/errors.py`.

use std::time::Duration;

/// What sort of thing went wrong, as `vocabulary.errors.Kind` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Invalid,
    NotFound,
    Conflict,
    Precondition,
    Unavailable,
    Overloaded,
    Expired,
    Cancelled,
    Unsupported,
    Unauthenticated,
    Forbidden,
    Internal,
}

/// What kept a call from being answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: Kind,
    /// Stable, in UPPER_SNAKE; `google.rpc.ErrorInfo.reason`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `google.rpc.ErrorInfo.metadata`, in this order.
    pub details: Vec<(&'static str, String)>,
    /// When a retry makes sense.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// Returns an error without details.
    pub fn new(kind: Kind, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into(), details: Vec::new(), retry_after: None }
    }
}
