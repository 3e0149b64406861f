//! A page as Arrow has it: a struct of columns, the same as `journal/columns.py` makes of Python's records.

use std::collections::HashMap;
use std::io::Write;

use arrow_buffer::{ArrowNativeType, BooleanBufferBuilder, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};

use super::page::{End, Page};
use super::units::Hasher;

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
    let hasher =
        Hasher::new(key).ok_or_else(|| ArrowError::InvalidArgumentError("the key is empty or too long".into()))?;
    let mut columns = Columns { count: page.len(), fields: Vec::new(), children: Vec::new() };
    let ends = || page.places.iter().map(|&place| &page.ends[place]);
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    columns.numbers("ts", micros, page.arrived.iter().map(|&ns| Some((ns / 1000) as i64)))?;
    columns.numbers("seq", DataType::Int64, page.seqs.iter().map(|&seq| Some(seq as i64)))?;
    columns.request_ids(page)?;
    columns.repeated("route", page, |(decision, _)| some(&decision.route))?;
    columns.repeated("experiment", page, |(decision, _)| some(&decision.enrolment.experiment))?;
    columns.repeated("layer", page, |(decision, _)| some(&decision.enrolment.layer))?;
    columns.repeated("epoch", page, |(decision, _)| some(&decision.epoch))?;
    columns.repeated("table_digest", page, |(decision, _)| some(&decision.table_digest))?;
    columns.booleans("enrolled", ends().map(|(decision, _)| decision.enrolment.enrolled))?;
    let hashes = page.units.iter().map(|unit| some(unit).map(|unit| hasher.hash(unit)));
    columns.bytes("unit", DataType::Binary, 16, hashes)?;
    columns.numbered("unit_key_id", &[key_id], page.units.iter().map(|unit| some(unit).map(|_| 0)))?;
    columns.repeated("assigned", page, |(decision, _)| some(&decision.assigned))?;
    columns.repeated("served", page, |(decision, _)| some(&decision.target))?;
    columns.repeated("model", page, |(decision, _)| Some(&decision.model))?;
    columns.numbers("version", DataType::Int64, ends().map(|(decision, _)| Some(decision.version)))?;
    columns.repeated("reason", page, |(decision, _)| Some(decision.reason.name()))?;
    let overrides = ends().map(|(decision, _)| decision.override_index.map(|index| index as i32));
    columns.numbers("override", DataType::Int32, overrides)?;
    columns.numbers("propensity", DataType::Float64, ends().map(|(decision, _)| decision.propensity))?;
    columns.repeated("code", page, |&(_, code)| Some(code))?;
    columns.numbers("took_us", DataType::Int64, page.took.iter().map(|&ns| Some((ns / 1000) as i64)))?;
    let queues = page.queues.iter().map(|&queue| queue.map(|ns| (ns / 1000) as i64));
    columns.numbers("queue_us", DataType::Int64, queues)?;
    columns.numbers("rows", DataType::Int32, page.rows.iter().map(|&rows| Some(rows.min(MOST_ROWS) as i32)))?;
    columns.nothing("principal", DataType::Utf8);
    let traces = page.traces.iter().map(|trace| (*trace != [0; 16]).then(|| hex(trace)));
    columns.bytes("trace_id", DataType::Utf8, 32, traces)?;
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
        self.fixed(name, kind, values, Vec::new())
    }

    fn booleans(&mut self, name: &str, values: impl Iterator<Item = Option<bool>>) -> Result<(), ArrowError> {
        let (mut there, mut set) = (BooleanBufferBuilder::new(self.count), BooleanBufferBuilder::new(self.count));
        for value in values {
            there.append(value.is_some());
            set.append(value.unwrap_or_default());
        }
        let data = ArrayData::builder(DataType::Boolean).len(self.count).add_buffer(set.finish().into_inner());
        self.add(name, data.nulls(Some(NullBuffer::new(there.finish()))).build()?);
        Ok(())
    }

    /// A column of numbers, with what they number, if anything.
    fn fixed<T: ArrowNativeType>(
        &mut self,
        name: &str,
        kind: DataType,
        values: impl Iterator<Item = Option<T>>,
        numbered: Vec<ArrayData>,
    ) -> Result<(), ArrowError> {
        let mut there = BooleanBufferBuilder::new(self.count);
        let plain = values.map(|value| {
            there.append(value.is_some());
            value.unwrap_or_default()
        });
        let plain: Vec<T> = plain.collect();
        let data = ArrayData::builder(kind).len(self.count).add_buffer(Buffer::from_vec(plain)).child_data(numbered);
        self.add(name, data.nulls(Some(NullBuffer::new(there.finish()))).build()?);
        Ok(())
    }

    /// A column whose texts ends have: each is there once, and rows say which.
    fn repeated<'a>(
        &mut self,
        name: &str,
        page: &'a Page,
        text: impl Fn(&'a End) -> Option<&'a str>,
    ) -> Result<(), ArrowError> {
        let (mut found, mut texts) = (HashMap::new(), Vec::new());
        let mut number = |text| {
            *found.entry(text).or_insert_with(|| {
                texts.push(text);
                texts.len() - 1
            })
        };
        let numbers: Vec<Option<usize>> = page.ends.iter().map(|end| text(end).map(&mut number)).collect();
        self.numbered(name, &texts, page.places.iter().map(|&place| numbers[place]))
    }

    /// A column of `texts`, by their numbers.
    fn numbered(
        &mut self,
        name: &str,
        texts: &[&str],
        numbers: impl Iterator<Item = Option<usize>>,
    ) -> Result<(), ArrowError> {
        let mut distinct = Self { count: texts.len(), fields: Vec::new(), children: Vec::new() };
        distinct.bytes(name, DataType::Utf8, 0, texts.iter().map(Some))?;
        let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        // There are no more of them than ends, of which memory holds fewer.
        self.fixed(name, kind, numbers.map(|number| number.map(|number| number as i32)), distinct.children)
    }

    /// A column of texts or bytes, most of which have `width` bytes.
    fn bytes<T: AsRef<[u8]>>(
        &mut self,
        name: &str,
        kind: DataType,
        width: usize,
        values: impl Iterator<Item = Option<T>>,
    ) -> Result<(), ArrowError> {
        self.written(name, kind, width, values, |all, value| all.extend_from_slice(value.as_ref()))
    }

    /// A column of texts or bytes, most of which have `width` bytes, that `write` puts behind those before.
    fn written<T>(
        &mut self,
        name: &str,
        kind: DataType,
        width: usize,
        values: impl Iterator<Item = Option<T>>,
        write: impl Fn(&mut Vec<u8>, T),
    ) -> Result<(), ArrowError> {
        let mut there = BooleanBufferBuilder::new(self.count);
        let mut offsets = Vec::with_capacity(self.count + 1);
        offsets.push(0);
        let mut all = Vec::with_capacity(self.count * width);
        for value in values {
            there.append(value.is_some());
            if let Some(value) = value {
                write(&mut all, value);
            }
            offsets.push(offset(all.len())?);
        }
        let data = ArrayData::builder(kind).len(self.count);
        let data = data.add_buffer(Buffer::from_vec(offsets)).add_buffer(Buffer::from_vec(all));
        self.add(name, data.nulls(Some(NullBuffer::new(there.finish()))).build()?);
        Ok(())
    }

    fn request_ids(&mut self, page: &Page) -> Result<(), ArrowError> {
        let ids = page.request_ids.iter().zip(&page.seqs).map(Some);
        self.written("request_id", DataType::Utf8, 28, ids, |all, (id, seq)| {
            if id.is_empty() {
                let _ = write!(all, "{}-{seq}", page.boot); // into memory, which takes everything
            } else {
                all.extend_from_slice(id.as_bytes());
            }
        })
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
