//! An effect as the C tables that a host reads: the only functions of the kit that C
//! calls. Nothing unwinds out of them.

#![allow(unsafe_code)]

use core::any::Any;
use core::ffi::{CStr, c_char, c_void};
use core::marker::PhantomData;
use core::ptr;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use sidetone_plugin_abi as abi;

use crate::call::{Call, HostRef, Keeper, Level, Start, Values};
use crate::effect::{Declared, Run};
use crate::state::Fields;
use crate::{Done, Error, Param, Port, Spec, Value};

/// A table that is the library's for ever.
#[doc(hidden)]
pub struct Table(abi::Bundle);

// SAFETY: it and all it points to are written once, before they are shared.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// Whose a plugin is: `plugin!` takes it from the crate's Cargo.toml.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Origin {
    pub id: &'static str,
    pub version: &'static str,
    pub vendor: &'static str,
    pub license: &'static str,
}

/// What `sidetone_plugin_entry` gives.
///
/// # Safety
/// `host` is null or a host that is there for as long as the call.
#[doc(hidden)]
pub unsafe fn entry(
    host_abi: u32,
    host: *const abi::Host,
    table: &'static OnceLock<Table>,
    origin: Origin,
    kinds: &[fn() -> abi::Kind],
) -> *const abi::Bundle {
    // SAFETY: by the caller.
    let host = unsafe { HostRef::new(host) };
    if host_abi >> 16 != abi::SIDETONE_ABI_MAJOR {
        if let Some(host) = host {
            let (id, major) = (origin.id, abi::SIDETONE_ABI_MAJOR);
            host.log(Level::Error, format_args!("{id} is for version {major} of the plugin interface"));
        }
        return ptr::null();
    }
    let made = catch_unwind(|| {
        table.get_or_init(|| {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind()).collect();
            Table(abi::Bundle {
                size: size_of::<abi::Bundle>() as u32,
                abi: abi::SIDETONE_ABI,
                id: text(origin.id),
                version: text(origin.version),
                vendor: text(origin.vendor),
                license: text(origin.license),
                kind_count: kinds.len() as u32,
                kind_stride: size_of::<abi::Kind>() as u32,
                kinds: list(kinds),
            })
        })
    });
    made.map_or(ptr::null(), |table| &table.0)
}

/// Text for a table: as long-lived as the library.
fn text(text: &str) -> *const c_char {
    CString::new(text.replace('\0', " ")).map_or(ptr::null(), |text| text.into_raw().cast_const())
}

/// The same, null where there is none.
fn some_text(words: &str) -> *const c_char {
    if words.is_empty() { ptr::null() } else { text(words) }
}

/// A list for a table: as long-lived as the library.
fn list<T>(items: Vec<T>) -> *const T {
    Box::leak(items.into_boxed_slice()).as_ptr()
}

fn port(port: &Port) -> abi::Port {
    abi::Port {
        size: size_of::<abi::Port>() as u32,
        media: port.media,
        format: port.format,
        flags: port.flags,
        name: text(port.name),
        doc: text(port.doc),
        shape: some_text(port.shape),
        rate: port.rate,
        channels: port.channels,
    }
}

fn param(param: &Param) -> abi::Param {
    abi::Param {
        size: size_of::<abi::Param>() as u32,
        id: param.id,
        param_type: param.param_type,
        flags: param.flags,
        name: text(param.name),
        unit: text(param.unit),
        doc: text(param.doc),
        min: param.min,
        max: param.max,
        step: param.step,
        default_number: param.default_number,
        default_text: text(param.default_text),
        choice_count: param.choices.len() as u32,
        reserved: 0,
        choices: list(param.choices.iter().map(|word| text(word)).collect()),
    }
}

/// The table of a kind. \[control\]
#[doc(hidden)]
pub fn kind<E: Declared + Run<E::Way>>() -> abi::Kind {
    let spec = Instance::<E>::SPEC;
    abi::Kind {
        size: size_of::<abi::Kind>() as u32,
        flags: spec.flags,
        kind: text(spec.kind),
        summary: text(&spec.summary()),
        doc: text(spec.doc),
        latency_ns: spec.latency_ns,
        input_count: spec.inputs.len() as u32,
        input_stride: size_of::<abi::Port>() as u32,
        inputs: list(spec.inputs.iter().map(port).collect()),
        output_count: spec.outputs.len() as u32,
        output_stride: size_of::<abi::Port>() as u32,
        outputs: list(spec.outputs.iter().map(port).collect()),
        param_count: spec.params.len() as u32,
        param_stride: size_of::<abi::Param>() as u32,
        params: list(spec.params.iter().map(param).collect()),
        create: Some(create::<E>),
        destroy: Some(destroy::<E>),
        process: Some(process::<E>),
        extension: Some(extension::<E>),
    }
}

/// What the host has a pointer to.
struct Instance<E> {
    host: HostRef,
    effect: E,
    keeper: Arc<Keeper>,
    /// It has panicked: its fields may be anything, and it is called no more.
    broken: bool,
}

impl<E: Declared + Run<E::Way>> Instance<E> {
    const SPEC: &'static Spec = &E::SPEC;
    const STATE: &'static abi::State = &abi::State {
        size: size_of::<abi::State>() as u32,
        reserved: 0,
        save: Some(save::<E>),
        load: Some(load::<E>),
    };

    /// # Safety
    /// `instance` is what `create::<E>` gave, not destroyed, and in one call at a
    /// time: the host's promise.
    unsafe fn of<'a>(instance: *mut c_void) -> &'a mut Self {
        // SAFETY: by the caller.
        unsafe { &mut *instance.cast::<Self>() }
    }

    /// Runs something of the author's: a panic or an error becomes a code, with its
    /// text logged.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, i32> {
        if self.broken {
            return Err(abi::SIDETONE_ERROR_PANIC);
        }
        let host = self.host;
        let done = guard(host, || work(self));
        self.broken = matches!(done, Err(abi::SIDETONE_ERROR_PANIC));
        done
    }
}

fn guard<T>(host: HostRef, work: impl FnOnce() -> Result<T, Error>) -> Result<T, i32> {
    // What panicked is called no more, so nobody sees it half changed.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(why)) => {
            // An error's text is the author's own, but formatting `Cow<str>` runs no
            // code of theirs.
            host.log(Level::Error, &why);
            Err(why.code())
        }
        Err(payload) => {
            host.log(Level::Error, format_args!("panicked: {}", said(&*payload)));
            // Dropping it may run the author's code, and panic again.
            core::mem::forget(payload);
            Err(abi::SIDETONE_ERROR_PANIC)
        }
    }
}

fn said(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// # Safety
/// Called by a host, as `abi::Kind::create` says.
unsafe extern "C" fn create<E: Declared + Run<E::Way>>(
    host: *const abi::Host,
    setup: *const abi::Setup,
) -> *mut c_void {
    // SAFETY: the host's own table, for as long as the instance.
    let Some(host) = (unsafe { HostRef::new(host) }) else { return ptr::null_mut() };
    let made = guard(host, || {
        // SAFETY: a setup begins with its size, and is as large as that says.
        let size = if setup.is_null() { 0 } else { unsafe { (*setup).size as usize } };
        if size < size_of::<abi::Setup>() {
            return Err(Error::other("the host's setup is of an older version"));
        }
        // SAFETY: as above.
        let setup = unsafe { *setup };
        // SAFETY: its parameters live as long as this call.
        let values = Values { spec: Instance::<E>::SPEC, given: unsafe { values(&setup) } };
        let mut effect = E::make(&values);
        effect.run_start(&Start { host, seed: setup.seed, lent: PhantomData })?;
        Ok(Box::new(Instance { host, effect, keeper: Keeper::new(), broken: false }))
    });
    made.map_or(ptr::null_mut(), |instance| Box::into_raw(instance).cast())
}

/// # Safety
/// `setup.params` is as the header says, for `'a`.
unsafe fn values<'a>(setup: &abi::Setup) -> Vec<(u32, Value<'a>)> {
    let fits = setup.param_stride as usize >= size_of::<abi::Value>() && !setup.params.is_null();
    let value = |at: usize| {
        // SAFETY: `param_count` values lie `param_stride` bytes apart.
        let value = unsafe { *setup.params.byte_add(at * setup.param_stride as usize) };
        let text = if value.text.is_null() {
            ""
        } else {
            // SAFETY: text ends with a zero byte and lives as long as the call.
            unsafe { CStr::from_ptr(value.text) }.to_str().unwrap_or_default()
        };
        (value.id, Value { number: value.number, text })
    };
    (0..if fits { setup.param_count as usize } else { 0 }).map(value).collect()
}

/// # Safety
/// Called by a host, as `abi::Kind::destroy` says.
unsafe extern "C" fn destroy<E: Declared + Run<E::Way>>(instance: *mut c_void) {
    if instance.is_null() {
        return;
    }
    // SAFETY: what `create::<E>` gave, and the host calls it no more.
    let instance = *unsafe { Box::from_raw(instance.cast::<Instance<E>>()) };
    let Instance { host, effect, keeper, .. } = instance;
    let _ = guard(host, || {
        drop(effect);
        Ok(())
    });
    keeper.sweep(host);
}

/// # Safety
/// Called by a host, as `abi::Kind::process` says.
unsafe extern "C" fn process<E: Declared + Run<E::Way>>(instance: *mut c_void, call: *mut abi::Call) -> i32 {
    // SAFETY: the host's promise.
    let instance = unsafe { Instance::<E>::of(instance) };
    let done = instance.guarded(|instance| {
        let Instance { host, effect, keeper, .. } = instance;
        // SAFETY: what the host gave, once; its lifetime ends with this closure.
        let mut call = unsafe { Call::new(*host, keeper, Instance::<E>::SPEC, call) }?;
        for change in call.changes() {
            let id =
                E::SPEC.params.iter().find(|param| param.name == change.name).map_or(0, |param| param.id);
            effect.set(id, Value { number: change.number, text: "" });
            effect.run_changed(&change);
        }
        let done = effect.run_process(&mut call);
        call.finish();
        done
    });
    instance.keeper.sweep(instance.host);
    done.map_or_else(|code| code, Done::code)
}

/// # Safety
/// Called by a host, as `abi::Kind::extension` says.
unsafe extern "C" fn extension<E: Declared + Run<E::Way>>(name: *const c_char) -> *const c_void {
    if name.is_null() || !E::SPEC.saves {
        return ptr::null();
    }
    // SAFETY: text ends with a zero byte.
    let name = unsafe { CStr::from_ptr(name) };
    if name.to_bytes() == abi::SIDETONE_EXTENSION_STATE.as_bytes() {
        ptr::from_ref(Instance::<E>::STATE).cast()
    } else {
        ptr::null()
    }
}

/// # Safety
/// Called by a host, as `abi::State::save` says.
unsafe extern "C" fn save<E: Declared + Run<E::Way>>(
    instance: *mut c_void,
    buffer: *mut u8,
    capacity: u64,
) -> i64 {
    // SAFETY: the host's promise.
    let saved = unsafe { Instance::<E>::of(instance) }.guarded(|instance| {
        let mut fields = Fields::default();
        instance.effect.save(&mut fields);
        Ok(fields.to_bytes())
    });
    let bytes = match saved {
        Ok(bytes) => bytes,
        Err(code) => return code.into(),
    };
    if !buffer.is_null() && bytes.len() as u64 <= capacity {
        // SAFETY: `buffer` has `capacity` bytes, of the host's own.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len()) };
    }
    bytes.len() as i64
}

/// # Safety
/// Called by a host, as `abi::State::load` says.
unsafe extern "C" fn load<E: Declared + Run<E::Way>>(
    instance: *mut c_void,
    state: *const u8,
    length: u64,
) -> i32 {
    let Ok(length) = usize::try_from(length) else { return abi::SIDETONE_ERROR_MEDIA };
    // SAFETY: `length` bytes, for as long as this call.
    let bytes = if state.is_null() { &[] } else { unsafe { core::slice::from_raw_parts(state, length) } };
    // SAFETY: the host's promise.
    let loaded = unsafe { Instance::<E>::of(instance) }
        .guarded(|instance| instance.effect.load(&Fields::of_bytes(bytes)?, E::run_loaded));
    loaded.map_or_else(|code| code, |()| abi::SIDETONE_OK)
}
