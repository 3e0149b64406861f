//! `turnout.v1.InferenceService/Infer`: the twin of `rpc/turnout_v1/inference.py` and `tasks/inference.py`.
//!
//! Left to Python are defaults of inputs that are no features, and inputs of a single element sent as features.

use bytes::Bytes;

use super::Typed;
use super::features::{Column, MAX_ROWS, MOST_NAMES, Matrix, check_names, once, push};
use super::notes::{Notes, notes_but};
use super::outputs::{put_tensor, tensor_len};
use super::pack::{Features, input_of, may_be_repeated, sources};
use super::selector::Selector;
use super::served::Served;
use super::tensors::NamedTensor;
use crate::call::Head;
use crate::decide::Ask;
use crate::decide::ask::{NAME_LIMIT, within};
use crate::infer::question::{Answerer, Question};
use crate::oip::prepare::{count_of, size_of, wanted};
use crate::oip::response::MESSAGE_LIMIT;
use crate::oip::signature::Extent;
use crate::oip::wire::{Fields, Odd, field_len};
use crate::oip::{Output, Prepared, Signature};
use crate::tensor::{DType, Tensor};

/// Tensors, or outputs wanted, of one request. A message has room for millions of empty ones.
const MOST_TENSORS: usize = 10_000;

/// An `InferRequest`: features, tensors, or both.
#[derive(Debug)]
pub struct AnyRequest<'a> {
    selector: Selector<'a>,
    columns: Vec<Column<'a>>,
    matrix: Matrix<'a>,
    tensors: Vec<NamedTensor<'a>>,
    outputs: Vec<&'a str>,
    message: &'a Bytes,
}

impl<'a> AnyRequest<'a> {
    /// Reads `message`, which came after `head`. None for what Python has to look at.
    pub fn parse(message: &'a Bytes, head: &'a Head) -> Option<Self> {
        Self::read(message, head).ok()
    }

    fn read(message: &'a Bytes, head: &'a Head) -> Result<Self, Odd> {
        let (mut selector, mut columns, mut matrix) = (Selector::default(), Vec::new(), None);
        let (mut tensors, mut outputs) = (Vec::new(), Vec::new());
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => selector.read(value.bytes()?)?,
                2 => push(&mut columns, Column::read(value.bytes()?)?, MOST_NAMES)?,
                3 => once(&mut matrix, Matrix::read(value.bytes()?)?)?,
                4 => push(&mut tensors, NamedTensor::read(value.bytes()?)?, MOST_TENSORS)?,
                5 => push(&mut outputs, value.text()?, MOST_TENSORS)?,
                _ => {}
            }
        }
        let matrix = matrix.unwrap_or_default();
        check_names(columns.iter().map(|column| column.name).chain(matrix.names.iter().copied()))?;
        check_names(outputs.iter().copied())?;
        if !outputs.iter().all(|name| within(name, NAME_LIMIT)) {
            return Err(Odd);
        }
        selector.complete(head)?;
        Ok(Self { selector, columns, matrix, tensors, outputs, message })
    }

    /// Returns the tensor for each input that has one.
    fn given(&self, signature: &Signature) -> Option<Vec<Option<&NamedTensor<'a>>>> {
        let mut given = vec![None; signature.inputs.len()];
        for (guess, tensor) in self.tensors.iter().enumerate() {
            let index = signature.input(tensor.name, guess)?;
            if given[index].replace(tensor).is_some() {
                return None;
            }
        }
        Some(given)
    }

    /// Returns how many rows there are: as many as tensors have, else the longest column; 1 without any.
    fn rows(&self, given: &[Option<&NamedTensor<'a>>], signature: &Signature) -> Option<usize> {
        let mut counts = signature.rowwise.iter().filter_map(|&index| given[index]?.shape.first());
        if let Some(first) = counts.next() {
            return if counts.all(|other| other == first) { usize::try_from(*first).ok() } else { None };
        }
        let matrix = if self.matrix.names.is_empty() { None } else { Some(self.matrix.rows()) };
        Some(self.columns.iter().map(|column| column.values.len()).chain(matrix).max().unwrap_or(1))
    }

    /// Counts what all inputs come to, and how many elements each tensor has.
    fn counts(
        &self,
        given: &[Option<&NamedTensor<'a>>],
        signature: &Signature,
        rows: usize,
        widths: &[Option<usize>],
    ) -> Option<Vec<u64>> {
        let mut extent = Extent::default();
        let each = signature.inputs.iter().zip(given).zip(widths);
        each.map(|((spec, tensor), width)| match (tensor, width) {
            (Some(tensor), _) => {
                let count = count_of(&tensor.shape, spec)?;
                extent.add(signature, &tensor.shape, spec.rowwise)?;
                Some(count)
            }
            (None, Some(width)) => {
                extent.add(signature, &[rows as i64, *width as i64], spec.rowwise)?;
                Some(0)
            }
            (None, None) => None,
        })
        .collect()
    }
}

impl Question for AnyRequest<'_> {
    fn ask<'b>(&'b self, head: &'b Head) -> Option<Ask<'b>> {
        self.selector.ask(head)
    }

    fn request_id(&self) -> &str {
        self.selector.request_id()
    }

    fn prepare(&self, signature: &Signature) -> Option<Prepared> {
        let outputs = wanted(&self.outputs, signature)?;
        let layout = signature.layout.as_ref()?;
        let given = self.given(signature)?;
        let features = Features { columns: &self.columns, matrix: &self.matrix, message: self.message };
        let sources = sources(&features, layout)?;
        let mut widths = vec![None; signature.inputs.len()];
        for part in &layout.parts {
            let sources = &sources[part.first..part.first + part.defaults.len()];
            if given[part.input].is_none() {
                widths[part.input] = Some(part.defaults.len());
            } else if sources.iter().any(|source| source.is_there()) {
                return None;
            }
        }
        // A feature may be the name of an input that is none.
        let names = self.columns.iter().map(|column| column.name).chain(self.matrix.names.iter().copied());
        let is_none = |name: &str| signature.input(name, 0).is_some_and(|index| !layout.has(index));
        if { names }.any(is_none) {
            return None;
        }
        let rows = self.rows(&given, signature)?;
        let counts = self.counts(&given, signature, rows, &widths)?;
        let parts = || layout.parts.iter().filter(|part| given[part.input].is_none());
        if parts().next().is_some() && rows > MAX_ROWS {
            return None;
        }
        if parts().any(|part| part.dtype == DType::Bytes) && rows > 1 && !may_be_repeated(&self.columns, rows) {
            return None;
        }
        let mut made: Vec<Option<Tensor>> = vec![None; signature.inputs.len()];
        // Tensors first: until they are read, what they say of rows is a claim.
        for (index, tensor) in given.iter().enumerate() {
            if let Some(tensor) = tensor {
                let dtype = signature.inputs[index].dtype;
                let data = tensor.decode(self.message, dtype, counts[index])?;
                made[index] = Some(Tensor { dtype, shape: tensor.shape.clone(), data });
            }
        }
        for part in parts() {
            made[part.input] = Some(input_of(&features, part, &sources, rows)?);
        }
        let inputs: Vec<Tensor> = made.into_iter().collect::<Option<_>>()?;
        let leading = inputs.get(signature.leading?)?.shape.first();
        let rows = leading.or_else(|| inputs.iter().find_map(|input| input.shape.first()));
        let rows = rows.map_or(1, |&rows| rows as u64); // `counts` has seen that it is not negative
        let size = if signature.varying { size_of(signature, &inputs) } else { rows.max(1) };
        Some(Prepared { inputs, rows, size, outputs })
    }

    fn notes(&self, signature: &Signature) -> Option<Notes> {
        let given = self.given(signature)?;
        let features = Features { columns: &self.columns, matrix: &self.matrix, message: self.message };
        notes_but(&features, signature, self.rows(&given, signature)?, |input| given[input].is_some())
    }

    fn fits(&self, by: Answerer<'_>, request_id: usize, outputs: &[Output<'_>]) -> bool {
        by.view.served(by.decision).is_some_and(|served| length_of(served, request_id, outputs).is_some())
    }

    fn answer(&self, by: Answerer<'_>, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        self.encode(by.view.served(by.decision)?, request_id, outputs)
    }
}

impl Typed for AnyRequest<'_> {
    fn encode(&self, served: &Served, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        let length = length_of(served, request_id.len(), outputs)?;
        let mut message = Vec::with_capacity(length);
        outputs.iter().for_each(|output| put_tensor(&mut message, output));
        served.put(&mut message, 2, request_id);
        debug_assert_eq!(message.len(), length);
        Some(message.into())
    }
}

/// Returns how long an answer is; None where that is more than protobuf can carry.
fn length_of(served: &Served, request_id: usize, outputs: &[Output<'_>]) -> Option<usize> {
    let mut length = served.field_len_of(request_id);
    for output in outputs {
        length = length.checked_add(field_len(tensor_len(output)))?;
    }
    (length <= MESSAGE_LIMIT).then_some(length)
}
