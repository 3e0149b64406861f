//! Runs a batch: puts its requests' rows together, runs the graph once, and gives each request its own rows back.
//!
//! A batch that fails is run once more request by request, so that only the guilty fail.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::record::{Run, Timing};
use super::servable::{Servable, raw_of};
use crate::batch::Ns;
use crate::error::{Error, Kind};
use crate::oip::Prepared;
use crate::ort::{Elements, Input, Output, RunError, RunErrorKind, RunOptions};
use crate::tensor::DType;

/// What a run made for one request: its rows of the outputs that it wanted.
pub struct Answer {
    /// In the order wanted.
    pub outputs: Arc<Vec<Output>>,
    /// None for all of them, as the graph made them.
    pub rows: Option<Range<usize>>,
}

impl Answer {
    /// Returns the request's part of an output.
    pub fn rows_of<'a>(&self, output: &'a Output) -> &'a [u8] {
        let (bytes, all) = (output.bytes(), output.shape().first().map_or(0, |&rows| rows as usize));
        match &self.rows {
            Some(rows) if all > 0 => {
                let each = bytes.len() / all;
                &bytes[rows.start * each..rows.end * each]
            }
            _ => bytes,
        }
    }

    /// Returns what shape that part has.
    pub fn shape_of(&self, output: &Output) -> Vec<i64> {
        let mut shape = output.shape().to_vec();
        if let (Some(rows), Some(first)) = (&self.rows, shape.first_mut()) {
            *first = rows.len() as i64;
        }
        shape
    }
}

/// How a request's run ended.
pub struct Ended {
    pub answer: Result<Answer, Failure>,
    pub timing: Timing,
}

/// Why a model did not answer.
pub struct Failure {
    pub error: Error,
    /// ONNX Runtime's own words, for the log.
    pub problem: String,
}

/// What execution needs of a request.
pub trait Runs {
    /// Returns its inputs.
    fn prepared(&self) -> &Prepared;
}

/// Runs `items`, which fit together, at once; where that fails, one by one. `options` can end the runs from outside, and
/// `now` is the plane's clock.
///
/// Returns how each ended, in order, and the runs that count.
pub fn execute<T: Runs>(
    servable: &Servable,
    items: &[T],
    options: Option<&RunOptions>,
    now: impl Fn(Instant) -> Ns,
) -> (Vec<Ended>, Vec<Run>) {
    if items.len() > 1
        && let Some((ended, run)) = together(servable, items, options, &now)
    {
        return (ended, vec![run]);
    }
    items.iter().map(|item| alone(servable, item.prepared(), options, &now)).unzip()
}

/// Runs one request by itself.
pub fn alone(
    servable: &Servable,
    prepared: &Prepared,
    options: Option<&RunOptions>,
    now: impl Fn(Instant) -> Ns,
) -> (Ended, Run) {
    let inputs = prepared.inputs.iter().map(|input| (input.dtype, &input.shape[..], raw_of(input)));
    let began = Instant::now();
    let result = perform(servable, inputs, prepared, options);
    let infer = began.elapsed().as_nanos() as Ns;
    let timing = Timing { infer, rows: prepared.rows, started: now(began).max(1), ..Timing::default() };
    let failed = result.is_err();
    let answer = match result {
        Ok(outputs) => Ok(Answer { outputs: Arc::new(outputs), rows: None }),
        Err(error) => Err(failure(servable, error)),
    };
    let (rows, size) = (prepared.rows, prepared.size);
    let servable = servable.settings.id;
    (Ended { answer, timing }, Run { servable, rows, size, input: 0, infer, output: 0, failed })
}

fn together<T: Runs>(
    servable: &Servable,
    items: &[T],
    options: Option<&RunOptions>,
    now: impl Fn(Instant) -> Ns,
) -> Option<(Vec<Ended>, Run)> {
    let first = items.first()?.prepared();
    let began = Instant::now();
    let rows: u64 = items.iter().map(|item| item.prepared().rows).sum();
    let mut joined: Vec<(Vec<i64>, Joined)> = Vec::with_capacity(first.inputs.len());
    for (index, spec) in servable.signature.inputs.iter().enumerate() {
        let mut shape = first.inputs[index].shape.clone();
        let data = if spec.rowwise {
            shape[0] = rows as i64;
            Joined::of(items.iter().map(|item| raw_of(&item.prepared().inputs[index])))
        } else {
            Joined::of(std::iter::once(raw_of(&first.inputs[index])))
        };
        joined.push((shape, data));
    }
    let specs = servable.signature.inputs.iter().zip(&joined);
    let inputs = specs.map(|(spec, (shape, data))| (spec.dtype, &shape[..], data.bytes()));
    let ready = Instant::now();
    // Whose fault it is shows when each runs alone.
    let outputs = perform(servable, inputs, first, options).ok()?;
    let infer = ready.elapsed().as_nanos() as Ns;
    if outputs.iter().any(|output| output.shape().first() != Some(&(rows as i64))) {
        return None;
    }
    let input = (ready - began).as_nanos() as Ns;
    let timing = Timing { queue: 0, input, infer, output: 0, rows, started: now(began).max(1) };
    let outputs = Arc::new(outputs);
    let mut begin = 0;
    let ended = items
        .iter()
        .map(|item| {
            let end = begin + item.prepared().rows as usize;
            let answer = Ok(Answer { outputs: outputs.clone(), rows: Some(begin..end) });
            begin = end;
            Ended { answer, timing }
        })
        .collect();
    let size = items.iter().map(|item| item.prepared().size).sum();
    Some((ended, Run { servable: servable.settings.id, rows, size, input, infer, output: 0, failed: false }))
}

/// Runs the graph once, for the outputs that `prepared` wants.
fn perform<'a>(
    servable: &Servable,
    inputs: impl Iterator<Item = (DType, &'a [i64], &'a [u8])>,
    prepared: &Prepared,
    options: Option<&RunOptions>,
) -> Result<Vec<Output>, RunError> {
    let inputs: Vec<Input<'a>> = (servable.input_places.iter().zip(inputs))
        .map(|(&index, (dtype, shape, raw))| Input { index, dtype, shape, elements: Elements::Raw(raw) })
        .collect();
    let wanted: Vec<usize> = prepared.outputs.iter().map(|&index| servable.output_places[index]).collect();
    servable.session.run(&inputs, &wanted, options)
}

fn failure(servable: &Servable, error: RunError) -> Failure {
    let (model, version) = (&servable.settings.model, servable.settings.version);
    let details = vec![("model", model.clone()), ("version", version.to_string())];
    let (kind, reason, message) = if error.kind == RunErrorKind::Rejected {
        let text = format!("{model} version {version} rejected the input: values or sizes do not fit the graph");
        (Kind::Invalid, "INPUT_REJECTED", text)
    } else {
        (Kind::Internal, "MODEL_FAILED", format!("{model} version {version} failed on this request"))
    };
    Failure { error: Error { details, ..Error::new(kind, reason, message) }, problem: error.failure.text }
}

/// Rows of several requests in one piece, which begins where ONNX Runtime wants it to.
struct Joined {
    words: Vec<u128>,
    length: usize,
}

impl Joined {
    fn of<'a>(pieces: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let length: usize = pieces.clone().map(<[u8]>::len).sum();
        let mut words = vec![0u128; length.div_ceil(size_of::<u128>())];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let mut at = 0;
        for piece in pieces {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        Self { words, length }
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}
