/* frei0r effects for the tests, written after the specification: a filter with
   every type of parameter; with -DMIXER a mixer of two; with -DMODEL=9 one of a
   colour model that nobody knows; with -DTYPE=1 a source; with -DCRASH_WHEN_MADE one
   that cannot be made; with -DCRASH_AT=3 one whose fourth picture is its last. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef MODEL
#define MODEL 0 /* BGRA */
#endif
#ifdef MIXER
#define TYPE 2
#endif
#ifndef TYPE
#define TYPE 0
#endif

typedef struct {
    const char *name, *author;
    int plugin_type, color_model, frei0r_version, major_version, minor_version, num_params;
    const char *explanation;
} info_t;
typedef struct {
    const char *name;
    int type;
    const char *explanation;
} param_t;
typedef struct {
    unsigned width, height;
    double invert, amount, centre[2];
    float tint[3];
    char caption[64];
} instance_t;

int f0r_init(void) { return 1; }
void f0r_deinit(void) {}

void f0r_get_plugin_info(info_t *info) {
    info_t said = {"Every \xff Kind", NULL, TYPE, MODEL, 1, 2, 7, 5, "One of each."};
    *info = said;
}

void f0r_get_param_info(param_t *info, int index) {
    static const param_t params[] = {{"Invert", 0, "Turns colours round"},
                                     {"Amount Of It", 1, NULL},
                                     {"Tint", 2, NULL},
                                     {"Centre", 3, NULL},
                                     {"Caption", 4, NULL}};
    *info = params[index];
}

void *f0r_construct(unsigned width, unsigned height) {
    if (width % 8 || height % 8) abort();
#ifdef CRASH_WHEN_MADE
    abort();
#endif
    instance_t *self = calloc(1, sizeof *self);
    self->width = width;
    self->height = height;
    self->amount = 0.25;
    self->centre[0] = 0.5;
    self->centre[1] = 7.0; /* out of range, as some effects have it */
    self->tint[0] = 1.0f;
    strcpy(self->caption, "none");
    return self;
}

void f0r_destruct(void *self) { free(self); }

void f0r_set_param_value(void *instance, void *value, int index) {
    instance_t *self = instance;
    switch (index) {
    case 0: self->invert = *(double *)value; break;
    case 1: self->amount = *(double *)value; break;
    case 2: memcpy(self->tint, value, sizeof self->tint); break;
    case 3: memcpy(self->centre, value, sizeof self->centre); break;
    case 4: strncpy(self->caption, *(char **)value, sizeof self->caption - 1); break;
    default: abort();
    }
}

void f0r_get_param_value(void *instance, void *value, int index) {
    instance_t *self = instance;
    switch (index) {
    case 0: *(double *)value = self->invert; break;
    case 1: *(double *)value = self->amount; break;
    case 2: memcpy(value, self->tint, sizeof self->tint); break;
    case 3: memcpy(value, self->centre, sizeof self->centre); break;
    case 4: *(char **)value = self->caption; break;
    default: abort();
    }
}

static int byte(float x) { return (int)(x * 255.0f + 0.5f); }

#ifdef MIXER
void f0r_update(void *instance, double time, const uint32_t *in, uint32_t *out) { abort(); }

/* The mean of both. */
void f0r_update2(void *instance, double time, const uint32_t *a, const uint32_t *b, const uint32_t *c,
                 uint32_t *out) {
    instance_t *self = instance;
    if (c) abort();
    for (unsigned i = 0; i < self->width * self->height * 4; i++)
        ((uint8_t *)out)[i] = (((const uint8_t *)a)[i] + ((const uint8_t *)b)[i]) / 2;
}
#else
/* Inverts; tints all if the amount is great; blackens the first row of a caption
   "bar"; whitens the pixel at the centre. */
void f0r_update(void *instance, double time, const uint32_t *in, uint32_t *out) {
    instance_t *self = instance;
#ifdef CRASH_AT
    static int pictures;
    if (pictures++ == CRASH_AT) *(volatile int *)8 = 0;
#endif
    if (((uintptr_t)in | (uintptr_t)out) % 16) abort();
    uint32_t tint = 0xff000000u | byte(self->tint[0]) << 16 | byte(self->tint[1]) << 8 | byte(self->tint[2]);
    for (unsigned i = 0; i < self->width * self->height; i++) {
        out[i] = self->invert >= 0.5 ? in[i] ^ 0xffffffu : in[i];
        if (self->amount > 0.5) out[i] = tint;
        if (i < self->width && !strcmp(self->caption, "bar")) out[i] = 0xff000000u;
    }
    unsigned x = self->centre[0] * self->width, y = self->centre[1] * self->height;
    if (x < self->width && y < self->height) out[y * self->width + x] = 0xffffffffu;
}
#endif
