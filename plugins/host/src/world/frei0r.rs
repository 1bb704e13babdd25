//! frei0r 1.2: video effects of four bytes a pixel.
//!
//! Follows `frei0r.h` of the specification, version 1.2; its sections are named
//! beside what follows them. A library is one effect. Its numbers run from 0 to 1
//! and have no unit. Libraries are never unloaded: some leave threads or
//! destructors behind.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use libloading::Library;
use sidetone_core::Size;

use crate::world::foreign::{round7, text};
use crate::world::installed::{Format, Installed, Param, Setting, Values};
use crate::world::names::{Names, name_and_unit};
use crate::world::rgba::{Order, Packed, padded};

/// The greatest width and height that the specification allows ("Construct").
pub const MAX_SIDE: u32 = 2048;

/// More parameters than any effect has: a table that says more is damaged.
const MOST_PARAMS: c_int = 1024;

/// Why a frei0r effect cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Frei0rError {
    /// The library cannot be opened or lacks a function.
    #[error("{path} is no frei0r library: {why}")]
    NotFrei0r {
        /// Where it is.
        path: String,
        /// What the loader said.
        why: String,
    },
    /// `f0r_init` failed.
    #[error("{0} did not want to start (f0r_init)")]
    Init(String),
    /// Its table says what no 1.2 effect may say.
    #[error("{path} says what frei0r 1.2 does not know: {why}")]
    Table {
        /// Where it is.
        path: String,
        /// What it says.
        why: String,
    },
    /// `f0r_construct` gave nothing.
    #[error("the effect could not be made for pictures of {}x{}", .0.width, .0.height)]
    Construct(Size),
    /// A colour that is none.
    #[error("\"{0}\" is no colour: write red, green and blue as \"#ff8000\"")]
    NotColor(String),
    /// Text with a zero in it.
    #[error("text for an effect may not hold a zero")]
    Zero,
}

/// What the effect of the library at `path` says of itself; the defaults are read
/// from an instance. Runs foreign code. \[control\]
///
/// # Errors
/// Why it is no frei0r 1.2 effect.
pub fn describe(path: &Path) -> Result<Installed, Frei0rError> {
    let library = Loaded::open(path)?;
    let info = &library.info;
    let unusable = match info.kind {
        Kind::Source => Some("it takes no picture, and a node of this kind does".to_owned()),
        _ => None,
    };
    let instance = Instance::new(&library, Size::new(640, 360))?;
    let mut names = Names::default();
    let mut params = Vec::new();
    for (index, param) in info.params.iter().enumerate() {
        let index = index as u32;
        let (name, _) = name_and_unit(&param.name);
        let mut add = |suffix: &str, part: u8, values: Values| {
            let name = names.unique(&format!("{name}{suffix}"), index);
            params.push(Param { name, index, part, values, unit: String::new(), doc: param.doc.clone() });
        };
        // Defaults out of range are damage that a range would make an error of.
        let unit = |value: f64| if value.is_nan() { 0.0 } else { round7(value.clamp(0.0, 1.0)) };
        let from_0_to_1 = |value| Values::Float { min: Some(0.0), max: Some(1.0), default: unit(value) };
        match instance.get(index as usize, param.kind) {
            Value::Bool(value) => add("", 0, Values::Bool { default: value >= 0.5 }),
            Value::Double(value) => add("", 0, from_0_to_1(value)),
            Value::Position([x, y]) => {
                add("_x", 0, from_0_to_1(x));
                add("_y", 1, from_0_to_1(y));
            }
            Value::Color(rgb) => add("", 0, Values::Color { default: hex(rgb) }),
            Value::String(default) => add("", 0, Values::Text { default }),
        }
    }
    Ok(Installed {
        format: Format::Frei0r,
        path: path.to_owned(),
        key: String::new(),
        name: info.name.clone(),
        author: info.author.clone(),
        version: format!("{}.{}", info.version.0, info.version.1),
        doc: info.doc.clone(),
        inputs: info.kind.inputs(),
        outputs: 1,
        latency_samples: 0,
        params,
        unusable,
    })
}

/// What an effect takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Filter,
    Source,
    Mixer2,
    Mixer3,
}

impl Kind {
    const fn inputs(self) -> u32 {
        match self {
            Self::Source => 0,
            Self::Filter => 1,
            Self::Mixer2 => 2,
            Self::Mixer3 => 3,
        }
    }
}

/// Of what type a parameter is (`PARAM_TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParamKind {
    Bool,
    Double,
    Color,
    Position,
    String,
}

/// What a library says of its effect.
struct Info {
    name: String,
    author: String,
    doc: String,
    kind: Kind,
    order: Order,
    version: (c_int, c_int),
    params: Vec<ParamInfo>,
}

struct ParamInfo {
    name: String,
    kind: ParamKind,
    doc: String,
}

/// `f0r_plugin_info_t`.
#[repr(C)]
struct RawInfo {
    name: *const c_char,
    author: *const c_char,
    plugin_type: c_int,
    color_model: c_int,
    frei0r_version: c_int,
    major_version: c_int,
    minor_version: c_int,
    num_params: c_int,
    explanation: *const c_char,
}

/// `f0r_param_info_t`.
#[repr(C)]
struct RawParamInfo {
    name: *const c_char,
    kind: c_int,
    explanation: *const c_char,
}

type RawInstance = *mut c_void;

/// The functions of a library (all of `frei0r.h`); the library they are in is never
/// unloaded, so that they may be called for ever.
struct Functions {
    construct: unsafe extern "C" fn(c_uint, c_uint) -> RawInstance,
    destruct: unsafe extern "C" fn(RawInstance),
    set: unsafe extern "C" fn(RawInstance, *mut c_void, c_int),
    get: unsafe extern "C" fn(RawInstance, *mut c_void, c_int),
    update: Update,
}

/// How an effect is run: mixers by `f0r_update2`, all others by `f0r_update`.
#[derive(Clone, Copy)]
enum Update {
    One(unsafe extern "C" fn(RawInstance, f64, *const u32, *mut u32)),
    Three(unsafe extern "C" fn(RawInstance, f64, *const u32, *const u32, *const u32, *mut u32)),
}

/// A library that was opened and started, once in this process.
pub struct Loaded {
    functions: Functions,
    info: Info,
}

static LOADED: Mutex<Option<HashMap<PathBuf, Arc<Loaded>>>> = Mutex::new(None);

impl Loaded {
    /// The library at `path`, which stays loaded. Runs foreign code. \[control\]
    ///
    /// # Errors
    /// Why it is no frei0r 1.2 effect.
    pub fn open(path: &Path) -> Result<Arc<Self>, Frei0rError> {
        // f0r_init must not be called twice ("Concurrency"): hence one table, locked
        // for all of the opening.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let table = loaded.get_or_insert_default();
        if let Some(known) = table.get(path) {
            return Ok(Arc::clone(known));
        }
        let library = Arc::new(Self::load(path)?);
        table.insert(path.to_owned(), Arc::clone(&library));
        Ok(library)
    }

    fn load(path: &Path) -> Result<Self, Frei0rError> {
        let shown = || path.display().to_string();
        let not_frei0r =
            |why: libloading::Error| Frei0rError::NotFrei0r { path: shown(), why: why.to_string() };
        // SAFETY: whoever names an effect trusts its library to be loaded, as the
        // documentation of `isolate` says; that it is a library at all is checked.
        let library = unsafe { Library::new(path) }.map_err(not_frei0r)?;
        // Forgotten, so that the functions outlive everything.
        let library: &'static Library = Box::leak(Box::new(library));
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the specification gives the function of this name the
                // type that it is taken for; the library is what must keep to it.
                *unsafe { library.get($name) }.map_err(not_frei0r)?
            };
        }
        let init: unsafe extern "C" fn() -> c_int = function!(b"f0r_init\0");
        let get_info: unsafe extern "C" fn(*mut RawInfo) = function!(b"f0r_get_plugin_info\0");
        let get_param: unsafe extern "C" fn(*mut RawParamInfo, c_int) = function!(b"f0r_get_param_info\0");
        // All are looked for before any is called.
        let construct = function!(b"f0r_construct\0");
        let destruct = function!(b"f0r_destruct\0");
        let set = function!(b"f0r_set_param_value\0");
        let get = function!(b"f0r_get_param_value\0");

        // Some return 0 and some 1 for success; the specification does not say which,
        // and hosts ignore it.
        // SAFETY: first call into the library; `open` keeps it from being a second one.
        unsafe { init() };
        let mut raw = RawInfo {
            name: ptr::null(),
            author: ptr::null(),
            plugin_type: -1,
            color_model: -1,
            frei0r_version: -1,
            major_version: 0,
            minor_version: 0,
            num_params: 0,
            explanation: ptr::null(),
        };
        // SAFETY: `raw` is a whole `f0r_plugin_info_t`, and `init` was called.
        unsafe { get_info(&raw mut raw) };
        let wrong = |why: String| Frei0rError::Table { path: shown(), why };
        if raw.frei0r_version != 1 {
            return Err(wrong(format!("frei0r version {}", raw.frei0r_version)));
        }
        let kind = match raw.plugin_type {
            0 => Kind::Filter,
            1 => Kind::Source,
            2 => Kind::Mixer2,
            3 => Kind::Mixer3,
            other => return Err(wrong(format!("plugin type {other}"))),
        };
        let order = match raw.color_model {
            0 => Order::Bgra,
            // To an effect that takes any packed pixels they may as well be these.
            1 | 2 => Order::Rgba,
            other => return Err(wrong(format!("colour model {other}"))),
        };
        if !(0..=MOST_PARAMS).contains(&raw.num_params) {
            return Err(wrong(format!("{} parameters", raw.num_params)));
        }
        let mut params = Vec::new();
        for index in 0..raw.num_params {
            let mut param = RawParamInfo { name: ptr::null(), kind: -1, explanation: ptr::null() };
            // SAFETY: `param` is a whole `f0r_param_info_t`, and `index` is below num_params.
            unsafe { get_param(&raw mut param, index) };
            let kind = match param.kind {
                0 => ParamKind::Bool,
                1 => ParamKind::Double,
                2 => ParamKind::Color,
                3 => ParamKind::Position,
                4 => ParamKind::String,
                other => return Err(wrong(format!("parameter {index} of type {other}"))),
            };
            // SAFETY: the table's texts are null or end with a zero ("All strings").
            let (name, doc) = unsafe { (text(param.name), text(param.explanation)) };
            params.push(ParamInfo { name, kind, doc });
        }
        let update = match kind {
            Kind::Filter | Kind::Source => Update::One(function!(b"f0r_update\0")),
            Kind::Mixer2 | Kind::Mixer3 => Update::Three(function!(b"f0r_update2\0")),
        };
        // SAFETY: as above.
        let [name, author, doc] = unsafe { [text(raw.name), text(raw.author), text(raw.explanation)] };
        let version = (raw.major_version, raw.minor_version);
        Ok(Self {
            functions: Functions { construct, destruct, set, get, update },
            info: Info { name, author, doc, kind, order, version, params },
        })
    }

    /// How many pictures it takes at a time. \[any\]
    #[must_use]
    pub const fn inputs(&self) -> usize {
        self.info.kind.inputs() as usize
    }

    /// How its pixels stand. \[any\]
    #[must_use]
    pub const fn order(&self) -> Order {
        self.info.order
    }
}

/// The value of a parameter as frei0r has it.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bool(f64),
    Double(f64),
    Color([f32; 3]),
    Position([f64; 2]),
    String(String),
}

/// An effect for pictures of one size. One thread at a time may use it
/// ("Concurrency"), which `&mut` sees to.
pub struct Instance {
    library: Arc<Loaded>,
    raw: NonNull<c_void>,
}

// SAFETY: frei0r binds an instance to no thread; different instances may be used
// on different threads at once ("Concurrency").
unsafe impl Send for Instance {}

impl Instance {
    /// One for pictures of `size`; it is run on `padded(size)`. Runs foreign code. \[control\]
    ///
    /// # Errors
    /// If the effect does not want to.
    pub fn new(library: &Arc<Loaded>, size: Size) -> Result<Self, Frei0rError> {
        let padded = padded(size);
        if padded.width == 0 || padded.height == 0 || padded.width > MAX_SIDE || padded.height > MAX_SIDE {
            return Err(Frei0rError::Construct(size));
        }
        // SAFETY: both sides are multiples of 8 between 8 and 2048, as the specification asks.
        let raw = unsafe { (library.functions.construct)(padded.width, padded.height) };
        let raw = NonNull::new(raw).ok_or(Frei0rError::Construct(size))?;
        Ok(Self { library: Arc::clone(library), raw })
    }

    /// Gives a parameter another value; one that does not fit its type is passed
    /// over. Runs foreign code, which may allocate. \[control\]
    ///
    /// # Errors
    /// If text holds a zero, or is no colour where it is to be one.
    pub fn set(&mut self, param: &Param, to: &Setting<'_>) -> Result<(), Frei0rError> {
        let index = param.index as usize;
        let Some(info) = self.library.info.params.get(index) else { return Ok(()) };
        let value = match (info.kind, to) {
            (ParamKind::Bool, Setting::Number(number)) => Value::Bool(*number),
            (ParamKind::Double, Setting::Number(number)) => Value::Double(*number),
            (ParamKind::Position, Setting::Number(number)) => {
                let Value::Position(mut both) = self.get(index, info.kind) else { return Ok(()) };
                both[usize::from(param.part).min(1)] = *number;
                Value::Position(both)
            }
            (ParamKind::Color, Setting::Text(color)) => match rgb(color) {
                Some(rgb) => Value::Color(rgb),
                None => return Err(Frei0rError::NotColor((*color).to_owned())),
            },
            (ParamKind::String, Setting::Text(text)) => Value::String((*text).to_owned()),
            _ => return Ok(()),
        };
        self.put(index, &value)
    }

    fn put(&mut self, index: usize, value: &Value) -> Result<(), Frei0rError> {
        // Wide enough for every type of the specification but text.
        let mut cell = [0_u64; 2];
        match value {
            Value::Bool(number) | Value::Double(number) => cell[0] = number.to_bits(),
            Value::Position([x, y]) => cell = [x.to_bits(), y.to_bits()],
            Value::Color(rgb) => bytemuck::cast_slice_mut(&mut cell)[..3].copy_from_slice(rgb),
            Value::String(string) => {
                let text = CString::new(string.as_str()).map_err(|_| Frei0rError::Zero)?;
                let mut pointer = text.as_ptr().cast_mut();
                let cell = (&raw mut pointer).cast();
                // SAFETY: index is one of the table's; the cell holds a pointer to text
                // that ends with a zero, which the effect copies ("f0r_set_param_value").
                unsafe { (self.library.functions.set)(self.raw.as_ptr(), cell, index as c_int) };
                return Ok(());
            }
        }
        // SAFETY: index is one of the table's, whose type `value` has; the cell is
        // aligned and wide enough for it.
        unsafe { (self.library.functions.set)(self.raw.as_ptr(), cell.as_mut_ptr().cast(), index as c_int) };
        Ok(())
    }

    /// What a parameter is now; `kind` is its type in the table.
    fn get(&self, index: usize, kind: ParamKind) -> Value {
        // Wider than any type of the specification, in case the effect's is.
        let mut cell = [0_u64; 8];
        // SAFETY: index is one of the table's; the cell is aligned and wide enough for
        // each type, and zero: what the effect leaves unset is a number or null.
        unsafe { (self.library.functions.get)(self.raw.as_ptr(), cell.as_mut_ptr().cast(), index as c_int) };
        let doubles = [f64::from_bits(cell[0]), f64::from_bits(cell[1])];
        match kind {
            ParamKind::Bool => Value::Bool(doubles[0]),
            ParamKind::Double => Value::Double(doubles[0]),
            ParamKind::Position => Value::Position(doubles),
            ParamKind::Color => {
                let floats: &[f32] = bytemuck::cast_slice(&cell);
                Value::Color([floats[0], floats[1], floats[2]])
            }
            ParamKind::String => {
                // SAFETY: an effect leaves there null or a pointer to its own text,
                // which ends with a zero ("f0r_get_param_value").
                Value::String(unsafe { text(cell.as_ptr().cast::<*const c_char>().read()) })
            }
        }
    }

    /// Makes `output` of `inputs`, one for a filter, two or three for mixers, all of
    /// `padded(size)`. `seconds` is the time in the stream. Runs foreign code, which
    /// may allocate, lock and never return. \[control\]
    ///
    /// # Panics
    /// If there are fewer inputs than the effect takes.
    pub fn update(&mut self, seconds: f64, inputs: &[Packed], output: &mut Packed) {
        let raw = self.raw.as_ptr();
        let input =
            |index: usize| inputs.get(index).map_or(ptr::null(), |picture| picture.bytes().as_ptr().cast());
        assert!(inputs.len() >= self.library.inputs(), "an effect needs all its inputs");
        let output = output.bytes_mut().as_mut_ptr().cast();
        match self.library.functions.update {
            // SAFETY: all pictures are of the size that the instance was made for, by
            // `Packed`'s own padding and the caller's keeping to one size, aligned to
            // 16 bytes; a filter or source was given this function.
            Update::One(update) => unsafe { update(raw, seconds, input(0), output) },
            // SAFETY: as above; a mixer was given this function.
            Update::Three(update) => unsafe { update(raw, seconds, input(0), input(1), input(2), output) },
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: from `construct`, and destructed once.
        unsafe { (self.library.functions.destruct)(self.raw.as_ptr()) };
    }
}

/// `#rrggbb`.
fn hex(rgb: [f32; 3]) -> String {
    let [r, g, b] = rgb.map(|part| (part.clamp(0.0, 1.0) * 255.0).round() as u8);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Red, green and blue from 0 to 1 of `#rrggbb`. \[any\]
#[must_use]
pub fn rgb(text: &str) -> Option<[f32; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    Some([part(0)?, part(2)?, part(4)?].map(|part| f32::from(part) / 255.0))
}
