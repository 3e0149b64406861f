//! The typed services' messages, straight from and to bytes: the twin of `rpc/turnout_v1` and of `tasks`.
//!
//! As in `oip`, nothing here says what is wrong with a request: what Python would refuse is declined.

pub mod features;
pub mod half;
pub mod layout;
pub mod numbers;
pub mod pack;
pub mod python;
pub mod ranking;
pub mod selector;
pub mod served;

pub use layout::Layout;
pub use ranking::RankRequest;
pub use served::Served;
