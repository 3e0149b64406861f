//! The count of a message's values, against what prost makes of it, and against what is known of one that is made.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use prost::Message;
use turnout_engine::net::Shape;

use crate::edits::edited;
use crate::schema::{Choice, Contents, ModelInferRequest, Parameter, PredictPriceRequest, Values};

/// What a message within a message counts as.
const MESSAGE: usize = 32;
/// More than any input here has.
const NO_END: usize = 1 << 30;

/// Returns the shape of an inference, as `transport.values.shape_of` makes it.
fn inference() -> Shape {
    let contents = || BTreeMap::from([(1, -1), (2, -1), (3, -1), (4, -1), (5, -1)]);
    shape(&[
        BTreeMap::from([(4, 1), (5, 2), (6, 3)]),
        BTreeMap::from([(2, 4)]),
        BTreeMap::from([(3, -1), (4, 5), (5, 6)]),
        BTreeMap::from([(2, 7)]),
        BTreeMap::from([(1, -1), (2, -1), (5, -1)]),
        BTreeMap::from([(2, 4)]),
        contents(),
        BTreeMap::from([(2, 4)]),
    ])
}

/// Returns the shape of a request for prices, likewise.
fn pricing() -> Shape {
    let none = BTreeMap::new;
    shape(&[
        BTreeMap::from([(1, 1), (2, 2), (3, 3)]),
        none(),
        BTreeMap::from([(2, 4), (3, 5), (4, 6)]),
        none(),
        none(),
        BTreeMap::from([(1, -1)]),
        none(),
    ])
}

fn shape(messages: &[BTreeMap<u32, i64>]) -> Shape {
    Shape::new(messages).unwrap_or_else(|error| panic!("{error}"))
}

/// Takes a message.
pub fn raw(message: &[u8]) {
    let (infer, price) = (inference(), pricing());
    let counts = [infer.count(message, NO_END), price.count(message, NO_END)];
    for (shape, count) in [(&infer, counts[0]), (&price, counts[1])] {
        // A message is two bytes at least, any other value one.
        assert!(count <= message.len() * MESSAGE / 2 + 1);
        for most in [0, 1, 31, 32, 33, count.saturating_sub(1), count] {
            assert_eq!(shape.count(message, most), count.min(most + 1));
        }
    }
    if let Ok(request) = ModelInferRequest::decode(message) {
        assert!(counts[0] >= inference_holds(&request), "{} values counted of {request:?}", counts[0]);
    }
    if let Ok(request) = PredictPriceRequest::decode(message) {
        assert!(counts[1] >= pricing_holds(&request), "{} values counted of {request:?}", counts[1]);
    }
}

/// Returns how many values prost made, at the least: of what is written twice it keeps one.
fn inference_holds(request: &ModelInferRequest) -> usize {
    let parameters = |all: &std::collections::HashMap<String, Parameter>| -> usize {
        all.values().map(|one| MESSAGE + usize::from(one.choice.is_some())).sum()
    };
    let contents = |one: &Contents| {
        let numbers = [one.bools.len(), one.ints.len(), one.longs.len(), one.unsigned.len(), one.unsigned_longs.len()];
        MESSAGE + one.texts.len() + numbers.iter().sum::<usize>()
    };
    let inputs = request.inputs.iter().map(|input| {
        MESSAGE + input.shape.len() + parameters(&input.parameters) + input.contents.as_ref().map_or(0, contents)
    });
    let outputs = request.outputs.iter().map(|output| MESSAGE + parameters(&output.parameters));
    let texts =
        [&request.model_name, &request.model_version, &request.id].iter().filter(|text| !text.is_empty()).count();
    let raw = request.raw_input_contents.len();
    parameters(&request.parameters) + inputs.sum::<usize>() + outputs.sum::<usize>() + texts + raw
}

fn pricing_holds(request: &PredictPriceRequest) -> usize {
    let columns = request.features.iter().map(|column| {
        let values = match &column.values {
            None => 0,
            Some(Values::Floats(_)) => MESSAGE, // as long as on the wire
            Some(Values::Integers(integers)) => MESSAGE + integers.values.len(),
            Some(Values::Texts(texts)) => MESSAGE + texts.values.len(),
        };
        MESSAGE + values
    });
    let matrix = request.matrix.as_ref().map_or(0, |matrix| MESSAGE + matrix.names.len());
    let selector = request.selector.as_ref().map_or(0, |_| MESSAGE);
    columns.sum::<usize>() + matrix + selector
}

/// Takes what a message is made of, whose values are counted while it is written.
pub fn made(data: &[u8]) {
    let mut from = Unstructured::new(data);
    let mut message = Vec::new();
    let Ok(count) = written(&mut from, &mut message) else { return };
    assert_eq!(inference().count(&message, NO_END), count);
    if edited(&mut from, &mut message).is_ok() {
        raw(&message);
    }
}

fn written(from: &mut Unstructured<'_>, message: &mut Vec<u8>) -> Result<usize> {
    let mut count = 0;
    for _ in 0..from.int_in_range(0..=12)? {
        let mut inside = Vec::new();
        match from.int_in_range(0..=6)? {
            0 => {
                // A group, with anything in it.
                let within = from.int_in_range(0..=3)?;
                message.push(12 << 3 | 3);
                for _ in 0..within {
                    put(message, 5, b"\xff\xff");
                }
                message.push(12 << 3 | 4);
                count += 2 + within;
            }
            1 => {
                message.extend([9 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 10 << 3 | 5, 0, 0, 0, 0]);
                count += 2;
            }
            2 => {
                put(message, 7, &from.arbitrary::<Vec<u8>>()?);
                count += 1;
            }
            3 => {
                let numbers: Vec<u64> = from.arbitrary()?;
                let mut contents = Vec::new();
                numbers.iter().for_each(|&number| varint(&mut contents, number));
                let field = from.int_in_range(1..=5)?;
                put(&mut inside, field, &contents);
                let mut input = Vec::new();
                put(&mut input, 5, &inside);
                put(message, 5, &input);
                count += 2 * MESSAGE + 1 + numbers.len();
            }
            4 => {
                let sizes: Vec<u64> = from.arbitrary()?;
                for &size in &sizes {
                    inside.push(3 << 3);
                    varint(&mut inside, size);
                }
                put(message, 5, &inside);
                count += MESSAGE + sizes.len();
            }
            5 => {
                let parameter = Parameter { choice: Some(Choice::Signed(from.arbitrary()?)) }.encode_to_vec();
                put(&mut inside, 1, b"key");
                put(&mut inside, 2, &parameter);
                put(message, 4, &inside);
                count += 2 * MESSAGE + 1 + 1;
            }
            _ => {
                put(message, 6, b"");
                count += MESSAGE;
            }
        }
    }
    Ok(count)
}

fn put(into: &mut Vec<u8>, number: u8, inside: &[u8]) {
    into.push(number << 3 | 2);
    varint(into, inside.len() as u64);
    into.extend_from_slice(inside);
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}
