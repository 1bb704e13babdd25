//! `Rig`: an instance under test, with a host of its own that notes every use of it
//! that is wrong.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

use sidetone_plugin_abi as abi;

use super::guard::{Edge, Guarded};
use super::test_frame::{Layout, Shape, TestFrame, lay_out, spoilt, start};
use super::watch::{Seen, Watch, aside};
use crate::effect::text_of;
use crate::instance::{number, texts, values};
use crate::library::Library;
use crate::manifest::{Given, Kind};

/// Frames that may be kept at once.
const KEPT: usize = 64;
/// Uses of the host that are noted, at most.
const NOTED: usize = 8;

/// What came of a call.
pub(crate) struct Answer {
    pub(crate) code: i32,
    /// What goes out at each output.
    pub(crate) outputs: Vec<Option<Output>>,
}

/// A frame that goes out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Output {
    pub(crate) shape: Shape,
    pub(crate) content: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) pts: u64,
}

/// An instance under test.
pub(crate) struct Rig {
    library: Arc<Library>,
    index: usize,
    instance: *mut c_void,
    host: Box<Host>,
    pub(crate) layout: Layout,
    /// Whether in_place kinds get the input's own memory as output.
    pub(crate) shared: bool,
    pub(crate) watch: Option<Watch>,
    /// What the watch saw in the last call.
    pub(crate) seen: Seen,
    now: u64,
}

impl Rig {
    /// Makes an instance; an error is what it said when it was not to be made.
    pub(crate) fn new(
        library: &Arc<Library>,
        index: usize,
        settings: &[(u32, Given)],
        seed: u64,
        layout: Layout,
    ) -> Result<Self, String> {
        let kind = &library.table.kinds[index];
        let mut host = Box::new(Host {
            face: FACE,
            stage: Stage::Create,
            own: kind.outputs.iter().map(|port| port.has("own_format")).collect(),
            data_shapes: kind.outputs.iter().map(|port| port.shape.clone()).collect(),
            values: settings.iter().map(|(id, value)| (*id, number(kind, *id, value))).collect(),
            now: 0,
            layout,
            inputs: Vec::new(),
            first: None,
            fresh: Vec::new(),
            kept: Vec::new(),
            wrong: Vec::new(),
            said: Vec::new(),
        });
        host.face.context = ptr::from_mut(&mut *host).cast();
        let texts = texts(settings);
        let values = values(&host.values, &texts);
        let values = lay_out(&values, layout.later);
        let setup = abi::Setup {
            size: size_of::<abi::Setup>() as u32,
            param_count: settings.len() as u32,
            param_stride: values.2,
            reserved: 0,
            params: start(&values),
            seed,
        };
        // SAFETY: the interface's; the host stands still in its box for as long as
        // the instance is there.
        let instance = unsafe { (library.functions[index].create)(&raw const host.face, &raw const setup) };
        if instance.is_null() {
            let said = host.said.join("; ");
            return Err(if said.is_empty() { "it did not say why by `log`".into() } else { said });
        }
        host.stage = Stage::Idle;
        Ok(Self {
            library: Arc::clone(library),
            index,
            instance,
            host,
            layout,
            shared: true,
            watch: None,
            seen: Seen::default(),
            now: 0,
        })
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.library.table.kinds[self.index]
    }

    /// Uses of the host that were wrong, since this was asked last.
    pub(crate) fn take_wrong(&mut self) -> Vec<String> {
        std::mem::take(&mut self.host.wrong)
    }

    /// The last thing that it said by `log`.
    pub(crate) fn said(&self) -> Option<&str> {
        self.host.said.last().map(String::as_str)
    }

    /// Frames that it keeps.
    pub(crate) fn kept(&self) -> usize {
        self.host.kept.len()
    }

    /// Calls `process` with frames, and looks at what it did to them.
    pub(crate) fn call(&mut self, inputs: &[Option<Box<TestFrame>>], events: &[abi::Event]) -> Answer {
        self.call_with(inputs, events, 0)
    }

    /// Calls `process` without frames, for what is held back.
    pub(crate) fn call_last(&mut self) -> Answer {
        let none: Vec<Option<Box<TestFrame>>> = self.kind().inputs.iter().map(|_| None).collect();
        self.call_with(&none, &[], abi::SIDETONE_CALL_LAST)
    }

    fn call_with(&mut self, inputs: &[Option<Box<TestFrame>>], events: &[abi::Event], flags: u32) -> Answer {
        let kind = self.kind().clone();
        let first = inputs.first().and_then(Option::as_deref);
        if let Some(first) = first {
            self.now = first.view.captured_ns + 1_000_000;
        }
        let in_place = kind.has("in_place");
        let mut outputs: Vec<Option<Box<TestFrame>>> = Vec::new();
        for (port, output) in kind.outputs.iter().enumerate() {
            let like = first.filter(|_| !output.has("own_format"));
            outputs.push(like.map(|first| {
                let called = format!("output \"{}\"", output.name);
                let mut made = TestFrame::new(first.shape(), self.layout, &output.shape, &called);
                if port == 0 && in_place {
                    made.fill(&first.content());
                }
                let (planes, shape) = (made.view.planes, made.view.shape);
                made.view = abi::Frame { planes, shape, ..first.view };
                made
            }));
        }
        // In place the input is a view of the output's own memory.
        let same = outputs.first().and_then(Option::as_deref).filter(|_| in_place && self.shared);
        let same = same.map(|output| output.view);
        let mut seen: Vec<*const abi::Frame> = inputs
            .iter()
            .map(|input| input.as_deref().map_or(ptr::null(), |input| &raw const input.view))
            .collect();
        if let (Some(same), Some(place)) = (&same, seen.first_mut()) {
            *place = ptr::from_ref(same);
        }
        let mut given: Vec<*mut abi::Frame> = outputs
            .iter_mut()
            .map(|output| output.as_deref_mut().map_or(ptr::null_mut(), |output| &raw mut output.view))
            .collect();
        let was = given.clone();
        let listed = lay_out(events, self.layout.later);
        let mut call = abi::Call {
            size: size_of::<abi::Call>() as u32,
            flags,
            now_ns: self.now,
            input_count: seen.len() as u32,
            output_count: given.len() as u32,
            inputs: seen.as_ptr(),
            outputs: given.as_mut_ptr(),
            event_count: events.len() as u32,
            event_stride: listed.2,
            events: start(&listed),
        };
        let host = &mut *self.host;
        (host.stage, host.now, host.layout) = (Stage::Process, self.now, self.layout);
        host.first = first.map(|first| first.view);
        host.inputs.clear();
        host.inputs.extend(inputs.iter().enumerate().filter_map(|(port, input)| {
            // What is in place cannot be kept: it changes.
            let input = input.as_deref().filter(|_| port > 0 || same.is_none())?;
            Some((&raw const input.view, ptr::from_ref(input)))
        }));
        for event in events.iter().filter(|event| event.event == abi::SIDETONE_EVENT_PARAM) {
            if let Some(known) = host.values.iter_mut().find(|(id, _)| *id == event.id) {
                known.1 = event.number;
            }
        }
        host.fresh.reserve(16);
        let (process, instance) = (self.library.functions[self.index].process, self.instance);
        // SAFETY: the interface's; every pointer in `call` is of this frame's own.
        let mut work = || unsafe { process(instance, &raw mut call) };
        let code = match &mut self.watch {
            None => work(),
            Some(watch) => {
                let (code, seen) = watch.during(work);
                self.seen = seen;
                code
            }
        };
        self.host.stage = Stage::Idle;
        self.host.inputs.clear();
        let outputs = self.look_at(&kind, inputs, outputs, &was, &given, code);
        self.host.fresh.clear();
        Answer { code, outputs }
    }

    /// What goes out, and what was done wrong.
    fn look_at(
        &mut self,
        kind: &Kind,
        inputs: &[Option<Box<TestFrame>>],
        outputs: Vec<Option<Box<TestFrame>>>,
        was: &[*mut abi::Frame],
        given: &[*mut abi::Frame],
        code: i32,
    ) -> Vec<Option<Output>> {
        let host = &mut *self.host;
        let made = outputs.iter().flatten().chain(host.fresh.iter().map(|(_, frame)| frame));
        let all = made.chain(inputs.iter().flatten());
        if all.into_iter().any(|frame| !frame.is_whole()) {
            host.wrong.push("it wrote just outside a plane, before its first byte or after its last".into());
        }
        if code != abi::SIDETONE_OK && code != abi::SIDETONE_END {
            return given.iter().map(|_| None).collect();
        }
        let mut gone = Vec::new();
        for (port, &pointer) in given.iter().enumerate() {
            let name = &kind.outputs[port].name;
            if pointer.is_null() {
                gone.push(None);
                continue;
            }
            let frame = if ptr::eq(pointer, was[port]) {
                outputs[port].as_deref()
            } else {
                let is_it = |(of, frame): &&(u32, Box<TestFrame>)| {
                    *of as usize == port && ptr::eq(&raw const frame.view, pointer)
                };
                host.fresh.iter().find(is_it).map(|(_, frame)| &**frame)
            };
            let Some(frame) = frame else {
                let why = "which is neither what the host put there nor a frame of frame_new for that output";
                host.wrong.push(format!("it put a pointer out at output {name}, {why}"));
                gone.push(None);
                continue;
            };
            if let Some(why) = spoilt(frame) {
                host.wrong.push(format!("output {name}: {why}"));
                gone.push(None);
                continue;
            }
            gone.push(Some(Output {
                shape: frame.shape().clone(),
                content: frame.content(),
                flags: frame.view.flags,
                pts: frame.view.pts_ns,
            }));
        }
        gone
    }

    /// The length of its state, or what `save` gave instead; nothing where the kind
    /// has no state.
    pub(crate) fn save(&mut self) -> Option<Result<Vec<u8>, String>> {
        let save = self.library.functions[self.index].state?.save?;
        // SAFETY: the interface's: a null buffer asks for the length.
        let length = unsafe { save(self.instance, ptr::null_mut(), 0) };
        if !(0..=16 << 20).contains(&length) {
            return Some(Err(format!("save gave {length} as the length of the state")));
        }
        let whole = (length as usize).next_multiple_of(64).max(64);
        let mut block = Guarded::new(whole, Edge::After, "the buffer of the state");
        let at = whole - length as usize;
        let buffer = block.bytes_mut()[at..].as_mut_ptr();
        // SAFETY: the interface's: it writes at most `length` bytes.
        let written = unsafe { save(self.instance, buffer, length as u64) };
        if written != length {
            return Some(Err(format!("save said {length} bytes, and then {written}")));
        }
        if length > 0 {
            let before = block.bytes()[at..].to_vec();
            // SAFETY: as above: nothing may be written to less room than it takes.
            let short =
                unsafe { save(self.instance, block.bytes_mut()[at..].as_mut_ptr(), length as u64 - 1) };
            if short != length || block.bytes()[at..] != before {
                let why = format!(
                    "with room for a byte less, save gave {short} and must give {length} and write nothing"
                );
                return Some(Err(why));
            }
        }
        Some(Ok(block.bytes()[at..].to_vec()))
    }

    /// Gives it a state, and what `load` gives.
    pub(crate) fn load(&mut self, state: &[u8]) -> i32 {
        let Some(load) = self.library.functions[self.index].state.and_then(|state| state.load) else {
            return abi::SIDETONE_ERROR;
        };
        let whole = state.len().next_multiple_of(64).max(64);
        let mut block = Guarded::new(whole, Edge::After, "the state to load");
        let at = whole - state.len();
        block.bytes_mut()[at..].copy_from_slice(state);
        block.seal();
        // SAFETY: the interface's: as many bytes are there.
        unsafe { load(self.instance, block.bytes()[at..].as_ptr(), state.len() as u64) }
    }

    /// Destroys the instance: how many frames it still kept, and what it did wrong.
    pub(crate) fn destroy(mut self) -> (usize, Vec<String>) {
        self.end();
        (self.host.kept.len(), std::mem::take(&mut self.host.wrong))
    }

    fn end(&mut self) {
        if !self.instance.is_null() {
            self.host.stage = Stage::Destroy;
            // SAFETY: the interface's; it is called no more.
            unsafe { (self.library.functions[self.index].destroy)(self.instance) };
            self.instance = ptr::null_mut();
            self.host.stage = Stage::Idle;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.end();
    }
}

/// An event as `process` gets it.
pub(crate) fn event(event: u32, id: u32, number: f64) -> abi::Event {
    abi::Event { size: size_of::<abi::Event>() as u32, event, time_ns: 0, id, reserved: 0, number }
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Idle,
    Create,
    Process,
    Destroy,
}

/// What the instance has as its host.
#[repr(C)]
struct Host {
    face: abi::Host,
    stage: Stage,
    own: Vec<bool>,
    data_shapes: Vec<String>,
    values: Vec<(u32, f64)>,
    now: u64,
    layout: Layout,
    /// Inputs of the call: as the plugin sees them, and whole.
    inputs: Vec<(*const abi::Frame, *const TestFrame)>,
    first: Option<abi::Frame>,
    fresh: Vec<(u32, Box<TestFrame>)>,
    // In boxes: the plugin has their addresses.
    #[allow(clippy::vec_box)]
    kept: Vec<Box<TestFrame>>,
    wrong: Vec<String>,
    said: Vec<String>,
}

impl Host {
    fn wrong(&mut self, why: impl Into<String>) {
        if self.wrong.len() < NOTED {
            self.wrong.push(why.into());
        }
    }
}

/// The host behind the face that the plugin calls, unseen by the watch.
///
/// # Safety
/// `host` is what the instance was given, called by it on the check's thread.
unsafe fn with<T>(host: *const abi::Host, work: impl FnOnce(&mut Host) -> T) -> T {
    // SAFETY: the host's context is its own address, and one function of it runs at
    // a time.
    aside(|| work(unsafe { &mut *(*host).context.cast::<Host>() }))
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

unsafe extern "C" fn log(host: *const abi::Host, level: u32, text: *const c_char) {
    // SAFETY: the interface's: a text that ends with a zero; and as `with`.
    unsafe {
        with(host, |host| {
            if !(abi::SIDETONE_LOG_ERROR..=abi::SIDETONE_LOG_DEBUG).contains(&level) {
                host.wrong(format!("it called log with level {level}, which there is not"));
            }
            host.said.truncate(NOTED);
            host.said.push(text_of(text, 256).to_owned());
        });
    }
}

unsafe extern "C" fn now_ns(host: *const abi::Host) -> u64 {
    // SAFETY: as `with`.
    unsafe { with(host, |host| host.now) }
}

unsafe extern "C" fn frame_new(
    host: *const abi::Host,
    port: u32,
    format: *const abi::Format,
    from: *const abi::Frame,
) -> *mut abi::Frame {
    // SAFETY: the interface's: null or a format of the size that it says; as `with`.
    unsafe {
        with(host, |host| {
            let (place, Some(format)) = (port as usize, format.as_ref()) else {
                host.wrong("it called frame_new without a format");
                return ptr::null_mut();
            };
            if host.stage != Stage::Process {
                host.wrong("it called frame_new outside process");
                return ptr::null_mut();
            }
            if place >= host.own.len() || (format.size as usize) < size_of::<abi::Format>() {
                host.wrong(format!(
                    "it called frame_new for output {port} with a format of {} bytes",
                    format.size
                ));
                return ptr::null_mut();
            }
            let shape = match (format.media, format.format) {
                (abi::SIDETONE_MEDIA_VIDEO, abi::SIDETONE_FORMAT_I420)
                    if (1..=16_384).contains(&format.width) && (1..=16_384).contains(&format.height) =>
                {
                    Shape::Video { width: format.width, height: format.height }
                }
                (abi::SIDETONE_MEDIA_AUDIO, abi::SIDETONE_FORMAT_F32)
                    if (1..=8).contains(&format.channels)
                        && (1..=768_000).contains(&format.rate)
                        && (1..=768_000).contains(&format.length) =>
                {
                    Shape::Audio { rate: format.rate, channels: format.channels, samples: format.length }
                }
                (media @ (abi::SIDETONE_MEDIA_PACKET | abi::SIDETONE_MEDIA_DATA), format_number)
                    if (1..=16 << 20).contains(&format.length) =>
                {
                    Shape::Bytes { media, format: format_number, length: format.length }
                }
                _ => {
                    host.wrong(format!("it called frame_new with a format that there is not: {format:?}"));
                    return ptr::null_mut();
                }
            };
            if host.fresh.len() == 16 {
                return ptr::null_mut();
            }
            let mut frame =
                TestFrame::new(&shape, host.layout, &host.data_shapes[place], "a frame of frame_new");
            if let Some(from) = from.as_ref().or(host.first.as_ref()) {
                let view = &mut frame.view;
                (view.pts_ns, view.captured_ns, view.sequence) =
                    (from.pts_ns, from.captured_ns, from.sequence);
                view.duration_ns = from.duration_ns;
            }
            let pointer = &raw mut frame.view;
            host.fresh.push((port, frame));
            pointer
        })
    }
}

unsafe extern "C" fn frame_retain(host: *const abi::Host, frame: *const abi::Frame) -> *const abi::Frame {
    // SAFETY: as `with`; inputs live as long as the call.
    unsafe {
        with(host, |host| {
            if host.stage != Stage::Process {
                host.wrong("it called frame_retain outside process");
                return ptr::null();
            }
            if host.kept.len() == KEPT {
                return ptr::null();
            }
            let Some((_, whole)) = host.inputs.iter().find(|(view, _)| ptr::eq(*view, frame)) else {
                return ptr::null();
            };
            let kept = (**whole).copy("a frame that it keeps");
            kept.seal(true);
            let pointer = &raw const kept.view;
            host.kept.push(kept);
            pointer
        })
    }
}

unsafe extern "C" fn frame_release(host: *const abi::Host, frame: *const abi::Frame) {
    // SAFETY: as `with`.
    unsafe {
        with(host, |host| {
            if !matches!(host.stage, Stage::Process | Stage::Destroy) {
                host.wrong("it called frame_release outside process and destroy");
            } else if let Some(at) = host.kept.iter().position(|kept| ptr::eq(&raw const kept.view, frame)) {
                host.kept.swap_remove(at);
            } else if let Some(at) =
                host.fresh.iter().position(|(_, new)| ptr::eq(&raw const new.view, frame))
            {
                host.fresh.swap_remove(at);
            } else {
                host.wrong("it released a frame that it does not keep (twice, perhaps)");
            }
        });
    }
}

unsafe extern "C" fn emit(host: *const abi::Host, name: *const c_char, value: f64) {
    // SAFETY: the interface's; and as `with`.
    unsafe {
        with(host, |host| {
            let name = text_of(name, 64);
            if !crate::manifest::is_word(name) {
                host.wrong(format!("it emitted the figure \"{name}\", which is no word in snake_case"));
            }
            if host.stage != Stage::Process || !value.is_finite() {
                host.wrong(format!("it emitted {name} = {value}, outside process or not finite"));
            }
        });
    }
}

unsafe extern "C" fn param(host: *const abi::Host, id: u32) -> f64 {
    // SAFETY: as `with`.
    unsafe {
        with(host, |host| match host.values.iter().find(|(known, _)| *known == id) {
            Some((_, value)) => *value,
            None => {
                host.wrong(format!("it asked for parameter {id}, which the kind does not have"));
                0.0
            }
        })
    }
}

unsafe extern "C" fn extension(_: *const abi::Host, _: *const c_char) -> *const c_void {
    ptr::null()
}
