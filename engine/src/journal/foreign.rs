//! Batches that others hold, read where they lie: Arrow's C data interface.

use std::io;

use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::ffi::FFI_ArrowSchema;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::parquet::column::{Bits, Column, Texts, Values, invalid};
use super::parquet::{Batch, Field, Kind};

/// A batch of somebody else's, which is kept alive.
pub struct Foreign {
    named: Vec<Named>,
    array: FFI_ArrowArray,
}

/// What a column is called, and what Arrow's interface calls its type.
struct Named {
    name: String,
    format: String,
    /// The type of its texts, where numbers name them.
    texts: Option<String>,
}

impl Foreign {
    /// Takes what `batch` gives out of itself.
    pub fn of(batch: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) =
            batch.call_method0("__arrow_c_array__")?.extract()?;
        let schema = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
        let array = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
        #[allow(unsafe_code)]
        // SAFETY: capsules of these names hold these structs; what is moved out of them they no longer release. Nobody
        // else has the two, which were made for this call.
        let (schema, array) =
            unsafe { (FFI_ArrowSchema::from_raw(schema.as_ptr()), FFI_ArrowArray::from_raw(array.as_ptr())) };
        let children = || schema.children();
        if array.is_released() || schema.format() != "+s" || children().count() != array.num_children() {
            return Err(PyValueError::new_err("no batch of columns"));
        }
        let named = |child: &FFI_ArrowSchema| Named {
            name: child.name().unwrap_or_default().to_owned(),
            format: child.format().to_owned(),
            texts: child.dictionary().map(|texts| texts.format().to_owned()),
        };
        Ok(Self { named: children().map(named).collect(), array })
    }

    /// Returns its columns as a file with these fields has them.
    pub fn batch(&self, fields: &[Field]) -> io::Result<Batch<'_>> {
        if self.array.offset() != 0 {
            return Err(invalid("a part of a batch"));
        }
        let rows = self.array.len();
        let column = |field: &Field| {
            let Some(place) = self.named.iter().position(|named| named.name == field.name) else { return Ok(None) };
            let array = self.array.child(place);
            if array.len() != rows {
                return Err(invalid("columns of several lengths"));
            }
            column(&self.named[place], array, field.kind).map(Some)
        };
        let columns: io::Result<Vec<_>> = fields.iter().map(column).collect();
        Ok(Batch { rows, columns: columns? })
    }
}

fn column<'a>(named: &Named, array: &'a FFI_ArrowArray, kind: Kind) -> io::Result<Column<'a>> {
    let (len, begin) = (array.len(), array.offset());
    let values = match (kind, &*named.format, named.texts.as_deref().zip(array.dictionary())) {
        (Kind::Text, "i", Some((texts, dictionary))) if texts == "u" && dictionary.null_count_opt() == Some(0) => {
            Values::Numbered(from(array, 1, begin, len)?, strings(dictionary)?)
        }
        (Kind::Text, "u", None) | (Kind::Bytes, "z", None) => Values::Bytes(strings(array)?),
        (Kind::Int32, "i", None) => Values::Int32(from(array, 1, begin, len)?),
        (Kind::Int64, "l", None) | (Kind::Timestamp, "tsu:UTC", None) => Values::Int64(from(array, 1, begin, len)?),
        (Kind::Double, "g", None) => Values::Double(from(array, 1, begin, len)?),
        (Kind::Boolean, "b", None) => Values::Boolean(bits(array, 1)?),
        (_, format, _) => return Err(invalid(&format!("a column of {kind:?} that has {format:?}"))),
    };
    let there = match array.null_count_opt() {
        Some(0) => None,
        Some(nulls) if nulls == len => return Ok(Column::nothing(len)),
        _ if array.num_buffers() == 0 || array.buffer(0).is_null() => None,
        _ => {
            let bits = bits(array, 0)?;
            Some((bits, (0..len).filter(|&place| bits.at(place)).count()))
        }
    };
    Ok(Column { len, there, values })
}

fn bits(array: &FFI_ArrowArray, place: usize) -> io::Result<Bits<'_>> {
    let (begin, ends) = (array.offset() / 8, (array.offset() + array.len()).div_ceil(8));
    Ok(Bits { bytes: from(array, place, begin, ends - begin)?, begin: array.offset() % 8 })
}

fn strings(array: &FFI_ArrowArray) -> io::Result<Texts<'_>> {
    if array.is_empty() {
        return Ok(Texts { offsets: &[0], bytes: &[] });
    }
    let offsets: &[i32] = from(array, 1, array.offset(), array.len() + 1)?;
    let ends = offsets.last().and_then(|&ends| usize::try_from(ends).ok());
    let ends = ends.ok_or_else(|| invalid("offsets that point nowhere"))?;
    Ok(Texts { offsets, bytes: from(array, 2, 0, ends)? })
}

/// Types that are whatever their bytes say.
trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for i32 {}
impl Plain for i64 {}
impl Plain for f64 {}

/// Returns so many values of a buffer, from one of them on.
fn from<T: Plain>(array: &FFI_ArrowArray, place: usize, begin: usize, count: usize) -> io::Result<&[T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if place >= array.num_buffers() {
        return Err(invalid("a column without all buffers"));
    }
    let buffer = array.buffer(place).cast::<T>();
    if buffer.is_null() || !buffer.is_aligned() {
        return Err(invalid("a buffer that cannot be read in place"));
    }
    #[allow(unsafe_code)]
    // SAFETY: it is there and aligned, every value of its bytes is a T, and by Arrow's interface it has as many as the
    // array's length and offset say, and lives unchanged as long as the array.
    Ok(unsafe { std::slice::from_raw_parts(buffer.add(begin), count) })
}
