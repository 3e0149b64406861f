//! Runs a batch: puts its requests' rows together, runs the graph once, and gives each request its own rows back.
//!
//! A batch that fails is run once more request by request, so that only the guilty fail.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::record::{CANCELLED, Run, Timing};
use super::servable::{NoMemory, Servable};
use crate::batch::Ns;
use crate::error::{Error, Kind, MEMORY_FULL, MEMORY_RETRY};
use crate::oip::{self, Prepared};
use crate::ort::{Failure as Trouble, Input, Output, RunError, RunErrorKind, RunOptions};
use crate::tensor::{DType, Data, Elements};

/// One output of a run.
pub struct Made {
    output: Output,
    /// The elements of BYTES, all of them UTF-8; nothing for other dtypes.
    texts: Vec<Bytes>,
}

impl Made {
    /// Reads the texts of an output, if it has any.
    fn of(output: Output) -> Result<Self, Trouble> {
        let texts = output.texts()?;
        if !texts.iter().all(|text| oip::texts::is_text(text)) {
            return Err(Trouble::new("an output's text is not UTF-8"));
        }
        Ok(Self { output, texts })
    }
}

/// What a run made for one request: its rows of the outputs that it wanted.
pub struct Answer {
    /// In the order wanted.
    pub outputs: Arc<Vec<Made>>,
    /// None for all of them, as the graph made them.
    pub rows: Option<Range<usize>>,
}

impl Answer {
    /// Returns the request's part of an output.
    pub fn rows_of<'a>(&self, made: &'a Made) -> Elements<'a> {
        let all = made.output.shape().first().map_or(0, |&rows| rows as usize);
        match made.output.dtype() {
            DType::Bytes => Elements::Texts(self.part_of(&made.texts, all)),
            _ => Elements::Raw(self.part_of(made.output.bytes(), all)),
        }
    }

    fn part_of<'a, T>(&self, elements: &'a [T], all: usize) -> &'a [T] {
        match &self.rows {
            Some(rows) if all > 0 => {
                let each = elements.len() / all;
                &elements[rows.start * each..rows.end * each]
            }
            _ => elements,
        }
    }

    /// Returns what shape that part has.
    pub fn shape_of(&self, made: &Made) -> Vec<i64> {
        let mut shape = made.output.shape().to_vec();
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

    /// Says whether anybody waits for its answer.
    fn is_wanted(&self) -> bool;
}

/// Runs `items`, which fit together, at once; where that fails, one by one, as far as they are wanted still. `options` can
/// end the runs from outside, and `now` is the plane's clock.
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
    one_by_one(items, |prepared| alone(servable, prepared, options, &now))
}

fn one_by_one<T: Runs>(items: &[T], mut run: impl FnMut(&Prepared) -> (Ended, Run)) -> (Vec<Ended>, Vec<Run>) {
    let mut runs = Vec::new();
    let ended = items.iter().map(|item| {
        if !item.is_wanted() {
            return Ended { answer: Err(unwanted()), timing: Timing::default() };
        }
        let (ended, run) = run(item.prepared());
        runs.push(run);
        ended
    });
    (ended.collect(), runs)
}

/// Runs one request by itself.
pub fn alone(
    servable: &Servable,
    prepared: &Prepared,
    options: Option<&RunOptions>,
    now: impl Fn(Instant) -> Ns,
) -> (Ended, Run) {
    let inputs = prepared.inputs.iter().map(|input| (input.dtype, &input.shape[..], input.data.elements()));
    let began = Instant::now();
    begin(options, began);
    let result = perform(servable, inputs, prepared, prepared.size, options);
    let infer = began.elapsed().as_nanos() as Ns;
    let timing = Timing { infer, rows: prepared.rows, started: now(began).max(1), ..Timing::default() };
    let failed = result.is_err();
    let answer = match result {
        Ok(outputs) => Ok(Answer { outputs: Arc::new(outputs), rows: None }),
        Err(Ill::Run(error)) => Err(failure(servable, error)),
        Err(Ill::NoMemory(why)) => Err(no_memory(servable, &why)),
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
    let size: u64 = items.iter().map(|item| item.prepared().size).sum();
    let mut joined: Vec<(Vec<i64>, Joined)> = Vec::with_capacity(first.inputs.len());
    for (index, spec) in servable.signature.inputs.iter().enumerate() {
        let mut shape = first.inputs[index].shape.clone();
        let data = if spec.rowwise {
            shape[0] = rows as i64;
            Joined::of(spec.dtype, items.iter().map(|item| &item.prepared().inputs[index].data))
        } else {
            Joined::of(spec.dtype, std::iter::once(&first.inputs[index].data))
        };
        joined.push((shape, data));
    }
    let specs = servable.signature.inputs.iter().zip(&joined);
    let inputs = specs.map(|(spec, (shape, data))| (spec.dtype, &shape[..], data.elements()));
    let ready = Instant::now();
    begin(options, ready);
    // Whose fault it is shows when each runs alone.
    let outputs = perform(servable, inputs, first, size, options).ok()?;
    let infer = ready.elapsed().as_nanos() as Ns;
    if outputs.iter().any(|made| made.output.shape().first() != Some(&(rows as i64))) {
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
    Some((ended, Run { servable: servable.settings.id, rows, size, input, infer, output: 0, failed: false }))
}

fn begin(options: Option<&RunOptions>, at: Instant) {
    if let Some(options) = options {
        options.begin(at);
    }
}

/// Runs the graph once, for the outputs that `prepared` wants.
fn perform<'a>(
    servable: &Servable,
    inputs: impl Iterator<Item = (DType, &'a [i64], Elements<'a>)>,
    prepared: &Prepared,
    size: u64,
    options: Option<&RunOptions>,
) -> Result<Vec<Made>, Ill> {
    let inputs: Vec<Input<'a>> = (servable.input_places.iter().zip(inputs))
        .map(|(&index, (dtype, shape, elements))| Input { index, dtype, shape, elements })
        .collect();
    let given: usize = inputs.iter().map(|input| input.elements.nbytes()).sum();
    let running = servable.borrow(size, given).map_err(Ill::NoMemory)?;
    let wanted: Vec<usize> = prepared.outputs.iter().map(|&index| servable.output_places[index]).collect();
    let (outputs, taken) = servable.session.run_within(&inputs, &wanted, options, running);
    // A kernel may do with less.
    if let (Err(_), Some(more)) = (&outputs, taken.refused) {
        let nbytes = given.saturating_add(more);
        servable.need.observe(size, nbytes);
        return Err(Ill::NoMemory(NoMemory { nbytes, ever: servable.could_have(nbytes) }));
    }
    let outputs = outputs.map_err(Ill::Run)?;
    let made =
        outputs.into_iter().map(Made::of).collect::<Result<Vec<Made>, _>>().map_err(|error| Ill::Run(error.into()))?;
    let texts: usize = made.iter().flat_map(|made| &made.texts).map(Bytes::len).sum();
    servable.need.observe(size, given + taken.peak + texts);
    Ok(made)
}

/// Why a run made nothing.
enum Ill {
    Run(RunError),
    NoMemory(NoMemory),
}

fn no_memory(servable: &Servable, why: &NoMemory) -> Failure {
    let (model, version) = (&servable.settings.model, servable.settings.version);
    let details = vec![("model", model.clone()), ("version", version.to_string())];
    let when = if why.ever { "now" } else { "ever" };
    let text = format!(
        "a run of {model} version {version} would take {} bytes or more, and there is not so much {when}; limits.memory_bytes is the bound",
        why.nbytes
    );
    let retry_after = why.ever.then_some(MEMORY_RETRY);
    let error = Error { details, retry_after, ..Error::new(Kind::Overloaded, MEMORY_FULL, text) };
    Failure { error, problem: String::new() }
}

/// What nobody will hear.
fn unwanted() -> Failure {
    Failure { error: Error::new(Kind::Cancelled, CANCELLED, "nobody waits for it"), problem: String::new() }
}

fn failure(servable: &Servable, error: RunError) -> Failure {
    let (model, version) = (&servable.settings.model, servable.settings.version);
    let details = vec![("model", model.clone()), ("version", version.to_string())];
    let (kind, reason, message) = match error.kind {
        RunErrorKind::Rejected => {
            let text = format!("{model} version {version} rejected the input: values or sizes do not fit the graph");
            (Kind::Invalid, "INPUT_REJECTED", text)
        }
        // Whoever is told of it has waited, so it was not ended for want of somebody who does.
        RunErrorKind::Terminated => {
            let text = format!("{model} version {version} ran for longer than it may (run_timeout_s), and was ended");
            (Kind::Internal, "RUN_TIMED_OUT", text)
        }
        RunErrorKind::NoMemory | RunErrorKind::Failed => {
            (Kind::Internal, "MODEL_FAILED", format!("{model} version {version} failed on this request"))
        }
    };
    Failure { error: Error { details, ..Error::new(kind, reason, message) }, problem: error.failure.text }
}

/// Rows of several requests in one piece.
enum Joined {
    /// Begins where ONNX Runtime wants it to; so many bytes of it count.
    Numbers(Vec<u128>, usize),
    Texts(Vec<Bytes>),
}

impl Joined {
    fn of<'a>(dtype: DType, pieces: impl Iterator<Item = &'a Data> + Clone) -> Self {
        if dtype == DType::Bytes {
            return Joined::Texts(pieces.flat_map(Data::texts).cloned().collect());
        }
        let length: usize = pieces.clone().map(|piece| piece.raw().len()).sum();
        let mut words = vec![0u128; length.div_ceil(size_of::<u128>())];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let mut at = 0;
        for piece in pieces.map(Data::raw) {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        Joined::Numbers(words, length)
    }

    fn elements(&self) -> Elements<'_> {
        match self {
            Joined::Numbers(words, length) => Elements::Raw(&bytemuck::cast_slice(words)[..*length]),
            Joined::Texts(texts) => Elements::Texts(texts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of so many rows, for which somebody waits or not.
    struct Asked(Prepared, bool);

    impl Runs for Asked {
        fn prepared(&self) -> &Prepared {
            &self.0
        }

        fn is_wanted(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn nothing_is_run_for_who_has_left() {
        let asked = |rows, wanted| Asked(Prepared { inputs: vec![], rows, size: rows, outputs: vec![] }, wanted);
        let items = [asked(1, true), asked(2, false), asked(3, true)];
        let (ended, runs) = one_by_one(&items, |prepared| {
            let timing = Timing { rows: prepared.rows, started: prepared.rows, ..Timing::default() };
            let answer = Ok(Answer { outputs: Arc::default(), rows: None });
            let (rows, size) = (prepared.rows, prepared.size);
            (Ended { answer, timing }, Run { servable: 7, rows, size, input: 0, infer: 1, output: 0, failed: false })
        });
        assert_eq!(runs.iter().map(|run| run.rows).collect::<Vec<_>>(), [1, 3]);
        // Each keeps its place, and what did not run never began.
        assert_eq!(ended.iter().map(|one| one.timing.started).collect::<Vec<_>>(), [1, 0, 3]);
        assert!(ended[1].answer.is_err());
    }
}
