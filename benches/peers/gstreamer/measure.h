// What all of the GStreamer peers share: clocks, percentiles, arguments and the
// line of JSON that each figure is printed as.

#pragma once

#define _GNU_SOURCE

#include <gst/gst.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline int64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t wall_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static inline int64_t thread_cpu_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }
static inline int64_t process_cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

static inline void sleep_until_ns(int64_t at) {
  struct timespec t = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) {
  }
}

static inline void fail(const char *what, const char *which) {
  fprintf(stderr, "error: %s: %s\n", what, which);
  exit(1);
}

// Keeps the calling thread on one processor; `cpu` below 0 leaves it where it is.
static inline void stay_on(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set)) fail("cannot stay on the processor", "--pin");
}

// The value after `--name` among the arguments, or `otherwise`.
static inline const char *option(int argc, char **argv, const char *name, const char *otherwise) {
  for (int i = 1; i + 1 < argc; i++) {
    if (!strcmp(argv[i], name)) return argv[i + 1];
  }
  return otherwise;
}

static inline double option_number(int argc, char **argv, const char *name, double otherwise) {
  const char *text = option(argc, argv, name, NULL);
  return text ? atof(text) : otherwise;
}

// One figure, as the runner of the benches reads it.
static inline void emit_for(const char *who, const char *row, const char *name, const char *metric, double value) {
  printf("{\"row\":\"%s\",\"who\":\"%s\",\"case\":\"%s\",\"metric\":\"%s\",\"value\":%.6g}\n", row, who,
         name, metric, value);
  fflush(stdout);
}

static inline void emit(const char *row, const char *name, const char *metric, double value) {
  emit_for("gstreamer", row, name, metric, value);
}

// A line of /proc/self/status, such as "VmRSS:" in kilobytes; -1 if it is not there.
static inline double status(const char *line) {
  FILE *file = fopen("/proc/self/status", "r");
  char text[256];
  double value = -1;
  while (file && fgets(text, sizeof text, file)) {
    if (!strncmp(text, line, strlen(line))) value = atof(text + strlen(line));
  }
  if (file) fclose(file);
  return value;
}

// A growing list of measured times, in nanoseconds. Not for several threads.
typedef struct {
  int64_t *values;
  size_t count, room;
} Times;

static inline void times_reserve(Times *times, size_t room) {
  times->room = room;
  times->values = realloc(times->values, room * sizeof *times->values);
  if (!times->values) fail("no memory for", "measured times");
}

static inline void times_add(Times *times, int64_t value) {
  if (times->count == times->room) times_reserve(times, times->room ? times->room * 2 : 4096);
  times->values[times->count++] = value;
}

static int by_size(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

// The value that the share `q` of the times stay below; sorts them.
static inline double times_quantile(Times *times, double q) {
  if (!times->count) fail("nothing was measured", "no buffer came through");
  qsort(times->values, times->count, sizeof *times->values, by_size);
  size_t index = (size_t)(q * (double)times->count);
  return (double)times->values[index < times->count ? index : times->count - 1];
}

static inline double times_mean(const Times *times) {
  double sum = 0;
  for (size_t i = 0; i < times->count; i++) sum += (double)times->values[i];
  return sum / (double)times->count;
}

static inline GstElement *make(GstElement *bin, const char *kind) {
  GstElement *element = gst_element_factory_make(kind, NULL);
  if (!element) fail("GStreamer has no element of this kind; is its plugin package installed?", kind);
  gst_bin_add(GST_BIN(bin), element);
  return element;
}

static inline GstElement *parse(const char *text) {
  GError *why = NULL;
  GstElement *pipeline = gst_parse_launch(text, &why);
  if (why) fail("GStreamer cannot build the pipeline", why->message);
  return pipeline;
}

static inline void play(GstElement *pipeline) {
  if (gst_element_set_state(pipeline, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE) {
    fail("GStreamer does not start", "see GST_DEBUG=3");
  }
}

// Waits until the pipeline has ended, at most `limit` ns; stops the program if it
// failed. As every application should, it has the latency worked out anew when an
// element says that its own has changed.
static inline gboolean ended(GstElement *pipeline, GstClockTime limit) {
  const GstMessageType awaited = GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_LATENCY;
  GstBus *bus = gst_element_get_bus(pipeline);
  int64_t start = wall_ns();
  for (;;) {
    GstClockTime spent = (GstClockTime)(wall_ns() - start), left = limit;
    if (limit != GST_CLOCK_TIME_NONE) left = spent < limit ? limit - spent : 0;
    GstMessage *message = gst_bus_timed_pop_filtered(bus, left, awaited);
    GstMessageType type = message ? GST_MESSAGE_TYPE(message) : GST_MESSAGE_UNKNOWN;
    if (type == GST_MESSAGE_ERROR) {
      GError *why = NULL;
      gst_message_parse_error(message, &why, NULL);
      fail("GStreamer stopped", why->message);
    }
    if (type == GST_MESSAGE_LATENCY) gst_bin_recalculate_latency(GST_BIN(pipeline));
    if (message) gst_message_unref(message);
    if (type != GST_MESSAGE_LATENCY) {
      gst_object_unref(bus);
      return type == GST_MESSAGE_EOS;
    }
  }
}

// A source pad of our own, linked to `sink`, on which buffers can be pushed from
// any thread without a source element's work in the figures.
static inline GstPad *pad_onto(GstElement *element) {
  GstPad *source = gst_pad_new("measured", GST_PAD_SRC), *sink = gst_element_get_static_pad(element, "sink");
  gst_pad_set_active(source, TRUE);
  if (gst_pad_link(source, sink) != GST_PAD_LINK_OK) fail("cannot link to", GST_ELEMENT_NAME(element));
  gst_object_unref(sink);
  gst_pad_push_event(source, gst_event_new_stream_start("measured"));
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  gst_pad_push_event(source, gst_event_new_segment(&segment));
  return source;
}
