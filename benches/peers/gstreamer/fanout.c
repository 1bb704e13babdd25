// Fan-out: one buffer to N branches through `tee`, no queues, a fakesink on each.
//
//   fanout BRANCHESxSIZE [--buffers B]        for example: fanout 16x64KiB
//
// Buffers come from a GstBufferPool and are not written to. Prints the pushing
// thread's CPU time per buffer pushed, the pool's part included.

#include "measure.h"

int main(int argc, char **argv) {
  gst_init(NULL, NULL);
  int branches = 0, bytes = 0;
  char unit[2] = {0};
  if (argc < 2 || sscanf(argv[1], "%dx%d%1[KM]iB", &branches, &bytes, unit) != 3 || branches < 1) {
    fail("usage", "fanout BRANCHESxSIZE [--buffers B], such as 4x64KiB or 1x4MiB");
  }
  bytes <<= unit[0] == 'K' ? 10 : 20;
  int buffers = (int)option_number(argc, argv, "--buffers", 3e6 / (branches + 2));

  GstElement *pipeline = gst_pipeline_new(NULL), *tee = make(pipeline, "tee");
  for (int i = 0; i < branches; i++) {
    GstElement *sink = make(pipeline, "fakesink");
    g_object_set(sink, "sync", FALSE, "async", FALSE, "silent", TRUE, "signal-handoffs", FALSE, NULL);
    gst_element_link(tee, sink);
  }
  play(pipeline);
  GstPad *pad = pad_onto(tee);

  GstBufferPool *pool = gst_buffer_pool_new();
  GstStructure *config = gst_buffer_pool_get_config(pool);
  gst_buffer_pool_config_set_params(config, NULL, (guint)bytes, 4, 4);
  gst_buffer_pool_set_config(pool, config);
  if (!gst_buffer_pool_set_active(pool, TRUE)) fail("the pool does not start", argv[1]);

  int64_t cpu_0 = 0;
  for (int i = -buffers / 20; i < buffers; i++) { // some to warm up
    if (i == 0) cpu_0 = thread_cpu_ns();
    GstBuffer *buffer = NULL;
    if (gst_buffer_pool_acquire_buffer(pool, &buffer, NULL) != GST_FLOW_OK) fail("no buffer", "pool");
    if (gst_pad_push(pad, buffer) != GST_FLOW_OK) fail("the tee refuses", "buffers");
  }
  int64_t cpu = thread_cpu_ns() - cpu_0;
  gst_pad_push_event(pad, gst_event_new_eos());
  ended(pipeline, GST_CLOCK_TIME_NONE);
  gst_element_set_state(pipeline, GST_STATE_NULL);
  emit("fanout", argv[1], "cpu_ns_per_buffer", (double)cpu / buffers);
  return 0;
}
