//! The host that an effect under test believes to be in.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CString;

use sidetone_plugin_abi as abi;

use super::media::{Bytes, Frame, Picture, Sound};
use super::owned;
use crate::Level;

/// What nobody may write over.
const PATTERN: u8 = 0xA5;
/// Bytes before and after each plane that nobody may write to.
const GUARD: usize = 256;

#[derive(Clone, Copy)]
#[repr(align(64))]
#[allow(dead_code)] // it is read as bytes
struct Line([u8; 64]);

/// A frame in memory, with guards around its planes and padding in its rows.
pub(super) struct Lent {
    frame: Box<abi::Frame>,
    _planes: Vec<abi::Plane>,
    memory: Vec<PlaneMemory>,
    _shape: Option<CString>,
    like: Frame,
}

struct PlaneMemory {
    lines: *mut [Line],
    before: Vec<u8>,
    capacity: usize,
    stride: usize,
    height: usize,
}

impl PlaneMemory {
    fn new(row_bytes: usize, height: usize, bytes: &[u8]) -> Self {
        let stride = row_bytes.next_multiple_of(64) + 64;
        let capacity = if height == 1 { row_bytes } else { stride * height };
        let length = GUARD * 2 + capacity;
        let lines = Box::into_raw(vec![Line([PATTERN; 64]); length.div_ceil(64)].into_boxed_slice());
        let mut made = Self { lines, before: Vec::new(), capacity, stride, height };
        for (row, bytes) in bytes.chunks(row_bytes.max(1)).enumerate() {
            made.bytes_mut()[GUARD + row * stride..][..bytes.len()].copy_from_slice(bytes);
        }
        made.before = made.bytes().to_vec();
        made
    }

    fn data(&self) -> *mut u8 {
        self.lines.cast::<u8>().wrapping_add(GUARD)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the lines are this value's own; the effect writes to them only inside
        // its call, when nobody looks.
        unsafe { core::slice::from_raw_parts(self.lines.cast::<u8>(), self.lines.len() * 64) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(self.lines.cast::<u8>(), self.lines.len() * 64) }
    }

    fn rows(&self, row_bytes: usize) -> Vec<u8> {
        let row = |row: usize| &self.bytes()[GUARD + row * self.stride..][..row_bytes];
        (0..self.height).flat_map(row).copied().collect()
    }
}

impl Drop for PlaneMemory {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`, once.
        drop(unsafe { Box::from_raw(self.lines) });
    }
}

impl Lent {
    pub(super) fn of(like: &Frame, pts_ns: u64, sequence: u64) -> Self {
        let planes = like.planes();
        let mut memory = Vec::new();
        let mut tables = Vec::new();
        for (width, sample, bytes) in planes {
            let height = if let Frame::Picture(_) = like { bytes.len() / width } else { 1 };
            let plane = PlaneMemory::new(width * sample, height, &bytes);
            tables.push(abi::Plane {
                size: size_of::<abi::Plane>() as u32,
                width: width as u32,
                height: height as u32,
                reserved: 0,
                stride: plane.stride,
                capacity: plane.capacity,
                data: plane.data(),
            });
            memory.push(plane);
        }
        let (width, height) =
            if let Frame::Picture(picture) = like { (picture.width, picture.height) } else { (0, 0) };
        let (rate, duration_ns) = match like {
            Frame::Sound(sound) => {
                let length = sound.channels.first().map_or(0, Vec::len) as u64;
                (sound.rate, length * 1_000_000_000 / u64::from(sound.rate.max(1)))
            }
            _ => (0, 0),
        };
        let (shape, key) = match like {
            Frame::Bytes(bytes) => (bytes.shape.clone(), bytes.key),
            _ => (None, false),
        };
        let shape = shape.map(|shape| CString::new(shape).expect("a shape without zero bytes"));
        let frame = Box::new(abi::Frame {
            size: size_of::<abi::Frame>() as u32,
            media: like.media(),
            format: like.format(),
            flags: if key { abi::SIDETONE_FRAME_KEY } else { 0 },
            pts_ns,
            captured_ns: pts_ns,
            duration_ns,
            sequence,
            width,
            height,
            rate,
            plane_count: tables.len() as u32,
            plane_stride: size_of::<abi::Plane>() as u32,
            reserved: 0,
            planes: tables.as_mut_ptr(),
            shape: shape.as_ref().map_or(ptr::null(), |shape| shape.as_ptr()),
        });
        Self { frame, _planes: tables, memory, _shape: shape, like: like.clone() }
    }

    pub(super) fn as_ptr(&self) -> *mut abi::Frame {
        ptr::from_ref(&*self.frame).cast_mut()
    }

    /// Panics if something was written where it may not be.
    pub(super) fn check(&self, what: &str, borrowed: bool) {
        for (index, plane) in self.memory.iter().enumerate() {
            let (bytes, end) = (plane.bytes(), GUARD + plane.capacity);
            let inside = |at: usize| !borrowed && (GUARD..end).contains(&at);
            if let Some(at) = (0..bytes.len()).find(|&at| bytes[at] != plane.before[at] && !inside(at)) {
                let place = if (GUARD..end).contains(&at) {
                    "it was written to"
                } else {
                    "it was written outside of"
                };
                let at = at as i64 - GUARD as i64;
                panic!("{what} was damaged: {place}, plane {index}, byte {at} of {}", plane.capacity);
            }
        }
    }

    /// What it holds now.
    pub(super) fn read(&self) -> Frame {
        let width = |index: usize| self.plane(index).width as usize;
        match &self.like {
            Frame::Picture(picture) => Frame::Picture(Picture {
                planes: core::array::from_fn(|index| self.memory[index].rows(width(index))),
                ..picture.clone()
            }),
            Frame::Sound(sound) => {
                let channel = |index: usize| {
                    let bytes = self.memory[index].rows(width(index) * 4);
                    bytes.chunks_exact(4).map(|s| f32::from_ne_bytes([s[0], s[1], s[2], s[3]])).collect()
                };
                Frame::Sound(Sound {
                    rate: sound.rate,
                    channels: (0..self.memory.len()).map(channel).collect(),
                })
            }
            Frame::Bytes(bytes) => {
                let length = width(0);
                assert!(length <= self.memory[0].capacity, "a packet is longer than its memory");
                let key = self.frame().flags & abi::SIDETONE_FRAME_KEY != 0;
                Frame::Bytes(Bytes { bytes: self.memory[0].rows(length), key, ..bytes.clone() })
            }
        }
    }

    fn frame(&self) -> abi::Frame {
        // SAFETY: its own box; read through a pointer, since the effect writes there.
        unsafe { self.as_ptr().read_volatile() }
    }

    fn plane(&self, index: usize) -> abi::Plane {
        // SAFETY: its own planes, as many as it has memory for.
        unsafe { self.frame().planes.add(index).read_volatile() }
    }
}

/// What its functions get through the table's context.
#[derive(Default)]
struct Record {
    now_ns: u64,
    params: BTreeMap<u32, f64>,
    logs: Vec<(Level, String)>,
    figures: BTreeMap<String, f64>,
    /// Inputs of the present call: what may be kept, by address.
    inputs: Vec<(usize, Frame, u64, u64)>,
    kept: Vec<Lent>,
    fresh: Vec<Lent>,
    inside: bool,
    sequence: u64,
}

/// The host.
pub(super) struct Host {
    table: abi::Host,
    record: Box<RefCell<Record>>,
    seen: (Vec<(Level, String)>, BTreeMap<String, f64>),
    pub(super) now_ns: u64,
    pub(super) params: BTreeMap<u32, f64>,
}

impl Host {
    pub(super) fn new() -> Box<Self> {
        let record = Box::new(RefCell::new(Record::default()));
        let table = abi::Host {
            size: size_of::<abi::Host>() as u32,
            abi: abi::SIDETONE_ABI,
            context: ptr::from_ref(&*record).cast_mut().cast(),
            log,
            now_ns,
            frame_new,
            frame_retain,
            frame_release,
            emit,
            param,
            extension,
        };
        Box::new(Self { table, record, seen: Default::default(), now_ns: 0, params: BTreeMap::new() })
    }

    pub(super) fn table(&self) -> *const abi::Host {
        &self.table
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        let mut record = self.record.borrow_mut();
        record.sequence += 1;
        record.sequence - 1
    }

    pub(super) fn begin<'a>(&mut self, inputs: impl Iterator<Item = &'a Lent>) {
        let mut record = self.record.borrow_mut();
        record.now_ns = self.now_ns;
        record.params.clone_from(&self.params);
        record.inputs = inputs
            .map(|lent| (lent.as_ptr() as usize, lent.like.clone(), lent.frame.pts_ns, lent.frame.sequence))
            .collect();
        record.inside = true;
    }

    /// Ends a call: gives the frames that it made and put out.
    pub(super) fn end(&mut self, outputs: &[*mut abi::Frame]) -> Vec<Lent> {
        let mut record = self.record.borrow_mut();
        record.inside = false;
        let fresh = std::mem::take(&mut record.fresh);
        let (out, left): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|frame| outputs.contains(&frame.as_ptr()));
        assert!(left.is_empty(), "a frame was made, but neither put out nor released");
        record.kept.iter().for_each(|frame| frame.check("a frame that is kept", true));
        drop(record);
        self.look();
        out
    }

    fn look(&mut self) {
        let record = self.record.borrow();
        self.seen = (record.logs.clone(), record.figures.clone());
    }

    pub(super) fn logs(&self) -> &[(Level, String)] {
        &self.seen.0
    }

    pub(super) fn figures(&self) -> &BTreeMap<String, f64> {
        &self.seen.1
    }

    pub(super) fn kept(&self) -> usize {
        self.record.borrow().kept.len()
    }

    /// The last thing that it logged as an error.
    pub(super) fn said(&mut self) -> String {
        self.look();
        let errors = self.seen.0.iter().rev().find(|(level, _)| *level == Level::Error);
        errors.map_or_else(|| "it did not say why".to_owned(), |(_, text)| text.clone())
    }
}

/// # Safety
/// `host` is a table that `Host::new` has made, and its `Host` is there.
unsafe fn record<'a>(host: *const abi::Host) -> &'a RefCell<Record> {
    // SAFETY: by the caller.
    unsafe { &*(*host).context.cast::<RefCell<Record>>() }
}

unsafe extern "C" fn log(host: *const abi::Host, level: u32, text: *const c_char) {
    let level = match level {
        abi::SIDETONE_LOG_ERROR => Level::Error,
        abi::SIDETONE_LOG_WARNING => Level::Warning,
        abi::SIDETONE_LOG_INFO => Level::Info,
        _ => Level::Debug,
    };
    // SAFETY: the kit hands on the table that it was given.
    unsafe { record(host) }.borrow_mut().logs.push((level, owned(text)));
}

unsafe extern "C" fn now_ns(host: *const abi::Host) -> u64 {
    // SAFETY: as in `log`.
    unsafe { record(host) }.borrow().now_ns
}

unsafe extern "C" fn frame_new(
    host: *const abi::Host,
    _port: u32,
    format: *const abi::Format,
    from: *const abi::Frame,
) -> *mut abi::Frame {
    // SAFETY: as in `log`; the kit gives a format.
    let (mut record, format) = unsafe { (record(host).borrow_mut(), *format) };
    assert!(record.inside, "frame_new was called outside process");
    let like = match format.media {
        abi::SIDETONE_MEDIA_VIDEO => Picture::filled(format.width, format.height, [0x5A; 3]).into(),
        abi::SIDETONE_MEDIA_AUDIO => Frame::Sound(Sound {
            rate: format.rate,
            channels: vec![vec![f32::NAN; format.length as usize]; format.channels as usize],
        }),
        media => Frame::Bytes(Bytes {
            format: format.format,
            shape: (media == abi::SIDETONE_MEDIA_DATA).then(String::new),
            bytes: vec![0x5A; format.length as usize],
            key: false,
        }),
    };
    // SAFETY: null, or a frame that is kept.
    let from = if from.is_null() { None } else { Some(unsafe { *from }) };
    let times = from.map(|from| (from.pts_ns, from.sequence));
    let (pts_ns, sequence) =
        times.or_else(|| record.inputs.first().map(|input| (input.2, input.3))).unwrap_or_default();
    record.fresh.push(Lent::of(&like, pts_ns, sequence));
    record.fresh.last().map_or(ptr::null_mut(), Lent::as_ptr)
}

unsafe extern "C" fn frame_retain(host: *const abi::Host, frame: *const abi::Frame) -> *const abi::Frame {
    // SAFETY: as in `log`.
    let mut record = unsafe { record(host) }.borrow_mut();
    assert!(record.inside, "frame_retain was called outside process");
    let input = record.inputs.iter().find(|input| input.0 == frame as usize);
    let (_, like, pts_ns, sequence) = input.expect("only inputs can be kept").clone();
    if record.kept.len() >= 64 {
        return ptr::null();
    }
    record.kept.push(Lent::of(&like, pts_ns, sequence));
    record.kept.last().map_or(ptr::null(), |kept| kept.as_ptr().cast_const())
}

unsafe extern "C" fn frame_release(host: *const abi::Host, frame: *const abi::Frame) {
    // SAFETY: as in `log`.
    let mut record = unsafe { record(host) }.borrow_mut();
    let before = record.kept.len() + record.fresh.len();
    record.kept.retain(|kept| kept.as_ptr().cast_const() != frame);
    record.fresh.retain(|fresh| fresh.as_ptr().cast_const() != frame);
    assert_eq!(record.kept.len() + record.fresh.len() + 1, before, "released what was not kept");
}

unsafe extern "C" fn emit(host: *const abi::Host, name: *const c_char, value: f64) {
    // SAFETY: as in `log`.
    unsafe { record(host) }.borrow_mut().figures.insert(owned(name), value);
}

unsafe extern "C" fn param(host: *const abi::Host, id: u32) -> f64 {
    // SAFETY: as in `log`.
    unsafe { record(host) }.borrow().params.get(&id).copied().unwrap_or(0.0)
}

unsafe extern "C" fn extension(_host: *const abi::Host, _name: *const c_char) -> *const c_void {
    ptr::null()
}
