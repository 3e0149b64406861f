//! ONNX Runtime's C API. The one place with `unsafe` in it.
//!
//! What leaves this room is safe: a `Runtime` for the process, a `Session` a version, `Output`s that own their memory.

mod allocator;
mod element;
mod few;
mod handle;
mod mapping;
mod meter;
mod output;
mod pages;
pub mod python;
mod reaper;
mod run;
mod runtime;
mod session;
mod view;

pub use crate::tensor::Elements;
pub use element::item_size;
pub use mapping::keep;
pub use meter::Taken;
pub use output::Output;
pub use pages::avoid_huge;
pub use reaper::{free_later, trim, trim_later};
pub use run::{ALIGNMENT, Input, RunError, RunErrorKind, RunOptions};
pub use runtime::{Failure, Runtime};
pub use session::{Argument, Optimization, Options, Session, Size};
