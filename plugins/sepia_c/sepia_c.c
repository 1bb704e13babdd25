/* Gives pictures the brown of old photographs. */

#include <stdlib.h>

#include "sidetone_plugin.h"

typedef struct {
  double strength;
} sepia;

static void *create(const sidetone_host *host, const sidetone_setup *setup) {
  sepia *it = malloc(sizeof *it);
  if (it == NULL) {
    host->log(host, SIDETONE_LOG_ERROR, "not enough memory");
    return NULL;
  }
  it->strength = setup->param_count > 0 ? setup->params[0].number : 0.8;
  return it;
}

static void destroy(void *instance) { free(instance); }

/* Moves every sample of a plane towards `colour`. */
static void tint(const sidetone_plane *plane, double colour, double strength) {
  for (uint32_t y = 0; y < plane->height; y++) {
    uint8_t *row = plane->data + y * plane->stride;
    for (uint32_t x = 0; x < plane->width; x++)
      row[x] = (uint8_t)(row[x] + (colour - row[x]) * strength + 0.5);
  }
}

static int32_t process(void *instance, sidetone_call *call) {
  sepia *it = instance;
  for (uint32_t i = 0; i < call->event_count; i++) {
    const sidetone_event *event =
        (const void *)((const char *)call->events + (size_t)i * call->event_stride);
    if (event->event == SIDETONE_EVENT_PARAM && event->id == 1) it->strength = event->number;
  }
  if (call->flags & SIDETONE_CALL_LAST) {
    call->outputs[0] = NULL;
    return SIDETONE_END;
  }
  /* The kind is in place: the output is the picture to be changed. */
  const sidetone_frame *frame = call->outputs[0];
  const char *planes = (const char *)frame->planes;
  tint((const void *)(planes + frame->plane_stride), 102, it->strength);      /* Cb */
  tint((const void *)(planes + 2 * frame->plane_stride), 146, it->strength);  /* Cr */
  return SIDETONE_OK;
}

static const sidetone_port in = {
    .size = sizeof in, .media = SIDETONE_MEDIA_VIDEO, .format = SIDETONE_FORMAT_I420,
    .name = "in", .doc = "The pictures."};
static const sidetone_port out = {
    .size = sizeof out, .media = SIDETONE_MEDIA_VIDEO, .format = SIDETONE_FORMAT_I420,
    .name = "out", .doc = "The same, browner."};
static const sidetone_param strength = {
    .size = sizeof strength, .id = 1, .param_type = SIDETONE_PARAM_FLOAT, .flags = SIDETONE_PARAM_LIVE,
    .name = "strength", .doc = "How brown they get.", .max = 1, .step = 0.01, .default_number = 0.8};
static const sidetone_kind kind = {
    .size = sizeof kind, .kind = "sample.sepia",
    .flags = SIDETONE_KIND_IN_PLACE | SIDETONE_KIND_REAL_TIME | SIDETONE_KIND_DETERMINISTIC |
             SIDETONE_KIND_IDENTITY_AT_ZERO,
    .summary = "Gives pictures the brown of old photographs.",
    .input_count = 1, .input_stride = sizeof in, .inputs = &in,
    .output_count = 1, .output_stride = sizeof out, .outputs = &out,
    .param_count = 1, .param_stride = sizeof strength, .params = &strength,
    .create = create, .destroy = destroy, .process = process};
static const sidetone_bundle bundle = {
    .size = sizeof bundle, .abi = SIDETONE_ABI, .id = "sample", .version = "0.1.0",
    .vendor = "The Sidetone authors", .license = "MIT OR Apache-2.0",
    .kind_count = 1, .kind_stride = sizeof kind, .kinds = &kind};

SIDETONE_EXPORT const sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const sidetone_host *host) {
  (void)host;
  return host_abi >> 16 == SIDETONE_ABI_MAJOR ? &bundle : NULL;
}
