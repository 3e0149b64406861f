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

impl Kind {
    /// Returns the name of gRPC's status code for it; `net::status` has the numbers.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Invalid => "INVALID_ARGUMENT",
            Kind::NotFound => "NOT_FOUND",
            Kind::Conflict => "ABORTED",
            Kind::Precondition => "FAILED_PRECONDITION",
            Kind::Unavailable => "UNAVAILABLE",
            Kind::Overloaded => "RESOURCE_EXHAUSTED",
            Kind::Expired => "DEADLINE_EXCEEDED",
            Kind::Cancelled => "CANCELLED",
            Kind::Unsupported => "UNIMPLEMENTED",
            Kind::Unauthenticated => "UNAUTHENTICATED",
            Kind::Forbidden => "PERMISSION_DENIED",
            Kind::Internal => "INTERNAL",
        }
    }
}

/// The reason of what there is no memory for, and when it is worth asking again: what others hold is given back soon.
pub const MEMORY_FULL: &str = "MEMORY_FULL";
pub const MEMORY_RETRY: Duration = Duration::from_millis(250);

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
