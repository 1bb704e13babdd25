//! `Instance`: an instance of a kind of a Sidetone plugin, as an `Effect`.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Write as _;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sidetone_core::{Fault, FaultKind};
use sidetone_plugin_abi as abi;
use sidetone_plugin_abi::draft;

use crate::effect::{Desk, Effect, Job, Outcome, text_of};
use crate::library::Library;
use crate::manifest::{Given, Kind};
use crate::table::Functions;

/// Bytes of a text that `log` takes.
const LOG: usize = 256;
/// Bytes of a figure's name.
const NAME: usize = 64;
/// No saved state is longer.
pub(crate) const LONGEST_STATE: usize = 16 << 20;
/// Words that an instance may say while it is made.
const SAID: usize = 16;

/// An instance of a kind of a plugin. What every call touches is in one cache line:
/// in a graph of many nodes it comes from afar each time.
#[repr(C, align(64))]
pub(crate) struct Instance {
    pointer: *mut c_void,
    host: Box<Host>,
    /// Whether it failed: it is destroyed, and not called any more.
    failed: bool,
    functions: Functions,
    /// Its code stays for as long as it is there.
    _library: Arc<Library>,
}

// SAFETY: the interface has instances called by one thread at a time, not by the
// same one always, and so does whoever holds this.
unsafe impl Send for Instance {}

/// What an instance is given as its host. It stands still: the instance has its
/// address.
struct Host {
    face: abi::Host,
    /// Parameters: number and value.
    values: Vec<(u32, f64)>,
    call_ns: u64,
    /// What was said while no call was under way, or by other threads.
    said: Mutex<Vec<(u32, String)>>,
}

/// What all instances have in `said`.
static UNSAID: AtomicUsize = AtomicUsize::new(0);

/// A call of `process`.
#[derive(Clone, Copy)]
struct Present {
    /// Whose.
    host: *const Host,
    /// What it was called with.
    job: *mut Job<'static>,
}

thread_local! {
    /// The call that is under way on this thread.
    static PRESENT: Cell<Present> =
        const { Cell::new(Present { host: ptr::null(), job: ptr::null_mut() }) };
}

impl Instance {
    /// Makes an instance of the kind numbered `index` of `library`: runs foreign
    /// code. `params` are the values of all its parameters that have one; a call
    /// should take `call_ns` at most (0 where nothing is known). \[control\]
    ///
    /// # Errors
    /// The plugin's own reason.
    pub(crate) fn new(
        library: &Arc<Library>,
        index: usize,
        params: &[(u32, Given)],
        seed: u64,
        call_ns: u64,
    ) -> Result<Self, String> {
        let kind = &library.table.kinds[index];
        let functions = library.functions[index];
        let mut host = Box::new(Host {
            face: FACE,
            values: params.iter().map(|(id, value)| (*id, number(kind, *id, value))).collect(),
            call_ns,
            said: Mutex::default(),
        });
        host.face.context = ptr::from_mut(&mut *host).cast();
        let texts = texts(params);
        let values = values(&host.values, &texts);
        let setup = abi::Setup {
            size: size_of::<abi::Setup>() as u32,
            param_count: values.len() as u32,
            param_stride: size_of::<abi::Value>() as u32,
            reserved: 0,
            params: values.as_ptr(),
            seed,
        };
        // SAFETY: the interface's; the host stands still in its box for as long as
        // the instance is there.
        let pointer = unsafe { (functions.create)(&raw const host.face, &raw const setup) };
        if pointer.is_null() {
            let said: Vec<_> = host.take_said().into_iter().map(|(_, text)| text).collect();
            let said = said.join("; ");
            let said = if said.is_empty() { "it does not say why".into() } else { said };
            return Err(format!("{} could not be made: {said}", kind.kind));
        }
        Ok(Self { functions, pointer, host, failed: false, _library: Arc::clone(library) })
    }
}

impl Effect for Instance {
    fn process(&mut self, job: &mut Job<'_>) -> Result<Outcome, Fault> {
        if self.failed {
            return Err(Fault::new(FaultKind::Library, "the plugin failed before"));
        }
        if UNSAID.load(Ordering::Relaxed) > 0 {
            self.host.pass_on(job);
        }
        if job.has_changes() {
            self.host.change(job);
        }
        let job = ptr::from_mut(job).cast();
        PRESENT.set(Present { host: &raw const *self.host, job });
        // SAFETY: the interface's; whoever made the job answers for its pointers. Only
        // its lifetime is forgotten: the pointer is taken back before this call ends,
        // and used by nobody in between but functions of the host that the instance
        // calls meanwhile.
        let code = unsafe { (self.functions.process)(self.pointer, Job::call_of(job)) };
        PRESENT.set(Present { host: ptr::null(), job: ptr::null_mut() });
        if code == abi::SIDETONE_OK {
            return Ok(Outcome::Ok);
        }
        let outcome = outcome(code);
        self.failed = outcome.is_err();
        outcome
    }

    fn save_state(&mut self) -> Option<Vec<u8>> {
        let save = self.functions.state.filter(|_| !self.failed)?.save?;
        // SAFETY: the interface's: a null buffer asks for the length.
        let length = usize::try_from(unsafe { save(self.pointer, ptr::null_mut(), 0) }).ok()?;
        if length > LONGEST_STATE {
            return None;
        }
        let mut state = vec![0; length];
        // SAFETY: the interface's: it writes at most `length` bytes.
        let written = unsafe { save(self.pointer, state.as_mut_ptr(), length as u64) };
        usize::try_from(written).ok().filter(|written| *written <= length).map(|written| {
            state.truncate(written);
            state
        })
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), Fault> {
        let Some(load) = self.functions.state.filter(|_| !self.failed).and_then(|state| state.load) else {
            return Err(Fault::new(FaultKind::Library, "the plugin takes over no state"));
        };
        // SAFETY: the interface's: it reads as many bytes.
        outcome(unsafe { load(self.pointer, state.as_ptr(), state.len() as u64) }).map(drop)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the interface's; it is called no more.
        unsafe { (self.functions.destroy)(self.pointer) };
        // Nobody is left to be told.
        self.host.take_said();
    }
}

impl Host {
    /// Says what was said between calls.
    #[cold]
    fn pass_on(&self, job: &mut Job<'_>) {
        self.take_said().into_iter().for_each(|(level, text)| job.log(level, &text));
    }

    /// Takes over the parameters that changed.
    #[cold]
    fn change(&mut self, job: &Job<'_>) {
        for (id, value) in job.changes() {
            if let Some(known) = self.values.iter_mut().find(|(known, _)| *known == id) {
                known.1 = value;
            }
        }
    }

    fn take_said(&self) -> Vec<(u32, String)> {
        let said = std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner));
        UNSAID.fetch_sub(said.len(), Ordering::Relaxed);
        said
    }
}

/// The texts among the values of parameters, with zeros at their ends.
pub(crate) fn texts(params: &[(u32, Given)]) -> Vec<Option<CString>> {
    let text = |(_, value): &(u32, Given)| match value {
        Given::Text(text) => CString::new(text.as_str()).ok(),
        _ => None,
    };
    params.iter().map(text).collect()
}

/// The values of parameters as the interface has them, which point into `texts`.
pub(crate) fn values(numbers: &[(u32, f64)], texts: &[Option<CString>]) -> Vec<abi::Value> {
    let value = |(&(id, number), text): (&(u32, f64), &Option<CString>)| abi::Value {
        size: size_of::<abi::Value>() as u32,
        id,
        number,
        text: text.as_ref().map_or(ptr::null(), |text| text.as_ptr()),
    };
    numbers.iter().zip(texts).map(value).collect()
}

/// The number of a parameter's value, as the interface has it.
pub(crate) fn number(kind: &Kind, id: u32, value: &Given) -> f64 {
    match value {
        Given::Bool(value) => f64::from(u8::from(*value)),
        Given::Number(value) => *value,
        Given::Text(word) => {
            let param = kind.params.iter().find(|param| param.id == id);
            let place = param.and_then(|param| param.choices.iter().position(|choice| choice == word));
            place.unwrap_or_default() as f64
        }
    }
}

fn outcome(code: i32) -> Result<Outcome, Fault> {
    let (kind, why) = match code {
        abi::SIDETONE_OK => return Ok(Outcome::Ok),
        abi::SIDETONE_DROP => return Ok(Outcome::Drop),
        abi::SIDETONE_NEED_MORE => return Ok(Outcome::NeedMore),
        abi::SIDETONE_END => return Ok(Outcome::End),
        abi::SIDETONE_ERROR_FORMAT => (FaultKind::WrongFormat, "the plugin does not take this format"),
        abi::SIDETONE_ERROR_MEDIA => (FaultKind::BadMedia, "the plugin found damaged media"),
        abi::SIDETONE_ERROR_MEMORY => (FaultKind::Library, "the plugin has not enough memory"),
        abi::SIDETONE_ERROR_PANIC => (FaultKind::Panic, "the plugin panicked; this is a defect in it"),
        abi::SIDETONE_ERROR_RESOURCE => (FaultKind::Io, "something that the plugin needs failed"),
        abi::SIDETONE_ERROR => (FaultKind::Library, "the plugin failed"),
        _ => (FaultKind::Library, "the plugin gave a return code that there is not; this is a defect in it"),
    };
    Err(Fault::new(kind, why))
}

const FACE: abi::Host = abi::Host {
    size: size_of::<abi::Host>() as u32,
    abi: abi::SIDETONE_ABI,
    context: ptr::null_mut(),
    log,
    now_ns,
    frame_new,
    frame_retain,
    frame_release,
    emit,
    param,
    extension,
};

/// What the instance that has `host` was called with on this thread, if it was.
///
/// # Safety
/// `host` is what the instance was given, and this is called by it.
unsafe fn present(host: *const abi::Host) -> Option<*mut Job<'static>> {
    // SAFETY: the host's context is its own address.
    let own = unsafe { (*host).context.cast::<Host>().cast_const() };
    let present = PRESENT.get();
    ptr::eq(present.host, own).then_some(present.job)
}

/// Whom to ask during that call.
///
/// # Safety
/// As [`present`]; of what it gives one is used at a time.
unsafe fn desk<'a>(host: *const abi::Host) -> Option<&'a mut (dyn Desk + 'static)> {
    // SAFETY: the caller's; the job and its desk are there for as long as the call is.
    unsafe { present(host).map(|job| Job::desk_of(job)) }
}

unsafe extern "C" fn log(host: *const abi::Host, level: u32, text: *const c_char) {
    // SAFETY: the interface's: a text that ends with a zero.
    let text = unsafe { text_of(text, LOG) };
    // SAFETY: as `desk`.
    if let Some(desk) = unsafe { desk(host) } {
        desk.log(level, text);
        return;
    }
    // SAFETY: the host's context is its own address; of what is there threads share
    // the mutex.
    let queue = unsafe { &(*(*host).context.cast::<Host>()).said };
    if let Ok(mut queue) = queue.try_lock()
        && queue.len() < SAID
    {
        queue.push((level, text.to_owned()));
        UNSAID.fetch_add(1, Ordering::Relaxed);
    }
}

/// `log` of the host that a library's entry is given: there is no graph yet to
/// tell.
pub(crate) unsafe extern "C" fn log_of_library(_: *const abi::Host, _: u32, text: *const c_char) {
    // SAFETY: the interface's: a text that ends with a zero.
    let text = unsafe { text_of(text, LOG) };
    // Where nobody hears it there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "plugin: {text}");
}

unsafe extern "C" fn now_ns(host: *const abi::Host) -> u64 {
    // SAFETY: as `present`; the job is there for as long as the call is.
    unsafe { present(host).map_or(0, |job| (*Job::call_of(job)).now_ns) }
}

unsafe extern "C" fn frame_new(
    host: *const abi::Host,
    port: u32,
    format: *const abi::Format,
    from: *const abi::Frame,
) -> *mut abi::Frame {
    // SAFETY: the interface's: null, or a format of the size that it says.
    let Some(format) = (unsafe { format.as_ref() }) else { return ptr::null_mut() };
    if (format.size as usize) < size_of::<abi::Format>() {
        return ptr::null_mut();
    }
    // SAFETY: as `desk`.
    unsafe { desk(host) }.map_or(ptr::null_mut(), |desk| desk.new_frame(port as usize, format, from))
}

unsafe extern "C" fn frame_retain(host: *const abi::Host, frame: *const abi::Frame) -> *const abi::Frame {
    // SAFETY: as `desk`.
    unsafe { desk(host) }.map_or(ptr::null(), |desk| desk.retain(frame))
}

unsafe extern "C" fn frame_release(host: *const abi::Host, frame: *const abi::Frame) {
    // Between calls there is nothing to do: what an instance keeps is let go with
    // it. SAFETY: as `desk`.
    if let Some(desk) = unsafe { desk(host) } {
        desk.release(frame);
    }
}

unsafe extern "C" fn emit(host: *const abi::Host, name: *const c_char, value: f64) {
    // SAFETY: the interface's: a text that ends with a zero.
    let name = unsafe { text_of(name, NAME) };
    // SAFETY: as `desk`.
    if let Some(desk) = unsafe { desk(host) } {
        desk.emit(name, value);
    }
}

unsafe extern "C" fn param(host: *const abi::Host, id: u32) -> f64 {
    // SAFETY: the host's context is its own address.
    let host = unsafe { (*host).context.cast::<Host>().as_ref() };
    let value = host.and_then(|host| host.values.iter().find(|(known, _)| *known == id));
    value.map_or(0.0, |(_, value)| *value)
}

unsafe extern "C" fn extension(_: *const abi::Host, name: *const c_char) -> *const c_void {
    static DEADLINE: draft::DraftDeadline =
        draft::DraftDeadline { size: size_of::<draft::DraftDeadline>() as u32, reserved: 0, call_ns };
    if name.is_null() {
        return ptr::null();
    }
    // SAFETY: the interface's: a text that ends with a zero.
    let name = unsafe { CStr::from_ptr(name) };
    if name.to_bytes() == draft::SIDETONE_EXTENSION_DRAFT_DEADLINE.as_bytes() {
        return (&raw const DEADLINE).cast();
    }
    ptr::null()
}

unsafe extern "C" fn call_ns(host: *const abi::Host) -> u64 {
    // SAFETY: the host's context is its own address.
    unsafe { (*host).context.cast::<Host>().as_ref().map_or(0, |host| host.call_ns) }
}
