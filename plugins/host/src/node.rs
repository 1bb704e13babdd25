//! `PluginNode`: an `Effect` as a node of a graph. It makes the views of frames
//! that effects see, and hands what they put out on.

use std::collections::HashMap;
use std::ffi::CString;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sidetone_core::{
    AudioFormat, Codec, Context, Control, DropReason, EventKind, Fault, FaultKind, Figure, Finish, Flags,
    Format, Frame, Header, MediaType, Node, Size, Through, Timestamp, VideoFormat,
};
use sidetone_plugin_abi as abi;

use crate::effect::{Desk, Effect, Job, Outcome};
use crate::manifest::{CHOICES, Kind, PORTS};
use crate::spec::media;

/// Frames that an effect may keep.
const KEPT: usize = 64;
/// Frames that an effect may make in one call.
const FRESH: usize = 16;
/// Parameters that may change between two calls; of more the last are told.
const EVENTS: usize = 64;
/// Calls that an effect may need to give what it held back.
const LAST_CALLS: u32 = 1_024;
/// Things that an effect may say in one call.
const SAYINGS: usize = 4;
/// Figures that plugins may have names for, all together.
const FIGURES: usize = 256;

/// An effect as a node.
pub struct PluginNode {
    effect: Box<dyn Effect>,
    events: Vec<abi::Event>,
    seen: Seen,
    desk: Slots,
    plan: Plan,
}

/// What a node needs to know of its kind.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Inputs.
    pub inputs: usize,
    /// Of each output: whether the effect makes its frames itself.
    pub own_format: Vec<bool>,
    /// Of each output: what it carries.
    pub carries: Vec<MediaType>,
    /// Whether the first output stands in the first input's place.
    pub in_place: bool,
    /// Live parameters: number, name, and the words of a choice.
    pub live: Vec<(u32, &'static str, Vec<String>)>,
}

impl Plan {
    /// Of the kind that a manifest describes; `names` are its parameters' names as
    /// the node's kind has them. \[control\]
    #[must_use]
    pub fn of(kind: &Kind, names: impl Fn(&str) -> Option<&'static str>) -> Self {
        let live = kind.params.iter().filter(|param| param.has("live"));
        Self {
            inputs: kind.inputs.len(),
            own_format: kind.outputs.iter().map(|output| output.has("own_format")).collect(),
            carries: kind.outputs.iter().map(media).collect(),
            in_place: kind.has("in_place"),
            live: live
                .filter_map(|param| Some((param.id, names(&param.name)?, param.choices.clone())))
                .collect(),
        }
    }
}

impl PluginNode {
    /// A node that runs `effect`. \[control\]
    #[must_use]
    pub fn new(effect: Box<dyn Effect>, plan: Plan) -> Self {
        let desk = Slots::new(&plan);
        let seen = Seen { inputs: [ptr::null(); PORTS], outputs: [ptr::null_mut(); PORTS] };
        Self { effect, plan, desk, seen, events: Vec::with_capacity(EVENTS) }
    }

    /// Has the effect work on what stands in the inputs, and puts out what it made.
    #[inline(always)] // this one and two below: a tenth of what a call costs
    fn call(&mut self, cx: &mut Context<'_>, flags: u32) -> Result<Outcome, Fault> {
        let now = cx.now().nanos();
        let desk = &mut self.desk;
        if desk.in_place {
            self.seen.inputs[0] = self.seen.outputs[0];
        }
        let inputs = &self.seen.inputs[..desk.inputs.len()];
        let outputs = &mut self.seen.outputs[..desk.outputs.len()];
        let mut at_work = AtWork { slots: desk, cx, sayings: 0, plan: &self.plan };
        // SAFETY: each slot stands still and holds the frame whose buffer its view
        // points into, until the next call; outputs are alone in theirs, but for one
        // in place, whose input the interface says to leave.
        let mut job = unsafe { Job::new(now, flags, inputs, outputs, &self.events, &mut at_work) };
        let outcome = self.effect.process(&mut job);
        self.events.clear();
        let goes_out = matches!(outcome, Ok(Outcome::Ok | Outcome::End));
        self.clear_desk(cx, goes_out)?;
        match outcome {
            Ok(Outcome::Drop) if flags & abi::SIDETONE_CALL_LAST == 0 => cx.dropped(DropReason::Declined),
            Ok(Outcome::End) => cx.end(),
            _ => {}
        }
        outcome
    }

    /// After a call: the frames that the effect left in the outputs go out, if they
    /// are to, and what else is left of it goes back to its pool.
    #[inline(always)]
    fn clear_desk(&mut self, cx: &mut Context<'_>, goes_out: bool) -> Result<(), Fault> {
        let Slots { inputs, outputs, fresh, spare, put_out, in_place, .. } = &mut self.desk;
        let mut is_wrong = false;
        for (port, (slot, pointer)) in outputs.iter_mut().zip(&mut self.seen.outputs).enumerate() {
            let pointer = std::mem::replace(pointer, ptr::null_mut());
            if goes_out && !pointer.is_null() {
                let frame = if slot.is(pointer) { slot.take_out() } else { take_fresh(fresh, port, pointer) };
                match frame {
                    Some(frame) => cx.push(port, frame),
                    None => is_wrong = true,
                }
                *put_out = true;
            }
            slot.frame = None;
        }
        if !*in_place {
            (inputs[0].frame, self.seen.inputs[0]) = (None, ptr::null());
        }
        while let Some((_, mut slot)) = fresh.pop() {
            slot.frame = None;
            spare.push(slot);
        }
        if is_wrong {
            let why = "the plugin put out a frame that the host did not make for that output; this is a defect \
                       in it";
            return Err(Fault::new(FaultKind::Library, why));
        }
        Ok(())
    }

    /// What comes after the last of the first input is for nobody.
    #[cold]
    fn decline_others(&self, cx: &mut Context<'_>) {
        for port in 1..if cx.has_ended(0) { self.desk.inputs.len() } else { 0 } {
            while cx.pop(port).is_some() {
                cx.dropped(DropReason::Declined);
            }
        }
    }

    /// Takes of the inputs but the first the latest frames that are not younger than
    /// `captured`.
    #[inline(never)]
    fn take_others(&mut self, cx: &mut Context<'_>, captured: Timestamp) {
        for (port, slot) in self.desk.inputs.iter_mut().enumerate().skip(1) {
            loop {
                let Some(link) = cx.links(port).next() else { break };
                if cx.peek_link(link).is_none_or(|next| next.header.captured > captured) {
                    break;
                }
                let Some(frame) = cx.pop_link(link) else { break };
                self.seen.inputs[port] = slot.read(frame);
            }
        }
    }

    /// Makes the frames of the outputs, and the view of the first input.
    fn make_outputs(&mut self, cx: &mut Context<'_>, mut first: Frame) {
        let Slots { inputs, outputs, made_here, in_place, .. } = &mut self.desk;
        for &port in &*made_here {
            if let Some(frame) = like(cx, port, &first) {
                self.seen.outputs[port] = outputs[port].write(frame);
            }
        }
        if !*in_place {
            self.seen.inputs[0] = inputs[0].read(first);
        } else if let Some(storage) = first.alone_mut() {
            let (bytes, room) = (storage.as_mut_ptr(), storage.len());
            self.seen.outputs[0] = outputs[0].take(first, bytes, room);
        } else if let Some(mut copy) = like(cx, 0, &first) {
            copy.bytes_mut().copy_from_slice(first.bytes());
            self.seen.outputs[0] = outputs[0].write(copy);
        }
    }
}

impl Node for PluginNode {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(first) = cx.pop(0) else {
            self.decline_others(cx);
            return Ok(());
        };
        if self.desk.inputs.len() > 1 {
            self.take_others(cx, first.header.captured);
        }
        self.make_outputs(cx, first);
        self.call(cx, 0).map(drop)
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.desk.inputs.iter_mut().for_each(|slot| slot.frame = None);
        self.seen.inputs = [ptr::null(); PORTS];
        for _ in 0..LAST_CALLS {
            let outcome = self.call(cx, abi::SIDETONE_CALL_LAST)?;
            // Where it has nothing to give, and does not say that this is the end, it is.
            let gave = std::mem::take(&mut self.desk.put_out);
            if outcome != Outcome::Ok || !gave {
                return Ok(Finish::Done);
            }
        }
        Err(Fault::new(
            FaultKind::Library,
            "the plugin gave 1,024 times after its inputs had ended, and said of none that it was the last: \
             whatever more it holds is lost",
        ))
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match control {
            Control::Set { param, value } => {
                let Some((id, _, choices)) = self.plan.live.iter().find(|(_, name, _)| name == param) else {
                    return Ok(());
                };
                let number = match value {
                    sidetone_core::Value::Bool(value) => f64::from(u8::from(*value)),
                    sidetone_core::Value::Text(word) => {
                        choices.iter().take(CHOICES).position(|choice| **choice == **word).unwrap_or_default()
                            as f64
                    }
                    other => other.as_float(),
                };
                if self.events.len() == EVENTS {
                    self.events.remove(0);
                }
                self.events.push(abi::Event {
                    size: size_of::<abi::Event>() as u32,
                    event: abi::SIDETONE_EVENT_PARAM,
                    time_ns: cx.now().nanos(),
                    id: *id,
                    reserved: 0,
                    number,
                });
            }
            _ if from.is_some() => cx.forward(control),
            _ => {}
        }
        Ok(())
    }

    fn save_state(&mut self) -> Option<Vec<u8>> {
        self.effect.save_state()
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), Fault> {
        self.effect.load_state(state)
    }
}

/// A frame of the pool of output `port` that is like `other`.
#[inline(never)]
fn like(cx: &mut Context<'_>, port: usize, other: &Frame) -> Option<Frame> {
    let header = other.header.clone();
    Some(match *other.format() {
        Format::Audio(audio) => cx.audio(port, audio, header),
        Format::Video(video) => cx.video(port, video, header),
        Format::Packet { codec, .. } => cx.packet(port, codec, other.bytes(), header),
        Format::Data { shape, .. } => cx.data(port, shape, other.bytes(), header),
        Format::Rtp { .. } => return None,
    })
}

/// A frame and what an effect sees of it. It stands still, since the effect has its
/// address. What every call touches comes first, in few cache lines: in a graph of
/// many nodes they come from afar each time.
#[repr(C, align(64))]
struct Slot {
    /// Nothing where there is nothing to see.
    frame: Option<Frame>,
    /// Where the bytes are of which the view was made,
    bytes: *mut u8,
    /// of what format they were, and how many: of the next ones like them only times
    /// and places differ.
    shown: Option<(Format, usize)>,
    view: abi::Frame,
    planes: [abi::Plane; PORTS],
}

// SAFETY: the pointers are to the slot's own planes, into the buffer of the frame
// that it holds, and to names that live for ever; they go where it goes.
unsafe impl Send for Slot {}

/// A plane with nothing in it.
pub(crate) const NO_PLANE: abi::Plane = abi::Plane {
    size: size_of::<abi::Plane>() as u32,
    width: 0,
    height: 0,
    reserved: 0,
    stride: 0,
    capacity: 0,
    data: ptr::null_mut(),
};

impl Slot {
    fn new() -> Self {
        let view = abi::Frame {
            size: size_of::<abi::Frame>() as u32,
            media: 0,
            format: 0,
            flags: 0,
            pts_ns: 0,
            captured_ns: 0,
            duration_ns: 0,
            sequence: 0,
            width: 0,
            height: 0,
            rate: 0,
            plane_count: 0,
            plane_stride: size_of::<abi::Plane>() as u32,
            reserved: 0,
            planes: ptr::null_mut(),
            shape: ptr::null(),
        };
        Self { frame: None, bytes: ptr::null_mut(), shown: None, view, planes: [NO_PLANE; PORTS] }
    }

    /// By what the effect knows what is here.
    fn pointer(&mut self) -> *mut abi::Frame {
        self.view.planes = self.planes.as_mut_ptr();
        &raw mut self.view
    }

    /// Whether the effect knows the frame here by `pointer`.
    fn is(&self, pointer: *const abi::Frame) -> bool {
        self.frame.is_some() && ptr::eq(&raw const self.view, pointer)
    }

    /// Takes a frame to be read; gives by what the effect knows it.
    fn read(&mut self, frame: Frame) -> *const abi::Frame {
        let bytes = frame.bytes().as_ptr().cast_mut();
        let room = frame.bytes().len();
        self.take(frame, bytes, room)
    }

    /// The same of a frame to be written, of which nobody else has the buffer.
    fn write(&mut self, mut frame: Frame) -> *mut abi::Frame {
        let storage = frame.storage_mut();
        let (bytes, room) = (storage.as_mut_ptr(), storage.len());
        self.take(frame, bytes, room)
    }

    #[inline(always)]
    fn take(&mut self, frame: Frame, bytes: *mut u8, room: usize) -> *mut abi::Frame {
        let header = &frame.header;
        let view = &mut self.view;
        view.flags = u32::from(header.flags.bits() & FLAGS.bits());
        view.pts_ns = header.pts.nanos();
        view.captured_ns = header.captured.nanos();
        view.duration_ns =
            header.duration.as_secs().wrapping_mul(1_000_000_000) + u64::from(header.duration.subsec_nanos());
        view.sequence = header.sequence;
        let format = frame.format();
        if matches!(&self.shown, Some((shown, long)) if *long == room && shown == format) {
            for plane in self.planes.iter_mut().take(self.view.plane_count as usize) {
                plane.data = bytes.wrapping_add(plane.data.addr() - self.bytes.addr());
            }
        } else {
            let format = *format;
            self.show(format, bytes, room);
            // Of a packet the effect may change the length.
            self.shown = matches!(format, Format::Audio(_) | Format::Video(_)).then_some((format, room));
        }
        self.bytes = bytes;
        self.frame = Some(frame);
        self.pointer()
    }

    /// Takes the frame that is to go out, with the length and the flags that the
    /// effect gave it.
    fn take_out(&mut self) -> Option<Frame> {
        let mut frame = self.frame.take()?;
        frame.set_len(self.planes[0].width as usize);
        frame.header.flags = frame.header.flags.with_bits(self.view.flags as u8, FLAGS);
        Some(frame)
    }

    /// Makes the view of a frame of `format` whose bytes are at `bytes`.
    fn show(&mut self, format: Format, bytes: *mut u8, room: usize) {
        let view = &mut self.view;
        (view.width, view.height, view.rate, view.shape) = (0, 0, 0, ptr::null());
        let mut at = 0;
        let mut plane = |width: usize, height: usize, stride: usize| {
            let capacity = stride * height;
            // SAFETY: a frame's buffer holds all of its planes, one after another.
            let data = unsafe { bytes.add(at) };
            at += capacity;
            abi::Plane { width: width as u32, height: height as u32, stride, capacity, data, ..NO_PLANE }
        };
        match format {
            Format::Video(video) => {
                (view.media, view.format) = (abi::SIDETONE_MEDIA_VIDEO, abi::SIDETONE_FORMAT_I420);
                (view.width, view.height, view.plane_count) = (video.size.width, video.size.height, 3);
                for index in 0..3 {
                    let size = video.plane_size(index);
                    self.planes[index] =
                        plane(size.width as usize, size.height as usize, video.stride(index));
                }
            }
            Format::Audio(audio) => {
                (view.media, view.format) = (abi::SIDETONE_MEDIA_AUDIO, abi::SIDETONE_FORMAT_F32);
                (view.rate, view.plane_count) = (audio.rate, u32::from(audio.channels));
                for channel in 0..usize::from(audio.channels).min(PORTS) {
                    self.planes[channel] = plane(audio.samples as usize, 1, audio.channel_bytes());
                }
            }
            Format::Packet { codec, len } | Format::Rtp { codec, len } => {
                (view.media, view.plane_count) = (abi::SIDETONE_MEDIA_PACKET, 1);
                view.format = match codec {
                    Codec::Opus => abi::SIDETONE_FORMAT_OPUS,
                    Codec::Av1 => abi::SIDETONE_FORMAT_AV1,
                };
                self.planes[0] = plane(len, 1, room);
            }
            Format::Data { shape, len } => {
                (view.media, view.plane_count) = (abi::SIDETONE_MEDIA_DATA, 1);
                (view.format, view.shape) = (0, shape_of(shape));
                self.planes[0] = plane(len, 1, room);
            }
        }
    }
}

/// The frames of a call as the effect is given them: views of what stands in the
/// slots; null where that is nothing.
struct Seen {
    inputs: [*const abi::Frame; PORTS],
    outputs: [*mut abi::Frame; PORTS],
}

// SAFETY: the pointers are to slots of the node that has this, and go where it goes.
unsafe impl Send for Seen {}

/// Where frames stand that an effect sees.
#[allow(clippy::vec_box)] // effects have their addresses
struct Slots {
    inputs: Box<[Slot]>,
    outputs: Box<[Slot]>,
    /// Outputs whose frames are made for the effect, like those of the first input.
    made_here: Vec<usize>,
    /// Whether the first output stands for the first input, too, whose own slot is
    /// then empty.
    in_place: bool,
    /// Whether anything was put out in the last call.
    put_out: bool,
    /// Made by the effect in this call, each for an output.
    fresh: Vec<(usize, Box<Slot>)>,
    kept: Vec<Box<Slot>>,
    spare: Vec<Box<Slot>>,
}

impl Slots {
    fn new(plan: &Plan) -> Self {
        let first = usize::from(plan.in_place);
        let outputs = plan.own_format.len();
        let slots = |count: usize| (0..count).map(|_| Slot::new()).collect();
        Self {
            inputs: slots(plan.inputs),
            outputs: slots(outputs),
            fresh: Vec::with_capacity(FRESH),
            kept: Vec::with_capacity(KEPT),
            spare: (0..KEPT + FRESH).map(|_| Box::new(Slot::new())).collect(),
            made_here: (first..outputs).filter(|port| !plan.own_format[*port]).collect(),
            in_place: plan.in_place,
            put_out: false,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Slot> {
        let kept = self.kept.iter().chain(self.fresh.iter().map(|(_, slot)| slot)).map(|slot| &**slot);
        self.inputs.iter().chain(&self.outputs).chain(kept)
    }

    fn find(&self, pointer: *const abi::Frame) -> Option<&Slot> {
        self.all().find(|slot| slot.is(pointer))
    }
}

/// Takes the frame that the effect made for output `port` and knows by `pointer`.
#[allow(clippy::vec_box)] // effects have their addresses
fn take_fresh(fresh: &mut [(usize, Box<Slot>)], port: usize, pointer: *const abi::Frame) -> Option<Frame> {
    let (_, slot) = fresh.iter_mut().find(|(of, slot)| *of == port && slot.is(pointer))?;
    let mut frame = slot.take_out()?;
    // Of a process of its own it comes with times of a frame that was kept there.
    let (view, header) = (&slot.view, &mut frame.header);
    header.pts = Timestamp::from_nanos(view.pts_ns);
    header.captured = Timestamp::from_nanos(view.captured_ns);
    (header.duration, header.sequence) = (Duration::from_nanos(view.duration_ns), view.sequence);
    Some(frame)
}

/// The desk during one call.
struct AtWork<'a, 'b, 'c> {
    slots: &'a mut Slots,
    cx: &'b mut Context<'c>,
    sayings: usize,
    plan: &'a Plan,
}

impl Desk for AtWork<'_, '_, '_> {
    fn new_frame(&mut self, port: usize, format: &abi::Format, from: *const abi::Frame) -> *mut abi::Frame {
        if port >= self.slots.outputs.len() || self.slots.fresh.len() == FRESH {
            return ptr::null_mut();
        }
        let from = if from.is_null() { self.slots.inputs.first() } else { self.slots.find(from) };
        // In place, the header is with the output.
        let header = from.and_then(|slot| slot.frame.as_ref().or(self.slots.outputs.first()?.frame.as_ref()));
        let header = header.map(|frame| frame.header.clone()).unwrap_or_default();
        let Some(frame) = fresh_frame(self.cx, port, format, self.plan.carries[port], header) else {
            return ptr::null_mut();
        };
        let Some(mut slot) = self.slots.spare.pop() else { return ptr::null_mut() };
        let pointer = slot.write(frame);
        self.slots.fresh.push((port, slot));
        pointer
    }

    fn retain(&mut self, frame: *const abi::Frame) -> *const abi::Frame {
        if self.slots.kept.len() == KEPT {
            return ptr::null();
        }
        // Outputs are written to, and in place the first input is one.
        let inputs = self.slots.inputs.iter().skip(usize::from(self.slots.in_place));
        let mut may_stay = inputs.chain(self.slots.kept.iter().map(|slot| &**slot));
        let Some(frame) = may_stay.find(|slot| slot.is(frame)).and_then(|slot| slot.frame.clone()) else {
            return ptr::null();
        };
        let Some(mut slot) = self.slots.spare.pop() else { return ptr::null() };
        let pointer = slot.read(frame);
        self.slots.kept.push(slot);
        pointer
    }

    fn release(&mut self, frame: *const abi::Frame) {
        let mut slot = if let Some(at) = self.slots.kept.iter().position(|slot| slot.is(frame)) {
            self.slots.kept.swap_remove(at)
        } else if let Some(at) = self.slots.fresh.iter().position(|(_, slot)| slot.is(frame)) {
            self.slots.fresh.swap_remove(at).1
        } else {
            return;
        };
        slot.frame = None;
        self.slots.spare.push(slot);
    }

    fn log(&mut self, level: u32, text: &str) {
        self.sayings += 1;
        if self.sayings <= SAYINGS && level <= abi::SIDETONE_LOG_INFO {
            self.cx.emit(EventKind::Notice(text.into()));
        }
    }

    fn emit(&mut self, name: &str, value: f64) {
        if let Some(name) = figure_name(name) {
            self.cx.emit(EventKind::Figure(Figure { name, unit: "", value }));
        }
    }

    fn frame(&self, frame: *const abi::Frame) -> Option<&Frame> {
        self.slots.find(frame)?.frame.as_ref()
    }
}

/// A frame of the pool of output `port` as an effect asked for it, or nothing where
/// there is no such format.
fn fresh_frame(
    cx: &mut Context<'_>,
    port: usize,
    format: &abi::Format,
    carries: MediaType,
    header: Header,
) -> Option<Frame> {
    const LONGEST: u32 = 16 << 20;
    let side = 1..=Size::MAX_SIDE;
    Some(match (format.media, format.format) {
        (abi::SIDETONE_MEDIA_VIDEO, abi::SIDETONE_FORMAT_I420)
            if side.contains(&format.width) && side.contains(&format.height) =>
        {
            let size = Size::new(format.width, format.height);
            carries.meet(&MediaType::i420(Some(size), None))?;
            cx.video(port, VideoFormat::i420(size), header)
        }
        (abi::SIDETONE_MEDIA_AUDIO, abi::SIDETONE_FORMAT_F32)
            if (1..=8).contains(&format.channels)
                && (1..=768_000).contains(&format.rate)
                && (1..=768_000).contains(&format.length) =>
        {
            let (rate, channels, samples) = (format.rate, format.channels as u16, format.length);
            carries.meet(&MediaType::Audio { rate: Some(rate), channels: Some(channels), samples: None })?;
            cx.audio(port, AudioFormat { rate, channels, samples }, header)
        }
        (abi::SIDETONE_MEDIA_PACKET, codec) if (1..=LONGEST).contains(&format.length) => {
            let codec = match codec {
                abi::SIDETONE_FORMAT_OPUS => Codec::Opus,
                abi::SIDETONE_FORMAT_AV1 => Codec::Av1,
                _ => return None,
            };
            carries.meet(&MediaType::packets(codec))?;
            cx.empty_packet(port, codec, format.length as usize, header)
        }
        (abi::SIDETONE_MEDIA_DATA, _) if (1..=LONGEST).contains(&format.length) => {
            let MediaType::Data(shape) = carries else { return None };
            cx.empty_data(port, shape, format.length as usize, header)
        }
        _ => return None,
    })
}

/// The flags that effects see and say, which have the same bits here and there.
const FLAGS: Flags = Flags::KEY.with(Flags::LOST).with(Flags::DISCONTINUITY).with(Flags::SILENCE);
const _: () = assert!(
    Flags::KEY.bits() as u32 == abi::SIDETONE_FRAME_KEY
        && Flags::LOST.bits() as u32 == abi::SIDETONE_FRAME_LOST
        && Flags::DISCONTINUITY.bits() as u32 == abi::SIDETONE_FRAME_DISCONTINUITY
        && Flags::SILENCE.bits() as u32 == abi::SIDETONE_FRAME_SILENCE
);

/// The name of a shape with a zero at its end; it lives for ever. \[real-time\]
/// but for the first time of each.
fn shape_of(shape: &'static str) -> *const std::ffi::c_char {
    static KNOWN: Mutex<Vec<(&str, &std::ffi::CStr)>> = Mutex::new(Vec::new());
    match shape {
        abi::SIDETONE_SHAPE_FACE_LANDMARKS => c"sidetone.face_landmarks/1".as_ptr(),
        abi::SIDETONE_SHAPE_MASK => c"sidetone.mask/1".as_ptr(),
        _ => {
            let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, name)) = known.iter().find(|(known, _)| *known == shape) {
                return name.as_ptr();
            }
            let Ok(name) = CString::new(shape) else { return ptr::null() };
            let name: &'static std::ffi::CStr = Box::leak(name.into_boxed_c_str());
            known.push((shape, name));
            name.as_ptr()
        }
    }
}

/// The name of a figure, for ever; nothing for more of them than a few.
fn figure_name(name: &str) -> Option<&'static str> {
    static KNOWN: Mutex<Option<HashMap<Arc<str>, &'static str>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(name) = known.get(name) {
        return Some(name);
    }
    if known.len() == FIGURES || name.is_empty() {
        return None;
    }
    let leaked: &'static str = Box::leak(name.into());
    known.insert(name.into(), leaked);
    Some(leaked)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sidetone_core::harness::Harness;
    use sidetone_core::registry::{NodeSpec, same};
    use sidetone_core::{Placement, PortSpec};

    use super::*;

    /// Inputs that were there when the effect was asked for what it held back.
    static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);
    /// Calls that saw a second input.
    static SECOND: AtomicUsize = AtomicUsize::new(0);

    /// Hands pictures on and looks at what else came.
    struct Looks;

    impl Effect for Looks {
        fn process(&mut self, job: &mut Job<'_>) -> Result<Outcome, Fault> {
            if job.is_last() {
                let left = (0..2).filter(|port| job.input(*port).is_some()).count();
                LEFT.store(left, Ordering::Relaxed);
                return Ok(Outcome::End);
            }
            SECOND.fetch_add(usize::from(job.input(1).is_some()), Ordering::Relaxed);
            Ok(Outcome::Ok)
        }
    }

    const PICTURES: MediaType = MediaType::i420(None, None);
    const MASK: MediaType = MediaType::Data("sidetone.mask/1");

    static LOOKS: NodeSpec = NodeSpec {
        kind: "test.looks",
        summary: "",
        sheet: "",
        inputs: &[PortSpec::new("in", PICTURES, ""), PortSpec::new("mask", MASK, "").optional()],
        outputs: &[PortSpec::new("out", PICTURES, "")],
        params: &[],
        placement: Placement::Shared,
        real_time: true,
        negotiate: &same,
        build: &|_| {
            let plan = Plan {
                inputs: 2,
                own_format: vec![false],
                carries: vec![PICTURES],
                in_place: true,
                live: Vec::new(),
            };
            Ok(Box::new(PluginNode::new(Box::new(Looks), plan)))
        },
    };

    /// Gives what it holds when no more comes, and never says that it is through.
    struct Pours;

    impl Effect for Pours {
        fn process(&mut self, job: &mut Job<'_>) -> Result<Outcome, Fault> {
            let (media, format) = (abi::SIDETONE_MEDIA_VIDEO, abi::SIDETONE_FORMAT_I420);
            let size = size_of::<abi::Format>() as u32;
            let (width, height) = (16, 8);
            let format = abi::Format { size, media, format, width, height, rate: 0, channels: 0, length: 0 };
            assert!(job.make_output(0, &format));
            Ok(Outcome::Ok)
        }
    }

    static POURS: NodeSpec = NodeSpec {
        kind: "test.pours",
        inputs: &[PortSpec::new("in", PICTURES, "")],
        build: &|_| {
            let (own_format, carries) = (vec![true], vec![PICTURES]);
            let plan = Plan { inputs: 1, own_format, carries, in_place: false, live: Vec::new() };
            Ok(Box::new(PluginNode::new(Box::new(Pours), plan)))
        },
        ..LOOKS
    };

    #[test]
    fn an_effect_that_does_not_come_to_an_end_is_cut_off_with_a_fault() {
        let mut node = Harness::new(&POURS, &[]);
        node.end(0);
        node.run();
        assert_eq!(node.take(0).len(), LAST_CALLS as usize, "what it gave went out");
        let fault = node.fault().unwrap();
        assert_eq!(fault.kind, FaultKind::Library);
        assert!(fault.why.contains("whatever more it holds is lost"), "{}", fault.why);
    }

    #[test]
    fn what_comes_after_the_last_picture_is_for_nobody_and_holds_nothing_up() {
        let mut node = Harness::new(&LOOKS, &[]);
        let picture = node.picture(16, 8, |_, _, _| 7);
        let mask = node.data("sidetone.mask/1", &[0; 32]);
        node.push(1, mask.clone());
        node.push(0, picture);
        node.run();
        assert_eq!((node.take(0).len(), SECOND.load(Ordering::Relaxed)), (1, 1));
        node.end(0);
        node.push(1, mask);
        node.run();
        node.end(1);
        node.run();
        assert!(node.has_ended(), "the mask that nobody takes must not keep it from ending");
        assert_eq!(LEFT.load(Ordering::Relaxed), 0, "at the end there are no inputs");
    }
}
