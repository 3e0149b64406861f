//! Sessions as Python sees them: NumPy arrays in, and buffers that NumPy wraps out, without the interpreter's lock.

use std::ffi::{CStr, CString, c_int};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyUnicodeDecodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use pyo3::{create_exception, ffi};

use super::element::item_size;
use super::meter;
use super::output::Output;
use super::reaper;
use super::run::{Input, RunError, RunErrorKind, RunOptions};
use super::runtime::{Failure, Runtime};
use super::session::{Argument, Options, Session, Size};
use super::view::View;
use crate::tensor::{DType, Elements};

create_exception!(turnout_engine, OnnxRuntimeError, pyo3::exceptions::PyException, "ONNX Runtime failed.");
create_exception!(turnout_engine, InputRejectedError, OnnxRuntimeError, "Values or sizes do not fit the graph.");
create_exception!(turnout_engine, RunTerminatedError, OnnxRuntimeError, "The run was told to end.");

/// Adds what is in this file to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("OnnxRuntimeError", py.get_type::<OnnxRuntimeError>())?;
    module.add("InputRejectedError", py.get_type::<InputRejectedError>())?;
    module.add("RunTerminatedError", py.get_type::<RunTerminatedError>())?;
    module.add_class::<PySession>()?;
    module.add_class::<PyRunOptions>()?;
    module.add_class::<PyTensor>()?;
    module.add_function(wrap_pyfunction!(last_run_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(load_onnxruntime, module)?)
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        OnnxRuntimeError::new_err(failure.to_string())
    }
}

impl From<RunError> for PyErr {
    fn from(error: RunError) -> Self {
        let text = error.to_string();
        match error.kind {
            RunErrorKind::Rejected => InputRejectedError::new_err(text),
            RunErrorKind::Terminated => RunTerminatedError::new_err(text),
            RunErrorKind::NoMemory | RunErrorKind::Failed => OnnxRuntimeError::new_err(text),
        }
    }
}

fn loaded() -> PyResult<&'static Runtime> {
    Runtime::loaded().ok_or_else(|| OnnxRuntimeError::new_err("load_onnxruntime was not called"))
}

/// See `turnout_engine.pyi`.
#[pyfunction]
fn load_onnxruntime(py: Python<'_>, path: PathBuf) -> PyResult<&'static str> {
    Ok(py.detach(|| Runtime::load(&path))?.version())
}

/// See `turnout_engine.pyi`.
#[pyfunction]
fn last_run_bytes() -> usize {
    meter::last_peak()
}

#[pyclass(frozen, name = "RunOptions", module = "turnout_engine")]
struct PyRunOptions(RunOptions);

#[pymethods]
impl PyRunOptions {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self(RunOptions::new(loaded()?)?))
    }

    fn terminate(&self) {
        self.0.terminate();
    }

    fn reset(&self) {
        self.0.reset();
    }
}

/// A session that Python opened and closes; natives may hold it too.
#[pyclass(frozen, name = "Session", module = "turnout_engine")]
pub struct PySession(Mutex<Option<Arc<Session>>>);

impl PySession {
    /// Returns the session, which whoever holds it last should hand to `free_later`.
    ///
    /// # Errors
    /// It is closed.
    pub fn session(&self) -> PyResult<Arc<Session>> {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        session.ok_or_else(|| OnnxRuntimeError::new_err("the session is closed"))
    }
}

#[pymethods]
impl PySession {
    #[new]
    #[pyo3(signature = (path, intra_op_threads = 1, spinning = false, extensions = None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        intra_op_threads: u16,
        spinning: bool,
        extensions: Option<PathBuf>,
    ) -> PyResult<Self> {
        let runtime = loaded()?;
        let options = Options { intra_op_threads, spinning, extensions, ..Options::default() };
        let session = py.detach(|| Session::open(runtime, &path, &options))?;
        Ok(Self(Mutex::new(Some(Arc::new(session)))))
    }

    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        described(py, self.session()?.inputs())
    }

    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        described(py, self.session()?.outputs())
    }

    #[pyo3(signature = (inputs, outputs, options = None))]
    fn run<'py>(
        &self,
        inputs: &Bound<'py, PyDict>,
        outputs: &Bound<'py, PyTuple>,
        options: Option<&Bound<'py, PyRunOptions>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = inputs.py();
        let session = self.session()?;
        let mut given = Vec::with_capacity(inputs.len());
        for (name, array) in inputs.iter() {
            let index = place(session.inputs(), name.cast::<PyString>()?)?;
            given.push(Given::of(index, &session.inputs()[index], array)?);
        }
        let wanted = outputs
            .iter()
            .map(|name| place(session.outputs(), name.cast::<PyString>()?))
            .collect::<PyResult<Vec<usize>>>()?;
        let feeds: Vec<Input<'_>> = given.iter().map(Given::as_input).collect();
        let options = options.map(|options| &options.get().0);
        let made = py.detach(|| session.run(&feeds, &wanted, options))?;
        PyList::new(py, made.into_iter().map(PyTensor::of))
    }

    fn close(&self, py: Python<'_>) {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| match session {
            // Whoever holds it may be a reactor.
            Some(session) if Arc::strong_count(&session) > 1 => reaper::free_later(session),
            session => {
                drop(session);
                reaper::trim();
            }
        });
    }
}

impl Drop for PySession {
    fn drop(&mut self) {
        // The interpreter's lock is held.
        if let Some(session) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            reaper::free_later(session);
        }
    }
}

fn described<'py>(py: Python<'py>, arguments: &[Argument]) -> PyResult<Bound<'py, PyList>> {
    let mut all = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let shape = PyList::empty(py);
        for size in &argument.shape {
            match size {
                Size::Fixed(size) => shape.append(size)?,
                Size::Named(name) => shape.append(name)?,
                Size::Free => shape.append(py.None())?,
            }
        }
        all.push((&argument.name, &argument.type_text, shape));
    }
    PyList::new(py, all)
}

/// Finds a name; there are few.
fn place(arguments: &[Argument], name: &Bound<'_, PyString>) -> PyResult<usize> {
    let name = name.to_str()?;
    let found = arguments.iter().position(|argument| argument.name == name);
    found.ok_or_else(|| InputRejectedError::new_err(format!("the graph has no {name:?}")))
}

/// An array, held while a run reads it.
struct Given {
    index: usize,
    dtype: DType,
    shape: Vec<i64>,
    held: Held,
}

enum Held {
    Numbers(View),
    Texts(Vec<Bytes>),
}

impl Given {
    fn of(index: usize, argument: &Argument, array: Bound<'_, PyAny>) -> PyResult<Self> {
        let mut view = View::of(&array)?;
        let shape = view.shape().iter().map(|&size| size as i64).collect();
        if matches!(view.format().to_bytes().last(), Some(b'O' | b'w')) {
            let elements = array.call_method0("ravel")?.call_method0("tolist")?;
            let texts = elements
                .try_iter()?
                .map(|element| Ok(Bytes::copy_from_slice(element?.str()?.to_str()?.as_bytes())))
                .collect::<PyResult<_>>()?;
            return Ok(Self { index, dtype: DType::Bytes, shape, held: Held::Texts(texts) });
        }
        let Some(mut dtype) = dtype_of(view.format(), view.item_size()) else {
            return Err(PyTypeError::new_err(format!("an array of {:?}", view.format())));
        };
        if argument.dtype == Some(DType::Bf16) && dtype == DType::Uint16 {
            // NumPy has no such dtype; its bits come as numbers.
            dtype = DType::Bf16;
        }
        if view.bytes().is_none() {
            view = View::of(&array.call_method1("copy", ("C",))?)?;
        }
        Ok(Self { index, dtype, shape, held: Held::Numbers(view) })
    }

    fn as_input(&self) -> Input<'_> {
        let elements = match &self.held {
            Held::Numbers(view) => Elements::Raw(view.bytes().unwrap_or_default()),
            Held::Texts(texts) => Elements::Texts(texts),
        };
        Input { index: self.index, dtype: self.dtype, shape: &self.shape, elements }
    }
}

/// Returns the dtype of a buffer's elements; None for one that the protocol does not know.
fn dtype_of(format: &CStr, size: usize) -> Option<DType> {
    let kind = match format.to_bytes() {
        [kind] | [b'<' | b'=' | b'@', kind] => *kind,
        _ => return None,
    };
    Some(match (kind, size) {
        (b'?', 1) => DType::Bool,
        (b'b', 1) => DType::Int8,
        (b'B', 1) => DType::Uint8,
        (b'h', 2) => DType::Int16,
        (b'H', 2) => DType::Uint16,
        (b'i' | b'l', 4) => DType::Int32,
        (b'I' | b'L', 4) => DType::Uint32,
        (b'l' | b'q' | b'n', 8) => DType::Int64,
        (b'L' | b'Q' | b'N', 8) => DType::Uint64,
        (b'e', 2) => DType::Fp16,
        (b'f', 4) => DType::Fp32,
        (b'd', 8) => DType::Fp64,
        _ => return None,
    })
}

/// NumPy's own choice among the formats of 8 bytes.
const LONG: bool = size_of::<std::ffi::c_long>() == 8;

/// Returns the format and the name by which Python knows a dtype.
fn words_of(dtype: DType) -> (&'static CStr, &'static str) {
    match dtype {
        DType::Bool => (c"?", "BOOL"),
        DType::Uint8 => (c"B", "UINT8"),
        DType::Uint16 => (c"H", "UINT16"),
        DType::Uint32 => (c"I", "UINT32"),
        DType::Uint64 => (if LONG { c"L" } else { c"Q" }, "UINT64"),
        DType::Int8 => (c"b", "INT8"),
        DType::Int16 => (c"h", "INT16"),
        DType::Int32 => (c"i", "INT32"),
        DType::Int64 => (if LONG { c"l" } else { c"q" }, "INT64"),
        DType::Fp16 => (c"e", "FP16"),
        // Python has no such format: its bits, as numbers.
        DType::Bf16 => (c"H", "BF16"),
        DType::Fp32 => (c"f", "FP32"),
        DType::Fp64 => (c"d", "FP64"),
        DType::Bytes => (c"O", "BYTES"),
    }
}

/// An output, whose memory NumPy may look at for as long as it lives.
#[pyclass(frozen, name = "Tensor", module = "turnout_engine")]
struct PyTensor {
    output: Output,
    shape: Vec<ffi::Py_ssize_t>,
    strides: Vec<ffi::Py_ssize_t>,
    format: CString,
}

impl PyTensor {
    fn of(output: Output) -> Self {
        let shape: Vec<ffi::Py_ssize_t> = output.shape().iter().map(|&size| size as ffi::Py_ssize_t).collect();
        let mut strides = vec![0; shape.len()];
        let mut stride = item_size(output.dtype()).unwrap_or(1) as ffi::Py_ssize_t;
        for (to, &size) in strides.iter_mut().zip(&shape).rev() {
            *to = stride;
            stride = stride.saturating_mul(size);
        }
        let format = words_of(output.dtype()).0.to_owned();
        Self { output, shape, strides, format }
    }
}

#[pymethods]
impl PyTensor {
    #[getter]
    fn dtype(&self) -> &'static str {
        words_of(self.output.dtype()).1
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    fn texts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if self.output.dtype() != DType::Bytes {
            return Err(PyValueError::new_err("only BYTES have texts"));
        }
        let texts = py.detach(|| self.output.texts())?;
        let list = PyList::empty(py);
        for text in texts {
            let text = std::str::from_utf8(&text)
                .map_err(|error| PyUnicodeDecodeError::new_err_from_utf8(py, &text, error))?;
            list.append(text)?;
        }
        Ok(list)
    }

    /// Lends the elements.
    ///
    /// # Safety
    /// `view` is the interpreter's to be filled, or null.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let own = slf.get();
        if view.is_null() || flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("what a run gave is read-only"));
        }
        let Some(size) = item_size(own.output.dtype()) else {
            return Err(PyBufferError::new_err("BYTES have no buffer"));
        };
        let asked = |flag: c_int| flags & flag == flag;
        let bytes = own.output.bytes();
        let pointer = |list: &Vec<ffi::Py_ssize_t>| list.as_ptr().cast_mut();
        // SAFETY: `view` is ours to fill. Everything that it points to belongs to `slf`, which is frozen and which the
        // view keeps alive; nobody writes through it, as it is read-only.
        unsafe {
            (*view).buf = bytes.as_ptr().cast_mut().cast();
            (*view).len = bytes.len() as ffi::Py_ssize_t;
            (*view).readonly = 1;
            (*view).itemsize = size as ffi::Py_ssize_t;
            (*view).format =
                if asked(ffi::PyBUF_FORMAT) { own.format.as_ptr().cast_mut() } else { std::ptr::null_mut() };
            (*view).ndim = if asked(ffi::PyBUF_ND) { own.shape.len() as c_int } else { 1 };
            (*view).shape = if asked(ffi::PyBUF_ND) { pointer(&own.shape) } else { std::ptr::null_mut() };
            (*view).strides = if asked(ffi::PyBUF_STRIDES) { pointer(&own.strides) } else { std::ptr::null_mut() };
            (*view).suboffsets = std::ptr::null_mut();
            (*view).internal = std::ptr::null_mut();
            (*view).obj = slf.into_ptr();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_by_kind_and_size() {
        for (format, size, dtype) in [
            (c"l", 8, Some(DType::Int64)),
            (c"<l", 4, Some(DType::Int32)),
            (c"=e", 2, Some(DType::Fp16)),
            (c"?", 1, Some(DType::Bool)),
            (c">f", 4, None),
            (c"Zf", 8, None),
            (c"g", 16, None),
            (c"", 1, None),
        ] {
            assert_eq!(dtype_of(format, size), dtype, "{format:?}");
        }
    }
}
