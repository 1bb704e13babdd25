/* CLAP plugins for the tests, written after the headers of CLAP 1.2: a stereo gain
   with a side input, parameters, latency and state; and an instrument. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t major, minor, revision;
} version_t;
typedef struct host {
    version_t version;
    void *data;
    const char *name, *vendor, *url, *host_version;
    const void *(*get_extension)(const struct host *, const char *);
    void (*request_restart)(const struct host *);
    void (*request_process)(const struct host *);
    void (*request_callback)(const struct host *);
} host_t;
typedef struct {
    version_t version;
    const char *id, *name, *vendor, *url, *manual, *support, *own_version, *description;
    const char *const *features;
} descriptor_t;
typedef struct {
    float **data32;
    double **data64;
    uint32_t channel_count, latency;
    uint64_t constant_mask;
} buffer_t;
typedef struct {
    uint32_t size, time;
    uint16_t space, type;
    uint32_t flags;
} event_t;
typedef struct {
    event_t header;
    uint32_t param;
    void *cookie;
    int32_t note;
    int16_t port, channel, key;
    double value;
} value_t;
typedef struct events {
    void *context;
    uint32_t (*size)(const struct events *);
    const event_t *(*get)(const struct events *, uint32_t);
} events_t;
typedef struct {
    int64_t steady_time;
    uint32_t frames;
    const void *transport;
    const buffer_t *inputs;
    buffer_t *outputs;
    uint32_t input_count, output_count;
    const events_t *in;
    const void *out;
} process_t;
typedef struct plugin {
    const descriptor_t *descriptor;
    void *data;
    bool (*init)(const struct plugin *);
    void (*destroy)(const struct plugin *);
    bool (*activate)(const struct plugin *, double, uint32_t, uint32_t);
    void (*deactivate)(const struct plugin *);
    bool (*start)(const struct plugin *);
    void (*stop)(const struct plugin *);
    void (*reset)(const struct plugin *);
    int32_t (*process)(const struct plugin *, const process_t *);
    const void *(*get_extension)(const struct plugin *, const char *);
    void (*on_main_thread)(const struct plugin *);
} plugin_t;

enum { GAIN = 7, MODE = 8, INVERT = 9 };

typedef struct {
    plugin_t plugin;
    const host_t *host;
    double gain, invert;
    bool active, started;
    int calls;
} instance_t;

static instance_t *of(const plugin_t *plugin) { return plugin->data; }

/* Latency. */
static uint32_t latency_get(const plugin_t *plugin) { return of(plugin)->active ? 32 : 0; }
static const struct {
    uint32_t (*get)(const plugin_t *);
} latency = {latency_get};

/* Ports: stereo in, a mono side input, stereo out. */
typedef struct {
    uint32_t id;
    char name[256];
    uint32_t flags, channels;
    const char *type;
    uint32_t in_place;
} port_t;
static uint32_t port_count(const plugin_t *plugin, bool input) { return input ? 2 : 1; }
static bool port_get(const plugin_t *plugin, uint32_t index, bool input, port_t *port) {
    memset(port, 0, sizeof *port);
    port->id = index;
    port->channels = index == 0 ? 2 : 1;
    port->flags = index == 0;
    port->in_place = UINT32_MAX;
    return true;
}
static const struct {
    uint32_t (*count)(const plugin_t *, bool);
    bool (*get)(const plugin_t *, uint32_t, bool, port_t *);
} ports = {port_count, port_get};

/* Parameters. */
typedef struct {
    uint32_t id, flags;
    void *cookie;
    char name[256], module[1024];
    double min, max, preset;
} info_t;
static uint32_t param_count(const plugin_t *plugin) { return 4; }
static bool param_info(const plugin_t *plugin, uint32_t index, info_t *info) {
    static const struct {
        uint32_t id, flags;
        const char *name, *module;
        double min, max, preset;
    } params[] = {{GAIN, 1 << 5, "Gain", "Main", -24, 24, 0},
                  {MODE, 1, "Mode", "", 0, 3, 2},
                  {INVERT, 1, "Invert", "", 0, 1, 0},
                  {10, 1 << 2, "Hidden", "", 0, 1, 0}};
    memset(info, 0, sizeof *info);
    info->id = params[index].id;
    info->flags = params[index].flags;
    strcpy(info->name, params[index].name);
    strcpy(info->module, params[index].module);
    info->min = params[index].min;
    info->max = params[index].max;
    info->preset = params[index].preset;
    return true;
}
static bool param_value(const plugin_t *plugin, uint32_t id, double *value) {
    *value = of(plugin)->gain;
    return id == GAIN;
}
static bool param_text(const plugin_t *plugin, uint32_t id, double value, char *text, uint32_t size) {
    if (id != GAIN) return false;
    snprintf(text, size, "%.1f dB", value);
    return true;
}
static bool param_parse(const plugin_t *plugin, uint32_t id, const char *text, double *value) { return false; }
static void param_flush(const plugin_t *plugin, const events_t *in, const void *out) {}
static const struct {
    uint32_t (*count)(const plugin_t *);
    bool (*info)(const plugin_t *, uint32_t, info_t *);
    bool (*value)(const plugin_t *, uint32_t, double *);
    bool (*text)(const plugin_t *, uint32_t, double, char *, uint32_t);
    bool (*parse)(const plugin_t *, uint32_t, const char *, double *);
    void (*flush)(const plugin_t *, const events_t *, const void *);
} params = {param_count, param_info, param_value, param_text, param_parse, param_flush};

/* State: the gain's eight bytes. */
typedef struct ostream {
    void *context;
    int64_t (*write)(const struct ostream *, const void *, uint64_t);
} ostream_t;
typedef struct istream {
    void *context;
    int64_t (*read)(const struct istream *, void *, uint64_t);
} istream_t;
static bool state_save(const plugin_t *plugin, const ostream_t *stream) {
    return stream->write(stream, &of(plugin)->gain, 8) == 8;
}
static bool state_load(const plugin_t *plugin, const istream_t *stream) {
    double gain;
    if (stream->read(stream, &gain, 8) != 8) return false;
    of(plugin)->gain = gain;
    return true;
}
static const struct {
    bool (*save)(const plugin_t *, const ostream_t *);
    bool (*load)(const plugin_t *, const istream_t *);
} state = {state_save, state_load};

static bool init(const plugin_t *plugin) { return true; }
static void destroy(const plugin_t *plugin) {
    if (of(plugin)->active || of(plugin)->started) abort();
    free(of(plugin));
}
static bool activate(const plugin_t *plugin, double rate, uint32_t min, uint32_t max) {
    return of(plugin)->active = true;
}
static void deactivate(const plugin_t *plugin) {
    if (of(plugin)->started) abort();
    of(plugin)->active = false;
}
static bool start(const plugin_t *plugin) { return of(plugin)->started = true; }
static void stop(const plugin_t *plugin) { of(plugin)->started = false; }
static void reset(const plugin_t *plugin) {}
static void on_main_thread(const plugin_t *plugin) { of(plugin)->calls++; }

/* Adds the gain (as a number, for ease) from the sample on at which it comes. */
static int32_t process(const plugin_t *plugin, const process_t *p) {
    instance_t *self = of(plugin);
    if (!self->started || p->input_count != 2 || p->output_count != 1) return 0;
    if (p->inputs[1].channel_count != 1 || p->inputs[1].data32[0][0] != 0) return 0;
    uint32_t event = 0, events = p->in->size(p->in);
    for (uint32_t i = 0; i < p->frames; i++) {
        while (event < events && p->in->get(p->in, event)->time <= i) {
            const value_t *value = (const value_t *)p->in->get(p->in, event++);
            if (value->header.space == 0 && value->header.type == 5 && value->param == GAIN) self->gain = value->value;
            if (value->header.space == 0 && value->header.type == 5 && value->param == INVERT) self->invert = value->value;
        }
        if (self->gain == 24) return 0; /* its error */
        for (int c = 0; c < 2; c++) {
            float x = p->inputs[0].data32[c][i];
            p->outputs[0].data32[c][i] = (self->invert >= 0.5 ? -x : x) + (float)self->gain;
        }
        p->inputs[0].data32[0][i] = 99; /* its input is its own to write to */
    }
    self->host->request_callback(self->host);
    return 1;
}

static const void *get_extension(const plugin_t *plugin, const char *id) {
    if (!strcmp(id, "clap.audio-ports")) return &ports;
    if (!strcmp(id, "clap.params")) return &params;
    if (!strcmp(id, "clap.latency")) return &latency;
    if (!strcmp(id, "clap.state")) return &state;
    return NULL;
}

static const char *const effect_features[] = {"audio-effect", "stereo", NULL};
static const char *const synth_features[] = {"instrument", NULL};
static const descriptor_t descriptors[] = {
    {{1, 2, 0}, "org.example.gain", "Test gain", "Me", "", "", "", "0.9", "Makes louder.", effect_features},
    {{1, 2, 0}, "org.example.synth", "Test synth", "Me", "", "", "", "0.9", "Sings.", synth_features},
};

static uint32_t factory_count(const void *factory) { return 2; }
static const descriptor_t *factory_descriptor(const void *factory, uint32_t index) { return &descriptors[index]; }
static const plugin_t *factory_create(const void *factory, const host_t *host, const char *id) {
    if (strcmp(id, descriptors[0].id)) return NULL;
    instance_t *self = calloc(1, sizeof *self);
    plugin_t plugin = {&descriptors[0], self, init, destroy, activate, deactivate, start, stop, reset, process, get_extension, on_main_thread};
    self->plugin = plugin;
    self->host = host;
    return &self->plugin;
}
static const struct {
    uint32_t (*count)(const void *);
    const descriptor_t *(*descriptor)(const void *, uint32_t);
    const plugin_t *(*create)(const void *, const host_t *, const char *);
} factory = {factory_count, factory_descriptor, factory_create};

static bool entry_init(const char *path) { return true; }
static void entry_deinit(void) {}
static const void *entry_factory(const char *id) { return strcmp(id, "clap.plugin-factory") ? NULL : &factory; }

const struct {
    version_t version;
    bool (*init)(const char *);
    void (*deinit)(void);
    const void *(*factory)(const char *);
} clap_entry = {{1, 2, 0}, entry_init, entry_deinit, entry_factory};
