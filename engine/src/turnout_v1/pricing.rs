//! `turnout.v1.PricingService/PredictPrice`: the twin of `rpc/turnout_v1/pricing.py` and `tasks/price.py`.

use bytes::Bytes;

use super::Typed;
use super::features::{Column, MOST_NAMES, Matrix, check_names, once, push};
use super::notes::{Notes, notes};
use super::numbers::{doubles, numpy_name, shown};
use super::pack::{Features, pack};
use super::selector::Selector;
use super::served::{Served, float_len, put_float};
use crate::call::Head;
use crate::decide::{Ask, Task};
use crate::error::{Error, Kind};
use crate::infer::question::{Answerer, Question};
use crate::oip::response::MESSAGE_LIMIT;
use crate::oip::wire::{Fields, Odd, field_len, put_head};
use crate::oip::{Output, Prepared, Signature};
use crate::tensor::DType;

/// The outputs, in the order of a price's fields.
const OUTPUTS: [&str; 3] = ["price", "low", "high"];

/// The features of one or more articles.
#[derive(Debug)]
pub struct PredictPriceRequest<'a> {
    selector: Selector<'a>,
    columns: Vec<Column<'a>>,
    matrix: Matrix<'a>,
    message: &'a Bytes,
}

impl<'a> PredictPriceRequest<'a> {
    /// Reads `message`, which came after `head`. None for what Python has to look at.
    pub fn parse(message: &'a Bytes, head: &'a Head) -> Option<Self> {
        Self::read(message, head).ok()
    }

    fn read(message: &'a Bytes, head: &'a Head) -> Result<Self, Odd> {
        let (mut selector, mut columns, mut matrix) = (Selector::default(), Vec::new(), None);
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => selector.read(value.bytes()?)?,
                2 => push(&mut columns, Column::read(value.bytes()?)?, MOST_NAMES)?,
                3 => once(&mut matrix, Matrix::read(value.bytes()?)?)?,
                _ => {}
            }
        }
        let matrix = matrix.unwrap_or_default();
        check_names(columns.iter().map(|column| column.name).chain(matrix.names.iter().copied()))?;
        selector.complete(head)?;
        Ok(Self { selector, columns, matrix, message })
    }

    /// Returns how many rows there are: as many as the longest column has; 1 without any, all of it being defaults.
    fn rows(&self) -> usize {
        let matrix = if self.matrix.names.is_empty() { None } else { Some(self.matrix.rows()) };
        self.columns.iter().map(|column| column.values.len()).chain(matrix).max().unwrap_or(1)
    }
}

impl Question for PredictPriceRequest<'_> {
    fn ask<'b>(&'b self, head: &'b Head) -> Option<Ask<'b>> {
        self.selector.ask(head)
    }

    fn request_id(&self) -> &str {
        self.selector.request_id()
    }

    fn task(&self) -> Option<Task> {
        Some(Task::Price)
    }

    fn prepare(&self, signature: &Signature) -> Option<Prepared> {
        let place = |(guess, name): (usize, &&str)| signature.output(name, guess);
        let outputs: Vec<usize> = OUTPUTS.iter().enumerate().map(place).collect::<Option<_>>()?;
        let no_number = |&index: &usize| matches!(signature.outputs[index].dtype, DType::Bytes | DType::Bf16);
        if outputs.iter().any(no_number) {
            return None;
        }
        let features = Features { columns: &self.columns, matrix: &self.matrix, message: self.message };
        pack(&features, signature, self.rows(), outputs)
    }

    fn notes(&self, signature: &Signature) -> Option<Notes> {
        let features = Features { columns: &self.columns, matrix: &self.matrix, message: self.message };
        notes(&features, signature, self.rows())
    }

    fn fault(&self, outputs: &[Output<'_>]) -> Option<Error> {
        let rows = self.rows() as i64;
        let no_number_a_row =
            |output: &&Output<'_>| (output.dims != [rows] && output.dims != [rows, 1]) || output.dtype == DType::Bool;
        let Output { name, dtype, dims, .. } = outputs.iter().find(no_number_a_row)?;
        let found = format!("{} of shape {}", numpy_name(*dtype), shown(dims));
        Some(Error::new(Kind::Invalid, "MODEL_INVALID", format!("output '{name}' is {found} for {rows} rows")))
    }

    fn answer(&self, by: Answerer<'_>, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        self.encode(by.view.served(by.decision)?, request_id, outputs)
    }
}

impl Typed for PredictPriceRequest<'_> {
    fn encode(&self, served: &Served, request_id: &str, outputs: &[Output<'_>]) -> Option<Bytes> {
        let numbers: Vec<Vec<f64>> =
            outputs.iter().map(|output| doubles(output.data.raw(), output.dtype)).collect::<Option<_>>()?;
        let [prices, lows, highs] = &numbers[..] else { return None };
        let rows = prices.iter().zip(lows).zip(highs);
        let rows: Vec<[f32; 3]> = rows.map(|((&price, &low), &high)| [price as f32, low as f32, high as f32]).collect();
        let len_of = |row: &[f32; 3]| row.iter().copied().map(float_len).sum::<usize>();
        let length = rows.iter().map(|row| field_len(len_of(row))).sum::<usize>() + served.field_len(request_id);
        if length > MESSAGE_LIMIT {
            return None;
        }
        let mut message = Vec::with_capacity(length);
        for row in &rows {
            put_head(&mut message, 1, len_of(row));
            (1..).zip(row).for_each(|(number, &value)| put_float(&mut message, number, value));
        }
        served.put(&mut message, 2, request_id);
        debug_assert_eq!(message.len(), length);
        Some(message.into())
    }
}
