//! Features as a version's inputs: the twin of `tasks.features.pack`.

use std::borrow::Cow;

use bytes::Bytes;

use super::features::{Column, MAX_ROWS, Matrix, Values, WIDTH};
use super::layout::{Default, Layout, Part};
use super::numbers::{fitted, float, floats};
use crate::oip::Prepared;
use crate::oip::dtypes::width_of;
use crate::oip::prepare::size_of as grows_with;
use crate::oip::signature::{Extent, Signature};
use crate::tensor::{DType, Data, Tensor};

/// Characters that single texts, which stand for all rows, may come to.
const MAX_REPEATED_CHARACTERS: usize = 16 * 1024 * 1024;
/// Rows whose elements are written together: those of many columns then stay near each other.
const BLOCK: usize = 16;
/// NumPy's NaN in 16, 32 and 64 bits.
const NANS: [(DType, u64); 3] =
    [(DType::Fp16, 0x7e00), (DType::Fp32, 0x7fc0_0000), (DType::Fp64, 0x7ff8_0000_0000_0000)];

/// All features of a request: what each was given as.
pub struct Features<'a> {
    pub columns: &'a [Column<'a>],
    pub matrix: &'a Matrix<'a>,
    /// What the matrix's values are a part of.
    pub message: &'a Bytes,
}

/// Where one feature's values come from.
#[derive(Clone, Copy)]
pub enum Source {
    Missing,
    Column(usize),
    /// A column of the matrix.
    Matrix(usize),
}

impl Source {
    pub fn is_there(self) -> bool {
        !matches!(self, Source::Missing)
    }
}

/// One feature's elements.
enum Lane<'a> {
    /// As they are, in 4 bytes each.
    Floats(&'a [u8]),
    /// Bits, one for each row.
    Bits(Vec<u64>),
    /// The bits of all rows.
    One(u64),
}

/// Returns the inputs for `rows` rows, and `outputs` wanted; None where they do not fit.
pub fn pack(features: &Features<'_>, signature: &Signature, rows: usize, outputs: Vec<usize>) -> Option<Prepared> {
    let layout = signature.layout.as_ref().filter(|layout| layout.is_whole())?;
    if rows > MAX_ROWS || (layout.has_text && rows > 1 && !may_be_repeated(features.columns, rows)) {
        return None;
    }
    let mut extent = Extent::default();
    for (part, spec) in layout.parts.iter().zip(&signature.inputs) {
        let shape = [rows as i64, part.defaults.len() as i64];
        extent.add(signature, &shape, spec.rowwise)?;
    }
    let sources = sources(features, layout)?;
    let mut inputs = Vec::with_capacity(layout.parts.len());
    for part in &layout.parts {
        inputs.push(input_of(features, part, &sources, rows)?);
    }
    let rows = inputs.get(signature.leading?)?.shape.first().copied()? as u64;
    let size = if signature.varying { grows_with(signature, &inputs) } else { rows.max(1) };
    Some(Prepared { inputs, rows, size, outputs })
}

/// Returns one input for `rows` rows, `sources` being all features'.
pub fn input_of(features: &Features<'_>, part: &Part, sources: &[Source], rows: usize) -> Option<Tensor> {
    if part.rows >= 0 && part.rows != rows as i64 {
        return None;
    }
    let sources = &sources[part.first..part.first + part.defaults.len()];
    let data = if part.dtype == DType::Bytes {
        Data::Texts(texts(features, part, sources, rows)?)
    } else {
        Data::Raw(whole(features, part, sources, rows).or_else(|| packed(features, part, sources, rows))?)
    };
    let mut shape = vec![rows as i64];
    if part.is_matrix {
        shape.push(part.defaults.len() as i64);
    }
    Some(Tensor { dtype: part.dtype, shape, data })
}

/// Returns where each feature comes from; None where the version takes no feature of a name.
pub fn sources(features: &Features<'_>, layout: &Layout) -> Option<Vec<Source>> {
    let mut sources = vec![Source::Missing; layout.len()];
    let mut guess = 0;
    let mut put = |name: &str, source: Source| {
        layout.find(name, guess)?.each(|place| {
            sources[place] = source;
            guess = place + 1;
        });
        Some(())
    };
    for (index, column) in features.columns.iter().enumerate() {
        put(column.name, Source::Column(index))?;
    }
    for (index, name) in features.matrix.names.iter().enumerate() {
        put(name, Source::Matrix(index))?;
    }
    Some(sources)
}

/// Says whether single texts, which stand for all rows, are short enough for a graph to get a copy of them a row.
pub fn may_be_repeated(columns: &[Column<'_>], rows: usize) -> bool {
    let length = |column: &Column<'_>| match &column.values {
        Values::Texts(texts) if texts.len() == 1 => texts[0].chars().count(),
        _ => 0,
    };
    columns.iter().map(length).sum::<usize>().saturating_mul(rows) <= MAX_REPEATED_CHARACTERS
}

/// Returns the elements of an input of texts, row-major.
fn texts(features: &Features<'_>, part: &Part, sources: &[Source], rows: usize) -> Option<Vec<Bytes>> {
    let mut lanes: Vec<Cow<'_, [Bytes]>> = Vec::with_capacity(sources.len());
    for (source, default) in sources.iter().zip(&part.defaults) {
        lanes.push(match (*source, default) {
            (Source::Missing, Some(Default::Text(text))) => Cow::Borrowed(std::slice::from_ref(text)),
            (Source::Column(index), _) => match &features.columns[index].values {
                Values::Texts(texts) if texts.len() == rows || texts.len() == 1 => {
                    texts.iter().map(|text| features.message.slice_ref(text.as_bytes())).collect()
                }
                _ => return None,
            },
            _ => return None,
        });
    }
    let row = |row: usize| lanes.iter().map(move |lane| lane[if lane.len() == 1 { 0 } else { row }].clone());
    Some((0..rows).flat_map(row).collect())
}

/// Returns the request's matrix where it is the input as it stands.
fn whole(features: &Features<'_>, part: &Part, sources: &[Source], rows: usize) -> Option<Bytes> {
    let matrix = features.matrix;
    let same = part.dtype == DType::Fp32
        && matrix.names.len() == sources.len()
        && matrix.rows() == rows
        && sources.iter().enumerate().all(|(place, source)| matches!(source, Source::Matrix(at) if *at == place));
    if !same || (part.fills && floats(matrix.raw).any(f32::is_nan)) {
        return None;
    }
    Some(features.message.slice_ref(matrix.raw))
}

/// Returns an input's elements, row-major.
fn packed(features: &Features<'_>, part: &Part, sources: &[Source], rows: usize) -> Option<Bytes> {
    let mut lanes = Vec::with_capacity(sources.len());
    for (source, default) in sources.iter().zip(&part.defaults) {
        let default = default.as_ref().and_then(Default::bits);
        lanes.push(match *source {
            Source::Missing => Lane::One(default?),
            Source::Column(index) => of_column(&features.columns[index].values, part.dtype, default, rows)?,
            Source::Matrix(at) => of_matrix(features.matrix, at, part.dtype, default, rows)?,
        });
    }
    let mut elements = Elements::new(part, rows)?;
    match width_of(part.dtype)? {
        1 => fill(elements.cells::<u8>(), &lanes, |bits| bits as u8),
        2 => fill(elements.cells::<u16>(), &lanes, |bits| bits as u16),
        4 => fill(elements.cells::<u32>(), &lanes, |bits| bits as u32),
        _ => fill(elements.cells::<u64>(), &lanes, |bits| bits),
    }
    if part.fills {
        match part.dtype {
            DType::Fp16 => complete(elements.cells::<u16>(), part, |bits| bits & 0x7fff > 0x7c00, |bits| bits as u16),
            DType::Fp32 => complete(elements.cells(), part, |bits| f32::from_bits(bits).is_nan(), |bits| bits as u32),
            _ => complete(elements.cells(), part, |bits| f64::from_bits(bits).is_nan(), |bits| bits),
        }
    }
    Some(Bytes::from_owner(elements))
}

fn of_column<'a>(values: &'a Values<'a>, dtype: DType, default: Option<u64>, rows: usize) -> Option<Lane<'a>> {
    let single = values.len() == 1;
    if values.len() != rows && !single {
        return None;
    }
    if let (Values::Floats(raw), DType::Fp32, false) = (values, dtype, single) {
        return Some(Lane::Floats(raw));
    }
    let bits = fitted(values, dtype, default)?;
    Some(if single { Lane::One(bits[0]) } else { Lane::Bits(bits) })
}

fn of_matrix<'a>(matrix: &Matrix<'a>, at: usize, dtype: DType, default: Option<u64>, rows: usize) -> Option<Lane<'a>> {
    let single = matrix.rows() == 1;
    if matrix.rows() != rows && !single {
        return None;
    }
    let own = floats(matrix.raw.get(at * WIDTH..).unwrap_or_default()).step_by(matrix.names.len());
    let bits: Vec<u64> = own.map(|value| float(value, dtype, default)).collect::<Option<_>>()?;
    Some(if single { Lane::One(bits[0]) } else { Lane::Bits(bits) })
}

/// Writes the lanes side by side.
fn fill<T>(cells: &mut [T], lanes: &[Lane<'_>], element: impl Fn(u64) -> T) {
    let width = lanes.len();
    if width == 0 {
        return;
    }
    for (block, cells) in cells.chunks_mut(BLOCK * width).enumerate() {
        let from = block * BLOCK;
        for (at, lane) in lanes.iter().enumerate() {
            let places = cells.iter_mut().skip(at).step_by(width);
            match lane {
                Lane::Floats(raw) => {
                    let values = raw[from * WIDTH..].chunks_exact(WIDTH);
                    let bits = values.map(|raw| u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]));
                    places.zip(bits).for_each(|(place, bits)| *place = element(u64::from(bits)));
                }
                Lane::Bits(bits) => places.zip(&bits[from..]).for_each(|(place, &bits)| *place = element(bits)),
                Lane::One(bits) => places.for_each(|place| *place = element(*bits)),
            }
        }
    }
}

/// Puts defaults where there is NaN; where there is no default, NumPy's NaN.
fn complete<T: Copy>(cells: &mut [T], part: &Part, is_nan: impl Fn(T) -> bool, element: impl Fn(u64) -> T) {
    let nan = NANS.iter().find(|(dtype, _)| *dtype == part.dtype).map_or(0, |&(_, nan)| nan);
    let default = |default: &Option<Default>| default.as_ref().and_then(|one| one.bits()).unwrap_or(nan);
    let defaults: Vec<T> = part.defaults.iter().map(|one| element(default(one))).collect();
    for row in cells.chunks_exact_mut(defaults.len().max(1)) {
        for (cell, &default) in row.iter_mut().zip(&defaults) {
            if is_nan(*cell) {
                *cell = default;
            }
        }
    }
}

/// Memory for elements, which begins where ONNX Runtime wants it to.
struct Elements {
    words: Vec<u128>,
    length: usize,
}

impl Elements {
    fn new(part: &Part, rows: usize) -> Option<Self> {
        let length = rows.checked_mul(part.defaults.len())?.checked_mul(width_of(part.dtype)?)?;
        Some(Self { words: vec![0; length.div_ceil(size_of::<u128>())], length })
    }

    fn cells<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        let count = self.length / size_of::<T>();
        &mut bytemuck::cast_slice_mut(&mut self.words)[..count]
    }
}

impl AsRef<[u8]> for Elements {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}
