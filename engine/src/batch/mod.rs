//! Natural batching: while one batch runs, requests wait; when it ends, those that go together are the next one.
//!
//! The twin of `scheduling/`: state machines with the clock handed in, in nanoseconds. Whoever drives them says when
//! something ends, and whether a thread is free.

pub mod admission;
pub mod batcher;
pub mod cost;
pub mod python;
pub mod shares;
pub mod waiting;

/// Nanoseconds on the plane's clock, which starts when the process does.
pub type Ns = u64;
