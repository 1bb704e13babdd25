//! `TestFrame`: a frame in guarded memory, laid out as hosts may; and `Shape`, what
//! it is.

use std::ffi::CString;
use std::ptr;

use sidetone_plugin_abi as abi;

use super::guard::{Edge, Guarded};

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Video { width: u32, height: u32 },
    Audio { rate: u32, channels: u32, samples: u32 },
    Bytes { media: u32, format: u32, length: u32 },
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Video { width, height } => write!(f, "a picture of {width}x{height}"),
            Self::Audio { rate, channels, samples } => {
                write!(f, "{samples} samples of {channels} channels at {rate} Hz")
            }
            Self::Bytes { length, .. } => write!(f, "{length} bytes"),
        }
    }
}

impl Shape {
    /// Of each plane: samples in a row, bytes of one, and rows.
    fn planes(&self) -> Vec<(u32, usize, u32)> {
        match *self {
            Self::Video { width, height } => {
                let half = (width.div_ceil(2), height.div_ceil(2));
                [(width, height), half, half].map(|(width, height)| (width, 1, height)).to_vec()
            }
            Self::Audio { channels, samples, .. } => vec![(samples, 4, 1); channels as usize],
            Self::Bytes { length, .. } => vec![(length, 1, 1)],
        }
    }

    /// How long it lasts, in nanoseconds.
    pub(crate) fn duration(&self) -> u64 {
        match *self {
            Self::Audio { rate, samples, .. } => u64::from(samples) * 1_000_000_000 / u64::from(rate.max(1)),
            _ => 33_333_333,
        }
    }
}

/// How a frame lies in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) edge: Edge,
    /// Bytes between rows beyond what they need: a multiple of 64.
    pub(crate) loose: usize,
    /// What lies there, and in outputs, before the call.
    pub(crate) leftover: u8,
    /// Whether elements of arrays lie further apart, as a later host's may.
    pub(crate) later: bool,
}

/// An element of an array as a later host may have it: larger, and by what makes no
/// element lie where another one was.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Later<T> {
    known: T,
    more: [u64; 1],
}

/// Elements as a host has them, of this version or a later one; and how far apart
/// they lie.
pub(crate) fn lay_out<T: Copy>(elements: &[T], later: bool) -> (Vec<Later<T>>, Vec<T>, u32) {
    if later {
        let all = elements.iter().map(|&known| Later { known, more: [!0; 1] });
        (all.collect(), Vec::new(), size_of::<Later<T>>() as u32)
    } else {
        (Vec::new(), elements.to_vec(), size_of::<T>() as u32)
    }
}

/// Where the elements of `lay_out` begin.
pub(crate) fn start<T>(of: &(Vec<Later<T>>, Vec<T>, u32)) -> *const T {
    if of.1.is_empty() { of.0.as_ptr().cast() } else { of.1.as_ptr() }
}

impl Default for Layout {
    fn default() -> Self {
        Self { edge: Edge::After, loose: 0, leftover: 0x5a, later: false }
    }
}

/// A frame in guarded memory. It stands in a box: the plugin has its address.
pub(crate) struct TestFrame {
    pub(crate) view: abi::Frame,
    planes: (Vec<Later<abi::Plane>>, Vec<abi::Plane>, u32),
    blocks: Vec<Guarded>,
    shape: Shape,
    layout: Layout,
    /// What `view.shape` points to.
    _name: Option<CString>,
}

impl TestFrame {
    /// A frame full of `layout.leftover`; `called` is what faults say of it.
    pub(crate) fn new(shape: &Shape, layout: Layout, data_shape: &str, called: &str) -> Box<Self> {
        let (mut planes, mut blocks) = (Vec::new(), Vec::new());
        for (index, (width, sample, height)) in shape.planes().into_iter().enumerate() {
            let stride = (width as usize * sample).next_multiple_of(64).max(64) + layout.loose;
            let capacity = stride * height as usize;
            let mut block = Guarded::new(capacity, layout.edge, &format!("plane {index} of {called}"));
            block.bytes_mut().fill(layout.leftover);
            planes.push(abi::Plane {
                size: size_of::<abi::Plane>() as u32,
                width,
                height,
                reserved: 0,
                stride,
                capacity,
                data: block.pointer(),
            });
            blocks.push(block);
        }
        let planes = lay_out(&planes, layout.later);
        let name = CString::new(data_shape).ok().filter(|name| !name.is_empty());
        let (media, format, width, height, rate) = match *shape {
            Shape::Video { width, height } => {
                (abi::SIDETONE_MEDIA_VIDEO, abi::SIDETONE_FORMAT_I420, width, height, 0)
            }
            Shape::Audio { rate, .. } => (abi::SIDETONE_MEDIA_AUDIO, abi::SIDETONE_FORMAT_F32, 0, 0, rate),
            Shape::Bytes { media, format, .. } => (media, format, 0, 0, 0),
        };
        let view = abi::Frame {
            size: size_of::<abi::Frame>() as u32,
            media,
            format,
            flags: 0,
            pts_ns: 0,
            captured_ns: 0,
            duration_ns: shape.duration(),
            sequence: 0,
            width,
            height,
            rate,
            plane_count: blocks.len() as u32,
            plane_stride: planes.2,
            reserved: 0,
            planes: ptr::null_mut(),
            shape: name.as_ref().map_or(ptr::null(), |name| name.as_ptr()),
        };
        let shape = shape.clone();
        let mut frame = Box::new(Self { view, planes, blocks, shape, layout, _name: name });
        frame.view.planes = start(&frame.planes).cast_mut();
        frame
    }

    fn planes(&self) -> impl Iterator<Item = abi::Plane> + '_ {
        let (later, now, _) = &self.planes;
        later.iter().map(|plane| plane.known).chain(now.iter().copied())
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Sets its place in the stream.
    pub(crate) fn stamp(&mut self, sequence: u64, at: u64) {
        (self.view.sequence, self.view.pts_ns, self.view.captured_ns) = (sequence, at, at);
    }

    /// Its samples without what lies between rows, plane by plane.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (block, plane, row) in self.rows() {
            for y in 0..plane.height as usize {
                all.extend_from_slice(&block.bytes()[y * plane.stride..][..row]);
            }
        }
        all
    }

    /// Sets its samples; `content` is as long as `content()`.
    pub(crate) fn fill(&mut self, content: &[u8]) {
        let mut rest = content;
        let rows: Vec<_> = self.rows().map(|(_, plane, row)| (plane, row)).collect();
        for (block, (plane, row)) in self.blocks.iter_mut().zip(rows) {
            for y in 0..plane.height as usize {
                let (now, later) = rest.split_at(row.min(rest.len()));
                block.bytes_mut()[y * plane.stride..][..now.len()].copy_from_slice(now);
                rest = later;
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&Guarded, abi::Plane, usize)> {
        let sample = if self.view.media == abi::SIDETONE_MEDIA_AUDIO { 4 } else { 1 };
        self.blocks
            .iter()
            .zip(self.planes())
            .map(move |(block, plane)| (block, plane, (plane.width as usize * sample).min(plane.capacity)))
    }

    /// Another like it, with the same samples and its place in the stream.
    pub(crate) fn copy(&self, called: &str) -> Box<Self> {
        let mut copy = Self::new(&self.shape, self.layout, "", called);
        copy.fill(&self.content());
        let planes = copy.view.planes;
        copy.view = abi::Frame { planes, shape: self.view.shape, ..self.view };
        copy
    }

    /// Whether nothing was written just outside its planes.
    pub(crate) fn is_whole(&self) -> bool {
        self.blocks.iter().all(Guarded::is_whole)
    }

    /// Takes its samples away: whoever uses them from now on faults.
    pub(crate) fn revoke(&mut self) {
        self.blocks.clear();
    }

    /// Lets nobody write it any more, or again.
    pub(crate) fn seal(&self, sealed: bool) {
        self.blocks.iter().for_each(|block| if sealed { block.seal() } else { block.unseal() });
    }
}

/// What is wrong with what a frame says of itself after a call.
pub(crate) fn spoilt(frame: &TestFrame) -> Option<&'static str> {
    let view = &frame.view;
    if !ptr::eq(view.planes, start(&frame.planes)) || view.plane_count as usize != frame.blocks.len() {
        return Some("its list of planes was changed, which is the host's");
    }
    for ((plane, block), (width, _, height)) in frame.planes().zip(&frame.blocks).zip(frame.shape.planes()) {
        if plane.data != block.pointer() || plane.height != height || plane.capacity != block.bytes().len() {
            return Some("a plane's data, height or capacity was changed, which are the host's");
        }
        match frame.shape {
            Shape::Bytes { .. } if plane.width as usize > plane.capacity => {
                return Some("its width is greater than the plane's capacity");
            }
            Shape::Bytes { .. } => {}
            _ if plane.width != width => return Some("a plane's width was changed, which is the host's"),
            _ => {}
        }
    }
    None
}
