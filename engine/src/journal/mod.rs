//! Records as a journal keeps them: in columns, from the end of a request to Arrow, without one value each.

mod arrow;
mod page;
pub mod python;
mod units;

pub use arrow::encode;
pub use page::{Page, Row};
