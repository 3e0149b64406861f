//! What this room's tests share: messages and signatures made by hand.

use super::signature::Signature;
use super::wire::{put_bytes, put_varint};
use crate::call::Head;

/// An input: name, datatype, shape, raw contents.
pub type Given<'a> = (&'a str, &'a str, &'a [i64], &'a [u8]);

/// Returns what stands before a request with `metadata`.
pub fn head(metadata: &[(&str, &str)]) -> Head {
    let metadata = metadata.iter().copied().collect();
    Head { path: "".into(), metadata, peer: "".into(), deadline: None }
}

/// Returns a request for `name` with raw inputs.
pub fn message(name: &str, inputs: &[Given<'_>]) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, name.as_bytes());
    for (name, datatype, shape, _) in inputs {
        let (mut tensor, mut packed) = (Vec::new(), Vec::new());
        put_bytes(&mut tensor, 1, name.as_bytes());
        put_bytes(&mut tensor, 2, datatype.as_bytes());
        shape.iter().for_each(|&size| put_varint(&mut packed, size as u64));
        put_bytes(&mut tensor, 3, &packed);
        put_bytes(&mut message, 5, &tensor);
    }
    for (_, _, _, data) in inputs {
        put_bytes(&mut message, 7, data);
    }
    message
}

/// Returns `message` with a parameter more, whose value is the whole `InferParameter` given.
pub fn with_parameter(mut message: Vec<u8>, key: &str, value: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    put_bytes(&mut entry, 1, key.as_bytes());
    put_bytes(&mut entry, 2, value);
    put_bytes(&mut message, 4, &entry);
    message
}

/// Returns the signature of a graph that gives back its inputs.
pub fn signature(specs: &[(&str, &str, &[i64])]) -> Signature {
    let tensors: Vec<String> = specs
        .iter()
        .map(|(name, dtype, shape)| format!(r#"{{"name": "{name}", "dtype": "{dtype}", "shape": {shape:?}}}"#))
        .collect();
    let tensors = tensors.join(", ");
    let json = format!(r#"{{"inputs": [{tensors}], "outputs": [{tensors}], "batched": true}}"#);
    Signature::from_json(json.as_bytes()).unwrap()
}
