//! Runs an effect without a host: for an author's own tests.
//!
//! The effect is run through the very table that a host reads. Frames have padding
//! and guards around them, filled with a pattern: what is written outside a frame, or
//! to an input, fails the test. So does a frame that is kept when the effect is gone.
//!
//! ```
//! use sidetone_plugin::harness::{Harness, Picture};
//! use sidetone_plugin::*;
//!
//! effect! {
//!     /// Makes pictures grey.
//!     struct Grey: VideoInPlace = "acme.grey", real_time {
//!         /// How much of the colour goes.
//!         param 1 amount: f32 = 1.0, range(0.0..=1.0), live;
//!     }
//! }
//!
//! impl VideoInPlace for Grey {
//!     fn process(&mut self, picture: &mut PictureMut<'_>, _: &Call<'_>) -> Result<Done, Error> {
//!         let keep = 1.0 - self.amount;
//!         let [_, cb, cr] = picture.planes_mut();
//!         for mut plane in [cb, cr] {
//!             for c in plane.rows_mut().flatten() {
//!                 *c = ((f32::from(*c) - 128.0) * keep + 128.0).round() as u8;
//!             }
//!         }
//!         Ok(Done::Out)
//!     }
//! }
//!
//! let mut grey = Harness::<Grey>::new();
//! let coloured = Picture::filled(35, 21, [90, 200, 40]);
//! assert_eq!(grey.picture(&coloured), Picture::filled(35, 21, [90, 128, 128]));
//! grey.set("amount", 0.0);
//! assert_eq!(grey.picture(&coloured), coloured);
//! ```

#![allow(unsafe_code)]

mod host;
mod media;

use core::ffi::{CStr, c_void};
use core::marker::PhantomData;
use core::ptr;
use std::collections::BTreeMap;
use std::ffi::CString;

use sidetone_plugin_abi as abi;

use crate::effect::{Declared, Run};
use crate::table::kind;
use crate::{Done, Error, Level};

pub use media::{Bytes, Frame, Picture, Sound, faces, mask};

use host::{Host, Lent};

/// An effect, and the host that it believes to be in.
///
/// Its methods panic where the effect breaks a rule; those that give no `Result`
/// panic, too, where it reports an error.
pub struct Harness<E: Declared + Run<E::Way>> {
    kind: abi::Kind,
    host: Box<Host>,
    instance: *mut c_void,
    /// The latest frames of all inputs but the first, by place.
    others: BTreeMap<usize, Lent>,
    events: Vec<abi::Event>,
    in_place: bool,
    effect: PhantomData<E>,
}

/// What the graph says of an effect before it is made.
pub struct Setup<E> {
    numbers: BTreeMap<&'static str, f64>,
    texts: BTreeMap<&'static str, String>,
    seed: u64,
    effect: PhantomData<E>,
}

/// What a call gave.
#[derive(Debug, PartialEq)]
pub struct Reply {
    /// How it ended.
    pub done: Done,
    /// What is in each output, none where nothing is.
    pub outputs: Vec<Option<Frame>>,
}

impl<E: Declared + Run<E::Way>> Setup<E> {
    /// Gives a number, boolean (0 or 1) or choice (its place) a value.
    pub fn number(mut self, name: &'static str, number: f64) -> Self {
        self.numbers.insert(name, number);
        self
    }

    /// Gives text or a path a value.
    pub fn text(mut self, name: &'static str, text: &str) -> Self {
        self.texts.insert(name, text.to_owned());
        self
    }

    /// The seed of its randomness; 0 where this is not called.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Makes the effect; an error has what it logged.
    pub fn start(self) -> Result<Harness<E>, Error> {
        let mut host = Host::new();
        let mut texts = Vec::new();
        let mut values = Vec::new();
        for param in E::SPEC.params {
            let text = self.texts.get(param.name).map_or(param.default_text, String::as_str);
            let text = CString::new(text).expect("a text without zero bytes");
            let number = self.numbers.get(param.name).copied().unwrap_or(param.default_number);
            host.params.insert(param.id, number);
            let value = abi::Value {
                size: size_of::<abi::Value>() as u32,
                id: param.id,
                number,
                text: if param.choices.is_empty() { text.as_ptr() } else { ptr::null() },
            };
            texts.push(text);
            values.push(value);
        }
        for name in self.numbers.keys().chain(self.texts.keys()) {
            assert!(E::SPEC.params.iter().any(|param| param.name == *name), "there is no parameter {name}");
        }
        let setup = abi::Setup {
            size: size_of::<abi::Setup>() as u32,
            param_count: values.len() as u32,
            param_stride: size_of::<abi::Value>() as u32,
            reserved: 0,
            params: values.as_ptr(),
            seed: self.seed,
        };
        let kind = kind::<E>();
        let create = kind.create.expect("the kit gives it");
        // SAFETY: a host and a setup as the header describes them; the host is boxed and
        // lives until `Harness::drop` has destroyed the instance.
        let instance = unsafe { create(host.table(), &setup) };
        if instance.is_null() {
            return Err(Error::other(host.said()));
        }
        let in_place = kind.flags & abi::SIDETONE_KIND_IN_PLACE != 0;
        let others = BTreeMap::new();
        Ok(Harness { kind, host, instance, others, events: Vec::new(), in_place, effect: PhantomData })
    }
}

impl<E: Declared + Run<E::Way>> Harness<E> {
    /// Makes an effect with all parameters as they are by default.
    #[allow(clippy::new_without_default)] // it may panic
    pub fn new() -> Self {
        Self::setup().start().unwrap_or_else(|why| panic!("it does not start: {why}"))
    }

    /// For an effect with other parameters.
    pub fn setup() -> Setup<E> {
        Setup { numbers: BTreeMap::new(), texts: BTreeMap::new(), seed: 0, effect: PhantomData }
    }

    /// Gives a live parameter another value, from the next call on.
    pub fn set(&mut self, name: &str, number: f64) {
        let param = E::SPEC.params.iter().find(|param| param.name == name);
        let param = param.unwrap_or_else(|| panic!("there is no parameter {name}"));
        assert!(param.flags & abi::SIDETONE_PARAM_LIVE != 0, "{name} is not live");
        self.host.params.insert(param.id, number);
        self.events.push(abi::Event {
            size: size_of::<abi::Event>() as u32,
            event: abi::SIDETONE_EVENT_PARAM,
            time_ns: self.host.now_ns,
            id: param.id,
            reserved: 0,
            number,
        });
    }

    /// The time at which the next call begins; each call takes 10 ms.
    pub fn set_now_ns(&mut self, now_ns: u64) {
        self.host.now_ns = now_ns;
    }

    /// The latest frame at an input other than the first, from now on.
    pub fn give(&mut self, input: &str, frame: impl Into<Frame>) {
        let place = E::SPEC.inputs.iter().position(|port| port.name == input);
        let place = place.unwrap_or_else(|| panic!("there is no input {input}"));
        assert!(place > 0, "frames for the first input are given to the call");
        let (frame, sequence) = (frame.into(), self.host.next_sequence());
        self.others.insert(place, Lent::of(&frame, self.host.now_ns, sequence));
    }

    /// Nothing has come at an input, from now on.
    pub fn take_away(&mut self, input: &str) {
        let place = E::SPEC.inputs.iter().position(|port| port.name == input);
        self.others.remove(&place.unwrap_or_else(|| panic!("there is no input {input}")));
    }

    /// Works on a picture and gives the one that comes out.
    pub fn picture(&mut self, picture: &Picture) -> Picture {
        match self.one(picture.clone().into()) {
            Frame::Picture(picture) => picture,
            other => panic!("no picture came out, but {other:?}"),
        }
    }

    /// Works on sound and gives what comes out.
    pub fn sound(&mut self, sound: &Sound) -> Sound {
        match self.one(sound.clone().into()) {
            Frame::Sound(sound) => sound,
            other => panic!("no sound came out, but {other:?}"),
        }
    }

    fn one(&mut self, frame: Frame) -> Frame {
        let mut reply = self.process(frame).unwrap_or_else(|why| panic!("it failed: {why}"));
        assert_eq!(reply.done, Done::Out);
        reply.outputs.swap_remove(0).expect("something comes out")
    }

    /// Works on any frame; an error has what the effect logged.
    pub fn process(&mut self, frame: impl Into<Frame>) -> Result<Reply, Error> {
        let (frame, sequence) = (frame.into(), self.host.next_sequence());
        let first = Lent::of(&frame, self.host.now_ns, sequence);
        self.call(Some((first, frame)), 0)
    }

    /// Says that no frames come any more, and gives what was held back: ask until it is
    /// [`Done::End`].
    pub fn finish(&mut self) -> Result<Reply, Error> {
        self.call(None, abi::SIDETONE_CALL_LAST)
    }

    fn call(&mut self, first: Option<(Lent, Frame)>, flags: u32) -> Result<Reply, Error> {
        let spec = &E::SPEC;
        let mut made: Vec<Option<Lent>> = spec
            .outputs
            .iter()
            .enumerate()
            .map(|(at, port)| match &first {
                Some((_, frame)) if port.flags & abi::SIDETONE_PORT_OWN_FORMAT == 0 => {
                    let sequence = self.host.next_sequence();
                    let like = if self.in_place && at == 0 { frame.clone() } else { frame.blank() };
                    Some(Lent::of(&like, self.host.now_ns, sequence))
                }
                _ => None,
            })
            .collect();
        let mut inputs = vec![ptr::null(); spec.inputs.len()];
        if let Some((first, _)) = &first {
            inputs[0] = first.as_ptr().cast_const();
        }
        for (place, other) in &self.others {
            inputs[*place] = other.as_ptr().cast_const();
        }
        if self.in_place
            && let Some(output) = &made[0]
        {
            inputs[0] = output.as_ptr().cast_const();
        }
        let mut outputs: Vec<_> =
            made.iter().map(|frame| frame.as_ref().map_or(ptr::null_mut(), Lent::as_ptr)).collect();
        let events = std::mem::take(&mut self.events);
        let mut call = abi::Call {
            size: size_of::<abi::Call>() as u32,
            flags,
            now_ns: self.host.now_ns,
            input_count: inputs.len() as u32,
            output_count: outputs.len() as u32,
            inputs: inputs.as_ptr(),
            outputs: outputs.as_mut_ptr(),
            event_count: events.len() as u32,
            event_stride: size_of::<abi::Event>() as u32,
            events: events.as_ptr(),
        };
        self.host.begin(first.iter().map(|(frame, _)| frame).chain(self.others.values()));
        let process = self.kind.process.expect("the kit gives it");
        // SAFETY: a live instance, and a call as the header describes it, whose arrays
        // and frames live until after it.
        let code = unsafe { process(self.instance, &mut call) };
        self.host.now_ns += 10_000_000;
        if let Some((first, _)) = &first {
            first.check("the first input", true);
        }
        for (place, other) in &self.others {
            other.check(&format!("input {}", spec.inputs[*place].name), true);
        }
        made.iter().flatten().for_each(|frame| frame.check("an output", false));
        let fresh = self.host.end(&outputs);
        fresh.iter().for_each(|frame| frame.check("an output", false));
        made.extend(fresh.into_iter().map(Some));
        let done = match code {
            abi::SIDETONE_OK => Done::Out,
            abi::SIDETONE_DROP => Done::Drop,
            abi::SIDETONE_NEED_MORE => Done::NeedMore,
            abi::SIDETONE_END => Done::End,
            code => return Err(Error::of_code(code, self.host.said())),
        };
        let goes_out = matches!(done, Done::Out | Done::End);
        let outputs = outputs.into_iter().map(|output| {
            let frame = made.iter().flatten().find(|frame| frame.as_ptr() == output)?;
            goes_out.then(|| frame.read())
        });
        Ok(Reply { done, outputs: outputs.collect() })
    }

    /// Saves its state, as a host does; none if it has none.
    pub fn save(&mut self) -> Option<Vec<u8>> {
        let save = self.state()?.save.expect("the kit gives it");
        // SAFETY: a live instance, between two calls; no buffer, then one of the length
        // that was asked for.
        let length = unsafe { save(self.instance, ptr::null_mut(), 0) };
        let mut bytes = vec![0; usize::try_from(length).expect("it can be saved")];
        // SAFETY: as above.
        let again = unsafe { save(self.instance, bytes.as_mut_ptr(), bytes.len() as u64) };
        assert_eq!(length, again, "the length of its state changed");
        Some(bytes)
    }

    /// Gives it a saved state, as a host does.
    pub fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let load = self.state().expect("it has no state").load.expect("the kit gives it");
        // SAFETY: a live instance, between two calls.
        match unsafe { load(self.instance, state.as_ptr(), state.len() as u64) } {
            abi::SIDETONE_OK => Ok(()),
            code => Err(Error::of_code(code, self.host.said())),
        }
    }

    fn state(&self) -> Option<abi::State> {
        let name = CString::new(abi::SIDETONE_EXTENSION_STATE).expect("a name");
        // SAFETY: the kit's own function; it gives null or a table of its own.
        unsafe { self.kind.extension?(name.as_ptr()).cast::<abi::State>().as_ref() }.copied()
    }

    /// What it has logged so far.
    pub fn logs(&self) -> &[(Level, String)] {
        self.host.logs()
    }

    /// The figures that it has reported, by name: their latest values.
    pub fn figures(&self) -> &BTreeMap<String, f64> {
        self.host.figures()
    }

    /// How many frames it keeps at the moment.
    pub fn kept(&self) -> usize {
        self.host.kept()
    }
}

impl<E: Declared + Run<E::Way>> Drop for Harness<E> {
    fn drop(&mut self) {
        let destroy = self.kind.destroy.expect("the kit gives it");
        // SAFETY: a live instance, which is called no more.
        unsafe { destroy(self.instance) };
        if !std::thread::panicking() {
            assert_eq!(self.host.kept(), 0, "frames are kept though the effect is gone");
        }
    }
}

impl Error {
    fn of_code(code: i32, why: String) -> Self {
        match code {
            abi::SIDETONE_ERROR_FORMAT => Self::format(why),
            abi::SIDETONE_ERROR_MEDIA => Self::media(why),
            abi::SIDETONE_ERROR_MEMORY => Self::memory(why),
            abi::SIDETONE_ERROR_RESOURCE => Self::resource(why),
            abi::SIDETONE_ERROR_PANIC => Self::panic(why),
            _ => Self::other(why),
        }
    }
}

fn owned(text: *const core::ffi::c_char) -> String {
    // SAFETY: text from the kit, which ends with a zero byte.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
