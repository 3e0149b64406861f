//! Records as a journal keeps them: in columns, from the end of a request to Arrow, without one value each.

mod arrow;
mod page;
pub mod python;

pub use page::{Page, Row};
