//! What passes between the engine and the process of a plugin.
//!
//! Both have one `Page` mapped. The engine writes a `Request` into it and wakes
//! the process through one eventfd; the process works, writes its `Answer`, and
//! wakes the engine through the other. So there is one writer at a time, and the
//! wake orders what was written before it. Frames are told by where they lie, in
//! memories that both have mapped; new memories come through a socket, before the
//! first request that names them.
//!
//! The process may be hostile: its answer is copied before it is looked at, and
//! every number in it is checked.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use sidetone_plugin_abi as abi;

use crate::manifest::PORTS;

/// Parameters that may change between two calls.
pub(super) const EVENTS: usize = 64;
/// Texts that a process may say in an answer, and how long they may be.
pub(super) const SAYINGS: usize = 4;
pub(super) const SAYING: usize = 1_024;
/// Figures in an answer, and how long their names may be.
pub(super) const FIGURES: usize = 8;
pub(super) const NAME: usize = 64;
/// Bytes of the memory for what lies in no memory that both have: its first half
/// is the engine's to fill, its second the process's. It takes up what is used.
pub(super) const SCRATCH: usize = 256 << 20;
/// Memories that a process can have mapped.
pub(super) const MEMORIES: usize = 256;

/// What is asked of the process.
pub(super) mod op {
    /// Make the effect of the `Source` at the beginning of the scratch memory, of a
    /// library that is to be what the `Manifest` behind it says, if there is one.
    pub(in super::super) const MAKE: u32 = 1;
    /// Work on a call.
    pub(in super::super) const PROCESS: u32 = 2;
    /// Save the state to the second half of the scratch memory.
    pub(in super::super) const SAVE: u32 = 3;
    /// Take over the state at the beginning of the scratch memory.
    pub(in super::super) const LOAD: u32 = 4;
    /// End.
    pub(in super::super) const QUIT: u32 = 5;
    /// Load the library that would be needed to `MAKE`, and no more.
    pub(in super::super) const CHECK: u32 = 6;
}

/// How it went, in an answer.
pub(super) mod outcome {
    pub(in super::super) const OK: u32 = 0;
    pub(in super::super) const DROP: u32 = 1;
    pub(in super::super) const NEED_MORE: u32 = 2;
    pub(in super::super) const END: u32 = 3;
    /// A fault, of the kind numbered by how many come before it in `FAULTS`.
    pub(in super::super) const FAULT: u32 = 16;
}

/// A plane, by where it lies.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct PlaneRecord {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) stride: u64,
    pub(super) capacity: u64,
    /// Bytes from the beginning of its memory.
    pub(super) offset: u64,
}

/// A frame, by where it lies.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct FrameRecord {
    /// Whether there is one.
    pub(super) present: u32,
    pub(super) media: u32,
    pub(super) format: u32,
    pub(super) flags: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rate: u32,
    pub(super) plane_count: u32,
    pub(super) pts_ns: u64,
    pub(super) captured_ns: u64,
    pub(super) duration_ns: u64,
    pub(super) sequence: u64,
    /// The memory's id; 0 is the scratch memory. Inputs lie in what is mapped for
    /// reading, outputs in what is mapped for writing.
    pub(super) memory: u64,
    /// With a zero at its end.
    pub(super) shape: [u8; NAME],
    pub(super) planes: [PlaneRecord; PORTS],
}

/// A parameter that changed.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct EventRecord {
    pub(super) id: u32,
    pub(super) reserved: u32,
    pub(super) time_ns: u64,
    pub(super) number: f64,
}

/// What the engine asks.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) op: u32,
    pub(super) flags: u32,
    pub(super) now_ns: u64,
    /// Bytes in the scratch memory.
    pub(super) length: u64,
    pub(super) input_count: u32,
    pub(super) output_count: u32,
    pub(super) event_count: u32,
    /// How many memories have been sent so far, so that the process looks at the
    /// socket only where one waits there.
    pub(super) memories: u32,
    pub(super) events: [EventRecord; EVENTS],
    pub(super) inputs: [FrameRecord; PORTS],
    pub(super) outputs: [FrameRecord; PORTS],
}

/// What goes out through an output.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct OutputRecord {
    /// 0 nothing, 1 the frame of the request, 2 `fresh`.
    pub(super) what: u32,
    /// Of a packet or data: the length.
    pub(super) length: u32,
    pub(super) flags: u32,
    pub(super) reserved: u32,
    /// A frame in the scratch memory.
    pub(super) fresh: FrameRecord,
}

/// A text.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Saying {
    pub(super) level: u32,
    pub(super) length: u32,
    pub(super) text: [u8; SAYING],
}

/// A figure.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct FigureRecord {
    pub(super) value: f64,
    pub(super) length: u32,
    pub(super) reserved: u32,
    pub(super) name: [u8; NAME],
}

/// What the process answers: numbers and nothing else, so that any bytes are one.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) outcome: u32,
    pub(super) saying_count: u32,
    pub(super) figure_count: u32,
    pub(super) reserved: u32,
    /// Bytes in the second half of the scratch memory; `u64::MAX` for no state.
    pub(super) length: u64,
    pub(super) outputs: [OutputRecord; PORTS],
    pub(super) sayings: [Saying; SAYINGS],
    pub(super) figures: [FigureRecord; FIGURES],
}

/// What both have mapped.
#[repr(C)]
pub(super) struct Page {
    pub(super) request: Request,
    pub(super) answer: Answer,
}

pub(super) const NO_PLANE: PlaneRecord =
    PlaneRecord { width: 0, height: 0, stride: 0, capacity: 0, offset: 0 };
pub(super) const NO_FRAME: FrameRecord = FrameRecord {
    present: 0,
    media: 0,
    format: 0,
    flags: 0,
    width: 0,
    height: 0,
    rate: 0,
    plane_count: 0,
    pts_ns: 0,
    captured_ns: 0,
    duration_ns: 0,
    sequence: 0,
    memory: 0,
    shape: [0; NAME],
    planes: [NO_PLANE; PORTS],
};

impl Answer {
    /// Nothing yet.
    pub(super) fn empty() -> Box<Self> {
        // SAFETY: it is made of numbers alone, for which zeros will do.
        Box::new(unsafe { MaybeUninit::zeroed().assume_init() })
    }

    /// Becomes what stands at `shared`, where another process may write meanwhile:
    /// each word is read once, so that what is looked at later is what was checked.
    /// By words: a volatile read of the whole is compiled to one of every byte, some
    /// 130 KB of instructions in a row, which took 50 µs a call.
    ///
    /// # Safety
    /// There is an answer at `shared`, mapped and aligned.
    pub(super) unsafe fn take(&mut self, shared: *const Self) {
        const { assert!(size_of::<Self>().is_multiple_of(8) && align_of::<Self>() == 8) };
        let (to, from) = (ptr::from_mut(self).cast::<u64>(), shared.cast::<u64>());
        for word in 0..size_of::<Self>() / 8 {
            // SAFETY: both are so long, by the assertion and the caller.
            unsafe { to.add(word).write(from.add(word).read_volatile()) };
        }
    }
}

impl FrameRecord {
    /// Of `frame`, whose memory `memory` has `base` at its offset `offset`.
    ///
    /// # Safety
    /// The frame's planes are there, and lie after `base`.
    pub(super) unsafe fn of(frame: &abi::Frame, memory: u64, base: *const u8, offset: usize) -> Self {
        let mut record = Self {
            present: 1,
            media: frame.media,
            format: frame.format,
            flags: frame.flags,
            width: frame.width,
            height: frame.height,
            rate: frame.rate,
            plane_count: frame.plane_count.min(PORTS as u32),
            pts_ns: frame.pts_ns,
            captured_ns: frame.captured_ns,
            duration_ns: frame.duration_ns,
            sequence: frame.sequence,
            memory,
            ..NO_FRAME
        };
        if !frame.shape.is_null() {
            // SAFETY: the caller's; names of shapes end with a zero.
            let name = unsafe { std::ffi::CStr::from_ptr(frame.shape) }.to_bytes();
            let length = name.len().min(NAME - 1);
            record.shape[..length].copy_from_slice(&name[..length]);
        }
        for index in 0..record.plane_count as usize {
            // SAFETY: the caller's.
            let plane = unsafe { *frame.planes.add(index) };
            record.planes[index] = PlaneRecord {
                width: plane.width,
                height: plane.height,
                stride: plane.stride as u64,
                capacity: plane.capacity as u64,
                offset: (plane.data.addr() - base.addr() + offset) as u64,
            };
        }
        record
    }
}

/// A memory that the process is to map, and those that it is to forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NewMemory {
    pub(super) id: u64,
    pub(super) len: u64,
    /// Whether the process may write to it: memory that it is to read and to write
    /// comes twice.
    pub(super) writable: bool,
    /// Those that it is to forget, by id, however they were mapped.
    pub(super) forget: Vec<u64>,
}

impl NewMemory {
    pub(super) fn send(&self, socket: impl AsFd, memory: BorrowedFd<'_>) -> io::Result<()> {
        let head = [self.id, self.len, u64::from(self.writable)];
        let bytes: Vec<u8> = head.iter().chain(&self.forget).flat_map(|word| word.to_le_bytes()).collect();
        send(socket, &bytes, &[memory])
    }

    /// The next one that waits; `None` where none does.
    pub(super) fn receive(socket: impl AsFd) -> io::Result<Option<(Self, OwnedFd)>> {
        let mut bytes = [0; 8 * (3 + MEMORIES)];
        let Some((length, mut fds)) = receive(socket, &mut bytes, RecvFlags::DONTWAIT)? else {
            return Ok(None);
        };
        let words: Vec<u64> = bytes[..length]
            .chunks_exact(8)
            .map(|word| word.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            .collect();
        let ([id, len, writable, forget @ ..], Some(fd)) = (&words[..], fds.pop()) else {
            return Err(io::Error::other("half a message"));
        };
        Ok(Some((Self { id: *id, len: *len, writable: *writable != 0, forget: forget.to_vec() }, fd)))
    }
}

/// Sends a message with descriptors.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors"));
    }
    // Never waits: a process that takes nothing must not hold the lane up.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

/// Receives a message with descriptors; `None` where none waits, or the other end
/// is gone.
pub(super) fn receive(
    socket: impl AsFd,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = match rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(bytes)],
        &mut control,
        flags | RecvFlags::CMSG_CLOEXEC,
    ) {
        Err(rustix::io::Errno::AGAIN) => return Ok(None),
        other => other?,
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((message.bytes > 0).then_some((message.bytes, fds)))
}
