//! ONNX Runtime itself: the library, loaded once, and its environment.

use std::ffi::CStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use ort_sys::{
    ORT_API_VERSION, OrtAllocator, OrtAllocatorType, OrtApi, OrtApiBase, OrtEnv, OrtErrorCode, OrtLoggingLevel,
    OrtMemType, OrtMemoryInfo, OrtStatus, OrtStatusPtr,
};

use super::allocator::Allocator;
use super::handle::{Handle, Release};

const TELEMETRY_SWITCH: &str = "ORT_DISABLE_TELEMETRY";

/// What ONNX Runtime says when it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `OrtErrorCode`; 0 where the failure is this room's.
    pub code: i32,
    /// For the log; it names nodes and files of the graph.
    pub text: String,
}

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { code: 0, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} (ONNX Runtime's code {})", self.text, self.code)
    }
}

impl std::error::Error for Failure {}

/// The library and its environment, for as long as the process lives.
pub struct Runtime {
    pub(super) api: &'static OrtApi,
    pub(super) env: NonNull<OrtEnv>,
    /// Of memory that is the caller's.
    pub(super) memory: NonNull<OrtMemoryInfo>,
    /// Of the C library's heap; ONNX Runtime's own, never released.
    pub(super) allocator: NonNull<OrtAllocator>,
    error_code: unsafe extern "system" fn(*const OrtStatus) -> i32,
    path: PathBuf,
    version: String,
}

// SAFETY: the environment, the memory information and the default allocator may be used by all threads at once, and
// nothing here changes after it was made.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

static LOADED: Mutex<Option<&'static Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the shared library at `path`, or returns it where it is loaded already.
    ///
    /// # Errors
    /// The library cannot be loaded or is too old, another one is loaded, or the environment lets ONNX Runtime report
    /// to its vendor.
    pub fn load(path: &Path) -> Result<&'static Self, Failure> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = *loaded {
            if runtime.path == path {
                return Ok(runtime);
            }
            return Err(Failure::new(format!("{} is loaded, not {}", runtime.path.display(), path.display())));
        }
        // It reads the variable when it is loaded; setting it here would race with whoever reads the environment.
        if std::env::var_os(TELEMETRY_SWITCH).is_none() {
            return Err(Failure::new(format!("{TELEMETRY_SWITCH} is not set; set it to 1 before anything is loaded")));
        }
        let runtime: &'static Self = Box::leak(Box::new(Self::open(path)?));
        *loaded = Some(runtime);
        Ok(runtime)
    }

    /// Returns the library if it was loaded.
    pub fn loaded() -> Option<&'static Self> {
        *LOADED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns ONNX Runtime's version, such as `1.32.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn open(path: &Path) -> Result<Self, Failure> {
        // SAFETY: the library's initialisers are those of the installed package, which Python would run as well.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        // SAFETY: the symbol has had this type since version 1.0.
        let base: Symbol<unsafe extern "system" fn() -> *const OrtApiBase> = unsafe { library.get(b"OrtGetApiBase\0") }
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        // SAFETY: the function takes nothing and returns a table that lives as long as the library, or null.
        let base = unsafe { base().as_ref() }.ok_or_else(|| Failure::new("no API"))?;
        // SAFETY: the table of functions only ever grows, so that an older version's is a newer one's beginning; null
        // is returned for a version that the library does not know.
        let api = unsafe { (base.GetApi)(ORT_API_VERSION).as_ref() };
        // SAFETY: a string that lives as long as the library.
        let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
        let api: &'static OrtApi =
            api.ok_or_else(|| Failure::new(format!("version {version} has no API {ORT_API_VERSION}")))?;
        // SAFETY: a C enumeration is returned as an `int`, and a newer runtime has codes that ort-sys's enumeration
        // lacks, which must not exist as a value of it.
        let error_code = unsafe {
            std::mem::transmute::<
                unsafe extern "system" fn(*const OrtStatus) -> OrtErrorCode,
                unsafe extern "system" fn(*const OrtStatus) -> i32,
            >(api.GetErrorCode)
        };
        let mut runtime = Self {
            api,
            env: NonNull::dangling(),
            memory: NonNull::dangling(),
            allocator: NonNull::dangling(),
            error_code,
            path: path.to_owned(),
            version,
        };
        // Never released: sessions are under it until the process ends.
        // SAFETY: the name is a string with its end, and copied.
        runtime.env = unsafe {
            runtime.out(|out| (api.CreateEnv)(OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL, c"turnout".as_ptr(), out))
        }?;
        // SAFETY: the environment was just made.
        unsafe { runtime.check((api.DisableTelemetryEvents)(runtime.env.as_ptr())) }?;
        // SAFETY: takes numbers, gives an object that we keep.
        runtime.memory = unsafe {
            runtime.out(|out| {
                (api.CreateCpuMemoryInfo)(OrtAllocatorType::OrtDeviceAllocator, OrtMemType::OrtMemTypeDefault, out)
            })
        }?;
        let counted = Box::leak(Box::new(Allocator::new(&library, runtime.memory)));
        // SAFETY: the environment was just made; the allocator lives as long as the process, as its blocks may.
        unsafe { runtime.check((api.RegisterAllocator)(runtime.env.as_ptr(), counted.raw())) }?;
        // Never unloaded: it has threads and destructors of its own, and `api` points into it.
        std::mem::forget(library);
        // SAFETY: takes nothing, gives an object that is not ours to release.
        runtime.allocator = unsafe { runtime.out(|out| (api.GetAllocatorWithDefaultOptions)(out)) }?;
        Ok(runtime)
    }

    /// Loads a library of operators, so that it is never unloaded again: ONNX Runtime would with its last session, and
    /// load it anew for the next, and its threads and destructors are not made for that.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub(super) fn keep(&self, path: &Path) -> Result<(), Failure> {
        // SAFETY: its initialisers are those of the installed package, which Python would run as well.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        std::mem::forget(library);
        Ok(())
    }

    /// Turns what a call returned into a result.
    ///
    /// # Safety
    /// `status` was returned by this API just now, and is used nowhere else.
    #[inline]
    pub(super) unsafe fn check(&self, status: OrtStatusPtr) -> Result<(), Failure> {
        if status.0.is_null() {
            return Ok(());
        }
        // SAFETY: as promised.
        Err(unsafe { self.failure(status) })
    }

    /// Reads a status that is not null.
    ///
    /// # Safety
    /// As of `check`.
    #[cold]
    unsafe fn failure(&self, status: OrtStatusPtr) -> Failure {
        // SAFETY: a status that is not null has a code and a text until it is released, which is done once.
        unsafe {
            let text = CStr::from_ptr((self.api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
            let code = (self.error_code)(status.0);
            (self.api.ReleaseStatus)(status.0);
            Failure { code, text }
        }
    }

    /// Calls what writes a pointer, and returns the pointer.
    ///
    /// # Safety
    /// `call` is a call of this API that is sound where its last argument is.
    #[inline]
    pub(super) unsafe fn out<T>(&self, call: impl FnOnce(*mut *mut T) -> OrtStatusPtr) -> Result<NonNull<T>, Failure> {
        let mut raw = ptr::null_mut();
        // SAFETY: as promised.
        unsafe { self.check(call(&mut raw)) }?;
        NonNull::new(raw).ok_or_else(|| Failure::new("nothing was made"))
    }

    /// Calls what makes an object, and returns the object.
    ///
    /// # Safety
    /// As of `out`; the object is the caller's, and `release` gives it back.
    #[inline]
    pub(super) unsafe fn make<T>(
        &self,
        release: Release<T>,
        call: impl FnOnce(*mut *mut T) -> OrtStatusPtr,
    ) -> Result<Handle<T>, Failure> {
        // SAFETY: as promised.
        unsafe { Ok(Handle::new(self.out(call)?, release)) }
    }

    /// Calls what writes a number, and returns the number.
    ///
    /// # Safety
    /// As of `out`.
    #[inline]
    pub(super) unsafe fn read<T: Default>(&self, call: impl FnOnce(*mut T) -> OrtStatusPtr) -> Result<T, Failure> {
        let mut number = T::default();
        // SAFETY: as promised.
        unsafe { self.check(call(&mut number)) }?;
        Ok(number)
    }
}
