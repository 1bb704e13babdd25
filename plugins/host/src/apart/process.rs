//! The process of a plugin: confines itself, loads the library, makes the effect
//! and works on what the engine asks. The engine and its frames are at the other
//! end of `wire`.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::ptr;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::RecvFlags;
use sidetone_core::frame::Frame;
use sidetone_core::{AudioFormat, Fault, Size, VideoFormat};
use sidetone_plugin_abi as abi;

use super::wire::{
    self, Answer, FrameRecord, NO_FRAME, NewMemory, OutputRecord, Page, PlaneRecord, op, outcome,
};
use super::{FAULTS, confine};
use crate::effect::{Desk, Effect, Job, Outcome};
use crate::image::Image;
use crate::manifest::{Manifest, PORTS};
use crate::node::NO_PLANE;
use crate::shelf::Shelf;
use crate::source::Source;

/// Is the process of a plugin: standard input is the socket to the engine. \[control\]
///
/// Programs that embed the engine call it when their first argument is
/// [`ARGUMENT`](super::ARGUMENT), before all else.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sidetone: the process of a plugin: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // Away from the user's terminal: neither what is typed there nor Ctrl-C is for
    // this process. It fails for a process that leads a session already.
    let _ = rustix::process::setsid();
    // What the plugin prints may go to a file, of which it may write nothing: that
    // is an error for it to ignore, and no signal to die of.
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let mut hello = [0; 16];
    let (_, mut fds) = wire::receive(&socket, &mut hello, RecvFlags::empty())?
        .ok_or_else(|| io::Error::other("the engine says nothing: this command is for it to run"))?;
    // Where there is a fifth, it is a copy of the library.
    let image = fds.drain(4.min(fds.len())..).next();
    let Ok([pages, scratch, requests, answers]) = <[OwnedFd; 4]>::try_from(fds) else {
        return Err(io::Error::other("the engine says half of what it should"));
    };
    let page = Mapped::new(&pages, size_of::<Page>(), true)?.start.cast::<Page>();
    let mut worker = Worker {
        socket,
        scratch: Mapped::new(&scratch, wire::SCRATCH, true)?,
        memories: HashMap::new(),
        met: 0,
        image,
        effect: None,
        in_place: false,
        shapes: Vec::new(),
        kept: Vec::new(),
    };
    loop {
        let mut ends =
            [PollFd::new(&requests, PollFlags::IN), PollFd::new(&worker.socket, PollFlags::empty())];
        poll(&mut ends, None)?;
        if ends[1].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        }
        let mut count = [0; 8];
        match rustix::io::read(&requests, &mut count) {
            Err(rustix::io::Errno::AGAIN) => continue,
            other => other?,
        };
        // SAFETY: the page is mapped for as long as the process lives, and the
        // engine touches it only while no request is under way.
        let (request, answer) = unsafe { (&(*page).request, &mut (*page).answer) };
        (answer.saying_count, answer.figure_count, answer.outcome) = (0, 0, outcome::OK);
        match request.op {
            op::QUIT => return Ok(()),
            op::MAKE | op::CHECK => worker.make(request, answer),
            op::SAVE => worker.save(answer),
            op::LOAD => worker.load(request.length as usize, answer),
            _ => {
                worker.meet(request.memories)?;
                worker.process(request, answer);
            }
        }
        rustix::io::write(&answers, &1_u64.to_ne_bytes())?;
    }
}

/// Ends this process with the engine's: a thread waits for the other end of the
/// socket to close, whatever the plugin does meanwhile. It is started confined, since
/// a thread keeps what it may do when another gives that up.
fn end_with(socket: &OwnedFd) -> io::Result<()> {
    let socket = socket.try_clone()?;
    std::thread::Builder::new().name("engine's life".into()).spawn(move || {
        loop {
            let mut end = [PollFd::new(&socket, PollFlags::empty())];
            if poll(&mut end, None).is_ok() && end[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
                std::process::abort();
            }
        }
    })?;
    Ok(())
}

/// A memory that the engine shares.
struct Mapped {
    start: *mut u8,
    len: usize,
}

impl Mapped {
    fn new(memory: &OwnedFd, len: usize, writable: bool) -> io::Result<Self> {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: no address is asked for, so nothing that is mapped is replaced.
        let start =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, memory, 0)? };
        Ok(Self { start: start.cast(), len })
    }
}

struct Worker {
    socket: OwnedFd,
    scratch: Mapped,
    /// By id, and whether they may be written.
    memories: HashMap<(u64, bool), Mapped>,
    /// How many of them have come.
    met: u32,
    /// What the library is loaded from where not its file.
    image: Option<OwnedFd>,
    effect: Option<Box<dyn Effect>>,
    /// Whether the first output is to hold what the first input does.
    in_place: bool,
    /// Of each output: the shape of its data, or nothing.
    shapes: Vec<String>,
    #[allow(clippy::vec_box)] // effects have their addresses
    kept: Vec<Box<Kept>>,
}

/// A frame that the effect keeps: a copy, since the engine's is used again.
struct Kept {
    view: View,
    /// What the view's planes point into.
    _bytes: Vec<Block>,
}

/// What frames begin on.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Block([u8; 64]);

/// What an effect sees of a frame.
struct View {
    frame: abi::Frame,
    planes: [abi::Plane; PORTS],
    shape: [u8; wire::NAME],
}

impl Worker {
    /// Maps the memories that the engine has sent, `sent` by now, and forgets those
    /// that it has let go.
    fn meet(&mut self, sent: u32) -> io::Result<()> {
        while self.met != sent {
            let (new, fd) = NewMemory::receive(&self.socket)?
                .ok_or_else(|| io::Error::other("the engine names a memory that it did not send"))?;
            self.met += 1;
            for key in new.forget.iter().flat_map(|id| [(*id, false), (*id, true)]) {
                if let Some(old) = self.memories.remove(&key) {
                    // SAFETY: it was mapped with that length, and the engine names
                    // it no more.
                    unsafe { rustix::mm::munmap(old.start.cast(), old.len)? };
                }
            }
            let mapped = Mapped::new(&fd, new.len as usize, new.writable)?;
            self.memories.insert((new.id, new.writable), mapped);
        }
        Ok(())
    }

    fn scratch(&self) -> *mut u8 {
        self.scratch.start
    }

    fn make(&mut self, request: &wire::Request, answer: &mut Answer) {
        let length = (request.length as usize).min(wire::SCRATCH / 2);
        // SAFETY: the scratch memory is mapped, and its first half is the engine's
        // to fill and ours to read.
        let text = unsafe { std::slice::from_raw_parts(self.scratch(), length) };
        let made = serde_json::from_slice::<(Source, Option<Manifest>)>(text);
        let made = made.map_err(|why| why.to_string()).and_then(|(source, manifest)| {
            confine::confine(&source)?;
            end_with(&self.socket).map_err(|why| why.to_string())?;
            self.in_place = source.in_place;
            self.shapes.clone_from(&source.shapes);
            let library = source.origin.library();
            if let (Some(image), Some(manifest)) = (self.image.take(), manifest) {
                Shelf::get().put(library, Image::from(image), manifest);
            }
            if request.op == op::CHECK {
                return Shelf::get().library(library).map(|_| None).map_err(|why| why.to_string());
            }
            Shelf::get().make(&source).map(Some)
        });
        match made {
            Ok(effect) => self.effect = effect,
            Err(why) => {
                say(answer, abi::SIDETONE_LOG_ERROR, &why);
                answer.outcome = outcome::FAULT;
            }
        }
    }

    fn save(&mut self, answer: &mut Answer) {
        let state = self.effect.as_mut().and_then(|effect| effect.save_state());
        answer.length = u64::MAX;
        if let Some(state) = state.filter(|state| state.len() <= wire::SCRATCH / 2) {
            // SAFETY: the second half of the scratch memory is ours to fill.
            unsafe {
                ptr::copy_nonoverlapping(state.as_ptr(), self.scratch().add(wire::SCRATCH / 2), state.len());
            }
            answer.length = state.len() as u64;
        }
    }

    fn load(&mut self, length: usize, answer: &mut Answer) {
        // SAFETY: as in `make`.
        let state = unsafe { std::slice::from_raw_parts(self.scratch(), length.min(wire::SCRATCH / 2)) };
        if let Some(Err(fault)) = self.effect.as_mut().map(|effect| effect.load_state(state)) {
            answer.outcome = number_of(&fault);
        }
    }

    fn process(&mut self, request: &wire::Request, answer: &mut Answer) {
        let mut inputs: [Option<View>; PORTS] = [const { None }; PORTS];
        let mut outputs: [Option<View>; PORTS] = [const { None }; PORTS];
        for (records, views, writable) in
            [(&request.inputs, &mut inputs, false), (&request.outputs, &mut outputs, true)]
        {
            for (record, view) in records.iter().zip(views) {
                *view = self.view(record, writable);
            }
        }
        if let (true, Some(from), Some(to)) = (self.in_place, &inputs[0], &outputs[0]) {
            copy(from, to);
        }
        let mut from = [ptr::null::<abi::Frame>(); PORTS];
        let mut to = [ptr::null_mut::<abi::Frame>(); PORTS];
        for (pointer, view) in from.iter_mut().zip(&mut inputs) {
            *pointer = view.as_mut().map_or(ptr::null(), |view| view.pointer().cast_const());
        }
        for (pointer, view) in to.iter_mut().zip(&mut outputs) {
            *pointer = view.as_mut().map_or(ptr::null_mut(), View::pointer);
        }
        let given = to;
        let events: Vec<abi::Event> = request.events[..(request.event_count as usize).min(wire::EVENTS)]
            .iter()
            .map(|event| abi::Event {
                size: size_of::<abi::Event>() as u32,
                event: abi::SIDETONE_EVENT_PARAM,
                time_ns: event.time_ns,
                id: event.id,
                reserved: 0,
                number: event.number,
            })
            .collect();
        let (input_count, output_count) = (request.input_count as usize, request.output_count as usize);
        let mut desk = ChildDesk {
            scratch: self.scratch(),
            used: wire::SCRATCH / 2,
            fresh: Vec::new(),
            kept: &mut self.kept,
            inputs: from,
            in_place: self.in_place,
            shapes: &self.shapes,
            answer,
        };
        let Some(effect) = &mut self.effect else { return };
        // SAFETY: the views stand in this function until the call is over, and point
        // into memories that the engine leaves alone until it has its answer.
        let mut job = unsafe {
            Job::new(
                request.now_ns,
                request.flags,
                &from[..input_count.min(PORTS)],
                &mut to[..output_count.min(PORTS)],
                &events,
                &mut desk,
            )
        };
        let result = effect.process(&mut job);
        let ChildDesk { fresh, answer, .. } = desk;
        answer.outcome = match result {
            Ok(Outcome::Ok) => outcome::OK,
            Ok(Outcome::Drop) => outcome::DROP,
            Ok(Outcome::NeedMore) => outcome::NEED_MORE,
            Ok(Outcome::End) => outcome::END,
            Err(fault) => number_of(&fault),
        };
        for (port, record) in answer.outputs.iter_mut().enumerate() {
            record.what = 0;
            let pointer = to[port];
            if pointer.is_null() {
                continue;
            }
            let place = fresh.iter().find(|(_, view, _)| ptr::eq(&raw const view.frame, pointer));
            let (view, what, made) = match (place, &outputs[port]) {
                (Some((_, view, made)), _) => (&**view, 2, *made),
                (None, Some(view)) if pointer == given[port] => (view, 1, NO_FRAME),
                _ => {
                    answer.outcome = outcome::FAULT;
                    continue;
                }
            };
            *record = OutputRecord {
                what,
                length: view.planes[0].width,
                flags: view.frame.flags,
                reserved: 0,
                fresh: made,
            };
        }
    }

    /// What an effect sees of a frame of the engine's.
    fn view(&self, record: &FrameRecord, writable: bool) -> Option<View> {
        let memory = match (record.present, record.memory) {
            (0, _) => return None,
            (_, 0) => &self.scratch,
            (_, id) => self.memories.get(&(id, writable))?,
        };
        let mut view = View::of(record);
        for (plane, place) in view.planes.iter_mut().zip(&record.planes).take(record.plane_count as usize) {
            let end = place.offset.checked_add(place.capacity)?;
            if end > memory.len as u64 {
                return None;
            }
            // SAFETY: the plane lies within the mapping, which was just looked at.
            plane.data = unsafe { memory.start.add(place.offset as usize) };
        }
        Some(view)
    }
}

impl View {
    /// All but where its planes' bytes are.
    fn of(record: &FrameRecord) -> Self {
        let plane = |record: &PlaneRecord| abi::Plane {
            size: size_of::<abi::Plane>() as u32,
            width: record.width,
            height: record.height,
            reserved: 0,
            stride: record.stride as usize,
            capacity: record.capacity as usize,
            data: ptr::null_mut(),
        };
        Self {
            frame: abi::Frame {
                size: size_of::<abi::Frame>() as u32,
                media: record.media,
                format: record.format,
                flags: record.flags,
                pts_ns: record.pts_ns,
                captured_ns: record.captured_ns,
                duration_ns: record.duration_ns,
                sequence: record.sequence,
                width: record.width,
                height: record.height,
                rate: record.rate,
                plane_count: record.plane_count,
                plane_stride: size_of::<abi::Plane>() as u32,
                reserved: 0,
                planes: ptr::null_mut(),
                shape: ptr::null(),
            },
            planes: record.planes.each_ref().map(plane),
            shape: record.shape,
        }
    }

    /// Its frame, as the interface has it; it must stand still from now on.
    fn pointer(&mut self) -> *mut abi::Frame {
        self.frame.planes = self.planes.as_mut_ptr();
        self.frame.shape = if self.shape[0] == 0 { ptr::null() } else { self.shape.as_ptr().cast() };
        &raw mut self.frame
    }
}

/// Copies what one frame shows to another of the same format.
fn copy(from: &View, to: &View) {
    for (from, to) in from.planes.iter().zip(&to.planes) {
        let bytes = from.capacity.min(to.capacity);
        if bytes > 0 {
            // SAFETY: each plane has as many bytes, in different frames.
            unsafe { ptr::copy_nonoverlapping(from.data, to.data, bytes) };
        }
    }
}

fn number_of(fault: &Fault) -> u32 {
    let place = FAULTS.iter().position(|(kind, _)| *kind == fault.kind).unwrap_or_default();
    outcome::FAULT + place as u32
}

fn say(answer: &mut Answer, level: u32, text: &str) {
    let Some(saying) = answer.sayings.get_mut(answer.saying_count as usize) else { return };
    let length = (0..=text.len().min(wire::SAYING)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    (saying.level, saying.length) = (level, length as u32);
    saying.text[..length].copy_from_slice(&text.as_bytes()[..length]);
    answer.saying_count += 1;
}

/// The desk during one call, in the plugin's process.
struct ChildDesk<'a> {
    scratch: *mut u8,
    /// Bytes of the scratch memory up to which it is taken.
    used: usize,
    fresh: Vec<(usize, Box<View>, FrameRecord)>,
    #[allow(clippy::vec_box)] // as above
    kept: &'a mut Vec<Box<Kept>>,
    inputs: [*const abi::Frame; PORTS],
    in_place: bool,
    shapes: &'a [String],
    answer: &'a mut Answer,
}

/// Frames that an effect may keep.
const KEPT: usize = 64;

impl ChildDesk<'_> {
    fn record(&mut self, format: &abi::Format) -> Option<FrameRecord> {
        let mut record = NO_FRAME;
        (record.present, record.media, record.format) = (1, format.media, format.format);
        let mut shapes = [(0, 0, 0); PORTS];
        let side = 1..=Size::MAX_SIDE;
        match (format.media, format.format) {
            (abi::SIDETONE_MEDIA_VIDEO, abi::SIDETONE_FORMAT_I420)
                if side.contains(&format.width) && side.contains(&format.height) =>
            {
                let video = VideoFormat::i420(Size::new(format.width, format.height));
                (record.width, record.height, record.plane_count) = (format.width, format.height, 3);
                for (index, shape) in shapes.iter_mut().enumerate().take(3) {
                    let size = video.plane_size(index);
                    *shape = (size.width, size.height, video.stride(index));
                }
            }
            (abi::SIDETONE_MEDIA_AUDIO, abi::SIDETONE_FORMAT_F32)
                if (1..=8).contains(&format.channels) && (1..=768_000).contains(&format.length) =>
            {
                let (rate, channels, samples) = (format.rate, format.channels as u16, format.length);
                let audio = AudioFormat { rate, channels, samples };
                (record.rate, record.plane_count) = (rate, format.channels);
                shapes[..channels.into()].fill((samples, 1, audio.channel_bytes()));
            }
            (abi::SIDETONE_MEDIA_PACKET | abi::SIDETONE_MEDIA_DATA, _) if format.length <= 16 << 20 => {
                record.plane_count = 1;
                shapes[0] = (0, 1, (format.length as usize).next_multiple_of(64));
            }
            _ => return None,
        }
        for (plane, (width, height, stride)) in
            record.planes.iter_mut().zip(shapes).take(record.plane_count as usize)
        {
            let capacity = stride.checked_mul(height as usize)?;
            let end = self.used.checked_add(capacity).filter(|end| *end <= wire::SCRATCH)?;
            *plane = PlaneRecord {
                width,
                height,
                stride: stride as u64,
                capacity: capacity as u64,
                offset: self.used as u64,
            };
            self.used = end;
        }
        Some(record)
    }
}

impl Desk for ChildDesk<'_> {
    fn new_frame(&mut self, port: usize, format: &abi::Format, from: *const abi::Frame) -> *mut abi::Frame {
        let Some(mut record) = self.record(format) else { return ptr::null_mut() };
        let from = if from.is_null() { self.inputs[0] } else { from };
        // SAFETY: null, or a frame that this process showed the effect.
        if let Some(from) = unsafe { from.as_ref() } {
            (record.pts_ns, record.captured_ns) = (from.pts_ns, from.captured_ns);
            (record.duration_ns, record.sequence) = (from.duration_ns, from.sequence);
        }
        if let Some(shape) = self.shapes.get(port).filter(|_| record.media == abi::SIDETONE_MEDIA_DATA) {
            let length = shape.len().min(wire::NAME - 1);
            record.shape[..length].copy_from_slice(&shape.as_bytes()[..length]);
        }
        let mut view = Box::new(View::of(&record));
        for (plane, place) in view.planes.iter_mut().zip(&record.planes).take(record.plane_count as usize) {
            // SAFETY: `record` saw to it that it lies in the scratch memory.
            plane.data = unsafe { self.scratch.add(place.offset as usize) };
        }
        let pointer = view.pointer();
        self.fresh.push((port, view, record));
        pointer
    }

    fn retain(&mut self, frame: *const abi::Frame) -> *const abi::Frame {
        // In place the first input's memory may be written, as in the engine's process.
        let is_known = self.inputs[usize::from(self.in_place)..].contains(&frame)
            || self.kept.iter().any(|kept| ptr::eq(&raw const kept.view.frame, frame));
        if self.kept.len() == KEPT || !is_known || frame.is_null() {
            return ptr::null();
        }
        // SAFETY: it is one that this process showed the effect, with planes of its own.
        let (frame, planes) = unsafe {
            let frame = *frame;
            (frame, std::slice::from_raw_parts(frame.planes, frame.plane_count as usize))
        };
        let blocks = planes.iter().map(|plane| plane.capacity.div_ceil(64)).sum();
        let mut bytes = vec![Block([0; 64]); blocks];
        let mut view = View { frame, planes: [NO_PLANE; PORTS], shape: [0; wire::NAME] };
        if !frame.shape.is_null() {
            // SAFETY: it is `NAME` bytes of a view's.
            view.shape = unsafe { *frame.shape.cast::<[u8; wire::NAME]>() };
        }
        let mut at = 0;
        for (to, from) in view.planes.iter_mut().zip(planes) {
            // SAFETY: `bytes` was made with room for every plane.
            unsafe {
                let data = bytes.as_mut_ptr().add(at).cast::<u8>();
                ptr::copy_nonoverlapping(from.data, data, from.capacity);
                *to = abi::Plane { data, ..*from };
            }
            at += from.capacity.div_ceil(64);
        }
        let mut kept = Box::new(Kept { view, _bytes: bytes });
        let pointer = kept.view.pointer();
        self.kept.push(kept);
        pointer
    }

    fn release(&mut self, frame: *const abi::Frame) {
        self.kept.retain(|kept| !ptr::eq(&raw const kept.view.frame, frame));
        self.fresh.retain(|(_, view, _)| !ptr::eq(&raw const view.frame, frame));
    }

    fn log(&mut self, level: u32, text: &str) {
        say(self.answer, level, text);
    }

    fn emit(&mut self, name: &str, value: f64) {
        let Some(figure) = self.answer.figures.get_mut(self.answer.figure_count as usize) else { return };
        let length = name.len().min(wire::NAME);
        (figure.value, figure.length) = (value, length as u32);
        figure.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        self.answer.figure_count += 1;
    }

    fn frame(&self, _: *const abi::Frame) -> Option<&Frame> {
        None
    }
}
