//! The interface between Sidetone and its plugins: plain C, as `#[repr(C)]`
//! types. `plugins/include/sidetone_plugin.h` is generated from this file.
//!
//! A plugin is a shared library with one exported symbol,
//! `sidetone_plugin_entry`, that gives a [`Bundle`]: a table of the kinds of
//! node it has. The host makes instances of a kind, gives them frames, and
//! takes frames from them.
//!
//! **How it grows.** Within one major version nothing is taken away and nothing
//! changes its meaning. Every struct begins with `size`, its size in bytes as
//! whoever filled it in knows it, and only ever grows at its end: look at a field
//! only if `size` covers it. Elements of arrays lie `*_stride` bytes apart, so
//! that they may grow too. Fields called `reserved` are 0. What is optional is an
//! extension, asked for by a name such as `sidetone.state/1`, in both directions;
//! names that begin with `sidetone.draft.` may change or go.
//!
//! **Threads.** Each function says where it is called:
//! `[control]` on any thread that may block and allocate, never two at once for
//! one instance; `[real-time]` on the lane that runs the node: do not block,
//! allocate, lock, do input or output, or call the system; `[any]` anywhere.
//! Nothing is ever called twice at once for one instance.
//!
//! **Text** is UTF-8, ends with a zero byte, and belongs to whoever gave it; what
//! a table points to lives as long as the library is loaded.
//!
//! **Safety.** No function may unwind or `longjmp` into its caller.

#![no_std]

use core::ffi::{c_char, c_void};

pub mod draft;

/// The major version: hosts and plugins of different ones do not work together.
pub const SIDETONE_ABI_MAJOR: u32 = 1;
/// The minor version: grows when something is added.
pub const SIDETONE_ABI_MINOR: u32 = 0;
/// Both, as `sidetone_plugin_entry` is told: the major version in the upper 16
/// bits, the minor in the lower.
pub const SIDETONE_ABI: u32 = SIDETONE_ABI_MAJOR << 16 | SIDETONE_ABI_MINOR;

/// All is well: what stands in `outputs` goes out.
pub const SIDETONE_OK: i32 = 0;
/// Nothing goes out, and what came in goes no further: counted as dropped.
pub const SIDETONE_DROP: i32 = 1;
/// Nothing goes out yet: the instance holds what it needs of what came in.
pub const SIDETONE_NEED_MORE: i32 = 2;
/// What stands in `outputs` goes out, and nothing more comes from this instance.
pub const SIDETONE_END: i32 = 3;
/// Something went wrong that has no name of its own; say what by `log`.
pub const SIDETONE_ERROR: i32 = -1;
/// A frame came whose format the kind does not take.
pub const SIDETONE_ERROR_FORMAT: i32 = -2;
/// A packet, data or a saved state is damaged.
pub const SIDETONE_ERROR_MEDIA: i32 = -3;
/// There is not enough memory.
pub const SIDETONE_ERROR_MEMORY: i32 = -4;
/// The plugin panicked and caught it; the instance is called no more.
pub const SIDETONE_ERROR_PANIC: i32 = -5;
/// A device, file or library that the plugin needs failed.
pub const SIDETONE_ERROR_RESOURCE: i32 = -6;

/// Raw pictures: `planes` are Y, Cb and Cr.
pub const SIDETONE_MEDIA_VIDEO: u32 = 1;
/// Raw sound: `planes` are channels of 32-bit float samples, nominally −1 to 1.
pub const SIDETONE_MEDIA_AUDIO: u32 = 2;
/// Packets of a codec: one plane, whose `width` is the length in bytes.
pub const SIDETONE_MEDIA_PACKET: u32 = 3;
/// Data of a named shape: one plane, whose `width` is the length in bytes.
pub const SIDETONE_MEDIA_DATA: u32 = 4;

/// For ports: any format of its media.
pub const SIDETONE_FORMAT_ANY: u32 = 0;
/// Pictures: 8-bit Y, Cb and Cr planes, BT.601 limited range; Cb and Cr have half
/// the width and half the height, rounded up.
pub const SIDETONE_FORMAT_I420: u32 = 1;
/// Sound: 32-bit float samples, native byte order, one plane a channel.
pub const SIDETONE_FORMAT_F32: u32 = 2;
/// Packets: Opus, RFC 6716.
pub const SIDETONE_FORMAT_OPUS: u32 = 3;
/// Packets: AV1, low-overhead bitstream format, one temporal unit a packet.
pub const SIDETONE_FORMAT_AV1: u32 = 4;

/// A decoder can start at this packet.
pub const SIDETONE_FRAME_KEY: u32 = 1;
/// The frame that should stand here never came.
pub const SIDETONE_FRAME_LOST: u32 = 2;
/// Time or contents do not go on from the frame before.
pub const SIDETONE_FRAME_DISCONTINUITY: u32 = 4;
/// The sender had nothing to say.
pub const SIDETONE_FRAME_SILENCE: u32 = 8;

/// An input that may stay unlinked; its place in `inputs` is null then.
pub const SIDETONE_PORT_OPTIONAL: u32 = 1;
/// An output whose frames the plugin makes itself, by `frame_new`; its place in
/// `outputs` is null when `process` is called. Without it the host has made a
/// frame of the format of the first input.
pub const SIDETONE_PORT_OWN_FORMAT: u32 = 2;

/// `true` or `false`: `number` is 1 or 0.
pub const SIDETONE_PARAM_BOOL: u32 = 1;
/// A whole number from `min` to `max`, both within ±2⁵³.
pub const SIDETONE_PARAM_INT: u32 = 2;
/// A number from `min` to `max`.
pub const SIDETONE_PARAM_FLOAT: u32 = 3;
/// One of `choices`: `number` is its place, from 0.
pub const SIDETONE_PARAM_CHOICE: u32 = 4;
/// Any text: in `text`; `number` is 0.
pub const SIDETONE_PARAM_TEXT: u32 = 5;
/// The path of a file: in `text`; `number` is 0.
pub const SIDETONE_PARAM_PATH: u32 = 6;

/// It may change while running: `process` gets an event then. Not for text and
/// paths.
pub const SIDETONE_PARAM_LIVE: u32 = 1;
/// The graph must give it.
pub const SIDETONE_PARAM_REQUIRED: u32 = 2;

/// The first output is worked out in the first input's place: when `process` is
/// called it holds the same as the input (it is the input's own memory where
/// nobody else holds that, else a copy). So read and write the output, and leave
/// the input alone.
pub const SIDETONE_KIND_IN_PLACE: u32 = 1;
/// `process` neither allocates, locks, nor calls the system.
pub const SIDETONE_KIND_REAL_TIME: u32 = 2;
/// The same input, parameters and seed give the same bytes.
pub const SIDETONE_KIND_DETERMINISTIC: u32 = 4;
/// With every number parameter at 0 the first input goes out unchanged, byte for
/// byte.
pub const SIDETONE_KIND_IDENTITY_AT_ZERO: u32 = 8;
/// It must run in a process of its own.
pub const SIDETONE_KIND_ISOLATE: u32 = 16;

/// `process` gets no frames any more: give what is held back, one call after
/// another, and `SIDETONE_END` with the last.
pub const SIDETONE_CALL_LAST: u32 = 1;

/// A parameter has another value.
pub const SIDETONE_EVENT_PARAM: u32 = 1;

/// For `log`: it cannot go on.
pub const SIDETONE_LOG_ERROR: u32 = 1;
/// For `log`: it goes on, and somebody should look.
pub const SIDETONE_LOG_WARNING: u32 = 2;
/// For `log`: worth knowing.
pub const SIDETONE_LOG_INFO: u32 = 3;
/// For `log`: for whoever works on the plugin.
pub const SIDETONE_LOG_DEBUG: u32 = 4;

/// One plane of a picture, one channel of sound, or the bytes of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// Bytes of this struct.
    pub size: u32,
    /// Samples in a row: pixels, sound samples, or the length of a packet or of
    /// data in bytes, which whoever made it with `frame_new` sets.
    pub width: u32,
    /// Rows; 1 for all that is no picture.
    pub height: u32,
    /// 0.
    pub reserved: u32,
    /// Bytes from row to row, at least `width`; each row begins on a multiple of
    /// 64 bytes. What lies between rows is nobody's: it may be written, and holds
    /// anything.
    pub stride: usize,
    /// Bytes at `data`.
    pub capacity: usize,
    /// The first row, on a multiple of 64 bytes. Of an input: not to be written.
    pub data: *mut u8,
}

/// A picture, sound, packet or data. It belongs to the host.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Bytes of this struct.
    pub size: u32,
    /// `SIDETONE_MEDIA_*`.
    pub media: u32,
    /// `SIDETONE_FORMAT_*`; 0 for data.
    pub format: u32,
    /// `SIDETONE_FRAME_*`, added up.
    pub flags: u32,
    /// Its place on the sender's timeline, in nanoseconds.
    pub pts_ns: u64,
    /// When its first sample was captured, on the clock of `now_ns`.
    pub captured_ns: u64,
    /// How long it lasts; 0 where that is not known.
    pub duration_ns: u64,
    /// Counts up by one from each source; a gap is a loss.
    pub sequence: u64,
    /// Pixels in a row of a picture, from 1 to 16,384, odd numbers too; else 0.
    pub width: u32,
    /// Rows of a picture, likewise.
    pub height: u32,
    /// Samples per second of sound; else 0.
    pub rate: u32,
    /// Planes of a picture (3), channels of sound (1 to 8), else 1.
    pub plane_count: u32,
    /// Bytes from one plane to the next in `planes`.
    pub plane_stride: u32,
    /// 0.
    pub reserved: u32,
    /// The planes.
    pub planes: *mut Plane,
    /// The name of the shape of data, such as `sidetone.mask/1`; else null.
    pub shape: *const c_char,
}

/// What a new frame is to be.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Bytes of this struct.
    pub size: u32,
    /// `SIDETONE_MEDIA_*`.
    pub media: u32,
    /// `SIDETONE_FORMAT_*`; 0 for data.
    pub format: u32,
    /// Pixels in a row of a picture.
    pub width: u32,
    /// Rows of a picture.
    pub height: u32,
    /// Samples per second of sound.
    pub rate: u32,
    /// Channels of sound.
    pub channels: u32,
    /// Samples a channel of sound; bytes that a packet or data have room for.
    pub length: u32,
}

/// The value of a parameter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// Bytes of this struct.
    pub size: u32,
    /// The parameter's number.
    pub id: u32,
    /// Its value, as `SIDETONE_PARAM_*` says.
    pub number: f64,
    /// Text or path; null for all others. Lives as long as the call.
    pub text: *const c_char,
}

/// Something that happened since the call before.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Bytes of this struct.
    pub size: u32,
    /// `SIDETONE_EVENT_*`; leave alone what you do not know.
    pub event: u32,
    /// When, on the clock of `now_ns`; events come in order of time.
    pub time_ns: u64,
    /// For `SIDETONE_EVENT_PARAM`: the parameter's number.
    pub id: u32,
    /// 0.
    pub reserved: u32,
    /// Its value now, as `SIDETONE_PARAM_*` says.
    pub number: f64,
}

/// One call of `process`: what comes in, and what goes out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Bytes of this struct.
    pub size: u32,
    /// `SIDETONE_CALL_*`, added up.
    pub flags: u32,
    /// The time at which the call began, in nanoseconds.
    pub now_ns: u64,
    /// Inputs, as many as the kind has.
    pub input_count: u32,
    /// Outputs, as many as the kind has.
    pub output_count: u32,
    /// A frame for each input, in the order of the kind's table. The first is
    /// new; of each other input it is the latest that came, or null if none did.
    /// They may be read until `process` returns; `frame_retain` keeps one longer.
    pub inputs: *const *const Frame,
    /// A frame for each output, made by the host (see `SIDETONE_PORT_OWN_FORMAT`
    /// and `SIDETONE_KIND_IN_PLACE`; with `SIDETONE_CALL_LAST` none), whose samples are left over from its last
    /// user. Set a place to null, and nothing goes out there. The host takes them
    /// when `process` returns.
    pub outputs: *mut *mut Frame,
    /// Events.
    pub event_count: u32,
    /// Bytes from event to event.
    pub event_stride: u32,
    /// The events, in order of time.
    pub events: *const Event,
}

/// What an instance is made from.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Bytes of this struct.
    pub size: u32,
    /// Parameters: every one of the kind that has a value.
    pub param_count: u32,
    /// Bytes from one to the next.
    pub param_stride: u32,
    /// 0.
    pub reserved: u32,
    /// Their values.
    pub params: *const Value,
    /// The only randomness to be used: the same graph and seed give the same one.
    pub seed: u64,
}

/// What the host does for a plugin. A pointer to it is good for as long as the
/// instance it was given to; that given to `sidetone_plugin_entry`, for ever (it
/// makes no frames and has no parameters).
#[repr(C)]
pub struct Host {
    /// Bytes of this struct.
    pub size: u32,
    /// The host's version, as `SIDETONE_ABI`.
    pub abi: u32,
    /// The host's own.
    pub context: *mut c_void,
    /// Says something to whoever runs the graph: `SIDETONE_LOG_*` and text. On a
    /// lane it takes at most 256 bytes of the text, and of very many some go
    /// unsaid. \[any\]
    pub log: unsafe extern "C" fn(host: *const Host, level: u32, text: *const c_char),
    /// The time at which the present call began, in nanoseconds: there is no other
    /// clock in a graph, so that runs can be repeated. \[real-time\], inside
    /// `process`; else 0
    pub now_ns: unsafe extern "C" fn(host: *const Host) -> u64,
    /// A frame for output `port`, to be put into `outputs`; its times are those of
    /// `from`, or of the first input where that is null. Null when the host has no
    /// more, or the format is none. \[real-time\], inside `process`
    pub frame_new: unsafe extern "C" fn(
        host: *const Host,
        port: u32,
        format: *const Format,
        from: *const Frame,
    ) -> *mut Frame,
    /// Keeps an input: gives a pointer that may be read until `frame_release`.
    /// Null when too many are kept (64). Not for the first input of a kind that works
    /// in place, whose memory is written. \[real-time\], inside `process`
    pub frame_retain: unsafe extern "C" fn(host: *const Host, frame: *const Frame) -> *const Frame,
    /// Lets go what `frame_retain` gave, or a frame of `frame_new` that is not put
    /// out. \[real-time\], inside `process`, or in `destroy`
    pub frame_release: unsafe extern "C" fn(host: *const Host, frame: *const Frame),
    /// Reports a figure: a name in snake_case, unit included, and its value, as
    /// often as it changes. \[real-time\], inside `process`
    pub emit: unsafe extern "C" fn(host: *const Host, name: *const c_char, value: f64),
    /// The value of parameter `id` as the graph has it now; 0 for text.
    /// \[real-time\], inside `process`
    pub param: unsafe extern "C" fn(host: *const Host, id: u32) -> f64,
    /// An extension of the host's, or null. What it points to lives as long as the
    /// host. \[any\]
    pub extension: unsafe extern "C" fn(host: *const Host, name: *const c_char) -> *const c_void,
}

/// A parameter that a kind declares.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Bytes of this struct.
    pub size: u32,
    /// Its number: the kind's own, the same in all versions of it.
    pub id: u32,
    /// `SIDETONE_PARAM_BOOL` … `SIDETONE_PARAM_PATH`.
    pub param_type: u32,
    /// `SIDETONE_PARAM_LIVE`, `SIDETONE_PARAM_REQUIRED`, added up.
    pub flags: u32,
    /// Its name in graph files: snake_case, unit included (`delay_ms`).
    pub name: *const c_char,
    /// Its unit as people write it ("dB"); "" or null where it has none.
    pub unit: *const c_char,
    /// One sentence that says what it does.
    pub doc: *const c_char,
    /// The least number.
    pub min: f64,
    /// The greatest number.
    pub max: f64,
    /// By how much a control should step; 0 where that does not matter.
    pub step: f64,
    /// What it is when the graph does not say.
    pub default_number: f64,
    /// The same, of text or a path.
    pub default_text: *const c_char,
    /// The words of a choice, 1 to 64.
    pub choice_count: u32,
    /// 0.
    pub reserved: u32,
    /// The words.
    pub choices: *const *const c_char,
}

/// A port that a kind declares.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Bytes of this struct.
    pub size: u32,
    /// `SIDETONE_MEDIA_*`.
    pub media: u32,
    /// `SIDETONE_FORMAT_*`.
    pub format: u32,
    /// `SIDETONE_PORT_*`, added up.
    pub flags: u32,
    /// Its name in graph files: snake_case.
    pub name: *const c_char,
    /// One sentence that says what it carries.
    pub doc: *const c_char,
    /// The shape of data; else null.
    pub shape: *const c_char,
    /// The one sample rate that it takes; 0 for any.
    pub rate: u32,
    /// The one number of channels that it takes; 0 for any.
    pub channels: u32,
}

/// A kind of node.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Bytes of this struct.
    pub size: u32,
    /// `SIDETONE_KIND_*`, added up.
    pub flags: u32,
    /// Its name in graph files: two words in snake_case with a dot between them,
    /// the first its bundle's id: `acme.sepia`.
    pub kind: *const c_char,
    /// One sentence.
    pub summary: *const c_char,
    /// All that a user should know, as Markdown; "" or null where that is all.
    pub doc: *const c_char,
    /// How much later frames go out than they come in, its work aside, in
    /// nanoseconds: lookahead, buffering.
    pub latency_ns: u64,
    /// Inputs, 1 to 8. The first is the one whose frames `process` is called for.
    pub input_count: u32,
    /// Bytes from input to input.
    pub input_stride: u32,
    /// The inputs.
    pub inputs: *const Port,
    /// Outputs, 0 to 8.
    pub output_count: u32,
    /// Bytes from output to output.
    pub output_stride: u32,
    /// The outputs.
    pub outputs: *const Port,
    /// Parameters, 0 to 256.
    pub param_count: u32,
    /// Bytes from parameter to parameter.
    pub param_stride: u32,
    /// The parameters.
    pub params: *const Param,
    /// Makes an instance, or gives null and has said why by `log`. Null is no
    /// instance, so an effect without state gives any other pointer. \[control\]
    pub create: Option<unsafe extern "C" fn(host: *const Host, setup: *const Setup) -> *mut c_void>,
    /// Ends an instance; it is called no more. \[control\]
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// Works on what has come: gives `SIDETONE_OK`, `SIDETONE_DROP`,
    /// `SIDETONE_NEED_MORE`, `SIDETONE_END`, or an error, after which what the
    /// graph says about faults applies. \[real-time\]
    pub process: Option<unsafe extern "C" fn(instance: *mut c_void, call: *mut Call) -> i32>,
    /// An extension of the kind's, such as `sidetone.state/1`, or null; may itself
    /// be null. What it points to lives as long as the library. \[any\]
    pub extension: Option<unsafe extern "C" fn(name: *const c_char) -> *const c_void>,
}

/// What a library has: the kinds of node, and whose they are.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bundle {
    /// Bytes of this struct.
    pub size: u32,
    /// The version that the plugin was built for, as `SIDETONE_ABI`.
    pub abi: u32,
    /// Its id: one word in snake_case, the first word of each of its kinds.
    pub id: *const c_char,
    /// Its version, as in semantic versioning: `1.2.0`.
    pub version: *const c_char,
    /// Who made it; "" or null where that is not said.
    pub vendor: *const c_char,
    /// Its licence as an SPDX expression; "" or null where that is not said.
    pub license: *const c_char,
    /// Kinds, 1 to 256.
    pub kind_count: u32,
    /// Bytes from kind to kind.
    pub kind_stride: u32,
    /// The kinds.
    pub kinds: *const Kind,
}

/// The one symbol that a plugin exports, `sidetone_plugin_entry`: gives its table,
/// the same at every call, or null if it cannot work with a host of version
/// `host_abi` (another major version, above all). \[control\]
pub type Entry = unsafe extern "C" fn(host_abi: u32, host: *const Host) -> *const Bundle;

/// The name of the one symbol that a plugin exports.
pub const SIDETONE_ENTRY: &str = "sidetone_plugin_entry";

/// An extension of kinds: what an instance has learnt or been set to, beside its
/// parameters, can be saved and given to another one.
pub const SIDETONE_EXTENSION_STATE: &str = "sidetone.state/1";

/// `sidetone.state/1`. Both are called between two calls of `process`, on its
/// thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Bytes of this struct.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Writes the state to `buffer` if it takes at most `capacity` bytes. Gives
    /// how many it takes (at most 16 MiB), or an error. Called with a null buffer
    /// first. \[control\]
    pub save: Option<unsafe extern "C" fn(instance: *mut c_void, buffer: *mut u8, capacity: u64) -> i64>,
    /// Takes over a state of `length` bytes, which may be damaged or another
    /// version's: gives `SIDETONE_OK`, or `SIDETONE_ERROR_MEDIA` and is as it was.
    /// \[control\]
    pub load: Option<unsafe extern "C" fn(instance: *mut c_void, state: *const u8, length: u64) -> i32>,
}

/// The shape of data that says where faces are: [`FaceLandmarks`], then faces.
pub const SIDETONE_SHAPE_FACE_LANDMARKS: &str = "sidetone.face_landmarks/1";
/// The shape of data that says which part of a picture is in front: [`Mask`],
/// then rows of bytes.
pub const SIDETONE_SHAPE_MASK: &str = "sidetone.mask/1";

/// How data of `sidetone.face_landmarks/1` begins. All is little-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FaceLandmarks {
    /// Bytes of this struct.
    pub size: u32,
    /// Points a face: 5 (left eye, right eye, tip of the nose, left and right
    /// corner of the mouth, as seen in the picture), 68 (iBUG 300-W) or 106
    /// (JD-landmark).
    pub scheme: u32,
    /// Faces, at most 64.
    pub face_count: u32,
    /// Bytes from face to face.
    pub face_stride: u32,
    /// Bytes from the beginning of the data to the first face.
    pub faces_offset: u32,
}

/// A face; `scheme` pairs of float follow it, x and y of each point. 0 is the left
/// or upper edge of the picture, 1 the right or lower; all are finite.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Face {
    /// How sure it is, 0 to 1.
    pub confidence: f32,
    /// The left edge of the face.
    pub left: f32,
    /// Its upper edge.
    pub top: f32,
    /// Its width.
    pub width: f32,
    /// Its height.
    pub height: f32,
}

/// How data of `sidetone.mask/1` begins. All is little-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// Bytes of this struct.
    pub size: u32,
    /// Bytes in a row, 1 to 4,096: 255 is in front, 0 behind. The mask covers the
    /// whole picture, whatever its size.
    pub width: u32,
    /// Rows, 1 to 4,096.
    pub height: u32,
    /// Bytes from row to row.
    pub row_stride: u32,
    /// Bytes from the beginning of the data to the first row.
    pub rows_offset: u32,
}
