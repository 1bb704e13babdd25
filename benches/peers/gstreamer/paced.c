// Paced streams: N independent mono streams of 48 kHz, 20 ms a buffer, each
// audiotestsrc ! volume ! queue ! volume ! fakesink, all in one process.
//
//   paced N [--seconds S] [--wave 0]
//
// The sources are live, so they keep time by the pipeline's clock; each gives its
// buffer when the time stamp of the buffer's first sample comes. Samples are
// float, a sine (`--wave 4` is silence, which makes the sources almost free). The
// sinks do not wait for the clock again.
//
// After 1.5 s of settling, for S seconds: CPU in percent of one processor, how
// late buffers reach the sinks against start + n * 20 ms, threads, memory, and the
// buffers that came in percent of those due.

#include "measure.h"

#include <unistd.h>

typedef struct {
  GstElement *pipeline;
  Times late;
} Stream;

static gint measuring;

static GstPadProbeReturn on_buffer(GstPad *pad, GstPadProbeInfo *info, gpointer data) {
  (void)pad;
  Stream *stream = data;
  if (g_atomic_int_get(&measuring)) {
    GstClock *clock = gst_element_get_clock(stream->pipeline);
    GstClockTime now = gst_clock_get_time(clock) - gst_element_get_base_time(stream->pipeline);
    times_add(&stream->late, (int64_t)now - (int64_t)GST_BUFFER_PTS(GST_PAD_PROBE_INFO_BUFFER(info)));
    gst_object_unref(clock);
  }
  return GST_PAD_PROBE_OK;
}

int main(int argc, char **argv) {
  gst_init(NULL, NULL);
  if (argc < 2 || atoi(argv[1]) < 1) fail("usage", "paced N [--seconds S] [--wave 0]");
  int count = atoi(argv[1]), wave = (int)option_number(argc, argv, "--wave", 0);
  double seconds = option_number(argc, argv, "--seconds", 4);

  GstElement *pipeline = gst_pipeline_new(NULL);
  GstCaps *caps = gst_caps_from_string("audio/x-raw,format=F32LE,rate=48000,channels=1,layout=interleaved");
  Stream *streams = calloc((size_t)count, sizeof *streams);
  for (int i = 0; i < count; i++) {
    GstElement *source = make(pipeline, "audiotestsrc"), *before = make(pipeline, "volume");
    GstElement *queue = make(pipeline, "queue"), *after = make(pipeline, "volume");
    GstElement *sink = make(pipeline, "fakesink");
    g_object_set(source, "is-live", TRUE, "samplesperbuffer", 960, "wave", wave, NULL);
    g_object_set(before, "volume", 0.9, NULL);
    g_object_set(after, "volume", 0.9, NULL);
    g_object_set(queue, "silent", TRUE, NULL);
    g_object_set(sink, "sync", FALSE, "async", FALSE, "signal-handoffs", FALSE, NULL);
    gst_element_link_filtered(source, before, caps);
    gst_element_link_many(before, queue, after, sink, NULL);
    streams[i] = (Stream){.pipeline = pipeline};
    times_reserve(&streams[i].late, (size_t)(seconds * 100) + 100);
    GstPad *pad = gst_element_get_static_pad(sink, "sink");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_buffer, &streams[i], NULL);
    gst_object_unref(pad);
  }
  play(pipeline);
  // Messages about changed latencies are left alone: the sinks keep no time, and
  // working a thousand of them out would be most of the processor time.
  sleep_until_ns(wall_ns() + 1500000000);
  g_atomic_int_set(&measuring, 1);
  int64_t wall_0 = wall_ns(), cpu_0 = process_cpu_ns();
  sleep_until_ns(wall_0 + (int64_t)(seconds * 1e9));
  double cpu = (double)(process_cpu_ns() - cpu_0) / (double)(wall_ns() - wall_0);
  double threads = status("Threads:"), memory = status("VmRSS:");
  g_atomic_int_set(&measuring, 0);

  Times all = {0};
  for (int i = 0; i < count; i++) {
    for (size_t n = 0; n < streams[i].late.count; n++) times_add(&all, streams[i].late.values[n]);
  }
  emit("paced", argv[1], "cpu_percent", cpu * 100);
  emit("paced", argv[1], "late_p50_ms", times_quantile(&all, 0.5) / 1e6);
  emit("paced", argv[1], "late_p99_ms", times_quantile(&all, 0.99) / 1e6);
  emit("paced", argv[1], "threads", threads);
  emit("paced", argv[1], "rss_mb", memory / 1024);
  emit("paced", argv[1], "ticks_percent", 100 * (double)all.count / (50 * seconds * count));
  // Stopping 2,000 threads one after another while the others go on can take
  // minutes; nothing is left to be saved.
  _exit(0);
}
