//! The kit for Sidetone plugins in Rust: an effect is one small file.
//!
//! ```
//! //! Darkens pictures.
//! use sidetone_plugin::*;
//!
//! effect! {
//!     /// Darkens pictures.
//!     pub struct Dim: VideoInPlace = "acme.dim", real_time, deterministic, identity_at_zero {
//!         /// How much darker they get.
//!         param 1 amount: f32 = 0.5, range(0.0..=1.0), step(0.01), live;
//!     }
//! }
//!
//! impl VideoInPlace for Dim {
//!     fn process(&mut self, picture: &mut PictureMut<'_>, _: &Call<'_>) -> Result<Done, Error> {
//!         for y in picture.y_mut().rows_mut().flatten() {
//!             *y = (16.0 + (f32::from(*y) - 16.0) * (1.0 - self.amount)).round() as u8;
//!         }
//!         Ok(Done::Out)
//!     }
//! }
//!
//! plugin!("acme", Dim);
//!
//! # fn main() {
//! // In a #[test]:
//! use sidetone_plugin::harness::{Harness, Picture};
//! let seen = Harness::<Dim>::new().picture(&Picture::filled(33, 17, [236, 128, 128]));
//! assert_eq!(seen.at(0, 0), [126, 128, 128]);
//! # }
//! ```
//!
//! That is a whole plugin. `sidetone plugin new dim` lays down a crate like it, with
//! its manifest; `cargo build --release` makes the library, and
//! `{ kind = "acme.dim", amount = 0.7 }` in a graph file uses it.
//!
//! # What an effect is
//!
//! [`effect!`] declares a struct, and with it all that a graph's author sees: its kind,
//! ports, parameters, promises. Parameters are its fields, already of the value that
//! they have at this call; other fields are `state`. Beside it stands one trait:
//!
//! | trait | what comes in and goes out |
//! |---|---|
//! | [`VideoInPlace`] | a picture, changed where it is: the fastest |
//! | [`VideoEffect`] | a picture made from a picture of the same size |
//! | [`AudioInPlace`] | sound, changed where it is |
//! | [`AudioEffect`] | sound made from as much sound |
//! | [`Effect`] | anything: packets, data, other sizes, several outputs, frames given later |
//!
//! Each has `process`, and hooks that may be left out: `start` (once, before the first
//! frame), `changed` (for each parameter that has another value, with its time) and
//! `loaded` (when a saved state has been put into the `saved` fields).
//!
//! # Rules
//!
//! - `process` is called on a real-time lane: it does not block, allocate, lock, do
//!   input or output, or call the system. What needs that is done in `start`. An effect
//!   that must allocate leaves out the promise `real_time`.
//! - There is no clock but [`Call::now_ns`] and no randomness but [`Start::seed`], so
//!   that runs can be repeated.
//! - Pictures have any size from 1x1, odd ones too, and rows have padding:
//!   [`Plane::rows`] gives them without. Sound comes in pieces of any length.
//! - What an effect feeds back to itself goes through [`settle`], so that silence does
//!   not become slow.
//! - A panic is caught. It becomes an error of this one effect, which is called no
//!   more, and the graph's fault policy applies. Build with `panic = "unwind"`, the
//!   default.
//!
//! # Trying it
//!
//! [`harness`] runs an effect in its author's tests without a host: through the same C
//! table, on frames with guards around them.
//!
//! # Versions
//!
//! The kit's major version is that of the C interface. A plugin built today keeps
//! working with every host of the same major version.
//!
//! No `unsafe` is needed to write an effect, and a crate may `deny` it; [`plugin!`]
//! allows it for the one symbol that a plugin exports.

#![warn(missing_docs)]

mod call;
mod effect;
mod error;
mod frame;
pub mod harness;
#[macro_use]
mod macros;
mod media;
mod packet;
mod picture;
mod shapes;
mod sound;
mod spec;
mod state;
mod table;

pub use call::{Call, Change, Format, Input, Kept, Level, Output, Start};
pub use effect::{AudioEffect, AudioInPlace, Effect, VideoEffect, VideoInPlace};
pub use error::{Done, Error};
pub use media::{Audio, Data, FaceLandmarks, Header, Mask, Media, Packets, Video};
pub use packet::{Codec, Packet, PacketMut};
pub use picture::{Picture, PictureMut, Plane, PlaneMut};
pub use shapes::{Face, Faces, Foreground};
pub use sound::{Sound, SoundMut, settle};
pub use spec::{Param, ParamType, Port, Spec, Value};
pub use state::Saved;
#[doc(no_inline)]
pub use std::path::PathBuf;

/// What the macros write.
#[doc(hidden)]
pub mod __private {
    pub use crate::call::Values;
    pub use crate::effect::{Declared, way};
    pub use crate::spec::{ParamType, belongs};
    pub use crate::state::Fields;
    pub use crate::table::{Origin, Table, entry, kind};
    pub use crate::{Error, Param, Port, Spec, Value};
    pub use sidetone_plugin_abi as abi;

    /// Media by their names in `effect!`.
    #[allow(non_camel_case_types)]
    pub mod media {
        pub use crate::media::{
            Audio as audio, Data as data, FaceLandmarks as face_landmarks, Mask as mask, Packets as av1,
            Packets as opus, Packets as packets, Video as video,
        };
    }
}
