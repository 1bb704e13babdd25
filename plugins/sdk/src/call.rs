//! One call of an effect: what came, what goes out, and what the host does for it.

#![allow(unsafe_code)]

use core::ffi::{CStr, c_char};
use core::fmt::{self, Display, Write};
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::Arc;

use sidetone_plugin_abi as abi;

use crate::frame::Lent;
use crate::media::{Edit, Header, Media, Reading, View, Writing};
use crate::{Done, Error, Spec, Value};

/// How loud a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It cannot go on.
    Error,
    /// It goes on, and somebody should look.
    Warning,
    /// Worth knowing.
    Info,
    /// For whoever works on the plugin.
    Debug,
}

/// An input of an effect: `effect!` makes a constant of this type and the input's
/// name.
pub struct Input<M>(usize, PhantomData<fn() -> M>);

/// An output of an effect: `effect!` makes a constant of this type and the output's
/// name.
pub struct Output<M>(usize, PhantomData<fn() -> M>);

macro_rules! port {
    ($name:ident) => {
        impl<M> Clone for $name<M> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<M> Copy for $name<M> {}
        impl<M> $name<M> {
            #[doc(hidden)]
            pub const fn at(index: usize) -> Self {
                Self(index, PhantomData)
            }
        }
    };
}

port!(Input);
port!(Output);

/// What a new frame is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A picture of so many pixels.
    Video {
        /// Pixels in a row, 1 to 16,384.
        width: u32,
        /// Rows, 1 to 16,384.
        height: u32,
    },
    /// So much sound.
    Audio {
        /// Samples per second.
        rate: u32,
        /// 1 to 8.
        channels: u32,
        /// Samples a channel.
        length: u32,
    },
    /// A packet or data.
    Bytes {
        /// Bytes that it has room for.
        room: u32,
    },
}

/// A parameter has another value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The parameter's name.
    pub name: &'static str,
    /// Its value, held within the range.
    pub number: f64,
    /// When, on the clock of [`Call::now_ns`].
    pub time_ns: u64,
}

/// What an effect is made from.
pub struct Start<'a> {
    pub(crate) host: HostRef,
    /// The only randomness to be used: the same graph and seed give the same one.
    pub seed: u64,
    pub(crate) lent: PhantomData<&'a ()>,
}

impl Start<'_> {
    /// Says something to whoever runs the graph.
    pub fn log(&self, level: Level, text: impl Display) {
        self.host.log(level, text);
    }
}

/// The values that the graph gives a kind's parameters.
#[doc(hidden)]
pub struct Values<'a> {
    pub(crate) spec: &'static Spec,
    pub(crate) given: Vec<(u32, Value<'a>)>,
}

impl Values<'_> {
    /// What parameter `id` is to be.
    pub fn get(&self, id: u32) -> Value<'_> {
        let given = self.given.iter().rev().find(|(given, _)| *given == id).map(|(_, value)| *value);
        self.spec.param(id).map_or(Value { number: 0.0, text: "" }, |param| param.value(given))
    }
}

/// The host of an instance.
///
/// Invariant: the pointer is to a host of at least this version's size, which the
/// host keeps for as long as the instance. Kept by `table.rs`, which alone makes
/// these, and keeps them no longer than the instance.
#[derive(Clone, Copy)]
pub(crate) struct HostRef(*const abi::Host);

// SAFETY: what is called through it from other threads is marked `[any]`; the rest
// is called inside `process` and `destroy`, on the instance's thread of the moment.
unsafe impl Send for HostRef {}

impl HostRef {
    /// # Safety
    /// The caller vouches for the invariant; null and what is too old are refused.
    pub(crate) unsafe fn new(host: *const abi::Host) -> Option<Self> {
        // SAFETY: a host begins with its size.
        let fits = !host.is_null() && unsafe { (*host).size } as usize >= size_of::<abi::Host>();
        fits.then_some(Self(host))
    }

    fn table(&self) -> &abi::Host {
        // SAFETY: by the invariant.
        unsafe { &*self.0 }
    }

    /// Without allocating; what is too long is cut.
    pub(crate) fn log(&self, level: Level, text: impl Display) {
        let level = match level {
            Level::Error => abi::SIDETONE_LOG_ERROR,
            Level::Warning => abi::SIDETONE_LOG_WARNING,
            Level::Info => abi::SIDETONE_LOG_INFO,
            Level::Debug => abi::SIDETONE_LOG_DEBUG,
        };
        let mut line = Line { bytes: [0; 512], length: 0 };
        let _ = write!(line, "{text}");
        // SAFETY: the text ends with a zero byte, since one always stays free.
        unsafe { (self.table().log)(self.0, level, line.bytes.as_ptr().cast::<c_char>()) };
    }

    fn release(&self, frame: *const abi::Frame) {
        // SAFETY: called inside `process` or `destroy`, with what `frame_retain` or
        // `frame_new` gave and nobody uses any more.
        unsafe { (self.table().frame_release)(self.0, frame) };
    }
}

/// Text of limited length.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let letter = if letter == '\0' { ' ' } else { letter };
            if self.length + letter.len_utf8() >= self.bytes.len() {
                return Err(fmt::Error);
            }
            letter.encode_utf8(&mut self.bytes[self.length..]);
            self.length += letter.len_utf8();
        }
        Ok(())
    }
}

/// The most frames that the host lets an instance keep.
const KEPT: usize = 64;

/// Frames that an effect kept and has let go: handed back to the host at the end of
/// the next call, since they may be dropped anywhere.
pub(crate) struct Keeper {
    dropped: [AtomicPtr<abi::Frame>; KEPT],
    count: AtomicUsize,
}

impl Keeper {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            dropped: [const { AtomicPtr::new(ptr::null_mut()) }; KEPT],
            count: AtomicUsize::new(0),
        })
    }

    fn let_go(&self, frame: *const abi::Frame) {
        let free = |slot: &&AtomicPtr<_>| {
            // Release: all reading of the frame comes before the host has it back.
            slot.compare_exchange(ptr::null_mut(), frame.cast_mut(), Ordering::Release, Ordering::Relaxed)
                .is_ok()
        };
        // The host gives no more than there are slots, so one is free.
        if self.dropped.iter().find(free).is_some() {
            self.count.fetch_add(1, Ordering::Release);
        }
    }

    /// Hands back what was let go; inside `process` or `destroy`.
    pub(crate) fn sweep(&self, host: HostRef) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for slot in &self.dropped {
            let frame = slot.swap(ptr::null_mut(), Ordering::Acquire);
            if !frame.is_null() {
                self.count.fetch_sub(1, Ordering::Relaxed);
                host.release(frame);
            }
        }
    }
}

/// A frame that an effect keeps for later calls; dropping it hands it back. A host
/// lets an effect keep 64 at most, and whatever is kept is missing in its pools: keep
/// few. Drop it with the effect at the latest.
pub struct Kept<M> {
    frame: Lent<'static>,
    keeper: Arc<Keeper>,
    media: PhantomData<fn() -> M>,
}

impl<M: Media> Kept<M> {
    /// The frame. \[real-time\]
    pub fn view(&self) -> Result<M::View<'_>, Error> {
        // SAFETY: it was an input, so nobody writes to it, and the view borrows `self`.
        View::of(Reading(unsafe { self.frame.again() }))
    }

    /// What is known of it beside what it shows.
    pub fn header(&self) -> Header {
        Header::of(&self.frame)
    }
}

impl<M> Drop for Kept<M> {
    fn drop(&mut self) {
        self.keeper.let_go(self.frame.as_ptr());
    }
}

/// One call of an effect: what came, what goes out, and what the host does for it.
/// All of it is \[real-time\].
pub struct Call<'a> {
    host: HostRef,
    keeper: &'a Arc<Keeper>,
    spec: &'static Spec,
    /// Its arrays live for `'a`.
    call: abi::Call,
    /// Outputs that have been given to the effect, one bit each.
    taken: u32,
    /// Outputs that are not to go out, likewise.
    withheld: u32,
    lent: PhantomData<&'a abi::Call>,
}

impl<'a> Call<'a> {
    /// # Safety
    /// `call` is what the host has given to `process`, for `'a`, which ends before
    /// `process` returns; there is one `Call` of it.
    pub(crate) unsafe fn new(
        host: HostRef,
        keeper: &'a Arc<Keeper>,
        spec: &'static Spec,
        call: *const abi::Call,
    ) -> Result<Self, Error> {
        // SAFETY: it begins with its size, and is as large as that says.
        let size = if call.is_null() { 0 } else { unsafe { (*call).size as usize } };
        if size < size_of::<abi::Call>() {
            return Err(Error::other("the host's call is of an older version"));
        }
        // SAFETY: as above.
        let call = unsafe { *call };
        let fits = call.input_count as usize >= spec.inputs.len()
            && call.output_count as usize >= spec.outputs.len()
            && !call.inputs.is_null()
            && (spec.outputs.is_empty() || !call.outputs.is_null());
        if !fits {
            return Err(Error::other("the host's call lacks inputs or outputs"));
        }
        Ok(Self { host, keeper, spec, call, taken: 0, withheld: 0, lent: PhantomData })
    }

    /// The frame at an input: the first is new; of each other it is the latest that
    /// came. None where nothing has come yet, and for the first input of an effect
    /// that works in place: read the output instead, which holds the same.
    pub fn input<M: Media>(&self, input: Input<M>) -> Result<Option<M::View<'a>>, Error> {
        self.reading(input.0).map(|frame| View::of(Reading(frame))).transpose()
    }

    /// What is known of the frame at an input beside what it shows: its `sequence` tells
    /// whether it is the one of the call before.
    pub fn header<M>(&self, input: Input<M>) -> Option<Header> {
        self.reading(input.0).map(|frame| Header::of(&frame))
    }

    /// Keeps the frame at an input for later calls. None where [`input`](Self::input)
    /// gives none; an error where too many are kept.
    pub fn keep<M: Media>(&self, input: Input<M>) -> Result<Option<Kept<M>>, Error> {
        let Some(frame) = self.reading(input.0) else { return Ok(None) };
        // SAFETY: inside `process`, with one of its inputs.
        let kept = unsafe { (self.host.table().frame_retain)(self.host.0, frame.as_ptr()) };
        // SAFETY: it may be read until it is released, which `Kept` sees to.
        let frame = unsafe { Lent::new(kept) }.ok_or_else(|| Error::memory("too many frames are kept"))?;
        let kept = Kept { frame, keeper: Arc::clone(self.keeper), media: PhantomData };
        kept.view()?;
        Ok(Some(kept))
    }

    /// The frame at an output, made by the host in the format of the first input.
    /// None where there is none: when it was asked for already, or the output is
    /// declared `own_format`.
    pub fn output<M: Media>(&mut self, output: Output<M>) -> Result<Option<M::Edit<'a>>, Error> {
        self.writing(output.0).map(|frame| Edit::of(Writing(frame))).transpose()
    }

    /// Makes a frame for an output that is declared `own_format`, once a call. Its
    /// times are those of the first input.
    pub fn make<M: Media>(&mut self, output: Output<M>, format: Format) -> Result<M::Edit<'a>, Error> {
        self.make_like(output, format, ptr::null())
    }

    /// The same, with the times of a frame that was kept.
    pub fn make_from<M: Media, K>(
        &mut self,
        output: Output<M>,
        format: Format,
        from: &Kept<K>,
    ) -> Result<M::Edit<'a>, Error> {
        self.make_like(output, format, from.frame.as_ptr())
    }

    /// Lets nothing go out at an output this time.
    pub fn withhold<M>(&mut self, output: Output<M>) {
        self.withheld |= 1 << output.0;
    }

    /// Whether no frames come any more: give what is held back, one call after
    /// another, and [`Done::End`] with the last.
    pub fn is_last(&self) -> bool {
        self.call.flags & abi::SIDETONE_CALL_LAST != 0
    }

    /// The time at which this call began, in nanoseconds: there is no other clock in a
    /// graph, so that runs can be repeated.
    pub fn now_ns(&self) -> u64 {
        self.call.now_ns
    }

    /// Says something to whoever runs the graph; what is longer than 256 bytes may be
    /// cut, and of very many some go unsaid.
    ///
    /// ```
    /// # use sidetone_plugin::*;
    /// # fn process(call: &Call<'_>, faces: usize) {
    /// call.log(Level::Info, format_args!("{faces} faces"));
    /// # }
    /// ```
    pub fn log(&self, level: Level, text: impl Display) {
        self.host.log(level, text);
    }

    /// Reports a figure, as often as it changes: a name in snake_case, unit included
    /// (`c"gain_db"`), and its value.
    pub fn emit(&self, name: &CStr, value: f64) {
        // SAFETY: inside `process`; the name ends with a zero byte.
        unsafe { (self.host.table().emit)(self.host.0, name.as_ptr(), value) };
    }

    /// The parameters that have other values since the call before, in order of time;
    /// the effect's fields have them already.
    pub fn changes(&self) -> impl Iterator<Item = Change> + use<'a> {
        let (call, spec) = (self.call, self.spec);
        let fits = call.event_stride as usize >= size_of::<abi::Event>() && !call.events.is_null();
        (0..if fits { call.event_count as usize } else { 0 }).filter_map(move |at| {
            // SAFETY: `event_count` events lie `event_stride` bytes apart, for `'a`.
            let event = unsafe { *call.events.byte_add(at * call.event_stride as usize) };
            let param = spec.param(event.id).filter(|_| event.event == abi::SIDETONE_EVENT_PARAM)?;
            Some(Change { name: param.name, number: param.held(event.number)?, time_ns: event.time_ns })
        })
    }

    fn reading(&self, index: usize) -> Option<Lent<'a>> {
        let in_place = index == 0 && self.spec.flags & abi::SIDETONE_KIND_IN_PLACE != 0;
        if in_place || index >= self.spec.inputs.len() {
            return None;
        }
        // SAFETY: there are at least as many inputs as the kind has, each null or a
        // frame that may be read until `process` returns. That an output may be the
        // first input's memory is the case ruled out above.
        unsafe { Lent::new(*self.call.inputs.add(index)) }
    }

    fn writing(&mut self, index: usize) -> Option<Lent<'a>> {
        if index >= self.spec.outputs.len() || self.taken & 1 << index != 0 {
            return None;
        }
        self.taken |= 1 << index;
        // SAFETY: there are at least as many outputs as the kind has, each null or a
        // frame of this call's alone; `taken` lets each be had once.
        unsafe { Lent::new(*self.call.outputs.add(index)) }
    }

    fn make_like<M: Media>(
        &mut self,
        output: Output<M>,
        format: Format,
        from: *const abi::Frame,
    ) -> Result<M::Edit<'a>, Error> {
        let declared = self.spec.outputs.get(output.0);
        let own = declared.filter(|port| port.flags & abi::SIDETONE_PORT_OWN_FORMAT != 0);
        let port =
            own.ok_or_else(|| Error::other("only an output that is declared own_format takes new frames"))?;
        let mut wanted = abi::Format {
            size: size_of::<abi::Format>() as u32,
            media: port.media,
            format: port.format,
            width: 0,
            height: 0,
            rate: 0,
            channels: 0,
            length: 0,
        };
        match format {
            Format::Video { width, height } => (wanted.width, wanted.height) = (width, height),
            Format::Audio { rate, channels, length } => {
                (wanted.rate, wanted.channels, wanted.length) = (rate, channels, length);
            }
            Format::Bytes { room } => wanted.length = room,
        }
        if self.taken & 1 << output.0 != 0 {
            return Err(Error::other("an output takes one frame a call"));
        }
        // SAFETY: inside `process`; the index is an output's, and `from` null or a
        // frame that is kept.
        let frame = unsafe { (self.host.table().frame_new)(self.host.0, output.0 as u32, &wanted, from) };
        if frame.is_null() {
            return Err(Error::memory("the host has no frame to give"));
        }
        // SAFETY: there are at least as many outputs as the kind has.
        unsafe { *self.call.outputs.add(output.0) = frame };
        self.writing(output.0).map_or_else(
            || Err(Error::other("the host's frame is of an older version")),
            |frame| Edit::of(Writing(frame)),
        )
    }

    /// What is left to do when the effect has returned, and what it holds of this
    /// call is gone.
    pub(crate) fn finish(self) {
        for index in (0..self.spec.outputs.len()).filter(|index| self.withheld & 1 << index != 0) {
            // SAFETY: there are at least as many outputs as the kind has.
            let frame = unsafe { ptr::replace(self.call.outputs.add(index), ptr::null_mut()) };
            if self.spec.outputs[index].flags & abi::SIDETONE_PORT_OWN_FORMAT != 0 && !frame.is_null() {
                self.host.release(frame);
            }
        }
    }

    /// Runs an effect on its first output.
    pub(crate) fn in_place<E: Edit<'a>>(
        &mut self,
        work: impl FnOnce(&mut E, &Self) -> Result<Done, Error>,
    ) -> Result<Done, Error> {
        if self.is_last() {
            return Ok(self.nothing_more());
        }
        let frame = self.writing(0).ok_or_else(|| Error::format("nothing came in"))?;
        work(&mut E::of(Writing(frame))?, self)
    }

    /// Runs an effect from its first input to its first output.
    pub(crate) fn in_to_out<V: View<'a>, E: Edit<'a>>(
        &mut self,
        work: impl FnOnce(&V, &mut E, &Self) -> Result<Done, Error>,
    ) -> Result<Done, Error> {
        if self.is_last() {
            return Ok(self.nothing_more());
        }
        let input = self.reading(0).ok_or_else(|| Error::format("nothing came in"))?;
        let output = self.writing(0).ok_or_else(|| Error::format("there is nothing to write to"))?;
        work(&V::of(Reading(input))?, &mut E::of(Writing(output))?, self)
    }

    fn nothing_more(&mut self) -> Done {
        self.withheld = (1 << self.spec.outputs.len()) - 1;
        Done::End
    }
}
