//! Records as a journal keeps them: in columns, from the end of a request to Arrow and to a file, without one value each.

mod arrow;
mod exposures;
mod foreign;
mod page;
pub mod parquet;
pub mod python;
mod units;

pub use arrow::encode;
pub use page::{Page, Row};
