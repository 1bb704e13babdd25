//! `Apart`: an effect that runs in a process of its own, so that whatever it does
//! is a fault of its node and no more.
//!
//! The process is this program again (or the one that `SIDETONE_PLUGIN_PROCESS`
//! names), told to be `process::main`. It gives up what it does not need before it
//! loads the library (`confine`), and makes the same effect as would be made here.
//! `wire` says what passes between the two. The engine's lane waits for each
//! answer, and for the process's life, by its pidfd; a process that answers too
//! late is killed.

pub(crate) mod confine;
pub mod process;
mod wire;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sidetone_core::shared_memory::{Access, Place, SharedMemory};
use sidetone_core::{Fault, FaultKind};
use sidetone_plugin_abi as abi;

use crate::effect::{Desk, Effect, Job, Outcome};
use crate::image::Image;
use crate::instance::LONGEST_STATE;
use crate::manifest::Manifest;
use crate::source::{Origin, Source};
use wire::{Answer, EventRecord, FrameRecord, NO_FRAME, NewMemory, Page, Request, op};

/// The environment's name of the program that runs plugins, where that is not this
/// one: for those who embed the engine.
pub const VARIABLE: &str = "SIDETONE_PLUGIN_PROCESS";
/// The first argument of the process of a plugin.
pub const ARGUMENT: &str = "plugin-process";

/// An effect may take this long to be made: libraries read files and build tables.
const MAKING: Duration = Duration::from_secs(10);
/// An effect that takes longer than this, and than so many times its share of the
/// budget, hangs.
const HANGS: (Duration, u32) = (Duration::from_millis(500), 10);
/// After this long in any case.
const HANGS_AT_MOST: Duration = Duration::from_secs(5);
/// How long a process may take to end by itself.
const ENDING: Duration = Duration::from_millis(200);

/// An effect in a process of its own.
pub struct Apart {
    child: Child,
    /// Readable when the process is dead.
    life: OwnedFd,
    to_child: OwnedFd,
    from_child: OwnedFd,
    socket: OwnedFd,
    page: Place,
    scratch: Place,
    /// Bytes of the scratch memory that are taken for this call.
    taken: usize,
    /// Memories that the process has mapped, by id and whether it may write to them.
    known: Vec<(u64, bool, Weak<SharedMemory>)>,
    /// How many it has been sent.
    sent: u32,
    /// What it answered last.
    answer: Box<Answer>,
    hangs: Duration,
    is_over: bool,
    /// The processor that the process is to run on.
    cpu: Option<usize>,
}

impl Apart {
    /// Starts a process and has it make an effect; of a plugin from a copy of its
    /// library, and as what it is known to be, where they are given. \[control\]
    ///
    /// # Errors
    /// The process cannot be started, or cannot make it; for a person.
    pub(crate) fn new(source: &Source, known: Option<(&Image, &Manifest)>) -> Result<Self, String> {
        Self::begin(source, known, op::MAKE)
    }

    /// Has a process load this copy of the library at `path`, and compare it with
    /// `manifest`. \[control\]
    ///
    /// # Errors
    /// It cannot be loaded, or is not that; for a person.
    pub(crate) fn check(path: &Path, image: &Image, manifest: &Manifest) -> Result<(), String> {
        let origin = Origin::Plugin { library: path.to_owned(), kind: manifest.id.clone() };
        let source = Source::bare(origin);
        Self::begin(&source, Some((image, manifest)), op::CHECK).map(drop)
    }

    fn begin(source: &Source, known: Option<(&Image, &Manifest)>, first: u32) -> Result<Self, String> {
        let (image, manifest) = known.unzip();
        let started = Self::start(source, image);
        let mut apart = started.map_err(|why| format!("cannot start a process for it: {why}"))?;
        let text = serde_json::to_vec(&(source, manifest)).map_err(|why| why.to_string())?;
        if text.len() > wire::SCRATCH / 2 {
            return Err("its parameters are too long".into());
        }
        apart.scratch.bytes_mut()[..text.len()].copy_from_slice(&text);
        apart.request(|request| (request.op, request.length) = (first, text.len() as u64));
        apart.ask(MAKING).map_err(|fault| format!("{source}: {}", fault.why))?;
        match outcome_of(&apart.answer) {
            Ok(_) => Ok(apart),
            Err(_) => {
                Err(sayings(&apart.answer).map(|(_, text)| text.to_owned()).collect::<Vec<_>>().join("; "))
            }
        }
    }

    fn start(source: &Source, image: Option<&Image>) -> io::Result<Self> {
        let program = match std::env::var_os(VARIABLE) {
            Some(program) => program.into(),
            None => std::env::current_exe()?,
        };
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let pages = SharedMemory::new(size_of::<Page>(), Access::Write)?;
        let scratch = SharedMemory::new(wire::SCRATCH, Access::Write)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let (to_child, from_child) = (eventfd(0, flags)?, eventfd(0, flags)?);
        let child = Command::new(program)
            .arg(ARGUMENT)
            .arg(source.to_string())
            .env_clear()
            .envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("no process"))?;
        let life = pidfd_open(pid, PidfdFlags::empty())?;
        let always = [pages.as_fd(), scratch.as_fd(), to_child.as_fd(), from_child.as_fd()];
        let fds: Vec<_> = always.into_iter().chain(image.map(Image::as_fd)).collect();
        wire::send(&socket, b"hello", &fds)?;
        let place = |memory: &Arc<SharedMemory>, bytes| {
            memory.place(bytes).ok_or_else(|| io::Error::other("no room in shared memory"))
        };
        let call = Duration::from_nanos(source.call_ns);
        Ok(Self {
            child,
            life,
            to_child,
            from_child,
            socket,
            page: place(&pages, size_of::<Page>())?,
            scratch: place(&scratch, wire::SCRATCH)?,
            taken: 0,
            known: Vec::with_capacity(wire::MEMORIES),
            sent: 0,
            answer: Answer::empty(),
            hangs: HANGS.0.max(call.saturating_mul(HANGS.1)).min(HANGS_AT_MOST),
            is_over: false,
            cpu: None,
        })
    }

    fn page(&mut self) -> *mut Page {
        self.page.bytes_mut().as_mut_ptr().cast()
    }

    /// Lets `fill` write the request.
    fn request(&mut self, fill: impl FnOnce(&mut Request)) {
        // SAFETY: the page is mapped, large and aligned enough, all of its fields
        // are numbers, and the process touches it only between a wake and its
        // answer.
        fill(unsafe { &mut (*self.page()).request });
    }

    /// Wakes the process and waits for its answer, which is then in `answer`.
    fn ask(&mut self, limit: Duration) -> Result<(), Fault> {
        if self.is_over {
            return Err(Fault::new(FaultKind::Library, "the plugin's process is gone"));
        }
        let answered = self.exchange(limit);
        if answered.is_err() {
            self.is_over = true;
            let _ = self.child.kill();
        }
        answered
    }

    /// Has the process run on the processor that this lane is on, which waits for it:
    /// waking another one, that sleeps, takes tens of microseconds, and what is to
    /// be worked on is in this one's cache. So neither side spins before it sleeps: it
    /// would keep the other from running. (In a virtual machine of two processors both
    /// wakes took 25 µs on one, 75 to 130 µs on two, and 50 µs on two where the engine
    /// spun.)
    fn come_here(&mut self) {
        let here = rustix::thread::sched_getcpu();
        if self.cpu != Some(here) {
            let mut only = rustix::thread::CpuSet::new();
            only.set(here);
            // Where that is not allowed it runs anywhere.
            let pid = Pid::from_raw(self.child.id().cast_signed());
            let _ = rustix::thread::sched_setaffinity(pid, &only);
            self.cpu = Some(here);
        }
    }

    fn exchange(&mut self, limit: Duration) -> Result<(), Fault> {
        let broken = |_| Fault::new(FaultKind::Io, "the plugin's process cannot be reached");
        self.come_here();
        rustix::io::write(&self.to_child, &1_u64.to_ne_bytes()).map_err(broken)?;
        let end = Instant::now() + limit;
        loop {
            let timeout = Timespec::try_from(end.saturating_duration_since(Instant::now())).ok();
            let mut ends =
                [PollFd::new(&self.from_child, PollFlags::IN), PollFd::new(&self.life, PollFlags::IN)];
            match poll(&mut ends, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(broken(error)),
                Ok(0) => {
                    return Err(Fault::new(
                        FaultKind::Late,
                        "the plugin hung: it was given up and its process killed",
                    ));
                }
                Ok(_) => {}
            }
            if ends[0].revents().contains(PollFlags::IN) {
                let mut count = [0; 8];
                rustix::io::read(&self.from_child, &mut count).map_err(broken)?;
                let page = self.page();
                // SAFETY: as in `request`; the process may go on writing if it
                // breaks the protocol, so that this is the last look at the page.
                unsafe { self.answer.take(&raw const (*page).answer) };
                return Ok(());
            }
            return Err(self.death());
        }
    }

    /// Why the process died.
    fn death(&mut self) -> Fault {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().ok();
        let why = match status.and_then(|status| status.signal()) {
            Some(4) => "the plugin crashed: illegal instruction (SIGILL)",
            Some(6) => "the plugin aborted (SIGABRT)",
            Some(7) => "the plugin crashed: bus error (SIGBUS)",
            Some(8) => "the plugin crashed: division by zero (SIGFPE)",
            Some(9) => "the plugin's process was killed",
            Some(11) => "the plugin crashed: bad memory access (SIGSEGV)",
            Some(_) => "the plugin's process was ended by a signal",
            None => "the plugin ended its process",
        };
        Fault::new(FaultKind::Library, why)
    }

    /// Tells where a frame of a job lies, for the process; what lies in memory of
    /// this process alone gets a place in the scratch memory, and is copied there
    /// if it is to be read.
    fn record(
        &mut self,
        frame: *const abi::Frame,
        desk: &dyn Desk,
        is_input: bool,
    ) -> Result<FrameRecord, Fault> {
        // SAFETY: whoever made the job answers for its pointers.
        let Some(view) = (unsafe { frame.as_ref() }) else { return Ok(NO_FRAME) };
        if view.plane_count == 0 {
            return Ok(NO_FRAME);
        }
        // SAFETY: as above: there is at least one plane, and the first comes first.
        let base = unsafe { (*view.planes).data };
        let shared = desk.frame(frame).and_then(|frame| frame.shared_place());
        if let Some(shared) = shared.filter(|place| is_input || place.memory.access() == Access::Write) {
            let memory = Arc::clone(shared.memory);
            self.introduce(&memory, !is_input)?;
            // SAFETY: a frame's bytes begin with its first plane.
            return Ok(unsafe { FrameRecord::of(view, memory.id(), base, shared.offset) });
        }
        let bytes = extent(view);
        let offset = self.taken;
        let end = offset.checked_add(bytes).filter(|end| *end <= wire::SCRATCH / 2);
        let Some(end) = end else {
            return Err(Fault::new(FaultKind::WrongFormat, "a frame is too large for the plugin's process"));
        };
        self.taken = end.next_multiple_of(4_096);
        if is_input {
            // SAFETY: whoever made the job answers for the planes, which lie one
            // after another in one buffer.
            let from = unsafe { std::slice::from_raw_parts(base, bytes) };
            self.scratch.bytes_mut()[offset..end].copy_from_slice(from);
        }
        // SAFETY: as above.
        Ok(unsafe { FrameRecord::of(view, 0, base, offset) })
    }

    /// Has the process map a memory that it does not know so; what it only reads, and
    /// another plugin's process may have written, it cannot write.
    fn introduce(&mut self, memory: &Arc<SharedMemory>, writable: bool) -> Result<(), Fault> {
        if self.known.iter().any(|(id, written, _)| (*id, *written) == (memory.id(), writable)) {
            return Ok(());
        }
        let mut forget = Vec::new();
        self.known.retain(|(id, _, known)| {
            let is_there = known.strong_count() > 0;
            forget.extend((!is_there && !forget.contains(id)).then_some(*id));
            is_there
        });
        if self.known.len() == wire::MEMORIES {
            return Err(Fault::new(FaultKind::Io, "frames come from too many pools for one process"));
        }
        let new = NewMemory { id: memory.id(), len: memory.len() as u64, writable, forget };
        let sent = if writable {
            new.send(&self.socket, memory.as_fd())
        } else {
            memory.read_only_fd().and_then(|fd| new.send(&self.socket, fd.as_fd()))
        };
        sent.map_err(|_| Fault::new(FaultKind::Io, "the plugin's process cannot be given memory"))?;
        self.known.push((memory.id(), writable, Arc::downgrade(memory)));
        self.sent += 1;
        Ok(())
    }

    /// Does what the answer says about the outputs of the call.
    fn put_out(&self, request: &[FrameRecord], job: &mut Job<'_>) -> Result<(), Fault> {
        let (call, desk) = job.raw();
        for (port, record) in self.answer.outputs.iter().enumerate().take(call.output_count as usize) {
            // SAFETY: whoever made the job answers for the array.
            let place = unsafe { &mut *call.outputs.add(port) };
            match record.what {
                1 if !place.is_null() => {
                    // SAFETY: as above.
                    let view = unsafe { &mut **place };
                    if request[port].memory == 0 {
                        self.copy_back(&request[port], view);
                    }
                    view.flags = record.flags;
                    set_length(view, record.length);
                }
                2 => *place = self.fresh(port, record, desk)?,
                _ => *place = ptr::null_mut(),
            }
        }
        Ok(())
    }

    /// The contents of a frame that had a place in the scratch memory.
    fn copy_back(&self, record: &FrameRecord, view: &abi::Frame) {
        let bytes = extent(view);
        let from = &self.scratch.bytes()[record.planes[0].offset as usize..][..bytes];
        // SAFETY: whoever made the job answers for the planes, which lie one after
        // another in one buffer, and may be written.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), (*view.planes).data, bytes) };
    }

    /// A frame that the process made in the scratch memory, as one of the engine's.
    fn fresh(
        &self,
        port: usize,
        output: &wire::OutputRecord,
        desk: &mut dyn Desk,
    ) -> Result<*mut abi::Frame, Fault> {
        let wrong = Fault::new(FaultKind::Library, "the plugin's process put out a frame that cannot be");
        let record = &output.fresh;
        let packet = matches!(record.media, abi::SIDETONE_MEDIA_PACKET | abi::SIDETONE_MEDIA_DATA);
        let length = if packet { output.length.max(1) } else { record.planes[0].width };
        let format = abi::Format {
            size: size_of::<abi::Format>() as u32,
            media: record.media,
            format: record.format,
            width: record.width,
            height: record.height,
            rate: record.rate,
            channels: record.plane_count,
            length,
        };
        let made = desk.new_frame(port, &format, ptr::null());
        // SAFETY: null, or a frame of the desk's.
        let Some(view) = (unsafe { made.as_mut() }) else { return Err(wrong) };
        for index in 0..view.plane_count as usize {
            // SAFETY: the desk answers for its planes.
            let to = unsafe { *view.planes.add(index) };
            let from = record.planes.get(index).ok_or(wrong)?;
            let row = if view.media == abi::SIDETONE_MEDIA_AUDIO {
                to.width as usize * 4
            } else {
                to.width as usize
            };
            let row = if packet { length as usize } else { row };
            for y in 0..to.height as usize {
                let at = (y as u64).checked_mul(from.stride).and_then(|at| at.checked_add(from.offset));
                let at = at.and_then(|at| usize::try_from(at).ok()).ok_or(wrong)?;
                let end = at.checked_add(row).ok_or(wrong)?;
                let bytes = self.scratch.bytes().get(at..end).ok_or(wrong)?;
                if y * to.stride + row > to.capacity {
                    return Err(wrong);
                }
                // SAFETY: the row lies within the plane's `capacity`, which was just
                // looked at; nobody else writes to a frame that is new.
                unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.data.add(y * to.stride), row) };
            }
        }
        view.flags = output.flags;
        (view.pts_ns, view.captured_ns) = (record.pts_ns, record.captured_ns);
        (view.duration_ns, view.sequence) = (record.duration_ns, record.sequence);
        set_length(view, output.length);
        Ok(made)
    }
}

impl Effect for Apart {
    fn process(&mut self, job: &mut Job<'_>) -> Result<Outcome, Fault> {
        self.taken = 0;
        let mut outputs = [NO_FRAME; crate::manifest::PORTS];
        {
            let (call, desk) = job.raw();
            let call = *call;
            let mut inputs = [NO_FRAME; crate::manifest::PORTS];
            for (index, record) in inputs.iter_mut().enumerate().take(call.input_count as usize) {
                // SAFETY: whoever made the job answers for the array.
                *record = self.record(unsafe { *call.inputs.add(index) }, desk, true)?;
            }
            for (index, record) in outputs.iter_mut().enumerate().take(call.output_count as usize) {
                // SAFETY: as above.
                *record = self.record(unsafe { *call.outputs.add(index) }, desk, false)?;
            }
            let sent = self.sent;
            self.request(|request| {
                (request.op, request.memories) = (op::PROCESS, sent);
                (request.flags, request.now_ns) = (call.flags, call.now_ns);
                (request.input_count, request.output_count) = (call.input_count, call.output_count);
                request.inputs = inputs;
                request.outputs = outputs;
                request.event_count = call.event_count.min(wire::EVENTS as u32);
                for index in 0..request.event_count as usize {
                    // SAFETY: as above; they are of this very type.
                    let event = unsafe { *call.events.add(index) };
                    request.events[index] = EventRecord {
                        id: event.id,
                        reserved: 0,
                        time_ns: event.time_ns,
                        number: event.number,
                    };
                }
            });
        }
        self.ask(self.hangs)?;
        let answer = &*self.answer;
        for (level, text) in sayings(answer) {
            job.log(level, text);
        }
        for figure in answer.figures.iter().take(answer.figure_count as usize) {
            if let Some(name) = text(&figure.name, figure.length) {
                job.raw().1.emit(name, figure.value);
            }
        }
        let outcome = outcome_of(answer)?;
        self.put_out(&outputs, job)?;
        Ok(outcome)
    }

    fn save_state(&mut self) -> Option<Vec<u8>> {
        self.request(|request| request.op = op::SAVE);
        self.ask(self.hangs).ok()?;
        let length = usize::try_from(self.answer.length).ok().filter(|length| *length <= LONGEST_STATE)?;
        Some(self.scratch.bytes().get(wire::SCRATCH / 2..)?.get(..length)?.to_vec())
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), Fault> {
        if state.len() > LONGEST_STATE {
            return Err(Fault::new(FaultKind::BadMedia, "the state is too long"));
        }
        self.scratch.bytes_mut()[..state.len()].copy_from_slice(state);
        self.request(|request| (request.op, request.length) = (op::LOAD, state.len() as u64));
        self.ask(self.hangs)?;
        outcome_of(&self.answer).map(drop)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if !self.is_over {
            self.request(|request| request.op = op::QUIT);
            let _ = rustix::io::write(&self.to_child, &1_u64.to_ne_bytes());
            let timeout = Timespec::try_from(ENDING).ok();
            let _ = poll(&mut [PollFd::new(&self.life, PollFlags::IN)], timeout.as_ref());
        }
        // Of one that has ended both do nothing, or fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes from the first of a frame's planes to the end of its last.
fn extent(view: &abi::Frame) -> usize {
    // SAFETY: whoever made the job answers for `plane_count` planes, one after
    // another.
    let (first, last) = unsafe { (*view.planes, *view.planes.add(view.plane_count as usize - 1)) };
    last.data.addr() - first.data.addr() + last.capacity
}

/// Sets the length of a packet or of data, within the room that it has.
fn set_length(view: &mut abi::Frame, length: u32) {
    if matches!(view.media, abi::SIDETONE_MEDIA_PACKET | abi::SIDETONE_MEDIA_DATA) {
        // SAFETY: whoever made the frame answers for its planes.
        let plane = unsafe { &mut *view.planes };
        plane.width = length.min(u32::try_from(plane.capacity).unwrap_or(u32::MAX));
    }
}

/// Kinds of faults, as answers number them.
const FAULTS: [(FaultKind, &str); 6] = [
    (FaultKind::Library, "the plugin failed"),
    (FaultKind::WrongFormat, "the plugin does not take this format"),
    (FaultKind::BadMedia, "the plugin found damaged media"),
    (FaultKind::Io, "something that the plugin needs failed"),
    (FaultKind::Panic, "the plugin panicked; this is a defect in it"),
    (FaultKind::Late, "the plugin was late"),
];

fn outcome_of(answer: &Answer) -> Result<Outcome, Fault> {
    Ok(match answer.outcome {
        wire::outcome::OK => Outcome::Ok,
        wire::outcome::DROP => Outcome::Drop,
        wire::outcome::NEED_MORE => Outcome::NeedMore,
        wire::outcome::END => Outcome::End,
        other => {
            let place = other.saturating_sub(wire::outcome::FAULT) as usize;
            let (kind, why) = FAULTS.get(place).unwrap_or(&FAULTS[0]);
            return Err(Fault::new(*kind, why));
        }
    })
}

fn sayings(answer: &Answer) -> impl Iterator<Item = (u32, &str)> {
    let said = answer.sayings.iter().take(answer.saying_count as usize);
    said.filter_map(|saying| Some((saying.level, text(&saying.text, saying.length)?)))
}

fn text(bytes: &[u8], length: u32) -> Option<&str> {
    std::str::from_utf8(bytes.get(..length as usize)?).ok()
}
