/* A plugin with one planted defect, by -DDEFECT=n; without it, or 0, it has none.
 * It has a picture effect, a sound effect, and one that takes a mask. */
#define _POSIX_C_SOURCE 200809L
#include "sidetone_plugin.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef DEFECT
#define DEFECT 0
#endif
#define IF(n) (DEFECT == (n))

enum { AMOUNT = 1, INVERT = 2, MODE = 3 };
#define DELAY 480

struct effect {
    const struct sidetone_host *host;
    double amount;
    bool invert;
    int mode;
    uint64_t frames;          /* how many came: the state */
    float delay[2][DELAY];    /* of sound */
    int at;
    const struct sidetone_frame *kept; /* the picture before */
    void *buffer;
};

static void *create(const struct sidetone_host *host, const struct sidetone_setup *setup)
{
    struct effect *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->host = host;
    for (uint32_t i = 0; i < setup->param_count; i++) {
        const struct sidetone_value *value =
#if IF(31)
            &setup->params[i]; /* not by param_stride */
#else
            (const void *)((const char *)setup->params + (size_t)i * setup->param_stride);
#endif
        if (value->id == AMOUNT)
            self->amount = value->number;
        if (value->id == INVERT)
            self->invert = value->number != 0;
        if (value->id == MODE)
            self->mode = (int)value->number;
    }
    if (IF(1) && self->amount == 1.0) { /* its table says that 1 is in range */
        free(self);
        return NULL;
    }
    if (IF(2))
        self->buffer = malloc(1000); /* never freed */
    return self;
}

static void destroy(void *instance)
{
    struct effect *self = instance;
    if (self->kept && !IF(3))
        self->host->frame_release(self->host, self->kept);
    free(self);
}

static void events(struct effect *self, const struct sidetone_call *call)
{
    for (uint32_t i = 0; i < call->event_count; i++) {
        const struct sidetone_event *event = (const void *)((const char *)call->events + (size_t)i * call->event_stride);
        if (event->event != SIDETONE_EVENT_PARAM && !IF(4))
            continue;
        if (IF(4) && event->event != SIDETONE_EVENT_PARAM)
            abort();
        if (event->id == AMOUNT)
            self->amount = event->number;
        if (event->id == INVERT)
            self->invert = event->number != 0;
    }
}

static const struct sidetone_plane *plane(const struct sidetone_frame *frame, uint32_t index)
{
    return (const void *)((const char *)frame->planes + (size_t)index * frame->plane_stride);
}

/* Nothing that calls the system or allocates, but what is planted. */
static void waste(struct effect *self)
{
    if (IF(5)) { /* allocates in process, and frees it */
        char *volatile scratch = malloc(256);
        scratch[0] = 1;
        free(scratch);
    }
    if (IF(6)) { /* calls the system in process */
        char byte;
        if (read(-1, &byte, 1) == 1)
            self->frames++;
    }
    if (IF(7)) /* holds on to more and more */
        self->buffer = malloc(128);
    if (IF(8) && self->frames == 5) /* hangs */
        for (volatile int go = 1; go;)
            ;
    if (IF(9) && self->frames == 3) /* ends the process */
        _exit(0);
    if (IF(10)) { /* reads a clock */
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        self->amount += now.tv_nsec % 2 ? 1e-12 : 0;
    }
}

static int32_t picture(void *instance, struct sidetone_call *call)
{
    static uint64_t shared; /* what instances share */
    struct effect *self = instance;
    if (call->flags & SIDETONE_CALL_LAST)
        return IF(11) ? SIDETONE_OK : SIDETONE_END; /* 11: never ends */
    events(self, call);
    waste(self);
    const struct sidetone_frame *in = call->inputs[0];
    struct sidetone_frame *out = call->outputs[0];
    uint64_t count = IF(12) ? shared++ : self->frames;
    for (uint32_t p = 0; p < 3; p++) {
        const struct sidetone_plane *from = plane(in, p);
        const struct sidetone_plane *to =
#if IF(13)
            &out->planes[p]; /* not by plane_stride */
#else
            plane(out, p);
#endif
        /* 14: half of an odd picture is rounded down in its own arithmetic */
        uint32_t width = from->width, height = from->height;
        if (IF(14) && p == 0)
            height = (in->height + 1) / 2 * 2;
        if (IF(15) && p > 0)
            width = in->width / 2; /* the last column of odd pictures is not written */
        for (uint32_t y = 0; y < height; y++) {
            const uint8_t *source = from->data + y * from->stride;
            uint8_t *target = to->data + y * to->stride;
            if (IF(16) && p == 0)
                source -= from->stride; /* the row above, of the first row too */
            for (uint32_t x = 0; x < width; x++) {
                uint8_t sample = source[x];
                if (IF(17) && x + 1 == width)
                    sample = source[x + 1]; /* what lies between the rows */
                double bright = sample + self->amount * 20.0;
                if (self->invert)
                    bright = 255 - bright;
                if (IF(18))
                    bright += count % 3; /* no identity at zero */
                target[x] = bright > 255 ? 255 : bright < 0 ? 0 : (uint8_t)bright;
            }
        }
    }
    if (IF(12))
        plane(out, 0)->data[0] = (uint8_t)count;
    if (IF(19)) /* writes its input */
        plane(in, 1)->data[0] = 1;
    if (IF(20)) /* draws on addresses */
        plane(out, 0)->data[0] = (uint8_t)((uintptr_t)self >> 12 ^ (uintptr_t)&shared >> 20);
    if (IF(21)) { /* uses a picture after process has returned */
        if (self->buffer && plane(self->buffer, 0)->data[0] == 1)
            self->frames++;
        self->buffer = (void *)in;
    }
    if (IF(3) && self->frames < 4) /* keeps pictures and lets none go */
        self->kept = self->host->frame_retain(self->host, in);
    if (IF(22))
        call->outputs[0] = (struct sidetone_frame *)in; /* not the host's */
    self->frames++;
    return IF(23) && in->width < 16 ? SIDETONE_ERROR_FORMAT : IF(24) ? 17 : SIDETONE_OK;
}

/* In place: a one-pole smoothing, and a delay where one is planted. */
static int32_t sound(void *instance, struct sidetone_call *call)
{
    struct effect *self = instance;
    if (call->flags & SIDETONE_CALL_LAST)
        return SIDETONE_END;
    events(self, call);
    struct sidetone_frame *out = call->outputs[0];
    const struct sidetone_frame *in = IF(25) ? call->inputs[0] : out; /* 25: only right where they are the same */
    if (IF(33) && out->rate != 48000) /* its table says any rate */
        return SIDETONE_ERROR_FORMAT;
    uint32_t channels = out->plane_count < 2 ? out->plane_count : 2;
    for (uint32_t c = 0; c < channels; c++) {
        float *samples = (float *)plane(out, c)->data;
        const float *source = (const float *)plane(in, c)->data;
        for (uint32_t i = 0; i < plane(out, c)->width; i++) {
            float sample = samples[i];
            if (IF(25))
                sample = 0.5f * samples[i] + 0.5f * (i ? source[i - 1] : 0.0f);
            float mixed = sample + (float)self->amount * 0.3f * self->delay[c][0];
            if (!isfinite(mixed) || fabsf(mixed) > 1e6f)
                mixed = IF(26) ? mixed : 0.0f; /* 26: what is not finite stays for ever */
            self->delay[c][0] = mixed;
            if (IF(27)) { /* a delay that it does not declare */
                int at = (self->at + (int)i) % DELAY;
                float late = self->delay[c][1 + at % (DELAY - 1)];
                self->delay[c][1 + at % (DELAY - 1)] = mixed;
                mixed = late;
            }
            samples[i] = isfinite(mixed) ? mixed : 0.0f;
        }
    }
    self->at = (self->at + (int)plane(out, 0)->width) % (DELAY - 1);
    self->frames++;
    return SIDETONE_OK;
}

static int32_t masked(void *instance, struct sidetone_call *call)
{
    struct effect *self = instance;
    if (call->flags & SIDETONE_CALL_LAST)
        return SIDETONE_END;
    events(self, call);
    const struct sidetone_frame *mask = call->inputs[1];
    const struct sidetone_plane *luma = plane(call->outputs[0], 0);
    if (!mask && !IF(28)) /* 28: takes it for granted */
        return SIDETONE_OK;
    const struct sidetone_plane *bytes = plane(mask, 0);
    struct sidetone_mask head;
    if (bytes->width < sizeof head)
        return SIDETONE_ERROR_MEDIA;
    memcpy(&head, bytes->data, sizeof head);
    bool good = head.width >= 1 && head.width <= 4096 && head.height >= 1 && head.height <= 4096 &&
                head.row_stride >= head.width && head.row_stride <= 4096 &&
                head.rows_offset >= sizeof head && head.rows_offset <= bytes->width &&
                (uint64_t)head.row_stride * (head.height - 1) + head.width <= bytes->width - head.rows_offset;
    if (!good && !IF(29)) /* 29: believes what it is told */
        return SIDETONE_ERROR_MEDIA;
    if (IF(29) && (!head.width || !head.height))
        return SIDETONE_ERROR_MEDIA;
    for (uint32_t y = 0; y < luma->height; y++)
        for (uint32_t x = 0; x < luma->width; x++) {
            uint32_t row = (uint32_t)((uint64_t)y * head.height / luma->height);
            uint32_t column = (uint32_t)((uint64_t)x * head.width / luma->width);
            uint8_t front = bytes->data[head.rows_offset + (size_t)row * head.row_stride + column];
            if (!front)
                luma->data[y * luma->stride + x] = 16;
        }
    self->frames++;
    return SIDETONE_OK;
}

/* State: a word that says what it is, the sound's memory. */
struct saved {
    uint32_t magic;
    uint32_t length;
    float last[2];
};

static int64_t save(void *instance, uint8_t *buffer, uint64_t capacity)
{
    struct effect *self = instance;
    struct saved saved = { 0x51de, sizeof saved, { self->delay[0][0], self->delay[1][0] } };
    if (IF(30)) /* the state lacks what matters */
        memset(saved.last, 0, sizeof saved.last);
    if (buffer && capacity >= sizeof saved)
        memcpy(buffer, &saved, sizeof saved);
    return sizeof saved;
}

static int32_t load(void *instance, const uint8_t *state, uint64_t length)
{
    struct effect *self = instance;
    struct saved saved;
    if (IF(32)) { /* believes the length that the state says */
        uint32_t said = length >= 8 ? ((const uint32_t *)(const void *)state)[1] : 64;
        char *volatile scratch = malloc(said ? said : 1);
        if (scratch)
            memcpy(scratch, state, said);
        free(scratch);
    }
    if (length != sizeof saved)
        return SIDETONE_ERROR_MEDIA;
    memcpy(&saved, state, sizeof saved);
    bool good = saved.magic == 0x51de && saved.length == sizeof saved;
    for (int c = 0; c < 2; c++)
        good = good && isfinite(saved.last[c]) && fabsf(saved.last[c]) <= 1e6f;
    if (!good)
        return SIDETONE_ERROR_MEDIA;
    self->delay[0][0] = saved.last[0];
    self->delay[1][0] = saved.last[1];
    return SIDETONE_OK;
}

static const struct sidetone_state STATE = { sizeof STATE, 0, save, load };

static const void *extension(const char *name)
{
    return strcmp(name, "sidetone.state/1") == 0 ? &STATE : NULL;
}

#define PORT(n, m, f, fl, d, s) \
    { sizeof(struct sidetone_port), m, f, fl, n, d, s, 0, (m) == SIDETONE_MEDIA_AUDIO ? 2 : 0 }

static const struct sidetone_port PICTURE_IN[] = { PORT("in", SIDETONE_MEDIA_VIDEO, SIDETONE_FORMAT_I420, 0, "The pictures.", NULL) };
static const struct sidetone_port PICTURE_OUT[] = { PORT("out", SIDETONE_MEDIA_VIDEO, SIDETONE_FORMAT_I420, 0, "The pictures.", NULL) };
static const struct sidetone_port SOUND_IN[] = { PORT("in", SIDETONE_MEDIA_AUDIO, SIDETONE_FORMAT_F32, 0, "The sound.", NULL) };
static const struct sidetone_port SOUND_OUT[] = { PORT("out", SIDETONE_MEDIA_AUDIO, SIDETONE_FORMAT_F32, 0, "The sound.", NULL) };
static const struct sidetone_port MASKED_IN[] = {
    PORT("in", SIDETONE_MEDIA_VIDEO, SIDETONE_FORMAT_I420, 0, "The pictures.", NULL),
    PORT("mask", SIDETONE_MEDIA_DATA, 0, SIDETONE_PORT_OPTIONAL, "What is in front.", "sidetone.mask/1"),
};

static const char *const MODES[] = { "one", "two" };

static const struct sidetone_param PARAMS[] = {
    { sizeof(struct sidetone_param), AMOUNT, SIDETONE_PARAM_FLOAT, SIDETONE_PARAM_LIVE, "amount", "", "How much.", 0, 1, 0.01, 0.5, NULL, 0, 0, NULL },
    { sizeof(struct sidetone_param), INVERT, SIDETONE_PARAM_BOOL, SIDETONE_PARAM_LIVE, "invert", "", "Whether dark is bright.", 0, 0, 0, 0, NULL, 0, 0, NULL },
    { sizeof(struct sidetone_param), MODE, SIDETONE_PARAM_CHOICE, 0, "mode", "", IF(34) ? "\xff\xfe" : "Which.", 0, 0, 0, 0, NULL, 2, 0, MODES },
};

#define KIND(n, fl, l, i, ic, o, p, e) \
    { sizeof(struct sidetone_kind), fl, n, "Made to be checked.", "", l, ic, sizeof(struct sidetone_port), i, 1, sizeof(struct sidetone_port), o, \
      3, sizeof(struct sidetone_param), PARAMS, create, destroy, p, e }

#define BOTH (SIDETONE_KIND_DETERMINISTIC | SIDETONE_KIND_REAL_TIME)
static const struct sidetone_kind KINDS[] = {
    KIND("wrong.picture", BOTH | SIDETONE_KIND_IDENTITY_AT_ZERO | (IF(35) ? 1024 : 0), IF(36) ? 66000000 : 0, PICTURE_IN, 1, PICTURE_OUT, picture, NULL),
    KIND("wrong.sound", BOTH | SIDETONE_KIND_IN_PLACE, 0, SOUND_IN, 1, SOUND_OUT, sound, extension),
    KIND("wrong.masked", BOTH | SIDETONE_KIND_IN_PLACE, 0, MASKED_IN, 2, PICTURE_OUT, masked, NULL),
};

static const struct sidetone_bundle BUNDLE = {
    sizeof(struct sidetone_bundle), SIDETONE_ABI, "wrong", IF(37) ? "9.9.9" : "1.0.0", "", "MIT", 3, sizeof(struct sidetone_kind), KINDS,
};

#if IF(38)
extern double not_to_be_found_anywhere(double);
#endif

const struct sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const struct sidetone_host *host)
{
    (void)host;
#if IF(38)
    if (host_abi == 77)
        return not_to_be_found_anywhere(1.0) > 0 ? &BUNDLE : NULL;
#endif
    if (IF(39)) /* knows this version alone */
        return host_abi == SIDETONE_ABI ? &BUNDLE : NULL;
    if (IF(40)) /* takes any */
        return &BUNDLE;
    return host_abi >> 16 == SIDETONE_ABI_MAJOR ? &BUNDLE : NULL;
}
