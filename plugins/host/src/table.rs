//! The table that is compiled into a plugin, read as the same `Manifest` that
//! its file says. A plugin is foreign code: every count, pointer, length and text
//! of it is checked before it is used, so far as that can be done in one process.

use std::ffi::c_char;

use sidetone_plugin_abi as abi;

use crate::effect::text_of;
use crate::manifest::{
    CHOICES, FORMATS, Given, KIND_FLAGS, Kind, MANY, MEDIA, Manifest, PARAM_FLAGS, PORT_FLAGS, PORTS, Param,
    Port, TYPES, Words, major,
};

/// Texts are read so far, in bytes.
const LONGEST_TEXT: usize = 64 << 10;

/// What calls a kind's instances: its functions, and what is needed to call them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Functions {
    pub(crate) create: unsafe extern "C" fn(*const abi::Host, *const abi::Setup) -> *mut std::ffi::c_void,
    pub(crate) destroy: unsafe extern "C" fn(*mut std::ffi::c_void),
    pub(crate) process: unsafe extern "C" fn(*mut std::ffi::c_void, *mut abi::Call) -> i32,
    pub(crate) state: Option<abi::State>,
}

/// A plugin's table: what it says of itself, and the functions of its kinds, in
/// the same order.
pub(crate) struct Table {
    pub(crate) manifest: Manifest,
    pub(crate) functions: Vec<Functions>,
}

/// Reads a bundle.
///
/// # Errors
/// What is wrong with it, for its author.
///
/// # Safety
/// `bundle` is null or what the entry of a plugin gave: it is trusted to point to
/// a struct of the size that it says, and so is every pointer in it.
pub(crate) unsafe fn read(bundle: *const abi::Bundle) -> Result<Table, String> {
    // SAFETY: the caller's.
    let bundle: abi::Bundle =
        unsafe { sized(bundle, BUNDLE) }.ok_or("its entry gives no table of the size that it should have")?;
    let (major_version, minor) = (bundle.abi >> 16, bundle.abi & 0xffff);
    let version = format!("{major_version}.{minor}");
    major(&version)?;
    if bundle.kinds.is_null() || bundle.kind_count == 0 || bundle.kind_count as usize > MANY {
        return Err(format!("it has {} kinds, and must have 1 to {MANY}", bundle.kind_count));
    }
    // SAFETY: the caller's.
    let [id, own_version, vendor, license] =
        [bundle.id, bundle.version, bundle.vendor, bundle.license].map(|it| unsafe { text(it) });
    let mut manifest = Manifest {
        sidetone_plugin: 1,
        id,
        version: own_version,
        abi: version,
        vendor,
        license,
        library: None,
        kinds: Vec::new(),
    };
    let mut functions = Vec::new();
    for index in 0..bundle.kind_count {
        // SAFETY: the caller's.
        let raw: abi::Kind = unsafe { element(bundle.kinds, bundle.kind_stride, index, KIND) }
            .ok_or_else(|| format!("kind {index} of {} is smaller than it should be", bundle.kind_count))?;
        // SAFETY: the caller's.
        let kind = unsafe { kind(&raw) }?;
        let lacks = |what: &str| format!("kind {} lacks its function {what}", kind.kind);
        functions.push(Functions {
            create: raw.create.ok_or_else(|| lacks("create"))?,
            destroy: raw.destroy.ok_or_else(|| lacks("destroy"))?,
            process: raw.process.ok_or_else(|| lacks("process"))?,
            // SAFETY: the caller's.
            state: unsafe { state(&raw) },
        });
        manifest.kinds.push(kind);
    }
    let wrong = manifest.mistakes();
    if wrong.is_empty() { Ok(Table { manifest, functions }) } else { Err(wrong.join("\n")) }
}

unsafe fn kind(raw: &abi::Kind) -> Result<Kind, String> {
    // SAFETY: the caller's.
    let [name, summary, doc] = [raw.kind, raw.summary, raw.doc].map(|it| unsafe { text(it) });
    let ports = |list: *const abi::Port, count: u32, stride: u32| -> Result<Vec<Port>, String> {
        if count as usize > PORTS || (list.is_null() && count > 0) {
            return Err(format!("kind {name}: it has {count} ports, and may have {PORTS}"));
        }
        // SAFETY: the caller's.
        (0..count)
            .map(|index| unsafe { element(list, stride, index, PORT).map(|raw: abi::Port| port(&raw)) })
            .collect::<Option<_>>()
            .ok_or_else(|| format!("kind {name}: a port is smaller than it should be"))
    };
    if raw.param_count as usize > MANY || (raw.params.is_null() && raw.param_count > 0) {
        return Err(format!("kind {name}: it has {} parameters, and may have {MANY}", raw.param_count));
    }
    let params = (0..raw.param_count)
        // SAFETY: the caller's.
        .map(|index| unsafe {
            element(raw.params, raw.param_stride, index, PARAM).map(|raw: abi::Param| param(&raw))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("kind {name}: a parameter is smaller than it should be"))?;
    Ok(Kind {
        summary,
        doc,
        latency_ns: raw.latency_ns,
        flags: flags(raw.flags, KIND_FLAGS),
        inputs: ports(raw.inputs, raw.input_count, raw.input_stride)?,
        outputs: ports(raw.outputs, raw.output_count, raw.output_stride)?,
        params,
        kind: name,
    })
}

unsafe fn port(raw: &abi::Port) -> Port {
    // SAFETY: the caller's.
    let [name, doc, shape] = [raw.name, raw.doc, raw.shape].map(|it| unsafe { text(it) });
    Port {
        name,
        media: word(raw.media, MEDIA),
        format: word(raw.format, FORMATS),
        shape,
        rate: raw.rate,
        channels: raw.channels,
        flags: flags(raw.flags, PORT_FLAGS),
        doc,
    }
}

unsafe fn param(raw: &abi::Param) -> Param {
    // SAFETY: the caller's.
    let [name, unit, doc, default] =
        [raw.name, raw.unit, raw.doc, raw.default_text].map(|it| unsafe { text(it) });
    let count = if raw.choices.is_null() { 0 } else { (raw.choice_count as usize).min(CHOICES + 1) };
    // SAFETY: the caller's: `choice_count` pointers to texts.
    let choices: Vec<String> = (0..count).map(|at| unsafe { text(*raw.choices.add(at)) }).collect();
    let number = raw.default_number;
    let default = match raw.param_type {
        abi::SIDETONE_PARAM_BOOL => Some(Given::Bool(number != 0.0)),
        // A place beyond the last is no choice, which the check tells.
        abi::SIDETONE_PARAM_CHOICE => choices.get(number as usize).cloned().map(Given::Text),
        abi::SIDETONE_PARAM_TEXT | abi::SIDETONE_PARAM_PATH => Some(Given::Text(default)),
        _ => Some(Given::Number(number)),
    };
    let flags = flags(raw.flags, PARAM_FLAGS);
    let is_number = matches!(raw.param_type, abi::SIDETONE_PARAM_INT | abi::SIDETONE_PARAM_FLOAT);
    let [min, max] = [raw.min, raw.max].map(|end| if is_number { end } else { 0.0 });
    Param {
        id: raw.id,
        name,
        kind: word(raw.param_type, TYPES),
        min,
        max,
        step: raw.step,
        default: default.filter(|_| flags.iter().all(|flag| flag != "required")),
        unit,
        choices,
        flags,
        doc,
    }
}

unsafe fn state(raw: &abi::Kind) -> Option<abi::State> {
    let name = std::ffi::CString::new(abi::SIDETONE_EXTENSION_STATE).ok()?;
    // SAFETY: the caller's: a function of the plugin's that gives null or an
    // extension of that name.
    unsafe {
        let extension = (raw.extension?)(name.as_ptr()).cast::<abi::State>();
        sized(extension, STATE).filter(|state: &abi::State| state.save.is_some() && state.load.is_some())
    }
}

/// Bytes of the structs of version 1.0: no plugin has smaller ones.
const BUNDLE: usize = 56;
const KIND: usize = 120;
const PORT: usize = 48;
const PARAM: usize = 96;
const STATE: usize = 24;

/// A struct that says its own size, if that is at least `least`; what this host
/// knows beyond is 0, and what it does not know is left alone.
///
/// # Safety
/// `at` is null or points to a struct that begins with its size as a u32, and all
/// zeros is a value of `T`.
unsafe fn sized<T: Copy>(at: *const T, least: usize) -> Option<T> {
    if at.is_null() || !at.is_aligned() {
        return None;
    }
    // SAFETY: the caller's; as many bytes are read as the struct says it has.
    unsafe {
        let size = *at.cast::<u32>() as usize;
        let mut known = std::mem::MaybeUninit::<T>::zeroed();
        let bytes = size.min(size_of::<T>());
        std::ptr::copy_nonoverlapping(at.cast::<u8>(), known.as_mut_ptr().cast::<u8>(), bytes);
        (size >= least).then(|| known.assume_init())
    }
}

/// Element `index` of an array whose elements lie `stride` bytes apart.
///
/// # Safety
/// `list` points to more than `index` elements, each of which begins with its size.
unsafe fn element<T: Copy>(list: *const T, stride: u32, index: u32, least: usize) -> Option<T> {
    if (stride as usize) < least {
        return None;
    }
    // SAFETY: the caller's.
    unsafe { sized(list.byte_add(stride as usize * index as usize), least) }
}

unsafe fn text(text: *const c_char) -> String {
    // SAFETY: the caller's.
    unsafe { text_of(text, LONGEST_TEXT) }.to_owned()
}

/// The word for a number; the number itself where there is none, which the check
/// refuses.
fn word(number: u32, words: Words) -> String {
    words
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| number.to_string(), |(word, _)| (*word).into())
}

/// The words for flags; those that this host does not know are left out, since a
/// later minor version may have them.
fn flags(number: u32, words: Words) -> Vec<String> {
    words.iter().filter(|(_, flag)| number & flag != 0).map(|(word, _)| (*word).into()).collect()
}
