//! `turnout.v1.RecommendationService/Recommend`: the twin of `rpc/turnout_v1/recommendation.py` and
//! `tasks/recommendation.py`.

use std::borrow::Cow;

use bytes::Bytes;

use super::Typed;
use super::features::push;
use super::numbers::{doubles, integers, limits, shown, whole};
use super::selector::Selector;
use super::served::{Served, float_len, put_float, put_text, text_len};
use crate::call::Head;
use crate::decide::{Ask, Task};
use crate::error::{Error, Kind};
use crate::infer::question::{Answerer, Question};
use crate::oip::dtypes::width_of;
use crate::oip::prepare::size_of as grows_with;
use crate::oip::response::MESSAGE_LIMIT;
use crate::oip::signature::{Extent, Spec};
use crate::oip::wire::{Fields, Odd, Value, field_len, put_head};
use crate::oip::{Output, Prepared, Signature};
use crate::tensor::{DType, Data, Elements, Tensor};

/// Items where a request does not say how many.
const DEFAULT_K: usize = 10;
const MAX_K: usize = 1000;
/// Items in one history, or in one list of exclusions.
const MAX_IDS: usize = 10_000;
/// No item.
const PADDING: i128 = -1;
const NARROWEST: usize = 4;
/// Digits of an id that is a number.
const MOST_DIGITS: usize = 20;
const INPUTS: [&str; 3] = ["history", "exclude", "k"];
const OUTPUTS: [&str; 2] = ["item_ids", "scores"];

/// One user's history, and what to make of it.
#[derive(Debug)]
pub struct RecommendRequest<'a> {
    selector: Selector<'a>,
    /// Oldest first.
    history: Vec<&'a str>,
    excluded: Vec<&'a str>,
    k: usize,
    message: &'a Bytes,
}

impl<'a> RecommendRequest<'a> {
    /// Reads `message`, which came after `head`. None for what Python has to look at.
    pub fn parse(message: &'a Bytes, head: &'a Head) -> Option<Self> {
        Self::read(message, head).ok()
    }

    fn read(message: &'a Bytes, head: &'a Head) -> Result<Self, Odd> {
        let (mut selector, mut top_k) = (Selector::default(), 0);
        let (mut history, mut excluded) = (Vec::new(), Vec::new());
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match (number, value) {
                (1, _) => selector.read(value.bytes()?)?,
                (2, _) => push(&mut history, value.text()?, MAX_IDS)?,
                (3, _) => push(&mut excluded, value.text()?, MAX_IDS)?,
                (4, Value::Varint(value)) => top_k = value as i32,
                (4, _) => return Err(Odd),
                _ => {}
            }
        }
        selector.complete(head)?;
        let k = usize::try_from(top_k).ok().filter(|&k| k <= MAX_K).ok_or(Odd)?;
        Ok(Self { selector, history, excluded, k: if k == 0 { DEFAULT_K } else { k }, message })
    }

    fn input(&self, spec: &Spec) -> Option<Tensor> {
        if spec.dtype == DType::Bytes {
            let ids = match &*spec.name {
                "history" => &self.history,
                "exclude" => &self.excluded,
                _ => return None,
            };
            let ids = ids.iter().filter(|id| !id.is_empty());
            let mut row: Vec<Bytes> = ids.map(|id| self.message.slice_ref(id.as_bytes())).collect();
            pad(&mut row, Bytes::new());
            return Some(Tensor { dtype: spec.dtype, shape: vec![1, row.len() as i64], data: Data::Texts(row) });
        }
        let (shape, numbers) = match &*spec.name {
            "history" => row_of(&self.history, spec.dtype)?,
            "exclude" => row_of(&self.excluded, spec.dtype)?,
            _ => {
                if spec.shape.iter().any(|size| !matches!(size, -1 | 1)) {
                    return None;
                }
                let (_, most) = limits(spec.dtype).filter(|_| spec.dtype != DType::Bool)?;
                (vec![1; spec.shape.len()], vec![(self.k as i128).min(most)])
            }
        };
        let width = width_of(spec.dtype)?;
        let mut raw = Vec::with_capacity(numbers.len() * width);
        for number in numbers {
            raw.extend_from_slice(&whole(number, spec.dtype)?.to_le_bytes()[..width]);
        }
        Some(Tensor { dtype: spec.dtype, shape, data: Data::Raw(raw.into()) })
    }
}

/// Returns ids as one row: of those that are numbers that the graph can hold, and padding up to one of a few widths.
fn row_of(ids: &[&str], dtype: DType) -> Option<(Vec<i64>, Vec<i128>)> {
    let (low, high) = limits(dtype).filter(|_| dtype != DType::Bool)?;
    let numbers = ids.iter().filter_map(|id| number_of(id));
    let mut row: Vec<i128> = numbers.filter(|number| (low..=high).contains(number)).collect();
    if low < 0 {
        pad(&mut row, PADDING);
    }
    Some((vec![1, row.len() as i64], row))
}

/// Makes a row, if there is anything in it, one of a few widths.
fn pad<T: Clone>(row: &mut Vec<T>, padding: T) {
    if !row.is_empty() {
        row.resize(row.len().next_power_of_two().max(NARROWEST), padding);
    }
}

/// Returns the number that an id is, if it is one.
fn number_of(id: &str) -> Option<i128> {
    let digits = id.strip_prefix('-').unwrap_or(id);
    let is_number = (1..=MOST_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { id.parse().ok() } else { None }
}

impl Question for RecommendRequest<'_> {
    fn ask<'b>(&'b self, head: &'b Head) -> Option<Ask<'b>> {
        self.selector.ask(head)
    }

    fn request_id(&self) -> &str {
        self.selector.request_id()
    }

    fn task(&self) -> Option<Task> {
        Some(Task::Recommendation)
    }

    fn prepare(&self, signature: &Signature) -> Option<Prepared> {
        let specs = &signature.inputs;
        if specs.len() != INPUTS.len() || INPUTS.iter().any(|name| signature.input(name, 0).is_none()) {
            return None;
        }
        let mut extent = Extent::default();
        for ids in [&self.history, &self.excluded] {
            extent.add(signature, &[1, ids.len() as i64], true)?;
        }
        let place = |(guess, name): (usize, &&str)| signature.output(name, guess);
        let outputs: Vec<usize> = OUTPUTS.iter().enumerate().map(place).collect::<Option<_>>()?;
        let [ids, scores] = [outputs[0], outputs[1]].map(|index| signature.outputs[index].dtype);
        // Python shows ids of other dtypes in its own way, and takes texts for no scores.
        let are_ids = ids == DType::Bytes || (limits(ids).is_some() && ids != DType::Bool);
        if !are_ids || matches!(scores, DType::Bool | DType::Bytes | DType::Bf16) {
            return None;
        }
        let inputs: Vec<Tensor> = specs.iter().map(|spec| self.input(spec)).collect::<Option<_>>()?;
        let fits = |(spec, tensor): (&Spec, &Tensor)| {
            let same = |(&wanted, &size): (&i64, &i64)| wanted < 0 || wanted == size;
            spec.shape.len() == tensor.shape.len() && spec.shape.iter().zip(&tensor.shape).all(same)
        };
        if !specs.iter().zip(&inputs).all(fits) {
            return None;
        }
        let rows = inputs.get(signature.leading?)?.shape.first().map_or(1, |&rows| rows as u64);
        let size = if signature.varying { grows_with(signature, &inputs) } else { rows.max(1) };
        Some(Prepared { inputs, rows, size, outputs })
    }

    fn fault(&self, outputs: &[Output<'_>]) -> Option<Error> {
        let [ids, scores] = outputs else { return None };
        if ids.dims == scores.dims && matches!(ids.dims, [1, _]) {
            return None;
        }
        let (ids, scores) = (shown(ids.dims), shown(scores.dims));
        let text = format!("item_ids and scores have shapes {ids} and {scores} for one user");
        Some(Error::new(Kind::Invalid, "MODEL_INVALID", text))
    }

    fn answer(&self, by: Answerer<'_>, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        self.encode(by.view.served(by.decision)?, request_id, outputs)
    }
}

impl Typed for RecommendRequest<'_> {
    fn encode(&self, served: &Served, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        let [ids, scores] = outputs else { return None };
        let scores = doubles(scores.data.raw(), scores.dtype)?.into_iter().map(|score| score as f32);
        let items: Vec<(Cow<'_, str>, f32)> = match ids.data {
            Elements::Texts(texts) => {
                let found = texts.iter().zip(scores).filter(|(id, _)| !id.is_empty()).take(self.k);
                found.map(|(id, score)| (String::from_utf8_lossy(id), score)).collect()
            }
            Elements::Raw(raw) => {
                let found = integers(raw, ids.dtype)?.into_iter().zip(scores).filter(|&(id, _)| id != PADDING);
                found.take(self.k).map(|(id, score)| (Cow::Owned(id.to_string()), score)).collect()
            }
        };
        let len_of = |(id, score): &(Cow<'_, str>, f32)| text_len(id) + float_len(*score);
        let length = items.iter().map(|item| field_len(len_of(item))).sum::<usize>() + served.field_len(request_id);
        if length > MESSAGE_LIMIT {
            return None;
        }
        let mut message = Vec::with_capacity(length);
        for item in &items {
            put_head(&mut message, 1, len_of(item));
            put_text(&mut message, 1, &item.0);
            put_float(&mut message, 2, item.1);
        }
        served.put(&mut message, 2, request_id);
        debug_assert_eq!(message.len(), length);
        Some(message.into())
    }
}
