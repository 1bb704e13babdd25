// Thread hop: a buffer through GStreamer's `queue` into another thread.
//
//   hop busy [--buffers B]
//   hop inline [--buffers B]
//   hop "wake apart"|"wake together"|"wake free" [--seconds S]
//
// Buffers are pushed by a thread of our own onto `queue ! fakesink`.
//
// busy: as fast as the queue takes them, the two threads on a processor each; wall
// and CPU time, both threads counted, per buffer. inline: the same without the
// queue, on one thread: what a buffer costs without the hop.
//
// wake: one buffer every 5 ms, when both threads sleep; from just before the push
// to the arrival behind the queue. The threads are kept on two processors (apart),
// on one (together), or where the scheduler puts them (free).

#include "measure.h"

static int pin_from = -1, pin_to = -1; // -1 is any processor
static Times waits;
static gboolean warm;
static int arrived;
static gboolean stayed;

static GstPadProbeReturn on_arrival(GstPad *pad, GstPadProbeInfo *info, gpointer timed) {
  (void)pad;
  if (timed) {
    int64_t sent = (int64_t)GST_BUFFER_OFFSET(GST_PAD_PROBE_INFO_BUFFER(info));
    int64_t now = wall_ns();
    if (g_atomic_int_get(&warm)) times_add(&waits, now - sent);
  }
  if (!stayed) {
    stay_on(pin_to);
    stayed = TRUE;
  }
  g_atomic_int_inc(&arrived);
  return GST_PAD_PROBE_OK;
}

// [queue !] fakesink, playing, and the pad to push on.
static GstPad *path(gboolean queued, gboolean timed, GstElement **pipeline) {
  *pipeline = gst_pipeline_new(NULL);
  GstElement *sink = make(*pipeline, "fakesink"), *first = sink;
  g_object_set(sink, "sync", FALSE, "async", FALSE, "signal-handoffs", FALSE, NULL);
  if (queued) {
    first = make(*pipeline, "queue");
    g_object_set(first, "silent", TRUE, NULL);
    gst_element_link(first, sink);
    stayed = FALSE;
    GstPad *pad = gst_element_get_static_pad(sink, "sink");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_arrival, timed ? pipeline : NULL, NULL);
    gst_object_unref(pad);
  }
  play(*pipeline);
  return pad_onto(first);
}

static void busy(int buffers, gboolean queued, double *wall, double *cpu) {
  GstElement *pipeline;
  GstPad *pad = path(queued, FALSE, &pipeline);
  gst_pad_push(pad, gst_buffer_new()); // so that the queue's thread has moved to its place
  int64_t wall_0 = wall_ns(), cpu_0 = process_cpu_ns();
  for (int i = 0; i < buffers; i++) gst_pad_push(pad, gst_buffer_new());
  gst_pad_push_event(pad, gst_event_new_eos());
  ended(pipeline, GST_CLOCK_TIME_NONE);
  *wall = (double)(wall_ns() - wall_0) / buffers;
  *cpu = (double)(process_cpu_ns() - cpu_0) / buffers;
  gst_element_set_state(pipeline, GST_STATE_NULL);
}

static void wake(const char *name, double seconds) {
  GstElement *pipeline;
  GstPad *pad = path(TRUE, TRUE, &pipeline);
  int64_t start = wall_ns();
  for (int n = 1; n * 5e6 < seconds * 1e9; n++) {
    sleep_until_ns(start + n * 5000000LL);
    if (n == 20) g_atomic_int_set(&warm, TRUE);
    GstBuffer *buffer = gst_buffer_new();
    GST_BUFFER_OFFSET(buffer) = (guint64)wall_ns();
    gst_pad_push(pad, buffer);
  }
  gst_pad_push_event(pad, gst_event_new_eos());
  ended(pipeline, GST_CLOCK_TIME_NONE);
  gst_element_set_state(pipeline, GST_STATE_NULL);
  emit("hop", name, "p50_us", times_quantile(&waits, 0.5) / 1e3);
  emit("hop", name, "p99_us", times_quantile(&waits, 0.99) / 1e3);
  emit("hop", name, "p999_us", times_quantile(&waits, 0.999) / 1e3);
}

static const struct {
  const char *name;
  int from, to; // processors
} CASES[] = {
    {"busy", 0, 1}, {"inline", 0, 0}, {"wake apart", 0, 1}, {"wake together", 1, 1}, {"wake free", -1, -1},
};

int main(int argc, char **argv) {
  gst_init(NULL, NULL);
  for (size_t i = 0; argc > 1 && i < sizeof CASES / sizeof *CASES; i++) {
    const char *name = CASES[i].name;
    if (strcmp(argv[1], name)) continue;
    pin_from = CASES[i].from, pin_to = CASES[i].to;
    stay_on(pin_from);
    if (!strncmp(name, "wake", 4)) {
      wake(name, option_number(argc, argv, "--seconds", 5));
    } else {
      double wall, cpu;
      busy((int)option_number(argc, argv, "--buffers", 1e6), !strcmp(name, "busy"), &wall, &cpu);
      emit("hop", name, "wall_ns_per_buffer", wall);
      emit("hop", name, "cpu_ns_per_buffer", cpu);
    }
    return 0;
  }
  fail("usage", "hop busy|inline|\"wake apart\"|\"wake together\"|\"wake free\" [--buffers B] [--seconds S]");
}
