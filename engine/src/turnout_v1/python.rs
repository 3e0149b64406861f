//! The typed codecs, for the tests that hold these twins against Python's. Nothing serves through them.

use std::collections::HashMap;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{RankRequest, Served};
use crate::call;
use crate::infer::question::Question;
use crate::infer::shard::RANK;
use crate::oip::python::{Decided, decided};
use crate::oip::{Output, Signature, dtypes};
use crate::tensor::{Data, Elements};

/// dtype, shape and bytes of an input.
type Tensor<'py> = (&'static str, Vec<i64>, Bound<'py, PyBytes>);
/// name, version, unit, request id, inputs in the signature's order, rows, size, and the outputs wanted.
type Fields<'py> = (String, String, String, String, Vec<Tensor<'py>>, u64, u64, Vec<String>);
/// An answer, or why there is none.
type Answered<'py> = (Option<Bound<'py, PyBytes>>, Option<(&'static str, String)>);

/// Reads a typed request against a signature that `turnout_server.engine.snapshot.signature` wrote.
///
/// None where Python has to look at it.
#[pyfunction]
fn parse_typed<'py>(
    py: Python<'py>,
    method: &str,
    message: Vec<u8>,
    metadata: HashMap<String, String>,
    signature: &[u8],
) -> PyResult<Option<Fields<'py>>> {
    let signature = Signature::from_json(signature).map_err(PyValueError::new_err)?;
    let (message, head) = (Bytes::from(message), head(metadata));
    Ok(match method {
        RANK => RankRequest::parse(&message, &head).and_then(|request| read(py, &request, &head, &signature)),
        _ => return Err(unknown(method)),
    })
}

fn read<'py>(
    py: Python<'py>,
    question: &impl Question,
    head: &call::Head,
    signature: &Signature,
) -> Option<Fields<'py>> {
    let (ask, prepared) = (question.ask(head)?, question.prepare(signature)?);
    let inputs = prepared.inputs.into_iter().filter_map(|tensor| match tensor.data {
        Data::Raw(data) => Some((dtypes::name_of(tensor.dtype), tensor.shape, PyBytes::new(py, &data))),
        Data::Texts(_) => None,
    });
    Some((
        ask.name().to_owned(),
        ask.version().to_owned(),
        ask.unit().to_owned(),
        question.request_id().to_owned(),
        inputs.collect(),
        prepared.rows,
        prepared.size,
        prepared.outputs.iter().map(|&index| signature.outputs[index].name.clone()).collect(),
    ))
}

/// Writes the answer to a typed request that is taken, or says why the outputs are none.
#[pyfunction]
fn answer_typed<'py>(
    py: Python<'py>,
    method: &str,
    message: Vec<u8>,
    decision: Decided,
    request_id: &str,
    outputs: Vec<(String, String, Vec<i64>, Vec<u8>)>,
) -> PyResult<Answered<'py>> {
    let (message, head) = (Bytes::from(message), head(HashMap::new()));
    let served = Served::of(&decided(decision)?);
    let mut tensors = Vec::with_capacity(outputs.len());
    for (name, dtype, dims, data) in &outputs {
        let dtype = dtypes::named(dtype).ok_or_else(|| unknown(dtype))?;
        tensors.push(Output { name, dtype, dims, data: Elements::Raw(data) });
    }
    let (fault, answer) = match method {
        RANK => {
            let request = RankRequest::parse(&message, &head).ok_or_else(|| unknown("request"))?;
            let fault = request.fault(&tensors);
            let answer = if fault.is_none() { request.encode(&served, request_id, &tensors) } else { None };
            (fault, answer)
        }
        _ => return Err(unknown(method)),
    };
    Ok((answer.map(|answer| PyBytes::new(py, &answer)), fault.map(|error| (error.reason, error.message))))
}

fn head(metadata: HashMap<String, String>) -> call::Head {
    call::Head { path: String::new(), metadata: metadata.into_iter().collect(), peer: "".into(), deadline: None }
}

fn unknown(found: &str) -> PyErr {
    PyValueError::new_err(format!("{found:?} is not known"))
}

/// Adds this file's functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(parse_typed, module)?)?;
    module.add_function(wrap_pyfunction!(answer_typed, module)?)
}
