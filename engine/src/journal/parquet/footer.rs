//! What a file says of itself, behind its pages.

use super::chunk::Chunk;
use super::thrift::Thrift;
use super::{Field, Kind};

/// 2: pages have encodings that the first readers did not know.
const FORMAT: i32 = 2;
const ZSTD: i32 = 6;
const REQUIRED: i32 = 0;
const OPTIONAL: i32 = 1;
const MADE_BY: &[u8] = concat!("turnout-engine version ", env!("CARGO_PKG_VERSION")).as_bytes();

/// Rows whose columns stand together.
pub struct Group {
    pub rows: u64,
    pub chunks: Vec<Chunk>,
}

/// Returns the footer, `FileMetaData` in the format's words.
pub fn footer(fields: &[Field], groups: &[Group], pairs: &[(String, String)]) -> Vec<u8> {
    Thrift::of(|file| {
        file.number(1, FORMAT);
        let schema: Vec<Option<&Field>> = std::iter::once(None).chain(fields.iter().map(Some)).collect();
        file.structs(2, &schema, |element, field| match field {
            None => {
                element.text(4, b"record");
                element.number(5, fields.len() as i32);
            }
            Some(field) => schema_of(element, field),
        });
        file.long(3, groups.iter().map(|group| group.rows).sum::<u64>() as i64);
        file.structs(4, groups, |row_group, group| {
            let columns: Vec<(&Field, &Chunk)> = fields.iter().zip(&group.chunks).collect();
            row_group.structs(1, &columns, |column, (field, chunk)| {
                column.long(2, 0); // what it was for is in the chunk now
                column.inner(3, |said| chunk_of(said, field, chunk));
            });
            row_group.long(2, group.chunks.iter().map(|chunk| chunk.plain_bytes).sum::<u64>() as i64);
            row_group.long(3, group.rows as i64);
        });
        file.structs(5, pairs, |pair, (name, value)| {
            pair.text(1, name.as_bytes());
            pair.text(2, value.as_bytes());
        });
        file.text(6, MADE_BY);
        // Least and greatest values are by the order that the type has: without this, readers must not use them.
        file.structs(7, fields, |order, _| order.inner(1, |_| ()));
    })
}

fn schema_of(element: &mut Thrift, field: &Field) {
    element.number(1, physical(field.kind));
    element.number(3, if field.own.is_some() { REQUIRED } else { OPTIONAL });
    element.text(4, field.name.as_bytes());
    let (utf8, micros, int_32, int_64) = (0, 10, 17, 18);
    match field.kind {
        Kind::Int32 => element.number(6, int_32),
        Kind::Int64 => element.number(6, int_64),
        Kind::Text => element.number(6, utf8),
        Kind::Timestamp => {
            element.number(6, micros);
            element.inner(10, |logical| {
                logical.inner(8, |timestamp| {
                    timestamp.yes(1); // UTC
                    timestamp.inner(2, |unit| unit.inner(2, |_| ()));
                });
            });
        }
        Kind::Double | Kind::Boolean | Kind::Bytes => {}
    }
}

fn chunk_of(said: &mut Thrift, field: &Field, chunk: &Chunk) {
    said.number(1, physical(field.kind));
    said.numbers(2, &chunk.encodings);
    said.texts(3, &[&field.name]);
    said.number(4, ZSTD);
    said.long(5, chunk.rows as i64);
    said.long(6, chunk.plain_bytes as i64);
    said.long(7, chunk.bytes as i64);
    said.long(9, chunk.data as i64);
    if let Some(at) = chunk.dictionary {
        said.long(11, at as i64);
    }
    said.inner(12, |statistics| {
        statistics.long(3, chunk.nulls as i64);
        if let Some((least, most)) = &chunk.bounds {
            statistics.text(5, most);
            statistics.text(6, least);
        }
    });
}

fn physical(kind: Kind) -> i32 {
    match kind {
        Kind::Boolean => 0,
        Kind::Int32 => 1,
        Kind::Int64 | Kind::Timestamp => 2,
        Kind::Double => 5,
        Kind::Text | Kind::Bytes => 6,
    }
}
