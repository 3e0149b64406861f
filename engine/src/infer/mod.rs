//! Inferring without Python: decide, prepare, wait, run, answer, record.
//!
//! What it cannot do it declines before it has counted anything, and Python does it.

pub mod audience;
pub mod copies;
pub mod driver;
pub mod due;
pub mod flight;
pub mod handover;
pub mod outlasting;
pub mod plane;
pub mod python;
pub mod question;
pub mod record;
pub mod run;
pub mod servable;
pub mod shard;
pub mod sole;
pub mod tally;
pub mod threads;
pub mod watch;

pub use plane::Plane;
pub use shard::Shard;
