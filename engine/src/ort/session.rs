//! A graph that can run, and what goes into it and comes out of it.

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr;

use ort_sys::{
    GraphOptimizationLevel, OrtAllocator, OrtSession, OrtSessionOptions, OrtStatusPtr, OrtTensorTypeAndShapeInfo,
    OrtTypeInfo,
};

use super::element::{dtype_of, word_of};
use super::handle::Handle;
use super::run::RunOptions;
use super::runtime::{Failure, Runtime};
use crate::tensor::DType;

/// Types within types are followed so far.
const DEPTH: usize = 8;
/// `ONNXType`, as numbers: a newer runtime may have more.
mod onnx_type {
    pub const TENSOR: i32 = 1;
    pub const SEQUENCE: i32 = 2;
    pub const MAP: i32 = 3;
    pub const OPAQUE: i32 = 4;
    pub const SPARSE_TENSOR: i32 = 5;
    pub const OPTIONAL: i32 = 6;
}

/// How much ONNX Runtime rewrites a graph when it opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimization {
    None,
    Basic,
    Extended,
    All,
}

/// How ONNX Runtime should run a graph; what else there is, is as `onnx/session.py` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many threads share one run; 1 is the caller's own.
    pub intra_op_threads: u16,
    /// Whether idle threads of these spin.
    pub spinning: bool,
    pub optimization: Optimization,
    /// A library of operators that the graph needs beyond ONNX Runtime's own: an installed package's, never a model's.
    pub extensions: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { intra_op_threads: 1, spinning: false, optimization: Optimization::All, extensions: None }
    }
}

/// One axis of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    Fixed(i64),
    /// Free, and the same wherever the name is.
    Named(String),
    Free,
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    /// As ONNX Runtime writes it: `tensor(float)`, `seq(map(int64,tensor(float)))`.
    pub type_text: String,
    /// None where it is not a tensor of a dtype that the protocol knows.
    pub dtype: Option<DType>,
    pub shape: Vec<Size>,
}

/// A graph, ready to run from any thread.
///
/// Dropping it frees its memory, which may take milliseconds: on a reactor, hand it to `free_later`.
pub struct Session {
    pub(super) runtime: &'static Runtime,
    pub(super) raw: Handle<OrtSession>,
    pub(super) input_names: Vec<CString>,
    pub(super) output_names: Vec<CString>,
    inputs: Vec<Argument>,
    outputs: Vec<Argument>,
    /// Whether one thread does all of a run.
    pub(super) alone: bool,
}

// SAFETY: `Run` and what describes a session may be called by all threads at once; nothing else is done with `&self`.
unsafe impl Sync for Session {}

type GetCount = unsafe extern "system" fn(*const OrtSession, *mut usize) -> OrtStatusPtr;
type GetName = unsafe extern "system" fn(*const OrtSession, usize, *mut OrtAllocator, *mut *mut c_char) -> OrtStatusPtr;
type GetTypeInfo = unsafe extern "system" fn(*const OrtSession, usize, *mut *mut OrtTypeInfo) -> OrtStatusPtr;

impl Session {
    /// Opens the graph in a file; external data are looked for beside it.
    ///
    /// # Errors
    /// ONNX Runtime cannot load it.
    pub fn open(runtime: &'static Runtime, path: &Path, options: &Options) -> Result<Self, Failure> {
        let settings = settings_of(runtime, options)?;
        let file = path_of(path)?;
        let api = runtime.api;
        // SAFETY: the environment lives forever, the path and the options until the call has returned.
        let raw = unsafe {
            runtime.make(api.ReleaseSession, |out| {
                (api.CreateSession)(runtime.env.as_ptr(), file.as_ptr(), settings.raw(), out)
            })
        }?;
        // SAFETY: these are the inputs' functions, and those the outputs'.
        let (inputs, outputs) = unsafe {
            (
                arguments_of(
                    runtime,
                    &raw,
                    api.SessionGetInputCount,
                    api.SessionGetInputName,
                    api.SessionGetInputTypeInfo,
                )?,
                arguments_of(
                    runtime,
                    &raw,
                    api.SessionGetOutputCount,
                    api.SessionGetOutputName,
                    api.SessionGetOutputTypeInfo,
                )?,
            )
        };
        let (input_names, inputs) = inputs.into_iter().unzip();
        let (output_names, outputs) = outputs.into_iter().unzip();
        let alone = options.intra_op_threads == 1;
        Ok(Self { runtime, raw, input_names, output_names, inputs, outputs, alone })
    }

    /// Returns options with which runs of it can be ended.
    ///
    /// # Errors
    /// ONNX Runtime has no memory.
    pub fn run_options(&self) -> Result<RunOptions, Failure> {
        RunOptions::new(self.runtime)
    }

    /// Returns the inputs that must be given, in the graph's order.
    pub fn inputs(&self) -> &[Argument] {
        &self.inputs
    }

    /// Returns the outputs, in the graph's order.
    pub fn outputs(&self) -> &[Argument] {
        &self.outputs
    }
}

fn settings_of(runtime: &'static Runtime, options: &Options) -> Result<Handle<OrtSessionOptions>, Failure> {
    let api = runtime.api;
    let level = match options.optimization {
        Optimization::None => GraphOptimizationLevel::ORT_DISABLE_ALL,
        Optimization::Basic => GraphOptimizationLevel::ORT_ENABLE_BASIC,
        Optimization::Extended => GraphOptimizationLevel::ORT_ENABLE_EXTENDED,
        Optimization::All => GraphOptimizationLevel::ORT_ENABLE_ALL,
    };
    let spinning = if options.spinning { c"1" } else { c"0" };
    const FATAL_ONLY: i32 = 4;
    // SAFETY: every call gets the options that were made first, and strings with their ends, which are copied.
    unsafe {
        let made = runtime.make(api.ReleaseSessionOptions, |out| (api.CreateSessionOptions)(out))?;
        let raw = made.raw();
        runtime.check((api.SetIntraOpNumThreads)(raw, i32::from(options.intra_op_threads)))?;
        runtime.check((api.SetInterOpNumThreads)(raw, 1))?;
        runtime.check((api.SetSessionLogSeverityLevel)(raw, FATAL_ONLY))?;
        runtime.check((api.SetSessionGraphOptimizationLevel)(raw, level))?;
        runtime.check((api.AddSessionConfigEntry)(
            raw,
            c"session.intra_op.allow_spinning".as_ptr(),
            spinning.as_ptr(),
        ))?;
        // Tensors and buffers come from `allocator.rs`, which counts them.
        runtime.check((api.AddSessionConfigEntry)(raw, c"session.use_env_allocators".as_ptr(), c"1".as_ptr()))?;
        // A memory pattern is kept for every shape ever seen, and callers choose the shapes.
        runtime.check((api.DisableMemPattern)(raw))?;
        // Nor is there an arena, which never shrinks: one huge request would hold its memory for as long as the version lives.
        runtime.check((api.DisableCpuMemArena)(raw))?;
        if let Some(library) = &options.extensions {
            runtime.keep(library)?;
            let library = path_of(library)?;
            runtime.check((api.RegisterCustomOpsLibrary_V2)(raw, library.as_ptr()))?;
        }
        Ok(made)
    }
}

fn path_of(path: &Path) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Failure::new("a NUL in the path"))
}

/// Reads one side of a session.
///
/// # Safety
/// The functions are those of a session of this runtime.
unsafe fn arguments_of(
    runtime: &'static Runtime,
    session: &Handle<OrtSession>,
    count: GetCount,
    name: GetName,
    type_info: GetTypeInfo,
) -> Result<Vec<(CString, Argument)>, Failure> {
    let (api, raw) = (runtime.api, session.raw());
    // SAFETY: the session is open.
    let count = unsafe { runtime.read(|out| count(raw, out)) }?;
    let mut found = Vec::with_capacity(count);
    for at in 0..count {
        // SAFETY: `at` is below the count; the name is the allocator's, copied, and given back to it.
        let own = unsafe {
            let text = runtime.out(|out| name(raw, at, runtime.allocator.as_ptr(), out))?;
            let own = CStr::from_ptr(text.as_ptr()).to_owned();
            runtime.check((api.AllocatorFree)(runtime.allocator.as_ptr(), text.as_ptr().cast()))?;
            own
        };
        // SAFETY: `at` is below the count.
        let info = unsafe { runtime.make(api.ReleaseTypeInfo, |out| type_info(raw, at, out)) }?;
        let (type_text, dtype, shape) = described(runtime, &info, DEPTH)?;
        let name = own.to_string_lossy().into_owned();
        found.push((own, Argument { name, type_text, dtype, shape }));
    }
    Ok(found)
}

fn described(
    runtime: &'static Runtime,
    info: &Handle<OrtTypeInfo>,
    depth: usize,
) -> Result<(String, Option<DType>, Vec<Size>), Failure> {
    let (api, raw) = (runtime.api, info.raw());
    // SAFETY: the information is there; an `ONNXType` is an `int`, read as one since there may be new ones.
    let sort: i32 = unsafe { runtime.read(|out: *mut i32| (api.GetOnnxTypeFromTypeInfo)(raw, out.cast())) }?;
    if depth == 0 {
        return Ok(("unknown".to_owned(), None, Vec::new()));
    }
    let inner = |made: Handle<OrtTypeInfo>| Ok::<_, Failure>(described(runtime, &made, depth - 1)?.0);
    let text = match sort {
        onnx_type::TENSOR | onnx_type::SPARSE_TENSOR => {
            let mut tensor: *const OrtTensorTypeAndShapeInfo = ptr::null();
            // SAFETY: what is written belongs to `info`, which outlives it.
            unsafe { runtime.check((api.CastTypeInfoToTensorInfo)(raw, &mut tensor)) }?;
            if tensor.is_null() {
                return Err(Failure::new("a tensor without its type"));
            }
            // SAFETY: not null, and alive while `info` is.
            let (number, shape) = unsafe { (number_of(runtime, tensor)?, shape_of(runtime, tensor)?) };
            let word = word_of(number);
            return Ok(if sort == onnx_type::TENSOR {
                (format!("tensor({word})"), dtype_of(number), shape)
            } else {
                (format!("sparse_tensor({word})"), None, shape)
            });
        }
        onnx_type::SEQUENCE => {
            let mut sequence = ptr::null();
            // SAFETY: what is cast to belongs to `info`; what is made is ours.
            let made = unsafe {
                runtime.check((api.CastTypeInfoToSequenceTypeInfo)(raw, &mut sequence))?;
                runtime.make(api.ReleaseTypeInfo, |out| (api.GetSequenceElementType)(sequence, out))?
            };
            format!("seq({})", inner(made)?)
        }
        onnx_type::MAP => {
            let mut map = ptr::null();
            // SAFETY: as above; the key's type is an `int`.
            let (key, made) = unsafe {
                runtime.check((api.CastTypeInfoToMapTypeInfo)(raw, &mut map))?;
                let key: i32 = runtime.read(|out: *mut i32| (api.GetMapKeyType)(map, out.cast()))?;
                (key, runtime.make(api.ReleaseTypeInfo, |out| (api.GetMapValueType)(map, out))?)
            };
            format!("map({},{})", word_of(key), inner(made)?)
        }
        onnx_type::OPTIONAL => {
            let mut optional = ptr::null();
            // SAFETY: as above.
            let made = unsafe {
                runtime.check((api.CastTypeInfoToOptionalTypeInfo)(raw, &mut optional))?;
                runtime.make(api.ReleaseTypeInfo, |out| (api.GetOptionalContainedTypeInfo)(optional, out))?
            };
            format!("optional({})", inner(made)?)
        }
        onnx_type::OPAQUE => "opaque".to_owned(),
        _ => "unknown".to_owned(),
    };
    Ok((text, None, Vec::new()))
}

/// Reads the number of a tensor's dtype.
///
/// # Safety
/// `info` is alive.
#[inline]
pub(super) unsafe fn number_of(
    runtime: &'static Runtime,
    info: *const OrtTensorTypeAndShapeInfo,
) -> Result<i32, Failure> {
    // SAFETY: as promised; the number is an `int`, read as one since there may be new ones.
    unsafe { runtime.read(|out: *mut i32| (runtime.api.GetTensorElementType)(info, out.cast())) }
}

unsafe fn shape_of(runtime: &'static Runtime, info: *const OrtTensorTypeAndShapeInfo) -> Result<Vec<Size>, Failure> {
    let api = runtime.api;
    // SAFETY: `info` is alive, both lists are as long as they are said to be, and the names belong to `info`.
    unsafe {
        let rank = runtime.read(|out| (api.GetDimensionsCount)(info, out))?;
        let mut sizes = vec![0i64; rank];
        let mut names: Vec<*const c_char> = vec![ptr::null(); rank];
        runtime.check((api.GetDimensions)(info, sizes.as_mut_ptr(), rank))?;
        runtime.check((api.GetSymbolicDimensions)(info, names.as_mut_ptr(), rank))?;
        let size = |(&size, &name): (&i64, &*const c_char)| match size {
            0.. => Size::Fixed(size),
            _ if name.is_null() || *name == 0 => Size::Free,
            _ => Size::Named(CStr::from_ptr(name).to_string_lossy().into_owned()),
        };
        Ok(sizes.iter().zip(&names).map(size).collect())
    }
}
