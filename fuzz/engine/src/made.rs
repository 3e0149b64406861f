//! Requests as clients would make them, most of them right.

use std::collections::HashMap;

use arbitrary::{Result, Unstructured};

use crate::schema::{
    Choice, Column, Contents, Floats, Input, Integers, Matrix, ModelInferRequest, Parameter, PredictPriceRequest,
    RankRequest, RecommendRequest, Selector, Texts, Values, Wanted,
};

/// A tensor as a signature has it: name, datatype, shape.
pub type Tensor = (String, &'static str, Vec<i64>);

pub const DTYPES: [&str; 14] = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64",
    "BYTES",
];
const PARAMETERS: [&str; 7] = [
    "unit_id",
    "timeout",
    "priority",
    "binary_data_output",
    "sequence_id",
    "triton_enable_empty_final_response",
    "other",
];

/// Returns how wide an element is; 0 for texts.
pub fn width(dtype: &str) -> usize {
    match dtype {
        "BOOL" | "UINT8" | "INT8" => 1,
        "UINT16" | "INT16" | "FP16" | "BF16" => 2,
        "UINT32" | "INT32" | "FP32" => 4,
        "BYTES" => 0,
        _ => 8,
    }
}

/// Returns an inference for inputs of these kinds, and for some of the outputs.
pub fn inference(from: &mut Unstructured<'_>, inputs: &[Tensor], outputs: &[Tensor]) -> Result<ModelInferRequest> {
    let mut request = ModelInferRequest {
        model_name: name(from)?,
        model_version: (*from.choose(&["", "", "1", "champion", "0012"])?).to_owned(),
        id: if from.ratio(1, 4)? { from.arbitrary()? } else { String::new() },
        parameters: parameters(from, 3)?,
        ..Default::default()
    };
    let rows = from.int_in_range(0..=5)?;
    let raw = from.ratio(1, 2)?;
    for (name, dtype, shape) in inputs {
        let first = |at: usize| if at == 0 { rows } else { 2 };
        let shape: Vec<i64> =
            shape.iter().enumerate().map(|(at, &size)| if size < 0 { first(at) } else { size }).collect();
        let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or_default().min(512);
        let mut input = Input { name: name.clone(), datatype: (*dtype).to_owned(), shape, ..Default::default() };
        if raw {
            request.raw_input_contents.push(raw_contents(from, dtype, count)?);
        } else if count > 0 || from.ratio(1, 2)? {
            input.contents = Some(contents(from, dtype, count)?);
        }
        if from.ratio(1, 24)? {
            input.parameters = parameters(from, 1)?;
        }
        request.inputs.push(input);
    }
    for (name, ..) in outputs {
        if from.ratio(1, 4)? {
            request.outputs.push(Wanted { name: name.clone(), ..Default::default() });
        }
    }
    // Mostly in the signature's order.
    if request.inputs.len() > 1 && from.ratio(1, 4)? {
        request.inputs.rotate_left(1);
        if raw {
            request.raw_input_contents.rotate_left(1);
        }
    }
    Ok(request)
}

fn name(from: &mut Unstructured<'_>) -> Result<String> {
    Ok(if from.ratio(7, 8)? { "price".into() } else { from.arbitrary()? })
}

fn parameters(from: &mut Unstructured<'_>, most: usize) -> Result<HashMap<String, Parameter>> {
    let mut all = HashMap::new();
    for _ in 0..from.int_in_range(0..=most)? {
        let choice = match from.int_in_range(0..=5)? {
            0 => Some(Choice::Bool(from.arbitrary()?)),
            1 => Some(Choice::Signed(from.arbitrary()?)),
            2 => Some(Choice::Text(from.arbitrary()?)),
            3 => Some(Choice::Double(from.arbitrary()?)),
            4 => Some(Choice::Unsigned(from.arbitrary()?)),
            _ => None,
        };
        all.insert((*from.choose(&PARAMETERS)?).to_owned(), Parameter { choice });
    }
    Ok(all)
}

fn raw_contents(from: &mut Unstructured<'_>, dtype: &str, count: usize) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    if dtype == "BYTES" {
        for _ in 0..count {
            let text = if from.ratio(7, 8)? { "text".into() } else { from.arbitrary::<String>()? };
            raw.extend((text.len() as u32).to_le_bytes());
            raw.extend(text.bytes());
        }
    } else {
        let byte = if dtype == "BOOL" { from.arbitrary::<u8>()? & 1 } else { from.arbitrary()? };
        raw.resize(count * width(dtype), byte);
        if dtype != "BOOL" && !raw.is_empty() {
            raw[0] = from.arbitrary()?;
        }
    }
    Ok(raw)
}

fn contents(from: &mut Unstructured<'_>, dtype: &str, count: usize) -> Result<Contents> {
    let mut all = Contents::default();
    for _ in 0..count {
        match dtype {
            "BOOL" => all.bools.push(from.arbitrary()?),
            "INT8" => all.ints.push(from.arbitrary::<i8>()?.into()),
            "INT16" => all.ints.push(from.arbitrary::<i16>()?.into()),
            "INT32" => all.ints.push(from.arbitrary()?),
            "INT64" => all.longs.push(from.arbitrary()?),
            "UINT8" => all.unsigned.push(from.arbitrary::<u8>()?.into()),
            "UINT16" => all.unsigned.push(from.arbitrary::<u16>()?.into()),
            "UINT32" => all.unsigned.push(from.arbitrary()?),
            "UINT64" => all.unsigned_longs.push(from.arbitrary()?),
            "FP32" => all.floats.push(from.arbitrary()?),
            "FP64" => all.doubles.push(from.arbitrary()?),
            "BYTES" => all.texts.push(from.arbitrary::<String>()?.into_bytes()),
            _ => return Ok(all),
        }
    }
    Ok(all)
}

fn selector(from: &mut Unstructured<'_>) -> Result<Option<Selector>> {
    let unit = if from.ratio(1, 2)? { from.arbitrary()? } else { String::new() };
    let version = (*from.choose(&["", "", "2", "champion"])?).to_owned();
    Ok(if from.ratio(15, 16)? { Some(Selector { name: name(from)?, version, unit }) } else { None })
}

/// Returns a column of so many rows, or of one for all.
fn column(from: &mut Unstructured<'_>, name: &str, rows: usize) -> Result<Column> {
    let rows = if from.ratio(1, 3)? { 1 } else { rows };
    let values = match from.int_in_range(0..=2)? {
        0 => Values::Floats(Floats { values: some(from, rows)? }),
        1 if from.ratio(1, 2)? => {
            let few: Vec<i8> = some(from, rows)?;
            Values::Integers(Integers { values: few.into_iter().map(i64::from).collect() })
        }
        1 => Values::Integers(Integers { values: some(from, rows)? }),
        _ => Values::Texts(Texts { values: some(from, rows)? }),
    };
    Ok(Column { name: name.to_owned(), values: Some(values) })
}

fn some<'a, T: arbitrary::Arbitrary<'a>>(from: &mut Unstructured<'a>, count: usize) -> Result<Vec<T>> {
    (0..count).map(|_| from.arbitrary()).collect()
}

/// Returns columns and a matrix with some of the names, each of which stands once.
fn features(from: &mut Unstructured<'_>, names: &[&str], rows: usize) -> Result<(Vec<Column>, Option<Matrix>)> {
    let (mut columns, mut matrix) = (Vec::new(), Matrix::default());
    for name in names {
        match from.int_in_range(0..=7)? {
            0 => {}
            1..=3 => matrix.names.push((*name).to_owned()),
            _ => columns.push(column(from, name, rows)?),
        }
    }
    let matrix_rows = if from.ratio(1, 4)? { 1 } else { rows };
    matrix.values = some(from, matrix.names.len() * matrix_rows)?;
    let has_matrix = !matrix.names.is_empty() || from.ratio(1, 8)?;
    Ok((columns, has_matrix.then_some(matrix)))
}

/// Returns a request for prices.
pub fn pricing(from: &mut Unstructured<'_>, names: &[&str]) -> Result<PredictPriceRequest> {
    let rows = from.int_in_range(0..=20)?;
    let selector = selector(from)?;
    let (features, matrix) = features(from, names, rows)?;
    Ok(PredictPriceRequest { selector, features, matrix })
}

/// Returns a request for an order.
pub fn ranking(from: &mut Unstructured<'_>, names: &[&str]) -> Result<RankRequest> {
    let rows = from.int_in_range(0..=20)?;
    let selector = selector(from)?;
    let (candidate_features, matrix) = features(from, names, rows)?;
    let mut context_features = Vec::new();
    if from.ratio(1, 4)? {
        context_features.push(column(from, "context", 1)?);
    }
    let candidate_ids = some(from, rows)?;
    let top_k = i32::from(from.arbitrary::<i8>()?);
    Ok(RankRequest { selector, candidate_ids, context_features, candidate_features, top_k, matrix })
}

/// Returns a request for recommendations.
pub fn recommendation(from: &mut Unstructured<'_>) -> Result<RecommendRequest> {
    let mut ids = || -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for _ in 0..from.int_in_range(0..=12)? {
            ids.push(match from.int_in_range(0..=3)? {
                0 => from.arbitrary::<String>()?,
                1 => from.arbitrary::<i64>()?.to_string(),
                2 => from.arbitrary::<u128>()?.to_string(),
                _ => from.arbitrary::<u16>()?.to_string(),
            });
        }
        Ok(ids)
    };
    let (history, excluded) = (ids()?, ids()?);
    let selector = selector(from)?;
    Ok(RecommendRequest { selector, history, excluded, top_k: i32::from(from.arbitrary::<i16>()?) })
}
