//! The data plane as Python sees it.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::copies::{Copy, Dropped};
use super::outlasting::Outlasting;
use super::plane::{self, PYTHON, View};
use super::record::{Ended, Problem, Timing};
use super::servable;
use super::tally::{Requests, RunKey, Runs};
use crate::batch::python::Room;
use crate::batch::shares::Id;
use crate::decide::{Decision, Snapshot};
use crate::journal::python::Page;
use crate::oip::Signature;
use crate::oip::dtypes::name_of;
use crate::ort::python::PySession;
use crate::spans::Spans;
use crate::tensor::{Data, Tensor};

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
        Ok(Self { inner: Arc::new(plane::Plane::new(settings, started)?) })
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

    fn count_in(&self, path: PathBuf, offset: u64) -> PyResult<()> {
        self.inner.ledger.outlast_in(Outlasting::at(&path, offset)?);
        Ok(())
    }

    fn number<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, u64)> {
        let (ended, number) = self.inner.ledger.number();
        Ok((told(py, ended)?, number))
    }

    #[pyo3(signature = (*, rest))]
    fn spans<'py>(&self, py: Python<'py>, rest: bool) -> Option<(usize, Bound<'py, PyBytes>)> {
        let batch = py.detach(|| self.inner.spans.as_ref()?.take(rest))?;
        Some((batch.count, PyBytes::new(py, &batch.bytes)))
    }

    #[getter]
    fn spans_lost(&self) -> u64 {
        self.inner.spans.as_ref().map_or(0, Spans::lost)
    }

    fn close(&self) {
        self.inner.close();
    }

    fn copies<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyTuple>> {
        let (copies, dropped) = self.inner.copies.take(most);
        let copies: Vec<_> = copies.into_iter().map(|copy| of_copy(py, copy)).collect::<PyResult<_>>()?;
        let of_dropped = |(decision, mirror, count): Dropped| -> PyResult<_> {
            (of_decision(py, &decision)?, mirror, count).into_pyobject(py)
        };
        let dropped: Vec<_> = dropped.into_iter().map(of_dropped).collect::<PyResult<_>>()?;
        (copies, dropped).into_pyobject(py)
    }

    #[getter]
    fn declined(&self) -> u64 {
        self.inner.declined()
    }

    #[getter]
    fn inside(&self) -> usize {
        self.inner.inside()
    }

    #[getter]
    fn messages(&self) -> usize {
        self.inner.messages()
    }

    fn enter(&self) -> bool {
        self.inner.enter_elsewhere()
    }

    fn leave(&self) {
        self.inner.leave_elsewhere();
    }

    #[getter]
    fn total(&self) -> Room {
        Room { inner: self.inner.total.clone() }
    }

    #[getter]
    fn runs(&self) -> usize {
        self.inner.shares().runs()
    }

    fn start_or_want(&self, servable: Id, cost_ns: f64) -> bool {
        self.inner.shares().start_or_want((servable, PYTHON), cost_ns)
    }

    fn forgo(&self, servable: Id) {
        self.inner.shares().forgo((servable, PYTHON));
    }

    fn finish(&self, servable: Id) {
        self.inner.thread_freed(servable);
    }

    fn chosen(&self) -> Vec<Id> {
        self.inner.chosen.take()
    }

    fn fileno(&self) -> RawFd {
        self.inner.chosen.fileno()
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
    fn new(plane: &Plane, settings: &[u8], signature: &[u8], session: &PySession, room: &Room) -> PyResult<Self> {
        let settings = serde_json::from_slice(settings).map_err(refused)?;
        let signature = Signature::from_json(signature).map_err(PyValueError::new_err)?;
        let session = session.session()?;
        let made = servable::Servable::new(settings, signature, session, room.inner.clone(), &plane.inner)
            .map_err(PyValueError::new_err)?;
        Ok(Self { inner: Arc::new(made) })
    }

    #[getter]
    fn holds(&self) -> usize {
        self.inner.holds()
    }

    #[getter]
    fn timed_out(&self) -> u64 {
        self.inner.timed_out()
    }

    fn take_notes(&self) -> (u64, Vec<servable::Odd>) {
        self.inner.take_notes()
    }
}

fn refused(error: serde_json::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Returns what has ended as tuples: the decisions, which the others name by their place, then requests that ended
/// alike, runs that did, failures of models, and the page of single records, if somebody keeps those.
fn told(py: Python<'_>, ended: Ended) -> PyResult<Bound<'_, PyTuple>> {
    let mut decisions = Decisions { places: HashMap::new(), list: PyList::empty(py) };
    let requests = PyList::empty(py);
    for tally in ended.tallies.requests() {
        requests.append(of_requests(py, decisions.place_of(&tally.decision)?, tally)?)?;
    }
    let runs = PyList::new(py, ended.tallies.runs().map(of_runs))?;
    let problems = PyList::new(py, ended.problems.into_iter().map(of_problem))?;
    let page = (!ended.page.is_empty()).then(|| Page::new(ended.page));
    (decisions.list, requests, runs, problems, page).into_pyobject(py)
}

struct Decisions<'py> {
    places: HashMap<*const Decision, usize>,
    list: Bound<'py, PyList>,
}

impl Decisions<'_> {
    fn place_of(&mut self, decision: &Arc<Decision>) -> PyResult<usize> {
        if let Some(&place) = self.places.get(&Arc::as_ptr(decision)) {
            return Ok(place);
        }
        let place = self.list.len();
        self.list.append(of_decision(self.list.py(), decision)?)?;
        self.places.insert(Arc::as_ptr(decision), place);
        Ok(place)
    }
}

fn of_requests<'py>(py: Python<'py>, decision: usize, tally: &Requests) -> PyResult<Bound<'py, PyTuple>> {
    (
        decision,
        tally.code,
        (tally.call.method, tally.call.code),
        (&tally.took.counts, tally.took.sum),
        (&tally.queue.counts, tally.queue.sum),
        tally.rows,
        tally.last,
        (tally.queue_ns, tally.input_ns, tally.infer_ns, tally.output_ns),
    )
        .into_pyobject(py)
}

type OfRuns<'a> = (u64, u64, u64, bool, (&'a [u64], u64), u64, u64, u64);

fn of_runs<'a>((&(servable, rows, size, failed), tally): (&RunKey, &'a Runs)) -> OfRuns<'a> {
    (servable, rows, size, failed, (&tally.infer.counts, tally.infer.sum), tally.best, tally.input_ns, tally.output_ns)
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
        (&decision.enrolment.experiment, &decision.enrolment.layer, decision.enrolment.enrolled),
    )
        .into_pyobject(py)
}

type OfProblem = (&'static str, &'static str, String, String, i64, Option<(String, String)>);

fn of_copy(py: Python<'_>, copy: Copy) -> PyResult<Bound<'_, PyTuple>> {
    let Copy { mirrors, method, message, outputs, end } = copy;
    let of_output = |(name, tensor): (String, Tensor)| -> PyResult<_> {
        let elements = match tensor.data {
            Data::Raw(raw) => PyBytes::new(py, &raw).into_any(),
            Data::Texts(texts) => PyList::new(py, texts.iter().map(|text| PyBytes::new(py, text)))?.into_any(),
        };
        (name, name_of(tensor.dtype), PyTuple::new(py, tensor.shape)?, elements).into_pyobject(py)
    };
    let outputs: Vec<_> = outputs.into_iter().map(of_output).collect::<PyResult<_>>()?;
    let record = (
        end.number,
        end.arrived,
        end.took,
        of_decision(py, &end.decision)?,
        end.unit,
        end.request_id,
        end.rows,
        end.timing.map(of_timing),
        end.traceparent,
    );
    (mirrors, method, PyBytes::new(py, &message), outputs, record).into_pyobject(py)
}

fn of_timing(timing: Timing) -> (u64, u64, u64, u64, u64, u64) {
    (timing.queue, timing.input, timing.infer, timing.output, timing.rows, timing.started)
}

fn of_problem(Problem { method, code, text, model, version, context }: Problem) -> OfProblem {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (method, code, text, model, version, context.map(|context| (hex(&context.trace), hex(&context.span))))
}
