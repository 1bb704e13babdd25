/*
 * Uses every part of version 1 of the plugin interface. Compiled in tests against
 * the frozen copy of the header beside it, loaded and run: what was built for the first
 * released header keeps working.
 *
 * every_part.all: video and data in, video, data and packets out; all types of
 * parameters; kept frames; state. every_part.sound: sound, in place.
 */

#include <stdlib.h>
#include <string.h>

#include "sidetone_plugin.h"

enum { SURE = 1, COUNT, LEVEL, WHAT, WORDS, FILE_PATH, FIRST_NEW };

/* What `what` may be: the way in which the next call ends. */
static const char *const whats[] = {"ok",     "drop",  "need_more", "end",      "error",
                                    "format", "media", "memory",    "resource", "panic"};
static const int32_t codes[] = {SIDETONE_OK,           SIDETONE_DROP,        SIDETONE_NEED_MORE,   SIDETONE_END,
                                SIDETONE_ERROR,        SIDETONE_ERROR_FORMAT, SIDETONE_ERROR_MEDIA,
                                SIDETONE_ERROR_MEMORY, SIDETONE_ERROR_RESOURCE, SIDETONE_ERROR_PANIC};

typedef struct {
  const sidetone_host *host;
  const sidetone_frame *kept;
  uint64_t seed;
  uint64_t calls;
  double numbers[FIRST_NEW];
  char words[64];
} all;

static const void *item(const void *first, uint32_t index, uint32_t stride) {
  return (const char *)first + (size_t)index * stride;
}

static void *all_create(const sidetone_host *host, const sidetone_setup *setup) {
  all *it;
  uint32_t i;
  if (host->size < sizeof *host || host->abi >> 16 != SIDETONE_ABI_MAJOR || setup->size < sizeof *setup) return NULL;
  it = calloc(1, sizeof *it);
  if (it == NULL) {
    host->log(host, SIDETONE_LOG_ERROR, "not enough memory");
    return NULL;
  }
  it->host = host;
  it->seed = setup->seed;
  for (i = 0; i < setup->param_count; i++) {
    const sidetone_value *value = item(setup->params, i, setup->param_stride);
    if (value->id < FIRST_NEW) it->numbers[value->id] = value->number;
    if (value->id == WORDS && value->text != NULL) strncpy(it->words, value->text, sizeof it->words - 1);
  }
  host->log(host, SIDETONE_LOG_INFO, it->words);
  host->log(host, SIDETONE_LOG_DEBUG, "made");
  if (host->extension(host, "sidetone.no_such/1") != NULL) host->log(host, SIDETONE_LOG_WARNING, "what is that?");
  return it;
}

static void all_destroy(void *instance) {
  all *it = instance;
  if (it->kept != NULL) it->host->frame_release(it->host, it->kept);
  free(it);
}

static int32_t all_process(void *instance, sidetone_call *call) {
  all *it = instance;
  const sidetone_host *host = it->host;
  const sidetone_frame *in = call->inputs[0];
  uint32_t i, p, y;
  int32_t code;
  for (i = 0; i < call->event_count; i++) {
    const sidetone_event *event = item(call->events, i, call->event_stride);
    if (event->event == SIDETONE_EVENT_PARAM && event->id < FIRST_NEW) it->numbers[event->id] = event->number;
  }
  it->calls++;
  code = codes[(size_t)it->numbers[WHAT]];
  if (call->flags & SIDETONE_CALL_LAST || in == NULL) {
    for (i = 0; i < call->output_count; i++) call->outputs[i] = NULL;
    return SIDETONE_END;
  }
  if (in->media != SIDETONE_MEDIA_VIDEO || in->format != SIDETONE_FORMAT_I420) return SIDETONE_ERROR_FORMAT;
  host->emit(host, "every_part_level", host->param(host, LEVEL));
  host->emit(host, "every_part_late_ns", (double)(host->now_ns(host) - call->now_ns));
  for (p = 0; p < in->plane_count; p++) {
    const sidetone_plane *from = item(in->planes, p, in->plane_stride);
    const sidetone_plane *to = item(call->outputs[0]->planes, p, call->outputs[0]->plane_stride);
    for (y = 0; y < from->height; y++) memcpy(to->data + y * to->stride, from->data + y * from->stride, from->width);
  }
  if (call->inputs[1] != NULL) {
    const sidetone_plane *plane = call->inputs[1]->planes;
    sidetone_face_landmarks head;
    sidetone_face face;
    if (plane->width >= sizeof head && strcmp(call->inputs[1]->shape, SIDETONE_SHAPE_FACE_LANDMARKS) == 0) {
      memcpy(&head, plane->data, sizeof head);
      if (head.face_count > 0 && plane->width >= head.faces_offset + sizeof face) {
        memcpy(&face, plane->data + head.faces_offset, sizeof face);
        host->emit(host, "every_part_confidence", face.confidence);
      }
    }
  }
  if (it->kept != NULL) host->frame_release(host, it->kept);
  it->kept = host->frame_retain(host, in);
  {
    sidetone_format format = {sizeof format, SIDETONE_MEDIA_DATA, 0, 0, 0, 0, 0, sizeof(sidetone_mask) + 1};
    sidetone_frame *mask = host->frame_new(host, 1, &format, in);
    sidetone_frame *packet;
    if (mask != NULL) {
      sidetone_mask head = {sizeof head, 1, 1, 1, sizeof head};
      memcpy(mask->planes->data, &head, sizeof head);
      mask->planes->data[sizeof head] = 255;
      mask->planes->width = sizeof head + 1;
      call->outputs[1] = mask;
    }
    format.media = SIDETONE_MEDIA_PACKET;
    format.format = SIDETONE_FORMAT_OPUS;
    format.length = 3;
    packet = host->frame_new(host, 2, &format, NULL);
    if (packet != NULL) {
      memcpy(packet->planes->data, "\xf8\xff\xfe", 3);
      packet->planes->width = 3;
      packet->flags = in->flags & (SIDETONE_FRAME_LOST | SIDETONE_FRAME_DISCONTINUITY | SIDETONE_FRAME_SILENCE);
      packet->flags |= SIDETONE_FRAME_KEY;
      if (it->numbers[SURE] != 0) {
        call->outputs[2] = packet;
      } else {
        host->frame_release(host, packet);
      }
    }
  }
  return code;
}

static int64_t all_save(void *instance, uint8_t *buffer, uint64_t capacity) {
  const all *it = instance;
  if (buffer != NULL && capacity >= sizeof it->calls) memcpy(buffer, &it->calls, sizeof it->calls);
  return sizeof it->calls;
}

static int32_t all_load(void *instance, const uint8_t *state, uint64_t length) {
  all *it = instance;
  if (length != sizeof it->calls) return SIDETONE_ERROR_MEDIA;
  memcpy(&it->calls, state, sizeof it->calls);
  return SIDETONE_OK;
}

static const sidetone_state all_state = {sizeof all_state, 0, all_save, all_load};

static const void *all_extension(const char *name) {
  return strcmp(name, SIDETONE_EXTENSION_STATE) == 0 ? &all_state : NULL;
}

static void *sound_create(const sidetone_host *host, const sidetone_setup *setup) {
  static char only;
  (void)host, (void)setup;
  return &only;
}

static void sound_destroy(void *instance) { (void)instance; }

static int32_t sound_process(void *instance, sidetone_call *call) {
  sidetone_frame *frame = call->outputs[0];
  uint32_t p, s;
  (void)instance;
  if (call->flags & SIDETONE_CALL_LAST) {
    call->outputs[0] = NULL;
    return SIDETONE_END;
  }
  if (frame->media != SIDETONE_MEDIA_AUDIO || frame->format != SIDETONE_FORMAT_F32) return SIDETONE_ERROR_FORMAT;
  for (p = 0; p < frame->plane_count; p++) {
    const sidetone_plane *plane = item(frame->planes, p, frame->plane_stride);
    float *samples = (void *)plane->data;
    for (s = 0; s < plane->width; s++) samples[s] = -samples[s];
  }
  return SIDETONE_OK;
}

static const sidetone_port all_inputs[] = {
    {sizeof(sidetone_port), SIDETONE_MEDIA_VIDEO, SIDETONE_FORMAT_I420, 0, "in", "Pictures.", NULL, 0, 0},
    {sizeof(sidetone_port), SIDETONE_MEDIA_DATA, SIDETONE_FORMAT_ANY, SIDETONE_PORT_OPTIONAL, "faces", "Faces.",
     SIDETONE_SHAPE_FACE_LANDMARKS, 0, 0},
    {sizeof(sidetone_port), SIDETONE_MEDIA_PACKET, SIDETONE_FORMAT_AV1, SIDETONE_PORT_OPTIONAL, "packets", "AV1.",
     NULL, 0, 0}};
static const sidetone_port all_outputs[] = {
    {sizeof(sidetone_port), SIDETONE_MEDIA_VIDEO, SIDETONE_FORMAT_I420, 0, "out", "Pictures.", NULL, 0, 0},
    {sizeof(sidetone_port), SIDETONE_MEDIA_DATA, SIDETONE_FORMAT_ANY, SIDETONE_PORT_OWN_FORMAT, "mask", "A mask.",
     SIDETONE_SHAPE_MASK, 0, 0},
    {sizeof(sidetone_port), SIDETONE_MEDIA_PACKET, SIDETONE_FORMAT_OPUS, SIDETONE_PORT_OWN_FORMAT, "opus", "Opus.",
     NULL, 0, 0}};
static const sidetone_param all_params[] = {
    {sizeof(sidetone_param), SURE, SIDETONE_PARAM_BOOL, SIDETONE_PARAM_LIVE, "sure", "", "Whether packets go out.", 0,
     1, 0, 1, NULL, 0, 0, NULL},
    {sizeof(sidetone_param), COUNT, SIDETONE_PARAM_INT, SIDETONE_PARAM_LIVE, "count", NULL, "A number.", -5, 5, 1, 2,
     NULL, 0, 0, NULL},
    {sizeof(sidetone_param), LEVEL, SIDETONE_PARAM_FLOAT, SIDETONE_PARAM_LIVE, "level_db", "dB", "A level.", -60, 0,
     0.5, -20, NULL, 0, 0, NULL},
    {sizeof(sidetone_param), WHAT, SIDETONE_PARAM_CHOICE, SIDETONE_PARAM_LIVE, "what", "", "How a call ends.", 0, 9, 0,
     0, NULL, sizeof whats / sizeof *whats, 0, whats},
    {sizeof(sidetone_param), WORDS, SIDETONE_PARAM_TEXT, SIDETONE_PARAM_REQUIRED, "words", "", "What it logs.", 0, 0, 0,
     0, NULL, 0, 0, NULL},
    {sizeof(sidetone_param), FILE_PATH, SIDETONE_PARAM_PATH, 0, "file", "", "A file.", 0, 0, 0, 0, "none.txt", 0, 0,
     NULL}};
static const sidetone_port sound_ports[] = {
    {sizeof(sidetone_port), SIDETONE_MEDIA_AUDIO, SIDETONE_FORMAT_F32, 0, "in", "Sound.", NULL, 48000, 2},
    {sizeof(sidetone_port), SIDETONE_MEDIA_AUDIO, SIDETONE_FORMAT_F32, 0, "out", "Sound.", NULL, 48000, 2}};

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))

static const sidetone_kind kinds[] = {
    {sizeof(sidetone_kind), 0, "every_part.all", "Uses all of the interface.", "# All\n\nof it.", 1000000,
     COUNT_OF(all_inputs), sizeof(sidetone_port), all_inputs, COUNT_OF(all_outputs), sizeof(sidetone_port), all_outputs,
     COUNT_OF(all_params), sizeof(sidetone_param), all_params, all_create, all_destroy, all_process, all_extension},
    {sizeof(sidetone_kind),
     SIDETONE_KIND_IN_PLACE | SIDETONE_KIND_REAL_TIME | SIDETONE_KIND_DETERMINISTIC, "every_part.sound",
     "Turns sound upside down.", NULL, 0, 1, sizeof(sidetone_port), &sound_ports[0], 1, sizeof(sidetone_port),
     &sound_ports[1], 0, sizeof(sidetone_param), NULL, sound_create, sound_destroy, sound_process, NULL}};
static const sidetone_bundle bundle = {sizeof bundle, SIDETONE_ABI, "every_part", "1.0.0", "Sidetone", "MIT",
                                       COUNT_OF(kinds), sizeof(sidetone_kind), kinds};

const sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const sidetone_host *host) {
  (void)host;
  return host_abi >> 16 == SIDETONE_ABI_MAJOR ? &bundle : NULL;
}
