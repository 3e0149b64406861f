//! The typed services' messages, straight from and to bytes: the twin of `rpc/turnout_v1` and of `tasks`.
//!
//! As in `oip`, nothing here says what is wrong with a request: what Python would refuse is declined.

pub mod features;
pub mod half;
pub mod inference;
pub mod layout;
pub mod numbers;
pub mod outputs;
pub mod pack;
pub mod pricing;
pub mod python;
pub mod ranking;
pub mod recommendation;
pub mod selector;
pub mod served;
pub mod tensors;

pub use inference::AnyRequest;
pub use layout::Layout;
pub use pricing::PredictPriceRequest;
pub use ranking::RankRequest;
pub use recommendation::RecommendRequest;
pub use served::Served;

use bytes::Bytes;

use crate::infer::question::Question;
use crate::oip::Output;

/// A typed request.
pub trait Typed: Question {
    /// Writes the answer; None where there are more bytes than protobuf can carry.
    fn encode(&self, served: &Served, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes>;
}
