//! `Frame`: a pointer to a `Header` and a counted, pooled buffer.
//!
//! A frame moves from node to node as a pointer: what it points to stays where it
//! is. It is cloned by giving the clone a header of its own and counting the
//! buffer. A writer that is not alone copies first, into another buffer of the
//! same pool.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub use crate::frame_pool::{FramePool, WhenDry};
use crate::ledger::Trail;
use crate::media_type::{Codec, Medium, PixelFormat, Size};
use crate::pool::{Placed, Places, Pooled};
use crate::shared_memory::{Place, SharedPlace};
use crate::timestamp::{Timestamp, duration_nanos};

/// Bytes that every plane, channel and row begins on a multiple of.
pub const ALIGN: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Block([u8; ALIGN]);

// SAFETY: `Block` is a `repr(C)` array of bytes that fills its alignment, so it
// has no padding and every bit pattern is valid.
#[allow(unsafe_code)]
unsafe impl bytemuck::Zeroable for Block {}
// SAFETY: as above; it is `Copy` and has no lifetime.
#[allow(unsafe_code)]
unsafe impl bytemuck::Pod for Block {}

/// The storage of one frame: whole blocks of 64 aligned bytes, which another
/// process may be able to map.
pub struct Buffer {
    storage: Storage,
    /// Whether a frame in it goes nowhere, because its pool is dry.
    is_spare: bool,
}

enum Storage {
    Own(Vec<Block>),
    Shared(Place),
}

impl Buffer {
    /// At least `bytes` zero bytes. \[control\]
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { storage: Storage::Own(vec![Block([0; ALIGN]); bytes.div_ceil(ALIGN)]), is_spare: false }
    }

    /// What another process can map. \[control\]
    pub(crate) const fn shared(place: Place) -> Self {
        Self { storage: Storage::Shared(place), is_spare: false }
    }

    /// The same, but a frame in it goes nowhere. \[control\]
    pub(crate) fn spare(bytes: usize) -> Self {
        Self { is_spare: true, ..Self::new(bytes) }
    }

    /// How many bytes it holds. \[any\]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes().len()
    }

    fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Own(blocks) => bytemuck::cast_slice(blocks),
            Storage::Shared(place) => place.bytes(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Storage::Own(blocks) => bytemuck::cast_slice_mut(blocks),
            Storage::Shared(place) => place.bytes_mut(),
        }
    }
}

/// What is true of one frame beside its contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// A decoder can start here.
    pub const KEY: Self = Self(1);
    /// The frame that should stand here never came. Its payload, if any, is that
    /// of the frame after it, from which in-band FEC may recover this one.
    pub const LOST: Self = Self(2);
    /// Time or contents do not continue from the frame before.
    pub const DISCONTINUITY: Self = Self(4);
    /// The sender had nothing to say (Opus DTX).
    pub const SILENCE: Self = Self(8);
    /// The last RTP packet of a picture, or the first of a talk spurt.
    pub const MARKER: Self = Self(16);

    /// Each flag a bit, as plugins see them: [`Flags::KEY`] is 1. \[any\]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The same with the bits of `mask` as in `bits`. \[any\]
    #[must_use]
    pub const fn with_bits(self, bits: u8, mask: Self) -> Self {
        Self(self.0 & !mask.0 | bits & mask.0)
    }

    /// Whether every flag of `other` is set. \[any\]
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the flags of `other` set. \[any\]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// With the flags of `other` cleared. \[any\]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// When a frame was captured, where it stands, and where its time went.
///
/// A node that makes one frame from another hands the header on: move it to
/// keep the trail, clone it to give each of several frames a copy.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// Position on the sender's media timeline.
    pub pts: Timestamp,
    /// When its first sample was captured, on this engine's clock.
    pub captured: Timestamp,
    /// How long it lasts; zero where that is not known.
    pub duration: Duration,
    /// Counts up by one from each source; a gap is a loss.
    pub sequence: u64,
    /// What is true of it.
    pub flags: Flags,
    /// How loud its sound is, as RFC 6464 has it: from 0, the loudest, to 127 dB below
    /// that, which is silence; `None` where nobody has measured it.
    pub loudness: Option<u8>,
    /// Where its time went so far; `None` where nobody follows it.
    pub(crate) trail: Option<Trail>,
}

impl Header {
    /// A header of a frame captured at `captured`, followed by nobody. Inside a
    /// node use `Context::born`, which follows it. \[any\]
    #[must_use]
    pub fn new(captured: Timestamp, duration: Duration) -> Self {
        Self { pts: captured, captured, duration, ..Self::default() }
    }

    /// The header of what begins `by` later in the same sound: capture time,
    /// position and the ledger's beginning move together. \[real-time\]
    pub fn advance(&mut self, by: Duration) {
        self.pts += by;
        self.captured += by;
        if let Some(trail) = &mut self.trail {
            trail.advance(by);
        }
    }
}

/// The layout of a raw audio frame: planar 32-bit float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// Samples per second.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
    /// Samples per channel.
    pub samples: u32,
}

impl AudioFormat {
    /// How long it lasts. \[any\]
    #[must_use]
    pub fn duration(&self) -> Duration {
        Timestamp::ZERO.after_units(u64::from(self.samples), self.rate).since(Timestamp::ZERO)
    }

    /// Bytes from the first sample of one channel to that of the next. \[any\]
    #[must_use]
    pub const fn channel_bytes(&self) -> usize {
        self.channel_stride() * size_of::<f32>()
    }

    const fn channel_stride(&self) -> usize {
        (self.samples as usize).next_multiple_of(ALIGN / size_of::<f32>())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.channel_bytes() * usize::from(self.channels)
    }
}

/// The layout of a raw picture: planes one after another, each row beginning on
/// a multiple of [`ALIGN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoFormat {
    /// Kinds of planes.
    pub pixel: PixelFormat,
    /// Size of the luma plane.
    pub size: Size,
}

impl VideoFormat {
    /// An I420 picture. \[any\]
    #[must_use]
    pub const fn i420(size: Size) -> Self {
        Self { pixel: PixelFormat::I420, size }
    }

    /// Width and height of plane `index` (0 luma, 1 and 2 chroma). \[any\]
    #[must_use]
    pub const fn plane_size(&self, index: usize) -> Size {
        if index == 0 {
            self.size
        } else {
            Size::new(self.size.width.div_ceil(2), self.size.height.div_ceil(2))
        }
    }

    /// Bytes from one row of plane `index` to the next. \[any\]
    #[must_use]
    pub const fn stride(&self, index: usize) -> usize {
        (self.plane_size(index).width as usize).next_multiple_of(ALIGN)
    }

    fn plane_bytes(&self, index: usize) -> usize {
        self.stride(index) * self.plane_size(index).height as usize
    }

    pub(crate) fn bytes(&self) -> usize {
        (0..3).map(|index| self.plane_bytes(index)).sum()
    }
}

/// What a frame's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Raw sound.
    Audio(AudioFormat),
    /// A raw picture.
    Video(VideoFormat),
    /// A packet of a codec, `len` bytes.
    Packet {
        /// Which codec.
        codec: Codec,
        /// Bytes in use.
        len: usize,
    },
    /// An RTP packet of `len` bytes, header included.
    Rtp {
        /// Which codec's payload.
        codec: Codec,
        /// Bytes in use.
        len: usize,
    },
    /// Data of a named shape, `len` bytes: see [`data_shape`](crate::data_shape).
    Data {
        /// Which shape.
        shape: &'static str,
        /// Bytes in use.
        len: usize,
    },
}

impl Format {
    /// Audio or video; what data there is tells of pictures. \[any\]
    #[must_use]
    pub const fn medium(&self) -> Medium {
        match self {
            Self::Audio(_) => Medium::Audio,
            Self::Video(_) | Self::Data { .. } => Medium::Video,
            Self::Packet { codec, .. } | Self::Rtp { codec, .. } => codec.medium(),
        }
    }

    /// Bytes that a buffer needs to hold it. \[any\]
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Audio(audio) => audio.bytes(),
            Self::Video(video) => video.bytes(),
            Self::Packet { len, .. } | Self::Rtp { len, .. } | Self::Data { len, .. } => *len,
        }
    }
}

/// A plane to read.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    /// `stride * height` bytes; only the first `width` of each row are picture.
    pub data: &'a [u8],
    /// Bytes from row to row.
    pub stride: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl<'a> Plane<'a> {
    /// Row `y`, `width` bytes.
    ///
    /// # Panics
    /// If `y` is not below `height`.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..][..self.width]
    }
}

/// A plane to write; shapes as in [`Plane`].
pub struct PlaneMut<'a> {
    /// `stride * height` bytes.
    pub data: &'a mut [u8],
    /// Bytes from row to row.
    pub stride: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl PlaneMut<'_> {
    /// Row `y`, `width` bytes.
    ///
    /// # Panics
    /// If `y` is not below `height`.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.data[y * self.stride..][..self.width]
    }

    /// The same plane, to read.
    #[must_use]
    pub fn as_plane(&self) -> Plane<'_> {
        Plane { data: self.data, stride: self.stride, width: self.width, height: self.height }
    }
}

/// A frame: a header, a format, and a counted buffer. \[any\]
pub struct Frame(Placed<FrameBody>);

/// What a frame points to.
#[derive(Clone)]
pub struct FrameBody {
    /// When, where, and where its time went.
    pub header: Header,
    format: Format,
    buffer: Pooled<Buffer>,
}

impl FrameBody {
    fn unpooled(header: Header, format: Format) -> Self {
        Self { header, format, buffer: Pooled::unpooled(Buffer::new(format.bytes())) }
    }
}

impl Deref for Frame {
    type Target = FrameBody;

    #[inline]
    fn deref(&self) -> &FrameBody {
        &self.0
    }
}

impl DerefMut for Frame {
    #[inline]
    fn deref_mut(&mut self) -> &mut FrameBody {
        &mut self.0
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        Self(self.0.beside(FrameBody::clone(self)))
    }
}

impl Frame {
    /// A frame in a buffer of its own; allocates. \[control\]
    #[must_use]
    pub fn unpooled(header: Header, format: Format) -> Self {
        Self(Placed::unpooled(FrameBody::unpooled(header, format)))
    }

    /// The same, but it and its clones stand in `bodies`. \[control\]
    pub(crate) fn placed(bodies: &Places<FrameBody>, header: Header, format: Format) -> Self {
        Self(Placed::new(bodies, FrameBody::unpooled(header, format)))
    }

    /// A frame in `buffer`, which holds `format.bytes()`, that stands in `bodies`. \[real-time\]
    pub(crate) fn in_buffer(
        bodies: &Places<FrameBody>,
        header: Header,
        format: Format,
        buffer: Pooled<Buffer>,
    ) -> Self {
        Self(Placed::new(bodies, FrameBody { header, format, buffer }))
    }

    /// The header alone: what is made of the frame goes on with it. \[real-time\]
    #[must_use]
    pub fn into_header(self) -> Header {
        self.0.into_inner().header
    }

    /// What its bytes are. \[any\]
    #[must_use]
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// The sound's layout, if it is sound. \[any\]
    #[must_use]
    pub fn audio(&self) -> Option<AudioFormat> {
        match self.format {
            Format::Audio(audio) => Some(audio),
            _ => None,
        }
    }

    /// The picture's layout, if it is a picture. \[any\]
    #[must_use]
    pub fn video(&self) -> Option<VideoFormat> {
        match self.format {
            Format::Video(video) => Some(video),
            _ => None,
        }
    }

    /// The bytes, if they are data of `shape`. \[any\]
    #[must_use]
    pub fn data(&self, shape: &str) -> Option<&[u8]> {
        matches!(self.format, Format::Data { shape: known, .. } if known == shape).then(|| self.bytes())
    }

    /// Whether no other frame shares the buffer, so that writing copies
    /// nothing. \[any\]
    pub fn is_alone(&mut self) -> bool {
        self.buffer.get_mut().is_some()
    }

    /// Whether it goes nowhere, because its pool is dry. \[real-time\]
    #[inline]
    pub(crate) fn is_spare(&self) -> bool {
        self.buffer.is_spare
    }

    /// Where another process finds its bytes: the same that [`Frame::bytes`] gives,
    /// from there on. `None` where they lie in memory of this process alone. \[any\]
    #[must_use]
    pub fn shared_place(&self) -> Option<SharedPlace<'_>> {
        match &self.buffer.storage {
            Storage::Own(_) => None,
            Storage::Shared(place) => Some(place.shared()),
        }
    }

    /// The whole buffer, if no other frame shares it. \[real-time\]
    #[inline]
    pub fn alone_mut(&mut self) -> Option<&mut [u8]> {
        self.buffer.get_mut().map(Buffer::bytes_mut)
    }

    /// The bytes in use: a packet's payload, or all planes or channels with
    /// their padding. \[any\]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[..self.format.bytes()]
    }

    /// The bytes in use, to write; copies first if the buffer is shared. \[real-time\]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let used = self.format.bytes();
        &mut self.storage_mut()[..used]
    }

    /// The whole buffer of a packet or of data, to write into before [`Frame::set_len`];
    /// copies first if the buffer is shared. \[real-time\]
    pub fn storage_mut(&mut self) -> &mut [u8] {
        if self.buffer.get_mut().is_none() {
            let capacity = self.buffer.capacity();
            let mut copy = self.buffer.sibling().unwrap_or_else(|| Pooled::unpooled(Buffer::new(capacity)));
            if let Some(to) = copy.get_mut() {
                to.bytes_mut()[..capacity].copy_from_slice(self.buffer.bytes());
            }
            self.buffer = copy;
        }
        // The copy above is a fresh handle, so there is always one to be had.
        self.buffer.get_mut().map_or(&mut [], Buffer::bytes_mut)
    }

    /// Sets how many bytes of a packet or of data are in use, at most the buffer's
    /// capacity; sound and pictures are left alone. \[real-time\]
    #[inline]
    pub fn set_len(&mut self, new: usize) {
        let FrameBody { format, buffer, .. } = &mut **self;
        if let Format::Packet { len, .. } | Format::Rtp { len, .. } | Format::Data { len, .. } = format {
            *len = new.min(buffer.capacity());
        }
    }

    /// Makes a picture black (Y 16, Cb and Cr 128), sound silent, and zeroes of
    /// all else; copies first if the buffer is shared. \[real-time\]
    pub fn blank(&mut self) {
        if let Format::Video(VideoFormat { pixel: PixelFormat::I420, .. }) = self.format {
            for (plane, sample) in self.planes_mut().into_iter().zip([16, 128, 128]) {
                plane.data.fill(sample);
            }
        } else {
            self.bytes_mut().fill(0);
        }
    }

    /// The samples of channel `index`.
    ///
    /// # Panics
    /// If the frame is not sound or has no such channel.
    #[must_use]
    pub fn channel(&self, index: usize) -> &[f32] {
        let (start, end) = self.channel_range(index);
        &bytemuck::cast_slice(self.buffer.bytes())[start..end]
    }

    /// The samples of channel `index`, to write; copies first if the buffer is
    /// shared.
    ///
    /// # Panics
    /// If the frame is not sound or has no such channel.
    pub fn channel_mut(&mut self, index: usize) -> &mut [f32] {
        let (start, end) = self.channel_range(index);
        &mut bytemuck::cast_slice_mut(self.storage_mut())[start..end]
    }

    /// Makes channel `to` the same as channel `from`; copies the buffer first if
    /// it is shared. \[real-time\]
    ///
    /// # Panics
    /// If the frame is not sound or has no such channels.
    pub fn copy_channel(&mut self, from: usize, to: usize) {
        let ((start, end), (to, _)) = (self.channel_range(from), self.channel_range(to));
        bytemuck::cast_slice_mut::<_, f32>(self.storage_mut()).copy_within(start..end, to);
    }

    fn channel_range(&self, index: usize) -> (usize, usize) {
        let Format::Audio(audio) = self.format else { panic!("the frame is not sound") };
        assert!(index < usize::from(audio.channels), "the frame has no channel {index}");
        let start = index * audio.channel_stride();
        (start, start + audio.samples as usize)
    }

    /// Plane `index` of a picture (0 luma, 1 Cb, 2 Cr).
    ///
    /// # Panics
    /// If the frame is not a picture or `index` is above 2.
    #[must_use]
    pub fn plane(&self, index: usize) -> Plane<'_> {
        let Format::Video(video) = self.format else { panic!("the frame is not a picture") };
        assert!(index < 3, "a picture has three planes");
        let start: usize = (0..index).map(|before| video.plane_bytes(before)).sum();
        let size = video.plane_size(index);
        Plane {
            data: &self.buffer.bytes()[start..start + video.plane_bytes(index)],
            stride: video.stride(index),
            width: size.width as usize,
            height: size.height as usize,
        }
    }

    /// All three planes of a picture, to write; copies first if the buffer is
    /// shared.
    ///
    /// # Panics
    /// If the frame is not a picture.
    pub fn planes_mut(&mut self) -> [PlaneMut<'_>; 3] {
        let Format::Video(video) = self.format else { panic!("the frame is not a picture") };
        let (luma, chroma) = self.storage_mut().split_at_mut(video.plane_bytes(0));
        let (cb, rest) = chroma.split_at_mut(video.plane_bytes(1));
        let cr = &mut rest[..video.plane_bytes(2)];
        let mut index = 0;
        [luma, cb, cr].map(|data| {
            let size = video.plane_size(index);
            let stride = video.stride(index);
            index += 1;
            PlaneMut { data, stride, width: size.width as usize, height: size.height as usize }
        })
    }
}

/// Room for any RTP packet or packet of sound.
pub(crate) const PACKET_ROOM: usize = 2_048;

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("pts", &duration_nanos(self.header.pts.since(Timestamp::ZERO)))
            .field("sequence", &self.header.sequence)
            .field("flags", &self.header.flags)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> Frame {
        Frame::unpooled(Header::default(), Format::Video(VideoFormat::i420(Size::new(width, height))))
    }

    #[test]
    fn every_row_of_an_odd_picture_is_aligned_and_apart() {
        let mut frame = picture(33, 17);
        for (index, plane) in frame.planes_mut().into_iter().enumerate() {
            assert_eq!(plane.data.as_ptr() as usize % ALIGN, 0);
            assert_eq!(plane.stride % ALIGN, 0);
            plane.data.fill(u8::try_from(index).unwrap());
        }
        for index in 0..3 {
            let plane = frame.plane(index);
            assert!((0..plane.height).all(|y| plane.row(y).iter().all(|&p| usize::from(p) == index)));
        }
        assert_eq!((frame.plane(1).width, frame.plane(1).height), (17, 9));
    }

    #[test]
    fn writing_a_shared_frame_leaves_the_other_alone() {
        let mut pool = FramePool::new(4);
        let format = Format::Audio(AudioFormat { rate: 48_000, channels: 2, samples: 480 });
        let mut a = pool.frame(Header::default(), format, 0);
        a.channel_mut(1).fill(0.5);
        let b = a.clone();
        a.channel_mut(1).fill(0.25);
        assert_eq!((a.channel(1)[479], b.channel(1)[479]), (0.25, 0.5));
    }

    #[test]
    fn a_copied_channel_is_the_other_whoever_shares_the_frame() {
        let format = Format::Audio(AudioFormat { rate: 48_000, channels: 3, samples: 441 });
        let mut frame = Frame::unpooled(Header::default(), format);
        frame.channel_mut(1).iter_mut().zip(0u16..).for_each(|(sample, n)| *sample = f32::from(n));
        let before = frame.clone();
        frame.copy_channel(1, 2);
        assert_eq!((frame.channel(1), frame.channel(0)), (frame.channel(2), &[0.0; 441][..]));
        assert_eq!(before.channel(2), [0.0; 441]);
    }

    #[test]
    fn a_packet_cannot_be_longer_than_its_buffer() {
        let mut frame = Frame::unpooled(Header::default(), Format::Rtp { codec: Codec::Opus, len: 10 });
        frame.set_len(1_000_000);
        assert_eq!(frame.bytes().len(), 64);
    }

    #[test]
    fn frames_go_to_another_thread_and_their_buffers_come_back() {
        let count = if cfg!(miri) { 12 } else { 10_000 };
        let format = Format::Audio(AudioFormat { rate: 48_000, channels: 2, samples: 32 });
        let mut pool = FramePool::new(8);
        let (mut into, mut out) = crate::ring::ring::<Frame>(4);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..count {
                    let mut frame = loop {
                        match out.pop() {
                            Some(frame) => break frame,
                            None => std::thread::yield_now(),
                        }
                    };
                    assert!(frame.channel(1).iter().all(|sample| *sample == n as f32));
                    frame.channel_mut(1).fill(-1.0);
                    // Some give their header on, and their place back, without being dropped.
                    if n % 3 == 0 {
                        assert_eq!(frame.into_header().sequence, n);
                    }
                }
            });
            for n in 0..count {
                let header = Header { sequence: n, ..Header::default() };
                let mut frame = pool.frame(header, format, 0);
                frame.channel_mut(1).fill(n as f32);
                // Some are kept a moment longer here, and written there meanwhile.
                let kept = (n % 2 == 0).then(|| frame.clone());
                while let Err(back) = into.push(frame) {
                    frame = back;
                    std::thread::yield_now();
                }
                assert!(kept.is_none_or(|kept| kept.channel(1)[0] == n as f32));
            }
        });
        assert_eq!((pool.dry(), pool.is_home()), (0, true));
    }
}
