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
    plan: Plan,
    desk: Slots,
    events: Vec<abi::Event>,
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
        let desk = Slots::new(plan.inputs, plan.own_format.len());
        Self { effect, plan, desk, events: Vec::with_capacity(EVENTS) }
    }

    /// Has the effect work on what stands in the inputs, and puts out what it made.
    fn call(&mut self, cx: &mut Context<'_>, flags: u32) -> Result<Outcome, Fault> {
        let now = cx.now().nanos();
        let mut inputs = [ptr::null::<abi::Frame>(); PORTS];
        for (pointer, slot) in inputs.iter_mut().zip(&mut self.desk.inputs) {
            *pointer = slot.pointer();
        }
        let mut outputs = [ptr::null_mut::<abi::Frame>(); PORTS];
        for (pointer, slot) in outputs.iter_mut().zip(&mut self.desk.outputs) {
            *pointer = slot.pointer();
        }
        if inputs[0].is_null() && self.plan.in_place {
            inputs[0] = outputs[0];
        }
        let (inputs, outputs) = (&inputs[..self.desk.inputs.len()], &mut outputs[..self.desk.outputs.len()]);
        let mut desk = AtWork {
            slots: &mut self.desk,
            cx,
            sayings: 0,
            carries: &self.plan.carries,
            in_place: self.plan.in_place,
        };
        // SAFETY: each slot stands in a box of its own and holds the frame whose
        // buffer its view points into, until the next call; outputs are alone in
        // theirs, but for one in place, whose input the interface says to leave.
        let mut job = unsafe { Job::new(now, flags, inputs, outputs, &self.events, &mut desk) };
        let outcome = self.effect.process(&mut job);
        self.events.clear();
        let cx = desk.cx;
        let put_out = match outcome {
            Ok(Outcome::Ok | Outcome::End) => self.put_out(cx, outputs),
            Ok(Outcome::Drop) if flags & abi::SIDETONE_CALL_LAST == 0 => {
                cx.dropped(DropReason::Declined);
                Ok(())
            }
            _ => Ok(()),
        };
        self.desk.clear();
        put_out?;
        let outcome = outcome?;
        if outcome == Outcome::End {
            cx.end();
        }
        Ok(outcome)
    }

    /// Puts out the frames that the effect left in `outputs`.
    fn put_out(&mut self, cx: &mut Context<'_>, outputs: &[*mut abi::Frame]) -> Result<(), Fault> {
        for (port, &pointer) in outputs.iter().enumerate().filter(|(_, pointer)| !pointer.is_null()) {
            let frame = self.desk.take_output(port, pointer).ok_or(Fault::new(
                FaultKind::Library,
                "the plugin put out a frame that the host did not make for that output; this is a defect in it",
            ))?;
            cx.push(port, frame);
        }
        Ok(())
    }

    /// Takes the next frame of the first input, and of the others the latest that
    /// are not younger.
    fn take_inputs(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(first) = cx.pop(0) else {
            // What comes after the last of the first input is for nobody.
            for port in 1..if cx.has_ended(0) { self.desk.inputs.len() } else { 0 } {
                while cx.pop(port).is_some() {
                    cx.dropped(DropReason::Declined);
                }
            }
            return false;
        };
        for (port, slot) in self.desk.inputs.iter_mut().enumerate().skip(1) {
            loop {
                let Some(link) = cx.links(port).next() else { break };
                if cx.peek_link(link).is_none_or(|next| next.header.captured > first.header.captured) {
                    break;
                }
                let Some(frame) = cx.pop_link(link) else { break };
                slot.read(frame);
            }
        }
        self.desk.first = Some(first);
        true
    }

    /// Makes the frames of the outputs, and the view of the first input.
    fn make_outputs(&mut self, cx: &mut Context<'_>) {
        let Some(mut first) = self.desk.first.take() else { return };
        for port in 0..self.plan.own_format.len() {
            if self.plan.own_format[port] || (self.plan.in_place && port == 0) {
                continue;
            }
            if let Some(frame) = like(cx, port, &first, first.header.clone()) {
                self.desk.outputs[port].write(frame);
            }
        }
        if !self.plan.in_place {
            self.desk.inputs[0].read(first);
            return;
        }
        if let Some(storage) = first.alone_mut() {
            // One view stands for both.
            let (bytes, room) = (storage.as_mut_ptr(), storage.len());
            self.desk.outputs[0].take(first, bytes, room);
            return;
        }
        if let Some(mut copy) = like(cx, 0, &first, first.header.clone()) {
            copy.bytes_mut().copy_from_slice(first.bytes());
            self.desk.outputs[0].write(copy);
        }
        self.desk.inputs[0].read(first);
    }
}

impl Node for PluginNode {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if self.take_inputs(cx) {
            self.make_outputs(cx);
            self.call(cx, 0)?;
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.desk.inputs.iter_mut().for_each(|slot| slot.let_go());
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
fn like(cx: &mut Context<'_>, port: usize, other: &Frame, header: Header) -> Option<Frame> {
    Some(match *other.format() {
        Format::Audio(audio) => cx.audio(port, audio, header),
        Format::Video(video) => cx.video(port, video, header),
        Format::Packet { codec, .. } => cx.packet(port, codec, other.bytes(), header),
        Format::Data { shape, .. } => cx.data(port, shape, other.bytes(), header),
        Format::Rtp { .. } => return None,
    })
}

/// A frame and what an effect sees of it. It stands in a box of its own, since the
/// effect has its address.
struct Slot {
    view: abi::Frame,
    planes: [abi::Plane; PORTS],
    frame: Option<Frame>,
    /// Whether there is anything to see.
    is_full: bool,
    /// Of what format, and how long in bytes, the frame was of which the view was
    /// made: of the next one like it only times and places differ.
    shown: Option<(Format, usize)>,
    /// Bytes from the first plane to each.
    offsets: [usize; PORTS],
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
    fn new() -> Box<Self> {
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
        Box::new(Self {
            view,
            planes: [NO_PLANE; PORTS],
            frame: None,
            is_full: false,
            shown: None,
            offsets: [0; PORTS],
        })
    }

    fn pointer(&mut self) -> *mut abi::Frame {
        if !self.is_full {
            return ptr::null_mut();
        }
        self.view.planes = self.planes.as_mut_ptr();
        &raw mut self.view
    }

    /// Shows nothing any more, and lets the frame go.
    fn let_go(&mut self) {
        (self.is_full, self.frame) = (false, None);
    }

    /// Takes a frame to be read.
    fn read(&mut self, frame: Frame) {
        let bytes = frame.bytes().as_ptr().cast_mut();
        let room = frame.bytes().len();
        self.take(frame, bytes, room);
    }

    /// Takes a frame to be written, of which nobody else has the buffer.
    fn write(&mut self, mut frame: Frame) {
        let storage = frame.storage_mut();
        let (bytes, room) = (storage.as_mut_ptr(), storage.len());
        self.take(frame, bytes, room);
    }

    fn take(&mut self, frame: Frame, bytes: *mut u8, room: usize) {
        let header = &frame.header;
        let view = &mut self.view;
        view.flags = u32::from(header.flags.bits() & FLAGS.bits());
        view.pts_ns = header.pts.nanos();
        view.captured_ns = header.captured.nanos();
        view.duration_ns =
            header.duration.as_secs().wrapping_mul(1_000_000_000) + u64::from(header.duration.subsec_nanos());
        view.sequence = header.sequence;
        let format = *frame.format();
        if self.shown == Some((format, room)) {
            for (plane, offset) in
                self.planes.iter_mut().zip(self.offsets).take(self.view.plane_count as usize)
            {
                plane.data = bytes.wrapping_add(offset);
            }
        } else {
            self.show(format, bytes, room);
            // Of a packet the effect may change the length.
            self.shown = matches!(format, Format::Audio(_) | Format::Video(_)).then_some((format, room));
            for (plane, offset) in
                self.planes.iter().zip(&mut self.offsets).take(self.view.plane_count as usize)
            {
                *offset = plane.data.addr() - bytes.addr();
            }
        }
        self.frame = Some(frame);
        self.is_full = true;
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

/// Where frames stand that an effect sees.
#[allow(clippy::vec_box)] // effects have their addresses
struct Slots {
    inputs: Vec<Box<Slot>>,
    outputs: Vec<Box<Slot>>,
    /// Made by the effect in this call, each for an output.
    fresh: Vec<(usize, Box<Slot>)>,
    kept: Vec<Box<Slot>>,
    spare: Vec<Box<Slot>>,
    /// The frame that the call is for, until its view is made.
    first: Option<Frame>,
    /// Whether anything was put out in the last call.
    put_out: bool,
}

impl Slots {
    fn new(inputs: usize, outputs: usize) -> Self {
        let boxes = |count: usize| (0..count).map(|_| Slot::new()).collect();
        Self {
            inputs: boxes(inputs),
            outputs: boxes(outputs),
            fresh: Vec::with_capacity(FRESH),
            kept: Vec::with_capacity(KEPT),
            spare: boxes(KEPT + FRESH),
            first: None,
            put_out: false,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Slot> {
        let fresh = self.fresh.iter().map(|(_, slot)| slot);
        self.inputs.iter().chain(&self.outputs).chain(&self.kept).chain(fresh).map(|slot| &**slot)
    }

    fn find(&self, pointer: *const abi::Frame) -> Option<&Slot> {
        self.all().find(|slot| slot.is_full && ptr::eq(&raw const slot.view, pointer))
    }

    /// Takes the frame that is to go out through `port`, with the length and the
    /// flags that the effect gave it.
    fn take_output(&mut self, port: usize, pointer: *const abi::Frame) -> Option<Frame> {
        let is_it = |slot: &Slot| slot.is_full && ptr::eq(&raw const slot.view, pointer);
        let (slot, is_fresh) = match self.outputs.get_mut(port) {
            Some(slot) if is_it(slot) => (slot, false),
            _ => (&mut self.fresh.iter_mut().find(|(of, slot)| *of == port && is_it(slot))?.1, true),
        };
        slot.is_full = false;
        let mut frame = slot.frame.take()?;
        if is_fresh {
            // Of a process of its own it comes with times of a frame that was kept there.
            let (view, header) = (&slot.view, &mut frame.header);
            header.pts = Timestamp::from_nanos(view.pts_ns);
            header.captured = Timestamp::from_nanos(view.captured_ns);
            (header.duration, header.sequence) = (Duration::from_nanos(view.duration_ns), view.sequence);
        }
        frame.set_len(slot.planes[0].width as usize);
        frame.header.flags = frame.header.flags.with_bits(slot.view.flags as u8, FLAGS);
        self.put_out = true;
        Some(frame)
    }

    /// After a call: what is left of it goes back to its pool.
    fn clear(&mut self) {
        for slot in self.inputs.iter_mut().take(1).chain(&mut self.outputs).filter(|slot| slot.is_full) {
            slot.let_go();
        }
        while let Some((_, mut slot)) = self.fresh.pop() {
            slot.let_go();
            self.spare.push(slot);
        }
    }
}

/// The desk during one call.
struct AtWork<'a, 'b, 'c> {
    slots: &'a mut Slots,
    cx: &'b mut Context<'c>,
    sayings: usize,
    carries: &'a [MediaType],
    in_place: bool,
}

impl Desk for AtWork<'_, '_, '_> {
    fn new_frame(&mut self, port: usize, format: &abi::Format, from: *const abi::Frame) -> *mut abi::Frame {
        if port >= self.slots.outputs.len() || self.slots.fresh.len() == FRESH {
            return ptr::null_mut();
        }
        let from = if from.is_null() {
            self.slots.inputs.first().map(|slot| &**slot)
        } else {
            self.slots.find(from)
        };
        // In place, the header is with the output.
        let header = from.and_then(|slot| slot.frame.as_ref().or(self.slots.outputs.first()?.frame.as_ref()));
        let header = header.map(|frame| frame.header.clone()).unwrap_or_default();
        let Some(frame) = fresh_frame(self.cx, port, format, self.carries[port], header) else {
            return ptr::null_mut();
        };
        let Some(mut slot) = self.slots.spare.pop() else { return ptr::null_mut() };
        slot.write(frame);
        let pointer = slot.pointer();
        self.slots.fresh.push((port, slot));
        pointer
    }

    fn retain(&mut self, frame: *const abi::Frame) -> *const abi::Frame {
        if self.slots.kept.len() == KEPT {
            return ptr::null();
        }
        // Outputs are written to, and in place the first input is one.
        let inputs = self.slots.inputs.iter().skip(usize::from(self.in_place));
        let mut may_stay = inputs.chain(&self.slots.kept).map(|slot| &**slot);
        let is_it = |slot: &&Slot| slot.is_full && ptr::eq(&raw const slot.view, frame);
        let Some(frame) = may_stay.find(is_it).and_then(|slot| slot.frame.clone()) else {
            return ptr::null();
        };
        let Some(mut slot) = self.slots.spare.pop() else { return ptr::null() };
        slot.read(frame);
        let pointer = slot.pointer();
        self.slots.kept.push(slot);
        pointer
    }

    fn release(&mut self, frame: *const abi::Frame) {
        let is_it = |slot: &Slot| ptr::eq(&raw const slot.view, frame);
        let slot = if let Some(at) = self.slots.kept.iter().position(|slot| is_it(slot)) {
            self.slots.kept.swap_remove(at)
        } else if let Some(at) = self.slots.fresh.iter().position(|(_, slot)| is_it(slot)) {
            self.slots.fresh.swap_remove(at).1
        } else {
            return;
        };
        let mut slot = slot;
        slot.let_go();
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
