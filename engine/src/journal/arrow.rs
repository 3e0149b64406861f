//! A page as Arrow has it: a struct of columns, the same as `journal/columns.py` makes of Python's records.

use arrow_buffer::{ArrowNativeType, BooleanBufferBuilder, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};
use blake2::Blake2bMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};

use super::page::Page;
use crate::decide::Decision;

/// Rows that a column of 32 bits can say; tensors without bytes may claim to have more.
const MOST_ROWS: u64 = i32::MAX as u64;
const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

/// Columns, in the journal's order.
struct Columns {
    count: usize,
    fields: Vec<Field>,
    children: Vec<ArrayData>,
}

/// Returns the columns of `page`, units hashed with `key`, which rows call `key_id`.
///
/// Fails where the key is too long, or where texts are more than a column can hold.
pub fn encode(page: &Page, key: &[u8], key_id: &str) -> Result<ArrayData, ArrowError> {
    let hasher = Blake2bMac::<U16>::new_from_slice(key)
        .map_err(|_| ArrowError::InvalidArgumentError("the key is too long".into()))?;
    let mut columns = Columns { count: page.len(), fields: Vec::new(), children: Vec::new() };
    let ends = || page.places.iter().map(|&place| &page.ends[place]);
    let of = |value: fn(&Decision) -> &str| ends().map(move |(decision, _)| some(value(decision)));
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    columns.numbers("ts", micros, page.arrived.iter().map(|&ns| Some((ns / 1000) as i64)))?;
    columns.numbers("seq", DataType::Int64, page.seqs.iter().map(|&seq| Some(seq as i64)))?;
    columns.request_ids(page)?;
    columns.texts("route", of(|decision| &decision.route))?;
    columns.texts("epoch", of(|decision| &decision.epoch))?;
    columns.texts("table_digest", of(|decision| &decision.table_digest))?;
    let hashed = |unit: &str| {
        let mut hasher = hasher.clone();
        hasher.update(unit.as_bytes());
        hasher.finalize_fixed()
    };
    columns.bytes("unit", DataType::Binary, page.units.iter().map(|unit| some(unit).map(hashed)))?;
    columns.texts("unit_key_id", page.units.iter().map(|unit| some(unit).map(|_| key_id)))?;
    columns.texts("assigned", of(|decision| &decision.assigned))?;
    columns.texts("served", of(|decision| &decision.target))?;
    columns.texts("model", ends().map(|(decision, _)| Some(&*decision.model)))?;
    columns.numbers("version", DataType::Int64, ends().map(|(decision, _)| Some(decision.version)))?;
    columns.texts("reason", ends().map(|(decision, _)| Some(decision.reason.name())))?;
    let overrides = ends().map(|(decision, _)| decision.override_index.map(|index| index as i32));
    columns.numbers("override", DataType::Int32, overrides)?;
    columns.numbers("propensity", DataType::Float64, ends().map(|(decision, _)| decision.propensity))?;
    columns.texts("code", ends().map(|&(_, code)| Some(code)))?;
    columns.numbers("took_us", DataType::Int64, page.took.iter().map(|&ns| Some((ns / 1000) as i64)))?;
    let queues = page.queues.iter().map(|&queue| queue.map(|ns| (ns / 1000) as i64));
    columns.numbers("queue_us", DataType::Int64, queues)?;
    columns.numbers("rows", DataType::Int32, page.rows.iter().map(|&rows| Some(rows.min(MOST_ROWS) as i32)))?;
    columns.nothing("principal", DataType::Utf8);
    columns.bytes(
        "trace_id",
        DataType::Utf8,
        page.traces.iter().map(|trace| (*trace != [0; 16]).then(|| hex(trace))),
    )?;
    columns.nothing("copy_of", DataType::Int64);
    for (name, kind) in SHADOW {
        columns.nothing(name, kind);
    }
    columns.done()
}

/// What only copies have, which the engine makes none of.
const SHADOW: [(&str, DataType); 9] = [
    ("shadow_overlap", DataType::Float64),
    ("shadow_tau", DataType::Float64),
    ("shadow_top1", DataType::Boolean),
    ("shadow_delta", DataType::Float64),
    ("shadow_delta_most", DataType::Float64),
    ("shadow_absolute", DataType::Float64),
    ("shadow_relative", DataType::Float64),
    ("shadow_nans", DataType::Int64),
    ("shadow_note", DataType::Utf8),
];

impl Columns {
    fn add(&mut self, name: &str, column: ArrayData) {
        self.fields.push(Field::new(name, column.data_type().clone(), true));
        self.children.push(column);
    }

    fn nothing(&mut self, name: &str, kind: DataType) {
        self.add(name, ArrayData::new_null(&kind, self.count));
    }

    fn numbers<T: ArrowNativeType>(
        &mut self,
        name: &str,
        kind: DataType,
        values: impl Iterator<Item = Option<T>>,
    ) -> Result<(), ArrowError> {
        let mut there = BooleanBufferBuilder::new(self.count);
        let plain = values.map(|value| {
            there.append(value.is_some());
            value.unwrap_or_default()
        });
        let plain: Vec<T> = plain.collect();
        let data = ArrayData::builder(kind).len(self.count).add_buffer(Buffer::from_vec(plain));
        self.add(name, data.nulls(Some(NullBuffer::new(there.finish()))).build()?);
        Ok(())
    }

    fn texts<'a>(&mut self, name: &str, values: impl Iterator<Item = Option<&'a str>>) -> Result<(), ArrowError> {
        self.bytes(name, DataType::Utf8, values)
    }

    fn bytes<T: AsRef<[u8]>>(
        &mut self,
        name: &str,
        kind: DataType,
        values: impl Iterator<Item = Option<T>>,
    ) -> Result<(), ArrowError> {
        let mut there = BooleanBufferBuilder::new(self.count);
        let mut offsets = Vec::with_capacity(self.count + 1);
        offsets.push(0);
        let mut all = Vec::new();
        for value in values {
            there.append(value.is_some());
            if let Some(value) = value {
                all.extend_from_slice(value.as_ref());
            }
            offsets.push(offset(all.len())?);
        }
        let data = ArrayData::builder(kind).len(self.count);
        let data = data.add_buffer(Buffer::from_vec(offsets)).add_buffer(Buffer::from_vec(all));
        self.add(name, data.nulls(Some(NullBuffer::new(there.finish()))).build()?);
        Ok(())
    }

    fn request_ids(&mut self, page: &Page) -> Result<(), ArrowError> {
        let made = |seq: u64| format!("{}-{seq}", page.boot);
        let ids = page.request_ids.iter().zip(&page.seqs);
        self.bytes(
            "request_id",
            DataType::Utf8,
            ids.map(|(id, &seq)| Some(if id.is_empty() { made(seq) } else { id.into() })),
        )
    }

    fn done(self) -> Result<ArrayData, ArrowError> {
        let kind = DataType::Struct(self.fields.into());
        ArrayData::builder(kind).len(self.count).child_data(self.children).build()
    }
}

fn offset(length: usize) -> Result<i32, ArrowError> {
    i32::try_from(length).map_err(|_| ArrowError::InvalidArgumentError("texts of more than 2 GiB".into()))
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn hex(trace: &[u8; 16]) -> [u8; 32] {
    std::array::from_fn(|place| {
        let byte = trace[place / 2];
        HEXADECIMAL[usize::from(if place % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}
