//! What an author writes beside `effect!`: one of five traits.

use crate::call::{Call, Change, Start, Values};
use crate::state::Fields;
use crate::{Done, Error, Picture, PictureMut, Sound, SoundMut, Spec, Value};

/// Declares a trait for effects: the hooks that all of them share, and its own
/// `process`.
macro_rules! effect_trait {
    ($(#[$doc:meta])* $name:ident { $($process:tt)* }) => {
        $(#[$doc])*
        pub trait $name: Send + Sized + 'static {
            $($process)*

            /// Called once, before the first frame: fields that follow from the
            /// parameters or the seed are worked out here, files opened, memory
            /// allocated. \[control\]
            fn start(&mut self, start: &Start<'_>) -> Result<(), Error> {
                let _ = start;
                Ok(())
            }

            /// Called for each parameter that has another value, before `process`;
            /// the field has it already. \[real-time\]
            fn changed(&mut self, change: &Change) {
                let _ = change;
            }

            /// Called when the `saved` fields have been given their values of a saved
            /// state, which may be damaged or another version's: an error puts the old
            /// ones back. \[control\]
            fn loaded(&mut self) -> Result<(), Error> {
                Ok(())
            }
        }
    };
}

effect_trait! {
    /// Changes pictures in their place. The inputs and outputs that `effect!` gives it
    /// are `in` and `out`, and `input` adds more.
    VideoInPlace {
        /// Changes a picture. \[real-time\]
        fn process(&mut self, picture: &mut PictureMut<'_>, call: &Call<'_>) -> Result<Done, Error>;
    }
}

effect_trait! {
    /// Makes a picture of each picture, of the same size. The inputs and outputs that
    /// `effect!` gives it are `in` and `out`, and `input` adds more.
    VideoEffect {
        /// Writes all of `output`, which holds anything before. \[real-time\]
        fn process(
            &mut self,
            input: &Picture<'_>,
            output: &mut PictureMut<'_>,
            call: &Call<'_>,
        ) -> Result<Done, Error>;
    }
}

effect_trait! {
    /// Changes sound in its place. The inputs and outputs that `effect!` gives it are
    /// `in` and `out`, and `input` adds more.
    AudioInPlace {
        /// Changes some sound, of any length. \[real-time\]
        fn process(&mut self, sound: &mut SoundMut<'_>, call: &Call<'_>) -> Result<Done, Error>;
    }
}

effect_trait! {
    /// Makes sound of sound, as much as came. The inputs and outputs that `effect!`
    /// gives it are `in` and `out`, and `input` adds more.
    AudioEffect {
        /// Writes all of `output`, which holds anything before. \[real-time\]
        fn process(
            &mut self,
            input: &Sound<'_>,
            output: &mut SoundMut<'_>,
            call: &Call<'_>,
        ) -> Result<Done, Error>;
    }
}

effect_trait! {
    /// Everything that the simple traits do not cover: packets and data, several
    /// outputs, other sizes out than in, frames kept and given later. Its inputs and
    /// outputs are those that `effect!` is told.
    Effect {
        /// Works on what has come: reads inputs with [`Call::input`], writes outputs
        /// with [`Call::output`] or [`Call::make`]. When [`Call::is_last`] says so there
        /// is no input any more: give what is held back, one call after another, and
        /// [`Done::End`] with the last. \[real-time\]
        fn process(&mut self, call: &mut Call<'_>) -> Result<Done, Error>;
    }
}

/// An effect's fields, as `effect!` has declared them.
#[doc(hidden)]
pub trait Declared: Send + Sized + 'static {
    /// The trait by which it works.
    type Way;
    /// What it says of itself.
    const SPEC: Spec;
    /// Makes it from its parameters.
    fn make(values: &Values<'_>) -> Self;
    /// Gives parameter `id` another value.
    fn set(&mut self, id: u32, value: Value<'_>);
    /// Saves what is marked so.
    fn save(&self, to: &mut Fields);
    /// Takes it over if `accept` agrees, else is as it was.
    fn load(
        &mut self,
        from: &Fields,
        accept: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error>;
}

/// Runs an effect by the trait that it has: `Way` tells the five apart.
#[doc(hidden)]
pub trait Run<Way> {
    fn run_start(&mut self, start: &Start<'_>) -> Result<(), Error>;
    fn run_changed(&mut self, change: &Change);
    fn run_loaded(&mut self) -> Result<(), Error>;
    fn run_process(&mut self, call: &mut Call<'_>) -> Result<Done, Error>;
}

/// The five ways: `effect!` names one.
#[doc(hidden)]
pub mod way {
    pub enum VideoInPlace {}
    pub enum VideoEffect {}
    pub enum AudioInPlace {}
    pub enum AudioEffect {}
    pub enum Effect {}
}

macro_rules! run {
    ($($way:ident: |$effect:ident, $call:ident| $process:expr;)*) => {
        $(impl<T: $way> Run<way::$way> for T {
            fn run_start(&mut self, start: &Start<'_>) -> Result<(), Error> {
                self.start(start)
            }
            fn run_changed(&mut self, change: &Change) {
                self.changed(change);
            }
            fn run_loaded(&mut self) -> Result<(), Error> {
                self.loaded()
            }
            fn run_process(&mut self, $call: &mut Call<'_>) -> Result<Done, Error> {
                let $effect = self;
                $process
            }
        })*
    };
}

run! {
    VideoInPlace: |effect, call| call.in_place(|picture, call| effect.process(picture, call));
    VideoEffect: |effect, call| call.in_to_out(|input, output, call| effect.process(input, output, call));
    AudioInPlace: |effect, call| call.in_place(|sound, call| effect.process(sound, call));
    AudioEffect: |effect, call| call.in_to_out(|input, output, call| effect.process(input, output, call));
    Effect: |effect, call| effect.process(call);
}
