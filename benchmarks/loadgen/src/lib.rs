//! A load generator for `inference.GRPCInferenceService/ModelInfer`, small enough not to be what is measured.
//!
//! A generator in Python costs more per call than the servers that it is to measure. This one sends messages that were
//! made beforehand, gives each call a trace and a unit of its own as real callers do, and looks at every answer.

pub mod calls;
pub mod connection;
pub mod cpu;
pub mod histogram;
pub mod load;
pub mod messages;
pub mod options;
pub mod random;
pub mod report;
pub mod tally;
