//! The Open Inference Protocol's messages, straight from and to bytes. The twin of `rpc/open_inference/codec.py`.
//!
//! Nothing here says what is wrong with a request. What Python would refuse, reads in another way or does more with is
//! declined, and Python reads it again.

pub mod contents;
pub mod dtypes;
pub mod prepare;
pub mod python;
pub mod request;
pub mod response;
pub mod signature;
pub mod stream;
#[cfg(test)]
pub mod testing;
pub mod texts;
pub mod wire;

pub use prepare::{Prepared, prepare};
pub use request::InferRequest;
pub use response::{Head, Output, encode, fits};
pub use signature::Signature;
pub use stream::StreamRequest;
