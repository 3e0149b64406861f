//! What Python sees of the data plane; `turnout_engine.pyi` says what it means.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::infer::Shard;
use crate::infer::python::Plane;
use crate::net::{Bounds, Event, Methods, Nothing, Reply, Server, Settings, Shape, Status, Streaming, Value, framed};
use crate::ort;
use crate::spans::Parent;

/// gRPC's codes are 0 to 16.
const LAST_CODE: u8 = 16;
/// Messages of so many bytes are copied without Python's lock.
const LARGE: usize = 256 * 1024;

#[pyclass(frozen)]
pub struct Engine {
    server: Server,
}

/// Of each message its fields that are messages or packed numbers; see `Shape::new`.
type Fields = Vec<BTreeMap<u32, i64>>;

/// A trailer's value: text, or bytes where its name ends with `-bin`.
#[derive(FromPyObject)]
enum Trailer {
    Text(String),
    Binary(Vec<u8>),
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (
        methods, *, shards, max_message_bytes, max_message_values, max_compression_ratio, max_connections,
        connection_calls, request_time_s, stream_silence_s, silent_streams, memory_bytes, shapes = HashMap::new(),
        headers_first = false, urgent = Vec::new(), quotas = HashMap::new(), plane = None
    ))]
    #[allow(clippy::too_many_arguments)] // they have names in Python
    fn new(
        methods: HashMap<String, (bool, bool)>,
        shards: usize,
        max_message_bytes: usize,
        max_message_values: usize,
        max_compression_ratio: usize,
        max_connections: usize,
        connection_calls: usize,
        request_time_s: f64,
        stream_silence_s: f64,
        silent_streams: usize,
        memory_bytes: usize,
        shapes: HashMap<String, Fields>,
        headers_first: bool,
        urgent: Vec<String>,
        quotas: HashMap<String, usize>,
        plane: Option<&Plane>,
    ) -> PyResult<Self> {
        if shards == 0 || max_connections == 0 || connection_calls == 0 || u32::try_from(max_message_bytes).is_err() {
            return Err(PyValueError::new_err(
                "shards, max_connections and connection_calls are 1 or more, max_message_bytes below 2^32",
            ));
        }
        ort::avoid_huge();
        let methods: Methods =
            methods.into_iter().map(|(path, (client, server))| (path.into(), Streaming { client, server })).collect();
        let shapes = shapes.into_iter().map(|(path, fields)| Ok((path, shape(&fields)?))).collect::<PyResult<_>>()?;
        let bounds = Arc::new(Bounds { ratio: max_compression_ratio, values: max_message_values, shapes });
        let settings = Settings {
            shards,
            max_connections,
            max_message_bytes,
            bounds,
            headers_first,
            urgent: urgent.into_iter().map(String::into_boxed_str).collect(),
            quotas: quotas.into_iter().map(|(path, most)| (path.into(), most)).collect(),
            connection_calls,
            request_time: time(request_time_s)?,
            silence_time: time(stream_silence_s)?,
            silent_streams,
            memory_bytes,
        };
        let server = match plane.map(|plane| plane.inner.clone()) {
            Some(plane) => {
                let memory = plane.memory.clone();
                let server = Server::start(settings, methods, &plane.cores.clone(), move |index| {
                    Shard::new(plane.clone(), index)
                })?;
                ort::keep(server.memory().for_a_batch());
                let _ = memory.set(server.memory().clone()); // one that it has had before is as good
                server
            }
            None => Server::start(settings, methods, &Arc::default(), |_| Nothing::default())?,
        };
        Ok(Self { server })
    }

    fn listen(&self, fds: Vec<RawFd>) -> io::Result<()> {
        fds.into_iter().try_for_each(|fd| self.server.listen(fd))
    }

    fn fileno(&self) -> RawFd {
        self.server.events().fileno()
    }

    #[getter]
    fn connections(&self) -> usize {
        self.server.connections()
    }

    #[getter]
    fn memory(&self) -> (usize, usize) {
        let memory = self.server.memory();
        (memory.taken(), memory.limit())
    }

    fn counts(&self) -> HashMap<&'static str, u64> {
        self.server.counts().collect()
    }

    fn events<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let events = self.server.events().take(most);
        let mut clock = None;
        events.into_iter().map(|event| told(py, event, &mut clock)).collect()
    }

    fn answer(&self, py: Python<'_>, id: u64, message: &Bound<'_, PyBytes>) {
        self.server.reply(id, Reply::Answer(taken(py, message)));
    }

    fn send(&self, py: Python<'_>, id: u64, message: &Bound<'_, PyBytes>) {
        self.server.reply(id, Reply::Send(taken(py, message)));
    }

    #[pyo3(signature = (id, code, message = String::new(), trailers = Vec::new()))]
    fn end(&self, id: u64, code: u8, message: String, trailers: Vec<(String, Trailer)>) -> PyResult<()> {
        if code > LAST_CODE {
            return Err(PyValueError::new_err("no code of gRPC's"));
        }
        let mut status = Status::new(code, message);
        status.trailers = trailers
            .into_iter()
            .map(|(name, value)| {
                let value = match value {
                    Trailer::Text(text) => Value::Text(text),
                    Trailer::Binary(raw) => Value::Binary(raw),
                };
                (name.into(), value)
            })
            .collect();
        self.server.reply(id, Reply::End(status));
        Ok(())
    }

    #[pyo3(signature = (id, span = None))]
    fn more(&self, id: u64, span: Option<(String, String)>) {
        let parent = span.and_then(|(traceparent, state)| Parent::new(&traceparent, state)).map(Box::new);
        self.server.reply(id, Reply::More(parent));
    }

    fn drain(&self) {
        self.server.drain();
    }

    fn close(&self, timeout_s: f64) -> PyResult<()> {
        self.server.close(time(timeout_s)?);
        Ok(())
    }
}

fn time(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn shape(fields: &Fields) -> PyResult<Shape> {
    Shape::new(fields).map_err(PyValueError::new_err)
}

/// Counts a message's values, for the tests that hold this twin against Python's. Nothing serves through it.
#[pyfunction]
pub fn count_values(message: &[u8], fields: Fields, most: usize) -> PyResult<usize> {
    Ok(shape(&fields)?.count(message, most))
}

/// Returns a message behind its prefix.
fn taken(py: Python<'_>, message: &Bound<'_, PyBytes>) -> bytes::Bytes {
    let raw = message.as_bytes();
    if raw.len() < LARGE { framed(raw) } else { py.detach(|| framed(raw)) }
}

/// Returns an event as Python has it. `clock` is the time on both clocks, once somebody had to know.
fn told<'py>(py: Python<'py>, event: Event, clock: &mut Option<(f64, Instant)>) -> PyResult<Bound<'py, PyTuple>> {
    match event {
        Event::Call(id, head, message) => {
            let metadata = PyDict::new(py);
            for (name, value) in head.metadata.iter() {
                metadata.set_item(name, value)?;
            }
            let deadline = match head.deadline {
                Some(at) => {
                    let (seconds, now) = match *clock {
                        Some(known) => known,
                        None => *clock.insert((monotonic(py)?, Instant::now())),
                    };
                    Some(
                        seconds + at.saturating_duration_since(now).as_secs_f64()
                            - now.saturating_duration_since(at).as_secs_f64(),
                    )
                }
                None => None,
            };
            let message = message.map(|message| PyBytes::new(py, &message));
            ("call", id, &*head.path, metadata, &*head.peer, deadline, message).into_pyobject(py)
        }
        Event::Message(id, message) => ("message", id, PyBytes::new(py, &message)).into_pyobject(py),
        Event::HalfClosed(id) => ("half_closed", id).into_pyobject(py),
        Event::Sent(id, size) => ("sent", id, size).into_pyobject(py),
        Event::Gone(id) => ("gone", id).into_pyobject(py),
        Event::Closed => ("closed",).into_pyobject(py),
    }
}

/// Returns the time of `time.monotonic`, in seconds.
fn monotonic(py: Python<'_>) -> PyResult<f64> {
    py.import("time")?.call_method0("monotonic")?.extract()
}
