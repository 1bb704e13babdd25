/* What benches run as a plugin: changes the sign of samples, and copies pictures. */
#include <string.h>

#include "sidetone_plugin.h"

static int state;

static void *create(const sidetone_host *host, const sidetone_setup *setup) {
  (void)host, (void)setup;
  return &state;
}

static void destroy(void *instance) { (void)instance; }

static int32_t turn(void *instance, sidetone_call *call) {
  (void)instance;
  const sidetone_frame *sound = call->outputs[0];
  if (!sound) return SIDETONE_END;
  float *samples = (float *)sound->planes[0].data;
  for (uint32_t i = 0; i < sound->planes[0].width; i++) samples[i] = -samples[i];
  return SIDETONE_OK;
}

static int32_t copy(void *instance, sidetone_call *call) {
  (void)instance;
  const sidetone_frame *in = call->inputs[0];
  sidetone_frame *out = call->outputs[0];
  if (!in || !out) return SIDETONE_END;
  for (uint32_t p = 0; p < in->plane_count; p++)
    for (uint32_t y = 0; y < in->planes[p].height; y++)
      memcpy(out->planes[p].data + y * out->planes[p].stride, in->planes[p].data + y * in->planes[p].stride,
             in->planes[p].width);
  return SIDETONE_OK;
}

#define PORT(what, of, as) {.size = sizeof(sidetone_port), .media = of, .format = as, .name = what}
static const sidetone_port sound[] = {PORT("in", SIDETONE_MEDIA_AUDIO, SIDETONE_FORMAT_F32),
                                      PORT("out", SIDETONE_MEDIA_AUDIO, SIDETONE_FORMAT_F32)};
static const sidetone_port pictures[] = {PORT("in", SIDETONE_MEDIA_VIDEO, SIDETONE_FORMAT_I420),
                                         PORT("out", SIDETONE_MEDIA_VIDEO, SIDETONE_FORMAT_I420)};

#define KIND(name, says, ports, how, does)                                                                \
  {.size = sizeof(sidetone_kind), .flags = how, .kind = name, .summary = says, .input_count = 1,          \
   .input_stride = sizeof(sidetone_port), .inputs = ports, .output_count = 1,                             \
   .output_stride = sizeof(sidetone_port), .outputs = ports + 1, .create = create, .destroy = destroy,    \
   .process = does}
static const sidetone_kind kinds[] = {
    KIND("bench_plugin.turn", "Changes the sign of each sample.", sound,
         SIDETONE_KIND_IN_PLACE | SIDETONE_KIND_REAL_TIME, turn),
    KIND("bench_plugin.copy", "Copies pictures.", pictures, SIDETONE_KIND_REAL_TIME, copy)};

static const sidetone_bundle bundle = {.size = sizeof bundle, .abi = SIDETONE_ABI, .id = "bench_plugin",
                                       .version = "1.0.0", .kind_count = 2, .kind_stride = sizeof kinds[0],
                                       .kinds = kinds};

const sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const sidetone_host *host) {
  (void)host;
  return host_abi >> 16 == SIDETONE_ABI_MAJOR ? &bundle : NULL;
}
