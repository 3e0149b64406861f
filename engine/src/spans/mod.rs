//! Traces: which calls are recorded, and their spans, the same as `gateway/spans.py` makes them.
//!
//! The control plane configures it and sends what it takes here: it has the SDK, with resource, sampler and exporter.

mod buffer;
mod context;
mod ids;
mod otlp;
mod sampler;
mod span;

pub use buffer::Batch;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use context::state as trace_state;
pub use context::{Context, Parent, SpanId, TraceId, trace_id};
pub use sampler::Settings;
pub use span::{End, Span, Spans, Start};
