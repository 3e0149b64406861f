//! The typed codecs, for the tests that hold these twins against Python's. Nothing serves through them.

use std::collections::HashMap;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{AnyRequest, PredictPriceRequest, RankRequest, RecommendRequest, Served, Typed};
use crate::call;
use crate::error::Error;
use crate::infer::shard::{INFER, PREDICT_PRICE, RANK, RECOMMEND};
use crate::oip::python::{Decided, Made, decided, tensors_of, texts_of, unknown};
use crate::oip::{Output, Signature, dtypes, texts};
use crate::tensor::Data;

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
        INFER => read(py, AnyRequest::parse(&message, &head), &head, &signature),
        RANK => read(py, RankRequest::parse(&message, &head), &head, &signature),
        PREDICT_PRICE => read(py, PredictPriceRequest::parse(&message, &head), &head, &signature),
        RECOMMEND => read(py, RecommendRequest::parse(&message, &head), &head, &signature),
        _ => return Err(unknown(method)),
    })
}

fn read<'py>(
    py: Python<'py>,
    question: Option<impl Typed>,
    head: &call::Head,
    signature: &Signature,
) -> Option<Fields<'py>> {
    let question = question?;
    let (ask, prepared) = (question.ask(head)?, question.prepare(signature)?);
    let inputs = prepared.inputs.into_iter().map(|tensor| {
        let data = match tensor.data {
            Data::Raw(data) => data.to_vec(),
            Data::Texts(texts) => {
                let mut raw = Vec::new();
                texts::encode(&mut raw, &texts);
                raw
            }
        };
        (dtypes::name_of(tensor.dtype), tensor.shape, PyBytes::new(py, &data))
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
    outputs: Vec<Made>,
) -> PyResult<Answered<'py>> {
    let (message, head) = (Bytes::from(message), head(HashMap::new()));
    let served = Served::of(&decided(decision)?);
    let texts = texts_of(&outputs)?;
    let tensors = tensors_of(&outputs, &texts)?;
    let (answer, fault) = match method {
        INFER => answered(AnyRequest::parse(&message, &head), &served, request_id, &tensors),
        RANK => answered(RankRequest::parse(&message, &head), &served, request_id, &tensors),
        PREDICT_PRICE => answered(PredictPriceRequest::parse(&message, &head), &served, request_id, &tensors),
        RECOMMEND => answered(RecommendRequest::parse(&message, &head), &served, request_id, &tensors),
        _ => return Err(unknown(method)),
    };
    Ok((answer.map(|answer| PyBytes::new(py, &answer)), fault.map(|error| (error.reason, error.message))))
}

fn answered(
    question: Option<impl Typed>,
    served: &Served,
    request_id: &str,
    outputs: &[Output<'_>],
) -> (Option<Bytes>, Option<Error>) {
    let Some(question) = question else { return (None, None) };
    match question.fault(outputs) {
        Some(error) => (None, Some(error)),
        None => (question.encode(served, request_id, outputs), None),
    }
}

fn head(metadata: HashMap<String, String>) -> call::Head {
    call::Head { path: "".into(), metadata: metadata.into_iter().collect(), peer: "".into(), deadline: None }
}

/// Adds this file's functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(parse_typed, module)?)?;
    module.add_function(wrap_pyfunction!(answer_typed, module)?)
}
