/*
 * The interface between Sidetone and its plugins: plain C, as `#[repr(C)]`
 * types. `plugins/include/sidetone_plugin.h` is generated from this file.
 *
 * A plugin is a shared library with one exported symbol,
 * `sidetone_plugin_entry`, that gives a `Bundle`: a table of the kinds of
 * node it has. The host makes instances of a kind, gives them frames, and
 * takes frames from them.
 *
 * **How it grows.** Within one major version nothing is taken away and nothing
 * changes its meaning. Every struct begins with `size`, its size in bytes as
 * whoever filled it in knows it, and only ever grows at its end: look at a field
 * only if `size` covers it. Elements of arrays lie `*_stride` bytes apart, so
 * that they may grow too. Fields called `reserved` are 0. What is optional is an
 * extension, asked for by a name such as `sidetone.state/1`, in both directions;
 * names that begin with `sidetone.draft.` may change or go.
 *
 * **Threads.** Each function says where it is called:
 * `[control]` on any thread that may block and allocate, never two at once for
 * one instance; `[real-time]` on the lane that runs the node: do not block,
 * allocate, lock, do input or output, or call the system; `[any]` anywhere.
 * Nothing is ever called twice at once for one instance.
 *
 * **Text** is UTF-8, ends with a zero byte, and belongs to whoever gave it; what
 * a table points to lives as long as the library is loaded.
 *
 * **Safety.** No function may unwind or `longjmp` into its caller.
 *
 * Written by cbindgen from plugins/abi/src/lib.rs.
 */

#ifndef SIDETONE_PLUGIN_H
#define SIDETONE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

// The name of the one symbol that a plugin exports.
#define SIDETONE_ENTRY "sidetone_plugin_entry"

// An extension of kinds: what an instance has learnt or been set to, beside its
// parameters, can be saved and given to another one.
#define SIDETONE_EXTENSION_STATE "sidetone.state/1"

// The shape of data that says where faces are: `FaceLandmarks`, then faces.
#define SIDETONE_SHAPE_FACE_LANDMARKS "sidetone.face_landmarks/1"

// The shape of data that says which part of a picture is in front: `Mask`,
// then rows of bytes.
#define SIDETONE_SHAPE_MASK "sidetone.mask/1"


// The major version: hosts and plugins of different ones do not work together.
#define SIDETONE_ABI_MAJOR 1

// The minor version: grows when something is added.
#define SIDETONE_ABI_MINOR 0

// Both, as `sidetone_plugin_entry` is told: the major version in the upper 16
// bits, the minor in the lower.
#define SIDETONE_ABI ((SIDETONE_ABI_MAJOR << 16) | SIDETONE_ABI_MINOR)

// All is well: what stands in `outputs` goes out.
#define SIDETONE_OK 0

// Nothing goes out, and what came in goes no further: counted as dropped.
#define SIDETONE_DROP 1

// Nothing goes out yet: the instance holds what it needs of what came in.
#define SIDETONE_NEED_MORE 2

// What stands in `outputs` goes out, and nothing more comes from this instance.
#define SIDETONE_END 3

// Something went wrong that has no name of its own; say what by `log`.
#define SIDETONE_ERROR -1

// A frame came whose format the kind does not take.
#define SIDETONE_ERROR_FORMAT -2

// A packet, data or a saved state is damaged.
#define SIDETONE_ERROR_MEDIA -3

// There is not enough memory.
#define SIDETONE_ERROR_MEMORY -4

// The plugin panicked and caught it; the instance is called no more.
#define SIDETONE_ERROR_PANIC -5

// A device, file or library that the plugin needs failed.
#define SIDETONE_ERROR_RESOURCE -6

// Raw pictures: `planes` are Y, Cb and Cr.
#define SIDETONE_MEDIA_VIDEO 1

// Raw sound: `planes` are channels of 32-bit float samples, nominally −1 to 1.
#define SIDETONE_MEDIA_AUDIO 2

// Packets of a codec: one plane, whose `width` is the length in bytes.
#define SIDETONE_MEDIA_PACKET 3

// Data of a named shape: one plane, whose `width` is the length in bytes.
#define SIDETONE_MEDIA_DATA 4

// For ports: any format of its media.
#define SIDETONE_FORMAT_ANY 0

// Pictures: 8-bit Y, Cb and Cr planes, BT.601 limited range; Cb and Cr have half
// the width and half the height, rounded up.
#define SIDETONE_FORMAT_I420 1

// Sound: 32-bit float samples, native byte order, one plane a channel.
#define SIDETONE_FORMAT_F32 2

// Packets: Opus, RFC 6716.
#define SIDETONE_FORMAT_OPUS 3

// Packets: AV1, low-overhead bitstream format, one temporal unit a packet.
#define SIDETONE_FORMAT_AV1 4

// A decoder can start at this packet.
#define SIDETONE_FRAME_KEY 1

// The frame that should stand here never came.
#define SIDETONE_FRAME_LOST 2

// Time or contents do not go on from the frame before.
#define SIDETONE_FRAME_DISCONTINUITY 4

// The sender had nothing to say.
#define SIDETONE_FRAME_SILENCE 8

// An input that may stay unlinked; its place in `inputs` is null then.
#define SIDETONE_PORT_OPTIONAL 1

// An output whose frames the plugin makes itself, by `frame_new`; its place in
// `outputs` is null when `process` is called. Without it the host has made a
// frame of the format of the first input.
#define SIDETONE_PORT_OWN_FORMAT 2

// `true` or `false`: `number` is 1 or 0.
#define SIDETONE_PARAM_BOOL 1

// A whole number from `min` to `max`, both within ±2⁵³.
#define SIDETONE_PARAM_INT 2

// A number from `min` to `max`.
#define SIDETONE_PARAM_FLOAT 3

// One of `choices`: `number` is its place, from 0.
#define SIDETONE_PARAM_CHOICE 4

// Any text: in `text`; `number` is 0.
#define SIDETONE_PARAM_TEXT 5

// The path of a file: in `text`; `number` is 0.
#define SIDETONE_PARAM_PATH 6

// It may change while running: `process` gets an event then. Not for text and
// paths.
#define SIDETONE_PARAM_LIVE 1

// The graph must give it.
#define SIDETONE_PARAM_REQUIRED 2

// The first output is worked out in the first input's place: when `process` is
// called it holds the same as the input (it is the input's own memory where
// nobody else holds that, else a copy). So read and write the output, and leave
// the input alone.
#define SIDETONE_KIND_IN_PLACE 1

// `process` neither allocates, locks, nor calls the system.
#define SIDETONE_KIND_REAL_TIME 2

// The same input, parameters and seed give the same bytes.
#define SIDETONE_KIND_DETERMINISTIC 4

// With every number parameter at 0 the first input goes out unchanged, byte for
// byte.
#define SIDETONE_KIND_IDENTITY_AT_ZERO 8

// It must run in a process of its own.
#define SIDETONE_KIND_ISOLATE 16

// `process` gets no frames any more: give what is held back, one call after
// another, and `SIDETONE_END` with the last.
#define SIDETONE_CALL_LAST 1

// A parameter has another value.
#define SIDETONE_EVENT_PARAM 1

// For `log`: it cannot go on.
#define SIDETONE_LOG_ERROR 1

// For `log`: it goes on, and somebody should look.
#define SIDETONE_LOG_WARNING 2

// For `log`: worth knowing.
#define SIDETONE_LOG_INFO 3

// For `log`: for whoever works on the plugin.
#define SIDETONE_LOG_DEBUG 4

// A port that a kind declares.
typedef struct sidetone_port {
  // Bytes of this struct.
  uint32_t size;
  // `SIDETONE_MEDIA_*`.
  uint32_t media;
  // `SIDETONE_FORMAT_*`.
  uint32_t format;
  // `SIDETONE_PORT_*`, added up.
  uint32_t flags;
  // Its name in graph files: snake_case.
  const char *name;
  // One sentence that says what it carries.
  const char *doc;
  // The shape of data; else null.
  const char *shape;
  // The one sample rate that it takes; 0 for any.
  uint32_t rate;
  // The one number of channels that it takes; 0 for any.
  uint32_t channels;
} sidetone_port;

// A parameter that a kind declares.
typedef struct sidetone_param {
  // Bytes of this struct.
  uint32_t size;
  // Its number: the kind's own, the same in all versions of it.
  uint32_t id;
  // `SIDETONE_PARAM_BOOL` … `SIDETONE_PARAM_PATH`.
  uint32_t param_type;
  // `SIDETONE_PARAM_LIVE`, `SIDETONE_PARAM_REQUIRED`, added up.
  uint32_t flags;
  // Its name in graph files: snake_case, unit included (`delay_ms`).
  const char *name;
  // Its unit as people write it ("dB"); "" or null where it has none.
  const char *unit;
  // One sentence that says what it does.
  const char *doc;
  // The least number.
  double min;
  // The greatest number.
  double max;
  // By how much a control should step; 0 where that does not matter.
  double step;
  // What it is when the graph does not say.
  double default_number;
  // The same, of text or a path.
  const char *default_text;
  // The words of a choice, 1 to 64.
  uint32_t choice_count;
  // 0.
  uint32_t reserved;
  // The words.
  const char *const *choices;
} sidetone_param;

// One plane of a picture, one channel of sound, or the bytes of a packet.
typedef struct sidetone_plane {
  // Bytes of this struct.
  uint32_t size;
  // Samples in a row: pixels, sound samples, or the length of a packet or of
  // data in bytes, which whoever made it with `frame_new` sets.
  uint32_t width;
  // Rows; 1 for all that is no picture.
  uint32_t height;
  // 0.
  uint32_t reserved;
  // Bytes from row to row, at least `width`; each row begins on a multiple of
  // 64 bytes. What lies between rows is nobody's: it may be written, and holds
  // anything.
  size_t stride;
  // Bytes at `data`.
  size_t capacity;
  // The first row, on a multiple of 64 bytes. Of an input: not to be written.
  uint8_t *data;
} sidetone_plane;

// A picture, sound, packet or data. It belongs to the host.
typedef struct sidetone_frame {
  // Bytes of this struct.
  uint32_t size;
  // `SIDETONE_MEDIA_*`.
  uint32_t media;
  // `SIDETONE_FORMAT_*`; 0 for data.
  uint32_t format;
  // `SIDETONE_FRAME_*`, added up.
  uint32_t flags;
  // Its place on the sender's timeline, in nanoseconds.
  uint64_t pts_ns;
  // When its first sample was captured, on the clock of `now_ns`.
  uint64_t captured_ns;
  // How long it lasts; 0 where that is not known.
  uint64_t duration_ns;
  // Counts up by one from each source; a gap is a loss.
  uint64_t sequence;
  // Pixels in a row of a picture, from 1 to 16,384, odd numbers too; else 0.
  uint32_t width;
  // Rows of a picture, likewise.
  uint32_t height;
  // Samples per second of sound; else 0.
  uint32_t rate;
  // Planes of a picture (3), channels of sound (1 to 8), else 1.
  uint32_t plane_count;
  // Bytes from one plane to the next in `planes`.
  uint32_t plane_stride;
  // 0.
  uint32_t reserved;
  // The planes.
  struct sidetone_plane *planes;
  // The name of the shape of data, such as `sidetone.mask/1`; else null.
  const char *shape;
} sidetone_frame;

// What a new frame is to be.
typedef struct sidetone_format {
  // Bytes of this struct.
  uint32_t size;
  // `SIDETONE_MEDIA_*`.
  uint32_t media;
  // `SIDETONE_FORMAT_*`; 0 for data.
  uint32_t format;
  // Pixels in a row of a picture.
  uint32_t width;
  // Rows of a picture.
  uint32_t height;
  // Samples per second of sound.
  uint32_t rate;
  // Channels of sound.
  uint32_t channels;
  // Samples a channel of sound; bytes that a packet or data have room for.
  uint32_t length;
} sidetone_format;

// What the host does for a plugin. A pointer to it is good for as long as the
// instance it was given to; that given to `sidetone_plugin_entry`, for ever (it
// makes no frames and has no parameters).
typedef struct sidetone_host {
  // Bytes of this struct.
  uint32_t size;
  // The host's version, as `SIDETONE_ABI`.
  uint32_t abi;
  // The host's own.
  void *context;
  // Says something to whoever runs the graph: `SIDETONE_LOG_*` and text. On a
  // lane it takes at most 256 bytes of the text, and of very many some go
  // unsaid. [any]
  void (*log)(const struct sidetone_host *host, uint32_t level, const char *text);
  // The time at which the present call began, in nanoseconds: there is no other
  // clock in a graph, so that runs can be repeated. [real-time], inside
  // `process`; else 0
  uint64_t (*now_ns)(const struct sidetone_host *host);
  // A frame for output `port`, to be put into `outputs`; its times are those of
  // `from`, or of the first input where that is null. Null when the host has no
  // more, or the format is none. [real-time], inside `process`
  struct sidetone_frame *(*frame_new)(const struct sidetone_host *host,
                                      uint32_t port,
                                      const struct sidetone_format *format,
                                      const struct sidetone_frame *from);
  // Keeps an input: gives a pointer that may be read until `frame_release`.
  // Null when too many are kept (64). Not for the first input of a kind that works
  // in place, whose memory is written. [real-time], inside `process`
  const struct sidetone_frame *(*frame_retain)(const struct sidetone_host *host,
                                               const struct sidetone_frame *frame);
  // Lets go what `frame_retain` gave, or a frame of `frame_new` that is not put
  // out. [real-time], inside `process`, or in `destroy`
  void (*frame_release)(const struct sidetone_host *host, const struct sidetone_frame *frame);
  // Reports a figure: a name in snake_case, unit included, and its value, as
  // often as it changes. [real-time], inside `process`
  void (*emit)(const struct sidetone_host *host, const char *name, double value);
  // The value of parameter `id` as the graph has it now; 0 for text.
  // [real-time], inside `process`
  double (*param)(const struct sidetone_host *host, uint32_t id);
  // An extension of the host's, or null. What it points to lives as long as the
  // host. [any]
  const void *(*extension)(const struct sidetone_host *host, const char *name);
} sidetone_host;

// The value of a parameter.
typedef struct sidetone_value {
  // Bytes of this struct.
  uint32_t size;
  // The parameter's number.
  uint32_t id;
  // Its value, as `SIDETONE_PARAM_*` says.
  double number;
  // Text or path; null for all others. Lives as long as the call.
  const char *text;
} sidetone_value;

// What an instance is made from.
typedef struct sidetone_setup {
  // Bytes of this struct.
  uint32_t size;
  // Parameters: every one of the kind that has a value.
  uint32_t param_count;
  // Bytes from one to the next.
  uint32_t param_stride;
  // 0.
  uint32_t reserved;
  // Their values.
  const struct sidetone_value *params;
  // The only randomness to be used: the same graph and seed give the same one.
  uint64_t seed;
} sidetone_setup;

// Something that happened since the call before.
typedef struct sidetone_event {
  // Bytes of this struct.
  uint32_t size;
  // `SIDETONE_EVENT_*`; leave alone what you do not know.
  uint32_t event;
  // When, on the clock of `now_ns`; events come in order of time.
  uint64_t time_ns;
  // For `SIDETONE_EVENT_PARAM`: the parameter's number.
  uint32_t id;
  // 0.
  uint32_t reserved;
  // Its value now, as `SIDETONE_PARAM_*` says.
  double number;
} sidetone_event;

// One call of `process`: what comes in, and what goes out.
typedef struct sidetone_call {
  // Bytes of this struct.
  uint32_t size;
  // `SIDETONE_CALL_*`, added up.
  uint32_t flags;
  // The time at which the call began, in nanoseconds.
  uint64_t now_ns;
  // Inputs, as many as the kind has.
  uint32_t input_count;
  // Outputs, as many as the kind has.
  uint32_t output_count;
  // A frame for each input, in the order of the kind's table. The first is
  // new; of each other input it is the latest that came, or null if none did.
  // They may be read until `process` returns; `frame_retain` keeps one longer.
  const struct sidetone_frame *const *inputs;
  // A frame for each output, made by the host (see `SIDETONE_PORT_OWN_FORMAT`
  // and `SIDETONE_KIND_IN_PLACE`; with `SIDETONE_CALL_LAST` none), whose samples are left over from its last
  // user. Set a place to null, and nothing goes out there. The host takes them
  // when `process` returns.
  struct sidetone_frame **outputs;
  // Events.
  uint32_t event_count;
  // Bytes from event to event.
  uint32_t event_stride;
  // The events, in order of time.
  const struct sidetone_event *events;
} sidetone_call;

// A kind of node.
typedef struct sidetone_kind {
  // Bytes of this struct.
  uint32_t size;
  // `SIDETONE_KIND_*`, added up.
  uint32_t flags;
  // Its name in graph files: two words in snake_case with a dot between them,
  // the first its bundle's id: `acme.sepia`.
  const char *kind;
  // One sentence.
  const char *summary;
  // All that a user should know, as Markdown; "" or null where that is all.
  const char *doc;
  // How much later frames go out than they come in, its work aside, in
  // nanoseconds: lookahead, buffering.
  uint64_t latency_ns;
  // Inputs, 1 to 8. The first is the one whose frames `process` is called for.
  uint32_t input_count;
  // Bytes from input to input.
  uint32_t input_stride;
  // The inputs.
  const struct sidetone_port *inputs;
  // Outputs, 0 to 8.
  uint32_t output_count;
  // Bytes from output to output.
  uint32_t output_stride;
  // The outputs.
  const struct sidetone_port *outputs;
  // Parameters, 0 to 256.
  uint32_t param_count;
  // Bytes from parameter to parameter.
  uint32_t param_stride;
  // The parameters.
  const struct sidetone_param *params;
  // Makes an instance, or gives null and has said why by `log`. Null is no
  // instance, so an effect without state gives any other pointer. [control]
  void *(*create)(const struct sidetone_host *host, const struct sidetone_setup *setup);
  // Ends an instance; it is called no more. [control]
  void (*destroy)(void *instance);
  // Works on what has come: gives `SIDETONE_OK`, `SIDETONE_DROP`,
  // `SIDETONE_NEED_MORE`, `SIDETONE_END`, or an error, after which what the
  // graph says about faults applies. [real-time]
  int32_t (*process)(void *instance, struct sidetone_call *call);
  // An extension of the kind's, such as `sidetone.state/1`, or null; may itself
  // be null. What it points to lives as long as the library. [any]
  const void *(*extension)(const char *name);
} sidetone_kind;

// What a library has: the kinds of node, and whose they are.
typedef struct sidetone_bundle {
  // Bytes of this struct.
  uint32_t size;
  // The version that the plugin was built for, as `SIDETONE_ABI`.
  uint32_t abi;
  // Its id: one word in snake_case, the first word of each of its kinds.
  const char *id;
  // Its version, as in semantic versioning: `1.2.0`.
  const char *version;
  // Who made it; "" or null where that is not said.
  const char *vendor;
  // Its licence as an SPDX expression; "" or null where that is not said.
  const char *license;
  // Kinds, 1 to 256.
  uint32_t kind_count;
  // Bytes from kind to kind.
  uint32_t kind_stride;
  // The kinds.
  const struct sidetone_kind *kinds;
} sidetone_bundle;

// The one symbol that a plugin exports, `sidetone_plugin_entry`: gives its table,
// the same at every call, or null if it cannot work with a host of version
// `host_abi` (another major version, above all). [control]
typedef const struct sidetone_bundle *(*sidetone_entry_fn)(uint32_t host_abi, const struct sidetone_host *host);

// A face; `scheme` pairs of float follow it, x and y of each point. 0 is the left
// or upper edge of the picture, 1 the right or lower; all are finite.
typedef struct sidetone_face {
  // How sure it is, 0 to 1.
  float confidence;
  // The left edge of the face.
  float left;
  // Its upper edge.
  float top;
  // Its width.
  float width;
  // Its height.
  float height;
} sidetone_face;

// How data of `sidetone.face_landmarks/1` begins. All is little-endian.
typedef struct sidetone_face_landmarks {
  // Bytes of this struct.
  uint32_t size;
  // Points a face: 5 (left eye, right eye, tip of the nose, left and right
  // corner of the mouth, as seen in the picture), 68 (iBUG 300-W) or 106
  // (JD-landmark).
  uint32_t scheme;
  // Faces, at most 64.
  uint32_t face_count;
  // Bytes from face to face.
  uint32_t face_stride;
  // Bytes from the beginning of the data to the first face.
  uint32_t faces_offset;
} sidetone_face_landmarks;

// How data of `sidetone.mask/1` begins. All is little-endian.
typedef struct sidetone_mask {
  // Bytes of this struct.
  uint32_t size;
  // Bytes in a row, 1 to 4,096: 255 is in front, 0 behind. The mask covers the
  // whole picture, whatever its size.
  uint32_t width;
  // Rows, 1 to 4,096.
  uint32_t height;
  // Bytes from row to row.
  uint32_t row_stride;
  // Bytes from the beginning of the data to the first row.
  uint32_t rows_offset;
} sidetone_mask;

// `sidetone.state/1`. Both are called between two calls of `process`, on its
// thread.
typedef struct sidetone_state {
  // Bytes of this struct.
  uint32_t size;
  // 0.
  uint32_t reserved;
  // Writes the state to `buffer` if it takes at most `capacity` bytes. Gives
  // how many it takes (at most 16 MiB), or an error. Called with a null buffer
  // first. [control]
  int64_t (*save)(void *instance, uint8_t *buffer, uint64_t capacity);
  // Takes over a state of `length` bytes, which may be damaged or another
  // version's: gives `SIDETONE_OK`, or `SIDETONE_ERROR_MEDIA` and is as it was.
  // [control]
  int32_t (*load)(void *instance, const uint8_t *state, uint64_t length);
} sidetone_state;

#if defined(_WIN32)
#define SIDETONE_EXPORT __declspec(dllexport)
#else
#define SIDETONE_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The one symbol that a plugin exports: see sidetone_entry_fn. */
SIDETONE_EXPORT const sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const sidetone_host *host);

#ifdef __cplusplus
}
#endif

#endif  /* SIDETONE_PLUGIN_H */
