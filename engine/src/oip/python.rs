//! The codec, for the tests that hold this twin against Python's. Nothing serves through it.

use std::collections::HashMap;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{InferRequest, Output, Signature, dtypes, prepare, response, texts};
use crate::call;
use crate::decide::{Decision, Reason};
use crate::infer::question::Question;
use crate::tensor::{DType, Data, Elements};

/// dtype, shape and raw contents of an input.
type Tensor<'py> = (&'static str, Vec<i64>, Bound<'py, PyBytes>);
/// name, version, unit, id, request id, timeout in µs (None for none), priority's level, inputs in the signature's
/// order, rows, size, and the outputs wanted.
type Fields<'py> = (String, String, String, String, String, Option<u64>, u8, Vec<Tensor<'py>>, u64, u64, Vec<String>);
/// An output: name, dtype, shape and raw contents.
pub type Made = (String, String, Vec<i64>, Vec<u8>);
/// route, target, model, version, reason, assigned, propensity.
pub type Decided = (String, String, String, i64, String, String, Option<f64>);

/// Reads a `ModelInferRequest` against a signature that `turnout_server.engine.snapshot.signature` wrote.
///
/// None where Python has to look at it.
#[pyfunction]
fn parse_infer<'py>(
    py: Python<'py>,
    message: Vec<u8>,
    metadata: HashMap<String, String>,
    signature: &[u8],
) -> PyResult<Option<Fields<'py>>> {
    let signature = Signature::from_json(signature).map_err(PyValueError::new_err)?;
    let message = Bytes::from(message);
    let metadata = metadata.into_iter().collect();
    let head = call::Head { path: "".into(), metadata, peer: "".into(), deadline: None };
    let Some(request) = InferRequest::parse(&message, &head) else { return Ok(None) };
    let Some(prepared) = prepare(&request, &signature) else { return Ok(None) };
    let inputs = prepared.inputs.into_iter().map(|tensor| {
        let raw = match tensor.data {
            Data::Raw(raw) => PyBytes::new(py, &raw),
            Data::Texts(texts) => {
                let mut raw = Vec::new();
                texts::encode(&mut raw, &texts);
                PyBytes::new(py, &raw)
            }
        };
        (dtypes::name_of(tensor.dtype), tensor.shape, raw)
    });
    Ok(Some((
        request.name.to_owned(),
        request.version.to_owned(),
        request.unit.clone().into_owned(),
        request.id.to_owned(),
        request.request_id.to_owned(),
        request.timeout_us,
        request.level(),
        inputs.collect(),
        prepared.rows,
        prepared.size,
        prepared.outputs.iter().map(|&index| signature.outputs[index].name.clone()).collect(),
    )))
}

/// Writes a `ModelInferResponse` with raw outputs, each a name, a dtype, a shape and raw contents.
#[pyfunction]
fn encode_infer<'py>(
    py: Python<'py>,
    decision: Decided,
    id: &str,
    request_id: &str,
    outputs: Vec<Made>,
) -> PyResult<Bound<'py, PyBytes>> {
    let decision = decided(decision)?;
    let texts = texts_of(&outputs)?;
    let tensors = tensors_of(&outputs, &texts)?;
    let message = response::encode(&response::Head::of(&decision), id, request_id, &tensors);
    message.map(|message| PyBytes::new(py, &message)).ok_or_else(|| PyValueError::new_err("too long for a message"))
}

/// Returns the texts of each output, which has none where it is no BYTES.
pub fn texts_of(outputs: &[Made]) -> PyResult<Vec<Vec<Bytes>>> {
    let of_one = |(_, dtype, dims, data): &Made| {
        let count = if dtype == "BYTES" { dims.iter().product::<i64>() as u64 } else { 0 };
        let data = if dtype == "BYTES" { Bytes::copy_from_slice(data) } else { Bytes::new() };
        texts::decode(&data, count).ok_or_else(|| PyValueError::new_err("no such texts"))
    };
    outputs.iter().map(of_one).collect()
}

/// Returns outputs as answers take them.
pub fn tensors_of<'a>(outputs: &'a [Made], texts: &'a [Vec<Bytes>]) -> PyResult<Vec<Output<'a>>> {
    let of_one = |((name, dtype, dims, data), texts): (&'a Made, &'a Vec<Bytes>)| {
        let dtype = dtypes::named(dtype).ok_or_else(|| unknown(dtype))?;
        let data = if dtype == DType::Bytes { Elements::Texts(texts) } else { Elements::Raw(data) };
        Ok(Output { name, dtype, dims, data })
    };
    outputs.iter().zip(texts).map(of_one).collect()
}

/// Returns a decision of these fields.
pub fn decided((route, target, model, version, reason, assigned, propensity): Decided) -> PyResult<Decision> {
    let reason = Reason::named(&reason).ok_or_else(|| unknown(&reason))?;
    Ok(Decision { route, target, assigned, propensity, ..Decision::outright(&model, version, reason) })
}

/// Says that there is no such word.
pub fn unknown(found: &str) -> PyErr {
    PyValueError::new_err(format!("{found:?} is not known"))
}

/// Adds this file's functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(parse_infer, module)?)?;
    module.add_function(wrap_pyfunction!(encode_infer, module)?)
}
