//! Who answers: the route table as a snapshot, and the split. The twin of `routing/`.

pub mod ask;
pub mod decision;
pub mod document;
pub mod enrolment;
pub mod python;
pub mod snapshot;
pub mod split;

pub use ask::Ask;
pub use decision::{Decision, Enrolment, Reason, Task};
pub use snapshot::{Snapshot, decide};
