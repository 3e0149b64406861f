//! Pages as Python sees them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::ffi::FFI_ArrowSchema;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::arrow;
use super::exposures::Arm;
use super::foreign::Foreign;
use super::page::{Page as Columns, Row};
use super::parquet::{self, Field, Kind, Own};
use crate::decide::{Decision, Enrolment, Reason};
use crate::infer::record::{CANCELLED, OK};
use crate::oip::python::unknown;
use crate::spans::trace_id;

/// Adds what is in this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Page>()?;
    module.add_function(wrap_pyfunction!(page, module)?)?;
    module.add_function(wrap_pyfunction!(write_segment, module)?)
}

/// See `turnout_engine.pyi`.
#[pyclass(frozen, module = "turnout_engine")]
pub struct Page {
    inner: Mutex<Columns>,
}

impl Page {
    /// Wraps a page.
    pub fn new(page: Columns) -> Self {
        Self { inner: Mutex::new(page) }
    }

    fn lock(&self) -> MutexGuard<'_, Columns> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Capsules<'py> = (Bound<'py, PyCapsule>, Bound<'py, PyCapsule>);

#[pymethods]
impl Page {
    fn __len__(&self) -> usize {
        self.lock().len()
    }

    #[getter]
    fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn exposures(&self, py: Python<'_>) -> BTreeMap<Arm, u64> {
        py.detach(|| self.lock().exposures().by_arm())
    }

    fn lost_exposures(&self) -> BTreeMap<Arm, u64> {
        self.lock().lost_exposures.by_arm()
    }

    fn keep(&self, count: usize) {
        self.lock().keep(count);
    }

    fn join(&self, later: &Bound<'_, Self>) -> PyResult<()> {
        let later = later.get();
        if std::ptr::eq(self, later) {
            return Err(PyValueError::new_err("a page cannot be joined to itself"));
        }
        self.lock().join(&later.lock());
        Ok(())
    }

    fn encode<'py>(&self, py: Python<'py>, key: &[u8], key_id: &str) -> PyResult<Capsules<'py>> {
        let made = py.detach(|| {
            let data = arrow::encode(&self.lock(), key, key_id)?;
            Ok::<_, arrow_schema::ArrowError>((
                FFI_ArrowSchema::try_from(data.data_type())?,
                FFI_ArrowArray::new(&data),
            ))
        });
        let (schema, array) = made.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let schema = PyCapsule::new_with_value(py, schema, c"arrow_schema")?;
        Ok((schema, PyCapsule::new_with_value(py, array, c"arrow_array")?))
    }
}

/// What all rows have, as Python says it.
#[derive(FromPyObject)]
enum Said {
    Number(i32),
    Text(String),
}

/// See `turnout_engine.pyi`.
#[pyfunction]
fn write_segment(
    py: Python<'_>,
    path: PathBuf,
    columns: Vec<(String, String, Option<Said>)>,
    batches: Vec<Bound<'_, PyAny>>,
    pairs: BTreeMap<String, String>,
) -> PyResult<()> {
    let fields: PyResult<Vec<Field>> = columns.into_iter().map(field).collect();
    let held: PyResult<Vec<Foreign>> = batches.iter().map(Foreign::of).collect();
    let (fields, held) = (fields?, held?);
    let pairs: Vec<(String, String)> = pairs.into_iter().collect();
    py.detach(|| {
        let batches: io::Result<Vec<_>> = held.iter().map(|one| one.batch(&fields)).collect();
        parquet::write(BufWriter::new(File::create(&path)?), &fields, &batches?, &pairs)
    })
    .map_err(|error| failed(error, &path))
}

fn field((name, kind, own): (String, String, Option<Said>)) -> PyResult<Field> {
    let kind = match &*kind {
        "INTEGER" => Kind::Int32,
        "BIGINT" => Kind::Int64,
        "DOUBLE" => Kind::Double,
        "BOOLEAN" => Kind::Boolean,
        "VARCHAR" => Kind::Text,
        "BLOB" => Kind::Bytes,
        "TIMESTAMPTZ" => Kind::Timestamp,
        _ => return Err(unknown(&kind)),
    };
    let own = match (own, kind) {
        (None, _) => None,
        (Some(Said::Number(number)), Kind::Int32) => Some(Own::Number(number)),
        (Some(Said::Text(text)), Kind::Text) => Some(Own::Text(text)),
        _ => return Err(PyValueError::new_err(format!("{name}: all rows have a value of another type"))),
    };
    Ok(Field { name, kind, own })
}

/// Returns an error as Python's own functions for files have it, the system's number included.
fn failed(error: io::Error, path: &Path) -> PyErr {
    match error.raw_os_error() {
        Some(number) => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_owned();
            PyOSError::new_err((number, text, path.to_path_buf()))
        }
        None => PyValueError::new_err(error.to_string()),
    }
}

type Enrolled = (String, String, Option<bool>);
type Decided = (String, String, String, i64, String, String, i64, Option<f64>, String, String, Enrolled);
type Told = (u64, u64, u64, String, Decided, String, String, u64, Option<u64>, String);

/// Makes a page of records, each with its number, when it came, what it took, code, decision, unit, request id, rows,
/// how long it waited, and traceparent.
#[pyfunction]
fn page(boot: &str, records: Vec<Told>) -> PyResult<Page> {
    let mut made = Columns::new(boot.into());
    for (place, record) in records.into_iter().enumerate() {
        let (seq, arrived, took, code, decision, unit, request_id, rows, queue, traceparent) = record;
        let code = CODES.into_iter().find(|other| *other == code).ok_or_else(|| unknown(&code))?;
        let decision = Arc::new(decided(decision)?);
        let (unit, request_id, trace) = (&*unit, &*request_id, trace_id(&traceparent));
        made.push(Row { seq, arrived, took, queue, rows, unit, request_id, trace }, place, || (decision, code));
    }
    Ok(Page::new(made))
}

/// Codes that tests may name.
const CODES: [&str; 4] = [OK, CANCELLED, "MODEL_FAILED", "QUEUE_FULL"];

fn decided(told: Decided) -> PyResult<Decision> {
    let (route, target, model, version, reason, assigned, place, propensity, table_digest, epoch, enrolment) = told;
    let (experiment, layer, enrolled) = enrolment;
    let enrolment = Enrolment { experiment, layer, enrolled };
    let reason = Reason::named(&reason).ok_or_else(|| unknown(&reason))?;
    let override_index = usize::try_from(place).ok();
    let outright = Decision::outright(&model, version, reason);
    Ok(Decision { route, target, assigned, override_index, propensity, table_digest, epoch, enrolment, ..outright })
}
