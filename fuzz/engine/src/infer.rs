//! `ModelInferRequest`: what is taken, prost reads in the same way, and it comes back out of an answer unchanged.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use prost::Message;
use turnout_engine::call::Head;
use turnout_engine::decide::{Decision, Reason};
use turnout_engine::error::{Error, Kind};
use turnout_engine::infer::question::Question;
use turnout_engine::oip::{self, InferRequest, Output, Prepared, Signature, StreamRequest};
use turnout_engine::tensor::{DType, Data};

use crate::edits::edited;
use crate::made;
use crate::memory::bounded;
use crate::schema::{Choice, Contents, ModelInferRequest, ModelInferResponse, StreamAnswer};
use crate::signatures;

/// Bytes of memory for each byte of a request. An empty input takes two bytes there and a hundred here, twice where a list
/// of them grows, and there are 10,000 at most.
const TIMES: usize = 160;

/// Takes a request, and holds it against signatures of every kind.
pub fn raw(message: &[u8]) {
    for signature in signatures::usual() {
        check(message, signature);
    }
}

/// Takes what a signature and a request are made of, which may be damaged on its way.
pub fn made(data: &[u8]) {
    let _ = (|| -> Result<()> {
        let mut from = Unstructured::new(data);
        let (inputs, outputs) = (signatures::tensors(&mut from)?, signatures::tensors(&mut from)?);
        let batched = from.arbitrary()?;
        let Ok(signature) = Signature::from_json(signatures::json(&inputs, &outputs, batched).as_bytes()) else {
            return Ok(()); // two of one name
        };
        let request = made::inference(&mut from, &inputs, &outputs)?;
        let mut message = request.encode_to_vec();
        check(&message, &signature);
        edited(&mut from, &mut message)?;
        check(&message, &signature);
        Ok(())
    })();
}

/// What stands before a request.
pub fn head() -> Head {
    let metadata = [("x-turnout-unit", "theirs"), ("x-request-id", "r")].into_iter().collect();
    Head { path: "".into(), metadata, peer: "".into(), deadline: None }
}

/// Reads a request and prepares it for a version of this signature.
pub fn check(message: &[u8], signature: &Signature) {
    let (message, head) = (Bytes::copy_from_slice(message), head());
    let Some(request) = bounded(message.len(), TIMES, || InferRequest::parse(&message, &head)) else { return };
    let sound = request.is_sound();
    let oracle = ModelInferRequest::decode(message.clone());
    if let Ok(oracle) = &oracle {
        same(&request, oracle);
    } else {
        // Of a field in the wrong wire type prost makes an error; Google's protobuf, and so we, one that is not known.
        let is_typed = request.inputs.iter().any(|input| input.contents.is_some());
        assert!(is_typed || !sound, "taken, and prost cannot read it");
    }
    let prepared = bounded(message.len(), TIMES, || oip::prepare(&request, signature));
    if let (Some(prepared), Ok(oracle)) = (&prepared, &oracle) {
        fits(prepared, signature, oracle);
        comes_back(&request, prepared, signature);
    }
    let told = Error::new(Kind::Overloaded, "QUEUE_FULL", "no");
    let answer = StreamAnswer::decode(StreamRequest(request).failed(&told)).expect("an answer is protobuf");
    assert_eq!(answer.error_message, "QUEUE_FULL: no");
    assert!(
        answer.infer_response.is_some_and(|response| oracle.is_err() || Ok(response.id) == oracle.map(|one| one.id))
    );
}

fn same(request: &InferRequest<'_>, oracle: &ModelInferRequest) {
    assert_eq!((request.name, request.version, request.id), (&*oracle.model_name, &*oracle.model_version, &*oracle.id));
    assert_eq!(request.request_id, if oracle.id.is_empty() { "r" } else { &oracle.id });
    let of = |key: &str| oracle.parameters.get(key).map(|parameter| parameter.choice.clone());
    let unit = match of("unit_id") {
        None => String::new(),
        Some(Some(Choice::Text(unit))) => unit,
        Some(Some(Choice::Signed(number))) => number.to_string(),
        Some(Some(Choice::Unsigned(number))) => number.to_string(),
        Some(other) => panic!("a unit of {other:?} was taken"),
    };
    assert_eq!(request.unit, if unit.is_empty() { "theirs" } else { &unit });
    let count = |key: &str| match of(key) {
        None => 0,
        Some(Some(Choice::Signed(number))) => u64::try_from(number).expect("a negative count was taken"),
        Some(Some(Choice::Unsigned(number))) => number,
        Some(other) => panic!("{key} of {other:?} was taken"),
    };
    assert_eq!((request.timeout_us.unwrap_or_default(), request.priority), (count("timeout"), count("priority")));
    assert!((1..=10).contains(&request.level()));
    assert!(matches!(of("binary_data_output"), None | Some(Some(Choice::Bool(true)))));
    assert_eq!(request.wants_final, of("triton_enable_empty_final_response") == Some(Some(Choice::Bool(true))));
    assert_eq!(request.inputs.len(), oracle.inputs.len());
    for (input, theirs) in request.inputs.iter().zip(&oracle.inputs) {
        assert_eq!((input.name, input.datatype, &input.shape), (&*theirs.name, &*theirs.datatype, &theirs.shape));
        assert!(theirs.parameters.is_empty() && input.contents.is_some() == theirs.contents.is_some());
    }
    assert_eq!(request.outputs, oracle.outputs.iter().map(|output| &*output.name).collect::<Vec<_>>());
    assert!(request.raw.iter().eq(oracle.raw_input_contents.iter()));
    let now = std::time::Instant::now();
    assert!(request.deadline(None, now).is_none_or(|at| at >= now));
    assert_eq!(request.deadline(Some(now), now + Duration::from_secs(1)).map(|at| at <= now), Some(true));
}

/// What is prepared are the tensors that were sent, and each is of its kind in the signature.
pub fn sound(prepared: &Prepared, signature: &Signature) {
    assert_eq!(prepared.inputs.len(), signature.inputs.len());
    for (tensor, spec) in prepared.inputs.iter().zip(&signature.inputs) {
        assert!(tensor.dtype == spec.dtype && tensor.shape.len() == spec.shape.len());
        assert!(
            tensor.shape.iter().zip(&spec.shape).all(|(&size, &wanted)| size >= 0 && (wanted < 0 || size == wanted))
        );
        let count = usize::try_from(tensor.shape.iter().product::<i64>()).unwrap_or(usize::MAX);
        match &tensor.data {
            Data::Raw(raw) => assert!(Some(raw.len()) == oip::dtypes::width_of(spec.dtype).map(|width| width * count)),
            Data::Texts(texts) => {
                assert!(spec.dtype == DType::Bytes && texts.len() == count);
                assert!(texts.iter().all(|text| std::str::from_utf8(text).is_ok()));
            }
        }
    }
    assert!(prepared.outputs.iter().all(|&output| output < signature.outputs.len()));
}

fn fits(prepared: &Prepared, signature: &Signature, oracle: &ModelInferRequest) {
    sound(prepared, signature);
    assert_eq!(prepared.inputs.len(), oracle.inputs.len());
    for (tensor, spec) in prepared.inputs.iter().zip(&signature.inputs) {
        let at = oracle.inputs.iter().position(|input| input.name == spec.name).expect("no such input was sent");
        let expected = match (oracle.raw_input_contents.get(at), &oracle.inputs[at].contents) {
            (Some(raw), _) => raw.clone(),
            (None, Some(contents)) => typed(contents, tensor.dtype),
            (None, None) => Vec::new(),
        };
        assert!(raw_of(&tensor.data) == expected, "{:?} of {:?}", tensor, oracle.inputs[at]);
        assert_eq!(tensor.shape, oracle.inputs[at].shape);
    }
}

fn raw_of(data: &Data) -> Vec<u8> {
    let mut raw = data.raw().to_vec();
    oip::texts::encode(&mut raw, data.texts());
    raw
}

/// Returns typed contents as they would be raw.
fn typed(contents: &Contents, dtype: DType) -> Vec<u8> {
    let bytes = |texts: &[Vec<u8>]| {
        texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text].concat()).collect()
    };
    match dtype {
        DType::Bool => contents.bools.iter().map(|&value| u8::from(value)).collect(),
        DType::Int8 => contents.ints.iter().map(|&value| value as u8).collect(),
        DType::Int16 => contents.ints.iter().flat_map(|&value| (value as i16).to_le_bytes()).collect(),
        DType::Int32 => contents.ints.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::Int64 => contents.longs.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::Uint8 => contents.unsigned.iter().map(|&value| value as u8).collect(),
        DType::Uint16 => contents.unsigned.iter().flat_map(|&value| (value as u16).to_le_bytes()).collect(),
        DType::Uint32 => contents.unsigned.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::Uint64 => contents.unsigned_longs.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::Fp32 => contents.floats.iter().flat_map(|&value| quiet(value).to_le_bytes()).collect(),
        DType::Fp64 => contents.doubles.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::Bytes => bytes(&contents.texts),
        DType::Fp16 | DType::Bf16 => Vec::new(),
    }
}

/// As Python has it, where a float is a double in between.
fn quiet(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(value.to_bits() | 1 << 22) } else { value }
}

/// An answer that gives back the inputs holds what was sent.
fn comes_back(request: &InferRequest<'_>, prepared: &Prepared, signature: &Signature) {
    let outputs: Vec<Output<'_>> = prepared
        .inputs
        .iter()
        .zip(&signature.inputs)
        .map(|(tensor, spec)| Output {
            name: &spec.name,
            dtype: spec.dtype,
            dims: &tensor.shape,
            data: tensor.data.elements(),
        })
        .collect();
    let head = oip::Head::of(&Decision::outright("price", 3, Reason::Pinned));
    assert!(oip::fits(&head, request.id, request.request_id.len(), &outputs));
    let answer = oip::encode(&head, request.id, request.request_id, &outputs).expect("it fits");
    let answer = ModelInferResponse::decode(answer).expect("an answer is protobuf");
    assert_eq!((&*answer.model_name, &*answer.model_version, &*answer.id), ("price", "3", request.id));
    assert_eq!(answer.outputs.len(), outputs.len());
    for ((theirs, raw), tensor) in answer.outputs.iter().zip(&answer.raw_output_contents).zip(&prepared.inputs) {
        assert_eq!(theirs.shape, tensor.shape);
        assert_eq!(*raw, raw_of(&tensor.data));
    }
}
