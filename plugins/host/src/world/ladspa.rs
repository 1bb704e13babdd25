//! LADSPA 1.1: audio effects of planar 32-bit float.
//!
//! Follows `ladspa.h` of the specification, version 1.1. A library holds several
//! effects, each with ports for sound and for control; control inputs are
//! parameters, in the units that their names say. Libraries are never unloaded.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_ulong, c_void};
use std::path::Path;
use std::ptr::NonNull;

use libloading::Library;

use crate::world::denormals::flushed;
use crate::world::foreign::{round7, text};
use crate::world::installed::{Format, Installed, Param, Setting, Values};
use crate::world::names::{Names, name_and_unit};

/// More effects than any library holds, and more ports than any effect has: a table
/// that goes on is damaged.
const MOST_EFFECTS: c_ulong = 4096;
const MOST_PORTS: c_ulong = 1024;

/// At which rate effects are described: bounds that depend on it hold there.
const RATE: u32 = 48_000;

/// Why a LADSPA effect cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LadspaError {
    /// The library cannot be opened or lacks `ladspa_descriptor`.
    #[error("{path} is no LADSPA library: {why}")]
    NotLadspa {
        /// Where it is.
        path: String,
        /// What the loader said.
        why: String,
    },
    /// No effect in it has this label.
    #[error("{path} holds no effect {label}")]
    NoSuchEffect {
        /// Where it is.
        path: String,
        /// What was asked for.
        label: String,
    },
    /// The effect's table is damaged.
    #[error("the table of {label} is damaged: {why}")]
    Table {
        /// Which effect.
        label: String,
        /// What is wrong.
        why: &'static str,
    },
    /// `instantiate` gave nothing.
    #[error("{label} could not be made for {rate} Hz")]
    Instantiate {
        /// Which effect.
        label: String,
        /// Samples per second.
        rate: u32,
    },
}

/// What the effects of the library at `path` say of themselves. Runs foreign code:
/// each is made and run for a moment of silence, to learn its latency. \[control\]
///
/// # Errors
/// Why it is no LADSPA library.
pub fn describe(path: &Path) -> Result<Vec<Installed>, LadspaError> {
    Ok(descriptors(path)?
        .into_iter()
        .map(|effect| match effect {
            Ok(effect) => described(path, &effect),
            Err(why) => Installed {
                key: match &why {
                    LadspaError::Table { label, .. } => label.clone(),
                    _ => String::new(),
                },
                unusable: Some(why.to_string()),
                ..unnamed(path)
            },
        })
        .collect())
}

fn unnamed(path: &Path) -> Installed {
    Installed {
        format: Format::Ladspa,
        path: path.to_owned(),
        key: String::new(),
        name: String::new(),
        author: String::new(),
        version: String::new(),
        doc: String::new(),
        inputs: 0,
        outputs: 0,
        latency_samples: 0,
        params: Vec::new(),
        unusable: None,
    }
}

fn described(path: &Path, effect: &Effect) -> Installed {
    let mut names = Names::default();
    let params: Vec<_> = effect
        .ports
        .iter()
        .enumerate()
        .filter(|(_, port)| port.role == Role::ControlIn)
        .map(|(index, port)| {
            let index = index as u32;
            let (name, unit) = name_and_unit(&port.name);
            // Bounds that depend on the rate are frequencies.
            let hertz = port.hint.has(SAMPLE_RATE) && unit.is_empty();
            let name = if hertz && !name.ends_with("_hz") { format!("{name}_hz") } else { name };
            let mut doc = port.name.clone();
            if port.hint.has(SAMPLE_RATE) {
                doc.push_str(" (range at 48000 Hz)");
            }
            Param {
                name: names.unique(&name, index),
                index,
                part: 0,
                values: port.hint.values(RATE),
                unit: if hertz { "Hz".into() } else { unit.into() },
                doc,
            }
        })
        .collect();
    let count = |role: Role| effect.ports.iter().filter(|port| port.role == role).count() as u32;
    let (inputs, outputs) = (count(Role::AudioIn), count(Role::AudioOut));
    let mut unusable = Installed::unfit_for_sound(inputs, outputs);
    let mut latency_samples = 0;
    if unusable.is_none() {
        match Instance::new(effect, RATE) {
            Ok(mut instance) => {
                let silence = vec![vec![0.0; 480]; inputs as usize];
                let mut out = vec![vec![0.0; 480]; outputs as usize];
                let inputs: Vec<_> = silence.iter().map(Vec::as_slice).collect();
                let mut outputs: Vec<_> = out.iter_mut().map(Vec::as_mut_slice).collect();
                instance.run(&inputs, &mut outputs);
                latency_samples = instance.latency();
            }
            Err(why) => unusable = Some(why.to_string()),
        }
    }
    Installed {
        key: effect.label.clone(),
        name: effect.name.clone(),
        author: effect.maker.clone(),
        inputs,
        outputs,
        latency_samples,
        params,
        unusable,
        ..unnamed(path)
    }
}

/// `LADSPA_Descriptor`.
#[repr(C)]
struct RawDescriptor {
    unique_id: c_ulong,
    label: *const c_char,
    properties: c_int,
    name: *const c_char,
    maker: *const c_char,
    copyright: *const c_char,
    port_count: c_ulong,
    port_descriptors: *const c_int,
    port_names: *const *const c_char,
    port_range_hints: *const RawHint,
    implementation_data: *mut c_void,
    instantiate: Option<unsafe extern "C" fn(*const RawDescriptor, c_ulong) -> *mut c_void>,
    connect_port: Option<unsafe extern "C" fn(*mut c_void, c_ulong, *mut f32)>,
    activate: Option<unsafe extern "C" fn(*mut c_void)>,
    run: Option<unsafe extern "C" fn(*mut c_void, c_ulong)>,
    run_adding: Option<unsafe extern "C" fn(*mut c_void, c_ulong)>,
    set_run_adding_gain: Option<unsafe extern "C" fn(*mut c_void, f32)>,
    deactivate: Option<unsafe extern "C" fn(*mut c_void)>,
    cleanup: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// `LADSPA_PortRangeHint`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawHint {
    bits: c_int,
    lower: f32,
    upper: f32,
}

const BOUNDED_BELOW: c_int = 0x1;
const BOUNDED_ABOVE: c_int = 0x2;
const TOGGLED: c_int = 0x4;
const SAMPLE_RATE: c_int = 0x8;
const LOGARITHMIC: c_int = 0x10;
const INTEGER: c_int = 0x20;
const DEFAULT: c_int = 0x3c0;

impl RawHint {
    const fn has(&self, bits: c_int) -> bool {
        self.bits & bits == bits
    }

    /// The bounds at `rate`, and the default ("Plugin Port Range Hints"). A port that
    /// names none gets 0, or what of its range is nearest.
    fn bounds(&self, rate: u32) -> (Option<f64>, Option<f64>, f64) {
        let scale = if self.has(SAMPLE_RATE) { f64::from(rate) } else { 1.0 };
        let bound = |bit: c_int, value: f32| {
            (self.has(bit) && value.is_finite()).then(|| round7(f64::from(value)) * scale)
        };
        let (lower, upper) = (bound(BOUNDED_BELOW, self.lower), bound(BOUNDED_ABOVE, self.upper));
        let (lower, upper) = match (lower, upper) {
            (Some(low), Some(high)) if low > high => (Some(high), Some(low)),
            other => other,
        };
        let (low, high) = (lower.unwrap_or(0.0), upper.unwrap_or_else(|| lower.unwrap_or(0.0).max(1.0)));
        let between = |share: f64| {
            if self.has(LOGARITHMIC) && low > 0.0 && high > 0.0 {
                (low.ln() * (1.0 - share) + high.ln() * share).exp()
            } else {
                low * (1.0 - share) + high * share
            }
        };
        let default = match self.bits & DEFAULT {
            0x40 => low,
            0x80 => between(0.25),
            0xc0 => between(0.5),
            0x100 => between(0.75),
            0x140 => high,
            0x240 => 1.0,
            0x280 => 100.0,
            0x2c0 => 440.0,
            _ => 0.0,
        };
        let default = default.max(lower.unwrap_or(f64::NEG_INFINITY)).min(upper.unwrap_or(f64::INFINITY));
        (lower, upper, round7(if self.has(INTEGER) { default.round() } else { default }))
    }

    fn values(&self, rate: u32) -> Values {
        let (min, max, default) = self.bounds(rate);
        if self.has(TOGGLED) {
            return Values::Bool { default: default > 0.0 };
        }
        if self.has(INTEGER) {
            // Bounds are a little wider than the numbers, so that rounding does no harm.
            let whole =
                |value: Option<f64>, otherwise: i64| value.map_or(otherwise, |value| value.round() as i64);
            let (min, max) = (whole(min, -(1 << 24)), whole(max, 1 << 24));
            return Values::Int { min, max, default: (default as i64).clamp(min, max) };
        }
        Values::Float { min, max, default }
    }
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    AudioIn,
    AudioOut,
    ControlIn,
    ControlOut,
}

struct Port {
    role: Role,
    name: String,
    hint: RawHint,
}

/// An effect of a library, its table read and found whole.
pub struct Effect {
    /// In a library that is never unloaded; constant, says the specification.
    raw: &'static RawDescriptor,
    label: String,
    name: String,
    maker: String,
    ports: Vec<Port>,
}

impl Effect {
    /// The effect `label` of the library at `path`. Runs foreign code. \[control\]
    ///
    /// # Errors
    /// If there is none.
    pub fn open(path: &Path, label: &str) -> Result<Self, LadspaError> {
        for effect in descriptors(path)? {
            match effect {
                Ok(effect) if effect.label == label => return Ok(effect),
                Err(LadspaError::Table { label: damaged, why }) if damaged == label => {
                    return Err(LadspaError::Table { label: damaged, why });
                }
                _ => {}
            }
        }
        Err(LadspaError::NoSuchEffect { path: path.display().to_string(), label: label.into() })
    }

    fn read(raw: &'static RawDescriptor) -> Result<Self, LadspaError> {
        // SAFETY: the table's texts are null or end with a zero ("Descriptor").
        let [label, name, maker] = unsafe { [text(raw.label), text(raw.name), text(raw.maker)] };
        let wrong = |why| LadspaError::Table { label: label.clone(), why };
        if label.is_empty() {
            return Err(wrong("it has no label"));
        }
        if raw.port_count > MOST_PORTS {
            return Err(wrong("it says it has more than a thousand ports"));
        }
        if raw.instantiate.is_none() || raw.connect_port.is_none() || raw.run.is_none() {
            return Err(wrong("it lacks a function"));
        }
        if raw.port_count > 0
            && (raw.port_descriptors.is_null() || raw.port_names.is_null() || raw.port_range_hints.is_null())
        {
            return Err(wrong("it has ports but not their descriptions"));
        }
        let mut ports = Vec::new();
        for index in 0..raw.port_count as usize {
            // SAFETY: the three arrays are not null and hold port_count entries each
            // ("Descriptor"); the library's word, its number checked above.
            let (bits, name, hint) = unsafe {
                (
                    raw.port_descriptors.add(index).read(),
                    text(raw.port_names.add(index).read()),
                    raw.port_range_hints.add(index).read(),
                )
            };
            let role = match bits & 0xf {
                0x5 => Role::ControlIn,
                0x6 => Role::ControlOut,
                0x9 => Role::AudioIn,
                0xa => Role::AudioOut,
                _ => {
                    return Err(wrong(
                        "a port is both input and output, or both sound and control, or neither",
                    ));
                }
            };
            ports.push(Port { role, name, hint });
        }
        Ok(Self { raw, label, name, maker, ports })
    }

    fn places(&self, role: Role) -> Vec<usize> {
        (0..self.ports.len()).filter(|index| self.ports[*index].role == role).collect()
    }

    /// Channels it takes. \[any\]
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.places(Role::AudioIn).len()
    }

    /// Channels it gives. \[any\]
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.places(Role::AudioOut).len()
    }
}

/// The effects of a library, damaged ones as errors; damage ends no listing.
fn descriptors(path: &Path) -> Result<Vec<Result<Effect, LadspaError>>, LadspaError> {
    let not_ladspa = |why: libloading::Error| LadspaError::NotLadspa {
        path: path.display().to_string(),
        why: why.to_string(),
    };
    // SAFETY: whoever names an effect trusts its library to be loaded, as the
    // documentation of `isolate` says; that it is a library at all is checked.
    let library = unsafe { Library::new(path) }.map_err(not_ladspa)?;
    // Loading again counts only; forgotten, so that descriptors outlive everything.
    let library: &'static Library = Box::leak(Box::new(library));
    type Descriptor = unsafe extern "C" fn(c_ulong) -> *const RawDescriptor;
    // SAFETY: the specification gives this function this type.
    let descriptor: Descriptor = *unsafe { library.get(b"ladspa_descriptor\0") }.map_err(not_ladspa)?;
    let mut effects = Vec::new();
    for index in 0..MOST_EFFECTS {
        // SAFETY: any index may be asked for; null ends the list. The descriptor stays
        // what it is while the library is loaded, which is for ever.
        let Some(raw) = (unsafe { descriptor(index).as_ref() }) else { break };
        effects.push(Effect::read(raw));
    }
    Ok(effects)
}

/// An effect that runs.
pub struct Instance {
    raw: &'static RawDescriptor,
    handle: NonNull<c_void>,
    rate: u32,
    /// A cell for every port; those of control ports are connected. Boxed: the effect
    /// keeps pointers to them, so they may not move; it reads and writes them in `run`.
    cells: Box<[Cell<f32>]>,
    hints: Vec<(Role, RawHint)>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    latency: Option<usize>,
}

// SAFETY: LADSPA binds an instance to no thread; one thread at a time uses it,
// by `&mut` ("Plugin Handles", and the rules for hosts under `instantiate`).
unsafe impl Send for Instance {}

impl Instance {
    /// One for sound of `rate` Hz, its parameters at their defaults. Runs foreign
    /// code. \[control\]
    ///
    /// # Errors
    /// If the effect does not want to.
    pub fn new(effect: &Effect, rate: u32) -> Result<Self, LadspaError> {
        let failed = || LadspaError::Instantiate { label: effect.label.clone(), rate };
        let raw = effect.raw;
        let (Some(instantiate), Some(connect)) = (raw.instantiate, raw.connect_port) else {
            return Err(failed());
        };
        // SAFETY: the descriptor is the one the function stands in.
        let handle = unsafe { instantiate(raw, c_ulong::from(rate)) };
        let handle = NonNull::new(handle).ok_or_else(failed)?;
        let hints: Vec<_> = effect.ports.iter().map(|port| (port.role, port.hint)).collect();
        let cells = hints.iter().map(|(_, hint)| Cell::new(hint.bounds(rate).2 as f32)).collect();
        let is_latency = |index: &usize| matches!(effect.ports[*index].name.as_str(), "latency" | "_latency");
        let instance = Self {
            raw,
            handle,
            rate,
            cells,
            hints,
            inputs: effect.places(Role::AudioIn),
            outputs: effect.places(Role::AudioOut),
            latency: effect.places(Role::ControlOut).into_iter().find(is_latency),
        };
        for index in 0..instance.cells.len() {
            if matches!(instance.hints[index].0, Role::ControlIn | Role::ControlOut) {
                // SAFETY: one of the effect's ports; the cell lives as long as the handle.
                unsafe { connect(handle.as_ptr(), index as c_ulong, instance.cells[index].as_ptr()) };
            }
        }
        if let Some(activate) = raw.activate {
            // Sound ports may be connected after activation ("activate").
            // SAFETY: activated once, before the first run.
            unsafe { activate(handle.as_ptr()) };
        }
        Ok(instance)
    }

    /// Gives a parameter another value, brought into its range at this rate; text and
    /// what is no number are passed over. \[real-time\]
    pub fn set(&mut self, param: &Param, to: &Setting<'_>) {
        let (index, Setting::Number(number)) = (param.index as usize, to) else { return };
        if number.is_nan() {
            return;
        }
        let Some((Role::ControlIn, hint)) = self.hints.get(index) else { return };
        let (low, high, _) = hint.bounds(self.rate);
        let number = number.max(low.unwrap_or(f64::from(f32::MIN))).min(high.unwrap_or(f64::from(f32::MAX)));
        self.cells[index].set(number as f32);
    }

    /// Makes `outputs` of `inputs`: as many as the effect has, all of one length. Runs
    /// foreign code. \[real-time\] where the effect is.
    ///
    /// # Panics
    /// If there are not as many channels as the effect has, or not of one length.
    pub fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        let (Some(connect), Some(run)) = (self.raw.connect_port, self.raw.run) else { return };
        assert!(inputs.len() == self.inputs.len() && outputs.len() == self.outputs.len());
        let samples = outputs.first().map_or(0, |channel| channel.len());
        assert!(inputs.iter().all(|channel| channel.len() == samples));
        assert!(outputs.iter().all(|channel| channel.len() == samples));
        let handle = self.handle.as_ptr();
        for (port, channel) in self.inputs.iter().zip(inputs) {
            // SAFETY: a sound input of the effect, which reads `samples` from it and
            // writes nothing ("Ports"); valid until `run` returns.
            unsafe { connect(handle, *port as c_ulong, channel.as_ptr().cast_mut()) };
        }
        for (port, channel) in self.outputs.iter().zip(outputs) {
            // SAFETY: a sound output of the effect, apart from all else; valid until
            // `run` returns.
            unsafe { connect(handle, *port as c_ulong, channel.as_mut_ptr()) };
        }
        // SAFETY: activated, and every port is connected to memory of `samples`, or
        // for control ports to one of the cells.
        flushed(|| unsafe { run(handle, samples as c_ulong) });
    }

    /// Samples by which it says it delays sound; 0 before the first run, and where it
    /// does not say. \[real-time\]
    #[must_use]
    pub fn latency(&self) -> u32 {
        self.latency.map_or(0, |port| self.cells[port].get().round() as u32)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let handle = self.handle.as_ptr();
        // SAFETY: deactivated only if it can be activated, cleaned up once.
        unsafe {
            if let (Some(_), Some(deactivate)) = (self.raw.activate, self.raw.deactivate) {
                deactivate(handle);
            }
            if let Some(cleanup) = self.raw.cleanup {
                cleanup(handle);
            }
        }
    }
}
