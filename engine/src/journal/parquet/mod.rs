//! A segment as Parquet, straight from Arrow's memory: few kinds of columns, each in the one encoding that suits it.
//!
//! What differs in every row is by differences (numbers) or behind each other as it lies in memory (ids, hashes), so that
//! next to nothing but zstd is left to pay for.

mod chunk;
pub mod column;
mod encodings;
mod footer;
mod thrift;

use std::io::{self, Write};

use chunk::Pages;
use column::{Column, invalid};

const MAGIC: &[u8; 4] = b"PAR1";
/// Rows of a group, unless one batch has more.
const GROUP_ROWS: usize = 1 << 17;

/// What a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int32,
    Int64,
    Double,
    Boolean,
    Text,
    Bytes,
    /// Microseconds since the epoch.
    Timestamp,
}

/// What all rows of a file have in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    Number(i32),
    Text(String),
}

/// One column of a file.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    /// What all rows have; batches need not have the column then.
    pub own: Option<Own>,
}

/// Rows, in columns as the file has them.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    pub rows: usize,
    /// One for each field that has nothing of its own; None: no row has a value.
    pub columns: Vec<Option<Column<'a>>>,
}

/// Writes a whole file, which says `pairs` of itself.
///
/// Fails as `out` does, and where columns are not what fields say.
pub fn write(out: impl Write, fields: &[Field], batches: &[Batch<'_>], pairs: &[(String, String)]) -> io::Result<()> {
    let mut pages = Pages::new(out)?;
    pages.write(MAGIC)?;
    let mut groups = Vec::new();
    let mut rest = batches;
    while !rest.is_empty() {
        let mut rows = 0;
        let count = rest.iter().take_while(|batch| {
            let before = rows;
            rows += batch.rows;
            before < GROUP_ROWS
        });
        let (group, later) = rest.split_at(count.count());
        rest = later;
        let rows: usize = group.iter().map(|batch| batch.rows).sum();
        if rows == 0 {
            continue;
        }
        let mut chunks = Vec::with_capacity(fields.len());
        for (place, field) in fields.iter().enumerate() {
            let mut parts = Vec::with_capacity(group.len());
            for batch in group.iter().filter(|batch| batch.rows != 0 && field.own.is_none()) {
                let column = batch.columns.get(place).ok_or_else(|| invalid("a batch without all columns"))?;
                parts.push(column.unwrap_or_else(|| Column::nothing(batch.rows)));
            }
            chunks.push(pages.chunk(field, &parts, rows)?);
        }
        groups.push(footer::Group { rows: rows as u64, chunks });
    }
    let footer = footer::footer(fields, &groups, pairs);
    let length = u32::try_from(footer.len()).map_err(|_| invalid("a footer of more than 4 GiB"))?;
    pages.write(&footer)?;
    pages.write(&length.to_le_bytes())?;
    pages.write(MAGIC)?;
    pages.flush()
}

#[cfg(test)]
mod tests {
    use super::column::{Bits, Texts, Values};
    use super::*;

    fn field(name: &str, kind: Kind, own: Option<Own>) -> Field {
        Field { name: name.into(), kind, own }
    }

    #[test]
    fn a_file_is_framed_and_its_footer_is_where_its_end_says() {
        let fields = [field("a", Kind::Int64, None), field("b", Kind::Text, Some(Own::Text("x".into())))];
        let numbers = [3, 1, 2];
        let column = Column { len: 3, there: None, values: Values::Int64(&numbers) };
        let batch = Batch { rows: 3, columns: vec![Some(column), None] };
        let mut file = Vec::new();
        write(&mut file, &fields, &[batch], &[("k".into(), "v".into())]).unwrap();
        let length = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap()) as usize;
        assert_eq!((&file[..4], &file[file.len() - 4..]), (&MAGIC[..], &MAGIC[..]));
        assert_eq!(&file[file.len() - 8 - length..][..2], [0x15, 4], "the format's version");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut small = [0; 16];
        let fields = [field("a", Kind::Int32, None)];
        let column = Column { len: 1, there: None, values: Values::Int32(&[1]) };
        let batches = [Batch { rows: 1, columns: vec![Some(column)] }];
        let failed = write(&mut small[..], &fields, &batches, &[]).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn columns_that_point_nowhere_are_refused() {
        let bits = Bits { bytes: &[1], begin: 0 };
        let texts = |offsets: &'static [i32]| Texts { offsets, bytes: b"ab" };
        for values in [
            Values::Bytes(texts(&[0, 3])),
            Values::Bytes(texts(&[2, 1])),
            Values::Bytes(texts(&[-1, 1])),
            Values::Bytes(texts(&[0])),
            Values::Numbered(&[1], texts(&[0, 1])),
            Values::Numbered(&[-1], texts(&[0, 1])),
            Values::Numbered(&[0], texts(&[1, 9])),
        ] {
            let batch = Batch { rows: 1, columns: vec![Some(Column { len: 1, there: Some((bits, 1)), values })] };
            let failed = write(io::sink(), &[field("a", Kind::Text, None)], &[batch], &[]).unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::InvalidData, "{values:?}");
        }
    }
}
