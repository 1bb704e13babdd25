//! CLAP 1: audio effects, through `clack-host`.
//!
//! Everything that CLAP binds to its main thread is done on one thread of that
//! name, which is started with the first effect and lives as long as the process:
//! making, asking about parameters and latency, saving and loading state, taking
//! apart. Only `process` and what belongs to it is called where sound runs.
//! Libraries are never unloaded.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{OnceLock, PoisonError};
use std::thread;

use clack_extensions::audio_ports::{AudioPortInfoBuffer, PluginAudioPorts};
use clack_extensions::latency::{HostLatency, HostLatencyImpl, PluginLatency};
use clack_extensions::params::{
    HostParams, HostParamsImplMainThread, HostParamsImplShared, ParamClearFlags, ParamInfoBuffer,
    ParamInfoFlags, ParamRescanFlags, PluginParams,
};
use clack_extensions::state::{HostState, HostStateImpl, PluginState};
use clack_host::events::Pckn;
use clack_host::events::event_types::ParamValueEvent;
use clack_host::prelude::*;
use clack_host::process::PluginAudioProcessor;
use clack_host::utils::ClapId;

use crate::world::denormals::flushed;
use crate::world::installed::{Format, Installed, Param, Setting, Values};
use crate::world::names::{Names, known_unit, name_and_unit};

/// More channels and parameters than any effect has: a table that says more is
/// damaged.
const MOST_CHANNELS: u32 = 64;
const MOST_PARAMS: u32 = 65_536;

/// The most samples that an effect gets at a time.
const MOST_SAMPLES: u32 = 4096;

/// At which rate effects are described: their latency is in its samples.
const RATE: u32 = 48_000;

/// Why a CLAP effect cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClapError {
    /// The library cannot be opened or is no CLAP library.
    #[error("{path} is no CLAP library: {why}")]
    NotClap {
        /// Where it is.
        path: String,
        /// What the loader said.
        why: String,
    },
    /// The effect could not be made or activated.
    #[error("{id} cannot run: {why}")]
    Plugin {
        /// Which effect.
        id: String,
        /// What it or clack said.
        why: String,
    },
    /// Its ports are not such as a node has.
    #[error("{id} has {why}")]
    Ports {
        /// Which effect.
        id: String,
        /// What ports.
        why: String,
    },
    /// The thread for CLAP's main-thread calls could not be started, or is gone.
    #[error("the thread for calls that CLAP binds to one is not there")]
    NoThread,
    /// The effect takes no part in saving and loading.
    #[error("{0} has no state to save or load")]
    NoState(String),
}

/// What the effects of the library at `path` say of themselves. Runs foreign code:
/// each is made and activated, to learn its parameters and latency. \[control\]
///
/// # Errors
/// Why it is no CLAP library.
pub fn describe(path: &Path) -> Result<Vec<Installed>, ClapError> {
    let path = path.to_owned();
    on_main_thread(move |instances| {
        let entry = open(&path)?;
        let not_clap = |why: &str| ClapError::NotClap { path: path.display().to_string(), why: why.into() };
        let factory = entry.get_plugin_factory().ok_or_else(|| not_clap("it has no effects"))?;
        let mut found = Vec::new();
        for index in 0..factory.plugin_count().min(4096) {
            let Some(descriptor) = factory.plugin_descriptor(index) else { continue };
            let text = |text: Option<&std::ffi::CStr>| {
                text.map(|text| text.to_string_lossy().trim().to_owned()).unwrap_or_default()
            };
            let mut effect = Installed {
                format: Format::Clap,
                path: path.clone(),
                key: text(descriptor.id()),
                name: text(descriptor.name()),
                author: text(descriptor.vendor()),
                version: text(descriptor.version()),
                doc: text(descriptor.description()),
                inputs: 0,
                outputs: 0,
                latency_samples: 0,
                params: Vec::new(),
                unusable: None,
            };
            if !descriptor.features().any(|feature| feature.to_bytes() == b"audio-effect") {
                effect.unusable = Some("it is no audio effect".into());
            } else {
                match Made::new(&entry, &effect.key, RATE) {
                    Ok(mut made) => {
                        effect.inputs = made.ports.inputs[0];
                        effect.outputs = made.ports.outputs[0];
                        effect.unusable = Installed::unfit_for_sound(effect.inputs, effect.outputs);
                        effect.latency_samples = made.latency();
                        effect.params = made.params();
                        made.deactivate();
                    }
                    Err(why) => effect.unusable = Some(why.to_string()),
                }
            }
            found.push(effect);
        }
        let _ = instances;
        Ok(found)
    })?
}

/// The host as effects see it.
struct Host;

/// What an effect may ask of the host, from any thread.
struct Asked {
    /// Of which instance, once that is known.
    id: Arc64,
    wants_call: AtomicBool,
}

/// The number of an instance, which is known only after it is made.
type Arc64 = std::sync::Arc<AtomicU64>;

impl HostHandlers for Host {
    type Shared<'a> = Asked;
    type MainThread<'a> = Answers;
    type AudioProcessor<'a> = ();

    fn declare_extensions(builder: &mut HostExtensions<'_, Self>, _: &Self::Shared<'_>) {
        builder.register::<HostLatency>().register::<HostParams>().register::<HostState>();
    }
}

impl SharedHandler<'_> for Asked {
    // Restarting an effect is the graph's to decide, and it is never asleep.
    fn request_restart(&self) {}
    fn request_process(&self) {}

    fn request_callback(&self) {
        if self.wants_call.swap(true, Ordering::AcqRel) {
            return;
        }
        let id = self.id.load(Ordering::Acquire);
        // Without the thread nobody is left to be called back.
        let _ = post(move |instances| {
            if let Some(made) = instances.get_mut(&id) {
                made.plugin.access_shared_handler(|asked| asked.wants_call.store(false, Ordering::Release));
                made.plugin.call_on_main_thread_callback();
            }
        });
    }
}

impl HostParamsImplShared for Asked {
    // Parameters are flushed by `process`, which is called for every frame.
    fn request_flush(&self) {}
}

/// What an effect tells the host on the main thread, none of which a graph can
/// follow: latency and parameters are those it had when it was described.
struct Answers;

impl MainThreadHandler<'_> for Answers {}

impl HostLatencyImpl for Answers {
    fn changed(&self) {}
}

impl HostParamsImplMainThread for Answers {
    fn rescan(&self, _: ParamRescanFlags) {}
    fn clear(&self, _: ClapId, _: ParamClearFlags) {}
}

impl HostStateImpl for Answers {
    fn mark_dirty(&self) {}
}

/// How many channels each port has; the first port is the main one.
#[derive(Clone)]
struct Ports {
    inputs: Vec<u32>,
    outputs: Vec<u32>,
}

/// An instance on the main thread.
struct Made {
    id: String,
    number: Arc64,
    plugin: PluginInstance<Host>,
    ports: Ports,
    /// What runs where sound does, until it is handed there.
    stopped: Option<StoppedPluginAudioProcessor<Host>>,
}

impl Made {
    fn new(entry: &PluginEntry, id: &str, rate: u32) -> Result<Self, ClapError> {
        let failed = |why: String| ClapError::Plugin { id: id.to_owned(), why };
        let key = CString::new(id).map_err(|why| failed(why.to_string()))?;
        let info = HostInfo::new("Sidetone", "Sidetone", "", env!("CARGO_PKG_VERSION"))
            .map_err(|why| failed(why.to_string()))?;
        let number = Arc64::default();
        let asked = std::sync::Arc::clone(&number);
        let mut plugin = PluginInstance::<Host>::new(
            move |()| Asked { id: asked, wants_call: AtomicBool::new(false) },
            |_| Answers,
            entry,
            &key,
            &info,
        )
        .map_err(|why| failed(why.to_string()))?;
        let ports = Ports::of(id, &mut plugin)?;
        let configuration = PluginAudioConfiguration {
            sample_rate: f64::from(rate),
            min_frames_count: 1,
            max_frames_count: MOST_SAMPLES,
        };
        let stopped = plugin.activate(|_, _| (), configuration).map_err(|why| failed(why.to_string()))?;
        Ok(Self { id: id.to_owned(), number, plugin, ports, stopped: Some(stopped) })
    }

    fn latency(&mut self) -> u32 {
        let handle = self.plugin.plugin_handle();
        handle.get_extension::<PluginLatency>().map_or(0, |latency| latency.get(&handle))
    }

    fn params(&mut self) -> Vec<Param> {
        let handle = self.plugin.plugin_handle();
        let Some(extension) = handle.get_extension::<PluginParams>() else { return Vec::new() };
        let mut names = Names::default();
        let mut params = Vec::new();
        for index in 0..extension.count(&handle).min(MOST_PARAMS) {
            let mut buffer = ParamInfoBuffer::new();
            let Some(info) = extension.get_info(&handle, index, &mut buffer) else { continue };
            if info.flags.intersects(ParamInfoFlags::IS_HIDDEN | ParamInfoFlags::IS_READONLY) {
                continue;
            }
            let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            let (label, module) = (lossy(info.name), lossy(info.module));
            let mut text = [0; 256];
            let shown = extension.value_to_text(&handle, info.id, info.default_value, &mut text);
            let shown = shown.map(|text| lossy(text)).unwrap_or_default();
            let (mut name, mut unit) = name_and_unit(&label);
            if let ("", Some((suffix, known))) = (unit, unit_of(&shown)) {
                unit = known;
                name = if name.ends_with(suffix) { name } else { format!("{name}_{suffix}") };
            }
            params.push(Param {
                name: names.unique(&name, info.id.get()),
                index: info.id.get(),
                part: 0,
                values: values(&info.flags, info.min_value, info.max_value, info.default_value),
                unit: unit.to_owned(),
                doc: if module.is_empty() { label } else { format!("{module}/{label}") },
            });
        }
        params
    }

    fn deactivate(&mut self) {
        if let Some(stopped) = self.stopped.take() {
            self.plugin.deactivate(stopped);
        }
    }
}

impl Ports {
    fn of(id: &str, plugin: &mut PluginInstance<Host>) -> Result<Self, ClapError> {
        let wrong = |why: String| ClapError::Ports { id: id.to_owned(), why };
        let handle = plugin.plugin_handle();
        let Some(extension) = handle.get_extension::<PluginAudioPorts>() else {
            return Err(wrong("no ports for sound".into()));
        };
        let side = |is_input: bool| {
            let mut ports = Vec::new();
            for index in 0..extension.count(&handle, is_input).min(MOST_CHANNELS) {
                let mut buffer = AudioPortInfoBuffer::new();
                ports.push(
                    extension.get(&handle, index, is_input, &mut buffer).map_or(0, |port| port.channel_count),
                );
            }
            ports
        };
        let ports = Self { inputs: side(true), outputs: side(false) };
        for (channels, what) in [(&ports.inputs, "input"), (&ports.outputs, "output")] {
            if channels.first().is_none_or(|main| *main == 0) {
                return Err(wrong(format!("no {what} for sound")));
            }
            if channels.iter().any(|count| *count > MOST_CHANNELS) {
                return Err(wrong(format!("an {what} of more than {MOST_CHANNELS} channels")));
            }
        }
        Ok(ports)
    }
}

/// What values a parameter takes; one with steps takes whole numbers, one with two
/// steps 0 and 1 truth.
fn values(flags: &ParamInfoFlags, min: f64, max: f64, default: f64) -> Values {
    let (min, max) = if min <= max { (min, max) } else { (max, min) };
    if !min.is_finite() || !max.is_finite() {
        return Values::Float {
            min: None,
            max: None,
            default: if default.is_finite() { default } else { 0.0 },
        };
    }
    let default = if default.is_nan() { min } else { default.clamp(min, max) };
    if !flags.contains(ParamInfoFlags::IS_STEPPED) {
        return Values::Float { min: Some(min), max: Some(max), default };
    }
    match (min as i64, max as i64, default as i64) {
        (0, 1, default) => Values::Bool { default: default == 1 },
        (min, max, default) => Values::Int { min, max, default },
    }
}

/// The unit behind the number in "-6.0 dB".
fn unit_of(shown: &str) -> Option<(&'static str, &'static str)> {
    let unit = shown.trim_start_matches(|letter: char| letter.is_ascii_digit() || "+-.,− ".contains(letter));
    if unit.len() == shown.len() { None } else { known_unit(unit) }
}

type Instances = HashMap<u64, Made>;
type Work = Box<dyn FnOnce(&mut Instances) + Send>;

/// Has `work` done on the main thread, later. \[any\]
fn post(work: impl FnOnce(&mut Instances) + Send + 'static) -> Result<(), ClapError> {
    static THREAD: OnceLock<Option<Sender<Work>>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Work>();
        let run = move || {
            let mut instances = Instances::new();
            for work in receiver {
                // A panic is the work's own; whoever waits for it learns by its silence.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut instances)));
            }
        };
        thread::Builder::new().name("clap main".into()).spawn(run).ok().map(|_| sender)
    });
    let thread = thread.as_ref().ok_or(ClapError::NoThread)?;
    thread.send(Box::new(work)).map_err(|_| ClapError::NoThread)
}

/// Has `work` done on the main thread and waits for what comes of it. \[control\]
fn on_main_thread<T: Send + 'static>(
    work: impl FnOnce(&mut Instances) -> T + Send + 'static,
) -> Result<T, ClapError> {
    let (sender, receiver) = mpsc::channel();
    post(move |instances| {
        let _ = sender.send(work(instances));
    })?;
    receiver.recv().map_err(|_| ClapError::NoThread)
}

/// The library at `path`, which stays loaded.
fn open(path: &Path) -> Result<PluginEntry, ClapError> {
    static OPEN: std::sync::Mutex<Vec<PluginEntry>> = std::sync::Mutex::new(Vec::new());
    // SAFETY: whoever names an effect trusts its library to be loaded, as the
    // documentation of `isolate` says; clack checks that it is one of CLAP.
    let entry = unsafe { PluginEntry::load(path) }
        .map_err(|why| ClapError::NotClap { path: path.display().to_string(), why: why.to_string() })?;
    // clack gives one handle a path; held here, the library is not unloaded.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
    Ok(entry)
}

/// An effect that runs.
pub struct Instance {
    number: u64,
    processor: Option<PluginAudioProcessor<Host>>,
    ports: Ports,
    /// Samples of every port and channel: effects may write to their inputs.
    inputs: Vec<Vec<Vec<f32>>>,
    outputs: Vec<Vec<Vec<f32>>>,
    input_ports: AudioPorts,
    output_ports: AudioPorts,
    /// Parameters that changed since the last call.
    changed: EventBuffer,
    told: EventBuffer,
    /// Samples since it began.
    time: u64,
}

impl Instance {
    /// The effect `id` of the library at `path`, for sound of `rate` Hz, its
    /// parameters at their defaults. Runs foreign code. \[control\]
    ///
    /// # Errors
    /// If there is none, or it does not want to.
    pub fn new(path: &Path, id: &str, rate: u32) -> Result<Self, ClapError> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (path, id) = (path.to_owned(), id.to_owned());
        let (ports, stopped) = on_main_thread(move |instances| {
            let mut made = Made::new(&open(&path)?, &id, rate)?;
            made.number.store(number, Ordering::Release);
            let parts = (made.ports.clone(), made.stopped.take());
            instances.insert(number, made);
            Ok::<_, ClapError>(parts)
        })??;
        let room = |ports: &[u32]| -> Vec<Vec<Vec<f32>>> {
            let channel = || vec![0.0; MOST_SAMPLES as usize];
            ports.iter().map(|count| (0..*count).map(|_| channel()).collect()).collect()
        };
        let for_ports =
            |ports: &[u32]| AudioPorts::with_capacity(ports.iter().sum::<u32>() as usize, ports.len());
        Ok(Self {
            number,
            processor: stopped.map(PluginAudioProcessor::from),
            inputs: room(&ports.inputs),
            outputs: room(&ports.outputs),
            input_ports: for_ports(&ports.inputs),
            output_ports: for_ports(&ports.outputs),
            ports,
            changed: EventBuffer::with_capacity(64),
            told: EventBuffer::with_capacity(64),
            time: 0,
        })
    }

    /// Gives a parameter another value, `sample` samples into what is run next; text
    /// is passed over. \[real-time\]
    pub fn set(&mut self, param: &Param, to: &Setting<'_>, sample: u32) {
        let (Some(id), Setting::Number(number)) = (ClapId::from_raw(param.index), to) else { return };
        let sample = sample.min(MOST_SAMPLES - 1);
        self.changed.push(&ParamValueEvent::new(sample, id, Pckn::match_all(), *number));
    }

    /// Makes `outputs` of `inputs`: channels of its main ports, all of one length;
    /// other inputs hear silence. Runs foreign code. \[real-time\] where the effect is.
    ///
    /// # Errors
    /// If the effect fails.
    ///
    /// # Panics
    /// If there are not as many channels as the effect has, or not of one length.
    pub fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), ClapError> {
        assert!(
            inputs.len() == self.ports.inputs[0] as usize && outputs.len() == self.ports.outputs[0] as usize
        );
        let samples = outputs.first().map_or(0, |channel| channel.len());
        assert!(inputs.iter().all(|channel| channel.len() == samples));
        assert!(outputs.iter().all(|channel| channel.len() == samples));
        let mut start = 0;
        while start < samples {
            let count = (samples - start).min(MOST_SAMPLES as usize);
            self.part(inputs, outputs, start, count)?;
            start += count;
        }
        Ok(())
    }

    fn part(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        start: usize,
        count: usize,
    ) -> Result<(), ClapError> {
        let failed = |why: String| ClapError::Plugin { id: "the effect".into(), why };
        for (index, port) in self.inputs.iter_mut().enumerate() {
            for (channel, samples) in port.iter_mut().enumerate() {
                match inputs.get(channel).filter(|_| index == 0) {
                    Some(input) => samples[..count].copy_from_slice(&input[start..start + count]),
                    None => samples[..count].fill(0.0),
                }
            }
        }
        let input = self.input_ports.with_input_buffers(self.inputs.iter_mut().map(|port| AudioPortBuffer {
            latency: 0,
            channels: AudioPortBufferType::f32_input_only(
                port.iter_mut().map(|channel| InputChannel::variable(&mut channel[..count])),
            ),
        }));
        let mut output =
            self.output_ports.with_output_buffers(self.outputs.iter_mut().map(|port| AudioPortBuffer {
                latency: 0,
                channels: AudioPortBufferType::f32_output_only(
                    port.iter_mut().map(|channel| &mut channel[..count]),
                ),
            }));
        let processor = self.processor.as_mut().ok_or(ClapError::NoThread)?;
        let processor = processor.ensure_processing_started().map_err(|why| failed(why.to_string()))?;
        self.changed.sort();
        self.told.clear();
        let (events, mut told) = (self.changed.as_input(), self.told.as_output());
        let time = Some(self.time);
        let status = flushed(|| processor.process(&input, &mut output, &events, &mut told, time, None));
        self.changed.clear();
        self.time += count as u64;
        status.map_err(|why| failed(why.to_string()))?;
        for (output, samples) in outputs.iter_mut().zip(&self.outputs[0]) {
            output[start..start + count].copy_from_slice(&samples[..count]);
        }
        Ok(())
    }

    /// Samples by which it says it delays sound. \[control\]
    ///
    /// # Errors
    /// If the main thread is gone.
    pub fn latency(&self) -> Result<u32, ClapError> {
        let number = self.number;
        on_main_thread(move |instances| instances.get_mut(&number).map_or(0, Made::latency))
    }

    /// All that it wants to be kept, in a form of its own. \[control\]
    ///
    /// # Errors
    /// If it has no state or fails.
    pub fn save(&self) -> Result<Vec<u8>, ClapError> {
        self.with_state(|made, state| {
            let mut bytes = Vec::new();
            let handle = made.plugin.plugin_handle();
            state.save(&handle, &mut bytes).map(|()| bytes).map_err(|why| why.to_string())
        })
    }

    /// Makes it what it was when `bytes` were saved. \[control\]
    ///
    /// # Errors
    /// If it has no state or does not want these bytes.
    pub fn load(&self, bytes: Vec<u8>) -> Result<(), ClapError> {
        self.with_state(move |made, state| {
            let handle = made.plugin.plugin_handle();
            state.load(&handle, &mut bytes.as_slice()).map_err(|why| why.to_string())
        })
    }

    fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Made, PluginState) -> Result<T, String> + Send + 'static,
    ) -> Result<T, ClapError> {
        let number = self.number;
        on_main_thread(move |instances| {
            let made = instances.get_mut(&number).ok_or(ClapError::NoThread)?;
            let extension = made.plugin.plugin_handle().get_extension::<PluginState>();
            let state = extension.ok_or_else(|| ClapError::NoState(made.id.clone()))?;
            work(made, state).map_err(|why| ClapError::Plugin { id: made.id.clone(), why })
        })?
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let stopped = self.processor.take().map(PluginAudioProcessor::into_stopped);
        let number = self.number;
        // Without the thread the instance is gone already.
        let _ = post(move |instances| {
            if let Some(mut made) = instances.remove(&number) {
                made.stopped = stopped;
                made.deactivate();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_what_stands_behind_the_number() {
        assert_eq!(unit_of("-6.0 dB").unwrap().1, "dB");
        assert_eq!(unit_of("440Hz").unwrap().1, "Hz");
        assert_eq!(unit_of("dB"), None);
        assert_eq!(unit_of("0.5"), None);
        assert_eq!(unit_of("3 bananas"), None);
    }

    #[test]
    fn steps_are_whole_numbers_and_two_of_them_truth() {
        let stepped = ParamInfoFlags::IS_STEPPED;
        assert_eq!(values(&stepped, 0.0, 1.0, 1.0), Values::Bool { default: true });
        assert_eq!(values(&stepped, 0.0, 4.0, 9.0), Values::Int { min: 0, max: 4, default: 4 });
        let none = ParamInfoFlags::empty();
        assert_eq!(
            values(&none, 1.0, 0.0, f64::NAN),
            Values::Float { min: Some(0.0), max: Some(1.0), default: 0.0 }
        );
        assert_eq!(values(&none, f64::NAN, 0.0, 2.0), Values::Float { min: None, max: None, default: 2.0 });
    }
}
