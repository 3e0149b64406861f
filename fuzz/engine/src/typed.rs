//! The typed services' requests: what is taken, prost reads in the same way, and answers to it are whole.

use std::collections::HashSet;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use prost::Message;
use turnout_engine::decide::{Decision, Reason};
use turnout_engine::oip::{Output, Prepared, Signature};
use turnout_engine::tensor::{DType, Elements};
use turnout_engine::turnout_v1::{PredictPriceRequest, RankRequest, RecommendRequest, Served, Typed};

use crate::edits::edited;
use crate::infer::{head, sound};
use crate::memory::bounded;
use crate::schema::{self, Answer, Column, Matrix, Selector};
use crate::{made as requests, signatures};

/// Bytes of memory for each byte of a request: an empty id or name takes two there, and here sixteen, twice where a list
/// of them grows, and as much in a table of names.
const TIMES: usize = 160;
/// Names of features in the signatures here.
const NAMES: [&str; 4] = ["a", "b", "c", "context"];

/// Takes a service and a request.
pub fn raw(data: &[u8]) {
    let Some((which, message)) = data.split_first() else { return };
    try_all(*which, message);
}

/// Takes what a request is made of, which may be damaged on its way.
pub fn made(data: &[u8]) {
    let _ = (|| -> Result<()> {
        let mut from = Unstructured::new(data);
        let which = from.arbitrary::<u8>()?;
        let mut message = match which % 3 {
            0 => requests::pricing(&mut from, &NAMES)?.encode_to_vec(),
            1 => requests::ranking(&mut from, &NAMES)?.encode_to_vec(),
            _ => requests::recommendation(&mut from)?.encode_to_vec(),
        };
        try_all(which, &message);
        edited(&mut from, &mut message)?;
        try_all(which, &message);
        Ok(())
    })();
}

fn try_all(which: u8, message: &[u8]) {
    for signature in usual() {
        match which % 3 {
            0 => price(message, signature),
            1 => rank(message, signature),
            _ => recommend(message, signature),
        }
    }
}

/// Reads a request for prices.
pub fn price(message: &[u8], signature: &Signature) {
    let (message, head) = (Bytes::copy_from_slice(message), head());
    let read = bounded(message.len(), TIMES, || PredictPriceRequest::parse(&message, &head));
    let Some(request) = read else { return };
    let oracle = schema::PredictPriceRequest::decode(message.clone()).expect("taken, and prost cannot read it");
    let rows = longest(oracle.features.iter(), oracle.matrix.as_ref());
    check_names(oracle.features.iter(), oracle.matrix.as_ref());
    check(&request, &head, oracle.selector.as_ref(), &message, signature, Some(rows), rows);
}

/// Reads a request for an order.
pub fn rank(message: &[u8], signature: &Signature) {
    let (message, head) = (Bytes::copy_from_slice(message), head());
    let Some(request) = bounded(message.len(), TIMES, || RankRequest::parse(&message, &head)) else { return };
    let oracle = schema::RankRequest::decode(message.clone()).expect("taken, and prost cannot read it");
    check_names(oracle.context_features.iter().chain(&oracle.candidate_features), oracle.matrix.as_ref());
    let rows = oracle.candidate_ids.len();
    let shown = usize::try_from(oracle.top_k).ok().filter(|&top| top > 0).map_or(rows, |top| top.min(rows));
    check(&request, &head, oracle.selector.as_ref(), &message, signature, Some(rows), shown);
}

/// Reads a request for recommendations.
pub fn recommend(message: &[u8], signature: &Signature) {
    let (message, head) = (Bytes::copy_from_slice(message), head());
    let Some(request) = bounded(message.len(), TIMES, || RecommendRequest::parse(&message, &head)) else { return };
    let oracle = schema::RecommendRequest::decode(message.clone()).expect("taken, and prost cannot read it");
    check(&request, &head, oracle.selector.as_ref(), &message, signature, None, usize::MAX);
}

/// Returns how many rows a request for prices has.
fn longest<'a>(columns: impl Iterator<Item = &'a Column>, matrix: Option<&Matrix>) -> usize {
    let length = |column: &Column| match column.values.as_ref().expect("a column without values was taken") {
        schema::Values::Floats(values) => values.values.len(),
        schema::Values::Integers(values) => values.values.len(),
        schema::Values::Texts(values) => values.values.len(),
    };
    let matrix =
        matrix.filter(|matrix| !matrix.names.is_empty()).map(|matrix| matrix.values.len() / matrix.names.len());
    columns.map(length).chain(matrix).max().unwrap_or(1)
}

fn check_names<'a>(columns: impl Iterator<Item = &'a Column>, matrix: Option<&'a Matrix>) {
    let mut seen = HashSet::new();
    let names = columns.map(|column| &column.name).chain(matrix.iter().flat_map(|matrix| &matrix.names));
    names.for_each(|name| assert!(seen.insert(name), "{name:?} stands twice, and was taken"));
}

/// `rows` are those of the inputs, where the request alone says how many; `shown` those of a full answer.
fn check(
    request: &impl Typed,
    head: &turnout_engine::call::Head,
    selector: Option<&Selector>,
    message: &Bytes,
    signature: &Signature,
    rows: Option<usize>,
    shown: usize,
) {
    let ask = request.ask(head).expect("a request that was taken asks for somebody");
    let selector = selector.cloned().unwrap_or_default();
    let unit = if selector.unit.is_empty() { "theirs" } else { &selector.unit };
    assert_eq!((ask.name(), ask.version(), ask.unit()), (&*selector.name, &*selector.version, unit));
    // A value that stands for all rows is there once for each, in each input.
    let widest: usize = signature.layout.as_ref().map_or(1, |layout| layout.len().max(1));
    let allowed = message.len() * TIMES + rows.unwrap_or(1) * widest * 80;
    let Some(prepared) = bounded(allowed, 1, || request.prepare(signature)) else { return };
    sound(&prepared, signature);
    if let Some(rows) = rows {
        let own = |tensor: &turnout_engine::tensor::Tensor| tensor.shape.first() == Some(&(rows as i64));
        assert!(prepared.inputs.iter().all(own));
    }
    answer(request, &prepared, signature, rows.unwrap_or(1), shown);
}

fn answer(request: &impl Typed, prepared: &Prepared, signature: &Signature, rows: usize, shown: usize) {
    let dims = [rows as i64];
    let pair = [1, rows as i64];
    let numbers: Vec<u8> = (0..rows * 8).map(|at| (at * 37) as u8).collect();
    let texts: Vec<Bytes> = (0..rows).map(|row| Bytes::from(row.to_string())).collect();
    let outputs: Vec<Output<'_>> = prepared
        .outputs
        .iter()
        .map(|&output| {
            let spec = &signature.outputs[output];
            let width = turnout_engine::oip::dtypes::width_of(spec.dtype).unwrap_or_default();
            let data = match spec.dtype {
                DType::Bytes => Elements::Texts(&texts),
                _ => Elements::Raw(&numbers[..rows * width]),
            };
            let dims = if spec.shape.len() == 2 { &pair[..] } else { &dims };
            Output { name: &spec.name, dtype: spec.dtype, dims, data }
        })
        .collect();
    if request.fault(&outputs).is_some() {
        return;
    }
    let served = Served::of(&Decision::outright("price", 3, Reason::Pinned));
    let Some(answer) = request.encode(&served, "id", &outputs) else { return };
    let answer = Answer::decode(answer).expect("an answer is protobuf");
    let served = answer.served.expect("an answer says who served");
    assert_eq!((&*served.model, &*served.request_id), ("price", "id"));
    assert!(if shown == usize::MAX { answer.rows.len() <= rows } else { answer.rows.len() == shown });
}

/// Returns signatures of every typed task.
fn usual() -> &'static [Signature] {
    static USUAL: std::sync::LazyLock<Vec<Signature>> = std::sync::LazyLock::new(|| {
        let features = |input: &str, dtype: &str, names: &[&str], default: &str| {
            let each: Vec<String> =
                names.iter().map(|name| format!(r#"{{"name": "{name}", "default": {default}}}"#)).collect();
            let (width, each) = (names.len(), each.join(", "));
            (
                format!(r#"{{"name": "{input}", "dtype": "{dtype}", "shape": [-1, {width}]}}"#),
                format!(r#"{{"rows": -1, "tail": [{width}], "features": [{each}]}}"#),
            )
        };
        let outputs = ["price", "low", "high", "score"]
            .map(|name| format!(r#"{{"name": "{name}", "dtype": "FP32", "shape": [-1]}}"#))
            .join(", ");
        let mut made = Vec::new();
        for (dtype, default) in
            [("FP32", "null"), ("FP32", r#""0000c07f""#), ("FP64", r#""000000000000f03f""#), ("FP16", r#""0000""#)]
        {
            made.push(vec![features("x", dtype, &NAMES, default)]);
        }
        made.push(vec![
            features("x", "INT64", &["a", "b"], r#""0100000000000000""#),
            features("y", "BYTES", &["c", "context"], r#""""#),
        ]);
        made.push(vec![features("x", "BOOL", &["a"], r#""00""#), features("y", "UINT16", &NAMES[1..], r#""0000""#)]);
        let mut all: Vec<Signature> = Vec::new();
        for inputs in made {
            let specs: Vec<&str> = inputs.iter().map(|(spec, _)| spec.as_str()).collect();
            let features: Vec<&str> = inputs.iter().map(|(_, features)| features.as_str()).collect();
            let json = format!(
                r#"{{"inputs": [{}], "outputs": [{outputs}], "batched": true, "features": [{}]}}"#,
                specs.join(", "),
                features.join(", ")
            );
            all.push(Signature::from_json(json.as_bytes()).expect("a signature"));
        }
        for dtype in ["INT64", "BYTES", "UINT8", "INT32"] {
            let k = if dtype == "BYTES" { "INT32" } else { dtype };
            let kinds = [("history", dtype, vec![-1, -1]), ("exclude", dtype, vec![-1, -1]), ("k", k, vec![1])];
            let inputs = kinds.map(|(name, dtype, shape)| (name.to_owned(), dtype, shape));
            let outputs = [("item_ids".into(), dtype, vec![-1, -1]), ("scores".into(), "FP32", vec![-1, -1])];
            let json = signatures::json(&inputs, &outputs, false);
            all.push(Signature::from_json(json.as_bytes()).expect("a signature"));
        }
        all
    });
    &USUAL
}
