//! A request's tensors, held against the signature of the version that was assigned: the twin of `codec.prepare`.

use bytes::Bytes;

use super::dtypes::{name_of, width_of};
use super::request::{InferRequest, Input};
use super::signature::{Extent, Signature, Spec};
use super::{contents, texts};
use crate::tensor::{DType, Data, Tensor};

/// What the sizes other than 0 of an empty tensor may multiply to: it takes no bytes to claim more.
const EMPTY_LIMIT: u64 = 1 << 24;

/// Inputs that fit a signature, and what scheduling wants to know of them.
#[derive(Debug, PartialEq)]
pub struct Prepared {
    /// In the signature's order; raw bytes and texts are slices of the message.
    pub inputs: Vec<Tensor>,
    /// The batch size: how long the batch axis is; without one, the first axis that there is, else 1.
    pub rows: u64,
    /// What the run time grows with: the free axes of the largest input, multiplied.
    pub size: u64,
    /// The outputs wanted, as indexes into the signature's, in the order wanted.
    pub outputs: Vec<usize>,
}

/// Returns the request's inputs and outputs; None where they don't fit.
pub fn prepare(request: &InferRequest<'_>, signature: &Signature) -> Option<Prepared> {
    let specs = &signature.inputs;
    if request.inputs.len() != specs.len() {
        return None;
    }
    let outputs = wanted(&request.outputs, signature)?;
    let mut extent = Extent::default();
    let mut found: Vec<Option<Tensor>> = specs.iter().map(|_| None).collect();
    for (guess, input) in request.inputs.iter().enumerate() {
        let index = signature.input(input.name, guess)?;
        if found[index].is_some() {
            return None;
        }
        let dtype = specs[index].dtype;
        let count = count(input, &specs[index])?;
        extent.add(signature, &input.shape, specs[index].rowwise)?;
        let data = match request.raw.get(guess) {
            Some(raw) => elements(raw, dtype, count)?,
            // Only an empty tensor may have neither.
            None if count > 0 && input.contents.is_none() => return None,
            None => contents::decode(request.message, input.contents.unwrap_or_default(), dtype, count)?,
        };
        found[index] = Some(Tensor { dtype, shape: input.shape.clone(), data });
    }
    let inputs: Vec<Tensor> = found.into_iter().collect::<Option<_>>()?;
    let mut batch = signature.rowwise.iter().map(|&index| inputs[index].shape.first());
    if let Some(first) = batch.next()
        && batch.any(|other| other != first)
    {
        return None;
    }
    let rows = rows_of(request, signature, &inputs);
    let size = if signature.varying { size_of(signature, &inputs) } else { rows.max(1) };
    Some(Prepared { inputs, rows, size, outputs })
}

/// Holds one input's datatype and shape against what they have to be; returns how many elements it has.
fn count(input: &Input<'_>, spec: &Spec) -> Option<u64> {
    if input.datatype == name_of(spec.dtype) { count_of(&input.shape, spec) } else { None }
}

/// Holds a shape against what it has to be; returns how many elements it has.
pub fn count_of(shape: &[i64], spec: &Spec) -> Option<u64> {
    if shape.len() != spec.shape.len() {
        return None;
    }
    let (mut others, mut empty) = (1u64, false);
    for (&size, &wanted) in shape.iter().zip(&spec.shape) {
        if wanted >= 0 && size != wanted {
            return None;
        }
        match u64::try_from(size).ok()? {
            0 => empty = true,
            size => others = others.checked_mul(size)?,
        }
    }
    if empty {
        return (others <= EMPTY_LIMIT).then_some(0);
    }
    Some(others)
}

/// Returns the `count` elements in raw contents.
pub fn elements(raw: &Bytes, dtype: DType, count: u64) -> Option<Data> {
    let Some(width) = width_of(dtype) else { return texts::decode(raw, count).map(Data::Texts) };
    if u64::try_from(raw.len()).ok()? != count.checked_mul(width as u64)? {
        return None;
    }
    (dtype != DType::Bool || raw.iter().all(|&byte| byte <= 1)).then(|| Data::Raw(raw.clone()))
}

/// Returns the outputs wanted; None for an unknown one, or one wanted twice.
pub fn wanted(names: &[&str], signature: &Signature) -> Option<Vec<usize>> {
    let specs = &signature.outputs;
    if names.is_empty() {
        return Some((0..specs.len()).collect());
    }
    if names.len() > specs.len() {
        return None;
    }
    let mut seen = vec![false; specs.len()];
    let mut outputs = Vec::with_capacity(names.len());
    for (guess, name) in names.iter().enumerate() {
        let index = signature.output(name, guess)?;
        if std::mem::replace(&mut seen[index], true) {
            return None;
        }
        outputs.push(index);
    }
    Some(outputs)
}

/// As `Runner.rows_of`, which looks at the inputs in the request's order.
fn rows_of(request: &InferRequest<'_>, signature: &Signature, inputs: &[Tensor]) -> u64 {
    let leading = signature.leading.and_then(|index| inputs[index].shape.first());
    let rows = leading.or_else(|| request.inputs.iter().find_map(|input| input.shape.first()));
    rows.map_or(1, |&rows| rows as u64) // `check` has seen that it is not negative
}

/// As `Runner._size_of`.
pub fn size_of(signature: &Signature, inputs: &[Tensor]) -> u64 {
    let of_one = |(spec, tensor): (&Spec, &Tensor)| {
        let sizes = spec.free.iter().map(|&axis| tensor.shape[axis] as u64);
        (!spec.free.is_empty()).then(|| sizes.fold(1, u64::saturating_mul))
    };
    signature.inputs.iter().zip(inputs).filter_map(of_one).max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oip::testing::{head, message, signature};

    fn prepared(inputs: &[(&str, &str, &[i64], &[u8])], specs: &[(&str, &str, &[i64])]) -> Option<Prepared> {
        let (message, head) = (Bytes::from(message("m", inputs)), head(&[]));
        let request = InferRequest::parse(&message, &head).expect("the request itself is fine");
        prepare(&request, &signature(specs))
    }

    #[test]
    fn inputs_come_in_the_signatures_order() {
        let specs: [(&str, &str, &[i64]); 2] = [("a", "FP32", &[-1, 1]), ("b", "INT8", &[-1])];
        let found = prepared(&[("b", "INT8", &[2], &[1, 2]), ("a", "FP32", &[2, 1], &[0; 8])], &specs).unwrap();
        assert_eq!(found.inputs.iter().map(|tensor| tensor.dtype).collect::<Vec<_>>(), [DType::Fp32, DType::Int8]);
        assert_eq!((found.rows, found.size, found.outputs), (2, 2, vec![0, 1]));
    }

    #[test]
    fn what_does_not_fit_is_declined() {
        let specs: [(&str, &str, &[i64]); 2] = [("a", "FP32", &[-1, 2]), ("b", "BOOL", &[-1])];
        let a: (&str, &str, &[i64], &[u8]) = ("a", "FP32", &[1, 2], &[0; 8]);
        let b: (&str, &str, &[i64], &[u8]) = ("b", "BOOL", &[1], &[1]);
        assert!(prepared(&[a, b], &specs).is_some());
        for wrong in [
            vec![a],
            vec![a, a],
            vec![a, b, b],
            vec![a, ("c", "BOOL", &[1], &[1])],
            vec![a, ("b", "INT8", &[1], &[1])],
            vec![a, ("b", "BOOL", &[1], &[2])],
            vec![a, ("b", "BOOL", &[2], &[1, 1])],
            vec![a, ("b", "BOOL", &[], &[1])],
            vec![a, ("b", "BOOL", &[-1], &[1])],
            vec![b, ("a", "FP32", &[1, 2], &[0; 7])],
            vec![b, ("a", "FP32", &[1, 3], &[0; 12])],
        ] {
            assert_eq!(prepared(&wrong, &specs), None, "{wrong:?}");
        }
    }

    #[test]
    fn claims_of_size_are_not_believed() {
        let specs: [(&str, &str, &[i64]); 1] = [("a", "FP64", &[-1, -1, -1])];
        let claimed = |shape: &[i64]| prepared(&[("a", "FP64", shape, &[])], &specs).is_some();
        assert!(claimed(&[0, 1 << 12, 1 << 12]));
        assert!(!claimed(&[0, 1 << 12, 1 << 13]));
        assert!(!claimed(&[1 << 32, 1 << 32, 0]));
        assert!(!claimed(&[1 << 61, 8, 1]), "2^64 elements of 8 bytes are not 0 bytes");
        assert!(!claimed(&[1 << 31, 1 << 30, 1]), "nor are 2^61");
    }
}
