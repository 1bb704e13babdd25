//! `Writer`: puts a recording into any `Write`.

use std::io::{self, ErrorKind, Write};

use crc32fast::Hasher;

use super::{
    CODECS, END, FIXED_BYTES, FLAGS, FRAME, HEAD_BYTES, Head, MAGIC, SHAPES, VERSION, offset, payload_bytes,
};
use crate::frame::{AudioFormat, Flags, Format, Frame};
use crate::media_type::{Codec, FrameRate, MediaType, PixelFormat};
use crate::timestamp::{Timestamp, duration_nanos};

/// Writes a recording.
pub struct Writer<W> {
    to: W,
    started: Timestamp,
    number: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the head. \[control\]
    ///
    /// # Errors
    /// Those of `to`.
    pub fn new(mut to: W, head: &Head) -> io::Result<Self> {
        to.write_all(&head.bytes())?;
        Ok(Self { to, started: head.started, number: 0 })
    }

    /// Writes a frame that was taken at `now`. Allocates nothing itself. \[real-time\]
    ///
    /// # Errors
    /// Those of `to`, and `InvalidInput` for sound of more than 8 channels or
    /// 768 kHz, pictures above 16,384 on a side, and data of shapes that Sidetone
    /// does not know.
    pub fn write(&mut self, frame: &Frame, now: Timestamp) -> io::Result<()> {
        let payload = payload_bytes(frame.format()).ok_or(ErrorKind::InvalidInput)?;
        let header = &frame.header;
        let mut fixed = self.fixed(FRAME, now);
        fixed[1] = flag_bits(header.flags);
        fixed[4..16].copy_from_slice(&format_bytes(frame.format()));
        fixed[32..40].copy_from_slice(&offset(self.started, header.pts).to_le_bytes());
        fixed[40..48].copy_from_slice(&offset(self.started, header.captured).to_le_bytes());
        fixed[48..56].copy_from_slice(&duration_nanos(header.duration).to_le_bytes());
        fixed[56..64].copy_from_slice(&header.sequence.to_le_bytes());
        let mut sums = Summing { to: &mut self.to, sum: Hasher::new() };
        sums.put(&length_bytes(FIXED_BYTES + payload))?;
        sums.put(&fixed)?;
        match frame.format() {
            Format::Audio(audio) => {
                (0..usize::from(audio.channels))
                    .try_for_each(|index| sums.put_samples(frame.channel(index)))?;
            }
            Format::Video(_) => {
                for plane in (0..3).map(|index| frame.plane(index)) {
                    (0..plane.height).try_for_each(|y| sums.put(plane.row(y)))?;
                }
            }
            Format::Packet { .. } | Format::Rtp { .. } | Format::Data { .. } => sums.put(frame.bytes())?,
        }
        sums.finish()?;
        self.number += 1;
        Ok(())
    }

    /// Counts a frame that could not be recorded, so that the next one's number
    /// tells of it. \[real-time\]
    pub const fn skip(&mut self) {
        self.number += 1;
    }

    /// Writes the end of a link that ended at `now`. \[real-time\]
    ///
    /// # Errors
    /// Those of `to`.
    pub fn end(&mut self, now: Timestamp) -> io::Result<()> {
        let fixed = self.fixed(END, now);
        let mut sums = Summing { to: &mut self.to, sum: Hasher::new() };
        sums.put(&length_bytes(FIXED_BYTES))?;
        sums.put(&fixed)?;
        sums.finish()
    }

    /// Where it writes to. \[any\]
    pub const fn inner(&mut self) -> &mut W {
        &mut self.to
    }

    fn fixed(&self, what: u8, now: Timestamp) -> [u8; FIXED_BYTES] {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = what;
        fixed[16..24].copy_from_slice(&self.number.to_le_bytes());
        fixed[24..32].copy_from_slice(&duration_nanos(now.since(self.started)).to_le_bytes());
        fixed
    }
}

fn length_bytes(length: usize) -> [u8; 4] {
    // No body is longer than MOST_PAYLOAD and a few.
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn flag_bits(flags: Flags) -> u8 {
    FLAGS.iter().enumerate().map(|(bit, flag)| u8::from(flags.has(*flag)) << bit).sum()
}

/// Writes and sums at once.
struct Summing<'a, W> {
    to: &'a mut W,
    sum: Hasher,
}

impl<W: Write> Summing<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.to.write_all(bytes)
    }

    fn put_samples(&mut self, samples: &[f32]) -> io::Result<()> {
        const AT_ONCE: usize = 256;
        let mut bytes = [0; AT_ONCE * 4];
        for some in samples.chunks(AT_ONCE) {
            for (sample, to) in some.iter().zip(bytes.chunks_exact_mut(4)) {
                to.copy_from_slice(&sample.to_le_bytes());
            }
            self.put(&bytes[..some.len() * 4])?;
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.to.write_all(&self.sum.finalize().to_le_bytes())
    }
}

/// Family, codec or layout, channels, and two measures.
fn format_bytes(format: &Format) -> [u8; 12] {
    match *format {
        Format::Audio(AudioFormat { rate, channels, samples }) => type_bytes(1, 0, channels, rate, samples),
        Format::Video(video) => {
            type_bytes(2, layout_number(video.pixel), 0, video.size.width, video.size.height)
        }
        Format::Packet { codec, .. } => type_bytes(3, codec_number(codec), 0, 0, 0),
        Format::Rtp { codec, .. } => type_bytes(4, codec_number(codec), 0, 0, 0),
        Format::Data { shape, .. } => type_bytes(5, shape_number(shape), 0, 0, 0),
    }
}

fn type_bytes(family: u8, variety: u8, channels: u16, first: u32, second: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = family;
    bytes[1] = variety;
    bytes[2..4].copy_from_slice(&channels.to_le_bytes());
    bytes[4..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..12].copy_from_slice(&second.to_le_bytes());
    bytes
}

fn codec_number(codec: Codec) -> u8 {
    CODECS.iter().zip(1..).find_map(|(known, number)| (*known == codec).then_some(number)).unwrap_or(0)
}

/// 0 for a shape that recordings do not know.
fn shape_number(shape: &str) -> u8 {
    SHAPES.iter().zip(1..).find_map(|(known, number)| (*known == shape).then_some(number)).unwrap_or(0)
}

const fn layout_number(pixel: PixelFormat) -> u8 {
    match pixel {
        PixelFormat::I420 => 1,
    }
}

impl Head {
    fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(HEAD_BYTES as u16).to_le_bytes());
        bytes[12..20].copy_from_slice(&self.seed.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.started.nanos().to_le_bytes());
        let (media, fps) = match self.media {
            MediaType::Audio { rate, channels, samples } => {
                let [rate, samples] = [rate, samples].map(Option::unwrap_or_default);
                (type_bytes(1, 0, channels.unwrap_or(0), rate, samples), None)
            }
            MediaType::Video { format, size, fps } => {
                let (width, height) = size.map_or((0, 0), |size| (size.width, size.height));
                (type_bytes(2, format.map_or(0, layout_number), 0, width, height), fps)
            }
            MediaType::Packets { codec } => (type_bytes(3, codec.map_or(0, codec_number), 0, 0, 0), None),
            MediaType::Rtp { codec } => (type_bytes(4, codec.map_or(0, codec_number), 0, 0, 0), None),
            MediaType::Data(shape) if shape_number(shape) > 0 => {
                (type_bytes(5, shape_number(shape), 0, 0, 0), None)
            }
            // No frames are of these, or none that can be recorded.
            MediaType::Events | MediaType::Data(_) | MediaType::Any => ([0; 12], None),
        };
        bytes[28..40].copy_from_slice(&media);
        if let Some(FrameRate { num, den }) = fps {
            bytes[40..44].copy_from_slice(&num.to_le_bytes());
            bytes[44..48].copy_from_slice(&den.to_le_bytes());
        }
        let sum = crc32fast::hash(&bytes[..48]);
        bytes[48..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}
