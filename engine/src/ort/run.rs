//! One run of a graph: what goes in, how it may end, and how to end it.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ort_sys::{OrtErrorCode, OrtRunOptions, OrtValue};

use super::element::{item_size, nbytes, number_of};
use super::few::Few;
use super::handle::Handle;
use super::meter::{Taken, metered};
use super::output::Output;
use super::runtime::{Failure, Runtime};
use super::session::Session;
use crate::memory::Running;
use crate::tensor::{DType, Elements, Tensor};

/// Elements that do not begin on such a border, in bytes, are copied to one before a run.
///
/// ONNX Runtime takes what is aligned for its element. But its sums over floats begin with the elements before the
/// next 16-byte border, so that the last bits of an answer would depend on where in a message its input lay.
pub const ALIGNMENT: usize = 16;

/// A tensor that a run reads.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Which input of the session.
    pub index: usize,
    pub dtype: DType,
    pub shape: &'a [i64],
    /// As many as dtype and shape say.
    pub elements: Elements<'a>,
}

impl<'a> Input<'a> {
    /// Returns `tensor` as the session's input number `index`.
    pub fn of(index: usize, tensor: &'a Tensor) -> Self {
        Self { index, dtype: tensor.dtype, shape: &tensor.shape, elements: tensor.data.elements() }
    }
}

/// Why a run gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunErrorKind {
    /// Values or sizes do not fit the graph: the caller's fault.
    Rejected,
    /// It was told to end.
    Terminated,
    /// It wanted more memory than it may have.
    NoMemory,
    /// Anything else.
    Failed,
}

/// A run gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    pub kind: RunErrorKind,
    pub failure: Failure,
}

impl RunError {
    pub(super) fn of(failure: Failure, terminated: bool) -> Self {
        const REJECTED: [i32; 2] = [OrtErrorCode::ORT_FAIL as i32, OrtErrorCode::ORT_INVALID_ARGUMENT as i32];
        // Values out of range are the latter, sizes that do not fit each other the former; no memory is neither. A
        // run that was ended says FAIL as well.
        let kind = match REJECTED.contains(&failure.code) {
            _ if terminated => RunErrorKind::Terminated,
            true => RunErrorKind::Rejected,
            false => RunErrorKind::Failed,
        };
        Self { kind, failure }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(to)
    }
}

impl std::error::Error for RunError {}

/// Ends runs from outside: any number of runs, one after another or at once.
pub struct RunOptions {
    runtime: &'static Runtime,
    raw: Handle<OrtRunOptions>,
    terminated: AtomicBool,
    /// Held by whoever changes that and ONNX Runtime's own flag, which are to be the same.
    changing: Mutex<()>,
    made: Instant,
    /// Nanoseconds from then to when the last run began, and one more; 0 for none.
    began: AtomicU64,
    finished: AtomicBool,
}

// SAFETY: all that is done with `&self` is to set a flag of one byte which runs look at; the API means it for that.
unsafe impl Sync for RunOptions {}

impl RunOptions {
    /// Makes options that let a run go on.
    ///
    /// # Errors
    /// ONNX Runtime has no memory.
    pub fn new(runtime: &'static Runtime) -> Result<Self, Failure> {
        let api = runtime.api;
        // SAFETY: takes nothing, gives an object that is ours.
        let raw = unsafe { runtime.make(api.ReleaseRunOptions, |out| (api.CreateRunOptions)(out)) }?;
        let (terminated, finished, began) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { runtime, raw, terminated, changing: Mutex::new(()), made: Instant::now(), began, finished })
    }

    /// Ends the runs that have these options, soon, and lets none begin.
    pub fn terminate(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.terminated.store(true, Ordering::SeqCst);
        // SAFETY: the options are alive. It cannot fail.
        let _ = unsafe { self.runtime.check((self.runtime.api.RunOptionsSetTerminate)(self.raw.raw())) };
    }

    /// Lets runs go on again. No run with these options may be under way, or it might not end.
    pub fn reset(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the options are alive. It cannot fail.
        let _ = unsafe { self.runtime.check((self.runtime.api.RunOptionsUnsetTerminate)(self.raw.raw())) };
        self.terminated.store(false, Ordering::SeqCst);
    }

    /// Notes that a run with these options begins.
    pub fn begin(&self, at: Instant) {
        self.began.store(at.saturating_duration_since(self.made).as_nanos() as u64 + 1, Ordering::Relaxed);
    }

    /// Returns when the last run began; None before the first.
    pub fn began(&self) -> Option<Instant> {
        let after = self.began.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.made + Duration::from_nanos(after))
    }

    /// Says that all runs with these options are over.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
    }

    /// Says whether all runs with these options are over.
    pub fn finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
    }

    /// Says whether runs with these options are to end.
    pub fn terminated(&self) -> bool {
        self.terminated.load(Ordering::SeqCst)
    }
}

/// Values, some of them still null, that are released together.
struct Values {
    runtime: &'static Runtime,
    raw: Few<*mut OrtValue>,
}

impl Values {
    #[inline]
    fn empty(runtime: &'static Runtime, len: usize) -> Self {
        Self { runtime, raw: Few::filled(ptr::null_mut(), len) }
    }
}

impl Drop for Values {
    #[inline]
    fn drop(&mut self) {
        for &raw in self.raw.iter().filter(|raw| !raw.is_null()) {
            // SAFETY: what is not null is a value that is ours.
            unsafe { (self.runtime.api.ReleaseValue)(raw) }
        }
    }
}

impl Session {
    /// Runs the graph once, on the calling thread, any number of threads at once.
    ///
    /// Elements are read where they are while the run lasts, and copied only where they are not on an `ALIGNMENT`
    /// border.
    ///
    /// # Errors
    /// The graph refused the inputs or failed, or an output is not a tensor of a dtype that the protocol knows.
    pub fn run(
        &self,
        inputs: &[Input<'_>],
        wanted: &[usize],
        options: Option<&RunOptions>,
    ) -> Result<Vec<Output>, RunError> {
        self.run_within(inputs, wanted, options, None).0
    }

    /// Does the same with no more memory than `running` grants, and says what it took.
    pub fn run_within(
        &self,
        inputs: &[Input<'_>],
        wanted: &[usize],
        options: Option<&RunOptions>,
        running: Option<Running>,
    ) -> (Result<Vec<Output>, RunError>, Taken) {
        // A run is ended by an exception of C++. Where several threads work on it one would leave the frames that the others
        // are at work on, so such a run has what was taken for it, and is not ended.
        let (bound, _kept) = if self.alone { (running, None) } else { (None, running) };
        let (mut ended, taken) = metered(bound, || self.perform(inputs, wanted, options));
        if let (Err(error), Some(_)) = (&mut ended, taken.refused) {
            error.kind = RunErrorKind::NoMemory;
        }
        (ended, taken)
    }

    fn perform(
        &self,
        inputs: &[Input<'_>],
        wanted: &[usize],
        options: Option<&RunOptions>,
    ) -> Result<Vec<Output>, RunError> {
        let (runtime, api) = (self.runtime, self.runtime.api);
        let unknown = || RunError::from(Failure::new("no such input or output"));
        let mut input_names = Few::filled(ptr::null(), inputs.len());
        let mut output_names = Few::filled(ptr::null(), wanted.len());
        // What is made last goes first: values before the elements that they are over.
        let mut copies: Vec<Vec<u128>> = Vec::new();
        let mut feeds = Values::empty(runtime, inputs.len());
        let mut fetched = Values::empty(runtime, wanted.len());
        // Where the elements are while the run lasts.
        let mut borrowed = Few::filled((0usize, 0usize), inputs.len());
        // Kernels look for inputs that are not there.
        let mut missing = Few::filled(true, self.input_names.len());
        for (at, input) in inputs.iter().enumerate() {
            input_names[at] = self.input_names.get(input.index).ok_or_else(unknown)?.as_ptr();
            missing[input.index] = false;
            match input.elements {
                Elements::Raw(raw) => {
                    let raw = aligned(raw, &mut copies);
                    borrowed[at] = (raw.as_ptr() as usize, raw.len());
                    feeds.raw[at] = lent(runtime, input, raw)?;
                }
                Elements::Texts(texts) => filled(runtime, input, texts, &mut feeds.raw[at])?,
            }
        }
        for (at, &index) in wanted.iter().enumerate() {
            output_names[at] = self.output_names.get(index).ok_or_else(unknown)?.as_ptr();
        }
        if inputs.len() != missing.len() || missing.contains(&true) {
            return Err(Failure::new("every input must be given, and once").into());
        }
        let settings = options.map_or(ptr::null_mut(), |options| options.raw.raw());
        // SAFETY: the session and the options are alive, every list is as long as it is said to be, names and lent
        // elements outlive the call, and outputs are null, so that ONNX Runtime makes them. It reads inputs only:
        // buffers that it did not allocate are never written to or used again.
        let ended = unsafe {
            runtime.check((api.Run)(
                self.raw.raw(),
                settings,
                input_names.as_ptr(),
                feeds.raw.as_ptr().cast(),
                inputs.len(),
                output_names.as_ptr(),
                wanted.len(),
                fetched.raw.as_mut_ptr(),
            ))
        };
        ended.map_err(|failure| RunError::of(failure, options.is_some_and(RunOptions::terminated)))?;
        let mut outputs = Vec::with_capacity(wanted.len());
        for raw in fetched.raw.iter_mut() {
            let made = ptr::NonNull::new(std::mem::replace(raw, ptr::null_mut()));
            let made = made.ok_or_else(|| Failure::new("an output without a value"))?;
            // SAFETY: the run made it for us, and `fetched` no longer has it.
            let output = Output::of(runtime, unsafe { Handle::new(made, api.ReleaseValue) })?;
            // A graph may hand an input on as its output; that memory is only lent.
            let lent = borrowed.iter().any(|&(start, len)| output.is_within(start, len));
            outputs.push(if lent { output.copied()? } else { output });
        }
        Ok(outputs)
    }
}

/// Returns the elements on an `ALIGNMENT` border: as they are, or a copy of them that is kept in `copies`.
#[inline]
fn aligned<'a>(raw: &'a [u8], copies: &'a mut Vec<Vec<u128>>) -> &'a [u8] {
    const { assert!(align_of::<u128>() >= ALIGNMENT) };
    if raw.is_empty() || (raw.as_ptr() as usize).is_multiple_of(ALIGNMENT) {
        return raw;
    }
    let mut copy: Vec<u128> = Vec::with_capacity(raw.len().div_ceil(size_of::<u128>()));
    // SAFETY: there is room for as many bytes, which are ours alone. They do not move when `copy` does.
    unsafe {
        let start = copy.as_mut_ptr().cast::<u8>();
        ptr::copy_nonoverlapping(raw.as_ptr(), start, raw.len());
        copies.push(copy);
        std::slice::from_raw_parts(start, raw.len())
    }
}

/// Makes a value over elements that stay where they are. It must be released before they go.
#[inline]
fn lent(runtime: &'static Runtime, input: &Input<'_>, raw: &[u8]) -> Result<*mut OrtValue, RunError> {
    let expected = item_size(input.dtype).and_then(|size| nbytes(input.shape, size));
    if expected != Some(raw.len()) {
        return Err(Failure::new(format!("{} bytes for {:?} {:?}", raw.len(), input.dtype, input.shape)).into());
    }
    // SAFETY: there are as many bytes as dtype and shape say, on a border that suits the element; the shape is as
    // long as it is said to be. They are not written to, whatever the type of the pointer says: see `Session::run`.
    let made = unsafe {
        runtime.out(|out| {
            (runtime.api.CreateTensorWithDataAsOrtValue)(
                runtime.memory.as_ptr(),
                raw.as_ptr().cast_mut().cast(),
                raw.len(),
                input.shape.as_ptr(),
                input.shape.len(),
                number_of(input.dtype),
                out,
            )
        })
    }?;
    Ok(made.as_ptr())
}

/// Makes a value with copies of texts and writes it to `to`, also where filling it fails.
fn filled(
    runtime: &'static Runtime,
    input: &Input<'_>,
    texts: &[Bytes],
    to: &mut *mut OrtValue,
) -> Result<(), RunError> {
    if input.dtype != DType::Bytes || nbytes(input.shape, 1) != Some(texts.len()) {
        return Err(Failure::new(format!("{} texts for {:?} {:?}", texts.len(), input.dtype, input.shape)).into());
    }
    let api = runtime.api;
    // SAFETY: the shape is as long as it is said to be.
    *to = unsafe {
        runtime.out(|out| {
            let allocator = runtime.allocator.as_ptr();
            let number = number_of(DType::Bytes);
            (api.CreateTensorAsOrtValue)(allocator, input.shape.as_ptr(), input.shape.len(), number, out)
        })
    }?
    .as_ptr();
    for (at, text) in texts.iter().enumerate() {
        // `FillStringTensor` would end a text at its first NUL.
        // SAFETY: `at` is below the number of texts; the buffer that is made for one has its length.
        unsafe {
            let buffer =
                runtime.out(|out| (api.GetResizedStringTensorElementBuffer)(*to, at, text.len(), out))?.as_ptr();
            ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len());
        }
    }
    Ok(())
}
