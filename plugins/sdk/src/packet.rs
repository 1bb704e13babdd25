//! Packets of a codec, and data of a shape of one's own.

use sidetone_plugin_abi as abi;

use crate::Error;
use crate::frame::Lent;
use crate::media::{Edit, Header, Reading, View, Writing};

/// A packet or data to be read. \[real-time\]
pub struct Packet<'a> {
    frame: Lent<'a>,
    bytes: &'a [u8],
}

/// A packet or data to be written. \[real-time\]
pub struct PacketMut<'a> {
    frame: Lent<'a>,
    room: usize,
}

/// How a packet is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Opus, RFC 6716.
    Opus,
    /// AV1, low-overhead bitstream format, one temporal unit a packet.
    Av1,
    /// One that this version of the kit has no name for; or it is data.
    Other,
}

fn is(frame: &Lent<'_>) -> Result<abi::Plane, Error> {
    let media = frame.fields().media;
    if media != abi::SIDETONE_MEDIA_PACKET && media != abi::SIDETONE_MEDIA_DATA {
        return Err(Error::format("this is neither a packet nor data"));
    }
    frame.plane(0)
}

impl<'a> View<'a> for Packet<'a> {
    fn of(Reading(frame): Reading<'a>) -> Result<Self, Error> {
        let length = is(&frame)?.width as usize;
        let (bytes, _) = frame.samples(0, length)?;
        Ok(Self { frame, bytes })
    }
}

impl<'a> Packet<'a> {
    /// Its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How it is coded.
    pub fn codec(&self) -> Codec {
        match self.frame.fields().format {
            abi::SIDETONE_FORMAT_OPUS => Codec::Opus,
            abi::SIDETONE_FORMAT_AV1 => Codec::Av1,
            _ => Codec::Other,
        }
    }

    /// The name of its shape, where it is data.
    pub fn shape(&self) -> Option<&'a str> {
        self.frame.shape()?.to_str().ok()
    }

    /// When it was captured, and what else is known of it.
    pub fn header(&self) -> Header {
        Header::of(&self.frame)
    }

    /// Its bytes, if it is data of this shape.
    pub(crate) fn of_shape(frame: Reading<'a>, shape: &str) -> Result<Self, Error> {
        let packet = Self::of(frame)?;
        match packet.shape() {
            Some(named) if named == shape => Ok(packet),
            _ => Err(Error::format("data of another shape came")),
        }
    }
}

impl<'a> Edit<'a> for PacketMut<'a> {
    fn of(Writing(frame): Writing<'a>) -> Result<Self, Error> {
        let plane = is(&frame)?;
        let room = plane.capacity.min(u32::MAX as usize);
        frame.samples::<u8>(0, room)?;
        Ok(Self { frame, room })
    }
}

impl PacketMut<'_> {
    /// All the memory that it has, whatever is in it; [`set_len`](Self::set_len)
    /// says how much of it counts.
    pub fn room_mut(&mut self) -> &mut [u8] {
        let room = self.room;
        // That it is there was checked when this was made.
        self.frame.samples_mut(0, room).map_or(&mut [], |(bytes, _)| bytes)
    }

    /// How many bytes of it count, from the first.
    pub fn set_len(&mut self, length: usize) -> Result<(), Error> {
        match u32::try_from(length) {
            Ok(short) if length <= self.room => self.frame.set_length(short),
            _ => Err(Error::memory("a packet is longer than its memory")),
        }
    }

    /// Makes it hold `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.set_len(bytes.len())?;
        self.room_mut()[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// When it was captured, and what else is known of it.
    pub fn header(&self) -> Header {
        Header::of(&self.frame)
    }

    /// Says when it was captured, and what else is known of it.
    pub fn set_header(&mut self, header: Header) {
        header.write(&mut self.frame);
    }
}
