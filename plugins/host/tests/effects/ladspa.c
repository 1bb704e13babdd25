/* LADSPA effects for the tests, written after the specification: one for each way
   in which a node deals with them, and damaged ones. */
#include <stdlib.h>

typedef struct {
    int bits;
    float lower, upper;
} hint_t;
typedef struct descriptor {
    unsigned long id;
    const char *label;
    int properties;
    const char *name, *maker, *copyright;
    unsigned long port_count;
    const int *port_bits;
    const char *const *port_names;
    const hint_t *hints;
    void *data;
    void *(*instantiate)(const struct descriptor *, unsigned long);
    void (*connect)(void *, unsigned long, float *);
    void (*activate)(void *);
    void (*run)(void *, unsigned long);
    void (*run_adding)(void *, unsigned long);
    void (*set_gain)(void *, float);
    void (*deactivate)(void *);
    void (*cleanup)(void *);
} descriptor_t;

enum { IN = 1, OUT = 2, CONTROL = 4, AUDIO = 8 };
enum { LOW = 1, HIGH = 2, TOGGLED = 4, RATE = 8, LOG = 16, WHOLE = 32 };

typedef struct {
    unsigned long rate;
    int active;
    float *port[16];
} instance_t;

static void *make(const descriptor_t *d, unsigned long rate) {
    instance_t *self = calloc(1, sizeof *self);
    self->rate = rate;
    return self;
}
static void *refuse(const descriptor_t *d, unsigned long rate) { return NULL; }
static void attach(void *instance, unsigned long port, float *at) {
    if (port >= 16) abort();
    ((instance_t *)instance)->port[port] = at;
}
static void activate(void *instance) { ((instance_t *)instance)->active++; }
static void deactivate(void *instance) {
    if (((instance_t *)instance)->active-- != 1) abort();
}

/* One channel, times "Gain", plus 1 if on; says that it delays by 37 samples. */
static void run_gain(void *instance, unsigned long samples) {
    instance_t *self = instance;
    if (self->active != 1) abort();
    for (unsigned long i = 0; i < samples; i++)
        self->port[1][i] = self->port[0][i] * *self->port[2] + (*self->port[4] > 0 ? 1 : 0);
    *self->port[6] = 37;
}
static const int gain_bits[] = {IN | AUDIO, OUT | AUDIO, IN | CONTROL, IN | CONTROL, IN | CONTROL, IN | CONTROL, OUT | CONTROL};
static const char *const gain_names[] = {"In", "Out", "Gain (dB)", "Cutoff", "On", "Mode (0 = a)", "latency"};
static const hint_t gain_hints[] = {{0},
                                    {0},
                                    {LOW | HIGH | 0x240, 0, 4},             /* default 1 */
                                    {LOW | HIGH | RATE | LOG | 0xc0, 0.0001, 0.5}, /* middle, of frequencies */
                                    {TOGGLED | 0x200, 0, 0},                /* default 0 */
                                    {LOW | HIGH | WHOLE | 0x140, -0.1, 3.1}, /* maximum */
                                    {0}};

/* Two channels, changed places. */
static void run_swap(void *instance, unsigned long samples) {
    instance_t *self = instance;
    for (unsigned long i = 0; i < samples; i++) {
        self->port[2][i] = self->port[1][i];
        self->port[3][i] = self->port[0][i];
    }
}
static const int swap_bits[] = {IN | AUDIO, IN | AUDIO, OUT | AUDIO, OUT | AUDIO};
static const char *const swap_names[] = {"L", "R", "L out", "R out"};
static const hint_t no_hints[8];

/* One channel to both sides, the right one turned round. */
static void run_spread(void *instance, unsigned long samples) {
    instance_t *self = instance;
    for (unsigned long i = 0; i < samples; i++) {
        self->port[1][i] = self->port[0][i];
        self->port[2][i] = -self->port[0][i];
    }
}
static const int spread_bits[] = {IN | AUDIO, OUT | AUDIO, OUT | AUDIO};

/* No number. */
static void run_nan(void *instance, unsigned long samples) {
    instance_t *self = instance;
    for (unsigned long i = 0; i < samples; i++) self->port[1][i] = 0.0f / self->port[0][i];
}

/* Halves without end, for denormals. */
static void run_ring(void *instance, unsigned long samples) {
    instance_t *self = instance;
    float last = 1e-37f;
    for (unsigned long i = 0; i < samples; i++) {
        volatile float half = 0.5f;
        last *= half;
        self->port[1][i] = last;
    }
}
static const int both_bits[] = {IN | AUDIO, OUT | AUDIO};
static const int source_bits[] = {OUT | AUDIO};
static const int wrong_bits[] = {IN | OUT | AUDIO, OUT | AUDIO};

static const descriptor_t effects[] = {
    {1, "gain", 0, "Gain", "Me", "None", 7, gain_bits, gain_names, gain_hints, 0, make, attach, activate, run_gain, 0, 0, deactivate, free},
    {2, "swap", 0, "Swap", NULL, "None", 4, swap_bits, swap_names, no_hints, 0, make, attach, 0, run_swap, 0, 0, 0, free},
    {3, "ring", 0, "Ring", "Me", "None", 2, both_bits, swap_names, no_hints, 0, make, attach, 0, run_ring, 0, 0, 0, free},
    {4, "source", 0, "Source", "Me", "None", 1, source_bits, swap_names, no_hints, 0, make, attach, 0, run_ring, 0, 0, 0, free},
    {5, "refuses", 0, "Refuses", "Me", "None", 2, both_bits, swap_names, no_hints, 0, refuse, attach, 0, run_ring, 0, 0, 0, free},
    {6, "no_names", 0, "No names", "Me", "None", 2, both_bits, NULL, no_hints, 0, make, attach, 0, run_ring, 0, 0, 0, free},
    {7, "many_ports", 0, "Many", "Me", "None", 1ul << 40, both_bits, swap_names, no_hints, 0, make, attach, 0, run_ring, 0, 0, 0, free},
    {8, "both_ways", 0, "Both ways", "Me", "None", 2, wrong_bits, swap_names, no_hints, 0, make, attach, 0, run_ring, 0, 0, 0, free},
    {9, "no_run", 0, "No run", "Me", "None", 2, both_bits, swap_names, no_hints, 0, make, attach, 0, NULL, 0, 0, 0, free},
    {10, NULL, 0, NULL, NULL, NULL, 2, both_bits, swap_names, no_hints, 0, make, attach, 0, run_ring, 0, 0, 0, free},
    {11, "spread", 0, "Spread", "Me", "None", 3, spread_bits, swap_names, no_hints, 0, make, attach, 0, run_spread, 0, 0, 0, free},
    {12, "nan", 0, "Nan", "Me", "None", 2, both_bits, swap_names, no_hints, 0, make, attach, 0, run_nan, 0, 0, 0, free},
};

const descriptor_t *ladspa_descriptor(unsigned long index) {
    return index < sizeof effects / sizeof *effects ? &effects[index] : NULL;
}
