//! What goes into a version and what comes out, arranged for reading requests: the twin of `vocabulary/signature.py`.

use std::collections::HashMap;

use serde::Deserialize;

use super::dtypes::named;
use crate::tensor::DType;
use crate::turnout_v1::layout::{self, Layout};

/// From so many names on a table is quicker than looking through them.
const FEW: usize = 16;

/// One input or output.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub name: String,
    pub dtype: DType,
    /// Row-major; -1 is any size.
    pub shape: Vec<i64>,
    /// Whether the first axis is the batch.
    pub rowwise: bool,
    /// The axes of any size.
    pub free: Vec<usize>,
}

/// A version's signature.
#[derive(Debug)]
pub struct Signature {
    pub inputs: Vec<Spec>,
    pub outputs: Vec<Spec>,
    /// Whether rows of several requests can be put together, run at once, and taken apart again.
    pub has_batch_axis: bool,
    /// The inputs whose first axis is the batch; the others hold for all rows.
    pub rowwise: Vec<usize>,
    /// The input whose first axis says how many rows a request has; None without inputs.
    pub leading: Option<usize>,
    /// Whether an axis other than the first is free, so that rows alone don't say how long a run takes.
    pub varying: bool,
    /// Which features the inputs consist of; None where a default is none.
    pub layout: Option<Layout>,
    /// How many rows, and how many elements in all inputs, one request may have.
    max_rows: u64,
    max_elements: u64,
    input_places: Places,
    output_places: Places,
}

/// What a request's inputs come to: the twin of `vocabulary/extent.py`. Each is added before its tensor is made.
#[derive(Default)]
pub struct Extent(u64);

impl Extent {
    /// Counts one more input; None where there is more than the signature allows with it.
    ///
    /// An axis of size 0 counts as one of size 1: what a graph makes of an empty tensor may not be empty.
    pub fn add(&mut self, signature: &Signature, shape: &[i64], rowwise: bool) -> Option<()> {
        let size = |&size: &i64| u64::try_from(size).ok();
        if rowwise && shape.first().and_then(size)? > signature.max_rows {
            return None;
        }
        let count = shape.iter().try_fold(1u64, |count, one| count.checked_mul(size(one)?.max(1)))?;
        self.0 = self.0.checked_add(count)?;
        (self.0 <= signature.max_elements).then_some(())
    }
}

/// What `turnout_server.engine.snapshot.signature` writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    batched: bool,
    #[serde(default)]
    max_rows: Option<u64>,
    #[serde(default)]
    max_elements: Option<u64>,
    #[serde(default)]
    features: Option<Vec<Option<layout::Document>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<i64>,
}

impl Signature {
    /// Reads a signature from JSON.
    ///
    /// Fails with words for people: JSON of another form, an unknown dtype, two tensors of one name.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let batched = document.batched;
        let inputs = specs(document.inputs, batched)?;
        let outputs = specs(document.outputs, batched)?;
        let rowwise: Vec<usize> = (0..inputs.len()).filter(|&index| inputs[index].rowwise).collect();
        Ok(Self {
            has_batch_axis: !rowwise.is_empty() && outputs.iter().all(|spec| spec.shape.first() == Some(&-1)),
            leading: rowwise.first().copied().or(if inputs.is_empty() { None } else { Some(0) }),
            varying: inputs.iter().any(|spec| spec.free.iter().any(|&axis| axis > 0)),
            layout: document.features.map(|features| Layout::of(features, &inputs)).transpose()?,
            input_places: Places::of(&inputs)?,
            output_places: Places::of(&outputs)?,
            max_rows: document.max_rows.unwrap_or(u64::MAX),
            max_elements: document.max_elements.unwrap_or(u64::MAX),
            rowwise,
            inputs,
            outputs,
        })
    }

    /// Returns the index of the input called `name`; `guess` is looked at first.
    pub fn input(&self, name: &str, guess: usize) -> Option<usize> {
        self.input_places.find(&self.inputs, name, guess)
    }

    /// Returns the index of the output called `name`; `guess` is looked at first.
    pub fn output(&self, name: &str, guess: usize) -> Option<usize> {
        self.output_places.find(&self.outputs, name, guess)
    }
}

fn specs(tensors: Vec<Tensor>, batched: bool) -> Result<Vec<Spec>, String> {
    tensors
        .into_iter()
        .map(|Tensor { name, dtype, shape }| {
            let dtype = named(&dtype).ok_or_else(|| format!("tensor {name:?}: no datatype {dtype:?}"))?;
            let rowwise = batched && shape.first() == Some(&-1);
            let free = (0..shape.len()).filter(|&axis| shape[axis] < 0).collect();
            Ok(Spec { name, dtype, shape, rowwise, free })
        })
        .collect()
}

/// Where names are in a list. Requests mostly name tensors in the signature's order, so a guess is tried first.
#[derive(Debug)]
struct Places {
    /// None where the names are few.
    table: Option<HashMap<String, usize>>,
}

impl Places {
    fn of(specs: &[Spec]) -> Result<Self, String> {
        let mut table = HashMap::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            if table.insert(spec.name.clone(), index).is_some() {
                return Err(format!("two tensors are called {:?}", spec.name));
            }
        }
        Ok(Self { table: (specs.len() >= FEW).then_some(table) })
    }

    fn find(&self, specs: &[Spec], name: &str, guess: usize) -> Option<usize> {
        if specs.get(guess).is_some_and(|spec| spec.name == name) {
            return Some(guess);
        }
        match &self.table {
            Some(table) => table.get(name).copied(),
            None => specs.iter().position(|spec| spec.name == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inputs: &str, outputs: &str) -> Result<Signature, String> {
        Signature::from_json(format!(r#"{{"inputs": [{inputs}], "outputs": [{outputs}], "batched": true}}"#).as_bytes())
    }

    #[test]
    fn rows_lead_where_there_are_any() {
        let k = r#"{"name": "k", "dtype": "INT64", "shape": []}"#;
        let x = r#"{"name": "x", "dtype": "FP32", "shape": [-1, -1]}"#;
        let both = read(&format!("{k}, {x}"), x).unwrap();
        assert_eq!((both.leading, both.varying, both.has_batch_axis), (Some(1), true, true));
        assert_eq!(both.rowwise, [1]);
        let alone = read(k, x).unwrap();
        assert_eq!((alone.leading, alone.varying, alone.has_batch_axis), (Some(0), false, false));
        assert_eq!(read("", x).unwrap().leading, None);
    }

    #[test]
    fn names_are_found_wherever_they_are() {
        for count in [3, 40] {
            let inputs: Vec<String> =
                (0..count).map(|n| format!(r#"{{"name": "f{n}", "dtype": "FP32", "shape": [-1]}}"#)).collect();
            let signature = read(&inputs.join(","), "").unwrap();
            for guess in [0, 2, 99] {
                assert_eq!(signature.input("f2", guess), Some(2));
                assert_eq!(signature.input("f", guess), None);
            }
        }
    }

    #[test]
    fn a_wrong_signature_is_told_in_words() {
        let x = r#"{"name": "x", "dtype": "FP32", "shape": []}"#;
        assert!(read(&format!("{x}, {x}"), "").unwrap_err().contains("two tensors"));
        assert!(read(&x.replace("FP32", "FP8"), "").unwrap_err().contains("FP8"));
        assert!(Signature::from_json(b"{}").is_err());
    }
}
