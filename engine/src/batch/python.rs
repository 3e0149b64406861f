//! The room that queues share, as Python sees it.

use std::sync::Arc;

use pyo3::prelude::*;

use super::admission::{self, Bounds};

/// Adds what is in this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Room>()
}

/// See `turnout_engine.pyi`.
#[pyclass(frozen, module = "turnout_engine")]
pub struct Room {
    pub inner: Arc<admission::Room>,
}

#[pymethods]
impl Room {
    #[new]
    fn new(rows: u64, nbytes: u64) -> Self {
        Self { inner: Arc::new(admission::Room::new(Bounds { rows, nbytes })) }
    }

    #[getter]
    fn count(&self) -> u64 {
        self.inner.count()
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.inner.rows()
    }

    fn fits(&self, rows: u64, nbytes: u64) -> bool {
        self.inner.fits(rows, nbytes)
    }

    fn reserve(&self, rows: u64, nbytes: u64) -> bool {
        self.inner.reserve(rows, nbytes)
    }

    fn take(&self, rows: u64, nbytes: u64) {
        self.inner.take(rows, nbytes);
    }

    fn give_back(&self, rows: u64, nbytes: u64) {
        self.inner.give_back(rows, nbytes);
    }
}
