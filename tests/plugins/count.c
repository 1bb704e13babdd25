/* acme.count: passes sound on, counts by STEP what passes, and tells the total,
 * which is its state. With GAIN it has a parameter more; with OTHER_MAJOR it works
 * with no host that there is. */

#include <stdlib.h>
#include <string.h>

#include "sidetone_plugin.h"

#ifndef STEP
#define STEP 1
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif

typedef struct {
    const sidetone_host *host;
    double total;
} count;

static void *create(const sidetone_host *host, const sidetone_setup *setup) {
    (void)setup;
    count *self = calloc(1, sizeof *self);
    if (self) self->host = host;
    return self;
}

static int32_t process(void *instance, sidetone_call *call) {
    count *self = instance;
    if (call->flags & SIDETONE_CALL_LAST) return SIDETONE_END;
    self->total += STEP;
    self->host->emit(self->host, "total", self->total);
#ifdef GAIN
    self->host->emit(self->host, "gain", self->host->param(self->host, 1));
#endif
    return SIDETONE_OK;
}

static int64_t save(void *instance, uint8_t *buffer, uint64_t capacity) {
    count *self = instance;
    if (buffer && capacity >= sizeof self->total) memcpy(buffer, &self->total, sizeof self->total);
    return sizeof self->total;
}

static int32_t load(void *instance, const uint8_t *state, uint64_t length) {
    count *self = instance;
    if (length != sizeof self->total) return SIDETONE_ERROR_MEDIA;
    memcpy(&self->total, state, sizeof self->total);
    return SIDETONE_OK;
}

static const void *extension(const char *name) {
    static const sidetone_state state = {sizeof state, 0, save, load};
    return strcmp(name, SIDETONE_EXTENSION_STATE) == 0 ? &state : NULL;
}

static const sidetone_port in = {
    .size = sizeof in, .media = SIDETONE_MEDIA_AUDIO, .format = SIDETONE_FORMAT_F32, .name = "in", .doc = "Sound."};
static const sidetone_port out = {
    .size = sizeof out, .media = SIDETONE_MEDIA_AUDIO, .format = SIDETONE_FORMAT_F32, .name = "out", .doc = "Sound."};

#ifdef GAIN
static const sidetone_param gain = {
    .size = sizeof gain, .id = 1, .param_type = SIDETONE_PARAM_INT, .name = "gain", .doc = "A number.", .max = 9};
#endif

static const sidetone_kind kind = {
    .size = sizeof kind,
    .flags = SIDETONE_KIND_IN_PLACE,
    .kind = "acme.count",
    .summary = "Counts.",
    .input_count = 1,
    .input_stride = sizeof in,
    .inputs = &in,
    .output_count = 1,
    .output_stride = sizeof out,
    .outputs = &out,
#ifdef GAIN
    .param_count = 1,
    .param_stride = sizeof gain,
    .params = &gain,
#endif
    .create = create,
    .destroy = free,
    .process = process,
    .extension = extension,
};

static const sidetone_bundle bundle = {
    .size = sizeof bundle,
    .abi = SIDETONE_ABI,
    .id = "acme",
    .version = VERSION,
    .kind_count = 1,
    .kind_stride = sizeof kind,
    .kinds = &kind,
};

const sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const sidetone_host *host) {
    (void)host;
#ifdef OTHER_MAJOR
    return (host_abi >> 16) == 0 ? &bundle : NULL;
#else
    return (host_abi >> 16) == SIDETONE_ABI_MAJOR ? &bundle : NULL;
#endif
}
