// A whole call, one way, in one process: the nearest GStreamer of Debian 12 to
// Opus in 10 ms frames and AV1 at 352x288, 30 frames/s, packed, jitter-buffered
// and decoded.
//
//   call gstreamer|gstreamer_lowest "jitter J ms" [--seconds S] [--kbps K]
//
// sound:   audiotestsrc (10 ms, 48 kHz, mono) ! opusenc ! rtpopuspay !
//          rtpjitterbuffer latency=J ! rtpopusdepay ! opusdec ! fakesink sync
// picture: videotestsrc (ball) ! av1enc (libaom, real time, cpu-used 9, one
//          thread, constant bit rate) ! rtpgstpay ! rtpjitterbuffer latency=J !
//          rtpgstdepay ! av1dec (libaom) ! fakesink sync
//
// Where it differs from Sidetone's call, because Debian 12 has no more:
// - There is no rtpav1pay, rtpav1depay or dav1ddec (they are in gst-plugins-rs,
//   which Debian 12 does not package). The AV1 goes in GStreamer's own RTP
//   payload instead (rtpgstpay, which cuts a picture into packets of the same
//   size), and libaom decodes it where Sidetone uses a port of dav1d.
// - Sound and picture are a pipeline each, so that neither waits for the other's
//   latency.
// - The sources' test signals are not the same pictures and sounds.
//
// `gstreamer` has the sinks as they come: they render at the time stamp plus the
// latency that the elements declare. That is, for sound: the source 10 ms, the
// encoder 10, the jitter buffer J, the sink's `processing-deadline` 20, less the
// 6.5 by which opusenc dates its packets back; for pictures: the source 33 (a
// frame, as GStreamer's camera sources declare), J and 20. `gstreamer_lowest` is
// the least that it can do: a deadline of 0, and pictures shown as soon as they
// are decoded. (Its jitter buffer holds nothing that is in order: the delay is
// kept by the sinks, so such pictures are not delayed by J at all.)
//
// How it is measured. Every element's chain function is timed (wall and the
// thread's own CPU), so that what an element does by itself is its chain less the
// chains it called. Frames are matched by their number, which holds as long as
// none is lost: it stops with an error if one was. A frame's capture is the time
// stamp of its first sample or of the picture. `outside` is the mean of the
// whole less the encoder's and the decoder's wall time, and for sound less the
// 10 ms that a frame lasts. CPU `outside` is the whole process' less the two
// codecs' and less the test sources', counted by the time of each source's
// thread that is not in the elements below it. Opus' own look-ahead shifts the
// signal within frames and is in none of these figures. The first second is
// left out.

#include "measure.h"

enum { MOST = 1 << 16 }; // frames; enough for ten minutes of sound

// The chain function of one sink pad, timed.
typedef struct {
  GstPadChainFunction chain;
  int64_t entered[MOST], left[MOST]; // by frame number, wall
  gint calls;
  gint64 cpu; // of the chain with all that it calls
} Timed;

// One medium's way from its source to its sink.
typedef struct {
  const char *name;
  GstElement *pipeline, *jitter;
  Timed encode, after_encode, decode, render;
  int64_t captured[MOST], rendered[MOST]; // by frame number
  gint given, shown;
  gint64 source_cpu_0; // of the source's thread when its measured part began
  gint64 source_cpu;   // of the source's thread until now
} Way;

static int64_t since(GstElement *pipeline) {
  GstClock *clock = gst_element_get_clock(pipeline);
  int64_t now = (int64_t)gst_clock_get_time(clock) - (int64_t)gst_element_get_base_time(pipeline);
  gst_object_unref(clock);
  return now;
}

static GstFlowReturn timed_chain(GstPad *pad, GstObject *parent, GstBuffer *buffer) {
  Timed *timed = g_object_get_data(G_OBJECT(pad), "timed");
  int call = g_atomic_int_get(&timed->calls);
  if (call >= MOST) fail("too many frames", "choose fewer seconds");
  timed->entered[call] = wall_ns();
  int64_t cpu = thread_cpu_ns();
  GstFlowReturn flow = timed->chain(pad, parent, buffer);
  __atomic_fetch_add(&timed->cpu, thread_cpu_ns() - cpu, __ATOMIC_RELAXED);
  timed->left[call] = wall_ns();
  g_atomic_int_inc(&timed->calls);
  return flow;
}

static void time_chain(GstElement *element, Timed *timed) {
  GstPad *pad = gst_element_get_static_pad(element, "sink");
  timed->chain = GST_PAD_CHAINFUNC(pad);
  g_object_set_data(G_OBJECT(pad), "timed", timed);
  gst_pad_set_chain_function(pad, timed_chain);
  gst_object_unref(pad);
}

static GstPadProbeReturn on_given(GstPad *pad, GstPadProbeInfo *info, gpointer data) {
  (void)pad;
  Way *way = data;
  way->captured[way->given] = (int64_t)GST_BUFFER_PTS(GST_PAD_PROBE_INFO_BUFFER(info));
  way->source_cpu = thread_cpu_ns();
  g_atomic_int_inc(&way->given);
  return GST_PAD_PROBE_OK;
}

// Called by the sink when the frame's turn has come.
static void on_rendered(GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer data) {
  (void)sink, (void)buffer, (void)pad;
  Way *way = data;
  way->rendered[way->shown] = since(way->pipeline);
  g_atomic_int_inc(&way->shown);
}

static Way *way(const char *name, const char *text) {
  Way *way = calloc(1, sizeof *way);
  if (!way) fail("no memory for", name);
  way->name = name;
  way->pipeline = parse(text);
  GstBin *bin = GST_BIN(way->pipeline);
  time_chain(gst_bin_get_by_name(bin, "encode"), &way->encode);
  time_chain(gst_bin_get_by_name(bin, "pay"), &way->after_encode);
  time_chain(gst_bin_get_by_name(bin, "decode"), &way->decode);
  time_chain(gst_bin_get_by_name(bin, "render"), &way->render);
  way->jitter = gst_bin_get_by_name(bin, "jitter");
  GstPad *pad = gst_element_get_static_pad(gst_bin_get_by_name(bin, "encode"), "sink");
  gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_given, way, NULL);
  gst_object_unref(pad);
  g_signal_connect(gst_bin_get_by_name(bin, "render"), "handoff", G_CALLBACK(on_rendered), way);
  return way;
}

// CPU that the codecs and the source of one way have used so far.
typedef struct {
  int64_t codecs, source;
} Used;

static Used used(Way *way) {
  int64_t encode = way->encode.cpu, decode = way->decode.cpu;
  return (Used){
      .codecs = encode - way->after_encode.cpu + decode - way->render.cpu,
      .source = way->source_cpu - encode,
  };
}

static void report(const char *who, const char *name, Way *way, int64_t frame_ns) {
  GstStructure *stats = NULL;
  guint64 lost = 0, late = 0;
  g_object_get(way->jitter, "stats", &stats, NULL);
  gst_structure_get_uint64(stats, "num-lost", &lost);
  gst_structure_get_uint64(stats, "num-late", &late);
  if (lost || late) fail("packets were lost, so that frames cannot be matched", way->name);

  Times whole = {0}, outside = {0}, codecs = {0};
  int frames = MIN(way->shown, MIN(way->given, way->decode.calls));
  for (int n = 0; n < frames; n++) {
    if (way->captured[n] < 1000000000) continue;
    int64_t taken = way->rendered[n] - way->captured[n];
    int64_t coded = way->after_encode.entered[n] - way->encode.entered[n] + way->render.entered[n] -
                    way->decode.entered[n];
    times_add(&whole, taken);
    times_add(&codecs, coded);
    times_add(&outside, taken - coded - frame_ns);
  }
  char metric[64];
  snprintf(metric, sizeof metric, "%s_p50_ms", way->name);
  emit_for(who, "call", name, metric, times_quantile(&whole, 0.5) / 1e6);
  snprintf(metric, sizeof metric, "%s_p99_ms", way->name);
  emit_for(who, "call", name, metric, times_quantile(&whole, 0.99) / 1e6);
  snprintf(metric, sizeof metric, "%s_outside_ms", way->name);
  emit_for(who, "call", name, metric, times_mean(&outside) / 1e6);
  snprintf(metric, sizeof metric, "%s_codecs_ms", way->name);
  emit_for(who, "call", name, metric, times_mean(&codecs) / 1e6);
}

int main(int argc, char **argv) {
  gst_init(NULL, NULL);
  int jitter = 0;
  gboolean lowest = argc > 2 && !strcmp(argv[1], "gstreamer_lowest");
  if (argc < 3 || (!lowest && strcmp(argv[1], "gstreamer")) || sscanf(argv[2], "jitter %d ms", &jitter) != 1) {
    fail("usage", "call gstreamer|gstreamer_lowest \"jitter J ms\" [--seconds S] [--kbps K]");
  }
  const char *who = argv[1], *name = argv[2];
  double seconds = option_number(argc, argv, "--seconds", 8);
  int kbps = (int)option_number(argc, argv, "--kbps", 500);
  const char *sound_sink = lowest ? "sync=true processing-deadline=0" : "sync=true";
  const char *picture_sink = lowest ? "sync=false" : "sync=true";

  char text[2048];
  snprintf(text, sizeof text,
           "audiotestsrc is-live=true samplesperbuffer=480"
           " ! audio/x-raw,format=S16LE,rate=48000,channels=1"
           " ! opusenc name=encode frame-size=10 bitrate=32000 ! rtpopuspay name=pay"
           " ! rtpjitterbuffer name=jitter latency=%d ! rtpopusdepay ! opusdec name=decode"
           " ! fakesink name=render signal-handoffs=true %s",
           jitter, sound_sink);
  Way *sound = way("audio", text);
  snprintf(text, sizeof text,
           "videotestsrc is-live=true pattern=ball"
           " ! video/x-raw,format=I420,width=352,height=288,framerate=30/1"
           " ! av1enc name=encode usage-profile=realtime cpu-used=9 lag-in-frames=0 threads=1 row-mt=false"
           " end-usage=cbr target-bitrate=%d keyframe-max-dist=9999 min-quantizer=10 max-quantizer=60"
           " ! rtpgstpay name=pay config-interval=0 ! rtpjitterbuffer name=jitter latency=%d"
           " ! rtpgstdepay ! av1dec name=decode"
           " ! fakesink name=render signal-handoffs=true qos=false %s",
           kbps, jitter, picture_sink);
  Way *picture = way("video", text);

  play(sound->pipeline);
  play(picture->pipeline);
  ended(sound->pipeline, GST_SECOND / 2);
  ended(picture->pipeline, GST_SECOND / 2);
  Used sound_0 = used(sound), picture_0 = used(picture);
  int64_t cpu_0 = process_cpu_ns(), wall_0 = wall_ns();
  ended(picture->pipeline, (GstClockTime)(seconds * 1e9));
  Used sound_1 = used(sound), picture_1 = used(picture);
  double cpu = (double)(process_cpu_ns() - cpu_0), wall = (double)(wall_ns() - wall_0) / 1e9;
  double threads = status("Threads:"), memory = status("VmRSS:");
  gst_element_set_state(sound->pipeline, GST_STATE_PAUSED);
  gst_element_set_state(picture->pipeline, GST_STATE_PAUSED);

  double codecs = (double)(sound_1.codecs - sound_0.codecs + picture_1.codecs - picture_0.codecs);
  double sources = (double)(sound_1.source - sound_0.source + picture_1.source - picture_0.source);
  const double percent = 100 / (wall * 1e9);
  emit_for(who, "call", name, "cpu_percent", cpu * percent);
  emit_for(who, "call", name, "codec_cpu_percent", codecs * percent);
  emit_for(who, "call", name, "source_cpu_percent", sources * percent);
  emit_for(who, "call", name, "outside_cpu_percent", (cpu - codecs - sources) * percent);
  emit_for(who, "call", name, "threads", threads);
  emit_for(who, "call", name, "rss_mb", memory / 1024);
  report(who, name, sound, 10000000);
  report(who, name, picture, 0);
  exit(0); // without waiting for what the encoder still holds
}
