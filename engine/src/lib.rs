//! Turnout's data plane. What Python sees of it is in `contract` and written down in `turnout_engine.pyi`.
//!
//! Reactors, one thread each, own connections and run what is cheap; nothing on them ever waits for Python's lock.
#![deny(unsafe_code)]

pub mod batch;
mod bell;
pub mod call;
mod contract;
pub mod cores;
pub mod decide;
pub mod error;
pub mod infer;
pub mod journal;
pub mod mailbox;
pub mod memory;
pub mod metadata;
pub mod net;
pub mod oip;
#[allow(unsafe_code)]
pub mod ort;
pub mod spans;
pub mod tensor;
pub mod turnout_v1;

use pyo3::prelude::*;

/// Not the C library's: to give memory back to the system that has to lock the heaps of all threads for long (`malloc_trim`).
/// Fuzz targets have one of their own, which counts.
#[cfg(not(feature = "fuzzing"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule]
fn turnout_engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    batch::python::register(module)?;
    decide::python::register(module)?;
    oip::python::register(module)?;
    turnout_v1::python::register(module)?;
    ort::python::register(module)?;
    infer::python::register(module)?;
    journal::python::register(module)?;
    module.add_class::<contract::Engine>()?;
    module.add_function(wrap_pyfunction!(contract::count_values, module)?)?;
    Ok(())
}
