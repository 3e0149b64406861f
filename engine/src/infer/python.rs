//! The data plane as Python sees it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::plane::{self, View};
use super::record::{Ended, Record, Run, Timing};
use super::servable;
use crate::decide::{Decision, Snapshot};
use crate::oip::Signature;
use crate::ort::python::PySession;

/// Adds what is in this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Plane>()?;
    module.add_class::<Servable>()
}

/// See `turnout_engine.pyi`.
#[pyclass(frozen, module = "turnout_engine")]
pub struct Plane {
    pub inner: Arc<plane::Plane>,
}

#[pymethods]
impl Plane {
    #[new]
    fn new(py: Python<'_>, settings: &[u8]) -> PyResult<Self> {
        let settings = serde_json::from_slice(settings).map_err(refused)?;
        // One clock for both planes: an instant is on the system's monotonic clock, as Python's is.
        let now: u64 = py.import("time")?.call_method0("monotonic_ns")?.extract()?;
        let began = Instant::now();
        let started = began.checked_sub(Duration::from_nanos(now)).unwrap_or(began);
        Ok(Self { inner: Arc::new(plane::Plane::new(settings, started)) })
    }

    fn serve(&self, snapshot: &[u8], servables: Vec<PyRef<'_, Servable>>) -> PyResult<()> {
        let snapshot = Snapshot::from_json(snapshot).map_err(PyValueError::new_err)?;
        let servables = servables.iter().map(|each| each.inner.clone()).collect();
        self.inner.serve(View::new(snapshot, servables));
        Ok(())
    }

    fn ended<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        told(py, self.inner.ledger.take())
    }

    fn number<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, u64)> {
        let (ended, number) = self.inner.ledger.number();
        Ok((told(py, ended)?, number))
    }

    fn close(&self) {
        self.inner.close();
    }

    #[getter]
    fn inside(&self) -> usize {
        self.inner.inside()
    }
}

/// See `turnout_engine.pyi`.
#[pyclass(frozen, module = "turnout_engine")]
pub struct Servable {
    inner: Arc<servable::Servable>,
}

#[pymethods]
impl Servable {
    #[new]
    fn new(plane: &Plane, settings: &[u8], signature: &[u8], session: &PySession) -> PyResult<Self> {
        let settings = serde_json::from_slice(settings).map_err(refused)?;
        let signature = Signature::from_json(signature).map_err(PyValueError::new_err)?;
        let session = session.session()?;
        let made =
            servable::Servable::new(settings, signature, session, &plane.inner).map_err(PyValueError::new_err)?;
        Ok(Self { inner: Arc::new(made) })
    }

    #[getter]
    fn waiting_rows(&self) -> u64 {
        self.inner.admission.rows()
    }
}

fn refused(error: serde_json::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Returns what has ended as tuples: the decisions, the records, which name those by their place, and the runs.
fn told(py: Python<'_>, ended: Ended) -> PyResult<Bound<'_, PyTuple>> {
    let mut places: HashMap<*const Decision, usize> = HashMap::new();
    let decisions = PyList::empty(py);
    let records = PyList::empty(py);
    for (number, record) in ended.records {
        let place = match places.get(&Arc::as_ptr(&record.decision)) {
            Some(&place) => place,
            None => {
                decisions.append(of_decision(py, &record.decision)?)?;
                places.insert(Arc::as_ptr(&record.decision), decisions.len() - 1);
                decisions.len() - 1
            }
        };
        records.append(of_record(py, number, place, record)?)?;
    }
    let runs = PyList::new(py, ended.runs.iter().map(of_run))?;
    (decisions, records, runs).into_pyobject(py)
}

fn of_decision<'py>(py: Python<'py>, decision: &Decision) -> PyResult<Bound<'py, PyTuple>> {
    (
        &decision.route,
        &decision.target,
        &decision.model,
        decision.version,
        decision.reason.name(),
        &decision.assigned,
        decision.override_index.map_or(-1, |index| index as i64),
        decision.propensity,
        &decision.table_digest,
        &decision.epoch,
    )
        .into_pyobject(py)
}

fn of_record(py: Python<'_>, number: u64, decision: usize, record: Record) -> PyResult<Bound<'_, PyTuple>> {
    (
        number,
        record.arrived,
        record.took,
        record.code,
        decision,
        record.unit,
        record.request_id,
        record.rows,
        record.timing.map(of_timing),
        record.traceparent,
        record.problem,
    )
        .into_pyobject(py)
}

fn of_timing(timing: Timing) -> (u64, u64, u64, u64, u64, u64) {
    (timing.queue, timing.input, timing.infer, timing.output, timing.rows, timing.started)
}

fn of_run(run: &Run) -> (u64, u64, u64, u64, u64, u64, bool) {
    (run.servable, run.rows, run.size, run.input, run.infer, run.output, run.failed)
}
