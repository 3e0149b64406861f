//! `turnout.v1.RankingService/Rank`: the twin of `rpc/turnout_v1/ranking.py` and `tasks/ranking.py`.

use bytes::Bytes;

use super::Typed;
use super::features::{Column, MAX_ROWS, MOST_NAMES, Matrix, check_names, once, push};
use super::notes::{Notes, notes};
use super::numbers::{doubles, is_float, is_plain, limits, numpy_name, shown};
use super::pack::{Features, pack};
use super::selector::Selector;
use super::served::{Served, float_len, put_float, put_number, put_text, text_len};
use crate::call::Head;
use crate::decide::{Ask, Task};
use crate::error::{Error, Kind};
use crate::infer::question::{Answerer, Question};
use crate::oip::response::MESSAGE_LIMIT;
use crate::oip::wire::{Fields, Odd, Value, field_len, put_head, varint_len};
use crate::oip::{Output, Prepared, Signature};

/// The output that orders candidates, where there are several.
const SCORE: &str = "score";

/// One context and its candidates.
#[derive(Debug)]
pub struct RankRequest<'a> {
    selector: Selector<'a>,
    ids: Vec<&'a str>,
    columns: Vec<Column<'a>>,
    matrix: Matrix<'a>,
    /// 0 for all.
    top_k: usize,
    message: &'a Bytes,
}

impl<'a> RankRequest<'a> {
    /// Reads `message`, which came after `head`. None for what Python has to look at.
    pub fn parse(message: &'a Bytes, head: &'a Head) -> Option<Self> {
        Self::read(message, head).ok()
    }

    fn read(message: &'a Bytes, head: &'a Head) -> Result<Self, Odd> {
        let (mut selector, mut ids, mut top_k) = (Selector::default(), Vec::new(), 0);
        let (mut columns, mut matrix) = (Vec::new(), None);
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match (number, value) {
                (1, _) => selector.read(value.bytes()?)?,
                (2, _) => push(&mut ids, value.text()?, MAX_ROWS)?,
                (3, _) => {
                    let column = Column::read(value.bytes()?)?;
                    if column.values.len() != 1 {
                        return Err(Odd);
                    }
                    push(&mut columns, column, MOST_NAMES)?;
                }
                (4, _) => push(&mut columns, Column::read(value.bytes()?)?, MOST_NAMES)?,
                (5, Value::Varint(value)) => top_k = usize::try_from(value as i32).map_err(|_| Odd)?,
                (5, _) => return Err(Odd),
                (6, _) => once(&mut matrix, Matrix::read(value.bytes()?)?)?,
                _ => {}
            }
        }
        let matrix = matrix.unwrap_or_default();
        check_names(columns.iter().map(|column| column.name).chain(matrix.names.iter().copied()))?;
        selector.complete(head)?;
        Ok(Self { selector, ids, columns, matrix, top_k, message })
    }
}

impl Question for RankRequest<'_> {
    fn ask<'b>(&'b self, head: &'b Head) -> Option<Ask<'b>> {
        self.selector.ask(head)
    }

    fn request_id(&self) -> &str {
        self.selector.request_id()
    }

    fn task(&self) -> Option<Task> {
        Some(Task::Ranking)
    }

    fn prepare(&self, signature: &Signature) -> Option<Prepared> {
        let outputs = &signature.outputs;
        let score = match &outputs[..] {
            [only] => only,
            several => several.iter().find(|spec| spec.name == SCORE)?,
        };
        if limits(score.dtype).is_none() && !is_float(score.dtype) || !is_plain(&score.name) {
            return None;
        }
        let features = Features { columns: &self.columns, matrix: &self.matrix, message: self.message };
        pack(&features, signature, self.ids.len(), (0..outputs.len()).collect())
    }

    fn notes(&self, signature: &Signature) -> Option<Notes> {
        let features = Features { columns: &self.columns, matrix: &self.matrix, message: self.message };
        notes(&features, signature, self.ids.len())
    }

    fn fault(&self, outputs: &[Output<'_>]) -> Option<Error> {
        let rows = self.ids.len() as i64;
        let Output { name, dtype, dims, .. } = score_of(outputs)?;
        if *dims == [rows] || *dims == [rows, 1] {
            return None;
        }
        let found = format!("{} of shape {}", numpy_name(*dtype), shown(dims));
        Some(Error::new(Kind::Invalid, "MODEL_INVALID", format!("output '{name}' is {found} for {rows} candidates")))
    }

    fn answer(&self, by: Answerer<'_>, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        self.encode(by.view.served(by.decision)?, request_id, outputs)
    }
}

impl Typed for RankRequest<'_> {
    fn encode(&self, served: &Served, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        let scores = score_of(outputs).and_then(|output| doubles(output.data.raw(), output.dtype))?;
        let ranked = order(&scores, self.top_k);
        let length_of = |&place: &usize| {
            let index = if place == 0 { 0 } else { 1 + varint_len(place as u64) };
            text_len(self.ids[place]) + float_len(scores[place] as f32) + index
        };
        let lengths: Vec<usize> = ranked.iter().map(length_of).collect();
        let length = lengths.iter().map(|&length| field_len(length)).sum::<usize>() + served.field_len(request_id);
        if length > MESSAGE_LIMIT {
            return None;
        }
        let mut message = Vec::with_capacity(length);
        for (&place, &length) in ranked.iter().zip(&lengths) {
            put_head(&mut message, 1, length);
            put_text(&mut message, 1, self.ids[place]);
            put_float(&mut message, 2, scores[place] as f32);
            put_number(&mut message, 3, place as u64);
        }
        served.put(&mut message, 2, request_id);
        debug_assert_eq!(message.len(), length);
        Some(message.into())
    }
}

/// Returns the output `score`, or the only one there is.
fn score_of<'b, 'c>(outputs: &'b [Output<'c>]) -> Option<&'b Output<'c>> {
    match outputs {
        [only] => Some(only),
        several => several.iter().find(|output| output.name == SCORE),
    }
}

/// Returns the places of the best scores, all for 0; equal ones keep their order and NaN comes last.
fn order(scores: &[f64], top_k: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|&one, &other| {
        let (one, other) = (scores[one], scores[other]);
        one.is_nan().cmp(&other.is_nan()).then_with(|| other.partial_cmp(&one).unwrap_or(std::cmp::Ordering::Equal))
    });
    if top_k > 0 {
        places.truncate(top_k);
    }
    places
}
