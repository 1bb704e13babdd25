// Inline hop: fakesrc, N times identity, fakesink, all in one streaming thread.
//
//   inline N [--buffers B]
//
// Empty buffers without a clock; `identity` without its handoff signal, which is
// the cheapest GStreamer has. Prints the streaming thread's CPU time per buffer,
// from the first buffer at the sink to the end of the stream; the slope between
// two N is what a hop costs.

#include "measure.h"

static int64_t first_cpu, last_cpu;

static GstPadProbeReturn on_buffer(GstPad *pad, GstPadProbeInfo *info, gpointer data) {
  (void)pad, (void)info, (void)data;
  first_cpu = thread_cpu_ns();
  return GST_PAD_PROBE_REMOVE;
}

static GstPadProbeReturn on_event(GstPad *pad, GstPadProbeInfo *info, gpointer data) {
  (void)pad, (void)data;
  if (GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_EOS) last_cpu = thread_cpu_ns();
  return GST_PAD_PROBE_OK;
}

int main(int argc, char **argv) {
  gst_init(NULL, NULL);
  if (argc < 2 || atoi(argv[1]) < 1) fail("usage", "inline N [--buffers B]");
  int nodes = atoi(argv[1]);
  int buffers = (int)option_number(argc, argv, "--buffers", 6e6 / (nodes + 10));

  GstElement *pipeline = gst_pipeline_new(NULL), *last = make(pipeline, "fakesrc");
  g_object_set(last, "num-buffers", buffers, "silent", TRUE, NULL);
  for (int i = 0; i < nodes; i++) {
    GstElement *identity = make(pipeline, "identity");
    g_object_set(identity, "silent", TRUE, "signal-handoffs", FALSE, NULL);
    gst_element_link(last, identity);
    last = identity;
  }
  GstElement *sink = make(pipeline, "fakesink");
  g_object_set(sink, "sync", FALSE, "silent", TRUE, "signal-handoffs", FALSE, NULL);
  gst_element_link(last, sink);
  GstPad *pad = gst_element_get_static_pad(sink, "sink");
  gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_buffer, NULL, NULL);
  gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_event, NULL, NULL);

  play(pipeline);
  ended(pipeline, GST_CLOCK_TIME_NONE);
  gst_element_set_state(pipeline, GST_STATE_NULL);
  emit("inline", argv[1], "cpu_ns_per_buffer", (double)(last_cpu - first_cpu) / (buffers - 1));
  return 0;
}
