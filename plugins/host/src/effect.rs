//! `Effect`: an instance of somebody's effect, whatever interface it was
//! written for; `Job`: one call of it; `Desk`: what it may ask for meanwhile.
//!
//! Frames are told apart by their pointers, as in the plugin interface: whoever
//! makes a `Job` answers for all of its pointers.

use std::ffi::c_char;
use std::marker::PhantomData;

use sidetone_core::Fault;
use sidetone_core::frame::Frame;
use sidetone_plugin_abi as abi;

/// An instance of an effect. Its methods are called on one thread at a time.
pub trait Effect: Send {
    /// Works on what has come. \[real-time\]
    ///
    /// # Errors
    /// A fault, after which it is called no more.
    fn process(&mut self, job: &mut Job<'_>) -> Result<Outcome, Fault>;

    /// What can be given to another instance, if it has that. Between two calls of
    /// `process`.
    fn save_state(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Takes over what another gave. Between two calls of `process`.
    ///
    /// # Errors
    /// The state is damaged or of another version; it is as it was.
    fn load_state(&mut self, state: &[u8]) -> Result<(), Fault> {
        let _ = state;
        Ok(())
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What stands in the outputs goes out.
    Ok,
    /// What came in goes no further.
    Drop,
    /// Nothing goes out yet.
    NeedMore,
    /// What stands in the outputs goes out, and nothing more comes.
    End,
}

/// One call of an effect: frames in and out, and parameters that changed.
pub struct Job<'a> {
    /// As the plugin interface has it.
    call: abi::Call,
    desk: &'a mut dyn Desk,
    lives: PhantomData<&'a abi::Frame>,
}

impl<'a> Job<'a> {
    /// A call at `now`, in nanoseconds.
    ///
    /// # Safety
    /// Every pointer in `inputs` and `outputs` is null or points to an
    /// [`abi::Frame`] whose planes and data may be used for `'a`: read, or, of
    /// outputs, read and written by nobody else; the planes are as its fields say.
    /// An input may share its data with an output.
    pub(crate) unsafe fn new(
        now: u64,
        flags: u32,
        inputs: &'a [*const abi::Frame],
        outputs: &'a mut [*mut abi::Frame],
        events: &'a [abi::Event],
        desk: &'a mut dyn Desk,
    ) -> Self {
        let call = abi::Call {
            size: size_of::<abi::Call>() as u32,
            flags,
            now_ns: now,
            input_count: inputs.len() as u32,
            output_count: outputs.len() as u32,
            inputs: inputs.as_ptr(),
            outputs: outputs.as_mut_ptr(),
            event_count: events.len() as u32,
            event_stride: size_of::<abi::Event>() as u32,
            events: events.as_ptr(),
        };
        Self { call, desk, lives: PhantomData }
    }

    /// As the plugin interface has it, and what may be asked for meanwhile.
    pub(crate) fn raw(&mut self) -> (&mut abi::Call, &mut (dyn Desk + 'a)) {
        (&mut self.call, self.desk)
    }

    /// The first of these alone.
    ///
    /// # Safety
    /// `job` is there.
    pub(crate) const unsafe fn call_of(job: *mut Self) -> *mut abi::Call {
        // SAFETY: the caller's.
        unsafe { &raw mut (*job).call }
    }

    /// The second of these alone.
    ///
    /// # Safety
    /// `job` is there for as long as what this gives is used, and nobody else uses
    /// that desk meanwhile.
    pub(crate) unsafe fn desk_of<'b>(job: *mut Self) -> &'b mut (dyn Desk + 'a) {
        // SAFETY: the caller's.
        unsafe { &mut *(*job).desk }
    }

    /// When it began, in nanoseconds.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.call.now_ns
    }

    /// Whether no more frames come, and what is held back is asked for.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.call.flags & abi::SIDETONE_CALL_LAST != 0
    }

    /// The frame of input `port`, if there is one.
    #[must_use]
    pub fn input(&self, port: usize) -> Option<View<'_>> {
        // SAFETY: whoever made the job answers for the array and its pointers.
        unsafe { self.inputs().get(port)?.as_ref().map(View) }
    }

    /// The frame of output `port`, if there is one.
    pub fn output(&mut self, port: usize) -> Option<ViewMut<'_>> {
        // SAFETY: as above; `&mut self` lends one output at a time, and inputs not
        // at all meanwhile.
        unsafe { self.outputs_mut().get(port)?.as_mut().map(ViewMut) }
    }

    /// The frames of an input and an output at once, which must not share memory.
    ///
    /// # Panics
    /// If they do: it is a defect in whoever made the job.
    pub fn both(&mut self, input: usize, output: usize) -> Option<(View<'_>, ViewMut<'_>)> {
        // SAFETY: as above.
        unsafe {
            let from = self.inputs().get(input)?.as_ref()?;
            let to = self.outputs_mut().get(output)?.as_mut()?;
            let shares = View(from).plane(0).is_some_and(|from| {
                View(to).plane(0).is_some_and(|to| from.data.as_ptr() == to.data.as_ptr())
            });
            assert!(!shares, "an effect that is not in place was given one buffer for both");
            Some((View(from), ViewMut(to)))
        }
    }

    /// Has the host make a frame of `format` for output `port`, with the times of the
    /// first input; whether there was one to be had.
    pub fn make_output(&mut self, port: usize, format: &abi::Format) -> bool {
        let made = self.desk.new_frame(port, format, std::ptr::null());
        match self.outputs_mut().get_mut(port) {
            Some(place) if !made.is_null() => {
                *place = made;
                true
            }
            _ => false,
        }
    }

    /// Whether there may be any of [`Job::changes`].
    #[must_use]
    pub const fn has_changes(&self) -> bool {
        self.call.event_count > 0
    }

    /// Parameters that changed since the call before: number and value.
    pub fn changes(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        // SAFETY: whoever made the job answers for the array.
        let events = unsafe { slice(self.call.events, self.call.event_count) };
        let changed = events.iter().filter(|event| event.event == abi::SIDETONE_EVENT_PARAM);
        changed.map(|event| (event.id, event.number))
    }

    /// Says something to whoever runs the graph.
    pub fn log(&mut self, level: u32, text: &str) {
        self.desk.log(level, text);
    }

    fn inputs(&self) -> &[*const abi::Frame] {
        // SAFETY: whoever made the job answers for the array.
        unsafe { slice(self.call.inputs, self.call.input_count) }
    }

    fn outputs_mut(&mut self) -> &mut [*mut abi::Frame] {
        // SAFETY: as above, and `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(self.call.outputs, self.call.output_count as usize) }
    }
}

/// # Safety
/// `count` elements at `start` live for `'a`; `start` may be anything if there are
/// none.
unsafe fn slice<'a, T>(start: *const T, count: u32) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts(start, count as usize) }
}

/// What an effect may ask for during a call. \[real-time\]
pub trait Desk {
    /// A frame for output `port`, with the times of `from` or, where that is null,
    /// of the first input; null where there is none to be had.
    fn new_frame(&mut self, port: usize, format: &abi::Format, from: *const abi::Frame) -> *mut abi::Frame;
    /// Keeps a frame beyond the call; null where too many are kept.
    fn retain(&mut self, frame: *const abi::Frame) -> *const abi::Frame;
    /// Lets go what was kept or new.
    fn release(&mut self, frame: *const abi::Frame);
    /// Says something to whoever runs the graph.
    fn log(&mut self, level: u32, text: &str);
    /// Reports a figure.
    fn emit(&mut self, name: &str, value: f64);
    /// The framework's own frame behind one of a job, if it is one.
    fn frame(&self, frame: *const abi::Frame) -> Option<&Frame>;
}

/// A frame to read.
#[derive(Clone, Copy)]
pub struct View<'a>(&'a abi::Frame);

/// A plane to read: rows, each `stride` bytes after the one before.
#[derive(Clone, Copy)]
pub struct ViewPlane<'a> {
    /// Everything from the first row to the last.
    pub data: &'a [u8],
    /// Bytes from row to row.
    pub stride: usize,
    /// Samples in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl<'a> View<'a> {
    /// As the plugin interface has it.
    #[must_use]
    pub const fn raw(&self) -> &'a abi::Frame {
        self.0
    }

    /// Plane `index` of a picture, or of data or a packet.
    #[must_use]
    pub fn plane(&self, index: usize) -> Option<ViewPlane<'a>> {
        let plane = plane_of(self.0, index)?;
        // SAFETY: whoever made the job answers for `capacity` bytes at `data`.
        let data = unsafe { std::slice::from_raw_parts(plane.data, plane.capacity) };
        Some(ViewPlane {
            data,
            stride: plane.stride,
            width: plane.width as usize,
            height: plane.height as usize,
        })
    }

    /// The samples of channel `index` of sound.
    #[must_use]
    pub fn channel(&self, index: usize) -> Option<&'a [f32]> {
        let plane = channel_of(self.0, index)?;
        // SAFETY: as above; sound is aligned to 64 bytes and holds floats.
        Some(unsafe { std::slice::from_raw_parts(plane.data.cast::<f32>(), plane.width as usize) })
    }
}

/// A frame to write.
pub struct ViewMut<'a>(&'a mut abi::Frame);

impl<'a> ViewMut<'a> {
    /// The same, to read.
    #[must_use]
    pub const fn as_view(&self) -> View<'_> {
        View(self.0)
    }

    /// The bytes of plane `index`; its shape is that of `as_view().plane(index)`.
    pub fn plane_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let plane = plane_of(self.0, index)?;
        // SAFETY: whoever made the job answers for `capacity` bytes at `data`, to
        // be written by nobody else; `&mut self` lends them once.
        Some(unsafe { std::slice::from_raw_parts_mut(plane.data, plane.capacity) })
    }

    /// The three planes of a picture.
    pub fn planes_mut(self) -> Option<[&'a mut [u8]; 3]> {
        let [a, b, c] = [0, 1, 2].map(|index| plane_of(self.0, index));
        // SAFETY: as above; planes of a picture lie beside one another.
        let bytes =
            |plane: &abi::Plane| unsafe { std::slice::from_raw_parts_mut(plane.data, plane.capacity) };
        Some([bytes(&a?), bytes(&b?), bytes(&c?)])
    }

    /// The samples of channel `index` of sound.
    pub fn channel_mut(&mut self, index: usize) -> Option<&mut [f32]> {
        let plane = channel_of(self.0, index)?;
        // SAFETY: as above.
        Some(unsafe { std::slice::from_raw_parts_mut(plane.data.cast::<f32>(), plane.width as usize) })
    }
}

fn plane_of(frame: &abi::Frame, index: usize) -> Option<abi::Plane> {
    // SAFETY: whoever made the job answers for `plane_count` planes, and makes them
    // of this very type.
    (index < frame.plane_count as usize).then(|| unsafe { *frame.planes.add(index) })
}

fn channel_of(frame: &abi::Frame, index: usize) -> Option<abi::Plane> {
    let plane = plane_of(frame, index).filter(|_| frame.media == abi::SIDETONE_MEDIA_AUDIO)?;
    (plane.width as usize * size_of::<f32>() <= plane.capacity).then_some(plane)
}

/// The text that a plugin gave, at most `most` bytes of it; empty where it is none,
/// or no UTF-8. \[real-time\]
///
/// # Safety
/// `text` is null or points to bytes that end with a zero and live for `'a`.
pub(crate) unsafe fn text_of<'a>(text: *const c_char, most: usize) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: no zero comes before the first, so the text goes on at least to it.
    let length = (0..most).find(|at| unsafe { *text.add(*at) == 0 }).unwrap_or(most);
    // SAFETY: as many bytes were just looked at.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    std::str::from_utf8(bytes).unwrap_or_else(|why| {
        // What was cut off in the middle of a letter, or is none from there on.
        std::str::from_utf8(&bytes[..why.valid_up_to()]).unwrap_or_default()
    })
}
