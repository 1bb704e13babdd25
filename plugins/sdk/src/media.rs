//! What ports carry.

use core::fmt;

use sidetone_plugin_abi as abi;

use crate::frame::Lent;
use crate::{Error, Faces, Foreground, Packet, PacketMut, Picture, PictureMut, Sound, SoundMut};

mod sealed {
    pub trait Sealed {}
}

/// What a port carries, and how an effect sees it.
pub trait Media: sealed::Sealed + 'static {
    /// A frame of it, to be read.
    type View<'a>: View<'a>;
    /// A frame of it, to be written.
    type Edit<'a>: Edit<'a>;
}

/// A frame to be read.
pub trait View<'a>: Sized + sealed::Sealed {
    #[doc(hidden)]
    fn of(frame: Reading<'a>) -> Result<Self, Error>;
}

/// A frame to be written.
pub trait Edit<'a>: Sized + sealed::Sealed {
    #[doc(hidden)]
    fn of(frame: Writing<'a>) -> Result<Self, Error>;
}

/// A frame of the host's that nobody writes to.
#[doc(hidden)]
pub struct Reading<'a>(pub(crate) Lent<'a>);

/// A frame of the host's that nobody else uses.
#[doc(hidden)]
pub struct Writing<'a>(pub(crate) Lent<'a>);

/// What is known of a frame beside what it shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Its place on the sender's timeline, in nanoseconds.
    pub pts_ns: u64,
    /// When its first sample was captured, on the clock of [`Call::now_ns`](crate::Call::now_ns).
    pub captured_ns: u64,
    /// How long it lasts; 0 where that is not known.
    pub duration_ns: u64,
    /// Counts up by one from each source; a gap is a loss.
    pub sequence: u64,
    /// A decoder can start at this packet.
    pub key: bool,
    /// The frame that should stand here never came.
    pub lost: bool,
    /// Time or contents do not go on from the frame before.
    pub discontinuity: bool,
    /// The sender had nothing to say.
    pub silence: bool,
}

impl Header {
    pub(crate) fn of(frame: &Lent<'_>) -> Self {
        let fields = frame.fields();
        let has = |flag| fields.flags & flag != 0;
        Self {
            pts_ns: fields.pts_ns,
            captured_ns: fields.captured_ns,
            duration_ns: fields.duration_ns,
            sequence: fields.sequence,
            key: has(abi::SIDETONE_FRAME_KEY),
            lost: has(abi::SIDETONE_FRAME_LOST),
            discontinuity: has(abi::SIDETONE_FRAME_DISCONTINUITY),
            silence: has(abi::SIDETONE_FRAME_SILENCE),
        }
    }

    pub(crate) fn flags(&self) -> u32 {
        let flag = |is: bool, flag: u32| if is { flag } else { 0 };
        flag(self.key, abi::SIDETONE_FRAME_KEY)
            | flag(self.lost, abi::SIDETONE_FRAME_LOST)
            | flag(self.discontinuity, abi::SIDETONE_FRAME_DISCONTINUITY)
            | flag(self.silence, abi::SIDETONE_FRAME_SILENCE)
    }

    pub(crate) fn write(&self, frame: &mut Lent<'_>) {
        frame.change(|fields| {
            fields.pts_ns = self.pts_ns;
            fields.captured_ns = self.captured_ns;
            fields.duration_ns = self.duration_ns;
            fields.sequence = self.sequence;
            fields.flags = self.flags();
        });
    }
}

macro_rules! media {
    ($($(#[$doc:meta])* $name:ident => $view:ident, $edit:ident;)*) => {
        $(
            $(#[$doc])*
            pub enum $name {}
            impl sealed::Sealed for $name {}
            impl Media for $name {
                type View<'a> = $view<'a>;
                type Edit<'a> = $edit<'a>;
            }
            impl fmt::Debug for $name {
                fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                    match *self {}
                }
            }
        )*
    };
}

macro_rules! seal {
    ($($type:ident),*) => { $(impl sealed::Sealed for $type<'_> {})* };
}

seal!(Picture, PictureMut, Sound, SoundMut, Packet, PacketMut, Faces, Foreground);

media! {
    /// Raw pictures, I420.
    Video => Picture, PictureMut;
    /// Raw sound, planar `f32`.
    Audio => Sound, SoundMut;
    /// Packets of a codec.
    Packets => Packet, PacketMut;
    /// Data of a shape of one's own.
    Data => Packet, PacketMut;
    /// Data that says where faces are, `sidetone.face_landmarks/1`.
    FaceLandmarks => Faces, PacketMut;
    /// Data that says what is in front, `sidetone.mask/1`.
    Mask => Foreground, PacketMut;
}
